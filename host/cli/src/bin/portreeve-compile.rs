//! The compiler process: `portreeve` starts it by itself, next to which it lies.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(portreeve_runtime::compiler_process(
        std::env::args().skip(1),
    ))
}
