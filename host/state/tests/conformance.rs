//! What every backend of the state must do, asked of each that there is.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portreeve_state::{
    AuditGroup, AuditRow, Checkpoint, Generation, GenerationKeep, GenerationStore,
    HISTORY_ROWS_MAX, HistoryRow, Holder, InboxRow, KvChange, KvDone, KvEntry, KvExpected, KvQuota,
    KvUsed, KvWrite, ROWS_MAX, SecretRow, SqliteStore, StateError, StateStore, StoreConfig,
    UsageRow, UsageSpan,
};

/// Opens and opens again the state of one project.
#[async_trait::async_trait]
trait Backend {
    async fn open(&self) -> Arc<dyn StateStore>;
    async fn generations(&self) -> Arc<dyn GenerationStore>;
}

struct Sqlite {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Sqlite {
    fn new() -> Sqlite {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        Sqlite { _dir: dir, path }
    }
}

#[async_trait::async_trait]
impl Backend for Sqlite {
    async fn open(&self) -> Arc<dyn StateStore> {
        SqliteStore::open(&self.path, &StoreConfig::default())
            .await
            .unwrap()
    }

    async fn generations(&self) -> Arc<dyn GenerationStore> {
        SqliteStore::open(&self.path, &StoreConfig::default())
            .await
            .unwrap()
    }
}

/// Every case against every backend.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&super::Sqlite::new()).await;
            })+
        }
    };
}

cases! {
    storage_is_each_holders_own,
    storage_has_a_quota,
    values_have_versions_that_never_come_back,
    changes_are_made_all_or_none,
    numbers_are_added_to,
    what_has_ended_is_gone,
    keys_are_counted,
    keys_are_listed_in_pages,
    storage_is_cleared,
    one_of_many_that_swap_at_once_wins,
    writes_of_one_holder_keep_their_order,
    what_was_acknowledged_is_there_after_opening_again,
    the_audit_log_has_no_holes,
    the_audit_log_is_pruned_up_to_a_checkpoint,
    secrets_are_kept_by_name_and_holder,
    history_is_kept_newest_first_and_bounded,
    generations_are_kept_by_component_and_bounded,
    what_waits_for_people_is_kept_bounded_and_goes,
    usage_is_kept_by_span,
    reads_are_bounded,
    many_write_at_once,
    a_closed_store_says_so,
}

fn holder(alias: &str, tenant: &str) -> Holder {
    Holder {
        alias: alias.into(),
        tenant: tenant.into(),
    }
}

async fn storage_is_each_holders_own(backend: &dyn Backend) {
    let store = backend.open().await;
    let holders = [
        holder("a", ""),
        holder("b", ""),
        holder("a", "t"),
        holder("", "a"),
    ];
    for (number, holder) in holders.iter().enumerate() {
        let value = vec![u8::try_from(number).unwrap(); 10];
        store
            .kv_put(holder, "bucket", "key", value, 1_000)
            .await
            .unwrap();
    }
    for (number, holder) in holders.iter().enumerate() {
        let value = store.kv_get(holder, "bucket", "key").await.unwrap();
        assert_eq!(value.unwrap(), vec![u8::try_from(number).unwrap(); 10]);
        assert_eq!(store.kv_get(holder, "other", "key").await.unwrap(), None);
        assert_eq!(store.kv_used(holder).await.unwrap().keys, 1);
    }
    assert!(store.kv_delete(&holders[0], "bucket", "key").await.unwrap());
    assert!(!store.kv_delete(&holders[0], "bucket", "key").await.unwrap());
    assert_eq!(store.kv_used(&holders[0]).await.unwrap().bytes, 0);
    assert_eq!(
        store
            .kv_get(&holders[1], "bucket", "key")
            .await
            .unwrap()
            .unwrap()
            .len(),
        10
    );
}

async fn storage_has_a_quota(backend: &dyn Backend) {
    let store = backend.open().await;
    let holder = Holder::plugin("a");
    let put = |key: &'static str, bytes: usize| {
        let (store, holder) = (&store, &holder);
        async move { store.kv_put(holder, "b", key, vec![0; bytes], 100).await }
    };
    put("k", 90).await.unwrap();
    // Bucket and key count, and so does nothing of a value that is replaced.
    let over = put("l", 7).await.unwrap_err();
    let StateError::Quota { used, allowed } = over else {
        panic!("{over}");
    };
    assert_eq!((used, allowed), (101, 100));
    put("l", 6).await.unwrap();
    put("k", 50).await.unwrap();
    put("k", 90).await.unwrap();
    let used = store.kv_used(&holder).await.unwrap();
    assert_eq!((used.keys, used.bytes), (2, 100));
    // A text's length is that of its bytes.
    put("é", 0).await.unwrap_err();
}

