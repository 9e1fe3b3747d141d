//! What stands between a client and the process that owns its project: it passes messages on,
//! and knows what the next owner must be told when this one ends.
//!
//! Owners come and go: the client that started one closes it, or it is killed. The client here
//! hears of that only what it must: calls that were being worked on fail, and say why;
//! questions that it was asked are withdrawn; and what it has read may have changed. What it
//! has told the former owner (its greeting, its log level, what it listens to), the next one is
//! told again.

mod memory;

use std::borrow::Cow;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::service::TxJsonRpcMessage;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use self::memory::Memory;
use crate::Error;
use crate::connection::Bounds;
use crate::lines::{Line, Lines};
use crate::message::Refusal;

/// Longest time that an owner's last answers are waited for, after one of the sides left.
const LAST_ANSWERS_TIME_MAX: Duration = Duration::from_secs(5);

/// Who left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The client: there is nothing more to do.
    Client,
    /// The owner: the client needs another one.
    Owner,
}

/// A client of this process, for whom others work.
pub struct Relay {
    lines: Lines<Box<dyn AsyncRead + Send + Unpin>>,
    writer: Writer,
    memory: Mutex<Memory>,
}

/// Where the client reads: written to by what passes answers on, and by what passes requests
/// on and refuses some.
type Writer = tokio::sync::Mutex<Box<dyn AsyncWrite + Send + Unpin>>;

impl Relay {
    /// For the client that writes to `reader` and reads from `writer`.
    pub fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Relay {
        Relay {
            lines: Lines::new(Box::new(reader), Bounds::default().line_bytes_max),
            writer: tokio::sync::Mutex::new(Box::new(writer)),
            memory: Mutex::default(),
        }
    }

