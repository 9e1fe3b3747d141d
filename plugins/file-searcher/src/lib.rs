//! Searches, lists and reads the files of the directory that the operator puts behind `/files`.
//!
//! Everything is bounded: what is looked at, how long a line may be, and what is answered. An
//! answer says where it stopped, and how to go on.
#![deny(missing_docs)]

mod listing;
mod matches;
mod part;
mod tree;

use portreeve_sdk::{Error, Json, plugin, tool};

use listing::Listed;
use matches::{Found, Search};
use part::Part;

/// How many matches a search returns by default, and at most.
const MATCHES_DEFAULT: u16 = 50;
const MATCHES_MAX: u16 = 500;

/// How many entries a list has by default, and at most.
const ENTRIES_DEFAULT: u16 = 200;
const ENTRIES_MAX: u16 = 2_000;

/// How many lines are read by default, and at most.
const LINES_DEFAULT: u32 = 200;
const LINES_MAX: u32 = 2_000;

/// Finds lines with a text or a regular expression in the files of a directory and below. Files
/// that are no text, hidden ones and links are left out. Use it to find where something is said,
/// then `read` for what stands around it.
#[tool(
    title = "Search files",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn search(
    /// What to find: a text, or a regular expression where `regex` is true.
    text: String,
    /// Where to begin: a directory or a file, such as `notes/2026`; everything if left out.
    path: Option<String>,
    /// Whether `text` is a regular expression (RE2 syntax); false if left out.
    regex: Option<bool>,
    /// Whether capitals count; false if left out.
    case_sensitive: Option<bool>,
    /// Only files whose names end so, such as `.md`; all if left out.
    ending: Option<String>,
    /// At most so many matches, 1 to 500; 50 if left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u16>,
) -> Result<Json<Found>, Error> {
    let search = Search::new(
        &text,
        regex.unwrap_or(false),
        case_sensitive.unwrap_or(false),
        ending,
        usize::from(limit.unwrap_or(MATCHES_DEFAULT).clamp(1, MATCHES_MAX)),
    )?;
    search.run(&tree::path(path.as_deref())?).map(Json)
}

/// Lists files and directories with their sizes, by name.
#[tool(
    title = "List files",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn list(
    /// The directory, such as `notes`; the topmost if left out.
    path: Option<String>,
    /// Whether what is in directories below is listed as well; false if left out.
    recursive: Option<bool>,
    /// At most so many entries, 1 to 2000; 200 if left out.
    #[schemars(range(min = 1, max = 2000))]
    limit: Option<u16>,
) -> Result<Json<Listed>, Error> {
    let limit = limit.unwrap_or(ENTRIES_DEFAULT).clamp(1, ENTRIES_MAX);
    let path = tree::path(path.as_deref())?;
    listing::entries(&path, recursive.unwrap_or(false), usize::from(limit)).map(Json)
}

/// Reads lines of a text file.
#[tool(
    title = "Read a file",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn read(
    /// The file, such as `notes/today.md`.
    path: String,
    /// The first line, counted from 1; 1 if left out.
    #[schemars(range(min = 1))]
    from: Option<u64>,
    /// At most so many lines, 1 to 2000; 200 if left out.
    #[schemars(range(min = 1, max = 2000))]
    lines: Option<u32>,
) -> Result<Json<Part>, Error> {
    let lines = lines.unwrap_or(LINES_DEFAULT).clamp(1, LINES_MAX);
    part::lines(&tree::path(Some(&path))?, from.unwrap_or(1).max(1), lines).map(Json)
}

plugin!(search, list, read);
