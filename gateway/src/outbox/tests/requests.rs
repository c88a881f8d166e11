//! What one attempt sends, takes and refuses.

use std::time::{Duration, Instant};

use hallway_store::Job;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::kit::{Answer, PATIENCE, SECRET, Server, target, targets};
use crate::config::WebhookConfig;
use crate::outbox::client::{Bounds, deliver};
use crate::outbox::verdict::Attempt;
use crate::outbox::{ATTEMPT_HEADER, JOB_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};

const BOUNDS: Bounds = Bounds { connect: Duration::from_secs(5), response_max_bytes: 64 * 1024 };

fn job(body: &str) -> Job {
    let (target, body) = ("push".to_owned(), body.to_owned());
    Job { number: 7, target, body, attempt: 2, attempts_max: 3, created_at_ms: 0 }
}

async fn attempt(config: WebhookConfig, bounds: Bounds) -> Attempt {
    let targets = targets([("push", config)]);
    deliver(&targets.get("push").unwrap(), &job("{}"), bounds).await
}

#[tokio::test]
async fn a_webhook_is_signed_so_that_its_target_can_check_it() {
    let server = Server::start(Answer::Status(204)).await;
    let targets = targets([("push", target(&format!("http://{}/in?app=7", server.address)))]);
    let body = r#"{"version":1}"#;
    let taken = deliver(&targets.get("push").unwrap(), &job(body), BOUNDS).await;
    assert_eq!(taken, Attempt::Answered { status: 204, retry_after_ms: None });
    let asked = server.asked(1).await.remove(0);
    let header = |name: &str| asked.headers.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!((asked.path.as_str(), &asked.body[..]), ("/in?app=7", body.as_bytes()));
    assert_eq!((header("host"), header("content-type")), (server.address.to_string(), "application/json".to_owned()));
    assert_eq!((header(JOB_HEADER), header(ATTEMPT_HEADER)), ("7".to_owned(), "2".to_owned()));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{}.{body}", header(TIMESTAMP_HEADER)).as_bytes());
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header(SIGNATURE_HEADER), format!("v1={expected}"));
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now_s - header(TIMESTAMP_HEADER).parse::<u64>().unwrap() < 60);
}

#[tokio::test]
async fn a_redirect_is_refused_and_not_followed() {
    let elsewhere = Server::start(Answer::Status(200)).await;
    let server = Server::start(Answer::Redirect(elsewhere.address)).await;
    let answered = attempt(target(&format!("http://{}/", server.address)), BOUNDS).await;
    assert_eq!(answered, Attempt::Answered { status: 307, retry_after_ms: None });
    assert_eq!((server.count(), elsewhere.count()), (1, 0));
}

#[tokio::test]
async fn a_private_address_is_refused_unless_the_target_is_allowed_it() {
    let server = Server::start(Answer::Status(200)).await;
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let url = format!("http://{host}:{}/", server.address.port());
        let config = WebhookConfig { allow_private: false, ..target(&url) };
        match attempt(config, BOUNDS).await {
            Attempt::Forbidden(why) => assert!(why.contains("loopback") && why.contains("allow_private"), "{why}"),
            // A resolver that does not read such a name leads nowhere either.
            Attempt::Unanswered(why) => assert!(why.contains("was not resolved"), "{why}"),
            other => panic!("{host}: {other:?}"),
        }
    }
    assert_eq!(server.count(), 0, "nobody was asked");
    let allowed = attempt(target(&format!("http://127.0.0.1:{}/", server.address.port())), BOUNDS).await;
    assert_eq!(allowed, Attempt::Answered { status: 200, retry_after_ms: None });
}

/// Method: a listener whose queue is taken by nobody and that speaks no TLS: the connection is there, TLS never is.
#[tokio::test]
async fn a_target_that_takes_no_connection_in_time_fails() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let bounds = Bounds { connect: Duration::from_millis(50), ..BOUNDS };
    let begun = Instant::now();
    assert_eq!(attempt(target(&url), bounds).await, Attempt::Unanswered("no connection within 50 ms".to_owned()));
    assert!(begun.elapsed() < PATIENCE);
    let gone = silent.local_addr().unwrap();
    drop(silent);
    let refused = attempt(target(&format!("http://{gone}/")), BOUNDS).await;
    assert!(matches!(&refused, Attempt::Unanswered(why) if why.contains(&gone.to_string())), "{refused:?}");
}

#[tokio::test]
async fn a_target_that_does_not_answer_in_time_fails() {
    let server = Server::start(Answer::Held).await;
    let config = WebhookConfig { timeout_ms: 100, ..target(&format!("http://{}/", server.address)) };
    assert_eq!(attempt(config, BOUNDS).await, Attempt::Unanswered("no answer within 100 ms".to_owned()));
    server.release();
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let server = Server::start(Answer::Endless).await;
    let config = target(&format!("http://{}/", server.address));
    assert_eq!(attempt(config, BOUNDS).await, Attempt::Answered { status: 200, retry_after_ms: None });
}

/// A target that is no HTTP server, and one with a head of a megabyte, are failures like any other.
#[tokio::test]
async fn what_is_no_http_is_a_failure() {
    for (answer, times) in [("220 mail.example ESMTP\r\n", 1), ("HTTP/1.1 200 OK\r\nx: ", 100_000)] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            let text = answer.repeat(times);
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, text.as_bytes()).await;
            socket
        };
        let (attempt, _socket) = tokio::join!(attempt(target(&url), BOUNDS), serve);
        assert!(matches!(&attempt, Attempt::Unanswered(why) if why.starts_with("HTTP: ")), "{attempt:?}");
    }
}
