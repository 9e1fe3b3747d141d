//! Storage: what a guest may ask of it, through both interfaces, and what is refused before it
//! comes to the host's store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portreeve_manifest::limits::Limits;
use portreeve_manifest::size::ByteSize;
use portreeve_runtime::{
    ErrorCode, Failure, KvAct, KvChange, KvDone, KvExpected, KvSource, KvStat, KvUsage, KvValue,
    Origin,
};
use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Guest, Recorder, guest, run};

/// Values and their versions, by bucket and key.
type Kept = BTreeMap<(String, String), (Vec<u8>, u64)>;

/// Keeps things in memory.
#[derive(Default)]
struct Memory {
    kept: Mutex<Kept>,
    version: Mutex<u64>,
    ttl: Mutex<Option<u64>>,
}

impl Memory {
    fn keys(&self) -> Vec<(String, String)> {
        self.kept.lock().unwrap().keys().cloned().collect()
    }
}

fn at(bucket: &str, key: &str) -> (String, String) {
    (bucket.to_owned(), key.to_owned())
}

#[async_trait]
impl KvSource for Memory {
    fn permitted(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn get(&self, bucket: &str, key: &str) -> Result<Option<KvValue>, Failure> {
        let kept = self.kept.lock().unwrap();
        let found = kept.get(&at(bucket, key)).cloned();
        Ok(found.map(|(value, version)| KvValue {
            value,
            version,
            expires_ms: None,
        }))
    }

    async fn stat(&self, bucket: &str, key: &str) -> Result<Option<KvStat>, Failure> {
        let found = self.get(bucket, key).await?;
        Ok(found.map(|found| KvStat {
            key: key.to_owned(),
            size: found.value.len() as u64,
            version: found.version,
            expires_ms: None,
        }))
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        max: u32,
    ) -> Result<Vec<KvStat>, Failure> {
        let kept = self.kept.lock().unwrap();
        let within = kept.iter().filter(|((name, key), _)| {
            name == bucket && key.starts_with(prefix) && after.is_none_or(|after| &**key > after)
        });
        let listed = within.map(|((_, key), (value, version))| KvStat {
            key: key.clone(),
            size: value.len() as u64,
            version: *version,
            expires_ms: None,
        });
        Ok(listed.take(max as usize).collect())
    }

    async fn change(&self, bucket: &str, changes: Vec<KvChange>) -> Result<Vec<KvDone>, Failure> {
        let mut kept = self.kept.lock().unwrap();
        let mut last = self.version.lock().unwrap();
        let mut done = Vec::new();
        for change in changes {
            let place = at(bucket, &change.key);
            let there = kept.get(&place).map(|(_, version)| *version);
            let fits = |expected| match expected {
                KvExpected::Anything => true,
                KvExpected::Absent => there.is_none(),
                KvExpected::Version(version) => there == Some(version),
            };
            *last += 1;
            match change.act {
                KvAct::Set { expected, .. } | KvAct::Delete(expected) if !fits(expected) => {
                    return Err(Failure::new(ErrorCode::Conflict, "changed", "changed"));
                }
                KvAct::Set { value, ttl_ms, .. } => {
                    *self.ttl.lock().unwrap() = ttl_ms;
                    kept.insert(place, (value, *last));
                    done.push(KvDone::Set(*last));
                }
                KvAct::Add(delta) => {
                    let held = kept.get(&place).map_or(0, |(value, _)| {
                        String::from_utf8_lossy(value).parse::<i64>().unwrap()
                    });
                    let sum = held + delta;
                    kept.insert(place, (sum.to_string().into_bytes(), *last));
                    done.push(KvDone::Sum(sum));
                }
                KvAct::Delete(_) => done.push(KvDone::Deleted(kept.remove(&place).is_some())),
            }
        }
        Ok(done)
    }

    async fn used(&self) -> Result<KvUsage, Failure> {
        Ok(KvUsage {
            keys: 1,
            keys_max: 2,
            bytes: 3,
            bytes_max: 4,
        })
    }
}

/// A guest with a memory of its own.
pub(crate) struct Keeper {
    guest: Guest,
    memory: Arc<Memory>,
    limits: Limits,
}

impl Keeper {
    pub(crate) fn new(program: &str) -> Keeper {
        Keeper {
            guest: guest(program),
            memory: Arc::default(),
            limits: Limits::default(),
        }
    }

