//! Characters that people don't see, and letters that look like others.

use portreeve_manifest::clean::is_hostile;
use unicode_security::{MixedScript as _, skeleton};

/// Hidden characters that are named.
const NAMED_MAX: usize = 8;

/// Letters that a word has at least: two of different alphabets are a formula.
const WORD_CHARS_MIN: usize = 3;

/// Tags of a flag: up to six letters, and their end.
const FLAG_TAGS_MAX: u32 = 7;

/// What is hidden in a text.
pub(super) struct Hidden {
    /// Where it begins, in bytes.
    pub(super) at: usize,
    pub(super) what: String,
}

/// The characters of a text that people don't see: marks of direction, fillers, tags and
/// variants in which text can be smuggled, control characters.
pub(super) fn hidden(text: &str) -> Option<Hidden> {
    let rtl = text.chars().any(is_right_to_left);
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let mut found = Vec::new();
    // How many tags may follow: a flag of a country's part is a black flag with some.
    let mut tags = 0_u32;
    for (number, (at, c)) in chars.iter().enumerate() {
        tags = match c {
            '\u{1f3f4}' => FLAG_TAGS_MAX,
            '\u{e0020}'..='\u{e007f}' if tags > 0 => {
                tags -= 1;
                continue;
            }
            _ => 0,
        };
        let neighbour = |offset: isize| {
            let number = number.checked_add_signed(offset)?;
            chars.get(number).map(|(_, c)| *c)
        };
        if is_hidden(*c, neighbour(-1), neighbour(1), rtl) {
            found.push((*at, *c));
        }
    }
    let (at, _) = *found.first()?;
    let smuggled: String = found.iter().filter_map(|(_, c)| smuggled(*c)).collect();
    let what = if smuggled.len() > 1 {
        format!("hidden characters that spell `{smuggled}`")
    } else {
        let mut names: Vec<String> = found
            .iter()
            .map(|(_, c)| format!("U+{:04X}", u32::from(*c)))
            .collect();
        names.dedup();
        let more = names.len().saturating_sub(NAMED_MAX);
        names.truncate(NAMED_MAX);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("hidden characters: {}{more}", names.join(", "))
    };
    Some(Hidden { at, what })
}

fn is_hidden(c: char, before: Option<char>, after: Option<char>, rtl: bool) -> bool {
    match c {
        '\n' | '\t' | '\r' => false,
        // Marks of direction belong to texts that are written from right to left.
        '\u{061c}' | '\u{200e}' | '\u{200f}' if rtl => false,
        // Everybody's own characters are seen, as icons or boxes.
        '\u{e000}'..='\u{f8ff}' => false,
        // Joiners hold emoji together, and letters of scripts that are not Latin's.
        '\u{200c}' | '\u{200d}' => {
            let joined = |c: char| !c.is_ascii() && !is_hostile(c);
            !(before.is_some_and(joined) && after.is_some_and(joined))
        }
        // One after a character chooses how that is drawn; several say something else.
        '\u{fe00}'..='\u{fe0f}' => before.is_none_or(is_variant),
        c => is_hostile(c),
    }
}

fn is_variant(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// The character that a tag or a variant stands for, as those who smuggle text write it.
fn smuggled(c: char) -> Option<char> {
    let byte = match c {
        '\u{e0020}'..='\u{e007e}' => u32::from(c) - 0xe0000,
        '\u{e0100}'..='\u{e01ef}' => u32::from(c) - 0xe0100 + 16,
        _ => return None,
    };
    let c = char::from_u32(byte)?;
    (c.is_ascii_graphic() || c == ' ').then_some(c)
}

/// Hebrew, Arabic and the scripts beside them.
fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{0590}'..='\u{08ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
        && c.is_alphabetic()
}

/// The first word that mixes alphabets so that it reads as one of another: `pаypal` with a
/// Cyrillic `а`.
pub(super) fn confusable(text: &str) -> Option<(usize, String)> {
    if text.is_ascii() {
        return None;
    }
    let start = text.as_ptr() as usize;
    let words = text.split(|c: char| !c.is_alphanumeric());
    for word in words {
        let ascii = word.chars().filter(char::is_ascii).count();
        let all = word.chars().count();
        if all < WORD_CHARS_MIN || ascii == 0 || ascii == all || word.is_single_script() {
            continue;
        }
        let reads: String = skeleton(word).collect();
        if reads.is_ascii() {
            let others: Vec<String> = word
                .chars()
                .filter(|c| !c.is_ascii())
                .map(|c| format!("U+{:04X}", u32::from(c)))
                .collect();
            let at = word.as_ptr() as usize - start;
            return Some((
                at,
                format!("`{word}` reads as `{reads}`, with {}", others.join(", ")),
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden() {
        for (text, expected) in [
            ("plain\ntext\twith é, 漢, 🎉", None),
            ("a\u{202e}b", Some((1, "U+202E"))),
            ("a\u{200b}b", Some((1, "U+200B"))),
            ("\u{feff}a", Some((0, "U+FEFF"))),
            ("a\u{1b}[2J", Some((1, "U+001B"))),
            // Tags that say `run`.
            ("ok\u{e0072}\u{e0075}\u{e006e}", Some((2, "spell `run"))),
            // Variants that say `hi`.
            ("x\u{e0158}\u{e0159}", Some((1, "spell `hi"))),
            ("❤\u{fe0f} and 1\u{fe0f}\u{20e3}", None),
            ("x\u{fe0f}\u{fe0e}", Some((4, "U+FE0E"))),
            ("👩\u{200d}🔬", None),
            ("ja\u{200d}va", Some((2, "U+200D"))),
            ("\u{0645}\u{06cc}\u{200c}\u{062e}\u{0648}", None),
            ("שלום\u{200f}!", None),
            ("hello\u{200f}!", Some((5, "U+200F"))),
            (
                "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
                None,
            ),
            (
                "🏴\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0062}\u{e0063}",
                Some((32, "spell `bc`")),
            ),
            ("\u{e0b0} an icon", None),
        ] {
            let found = hidden(text);
            match (&found, expected) {
                (None, None) => {}
                (Some(found), Some((at, what))) => {
                    assert_eq!(found.at, at, "{text:?}");
                    assert!(found.what.contains(what), "{text:?}: {}", found.what);
                }
                _ => panic!("{text:?}: {:?}", found.map(|found| found.what)),
            }
        }
    }

    #[test]
    fn what_looks_like_something_else() {
        for (text, expected) in [
            ("paypal", None),
            ("see p\u{0430}ypal", Some((4, "paypal"))),
            ("\u{0440}\u{0430}\u{0443}", None),
            ("Привет", None),
            ("PDFファイル", None),
            ("5 µs, 3 kΩ, Δx, α-helix", None),
            ("naïve café", None),
            ("g\u{03bf}\u{03bf}gle", Some((0, "google"))),
        ] {
            let found = confusable(text);
            let found = found.as_ref().map(|(at, what)| (*at, what.as_str()));
            match (found, expected) {
                (None, None) => {}
                (Some((at, what)), Some((place, reads))) => {
                    assert_eq!(at, place, "{text}");
                    assert!(what.contains(reads), "{what}");
                }
                _ => panic!("{text}: {found:?}"),
            }
        }
    }
}
