//! No room: the size that the state may have, and the disk.

use std::process::Command;

use portreeve_state::{Holder, SqliteStore, StateError, StateStore, StoreConfig};

use crate::child::{Kind, Output, Work};
use crate::support::{audit, check, check_now, group, place};

const SIZE: u64 = 1 << 20;

async fn small(path: &std::path::Path) -> std::sync::Arc<SqliteStore> {
    let config = StoreConfig {
        size_max: SIZE,
        ..StoreConfig::default()
    };
    SqliteStore::open(path, &config).await.unwrap()
}

/// Puts values of a size until there is no room; how many there was room for.
async fn fill(store: &SqliteStore, bytes: usize) -> u32 {
    let holder = Holder::plugin("a");
    for number in 0.. {
        let key = format!("{bytes}-{number}");
        match store
            .kv_put(&holder, "b", &key, vec![7; bytes], u64::MAX)
            .await
        {
            Ok(()) => {}
            Err(StateError::Full(_)) => return number,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[tokio::test]
async fn plugins_may_fill_nine_tenths_and_the_audit_log_the_rest() {
    let (_dir, path) = place();
    let store = small(&path).await;
    // Large values must not reach into the rest either.
    assert!(fill(&store, 60_000).await > 10);
    // What is left takes small ones, if any.
    fill(&store, 1_000).await;
    assert!(store.bytes().await.unwrap() <= SIZE * 9 / 10);
    let rest = SIZE / 10 / 2;
    let mut seq = 0;
    let mut bytes = 0;
    while bytes < rest {
        seq += 1;
        let row = audit(seq);
        bytes += row.bytes();
        store.audit_append(group([row])).await.unwrap();
    }
    assert!(seq > 100);
    store.close().await;
    check(&path, &[format!("audit {seq}")]).await;
}

#[tokio::test]
async fn when_room_is_made_plugins_write_again() {
    let (_dir, path) = place();
    let store = small(&path).await;
    let holder = Holder::plugin("a");
    let count = fill(&store, 10_000).await;
    let told = store
        .kv_put(&holder, "b", "more", vec![7; 10_000], u64::MAX)
        .await
        .unwrap_err()
        .to_string();
    assert!(told.contains("raise `size` under [state]"), "{told}");
    // What replaces a value needs no more room than that of both.
    for number in 0..count / 2 {
        let key = format!("10000-{number}");
        assert!(store.kv_delete(&holder, "b", &key).await.unwrap());
    }
    for number in 0..count / 4 {
        let key = format!("again-{number}");
        store
            .kv_put(&holder, "b", &key, vec![8; 10_000], u64::MAX)
            .await
            .unwrap();
    }
    store.close().await;
    check(&path, &[]).await;
}

/// The audit log alone may write up to the end; then it is refused, and goes on when it was
/// pruned.
#[tokio::test]
async fn at_its_very_end_it_refuses_and_recovers() {
    let (_dir, path) = place();
    let store = small(&path).await;
    let fifty = |from: i64| group((from..from + 50).map(audit));
    let mut seq = 0;
    let full = loop {
        match store.audit_append(fifty(seq + 1)).await {
            Ok(()) => seq += 50,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StateError::Full(_)), "{full:?}");
    assert!(seq > 1_000);
    // Again and again, with others in the same batch.
    for _ in 0..5 {
        let holder = Holder::plugin("a");
        let delete = store.kv_delete(&holder, "b", "none");
        let append = store.audit_append(fifty(seq + 1));
        let (deleted, appended) = futures::future::join(delete, append).await;
        assert!(!deleted.unwrap());
        let error = appended.unwrap_err();
        assert!(matches!(error, StateError::Full(_)), "{error:?}");
    }
    assert_eq!(store.audit_last().await.unwrap(), Some(audit(seq)));
    let checkpoint = portreeve_state::Checkpoint {
        seq: seq / 2,
        time_ms: 0,
        mac: "1".repeat(64),
        seal: "2".repeat(64),
    };
    store.audit_prune(checkpoint).await.unwrap();
    store.audit_append(fifty(seq + 1)).await.unwrap();
    assert_eq!(store.audit_last().await.unwrap(), Some(audit(seq + 50)));
    store.close().await;
}

/// The write-ahead log is no second database, however much is written without a pause.
#[tokio::test]
async fn the_log_stays_small() {
    let (dir, path) = place();
    let store = SqliteStore::open(&path, &StoreConfig::default())
        .await
        .unwrap();
    let holder = Holder::plugin("a");
    let mut largest = 0;
    for _ in 0..60 {
        let puts = (0..20).map(|number| {
            let (store, holder, key) = (&store, &holder, format!("{number}"));
            async move {
                store
                    .kv_put(holder, "b", &key, vec![7; 60_000], u64::MAX)
                    .await
                    .unwrap();
            }
        });
        futures::future::join_all(puts).await;
        let log = std::fs::metadata(path.with_extension("db-wal")).unwrap();
        largest = log.len().max(largest);
    }
    // 70 MiB were written.
    assert!(largest < 24 << 20, "{largest}");
    assert!(store.bytes().await.unwrap() < 4 << 20);
    store.close().await;
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    check(&path, &[]).await;
}

#[test]
fn a_file_that_may_not_grow_fails_the_write_and_later_ones_work() {
    let (_dir, path) = place();
    let work = Work::new(Kind::Limited, &path, 40).command();
    // The signal that comes with the limit ends a process that doesn't ignore it.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(work.get_program())
        .args(work.get_args());
    for (name, value) in work.get_envs() {
        command.env(name, value.unwrap());
    }
    let output = Output::of(&mut command);
    let failures = output.failures();
    assert!(failures.len() > 5, "{output:#?}");
    assert!(output.count("put") > 2, "{output:#?}");
    for failure in failures {
        assert!(
            failure.contains("whether the disk is full or fails"),
            "{failure}"
        );
    }
    let last = output.lines.iter().rev().nth(1);
    assert_eq!(last.unwrap(), "put a 40", "{output:#?}");
    check_now(&path, &output.lines);
}
