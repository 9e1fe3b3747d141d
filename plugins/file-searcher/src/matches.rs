//! Lines that have something in them.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use portreeve_sdk::{Error, context, files, text};
use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Serialize;

use crate::tree::{Entry, Walk, shown};

/// Longest text or expression, in bytes.
const PATTERN_BYTES_MAX: usize = 1_000;

/// Bytes that a compiled expression may have: a few hundred times what people write.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Bytes of all files that one search reads.
const READ_BYTES_MAX: u64 = 256 << 20;

/// Bytes of a line that are looked at.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Characters of a line that are shown.
const SHOWN_CHARS_MAX: usize = 300;

/// Bytes at the beginning of a file by which it is told whether it is text.
const BEGINNING_BYTES: usize = 1_024;

/// Fuel below which no further file is begun, so that the answer can still be given.
const FUEL_LEFT_MIN: u64 = 500_000_000;

/// What a search found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Found {
    /// The lines, by file and place.
    matches: Vec<Match>,
    /// Files that were searched.
    files: u64,
    /// Files that could not be read.
    unreadable: u64,
    /// Whether everything was searched; otherwise begin with a `path` below.
    complete: bool,
}

/// One line.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Match {
    /// The file.
    path: String,
    /// The line, counted from 1.
    line: u64,
    /// What stands there; a long line is cut around the match.
    text: String,
}

/// What is searched for.
pub(crate) struct Search {
    pattern: Regex,
    ending: Option<String>,
    limit: usize,
}

impl Search {
    pub(crate) fn new(
        text: &str,
        is_regex: bool,
        case_sensitive: bool,
        ending: Option<String>,
        limit: usize,
    ) -> Result<Search, Error> {
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            return Err(Error::invalid_argument(format_args!(
                "`text` has {} bytes, but must have 1 to {PATTERN_BYTES_MAX}",
                text.len()
            ))
            .reason("text-length"));
        }
        let pattern = if is_regex {
            text.to_owned()
        } else {
            regex::escape(text)
        };
        let pattern = RegexBuilder::new(&pattern)
            .case_insensitive(!case_sensitive)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| {
                Error::invalid_argument(format_args!("`text` can't be searched for: {error}"))
                    .reason("regex")
            })?;
        Ok(Search {
            pattern,
            ending,
            limit,
        })
    }

    pub(crate) fn run(&self, path: &Path) -> Result<Found, Error> {
        let mut walk = Walk::new(path, true)?;
        let mut found = Found {
            matches: Vec::new(),
            files: 0,
            unreadable: 0,
            complete: true,
        };
        let mut left = READ_BYTES_MAX;
        for entry in walk.by_ref().filter(|entry| self.wants(entry)) {
            if found.matches.len() >= self.limit
                || left == 0
                || context::fuel_left() < FUEL_LEFT_MIN
                || context::is_cancelled()
            {
                found.complete = false;
                break;
            }
            match self.file(&entry.path, &mut left, &mut found) {
                Ok(()) => found.files += 1,
                // One that was named is the caller's business.
                Err(error) if entry.path == path => return Err(files::failed(path, &error)),
                Err(_) => found.unreadable += 1,
            }
        }
        found.complete &= !walk.is_cut;
        Ok(found)
    }

    fn wants(&self, entry: &Entry) -> bool {
        let name = entry.path.file_name().unwrap_or_default();
        let ends = |ending: &String| name.as_encoded_bytes().ends_with(ending.as_bytes());
        !entry.is_dir && self.ending.as_ref().is_none_or(ends)
    }

    fn file(&self, path: &Path, left: &mut u64, found: &mut Found) -> std::io::Result<()> {
        let mut reader = BufReader::with_capacity(64 << 10, File::open(path)?);
        let beginning = reader.fill_buf()?;
        let beginning = beginning.get(..BEGINNING_BYTES).unwrap_or(beginning);
        if beginning.contains(&0) {
            return Ok(());
        }
        let mut line = Vec::new();
        let mut number = 0_u64;
        loop {
            line.clear();
            let most = LINE_BYTES_MAX.min(*left);
            let read = reader.by_ref().take(most).read_until(b'\n', &mut line)?;
            *left = left.saturating_sub(read as u64);
            if read == 0 {
                found.complete &= *left > 0;
                return Ok(());
            }
            number = number.saturating_add(1);
            let is_cut = line.last() != Some(&b'\n');
            let shown_line = line.trim_ascii_end();
            if let Some(place) = self.pattern.find(shown_line) {
                if found.matches.len() >= self.limit {
                    found.complete = false;
                    return Ok(());
                }
                found.matches.push(Match {
                    path: shown(path),
                    line: number,
                    text: around(shown_line, place.start()),
                });
            }
            if is_cut {
                // The rest of a line that is too long.
                let rest = reader.by_ref().take(*left).skip_until(b'\n')?;
                *left = left.saturating_sub(rest as u64);
            }
        }
    }
}

