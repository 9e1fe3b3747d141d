//! Two that write at once. The project's lock sees to it that there is one; should it fail,
//! nothing is lost or damaged.

use portreeve_state::{Holder, StateError, StateStore};

use sqlx::Connection as _;

use crate::child::{Kind, Output, Work};
use crate::support::{audit, check, check_now, connect, group, open, place, value};

#[tokio::test]
async fn two_stores_at_once_lose_nothing() {
    let (_dir, path) = place();
    let stores = [open(&path).await, open(&path).await];
    assert_eq!(stores[0].project(), stores[1].project());
    let holder = Holder::plugin("a");
    let writes = stores.iter().zip([0, 1_000]).map(|(store, from)| {
        let holder = &holder;
        async move {
            let mut said = Vec::new();
            for number in from..from + 60_u32 {
                let key = number.to_string();
                store
                    .kv_put(holder, "b", &key, value(number), u64::MAX)
                    .await
                    .unwrap();
                said.push(format!("put a {number}"));
            }
            said
        }
    });
    let said: Vec<String> = futures::future::join_all(writes).await.concat();
    // A quota holds for both together.
    let used = stores[0].kv_used(&holder).await.unwrap();
    assert_eq!(used.keys, 120);
    let over = stores[1]
        .kv_put(&holder, "b", "k", vec![0; 10], used.bytes)
        .await;
    assert!(matches!(over, Err(StateError::Quota { .. })), "{over:?}");
    // A record has one place: the second that wants it is refused.
    stores[0].audit_append(group([audit(1)])).await.unwrap();
    let error = stores[1].audit_append(group([audit(1)])).await.unwrap_err();
    assert!(matches!(error, StateError::Damaged(_)), "{error:?}");
    stores[1].audit_append(group([audit(2)])).await.unwrap();
    for store in &stores {
        store.close().await;
    }
    check(&path, &said).await;
}

/// A tool for databases, say, that was left in the middle of something.
#[tokio::test]
async fn a_lock_that_another_holds_fails_writes_until_it_is_gone() {
    let (_dir, path) = place();
    let store = open(&path).await;
    let mut other = connect(&path).await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let holder = Holder::plugin("a");
    let put = |number: u32| {
        let (store, holder) = (&store, &holder);
        async move {
            let key = number.to_string();
            store
                .kv_put(holder, "b", &key, value(number), u64::MAX)
                .await
        }
    };
    let begun = std::time::Instant::now();
    // Those that wait together are refused together, not one after the other.
    for result in futures::future::join_all((0..12).map(put)).await {
        let error = result.unwrap_err();
        assert!(matches!(error, StateError::ReadOnly { .. }), "{error:?}");
        assert!(
            error.to_string().contains("end what else has it open"),
            "{error}"
        );
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(30));
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    put(100).await.unwrap();
    other.close().await.unwrap();
    store.close().await;
    check(&path, &["put a 100".to_owned()]).await;
}

#[test]
fn processes_that_make_it_at_once_make_one() {
    for _ in 0..15 {
        let (_dir, path) = place();
        let outputs: Vec<Output> = std::thread::scope(|scope| {
            let children: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| Output::of(&mut Work::new(Kind::Open, &path, 0).command())))
                .collect();
            children
                .into_iter()
                .map(|child| child.join().unwrap())
                .collect()
        });
        for output in &outputs {
            assert_eq!(output.failures(), Vec::<&str>::new());
            // That all name the same project is checked with the rest.
            assert_eq!(output.count("opened"), 1);
            check_now(&path, &output.lines);
        }
    }
}
