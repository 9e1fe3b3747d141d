//! What a client of 2025-11-25 is told of its tasks unasked: that their status has changed, and
//! how far they are where it gave a token for that. It waits until the client listens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portreeve_core::{Host, ProgressListener, ProgressReport, Task};
use rmcp::model::{
    CustomNotification, GetMeta, ProgressNotification, ProgressNotificationParam, ProgressToken,
    ServerNotification, TaskStatus,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::older_tasks::{self, RELATED, shown};
use crate::server::Wishes;

/// Statuses that wait for a client that does not listen; then the oldest go.
const STATUSES_MAX: usize = 32;

/// Tasks whose latest report waits for such a client; then the oldest go.
const REPORTS_MAX: usize = 16;

/// What a client is told, until it listens.
#[derive(Default)]
pub(crate) struct Statuses {
    waiting: Mutex<VecDeque<Told>>,
    more: Notify,
}

/// Something that a client is told of a task.
struct Told {
    about: About,
    task: String,
    notification: ServerNotification,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Status,
    Progress,
}

impl About {
    const fn waiting_max(self) -> usize {
        match self {
            About::Status => STATUSES_MAX,
            About::Progress => REPORTS_MAX,
        }
    }
}

impl Statuses {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Told>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the client told of something. A report takes the place of the task's last one: it says
    /// more.
    fn tell(&self, told: Told) {
        let mut waiting = self.waiting();
        if told.about == About::Progress {
            forget_progress(&mut waiting, &told.task);
        }
        let alike = |other: &Told| other.about == told.about;
        if waiting.iter().filter(|other| alike(other)).count() >= told.about.waiting_max()
            && let Some(oldest) = waiting.iter().position(alike)
        {
            waiting.remove(oldest);
        }
        waiting.push_back(told);
        self.more.notify_one();
    }

    fn tell_status(&self, task: &Task) {
        let params = Value::from(shown(task));
        let told = CustomNotification::new("notifications/tasks/status", Some(params));
        self.tell(Told {
            about: About::Status,
            task: task.id.clone(),
            notification: ServerNotification::CustomNotification(told),
        });
    }

    /// The next one. Dropping the future loses nothing.
    pub(crate) async fn next(&self) -> ServerNotification {
        loop {
            let next = self.waiting().pop_front();
            if let Some(next) = next {
                return next.notification;
            }
            self.more.notified().await;
        }
    }

    /// Tells of each change of a task's status, until it ends.
    pub(crate) async fn follow(&self, host: &Host, id: &str, owner: &str) {
        let mut last = TaskStatus::Working;
        loop {
            let follow = host.follow_task(id, owner);
            let task = host.task(id, owner).await.ok();
            let task = task.map(|task| (older_tasks::status(&task), task));
            if task.as_ref().is_none_or(|(now, _)| now.is_terminal()) {
                forget_progress(&mut self.waiting(), id);
            }
            let Some((now, task)) = task else { return };
            if now != last {
                last = now;
                self.tell_status(&task);
            }
            match follow {
                Some(mut changes) if !now.is_terminal() => {
                    let _ = changes.changed().await;
                }
                _ => return,
            }
        }
    }
}

/// A task that has ended makes no progress, as far as its client may be told.
fn forget_progress(waiting: &mut VecDeque<Told>, task: &str) {
    waiting.retain(|told| told.about != About::Progress || told.task != task);
}

/// Tells a client how far a task of its is. Its token is good until the task ends.
pub(crate) struct Reports {
    wishes: Arc<Wishes>,
    token: ProgressToken,
    so_far: Mutex<SoFar>,
}

#[derive(Default)]
struct SoFar {
    done: Option<f64>,
    /// The task, once its client is about to learn of it.
    task: Option<String>,
    /// The latest report before that.
    early: Option<ProgressReport>,
}

impl Reports {
    pub(crate) fn new(wishes: Arc<Wishes>, token: ProgressToken) -> Reports {
        Reports {
            wishes,
            token,
            so_far: Mutex::default(),
        }
    }

    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which task it is. What was heard before is told now.
    pub(crate) fn are_of(&self, task: &str) {
        let mut so_far = self.so_far();
        so_far.task = Some(task.to_owned());
        if let Some(early) = so_far.early.take() {
            self.tell(task, early);
        }
    }

    fn tell(&self, task: &str, report: ProgressReport) {
        let mut params = ProgressNotificationParam::new(self.token.clone(), report.done);
        params.total = report.total;
        params.message = report.message;
        let mut notification = ServerNotification::from(ProgressNotification::new(params));
        let related = json!({"taskId": task});
        let meta = notification.get_meta_mut();
        meta.insert(RELATED.to_owned(), related);
        self.wishes.statuses.tell(Told {
            about: About::Progress,
            task: task.to_owned(),
            notification,
        });
    }
}

impl ProgressListener for Reports {
    fn progress(&self, report: ProgressReport) {
        let mut so_far = self.so_far();
        // The protocol wants it to grow.
        if so_far.done.is_some_and(|done| report.done <= done) {
            return;
        }
        so_far.done = Some(report.done);
        match &so_far.task {
            Some(task) => self.tell(task, report),
            None => so_far.early = Some(report),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_core::TaskProgress;
    use rmcp::model::NumberOrString;
    use std::time::Duration;
    use tokio::time::timeout;

    fn ended(id: &str) -> Task {
        Task {
            id: id.to_owned(),
            progress: TaskProgress::Cancelled,
            message: None,
            created_ms: 0,
            updated_ms: 0,
            expires_ms: 0,
        }
    }

    fn report(done: f64) -> ProgressReport {
        ProgressReport {
            done,
            total: None,
            message: None,
        }
    }

    fn reports(wishes: &Arc<Wishes>, token: &str) -> Reports {
        let token = ProgressToken(NumberOrString::String(token.into()));
        Reports::new(wishes.clone(), token)
    }

    /// What is told now, and nothing more.
    async fn told(statuses: &Statuses) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(next) = timeout(Duration::from_millis(10), statuses.next()).await {
            let next = serde_json::to_value(next).unwrap();
            let params = &next["params"];
            told.push(match next["method"].as_str().unwrap() {
                "notifications/tasks/status" => format!("{}", params["taskId"]),
                _ => format!(
                    "{} {} {}",
                    params["progressToken"], params["progress"], params["_meta"][RELATED]["taskId"]
                ),
            });
        }
        told
    }

    #[tokio::test]
    async fn statuses_wait_for_who_listens_and_the_oldest_go() {
        let statuses = Statuses::default();
        for number in 0..=STATUSES_MAX {
            statuses.tell_status(&ended(&number.to_string()));
        }
        let expected: Vec<_> = (1..=STATUSES_MAX).map(|n| format!("\"{n}\"")).collect();
        assert_eq!(told(&statuses).await, expected);
    }

    #[tokio::test]
    async fn of_each_task_the_latest_report_waits_and_the_oldest_go() {
        let wishes = Arc::<Wishes>::default();
        let first = reports(&wishes, "t");
        for done in [1.0, 2.0, 2.0, 0.5] {
            first.progress(report(done));
        }
        // Before the task is known, nobody is told.
        assert_eq!(told(&wishes.statuses).await, Vec::<String>::new());
        first.are_of("a");
        assert_eq!(told(&wishes.statuses).await, [r#""t" 2.0 "a""#]);
        for done in [3.0, 4.0] {
            first.progress(report(done));
        }
        // They take no status's place.
        wishes.statuses.tell_status(&ended("z"));
        let others: Vec<_> = (0..REPORTS_MAX)
            .map(|number| {
                let others = reports(&wishes, "o");
                others.are_of(&number.to_string());
                others.progress(report(1.0));
                others
            })
            .collect();
        assert_eq!(others.len(), REPORTS_MAX);
        let told = told(&wishes.statuses).await;
        assert_eq!(told.len(), 1 + REPORTS_MAX);
        assert_eq!(told[..2], [r#""z""#, r#""o" 1.0 "0""#]);
    }

    #[tokio::test]
    async fn nobody_hears_of_progress_after_the_end() {
        let wishes = Arc::<Wishes>::default();
        for task in ["a", "b"] {
            let of = reports(&wishes, "t");
            of.are_of(task);
            of.progress(report(1.0));
        }
        forget_progress(&mut wishes.statuses.waiting(), "a");
        assert_eq!(told(&wishes.statuses).await, [r#""t" 1.0 "b""#]);
    }
}
