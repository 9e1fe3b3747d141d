//! Webhooks of others that become messages, and messages that are sent to others.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};

use crate::http::HttpHost;
use crate::support::{PATIENCE, Project};
use crate::web::{done, set_secret};

const SECRET: &str = "it is known to both";
const OUT_KEY: &[u8] = b"another that both know";

const SCHEMA: &str = r#"{"type": "object", "required": ["action"]}"#;

fn project(out: u16) -> Project {
    let project = Project::with("");
    let manifest = std::fs::read_to_string(project.manifest()).unwrap();
    let webhooks = format!(
        "\n[webhooks.in.github]\ntopic = \"github.event\"\nsignature = \"github\"\n\
         secrets = [\"github-webhook\"]\nschema = \"event.json\"\n\
         \n[webhooks.out.copy]\ntopics = [\"github.>\"]\nurl = \"http://127.0.0.1:{out}/hook\"\n\
         secrets = [\"copy-webhook\"]\n"
    );
    std::fs::write(project.manifest(), manifest + &webhooks).unwrap();
    std::fs::write(project.manifest().with_file_name("event.json"), SCHEMA).unwrap();
    project
}

fn with_secrets(out: u16) -> Project {
    let project = project(out);
    set_secret(&project, "github-webhook", SECRET);
    let key = format!("whsec_{}", STANDARD.encode(OUT_KEY));
    set_secret(&project, "copy-webhook", &key);
    project
}

/// What GitHub would send.
fn signed(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("x-hub-signature-256: sha256={hex}\r\nx-github-event: issues\r\n")
}

/// Sends something to a path; the status, the head and what is said.
fn post(host: &HttpHost, path: &str, fields: &str, body: &str) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(host.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let said = serde_json::from_str(body).unwrap_or(Value::Null);
    (status, head.to_owned(), said)
}

/// A request as the other side got it.
struct Got {
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn field(&self, name: &str) -> &str {
        let field = self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        field.unwrap_or_else(|| panic!("{name}: {}", self.head))
    }

    /// As the specification says that it is to be looked at.
    fn is_signed(&self) -> bool {
        let (id, time) = (self.field("webhook-id"), self.field("webhook-timestamp"));
        let mut content = format!("{id}.{time}.").into_bytes();
        content.extend(&self.body);
        let tag = self.field("webhook-signature").strip_prefix("v1,").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, OUT_KEY);
        hmac::verify(&key, &content, &STANDARD.decode(tag).unwrap()).is_ok()
    }
}

/// A server that is busy once, and then takes all that comes.
fn receiver() -> (u16, mpsc::Receiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
            }
            let mut got = Got {
                head,
                body: Vec::new(),
            };
            got.body = vec![0; got.field("content-length").parse().unwrap()];
            reader.read_exact(&mut got.body).unwrap();
            let status = if number == 0 { "503 Busy" } else { "204 Taken" };
            write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\n\r\n").unwrap();
            sender.send(got).unwrap();
        }
    });
    (port, receiver)
}

#[test]
fn what_others_send_becomes_messages_that_are_sent_on() {
    let (port, received) = receiver();
    let project = with_secrets(port);
    let host = HttpHost::start(&project);
    let body = r#"{"action":"opened"}"#;
    let (status, head, taken) = post(&host, "/webhooks/github", &signed(SECRET, body), body);
    assert_eq!(status, 202, "{head} {taken}");
    assert_eq!(taken["duplicate"], json!(false));
    // The same thing again is no second message.
    let (status, _, again) = post(&host, "/webhooks/github", &signed(SECRET, body), body);
    assert_eq!((status, &again["duplicate"]), (202, &json!(true)));
    assert_eq!(again["message"], taken["message"]);

    let busy = received.recv_timeout(PATIENCE).unwrap();
    let got = received.recv_timeout(PATIENCE).unwrap();
    assert!(busy.is_signed() && got.is_signed());
    assert_eq!(busy.field("webhook-id"), got.field("webhook-id"));
    let event: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(event["id"], taken["message"]);
    assert_eq!(event["type"], "github.event");
    assert_eq!(event["source"], "/webhooks/github");
    assert_eq!(event["principal"], "webhook:github");
    assert_eq!(event["githubevent"], "issues");
    assert_eq!(event["data"], json!({"action": "opened"}));
    let audit = done(&project.run(&["audit", "search", "--kind", "webhook"]));
    assert!(audit.contains("github.event"), "{audit}");
}

#[test]
fn what_is_not_as_it_should_be_is_no_message() {
    let (port, _received) = receiver();
    let project = with_secrets(port);
    let host = HttpHost::start(&project);
    let body = r#"{"action":"opened"}"#;
    let other = r#"{"sender":"x"}"#;
    let long = format!("{{\"action\":\"{}\"}}", "x".repeat(300 << 10));
    for (path, fields, body, status) in [
        ("/webhooks/gitlab", signed(SECRET, body), body, 404),
        ("/webhooks/github", String::new(), body, 401),
        ("/webhooks/github", signed("another", body), body, 401),
        ("/webhooks/github", signed(SECRET, other), body, 401),
        ("/webhooks/github", signed(SECRET, other), other, 422),
        ("/webhooks/github", signed(SECRET, "{"), "{", 422),
        ("/webhooks/github", signed(SECRET, &long), &long, 413),
    ] {
        let (got, head, said) = post(&host, path, &fields, body);
        assert_eq!(got, status, "{path} {fields}: {head} {said}");
        assert!(said["error"].is_string(), "{said}");
    }
    let stats = done(&project.run(&["bus", "stats", "--json"]));
    assert!(!stats.contains("\"github.event\""), "{stats}");
    // One record of those that were not believed, however many there are.
    let audit = done(&project.run(&["audit", "search", "--kind", "login-failed"]));
    assert_eq!(audit.matches("webhook:github").count(), 1, "{audit}");
}

#[test]
fn a_webhook_without_its_secret_says_so() {
    let (port, _received) = receiver();
    let project = project(port);
    let host = HttpHost::start(&project);
    let body = r#"{"action":"opened"}"#;
    let (status, _, said) = post(&host, "/webhooks/github", &signed(SECRET, body), body);
    assert_eq!(status, 503, "{said}");
    drop(host);
    std::fs::remove_file(project.manifest().with_file_name("event.json")).unwrap();
    let output = project.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(!output.status.success());
    assert!(
        crate::web::said(&output).contains("event.json"),
        "{}",
        crate::web::said(&output)
    );
}
