//! The log of this process: for people on standard error, and for the owner of a project as
//! JSON lines in its `host.log`.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use portreeve_core::Project;
use portreeve_core::log::open_rotating;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The file that the owner of a project writes.
pub(crate) const HOST_LOG: &str = "host.log";

/// Says which records are wanted, as `tracing_subscriber`'s directives.
const FILTER_ENV: &str = "PORTREEVE_LOG";

/// Logs to standard error.
pub(crate) fn to_stderr(verbose: u8) -> anyhow::Result<()> {
    // Which plugins can't be used is part of the commands' results.
    let filter = filter(verbose, "warn,rmcp=error,portreeve_core::install=off")?;
    Registry::default()
        .with(stderr().with_filter(filter))
        .init();
    Ok(())
}

/// The project's file, once this process owns the project.
static PROJECT_FILE: OnceLock<Mutex<Box<dyn Write + Send>>> = OnceLock::new();

/// Writes to [`PROJECT_FILE`], or nothing.
struct ProjectFile;

impl Write for ProjectFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match PROJECT_FILE.get() {
            Some(file) => file
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs to standard error, and from now on to the project's file as well.
pub(crate) fn own_project(project: &Project) -> anyhow::Result<()> {
    let dir = project.logs_dir();
    let file = open_rotating(&dir, HOST_LOG)
        .with_context(|| format!("the log in {} can't be written", dir.display()))?;
    // A process owns a project once.
    let _ = PROJECT_FILE.set(Mutex::new(Box::new(file)));
    Ok(())
}

/// Logs to standard error, and to the project's file as soon as this process owns the project.
pub(crate) fn to_project(verbose: u8) -> anyhow::Result<()> {
    let file = fmt::layer().json().with_writer(|| ProjectFile);
    Registry::default()
        .with(stderr().with_filter(filter(verbose, "warn,rmcp=error")?))
        .with(file.with_filter(filter(verbose.max(1), "info")?))
        .init();
    Ok(())
}

fn stderr<S: tracing::Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let stderr = std::io::stderr;
    fmt::layer()
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .with_writer(stderr)
}

/// What `PORTREEVE_LOG` says, else what `-v` asks for, else `default`.
fn filter(verbose: u8, default: &str) -> anyhow::Result<EnvFilter> {
    let directives = match (verbose, std::env::var(FILTER_ENV)) {
        (_, Ok(directives)) if !directives.is_empty() => directives,
        (0, _) => default.to_owned(),
        (1, _) => "warn,rmcp=error,portreeve=info,portreeve_core=info,portreeve_gateway=info,portreeve_runtime=info".to_owned(),
        (2, _) => "info,rmcp=warn,portreeve=debug,portreeve_core=debug,portreeve_gateway=debug,portreeve_runtime=debug".to_owned(),
        _ => "trace".to_owned(),
    };
    EnvFilter::try_new(&directives).with_context(|| {
        format!("{FILTER_ENV} is no list of filters: write `debug`, or `warn,portreeve_core=debug`")
    })
}
