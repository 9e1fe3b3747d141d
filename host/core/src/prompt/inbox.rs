//! The inbox: questions that no client could show, and notices.
//!
//! What is asked and told lies in the state, so that other processes can list it; who waits for
//! the answer is known to this process alone. An answer goes from whoever gives it to the call
//! that asked, and is kept nowhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portreeve_manifest::form::Form;
use portreeve_runtime::{Notice, Reply};
use portreeve_state::audit::{AuditEvent, AuditKind, AuditLog, wall_clock};
use portreeve_state::{Holder, InboxRow, StateError, StateStore};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::call::Caller;
use crate::host::{Host, HostError};
use crate::scope::CallScope;

/// Notices of one plugin, and questions of one plugin, that are kept; older ones go.
const ROWS_MAX: u32 = 100;

/// How long notices are kept.
const NOTICE_TIME: Duration = Duration::from_secs(7 * 86_400);

/// What people do with the inbox.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InboxAct {
    /// Look into it.
    List,
    /// Answer a question.
    Answer {
        /// The question.
        id: String,
        /// The answer.
        reply: Reply,
    },
    /// Take away the notices, and the questions that nobody waits for any more.
    Clear,
}

/// What was filled in is not shown.
impl std::fmt::Debug for InboxAct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InboxAct::List => f.write_str("List"),
            InboxAct::Answer { id, reply } => write!(f, "Answer({id:?}, {reply:?})"),
            InboxAct::Clear => f.write_str("Clear"),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InboxDone {
    /// What is in it, from the oldest on.
    Items(Vec<InboxItem>),
    /// The call that asked has the answer.
    Answered,
    /// So many were taken away.
    Cleared(u64),
}

/// Something in the inbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InboxItem {
    /// Its id.
    pub id: String,
    /// The plugin that it comes from.
    pub plugin: String,
    /// The call that it comes from.
    pub call: String,
    /// When it came: milliseconds since 1970, UTC.
    pub created: i64,
    /// When it goes.
    pub expires: i64,
    /// What it is.
    #[serde(flatten)]
    pub what: InboxWhat,
}

/// What it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InboxWhat {
    /// Something to answer.
    Question {
        /// The form.
        form: Form,
        /// Whether a call waits for the answer. None does any more where the host was started
        /// anew since.
        waits: bool,
    },
    /// Something to know.
    Notice(Notice),
}

/// Questions that calls of this process wait for.
pub(crate) struct Inbox {
    store: Arc<dyn StateStore>,
    audit: Arc<AuditLog>,
    open: Mutex<BTreeMap<String, Open>>,
    /// Where rows are removed whose calls ended.
    handle: Handle,
}

struct Open {
    holder: Holder,
    call: String,
    form: Form,
    answered: oneshot::Sender<(Reply, Arc<str>)>,
}

/// A question that waits; dropping it takes it away.
pub(crate) struct Waiting {
    inbox: Arc<Inbox>,
    holder: Holder,
    pub(crate) id: String,
    answered: oneshot::Receiver<(Reply, Arc<str>)>,
}

impl Waiting {
    /// The answer, and who gave it.
    pub(crate) async fn answered(&mut self) -> Option<(Reply, Arc<str>)> {
        (&mut self.answered).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.inbox.open().remove(&self.id);
        let (inbox, holder) = (self.inbox.clone(), self.holder.clone());
        let id = std::mem::take(&mut self.id);
        self.inbox.handle.spawn(async move {
            match inbox.store.inbox_remove(&holder, &id).await {
                Ok(_) | Err(StateError::Closed) => {}
                Err(error) => tracing::warn!(%error, id, "a question stays in the inbox"),
            }
        });
    }
}

/// An id that people can type: eight letters and digits, none of which looks like another.
fn id() -> Result<String, StateError> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)
        .map_err(|error| StateError::Database(format!("there is no randomness: {error}")))?;
    let letters = random
        .iter()
        .filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
    Ok(letters.map(|letter| char::from(*letter)).collect())
}

