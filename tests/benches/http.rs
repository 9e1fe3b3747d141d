//! What a call costs over HTTP: the host with a plugin, against an rmcp server that answers
//! natively, in both eras. CPU time of the servers, in turns. Then what a list of a thousand
//! tools costs against serialising it once, and what an idle session holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rmcp::ErrorData;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value, json};

use support::{Bench, cpu, cpu_of, median, memory_of, report};

const CALLS: u32 = 2_000;
const LISTS: u32 = 100;
const TURNS: usize = 9;
const SESSIONS: u32 = 1_000;
const TOOLS: usize = 1_000;
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

/// Serves natively, for ever, and says where.
async fn serve_natively() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    eprintln!("http://{}/mcp", listener.local_addr().unwrap());
    let config = StreamableHttpServerConfig::default().with_json_response(true);
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(|| Ok(Native), sessions, config);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

/// A server, and the smallest client that can be: the servers are measured.
struct Server {
    child: Child,
    connection: BufReader<TcpStream>,
    session: String,
}

impl Server {
    fn start(mut command: Command) -> Server {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut said = BufReader::new(child.stderr.take().expect("stderr"));
        let mut line = String::new();
        while !line.contains("http://") {
            line.clear();
            assert!(said.read_line(&mut line).expect("a line") > 0, "it ended");
        }
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        let address = line.split('/').nth(2).expect("an address");
        let connection = TcpStream::connect(address).expect("a connection");
        connection.set_nodelay(true).expect("no delay");
        let mut server = Server {
            child,
            connection: BufReader::new(connection),
            session: String::new(),
        };
        server.session = server.greet();
        server
    }

    fn greet(&mut self) -> String {
        let greeting = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
        let (head, _) = self.post("", greeting);
        let session = head
            .lines()
            .find_map(|line| line.strip_prefix("mcp-session-id: "));
        session.expect("a session").to_owned()
    }