    /// Passes messages between the client and an owner, until either leaves. After the
    /// client's last byte, the owner's last answers are still passed on; after the owner's, the
    /// client is told of what it can't hear any more.
    ///
    /// # Errors
    /// When the owner serves as many clients as it can.
    pub async fn pass(
        &mut self,
        owner: impl AsyncRead + AsyncWrite + Send + Unpin,
    ) -> Result<Left, Error> {
        let (from_owner, mut to_owner) = tokio::io::split(owner);
        let (writer, memory) = (&self.writer, &self.memory);
        let answers = answers(from_owner, writer, memory);
        tokio::pin!(answers);
        let left = tokio::select! {
            left = requests(&mut self.lines, &mut to_owner, writer, memory) => {
                // The owner sees the client's end by that of its own reader.
                let _ = to_owner.shutdown().await;
                let _ = timeout(LAST_ANSWERS_TIME_MAX, &mut answers).await;
                left
            }
            left = &mut answers => left,
        };
        if left == Left::Client {
            return Ok(left);
        }
        let told = lock(memory).lost();
        let Some(told) = told else {
            return Err(Error::Full);
        };
        for line in told {
            if write(writer, &line).await.is_err() {
                return Ok(Left::Client);
            }
        }
        Ok(left)
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write(writer: &Writer, line: &[u8]) -> io::Result<()> {
    let mut writer = writer.lock().await;
    writer.write_all(&[line, b"\n"].concat()).await?;
    writer.flush().await
}

/// Passes on what the client says; first what the owner must know from before.
async fn requests(
    lines: &mut Lines<impl AsyncRead + Unpin>,
    to_owner: &mut (impl AsyncWrite + Unpin),
    writer: &Writer,
    memory: &Mutex<Memory>,
) -> Left {
    let again = lock(memory).again();
    for line in again.to_owner {
        if to_owner.write_all(&[&*line, b"\n"].concat()).await.is_err() {
            return Left::Owner;
        }
    }
    for line in again.to_client {
        if write(writer, &line).await.is_err() {
            return Left::Client;
        }
    }
    loop {
        match lines.next().await {
            Ok(Line::Bytes(line)) => {
                let sent = lock(memory).sent(line).map(|line| [&*line, b"\n"].concat());
                if let Some(line) = sent
                    && to_owner.write_all(&line).await.is_err()
                {
                    return Left::Owner;
                }
            }
            Ok(Line::TooLong) => {
                let refusal = Refusal::too_long(Bounds::default().line_bytes_max);
                let refusal = TxJsonRpcMessage::<RoleServer>::error(refusal.error, refusal.id);
                let line = serde_json::to_vec(&refusal).unwrap_or_default();
                if write(writer, &line).await.is_err() {
                    return Left::Client;
                }
            }
            Ok(Line::End) | Err(_) => return Left::Client,
        }
    }
}

/// Passes on what the owner says. Its own limits bound how long a line of it can be.
async fn answers(
    from_owner: impl AsyncRead + Unpin,
    writer: &Writer,
    memory: &Mutex<Memory>,
) -> Left {
    let mut lines = Lines::new(from_owner, usize::MAX);
    loop {
        let heard = match lines.next().await {
            Ok(Line::Bytes(line)) => lock(memory).heard(line).map(Cow::into_owned),
            Ok(Line::TooLong) => None,
            Ok(Line::End) | Err(_) => return Left::Owner,
        };
        if let Some(line) = heard
            && write(writer, &line).await.is_err()
        {
            return Left::Client;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream};
    use tokio::task::JoinHandle;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// One end of a connection, line by line.
    struct End(BufReader<DuplexStream>);

    impl End {
        fn pair() -> (End, DuplexStream) {
            let (near, far) = tokio::io::duplex(64 << 10);
            (End(BufReader::new(near)), far)
        }

        async fn says(&mut self, message: Value) {
            let line = format!("{message}\n");
            self.0.get_mut().write_all(line.as_bytes()).await.unwrap();
        }

        async fn hears(&mut self) -> Value {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.0.read_line(&mut line)).await;
            assert_ne!(read.unwrap().unwrap(), 0, "it was closed");
            serde_json::from_str(&line).unwrap()
        }

        async fn asks(&mut self, id: u32, method: &str, params: Value) {
            self.says(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
                .await;
        }
    }

    fn client() -> (End, Relay) {
        let (client, far) = End::pair();
        let (reader, writer) = tokio::io::split(far);
        (client, Relay::new(reader, writer))
    }

    type Passing = JoinHandle<(Relay, Result<Left, Error>)>;

    fn own(mut relay: Relay) -> (End, Passing) {
        let (owner, far) = End::pair();
        let passing = tokio::spawn(async move {
            let left = relay.pass(far).await;
            (relay, left)
        });
        (owner, passing)
    }

    async fn lost(owner: End, passing: Passing) -> Relay {
        drop(owner);
        let (relay, left) = timeout(PATIENCE, passing).await.unwrap().unwrap();
        assert_eq!(left.unwrap(), Left::Owner);
        relay
    }

    fn result(id: &Value) -> Value {
        json!({"jsonrpc": "2.0", "id": id, "result": {}})
    }

    /// Says something to the owner, which agrees.
    async fn agreed(client: &mut End, owner: &mut End, id: u32, method: &str, params: Value) {
        client.asks(id, method, params).await;
        let heard = owner.hears().await;
        assert_eq!(heard["method"], method);
        owner.says(result(&heard["id"])).await;
        assert_eq!(client.hears().await["id"], id);
    }

    #[tokio::test]
    async fn the_next_owner_is_told_what_the_last_one_knew() {
        let (mut client, relay) = client();
        let (mut owner, passing) = own(relay);
        let greeting = json!({"protocolVersion": "2025-11-25"});
        agreed(&mut client, &mut owner, 1, "initialize", greeting.clone()).await;
        client
            .says(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        owner.hears().await;
        let level = json!({"level": "error"});
        agreed(
            &mut client,
            &mut owner,
            2,
            "logging/setLevel",
            level.clone(),
        )
        .await;
        for (id, method, uri) in [
            (3, "resources/subscribe", "a://1"),
            (4, "resources/subscribe", "a://2"),
            (5, "resources/unsubscribe", "a://1"),
        ] {
            agreed(&mut client, &mut owner, id, method, json!({"uri": uri})).await;
        }
        let relay = lost(owner, passing).await;
        let (mut owner, _passing) = own(relay);
        for (method, params) in [
            ("initialize", greeting),
            ("notifications/initialized", json!({})),
            ("logging/setLevel", level),
            ("resources/subscribe", json!({"uri": "a://2"})),
        ] {
            let heard = owner.hears().await;
            assert_eq!(
                (&heard["method"], &heard["params"]),
                (&json!(method), &params)
            );
            if heard.get("id").is_some() {
                owner.says(result(&heard["id"])).await;
            }
        }
        // Of those answers the client hears nothing; of what it may have missed it does.
        for method in [
            "notifications/tools/list_changed",
            "notifications/resources/list_changed",
            "notifications/prompts/list_changed",
            "notifications/resources/updated",
        ] {
            assert_eq!(client.hears().await["method"], method);
        }
        agreed(&mut client, &mut owner, 6, "tools/list", json!({})).await;
    }

    #[tokio::test]
    async fn what_was_being_worked_on_fails_and_says_why() {
        let (mut client, relay) = client();
        let (mut owner, passing) = own(relay);
        client.asks(1, "tools/call", json!({})).await;
        client.asks(2, "tools/call", json!({})).await;
        let cancelled = json!({"requestId": 2});
        client
            .says(
                json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled}),
            )
            .await;
        for _ in 0..3 {
            owner.hears().await;
        }
        // It was killed while it wrote.
        let half = br#"{"jsonrpc":"2.0","id":1,"resu"#;
        owner.0.get_mut().write_all(half).await.unwrap();
        let relay = lost(owner, passing).await;
        let failed = client.hears().await;
        assert_eq!(failed["id"], 1);
        assert_eq!(failed["error"]["code"], -32012);
        let (mut owner, _passing) = own(relay);
        agreed(&mut client, &mut owner, 1, "tools/call", json!({})).await;
    }

    #[tokio::test]
    async fn what_is_waited_for_from_any_owner_is_asked_of_the_next() {
        let (mut client, relay) = client();
        let (mut owner, passing) = own(relay);
        let acknowledged = json!({
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": 7}},
        });
        client
            .asks(7, "subscriptions/listen", json!({"a": 1}))
            .await;
        let listen = owner.hears().await;
        owner.says(acknowledged.clone()).await;
        assert_eq!(client.hears().await, acknowledged);
        client.asks(8, "initialize", json!({})).await;
        client.asks(9, "tools/list", json!({})).await;
        owner.hears().await;
        owner.hears().await;
        let relay = lost(owner, passing).await;
        let (mut owner, _passing) = own(relay);
        let heard = [
            owner.hears().await,
            owner.hears().await,
            owner.hears().await,
        ];
        assert!(heard.contains(&listen), "{heard:?}");
        // It has heard that already.
        owner.says(acknowledged).await;
        owner.says(result(&json!(8))).await;
        assert_eq!(client.hears().await["id"], 8);
    }

    #[tokio::test]
    async fn an_answer_is_never_taken_for_that_to_another_owners_question() {
        let (mut client, relay) = client();
        let (mut owner, passing) = own(relay);
        owner
            .asks(0, "elicitation/create", json!({"of": "first"}))
            .await;
        assert_eq!(client.hears().await["id"], 0);
        let relay = lost(owner, passing).await;
        let withdrawn = client.hears().await;
        assert_eq!(withdrawn["method"], "notifications/cancelled");
        assert_eq!(withdrawn["params"]["requestId"], 0);
        let (mut owner, _passing) = own(relay);
        owner
            .asks(0, "elicitation/create", json!({"of": "second"}))
            .await;
        let question = client.hears().await;
        assert_eq!(question["params"]["of"], "second");
        assert_ne!(question["id"], 0);
        client.says(result(&json!(0))).await;
        client.says(result(&question["id"])).await;
        assert_eq!(owner.hears().await, result(&json!(0)));
        client.asks(1, "ping", json!({})).await;
        assert_eq!(owner.hears().await["method"], "ping");
        // It is withdrawn under the id that the client knows.
        owner.asks(1, "elicitation/create", json!({})).await;
        let question = client.hears().await;
        let cancelled = json!({"requestId": 1});
        owner
            .says(
                json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled}),
            )
            .await;
        assert_eq!(client.hears().await["params"]["requestId"], question["id"]);
    }
}
