//! `portreeve serve --listen`, with guests that run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{self, PATIENCE, Project, eventually, plugin};

/// A host that listens.
pub(crate) struct HttpHost {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl HttpHost {
    /// The project's, on a port of this machine that is free.
    pub(crate) fn start(project: &Project) -> HttpHost {
        HttpHost::of(project.portreeve(&["serve", "--listen", "127.0.0.1:0"]))
    }

    fn of(mut command: Command) -> HttpHost {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it does not listen");
            if let Some(rest) = line.split("http://").nth(1) {
                break rest.split('/').next().unwrap().parse().unwrap();
            }
        };
        // So that it never waits for somebody to read.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        HttpHost { child, address }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        support::signal(self.pid(), name);
    }

    /// Waits for its end; whether it ended well.
    pub(crate) fn ended(&mut self) -> bool {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().success()
    }

    /// A connection that has sent this.
    pub(crate) fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Sends a request that is no message of the protocol, and reads all of its answer.
    pub(crate) fn exchange(&self, method: &str, path: &str, fields: &str, body: &str) -> String {
        let length = match body {
            "" => String::new(),
            body => format!("content-length: {}\r\n", body.len()),
        };
        let mut stream = self.send(&format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{fields}{length}connection: close\r\n\r\n{body}",
            self.address
        ));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends a message and reads all that comes back: the head and the messages.
    pub(crate) fn post(&self, fields: &str, message: &Value) -> (String, Vec<Value>) {
        whole(self.send(&request(fields, message)))
    }

    /// Sends a message whose answer is a stream.
    pub(crate) fn stream(&self, fields: &str, message: &Value) -> Messages {
        Messages(BufReader::new(self.send(&request(fields, message))))
    }

    /// The stream of what a session is told unasked.
    pub(crate) fn listen(&self, session: &str) -> Messages {
        let get = format!(
            "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{}\r\n",
            older(session)
        );
        Messages(BufReader::new(self.send(&get)))
    }

    /// Opens a session.
    pub(crate) fn greet(&self) -> String {
        self.greet_as(&json!({}))
    }

    /// The same, as a client that can do more.
    pub(crate) fn greet_as(&self, capabilities: &Value) -> String {
        let greeting = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": capabilities,
                "clientInfo": {"name": "e2e", "version": "1"},
            },
        });
        let (head, _) = self.post("", &greeting);
        head.lines()
            .find_map(|line| line.strip_prefix("mcp-session-id: "))
            .unwrap()
            .to_owned()
    }
}

/// Messages of a stream, one after the other.
pub(crate) struct Messages(BufReader<TcpStream>);

impl Messages {
    /// The next one.
    pub(crate) fn message(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended");
            let message = line.strip_prefix("data: ").unwrap_or_default();
            if let Ok(message @ Value::Object(_)) = serde_json::from_str(message) {
                return message;
            }
        }
    }
}

