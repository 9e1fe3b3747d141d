//! Opens handles and keeps them.

use portreeve_test_programs::{Answer, text, tools};
use wasip2::clocks::monotonic_clock::subscribe_duration;

tools! {
    /// Opens pollables without end.
    fn pollables_forever() -> Answer {
        loop {
            std::mem::forget(subscribe_duration(u64::MAX));
        }
    }

    /// Opens `count` pollables, keeps them and answers `opened`.
    fn pollables(count: u64) -> Answer {
        for _ in 0..count {
            std::mem::forget(subscribe_duration(u64::MAX));
        }
        Ok(text("opened"))
    }

    /// Opens `count` pollables one after another, closes each, and answers `closed`.
    fn open_and_close(count: u64) -> Answer {
        for _ in 0..count {
            drop(subscribe_duration(u64::MAX));
        }
        Ok(text("closed"))
    }

    /// Opens handles of the output stream without end.
    fn streams_forever() -> Answer {
        loop {
            std::mem::forget(wasip2::cli::stdout::get_stdout());
        }
    }
}
