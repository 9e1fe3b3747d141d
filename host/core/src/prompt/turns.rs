//! Calls in turns: for callers that can't be asked while their call runs, but call again with
//! the answers. What is said here of calls holds for reading resources and filling in prompts.
//!
//! A call that asks is parked: its guest waits, and its caller gets the questions and a handle.
//! The handle is sealed, and bound to who called what with which arguments until when. It is
//! good for one turn: each has another one. Whoever comes back with it goes on with the same
//! guest; nothing runs twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use portreeve_manifest::tool::TaskSupport;
use portreeve_runtime::{
    CallError, ErrorCode, Filled, InputReply, LogEntry, Notice, Part, ProgressReport, Usage,
};
use portreeve_state::audit::wall_clock;
use portreeve_supply::Digest;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Asker, CallerUi, ClientListener, NoAnswer, Question};
use crate::call::{CallRequest, CallResponse, ProgressListener};
use crate::content::{Asked, Asking};
use crate::host::Host;
use crate::tasks::Task;

/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// What a handle says: which parked call, and until when.
const HANDLE_BYTES: usize = 24;

/// Longest handle that is looked at, in characters.
const HANDLE_CHARS_MAX: usize = 200;

/// What came of a turn.
#[derive(Debug)]
pub enum Turn<T> {
    /// The call has ended.
    Done(Box<T>),
    /// It waits for answers.
    Asks(Pending),
    /// It takes longer than its caller waits, and goes on as a task.
    Task(Box<Task>),
}

impl<T> Turn<T> {
    fn map<U>(self, next: impl FnOnce(T) -> U) -> Turn<U> {
        match self {
            Turn::Done(ended) => Turn::Done(Box::new(next(*ended))),
            Turn::Asks(pending) => Turn::Asks(pending),
            Turn::Task(task) => Turn::Task(task),
        }
    }
}

/// What a caller brings along with a turn.
#[derive(Default)]
pub struct Returning {
    /// The handle of the call that it goes on with; none where it begins one.
    pub handle: Option<String>,
    /// Answers to what it was asked. Where it begins, those are taken whose questions the
    /// plugin asks under the same name.
    pub answers: Answers,
    /// Whether it comes back for a task.
    pub tasks: bool,
}

/// How a call ended that ran in turns.
pub(crate) enum Ended {
    Call(CallResponse),
    Read(Asked<Vec<Part>>),
    Prompt(Asked<Filled>),
    /// Its task broke.
    Broken(String),
}

impl Ended {
    /// How a call to a tool ended.
    pub(crate) fn response(self) -> CallResponse {
        match self {
            Ended::Call(response) => response,
            other => CallResponse {
                call_id: String::new(),
                result: odd(&other),
                usage: Usage::default(),
            },
        }
    }
}

/// An end that is no end of what was asked for.
fn odd<T>(ended: &Ended) -> Result<T, CallError> {
    let log = match ended {
        Ended::Broken(log) => log.clone(),
        _ => "something else ended".to_owned(),
    };
    Err(CallError::internal(log))
}

fn asked<T>(result: Result<T, CallError>) -> Asked<T> {
    Asked {
        call_id: String::new(),
        plugin: None,
        result,
    }
}

/// When a call becomes a task.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Becomes {
    Never,
    /// Once its caller has waited for long enough.
    Late,
    AtOnce,
}

/// What a parked call waits for.
#[derive(Debug)]
pub struct Pending {
    /// The handle, for whoever comes back with the answers.
    pub handle: String,
    /// The questions, by the names that answers come under.
    pub questions: BTreeMap<String, Question>,
}

/// An answer that a caller sends: read once it is known what it answers. Fails with what is
/// wrong with it.
pub type Answer = Box<dyn FnOnce(&Question) -> Result<InputReply, String> + Send>;

/// Answers by the names of their questions.
pub type Answers = BTreeMap<String, Answer>;

