//! What a plugin's storm of writes does to its neighbour: how long the neighbour's own writes
//! take with it and without, in turns. Both wait for the disk, so this is time on the clock.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod figures;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use figures::{median, report};
use portreeve_state::{Holder, SqliteStore, StateError, StateStore, StoreConfig};

/// Writes of the neighbour in one turn, and pairs of turns.
const WRITES: usize = 1_000;
const PAIRS: usize = 15;

/// Writes of the storm that wait at any time: as many as may.
const STORM: usize = 256;

const VALUE: usize = 1_024;

fn main() {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            for (bytes, at_most) in [(VALUE, 3.0), (16 * VALUE, 3.0)] {
                storm(bytes, at_most).await;
            }
        });
}

async fn storm(bytes: usize, at_most: f64) {
    // Not where temporary files are: that may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = dir.path().join("state.db");
    let store = SqliteStore::open(&path, &StoreConfig::default())
        .await
        .expect("a state");
    let blows = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..STORM)
        .map(|writer| {
            let (store, blows) = (store.clone(), blows.clone());
            let (ended, written) = (ended.clone(), written.clone());
            tokio::spawn(async move {
                let holder = Holder::plugin("storm");
                while !ended.load(Ordering::Relaxed) {
                    if !blows.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                    let key = writer.to_string();
                    let value = vec![7; bytes];
                    match store.kv_put(&holder, "b", &key, value, u64::MAX).await {
                        Ok(()) => {
                            written.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(StateError::Busy) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();

    // Once for warmth.
    neighbour(&store).await;
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let calm = neighbour(&store).await;
        blows.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = written.load(Ordering::Relaxed);
        let stormy = neighbour(&store).await;
        let meanwhile = written.load(Ordering::Relaxed) - before;
        blows.store(false, Ordering::Relaxed);
        // What waits is written before the next turn.
        tokio::time::sleep(Duration::from_millis(50)).await;
        store
            .kv_put(&Holder::plugin("storm"), "b", "last", vec![], u64::MAX)
            .await
            .expect("a write");
        pairs.push((calm, stormy, meanwhile));
    }
    ended.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a storm");
    }
    store.close().await;

    let of = |number: usize| median(pairs.iter().map(|pair| pair.0[number]).collect());
    let with = |number: usize| median(pairs.iter().map(|pair| pair.1[number]).collect());
    let meanwhile = median(pairs.iter().map(|pair| pair.2 as f64).collect());
    println!(
        "storm of {bytes} B values: the neighbour's put without it p50 {:.2} ms, p99 {:.2} ms; \
         with it p50 {:.2} ms, p99 {:.2} ms, while the storm wrote {:.1} values for each of its",
        of(0),
        of(1),
        with(0),
        with(1),
        meanwhile / WRITES as f64,
    );
    let ratio = |number: usize| median(pairs.iter().map(|p| p.1[number] / p.0[number]).collect());
    report("  p50 with / without", ratio(0), at_most, "x");
    report("  p99 with / without", ratio(1), at_most, "x");
}

/// The middle and the 99th percentile of how long a plugin's writes take, one after the
/// other, in milliseconds.
async fn neighbour(store: &SqliteStore) -> [f64; 2] {
    let holder = Holder::plugin("neighbour");
    let mut times = Vec::with_capacity(WRITES);
    for number in 0..WRITES {
        let begun = Instant::now();
        store
            .kv_put(&holder, "b", &number.to_string(), vec![8; VALUE], u64::MAX)
            .await
            .expect("a write");
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    [times[WRITES / 2], times[WRITES * 99 / 100]]
}
