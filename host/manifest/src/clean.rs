//! Text of strangers that people and models read: what could deceive them is taken out.
//!
//! The one place that says which characters those are. Beside them letters stay as they are,
//! those that are written from right to left too: their order is their own.

use std::borrow::Cow;

/// Marks on top of one letter that are left; more would cover the lines above.
const MARKS_MAX: usize = 4;

/// Whether a character could move the cursor, change colours, show text in another order than
/// it has, or be there unseen.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Fillers that look like nothing.
            '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}'
            // Marks and overrides of direction, and ends of lines and paragraphs.
            | '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}'
            // Notes between lines, variants and tags, in which text can be smuggled.
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            // Everybody's own.
            | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}'
        )
}

/// Whether it is drawn on top of the letter before it.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0489}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{fe20}'..='\u{fe2f}' | '\u{200c}' | '\u{200d}'
    )
}

/// The same text without hostile characters; its lines and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    let seen = |c: &char| matches!(c, '\n' | '\t') || !is_hostile(*c);
    match text.chars().all(|c| seen(&c)) {
        true => text.into(),
        false => text.chars().filter(seen).collect(),
    }
}

/// One line of `chars_max` characters at most: hostile characters are gone, spaces are single,
/// and an ellipsis stands for what was cut.
pub fn line(text: &str, chars_max: usize) -> String {
    cleaned(text, chars_max, false)
}

/// The same with its ends of lines, of which no more than two follow each other.
pub fn lines(text: &str, chars_max: usize) -> String {
    cleaned(text, chars_max, true)
}

fn cleaned(text: &str, chars_max: usize, lines: bool) -> String {
    let mut clean = String::new();
    // What stands between two words, written when the second one comes.
    let (mut room, mut spaces, mut ends, mut marks) = (chars_max, false, 0_usize, 0_usize);
    for c in text.chars() {
        if c == '\n' && lines {
            ends = ends.saturating_add(1).min(2);
            continue;
        }
        if c.is_whitespace() {
            spaces = true;
            continue;
        }
        if is_hostile(c) {
            continue;
        }
        marks = if is_mark(c) {
            marks.saturating_add(1)
        } else {
            0
        };
        if marks > MARKS_MAX || (marks > 0 && (clean.is_empty() || spaces || ends > 0)) {
            continue;
        }
        let between = if clean.is_empty() {
            ""
        } else {
            match (ends, spaces) {
                (0, false) => "",
                (0, true) => " ",
                (1, _) => "\n",
                _ => "\n\n",
            }
        };
        (spaces, ends) = (false, 0);
        let wanted = between.len().saturating_add(1);
        if wanted > room {
            // The ellipsis takes the last one's place.
            if room == 0 {
                clean.pop();
            }
            if chars_max > 0 {
                clean.push('…');
            }
            return clean;
        }
        room = room.saturating_sub(wanted);
        clean.push_str(between);
        clean.push(c);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_deceives_is_taken_out() {
        for (text, expected) in [
            ("plain é 漢 🦀 שלום", "plain é 漢 🦀 שלום"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}gone", "[2J]0;titlegone"),
            ("\u{9b}31mred\u{90}x\u{9c}", "31mredx"),
            ("evil\u{202e}gnp.exe", "evilgnp.exe"),
            ("\u{2066}a\u{2069}\u{200f}b\u{061c}", "ab"),
            ("a\u{200b}b\u{feff}c\u{e0041}d\u{2060}e\u{3164}f", "abcdef"),
            ("  a \r\n\t b\u{2028}c  ", "a b c"),
            (
                "Z\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}",
                "Z\u{300}\u{301}\u{302}\u{303}",
            ),
            ("\u{301}a", "a"),
            ("👩\u{200d}🔬", "👩\u{200d}🔬"),
            ("\u{e000}\u{10fffd}", ""),
        ] {
            assert_eq!(line(text, 100), expected, "{text:?}");
        }
        assert_eq!(lines("a\n\n\n\nb\n c\r\nd\n", 100), "a\n\nb\nc\nd");
    }

    #[test]
    fn what_is_too_long_is_cut() {
        for (text, expected) in [
            ("abc", "abc"),
            ("abcd", "ab…"),
            ("ab cd", "ab…"),
            ("a b", "a b"),
            ("ab   ", "ab"),
        ] {
            assert_eq!(line(text, 3), expected, "{text:?}");
        }
        assert_eq!(line("abc", 0), "");
    }

    proptest! {
        #[test]
        fn no_text_deceives(text in "\\PC*|(?s).*", max in 0_usize..60) {
            for (clean, ends) in [(line(&text, max), false), (lines(&text, max), true)] {
                prop_assert!(clean.chars().count() <= max, "{clean:?}");
                prop_assert!(
                    !clean.chars().any(|c| is_hostile(c) && !(ends && c == '\n')),
                    "{clean:?}"
                );
                prop_assert!(!clean.contains("\n\n\n") && !clean.contains("  "));
                prop_assert_eq!(clean.trim(), &clean);
                // Done twice is done once.
                let again = if ends { lines(&clean, max) } else { line(&clean, max) };
                prop_assert_eq!(again, clean);
            }
        }
    }
}
