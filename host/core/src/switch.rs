//! The operator's file and what was agreed to change together, or neither does.
//!
//! Two files can't be renamed at once. What they shall say is written down first, in the state,
//! and synced; then each is replaced; then the note goes. A process that is killed in between
//! leaves the note, and the next command does what is left of it: there is no moment at which
//! one file speaks of a plugin that the other doesn't know.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use portreeve_supply::Digest;
use serde::{Deserialize, Serialize};

use crate::project::{LOCKFILE, MANIFEST, Ownership, Project, ProjectError, Role, replace};

/// The note, in the state's directory.
const NOTE: &str = "switch.json";

/// Largest note that is read, in bytes: both files at their largest, every character of them
/// escaped.
const NOTE_BYTES_MAX: u64 = 128 << 20;

/// What both files shall say. One that stays as it is, is none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Note {
    manifest: Option<Turn>,
    lock: Option<Turn>,
}

/// One file's part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Turn {
    /// The digest of what it said; none where there was no file.
    before: Option<String>,
    /// What it shall say.
    after: String,
}

/// How a file stands to its part of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It says what it said.
    Before,
    /// It says what it shall say.
    After,
    /// Somebody has changed it meanwhile.
    Other,
}

impl Turn {
    fn new(before: Option<&str>, after: &str) -> Option<Turn> {
        (before != Some(after)).then(|| Turn {
            before: before.map(digest),
            after: after.to_owned(),
        })
    }

    fn standing(&self, now: Option<&str>) -> Standing {
        if now == Some(&*self.after) {
            Standing::After
        } else if now.map(digest) == self.before {
            Standing::Before
        } else {
            Standing::Other
        }
    }
}

fn digest(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()
}

impl Project {
    /// Has both files say something else (the lockfile, where that is given), so that whenever this process ends, the next command
    /// finds both as they were, or both as they shall be. For the owner of the project.
    ///
    /// # Errors
    /// When something can't be written. What was written down is then taken back, or done by
    /// the next command where that fails, too.
    pub(crate) fn switch(&self, manifest: &str, lock: Option<&str>) -> Result<(), ProjectError> {
        let before = self.read_manifest()?;
        let note = Note {
            manifest: Turn::new(Some(&before), manifest),
            lock: match lock {
                Some(lock) => Turn::new(self.read_lock()?.as_deref(), lock),
                None => None,
            },
        };
        match (&note.manifest, &note.lock) {
            (None, None) => return Ok(()),
            // One file is replaced whole anyway.
            (Some(turn), None) => return self.write_manifest(&turn.after),
            (None, Some(turn)) => return self.write_lock(&turn.after),
            (Some(_), Some(_)) => {}
        }
        let path = self.note_path();
        self.write_note(&note)
            .map_err(|error| failed(&path, error))?;
        if let Err(error) = self.complete(&note) {
            self.take_back(&note, &before);
            return Err(error);
        }
        self.forget_note()
    }

    /// Takes back what a switch has done that could not be done to its end. Where that can't be
    /// done either, the note stays for the next command.
    fn take_back(&self, note: &Note, manifest: &str) {
        let back = || {
            let lock = self.read_lock()?;
            let replaced = |turn: &Turn| turn.standing(lock.as_deref()) == Standing::After;
            if note.lock.as_ref().is_some_and(replaced) {
                return Ok(());
            }
            self.write_manifest(manifest)?;
            self.forget_note()
        };
        if let Err(error) = back() {
            tracing::error!("a change is left to the next command: {error}");
        }
    }

    /// Does what is left of a switch that was not done to its end; whether there was one. An
    /// owner does this before it reads anything. While there is another owner, it is theirs.
    ///
    /// # Errors
    /// When the note can't be read, or the files can't be written.
    pub fn settle(&self) -> Result<bool, ProjectError> {
        if !self.note_path().exists() {
            return Ok(false);
        }
        match self.own(Role::Command)? {
            Ownership::Mine(_lock) => self.settle_owned(),
            Ownership::Other(_) => Ok(false),
        }
    }

    /// The same for the owner.
    pub(crate) fn settle_owned(&self) -> Result<bool, ProjectError> {
        let path = self.note_path();
        let Some(text) = read_note(&path).map_err(|error| failed(&path, error))? else {
            return Ok(false);
        };
        let note: Note = serde_json::from_slice(&text).map_err(|error| {
            let why = format!(
                "it is no note of a change ({error}); remove it, and see that {MANIFEST} and {LOCKFILE} are as they should be"
            );
            failed(&path, std::io::Error::other(why))
        })?;
        self.complete(&note)?;
        self.forget_note()?;
        Ok(true)
    }

