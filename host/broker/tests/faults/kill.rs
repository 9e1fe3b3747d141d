//! Killed while it publishes, delivers, acks, retries and rejects, on a disk that loses what was
//! not synced: whatever was acknowledged holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use portreeve_broker::{Broker, DeadFilter, Embedded, Outcome, system_clock};
use portreeve_state::{SqliteStore, StateStore as _, StoreConfig};

use crate::child::{Work, limits, subscription};
use crate::disk::Disk;
use crate::skipped::skipped;

/// How many rounds there are; `PORTREEVE_KILL_ROUNDS` sets another number, such as a thousand.
const ROUNDS: u64 = 50;

/// What is known of each message: what was begun with it, and what was told to be on disk.
#[derive(Default)]
struct Known(BTreeMap<String, BTreeSet<String>>);

impl Known {
    fn hear(&mut self, output: &str) {
        // A line that was cut off says nothing.
        let whole = output.rfind('\n').map_or("", |end| &output[..end]);
        for line in whole.lines() {
            if let Some((what, name)) = line.split_once(' ')
                && name.split('-').count() == 3
            {
                self.0
                    .entry(name.to_owned())
                    .or_default()
                    .insert(what.to_owned());
            }
        }
    }
}

/// Does one round; none without `strace`.
fn round(dir: &Path, disk: &mut Disk, known: &mut Known, number: u64, sync: bool) -> Option<()> {
    let trace = dir.join("trace");
    let work = Work {
        path: dir.join("state.db"),
        round: number,
        sync,
    };
    let output = match work.traced(&trace).output() {
        Ok(output) => output,
        Err(_) => {
            skipped("strace is not installed");
            return None;
        }
    };
    assert!(!output.status.success(), "it came to its end by itself");
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!told.contains("panicked"), "{told}");
    known.hear(&said);
    disk.follow(&std::fs::read_to_string(&trace).unwrap());
    disk.power_off(dir);
    Some(())
}

/// What is wrong with what is left.
async fn check(dir: &Path, known: &Known) -> Result<usize, String> {
    let path = dir.join("state.db");
    let store = SqliteStore::open(&path, &StoreConfig::default())
        .await
        .map_err(|error| format!("it can't be opened: {error}"))?;
    let broker = Embedded::open(store.clone(), limits(), system_clock()).await;
    let broker = broker.map_err(|error| error.to_string())?;
    let mut left = BTreeSet::new();
    // Delayed ones are due soon.
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    loop {
        let deliveries = match broker.fetch(&subscription(), 100).await {
            Ok(deliveries) => deliveries,
            Err(error) if known.0.is_empty() => return Err(error.to_string()),
            Err(error) => return Err(format!("nothing is delivered: {error}")),
        };
        if deliveries.is_empty() {
            let lag = broker.stats().await.map_err(|error| error.to_string())?;
            if lag.subscriptions[0].lag == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        for delivery in deliveries {
            left.insert(String::from_utf8(delivery.message.payload.to_vec()).unwrap());
            broker
                .settle(&subscription(), &delivery, Outcome::Ack)
                .await
                .unwrap();
        }
    }
    let mut dead = BTreeSet::new();
    let mut filter = DeadFilter::default();
    loop {
        let letters = broker.dead_letters(&filter, 1_000).await.unwrap();
        let Some(last) = letters.last() else {
            break;
        };
        filter.after = Some(last.id.clone());
        for letter in &letters {
            let whole = broker.dead_letter(&letter.id).await.unwrap();
            dead.insert(String::from_utf8(whole.message.payload.to_vec()).unwrap());
        }
    }
    store.close().await;
    let count = left.len();
    for (name, acts) in &known.0 {
        let did = |what: &str| acts.contains(what);
        if did("acked") && left.contains(name) {
            return Err(format!(
                "{name} was acknowledged as handled, and comes again"
            ));
        }
        if did("rejected") && !dead.contains(name) {
            return Err(format!(
                "{name} was acknowledged as a dead letter, and is none"
            ));
        }
        let ended = did("acking") || did("rejecting") || did("checked");
        if did("published") && !ended && !left.contains(name) {
            return Err(format!(
                "{name} was acknowledged as published, and is lost: {acts:?}"
            ));
        }
    }
    Ok(count)
}

#[test]
fn killed_it_keeps_what_it_acknowledged() {
    let rounds = std::env::var("PORTREEVE_KILL_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, mut known) = (Disk::default(), Known::default());
    let mut delivered = 0;
    for number in 0..rounds {
        if round(dir.path(), &mut disk, &mut known, number, true).is_none() {
            return;
        }
        // Every few rounds what is left is handled; between, one builds on the other.
        if number % 3 == 2 || number + 1 == rounds {
            match runtime.block_on(check(dir.path(), &known)) {
                Ok(count) => delivered += count,
                Err(why) => panic!("round {number}: {why}"),
            }
            for acts in known.0.values_mut() {
                acts.insert("checked".to_owned());
            }
            disk.take(dir.path());
        }
    }
    assert!(
        delivered > 100,
        "only {delivered} messages were left to deliver"
    );
}

/// The proof fails where nothing is synced.
#[test]
fn without_syncing_what_was_acknowledged_is_lost() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, mut known) = (Disk::default(), Known::default());
    if round(dir.path(), &mut disk, &mut known, 3, false).is_none() {
        return;
    }
    assert!(known.0.values().any(|acts| acts.contains("published")));
    let lost = runtime.block_on(check(dir.path(), &known));
    assert!(lost.is_err(), "{lost:?}");
}