impl Inbox {
    /// To be called within a tokio runtime.
    pub(super) fn new(store: Arc<dyn StateStore>, audit: Arc<AuditLog>) -> Arc<Inbox> {
        Arc::new(Inbox {
            store,
            audit,
            open: Mutex::default(),
            handle: Handle::current(),
        })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a question in, for so long.
    pub(super) async fn ask(
        self: &Arc<Self>,
        scope: &CallScope,
        form: Form,
        time: Duration,
    ) -> Result<Waiting, StateError> {
        let id = id()?;
        let body = serde_json::to_string(&form).unwrap_or_default();
        let holder = Holder::plugin(&scope.plugin.alias);
        let row = row(scope, &holder, &id, "question", body, time);
        let (answered, receiver) = oneshot::channel();
        let open = Open {
            holder: holder.clone(),
            call: scope.call_id.clone(),
            form,
            answered,
        };
        self.open().insert(id.clone(), open);
        // From here on it is taken away when the call ends, also while it is being written.
        let waiting = Waiting {
            inbox: self.clone(),
            holder,
            id,
            answered: receiver,
        };
        self.store.inbox_put(row, ROWS_MAX).await?;
        Ok(waiting)
    }

    /// Puts a notice in.
    pub(super) async fn notify(
        &self,
        scope: &CallScope,
        notice: &Notice,
    ) -> Result<(), StateError> {
        let body = serde_json::to_string(notice).unwrap_or_default();
        let holder = Holder::plugin(&scope.plugin.alias);
        let row = row(scope, &holder, &id()?, "notice", body, NOTICE_TIME);
        self.store.inbox_put(row, ROWS_MAX).await
    }

    async fn items(&self) -> Result<Vec<InboxItem>, StateError> {
        let rows = self
            .store
            .inbox(wall_clock(), portreeve_state::ROWS_MAX)
            .await?;
        let open = self.open();
        let item = |row: InboxRow| {
            let what = match row.kind.as_str() {
                "question" => InboxWhat::Question {
                    form: serde_json::from_str(&row.body).ok()?,
                    waits: open.contains_key(&row.id),
                },
                _ => InboxWhat::Notice(serde_json::from_str(&row.body).ok()?),
            };
            Some(InboxItem {
                id: row.id,
                plugin: row.holder.alias.to_string(),
                call: row.call,
                created: row.created_ms,
                expires: row.expires_ms,
                what,
            })
        };
        Ok(rows.into_iter().filter_map(item).collect())
    }

    /// A question that a call waits for: whose it is, of which call, and its form.
    fn waiting(&self, id: &str) -> Option<(Holder, String, Form)> {
        let open = self.open();
        let question = open.get(id)?;
        Some((
            question.holder.clone(),
            question.call.clone(),
            question.form.clone(),
        ))
    }

    /// Gives a call its answer. It is on record before.
    async fn answer(&self, id: &str, reply: Reply, who: &Caller) -> Result<(), HostError> {
        let gone = || {
            HostError::Asked(format!(
                "there is no question `{id}` any more; `portreeve inbox` shows those that there are"
            ))
        };
        let Some((holder, call, form)) = self.waiting(id) else {
            return Err(self.ended(id).await?.unwrap_or_else(gone));
        };
        let reply = match reply {
            Reply::Accepted(answer) => {
                let checked = form.check(&answer).map(Reply::Accepted);
                checked.map_err(|mistakes| HostError::Asked(mistakes.join("\n")))?
            }
            other => other,
        };
        let mut body = Map::new();
        body.insert("id".to_owned(), id.into());
        body.insert("outcome".to_owned(), reply.as_str().into());
        body.insert("via".to_owned(), "inbox".into());
        let event = AuditEvent {
            kind: AuditKind::Answer,
            holder,
            caller: who.name.clone(),
            call,
            body,
        };
        self.audit.commit(event).await?;
        // Somebody else may have been faster, or the call has ended.
        let question = self.open().remove(id).ok_or_else(gone)?;
        question
            .answered
            .send((reply, who.name.clone()))
            .map_err(|_| gone())
    }

    /// Takes away a question whose call ended with the process that ran it; what to tell whoever
    /// answers it.
    async fn ended(&self, id: &str) -> Result<Option<HostError>, StateError> {
        let rows = self
            .store
            .inbox(wall_clock(), portreeve_state::ROWS_MAX)
            .await?;
        let question = |row: &&InboxRow| row.id == id && row.kind == "question";
        let Some(row) = rows.iter().find(question) else {
            return Ok(None);
        };
        self.store.inbox_remove(&row.holder, id).await?;
        Ok(Some(HostError::Asked(format!(
            "unavailable: the call of `{}` that asked this ended with the host that ran it, and nobody waits for the answer; call the tool again",
            row.holder.alias
        ))))
    }

    async fn clear(&self) -> Result<u64, StateError> {
        let mut cleared = 0_u64;
        for item in self.items().await? {
            if matches!(item.what, InboxWhat::Question { waits: true, .. }) {
                continue;
            }
            let holder = Holder::plugin(&item.plugin);
            if self.store.inbox_remove(&holder, &item.id).await? {
                cleared = cleared.saturating_add(1);
            }
        }
        Ok(cleared)
    }
}

fn row(
    scope: &CallScope,
    holder: &Holder,
    id: &str,
    kind: &str,
    body: String,
    time: Duration,
) -> InboxRow {
    let now = wall_clock();
    let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    InboxRow {
        holder: holder.clone(),
        id: id.to_owned(),
        kind: kind.to_owned(),
        call: scope.call_id.clone(),
        created_ms: now,
        expires_ms: now.saturating_add(time),
        body,
    }
}

impl Host {
    /// Does something with the inbox.
    ///
    /// # Errors
    /// The answer does not fit, nobody waits for it, or it can't be recorded.
    pub async fn inbox(&self, act: InboxAct, who: &Caller) -> Result<InboxDone, HostError> {
        let inbox = &self.prompts.inbox;
        match act {
            InboxAct::List => Ok(InboxDone::Items(inbox.items().await?)),
            InboxAct::Answer { id, reply } => {
                inbox.answer(&id, reply, who).await?;
                Ok(InboxDone::Answered)
            }
            InboxAct::Clear => {
                let mut body = Map::new();
                body.insert("via".to_owned(), Value::from("inbox"));
                let event = AuditEvent {
                    caller: who.name.clone(),
                    ..AuditEvent::host(AuditKind::InboxClear, body)
                };
                self.audit.commit(event).await?;
                Ok(InboxDone::Cleared(inbox.clear().await?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_can_be_typed() {
        let ids: std::collections::BTreeSet<String> = (0..100).map(|_| id().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        for id in ids {
            assert_eq!(id.len(), 8);
            assert!(!id.contains(['i', 'l', 'o', '1']), "{id}");
        }
    }
}
