//! What a client has told its owners and waits for from them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use rmcp::model::{ErrorCode, RequestId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::content::SUBSCRIPTIONS_MAX;
use crate::message::BUSY;

/// A request was being worked on by a process that ended.
const LOST: ErrorCode = ErrorCode(-32012);

const LOST_WHY: &str = "the process that worked on this ended before it answered, and whether it took effect is not known: look before you ask again; the next requests go to the process that takes its place";

/// What a notification of a cancellation is about, and one of a subscription.
const REQUEST_ID: &str = "/params/requestId";
const SUBSCRIPTION_ID: &str = "/params/_meta/io.modelcontextprotocol~1subscriptionId";

/// How ids begin of what an owner is told again; no client hears of their answers.
const AGAIN: &str = "portreeve-again/";

/// What is remembered of one client. It is bounded by what an owner lets one client have:
/// beyond that it doesn't read on, and what it has refused is not kept here.
#[derive(Default)]
pub(super) struct Memory {
    /// Owners that there were before this one.
    owners_before: u32,
    /// What a client of the older era said in its greeting, once that was answered.
    greeting: Option<Value>,
    /// Whether it has said that it heard the answer.
    greeted: bool,
    level: Option<Value>,
    subscribed: BTreeSet<String>,
    waiting: HashMap<RequestId, Request>,
    /// What the client is asked and has not answered, by the ids that it knows.
    questions: HashSet<RequestId>,
    /// Whether the owner has said that it has no place for this client.
    full: bool,
}

/// What a request will have done, once it is answered.
enum Request {
    Greeting(Vec<u8>),
    Level(Value),
    Subscribe(String),
    Unsubscribe(String),
    /// Only looks, at what the host knows by itself: it may be asked again.
    Look(Vec<u8>),
    /// What a client of the newer era listens to, and whether it was told that it does.
    Listen {
        line: Vec<u8>,
        acknowledged: bool,
    },
    Other,
}

/// What is said when there is another owner.
#[derive(Default)]
pub(super) struct Again {
    pub(super) to_owner: Vec<Vec<u8>>,
    pub(super) to_client: Vec<Vec<u8>>,
}

/// What tells messages apart.
#[derive(Deserialize)]
struct Head<'a> {
    id: Option<RequestId>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    error: Option<ErrorHead>,
}

#[derive(Deserialize)]
struct ErrorHead {
    code: i64,
}

