//! Calls in turns: for callers that can't be asked while their call runs, but call again with
//! the answers.
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
use portreeve_runtime::{CallError, ErrorCode, Notice, ProgressReport, Reply};
use portreeve_state::audit::wall_clock;
use portreeve_supply::Digest;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Asker, CallerUi, NoAnswer, NoticeListener, Question};
use crate::call::{CallRequest, CallResponse, ProgressListener};
use crate::host::Host;

/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// What a handle says: which parked call, and until when.
const HANDLE_BYTES: usize = 24;

/// Longest handle that is looked at, in characters.
const HANDLE_CHARS_MAX: usize = 200;

/// What came of a turn.
#[derive(Debug)]
pub enum Turn {
    /// The call has ended.
    Done(Box<CallResponse>),
    /// It waits for answers.
    Asks(Pending),
}

/// What a parked call waits for.
#[derive(Debug)]
pub struct Pending {
    /// The handle, for whoever comes back with the answers.
    pub handle: String,
    /// The questions.
    pub questions: Vec<Question>,
}

/// Calls that are parked between two turns.
pub(crate) struct Turns {
    /// None without randomness: then nothing can be sealed.
    cipher: Option<XChaCha20Poly1305>,
    parked: Mutex<BTreeMap<[u8; 16], Running>>,
}

/// A call in turns.
struct Running {
    call: AbortOnDropHandle<CallResponse>,
    asks: mpsc::Receiver<Asking>,
    relay: Arc<Relay>,
    cancel: CancellationToken,
    connection: Arc<str>,
    /// Who waits for the answers, and to how many questions.
    waits: Option<(oneshot::Sender<Vec<Reply>>, usize)>,
}

/// Questions on their way from a call to its caller.
struct Asking {
    questions: Vec<Question>,
    time: Duration,
    replies: oneshot::Sender<Vec<Reply>>,
}

struct TurnAsker(mpsc::Sender<Asking>);

#[async_trait]
impl Asker for TurnAsker {
    async fn ask(&self, questions: &[Question], time: Duration) -> Result<Vec<Reply>, NoAnswer> {
        let gone = || NoAnswer("the caller is gone".to_owned());
        let (replies, receiver) = oneshot::channel();
        let asking = Asking {
            questions: questions.to_vec(),
            time,
            replies,
        };
        self.0.send(asking).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())
    }
}

/// Passes reports and notices on to whoever listens in this turn.
#[derive(Default)]
struct Relay {
    progress: Mutex<Option<Arc<dyn ProgressListener>>>,
    notices: Mutex<Option<Arc<dyn NoticeListener>>>,
}

impl Relay {
    fn set(&self, request: Option<&CallRequest>) {
        let progress = request.and_then(|request| request.progress.clone());
        let notices = request.and_then(|request| request.ui.notices.clone());
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        *self.notices.lock().unwrap_or_else(PoisonError::into_inner) = notices;
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

impl NoticeListener for Relay {
    fn notice(&self, plugin: &str, notice: &Notice) {
        let listener = self
            .notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(listener) = listener {
            listener.notice(plugin, notice);
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
                "this request state is not one of this host, caller and call: send it back unchanged, with the same tool and arguments",
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
    /// request, to [`Host::resume`].
    pub async fn call_in_turns(self: &Arc<Self>, request: CallRequest) -> Turn {
        let (sender, asks) = mpsc::channel(1);
        let relay = Arc::new(Relay::default());
        relay.set(Some(&request));
        let cancel = CancellationToken::new();
        let call = CallRequest {
            progress: Some(relay.clone()),
            ui: CallerUi {
                asker: Some(Arc::new(TurnAsker(sender))),
                notices: Some(relay.clone()),
            },
            cancel: cancel.clone(),
            ..request.clone()
        };
        let host = self.clone();
        let running = Running {
            call: AbortOnDropHandle::new(tokio::spawn(async move { host.call(call).await })),
            asks,
            relay,
            cancel,
            connection: request.caller.connection.clone(),
            waits: None,
        };
        self.turn(running, &request).await
    }

    /// Goes on with a parked call. `replies` has one for each question, in their order.
    ///
    /// # Errors
    /// The handle was altered, used before, is another caller's or another call's, or has
    /// expired. The call that it was for is as it was.
    pub async fn resume(
        self: &Arc<Self>,
        request: CallRequest,
        handle: &str,
        replies: Vec<Reply>,
    ) -> Result<Turn, CallError> {
        let id = self.turns.unseal(handle, &request, wall_clock())?;
        let running = {
            let mut parked = self.turns.parked();
            let waits = parked.get(&id).ok_or_else(used)?.waits.as_ref();
            let wanted = waits.map_or(0, |(_, wanted)| *wanted);
            if wanted != replies.len() {
                return Err(refused(
                    "there must be one input response for each input request",
                ));
            }
            parked.remove(&id).ok_or_else(used)?
        };
        let mut running = running;
        running.relay.set(Some(&request));
        running.connection = request.caller.connection.clone();
        if let Some((waits, _)) = running.waits.take() {
            // A call that waits no more has ended, and says so itself.
            let _ = waits.send(replies);
        }
        Ok(self.turn(running, &request).await)
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

    /// Waits until the call ends or asks.
    async fn turn(self: &Arc<Self>, mut running: Running, request: &CallRequest) -> Turn {
        let asking = loop {
            tokio::select! {
                biased;
                ended = &mut running.call => {
                    return Turn::Done(Box::new(ended.unwrap_or_else(|error| CallResponse {
                        call_id: String::new(),
                        result: Err(CallError::internal(format!("the task of a call ended: {error}"))),
                        usage: portreeve_runtime::Usage::default(),
                    })));
                }
                () = request.cancel.cancelled(), if !running.cancel.is_cancelled() => {
                    running.cancel.cancel();
                }
                Some(asking) = running.asks.recv() => {
                    // Nobody waits any more where it timed out on its way.
                    if !asking.replies.is_closed() {
                        break asking;
                    }
                }
            }
        };
        let mut id = [0_u8; 16];
        let time = i64::try_from(asking.time.as_millis()).unwrap_or(i64::MAX);
        let expires = wall_clock().saturating_add(time);
        let handle = match getrandom::fill(&mut id) {
            Ok(()) => self.turns.seal(id, expires, request),
            Err(_) => None,
        };
        let Some(handle) = handle else {
            running.cancel.cancel();
            return Turn::Done(Box::new(CallResponse {
                call_id: String::new(),
                result: Err(CallError::internal("there is no randomness to seal with")),
                usage: portreeve_runtime::Usage::default(),
            }));
        };
        running.relay.set(None);
        running.waits = Some((asking.replies, asking.questions.len()));
        self.turns.parked().insert(id, running);
        let (host, time) = (Arc::downgrade(self), asking.time);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(host) = host.upgrade() {
                host.turns.forget(&id);
            }
        });
        Turn::Asks(Pending {
            handle,
            questions: asking.questions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Caller;
    use serde_json::{Map, Value, json};

    fn request(caller: &str, tool: &str, arguments: Value) -> CallRequest {
        CallRequest {
            caller: Caller {
                name: caller.into(),
                connection: "c".into(),
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
