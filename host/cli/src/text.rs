//! Text of plugins on a terminal: what it could do to the terminal is taken out.

use std::fmt;

use portreeve_manifest::clean::is_hostile;

/// Several lines as they are, but for hostile characters, which are shown as `\u{1b}`.
pub(crate) fn lines(text: &str) -> Clean<'_> {
    Clean { text, lines: true }
}

/// One line: line ends are shown as well.
pub(crate) fn line(text: &str) -> Clean<'_> {
    Clean { text, lines: false }
}

/// Shows a text without its hostile characters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clean<'a> {
    text: &'a str,
    lines: bool,
}

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.text.chars() {
            if is_hostile(c) && !(self.lines && matches!(c, '\n' | '\t')) {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// The text with each hostile character replaced by as many `?` as it has bytes, so that
/// places in it stay what they were.
pub(crate) fn blank(text: &str) -> String {
    let mut blank = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) && !matches!(c, '\n' | '\t') {
            blank.extend(std::iter::repeat_n('?', c.len_utf8()));
        } else {
            blank.push(c);
        }
    }
    blank
}

/// JSON as it is, but for hostile characters, which stand only within its strings and become
/// escapes there.
pub(crate) fn json(text: &str) -> String {
    use fmt::Write as _;
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        // Line ends stand between values; `serde_json` escapes those within strings.
        if is_hostile(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(clean, "\\u{unit:04x}");
            }
        } else {
            clean.push(c);
        }
    }
    clean
}

/// The first paragraph of a text on one line, and no more than `chars_max` of it.
pub(crate) fn summary(text: &str, chars_max: usize) -> String {
    let words = text
        .trim()
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .flat_map(str::split_whitespace);
    let mut summary = String::new();
    let mut room = chars_max;
    for word in words {
        let chars = word.chars().count() + usize::from(!summary.is_empty());
        if chars > room {
            summary.push('…');
            break;
        }
        if !summary.is_empty() {
            summary.push(' ');
        }
        summary.push_str(word);
        room -= chars;
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_are_shown() {
        for (text, expected) in [
            ("plain é 漢", "plain é 漢"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\u{9b}31m", "a\\u{9b}31m"),
            ("a\rb\u{7}\u{7f}", "a\\rb\\u{7}\\u{7f}"),
            ("x\u{202e}gnp", "x\\u{202e}gnp"),
            ("one\ntwo\tthree", "one\ntwo\tthree"),
        ] {
            assert_eq!(lines(text).to_string(), expected);
        }
        assert_eq!(line("one\ntwo").to_string(), "one\\ntwo");
    }

    #[test]
    fn blanks_keep_places() {
        let text = "a\u{1b}é\u{202e}b\n";
        assert_eq!(blank(text), "a?é???b\n");
        assert_eq!(blank(text).len(), text.len());
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"a\u{9b}": "\u{1b}\u{202e}\u{e0041}\u{7f}é\n"});
        let text = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(|c| is_hostile(c) && c != '\n'), "{text}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }

    #[test]
    fn summaries() {
        for (text, expected) in [
            ("\n one\ntwo\n\nthree", "one two"),
            ("one two", "one two"),
            ("one two three", "one two…"),
            ("ééééééééé", "…"),
            ("", ""),
        ] {
            assert_eq!(summary(text, 8), expected);
        }
    }
}
