//! Waits for input and output that never come.

use std::io::{Read, stdin};

use portreeve_test_programs::{Answer, ErrorCode, failure, text, tools};

tools! {
    /// Reads a byte from stdin, and answers how many came (0 when stdin is closed).
    fn read_stdin() -> Answer {
        match stdin().read(&mut [0]) {
            Ok(count) => Ok(text(count.to_string())),
            Err(error) => Err(failure(ErrorCode::Unavailable, error.to_string())),
        }
    }

    /// Blocks on a pollable that is never ready: a timer of centuries.
    fn poll_forever() -> Answer {
        wasip2::clocks::monotonic_clock::subscribe_duration(u64::MAX).block();
        Ok(text("ready"))
    }

    /// Polls a list of pollables of which none is ever ready.
    fn poll_list_forever() -> Answer {
        let timers: Vec<_> = (0..16)
            .map(|_| wasip2::clocks::monotonic_clock::subscribe_duration(u64::MAX))
            .collect();
        let ready = wasip2::io::poll::poll(&timers.iter().collect::<Vec<_>>());
        Ok(text(format!("{ready:?}")))
    }
}
