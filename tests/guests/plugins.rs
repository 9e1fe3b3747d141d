//! First-party plugins in the real runtime, with servers that answer what a test says: that what
//! they are given, by strangers above all, fits into the limits of a call.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    CallError, Config, Content, ErrorCode, Failure, Finished, HttpBody, HttpError, HttpErrorKind,
    HttpSource, HttpTimeouts, Outcome,
};
use serde_json::{Value, json};

use crate::storage::Keeper;
use crate::support::{Guest, Recorder, guest, run};

/// A plugin as its author builds it.
fn built(name: &str) -> Guest {
    guest(build(name).to_str().unwrap())
}

/// The package that its author builds.
pub(crate) fn build(name: &str) -> PathBuf {
    // Cargo lets one build at a time have the directory; waiting for it says nothing here.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _alone = BUILDING.lock();
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let package: PathBuf = scratch.join(format!("guests-{name}.wasm"));
    let built = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .arg("build")
        .arg(root.join("plugins").join(name))
        .arg("--out")
        .arg(&package)
        .env("CARGO_TARGET_DIR", scratch.join("author"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    package
}

fn fetch() -> &'static Guest {
    static FETCH: OnceLock<Guest> = OnceLock::new();
    FETCH.get_or_init(|| built("fetch"))
}

fn github() -> &'static Guest {
    static GITHUB: OnceLock<Guest> = OnceLock::new();
    GITHUB.get_or_init(|| built("github"))
}

