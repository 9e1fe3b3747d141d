//! The audit log in a real database: what is changed in it shows, and what can't be written
//! is not done.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use portreeve_state::audit::{
    AuditConfig, AuditError, AuditEvent, AuditKind, AuditLog, AuditRecord, Filter, Heads, Verified,
    export, report, search, verify, verify_export, wall_clock,
};
use portreeve_state::{
    AuditGroup, AuditRow, Checkpoint, HistoryRow, Holder, InboxRow, Key, KvDone, KvEntry, KvInfo,
    KvQuota, KvUsed, KvWrite, SecretRow, SqliteStore, StateError, StateStore, StoreConfig,
    UsageRow, UsageSpan,
};
use serde_json::{Map, json};
use sqlx::Connection as _;

struct Fixture {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        Fixture { dir, path }
    }

    async fn store(&self) -> Arc<dyn StateStore> {
        SqliteStore::open(&self.path, &StoreConfig::default())
            .await
            .unwrap()
    }

    fn heads(&self, store: &dyn StateStore) -> Heads {
        Heads::new(&self.dir.path().join("user"), store.project())
    }

    fn config(&self, store: &dyn StateStore) -> AuditConfig {
        AuditConfig {
            size_max: 1 << 30,
            age_max: Duration::from_secs(400 * 86_400),
            heads: self.heads(store),
            on_head: None,
            clock: wall_clock,
        }
    }

    async fn log(&self, store: &Arc<dyn StateStore>) -> AuditLog {
        let config = self.config(&**store);
        AuditLog::open(store.clone(), &key(), config, Map::new())
            .await
            .unwrap()
    }

    /// A log of a few runs, closed.
    async fn written(&self, calls: usize) {
        let store = self.store().await;
        let log = self.log(&store).await;
        for number in 0..calls {
            log.note(call(number)).unwrap();
        }
        log.close().await;
        store.close().await;
    }

    /// Changes the database behind the host's back.
    async fn sql(&self, statement: &'static str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&self.path);
        let mut connection = sqlx::SqliteConnection::connect_with(&options)
            .await
            .unwrap();
        let done = sqlx::query(statement).execute(&mut connection).await;
        assert!(done.unwrap().rows_affected() > 0, "{statement}");
        connection.close().await.unwrap();
    }

    /// Changes a log and expects that it shows.
    async fn shows(&self, statements: &'static [&'static str], expected: &[&str]) {
        assert!(self.verify(&key()).await.is_whole());
        for statement in statements {
            self.sql(statement).await;
        }
        let verified = self.verify(&key()).await;
        let found = kinds(&verified);
        assert!(!verified.is_whole(), "{statements:?}");
        for kind in expected {
            assert!(found.contains(kind), "{statements:?}: {verified:?}");
        }
    }

    async fn verify(&self, key: &Key) -> Verified {
        let store: Arc<dyn StateStore> = SqliteStore::read(&self.path).await.unwrap();
        let heads = self.heads(&*store);
        verify(store, key, &heads).await.unwrap()
    }
}

fn key() -> Key {
    Key::new([7; 32])
}

fn call(number: usize) -> AuditEvent {
    let mut body = Map::new();
    body.insert("tool".to_owned(), "echo".into());
    body.insert("number".to_owned(), number.into());
    AuditEvent {
        kind: AuditKind::Call,
        holder: Holder::plugin("echo"),
        caller: "local".into(),
        call: format!("c-{number}"),
        body,
    }
}

fn kinds(verified: &Verified) -> Vec<&'static str> {
    verified
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect()
}