/// Calls that are parked between two turns.
pub(crate) struct Turns {
    /// None without randomness: then nothing can be sealed.
    cipher: Option<XChaCha20Poly1305>,
    parked: Mutex<BTreeMap<[u8; 16], Running>>,
}

/// A call in turns.
pub(crate) struct Running {
    call: AbortOnDropHandle<Ended>,
    asks: mpsc::Receiver<Questions>,
    relay: Arc<Relay>,
    pub(crate) cancel: CancellationToken,
    connection: Arc<str>,
    /// The questions that it waits for.
    waits: Option<Questions>,
}

impl Running {
    /// Begins a call whose client is asked between turns.
    pub(crate) fn begin<F>(
        request: &CallRequest,
        answers: Answers,
        run: impl FnOnce(CallRequest) -> F,
    ) -> Running
    where
        F: Future<Output = Ended> + Send + 'static,
    {
        let (asks, asked) = mpsc::channel(1);
        let relay = Arc::new(Relay::default());
        relay.set(Some(request));
        let cancel = CancellationToken::new();
        let call = CallRequest {
            progress: Some(relay.clone()),
            ui: CallerUi {
                asker: Some(Arc::new(TurnAsker {
                    asks,
                    beforehand: Mutex::new(answers),
                })),
                can: request.ui.can,
                listener: Some(relay.clone()),
            },
            cancel: cancel.clone(),
            ..request.clone()
        };
        Running {
            call: AbortOnDropHandle::new(tokio::spawn(run(call))),
            asks: asked,
            relay,
            cancel,
            connection: request.caller.connection.clone(),
            waits: None,
        }
    }

    /// Waits until it asks, or how it ended.
    pub(crate) async fn next(&mut self) -> Result<Questions, Box<Ended>> {
        loop {
            tokio::select! {
                biased;
                ended = &mut self.call => {
                    return Err(Box::new(ended.unwrap_or_else(|error| {
                        Ended::Broken(format!("the task of a call ended: {error}"))
                    })));
                }
                Some(questions) = self.asks.recv() => {
                    // Nobody waits any more where it timed out on its way.
                    if questions.wait() {
                        return Ok(questions);
                    }
                }
            }
        }
    }

    /// Has reports go to `listener`, and nothing to the caller's client.
    pub(crate) fn heard_by(&self, listener: Arc<dyn ProgressListener>) {
        self.relay.set(None);
        *self
            .relay
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }
}

/// Questions on their way from a call to its caller.
pub(crate) struct Questions {
    /// What is not answered yet, by name.
    open: BTreeMap<String, Question>,
    answered: BTreeMap<String, InputReply>,
    /// Until when somebody waits for the answers, in milliseconds since 1970.
    expires_ms: i64,
    /// Where they go, once all are there.
    answers: oneshot::Sender<BTreeMap<String, InputReply>>,
}

impl Questions {
    /// Whether somebody waits for the answers.
    pub(crate) fn wait(&self) -> bool {
        !self.answers.is_closed()
    }

    /// What is not answered yet.
    pub(crate) fn open(&self) -> &BTreeMap<String, Question> {
        &self.open
    }

    /// Hands the answers over once all are there; what is open stays.
    pub(crate) fn hand_over(self) -> Option<Questions> {
        if !self.open.is_empty() {
            return Some(self);
        }
        // A call that waits no more has ended, and says so itself.
        let _ = self.answers.send(self.answered);
        None
    }

    /// Takes the answers that there are to open questions; others are ignored.
    pub(crate) fn take(&mut self, answers: &mut Answers) -> Result<(), CallError> {
        let mut taken = Vec::new();
        for (name, question) in &self.open {
            if let Some(answer) = answers.remove(name) {
                let given = answer(question).map_err(|why| {
                    refused(&format!("the input response `{name}` can't be read: {why}"))
                })?;
                taken.push((name.clone(), given));
            }
        }
        for (name, given) in taken {
            self.open.remove(&name);
            self.answered.insert(name, given);
        }
        Ok(())
    }
}

