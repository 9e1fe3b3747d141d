//! Tries to reach files. Every tool answers `{"ok": …}` with what it got, or
//! `{"error": …}` with the refusal.

use portreeve_test_programs::{Answer, Value, json, structured, tools};

tools! {
    /// Reads the file at `path`.
    fn read(path: String) -> Answer {
        report(std::fs::read_to_string(path).map(Value::from))
    }

    /// Writes `text` to the file at `path`.
    fn write(path: String, text: String) -> Answer {
        report(std::fs::write(path, text).map(Value::from))
    }

    /// The names in the directory at `path`.
    fn list(path: String) -> Answer {
        report(std::fs::read_dir(path).map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        }))
    }
}

fn report(result: std::io::Result<Value>) -> Answer {
    Ok(structured(match result {
        Ok(value) => json!({"ok": value}),
        Err(error) => json!({"error": error.to_string()}),
    }))
}
