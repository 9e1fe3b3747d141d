//! The log as the owner of the project keeps it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::chain::{Chain, Mac};
use super::clock::{AuditClock, Jump, SystemClock, Watch};
use super::error::AuditError;
use super::event::{AuditEvent, AuditKind, GapReason};
use super::heads::{HeadSink, HeadsFile};
use super::key::AuditKey;
use super::record::{self, Texts};
use super::writer::Writer;
use crate::rows::AuditGroup;
use crate::store::StateStore;

/// Records that wait for the disk. At some thousand calls per second this is seconds of them.
const PENDING_MAX: u32 = 16_384;

/// Bytes of the records that wait. As many may be on their way to the disk.
const PENDING_BYTES_MAX: usize = 4 << 20;

/// How a project's log is kept.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// Bytes of records that are kept; the oldest go first.
    pub size_max: u64,
    /// How long records are kept.
    pub age_max: Duration,
    /// The directory of the files of heads, in the user's own directory.
    pub heads: PathBuf,
    /// Where heads go as well.
    pub sinks: Vec<Arc<dyn HeadSink>>,
    /// What the `started` record says, such as the host's version.
    pub about: Map<String, Value>,
    /// What time it is.
    pub clock: Arc<dyn AuditClock>,
}

impl AuditConfig {
    /// Bytes of records that are kept by default.
    pub const SIZE_MAX: u64 = 256 << 20;

    /// How long records are kept by default: a year, and time to look at it.
    pub const AGE_MAX: Duration = Duration::from_secs(400 * 86_400);

    /// The defaults, with heads in `heads`.
    pub fn new(heads: PathBuf) -> AuditConfig {
        AuditConfig {
            size_max: AuditConfig::SIZE_MAX,
            age_max: AuditConfig::AGE_MAX,
            heads,
            sinks: Vec::new(),
            about: Map::new(),
            clock: Arc::new(SystemClock::default()),
        }
    }
}

/// The audit log of a project, kept by its owner.
///
/// Records get their place and their code in the order of [`AuditLog::note`] and
/// [`AuditLog::commit`], in memory; a task of its own writes them in groups.
#[derive(Debug)]
pub struct AuditLog {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl AuditLog {
    /// Opens the log of the store's project: checks its end against the key and the exported
    /// heads, writes a `gap` record for what is wrong with it, then `started`.
    ///
    /// # Errors
    /// When no record at its end was written with this key, or it can't be read or written.
    pub async fn open(
        store: Arc<dyn StateStore>,
        key: AuditKey,
        config: AuditConfig,
    ) -> Result<Arc<AuditLog>, AuditError> {
        let chain = Chain::new(&key, store.project());
        let heads = HeadsFile::new(&config.heads, store.project());
        let end = super::open::check_end(&store, &chain, &key, &heads, &config).await?;
        let shared = Arc::new(Shared {
            tail: Mutex::new(Tail {
                seq: end.seq,
                mac: end.mac,
                pending: Pending::default(),
                watch: Watch::new(),
                refused: 0,
                closing: false,
            }),
            wake: Notify::new(),
            health: AtomicU8::new(HEALTHY),
            why: Mutex::new(String::new()),
            exported: AtomicI64::new(end.exported),
            clock_set: Mutex::new(None),
            chain,
            store,
            config,
        });
        {
            let mut tail = shared.tail();
            for (reason, body) in &end.gaps {
                let details = Value::Object(body.clone()).to_string();
                tracing::error!(
                    reason = reason.as_str(),
                    details,
                    "the audit log has a gap; see `portreeve audit verify`"
                );
                shared.gap(&mut tail, *reason, body.clone());
            }
            let about = shared.config.about.clone();
            shared.host_record(&mut tail, AuditKind::Started, about);
        }
        let mut writer = Writer::new(shared.clone(), heads);
        writer.write_pending().await?;
        writer.export_head().await;
        let task = tokio::spawn(writer.run());
        Ok(Arc::new(AuditLog {
            shared,
            task: Mutex::new(Some(task)),
        }))
    }

    /// Puts an event on record; it is on disk within 50 ms. Cheap: some hashing, no waiting.
    ///
    /// # Errors
    /// When the log can't be written, or more waits than may. A later `gap` record counts
    /// what was refused.
    pub fn note(&self, event: AuditEvent) -> Result<(), AuditError> {
        self.shared.push(&event, None).map(|_| ())
    }