/// Asks between turns.
struct TurnAsker {
    asks: mpsc::Sender<Questions>,
    /// Answers that the caller has sent along with its call. Only questions that have a name in
    /// the whole call can be meant.
    beforehand: Mutex<Answers>,
}

impl TurnAsker {
    fn beforehand(&self, question: &Question) -> Option<InputReply> {
        let name = question.name.as_ref()?;
        let mut answers = self
            .beforehand
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let answer = answers.remove(name)?;
        // One that can't be read is asked for once more.
        answer(question).ok()
    }
}

#[async_trait]
impl Asker for TurnAsker {
    async fn ask(
        &self,
        questions: &[Question],
        time: Duration,
    ) -> Result<Vec<InputReply>, NoAnswer> {
        let gone = || NoAnswer("the caller is gone".to_owned());
        let named = |(place, question): (usize, &Question)| {
            let place = place.saturating_add(1);
            question
                .name
                .clone()
                .unwrap_or_else(|| format!("question-{place}"))
        };
        let names: Vec<String> = questions.iter().enumerate().map(named).collect();
        let (mut open, mut answered) = (BTreeMap::new(), BTreeMap::new());
        for (name, question) in names.iter().zip(questions) {
            match self.beforehand(question) {
                Some(given) => {
                    answered.insert(name.clone(), given);
                }
                None => {
                    open.insert(name.clone(), question.clone());
                }
            }
        }
        if !open.is_empty() {
            let (answers, receiver) = oneshot::channel();
            let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            let asking = Questions {
                open,
                answered,
                expires_ms: wall_clock().saturating_add(time),
                answers,
            };
            self.asks.send(asking).await.map_err(|_| gone())?;
            answered = receiver.await.map_err(|_| gone())?;
        }
        let in_order = names.iter().map(|name| answered.remove(name));
        in_order.collect::<Option<Vec<_>>>().ok_or_else(gone)
    }
}

/// Passes reports and notices on to whoever listens in this turn.
#[derive(Default)]
struct Relay {
    progress: Mutex<Option<Arc<dyn ProgressListener>>>,
    listener: Mutex<Option<Arc<dyn ClientListener>>>,
}

impl Relay {
    fn set(&self, request: Option<&CallRequest>) {
        let progress = request.and_then(|request| request.progress.clone());
        let listener = request.and_then(|request| request.ui.listener.clone());
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = listener;
    }

