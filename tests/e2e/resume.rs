//! Clients of the older protocol that lose a connection, or are sent away to come back, and read
//! on where they were.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::clients;
use crate::http::{HttpHost, call, older, request};
use crate::support::{Project, eventually, plugin};

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    id: String,
    retry: String,
    data: Option<String>,
}

impl Event {
    fn message(&self) -> Value {
        serde_json::from_str(self.data.as_deref().unwrap_or_default()).unwrap_or_default()
    }

    fn is_answer(&self) -> bool {
        self.message()["result"].is_object()
    }
}

/// Events of one connection, one after the other.
struct Events {
    lines: BufReader<TcpStream>,
    status: u16,
}

impl Events {
    fn of(stream: TcpStream) -> Events {
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).unwrap(), 0, "{head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Events { lines, status }
    }

    fn rest(mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut event = Event {
            id: String::new(),
            retry: String::new(),
            data: None,
        };
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(id) = line.strip_prefix("id: ") {
                event.id = id.to_owned();
            } else if let Some(retry) = line.strip_prefix("retry: ") {
                event.retry = retry.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                event.data = Some(data.to_owned());
            } else if line.is_empty()
                && event
                    != (Event {
                        id: String::new(),
                        retry: String::new(),
                        data: None,
                    })
            {
                // What stands between is the sizes of chunks.
                return Some(event);
            }
        }
    }
}

/// A session of a client, and the version that it speaks.
struct Session<'a> {
    host: &'a HttpHost,
    id: String,
}

impl Session<'_> {
    fn call(&self, number: u64, tool: &str, arguments: Value) -> Events {
        let mut message = call(tool, arguments);
        message["id"] = number.into();
        message["params"]["_meta"] = json!({"progressToken": number});
        let sent = self.host.send(&request(&older(&self.id), &message));
        Events::of(sent)
    }

    fn back(&self, after: &str) -> Events {
        let get = format!(
            "GET /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naccept: text/event-stream\r\n\
             {}last-event-id: {after}\r\n\r\n",
            older(&self.id)
        );
        Events::of(self.host.send(&get))
    }
}

fn project(limits: &str) -> Project {
    Project::with(&format!(
        "[serve]\nlimits = {{ {limits} }}\n{}grants.ui = {{ progress = true }}\n",
        plugin("progress", programs::PROGRESS)
    ))
}

fn report(times: u64, pause_ms: u64) -> Value {
    json!({"times": times, "pause_ms": pause_ms})
}

/// How far the call was, by each of these.
fn progress(events: &[Event]) -> Vec<f64> {
    let messages = events.iter().map(Event::message);
    let told = messages.filter_map(|message| message["params"]["progress"].as_f64());
    told.collect()
}

#[test]
fn a_call_goes_on_without_its_connection_and_is_read_from_where_it_was() {
    let project = project("");
    let host = HttpHost::start(&project);
    let session = Session {
        host: &host,
        id: host.greet(),
    };
    let mut events = session.call(1, "progress__report", report(4, 150));
    let first = events.next().unwrap();
    assert_eq!(
        (first.id.as_str(), first.data.as_deref()),
        ("a1-0", Some(""))
    );
    assert!(!first.retry.is_empty());
    let seen = events.next().unwrap();
    assert_eq!(
        (seen.id.as_str(), progress(std::slice::from_ref(&seen))),
        ("a1-1", vec![1.0])
    );
    drop(events);
    // Another call, whose events are its own.
    let other = session.call(2, "progress__report", report(2, 150)).rest();
    assert!(
        other.iter().all(|event| event.id.starts_with("a2-")),
        "{other:?}"
    );
    assert_eq!(other.last().unwrap().message()["id"], 2);
    // It has gone on meanwhile, and what came is told, once, in its order.
    let mut rest = Vec::new();
    eventually("it has ended", || {
        rest = session.back(&seen.id).rest();
        rest.last().is_some_and(Event::is_answer)
    });
    assert_eq!(
        (rest[0].id.as_str(), rest[0].data.as_deref()),
        ("a1-1", Some(""))
    );
    assert_eq!(progress(&rest), [2.0, 3.0, 4.0]);
    let ids: Vec<&str> = rest.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["a1-1", "a1-2", "a1-3", "a1-4", "a1-5"]);
    assert_eq!(rest[4].message()["id"], 1);
    assert_eq!(
        rest[4].message()["result"]["structuredContent"]["accepted"],
        4
    );
    // Whoever loses that, too, reads it again; and nobody else does.
    assert_eq!(session.back("a1-4").rest().last(), rest.last());
    let stranger = Session {
        host: &host,
        id: host.greet(),
    };
    assert_eq!(stranger.back("a1-4").status, 400);
    for wrong in ["a1-5", "a1-6", "a3-0", "1-0", "a1", "a1-04", "x"] {
        assert_eq!(session.back(wrong).status, 400, "{wrong}");
    }
}

