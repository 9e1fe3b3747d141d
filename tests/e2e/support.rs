//! Projects in temporary directories, and clients that speak MCP with the real binary.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take before a test gives up: generous, since it is no measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A project, removed when it is dropped.
pub(crate) struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    /// One with this text after `schema = 1`.
    pub(crate) fn with(text: &str) -> Project {
        let project = Project {
            dir: tempfile::tempdir().unwrap(),
        };
        project.write(text);
        project
    }

    /// One with these components, by alias.
    pub(crate) fn of(plugins: &[(&str, &str)]) -> Project {
        Project::with(
            &plugins
                .iter()
                .map(|(alias, path)| plugin(alias, path))
                .collect::<String>(),
        )
    }

    /// An empty directory, for commands that make a project.
    pub(crate) fn none() -> Project {
        Project {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.path().join("portreeve.toml")
    }

    /// Replaces the manifest, as editors do: written beside, then renamed.
    pub(crate) fn write(&self, text: &str) {
        let beside = self.path().join(".new.toml");
        std::fs::write(&beside, format!("schema = 1\n{text}")).unwrap();
        std::fs::rename(beside, self.manifest()).unwrap();
    }

    /// A command on this project, with the caches that all tests share.
    pub(crate) fn portreeve(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
        command
            .arg("--project")
            .arg(self.path())
            .args(arguments)
            .env("PORTREEVE_CACHE_DIR", shared.join("cache"))
            .env("PORTREEVE_STATE_DIR", shared.join("state"))
            .env_remove("PORTREEVE_PROJECT")
            .env_remove("PORTREEVE_LOG");
        command
    }

    /// Runs a command to its end. One that reads the audit log gives what was done just now a
    /// moment to be there: calls are in it within 50 ms, on a machine that is not too busy.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        if arguments.first() == Some(&"audit") {
            std::thread::sleep(Duration::from_millis(250));
        }
        self.portreeve(arguments).output().unwrap()
    }

    /// A client that has said `initialize`.
    pub(crate) fn serve(&self) -> Client {
        let mut client = self.connect();
        client.initialize();
        client
    }

    /// A client that has said nothing yet.
    pub(crate) fn connect(&self) -> Client {
        Client::start(self.portreeve(&["serve"]))
    }

    /// What guests have written so far, as the log has it.
    pub(crate) fn guest_log(&self) -> String {
        self.log("guest.log")
    }

    /// What owners of the project have written so far.
    pub(crate) fn host_log(&self) -> String {
        self.log("host.log")
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(".portreeve/logs").join(name)).unwrap_or_default()
    }
}

/// A plugin's table in a manifest.
pub(crate) fn plugin(alias: &str, path: &str) -> String {
    format!("[plugins.{alias}]\nsource = {path:?}\n")
}

/// A raw MCP client: lines to and from the server's pipes, all of which must be JSON-RPC.
pub(crate) struct Client {
    child: Child,
    to: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
    next: u64,
    /// What came besides answers.
    pub(crate) notifications: Vec<Value>,
}

impl Client {
    pub(crate) fn start(mut command: Command) -> Client {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = reader(child.stdout.take().unwrap());
        let errors = reader(child.stderr.take().unwrap());
        Client {
            to: child.stdin.take(),
            child,
            lines,
            errors,
            next: 0,
            notifications: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line as it is.
    pub(crate) fn send_line(&mut self, line: &str) {
        let to = self.to.as_mut().expect("stdin is open");
        to.write_all(line.as_bytes()).unwrap();
        to.write_all(b"\n").unwrap();
        to.flush().unwrap();
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.send_line(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
    }

    /// Sends a request and returns its id.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        let id = self.next;
        self.send_line(
            &json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string(),
        );
        id
    }

    /// The next message; every line must be JSON-RPC.
    pub(crate) fn message(&mut self) -> Value {
        match self.message_within(PATIENCE) {
            Some(message) => message,
            None => panic!("nothing came; stderr: {:?}", self.stderr()),
        }
    }

    /// The next message, if one comes in time.
    pub(crate) fn message_within(&mut self, patience: Duration) -> Option<Value> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                let message: Value = serde_json::from_str(&line)
                    .unwrap_or_else(|_| panic!("not JSON on the protocol's stream: {line}"));
                assert_eq!(message["jsonrpc"], "2.0", "not JSON-RPC: {line}");
                Some(message)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the server ended; stderr: {:?}", self.stderr())
            }
        }
    }

    /// The answer to a request; notifications before it are kept.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.message();
            if message.get("method").is_some() {
                self.notifications.push(message);
            } else {
                assert_eq!(
                    message["id"],
                    json!(id),
                    "an answer to another request: {message}"
                );
                return message;
            }
        }
    }

    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        self.answer(id)
    }

    /// The legacy handshake.
    pub(crate) fn initialize(&mut self) -> Value {
        let answer = self.request(
            "initialize",
            json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "e2e", "version": "1"},
            }),
        );
        self.notify("notifications/initialized", json!({}));
        answer
    }

    /// The names of all tools.
    pub(crate) fn tools(&mut self) -> Vec<String> {
        let answer = self.request("tools/list", json!({}));
        let tools = answer["result"]["tools"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"));
        tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A call's result, error or not.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(answer.get("result").is_some(), "{answer}");
        answer["result"].clone()
    }

    /// The text of a call that must succeed.
    pub(crate) fn text(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], json!(true), "{result}");
        result["content"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("{result}"))
            .to_owned()
    }

    /// Waits for a notification of this method.
    pub(crate) fn notification(&mut self, method: &str) -> Value {
        let since = Instant::now();
        loop {
            if let Some(at) = self
                .notifications
                .iter()
                .position(|n| n["method"] == method)
            {
                return self.notifications.remove(at);
            }
            assert!(since.elapsed() < PATIENCE, "no {method}");
            let message = self.message();
            self.notifications.push(message);
        }
    }

    /// What it has said on stderr.
    pub(crate) fn stderr(&mut self) -> Vec<String> {
        self.errors.try_iter().collect()
    }

    /// Closes the connection and waits for the process; whether it ended well.
    pub(crate) fn close(self) -> bool {
        self.leave().ended()
    }

    /// Closes the connection without waiting for the process.
    pub(crate) fn leave(mut self) -> Client {
        drop(self.to.take());
        self
    }

    /// Waits for the process to end.
    pub(crate) fn ended(&mut self) -> bool {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(since.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process a signal, such as `TERM`.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

fn reader(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What an answer to a call has besides texts.
pub(crate) fn structured(answer: &Value) -> &Value {
    let structured = &answer["result"]["structuredContent"];
    assert!(structured.is_object(), "{answer}");
    structured
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "it never came that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// CPU time that a process has used, that of threads which have ended included.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    /// A tick of the clock as Linux shows it to programs.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything, `utime` and `stime` are the 12th and 13th.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u32 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u32>().unwrap())
        .sum();
    TICK * ticks
}

/// Waits until a process has been busy for a while, from now on.
pub(crate) fn until_it_spins(pid: u32) {
    let before = cpu_of(pid);
    eventually("it spins", || {
        cpu_of(pid).saturating_sub(before) > Duration::from_millis(300)
    });
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
