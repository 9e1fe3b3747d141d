//! Webhooks, in and out: the binary, a secret in its vault, and somebody outside.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::http::HttpHost;
use crate::post::{self, Post, dead};
use crate::support::{Project, eventually};
use crate::web::{done, set_secret};

const KEY: &[u8] = b"a key of two dozen bytes";

fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(KEY))
}

fn mac(parts: &[&[u8]], key: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// The headers of a request as Standard Webhooks has them.
fn signed(id: &str, time: u64, body: &str) -> String {
    signed_by(KEY, id, time, body)
}

fn signed_by(key: &[u8], id: &str, time: u64, body: &str) -> String {
    let signature = mac(&[format!("{id}.{time}.").as_bytes(), body.as_bytes()], key);
    format!(
        "webhook-id: {id}\r\nwebhook-timestamp: {time}\r\nwebhook-signature: v1,{}\r\n",
        STANDARD.encode(signature)
    )
}

/// POSTs a body; the status and what was answered.
fn send(to: SocketAddr, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(to).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

const IN: &str = "
[webhooks.in.builds]
topic = \"a.builds\"
signature = \"standard\"
secret = \"vault:hook\"
body = \"2 KiB\"
[webhooks.in.builds.schema]
required = [\"state\"]
properties.state = { enum = [\"note failed\", \"note fixed\"] }
[webhooks.in.github]
topic = \"a.github\"
signature = \"github\"
secret = \"vault:hook\"
[webhooks.in.nobody]
topic = \"a.nobody\"
signature = \"stripe\"
secret = \"vault:missing\"
";

#[test]
fn what_is_signed_becomes_a_message_and_nothing_else_does() {
    let project = post::project(IN, &[Post::fresh("a")]);
    set_secret(&project, "hook", &secret());
    let host = HttpHost::start(&project);
    post::until_they_subscribe(&project, &["a"]);
    let to = host.address;
    let body = json!({"state": "note failed"}).to_string();
    let taken = send(to, "/hooks/builds", &signed("m-1", now(), &body), &body);
    assert_eq!(
        (taken.0, &taken.1["duplicate"]),
        (202, &json!(false)),
        "{taken:?}"
    );
    // It was published when that was answered, and once: a sender that tries again is told so.
    let again = send(to, "/hooks/builds", &signed("m-1", now() - 1, &body), &body);
    assert_eq!(
        (again.0, &again.1["duplicate"]),
        (202, &json!(true)),
        "{again:?}"
    );
    assert_eq!(again.1["id"], taken.1["id"]);
    let stats = done(&project.run(&["bus", "stats", "--json"]));
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let topics = stats["topics"].as_array().unwrap();
    let topic = topics.iter().find(|topic| topic["topic"] == "a.builds");
    assert_eq!(topic.unwrap()["published"], 1, "{stats}");

    let unfit = json!({"state": "odd"}).to_string();
    let large = json!({"state": "note failed", "more": "x".repeat(3_000)}).to_string();
    for (status, path, headers, body) in [
        (401, "/hooks/builds", String::new(), &body),
        (401, "/hooks/builds", signed("m-2", now(), "{}"), &body),
        (
            401,
            "/hooks/builds",
            signed("m-2", now() - 301, &body),
            &body,
        ),
        (
            401,
            "/hooks/builds",
            signed("m-2", now() + 400, &body),
            &body,
        ),
        (401, "/hooks/github", signed("m-2", now(), &body), &body),
        (422, "/hooks/builds", signed("m-2", now(), &unfit), &unfit),
        (413, "/hooks/builds", signed("m-2", now(), &large), &large),
        (404, "/hooks/other", signed("m-2", now(), &body), &body),
        (
            503,
            "/hooks/nobody",
            "stripe-signature: t=1,v1=00\r\n".to_owned(),
            &body,
        ),
    ] {
        let refused = send(to, path, &headers, body);
        assert_eq!(refused.0, status, "{path}: {refused:?}");
    }
    let doubled = format!("{}webhook-id: m-3\r\n", signed("m-2", now(), &body));
    assert_eq!(send(to, "/hooks/builds", &doubled, &body).0, 401);

    // GitHub's form, with what kind of event it is.
    let digest = mac(&[body.as_bytes()], secret().as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let headers = format!("x-hub-signature-256: sha256={digest}\r\nx-github-event: push\r\n");
    let taken = send(to, "/hooks/github", &headers, &body);
    assert_eq!(taken.0, 202, "{taken:?}");
    let mut audit = String::new();
    eventually("all of it is on record", || {
        let search = project.run(&["audit", "search", "--kind", "webhook", "--json"]);
        audit = done(&search);
        let parts = ["webhook:builds", "webhook:github", "refused", "a.builds"];
        parts.iter().all(|part| audit.contains(part))
    });
    assert!(!audit.contains(&secret()));
}

const FORMER_KEY: &[u8] = b"the key that was there before";

fn former_secret() -> String {
    format!("whsec_{}", STANDARD.encode(FORMER_KEY))
}

/// While one secret takes the place of another, either will do, and it is on record which one
/// did; a delivery that comes again under the other is the same one.
#[test]
fn either_secret_will_do_while_one_takes_the_place_of_the_other() {
    let hooks = |secret: &str| {
        format!(
            "[webhooks.in.builds]\ntopic = \"a.builds\"\nsignature = \"standard\"\nsecret = {secret}\n\
             [webhooks.in.github]\ntopic = \"a.github\"\nsignature = \"github\"\nsecret = {secret}\n"
        )
    };
    let both = hooks("[\"vault:hook-new\", \"vault:hook\"]");
    let project = post::project(&both, &[Post::fresh("a")]);
    set_secret(&project, "hook-new", &secret());
    set_secret(&project, "hook", &former_secret());
    let host = HttpHost::start(&project);
    let to = host.address;
    let body = "{}";
    for (id, key) in [("m-1", KEY), ("m-2", FORMER_KEY)] {
        let taken = send(to, "/hooks/builds", &signed_by(key, id, now(), body), body);
        assert_eq!(taken.0, 202, "{taken:?}");
    }
    let neither = signed_by(b"another one", "m-3", now(), body);
    assert_eq!(send(to, "/hooks/builds", &neither, body).0, 401);
    let github = |secret: &str| {
        let digest = mac(&[body.as_bytes()], secret.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("x-hub-signature-256: sha256={digest}\r\n")
    };
    for (secret, duplicate) in [(former_secret(), false), (secret(), true)] {
        let taken = send(to, "/hooks/github", &github(&secret), body);
        assert_eq!(
            (taken.0, &taken.1["duplicate"]),
            (202, &json!(duplicate)),
            "{taken:?}"
        );
    }
    let mut audit = String::new();
    eventually("both are on record", || {
        audit = done(&project.run(&["audit", "search", "--kind", "webhook", "--json"]));
        let audit = audit.replace(' ', "");
        audit.contains("\"secret\":\"hook-new\"") && audit.contains("\"secret\":\"hook\"")
    });
    for key in [secret(), former_secret()] {
        assert!(!audit.contains(&key));
    }

    // The former one goes.
    post::write(&project, &hooks("\"vault:hook-new\""), &[Post::fresh("a")]);
    eventually("it is taken up", || {
        let former = signed_by(FORMER_KEY, "m-4", now(), body);
        send(to, "/hooks/builds", &former, body).0 == 401
    });
    let taken = send(to, "/hooks/builds", &signed("m-5", now(), body), body);
    assert_eq!(taken.0, 202, "{taken:?}");
    // One that is not in the vault yet is not held against the sender.
    let missing = hooks("[\"vault:missing\", \"vault:hook-new\"]");
    post::write(&project, &missing, &[Post::fresh("a")]);
    eventually("it is taken up", || {
        let former = signed_by(FORMER_KEY, "m-6", now(), body);
        send(to, "/hooks/builds", &former, body).0 == 503
    });
    let taken = send(to, "/hooks/builds", &signed("m-7", now(), body), body);
    assert_eq!(taken.0, 202, "{taken:?}");
}

/// Somebody outside: what it got, and what it answers next.
struct Outside {
    address: SocketAddr,
    got: Arc<Mutex<Vec<(String, String)>>>,
}

impl Outside {
    fn start(answers: &'static [u16]) -> Outside {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::<Mutex<Vec<(String, String)>>>::default();
        let kept = got.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    assert_ne!(stream.read_line(&mut head).unwrap(), 0);
                }
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                let mut body = vec![0; length.unwrap().parse().unwrap()];
                stream.read_exact(&mut body).unwrap();
                kept.lock()
                    .unwrap()
                    .push((head, String::from_utf8(body).unwrap()));
                let status = answers.get(number).or(answers.last()).unwrap();
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        Outside { address, got }
    }

    fn got(&self) -> Vec<(String, String)> {
        self.got.lock().unwrap().clone()
    }
}

fn out(outside: &Outside, attempts: u32) -> Project {
    let head = format!(
        "[messages]\nattempts = {attempts}\n[webhooks.out.ci]\ntopics = [\"builds.>\"]\nurl = \"http://{}/in?x=1\"\nsecret = \"vault:hook\"\n",
        outside.address
    );
    let project = post::project(&head, &[]);
    set_secret(&project, "hook", &secret());
    project
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let found = head
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")));
    found.unwrap_or_else(|| panic!("{name}: {head}"))
}

#[test]
fn messages_go_out_signed_and_again_until_they_are_taken() {
    let outside = Outside::start(&[500, 204]);
    let project = out(&outside, 5);
    let serving = project.serve();
    eventually("it subscribes", || {
        done(&project.run(&["bus", "stats"])).contains("builds.>")
    });
    done(&project.run(&[
        "bus",
        "publish",
        "builds.failed",
        "{\"n\": 1}",
        "--content-type",
        "application/json",
    ]));
    eventually("it is sent, and once more", || outside.got().len() == 2);
    let got = outside.got();
    for (head, body) in &got {
        assert!(head.starts_with("POST /in?x=1 "), "{head}");
        assert_eq!(header(head, "content-type"), "application/cloudevents+json");
        let (id, time) = (
            header(head, "webhook-id"),
            header(head, "webhook-timestamp"),
        );
        let content = format!("{id}.{time}.{body}");
        let signature = format!("v1,{}", STANDARD.encode(mac(&[content.as_bytes()], KEY)));
        assert_eq!(header(head, "webhook-signature"), signature);
        let event: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&event["type"], &event["id"]),
            (&json!("builds.failed"), &json!(id))
        );
        assert_eq!(event["data"], json!({"n": 1}));
    }
    assert_eq!(got[0].1, got[1].1);
    eventually("it is settled", || {
        !done(&project.run(&["bus", "stats"])).contains("1 wait")
    });
    assert_eq!(dead(&project).len(), 0);
    assert!(serving.close());
}

#[test]
fn what_is_never_taken_is_a_dead_letter() {
    let outside = Outside::start(&[500]);
    let project = out(&outside, 2);
    let _serving = project.serve();
    eventually("it subscribes", || {
        done(&project.run(&["bus", "stats"])).contains("builds.>")
    });
    done(&project.run(&["bus", "publish", "builds.failed", "x"]));
    let mut letters = Vec::new();
    eventually("it is given up", || {
        letters = dead(&project);
        !letters.is_empty()
    });
    assert_eq!((letters.len(), &letters[0]["attempts"]), (1, &json!(2)));
    assert!(
        letters[0]["detail"].as_str().unwrap().contains("500"),
        "{letters:?}"
    );
    assert_eq!(outside.got().len(), 2);
}

/// What goes out while one secret takes the place of another is signed with both, the newest
/// first, and each use is on record.
#[test]
fn what_goes_out_is_signed_with_each_secret() {
    let outside = Outside::start(&[204]);
    let head = format!(
        "[webhooks.out.ci]\ntopics = [\"builds.>\"]\nurl = \"http://{}/in\"\nsecret = [\"vault:hook-new\", \"vault:hook\"]\n",
        outside.address
    );
    let project = post::project(&head, &[]);
    set_secret(&project, "hook-new", &secret());
    set_secret(&project, "hook", &former_secret());
    let _serving = project.serve();
    eventually("it subscribes", || {
        done(&project.run(&["bus", "stats"])).contains("builds.>")
    });
    done(&project.run(&["bus", "publish", "builds.failed", "x"]));
    eventually("it is sent", || !outside.got().is_empty());
    let (head, body) = &outside.got()[0];
    let (id, time) = (
        header(head, "webhook-id"),
        header(head, "webhook-timestamp"),
    );
    let content = format!("{id}.{time}.{body}");
    let signatures = [KEY, FORMER_KEY]
        .map(|key| format!("v1,{}", STANDARD.encode(mac(&[content.as_bytes()], key))));
    assert_eq!(header(head, "webhook-signature"), signatures.join(" "));
    let audit = done(&project.run(&["audit", "search", "--kind", "secret-use", "--json"]));
    let audit = audit.replace(' ', "");
    for part in ["\"secret\":\"hook-new\"", "\"secret\":\"hook\""] {
        assert!(audit.contains(part), "{part}: {audit}");
    }
}
