//! Keeps notes: adds, lists, finds, edits and deletes them, offers each one as a resource, and
//! shows them all in a panel.
//!
//! Each note has a revision, which grows with each change. Whoever edits or deletes one says
//! which revision they saw, so that nobody's words are overwritten unseen.
#![deny(missing_docs)]

mod note;
mod panel;
mod shelf;

use portreeve_sdk::{Error, Json, content, plugin, tool};

use note::{Kept, Note, Number};
use panel::Offered;
use shelf::{Deleted, Found, Listed};

/// How many notes are listed or found by default, and at most.
const LIMIT_DEFAULT: u16 = 50;
const LIMIT_MAX: u16 = 500;

fn limit(given: Option<u16>) -> usize {
    usize::from(given.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX))
}

/// Adds a note. Use it when somebody wants something kept for later.
#[tool(title = "Add a note", destructive = false, open_world = false)]
fn add(
    /// What it says, up to 64 KiB; Markdown is fine.
    text: String,
    /// What it is called, up to 200 characters; its first line, if left out.
    title: Option<String>,
) -> Result<Json<Kept>, Error> {
    let kept = shelf::add(Note::new(title, text)?)?;
    content::list_changed();
    Ok(Json(kept))
}

/// Lists notes by number, the oldest first, without their texts.
#[tool(
    title = "List notes",
    panel = "ui://notes",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn list(
    /// Notes after the one with this number: `next` of an earlier list.
    after: Option<u64>,
    /// At most so many, 1 to 500; 50 if left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u16>,
) -> Result<Json<Listed>, Error> {
    shelf::list(after.map(Number), crate::limit(limit)).map(Json)
}

/// Finds notes that contain all of some words, in their titles or texts; capitals don't count.
#[tool(
    title = "Search notes",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn search(
    /// The words.
    words: String,
    /// Goes on after the note with this number: `next` of an earlier search.
    after: Option<u64>,
    /// At most so many, 1 to 500; 50 if left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u16>,
) -> Result<Json<Found>, Error> {
    shelf::search(&words, after.map(Number), crate::limit(limit)).map(Json)
}

/// Reads a note.
#[tool(
    title = "Read a note",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn read(
    /// Its number.
    number: u64,
) -> Result<Json<Kept>, Error> {
    shelf::read(Number(number)).map(Json)
}

/// Changes a note: its title, its text or both. It fails with a conflict where somebody else
/// changed it since the revision that you saw; read it again then.
#[tool(title = "Edit a note", open_world = false)]
fn edit(
    /// Its number.
    number: u64,
    /// The revision that you saw.
    revision: u64,
    /// What it says from now on; as before, if left out.
    text: Option<String>,
    /// What it is called from now on; as before, if left out.
    title: Option<String>,
) -> Result<Json<Kept>, Error> {
    let number = Number(number);
    let kept = shelf::edit(number, revision, |note| note.with(title, text))?;
    content::updated(&number.uri())?;
    content::list_changed();
    Ok(Json(kept))
}

/// Deletes a note. It fails with a conflict where somebody else changed it since the revision
/// that you saw.
#[tool(title = "Delete a note", open_world = false)]
fn delete(
    /// Its number.
    number: u64,
    /// The revision that you saw.
    revision: u64,
) -> Result<Json<Deleted>, Error> {
    let number = Number(number);
    let deleted = shelf::delete(number, revision)?;
    content::updated(&number.uri())?;
    content::list_changed();
    Ok(Json(deleted))
}

plugin!(add, list, search, read, edit, delete, resources = Offered);
