//! Writes what waits, in groups; exports heads; looks after old records.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::chain::{Mac, hex};
use super::error::AuditError;
use super::event::GapReason;
use super::heads::{Head, HeadSink, HeadsFile};
use super::log::{Shared, Waiters};
use super::prune;
use super::record::Record;
use crate::error::StateError;
use crate::rows::AuditGroup;

/// How long a record waits for others to be written with: half of what is promised, so that
/// the other half is the disk's.
const GROUP_WAIT: Duration = Duration::from_millis(25);

/// Pause after a write that failed; doubled each time.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);

/// Longest pause after a write that failed.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long closing waits for a store that can't be written.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);

/// How often the head is exported while records come in.
const EXPORT_PAUSE: Duration = Duration::from_secs(60);

/// How often old records are looked after.
const MAINTAIN_PAUSE: Duration = Duration::from_secs(600);

/// How long another place may take for a head.
const SINK_TIME_MAX: Duration = Duration::from_secs(10);

/// Groups that are joined into one, so that a quiet log does not become a row per record,
/// which is slow to read.
const JOIN_GROUPS: u32 = 64;

/// Bytes of groups from which on they are not joined: each is large enough by itself.
const JOIN_BYTES_MAX: usize = 512 << 10;

/// Refused acts that are named; the rest is counted.
const WITHDRAWN_MAX: usize = 500;

/// What the store refuses to write, since when and why.
#[derive(Default)]
struct Outage {
    since_ms: i64,
    why: String,
    /// Records that somebody waited for, and was told that they are not written.
    withdrawn: Vec<i64>,
    withdrawn_more: u64,
}

/// The task that writes.
pub(super) struct Writer {
    shared: Arc<Shared>,
    heads: HeadsFile,
    /// Taken, but not on disk yet.
    group: Option<AuditGroup>,
    outage: Option<Outage>,
    /// The last record on disk, and its code.
    written: Option<(i64, Mac)>,
    next_export: Instant,
    next_maintain: Instant,
    small: Small,
    sinks: Sinks,
}

