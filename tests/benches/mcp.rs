//! What a call costs over stdio MCP: the host with a plugin, against an rmcp server that
//! answers natively. CPU time of the servers, in turns.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData, ServiceExt};

use support::{Bench, cpu_of, median, report};

/// Calls of one turn, and turns: many short ones, so that what else the machine does in some of
/// them is no part of the median.
const CALLS: u32 = 400;
const TURNS: usize = 61;
const NATIVE: &str = "--native-server";

/// Answers natively what the plugin `echo` answers.
struct Native;

impl ServerHandler for Native {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text =
            serde_json::to_string(&request.arguments.unwrap_or_default()).unwrap_or_default();
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

/// A server on a pipe, and the smallest client that can be: the servers are measured.
struct Server {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    next: u64,
}

impl Server {
    fn start(mut command: Command) -> Server {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let to = child.stdin.take().expect("stdin");
        let from = BufReader::new(child.stdout.take().expect("stdout"));
        let mut server = Server {
            child,
            to,
            from,
            next: 0,
        };
        server.request(
            "initialize",
            r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}"#,
        );
        writeln!(
            server.to,
            r#"{{"jsonrpc":"2.0","method":"notifications/initialized"}}"#
        )
        .expect("a line");
        server
    }

    fn request(&mut self, method: &str, params: &str) -> String {
        self.next += 1;
        let id = self.next;
        // At once: a server that is woken for each part of a line does other work than answering.
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n"
        );
        self.to.write_all(line.as_bytes()).expect("a line");
        let mut line = String::new();
        loop {
            line.clear();
            assert!(
                self.from.read_line(&mut line).expect("an answer") > 0,
                "the server ended"
            );
            if line.contains(&format!("\"id\":{id}")) {
                return line;
            }
        }
    }

    fn turn(&mut self, tool: &str) -> f64 {
        let params = format!(r#"{{"name":"{tool}","arguments":{{"text":"hello"}}}}"#);
        let before = cpu_of(self.child.id());
        for _ in 0..CALLS {
            let answer = self.request("tools/call", &params);
            assert!(answer.contains("hello"), "{answer}");
        }
        (cpu_of(self.child.id()) - before).as_secs_f64() / f64::from(CALLS) * 1e6
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() {
    if std::env::args().any(|argument| argument == NATIVE) {
        let threads = tokio::runtime::Runtime::new().expect("threads");
        threads.block_on(async {
            let service = Native
                .serve(rmcp::transport::io::stdio_pipes())
                .await
                .expect("a service");
            let _ = service.waiting().await;
        });
        return;
    }
    let bench = Bench::new();
    let project = bench.project(
        "one",
        [("echo".to_owned(), portreeve_test_artifacts::ECHO.as_ref())],
    );
    let mut command = bench.portreeve(&project);
    command.arg("serve");
    let mut host = Server::start(command);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(NATIVE);
    let mut native = Server::start(command);

    let (mut natives, mut ratios) = (vec![], vec![]);
    for turn in 0..=TURNS {
        let base = native.turn("echo");
        let ours = host.turn("echo__echo");
        if turn > 0 {
            natives.push(base);
            ratios.push(ours / base);
        }
    }
    println!(
        "native rmcp server: {:.0} µs CPU a call over stdio (for orientation)",
        median(natives)
    );
    report(
        "a call over stdio MCP, against a native rmcp server",
        median(ratios),
        2.5,
        "×",
    );
}
