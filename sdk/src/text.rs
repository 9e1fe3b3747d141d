//! Texts from strangers, as a plugin hands them on: a page, an issue, a mail. What nobody would
//! see in them is taken out, so that a person and a model read the same.
//!
//! It makes no text trustworthy: say in the tool's description that it is data, not instructions.
//!
//! ```
//! use portreeve_sdk::text;
//!
//! assert_eq!(text::lines("ig\u{200b}nore\r\nthis\u{7}"), "ignore\nthis");
//! assert_eq!(text::line("A  title\n in two lines", 10), "A title in…");
//! ```

/// Whether a character is kept as it is.
///
/// Left out: control characters but tab and line feed; marks that turn the direction of text
/// (the "Trojan Source" attacks, CVE-2021-42574); characters without a width, with which words
/// are hidden from a reader or split for a filter; tags and variation selectors beyond the first
/// 16, which carry whole texts unseen. The joiners U+200C and U+200D stay: scripts and emoji
/// need them.
#[must_use]
pub fn is_shown(c: char) -> bool {
    match c {
        '\t' | '\n' => true,
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        c => !c.is_control(),
    }
}

/// A text of several lines without what isn't shown; all line ends become `\n`.
#[must_use]
pub fn lines(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\r' => {
                rest.next_if_eq(&'\n');
                clean.push('\n');
            }
            // Separators of lines and paragraphs, which look like line ends.
            '\u{85}' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            c if is_shown(c) => clean.push(c),
            _ => {}
        }
    }
    clean
}

/// A text of one line: without what isn't shown, white space folded, at most `bytes_max` long;
/// where it is cut, `…` follows.
#[must_use]
pub fn line(text: &str, bytes_max: usize) -> String {
    let mut clean = String::new();
    for word in text.split_whitespace() {
        let start = clean.len();
        if start > 0 {
            clean.push(' ');
        }
        clean.extend(word.chars().filter(|&c| is_shown(c)));
        if clean.len() == start + 1 && start > 0 {
            clean.truncate(start);
        }
        if clean.len() > bytes_max {
            clean.truncate(clean.floor_char_boundary(bytes_max));
            clean.push('…');
            break;
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nobody_sees_is_left_out() {
        for (before, after) in [
            ("a\r\nb\rc\u{2028}d\te", "a\nb\nc\nd\te"),
            ("\u{1b}[31mred\u{7}", "[31mred"),
            ("user\u{202e}nimda\u{202c}", "usernimda"),
            ("ig\u{200b}no\u{2060}re\u{ad}", "ignore"),
            ("x\u{e0041}\u{e0042}\u{e0100}y", "xy"),
            (
                "نمی\u{200c}خواهم 👩\u{200d}🚀\u{fe0f}",
                "نمی\u{200c}خواهم 👩\u{200d}🚀\u{fe0f}",
            ),
        ] {
            assert_eq!(lines(before), after);
        }
    }

    #[test]
    fn a_line_is_one_line_and_short() {
        assert_eq!(line(" a \n\t b \u{200b} c ", 99), "a b c");
        assert_eq!(line("ééé", 3), "é…");
        assert_eq!(line("\u{200b} a", 99), "a");
    }

    proptest! {
        #[test]
        fn nothing_unseen_comes_through(input in any::<String>(), bytes_max in 0usize..50) {
            prop_assert!(lines(&input).chars().all(is_shown));
            let line = line(&input, bytes_max);
            prop_assert!(line.chars().all(|c| is_shown(c) && c != '\n' && c != '\t'));
            prop_assert!(line.len() <= bytes_max + '…'.len_utf8());
        }
    }
}