    pub(crate) fn try_call(&self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        let recorder = Recorder {
            kv: Some(self.memory.clone()),
            ..Recorder::default()
        };
        let finished = run(self.guest.calling(tool, arguments, &self.limits, &recorder));
        match finished.result {
            Ok(outcome) => Ok(Value::Object(outcome.structured.unwrap())),
            Err(error) => {
                assert_eq!(error.origin, Origin::Plugin, "{error:?}");
                Err(error.failure)
            }
        }
    }

    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Value {
        self.try_call(tool, arguments).unwrap()
    }
}

#[test]
fn nothing_is_kept_without_a_grant() {
    for program in [programs::KV, programs::KEYVALUE] {
        let guest = guest(program);
        let arguments = json!({"bucket": "", "key": "k"});
        let error = guest.call("get", arguments).result.unwrap_err();
        assert_eq!(error.failure.code, ErrorCode::PermissionDenied, "{error:?}");
    }
}

#[test]
fn values_are_kept_compared_and_counted() {
    let kv = Keeper::new(programs::KV);
    let set = |value: &str, expected: Value| {
        kv.try_call(
            "set",
            json!({"key": "k", "value": value, "ttl_ms": 5, "expected": expected}),
        )
    };
    let first = set("1", json!("absent")).unwrap()["version"].clone();
    assert_eq!(*kv.memory.ttl.lock().unwrap(), Some(5));
    assert_eq!(
        set("2", json!("absent")).unwrap_err().code,
        ErrorCode::Conflict
    );
    let second = set("2", first.clone()).unwrap()["version"].clone();
    assert_eq!(
        kv.call("get", json!({"key": "k"})),
        json!({"found": {"value": "2", "version": second, "expires": null}})
    );
    assert_eq!(
        kv.call("stat", json!({"key": "k"}))["found"]["size"],
        json!(1)
    );
    let delete = |expected: Value| kv.try_call("delete", json!({"key": "k", "expected": expected}));
    assert_eq!(delete(first).unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(delete(second).unwrap(), json!({"was": true}));
    assert_eq!(delete(Value::Null).unwrap(), json!({"was": false}));
    let add = |delta: i64| kv.call("increment", json!({"key": "n", "delta": delta}));
    assert_eq!(add(5), json!({"sum": 5}));
    assert_eq!(add(-7), json!({"sum": -2}));
    assert_eq!(kv.call("used", json!({}))["bytes_max"], json!(4));
}

#[test]
fn a_value_is_no_larger_than_its_limit() {
    let mut kv = Keeper::new(programs::KV);
    let set =
        |kv: &Keeper, bytes: u64| kv.try_call("set_sized", json!({"key_bytes": 1, "bytes": bytes}));
    set(&kv, 1 << 20).unwrap();
    let over = set(&kv, (1 << 20) + 1).unwrap_err();
    assert_eq!(over.code, ErrorCode::QuotaExceeded);
    assert_eq!(over.reason, "limit-value");
    assert!(over.message.contains("`value`"), "{}", over.message);
    kv.limits.value = ByteSize(10);
    set(&kv, 10).unwrap();
    set(&kv, 11).unwrap_err();
    kv.limits.value = ByteSize(0);
    set(&kv, 0).unwrap();
}

#[test]
fn keys_have_a_length() {
    let kv = Keeper::new(programs::KV);
    let set = |bytes: u64| kv.try_call("set_sized", json!({"key_bytes": bytes, "bytes": 1}));
    set(1_024).unwrap();
    for bytes in [0, 1_025, 100_000] {
        assert_eq!(set(bytes).unwrap_err().code, ErrorCode::InvalidArgument);
    }
    let long = "k".repeat(1_025);
    for (tool, arguments) in [
        ("get", json!({"key": ""})),
        ("stat", json!({"key": long})),
        ("delete", json!({"key": long, "expected": null})),
        ("increment", json!({"key": "", "delta": 1})),
        ("list", json!({"prefix": long, "limit": 1})),
        ("list", json!({"prefix": "", "cursor": long, "limit": 1})),
        ("set", json!({"key": "k", "value": "", "ttl_ms": 0})),
    ] {
        let error = kv.try_call(tool, arguments).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{tool}");
    }
    assert_eq!(kv.memory.keys().len(), 1);
}

#[test]
fn keys_are_listed_a_thousand_at_a_time() {
    let kv = Keeper::new(programs::KV);
    kv.call("fill", json!({"prefix": "a/", "bytes": 0, "keys": 1_500}));
    kv.call("fill", json!({"prefix": "b/", "bytes": 0, "keys": 3}));
    let mut seen = 0;
    let mut cursor = Value::Null;
    for expected in [1_000, 500] {
        let mut arguments = json!({"prefix": "a/", "limit": 100_000});
        if !cursor.is_null() {
            arguments["cursor"] = cursor.clone();
        }
        let page = kv.call("list", arguments);
        assert_eq!(page["entries"].as_array().unwrap().len(), expected);
        seen += expected;
        cursor = page["cursor"].clone();
    }
    assert_eq!((seen, cursor), (1_500, Value::Null));
    let none = kv.call("list", json!({"prefix": "a/", "limit": 0}));
    assert_eq!(none, json!({"entries": [], "cursor": null}));
}

#[test]
fn wasi_keyvalue_keeps_in_the_same_place() {
    let wasi = Keeper::new(programs::KEYVALUE);
    let set = |bucket: &str, value: &str| {
        wasi.call("set", json!({"bucket": bucket, "key": "k", "value": value}))
    };
    set("default", "1");
    set("other", "2");
    set("", "3");
    let kept = [at("", "k"), at("other", "k")];
    assert_eq!(wasi.memory.keys(), kept);
    let kv = Keeper {
        memory: wasi.memory.clone(),
        ..Keeper::new(programs::KV)
    };
    assert_eq!(
        kv.call("get", json!({"key": "k"}))["found"]["value"],
        json!("3")
    );
    assert_eq!(
        wasi.call("get", json!({"bucket": "other", "key": "k"})),
        json!({"found": "2", "exists": true})
    );
    wasi.call("delete", json!({"bucket": "other", "key": "k"}));
    assert_eq!(
        wasi.call("get", json!({"bucket": "other", "key": "k"})),
        json!({"found": null, "exists": false})
    );
    let add = |delta: u64| {
        wasi.try_call(
            "increment",
            json!({"bucket": "", "key": "n", "delta": delta}),
        )
    };
    assert_eq!(add(7).unwrap(), json!({"sum": 7}));
    assert!(add(u64::MAX).is_err());
    let name = "n".repeat(65);
    let error = wasi.try_call("get", json!({"bucket": name, "key": "k"}));
    assert_eq!(error.unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn wasi_keyvalue_has_pages_and_batches() {
    let wasi = Keeper::new(programs::KEYVALUE);
    assert_eq!(
        wasi.call("many", json!({"bucket": "b", "keys": 2_300})),
        json!({"pages": [1_000, 1_000, 300], "got": ["00000", null], "left": 0})
    );
    let wrong = wasi.call("wrong", json!({}));
    for (what, says) in [
        ("batch", "100 keys at most"),
        ("cursor", "begin anew"),
        ("long", "1024 at most"),
        ("empty", "the key is empty"),
    ] {
        let told = wrong[what].as_str().unwrap();
        assert!(told.contains(says), "{told}");
    }
    assert_eq!(wrong["left"], json!(0));
}

#[test]
fn the_sdk_keeps_and_updates() {
    let kv = Keeper::new(programs::SDK_KV);
    kv.call("add", json!({"name": "Ada"}));
    assert_eq!(
        kv.call("add", json!({"name": "Bob"})),
        json!({"names": ["Ada", "Bob"]})
    );
    let mut all = kv.call("all", json!({}));
    // This memory keeps no ends.
    assert_eq!(
        all.as_object_mut().unwrap().remove("seconds"),
        Some(json!(0))
    );
    assert_eq!(
        all,
        json!({
            "listed": 1_200,
            "last": "n/1199",
            "conflict": true,
            "sum": -2,
            "left": 0,
            "json": [1, 2],
        })
    );
}
