//! Tasks: calls that take longer than their caller waits, and that it comes back for.
//!
//! A task is in the state before its caller hears of it, and what came of its call is there
//! before anybody sees it. So a caller always learns how its call ended: where the host ended
//! first, it is told that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portreeve_manifest::clean;
use portreeve_manifest::limits::HostLimits;
use portreeve_runtime::{CallError, ErrorCode, ProgressReport};
use portreeve_state::audit::wall_clock;
use portreeve_state::tasks::{TaskRow, TaskState, TaskStore};
use portreeve_state::{Holder, StateError};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::call::{CallRequest, CallResponse, ProgressListener};
use crate::host::Host;
use crate::prompt::{Answers, Ended, Question, Questions, Running};

/// Bytes of chance in a task's id: nobody guesses it.
const ID_BYTES: usize = 24;

/// Longest word on how far a task is, in characters.
const MESSAGE_CHARS_MAX: usize = 500;

/// How far a task is.
#[derive(Debug)]
pub enum TaskProgress {
    /// Its call runs.
    Working,
    /// Its call waits for answers to these, by their names.
    Asks(BTreeMap<String, Question>),
    /// Its call has ended.
    Ended(Box<CallResponse>),
    /// Its call was cancelled.
    Cancelled,
    /// The host ended before its call did.
    Interrupted,
}

/// A task.
#[derive(Debug)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub progress: TaskProgress,
    /// How far it is, in its plugin's words.
    pub message: Option<String>,
    /// When it began: milliseconds since 1970, UTC.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
    /// When it is forgotten.
    pub expires_ms: i64,
}

/// The tasks whose calls run in this process, and where all are kept.
pub(crate) struct Tasks {
    store: Arc<dyn TaskStore>,
    limits: Mutex<Limits>,
    open: Mutex<BTreeMap<String, Arc<Open>>>,
}

#[derive(Clone, Copy)]
struct Limits {
    tasks: u32,
    after: Duration,
    age: Duration,
}

impl Limits {
    fn of(host: &HostLimits) -> Limits {
        Limits {
            tasks: host.tasks,
            after: host.task_after,
            age: host.task_age,
        }
    }
}

/// A task whose call runs.
struct Open {
    owner: Arc<str>,
    cancel: CancellationToken,
    seen: Mutex<Seen>,
    /// Who hears of its progress besides: a caller that asked for a task hears of it until its end.
    reports: Option<Arc<dyn ProgressListener>>,
    /// Marked whenever it begins or ends to ask; gone with it.
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct Seen {
    updated_ms: i64,
    message: Option<String>,
    questions: Option<Questions>,
}

impl Open {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, questions: Questions) {
        {
            let mut seen = self.seen();
            seen.updated_ms = wall_clock();
            seen.questions = Some(questions);
        }
        self.changes.send_replace(());
    }
}

impl ProgressListener for Open {
    fn progress(&self, report: ProgressReport) {
        let done = match report.total {
            Some(total) => format!("{} of {total}", report.done),
            None => format!("{}", report.done),
        };
        let message = match &report.message {
            Some(message) => format!("{done}: {message}"),
            None => done,
        };
        {
            let mut seen = self.seen();
            seen.updated_ms = wall_clock();
            seen.message = Some(clean::line(&message, MESSAGE_CHARS_MAX));
        }
        if let Some(listener) = &self.reports {
            listener.progress(report);
        }
    }
}

/// That there is no such task, or that it is another caller's.
fn unknown() -> CallError {
    CallError::host(
        ErrorCode::NotFound,
        "no-such-task",
        "there is no such task: it expired, gave way to newer ones, or is not this caller's",
    )
}

fn state(error: &StateError) -> CallError {
    CallError {
        log: Some(error.to_string()),
        ..CallError::host(
            ErrorCode::Unavailable,
            "state",
            "this host can't use its state now; its log says why",
        )
    }
}

impl Tasks {
    /// The tasks of a process that begins: what ran in another one is interrupted.
    pub(crate) async fn open(
        store: Arc<dyn TaskStore>,
        limits: &HostLimits,
    ) -> Result<Tasks, StateError> {
        let interrupted = store.tasks_interrupt(wall_clock()).await?;
        if interrupted > 0 {
            tracing::info!(interrupted, "tasks ended with the host that ran them");
        }
        Ok(Tasks {
            store,
            limits: Mutex::new(Limits::of(limits)),
            open: Mutex::default(),
        })
    }

