//! The entry over HTTP: whatever is sent, the host answers in HTTP or closes the connection, and
//! never hangs once there is no more. A message that is sent as the body of a fine head is
//! answered with a message, or accepted.
#![no_main]

mod host;

use libfuzzer_sys::fuzz_target;
use tokio_util::sync::CancellationToken;

fuzz_target!(|input: &[u8]| {
    // As it is, and as the body of a request that is fine.
    let (kind, bytes) = input.split_first().unwrap_or((&0, &[]));
    let fields = match kind % 4 {
        0 => None,
        1 => Some(""),
        2 => Some("mcp-session-id: none\r\n"),
        _ => Some("mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n"),
    };
    let sent = match fields {
        None => bytes.to_vec(),
        Some(fields) => {
            let length = bytes.len();
            let head = format!(
                "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{fields}content-length: {length}\r\n\r\n"
            );
            [head.as_bytes(), bytes].concat()
        }
    };
    let fuzzed = host::fuzzed();
    let read = fuzzed.runtime.block_on(async {
        let (client, server) = tokio::io::duplex(64 << 10);
        let shutdown = CancellationToken::new();
        let served =
            portreeve_gateway::http::serve_stream(fuzzed.host.clone(), server, shutdown.clone());
        let served = tokio::spawn(served);
        let read = host::exchange(client, &sent, fields.is_none()).await;
        shutdown.cancel();
        served.await.unwrap();
        read
    });
    assert!(
        read.is_empty() || read.starts_with(b"HTTP/1."),
        "{:?}",
        String::from_utf8_lossy(&read)
    );
    if fields.is_some() {
        let text = String::from_utf8(read).expect("answers are text");
        let (head, body) = text
            .split_once("\r\n\r\n")
            .expect("a fine head is answered");
        let accepted = head.starts_with("HTTP/1.1 202 ") && body.is_empty();
        assert!(accepted || is_message(head, body), "{text}");
    }
});

/// Whether an answer is a message of the protocol, or a stream of them.
fn is_message(head: &str, body: &str) -> bool {
    if head.contains("content-type: text/event-stream") {
        return true;
    }
    let message: Result<serde_json::Value, _> = serde_json::from_str(body);
    head.contains("content-type: application/json")
        && message.is_ok_and(|message| message["jsonrpc"] == "2.0")
}
