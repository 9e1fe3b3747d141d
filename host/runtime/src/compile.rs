//! The compiler process: limits itself, reads a component from stdin, writes native code to
//! stdout.
//!
//! Compiling is the one thing done with a component's bytes that wasmtime does not treat as
//! a boundary against exhaustion, so it happens in a process that can only hurt itself.

use std::io::{Read, Write};

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::Engine;

use crate::engine;

/// What the compiler process may use; also passed to it as its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space in bytes. A Python component of 18 MB peaks at about 380 MB of
    /// memory; threads and allocators reserve several times what they use.
    pub memory_bytes: u64,
    /// CPU time of all threads, in seconds.
    pub cpu_seconds: u64,
    /// Wall-clock time, in seconds.
    pub wall_seconds: u64,
    /// Native code, in bytes.
    pub output_bytes: u64,
    /// Component, in bytes.
    pub input_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> CompileLimits {
        CompileLimits {
            memory_bytes: 4 << 30,
            cpu_seconds: 120,
            wall_seconds: 120,
            output_bytes: 512 << 20,
            input_bytes: 64 << 20,
        }
    }
}

impl CompileLimits {
    /// As command-line arguments of the compiler process.
    pub(crate) fn to_args(self) -> [String; 4] {
        [
            self.memory_bytes,
            self.cpu_seconds,
            self.output_bytes,
            self.input_bytes,
        ]
        .map(|number| number.to_string())
    }

    fn from_args(mut args: impl Iterator<Item = String>) -> Option<CompileLimits> {
        let mut next = || args.next()?.parse().ok();
        let limits = CompileLimits {
            memory_bytes: next()?,
            cpu_seconds: next()?,
            output_bytes: next()?,
            input_bytes: next()?,
            wall_seconds: 0,
        };
        args.next().is_none().then_some(limits)
    }
}

/// Exit code for a component that can't be compiled; its reason is on stderr.
pub(crate) const EXIT_REFUSED: u8 = 1;
/// Exit code for a compiler that could not do its work.
pub(crate) const EXIT_BROKEN: u8 = 2;

/// The whole of the compiler process. Returns its exit code.
pub fn compiler_process(args: impl Iterator<Item = String>) -> u8 {
    let Some(limits) = CompileLimits::from_args(args) else {
        complain(
            "usage: portreeve-compile MEMORY_BYTES CPU_SECONDS OUTPUT_BYTES INPUT_BYTES < COMPONENT > CODE\nThe host starts this by itself.",
        );
        return EXIT_BROKEN;
    };
    if let Err(error) = restrict(limits) {
        complain(&format!("the compiler could not limit itself: {error}"));
        return EXIT_BROKEN;
    }
    let mut component = Vec::new();
    let input = std::io::stdin().lock();
    match input
        .take(limits.input_bytes.saturating_add(1))
        .read_to_end(&mut component)
    {
        Ok(read) if read as u64 <= limits.input_bytes => {}
        Ok(_) => {
            complain(&format!("it has more than {} bytes", limits.input_bytes));
            return EXIT_REFUSED;
        }
        Err(error) => {
            complain(&format!("the component could not be read: {error}"));
            return EXIT_BROKEN;
        }
    }
    let engine = match engine::settings()
        .and_then(|config| Engine::new(&config).map_err(crate::Error::engine))
    {
        Ok(engine) => engine,
        Err(error) => {
            complain(&error.to_string());
            return EXIT_BROKEN;
        }
    };
    match engine.precompile_component(&component) {
        Ok(code) if code.len() as u64 > limits.output_bytes => {
            complain(&format!(
                "its code has more than {} bytes",
                limits.output_bytes
            ));
            EXIT_REFUSED
        }
        Ok(code) => {
            let mut output = std::io::stdout().lock();
            match output.write_all(&code).and_then(|()| output.flush()) {
                Ok(()) => 0,
                Err(error) => {
                    complain(&format!("the code could not be handed over: {error}"));
                    EXIT_BROKEN
                }
            }
        }
        Err(error) => {
            complain(&format!("{error:#}"));
            EXIT_REFUSED
        }
    }
}

fn complain(text: &str) {
    // Nobody to tell when stderr is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// No more memory, CPU time, files or core dumps than this. Before any input is read.
fn restrict(limits: CompileLimits) -> std::io::Result<()> {
    let set = |resource, number| {
        let limit = Rlimit {
            current: Some(number),
            maximum: Some(number),
        };
        setrlimit(resource, limit).map_err(std::io::Error::from)
    };
    set(Resource::As, limits.memory_bytes)?;
    set(Resource::Cpu, limits.cpu_seconds)?;
    set(Resource::Fsize, 0)?;
    set(Resource::Core, 0)?;
    set(Resource::Nofile, 64)
}
