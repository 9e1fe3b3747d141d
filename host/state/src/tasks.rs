//! Calls that their callers come back for, kept so that none of them ends in silence.

use async_trait::async_trait;

use crate::error::StateError;
use crate::rows::Holder;

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Its call runs, in the process that keeps it.
    Running,
    /// Its call ended, and the row's body is what came of it.
    Ended,
    /// The process that ran its call ended before the call did.
    Interrupted,
}

impl TaskState {
    /// Its name, which is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            TaskState::Running => "running",
            TaskState::Ended => "ended",
            TaskState::Interrupted => "interrupted",
        }
    }

    pub(crate) fn read(name: &str) -> Option<TaskState> {
        let all = [TaskState::Running, TaskState::Ended, TaskState::Interrupted];
        all.into_iter().find(|state| state.as_str() == name)
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// The plugin that is called.
    pub holder: Holder,
    /// Its id, which no other has and nobody guesses.
    pub id: String,
    /// Who may ask for it: the caller's name.
    pub owner: String,
    /// The tool that is called.
    pub tool: String,
    /// How far it is.
    pub state: TaskState,
    /// When it began.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
    /// When it goes.
    pub expires_ms: i64,
    /// What came of it, as JSON; empty before.
    pub body: String,
}

/// Keeps tasks. What was put or ended is on the disk when it is answered.
#[async_trait]
pub trait TaskStore: Send + Sync {
    /// Puts a task in. Of those that have ended the newest stay, so that there are `rows_max` in
    /// all; whether there was room: those that run stay.
    async fn task_put(&self, row: TaskRow, rows_max: u32) -> Result<bool, StateError>;

    /// Ends a task with what came of it; whether it was running.
    async fn task_end(&self, id: &str, now_ms: i64, body: String) -> Result<bool, StateError>;

    /// The task of `owner` that has not expired at `now_ms`.
    async fn task(&self, id: &str, owner: &str, now_ms: i64)
    -> Result<Option<TaskRow>, StateError>;

    /// The ids of the tasks of `owner` that have not expired at `now_ms`, in their order; as many
    /// as are kept.
    async fn tasks_of(&self, owner: &str, now_ms: i64) -> Result<Vec<String>, StateError>;

    /// Marks what runs as interrupted: for a process that begins, and runs nothing yet. How much
    /// it was.
    async fn tasks_interrupt(&self, now_ms: i64) -> Result<u64, StateError>;

    /// Takes away what has expired at `now_ms`, and does not run; how much it was.
    async fn tasks_sweep(&self, now_ms: i64) -> Result<u64, StateError>;
}
