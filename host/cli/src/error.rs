//! Errors as people and programs see them: text on standard error, and with `--json` an
//! object on standard output as well.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use portreeve_core::HostError;
use portreeve_core::control::{self, ControlError, Place};
use portreeve_manifest::diagnostic::Diagnostics;
use portreeve_manifest::edit::EditError;
use serde_json::json;

use crate::exit::Exit;
use crate::output::{self, Output};
use crate::text;

/// An error that knows its exit code.
#[derive(Debug)]
pub(crate) struct Coded {
    exit: Exit,
    message: String,
    /// Whether it was shown already, as a result.
    shown: bool,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Coded {}

/// The arguments make no sense together.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Coded {
        exit: Exit::Usage,
        message: message.into(),
        shown: false,
    }
    .into()
}

/// The operator's policy refuses it.
pub(crate) fn refused(message: impl Into<String>) -> anyhow::Error {
    Coded {
        exit: Exit::Refused,
        message: message.into(),
        shown: false,
    }
    .into()
}

/// The command failed, and its result, which is printed, says so.
pub(crate) fn shown(exit: Exit) -> anyhow::Error {
    Coded {
        exit,
        message: String::new(),
        shown: true,
    }
    .into()
}

/// Shows an error and gives the exit code.
pub(crate) fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read the results has had enough.
        return ExitCode::SUCCESS;
    }
    let coded = error.downcast_ref::<Coded>();
    let control = error.downcast_ref::<ControlError>();
    let exit = match (coded, control) {
        (Some(coded), _) => coded.exit,
        (None, Some(control)) if control.refused => Exit::Refused,
        _ => Exit::Failed,
    };
    if coded.is_some_and(|coded| coded.shown) {
        return exit.into();
    }
    let diagnostics = diagnostics(error);
    let message = format!("{error:#}");
    let mut stderr = std::io::stderr().lock();
    // Nobody to tell when stderr is gone.
    let _ = match diagnostics {
        Some(diagnostics) if stderr.is_terminal() => {
            write!(stderr, "{}", drawn(diagnostics))
        }
        Some(_) => writeln!(stderr, "{}", text::lines(&message)),
        None => writeln!(stderr, "error: {}", text::lines(&message)),
    };
    if output.is_json() {
        let places = match (control, diagnostics) {
            (Some(control), _) => &control.places,
            (None, Some(diagnostics)) => &control::places(diagnostics),
            (None, None) => &Vec::new(),
        };
        let _ = print_json(exit, &message, places);
    }
    exit.into()
}

/// Prints an error as a JSON object.
pub(crate) fn print_json(exit: Exit, message: &str, places: &[Place]) -> anyhow::Result<()> {
    let mut error = json!({ "kind": exit.kind(), "message": message });
    if let (Some(error), false) = (error.as_object_mut(), places.is_empty()) {
        error.insert("diagnostics".to_owned(), json!(places));
    }
    output::print_json(&json!({ "error": error }))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The mistakes in a file that an error is about.
fn diagnostics(error: &anyhow::Error) -> Option<&Diagnostics> {
    error.chain().find_map(|error| {
        if let Some(diagnostics) = error.downcast_ref::<Diagnostics>() {
            return Some(diagnostics);
        }
        if let Some(HostError::Manifest(diagnostics)) = error.downcast_ref() {
            return Some(diagnostics);
        }
        if let Some(EditError::Before(diagnostics) | EditError::After(diagnostics)) =
            error.downcast_ref()
        {
            return Some(diagnostics);
        }
        match error.downcast_ref() {
            Some(portreeve_supply::Error::Manifest(diagnostics)) => Some(&**diagnostics),
            _ => None,
        }
    })
}

/// The mistakes with their lines and carets, for a terminal.
fn drawn(diagnostics: &Diagnostics) -> String {
    let mut drawn = String::new();
    let source = diagnostics.source_file();
    let source = miette::NamedSource::new(source.name(), text::blank(source.text()));
    let handler = miette::GraphicalReportHandler::new();
    for error in diagnostics.errors() {
        let report = Drawn {
            message: text::lines(&error.message).to_string(),
            help: error
                .help
                .as_ref()
                .map(|help| text::lines(help).to_string()),
            label: error
                .span
                .clone()
                .map(|span| miette::LabeledSpan::new_with_span(None, span)),
            source: &source,
        };
        if handler.render_report(&mut drawn, &report).is_err() {
            return format!("{}\n", text::lines(&diagnostics.to_string()));
        }
    }
    drawn
}

/// One mistake, clean.
#[derive(Debug)]
struct Drawn<'a> {
    message: String,
    help: Option<String>,
    label: Option<miette::LabeledSpan>,
    source: &'a miette::NamedSource<String>,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl miette::Diagnostic for Drawn<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        Some(Box::new(self.label.clone().into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_manifest::plugin::PluginManifest;

    #[test]
    fn mistakes_are_found_in_every_error_that_carries_them() {
        let mistakes = || PluginManifest::parse("plugin.toml", "schema = 2\u{1b}[2J").unwrap_err();
        let carriers = [
            anyhow::Error::new(mistakes()),
            anyhow::Error::new(mistakes()).context("while building"),
            HostError::Manifest(mistakes()).into(),
            EditError::After(mistakes()).into(),
            portreeve_supply::Error::Manifest(Box::new(mistakes())).into(),
        ];
        for error in carriers {
            let found = diagnostics(&error).unwrap();
            let places = control::places(found);
            assert_eq!(places[0].file, "plugin.toml", "{error}");
            assert_eq!(places[0].line, Some(1), "{error}");
        }
    }

    #[test]
    fn a_drawing_has_no_escapes_of_the_file() {
        let mistakes =
            PluginManifest::parse("plugin.toml", "schema = \"\u{202e}x\"\n").unwrap_err();
        let drawing = drawn(&mistakes);
        assert!(drawing.contains("plugin.toml:1:"), "{drawing}");
        assert!(!drawing.contains('\u{202e}'), "{drawing}");
    }
}
