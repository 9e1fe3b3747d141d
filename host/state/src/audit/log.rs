//! The log as it is written: records get their place and code at once and in order, and go
//! to the disk in groups.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::chain::{Chain, Mac};
use super::event::{self, AuditEvent, AuditKind, AuditRecord};
use super::heads::{Head, Heads};
use super::prune::{self, Bounds};
use crate::error::StateError;
use crate::key::Key;
use crate::rows::{AuditGroup, AuditRow, Checkpoint};
use crate::store::StateStore;

/// Longest time that a record waits for others to be written with: within 50 ms it is to be
/// on disk, which needs some of them.
const GROUP_TIME: Duration = Duration::from_millis(40);

/// Records of one group, and about their bytes: enough that a group costs little for each, and
/// few enough that reading one takes little.
const GROUP_MAX: i64 = 1_000;
const GROUP_BYTES_MAX: usize = 64 << 10;

/// Groups that are written at once.
const GROUPS_AT_ONCE: usize = 16;

/// Records that wait for the disk, and their bytes. Beyond, they are lost, and counted.
const PENDING_MAX: i64 = 20_000;
const PENDING_BYTES_MAX: u64 = 32 << 20;

/// Pause after a failed write, and the longest one.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Longest time between a record and a head that covers it.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Pause between two looks whether there is too much.
const PRUNE_PAUSE: Duration = Duration::from_secs(60);

/// How far the wall clock and time as it passes may differ between two records before that
/// is recorded.
const JUMP_MS: i64 = 10_000;

/// How long a log may have rested before old records are pruned by their age: a clock that
/// is set wrong would otherwise empty it.
const REST_MS_MAX: i64 = 30 * 86_400_000;

/// Hears of heads.
pub type OnHead = Arc<dyn Fn(&Head) + Send + Sync>;

/// How the log is kept.
#[derive(Clone)]
pub struct AuditConfig {
    /// Bytes of records that are kept.
    pub size_max: u64,
    /// How long records are kept.
    pub age_max: Duration,
    /// Where heads go.
    pub heads: Heads,
    /// Hears of heads too; called on the log's own task, it must not block.
    pub on_head: Option<OnHead>,
    /// The wall clock: milliseconds since 1970, UTC.
    pub clock: fn() -> i64,
}

/// The system's wall clock: milliseconds since 1970, UTC.
pub fn wall_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Why something could not be recorded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The state can't be written.
    #[error("the audit log can't be written, and nothing is done that it would not show: {0}")]
    Store(#[from] StateError),
    /// More records wait for the disk than may.
    #[error("the audit log's records wait for the disk; try again in a moment")]
    Behind,
    /// The event has no form as a record.
    #[error("this can't be recorded: {0}")]
    Event(String),
}

/// The audit log of a project, for the process that owns it.
pub struct AuditLog {
    shared: Arc<Shared>,
    _until_dropped: DropGuard,
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditLog")
    }
}

struct Shared {
    store: Arc<dyn StateStore>,
    chain: Chain,
    config: AuditConfig,
    line: Mutex<Line>,
    /// Whether the last write failed.
    failing: AtomicBool,
    /// Something waits for the disk.
    more: Notify,
    /// Somebody waits for it.
    urgent: Notify,
    progress: watch::Sender<Progress>,
    /// The last head that was kept.
    exported: Mutex<Option<Head>>,
    end: CancellationToken,
}

/// The end of the log, and what of it is not on disk yet.
struct Line {
    seq: i64,
    mac: Mac,
    /// Groups that wait; the last one still grows.
    pending: VecDeque<AuditGroup>,
    /// The groups that are being written.
    writing: Vec<AuditGroup>,
    /// The last record on disk.
    durable: i64,
    /// Bytes of what is not.
    pending_bytes: u64,
    /// Records that there was no room for.
    lost: u64,
    /// The wall clock and time as it passes, at the last record.
    time: (i64, Instant),
    /// Whether the clock has been steady, so that ages mean something.
    steady: bool,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    /// The last record on disk.
    durable: i64,
    /// Writes that failed, counted, and why the last one did.
    failures: u64,
    why: Option<StateError>,
}

