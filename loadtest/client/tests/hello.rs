//! What a client makes of a node that sends it away.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use futures_util::{SinkExt, StreamExt};
use hallway_protocol::codec::{Codec, encode_frame};
use hallway_protocol::frame::Closing;
use hallway_protocol::{CloseCode, ServerFrame};
use loadtest_client::{ClientError, ConnectOptions, Connection};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

#[tokio::test]
async fn who_is_sent_away_before_the_answer_to_hello_is_told_the_close_code_and_may_come_back() {
    let code = CloseCode::HelloTimeout;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1/ws", listener.local_addr().unwrap());
    let node = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the library's own signature")]
        let choose = |_: &Request, mut response: Response| {
            let chosen = HeaderValue::from_static(Codec::Json.subprotocol());
            response.headers_mut().insert("sec-websocket-protocol", chosen);
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.unwrap();
        socket.next().await.unwrap().unwrap();
        let closing = Closing { code: code.code(), reason: code.reason().to_owned(), reconnect_after_ms: Some(0) };
        let text = encode_frame(Codec::Json, &ServerFrame::Closing(closing));
        socket.send(Message::text(String::from_utf8(text).unwrap())).await.unwrap();
        let frame = CloseFrame { code: code.code().into(), reason: code.reason().into() };
        socket.close(Some(frame)).await.unwrap();
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
    });
    let error = Connection::open(&ConnectOptions::new(url, "token")).await.map(|_| ()).unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(matches!(error, ClientError::Ended(end) if end.code == Some(code.code())));
    node.await.unwrap();
}
