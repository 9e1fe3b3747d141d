//! The file of a database: a line that says what it is, then a line for each advisory and
//! package, in order, so that a package is found without reading the rest.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use portreeve_manifest::size::ByteSize;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::collect::{Collector, key};
use super::record::Record;
use super::{AdvisoryError, AdvisoryLimits, Hit, merged};
use crate::Digest;
use crate::dependencies::{Dependency, normal_name};

/// The form of the file. One of another form is made anew.
const SCHEMA: u32 = 1;

/// The longest first line, in bytes: it names sources.
const INFO_BYTES_MAX: u64 = 64 << 10;

/// Advisories of one package that are looked at; none has a tenth of that.
const ADVISORIES_OF_A_PACKAGE_MAX: usize = 10_000;

/// What a database is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DatabaseInfo {
    schema: u32,
    /// When it was taken in: milliseconds since 1970, UTC.
    pub taken: i64,
    /// The date of its newest advisory, `2024-07-11`: nothing is known of what came later.
    pub newest: Option<String>,
    /// How many advisories it has.
    pub advisories: usize,
    /// Files that looked like advisories and could not be read.
    pub unread: usize,
    /// What it was made from.
    pub sources: Vec<String>,
    /// The digest of what follows this line.
    pub digest: Digest,
}

impl DatabaseInfo {
    /// Its age at a time, in whole days: that of its newest advisory, whenever it was taken in.
    pub fn age_days(&self, now: jiff::Timestamp) -> Option<i64> {
        let newest: jiff::civil::Date = self.newest.as_ref()?.parse().ok()?;
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        // In days alone, as the difference of dates is.
        Some(i64::from(today.since(newest).ok()?.get_days()))
    }

    /// In a few words, for people.
    pub fn words(&self) -> String {
        let newest = self.newest.as_deref().unwrap_or("unknown date");
        format!("{} advisories, the newest of {newest}", self.advisories)
    }
}

/// Where the database of a user lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvisoryStore {
    dir: PathBuf,
}

/// A database that is written, and not yet in its place.
#[derive(Debug)]
pub struct Staged {
    file: NamedTempFile,
    /// What it is.
    pub info: DatabaseInfo,
}

impl Staged {
    /// Leaves the file to somebody else, who puts it into its place.
    ///
    /// # Errors
    /// When the system doesn't let it be kept.
    pub fn keep(self) -> Result<PathBuf, AdvisoryError> {
        let path = self.file.into_temp_path();
        let shown = path.display().to_string();
        path.keep().map_err(|error| AdvisoryError::File {
            path: shown,
            error: error.error,
        })
    }
}

impl AdvisoryStore {
    /// The database in a directory of its own.
    pub fn new(dir: PathBuf) -> AdvisoryStore {
        AdvisoryStore { dir }
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        self.dir.join("database")
    }