impl AuditLog {
    /// Opens the log: looks whether its end is what this user's key and heads say, and
    /// records that a host runs. What is missing or wrong is recorded as a gap, and said by
    /// `verify`; it doesn't keep the host from running.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the state can't be read or written.
    pub async fn open(
        store: Arc<dyn StateStore>,
        key: &Key,
        config: AuditConfig,
        started: Map<String, Value>,
    ) -> Result<AuditLog, AuditError> {
        let chain = Chain::new(key, store.project());
        let last = store.audit_last().await?;
        let checkpoint = store.audit_checkpoint().await?;
        let (seq, mac) = match (&last, &checkpoint) {
            (Some(last), _) => (last.seq, Mac::from_hex(&last.mac)),
            (None, Some(checkpoint)) => (checkpoint.seq, Mac::from_hex(&checkpoint.mac)),
            (None, None) => (0, Some(Mac::START)),
        };
        let head = last_head(&config.heads, store.project());
        let gaps = gaps(&*store, &chain, head.as_ref(), last.as_ref()).await?;
        let now = (config.clock)();
        let rested = last
            .as_ref()
            .and_then(|last| AuditRecord::parse(&last.record).ok())
            .is_some_and(|last| (0..=REST_MS_MAX).contains(&now.saturating_sub(last.time)));
        let end = CancellationToken::new();
        let shared = Arc::new(Shared {
            store,
            chain,
            line: Mutex::new(Line {
                seq,
                mac: mac.unwrap_or(Mac::START),
                pending: VecDeque::new(),
                writing: Vec::new(),
                durable: seq,
                pending_bytes: 0,
                lost: 0,
                time: (now, Instant::now()),
                steady: rested,
            }),
            config,
            failing: AtomicBool::new(false),
            more: Notify::new(),
            urgent: Notify::new(),
            progress: watch::Sender::new(Progress {
                durable: seq,
                ..Progress::default()
            }),
            exported: Mutex::new(head),
            end: end.clone(),
        });
        tokio::spawn(shared.clone().run());
        let log = AuditLog {
            shared,
            _until_dropped: end.drop_guard(),
        };
        for gap in gaps {
            let told = Value::Object(gap.clone());
            tracing::error!(gap = %told, "the audit log has a gap");
            log.note(AuditEvent::host(AuditKind::Gap, gap))?;
        }
        log.commit(AuditEvent::host(AuditKind::Started, started))
            .await?;
        Ok(log)
    }

    /// Records an event. It is on disk within 50 ms, unless the disk is slower; who must
    /// know uses [`AuditLog::commit`].
    ///
    /// # Errors
    /// When more records wait for the disk than may: this one is lost, and the log says so.
    pub fn note(&self, event: AuditEvent) -> Result<(), AuditError> {
        self.shared.push(&event)?;
        self.shared.more.notify_one();
        Ok(())
    }

    /// Records an event and waits until it is on disk. Gives its place.
    ///
    /// # Errors
    /// When it can't be written now. What it announces must then not be done; should the
    /// record come to the disk later, another one says that it was not.
    pub async fn commit(&self, event: AuditEvent) -> Result<i64, AuditError> {
        let mut progress = self.shared.progress.subscribe();
        let failures = progress.borrow_and_update().failures;
        let seq = self.shared.push(&event)?;
        self.shared.more.notify_one();
        self.shared.urgent.notify_one();
        let ended = progress
            .wait_for(|progress| progress.durable >= seq || progress.failures != failures)
            .await
            .map_err(|_| StateError::Closed)?
            .clone();
        if ended.durable >= seq {
            return Ok(seq);
        }
        self.undone(seq, event);
        Err(ended.why.unwrap_or(StateError::Closed).into())
    }

    /// Records that what a record announced was not done.
    pub fn undone(&self, seq: i64, announced: AuditEvent) {
        let mut body = Map::new();
        body.insert("seq".to_owned(), seq.into());
        let undone = AuditEvent {
            kind: AuditKind::Undone,
            body,
            ..announced
        };
        if let Err(error) = self.note(undone) {
            tracing::error!(seq, %error, "it was not recorded that this record's act was not done");
        }
    }