    fn listener(&self) -> Option<Arc<dyn ClientListener>> {
        self.listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ProgressListener for Relay {
    fn progress(&self, report: ProgressReport) {
        let listener = self
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(listener) = listener {
            listener.progress(report);
        }
    }
}

impl ClientListener for Relay {
    fn notice(&self, plugin: &str, notice: &Notice) {
        if let Some(listener) = self.listener() {
            listener.notice(plugin, notice);
        }
    }

    fn log(&self, plugin: &str, entry: LogEntry) {
        if let Some(listener) = self.listener() {
            listener.log(plugin, entry);
        }
    }
}

fn refused(why: &str) -> CallError {
    CallError::host(ErrorCode::InvalidArgument, "handle", why)
}

fn used() -> CallError {
    refused(
        "this request state is over: it was used before, its call has ended, or the host was started anew; call the tool again without it",
    )
}

impl Turns {
    pub(crate) fn new() -> Turns {
        let mut key = zeroize::Zeroizing::new([0_u8; 32]);
        let cipher = getrandom::fill(&mut *key)
            .ok()
            .map(|()| XChaCha20Poly1305::new((&*key).into()));
        Turns {
            cipher,
            parked: Mutex::default(),
        }
    }

    fn parked(&self) -> MutexGuard<'_, BTreeMap<[u8; 16], Running>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a handle is bound to: who called what, with which arguments.
    fn bound_to(request: &CallRequest) -> Vec<u8> {
        let arguments = serde_json::to_vec(&request.arguments).unwrap_or_default();
        let mut bound = b"portreeve request state 1\0".to_vec();
        for part in [request.caller.name.as_bytes(), request.tool.as_bytes()] {
            bound.extend((part.len() as u64).to_be_bytes());
            bound.extend(part);
        }
        bound.extend(Digest::of(&arguments).as_bytes());
        bound
    }

    fn seal(&self, id: [u8; 16], expires_ms: i64, request: &CallRequest) -> Option<String> {
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).ok()?;
        let mut plain = id.to_vec();
        plain.extend(expires_ms.to_be_bytes());
        let payload = Payload {
            msg: &plain,
            aad: &Turns::bound_to(request),
        };
        let sealed = self
            .cipher
            .as_ref()?
            .encrypt(&XNonce::from(nonce), payload)
            .ok()?;
        let mut handle = nonce.to_vec();
        handle.extend(sealed);
        Some(URL_SAFE_NO_PAD.encode(handle))
    }

    fn unseal(
        &self,
        handle: &str,
        request: &CallRequest,
        now_ms: i64,
    ) -> Result<[u8; 16], CallError> {
        let forged = || {
            refused(
                "this request state is not one of this host, caller and call: send it back unchanged, with the same tool and arguments; or this host was started anew: call the tool again without it",
            )
        };
        if handle.len() > HANDLE_CHARS_MAX {
            return Err(forged());
        }
        let sealed = URL_SAFE_NO_PAD.decode(handle).map_err(|_| forged())?;
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(forged)?;
        let payload = Payload {
            msg: sealed,
            aad: &Turns::bound_to(request),
        };
        let cipher = self.cipher.as_ref().ok_or_else(forged)?;
        let plain = cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| forged())?;
        let plain: [u8; HANDLE_BYTES] = plain.try_into().map_err(|_| forged())?;
        let (id, expires) = plain.split_first_chunk::<16>().ok_or_else(forged)?;
        let expires = i64::from_be_bytes(expires.try_into().map_err(|_| forged())?);
        if now_ms >= expires {
            return Err(used());
        }
        Ok(*id)
    }

    /// Ends a parked call whose caller did not come back.
    fn forget(&self, id: &[u8; 16]) {
        let running = self.parked().remove(id);
        end(running);
    }
}

/// Ends a call as its cancellation does, so that it is on record.
fn end(running: Option<Running>) {
    if let Some(running) = running {
        running.cancel.cancel();
        // It ends by itself, and soon.
        drop(running.call.detach());
    }
}

impl Host {
    /// Calls a tool for a caller who is asked between turns: whose answers come with another
    /// request.
    ///
    /// # Errors
    /// The handle was altered, used before, is another caller's or another call's, or has
    /// expired; or an answer can't be read. The call that it was for is as it was.
    pub async fn call_in_turns(
        self: &Arc<Self>,
        request: CallRequest,
        returning: Returning,
    ) -> Result<Turn<CallResponse>, CallError> {
        let host = self.clone();
        let run = |call| async move { Ended::Call(host.call(call).await) };
        let turn = self.in_turns(request, returning, run).await?;
        Ok(turn.map(Ended::response))
    }

    /// Reads the resource that clients see at `uri`, likewise.
    ///
    /// # Errors
    /// Those of [`Host::call_in_turns`].
    pub async fn read_in_turns(
        self: &Arc<Self>,
        asking: Asking,
        uri: &str,
        returning: Returning,
    ) -> Result<Turn<Asked<Vec<Part>>>, CallError> {
        let (host, uri) = (self.clone(), uri.to_owned());
        // No tool has such a name.
        let request = asking.request(format!("resources/read {uri}"), Map::new());
        let run = |call: CallRequest| async move {
            Ended::Read(host.read_resource(&Asking::of(call), &uri).await)
        };
        let turn = self.in_turns(request, returning, run).await?;
        Ok(turn.map(|ended| match ended {
            Ended::Read(parts) => parts,
            other => asked(odd(&other)),
        }))
    }

