//! The life of one connection: the protocol's machinery between a reader and a writer.

use rmcp::ServerHandler;
use rmcp::service::{QuitReason, ServerInitializeError, serve_server_with_ct};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::output::Output;
use crate::transport::LineTransport;

/// What one connection may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Longest line, in bytes. More than any plugin's `arguments` that is worth having: they
    /// have 1 MiB by default.
    pub(crate) line_bytes_max: usize,
    /// Requests that are not answered yet. More than the host runs and queues for one
    /// plugin, so that the host's own limits are met first.
    pub(crate) requests_max: usize,
    /// Bytes of lines of requests that are not answered yet; at least one longest line.
    pub(crate) requests_bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            line_bytes_max: 8 << 20,
            requests_max: 256,
            requests_bytes_max: 64 << 20,
        }
    }
}

/// Lets `server` speak with the client until either ends or `connection` is cancelled, which
/// it is in any case when this returns.
pub(crate) async fn serve(
    server: impl ServerHandler,
    reader: impl AsyncRead + Send + Unpin + 'static,
    writer: impl AsyncWrite + Send + Unpin + 'static,
    connection: CancellationToken,
    bounds: Bounds,
) -> Result<(), Error> {
    let output = Output::new(writer, connection.clone());
    let transport = LineTransport::new(reader, output.clone(), connection.clone(), bounds);
    let served = match serve_server_with_ct(server, transport, connection.clone()).await {
        Ok(running) => match running.waiting().await {
            Ok(QuitReason::JoinError(error)) | Err(error) => Err(Error::Broken(error.to_string())),
            Ok(_) => Ok(()),
        },
        Err(
            ServerInitializeError::ConnectionClosed(_)
            | ServerInitializeError::Cancelled
            | ServerInitializeError::TransportError { .. },
        ) => Ok(()),
        Err(error) => Err(Error::Broken(error.to_string())),
    };
    connection.cancel();
    output.close().await;
    served
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use expect_test::{Expect, expect};
    use portreeve_core::{ProgressListener, ProgressReport};
    use proptest::prelude::*;
    use rmcp::RoleServer;
    use rmcp::model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
        Implementation, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
        ServerCapabilities, ServerConfig,
    };
    use rmcp::service::RequestContext;
    use serde_json::{Value, json};
    use tokio::io::{
        AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf,
    };
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use crate::progress;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server of three tools: `echo`; `wait`, until it is cancelled; `count`, which
    /// reports progress.
    #[derive(Clone, Default)]
    struct Parrot {
        waiting: Arc<AtomicUsize>,
    }

    impl ServerHandler for Parrot {
        fn get_info(&self) -> ServerConfig {
            ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
                .with_server_info(Implementation::new("parrot", "1"))
        }

        async fn list_tools(
            &self,
            _: Option<PaginatedRequestParams>,
            _: RequestContext<RoleServer>,
        ) -> Result<ListToolsResult, ErrorData> {
            Ok(ListToolsResult::default())
        }

        async fn call_tool(
            &self,
            request: CallToolRequestParams,
            context: RequestContext<RoleServer>,
        ) -> Result<CallToolResponse, ErrorData> {
            let text = match &*request.name {
                "echo" => json!(request.arguments).to_string(),
                "wait" => {
                    self.waiting.fetch_add(1, Ordering::SeqCst);
                    context.ct.cancelled().await;
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    "cancelled".to_owned()
                }
                _ => {
                    let (reporter, reports) = progress::reports();
                    let token = context.meta.get_progress_token().unwrap();
                    let call = async {
                        for done in [0.0, 1.0, 1.0, 0.5, 2.0] {
                            reporter.progress(ProgressReport {
                                done,
                                total: Some(2.0),
                                message: None,
                            });
                        }
                        "counted".to_owned()
                    };
                    progress::passed_on(call, reports, &context.peer, token, &context.ct).await
                }
            };
            Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
        }
    }

    struct Client {
        reader: BufReader<ReadHalf<DuplexStream>>,
        writer: WriteHalf<DuplexStream>,
        parrot: Parrot,
        shutdown: CancellationToken,
        served: JoinHandle<Result<(), Error>>,
    }

    impl Client {
        fn new(bounds: Bounds, pipe_bytes: usize) -> Client {
            let (client, server) = tokio::io::duplex(pipe_bytes);
            let (server_reader, server_writer) = tokio::io::split(server);
            let (reader, writer) = tokio::io::split(client);
            let (parrot, shutdown) = (Parrot::default(), CancellationToken::new());
            let connection = shutdown.child_token();
            Client {
                served: tokio::spawn(serve(
                    parrot.clone(),
                    server_reader,
                    server_writer,
                    connection,
                    bounds,
                )),
                reader: BufReader::new(reader),
                writer,
                parrot,
                shutdown,
            }
        }

        async fn send(&mut self, line: impl AsRef<[u8]>) {
            let mut line = line.as_ref().to_owned();
            line.push(b'\n');
            timeout(PATIENCE, self.writer.write_all(&line))
                .await
                .unwrap()
                .unwrap();
        }

        async fn receive(&mut self) -> Value {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.reader.read_line(&mut line)).await;
            assert_ne!(
                read.unwrap().unwrap(),
                0,
                "the server closed the connection"
            );
            serde_json::from_str(&line).unwrap()
        }

        async fn check(&mut self, line: &str, expected: Expect) {
            self.send(line).await;
            expected.assert_eq(&self.receive().await.to_string());
        }

        /// Opens a connection of the older era.
        async fn greeted(bounds: Bounds) -> Client {
            let mut client = Client::new(bounds, 64 << 10);
            client.send(INITIALIZE).await;
            client.receive().await;
            client.send(INITIALIZED).await;
            client
        }

        async fn until_waiting(&self, calls: usize) {
            let waiting = async {
                while self.parrot.waiting.load(Ordering::SeqCst) != calls {
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, waiting).await.unwrap();
        }

        /// Closes the client's side and reads what still comes.
        async fn leave(mut self) -> (Result<(), Error>, String) {
            self.writer.shutdown().await.unwrap();
            let mut rest = String::new();
            timeout(PATIENCE, self.reader.read_to_string(&mut rest))
                .await
                .unwrap()
                .unwrap();
            (timeout(PATIENCE, self.served).await.unwrap().unwrap(), rest)
        }
    }

    const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
    const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

    fn call(id: impl Into<Value>, tool: &str) -> String {
        let id: Value = id.into();
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {"a": 1}}})
            .to_string()
    }

    fn cancel(id: impl Into<Value>) -> String {
        let id: Value = id.into();
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
            .to_string()
    }

    #[tokio::test]
    async fn the_older_era() {
        let mut client = Client::new(Bounds::default(), 64 << 10);
        client
            .check(
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                expect![[r#"{"id":1,"jsonrpc":"2.0","result":{}}"#]],
            )
            .await;
        client.check(INITIALIZE, expect![[r#"{"id":"i","jsonrpc":"2.0","result":{"capabilities":{"tasks":{"cancel":{},"list":{},"requests":{"tools":{"call":{}}}},"tools":{}},"protocolVersion":"2025-11-25","serverInfo":{"name":"parrot","version":"1"}}}"#]]).await;
        client.send(INITIALIZED).await;
        client
            .check(
                r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#,
                expect![[r#"{"id":2,"jsonrpc":"2.0","result":{"tools":[]}}"#]],
            )
            .await;
        client.check(&call(3, "echo"), expect![[r#"{"id":3,"jsonrpc":"2.0","result":{"content":[{"text":"{\"a\":1}","type":"text"}],"isError":false}}"#]]).await;
        client
            .check(
                r#"{"jsonrpc":"2.0","id":4,"method":"other/thing"}"#,
                expect![[
                    r#"{"error":{"code":-32601,"message":"other/thing"},"id":4,"jsonrpc":"2.0"}"#
                ]],
            )
            .await;
        let (served, rest) = client.leave().await;
        assert!(served.is_ok() && rest.is_empty(), "{rest}");
    }

    #[tokio::test]
    async fn the_newer_era() {
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
        let mut client = Client::new(Bounds::default(), 64 << 10);
        client
            .check(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{{{meta}}}}}"#), expect![[r#"{"id":1,"jsonrpc":"2.0","result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"parrot","version":"1"}},"cacheScope":"private","capabilities":{"tools":{}},"resultType":"complete","supportedVersions":["2024-11-05","2025-03-26","2025-06-18","2025-11-25","2026-07-28"],"ttlMs":0}}"#]])
            .await;
        client
            .check(&format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{{{meta}}}}}"#), expect![[r#"{"id":2,"jsonrpc":"2.0","result":{"cacheScope":"private","resultType":"complete","tools":[],"ttlMs":0}}"#]])
            .await;
        client
            .check(&format!(r#"{{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{{"name":"echo",{meta}}}}}"#), expect![[r#"{"id":3,"jsonrpc":"2.0","result":{"content":[{"text":"null","type":"text"}],"isError":false,"resultType":"complete"}}"#]])
            .await;
        client.check(r#"{"jsonrpc":"2.0","id":4,"method":"tools/list"}"#, expect![[r#"{"error":{"code":-32602,"message":"request _meta is missing or has malformed required fields: io.modelcontextprotocol/protocolVersion, io.modelcontextprotocol/clientCapabilities"},"id":4,"jsonrpc":"2.0"}"#]]).await;
        assert!(client.leave().await.0.is_ok());
    }

    #[tokio::test]
    async fn what_comes_before_the_greeting_ends_nothing() {
        let mut client = Client::new(Bounds::default(), 64 << 10);
        client.send(INITIALIZED).await;
        client.send(cancel(1)).await;
        client.send(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await;
        client.check(&call(1, "echo"), expect![[r#"{"error":{"code":-32602,"message":"request _meta is missing or has malformed required fields: io.modelcontextprotocol/protocolVersion, io.modelcontextprotocol/clientCapabilities"},"id":1,"jsonrpc":"2.0"}"#]]).await;
        client.check(r#"{"jsonrpc":"2.0","id":2,"method":"initialize"}"#, expect![[r#"{"error":{"code":-32602,"message":"initialize: missing field `protocolVersion`"},"id":2,"jsonrpc":"2.0"}"#]]).await;
        client.send(INITIALIZE).await;
        assert!(client.receive().await["result"]["serverInfo"].is_object());
        assert!(client.leave().await.0.is_ok());
    }

    #[tokio::test]
    async fn progress_grows_and_comes_before_the_answer() {
        let mut client = Client::greeted(Bounds::default()).await;
        client
            .send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count","_meta":{"progressToken":"t"}}}"#)
            .await;
        for done in [0.0, 1.0, 2.0] {
            let message = client.receive().await;
            assert_eq!(message["method"], "notifications/progress");
            assert_eq!(message["params"]["progressToken"], "t");
            assert_eq!(message["params"]["progress"], done);
        }
        assert_eq!(client.receive().await["id"], 1);
        let (_, rest) = client.leave().await;
        assert_eq!(rest, "");
    }

    #[tokio::test]
    async fn a_cancelled_call_ends_unanswered() {
        let mut client = Client::greeted(Bounds::default()).await;
        client.send(call(1, "wait")).await;
        client.until_waiting(1).await;
        client.send(cancel(1)).await;
        client.until_waiting(0).await;
        client.check(&call(2, "echo"), expect![[r#"{"id":2,"jsonrpc":"2.0","result":{"content":[{"text":"{\"a\":1}","type":"text"}],"isError":false}}"#]]).await;
        let (_, rest) = client.leave().await;
        assert_eq!(rest, "");
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_its_calls_at_once() {
        let mut client = Client::greeted(Bounds::default()).await;
        client.send(call(1, "wait")).await;
        client.until_waiting(1).await;
        let parrot = client.parrot.clone();
        let began = std::time::Instant::now();
        assert!(client.leave().await.0.is_ok());
        assert_eq!(parrot.waiting.load(Ordering::SeqCst), 0);
        // The protocol's machinery alone would wait for five seconds.
        assert!(began.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test]
    async fn shutdown_ends_the_connection() {
        let mut client = Client::greeted(Bounds::default()).await;
        client.send(call(1, "wait")).await;
        client.until_waiting(1).await;
        client.shutdown.cancel();
        assert!(
            timeout(PATIENCE, client.served)
                .await
                .unwrap()
                .unwrap()
                .is_ok()
        );
    }

    #[tokio::test]
    async fn requests_at_once_are_bounded_by_number_and_bytes() {
        let mut client = Client::greeted(Bounds {
            requests_max: 2,
            ..Bounds::default()
        })
        .await;
        client.send(call(1, "wait")).await;
        client.send(call(2, "wait")).await;
        client.until_waiting(2).await;
        client.check(&call(3, "echo"), expect![[r#"{"error":{"code":-32010,"message":"busy: 2 requests of this client wait for their answers; wait for some of the answers"},"id":3,"jsonrpc":"2.0"}"#]]).await;
        client.send(cancel(1)).await;
        client.until_waiting(1).await;
        // Its place is free a moment after the call ended.
        loop {
            client.send(call(4, "echo")).await;
            if client.receive().await.get("result").is_some() {
                break;
            }
        }

        let mut client = Client::greeted(Bounds {
            requests_bytes_max: 4 << 10,
            ..Bounds::default()
        })
        .await;
        for id in 0..4 {
            client.send(call(id, "wait")).await;
        }
        client.until_waiting(4).await;
        client.check(&call(5, "echo"), expect![[r#"{"error":{"code":-32010,"message":"busy: requests of this client of 4096 bytes wait for their answers; wait for some of the answers"},"id":5,"jsonrpc":"2.0"}"#]]).await;
    }

    #[tokio::test]
    async fn an_id_in_use_is_refused_without_it() {
        let mut client = Client::greeted(Bounds::default()).await;
        client.send(call(1, "wait")).await;
        client.until_waiting(1).await;
        client.check(&call(1, "echo"), expect![[r#"{"error":{"code":-32600,"message":"a request with the id 1 is still being worked on; give each an id of its own"},"jsonrpc":"2.0"}"#]]).await;
        assert_eq!(client.parrot.waiting.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn bad_lines_are_refused_and_the_connection_goes_on() {
        let mut client = Client::greeted(Bounds {
            line_bytes_max: 1_000,
            ..Bounds::default()
        })
        .await;
        client.check(&"x".repeat(1_001), expect![[r#"{"error":{"code":-32600,"message":"the message is longer than 1000 bytes and was dropped; send less at once"},"jsonrpc":"2.0"}"#]]).await;
        client.check("{]", expect![[r#"{"error":{"code":-32700,"message":"line 1, column 2: this is not JSON: key must be a string"},"jsonrpc":"2.0"}"#]]).await;
        client.check(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, expect![[r#"{"error":{"code":-32700,"message":"line 1, column 28: the key \"id\" stands twice in one object; keep one of them"},"jsonrpc":"2.0"}"#]]).await;
        client.send(b"\xff\xfe").await;
        expect![[r#"{"error":{"code":-32700,"message":"byte 1 of the message is not UTF-8; messages are JSON in UTF-8"},"jsonrpc":"2.0"}"#]].assert_eq(&client.receive().await.to_string());
        client.check(&call(1, "echo"), expect![[r#"{"id":1,"jsonrpc":"2.0","result":{"content":[{"text":"{\"a\":1}","type":"text"}],"isError":false}}"#]]).await;
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_a_bounded_amount_and_can_leave() {
        let mut client = Client::new(Bounds::default(), 1 << 10);
        let mut sent = 0;
        // The server stops reading, rather than piling up answers.
        while let Ok(written) =
            timeout(Duration::from_millis(500), client.writer.write_all(b"{]\n")).await
        {
            written.unwrap();
            sent += 1;
            assert!(sent < 50_000);
        }
        drop((client.reader, client.writer));
        assert!(
            timeout(PATIENCE, client.served)
                .await
                .unwrap()
                .unwrap()
                .is_ok()
        );
    }

    #[tokio::test]
    async fn answers_nobody_reads_end_with_shutdown() {
        let mut client = Client::new(Bounds::default(), 1 << 10);
        client.send(INITIALIZE).await;
        for id in 0..8 {
            client.send(call(id, "echo")).await;
        }
        client.shutdown.cancel();
        assert!(
            timeout(PATIENCE, client.served)
                .await
                .unwrap()
                .unwrap()
                .is_ok()
        );
    }

    #[tokio::test]
    async fn the_sdks_own_client_is_served_in_both_eras() {
        use rmcp::service::{ClientLifecycleMode, ClientServiceExt};
        let auto = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        for mode in [auto, ClientLifecycleMode::Initialize] {
            let (client, server) = tokio::io::duplex(64 << 10);
            let (reader, writer) = tokio::io::split(server);
            let connection = CancellationToken::new();
            let served = tokio::spawn(serve(
                Parrot::default(),
                reader,
                writer,
                connection,
                Bounds::default(),
            ));
            let client = ().serve_with_lifecycle(client, mode).await.unwrap();
            for _ in 0..3 {
                let mut request = CallToolRequestParams::new("echo");
                request.arguments = json!({"x": [1]}).as_object().cloned();
                let result = client.call_tool(request).await.unwrap();
                assert_eq!(result.content[0].as_text().unwrap().text, r#"{"x":[1]}"#);
            }
            client.cancel().await.unwrap();
            assert!(timeout(PATIENCE, served).await.unwrap().unwrap().is_ok());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_end_the_server(
            lines in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..64),
                "\\{\"jsonrpc\":\"2.0\"(,\"id\":[0-9])?,\"method\":\"(ping|initialize|tools/call|notifications/initialized|notifications/cancelled|subscriptions/listen|x)\"(,\"params\":(\\{\\}|\\[\\]|\\{\"requestId\":1\\}))?\\}".prop_map(String::into_bytes),
            ], 0..16),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let mut client = Client::new(Bounds::default(), 64 << 10);
                for line in lines {
                    client.send(line).await;
                }
                client.send(INITIALIZE.replace("\"i\"", "\"last\"")).await;
                loop {
                    let message = client.receive().await;
                    if message["id"] == "last" {
                        assert!(message.get("result").is_some(), "{message}");
                        break;
                    }
                }
                assert!(client.leave().await.0.is_ok());
            });
        }
    }
}