fn put(key: &str, value: &[u8], expected: KvExpected) -> KvWrite {
    ending(key, value, expected, None)
}

fn ending(key: &str, value: &[u8], expected: KvExpected, expires_ms: Option<i64>) -> KvWrite {
    KvWrite {
        bucket: "b".to_owned(),
        key: key.to_owned(),
        change: KvChange::Put {
            value: value.to_vec(),
            expires_ms,
            expected,
        },
    }
}

fn change(key: &str, change: KvChange) -> KvWrite {
    KvWrite {
        bucket: "b".to_owned(),
        key: key.to_owned(),
        change,
    }
}

/// One change at a time of the clock.
async fn write(
    store: &Arc<dyn StateStore>,
    write: KvWrite,
    now_ms: i64,
) -> Result<KvDone, StateError> {
    let holder = Holder::plugin("a");
    let done = store.kv_write(&holder, vec![write], KvQuota::NONE, now_ms);
    Ok(done.await?[0])
}

fn version(done: KvDone) -> KvExpected {
    match done {
        KvDone::Set(version) => KvExpected::Version(version),
        other => panic!("{other:?}"),
    }
}

fn conflicts(done: Result<KvDone, StateError>) {
    assert!(matches!(done, Err(StateError::Conflict)), "{done:?}");
}

async fn values_have_versions_that_never_come_back(backend: &dyn Backend) {
    let store = backend.open().await;
    let first = write(&store, put("k", b"1", KvExpected::Absent), 0).await;
    let first = version(first.unwrap());
    conflicts(write(&store, put("k", b"2", KvExpected::Absent), 0).await);
    let second = version(write(&store, put("k", b"2", first), 0).await.unwrap());
    assert_ne!(first, second);
    conflicts(write(&store, put("k", b"3", first), 0).await);
    conflicts(write(&store, change("k", KvChange::Remove(first)), 0).await);
    let entry = store.kv_entry(&Holder::plugin("a"), "b", "k", 0).await;
    let entry = entry.unwrap().unwrap();
    assert_eq!(entry.value, b"2");
    assert_eq!(KvExpected::Version(entry.version), second);
    let removed = write(&store, change("k", KvChange::Remove(second)), 0).await;
    assert_eq!(removed.unwrap(), KvDone::Removed(true));
    conflicts(write(&store, change("k", KvChange::Remove(second)), 0).await);
    // Not even after everything was cleared and opened again.
    store.kv_clear(&Holder::plugin("a"), 10).await.unwrap();
    store.close().await;
    let store = backend.open().await;
    let again = write(&store, put("k", b"1", KvExpected::Absent), 0).await;
    let KvExpected::Version(again) = version(again.unwrap()) else {
        unreachable!()
    };
    let KvExpected::Version(second) = second else {
        unreachable!()
    };
    assert!(again > second);
    // Another key with the same history doesn't fit.
    conflicts(write(&store, put("l", b"1", KvExpected::Version(again)), 0).await);
}

async fn changes_are_made_all_or_none(backend: &dyn Backend) {
    let store = backend.open().await;
    let holder = Holder::plugin("a");
    let all = |writes| store.kv_write(&holder, writes, KvQuota::NONE, 0);
    let done = all(vec![
        put("k", b"1", KvExpected::Absent),
        put("l", b"1", KvExpected::Absent),
        change("k", KvChange::Add(4)),
    ]);
    assert_eq!(done.await.unwrap()[2], KvDone::Sum(5));
    let used = store.kv_used(&holder).await.unwrap();
    let refused = all(vec![
        put("k", b"other", KvExpected::Anything),
        change("l", KvChange::Remove(KvExpected::Anything)),
        put("l", b"1", KvExpected::Version(99)),
    ]);
    assert!(matches!(refused.await, Err(StateError::Conflict)));
    assert_eq!(
        store.kv_get(&holder, "b", "k").await.unwrap().unwrap(),
        b"5"
    );
    assert_eq!(
        store.kv_get(&holder, "b", "l").await.unwrap().unwrap(),
        b"1"
    );
    assert_eq!(store.kv_used(&holder).await.unwrap(), used);
}

