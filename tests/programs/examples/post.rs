//! Sends, handles and answers messages, remembers, and misbehaves as it is told, with the SDK.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portreeve_sdk::messages::{self, Answer, Handled, Message};
use portreeve_sdk::{Error, Json, context, kv, plugin, tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

static TURNS: AtomicU64 = AtomicU64::new(0);
static STARTED: Mutex<Option<Settings>> = Mutex::new(None);

#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
struct Settings {
    /// What `start` does.
    #[serde(default)]
    start: String,
    /// What `stop` does, after it has kept the number of its turns.
    #[serde(default)]
    stop: String,
}

fn start(settings: Settings) -> Result<(), Error> {
    act(&settings.start)?;
    if let Ok(mut started) = STARTED.lock() {
        *started = Some(settings);
    }
    Ok(())
}

fn stop(deadline: Duration) {
    println!("stopping within {} ms", deadline.as_millis());
    let turns = TURNS.load(Ordering::Relaxed).to_string();
    let _ = kv::set("stopped", turns);
    let settings = STARTED.lock().ok().and_then(|started| started.clone());
    if let Err(error) = act(&settings.unwrap_or_default().stop) {
        println!("stop: {error}");
    }
}

#[derive(Serialize, JsonSchema)]
struct Seen {
    turns: u64,
    start: Option<String>,
    caller: String,
    kept: Option<String>,
}

/// What this instance remembers, this call included, and what the last one kept when it stopped.
#[tool]
fn seen() -> Result<Json<Seen>, Error> {
    let kept = kv::get("stopped").unwrap_or_default();
    Ok(Json(Seen {
        turns: TURNS.fetch_add(1, Ordering::Relaxed) + 1,
        start: STARTED
            .lock()
            .ok()
            .and_then(|started| started.clone())
            .map(|settings| settings.start),
        caller: context::caller(),
        kept: kept.map(|kept| String::from_utf8_lossy(&kept).into_owned()),
    }))
}

/// A text that is kept.
#[tool]
fn kept(key: String) -> Result<String, Error> {
    let kept = kv::get(&key)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

/// Does what it is told: see `act`.
#[tool(name = "act")]
fn act_on(what: String) -> Result<String, Error> {
    TURNS.fetch_add(1, Ordering::Relaxed);
    act(&what)
}

/// `trap`, `spin`, `fill` (memory), `sleep MS`, `after MS ACT`, `both ACT ; ACT`, `turn`
/// (keeps which turn of its instance this is), `until-cancelled`, `fail REASON`,
/// `publish TOPIC TIMES TEXT`, `ask TOPIC TEXT`, `asks TOPIC TIMES`,
/// `ask-within MS TOPIC TEXT`,
/// `ring TOPIC TOPIC` (without end), `note KEY`, or nothing. A message that says `quiet` is not
/// even counted.
fn act(what: &str) -> Result<String, Error> {
    let (act, rest) = what.split_once(' ').unwrap_or((what, ""));
    match act {
        "trap" => panic!("as it was told"),
        "spin" => loop {
            black_box(0);
        },
        "fill" => {
            let mut held = Vec::new();
            loop {
                held.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "sleep" => {
            std::thread::sleep(Duration::from_millis(number(rest)?));
            Ok(String::new())
        }
        "both" => {
            let (first, second) = rest.split_once(" ; ").unwrap_or((rest, ""));
            crate::act(first)?;
            crate::act(second)
        }
        "turn" => {
            kv::increment(&format!("turn-{}", TURNS.load(Ordering::Relaxed)), 1)?;
            Ok(String::new())
        }
        "after" => {
            let (ms, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            std::thread::sleep(Duration::from_millis(number(ms)?));
            crate::act(rest)
        }
        "until-cancelled" => {
            while !context::is_cancelled() {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(String::new())
        }
        "fail" => Err(Error::conflict("it was told to fail").reason(rest)),
        "publish" => {
            let (topic, rest) = rest.split_once(' ').unwrap_or((rest, "1 x"));
            let (times, text) = rest.split_once(' ').unwrap_or((rest, "x"));
            for _ in 0..number(times)? {
                messages::to(topic).publish(text)?;
            }
            Ok(String::new())
        }
        "ask" => {
            let (topic, text) = rest.split_once(' ').unwrap_or((rest, ""));
            let answer = messages::to(topic).request(text)?;
            Ok(String::from_utf8_lossy(&answer.payload).into_owned())
        }
        "asks" => {
            let (topic, times) = rest.split_once(' ').unwrap_or((rest, "1"));
            for _ in 0..number(times)? {
                messages::to(topic).request("hello")?;
            }
            Ok(String::new())
        }
        "ask-within" => {
            let (ms, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let (topic, text) = rest.split_once(' ').unwrap_or((rest, ""));
            let asked = messages::to(topic).timeout(Duration::from_millis(number(ms)?));
            match asked.request(text) {
                Ok(answer) => Ok(String::from_utf8_lossy(&answer.payload).into_owned()),
                Err(error) => Ok(format!("no answer: {error}")),
            }
        }
        "ring" => {
            let (next, last) = rest.split_once(' ').unwrap_or((rest, rest));
            let answer = messages::to(next).request(format!("ring {last} {next}"))?;
            Ok(String::from_utf8_lossy(&answer.payload).into_owned())
        }
        "note" => {
            kv::increment(rest, 1)?;
            Ok(String::new())
        }
        _ => Ok(what.to_owned()),
    }
}

fn number(text: &str) -> Result<u64, Error> {
    text.parse()
        .map_err(|_| Error::invalid_argument(format!("`{text}` is no number")))
}

fn on_message(message: Message) -> Result<Handled, Error> {
    TURNS.fetch_add(1, Ordering::Relaxed);
    if message.text()? == "quiet" {
        return Ok(Handled::Ack);
    }
    let _ = kv::increment("handled", 1);
    act(message.text()?)?;
    Ok(Handled::Ack)
}

fn answer(request: Message) -> Result<Answer, Error> {
    TURNS.fetch_add(1, Ordering::Relaxed);
    Ok(Answer::text(act(request.text()?)?))
}

plugin!(
    seen,
    kept,
    act_on,
    start = start,
    stop = stop,
    handle = on_message,
    respond = answer
);