    fn post(&mut self, fields: &str, body: &str) -> (String, String) {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{fields}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let connection = &mut self.connection;
        connection
            .get_mut()
            .write_all(request.as_bytes())
            .expect("sent");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(
                connection.read_line(&mut head).expect("a line") > 0,
                "it ended"
            );
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = Vec::new();
        match length {
            Some(length) => {
                body.resize(length.parse().expect("a length"), 0);
                connection.read_exact(&mut body).expect("a body");
            }
            None => loop {
                let mut line = String::new();
                connection.read_line(&mut line).expect("a chunk");
                let size = usize::from_str_radix(line.trim(), 16).expect("a size");
                let mut chunk = vec![0; size + 2];
                connection.read_exact(&mut chunk).expect("a chunk");
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&chunk[..size]);
            },
        }
        (head, String::from_utf8(body).expect("text"))
    }

    fn request(&mut self, newer: bool, method: &str, name: &str, mut params: Value) -> String {
        let fields = if newer {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            format!(
                "mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\nmcp-name: {name}\r\n"
            )
        } else {
            format!("mcp-session-id: {}\r\n", self.session)
        };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.post(&fields, &body.to_string()).1
    }

    /// CPU time of a call, in microseconds.
    fn turn(&mut self, newer: bool, tool: &str) -> f64 {
        let before = cpu_of(self.child.id());
        for _ in 0..CALLS {
            let params = json!({"name": tool, "arguments": {"text": "hello"}});
            let answer = self.request(newer, "tools/call", tool, params);
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

fn host(bench: &Bench, name: &str, plugins: usize, component: &str) -> Server {
    let plugins = (0..plugins).map(|number| {
        let alias = if number == 0 {
            "echo".to_owned()
        } else {
            format!("echo{number}")
        };
        (alias, component.as_ref())
    });
    let project = bench.project(name, plugins);
    let manifest = project.join("portreeve.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let limits = "[serve]\nlimits = { connections = 4096 }\n";
    std::fs::write(&manifest, text + limits).expect("a manifest");
    let mut command = bench.portreeve(&project);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    Server::start(command)
}

fn calls(bench: &Bench) {
    let mut host = host(bench, "one", 1, portreeve_test_artifacts::ECHO);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(NATIVE);
    let mut native = Server::start(command);
    for newer in [true, false] {
        let (mut natives, mut ratios) = (vec![], vec![]);
        for turn in 0..=TURNS {
            let base = native.turn(newer, "echo");
            let ours = host.turn(newer, "echo__echo");
            if turn > 0 {
                natives.push(base);
                ratios.push(ours / base);
            }
        }
        let era = if newer { "newer" } else { "older" };
        println!(
            "native rmcp server: {:.0} µs CPU a call over HTTP, {era} era (for orientation)",
            median(natives)
        );
        report(
            &format!("a call over HTTP in the {era} era, against a native rmcp server"),
            median(ratios),
            2.5,
            "×",
        );
    }
}

/// Each plugin has two tools.
fn lists(bench: &Bench) {
    let mut host = host(bench, "many", TOOLS / 2, portreeve_test_artifacts::ECHO);
    let answer = host.request(true, "tools/list", "", json!({}));
    let answer: Value = serde_json::from_str(&answer).expect("an answer");
    let list: ListToolsResult =
        serde_json::from_value(answer["result"].clone()).expect("a list of tools");
    assert_eq!(list.tools.len(), TOOLS);
    let mut ratios = vec![];
    for turn in 0..=TURNS {
        let before = cpu();
        for _ in 0..LISTS {
            std::hint::black_box(serde_json::to_vec(&list).expect("text"));
        }
        let base = cpu() - before;
        let before = cpu_of(host.child.id());
        for _ in 0..LISTS {
            host.request(true, "tools/list", "", json!({}));
        }
        let ours = cpu_of(host.child.id()) - before;
        if turn > 0 {
            ratios.push(ours.as_secs_f64() / base.as_secs_f64());
        }
    }
    report(
        "a list of 1,000 tools over HTTP, against serialising it once",
        median(ratios),
        1.5,
        "×",
    );
}

/// Sessions by themselves, and with the connection on which their client hears of changes.
fn sessions(bench: &Bench) {
    // Two thousand connections; the host inherits it.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit {
        current: files.maximum,
        ..files
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, all).expect("open files");
    let mut host = host(bench, "sessions", 1, portreeve_test_artifacts::ECHO);
    let listens = |host: &Server, session: &str| {
        let address = host.connection.get_ref().peer_addr().expect("an address");
        let mut connection = TcpStream::connect(address).expect("a connection");
        let request = format!(
            "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).expect("sent");
        let mut head = [0; 15];
        connection.read_exact(&mut head).expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        connection
    };
    let mut held = vec![];
    for (what, listening) in [
        ("an idle session", false),
        ("an idle session whose client listens", true),
    ] {
        let mut begin = || {
            for _ in 0..SESSIONS {
                let session = host.greet();
                if listening {
                    held.push(listens(&host, &session));
                }
            }
            memory_of(&host.child.id().to_string()).0
        };
        let before = begin();
        let each = begin().saturating_sub(before) as f64 / f64::from(SESSIONS);
        report(what, each / 1024.0, 20.0, " KiB");
    }
}

fn main() {
    if std::env::args().any(|argument| argument == NATIVE) {
        let threads = tokio::runtime::Runtime::new().expect("threads");
        threads.block_on(serve_natively());
        return;
    }
    let bench = Bench::new();
    let named: Vec<String> = std::env::args().skip(1).collect();
    let parts = [
        ("calls", calls as fn(&Bench)),
        ("lists", lists),
        ("sessions", sessions),
    ];
    for (name, part) in parts {
        if named
            .iter()
            .all(|named| named.starts_with('-') || named == name)
        {
            part(&bench);
        }
    }
}