    /// Takes other limits on. Tasks that are there stay.
    pub(crate) fn resize(&self, limits: &HostLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = Limits::of(limits);
    }

    fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a caller waits before its call becomes a task.
    pub(crate) fn after(&self) -> Duration {
        self.limits().after
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task of `owner` whose call runs.
    fn running(&self, id: &str, owner: &str) -> Option<Arc<Open>> {
        let open = self.all().get(id).cloned();
        open.filter(|open| *open.owner == *owner)
    }

    async fn row(&self, id: &str, owner: &str) -> Result<TaskRow, CallError> {
        let row = self.store.task(id, owner, wall_clock()).await;
        row.map_err(|error| state(&error))?.ok_or_else(unknown)
    }

    /// Ends a task. What could not be written is interrupted for its caller.
    async fn end(&self, id: &str, ended: Ended) {
        let response = ended.response();
        let body = serde_json::to_string(&response).unwrap_or_default();
        match self.store.task_end(id, wall_clock(), body).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(task = id, "a task that ended was not there any more"),
            Err(error) => tracing::error!(task = id, %error, "the end of a task was not kept"),
        }
        self.all().remove(id);
    }
}

impl Host {
    /// Makes a task of a call that runs, whose progress `reports` hears; none where there are too
    /// many, or the state can't keep it: then its caller goes on waiting.
    pub(crate) async fn become_task(
        self: &Arc<Self>,
        running: Running,
        request: &CallRequest,
        reports: Option<Arc<dyn ProgressListener>>,
    ) -> Result<Task, Running> {
        let limits = self.tasks.limits();
        let mut random = [0; ID_BYTES];
        if getrandom::fill(&mut random).is_err() {
            return Err(running);
        }
        let (id, now) = (URL_SAFE_NO_PAD.encode(random), wall_clock());
        let age = i64::try_from(limits.age.as_millis()).unwrap_or(i64::MAX);
        let alias = self
            .registry()
            .tool(&request.tool)
            .map_or_else(|| request.tool.clone(), |tool| tool.plugin.alias.clone());
        let row = TaskRow {
            holder: Holder::plugin(&alias),
            id: id.clone(),
            owner: request.caller.name.to_string(),
            tool: request.tool.clone(),
            state: TaskState::Running,
            created_ms: now,
            updated_ms: now,
            expires_ms: now.saturating_add(age),
            body: String::new(),
        };
        let expires_ms = row.expires_ms;
        match self.tasks.store.task_put(row, limits.tasks).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(
                    tool = request.tool,
                    "{} tasks run, and no more may; the setting `tasks` under [host] `limits` raises it",
                    limits.tasks
                );
                return Err(running);
            }
            Err(error) => {
                tracing::error!(%error, "a task can't be kept");
                return Err(running);
            }
        }
        let open = Arc::new(Open {
            owner: request.caller.name.clone(),
            cancel: running.cancel.clone(),
            seen: Mutex::new(Seen {
                updated_ms: now,
                ..Seen::default()
            }),
            reports,
            changes: watch::Sender::new(()),
        });
        self.tasks.all().insert(id.clone(), open.clone());
        running.heard_by(open.clone());
        tokio::spawn(self.clone().drive(id.clone(), open, running));
        Ok(Task {
            id,
            progress: TaskProgress::Working,
            message: None,
            created_ms: now,
            updated_ms: now,
            expires_ms,
        })
    }

    /// Follows a task's call to its end.
    async fn drive(self: Arc<Self>, id: String, open: Arc<Open>, mut running: Running) {
        loop {
            match running.next().await {
                Ok(questions) => open.ask(questions),
                Err(ended) => return self.tasks.end(&id, *ended).await,
            }
        }
    }

    /// How far a task of this caller is.
    ///
    /// # Errors
    /// There is none, or the state can't be read.
    pub async fn task(&self, id: &str, owner: &str) -> Result<Task, CallError> {
        let row = self.tasks.row(id, owner).await?;
        // Looked up after the row: what ended since then is in neither, but its row is.
        let open = self.tasks.running(id, owner);
        let row = match (&open, row.state) {
            (None, TaskState::Running) => self.tasks.row(id, owner).await?,
            _ => row,
        };
        let mut task = Task {
            id: row.id,
            progress: TaskProgress::Interrupted,
            message: None,
            created_ms: row.created_ms,
            updated_ms: row.updated_ms,
            expires_ms: row.expires_ms,
        };
        match (row.state, open) {
            (TaskState::Ended, _) => {
                if let Ok(response) = serde_json::from_str::<CallResponse>(&row.body) {
                    let cancelled = response.result.as_ref().is_err_and(|error| {
                        error.origin == portreeve_runtime::Origin::Host
                            && error.failure.code == ErrorCode::Cancelled
                    });
                    task.progress = match cancelled {
                        true => TaskProgress::Cancelled,
                        false => TaskProgress::Ended(Box::new(response)),
                    };
                }
            }
            (TaskState::Running, Some(open)) => {
                let seen = open.seen();
                task.updated_ms = seen.updated_ms;
                task.message.clone_from(&seen.message);
                task.progress = match &seen.questions {
                    Some(questions) if questions.wait() => {
                        TaskProgress::Asks(questions.open().clone())
                    }
                    _ => TaskProgress::Working,
                };
            }
            (TaskState::Running | TaskState::Interrupted, _) => {}
        }
        Ok(task)
    }

    /// Gives a task answers; those to what it does not ask are ignored.
    ///
    /// # Errors
    /// There is no such task, or an answer can't be read.
    pub async fn answer_task(
        &self,
        id: &str,
        owner: &str,
        mut answers: Answers,
    ) -> Result<(), CallError> {
        self.tasks.row(id, owner).await?;
        let Some(open) = self.tasks.running(id, owner) else {
            return Ok(());
        };
        let mut seen = open.seen();
        let Some(mut questions) = seen.questions.take() else {
            return Ok(());
        };
        let taken = questions.take(&mut answers);
        seen.updated_ms = wall_clock();
        seen.questions = questions.hand_over();
        drop(seen);
        open.changes.send_replace(());
        taken
    }

    /// Calls a tool as a task from its beginning: the task is kept before anything runs, and who
    /// listens to the call's progress does so until its end.
    ///
    /// # Errors
    /// No further task can be kept.
    pub async fn call_as_task(self: &Arc<Self>, request: CallRequest) -> Result<Task, CallError> {
        let host = self.clone();
        let (begin, begun) = oneshot::channel::<()>();
        let run = |call| async move {
            match begun.await {
                Ok(()) => Ended::Call(host.call(call).await),
                Err(_) => Ended::Broken("it was not begun".to_owned()),
            }
        };
        let running = Running::begin(&request, Answers::new(), run);
        let reports = request.progress.clone();
        match self.become_task(running, &request, reports).await {
            Ok(task) => {
                // Who waits for it ends with the task alone.
                let _ = begin.send(());
                Ok(task)
            }
            Err(_) => Err(CallError::host(
                ErrorCode::QuotaExceeded,
                "limit-tasks",
                format!(
                    "no further task can be kept: {} may run at a time, as the setting `tasks` under [host] `limits` says, and this host must be able to write its state",
                    self.tasks.limits().tasks
                ),
            )),
        }
    }

    /// The ids of this caller's tasks, in their order.
    ///
    /// # Errors
    /// The state can't be read.
    pub async fn task_ids(&self, owner: &str) -> Result<Vec<String>, CallError> {
        let ids = self.tasks.store.tasks_of(owner, wall_clock()).await;
        ids.map_err(|error| state(&error))
    }

    /// Hears of it whenever a task of this caller begins or ends to ask, and closes when its call
    /// has ended. None where that does not run.
    pub fn follow_task(&self, id: &str, owner: &str) -> Option<watch::Receiver<()>> {
        let open = self.tasks.running(id, owner)?;
        Some(open.changes.subscribe())
    }

    /// Cancels a task; one that has ended stays as it is.
    ///
    /// # Errors
    /// There is no such task.
    pub async fn cancel_task(&self, id: &str, owner: &str) -> Result<(), CallError> {
        self.tasks.row(id, owner).await?;
        if let Some(open) = self.tasks.running(id, owner) {
            open.cancel.cancel();
        }
        Ok(())
    }
}
