//! A browser without a window: Debian's chromium, over its own protocol through pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use serde_json::{Value, json};

use crate::skipped::skipped;
use crate::support::{PATIENCE, eventually};

/// A browser, with a profile of its own that goes with it.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    next: u64,
    /// What came besides answers.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// Where a script runs: in a page, or in a frame that has a process of its own.
#[derive(Clone, Debug)]
pub(crate) struct Place(String);

impl Browser {
    /// One, where chromium is installed.
    pub(crate) fn start() -> Option<Browser> {
        let Some(program) = program() else {
            skipped(
                "chromium is not installed (`.ci/run` does that, and PORTREEVE_TEST_CHROMIUM names another place)",
            );
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // It speaks over the descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 1>&2"])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (sender, from) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while out.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                if sender
                    .send(serde_json::from_slice(&message).unwrap())
                    .is_err()
                {
                    return;
                }
                message.clear();
            }
        });
        Some(Browser {
            child,
            to,
            from,
            next: 0,
            events: Vec::new(),
            _profile: profile,
        })
    }

    /// Opens a page and waits until it is there.
    pub(crate) fn open(&mut self, url: &str) -> Place {
        let target = self.ask(None, "Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.ask(None, "Target.attachToTarget", attach);
        let place = Place(session["sessionId"].as_str().unwrap().to_owned());
        let frames = json!({"autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true});
        self.ask(Some(&place), "Target.setAutoAttach", frames);
        self.ask(Some(&place), "Page.enable", json!({}));
        self.ask(Some(&place), "Page.navigate", json!({"url": url}));
        self.event("Page.loadEventFired", |_| true);
        place
    }

    /// The frame of the page that was opened last, once its address ends so.
    pub(crate) fn frame(&mut self, ending: &str) -> Place {
        let event = self.event("Target.attachedToTarget", |event| {
            event["params"]["targetInfo"]["type"] == "iframe"
        });
        let frame = Place(event["params"]["sessionId"].as_str().unwrap().to_owned());
        let there =
            format!("location.pathname.endsWith({ending:?}) && document.readyState === 'complete'");
        eventually("the frame is there", || self.value(&frame, &there) == true);
        frame
    }

    /// What an expression comes to, once it has. It runs as if a person had just clicked.
    pub(crate) fn value(&mut self, place: &Place, expression: &str) -> Value {
        let given = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let mut answer = self.ask(Some(place), "Runtime.evaluate", given);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].take()
    }

    /// How many pages there are.
    pub(crate) fn pages(&mut self) -> usize {
        let targets = self.ask(None, "Target.getTargets", json!({}));
        let targets = targets["targetInfos"].as_array().unwrap();
        targets
            .iter()
            .filter(|about| about["type"] == "page")
            .count()
    }

    fn ask(&mut self, place: Option<&Place>, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(Place(session)) = place {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let mut message = self.receive(method);
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    fn event(&mut self, method: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let wanted = |event: &Value| event["method"] == method && fits(event);
        if let Some(at) = self.events.iter().position(wanted) {
            return self.events.remove(at);
        }
        loop {
            let message = self.receive(method);
            if wanted(&message) {
                return message;
            }
            self.events.push(message);
        }
    }

    fn receive(&mut self, what: &str) -> Value {
        let since = Instant::now();
        match self.from.recv_timeout(PATIENCE) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                panic!("nothing came of {what} in {:?}", since.elapsed())
            }
            Err(RecvTimeoutError::Disconnected) => panic!("chromium ended before {what}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    let named = std::env::var_os("PORTREEVE_TEST_CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path)
        .flat_map(|dir| ["chromium", "chromium-browser"].map(|name| dir.join(name)));
    named.or_else(|| found.find(|file| file.is_file()))
}
