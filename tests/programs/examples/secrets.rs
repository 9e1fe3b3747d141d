//! Uses secrets.

use portreeve_test_programs::{Answer, inject, json, reveal, store, structured, tools};

tools! {
    /// What is known of a secret, and its placeholder.
    fn look(name: String) -> Answer {
        let secret = store::get(&name)?;
        let placeholder = inject::placeholder(&secret)?;
        Ok(structured(json!({
            "name": secret.name(),
            "kind": secret.kind(),
            "expires": secret.expires_ms(),
            "placeholder": placeholder,
        })))
    }

    /// Reads a secret `times` times, with `pause_ms` milliseconds after each. Answers how often it could, the
    /// last value, and the first refusal.
    fn read(name: String, times: Option<u64>, pause_ms: Option<u64>) -> Answer {
        let secret = store::get(&name)?;
        let (mut read, mut value, mut failure) = (0, None, None);
        for _ in 0..times.unwrap_or(1) {
            match reveal::value(&secret) {
                Ok(text) => {
                    read += 1;
                    value = Some(text);
                }
                Err(refusal) => failure = failure.or(Some(refusal.message)),
            }
            if let Some(ms) = pause_ms {
                std::thread::sleep(std::time::Duration::from_millis(ms));
            }
        }
        Ok(structured(json!({"read": read, "value": value, "failure": failure})))
    }

    /// Takes handles until there are no more, and answers how many there were.
    fn hoard(name: String) -> Answer {
        let mut handles = Vec::new();
        let failure = loop {
            match store::get(&name) {
                Ok(secret) => handles.push(secret),
                Err(failure) => break failure,
            }
        };
        Ok(structured(json!({"handles": handles.len(), "failure": failure.message})))
    }

    /// Looks for a secret with a name of so many bytes.
    fn long_name(bytes: u64) -> Answer {
        store::get(&"n".repeat(bytes as usize))?;
        Ok(structured(json!({})))
    }
}