impl Drop for HttpHost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn request(fields: &str, message: &Value) -> String {
    let body = message.to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         {fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads to the end: the head, and the messages in the body, of either form.
fn whole(mut stream: TcpStream) -> (String, Vec<Value>) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{text:?}"));
    let messages = body
        .lines()
        .map(|line| line.strip_prefix("data: ").unwrap_or(line))
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(Value::is_object)
        .collect();
    (head.to_owned(), messages)
}

pub(crate) fn older(session: &str) -> String {
    format!("mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n")
}

pub(crate) fn call(tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

/// The same call as clients of the newer era send it: its fields and its message.
pub(crate) fn newer(tool: &str, arguments: Value) -> (String, Value) {
    let mut message = call(tool, arguments);
    message["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let fields = format!(
        "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n"
    );
    (fields, message)
}

#[test]
fn calls_in_both_eras() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let host = HttpHost::start(&project);
    let session = host.greet();
    let (_, answers) = host.post(&older(&session), &call("echo__echo", json!({"a": 1})));
    let (fields, message) = newer("echo__echo", json!({"a": 1}));
    let (head, newer) = host.post(&fields, &message);
    assert!(head.contains("application/json"), "{head}");
    assert_eq!(
        answers[0]["result"]["content"],
        newer[0]["result"]["content"]
    );
    assert!(
        answers[0]["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("\"a\"")
    );
}

/// Whether a call of this tool ended so, as the audit log has it.
fn ended_as(project: &Project, outcome: &str) -> bool {
    let found = project.run(&["audit", "search", "--json", "--kind", "call"]);
    String::from_utf8(found.stdout).unwrap().contains(outcome)
}

#[test]
fn a_long_call_of_the_newer_era_becomes_a_stream_that_stays_alive() {
    let project = Project::of(&[("sleep", programs::SLEEP)]);
    let host = HttpHost::start(&project);
    let (fields, message) = newer("sleep__sleep", json!({"ms": 6_500}));
    let mut stream = BufReader::new(host.send(&request(&fields, &message)));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
    }
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let mut body = String::new();
    stream.read_to_string(&mut body).unwrap();
    // A sign of life comes first: a comment.
    assert!(body.lines().nth(1).unwrap().starts_with(':'), "{body}");
    let told = body.lines().find_map(|line| line.strip_prefix("data: "));
    let told: Value = serde_json::from_str(told.unwrap()).unwrap();
    assert_eq!(told["result"]["content"][0]["text"], "slept", "{body}");
    assert_eq!(body.matches("data: ").count(), 1, "{body}");
}

#[test]
fn who_leaves_such_a_stream_cancels_its_call() {
    let project = Project::of(&[("sleep", programs::SLEEP)]);
    let host = HttpHost::start(&project);
    let (fields, message) = newer("sleep__sleep", json!({"ms": 29_000}));
    let mut stream = BufReader::new(host.send(&request(&fields, &message)));
    let mut line = String::new();
    while !line.starts_with(':') {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "it ended");
    }
    assert!(!ended_as(&project, "cancelled"));
    drop(stream);
    eventually("it is cancelled", || ended_as(&project, "cancelled"));
}

/// All pages of a list, as whoever asks gets them.
fn pages(mut page: impl FnMut(Value) -> Value) -> Vec<Value> {
    let mut pages = Vec::new();
    let mut params = json!({});
    loop {
        let mut result = page(params.clone());
        let tools = result["tools"].take();
        let (cursor, count) = (result["nextCursor"].clone(), pages.len());
        pages.push(tools);
        if cursor.is_null() {
            return pages;
        }
        assert!(count < 10, "it has no end: {cursor}");
        params["cursor"] = cursor;
    }
}

#[test]
fn lists_are_the_same_over_http_and_pipes() {
    let aliases: Vec<String> = (0..600).map(|number| format!("p{number}")).collect();
    let plugins: Vec<_> = aliases
        .iter()
        .map(|alias| (alias.as_str(), programs::ECHO))
        .collect();
    let project = Project::of(&plugins);
    let mut pipe = project.serve();
    let expected = pages(|params| pipe.request("tools/list", params)["result"].clone());
    assert_eq!(expected.len(), 2);
    assert_eq!(expected[0].as_array().unwrap().len(), 1_000);
    assert!(pipe.close());

    let host = HttpHost::start(&project);
    // An id that looks like what the list is put in place of.
    let list = |params: &Value| {
        let id = "\"tools\":[]";
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/list", "params": params})
    };
    let session = host.greet();
    let older = pages(|params| {
        let (_, mut answers) = host.post(&older(&session), &list(&params));
        assert_eq!(answers[0]["id"], "\"tools\":[]");
        answers[0]["result"].take()
    });
    assert!(older == expected);
    let newer = pages(|mut params| {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let fields = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n";
        let (head, mut answers) = host.post(fields, &list(&params));
        assert!(head.contains("content-length: "), "{head}");
        assert_eq!(answers[0]["id"], "\"tools\":[]");
        assert_eq!(answers[0]["result"]["resultType"], "complete");
        answers[0]["result"].take()
    });
    // Those of the older era read besides that each can be a task.
    let mut expected = expected;
    for tool in expected
        .iter_mut()
        .flat_map(|page| page.as_array_mut().unwrap())
    {
        let execution = tool.as_object_mut().unwrap().remove("execution");
        assert_eq!(
            execution,
            Some(json!({"taskSupport": "optional"})),
            "{tool}"
        );
    }
    assert!(newer == expected);
}