/// Groups since the last that were joined.
#[derive(Default)]
struct Small {
    first: Option<i64>,
    groups: u32,
    bytes: usize,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, heads: HeadsFile) -> Writer {
        let sinks = Sinks::start(&shared.config.sinks);
        Writer {
            heads,
            group: None,
            outage: None,
            written: None,
            next_export: Instant::now() + EXPORT_PAUSE,
            next_maintain: Instant::now() + MAINTAIN_PAUSE,
            small: Small::default(),
            sinks,
            shared,
        }
    }

    /// Runs until the log is closed.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            let (due, closing, maintain) = {
                let mut tail = self.shared.tail();
                let pending = &mut tail.pending;
                // What the store refused while old records were removed is due as well.
                let since = pending.since.or(self.group.as_ref().map(|_| now));
                let due = since.map(|since| {
                    if pending.urgent {
                        since
                    } else {
                        since + GROUP_WAIT
                    }
                });
                let maintain = std::mem::take(&mut pending.maintain);
                (due, tail.closing, maintain)
            };
            if maintain || (now >= self.next_maintain && !closing) {
                self.next_maintain = now + MAINTAIN_PAUSE;
                if let Err(error) = prune::maintain(&mut self).await {
                    tracing::warn!(%error, "old records of the audit log could not be removed");
                }
                continue;
            }
            if now >= self.next_export && !closing {
                self.export_head().await;
            }
            match due {
                Some(due) if due <= now || closing => {
                    if !self.write_until_done().await {
                        break;
                    }
                }
                None if closing => break,
                due => {
                    let until = self.next_maintain.min(self.next_export);
                    tokio::select! {
                        () = self.shared.wake.notified() => {}
                        () = sleep_until(due.unwrap_or(until).min(until)) => {}
                    }
                }
            }
        }
        self.export_head().await;
        self.sinks.end().await;
    }

    /// Writes what waits, and tries again until that succeeds; whether it did: not when the
    /// log is closed meanwhile and the store still refuses.
    async fn write_until_done(&mut self) -> bool {
        let mut pause = RETRY_PAUSE_MIN;
        let mut closing_since: Option<Instant> = None;
        while let Err(error) = self.write_pending().await {
            if self.shared.tail().closing {
                let since = *closing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= CLOSE_TIME_MAX {
                    tracing::error!(%error, "the end of the audit log could not be written");
                    return false;
                }
                pause = RETRY_PAUSE_MIN;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shared.wake.notified() => {}
            }
            pause = pause.saturating_mul(2).min(RETRY_PAUSE_MAX);
        }
        let Some(outage) = self.outage.take() else {
            return true;
        };
        let mut tail = self.shared.tail();
        let body = json!({
            "since_ms": outage.since_ms,
            "until_ms": self.shared.config.clock.wall_ms(),
            "why": outage.why,
            "refused": std::mem::take(&mut tail.refused),
            // Acts that are on record, but were refused.
            "withdrawn": outage.withdrawn,
            "withdrawn_more": outage.withdrawn_more,
        });
        self.shared
            .gap(&mut tail, GapReason::Unwritable, object(body));
        self.shared.set_healthy(&mut tail);
        tracing::info!("the audit log is written again");
        true
    }

    /// Says to all, and to those who wait, that nothing is written.
    fn failed(&mut self, error: &StateError, waiters: Waiters) {
        let why = error.to_string();
        self.shared.set_unwritable(&why);
        let outage = self.outage.get_or_insert_with(|| {
            tracing::error!(%error, "the audit log can't be written: new calls are refused");
            Outage {
                since_ms: self.shared.config.clock.wall_ms(),
                ..Outage::default()
            }
        });
        outage.why.clone_from(&why);
        for (seq, waiter) in waiters {
            let _ = waiter.send(Err(AuditError::Unwritable { why: why.clone() }));
            if outage.withdrawn.len() < WITHDRAWN_MAX {
                outage.withdrawn.push(seq);
            } else {
                outage.withdrawn_more = outage.withdrawn_more.saturating_add(1);
            }
        }
    }

    /// Writes what waits: what was taken before and is not on disk, then the rest.
    ///
    /// # Errors
    /// When the store refuses. Nothing is lost: it is taken again by the next try.
    pub(super) async fn write_pending(&mut self) -> Result<(), StateError> {
        if let Some(group) = self.group.take() {
            // It may be on disk although the store said otherwise.
            let there = match self.shared.store.audit_last().await {
                Ok(last) => last.is_some_and(|last| last.records.ends_with(&group.records)),
                Err(error) => {
                    self.group = Some(group);
                    self.failed(&error, Vec::new());
                    return Err(error);
                }
            };
            self.write(group, there, Vec::new()).await?;
        }
        let (group, waiters, administrative) = {
            let mut tail = self.shared.tail();
            let pending = &mut tail.pending;
            let Some(group) = pending.group.take() else {
                return Ok(());
            };
            pending.count = 0;
            pending.since = None;
            pending.urgent = false;
            let administrative = std::mem::take(&mut pending.administrative);
            (group, std::mem::take(&mut pending.waiters), administrative)
        };
        self.write(group, false, waiters).await?;
        {
            let mut tail = self.shared.tail();
            if matches!(self.shared.healthy(), Err(AuditError::Crowded)) {
                self.shared.set_healthy(&mut tail);
            }
            if tail.refused > 0 && self.outage.is_none() {
                let body = object(json!({ "refused": tail.refused }));
                tail.refused = 0;
                self.shared.gap(&mut tail, GapReason::Overflow, body);
            }
        }
        if administrative {
            self.export_head().await;
        }
        self.join_small().await;
        Ok(())
    }

    async fn write(
        &mut self,
        group: AuditGroup,
        there: bool,
        waiters: Waiters,
    ) -> Result<(), StateError> {
        if !there && let Err(error) = self.shared.store.audit_append(group.clone()).await {
            self.group = Some(group);
            self.failed(&error, waiters);
            return Err(error);
        }
        for (_, waiter) in waiters {
            // Who gave up waiting is not told.
            let _ = waiter.send(Ok(()));
        }
        self.small.first.get_or_insert(group.first);
        self.small.groups = self.small.groups.saturating_add(1);
        self.small.bytes = self.small.bytes.saturating_add(group.records.len());
        self.written = end_of(&group);
        Ok(())
    }

    /// Makes one of many small groups.
    async fn join_small(&mut self) {
        if self.small.groups < JOIN_GROUPS && self.small.bytes < JOIN_BYTES_MAX {
            return;
        }
        let small = std::mem::take(&mut self.small);
        let (Some(first), Some((last, _))) = (small.first, self.written) else {
            return;
        };
        if small.groups < 2 || small.bytes > JOIN_BYTES_MAX.saturating_mul(2) {
            return;
        }
        if let Err(error) = self.shared.store.audit_join(first, last).await {
            // Nothing depends on it but the speed of reading.
            tracing::warn!(%error, "groups of the audit log could not be joined");
        }
    }

    /// Exports the head, if there is a new one.
    pub(super) async fn export_head(&mut self) {
        self.next_export = Instant::now() + EXPORT_PAUSE;
        let Some((seq, mac)) = self.written else {
            return;
        };
        if self.shared.exported.load(Ordering::Acquire) >= seq {
            return;
        }
        let head = Head {
            project: self.shared.store.project().to_owned(),
            seq,
            mac: hex(&mac),
            time_ms: self.shared.config.clock.wall_ms(),
        };
        self.sinks.send(&head);
        let heads = self.heads.clone();
        let written = tokio::task::spawn_blocking(move || heads.append(&head)).await;
        match written {
            Ok(Ok(())) => self.shared.exported.store(seq, Ordering::Release),
            Ok(Err(error)) => tracing::warn!(%error, "the head of the audit log was not exported"),
            Err(error) => tracing::error!(%error, "the head of the audit log was not exported"),
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The last record on disk.
    pub(super) fn written(&self) -> i64 {
        self.written.map_or(0, |(seq, _)| seq)
    }

    /// Nothing before this record is joined any more.
    pub(super) fn forget_small(&mut self) {
        self.small = Small::default();
    }
}

/// The last record of a group, and its code.
pub(super) fn end_of(group: &AuditGroup) -> Option<(i64, Mac)> {
    let mut rest = group.records.as_slice();
    let mut end = None;
    while let Some(record) = Record::take(&mut rest) {
        end = Some((record.seq, *record.mac));
    }
    end
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// The other places that heads go to, in a task of their own: they may be slow.
struct Sinks {
    head: watch::Sender<Option<Head>>,
    task: Option<JoinHandle<()>>,
}

impl Sinks {
    fn start(sinks: &[Arc<dyn HeadSink>]) -> Sinks {
        let (head, mut heads) = watch::channel(None::<Head>);
        let sinks = sinks.to_vec();
        let task = (!sinks.is_empty()).then(|| {
            tokio::spawn(async move {
                while heads.changed().await.is_ok() {
                    let Some(head) = heads.borrow_and_update().clone() else {
                        continue;
                    };
                    for sink in &sinks {
                        let why = match timeout(SINK_TIME_MAX, sink.export(&head)).await {
                            Ok(Ok(())) => continue,
                            Ok(Err(why)) => why,
                            Err(_) => format!("it took more than {SINK_TIME_MAX:?}"),
                        };
                        tracing::warn!(?sink, why, "the head of the audit log was not exported");
                    }
                }
            })
        });
        Sinks { head, task }
    }

    fn send(&self, head: &Head) {
        self.head.send_replace(Some(head.clone()));
    }

    /// Waits for the last head to be exported.
    async fn end(self) {
        drop(self.head);
        if let Some(task) = self.task {
            let aborted = task.abort_handle();
            if timeout(SINK_TIME_MAX, task).await.is_err() {
                aborted.abort();
            }
        }
    }
}
