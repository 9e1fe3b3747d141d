//! What guests ask of the client of their call, against one that answers as it likes.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    ClientSource, Content, ErrorCode, Failure, Input, InputKind, InputReply, InputWant, LogEntry,
    Reply, Root, SamplingReply, Speaker, Utterance,
};
use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Guest, Recorder, guest, none, run};

/// A client that gives what it is set to.
#[derive(Default)]
struct Client {
    granted: bool,
    given: Vec<InputReply>,
    asked: Mutex<Vec<Input>>,
    logged: Mutex<Vec<LogEntry>>,
}

#[async_trait]
impl ClientSource for Client {
    fn can(&self, kind: InputKind) -> bool {
        kind == InputKind::Roots
    }

    fn may_ask_for(&self, kind: InputKind) -> Result<(), Failure> {
        if self.granted {
            return Ok(());
        }
        let why = format!("{kind:?} is not granted");
        Err(Failure::new(
            ErrorCode::PermissionDenied,
            "not-granted",
            why,
        ))
    }

    async fn gather(&self, inputs: Vec<Input>) -> Result<Vec<InputReply>, Failure> {
        self.asked.lock().unwrap().extend(inputs);
        Ok(self.given.clone())
    }

    fn may_log(&self) -> Result<(), Failure> {
        self.may_ask_for(InputKind::Roots)
    }

    fn log(&self, entry: LogEntry) -> Result<(), Failure> {
        self.logged.lock().unwrap().push(entry);
        Ok(())
    }
}

fn giving(given: Vec<InputReply>) -> Arc<Client> {
    Arc::new(Client {
        granted: true,
        given,
        ..Client::default()
    })
}

fn call(guest: &Guest, client: &Arc<Client>, tool: &str, arguments: Value) -> Value {
    let recorder = Recorder {
        client: Some(client.clone()),
        ..Recorder::default()
    };
    let finished = run(guest.calling(tool, arguments, &Limits::default(), &recorder));
    Value::Object(finished.result.unwrap().structured.unwrap())
}

fn reply(text: &str) -> InputReply {
    InputReply::Message(SamplingReply {
        said: Utterance {
            role: Speaker::Assistant,
            content: Content::Text(text.to_owned()),
        },
        model: "m".to_owned(),
        stop_reason: None,
    })
}

#[test]
fn what_is_not_granted_never_reaches_the_client() {
    let (guest, client) = (guest(programs::CLIENT), Arc::new(Client::default()));
    for (tool, arguments) in [
        ("sample", json!({"prompt": "", "tokens": 0})),
        ("places", none()),
        ("gather", json!({"wants": "a=question"})),
        ("gather", json!({"wants": "bad name=roots"})),
    ] {
        let answer = call(&guest, &client, tool, arguments);
        assert_eq!(answer["failed"]["reason"], "not-granted", "{tool} {answer}");
    }
    let written = call(&guest, &client, "write", json!({"data": "1", "count": 1}));
    assert_eq!(written["stopped"]["failed"]["reason"], "not-granted");
    assert!(client.asked.lock().unwrap().is_empty());
    assert!(client.logged.lock().unwrap().is_empty());
}

#[test]
fn what_the_client_gives_reaches_the_guest() {
    let guest = guest(programs::CLIENT);
    let able = call(&guest, &giving(Vec::new()), "able", none());
    assert_eq!(able, json!({"can": [false, false, true]}));
    let client = giving(vec![reply("hi")]);
    let options = r#"{"temperature": 0.5}"#;
    let asked = json!({"prompt": "Hello", "tokens": 10, "options": options});
    let answer = call(&guest, &client, "sample", asked);
    assert_eq!(answer, json!({"model": "m", "said": "hi"}));
    let InputWant::Message(request) = client.asked.lock().unwrap()[0].want.clone() else {
        panic!("the model was not asked");
    };
    assert_eq!(request.messages[0].content, Content::Text("Hello".into()));
    assert_eq!(request.options["temperature"], 0.5);
    let root = Root {
        uri: "file:///work".to_owned(),
        name: None,
    };
    let given = vec![
        InputReply::Answer(Reply::Declined),
        reply("hi"),
        InputReply::Roots(vec![root]),
    ];
    let client = giving(given);
    let wants = json!({"wants": "a=question,b=message,c=roots"});
    let answer = call(&guest, &client, "gather", wants);
    assert_eq!(
        answer,
        json!({"given": ["Answer::Declined", "hi", "1 roots"]})
    );
    let asked = client.asked.lock().unwrap();
    let names: Vec<_> = asked.iter().map(|input| input.name.clone()).collect();
    assert_eq!(names, ["a", "b", "c"].map(|name| Some(name.to_owned())));
}

#[test]
fn a_client_that_gives_something_else_breaks_nothing() {
    let guest = guest(programs::CLIENT);
    for given in [
        vec![],
        vec![InputReply::Roots(Vec::new())],
        vec![reply("a"), reply("b")],
    ] {
        let client = giving(given);
        let asked = json!({"prompt": "Hello", "tokens": 10});
        let answer = call(&guest, &client, "sample", asked);
        assert_eq!(answer["failed"]["reason"], "no-answer", "{answer}");
    }
    let client = giving(vec![reply(&"x".repeat(5 << 20))]);
    let asked = json!({"prompt": "Hello", "tokens": 10});
    let answer = call(&guest, &client, "sample", asked);
    assert_eq!(answer["failed"]["reason"], "limit-host-call", "{answer}");
}

#[test]
fn what_can_not_be_asked_is_refused_before_the_client_sees_it() {
    let (guest, client) = (guest(programs::CLIENT), giving(Vec::new()));
    let many = "a=roots,".repeat(9);
    for (tool, arguments, reason) in [
        ("gather", json!({"wants": ""}), "inputs"),
        ("gather", json!({"wants": many}), "inputs"),
        ("gather", json!({"wants": "a=roots,a=roots"}), "name"),
        ("gather", json!({"wants": "bad name=roots"}), "name"),
        ("sample", json!({"prompt": "", "tokens": 0}), "max-tokens"),
        (
            "sample",
            json!({"prompt": "", "tokens": 1, "options": "{\"includeContext\": \"allServers\"}"}),
            "options",
        ),
    ] {
        let answer = call(&guest, &client, tool, arguments);
        assert_eq!(answer["failed"]["reason"], reason, "{tool} {answer}");
    }
    for data in ["no json".to_owned(), format!("{:?}", "x".repeat(20_000))] {
        let written = call(&guest, &client, "write", json!({"data": data, "count": 1}));
        assert_eq!(written["stopped"]["failed"]["reason"], "data", "{written}");
    }
    assert!(client.asked.lock().unwrap().is_empty());
    assert!(client.logged.lock().unwrap().is_empty());
    call(
        &guest,
        &client,
        "write",
        json!({"data": "{\"a\": 1}", "count": 2}),
    );
    assert_eq!(client.logged.lock().unwrap()[1].data, json!({"a": 1}));
}