    /// Writes a database beside the one that is there.
    ///
    /// # Errors
    /// When there is nothing in it, or it can't be written.
    pub fn stage(&self, mut found: Collector, now_ms: i64) -> Result<Staged, AdvisoryError> {
        if found.advisories == 0 {
            let mut what = found.sources.join(", ");
            if let Some(problem) = found.problems.first() {
                what = format!("{what} ({problem})");
            }
            return Err(AdvisoryError::Nothing(what));
        }
        found.lines.sort_unstable();
        found.lines.dedup();
        let mut body = found.lines.join("\n");
        body.push('\n');
        let info = DatabaseInfo {
            schema: SCHEMA,
            taken: now_ms,
            newest: found.newest,
            advisories: found.advisories,
            unread: found.unread,
            sources: found.sources,
            digest: Digest::of(body.as_bytes()),
        };
        let write = || {
            let mut dir = std::fs::DirBuilder::new();
            dir.recursive(true).mode(0o700).create(&self.dir)?;
            let mut file = tempfile::Builder::new()
                .prefix(STAGED)
                .tempfile_in(&self.dir)?;
            writeln!(file, "{}", serde_json::to_string(&info)?)?;
            file.write_all(body.as_bytes())?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        let file = write().map_err(|error| self.failed(error))?;
        Ok(Staged { file, info })
    }

    /// What a file is that was left by [`Staged::keep`]. Nothing else is taken for one.
    ///
    /// # Errors
    /// When it is none of this store's.
    pub fn staged(&self, path: &Path) -> Result<DatabaseInfo, AdvisoryError> {
        let name = path.file_name().and_then(|name| name.to_str());
        if path.parent() != Some(&self.dir) || !name.is_some_and(|n| n.starts_with(STAGED)) {
            return Err(damaged(path, "it was not written for this place"));
        }
        Ok(Database::read(path)?.info)
    }

    /// Puts such a file into its place.
    ///
    /// # Errors
    /// When the system doesn't let it.
    pub fn adopt(&self, staged: &Path) -> Result<(), AdvisoryError> {
        let rename = || {
            std::fs::rename(staged, self.path())?;
            File::open(&self.dir)?.sync_all()
        };
        rename().map_err(|error| self.failed(error))
    }

    /// The database; none where there is none.
    ///
    /// # Errors
    /// When it can't be read, or is not as it was written.
    pub fn open(&self) -> Result<Option<Database>, AdvisoryError> {
        let path = self.path();
        if !path.exists() {
            return Ok(None);
        }
        Database::read(&path).map(Some)
    }

    fn failed(&self, error: std::io::Error) -> AdvisoryError {
        AdvisoryError::File {
            path: self.path().display().to_string(),
            error,
        }
    }
}

/// How files begin that are not yet in their place.
const STAGED: &str = ".new-";

/// A database of advisories.
#[derive(Debug)]
pub struct Database {
    info: DatabaseInfo,
    text: String,
    /// Where lines begin and end.
    lines: Vec<(usize, usize)>,
}

impl Database {
    fn read(path: &Path) -> Result<Database, AdvisoryError> {
        let max = AdvisoryLimits::default().database.0 + INFO_BYTES_MAX + (1 << 20);
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(max + 1).read_to_string(&mut text))
            .map_err(|error| AdvisoryError::File {
                path: path.display().to_string(),
                error,
            })?;
        if text.len() as u64 > max {
            let why = format!("it has more than {}", ByteSize(max));
            return Err(damaged(path, &why));
        }
        Database::parse(text).map_err(|why| damaged(path, &why))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    fn parse(text: String) -> Result<Database, String> {
        let (first, body) = text.split_once('\n').ok_or("it is empty")?;
        if first.len() as u64 > INFO_BYTES_MAX {
            return Err("its first line is too long".to_owned());
        }
        let info: DatabaseInfo = serde_json::from_str(first).map_err(|error| error.to_string())?;
        if info.schema != SCHEMA {
            return Err(format!("it is of form {}, not {SCHEMA}", info.schema));
        }
        if Digest::of(body.as_bytes()) != info.digest {
            return Err("it was changed after it was written".to_owned());
        }
        let mut start = first.len() + 1;
        let mut lines = Vec::new();
        for line in body.split_inclusive('\n') {
            lines.push((start, start + line.trim_end_matches('\n').len()));
            start += line.len();
        }
        Ok(Database { info, text, lines })
    }

    /// What it is.
    pub fn info(&self) -> &DatabaseInfo {
        &self.info
    }

    /// The advisories that a package falls under, or may.
    ///
    /// # Errors
    /// When the database is not as it was written.
    pub fn find(&self, dependency: &Dependency) -> Result<Vec<Hit>, String> {
        let ecosystem = dependency.ecosystem;
        let key = key(ecosystem, &normal_name(ecosystem, &dependency.name));
        let line = |&(start, end): &(usize, usize)| self.text.get(start..end).unwrap_or_default();
        // A tab ends the key, and is less than all else that a key may have.
        let key = format!("{key}\t");
        let first = self
            .lines
            .partition_point(|place| line(place) < key.as_str());
        let mut hits = Vec::new();
        let of_package = self.lines.iter().skip(first).map(line);
        for record in of_package
            .map_while(|line| line.strip_prefix(&*key))
            .take(ADVISORIES_OF_A_PACKAGE_MAX)
        {
            let record: Record = serde_json::from_str(record).map_err(|error| error.to_string())?;
            match record.covers(ecosystem, &dependency.version) {
                Some(false) => {}
                covered => hits.push(Hit::new(record, dependency, covered.is_some())),
            }
        }
        Ok(merged(hits))
    }
}

fn damaged(path: &Path, why: &str) -> AdvisoryError {
    AdvisoryError::Damaged {
        path: path.display().to_string(),
        why: why.to_owned(),
    }
}
