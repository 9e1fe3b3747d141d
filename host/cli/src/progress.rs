//! What long work is at: a spinner on a terminal, plain lines elsewhere, always on standard
//! error.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use portreeve_core::{ProgressListener, ProgressReport};

use crate::{output, text};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Shows what is being done until it is dropped.
pub(crate) struct Progress {
    shown: Shown,
}

enum Shown {
    Spinner(ProgressBar),
    /// The line that was printed last: none is printed twice.
    Lines(Mutex<String>),
}

impl Progress {
    /// Nothing is shown until there is something to say.
    pub(crate) fn new() -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress {
                shown: Shown::Lines(Mutex::default()),
            };
        }
        let spinner = ProgressBar::new_spinner();
        // The template is fixed; were it wrong, the default would do.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            spinner.set_style(style);
        }
        Progress {
            shown: Shown::Spinner(spinner),
        }
    }

    /// What is done now.
    pub(crate) fn step(&self, message: &str) {
        let message = text::line(message).to_string();
        match &self.shown {
            Shown::Spinner(spinner) => {
                if spinner.is_finished() {
                    spinner.reset();
                }
                spinner.enable_steady_tick(TICK);
                spinner.set_message(message);
            }
            Shown::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if *last != message {
                    output::note(&message);
                    *last = message;
                }
            }
        }
    }

    /// What is done now, where that is soon done: said on a terminal only.
    pub(crate) fn quick_step(&self, message: &str) {
        if let Shown::Spinner(_) = &self.shown {
            self.step(message);
        }
    }

    /// Takes the spinner away, so that other things can be printed.
    pub(crate) fn clear(&self) {
        if let Shown::Spinner(spinner) = &self.shown {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

impl ProgressListener for Progress {
    fn progress(&self, report: ProgressReport) {
        self.step(&describe(&report));
    }
}

/// A report as one line.
fn describe(report: &ProgressReport) -> String {
    let count = match report.total {
        Some(total) => format!("{} of {total}", report.done),
        None if report.done > 0.0 => report.done.to_string(),
        None => String::new(),
    };
    match (&report.message, count.is_empty()) {
        (Some(message), true) => message.clone(),
        (Some(message), false) => format!("{message} ({count})"),
        (None, _) => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_as_lines() {
        let report = |done, total, message: Option<&str>| {
            describe(&ProgressReport {
                done,
                total,
                message: message.map(str::to_owned),
            })
        };
        assert_eq!(report(0.0, None, Some("compiling")), "compiling");
        assert_eq!(report(3.0, Some(10.0), None), "3 of 10");
        assert_eq!(report(0.5, Some(1.0), Some("half")), "half (0.5 of 1)");
        assert_eq!(report(7.0, None, None), "7");
    }
}