#[test]
fn a_call_that_has_said_nothing_yet_is_come_back_for() {
    let project = Project::of(&[("sleep", programs::SLEEP)]);
    let host = HttpHost::start(&project);
    let session = Session {
        host: &host,
        id: host.greet(),
    };
    // There is something to come back with long before there is an answer.
    let mut events = session.call(1, "sleep__sleep", json!({"ms": 3_000}));
    let first = events.next().expect("a stream has begun");
    assert_eq!(
        (first.id.as_str(), first.data.as_deref()),
        ("a1-0", Some(""))
    );
    drop(events);
    let rest = session.back("a1-0").rest();
    let answer = rest.last().unwrap().message();
    assert_eq!(answer["id"], 1);
    assert_eq!(answer["result"]["content"][0]["text"], "slept");
}

#[test]
fn a_long_call_does_not_hold_its_connection() {
    let project = project("stream-time = '300ms'");
    let host = HttpHost::start(&project);
    let session = Session {
        host: &host,
        id: host.greet(),
    };
    let mut connection = session.call(1, "progress__report", report(5, 400)).rest();
    let mut all = Vec::new();
    let mut connections = 1;
    while !connection.last().unwrap().is_answer() {
        // It is told to come back, and when.
        let last = connection.pop().unwrap();
        assert_eq!((last.retry.as_str(), last.data.as_deref()), ("1000", None));
        all.append(&mut connection);
        let seen = all.iter().rev().find(|event| !event.id.is_empty()).unwrap();
        connection = session.back(&seen.id).rest();
        connections += 1;
    }
    all.append(&mut connection);
    assert!(connections > 2, "{all:?}");
    assert_eq!(progress(&all), [1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn clients_before_that_are_held_and_see_messages_only() {
    let project = project("stream-time = '300ms'");
    let host = HttpHost::start(&project);
    let mut greeting = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "e2e", "version": "1"}},
    });
    let (head, _) = host.post("", &greeting.take());
    let id = head
        .lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "))
        .unwrap();
    let fields = format!("mcp-session-id: {id}\r\nmcp-protocol-version: 2025-06-18\r\n");
    let mut message = call("progress__report", report(4, 300));
    message["params"]["_meta"] = json!({"progressToken": 1});
    let events = Events::of(host.send(&request(&fields, &message))).rest();
    assert!(
        events.iter().all(|event| event.message().is_object()),
        "{events:?}"
    );
    assert_eq!(progress(&events), [1.0, 2.0, 3.0, 4.0]);
    assert!(events.last().unwrap().is_answer());
    // They read on as well, if they lose one.
    let get = format!(
        "GET /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naccept: text/event-stream\r\n\
         {fields}last-event-id: {}\r\n\r\n",
        events[2].id
    );
    assert_eq!(Events::of(host.send(&get)).rest(), events[3..]);
}

#[test]
fn what_is_kept_of_a_session_is_bounded() {
    let project = project("replay-events = 16, replay-age = '1s'");
    let host = HttpHost::start(&project);
    let session = Session {
        host: &host,
        id: host.greet(),
    };
    let events = session.call(1, "progress__report", report(20, 110)).rest();
    assert_eq!(events.len(), 22, "{events:?}");
    // The oldest have given way to the newest, and those give way to time.
    let kept = session.back("a1-0").rest();
    assert!((2..=17).contains(&kept.len()), "{kept:?}");
    assert_eq!(kept[1..], events[23 - kept.len()..]);
    eventually("nothing is left", || session.back("a1-0").status == 400);
}

#[test]
fn the_typescript_client_comes_back() {
    let project = project("stream-time = '300ms'");
    let host = HttpHost::start(&project);
    let Some((told, said)) = clients::typescript_tells("resume.mjs", &host) else {
        return;
    };
    assert_eq!(told["progress"], json!([1, 2, 3, 4, 5]), "{told}{said}");
    assert_eq!(told["answer"]["accepted"], 5, "{told}");
    assert!(told["back"].as_u64().unwrap() > 1, "{told}");
}
