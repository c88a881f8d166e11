//! A fault that the proofs of idempotency must notice; never in a build that serves.

use tokio_postgres::NoTls;

use crate::StoreError;

/// What is replaced in `hallway_send_v2`: nonces and ids are looked for before the locks are held, and whoever finds neither
/// writes what he has.
const REPLACED: &[(&str, &str)] = &[
    ("now_ms bigint;", "now_ms bigint; known uuid[]; taken uuid[];"),
    (
        "    PERFORM 1 FROM rooms",
        // In this order: an id that is taken by a nonce that is not known yet would be refused, and never be two messages.
        "    taken := ARRAY(SELECT e.id FROM messages e WHERE e.room = ANY (rooms_in) AND e.id = ANY (ids_in));
    known := ARRAY(SELECT d.key FROM dedupe d WHERE d.key = ANY (keys_in));
    PERFORM 1 FROM rooms",
    ),
    ("dedupe.key = i.key LIMIT", "dedupe.key = i.key AND dedupe.key = ANY (known) LIMIT"),
    ("messages.id = i.id LIMIT", "messages.id = i.id AND messages.id = ANY (taken) LIMIT"),
    // The second message of an intent gets an id of its own, so that the log has both.
    (
        "SELECT room, id, seq, ordinal, actor, now_ms, text",
        "SELECT room, CASE WHEN EXISTS (SELECT 1 FROM messages m WHERE m.room = numbered.room AND m.id = numbered.id)
            THEN overlay(id::text PLACING CASE right(id::text, 1) WHEN '0' THEN '1' ELSE '0' END FROM 36)::uuid ELSE id END,
            seq, ordinal, actor, now_ms, text",
    ),
    // The same for a message that is alone.
    (
        "VALUES (one.room, ids_in[1], one.seq",
        "VALUES (one.room, CASE WHEN EXISTS (SELECT 1 FROM messages m WHERE m.room = one.room AND m.id = ids_in[1])
            THEN overlay(ids_in[1]::text PLACING CASE right(ids_in[1]::text, 1) WHEN '0' THEN '1' ELSE '0' END FROM 36)::uuid
            ELSE ids_in[1] END, one.seq",
    ),
];

/// Replaces, in a test's database, the function that numbers messages by one that looks for their nonces in a snapshot that
/// is older than its locks.
///
/// # Errors
/// When the database is not there, or its function is not the one that is known here.
pub async fn look_for_nonces_before_the_locks(url: &str) -> Result<(), StoreError> {
    let unusable = |error: tokio_postgres::Error| StoreError::Unusable(error.to_string());
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(unusable)?;
    let driver = tokio::spawn(connection);
    let row = client.query_one("SELECT pg_get_functiondef('hallway_send_v2'::regproc)", &[]).await.map_err(unusable)?;
    let mut text: String = row.get(0);
    // Several nodes share the database: the second finds the function replaced.
    if !text.contains("known uuid[]") {
        for (from, to) in REPLACED {
            if !text.contains(from) {
                return Err(StoreError::Unusable(format!("hallway_send_v2 does not contain {from:?}")));
            }
            text = text.replace(from, to);
        }
        client.batch_execute(&text).await.map_err(unusable)?;
    }
    drop(client);
    driver.abort();
    Ok(())
}