/// Servers that answer with what they are given, in turn, and then refuse.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Response<Bytes>>>,
    /// Method, address and headers of each request.
    asked: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl HttpSource for Scripted {
    async fn send(
        &self,
        request: Request<HttpBody>,
        _timeouts: HttpTimeouts,
    ) -> Result<Response<HttpBody>, HttpError> {
        let asked = format!(
            "{} {} {:?}",
            request.method(),
            request.uri(),
            request.headers()
        );
        self.asked.lock().unwrap().push(asked);
        let answer = self.answers.lock().unwrap().pop_front().ok_or_else(|| {
            let refusal = Failure::new(ErrorCode::PermissionDenied, "not-granted", "not granted");
            HttpError::new(HttpErrorKind::Refused, refusal)
        })?;
        Ok(answer.map(|body| {
            let never = |never: std::convert::Infallible| match never {};
            Full::new(body).map_err(never).boxed_unsync()
        }))
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Bytes> {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(body.into()).unwrap()
}

fn call(
    plugin: &Guest,
    tool: &str,
    arguments: Value,
    config: Config,
    answers: Vec<Response<Bytes>>,
) -> (Finished<Outcome>, Vec<String>) {
    let servers = Arc::new(Scripted {
        answers: Mutex::new(answers.into()),
        ..Scripted::default()
    });
    let recorder = Recorder {
        http: Some(servers.clone()),
        config,
        ..Recorder::default()
    };
    let finished = run(plugin.calling(tool, arguments, &Limits::default(), &recorder));
    let asked = std::mem::take(&mut *servers.asked.lock().unwrap());
    (finished, asked)
}

fn fetched(answers: Vec<Response<Bytes>>) -> (Result<Vec<String>, CallError>, Vec<String>) {
    let arguments = json!({"url": "https://h.example/page#part"});
    let (finished, asked) = call(fetch(), "fetch", arguments, Config::default(), answers);
    let texts = finished.result.map(|outcome| {
        let text = |content: &Content| match content {
            Content::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        outcome.content.iter().map(text).collect()
    });
    (texts, asked)
}

const HTML: &[(&str, &str)] = &[("content-type", "text/html; charset=utf-8")];

#[test]
fn a_page_is_read_from_where_it_is() {
    let (texts, asked) = fetched(vec![
        answer(301, &[("location", "//www.h.example/new")], ""),
        answer(200, HTML, "<title>Port</title><p>Open <a href=/x>now</a>"),
    ]);
    let texts = texts.unwrap();
    assert!(
        texts[0].starts_with("Read from https://www.h.example/new (text/html)"),
        "{texts:?}"
    );
    assert_eq!(texts[1], "# Port\n\nOpen [now](https://www.h.example/x)");
    assert!(
        asked[0].starts_with("GET https://h.example/page {"),
        "{asked:?}"
    );
    assert_eq!(asked.len(), 2);
}

/// Each redirect is decided about; what is refused is refused in the host's words.
#[test]
fn a_redirect_that_is_not_granted_is_not_followed() {
    let (texts, asked) = fetched(vec![answer(
        302,
        &[("location", "https://other.example/")],
        "",
    )]);
    let error = texts.unwrap_err();
    assert_eq!(error.failure.code, ErrorCode::PermissionDenied);
    assert_eq!(error.failure.message, "not granted");
    assert_eq!(asked.len(), 2);
}

/// The largest pages of the nastiest kinds fit into what a call may use by default.
#[test]
fn nasty_pages_fit_into_a_call() {
    const BYTES: usize = 4 * 1024 * 1024;
    for unit in [
        "<div>",
        "<b id=i>",
        "<p><b>x",
        "<table><tr><td>x",
        "<a href=/x>x</a> ",
        "<ul><li>x",
        "&amp;x\u{202e}",
        "<svg><g>",
        "<!--x-->",
        "<i a b c d e f g h i j>x</i>",
        "<i id class=a rel name role=b>x</i>",
        "<html id class>",
        "x ",
        "\n",
        "<td>x",
        "`*_[<",
        "<br>",
        "<select><option>x",
        "<template><p>x",
        "<pre>x",
    ] {
        let page = unit.repeat(BYTES / unit.len());
        let (finished, _) = call(
            fetch(),
            "fetch",
            json!({"url": "https://h.example/"}),
            Config::default(),
            vec![answer(200, HTML, page)],
        );
        let usage = finished.usage;
        if let Err(error) = finished.result {
            panic!("{unit}: {error} {usage:?}");
        }
    }
}

#[test]
fn what_is_too_large_is_refused_with_a_sentence() {
    let (texts, _) = fetched(vec![answer(200, HTML, vec![b'x'; 5 * 1024 * 1024])]);
    let error = texts.unwrap_err();
    assert_eq!(error.failure.reason, "response-too-large", "{error}");
}

fn settings(value: &Value) -> Config {
    Config::new(value.as_object().unwrap().clone())
}

#[test]
fn github_is_asked_without_a_key() {
    let commits = json!([{
        "sha": "6dcb09b", "html_url": "u", "author": null,
        "commit": {"message": "Open the port", "author": null},
    }]);
    let (finished, asked) = call(
        github(),
        "list-commits",
        json!({"repository": "site"}),
        settings(&json!({"owner": "acme", "api-url": "https://acme.ghe.com/api"})),
        vec![answer(200, &[], commits.to_string())],
    );
    let structured = finished.result.unwrap().structured.unwrap();
    assert_eq!(structured["commits"][0]["message"], "Open the port");
    let [asked] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    let url = "GET https://acme.ghe.com/api/repos/acme/site/commits?per_page=20&page=1 ";
    assert!(asked.starts_with(url), "{asked}");
    assert!(!asked.contains("authorization"), "{asked}");
}

#[test]
fn a_limit_of_github_says_when_to_try_again() {
    let headers = &[("retry-after", "17"), ("x-ratelimit-remaining", "0")];
    let (finished, _) = call(
        github(),
        "get-issue",
        json!({"repository": "acme/site", "number": 7}),
        Config::default(),
        vec![answer(429, headers, r#"{"message": "Slow down"}"#)],
    );
    let failure = finished.result.unwrap_err().failure;
    assert_eq!(failure.code, ErrorCode::RateLimited);
    assert_eq!(failure.retry_after, Some(Duration::from_secs(17)));
    assert!(failure.message.contains("Slow down"), "{}", failure.message);
}

#[test]
fn notes_are_kept_found_and_changed() {
    let keeper = Keeper::new(build("notes-keeper").to_str().unwrap());
    for text in ["# Milk\n2 l", "Bread", "Milk for the cat"] {
        keeper.call("add", json!({"text": text}));
    }
    let titles = |answer: &Value| {
        let notes = answer["notes"].as_array().unwrap().iter();
        let titles = notes.map(|note| note["title"].as_str().unwrap().to_owned());
        titles.collect::<Vec<_>>().join(", ")
    };
    let first = keeper.call("list", json!({"limit": 2}));
    assert_eq!(titles(&first), "Milk, Bread");
    let rest = keeper.call("list", json!({"limit": 2, "after": first["next"]}));
    assert_eq!(titles(&rest), "Milk for the cat");
    assert_eq!(rest["next"], Value::Null);

    let found = keeper.call("search", json!({"words": "CAT milk"}));
    assert_eq!(titles(&found), "Milk for the cat");
    let found = keeper.call("search", json!({"words": "milk", "limit": 1}));
    assert_eq!(titles(&found), "Milk");
    let found = keeper.call("search", json!({"words": "milk", "after": found["next"]}));
    assert_eq!(titles(&found), "Milk for the cat");

    let edited = keeper.call("edit", json!({"number": 1, "revision": 1, "text": "3 l"}));
    assert_eq!(
        (&edited["title"], &edited["revision"]),
        (&json!("Milk"), &json!(2))
    );
    assert_eq!(keeper.call("read", json!({"number": 1})), edited);
    let fails = |tool: &str, arguments: Value| keeper.try_call(tool, arguments).unwrap_err();
    // Whoever has not seen the last change changes nothing.
    for tool in ["edit", "delete"] {
        let lost = fails(tool, json!({"number": 1, "revision": 1}));
        assert_eq!(lost.code, ErrorCode::Conflict, "{lost:?}");
    }
    keeper.call("delete", json!({"number": 1, "revision": 2}));
    assert_eq!(
        fails("read", json!({"number": 1})).code,
        ErrorCode::NotFound
    );
    // No number is given twice.
    assert_eq!(keeper.call("add", json!({"text": "Butter"}))["number"], 4);
    for (tool, arguments) in [
        ("add", json!({"text": " "})),
        ("add", json!({"text": "x".repeat((64 << 10) + 1)})),
        ("add", json!({"text": "x", "title": "two\nlines"})),
        ("search", json!({"words": " "})),
    ] {
        let refused = fails(tool, arguments);
        assert_eq!(refused.code, ErrorCode::InvalidArgument, "{refused:?}");
    }
}
