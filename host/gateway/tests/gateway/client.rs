//! A client that sees every byte.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

/// Longest time that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

pub(crate) struct Client {
    reader: BufReader<Reader>,
    writer: Writer,
}

impl Client {
    pub(crate) fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Client {
        let (reader, writer) = tokio::io::split(stream);
        Client {
            reader: BufReader::new(Box::new(reader)),
            writer: Box::new(writer),
        }
    }

    pub(crate) async fn send(&mut self, message: Value) {
        let line = format!("{message}\n");
        timeout(PATIENCE, self.writer.write_all(line.as_bytes()))
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Value {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.reader.read_line(&mut line)).await;
        assert_ne!(
            read.unwrap().unwrap(),
            0,
            "the server closed the connection"
        );
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) async fn ask(&mut self, id: i64, method: &str, params: Value) -> Value {
        self.send(request(id, method, params)).await;
        let answer = self.receive().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// The greeting of the older era.
    pub(crate) async fn greet(&mut self) {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        });
        let answer = self.ask(0, "initialize", params).await;
        assert_eq!(answer["result"]["serverInfo"]["name"], "portreeve");
        assert_eq!(
            answer["result"]["capabilities"]["tools"]["listChanged"],
            true
        );
        assert!(answer["result"]["instructions"].is_string());
        self.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }

    /// Closes the writing side and reads the rest.
    pub(crate) async fn leave(mut self) -> String {
        self.writer.shutdown().await.unwrap();
        let mut rest = String::new();
        timeout(PATIENCE, self.reader.read_to_string(&mut rest))
            .await
            .unwrap()
            .unwrap();
        rest
    }
}

pub(crate) fn request(id: i64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// Tools as the newer version has them: a client of the older one reads besides that each can be
/// a task.
pub(crate) fn without_tasks(mut tools: Value) -> Value {
    for tool in tools.as_array_mut().unwrap() {
        let execution = tool.as_object_mut().unwrap().remove("execution");
        assert_eq!(
            execution,
            Some(json!({"taskSupport": "optional"})),
            "{tool}"
        );
    }
    tools
}

/// Parameters with what the newer era wants in every request.
pub(crate) fn stateless(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}