    /// Puts an event on record; it is on disk when this is ready. Gives its place.
    ///
    /// # Errors
    /// When it can't be written: then what it stands for must not be done. Should it get to
    /// the disk later all the same, a `gap` record says that it was withdrawn.
    pub async fn commit(&self, event: AuditEvent) -> Result<i64, AuditError> {
        let (done, waiting) = oneshot::channel();
        let seq = self.shared.push(&event, Some(done))?;
        waiting.await.unwrap_or(Err(AuditError::Closed))?;
        Ok(seq)
    }

    /// Whether new calls can be put on record. Cheap.
    ///
    /// # Errors
    /// Why not.
    pub fn healthy(&self) -> Result<(), AuditError> {
        self.shared.healthy()
    }

    /// Writes what waits, and `stopped`; exports the head. Nothing can be put on record
    /// afterwards.
    pub async fn close(&self) {
        {
            let mut tail = self.shared.tail();
            if !tail.closing {
                self.shared
                    .host_record(&mut tail, AuditKind::Stopped, Map::new());
                tail.closing = true;
            }
        }
        self.shared.wake.notify_one();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the task that writes the audit log failed");
        }
        self.shared.health.store(CLOSED, Ordering::Release);
    }

    /// Ends the log as a crash of the process would.
    #[cfg(test)]
    pub(super) fn crash(&self) {
        if let Some(task) = self.task.lock().unwrap().take() {
            task.abort();
        }
    }

    /// Prunes what is too old or too much now.
    #[cfg(test)]
    pub(super) fn maintain(&self) {
        self.shared.tail().pending.maintain = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        // Not closed: what waits is written, but without `stopped`.
        self.shared.tail().closing = true;
        self.shared.wake.notify_one();
    }
}

const HEALTHY: u8 = 0;
const CROWDED: u8 = 1;
const UNWRITABLE: u8 = 2;
const CLOSED: u8 = 3;

/// What the log and its writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn StateStore>,
    pub(super) chain: Chain,
    pub(super) config: AuditConfig,
    pub(super) wake: Notify,
    /// The last record whose head is in the user's file.
    pub(super) exported: AtomicI64,
    /// When the wall clock was last found to be set.
    pub(super) clock_set: Mutex<Option<Duration>>,
    tail: Mutex<Tail>,
    health: AtomicU8,
    why: Mutex<String>,
}

/// The end of the chain.
#[derive(Debug)]
pub(super) struct Tail {
    /// The last record.
    pub(super) seq: i64,
    /// Its code.
    pub(super) mac: Mac,
    pub(super) pending: Pending,
    watch: Watch,
    /// Events that were refused since the last record that says so.
    pub(super) refused: u64,
    pub(super) closing: bool,
}

/// Who waits for which record.
pub(super) type Waiters = Vec<(i64, oneshot::Sender<Result<(), AuditError>>)>;

/// Records that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) group: Option<AuditGroup>,
    pub(super) count: u32,
    pub(super) since: Option<Instant>,
    /// Who waits for which record.
    pub(super) waiters: Waiters,
    pub(super) administrative: bool,
    pub(super) urgent: bool,
    /// Old records shall be looked after now.
    pub(super) maintain: bool,
}

