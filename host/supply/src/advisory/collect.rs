//! Advisories, collected from where an operator has them: directories, files, archives.

use std::fs::File;
use std::io::{Cursor, Read as _, Seek};
use std::path::{Path, PathBuf};

use portreeve_manifest::size::ByteSize;
use zip::ZipArchive;

use super::record::Record;
use super::{AdvisoryError, Read, osv, rust_sec};
use crate::dependencies::{Ecosystem, normal_name};

/// What a database may measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvisoryLimits {
    /// One advisory. The largest of npm, PyPI and RustSec have some 400 KiB.
    pub advisory: ByteSize,
    /// Advisories, and files that are looked at. All of npm, malicious packages included, are
    /// 220,000.
    pub advisories: usize,
    /// Directories within each other.
    pub depth: usize,
    /// An archive. That of npm has 100 MiB.
    pub archive: ByteSize,
    /// What is kept of all advisories together: some 300 bytes of each.
    pub database: ByteSize,
}

impl Default for AdvisoryLimits {
    fn default() -> AdvisoryLimits {
        AdvisoryLimits {
            advisory: ByteSize(1 << 20),
            advisories: 500_000,
            depth: 8,
            archive: ByteSize(256 << 20),
            database: ByteSize(256 << 20),
        }
    }
}

/// Collects advisories.
#[derive(Debug, Default)]
pub struct Collector {
    limits: AdvisoryLimits,
    /// A line of the database each.
    pub(super) lines: Vec<String>,
    pub(super) advisories: usize,
    pub(super) newest: Option<String>,
    pub(super) sources: Vec<String>,
    pub(super) unread: usize,
    /// The first that could not be read, and why.
    pub(super) problems: Vec<String>,
    files: usize,
    bytes: u64,
}

/// Most problems that are told one by one.
const PROBLEMS_MAX: usize = 8;

impl Collector {
    /// One with bounds of its own.
    pub fn new(limits: AdvisoryLimits) -> Collector {
        Collector {
            limits,
            ..Collector::default()
        }
    }

    /// Takes a directory with everything below it, an archive, or one advisory.
    ///
    /// # Errors
    /// When it can't be read, or has more than is read. One advisory that can't be read is only
    /// counted.
    pub fn path(&mut self, path: &Path) -> Result<(), AdvisoryError> {
        let failed = |error: std::io::Error| AdvisoryError::source(path, &error.to_string());
        self.sources.push(path.display().to_string());
        if path.is_dir() {
            return self.directory(path);
        }
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        if is_named(path, "zip") {
            if size > self.limits.archive.0 {
                return Err(self.too_large(path, size));
            }
            return self.archive(&path.display().to_string(), file);
        }
        self.file(path)
    }