impl Memory {
    /// What becomes of a line of the client: what the owner gets of it.
    pub(super) fn sent<'a>(&mut self, line: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        // The owner says what is wrong with it.
        let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else {
            return Some(line.into());
        };
        match (head.method.as_deref(), head.id) {
            (Some(method), Some(id)) => {
                // The owner refuses a second one with the id of the first.
                self.waiting
                    .entry(id)
                    .or_insert_with(|| Request::read(method, line));
            }
            (Some("notifications/initialized"), None) => self.greeted = true,
            (Some("notifications/cancelled"), None) => {
                if let Some(id) = id_at(line, REQUEST_ID) {
                    self.waiting.remove(&id);
                }
            }
            // What nobody asked any more, or an owner that is no longer there.
            (None, Some(id)) if !self.questions.remove(&id) => return None,
            (None, Some(id)) if self.owners_before > 0 => {
                return with(line, "/id", self.own_id(&id)?).map(Cow::Owned);
            }
            _ => {}
        }
        Some(line.into())
    }

    /// What becomes of a line of the owner: what the client gets of it.
    pub(super) fn heard<'a>(&mut self, line: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        // One that was killed may have written half of a line.
        let head = serde_json::from_slice::<Head<'_>>(line).ok()?;
        match (head.method.as_deref(), head.id) {
            (Some(_), Some(id)) => {
                let known = self.known_id(&id);
                self.questions.insert(known.clone());
                if self.owners_before > 0 {
                    return with(line, "/id", json!(known)).map(Cow::Owned);
                }
            }
            (Some("notifications/cancelled"), None) => {
                let known = self.known_id(&id_at(line, REQUEST_ID)?);
                self.questions.remove(&known);
                return with(line, REQUEST_ID, json!(known)).map(Cow::Owned);
            }
            (Some("notifications/subscriptions/acknowledged"), None) => {
                let of = id_at(line, SUBSCRIPTION_ID);
                if let Some(Request::Listen { acknowledged, .. }) =
                    of.and_then(|id| self.waiting.get_mut(&id))
                    && std::mem::replace(acknowledged, true)
                {
                    return None;
                }
            }
            (None, Some(RequestId::String(id))) if id.starts_with(AGAIN) => {
                if head.error.is_some() {
                    tracing::warn!(
                        answer = %parsed(line),
                        "the process that owns this project now does not take what its client told the one before"
                    );
                }
                return None;
            }
            (None, Some(id)) => {
                let request = self.waiting.remove(&id);
                if head.error.is_none() {
                    self.done(request);
                }
            }
            (None, None) => {
                self.full = head
                    .error
                    .is_some_and(|error| error.code == i64::from(BUSY.0));
            }
            _ => {}
        }
        Some(line.into())
    }

    /// A request was answered.
    fn done(&mut self, request: Option<Request>) {
        match request {
            Some(Request::Greeting(line)) => self.greeting = at(&line, "/params"),
            Some(Request::Level(level)) => self.level = Some(level),
            Some(Request::Subscribe(uri)) if self.subscribed.len() < SUBSCRIPTIONS_MAX => {
                self.subscribed.insert(uri);
            }
            Some(Request::Unsubscribe(uri)) => {
                self.subscribed.remove(&uri);
            }
            _ => {}
        }
    }

    /// The owner is gone; what the client must be told. None where that one had no place for
    /// it, and said so.
    pub(super) fn lost(&mut self) -> Option<Vec<Vec<u8>>> {
        if self.full {
            return None;
        }
        self.owners_before = self.owners_before.saturating_add(1);
        let withdrawn = self.questions.drain().map(|id| {
            let params = json!({"requestId": id, "reason": "the process that asked this ended"});
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        });
        let mut told: Vec<Value> = withdrawn.collect();
        self.waiting.retain(|id, request| {
            let stays = request.again().is_some();
            if !stays {
                let error = json!({"code": LOST.0, "message": LOST_WHY});
                told.push(json!({"jsonrpc": "2.0", "id": id, "error": error}));
            }
            stays
        });
        Some(lines(told))
    }

    /// What an owner must know that is not the first, and the client, who may have missed a
    /// change.
    pub(super) fn again(&self) -> Again {
        if self.owners_before == 0 {
            return Again::default();
        }
        let mut number = 0_u32;
        let mut again = |method: &str, params: Value| {
            number = number.saturating_add(1);
            let id = format!("{AGAIN}{}/{number}", self.owners_before);
            json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        };
        let told = |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params});
        let (mut owner, mut client) = (Vec::new(), Vec::new());
        if let Some(greeting) = &self.greeting {
            owner.push(again("initialize", greeting.clone()));
        }
        if self.greeted {
            owner.push(told("notifications/initialized", json!({})));
            for what in ["tools", "resources", "prompts"] {
                client.push(told(
                    &format!("notifications/{what}/list_changed"),
                    json!({}),
                ));
            }
        }
        if let Some(level) = &self.level {
            owner.push(again("logging/setLevel", json!({"level": level})));
        }
        for uri in &self.subscribed {
            owner.push(again("resources/subscribe", json!({"uri": uri})));
            client.push(told("notifications/resources/updated", json!({"uri": uri})));
        }
        let mut to_owner = lines(owner);
        to_owner.extend(
            self.waiting
                .values()
                .filter_map(Request::again)
                .map(<[u8]>::to_owned),
        );
        Again {
            to_owner,
            to_client: lines(client),
        }
    }

    /// The id under which the client knows a question: each owner counts from the beginning,
    /// and no answer to one may be taken for an answer to another.
    fn known_id(&self, own: &RequestId) -> RequestId {
        match self.owners_before {
            0 => own.clone(),
            before => RequestId::String(format!("{before}:{}", json!(own)).into()),
        }
    }

    /// The owner's own id of a question.
    fn own_id(&self, known: &RequestId) -> Option<Value> {
        let RequestId::String(known) = known else {
            return None;
        };
        let (before, own) = known.split_once(':')?;
        let of_this_owner = before == self.owners_before.to_string();
        serde_json::from_str(own).ok().filter(|_| of_this_owner)
    }
}

impl Request {
    fn read(method: &str, line: &[u8]) -> Request {
        let uri = || match at(line, "/params/uri") {
            Some(Value::String(uri)) => Some(uri),
            _ => None,
        };
        match method {
            "initialize" => Request::Greeting(line.to_owned()),
            "logging/setLevel" => at(line, "/params/level").map_or(Request::Other, Request::Level),
            "resources/subscribe" => uri().map_or(Request::Other, Request::Subscribe),
            "resources/unsubscribe" => uri().map_or(Request::Other, Request::Unsubscribe),
            "ping"
            | "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list" => Request::Look(line.to_owned()),
            "subscriptions/listen" => Request::Listen {
                line: line.to_owned(),
                acknowledged: false,
            },
            _ => Request::Other,
        }
    }

    /// The line that the next owner gets, if this one is left unanswered: of what may be worked
    /// on twice.
    fn again(&self) -> Option<&[u8]> {
        match self {
            Request::Greeting(line) | Request::Look(line) | Request::Listen { line, .. } => {
                Some(line)
            }
            _ => None,
        }
    }
}

/// A line that was a message when its head was read.
fn parsed(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap_or_default()
}

/// The same message, with something else there.
fn with(line: &[u8], pointer: &str, value: Value) -> Option<Vec<u8>> {
    let mut message = parsed(line);
    *message.pointer_mut(pointer)? = value;
    Some(message.to_string().into_bytes())
}

/// What stands there in a message.
fn at(line: &[u8], pointer: &str) -> Option<Value> {
    parsed(line).pointer_mut(pointer).map(Value::take)
}

fn id_at(line: &[u8], pointer: &str) -> Option<RequestId> {
    serde_json::from_value(at(line, pointer)?).ok()
}

fn lines(messages: Vec<Value>) -> Vec<Vec<u8>> {
    let line = |message: Value| message.to_string().into_bytes();
    messages.into_iter().map(line).collect()
}