impl Shared {
    pub(super) fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why(&self) -> MutexGuard<'_, String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn healthy(&self) -> Result<(), AuditError> {
        match self.health.load(Ordering::Acquire) {
            HEALTHY => Ok(()),
            CROWDED => Err(AuditError::Crowded),
            CLOSED => Err(AuditError::Closed),
            _ => Err(AuditError::Unwritable {
                why: self.why().clone(),
            }),
        }
    }

    /// Says that nothing can be written, and why.
    pub(super) fn set_unwritable(&self, why: &str) {
        why.clone_into(&mut self.why());
        self.health.store(UNWRITABLE, Ordering::Release);
    }

    /// Says that everything is well. Takes the tail, so that it can't cross a push.
    pub(super) fn set_healthy(&self, _tail: &mut Tail) {
        self.health.store(HEALTHY, Ordering::Release);
    }

    fn push(
        &self,
        event: &AuditEvent,
        waiter: Option<oneshot::Sender<Result<(), AuditError>>>,
    ) -> Result<i64, AuditError> {
        // Outside of the lock: the dearest part. A map of values is always JSON.
        let body = serde_json::to_string(&event.body).unwrap_or_else(|_| "{}".to_owned());
        let mut tail = self.tail();
        if tail.closing {
            return Err(AuditError::Closed);
        }
        let health = self.health.load(Ordering::Acquire);
        let bytes = tail.pending.bytes();
        let full = tail.pending.count >= PENDING_MAX || bytes >= PENDING_BYTES_MAX;
        if health == UNWRITABLE || full {
            tail.refused = tail.refused.saturating_add(1);
            drop(tail);
            return Err(self.healthy().err().unwrap_or(AuditError::Crowded));
        }
        let texts = Texts {
            kind: event.kind.as_str(),
            alias: &event.holder.alias,
            tenant: &event.holder.tenant,
            caller: &event.caller,
            call: &event.call,
            body: &body,
        };
        let seq = self.append(&mut tail, &texts);
        let pending = &mut tail.pending;
        pending.administrative |= event.kind.is_administrative();
        let mut wake = pending.count == 1;
        if let Some(waiter) = waiter {
            pending.waiters.push((seq, waiter));
            wake |= !pending.urgent;
            pending.urgent = true;
        }
        // Calls that run shall find room for their records: no new ones from half on.
        if pending.count >= PENDING_MAX / 2 || pending.bytes() >= PENDING_BYTES_MAX / 2 {
            self.health.store(CROWDED, Ordering::Release);
            wake |= !pending.urgent;
            pending.urgent = true;
        }
        drop(tail);
        if wake {
            self.wake.notify_one();
        }
        Ok(seq)
    }

    /// Adds a record of the host itself, whatever waits already.
    pub(super) fn host_record(&self, tail: &mut Tail, kind: AuditKind, body: Map<String, Value>) {
        let body = Value::Object(body).to_string();
        let texts = Texts {
            kind: kind.as_str(),
            alias: "",
            tenant: "",
            caller: "",
            call: "",
            body: &body,
        };
        self.append(tail, &texts);
        tail.pending.administrative |= kind.is_administrative();
        tail.pending.urgent = true;
    }

    /// Adds a `gap` record.
    pub(super) fn gap(&self, tail: &mut Tail, reason: GapReason, mut body: Map<String, Value>) {
        body.insert("reason".to_owned(), reason.as_str().into());
        self.host_record(tail, AuditKind::Gap, body);
    }

    /// Gives a record its time, its place and its code.
    fn append(&self, tail: &mut Tail, texts: &Texts<'_>) -> i64 {
        let time_ms = self.config.clock.wall_ms();
        let passed = self.config.clock.passed();
        if let Some(jump) = tail.watch.look(time_ms, passed) {
            *self
                .clock_set
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(passed);
            let body = jump_body(jump, GapReason::Clock).to_string();
            let texts = Texts {
                kind: AuditKind::Gap.as_str(),
                alias: "",
                tenant: "",
                caller: "",
                call: "",
                body: &body,
            };
            self.append_at(tail, time_ms, &texts);
        }
        self.append_at(tail, time_ms, texts)
    }

    fn append_at(&self, tail: &mut Tail, time_ms: i64, texts: &Texts<'_>) -> i64 {
        let seq = tail.seq.saturating_add(1);
        let pending = &mut tail.pending;
        pending.since.get_or_insert_with(Instant::now);
        let group = pending.group.get_or_insert_with(|| AuditGroup {
            first: seq,
            last: seq,
            from_ms: time_ms,
            to_ms: time_ms,
            records: Vec::with_capacity(4 << 10),
        });
        let start = group.records.len();
        record::encode(&mut group.records, seq, time_ms, texts);
        // Within a group the code before lies right before the record.
        let joined = start
            .checked_sub(tail.mac.len())
            .and_then(|start| group.records.get(start..));
        let mac = match joined {
            Some(joined) => self.chain.mac_joined(joined),
            None => self.chain.mac(&tail.mac, &group.records),
        };
        group.records.extend_from_slice(mac.as_bytes());
        group.last = seq;
        group.from_ms = group.from_ms.min(time_ms);
        group.to_ms = group.to_ms.max(time_ms);
        pending.count = pending.count.saturating_add(1);
        tail.seq = seq;
        tail.mac = *mac.as_bytes();
        seq
    }
}

impl Pending {
    fn bytes(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.records.len())
    }
}

/// What a record about a clock that was set says.
pub(super) fn jump_body(jump: Jump, reason: GapReason) -> Value {
    json!({
        "reason": reason.as_str(),
        "expected_ms": jump.expected_ms,
        "found_ms": jump.found_ms,
        "by_ms": jump.found_ms.saturating_sub(jump.expected_ms),
    })
}