#[test]
fn a_session_can_cancel_a_call() {
    let project = Project::of(&[("sleep", programs::SLEEP)]);
    let host = HttpHost::start(&project);
    let session = host.greet();
    host.post(&older(&session), &call("sleep__sleep", json!({"ms": 1})));
    let long = call("sleep__sleep", json!({"ms": 25_000}));
    let waiting = host.send(&request(&older(&session), &long));
    // It is being worked on once its id can't be used again.
    eventually("it is worked on", || {
        let (head, _) = host.post(
            &older(&session),
            &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}),
        );
        head.starts_with("HTTP/1.1 400")
    });
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    let (head, _) = host.post(&older(&session), &cancel);
    assert!(head.starts_with("HTTP/1.1 202"), "{head}");
    let (_, answers) = whole(waiting);
    assert!(answers.is_empty(), "{answers:?}");
}

#[test]
fn requests_of_a_session_are_bounded() {
    let project = Project::with(&format!(
        "[serve]\nlimits = {{ session-requests = 1 }}\n{}",
        plugin("sleep", programs::SLEEP)
    ));
    let host = HttpHost::start(&project);
    let session = host.greet();
    let long = call("sleep__sleep", json!({"ms": 2_000}));
    let waiting = host.send(&request(&older(&session), &long));
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    eventually("the second is refused", || {
        let (head, answers) = host.post(&older(&session), &ping);
        let refused = head.starts_with("HTTP/1.1 429");
        assert!(
            !refused
                || answers[0]["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("session-requests")
        );
        refused
    });
    let (_, answers) = whole(waiting);
    assert_eq!(answers[0]["result"]["content"][0]["text"], "slept");
}

/// Reads until this has come, or the other side closes.
pub(crate) fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if count == 0 || text.contains(wanted) {
            return text;
        }
    }
}

#[test]
fn what_a_request_holds_is_counted_until_it_has_ended() {
    let project = Project::with(&format!(
        "[serve]\nlimits = {{ body = '1 MiB', bodies = '1 MiB' }}\n{}",
        plugin("sleep", programs::SLEEP)
    ));
    let host = HttpHost::start(&project);
    let session = host.greet();
    let large = |mut message: Value, id: u64| {
        message["id"] = id.into();
        message["params"]["_meta"]["x"] = "x".repeat(700_000).into();
        message
    };
    let status = |id| {
        let call = large(call("sleep__sleep", json!({"ms": 1})), id);
        let (head, _) = host.post(&older(&session), &call);
        head.split(' ').nth(1).map(str::to_owned)
    };
    assert_eq!(status(1).as_deref(), Some("200"));
    // A call whose stream has begun.
    let long = large(call("sleep__sleep", json!({"ms": 25_000})), 2);
    let mut called = host.send(&request(&older(&session), &long));
    let began = until(&mut called, "id: a");
    assert!(began.contains("text/event-stream"), "{began}");
    assert_eq!(status(3).as_deref(), Some("503"));
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
    host.post(&older(&session), &cancel);
    eventually("it has ended", || status(4).as_deref() == Some("200"));
    // In the newer era, whoever listens.
    let (fields, mut listen) = newer("subscriptions/listen", json!({}));
    let fields = fields
        .replace("tools/call", "subscriptions/listen")
        .replace("mcp-name: subscriptions/listen\r\n", "");
    listen["method"] = "subscriptions/listen".into();
    listen["params"]["notifications"] = json!({"toolsListChanged": true});
    let mut listening = host.send(&request(&fields, &large(listen, 5)));
    let began = until(&mut listening, "acknowledged");
    assert!(began.contains("text/event-stream"), "{began}");
    assert_eq!(status(6).as_deref(), Some("503"));
    drop(listening);
    eventually("it has gone", || status(7).as_deref() == Some("200"));
}