/// A line, or what of a long one stands around a place in it.
fn around(line: &[u8], place: usize) -> String {
    let before = place.saturating_sub(SHOWN_CHARS_MAX / 3);
    let (start, cut) = match before {
        0 => (0, ""),
        _ => (before, "…"),
    };
    let text = String::from_utf8_lossy(line.get(start..).unwrap_or_default());
    let end = text.char_indices().nth(SHOWN_CHARS_MAX);
    let (text, more) = match end {
        Some((end, _)) => (text.get(..end).unwrap_or_default(), "…"),
        None => (&*text, ""),
    };
    format!("{cut}{}{more}", text::line(text, usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn files() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("sub")).unwrap();
        for (name, text) in [
            ("a.md", "Grace\nAda (lovelace)\n\nada again"),
            ("b.txt", "nothing"),
            ("sub/c.md", "x Ada"),
            ("binary", "Ada\0"),
        ] {
            fs::write(root.path().join(name), text).unwrap();
        }
        root
    }

    fn lines(root: &Path, search: &Search) -> (Vec<(String, u64)>, bool) {
        let found = search.run(root).unwrap();
        let root = root.display().to_string();
        let name = |path: &str| {
            path.trim_start_matches(&root)
                .trim_start_matches('/')
                .to_owned()
        };
        let lines = found.matches.iter();
        let lines = lines.map(|line| (name(&line.path), line.line));
        (lines.collect(), found.complete)
    }

    #[test]
    fn lines_are_found_as_they_are_asked_for() {
        let root = files();
        for (text, is_regex, case_sensitive, ending, limit, expected, complete) in [
            (
                "ada",
                false,
                false,
                None,
                9,
                &[("a.md", 2), ("a.md", 4), ("sub/c.md", 1)][..],
                true,
            ),
            ("ada", false, true, None, 9, &[("a.md", 4)], true),
            ("Ada (", false, true, None, 9, &[("a.md", 2)], true),
            (
                "^x? ?Ada",
                true,
                true,
                None,
                9,
                &[("a.md", 2), ("sub/c.md", 1)],
                true,
            ),
            ("ada", false, false, Some(".txt"), 9, &[], true),
            ("ada", false, false, None, 1, &[("a.md", 2)], false),
        ] {
            let ending = ending.map(str::to_owned);
            let search = Search::new(text, is_regex, case_sensitive, ending, limit).unwrap();
            let (lines, whole) = lines(root.path(), &search);
            let expected: Vec<_> = expected
                .iter()
                .map(|(a, b)| ((*a).to_owned(), *b))
                .collect();
            assert_eq!((lines, whole), (expected, complete), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_searched_for_is_refused() {
        for (text, is_regex) in [("", false), ("(", true), ("(a{1000}){1000}", true)] {
            assert!(
                Search::new(text, is_regex, false, None, 1).is_err(),
                "{text}"
            );
        }
        let long = "x".repeat(PATTERN_BYTES_MAX + 1);
        assert!(Search::new(&long, false, false, None, 1).is_err());
    }

    #[test]
    fn long_lines_are_cut_around_the_match() {
        let root = tempfile::tempdir().unwrap();
        let long = "é".repeat(500) + " Ada " + &"x".repeat(100_000) + "\nAda";
        fs::write(root.path().join("long"), long).unwrap();
        let search = Search::new("ada", false, false, None, 9).unwrap();
        let found = search.run(root.path()).unwrap();
        assert_eq!(found.matches.len(), 2);
        let first = &found.matches[0].text;
        assert!(first.contains("Ada") && first.starts_with('…') && first.ends_with('…'));
        assert!(first.chars().count() <= SHOWN_CHARS_MAX + 2);
        assert_eq!(found.matches[1].line, 2);
    }
}