    /// Fills in the prompt that clients see under this name, likewise.
    ///
    /// # Errors
    /// Those of [`Host::call_in_turns`].
    pub async fn prompt_in_turns(
        self: &Arc<Self>,
        asking: Asking,
        name: &str,
        arguments: Map<String, Value>,
        returning: Returning,
    ) -> Result<Turn<Asked<Filled>>, CallError> {
        let (host, name) = (self.clone(), name.to_owned());
        let request = asking.request(format!("prompts/get {name}"), arguments);
        let run = |mut call: CallRequest| async move {
            let arguments = std::mem::take(&mut call.arguments);
            Ended::Prompt(host.prompt(&Asking::of(call), &name, arguments).await)
        };
        let turn = self.in_turns(request, returning, run).await?;
        Ok(turn.map(|ended| match ended {
            Ended::Prompt(filled) => filled,
            other => asked(odd(&other)),
        }))
    }

    /// Begins what `run` does, or goes on with it.
    async fn in_turns<F>(
        self: &Arc<Self>,
        request: CallRequest,
        returning: Returning,
        run: impl FnOnce(CallRequest) -> F,
    ) -> Result<Turn<Ended>, CallError>
    where
        F: Future<Output = Ended> + Send + 'static,
    {
        let becomes = self.becomes_task(&request.tool, returning.tasks);
        match returning.handle {
            Some(handle) => {
                self.resume(request, &handle, returning.answers, becomes)
                    .await
            }
            None => {
                let running = Running::begin(&request, returning.answers, run);
                Ok(self.turn(running, &request, becomes).await)
            }
        }
    }

    /// When the call of a tool becomes a task, for a caller that comes back for those or not.
    fn becomes_task(&self, tool: &str, comes_back: bool) -> Becomes {
        if !comes_back {
            return Becomes::Never;
        }
        let registry = self.registry();
        let tool = registry.tool(tool).map(|tool| tool.tool());
        match tool.map_or(TaskSupport::default(), |tool| tool.execution.task_support) {
            TaskSupport::Forbidden => Becomes::Never,
            TaskSupport::Optional => Becomes::Late,
            TaskSupport::Required => Becomes::AtOnce,
        }
    }

    /// Goes on with a parked call. Answers to what was not asked are ignored; what is not
    /// answered is asked once more.
    async fn resume(
        self: &Arc<Self>,
        request: CallRequest,
        handle: &str,
        mut answers: Answers,
        becomes: Becomes,
    ) -> Result<Turn<Ended>, CallError> {
        let id = self.turns.unseal(handle, &request, wall_clock())?;
        let mut running = {
            let mut parked = self.turns.parked();
            let waits = parked.get_mut(&id).ok_or_else(used)?.waits.as_mut();
            waits.ok_or_else(used)?.take(&mut answers)?;
            parked.remove(&id).ok_or_else(used)?
        };
        running.connection = request.caller.connection.clone();
        if let Some(questions) = running.waits.take() {
            if !questions.open.is_empty() {
                return Ok(self.park(running, questions, &request));
            }
            running.relay.set(Some(&request));
            questions.hand_over();
        }
        Ok(self.turn(running, &request, becomes).await)
    }

    /// Ends what a connection left parked.
    pub fn end_turns(&self, connection: &str) {
        let mut left = Vec::new();
        {
            let mut parked = self.turns.parked();
            let ids: Vec<_> = parked
                .iter()
                .filter(|(_, running)| &*running.connection == connection)
                .map(|(id, _)| *id)
                .collect();
            left.extend(ids.iter().map(|id| parked.remove(id)));
        }
        left.into_iter().for_each(end);
    }