#[test]
fn a_host_that_ends_gives_the_answers_that_are_worked_on() {
    let project = Project::of(&[("sleep", programs::SLEEP)]);
    let mut host = HttpHost::start(&project);
    let (fields, message) = newer("sleep__sleep", json!({"ms": 1}));
    host.post(&fields, &message);
    let (fields, message) = newer("sleep__sleep", json!({"ms": 2_000}));
    let waiting = host.send(&request(&fields, &message));
    // It is heard before the signal is.
    eventually("it runs", || {
        let status = project.run(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["host"]["running"] == 1 || status.to_string().contains("\"running\":1")
    });
    host.signal("TERM");
    eventually("nobody is let in", || {
        TcpStream::connect(host.address).is_err()
    });
    let (_, answers) = whole(waiting);
    assert_eq!(answers[0]["result"]["content"][0]["text"], "slept");
    assert!(host.ended());
}

#[test]
fn a_host_that_ends_cancels_what_takes_too_long() {
    let project = Project::with(&format!(
        "[serve]\nlimits = {{ drain = '300ms' }}\n{}",
        plugin("sleep", programs::SLEEP)
    ));
    let mut host = HttpHost::start(&project);
    let (fields, message) = newer("sleep__sleep", json!({"ms": 1}));
    host.post(&fields, &message);
    let (fields, message) = newer("sleep__sleep", json!({"ms": 29_000}));
    let mut waiting = host.send(&request(&fields, &message));
    std::thread::sleep(std::time::Duration::from_millis(300));
    host.signal("TERM");
    assert!(host.ended());
    let mut rest = String::new();
    let _ = waiting.read_to_string(&mut rest);
    assert!(!rest.contains("slept"), "{rest}");
}

#[test]
fn a_signal_has_the_project_read_again_while_calls_run() {
    let project = Project::of(&[("sleep", programs::SLEEP)]);
    let host = HttpHost::start(&project);
    let (fields, message) = newer("sleep__sleep", json!({"ms": 1}));
    host.post(&fields, &message);
    let (fields, message) = newer("sleep__sleep", json!({"ms": 1_500}));
    let waiting = host.send(&request(&fields, &message));
    project.write(&plugin("echo", programs::ECHO));
    host.signal("HUP");
    let (fields, message) = newer("echo__echo", json!({}));
    eventually("the new plugin is there", || {
        let (_, answers) = host.post(&fields, &message);
        answers
            .first()
            .is_some_and(|answer| answer["result"].is_object())
    });
    assert!(project.host_log().contains("as a signal asked for"));
    let (_, answers) = whole(waiting);
    assert_eq!(answers[0]["result"]["content"][0]["text"], "slept");
}

#[test]
fn sockets_of_a_service_manager_are_taken() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let serve = project.portreeve(&["serve", "--listen", "inherited"]);
    // A service manager hands sockets over from the third descriptor on.
    let handing = format!(
        "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&{}",
        listener.as_raw_fd()
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &handing, "sh"])
        .arg(serve.get_program());
    command.args(serve.get_args());
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let host = HttpHost::of(command);
    assert_eq!(host.address, listener.local_addr().unwrap());
    let (fields, message) = newer("echo__echo", json!({}));
    let (_, answers) = host.post(&fields, &message);
    assert!(answers[0]["result"].is_object(), "{answers:?}");
    drop(host);
    let output = project.run(&["serve", "--listen", "inherited"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no sockets were handed over"), "{said}");
}

#[test]
fn listening_for_others_must_be_asked_for() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let output = project.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--allow-remote"), "{said}");
    let host =
        HttpHost::of(project.portreeve(&["serve", "--listen", "0.0.0.0:0", "--allow-remote"]));
    assert!(host.address.ip().is_unspecified());
    assert!(project.host_log().contains("--allow-remote"));
}

#[test]
fn a_second_host_can_not_listen_and_other_clients_share_the_first() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let _host = HttpHost::start(&project);
    let output = project.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("another `portreeve serve` owns"), "{said}");
    let mut client = project.serve();
    assert!(client.tools().contains(&"echo__echo".to_owned()));
}
