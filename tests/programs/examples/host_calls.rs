//! Single host calls that are big.

use portreeve_test_programs::{
    Answer, ErrorCode, config, failure, json, progress, structured, text, tools,
};

tools! {
    /// Gives `bytes` bytes to one call of the output stream's `write`.
    fn write(bytes: u64) -> Answer {
        match wasip2::cli::stdout::get_stdout().write(&vec![b'x'; size(bytes)]) {
            Ok(()) => Ok(text("written")),
            Err(error) => Err(failure(ErrorCode::Unavailable, format!("{error:?}"))),
        }
    }

    /// Asks for `bytes` random bytes in one call, and answers with the number that came.
    fn random(bytes: u64) -> Answer {
        let came = wasip2::random::random::get_random_bytes(bytes).len();
        Ok(structured(json!({"bytes": came})))
    }

    /// Asks for a key of the configuration whose name has `bytes` bytes.
    fn config_key(bytes: u64) -> Answer {
        let value = config::get(&"k".repeat(size(bytes)));
        Ok(structured(json!({"found": value.is_some()})))
    }

    /// Reports progress with a message of `bytes` bytes.
    fn progress_message(bytes: u64) -> Answer {
        progress::report(1.0, None, Some(&"m".repeat(size(bytes))))?;
        Ok(text("reported"))
    }

    /// Polls a list of `count` pollables of which the first is ready.
    fn poll(count: u64) -> Answer {
        let ready = wasip2::clocks::monotonic_clock::subscribe_duration(0);
        let list: Vec<_> = (0..count).map(|_| &ready).collect();
        Ok(structured(json!({"ready": wasip2::io::poll::poll(&list).len()})))
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
