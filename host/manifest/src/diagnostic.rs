//! Mistakes in a file, shown where they are.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Diagnostics of one file at most; more would not be read.
pub(crate) const ERRORS_MAX: usize = 20;

/// A file's name and text.
#[derive(Clone, Debug)]
pub struct Source {
    name: Arc<str>,
    text: miette::NamedSource<Arc<str>>,
}

impl Source {
    /// A text under the name that diagnostics show, such as `portreeve.toml`.
    pub fn new(name: &str, text: &str) -> Self {
        Source {
            name: name.into(),
            text: miette::NamedSource::new(name, Arc::from(text)),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.text.inner()
    }

    /// Line and column of a byte offset, both from 1, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let start = self.line(offset).start;
        let before = self.text().get(..start).unwrap_or_default();
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = self
            .text()
            .get(start..offset)
            .map_or(0, |text| text.chars().count())
            + 1;
        (line, column)
    }

    /// The bytes of the line around an offset, without its line break.
    fn line(&self, offset: usize) -> Range<usize> {
        let text = self.text();
        let before = text.get(..offset).unwrap_or(text);
        let after = text.get(offset..).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let end = before.len() + after.find('\n').unwrap_or(after.len());
        start..end
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong and why.
    pub message: String,
    /// Where, in bytes of the text; none for the file as a whole.
    pub span: Option<Range<usize>>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake at a place.
    pub fn new(message: impl Into<String>, span: Option<Range<usize>>) -> Self {
        Diagnostic {
            message: message.into(),
            span,
            help: None,
        }
    }

    /// The same with a word on what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The mistakes of one file, at least one.
///
/// `Display` shows each as `file:line:column: error: …`, with the line and a caret below;
/// as a [`miette::Diagnostic`] it can be drawn by a terminal's reporter.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    source: Source,
    errors: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The mistakes found in a text, in its order.
    pub fn new(source: Source, mut errors: Vec<Diagnostic>) -> Self {
        errors.sort_by_key(|error| error.span.as_ref().map_or(0, |span| span.start));
        errors.truncate(ERRORS_MAX);
        if errors.is_empty() {
            errors.push(Diagnostic::new("the file is refused", None));
        }
        Diagnostics { source, errors }
    }

    /// The mistakes, in the order of the text.
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// The file.
    pub fn source_file(&self) -> &Source {
        &self.source
    }
}

impl std::error::Error for Diagnostics {}

/// Characters of a source line that are shown at most.
const LINE_CHARS_MAX: usize = 120;

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            let offset = error.span.as_ref().map_or(0, |span| span.start);
            let (line, column) = self.source.position(offset);
            let message = printable(&error.message);
            write!(f, "{}:{line}:{column}: error: {message}", self.source.name)?;
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            if let Some(span) = &error.span {
                let (shown, caret) = self.excerpt(span, column);
                write!(f, "\n{margin} |\n{number} | {shown}\n{margin} | {caret}")?;
            }
            if let Some(help) = &error.help {
                write!(f, "\n{margin} = help: {}", printable(help))?;
            }
        }
        Ok(())
    }
}

impl Diagnostics {
    /// The line of a span, as far as it fits, and the carets below it.
    fn excerpt(&self, span: &Range<usize>, column: usize) -> (String, String) {
        let line = self.source.line(span.start);
        let marked = span.start..span.end.clamp(span.start, line.end.max(span.start));
        let text = self.source.text();
        let width = text
            .get(marked)
            .map_or(1, |marked| marked.chars().count().max(1));
        let before = column - 1;
        // A long line is shown from a little before the span.
        let skipped = if before + width.min(LINE_CHARS_MAX / 2) > LINE_CHARS_MAX {
            before.saturating_sub(LINE_CHARS_MAX / 4)
        } else {
            0
        };
        let shown: String = text
            .get(line)
            .unwrap_or_default()
            .chars()
            .skip(skipped)
            .take(LINE_CHARS_MAX)
            .map(|c| match c {
                '\t' => ' ',
                c if c.is_control() => char::REPLACEMENT_CHARACTER,
                c => c,
            })
            .collect();
        let room = (LINE_CHARS_MAX + skipped).saturating_sub(before).max(1);
        let caret = " ".repeat(before - skipped) + &"^".repeat(width.min(room));
        (shown.trim_end().to_owned(), caret)
    }
}

/// A message without control characters: it may quote the file, and is printed.
fn printable(message: &str) -> String {
    message
        .chars()
        .flat_map(|c| {
            let escape = c.is_control() && c != '\n';
            let escaped = escape.then(|| c.escape_default());
            escaped.into_iter().flatten().chain((!escape).then_some(c))
        })
        .collect()
}

impl miette::Diagnostic for Diagnostics {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self.errors.as_slice() {
            [error] => error
                .help
                .as_ref()
                .map(|help| Box::new(help) as Box<dyn fmt::Display>),
            _ => None,
        }
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        Some(Box::new(self.errors.iter().filter_map(|error| {
            let span = error.span.clone()?;
            Some(miette::LabeledSpan::new_with_span(
                Some(printable(&error.message)),
                span,
            ))
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    #[test]
    fn shows_where() {
        let source = Source::new("a.toml", "one = 1\nzwei = \"é\u{1b}[0m\" # x\n\ttab = 3\n");
        let errors = vec![
            Diagnostic::new("the tab", Some(28..31)),
            Diagnostic::new("bad \u{1b} text", Some(15..23)).with_help("fix it"),
            Diagnostic::new("the file", None),
        ];
        let shown = Diagnostics::new(source, errors);
        expect![[r#"
            a.toml:1:1: error: the file

            a.toml:2:8: error: bad \u{1b} text
              |
            2 | zwei = "é�[0m" # x
              |        ^^^^^^^
              = help: fix it

            a.toml:3:1: error: the tab
              |
            3 |  tab = 3
              | ^^^"#]]
        .assert_eq(&shown.to_string());
    }

    #[test]
    fn long_lines_are_cut() {
        let text = format!("x = \"{}!{}\"", "a".repeat(500), "b".repeat(500));
        let at = text.find('!').unwrap();
        let source = Source::new("a.toml", &text);
        let shown = Diagnostics::new(source, vec![Diagnostic::new("here", Some(at..at + 300))]);
        expect![[r#"
            a.toml:1:506: error: here
              |
            1 | aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
              |                               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]].assert_eq(&shown.to_string());
    }

    proptest! {
        #[test]
        fn any_span_is_shown(text in "(.|\n|\r|\t){0,300}", start in 0usize..400, length in 0usize..400) {
            let source = Source::new("a.toml", &text);
            let shown = Diagnostics::new(source, vec![Diagnostic::new("m", Some(start..start + length))]);
            prop_assert!(shown.to_string().starts_with("a.toml:"));
            prop_assert!(shown.to_string().chars().count() < 400);
        }
    }
}
