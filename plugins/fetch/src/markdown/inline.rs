//! A paragraph: words with white space folded, Markdown's characters escaped, and marks that are
//! written only once there is something between them.

use std::borrow::Cow;

use url::Url;

use portreeve_sdk::text;

/// The longest address of a link that is kept, in bytes; with a longer one only its text is.
const TARGET_BYTES_MAX: usize = 2_000;

/// The longest description of an image, in bytes.
const IMAGE_BYTES_MAX: usize = 300;

/// Marks within each other: bold, italic, struck out, quoted, linked.
const MARKS_MAX: usize = 8;

/// A paragraph as it grows.
#[derive(Default)]
pub(super) struct Inline {
    out: String,
    /// Where the line begins that is being written. Paragraphs may be as long as pages, so that
    /// nobody may look for it at each character.
    line: usize,
    gap: Gap,
    marks: Vec<Mark>,
}

/// What stands between what is written and what comes next.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
enum Gap {
    #[default]
    None,
    Space,
    Line,
}

struct Mark {
    open: &'static str,
    close: Cow<'static, str>,
    written: bool,
}

impl Inline {
    /// How long it is so far, in bytes.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Adds words of the page.
    pub(super) fn text(&mut self, text: &str) {
        let mut rest = text
            .chars()
            .filter(|&c| c.is_whitespace() || text::is_shown(c))
            .peekable();
        while let Some(c) = rest.next() {
            if c.is_whitespace() {
                self.space();
                continue;
            }
            self.start();
            if self.must_escape(c, rest.peek().copied()) {
                self.out.push('\\');
            }
            self.out.push(c);
        }
    }

    /// Parts what comes from what is there.
    pub(super) fn space(&mut self) {
        self.widen(Gap::Space);
    }

    /// Puts what comes on another line.
    pub(super) fn line_break(&mut self) {
        self.widen(Gap::Line);
    }

    /// Adds marks of ours.
    pub(super) fn plain(&mut self, marks: &str) {
        self.start();
        self.out.push_str(marks);
    }

    /// Adds code within the line.
    pub(super) fn code(&mut self, text: &str) {
        let text = text::line(text, usize::MAX);
        if text.is_empty() {
            return;
        }
        let fence = fence(&text, 1);
        let pad = if text.starts_with('`') || text.ends_with('`') {
            " "
        } else {
            ""
        };
        self.plain(&format!("{fence}{pad}{text}{pad}{fence}"));
    }

    /// Names an image.
    pub(super) fn image(&mut self, description: &str) {
        let description = text::line(description, IMAGE_BYTES_MAX);
        if !description.is_empty() {
            self.plain("(image: ");
            self.text(&description);
            self.out.push(')');
        }
    }

    /// Puts what comes between two marks, until [`Inline::close`]; `false` where it stands
    /// between such marks already.
    pub(super) fn open(&mut self, open: &'static str, close: impl Into<Cow<'static, str>>) -> bool {
        let known = self.marks.iter().any(|mark| mark.open == open);
        if known || self.marks.len() >= MARKS_MAX {
            return false;
        }
        self.marks.push(Mark {
            open,
            close: close.into(),
            written: false,
        });
        true
    }

    /// Ends what was opened last.
    pub(super) fn close(&mut self) {
        if let Some(mark) = self.marks.pop().filter(|mark| mark.written) {
            self.out.push_str(&mark.close);
        }
    }

    /// Takes the paragraph and begins a new one, in which what is open stays open.
    pub(super) fn take(&mut self) -> String {
        for mark in self.marks.iter_mut().rev() {
            if std::mem::take(&mut mark.written) {
                self.out.push_str(&mark.close);
            }
        }
        self.gap = Gap::None;
        self.line = 0;
        std::mem::take(&mut self.out)
    }

    fn widen(&mut self, gap: Gap) {
        if !self.out.is_empty() && gap > self.gap {
            self.gap = gap;
        }
    }

    /// Writes what waits for something to follow it.
    fn start(&mut self) {
        match std::mem::take(&mut self.gap) {
            Gap::None => {}
            Gap::Space => self.out.push(' '),
            Gap::Line => {
                self.out.push_str("\\\n");
                self.line = self.out.len();
            }
        }
        for mark in self.marks.iter_mut().filter(|mark| !mark.written) {
            // A `!` before a link would make it an image.
            if mark.open == "[" && self.out.ends_with('!') {
                self.out.pop();
                self.out.push_str("\\!");
            }
            self.out.push_str(mark.open);
            mark.written = true;
        }
    }

    /// Whether Markdown would read a character as a mark here.
    fn must_escape(&self, c: char, next: Option<char>) -> bool {
        let line = self.out.get(self.line..).unwrap_or_default();
        let before = line.chars().next_back();
        let ends = next.is_none_or(char::is_whitespace);
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        match c {
            '\\' | '`' | '*' | '[' | ']' | '<' => true,
            '_' => !(is_word(before) && is_word(next)),
            '&' => ends || next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '#'),
            '~' => next.is_none_or(|c| c == '~') || before == Some('~'),
            '>' => line.is_empty(),
            '#' | '-' | '+' | '=' => line.is_empty() && (ends || next == Some(c)),
            // `1.` would begin a list.
            '.' | ')' => {
                ends && (1..=9).contains(&line.len()) && line.bytes().all(|b| b.is_ascii_digit())
            }
            _ => false,
        }
    }
}

/// Backticks, at least so many, and more than stand in a row in a text.
pub(super) fn fence(text: &str, least: usize) -> String {
    let longest = text
        .split(|c| c != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    "`".repeat(least.max(longest + 1))
}

/// The address of a link, such that it ends where it shall; `None` where it leads nowhere that
/// can be fetched or written to.
pub(super) fn target(base: &Url, href: &str) -> Option<String> {
    let href = href.trim();
    if href.starts_with('#') || href.len() > TARGET_BYTES_MAX {
        return None;
    }
    let url = base.join(href).ok()?;
    let known = matches!(url.scheme(), "http" | "https" | "mailto");
    let personal = !url.username().is_empty() || url.password().is_some();
    if !known || personal || url.as_str().len() > TARGET_BYTES_MAX {
        return None;
    }
    let mut target = String::with_capacity(url.as_str().len());
    for c in url.as_str().chars() {
        match c {
            '(' => target.push_str("%28"),
            ')' => target.push_str("%29"),
            '<' => target.push_str("%3C"),
            '>' => target.push_str("%3E"),
            '\\' => target.push_str("%5C"),
            c if c.is_ascii_graphic() => target.push(c),
            _ => return None,
        }
    }
    Some(target)
}
