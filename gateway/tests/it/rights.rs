//! The table "Who may do what" of docs/protocol.md, walked: every command as every role, against a real node.

use hallway_protocol::ErrorCode;
use serde_json::{Value, json};

use crate::node::TestNode;
use crate::seat::Seat;

/// The columns of the table after command and scope.
const COLUMNS: [&str; 6] = ["owner", "admin", "member", "guest", "no member, public room", "no member, private room"];
const ROLES: [&str; 4] = ["guest", "member", "admin", "owner"];

struct Row {
    command: String,
    /// What the table adds to the command's name.
    case: String,
    scope: String,
    expected: Vec<String>,
}

fn table() -> Vec<Row> {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).unwrap();
    let section = document.split("## Who may do what").nth(1).unwrap().split("\n## ").next().unwrap();
    let header = format!("| command | scope | {} |", COLUMNS.join(" | "));
    assert!(section.contains(&header), "the table of rights begins with {header}");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (command, case) = cells[0].split_once(", ").unwrap_or((cells[0], ""));
        Row {
            command: command.trim_matches('`').to_owned(),
            case: case.to_owned(),
            scope: cells[1].to_owned(),
            expected: cells[2..].iter().map(|cell| (*cell).to_owned()).collect(),
        }
    })
    .collect()
}

fn above(role: &str) -> &'static str {
    let place = ROLES.iter().position(|known| *known == role).unwrap();
    ROLES[(place + 1).min(3)]
}

fn below(role: &str) -> &'static str {
    let place = ROLES.iter().position(|known| *known == role).unwrap();
    ROLES[place.saturating_sub(1)]
}

/// What the command is about in this case; `role` is the actor's, or member for those who are none.
fn arguments(row: &Row, room: &str, role: &str, own: &Value, others: &Value) -> Value {
    let message = if row.case == "another's" { others } else { own };
    let task = &message["task"];
    let message = &message["message"];
    match row.command.as_str() {
        "room.update" => json!({"room": room, "name": "another name"}),
        "room.invite" if row.case == "role up to the own" => json!({"room": room, "user": "newcomer", "role": role}),
        "room.invite" => json!({"room": room, "user": "newcomer", "role": above(role)}),
        "room.ban" if row.case == "of no member" => json!({"room": room, "user": "stranger"}),
        "room.remove" | "room.kick" | "room.ban" | "room.unban" | "room.mute" | "room.unmute" => {
            json!({"room": room, "user": "victim"})
        }
        "message.send" => json!({"room": room, "text": "hello"}),
        "message.edit" => json!({"room": room, "id": message, "text": "edited"}),
        "message.delete" => json!({"room": room, "id": message}),
        "message.react" => json!({"room": room, "id": others["message"], "emoji": "🌹"}),
        "task.create" => json!({"room": room, "title": "to do"}),
        "task.update" => json!({"room": room, "id": task, "version": 1, "title": "to do soon"}),
        "task.move" => json!({"room": room, "id": task, "version": 1, "status": "done"}),
        "task.assign" => json!({"room": room, "id": task, "version": 1, "add": ["founder"]}),
        "task.depend" => json!({"room": room, "id": task, "version": 1, "add": [others["task"]]}),
        "task.delete" => json!({"room": room, "id": task, "version": 1}),
        "task.comment" => json!({"room": room, "id": task, "text": "hello"}),
        "task.follow" => json!({"room": room, "id": others["task"], "follow": true}),
        "task.get" | "task.comments" => json!({"room": room, "id": task}),
        "notify" => json!({"to": {"room": room}, "title": "hello"}),
        "message.history" => json!({"room": room, "direction": "older"}),
        "read.mark" => json!({"room": room, "seq": 1}),
        "typing" => json!({"room": room, "active": true}),
        "signal" => json!({"room": room, "name": "wave"}),
        _ => json!({"room": room}),
    }
}

