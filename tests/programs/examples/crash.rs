//! Ends in every way but the proper one.

use portreeve_test_programs::{Answer, text, tools};

tools! {
    /// Executes `unreachable`.
    fn trap() -> Answer {
        unreachable()
    }

    /// Panics with `message`, which goes to stderr.
    fn panic(message: String) -> Answer {
        panic!("{message}")
    }

    /// Calls `exit` with `code`.
    fn exit(code: u64) -> Answer {
        std::process::exit(i32::try_from(code).unwrap_or(i32::MAX))
    }

    /// Divides by `divisor`, and answers with the quotient.
    fn divide(divisor: u64) -> Answer {
        Ok(text((1000 / divisor).to_string()))
    }
}

#[cfg(target_arch = "wasm32")]
fn unreachable() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn unreachable() -> ! {
    std::process::abort()
}