async fn numbers_are_added_to(backend: &dyn Backend) {
    let store = backend.open().await;
    let add = |delta| write(&store, change("n", KvChange::Add(delta)), 0);
    assert_eq!(add(5).await.unwrap(), KvDone::Sum(5));
    assert_eq!(add(-7).await.unwrap(), KvDone::Sum(-2));
    for (value, delta) in [
        (&b"9223372036854775807"[..], 1),
        (b"-9223372036854775808", -1),
        (b"text", 1),
        (b"", 1),
        (b"1.5", 1),
        (b"\xff\xfe", 1),
    ] {
        write(&store, put("n", value, KvExpected::Anything), 0)
            .await
            .unwrap();
        let refused = add(delta).await.unwrap_err();
        assert!(matches!(refused, StateError::NoNumber(_)), "{refused}");
        let left = store.kv_get(&Holder::plugin("a"), "b", "n").await.unwrap();
        assert_eq!(left.unwrap(), value);
    }
    // When it ends stays as it is; one that has ended is none.
    let ends = ending("n", b"3", KvExpected::Anything, Some(100));
    write(&store, ends, 0).await.unwrap();
    let add = |now_ms| write(&store, change("n", KvChange::Add(1)), now_ms);
    assert_eq!(add(99).await.unwrap(), KvDone::Sum(4));
    assert_eq!(add(100).await.unwrap(), KvDone::Sum(1));
    let entry = store.kv_entry(&Holder::plugin("a"), "b", "n", 1_000).await;
    assert_eq!(entry.unwrap().unwrap().expires_ms, None);
}

async fn what_has_ended_is_gone(backend: &dyn Backend) {
    let store = backend.open().await;
    let holder = Holder::plugin("a");
    for key in ["k", "l", "m"] {
        let put = ending(key, b"value", KvExpected::Absent, Some(100));
        write(&store, put, 0).await.unwrap();
    }
    write(&store, put("stays", b"value", KvExpected::Absent), 0)
        .await
        .unwrap();
    let entry = store.kv_entry(&holder, "b", "k", 99).await.unwrap();
    assert_eq!(entry.unwrap().expires_ms, Some(100));
    let info = store.kv_info(&holder, "b", "k", 99).await.unwrap();
    assert_eq!(info.unwrap().size, 5);
    assert_eq!(store.kv_entry(&holder, "b", "k", 100).await.unwrap(), None);
    assert_eq!(store.kv_info(&holder, "b", "k", 100).await.unwrap(), None);
    let listed = store.kv_list(&holder, "b", "", None, 10, 100).await;
    assert_eq!(listed.unwrap().len(), 1);
    // To whoever writes it is absent as well, and nothing that could be removed.
    let removed = change("l", KvChange::Remove(KvExpected::Anything));
    let removed = write(&store, removed, 100).await.unwrap();
    assert_eq!(removed, KvDone::Removed(false));
    write(&store, put("k", b"new", KvExpected::Absent), 100)
        .await
        .unwrap();
    // What is left of it counts until it is swept, or until its room is wanted.
    assert_eq!(store.kv_used(&holder).await.unwrap().keys, 3);
    assert_eq!(store.kv_sweep(99, 10).await.unwrap(), 0);
    assert_eq!(store.kv_sweep(100, 10).await.unwrap(), 1);
    let used = KvUsed {
        keys: 2,
        bytes: (1 + 1 + 3) + (1 + 5 + 5),
    };
    assert_eq!(store.kv_used(&holder).await.unwrap(), used);
    let other = Holder::plugin("other");
    for (whose, key) in [(&holder, "x"), (&other, "y")] {
        let put = ending(key, &[0; 50], KvExpected::Anything, Some(200));
        let put = store.kv_write(whose, vec![put], KvQuota::NONE, 100);
        put.await.unwrap();
    }
    let quota = KvQuota {
        bytes: 80,
        ..KvQuota::NONE
    };
    let put = put("z", &[0; 50], KvExpected::Absent);
    let full = store.kv_write(&holder, vec![put.clone()], quota, 199);
    assert!(matches!(full.await, Err(StateError::Quota { .. })));
    let fits = store.kv_write(&holder, vec![put], quota, 200);
    fits.await.unwrap();
    assert_eq!(store.kv_used(&holder).await.unwrap().keys, 3);
    assert_eq!(store.kv_used(&other).await.unwrap().keys, 1);
}

