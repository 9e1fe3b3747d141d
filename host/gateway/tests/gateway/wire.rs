//! HTTP by hand: a client that writes any bytes and sees every one.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::PATIENCE;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A field of the head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The message in it, as JSON or as the last event of a stream.
    pub(crate) fn message(&self) -> Value {
        let text = match self.field("content-type") {
            Some("text/event-stream") => self
                .body
                .lines()
                .rev()
                .find_map(|line| line.strip_prefix("data: ")),
            _ => Some(self.body.as_str()),
        };
        serde_json::from_str(text.unwrap()).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// Sends bytes on a connection of their own, and reads until the other side closes it.
pub(crate) async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    exchange_on(stream, bytes.as_ref()).await
}

pub(crate) async fn exchange_on(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
) -> Answer {
    // It may be refused before all of it is sent.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut read))
        .await
        .unwrap();
    parse(&String::from_utf8(read).unwrap())
}

pub(crate) fn parse(text: &str) -> Answer {
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no whole head: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    Answer {
        status,
        head: head.to_owned(),
        body: if chunked {
            dechunked(body)
        } else {
            body.to_owned()
        },
    }
}

fn dechunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(&more[..size]);
        rest = &more[size + 2..];
    }
    body
}

/// A request that is sent as it is, and closes its connection.
pub(crate) fn post(fields: &[(&str, &str)], body: &str) -> String {
    let mut head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         content-length: {}\r\n",
        body.len()
    );
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{head}\r\n{body}")
}

pub(crate) const GREETING: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"wire","version":"1"}}}"#;

/// Opens a session.
pub(crate) async fn greet(address: SocketAddr) -> String {
    let answer = exchange(address, post(&[], GREETING)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.message()["result"]["protocolVersion"], "2025-11-25");
    answer.field("mcp-session-id").unwrap().to_owned()
}

/// A request of the older era.
pub(crate) fn older(session: &str, method: &str, params: &Value) -> String {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let version = ("mcp-protocol-version", "2025-11-25");
    post(&[("mcp-session-id", session), version], &body.to_string())
}

/// A request of the newer era.
pub(crate) fn newer(method: &str, name: Option<&str>, params: Value) -> String {
    let params = crate::client::stateless(params);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut fields = vec![
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
    ];
    fields.extend(name.map(|name| ("mcp-name", name)));
    post(&fields, &body.to_string())
}
