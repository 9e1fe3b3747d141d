//! Never stops by itself, or works for as long as it is told.

use std::hint::{black_box, spin_loop};
use std::time::Instant;

use portreeve_test_programs::{Answer, context, structured, text, tools};

tools! {
    /// Loops for ever in the guest.
    fn spin() -> Answer {
        loop {
            spin_loop();
        }
    }

    /// Loops for ever through cheap calls of WASI: reads the clock.
    fn spin_clock() -> Answer {
        loop {
            black_box(Instant::now());
        }
    }

    /// Loops for ever through cheap calls of Portreeve's own: asks for the deadline.
    fn spin_context() -> Answer {
        loop {
            black_box(context::deadline_ms());
        }
    }

    /// Reads the clock `times` times, then answers `done`.
    fn read_clock(times: u64) -> Answer {
        for _ in 0..times {
            black_box(Instant::now());
        }
        Ok(text("done"))
    }

    /// Works through `rounds` rounds, then answers `{"rounds", "fuel_left"}`.
    fn work(rounds: u64) -> Answer {
        for round in 0..rounds {
            black_box(round);
        }
        let fuel_left = context::fuel_left().to_string();
        Ok(structured(portreeve_test_programs::json!({"rounds": rounds, "fuel_left": fuel_left})))
    }
}