async fn keys_are_counted(backend: &dyn Backend) {
    let store = backend.open().await;
    let holder = Holder::plugin("a");
    let quota = KvQuota {
        keys: 2,
        ..KvQuota::NONE
    };
    let set = |key: &str| {
        let put = put(key, b"", KvExpected::Anything);
        store.kv_write(&holder, vec![put], quota, 0)
    };
    set("k").await.unwrap();
    set("l").await.unwrap();
    set("l").await.unwrap();
    let over = set("m").await.unwrap_err();
    assert!(matches!(over, StateError::Keys { allowed: 2 }), "{over}");
    assert!(store.kv_delete(&holder, "b", "k").await.unwrap());
    set("m").await.unwrap();
}

async fn keys_are_listed_in_pages(backend: &dyn Backend) {
    let store = backend.open().await;
    let holder = Holder::plugin("a");
    let keys = [
        "",
        "a",
        "a\0",
        "a\0b",
        "a/1",
        "a/2",
        "a/3",
        "a\u{10ffff}",
        "a\u{10ffff}x",
        "b",
        "é",
    ];
    for key in keys {
        store
            .kv_put(&holder, "b", key, vec![1], 1_000)
            .await
            .unwrap();
        store
            .kv_put(&holder, "c", key, vec![1], 1_000)
            .await
            .unwrap();
    }
    let list = async |prefix: &str, after: Option<&str>, rows_max| {
        let listed = store
            .kv_list(&holder, "b", prefix, after, rows_max, 0)
            .await;
        let keys = listed.unwrap().into_iter().map(|info| info.key);
        keys.collect::<Vec<_>>()
    };
    assert_eq!(list("", None, 100).await, keys[1..]);
    assert_eq!(list("a/", None, 2).await, ["a/1", "a/2"]);
    assert_eq!(list("a/", Some("a/2"), 2).await, ["a/3"]);
    assert_eq!(list("a\u{10ffff}", None, 9).await, keys[7..9]);
    assert_eq!(list("a\0", None, 9).await, keys[2..4]);
    assert_eq!(list("a/", Some("b"), 2).await, [""; 0]);
    assert_eq!(list("a/", Some("a"), 1).await, ["a/1"]);
    assert_eq!(list("\u{10ffff}", None, 2).await, [""; 0]);
    for (after, bucket) in [("", Some("b")), ("b", Some("c")), ("c", None)] {
        let found = store.kv_bucket_after(&holder, after).await.unwrap();
        assert_eq!(found.as_deref(), bucket, "{after}");
    }
    let none = store.kv_bucket_after(&Holder::plugin("o"), "").await;
    assert_eq!(none.unwrap(), None);
}

async fn storage_is_cleared(backend: &dyn Backend) {
    let store = backend.open().await;
    let (holder, other) = (Holder::plugin("a"), Holder::plugin("b"));
    for number in 0..5 {
        let key = number.to_string();
        store
            .kv_put(&holder, "b", &key, vec![1], 100)
            .await
            .unwrap();
        store.kv_put(&other, "b", &key, vec![1], 100).await.unwrap();
    }
    assert_eq!(store.kv_clear(&holder, 3).await.unwrap(), 3);
    assert_eq!(store.kv_used(&holder).await.unwrap().keys, 2);
    assert_eq!(store.kv_clear(&holder, 3).await.unwrap(), 2);
    assert_eq!(store.kv_clear(&holder, 3).await.unwrap(), 0);
    assert_eq!(store.kv_used(&holder).await.unwrap(), KvUsed::default());
    assert_eq!(store.kv_used(&other).await.unwrap().keys, 5);
}