    /// Takes what came from somewhere: an archive, or one advisory.
    ///
    /// # Errors
    /// As for [`path`](Collector::path).
    pub fn bytes(&mut self, source: &str, bytes: Vec<u8>) -> Result<(), AdvisoryError> {
        self.sources.push(source.to_owned());
        if bytes.starts_with(b"PK\x03\x04") {
            return self.archive(source, Cursor::new(bytes));
        }
        let read = if bytes.starts_with(b"```toml") {
            rust_sec::read
        } else {
            osv::read
        };
        let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned());
        self.take(source, text.and_then(|text| read(&text)))
    }

    /// The first of those that could not be read, and why.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The largest archive that is taken, in bytes.
    pub fn archive_max(&self) -> u64 {
        self.limits.archive.0
    }

    /// Links are not followed: a directory that holds itself ends nowhere.
    fn directory(&mut self, top: &Path) -> Result<(), AdvisoryError> {
        let mut waiting: Vec<(PathBuf, usize)> = vec![(top.to_owned(), 0)];
        while let Some((dir, depth)) = waiting.pop() {
            let failed = |error: std::io::Error| AdvisoryError::source(&dir, &error.to_string());
            for entry in std::fs::read_dir(&dir).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let kind = entry.file_type().map_err(failed)?;
                let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                if kind.is_dir() && !hidden {
                    if depth >= self.limits.depth {
                        let why = format!("directories are more than {depth} deep");
                        return Err(AdvisoryError::source(&dir, &why));
                    }
                    waiting.push((entry.path(), depth + 1));
                } else if kind.is_file() {
                    self.count(top)?;
                    self.file(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn archive(
        &mut self,
        source: &str,
        file: impl std::io::Read + Seek,
    ) -> Result<(), AdvisoryError> {
        let broken = |why: String| AdvisoryError::Source {
            what: source.to_owned(),
            why,
        };
        let mut archive = ZipArchive::new(file).map_err(|error| broken(error.to_string()))?;
        for index in 0..archive.len() {
            self.count(Path::new(source))?;
            let entry = archive
                .by_index(index)
                .map_err(|error| broken(error.to_string()))?;
            let name = match entry.name() {
                Ok(name) => name.into_owned(),
                Err(error) => return Err(broken(error.to_string())),
            };
            let Some(read) = reader(Path::new(&name)).filter(|_| entry.is_file()) else {
                continue;
            };
            let text = text(entry, self.limits.advisory);
            self.take(&name, text.and_then(|text| read(&text)))?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), AdvisoryError> {
        let Some(read) = reader(path) else {
            return Ok(());
        };
        let opened = File::open(path).map_err(|error| error.to_string());
        let text = opened.and_then(|file| text(file, self.limits.advisory));
        self.take(
            &path.display().to_string(),
            text.and_then(|text| read(&text)),
        )
    }

    fn count(&mut self, source: &Path) -> Result<(), AdvisoryError> {
        self.files += 1;
        if self.files > self.limits.advisories {
            let why = format!(
                "it has more than {} files, which is all that is read: give only the ecosystems that your plugins are made from",
                self.limits.advisories
            );
            return Err(AdvisoryError::source(source, &why));
        }
        Ok(())
    }

    /// Takes what was read of one advisory.
    fn take(&mut self, what: &str, read: Result<Read, String>) -> Result<(), AdvisoryError> {
        let read = match read {
            Ok(read) => read,
            Err(why) => {
                self.unread += 1;
                if self.problems.len() < PROBLEMS_MAX {
                    let why = super::record::line(&why, 200);
                    self.problems.push(format!("{what}: {why}"));
                }
                return Ok(());
            }
        };
        self.advisories += 1;
        let is_date = read.date.parse::<jiff::civil::Date>().is_ok();
        if is_date
            && self
                .newest
                .as_ref()
                .is_none_or(|newest| *newest < read.date)
        {
            self.newest = Some(read.date);
        }
        for (ecosystem, name, record) in read.records {
            let Some(line) = line(ecosystem, &name, &record) else {
                self.unread += 1;
                continue;
            };
            self.bytes += line.len() as u64;
            if self.bytes > self.limits.database.0 {
                return Err(AdvisoryError::Source {
                    what: what.to_owned(),
                    why: format!(
                        "with it the database has more than {}: give only the ecosystems that your plugins are made from",
                        self.limits.database
                    ),
                });
            }
            self.lines.push(line);
        }
        Ok(())
    }

    fn too_large(&self, path: &Path, size: u64) -> AdvisoryError {
        let why = format!(
            "it has {}, where {} are read",
            ByteSize(size),
            self.limits.archive
        );
        AdvisoryError::source(path, &why)
    }
}

/// A line of the database: the package, then what is said of it. None where its name is none.
fn line(ecosystem: Ecosystem, name: &str, record: &Record) -> Option<String> {
    let name = normal_name(ecosystem, name);
    if name.is_empty() || name.contains(char::is_control) {
        return None;
    }
    let record = serde_json::to_string(record).ok()?;
    Some(format!("{}\t{record}", key(ecosystem, &name)))
}

/// What a package is found by; its name is as its ecosystem compares them.
pub(super) fn key(ecosystem: Ecosystem, name: &str) -> String {
    format!("{ecosystem}\t{name}")
}

type ReadOne = fn(&str) -> Result<Read, String>;

/// How a file is read; none where it is no advisory.
fn reader(path: &Path) -> Option<ReadOne> {
    if is_named(path, "json") {
        return Some(osv::read);
    }
    // RustSec's repository holds other Markdown as well.
    let name = path.file_name()?.as_encoded_bytes();
    let advisory = [&b"RUSTSEC-"[..], b"CVE-", b"GHSA-"];
    let named = advisory.iter().any(|start| name.starts_with(start));
    (is_named(path, "md") && named).then_some(rust_sec::read as ReadOne)
}

fn is_named(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

fn text(file: impl std::io::Read, max: ByteSize) -> Result<String, String> {
    let mut text = String::new();
    file.take(max.0.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > max.0 {
        return Err(format!("it has more than {max}, which is all that is read"));
    }
    Ok(text)
}