    /// Whether what is recorded now comes to the disk; if not, nothing new may begin.
    ///
    /// # Errors
    /// Why not.
    pub fn healthy(&self) -> Result<(), AuditError> {
        if !self.shared.failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        let progress = self.shared.progress.borrow();
        match &progress.why {
            Some(why) => Err(AuditError::Store(why.clone())),
            None => Ok(()),
        }
    }

    /// The last record that is on disk.
    pub fn durable(&self) -> i64 {
        self.shared.progress.borrow().durable
    }

    /// Records that the host ends in order, and writes what is left, as far as the disk
    /// takes it.
    pub async fn close(&self) {
        let stopped = AuditEvent::host(AuditKind::Stopped, Map::new());
        if let Err(error) = self.commit(stopped).await {
            tracing::error!(%error, "the end of this host is not in the audit log");
        }
        self.shared.end.cancel();
        self.shared.export_head().await;
    }
}

fn last_head(heads: &Heads, project: &str) -> Option<Head> {
    let read = heads.read().unwrap_or_else(|error| {
        tracing::warn!(%error, "the heads of the audit log can't be read");
        Vec::new()
    });
    read.into_iter().rev().find(|head| head.project == project)
}

/// What is missing or wrong at the end of the log.
async fn gaps(
    store: &dyn StateStore,
    chain: &Chain,
    head: Option<&Head>,
    last: Option<&AuditRow>,
) -> Result<Vec<Map<String, Value>>, AuditError> {
    let mut gaps = Vec::new();
    let mut gap = |body: Value| {
        if let Value::Object(body) = body {
            gaps.push(body);
        }
    };
    if let Some(last) = last {
        let before = store.audit_after(last.seq.saturating_sub(2), 2).await?;
        let checkpoint = store.audit_checkpoint().await?;
        let before = match before.as_slice() {
            [before, _] => Mac::from_hex(&before.mac),
            _ => match &checkpoint {
                Some(checkpoint) => Mac::from_hex(&checkpoint.mac),
                None => Some(Mac::START),
            },
        };
        let genuine = before.is_some_and(|before| {
            Mac::from_hex(&last.mac) == Some(chain.mac(before, &last.record))
        });
        let ended = AuditRecord::parse(&last.record).is_ok_and(|record| record.kind == "stopped");
        if !genuine {
            gap(json!({
                "reason": "the last record does not bear this user's key: it was changed, or the key is another one",
                "seq": last.seq,
            }));
        } else if !ended {
            gap(json!({
                "reason": "the host that wrote the last record did not end in order; what it did after that is not recorded",
                "seq": last.seq,
            }));
        }
    }
    let Some(head) = head else {
        return Ok(gaps);
    };
    let seq = last.map_or(0, |last| last.seq);
    if head.seq > seq {
        gap(json!({
            "reason": "records were cut off: a head of the log goes further than the log",
            "seq": seq,
            "head": head.seq,
        }));
    } else if let [row] = &*store.audit_after(head.seq.saturating_sub(1), 1).await?
        && row.seq == head.seq
        && row.mac != head.mac
    {
        gap(json!({
            "reason": "the log is not the one whose head was kept: an older or copied state was put in its place and continued",
            "head": head.seq,
        }));
    }
    Ok(gaps)
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an event its place and code.
    fn push(&self, event: &AuditEvent) -> Result<i64, AuditError> {
        let (now, passed) = ((self.config.clock)(), Instant::now());
        let mut line = self.line();
        let pending = line.seq.saturating_sub(line.durable);
        if pending >= PENDING_MAX || line.pending_bytes >= PENDING_BYTES_MAX {
            line.lost = line.lost.saturating_add(1);
            return Err(AuditError::Behind);
        }
        if line.lost > 0 {
            let mut body = Map::new();
            body.insert(
                "reason".to_owned(),
                "records were lost: they came faster than the disk takes them".into(),
            );
            body.insert("lost".to_owned(), line.lost.into());
            line.append(&self.chain, now, &AuditEvent::host(AuditKind::Gap, body))?;
            line.lost = 0;
        }
        if let Some(jump) = line.jump(now, passed) {
            let mut body = Map::new();
            body.insert("jump-ms".to_owned(), jump.into());
            line.append(&self.chain, now, &AuditEvent::host(AuditKind::Clock, body))?;
        }
        line.append(&self.chain, now, event)
    }

    /// Writes until the end, and then what is left.
    async fn run(self: Arc<Self>) {
        let mut head_at = Instant::now();
        let mut prune_at = Instant::now();
        loop {
            let ended = self.end.is_cancelled();
            let behind = self.head_is_behind();
            tokio::select! {
                biased;
                () = self.more.notified() => {}
                () = self.end.cancelled(), if !ended => {}
                () = sleep(HEAD_TIME), if behind => {}
            }
            // Others may come meanwhile, unless somebody waits.
            let mut urgent = timeout(GROUP_TIME, async {
                tokio::select! {
                    () = self.urgent.notified() => {}
                    () = self.end.cancelled() => {}
                }
            })
            .await
            .is_ok();
            self.write_all().await;
            urgent |= head_at.elapsed() >= HEAD_TIME;
            if urgent && self.head_is_behind() {
                self.export_head().await;
                head_at = Instant::now();
            }
            if ended {
                return;
            }
            if prune_at <= Instant::now() {
                prune_at = Instant::now() + PRUNE_PAUSE;
                if let Err(error) = self.prune().await {
                    tracing::warn!(%error, "the audit log could not be pruned");
                }
            }
        }
    }

    /// Writes the records that wait, and not those that come meanwhile: they wait for others,
    /// too. Tries again where the disk refuses them.
    async fn write_all(&self) {
        let mut pause = RETRY_PAUSE;
        let waiting = self.line().seq;
        loop {
            let groups = self.line().next_groups(waiting);
            let Some(last) = groups.last().map(|group| group.last) else {
                self.works_again();
                return;
            };
            match self.store.audit_append(groups).await {
                Ok(()) => {
                    self.line().wrote(last);
                    self.works_again();
                    pause = RETRY_PAUSE;
                    self.progress
                        .send_modify(|progress| progress.durable = last);
                }
                Err(error) => {
                    self.forget_written().await;
                    if !self.failing.swap(true, Ordering::Relaxed) {
                        tracing::error!(%error, "the audit log can't be written: new calls are refused until it can");
                    }
                    self.progress.send_modify(|progress| {
                        progress.failures = progress.failures.wrapping_add(1);
                        progress.why = Some(error);
                    });
                    if self.end.is_cancelled() {
                        return;
                    }
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.end.cancelled() => {}
                    }
                    pause = pause.saturating_mul(2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    fn works_again(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::warn!("the audit log is written again");
        }
    }

    /// What was said to have failed may be on disk all the same: that must not be written
    /// again.
    async fn forget_written(&self) {
        let Ok(Some(last)) = self.store.audit_last().await else {
            return;
        };
        let mut line = self.line();
        let writing = line.writing.last().and_then(|group| group.rows().last());
        if writing.as_ref() != Some(&last) {
            return;
        }
        line.wrote(last.seq);
        drop(line);
        self.progress
            .send_modify(|progress| progress.durable = last.seq);
    }

    /// Removes the oldest records where there are too many or they are too old.
    async fn prune(&self) -> Result<(), AuditError> {
        let bounds = Bounds {
            size_max: self.config.size_max,
            // Ages mean nothing under a clock that jumps.
            older_than: self.line().steady.then(|| {
                let age = i64::try_from(self.config.age_max.as_millis()).unwrap_or(i64::MAX);
                (self.config.clock)().saturating_sub(age)
            }),
            exported: self.head().map_or(0, |head| head.seq),
        };
        let Some(surplus) = prune::surplus(&*self.store, &bounds).await? else {
            return Ok(());
        };
        let body = surplus.describe();
        let record = self.push(&AuditEvent::host(AuditKind::Prune, body))?;
        self.write_all().await;
        if self.progress.borrow().durable < record {
            // Nothing goes that the log doesn't say.
            return Ok(());
        }
        let time_ms = (self.config.clock)();
        let seal = self.chain.seal(surplus.seq, time_ms, &surplus.mac).to_hex();
        self.store
            .audit_prune(Checkpoint {
                seq: surplus.seq,
                time_ms,
                mac: surplus.mac,
                seal,
            })
            .await?;
        Ok(())
    }

    fn head_is_behind(&self) -> bool {
        let progress = self.progress.borrow();
        progress.durable > self.head().map_or(0, |head| head.seq)
    }

    /// The last head that this process exported.
    fn head(&self) -> Option<Head> {
        self.exported
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts the last record on disk where its removal shows.
    async fn export_head(&self) {
        let last = match self.store.audit_last().await {
            Ok(Some(last)) => last,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "no head of the audit log could be taken");
                return;
            }
        };
        if self.head().is_some_and(|head| head.seq >= last.seq) {
            return;
        }
        let head = Head {
            project: self.store.project().to_owned(),
            seq: last.seq,
            mac: last.mac,
            time: (self.config.clock)(),
        };
        let (heads, exported) = (self.config.heads.clone(), head.clone());
        let appended = tokio::task::spawn_blocking(move || heads.append(&exported)).await;
        match appended {
            Ok(Ok(())) => {
                if let Some(on_head) = &self.config.on_head {
                    on_head(&head);
                }
                *self.exported.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
            }
            Ok(Err(error)) => tracing::warn!(
                path = %self.config.heads.path().display(), %error,
                "a head of the audit log could not be kept; records cut off after the last one would not show"
            ),
            Err(error) => tracing::error!(%error, "the task that keeps heads failed"),
        }
    }
}

impl Line {
    fn append(&mut self, chain: &Chain, now: i64, event: &AuditEvent) -> Result<i64, AuditError> {
        let seq = self.seq.saturating_add(1);
        let full = self.pending.back().is_none_or(|group| {
            seq.saturating_sub(group.first) >= GROUP_MAX || group.records.len() >= GROUP_BYTES_MAX
        });
        if full {
            self.pending.push_back(AuditGroup {
                first: seq,
                last: self.seq,
                ..AuditGroup::default()
            });
        }
        let Some(group) = self.pending.back_mut() else {
            return Err(AuditError::Behind);
        };
        let before = group.records.len();
        if group.first < seq {
            group.records.push('\n');
        }
        let start = group.records.len();
        if let Err(error) = event::write_line(&mut group.records, seq, now, event) {
            group.records.truncate(before);
            if full {
                self.pending.pop_back();
            }
            return Err(AuditError::Event(error));
        }
        let record = group.records.get(start..).unwrap_or_default();
        let mac = chain.mac(self.mac, record);
        let bytes = record.len().saturating_add(mac.as_bytes().len()) as u64;
        group.macs.extend_from_slice(mac.as_bytes());
        group.last = seq;
        self.pending_bytes = self.pending_bytes.saturating_add(bytes);
        self.seq = seq;
        self.mac = mac;
        Ok(seq)
    }

    /// The groups to write: those that could not be written, or the next ones, as far as they
    /// begin with a record that waited.
    fn next_groups(&mut self, waiting: i64) -> Vec<AuditGroup> {
        if self.writing.is_empty() {
            let waited = self
                .pending
                .iter()
                .take_while(|group| group.first <= waiting);
            let count = waited.take(GROUPS_AT_ONCE).count();
            self.writing.extend(self.pending.drain(..count));
        }
        self.writing.clone()
    }

    /// The groups that were being written are on disk.
    fn wrote(&mut self, last: i64) {
        let bytes = self.writing.drain(..).map(|group| group.bytes()).sum();
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        self.durable = last;
    }

    /// By how much the wall clock went otherwise than time passed since the last record, if
    /// that is much: milliseconds, forwards or backwards.
    fn jump(&mut self, now: i64, passed: Instant) -> Option<i64> {
        let (before, since) = std::mem::replace(&mut self.time, (now, passed));
        let elapsed = passed.saturating_duration_since(since).as_millis();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let jump = now.saturating_sub(before).saturating_sub(elapsed);
        if jump.saturating_abs() < JUMP_MS {
            return None;
        }
        self.steady = false;
        Some(jump)
    }
}