async fn records(path: &Path) -> Vec<(String, serde_json::Value)> {
    let store: Arc<dyn StateStore> = SqliteStore::read(path).await.unwrap();
    let page = search(&store, &Filter::default(), 0, usize::MAX)
        .await
        .unwrap();
    page.lines
        .iter()
        .map(|(line, _)| {
            let record = AuditRecord::parse(line).unwrap();
            (record.kind.into_owned(), record.body.into())
        })
        .collect()
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_whole() {
    let fixture = Fixture::new();
    fixture.written(5_000).await;
    fixture.written(3).await;
    let verified = fixture.verify(&key()).await;
    assert!(verified.is_whole(), "{verified:?}");
    // Started, the calls, stopped; twice.
    assert_eq!(verified.records, 5_000 + 3 + 4);
    assert_eq!((verified.first, verified.last), (1, 5_007));
    assert!(verified.heads >= 2, "{verified:?}");
}

/// Each change of the database, and what `verify` says of it: of a log whose records were
/// committed one by one, and of one that is a group between its ends.
#[tokio::test]
async fn every_change_shows() {
    let alone: [(&[&str], &[&str]); 10] = [
        (
            &[
                "UPDATE audit SET records = replace(CAST(records AS TEXT), '\"number\":5', '\"number\":6') WHERE last = 7",
            ],
            &["changed"],
        ),
        (
            &["UPDATE audit SET records = records || ' ' WHERE last = 7"],
            &["changed"],
        ),
        (
            &["UPDATE audit SET records = x'ff00' WHERE last = 7"],
            &["changed"],
        ),
        (
            &["UPDATE audit SET macs = (SELECT macs FROM audit WHERE last = 8) WHERE last = 7"],
            &["changed", "changed"],
        ),
        (&["DELETE FROM audit WHERE last = 7"], &["missing"]),
        (&["DELETE FROM audit WHERE last <= 3"], &["missing"]),
        (
            // Two records in each other's places.
            &[
                "UPDATE audit SET first = -first, last = CASE last WHEN 7 THEN -8 ELSE -7 END WHERE last IN (7, 8)",
                "UPDATE audit SET first = -last, last = -last WHERE last < 0",
            ],
            &["changed"],
        ),
        (&["DELETE FROM audit WHERE last > 15"], &["cut-off"]),
        (&["DELETE FROM audit"], &["cut-off"]),
        (
            &[
                "INSERT INTO audit_checkpoint (project, seq, time_ms, mac, seal)
               SELECT project, 3, 0, lower(hex(macs)), lower(hex(macs)) FROM audit WHERE last = 3",
            ],
            &["forged-checkpoint"],
        ),
    ];
    for (statements, expected) in alone {
        let fixture = Fixture::new();
        let store = fixture.store().await;
        let log = fixture.log(&store).await;
        for number in 0..20 {
            log.commit(call(number)).await.unwrap();
        }
        log.close().await;
        store.close().await;
        fixture.shows(statements, expected).await;
    }
    let grouped: [(&[&str], &[&str]); 8] = [
        (
            &[
                "UPDATE audit SET records = replace(CAST(records AS TEXT), '\"number\":5', '\"number\":6') WHERE last > 1",
            ],
            &["changed"],
        ),
        (
            &["UPDATE audit SET records = records || char(10) || '{}' WHERE last > 1"],
            &["changed"],
        ),
        (
            &[
                "UPDATE audit SET records = substr(CAST(records AS TEXT), instr(CAST(records AS TEXT), char(10)) + 1) WHERE last > 1",
            ],
            &["missing"],
        ),
        (
            &["UPDATE audit SET macs = substr(macs, 33) WHERE last > 1"],
            &["changed"],
        ),
        (
            &["UPDATE audit SET macs = CAST(macs || substr(macs, 1, 32) AS BLOB) WHERE last > 1"],
            &["changed"],
        ),
        (
            &["UPDATE audit SET first = first + 1 WHERE last > 1"],
            &["missing", "changed"],
        ),
        (
            &["UPDATE audit SET first = first - 1 WHERE last > 1"],
            &["misplaced"],
        ),
        (
            &["UPDATE audit SET last = last + 1 WHERE last > 1"],
            &["changed"],
        ),
    ];
    for (statements, expected) in grouped {
        let fixture = Fixture::new();
        fixture.written(20).await;
        fixture.shows(statements, expected).await;
    }
}

/// Parts of it are read and hashed side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_is_verified_to_its_end() {
    const RECORDS: usize = 40_000;
    let fixture = Fixture::new();
    for _ in 0..4 {
        fixture.written(RECORDS / 4).await;
    }
    let whole = fixture.verify(&key()).await;
    assert!(whole.is_whole(), "{whole:?}");
    assert!(whole.records > RECORDS as u64, "{whole:?}");
    assert_eq!(i64::try_from(whole.records), Ok(whole.last));
    // One record changed in every group of the second half, and a few groups gone.
    fixture
        .sql("UPDATE audit SET records = CAST(replace(CAST(records AS TEXT), '0\"', '1\"') AS BLOB) WHERE first > 20000")
        .await;
    let changed = fixture.verify(&key()).await;
    let first = changed.findings.first().unwrap();
    assert!(first.kind == "changed" && first.seq > 20_000, "{first:?}");
    assert_eq!((changed.records, changed.last), (whole.records, whole.last));
    fixture
        .sql("DELETE FROM audit WHERE first > 1000 AND first < 39000")
        .await;
    let cut = fixture.verify(&key()).await;
    let missing = cut.findings.first().unwrap();
    assert_eq!(missing.kind, "missing");
    assert_eq!(
        i64::try_from(cut.records),
        Ok(whole.last - (missing.last - missing.seq + 1))
    );
    // Places that nothing has are not looked through.
    fixture
        .sql("UPDATE audit SET last = last + 1000000000000000, first = first + 1000000000000000 WHERE first > 39000")
        .await;
    let far = fixture.verify(&key()).await;
    assert_eq!(far.findings.first().unwrap().kind, "missing");
    assert_eq!(far.records, cut.records);
}