    /// Waits until the call ends or asks, or for as long as its caller waits.
    async fn turn(
        self: &Arc<Self>,
        mut running: Running,
        request: &CallRequest,
        mut becomes: Becomes,
    ) -> Turn<Ended> {
        if becomes == Becomes::AtOnce {
            match self.become_task(running, request, None).await {
                Ok(task) => return Turn::Task(Box::new(task)),
                Err(left) => running = left,
            }
            becomes = Becomes::Never;
        }
        let mut late = Box::pin(tokio::time::sleep(self.tasks.after()));
        loop {
            tokio::select! {
                biased;
                next = running.next() => match next {
                    Ok(questions) => return self.park(running, questions, request),
                    Err(ended) => return Turn::Done(ended),
                },
                () = request.cancel.cancelled(), if !running.cancel.is_cancelled() => {
                    running.cancel.cancel();
                }
                () = &mut late, if becomes == Becomes::Late => match self.become_task(running, request, None).await {
                    Ok(task) => return Turn::Task(Box::new(task)),
                    Err(left) => {
                        running = left;
                        becomes = Becomes::Never;
                    }
                },
            }
        }
    }

    /// Parks a call until its caller comes back with answers.
    fn park(
        self: &Arc<Self>,
        mut running: Running,
        asking: Questions,
        request: &CallRequest,
    ) -> Turn<Ended> {
        let mut id = [0_u8; 16];
        let handle = match getrandom::fill(&mut id) {
            Ok(()) => self.turns.seal(id, asking.expires_ms, request),
            Err(_) => None,
        };
        let Some(handle) = handle else {
            running.cancel.cancel();
            let why = "there is no randomness to seal with".to_owned();
            return Turn::Done(Box::new(Ended::Broken(why)));
        };
        let questions = asking.open.clone();
        let left = asking.expires_ms.saturating_sub(wall_clock());
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        running.relay.set(None);
        running.waits = Some(asking);
        self.turns.parked().insert(id, running);
        let host = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(left).await;
            if let Some(host) = host.upgrade() {
                host.turns.forget(&id);
            }
        });
        Turn::Asks(Pending { handle, questions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Caller, Door};
    use serde_json::{Map, Value, json};

    fn request(caller: &str, tool: &str, arguments: Value) -> CallRequest {
        CallRequest {
            caller: Caller {
                name: caller.into(),
                connection: "c".into(),
                door: Door::Stdio,
            },
            tool: tool.to_owned(),
            arguments: arguments.as_object().cloned().unwrap_or_else(Map::new),
            progress: None,
            ui: CallerUi::default(),
            cancel: CancellationToken::new(),
        }
    }

    #[test]
    fn a_handle_is_bound_to_caller_call_and_time() {
        let turns = Turns::new();
        let ours = request("ada", "notes__ask", json!({"a": 1}));
        let handle = turns.seal([7; 16], 1_000, &ours).unwrap();
        assert_eq!(turns.unseal(&handle, &ours, 999).unwrap(), [7; 16]);
        for (caller, tool, arguments, now) in [
            ("bob", "notes__ask", json!({"a": 1}), 999),
            ("ada", "notes__tell", json!({"a": 1}), 999),
            ("ada", "notes__ask", json!({"a": 2}), 999),
            ("ada", "notes__ask", json!({}), 999),
            ("ada", "notes__ask", json!({"a": 1}), 1_000),
        ] {
            let other = request(caller, tool, arguments);
            assert!(
                turns.unseal(&handle, &other, now).is_err(),
                "{caller} {tool} {now}"
            );
        }
        assert!(
            Turns::new().unseal(&handle, &ours, 999).is_err(),
            "another host's"
        );
        // Each character of it counts; the last ones hold a few spare bits.
        for at in 0..handle.len() - 1 {
            let mut altered = handle.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(turns.unseal(&altered, &ours, 999).is_err(), "{at}");
        }
        for text in [
            "",
            "A",
            "ÄÖ",
            &handle[1..],
            &handle[..handle.len() - 1],
            &"A".repeat(500),
        ] {
            assert!(turns.unseal(text, &ours, 999).is_err(), "{text}");
        }
    }
}
