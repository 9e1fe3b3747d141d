//! One note: what it has, and what it may have.

use portreeve_sdk::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest text, in bytes: a note, no book.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// The longest title, in characters.
const TITLE_CHARS_MAX: usize = 200;

/// Characters of a title that is made of a text.
const TITLE_CHARS: usize = 60;

/// The number of a note; none is ever given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u64);

/// What all keys of notes begin with.
pub(crate) const KEYS: &str = "note/";

/// What all addresses of notes begin with.
const URIS: &str = "note://";

impl Number {
    /// The key under which it is kept: keys are in the order of their bytes, so that each has
    /// as many digits as the largest.
    pub(crate) fn key(self) -> String {
        format!("{KEYS}{:020}", self.0)
    }

    pub(crate) fn of_key(key: &str) -> Option<Number> {
        key.strip_prefix(KEYS)?.parse().ok().map(Number)
    }

    /// The address of the resource.
    pub(crate) fn uri(self) -> String {
        format!("{URIS}{}", self.0)
    }

    pub(crate) fn of_uri(uri: &str) -> Option<Number> {
        let number = Number(uri.strip_prefix(URIS)?.parse().ok()?);
        // One note has one address.
        (number.uri() == uri).then_some(number)
    }
}

/// A note as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Note {
    /// What it is called.
    pub(crate) title: String,
    /// What it says.
    pub(crate) text: String,
    /// How often it was changed, and one.
    pub(crate) revision: u64,
}

/// A note with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Kept {
    /// Its number.
    pub(crate) number: u64,
    #[serde(flatten)]
    pub(crate) note: Note,
}

/// A note without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Entry {
    /// Its number.
    pub(crate) number: u64,
    /// What it is called.
    pub(crate) title: String,
    /// How often it was changed, and one.
    pub(crate) revision: u64,
}

impl Entry {
    pub(crate) fn of(number: Number, note: Note) -> Entry {
        Entry {
            number: number.0,
            title: note.title,
            revision: note.revision,
        }
    }
}

impl Note {
    /// A new one.
    pub(crate) fn new(title: Option<String>, text: String) -> Result<Note, Error> {
        let title = title.unwrap_or_else(|| first_line(&text));
        let note = Note {
            title,
            text,
            revision: 1,
        };
        note.check()
    }

    /// It, changed.
    pub(crate) fn with(self, title: Option<String>, text: Option<String>) -> Result<Note, Error> {
        let note = Note {
            title: title.unwrap_or(self.title),
            text: text.unwrap_or(self.text),
            revision: self.revision.saturating_add(1),
        };
        note.check()
    }

    fn check(self) -> Result<Note, Error> {
        let chars = self.title.chars().count();
        if chars > TITLE_CHARS_MAX || self.title.chars().any(char::is_control) {
            return Err(Error::invalid_argument(format_args!(
                "a title has at most {TITLE_CHARS_MAX} characters and one line; this one has {chars} characters"
            )));
        }
        if self.text.len() > TEXT_BYTES_MAX {
            return Err(Error::invalid_argument(format_args!(
                "a note has at most {TEXT_BYTES_MAX} bytes, but this one has {}; make several of it",
                self.text.len()
            )));
        }
        if self.title.trim().is_empty() && self.text.trim().is_empty() {
            return Err(Error::invalid_argument("a note says something"));
        }
        Ok(self)
    }

    /// Whether it has all of these words, which are in small letters.
    pub(crate) fn has(&self, words: &[String]) -> bool {
        let text = format!("{}\n{}", self.title, self.text).to_lowercase();
        words.iter().all(|word| text.contains(word))
    }
}

/// The beginning of the first line that says something.
fn first_line(text: &str) -> String {
    let mut lines = text.lines().map(|line| line.trim_start_matches('#').trim());
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let mut title: String = line
        .chars()
        .filter(|c| !c.is_control())
        .take(TITLE_CHARS)
        .collect();
    if title.len() < line.len() {
        title.push('…');
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_made_of_first_lines() {
        for (text, title) in [
            ("milk", "milk"),
            ("\n\n# Shopping\nmilk", "Shopping"),
            ("a\tb", "ab"),
        ] {
            assert!(
                Note::new(None, text.to_owned())
                    .unwrap()
                    .title
                    .starts_with(title)
            );
        }
        let long = Note::new(None, "ä".repeat(100)).unwrap();
        assert_eq!(long.title.chars().count(), TITLE_CHARS + 1);
    }

    #[test]
    fn notes_are_bounded() {
        let new = |title: &str, text: &str| Note::new(Some(title.into()), text.into());
        assert!(new("a", "").is_ok());
        assert!(new("", "a").is_ok());
        for (title, text) in [
            (" ", "\n"),
            ("a\nb", "c"),
            (&*"t".repeat(201), "a"),
            ("a", &*"t".repeat((64 << 10) + 1)),
        ] {
            assert!(new(title, text).is_err(), "{title:.9} {text:.9}");
        }
    }

    #[test]
    fn a_change_makes_another_revision() {
        let note = Note::new(None, "milk".into()).unwrap();
        let changed = note.clone().with(None, Some("bread".into())).unwrap();
        assert_eq!((changed.title.as_str(), changed.revision), ("milk", 2));
        assert!(note.has(&["mil".into()]));
        assert!(changed.has(&["bread".into(), "milk".into()]));
        assert!(!changed.has(&["bread".into(), "butter".into()]));
    }

    #[test]
    fn numbers_have_one_key_and_one_address() {
        for number in [0, 7, u64::MAX] {
            let number = Number(number);
            assert_eq!(Number::of_key(&number.key()), Some(number));
            assert_eq!(Number::of_uri(&number.uri()), Some(number));
        }
        assert!(Number(9).key() < Number(10).key());
        for other in [
            "note://07",
            "note://+7",
            "note://",
            "other://7",
            "note://7/",
        ] {
            assert_eq!(Number::of_uri(other), None, "{other}");
        }
    }
}
