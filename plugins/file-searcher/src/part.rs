//! A part of a file.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use portreeve_sdk::{Error, files, text};
use schemars::JsonSchema;
use serde::Serialize;

use crate::tree::shown;

/// Bytes of text in one answer.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a file that are read at most, to come to a line.
const READ_BYTES_MAX: u64 = 64 << 20;

/// A part of a file.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Part {
    /// The file.
    path: String,
    /// Its lines.
    text: String,
    /// The first of them, counted from 1.
    from: u64,
    /// The line to go on from; none at the end of the file.
    next: Option<u64>,
}

pub(crate) fn lines(path: &Path, from: u64, count: u32) -> Result<Part, Error> {
    let failed = |error: &_| files::failed(path, error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut reader = BufReader::with_capacity(64 << 10, file.take(READ_BYTES_MAX));
    let mut read = Vec::new();
    let mut line = Vec::new();
    let mut number = 1_u64;
    let end = from.saturating_add(count.into());
    let next = loop {
        line.clear();
        let room = TEXT_BYTES_MAX.saturating_sub(read.len()).saturating_add(1) as u64;
        let got = reader.by_ref().take(room).read_until(b'\n', &mut line);
        if got.map_err(|error| failed(&error))? == 0 {
            break None;
        }
        if line.contains(&0) {
            return Err(Error::invalid_argument(format_args!(
                "{} is no text: it has bytes of zero",
                shown(path)
            ))
            .reason("no-text"));
        }
        if number >= end {
            break Some(number);
        }
        let is_whole = line.ends_with(b"\n");
        if number >= from {
            if read.len().saturating_add(line.len()) > TEXT_BYTES_MAX {
                if !read.is_empty() {
                    break Some(number);
                }
                // A line that is too long is cut: it could not be asked for otherwise.
                line.truncate(TEXT_BYTES_MAX);
                read.append(&mut line);
                break Some(number.saturating_add(1));
            }
            read.append(&mut line);
        }
        if is_whole {
            number = number.saturating_add(1);
        }
    };
    Ok(Part {
        path: shown(path),
        text: text::lines(&String::from_utf8_lossy(&read)),
        from,
        next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &[u8], from: u64, count: u32) -> Result<(String, Option<u64>), Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        lines(file.path(), from, count).map(|part| (part.text, part.next))
    }

    #[test]
    fn parts_follow_each_other() {
        let text = b"one\ntwo\n\nfour";
        for (from, count, expected, next) in [
            (1, 2, "one\ntwo\n", Some(3)),
            (3, 1, "\n", Some(4)),
            (4, 9, "four", None),
            (1, 9, "one\ntwo\n\nfour", None),
            (1, 4, "one\ntwo\n\nfour", None),
            (9, 9, "", None),
        ] {
            let expected = (expected.to_owned(), next);
            assert_eq!(part(text, from, count).unwrap(), expected, "{from} {count}");
        }
    }

    #[test]
    fn what_is_long_is_cut_and_what_is_no_text_refused() {
        let long = "x".repeat(TEXT_BYTES_MAX + 10) + "\nnext";
        let (text, next) = part(long.as_bytes(), 1, 5).unwrap();
        assert_eq!((text.len(), next), (TEXT_BYTES_MAX, Some(2)));
        let many = "a line\n".repeat(TEXT_BYTES_MAX / 7 + 10);
        let (text, next) = part(many.as_bytes(), 1, u32::MAX).unwrap();
        let lines = text.lines().count() as u64;
        assert_eq!(next, Some(lines + 1));
        assert_eq!(
            part(b"a\0b", 1, 1).unwrap_err().code(),
            portreeve_sdk::Code::InvalidArgument
        );
    }
}