/// A message and a task of somebody.
async fn leave_something(seat: &mut Seat, room: &str) -> Value {
    let message = seat.done("message.send", json!({"room": room, "text": "from somebody"})).await["id"].clone();
    let task = seat.done("task.create", json!({"room": room, "title": "of somebody"})).await["id"].clone();
    json!({"message": message, "task": task})
}

/// A fresh room in which the actor has this role (`None`: was a member once), with a message and a task of theirs and of another.
async fn prepare(
    founder: &mut Seat,
    actor: &mut Seat,
    room: &str,
    visibility: &str,
    role: Option<&str>,
    victim: Option<&str>,
) -> (Value, Value) {
    let user = actor.welcome.user.to_string();
    founder.done("room.create", json!({"room": room, "visibility": visibility})).await;
    let others = leave_something(founder, room).await;
    founder.done("room.invite", json!({"room": room, "user": user, "role": "member"})).await;
    let own = leave_something(actor, room).await;
    match role {
        Some(role) => founder.done("room.invite", json!({"room": room, "user": user, "role": role})).await,
        None => founder.done("room.remove", json!({"room": room, "user": user})).await,
    };
    if let Some(victim) = victim {
        founder.done("room.invite", json!({"room": room, "user": "victim", "role": victim})).await;
    }
    (own, others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_of_rights_is_what_the_node_does() {
    let node = TestNode::start(|_| {}).await;
    let mut founder = node.connect("founder").await;
    let with_scope = async |scope: &str| {
        let mut options = node.options("actor");
        let exp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 600;
        options.token = node.token_with("actor", scope, exp);
        node.connect_with(&options).await
    };
    // Without the scope admin, which stands for a role where a record is read.
    let mut actor = with_scope("read write rooms:create").await;
    let mut reads_only = with_scope("read rooms:create").await;
    let rows = table();
    assert!(rows.len() >= 45, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, expected) in row.expected.iter().enumerate().filter(|(_, expected)| *expected != "–") {
            let room = format!("room-{number}-{column}");
            let visibility = if column == 5 { "private" } else { "public" };
            let role = (column < 4).then(|| COLUMNS[column]);
            let counts_as = role.unwrap_or("member");
            let victim = match row.case.as_str() {
                "of a lower role" => Some(below(counts_as)),
                "of the same role" => Some(counts_as),
                _ => None,
            };
            let (own, others) = prepare(&mut founder, &mut actor, &room, visibility, role, victim).await;
            let arguments = arguments(row, &room, counts_as, &own, &others);
            if row.scope == "write" {
                assert_eq!(reads_only.refused(&row.command, arguments.clone()).await, ErrorCode::Forbidden);
            }
            let got = match actor.ask(&row.command, arguments).await {
                Ok(_) => "ok",
                Err(error) => error.code.as_str(),
            };
            if got != expected {
                wrong.push(format!(
                    "{} {} as {}: {expected} in the table, {got}",
                    row.command, row.case, COLUMNS[column]
                ));
            }
        }
        actor.unread.clear();
        founder.unread.clear();
        reads_only.unread.clear();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_keeps_an_owner_and_an_archived_room_is_read_only() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    ada.say("lobby", "hello").await;
    let mut ben = node.connect("ben").await;
    ben.join("lobby").await;
    let step_down = json!({"room": "lobby", "user": "ada", "role": "member"});
    assert_eq!(ada.refused("room.leave", json!({"room": "lobby"})).await, ErrorCode::LastOwner);
    assert_eq!(ada.refused("room.invite", step_down).await, ErrorCode::LastOwner);
    ada.done("room.archive", json!({"room": "lobby"})).await;
    for (name, arguments) in [
        ("message.send", json!({"room": "lobby", "text": "too late"})),
        ("room.update", json!({"room": "lobby", "name": "too late"})),
    ] {
        assert_eq!(ada.refused(name, arguments).await, ErrorCode::RoomArchived, "{name}");
    }
    let history = ben.done("message.history", json!({"room": "lobby", "direction": "newer"})).await;
    assert_eq!(history["messages"][0]["text"], "hello");
}