#[tokio::test]
async fn another_key_is_none() {
    let fixture = Fixture::new();
    fixture.written(5).await;
    let verified = fixture.verify(&Key::new([8; 32])).await;
    assert_eq!(kinds(&verified), ["other-key"], "{verified:?}");
    // A host with another key goes on, and says so.
    let store = fixture.store().await;
    let config = fixture.config(&*store);
    let log = AuditLog::open(store.clone(), &Key::new([8; 32]), config, Map::new())
        .await
        .unwrap();
    log.close().await;
    store.close().await;
    let gap = records(&fixture.path).await;
    let gap = gap.iter().find(|(kind, _)| kind == "gap").unwrap();
    assert!(gap.1["reason"].as_str().unwrap().contains("key"), "{gap:?}");
}

#[tokio::test]
async fn a_crash_leaves_a_gap() {
    let fixture = Fixture::new();
    let store = fixture.store().await;
    let log = fixture.log(&store).await;
    log.commit(call(1)).await.unwrap();
    // As a process that is killed: nothing says `stopped`.
    drop(log);
    store.close().await;
    fixture.written(1).await;
    let kinds: Vec<_> = records(&fixture.path)
        .await
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(
        kinds,
        ["started", "call", "gap", "started", "call", "stopped"]
    );
    assert!(fixture.verify(&key()).await.is_whole());
}

#[tokio::test]
async fn a_state_from_before_is_a_gap_and_shows() {
    let fixture = Fixture::new();
    fixture.written(5).await;
    let copy = std::fs::read(&fixture.path).unwrap();
    fixture.written(5).await;
    std::fs::write(&fixture.path, copy).unwrap();
    let verified = fixture.verify(&key()).await;
    assert_eq!(kinds(&verified), ["cut-off"], "{verified:?}");
    // A host that goes on from there can't hide it.
    fixture.written(50).await;
    let gaps = records(&fixture.path).await;
    assert!(gaps.iter().any(|(kind, _)| kind == "gap"), "{gaps:?}");
    let verified = fixture.verify(&key()).await;
    assert!(kinds(&verified).contains(&"other-head"), "{verified:?}");
}

