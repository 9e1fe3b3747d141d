//! Results go to standard output, and nothing else does.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use crate::text;

/// How results are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Prints JSON, or text for people.
    pub(crate) fn new(json: bool) -> Output {
        Output { json }
    }

    /// Whether `--json` was given.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints a result: `value` with `--json`, else what `human` makes of it.
    pub(crate) fn result(
        self,
        value: &impl Serialize,
        human: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            return print_json(value);
        }
        print(&text::lines(human().trim_end()))
    }
}

/// A path in a result: JSON is text, and paths need not be.
pub(crate) fn path(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy()
}

/// Prints one JSON document.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    write(&text::json(&serde_json::to_string_pretty(value)?))
}

/// Prints a text that is clean.
pub(crate) fn print(text: &text::Clean<'_>) -> anyhow::Result<()> {
    write(text)
}

/// Prints a text of a plugin: cleaned for a terminal, to the letter for a program.
pub(crate) fn print_exact(text: &str) -> anyhow::Result<()> {
    if std::io::stdout().is_terminal() {
        return write(&text::lines(text));
    }
    write(&text)
}

fn write(text: &impl Display) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// Tells the person at the terminal something that is no result.
pub(crate) fn note(text: impl Display) {
    let text = text.to_string();
    // Nobody to tell when stderr is gone.
    let _ = writeln!(std::io::stderr(), "{}", text::lines(&text));
}