    /// Replaces the files that were not replaced yet. Where somebody has changed one of them
    /// meanwhile, all stays as it is: what they see is what they meant.
    fn complete(&self, note: &Note) -> Result<(), ProjectError> {
        let manifest = self.read_manifest()?;
        let lock = self.read_lock()?;
        let standing = |turn: &Option<Turn>, now: Option<&str>| {
            turn.as_ref()
                .map_or(Standing::After, |turn| turn.standing(now))
        };
        let manifest = standing(&note.manifest, Some(&manifest));
        let lock = standing(&note.lock, lock.as_deref());
        if manifest == Standing::Other || lock == Standing::Other {
            tracing::warn!(
                "a change of {} was not done to its end, and somebody has edited it or its lockfile since: both stay as they are",
                self.manifest_path().display()
            );
            return Ok(());
        }
        if let (Standing::Before, Some(turn)) = (manifest, &note.manifest) {
            self.write_manifest(&turn.after)?;
        }
        if let (Standing::Before, Some(turn)) = (lock, &note.lock) {
            self.write_lock(&turn.after)?;
        }
        Ok(())
    }

    fn note_path(&self) -> PathBuf {
        self.state_dir().join(NOTE)
    }

    fn write_note(&self, note: &Note) -> std::io::Result<()> {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        replace(&self.note_path(), private, &serde_json::to_vec(note)?)
    }

    fn forget_note(&self) -> Result<(), ProjectError> {
        let path = self.note_path();
        fs::remove_file(&path)
            .and_then(|()| File::open(self.state_dir())?.sync_all())
            .map_err(|error| failed(&path, error))
    }
}

/// The note, if there is one. A link that a project from elsewhere brought along is none.
fn read_note(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, crate::project::NOFOLLOW);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(NOTE_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut text)?;
    if text.len() as u64 > NOTE_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "it has more than {NOTE_BYTES_MAX} bytes, which no note of a change has: remove it"
        )));
    }
    Ok(Some(text))
}

fn failed(path: &Path, error: std::io::Error) -> ProjectError {
    ProjectError::File {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: (&str, Option<&str>) = ("schema = 1\n", None);
    const AFTER: (&str, Option<&str>) = ("schema = 1 # new\n", Some("schema = 2\n"));

    fn project() -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MANIFEST), BEFORE.0).unwrap();
        let project = Project::at(dir.path()).unwrap();
        portreeve_runtime::make_private_dir(&project.state_dir()).unwrap();
        (dir, project)
    }

    fn files(project: &Project) -> (String, Option<String>) {
        (
            project.read_manifest().unwrap(),
            project.read_lock().unwrap(),
        )
    }

    fn says(project: &Project, (manifest, lock): (&str, Option<&str>)) {
        let lock = lock.map(str::to_owned);
        assert_eq!(files(project), (manifest.to_owned(), lock));
        assert!(!project.note_path().exists());
    }

    fn note() -> Note {
        Note {
            manifest: Turn::new(Some(BEFORE.0), AFTER.0),
            lock: Turn::new(BEFORE.1, AFTER.1.unwrap()),
        }
    }

    #[test]
    fn both_files_change_together() {
        let (_dir, project) = project();
        project.switch(AFTER.0, AFTER.1).unwrap();
        says(&project, AFTER);
        assert!(!project.settle().unwrap());
        // One of them alone leaves no note either.
        project.switch(BEFORE.0, AFTER.1).unwrap();
        says(&project, (BEFORE.0, AFTER.1));
        project.switch(AFTER.0, None).unwrap();
        says(&project, AFTER);
    }

    #[test]
    fn what_was_begun_is_done_by_whoever_comes_next() {
        for replaced in 0..3 {
            let (_dir, project) = project();
            project.write_note(&note()).unwrap();
            if replaced > 0 {
                project.write_manifest(AFTER.0).unwrap();
            }
            if replaced > 1 {
                project.write_lock(AFTER.1.unwrap()).unwrap();
            }
            assert!(project.settle().unwrap(), "{replaced}");
            says(&project, AFTER);
        }
    }

    #[test]
    fn what_somebody_has_edited_since_stays() {
        let edited = "schema = 1 # mine\n";
        let (_dir, project) = project();
        project.write_note(&note()).unwrap();
        project.write_manifest(edited).unwrap();
        assert!(project.settle().unwrap());
        says(&project, (edited, None));
    }

    #[test]
    fn a_note_is_the_owners() {
        let (_dir, project) = project();
        project.write_note(&note()).unwrap();
        let Ownership::Mine(lock) = project.own(Role::Serve).unwrap() else {
            panic!("nobody else owns it");
        };
        assert!(!project.settle().unwrap());
        assert_eq!(project.read_manifest().unwrap(), BEFORE.0);
        drop(lock);
        assert!(project.settle().unwrap());
        says(&project, AFTER);
    }

    #[test]
    fn what_is_no_note_is_refused_and_changes_nothing() {
        let (_dir, project) = project();
        for text in ["", "{", "{\"manifest\":1}", "{\"more\":null}"] {
            fs::write(project.note_path(), text).unwrap();
            let error = project.settle().unwrap_err().to_string();
            assert!(error.contains(NOTE), "{error}");
        }
        fs::remove_file(project.note_path()).unwrap();
        let elsewhere = project.dir().join("note");
        fs::write(&elsewhere, serde_json::to_string(&note()).unwrap()).unwrap();
        std::os::unix::fs::symlink(&elsewhere, project.note_path()).unwrap();
        project.settle().unwrap_err();
        assert_eq!(files(&project).0, BEFORE.0);
    }
}
