//! A command on a terminal: what it asks is answered as a person answers.
//!
//! The terminal is that of `script`, which is part of every Linux (util-linux).

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use crate::support::{PATIENCE, Project};

/// The command, and what it has shown.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    bytes: Receiver<Vec<u8>>,
    shown: Vec<u8>,
    /// How much of `shown` was waited for.
    seen: usize,
}

impl Terminal {
    /// Starts a command of the project on a terminal of its own.
    pub(crate) fn open(project: &Project, arguments: &[&str]) -> Terminal {
        let portreeve = project.portreeve(arguments);
        let words: Vec<String> = std::iter::once(portreeve.get_program())
            .chain(portreeve.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")))
            .collect();
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--echo", "never", "--command"])
            .arg(words.join(" "))
            .arg("/dev/null")
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh");
        for (name, value) in portreeve.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script` of util-linux starts");
        let (sender, bytes) = channel();
        let mut stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut part) {
                if sender.send(part[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal {
            keys: child.stdin.take().unwrap(),
            child,
            bytes,
            shown: Vec::new(),
            seen: 0,
        }
    }

    /// Waits until it shows a text after what was waited for before. Gives what stood
    /// between.
    #[track_caller]
    pub(crate) fn sees(&mut self, text: &str) -> String {
        let since = Instant::now();
        loop {
            let new = &self.shown[self.seen..];
            if let Some(at) = new.windows(text.len()).position(|w| w == text.as_bytes()) {
                let before = String::from_utf8_lossy(&new[..at]).into_owned();
                self.seen += at + text.len();
                return before;
            }
            let left = PATIENCE.saturating_sub(since.elapsed());
            match self.bytes.recv_timeout(left) {
                Ok(part) => self.shown.extend(part),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no `{text}` after {:?}", String::from_utf8_lossy(new))
                }
            }
        }
    }

    /// Presses keys.
    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the end: the exit code, and what was shown after what was waited for.
    pub(crate) fn ends(mut self) -> (i32, String) {
        let since = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(since.elapsed());
            match self.bytes.recv_timeout(left) {
                Ok(part) => self.shown.extend(part),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
        let code = self.child.wait().unwrap().code().unwrap();
        let rest = String::from_utf8_lossy(&self.shown[self.seen..]).into_owned();
        (code, rest)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
