//! Keeps keys and values between calls.

use std::time::Duration;

use portreeve_test_programs::{
    Answer, ErrorCode, Failure, Value, failure, json, kv, structured, tools,
};

/// `"absent"`, a version, or nothing for anything.
fn expected(given: Value) -> Result<kv::Expected, Failure> {
    match given {
        Value::Null => Ok(kv::Expected::Anything),
        Value::String(word) if word == "absent" => Ok(kv::Expected::Absent),
        version => version
            .as_u64()
            .map(kv::Expected::Version)
            .ok_or_else(|| failure(ErrorCode::InvalidArgument, "what is expected?")),
    }
}

fn info(info: &kv::Info) -> Value {
    json!({
        "key": info.key,
        "size": info.size,
        "version": info.version,
        "expires": info.expires_ms,
    })
}

tools! {
    /// Sets a key to a text.
    fn set(key: String, value: String, ttl_ms: Option<u64>, expected: Value) -> Answer {
        let expected = self::expected(expected)?;
        let version = kv::set(&key, value.as_bytes(), ttl_ms, expected)?;
        Ok(structured(json!({"version": version})))
    }

    /// Sets a key of so many bytes to so many bytes.
    fn set_sized(key_bytes: u64, bytes: u64) -> Answer {
        let key = "k".repeat(key_bytes as usize);
        kv::set(&key, &vec![7; bytes as usize], None, kv::Expected::Anything)?;
        Ok(structured(json!({})))
    }

    /// The value of a key, as text.
    fn get(key: String) -> Answer {
        let found = kv::get(&key)?.map(|entry| json!({
            "value": String::from_utf8_lossy(&entry.value),
            "version": entry.version,
            "expires": entry.expires_ms,
        }));
        Ok(structured(json!({"found": found})))
    }

    /// Gets a key so many times; how often it was there.
    fn gets(key: String, times: u64) -> Answer {
        let mut found = 0;
        for _ in 0..times {
            found += u64::from(kv::get(&key)?.is_some());
        }
        Ok(structured(json!({"found": found})))
    }

    /// What is known of it.
    fn stat(key: String) -> Answer {
        Ok(structured(json!({"found": kv::stat(&key)?.as_ref().map(info)})))
    }

    /// Deletes a key.
    fn delete(key: String, expected: Value) -> Answer {
        let was = kv::delete(&key, self::expected(expected)?)?;
        Ok(structured(json!({"was": was})))
    }

    /// Adds to a number, below zero as well.
    fn increment(key: String, delta: f64) -> Answer {
        Ok(structured(json!({"sum": kv::increment(&key, delta as i64)?})))
    }

    /// A page of keys.
    fn list(prefix: String, cursor: Option<String>, limit: u64) -> Answer {
        let page = kv::list_keys(&prefix, cursor.as_deref(), limit as u32)?;
        let entries: Vec<_> = page.entries.iter().map(info).collect();
        Ok(structured(json!({"entries": entries, "cursor": page.cursor})))
    }

    /// What is kept.
    fn used() -> Answer {
        let used = kv::used()?;
        Ok(structured(json!({
            "keys": used.keys,
            "keys_max": used.keys_max,
            "bytes": used.bytes,
            "bytes_max": used.bytes_max,
        })))
    }

    /// Sets keys with values of so many bytes until that is refused, at most so many; how many
    /// there were, and the refusal.
    fn fill(prefix: String, bytes: u64, keys: u64) -> Answer {
        let value = vec![7; bytes as usize];
        for number in 0..keys {
            if let Err(refusal) = kv::set(&format!("{prefix}{number}"), &value, None, kv::Expected::Anything) {
                return Ok(structured(json!({
                    "keys": number,
                    "code": format!("{:?}", refusal.code),
                    "reason": refusal.reason,
                    "failure": refusal.message,
                })));
            }
        }
        Ok(structured(json!({"keys": keys})))
    }

    /// Adds 1 to a number so many times by reading, comparing and setting; how often others came
    /// between.
    fn swap(key: String, times: u64) -> Answer {
        let mut lost = 0;
        for _ in 0..times {
            loop {
                let (number, expected) = match kv::get(&key)? {
                    None => (0, kv::Expected::Absent),
                    Some(entry) => (
                        String::from_utf8_lossy(&entry.value).parse::<u64>().unwrap(),
                        kv::Expected::Version(entry.version),
                    ),
                };
                let next = (number + 1).to_string();
                match kv::set(&key, next.as_bytes(), None, expected) {
                    Ok(_) => break,
                    Err(refusal) if refusal.code == ErrorCode::Conflict => lost += 1,
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        Ok(structured(json!({"lost": lost})))
    }

    /// Counts under a key so many times, with a pause after each; how often it could, and the
    /// first refusal.
    fn beat(key: String, times: u64, pause_ms: u64) -> Answer {
        let (mut done, mut refused) = (0, None);
        for _ in 0..times {
            match kv::increment(&key, 1) {
                Ok(_) => done += 1,
                Err(failure) => refused = refused.or(Some(failure.message)),
            }
            std::thread::sleep(Duration::from_millis(pause_ms));
        }
        Ok(structured(json!({"done": done, "failure": refused})))
    }
}
