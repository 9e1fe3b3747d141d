//! The notes in the plugin's storage.

use portreeve_sdk::{Code, Error, kv};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::note::{Entry, KEYS, Kept, Note, Number};

/// The key of the number that was given last.
const LAST: &str = "last";

/// Notes that one search looks at: the rest is for the next one.
const LOOKED_AT_MAX: usize = 2_000;

/// Some of the notes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Listed {
    /// The notes.
    pub(crate) notes: Vec<Entry>,
    /// After which number the rest comes; none where this is all.
    pub(crate) next: Option<u64>,
}

/// Notes that were found.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Found {
    /// The notes.
    pub(crate) notes: Vec<Kept>,
    /// After which number the search goes on; none where all were looked at.
    pub(crate) next: Option<u64>,
}

/// That a note is gone.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Deleted {
    /// Its number.
    pub(crate) deleted: u64,
}

/// Keeps a new note.
pub(crate) fn add(note: Note) -> Result<Kept, Error> {
    let number = u64::try_from(kv::increment(LAST, 1)?)
        .map_err(|_| Error::internal("the number that was given last is none"))?;
    kv::put(&Number(number).key()).new_only().json(&note)?;
    Ok(Kept { number, note })
}

/// The numbers of notes after `after`.
pub(crate) fn numbers(after: Option<Number>) -> impl Iterator<Item = Result<Number, Error>> {
    let after = after.map(Number::key);
    kv::list(KEYS).filter_map(move |info| {
        let key = match info {
            Ok(info) => info.key,
            Err(error) => return Some(Err(error)),
        };
        let before = after.as_ref().is_some_and(|after| key <= *after);
        let number = Number::of_key(&key).filter(|_| !before)?;
        Some(Ok(number))
    })
}

/// Some of the notes.
pub(crate) fn list(after: Option<Number>, limit: usize) -> Result<Listed, Error> {
    let mut notes: Vec<Entry> = Vec::new();
    for number in numbers(after) {
        let number = number?;
        if notes.len() == limit {
            let next = notes.last().map(|last| last.number);
            return Ok(Listed { notes, next });
        }
        // One that was deleted meanwhile is none.
        if let Some(note) = kv::get_json(&number.key())? {
            notes.push(Entry::of(number, note));
        }
    }
    Ok(Listed { notes, next: None })
}

/// Some of the notes that have these words.
pub(crate) fn search(words: &str, after: Option<Number>, limit: usize) -> Result<Found, Error> {
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    if words.is_empty() {
        return Err(Error::invalid_argument("say at least one word"));
    }
    let mut notes = Vec::new();
    let mut last = None;
    for (looked_at, number) in numbers(after).enumerate() {
        let number = number?;
        if notes.len() == limit || looked_at == LOOKED_AT_MAX {
            return Ok(Found { notes, next: last });
        }
        last = Some(number.0);
        let note: Option<Note> = kv::get_json(&number.key())?;
        if let Some(note) = note.filter(|note| note.has(&words)) {
            let number = number.0;
            notes.push(Kept { number, note });
        }
    }
    Ok(Found { notes, next: None })
}

/// Reads one.
pub(crate) fn read(number: Number) -> Result<Kept, Error> {
    let note = kv::get_json(&number.key())?.ok_or_else(|| missing(number))?;
    Ok(Kept {
        number: number.0,
        note,
    })
}

fn missing(number: Number) -> Error {
    Error::not_found(format_args!("there is no note {}", number.0))
}

fn changed(number: Number, seen: u64) -> Error {
    Error::conflict(format_args!(
        "note {} is not of revision {seen} any more: somebody changed it; read it again",
        number.0
    ))
}

/// The note and its version, where it is of the revision that was seen.
fn seen(number: Number, revision: u64) -> Result<(Note, kv::Version), Error> {
    let key = number.key();
    let version = kv::stat(&key)?.ok_or_else(|| missing(number))?.version;
    let note: Note = kv::get_json(&key)?.ok_or_else(|| missing(number))?;
    // Should another call come between, the version is another than the note's, and what is
    // made of it is refused.
    if note.revision == revision {
        Ok((note, version))
    } else {
        Err(changed(number, revision))
    }
}

/// Changes one that is of the revision that was seen.
pub(crate) fn edit(
    number: Number,
    revision: u64,
    change: impl FnOnce(Note) -> Result<Note, Error>,
) -> Result<Kept, Error> {
    let (note, version) = seen(number, revision)?;
    let note = change(note)?;
    match kv::put(&number.key()).replacing(version).json(&note) {
        Ok(_) => Ok(Kept {
            number: number.0,
            note,
        }),
        Err(error) if error.code() == Code::Conflict => Err(changed(number, revision)),
        Err(error) => Err(error),
    }
}

/// Deletes one that is of the revision that was seen.
pub(crate) fn delete(number: Number, revision: u64) -> Result<Deleted, Error> {
    let (_, version) = seen(number, revision)?;
    match kv::delete_version(&number.key(), version) {
        Ok(()) => Ok(Deleted { deleted: number.0 }),
        Err(error) if error.code() == Code::Conflict => Err(changed(number, revision)),
        Err(error) => Err(error),
    }
}