async fn one_of_many_that_swap_at_once_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    let tasks = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let holder = Holder::plugin("a");
            for _ in 0..20 {
                loop {
                    let entry = store.kv_entry(&holder, "b", "n", 0).await.unwrap();
                    let (number, expected) = match entry {
                        None => (0, KvExpected::Absent),
                        Some(KvEntry { value, version, .. }) => {
                            let number = String::from_utf8(value).unwrap();
                            (number.parse().unwrap(), KvExpected::Version(version))
                        }
                    };
                    let next: u32 = number + 1;
                    let put = put("n", next.to_string().as_bytes(), expected);
                    match write(&store, put, 0).await {
                        Ok(_) => break,
                        Err(StateError::Conflict) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    let sum = store.kv_get(&Holder::plugin("a"), "b", "n").await.unwrap();
    assert_eq!(sum.unwrap(), b"160");
}

async fn writes_of_one_holder_keep_their_order(backend: &dyn Backend) {
    let store = backend.open().await;
    let holder = Holder::plugin("a");
    let writes = (0..200_u32).map(|number| {
        let (store, holder) = (store.clone(), holder.clone());
        async move {
            let value = number.to_be_bytes().to_vec();
            store.kv_put(&holder, "b", "k", value, 1_000).await.unwrap();
        }
    });
    futures::future::join_all(writes).await;
    let value = store.kv_get(&holder, "b", "k").await.unwrap().unwrap();
    assert_eq!(value, 199_u32.to_be_bytes());
}

async fn what_was_acknowledged_is_there_after_opening_again(backend: &dyn Backend) {
    let store = backend.open().await;
    let project = store.project().to_owned();
    assert!(!project.is_empty());
    let holder = Holder::plugin("a");
    store
        .kv_put(&holder, "b", "k", b"v".to_vec(), 100)
        .await
        .unwrap();
    store.audit_append(group([audit(1)])).await.unwrap();
    store.close().await;
    drop(store);
    let store = backend.open().await;
    assert_eq!(store.project(), project);
    assert_eq!(
        store.kv_get(&holder, "b", "k").await.unwrap().unwrap(),
        b"v"
    );
    assert_eq!(store.audit_last().await.unwrap(), Some(audit(1)));
}

fn audit(seq: i64) -> AuditRow {
    AuditRow {
        seq,
        record: format!("{{\"n\":{seq},\"é\":\"\u{fc}\"}}"),
        mac: format!("{:064x}", seq),
    }
}

fn group(rows: impl IntoIterator<Item = AuditRow>) -> Vec<AuditGroup> {
    let rows: Vec<_> = rows.into_iter().collect();
    vec![AuditGroup::of(&rows).unwrap()]
}

async fn the_audit_log_has_no_holes(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(store.audit_last().await.unwrap(), None);
    store
        .audit_append(group((1..=2_500).map(audit)))
        .await
        .unwrap();
    let shorter = AuditGroup {
        last: 2_499,
        ..group([audit(2_501)]).remove(0)
    };
    let apart = [group([audit(2_501)]), group([audit(2_503)])].concat();
    for wrong in [
        group([audit(2_500)]),
        group([audit(2_502)]),
        vec![shorter],
        apart,
    ] {
        let error = store.audit_append(wrong).await.unwrap_err();
        assert!(matches!(error, StateError::Damaged(_)), "{error}");
    }
    let two = [group((2_501..=2_503).map(audit)), group([audit(2_504)])].concat();
    store.audit_append(two).await.unwrap();
    assert_eq!(store.audit_last().await.unwrap(), Some(audit(2_504)));
    // Within a group, over the end of one, and at the end.
    for (after, rows_max, last) in [(2_490, 5, 2_495), (2_498, 4, 2_502), (2_501, 5, 2_504)] {
        let rows = store.audit_after(after, rows_max).await.unwrap();
        assert_eq!(rows, (after + 1..=last).map(audit).collect::<Vec<_>>());
    }
    assert_eq!(store.audit_after(2_504, 5).await.unwrap(), []);
    let groups = store.audit_groups(2_499, 3).await.unwrap();
    assert_eq!(
        groups,
        [
            group((1..=2_500).map(audit)),
            group((2_501..=2_503).map(audit))
        ]
        .concat()
    );
    assert_eq!(store.audit_groups(2_499, 1).await.unwrap().len(), 1);
    let bytes: u64 = (1..=2_504).map(|seq| audit(seq).bytes()).sum();
    assert_eq!(store.audit_bytes().await.unwrap(), bytes);
}

async fn the_audit_log_is_pruned_up_to_a_checkpoint(backend: &dyn Backend) {
    let store = backend.open().await;
    store
        .audit_append(group((1..=10).map(audit)))
        .await
        .unwrap();
    let checkpoint = |seq| Checkpoint {
        seq,
        time_ms: 5,
        mac: "1".repeat(64),
        seal: "2".repeat(64),
    };
    store.audit_prune(checkpoint(4)).await.unwrap();
    assert_eq!(store.audit_checkpoint().await.unwrap(), Some(checkpoint(4)));
    let left: Vec<_> = (5..=10).map(audit).collect();
    assert_eq!(store.audit_after(0, 100).await.unwrap(), left);
    let bytes: u64 = (5..=10).map(|seq| audit(seq).bytes()).sum();
    assert_eq!(store.audit_bytes().await.unwrap(), bytes);
    // When nothing is left, the next record still follows the last one.
    store.audit_prune(checkpoint(10)).await.unwrap();
    assert_eq!(store.audit_last().await.unwrap(), None);
    assert!(store.audit_append(group([audit(1)])).await.is_err());
    store.audit_append(group([audit(11)])).await.unwrap();
}

async fn secrets_are_kept_by_name_and_holder(backend: &dyn Backend) {
    let store = backend.open().await;
    let secret = |name: &str, version| SecretRow {
        name: name.to_owned(),
        holder: Holder::host(),
        kind: "bearer".to_owned(),
        version,
        key_id: "k1".to_owned(),
        sealed: vec![3; 50],
        created_ms: 1,
        rotated_ms: 2,
        expires_ms: Some(9),
        used_ms: None,
    };
    store
        .secrets_put(vec![secret("b", 1), secret("a", 1)])
        .await
        .unwrap();
    store.secrets_put(vec![secret("b", 2)]).await.unwrap();
    let names: Vec<_> = store.secrets().await.unwrap();
    assert_eq!(names, [secret("a", 1), secret("b", 2)]);
    store.secret_used(&Holder::host(), "a", 77).await.unwrap();
    let used = store.secret(&Holder::host(), "a").await.unwrap().unwrap();
    assert_eq!(used.used_ms, Some(77));
    let other = Holder::plugin("a");
    assert_eq!(store.secret(&other, "a").await.unwrap(), None);
    assert!(!store.secret_remove(&other, "a").await.unwrap());
    assert!(store.secret_remove(&Holder::host(), "a").await.unwrap());
    assert_eq!(store.secret(&Holder::host(), "a").await.unwrap(), None);
}

async fn what_waits_for_people_is_kept_bounded_and_goes(backend: &dyn Backend) {
    let store = backend.open().await;
    let row = |alias: &str, kind: &str, number: i64| InboxRow {
        holder: Holder::plugin(alias),
        id: format!("{kind}{number}"),
        kind: kind.to_owned(),
        call: "c".to_owned(),
        created_ms: number,
        expires_ms: 100 + number,
        body: "{}".to_owned(),
    };
    for number in 1..=5 {
        store
            .inbox_put(row("a", "notice", number), 3)
            .await
            .unwrap();
    }
    store.inbox_put(row("a", "question", 6), 3).await.unwrap();
    store.inbox_put(row("b", "question", 7), 3).await.unwrap();
    drop(store);
    let store = backend.open().await;
    let ids = async |now_ms| {
        let rows = store.inbox(now_ms, 10).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let all = ["notice3", "notice4", "notice5", "question6", "question7"];
    assert_eq!(ids(0).await, all);
    assert_eq!(ids(104).await, all[2..]);
    let rows = store.inbox(0, 4).await.unwrap();
    assert_eq!(rows[3], row("a", "question", 6));
    // Another holder's is not there.
    let (a, b) = (Holder::plugin("a"), Holder::plugin("b"));
    assert!(!store.inbox_remove(&b, "question6").await.unwrap());
    assert!(store.inbox_remove(&a, "question6").await.unwrap());
    assert!(!store.inbox_remove(&a, "question6").await.unwrap());
    assert_eq!(store.inbox_sweep(105).await.unwrap(), 3);
    assert_eq!(ids(0).await, ["question7"]);
}

async fn history_is_kept_newest_first_and_bounded(backend: &dyn Backend) {
    let store = backend.open().await;
    let row = |number: u32| HistoryRow {
        holder: Holder::plugin("a"),
        time_ms: i64::from(number),
        kind: "grant".to_owned(),
        who: "local".to_owned(),
        digest: "d".to_owned(),
        grants: "{}".to_owned(),
    };
    let last = HISTORY_ROWS_MAX + 5;
    let writes = (1..=last).map(|number| {
        let store = store.clone();
        async move {
            // No more at a time than may wait.
            store.history_append(row(number)).await.unwrap();
        }
    });
    for write in writes {
        write.await;
    }
    let rows = store.history(&Holder::plugin("a"), u32::MAX).await.unwrap();
    assert_eq!(rows.len(), HISTORY_ROWS_MAX as usize);
    assert_eq!(rows[0], row(last));
    assert_eq!(rows.last().unwrap(), &row(6));
    store
        .history_append(HistoryRow {
            holder: Holder::plugin("c"),
            ..row(7)
        })
        .await
        .unwrap();
    let latest = store.history_latest().await.unwrap();
    let latest: Vec<_> = latest
        .iter()
        .map(|row| (&*row.holder.alias, row.time_ms))
        .collect();
    assert_eq!(latest, [("a", i64::from(last)), ("c", 7)]);
    assert!(
        store
            .history(&Holder::plugin("b"), 10)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn usage_is_kept_by_span(backend: &dyn Backend) {
    let store = backend.open().await;
    let row = |span: UsageSpan, start: i64, data: u8| UsageRow {
        holder: Holder::plugin("a"),
        tool: "t".to_owned(),
        span,
        start_ms: start * span.ms(),
        data: vec![data],
    };
    use UsageSpan::{Hour, Minute};
    store
        .usage_put(vec![row(Minute, 1, 1), row(Minute, 2, 2), row(Hour, 1, 3)])
        .await
        .unwrap();
    store.usage_put(vec![row(Minute, 2, 9)]).await.unwrap();
    let minutes = store.usage(Minute, 0, i64::MAX).await.unwrap();
    assert_eq!(minutes, [row(Minute, 1, 1), row(Minute, 2, 9)]);
    assert_eq!(store.usage(Minute, 60_000, 120_000).await.unwrap().len(), 1);
    assert_eq!(
        store.usage_prune(Minute, 120_000, i64::MAX).await.unwrap(),
        1
    );
    assert_eq!(store.usage(Minute, 0, i64::MAX).await.unwrap().len(), 1);
    assert_eq!(store.usage(Hour, 0, i64::MAX).await.unwrap().len(), 1);
}

async fn reads_are_bounded(backend: &dyn Backend) {
    let store = backend.open().await;
    let count = i64::from(ROWS_MAX) + 1;
    store
        .audit_append(group((1..=count).map(audit)))
        .await
        .unwrap();
    let rows = store.audit_after(0, u32::MAX).await.unwrap();
    assert_eq!(rows.len(), ROWS_MAX as usize);
}

async fn many_write_at_once(backend: &dyn Backend) {
    let store = backend.open().await;
    let writes = (0..20_u32).map(|plugin| {
        let store = store.clone();
        tokio::spawn(async move {
            let holder = Holder::plugin(&format!("p{plugin}"));
            for number in 0..50_u32 {
                let key = number.to_string();
                let value = vec![7; 100];
                store
                    .kv_put(&holder, "b", &key, value, 1 << 20)
                    .await
                    .unwrap();
                if number % 2 == 0 {
                    store.kv_delete(&holder, "b", &key).await.unwrap();
                }
            }
            store.kv_used(&holder).await.unwrap()
        })
    });
    for used in futures::future::join_all(writes).await {
        assert_eq!(used.unwrap().keys, 25);
    }
}

async fn a_closed_store_says_so(backend: &dyn Backend) {
    let store = backend.open().await;
    store.close().await;
    let error = store.audit_append(group([audit(1)])).await.unwrap_err();
    assert!(matches!(error, StateError::Closed), "{error}");
    let error = store.audit_last().await.unwrap_err();
    assert!(matches!(error, StateError::Closed), "{error}");
}

/// SQLite before this release could corrupt its write-ahead log:
/// <https://www.sqlite.org/wal.html#walresetbug>.
#[tokio::test]
async fn sqlite_is_new_enough() {
    let mut connection = sqlx::SqliteConnection::connect_with(
        &sqlx::sqlite::SqliteConnectOptions::new().in_memory(true),
    )
    .await
    .unwrap();
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let parts: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    assert!(parts >= vec![3, 51, 3], "{version}");
}

use sqlx::Connection as _;

#[tokio::test]
async fn another_process_reads_beside_the_owner() {
    let backend = Sqlite::new();
    let path: &Path = &backend.path;
    let none = SqliteStore::read(path).await.unwrap_err();
    assert!(matches!(none, StateError::None(_)), "{none}");
    let owner = backend.open().await;
    owner.audit_append(group([audit(1)])).await.unwrap();
    let reader = SqliteStore::read(path).await.unwrap();
    assert_eq!(reader.project(), owner.project());
    assert_eq!(reader.audit_last().await.unwrap(), Some(audit(1)));
    owner.audit_append(group([audit(2)])).await.unwrap();
    assert_eq!(reader.audit_last().await.unwrap(), Some(audit(2)));
    let error = reader.audit_append(group([audit(3)])).await.unwrap_err();
    assert!(matches!(error, StateError::ReadOnly { .. }), "{error}");
    owner.close().await;
    assert_eq!(reader.audit_last().await.unwrap(), Some(audit(2)));
    reader.close().await;
    let alone = SqliteStore::read(path).await.unwrap();
    assert_eq!(alone.audit_last().await.unwrap(), Some(audit(2)));
}

async fn generations_are_kept_by_component_and_bounded(backend: &dyn Backend) {
    let store = backend.generations().await;
    let keep = GenerationKeep {
        rows_max: 3,
        before_ms: 0,
    };
    let content = |digest: &str, entry: &str| Generation {
        digest: digest.to_owned(),
        entry: entry.to_owned(),
        locked: "{}".to_owned(),
    };
    let install = |alias: &'static str, digest: &'static str, entry: &'static str, now_ms, keep| {
        let store = store.clone();
        async move {
            let installed = vec![(Holder::plugin(alias), content(digest, entry))];
            store
                .generations_put(installed, now_ms, keep)
                .await
                .unwrap();
        }
    };
    let kept = |alias: &'static str| {
        let store = store.clone();
        async move {
            let rows = store.generations(&Holder::plugin(alias)).await.unwrap();
            rows.iter()
                .map(|row| {
                    let digest = row.content.digest.clone();
                    (row.number, digest, row.since_ms, row.until_ms)
                })
                .collect::<Vec<_>>()
        }
    };
    let row = |number, digest: &str, since, until| (number, digest.to_owned(), since, until);
    install("a", "one", "first", 1, keep).await;
    install("b", "one", "other", 1, keep).await;
    install("a", "two", "second", 2, keep).await;
    assert_eq!(
        kept("a").await,
        [row(2, "two", 2, None), row(1, "one", 1, Some(2))]
    );
    // The same once more, with another entry; and back to the first.
    install("a", "two", "changed", 3, keep).await;
    assert_eq!(kept("a").await[0], row(2, "two", 2, None));
    install("a", "one", "again", 4, keep).await;
    assert_eq!(
        kept("a").await,
        [row(1, "one", 4, None), row(2, "two", 2, Some(4))]
    );
    let rows = store.generations(&Holder::plugin("a")).await.unwrap();
    let entries: Vec<_> = rows.iter().map(|row| &*row.content.entry).collect();
    assert_eq!(entries, ["again", "changed"]);
    // So many of each, those that were last; never what is installed.
    install("a", "three", "", 5, keep).await;
    install("a", "four", "", 6, keep).await;
    assert_eq!(
        kept("a").await,
        [
            row(4, "four", 6, None),
            row(3, "three", 5, Some(6)),
            row(1, "one", 4, Some(5))
        ]
    );
    // And for so long, those of plugins that nothing happens to included.
    let young = GenerationKeep {
        before_ms: 6,
        ..keep
    };
    install("b", "two", "", 7, young).await;
    assert_eq!(kept("a").await.len(), 2);
    assert_eq!(kept("b").await.len(), 2);
    let mut digests = store.generation_digests().await.unwrap();
    digests.sort();
    assert_eq!(digests, ["four", "one", "three", "two"]);
    drop(store);
    let installed = backend.generations().await.generations_installed().await;
    let installed: Vec<_> = installed
        .unwrap()
        .iter()
        .map(|row| (row.holder.alias.to_string(), row.content.digest.clone()))
        .collect();
    let pair = |alias: &str, digest: &str| (alias.to_owned(), digest.to_owned());
    assert_eq!(installed, [pair("a", "four"), pair("b", "two")]);
}
