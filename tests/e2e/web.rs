//! A server of HTTP on loopback, and a secret for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::Project;

/// An answer: status, header lines, body.
pub(crate) type Page = (u16, String, String);

/// A server that keeps the heads of requests, and answers them by path.
pub(crate) struct Server {
    pub(crate) port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers with what `pages` has for a path.
    pub(crate) fn start(pages: fn(u16, &str) -> Page) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let kept = heads.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = kept.clone();
                // A client that leaves is no failure of the server.
                std::thread::spawn(move || stream.map(|stream| serve(stream, port, pages, &kept)));
            }
        });
        Server { port, heads }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    port: u16,
    pages: fn(u16, &str) -> Page,
    kept: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let target = head.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let (status, headers, body) = pages(port, path);
        kept.lock().unwrap().push(head);
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}"
        )?;
    }
}

/// Puts a bearer token into a project's vault.
pub(crate) fn set_secret(project: &Project, name: &str, value: &str) {
    let mut set = project
        .portreeve(&["secrets", "set", name, "--kind", "bearer"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = set.stdin.take().unwrap();
    input.write_all(value.as_bytes()).unwrap();
    drop(input);
    done(&set.wait_with_output().unwrap());
}

/// All that a command has said.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What a command has said that must have ended well.
#[track_caller]
pub(crate) fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// What the audit log has of a kind.
pub(crate) fn records(project: &Project, kind: &str) -> Vec<Value> {
    records_of(project, &[kind])
}

/// What it has of several.
pub(crate) fn records_of(project: &Project, kinds: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["audit", "search", "--json"];
    for kind in kinds {
        arguments.extend(["--kind", kind]);
    }
    done(&project.run(&arguments))
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