#[tokio::test]
async fn records_are_on_disk_soon_and_a_commit_at_once() {
    let fixture = Fixture::new();
    let store = fixture.store().await;
    let log = fixture.log(&store).await;
    let seq = log.commit(call(1)).await.unwrap();
    assert_eq!(store.audit_last().await.unwrap().unwrap().seq, seq);
    for number in 0..100 {
        log.note(call(number)).unwrap();
    }
    // Generous: the machine may be busy. That they are not kept for ever is the point.
    tokio::time::timeout(Duration::from_secs(10), async {
        while store.audit_last().await.unwrap().unwrap().seq < seq + 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    log.close().await;
}

static CLOCK: AtomicI64 = AtomicI64::new(1_800_000_000_000);

#[tokio::test]
async fn a_clock_that_jumps_is_recorded_and_empties_nothing() {
    let fixture = Fixture::new();
    let store = fixture.store().await;
    let config = AuditConfig {
        clock: || CLOCK.load(Ordering::SeqCst),
        ..fixture.config(&*store)
    };
    let log = AuditLog::open(store.clone(), &key(), config.clone(), Map::new())
        .await
        .unwrap();
    for number in 0..1_500 {
        log.note(call(number)).unwrap();
    }
    CLOCK.fetch_add(500 * 86_400_000, Ordering::SeqCst);
    log.commit(call(1)).await.unwrap();
    CLOCK.fetch_sub(900 * 86_400_000, Ordering::SeqCst);
    log.commit(call(2)).await.unwrap();
    log.close().await;
    store.close().await;
    let all = records(&fixture.path).await;
    let jumps: Vec<i64> = all
        .iter()
        .filter(|(kind, _)| kind == "clock")
        .map(|(_, body)| body["jump-ms"].as_i64().unwrap())
        .collect();
    assert_eq!(jumps.len(), 2);
    assert!(jumps[0] > 0 && jumps[1] < 0, "{jumps:?}");
    // Opened far in the future: everything looks old, and stays.
    CLOCK.fetch_add(5_000 * 86_400_000, Ordering::SeqCst);
    let store = fixture.store().await;
    let log = AuditLog::open(store.clone(), &key(), config, Map::new())
        .await
        .unwrap();
    log.commit(call(3)).await.unwrap();
    log.close().await;
    store.close().await;
    let verified = fixture.verify(&key()).await;
    assert!(
        verified.is_whole() && verified.pruned.is_none(),
        "{verified:?}"
    );
}

#[tokio::test]
async fn what_is_too_much_is_pruned_behind_a_checkpoint() {
    let fixture = Fixture::new();
    fixture.written(5_000).await;
    let store = fixture.store().await;
    let config = AuditConfig {
        size_max: 500_000,
        ..fixture.config(&*store)
    };
    assert!(store.audit_bytes().await.unwrap() > 500_000);
    let log = AuditLog::open(store.clone(), &key(), config, Map::new())
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(20), async {
        while store.audit_checkpoint().await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    log.close().await;
    assert!(store.audit_bytes().await.unwrap() <= 500_000);
    store.close().await;
    let verified = fixture.verify(&key()).await;
    assert!(verified.is_whole(), "{verified:?}");
    assert!(verified.pruned.unwrap() > 1_000, "{verified:?}");
    assert!(
        records(&fixture.path)
            .await
            .iter()
            .any(|(kind, _)| kind == "prune")
    );
    fixture
        .sql("UPDATE audit_checkpoint SET seq = seq + 1")
        .await;
    assert!(!fixture.verify(&key()).await.is_whole());
}

#[tokio::test]
async fn records_are_found_and_summed_up() {
    let fixture = Fixture::new();
    let store = fixture.store().await;
    let log = fixture.log(&store).await;
    let before = wall_clock();
    for number in 0..30 {
        let mut event = call(number);
        if number % 3 == 0 {
            event.caller = "ada".into();
            event.body.insert("error".to_owned(), "timeout".into());
        }
        log.note(event).unwrap();
    }
    let refusal = |capability: &str| AuditEvent {
        kind: AuditKind::Refusal,
        body: json!({ "capability": capability })
            .as_object()
            .unwrap()
            .clone(),
        ..call(0)
    };
    log.note(refusal("network")).unwrap();
    log.commit(refusal("ui.progress")).await.unwrap();
    let find = |filter: Filter| {
        let store = store.clone();
        async move { search(&store, &filter, 0, 1_000).await.unwrap().lines.len() }
    };
    assert_eq!(find(Filter::default()).await, 33);
    let of = |kind| Filter {
        kinds: vec![kind],
        ..Filter::default()
    };
    assert_eq!(find(of(AuditKind::Call)).await, 30);
    let ada = Filter {
        caller: Some("ada".to_owned()),
        ..of(AuditKind::Call)
    };
    assert_eq!(find(ada).await, 10);
    let one = Filter {
        call: Some("c-7".to_owned()),
        ..Filter::default()
    };
    assert_eq!(find(one).await, 1);
    let nobody = Filter {
        plugin: Some("other".to_owned()),
        ..Filter::default()
    };
    assert_eq!(find(nobody).await, 0);
    let later = Filter {
        from_ms: Some(wall_clock() + 60_000),
        ..Filter::default()
    };
    assert_eq!(find(later).await, 0);
    let page = search(&store, &Filter::default(), 0, 10).await.unwrap();
    assert_eq!((page.lines.len(), page.last, page.end), (10, 10, false));

    let told = report(&store, before - 1, wall_clock() + 1).await.unwrap();
    assert_eq!(told.calls["echo echo"], 30);
    assert_eq!(told.failures["echo echo: timeout"], 10);
    assert_eq!(told.refusals.len(), 2);
    log.close().await;
}

/// A store whose audit log can be made to fail, as a full disk makes it.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn StateStore>,
    /// It writes nothing, and says so.
    fails: AtomicBool,
    /// It writes, but says that it failed, once.
    lies: AtomicBool,
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done_and_nothing_is_lost() {
    let fixture = Fixture::new();
    let inner = fixture.store().await;
    let faulty = Arc::new(Faulty {
        inner: inner.clone(),
        fails: AtomicBool::new(false),
        lies: AtomicBool::new(false),
    });
    let store: Arc<dyn StateStore> = faulty.clone();
    let log = fixture.log(&store).await;
    log.healthy().unwrap();
    faulty.fails.store(true, Ordering::SeqCst);
    // A call that ended while the disk was full is kept for later.
    log.note(call(1)).unwrap();
    let refused = log.commit(call(2)).await.unwrap_err();
    assert!(
        matches!(refused, AuditError::Store(StateError::Full(_))),
        "{refused}"
    );
    let said = log.healthy().unwrap_err().to_string();
    assert!(said.contains("make room"), "{said}");
    faulty.fails.store(false, Ordering::SeqCst);
    tokio::time::timeout(Duration::from_secs(20), async {
        while log.healthy().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    log.commit(call(3)).await.unwrap();
    log.close().await;
    inner.close().await;
    let all = records(&fixture.path).await;
    let kinds: Vec<&str> = all.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["started", "call", "call", "undone", "call", "stopped"]
    );
    assert_eq!(all[3].1, json!({ "seq": 3 }));
    assert!(fixture.verify(&key()).await.is_whole());
}

/// A database may say that a write failed which is on disk.
#[tokio::test]
async fn what_was_written_in_spite_of_an_error_is_written_once() {
    let fixture = Fixture::new();
    let inner = fixture.store().await;
    let faulty = Arc::new(Faulty {
        inner: inner.clone(),
        fails: AtomicBool::new(false),
        lies: AtomicBool::new(false),
    });
    let store: Arc<dyn StateStore> = faulty.clone();
    let log = fixture.log(&store).await;
    faulty.lies.store(true, Ordering::SeqCst);
    log.note(call(1)).unwrap();
    log.commit(call(2)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), async {
        while log.healthy().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    log.commit(call(3)).await.unwrap();
    log.close().await;
    inner.close().await;
    let all = records(&fixture.path).await;
    let kinds: Vec<&str> = all.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["started", "call", "call", "call", "stopped"]);
    assert!(fixture.verify(&key()).await.is_whole());
}

#[tokio::test]
async fn an_export_is_verified_without_its_database() {
    let fixture = Fixture::new();
    fixture.written(20).await;
    let store: Arc<dyn StateStore> = SqliteStore::read(&fixture.path).await.unwrap();
    let page = search(&store, &Filter::default(), 0, usize::MAX)
        .await
        .unwrap();
    let exported = |header: String, lines: &[(String, String)]| {
        let lines: Vec<String> = lines
            .iter()
            .map(|(record, mac)| export::line(record, mac))
            .collect();
        format!("{header}\n{}\n", lines.join("\n"))
    };
    let header = export::header(&store, false).await.unwrap();
    let whole = exported(header.clone(), &page.lines);
    let verified = verify_export(&key(), whole.as_bytes()).unwrap();
    assert!(verified.is_whole(), "{verified:?}");
    assert_eq!(verified.records, 22);
    for (changed, expected) in [
        (
            whole.replace("\\\"number\\\":5", "\\\"number\\\":6"),
            "changed",
        ),
        (exported(header.clone(), &page.lines[3..]), "missing"),
        (whole.replace(store.project(), "other"), "other-key"),
    ] {
        let verified = verify_export(&key(), changed.as_bytes()).unwrap();
        assert_eq!(kinds(&verified), [expected], "{verified:?}");
    }
    let filtered = export::header(&store, true).await.unwrap();
    for (text, why) in [
        (exported(filtered, &page.lines), "left out"),
        (String::new(), "was not written by"),
        (format!("{header}\n\n"), "no line of an export"),
        (format!("{header}\n{}", "x".repeat(2 << 20)), "longer than"),
    ] {
        let error = verify_export(&key(), text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn what_waits_for_the_disk_is_bounded() {
    let fixture = Fixture::new();
    let inner = fixture.store().await;
    let faulty = Arc::new(Faulty {
        inner: inner.clone(),
        fails: AtomicBool::new(false),
        lies: AtomicBool::new(false),
    });
    let store: Arc<dyn StateStore> = faulty.clone();
    let log = fixture.log(&store).await;
    faulty.fails.store(true, Ordering::SeqCst);
    let mut kept = 0_usize;
    let mut lost = 0_usize;
    for number in 0..30_000 {
        match log.note(call(number)) {
            Ok(()) => kept += 1,
            Err(AuditError::Behind) => lost += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(lost > 0 && kept >= 10_000, "{kept} {lost}");
    faulty.fails.store(false, Ordering::SeqCst);
    log.commit(call(0)).await.ok();
    tokio::time::timeout(Duration::from_secs(20), async {
        while log.commit(call(0)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    log.close().await;
    inner.close().await;
    let all = records(&fixture.path).await;
    let gap = all.iter().find(|(kind, _)| kind == "gap").unwrap();
    assert!(gap.1["lost"].as_u64().unwrap() >= lost as u64, "{gap:?}");
    assert!(fixture.verify(&key()).await.is_whole());
}

#[async_trait]
impl StateStore for Faulty {
    fn project(&self) -> &str {
        self.inner.project()
    }

    async fn audit_append(&self, groups: Vec<AuditGroup>) -> Result<(), StateError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StateError::Full("database or disk is full".to_owned()));
        }
        self.inner.audit_append(groups).await?;
        if self.lies.swap(false, Ordering::SeqCst) {
            return Err(StateError::Database("disk I/O error".to_owned()));
        }
        Ok(())
    }

    async fn inbox_put(&self, row: InboxRow, rows_max: u32) -> Result<(), StateError> {
        self.inner.inbox_put(row, rows_max).await
    }

    async fn inbox(&self, now_ms: i64, rows_max: u32) -> Result<Vec<InboxRow>, StateError> {
        self.inner.inbox(now_ms, rows_max).await
    }

    async fn inbox_remove(&self, holder: &Holder, id: &str) -> Result<bool, StateError> {
        self.inner.inbox_remove(holder, id).await
    }

    async fn inbox_sweep(&self, now_ms: i64) -> Result<u64, StateError> {
        self.inner.inbox_sweep(now_ms).await
    }

    async fn kv_entry(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<KvEntry>, StateError> {
        self.inner.kv_entry(holder, bucket, key, now_ms).await
    }

    async fn kv_info(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<KvInfo>, StateError> {
        self.inner.kv_info(holder, bucket, key, now_ms).await
    }

    async fn kv_list(
        &self,
        holder: &Holder,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        rows_max: u32,
        now_ms: i64,
    ) -> Result<Vec<KvInfo>, StateError> {
        self.inner
            .kv_list(holder, bucket, prefix, after, rows_max, now_ms)
            .await
    }

    async fn kv_bucket_after(
        &self,
        holder: &Holder,
        bucket: &str,
    ) -> Result<Option<String>, StateError> {
        self.inner.kv_bucket_after(holder, bucket).await
    }

    async fn kv_write(
        &self,
        holder: &Holder,
        writes: Vec<KvWrite>,
        quota: KvQuota,
        now_ms: i64,
    ) -> Result<Vec<KvDone>, StateError> {
        self.inner.kv_write(holder, writes, quota, now_ms).await
    }

    async fn kv_clear(&self, holder: &Holder, rows_max: u32) -> Result<u64, StateError> {
        self.inner.kv_clear(holder, rows_max).await
    }

    async fn kv_sweep(&self, now_ms: i64, rows_max: u32) -> Result<u64, StateError> {
        self.inner.kv_sweep(now_ms, rows_max).await
    }

    async fn kv_used(&self, holder: &Holder) -> Result<KvUsed, StateError> {
        self.inner.kv_used(holder).await
    }

    async fn audit_groups(&self, seq: i64, rows_max: u32) -> Result<Vec<AuditGroup>, StateError> {
        self.inner.audit_groups(seq, rows_max).await
    }

    async fn audit_last(&self) -> Result<Option<AuditRow>, StateError> {
        self.inner.audit_last().await
    }

    async fn audit_prune(&self, checkpoint: Checkpoint) -> Result<(), StateError> {
        self.inner.audit_prune(checkpoint).await
    }

    async fn audit_checkpoint(&self) -> Result<Option<Checkpoint>, StateError> {
        self.inner.audit_checkpoint().await
    }

    async fn audit_bytes(&self) -> Result<u64, StateError> {
        self.inner.audit_bytes().await
    }

    async fn secrets_put(&self, rows: Vec<SecretRow>) -> Result<(), StateError> {
        self.inner.secrets_put(rows).await
    }

    async fn secret(&self, holder: &Holder, name: &str) -> Result<Option<SecretRow>, StateError> {
        self.inner.secret(holder, name).await
    }

    async fn secrets(&self) -> Result<Vec<SecretRow>, StateError> {
        self.inner.secrets().await
    }

    async fn secret_used(
        &self,
        holder: &Holder,
        name: &str,
        time_ms: i64,
    ) -> Result<(), StateError> {
        self.inner.secret_used(holder, name, time_ms).await
    }

    async fn secret_remove(&self, holder: &Holder, name: &str) -> Result<bool, StateError> {
        self.inner.secret_remove(holder, name).await
    }

    async fn history_append(&self, row: HistoryRow) -> Result<(), StateError> {
        self.inner.history_append(row).await
    }

    async fn history(&self, holder: &Holder, rows_max: u32) -> Result<Vec<HistoryRow>, StateError> {
        self.inner.history(holder, rows_max).await
    }

    async fn history_latest(&self) -> Result<Vec<HistoryRow>, StateError> {
        self.inner.history_latest().await
    }

    async fn usage_put(&self, rows: Vec<UsageRow>) -> Result<(), StateError> {
        self.inner.usage_put(rows).await
    }

    async fn usage(
        &self,
        span: UsageSpan,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<UsageRow>, StateError> {
        self.inner.usage(span, from_ms, to_ms).await
    }

    async fn usage_prune(
        &self,
        span: UsageSpan,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<u64, StateError> {
        self.inner.usage_prune(span, from_ms, to_ms).await
    }

    async fn bytes(&self) -> Result<u64, StateError> {
        self.inner.bytes().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
