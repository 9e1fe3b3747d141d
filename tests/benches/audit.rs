//! The audit log: what a record costs a call, and verifying against hashing.
//!
//! `cargo bench -p portreeve --bench audit` takes about a minute.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_state::audit::{
    AuditConfig, AuditEvent, AuditKind, AuditLog, Filter, Heads, search, verify, wall_clock,
};
use portreeve_state::{Holder, Key, SqliteStore, StateStore, StoreConfig};
use serde_json::Map;

use support::{cpu, median, report};

const RECORDS: usize = 200_000;
const BATCH: usize = 5_000;
const ROUNDS: usize = 15;

/// As the host records a call.
fn call(number: usize) -> AuditEvent {
    let mut body = Map::new();
    body.insert("tool".to_owned(), "search_issues".into());
    body.insert("ms".to_owned(), (number as f64 / 1e3).into());
    body.insert("fuel".to_owned(), (number * 1_003).into());
    AuditEvent {
        kind: AuditKind::Call,
        holder: Holder::plugin("github"),
        caller: "local (stdio) claude-desktop".into(),
        call: format!("5f3a2c11-{number}"),
        body,
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state.db");
    let store: Arc<dyn StateStore> = SqliteStore::open(&path, &StoreConfig::default())
        .await
        .expect("a state");
    let heads = Heads::new(&dir.path().join("user"), store.project());
    let config = AuditConfig {
        size_max: 1 << 30,
        age_max: Duration::from_secs(86_400),
        heads: heads.clone(),
        on_head: None,
        clock: wall_clock,
    };
    let key = Key::new([7; 32]);
    let log = AuditLog::open(store.clone(), &key, config, Map::new())
        .await
        .expect("a log");

    // The cost in the way of a call; and, with a commit, until all is on disk.
    let (mut notes, mut durable) = (Vec::new(), Vec::new());
    for batch in 0..RECORDS / BATCH {
        let events: Vec<_> = (0..BATCH)
            .map(|number| call(batch * BATCH + number))
            .collect();
        let begun = Instant::now();
        for event in events {
            log.note(event).expect("a record");
        }
        notes.push(begun.elapsed().as_secs_f64() / BATCH as f64 * 1e6);
        log.commit(call(0)).await.expect("on disk");
        durable.push(begun.elapsed().as_secs_f64() / BATCH as f64 * 1e6);
    }
    report("one note", median(notes), 3.0, " µs");
    println!(
        "one record until it is on disk, in groups of {BATCH}: {:.2} µs",
        median(durable)
    );
    let mut commits = Vec::new();
    for number in 0..200 {
        let begun = Instant::now();
        log.commit(call(number)).await.expect("on disk");
        commits.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    println!("one commit, alone: {:.2} ms", median(commits));
    log.close().await;
    store.close().await;

    // The same bytes: each record with the code before it, as the chain covers them, in one
    // piece of memory; hashed one by one and, as nobody could chain them, all at once.
    let store: Arc<dyn StateStore> = SqliteStore::read(&path).await.expect("the state");
    let page = search(&store, &Filter::default(), 0, usize::MAX)
        .await
        .expect("the records");
    let mut bytes: Vec<u8> = Vec::new();
    let mut ends = Vec::new();
    for (record, _) in &page.lines {
        bytes.extend([0; 32]);
        bytes.extend(record.as_bytes());
        ends.push(bytes.len());
    }
    drop(page);
    let hash_each = || {
        let begun = Instant::now();
        let mut start = 0;
        for end in &ends {
            std::hint::black_box(blake3::keyed_hash(&key, &bytes[start..*end]));
            start = *end;
        }
        begun.elapsed().as_secs_f64()
    };
    let hash_all = || {
        let begun = Instant::now();
        std::hint::black_box(blake3::keyed_hash(&key, &bytes));
        begun.elapsed().as_secs_f64()
    };
    let (mut each, mut all, mut speed) = (Vec::new(), Vec::new(), Vec::new());
    let mut each_cpu = Vec::new();
    for _ in 0..ROUNDS {
        let before = cpu();
        let hashed = hash_each();
        let between = cpu();
        let begun = Instant::now();
        let verified = verify(store.clone(), &key, &heads)
            .await
            .expect("a verdict");
        let took = begun.elapsed().as_secs_f64();
        let verify_cpu = (cpu() - between).as_secs_f64();
        each_cpu.push(verify_cpu / (between - before).as_secs_f64());
        let at_once = hash_all();
        assert!(verified.is_whole(), "{verified:?}");
        assert_eq!(verified.records, ends.len() as u64);
        each.push(took / hashed);
        all.push(took / at_once);
        speed.push(bytes.len() as f64 / took / 1e6);
    }
    println!(
        "{} records, {} MB; verify: {:.0} MB/s",
        ends.len(),
        bytes.len() / 1_000_000,
        median(speed)
    );
    report(
        "verify against hashing the same records",
        median(each),
        2.0,
        "×",
    );
    println!(
        "the same in CPU time, of all threads that share the work (for orientation): {:.2}×",
        median(each_cpu)
    );
    println!(
        "verify against hashing the same bytes in one piece, which no chain can do: {:.2}×",
        median(all)
    );
}
