//! What is in a directory.

use std::path::Path;

use portreeve_sdk::Error;
use schemars::JsonSchema;
use serde::Serialize;

use crate::tree::{Walk, shown};

/// What is in a directory.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Listed {
    /// Files and directories, by name.
    entries: Vec<Listing>,
    /// Whether that is all; otherwise list a directory below, or raise `limit`.
    complete: bool,
}

/// One file or directory.
#[derive(Debug, Serialize, JsonSchema)]
struct Listing {
    /// Its path; that of a directory ends with a slash.
    path: String,
    /// Bytes of a file.
    size: Option<u64>,
}

pub(crate) fn entries(path: &Path, recursive: bool, limit: usize) -> Result<Listed, Error> {
    let mut walk = Walk::new(path, recursive)?;
    let entries = walk.by_ref().take(limit).map(|entry| {
        let path = shown(&entry.path);
        match entry.is_dir {
            true => Listing {
                path: format!("{path}/"),
                size: None,
            },
            false => Listing {
                path,
                size: Some(entry.size),
            },
        }
    });
    let entries = entries.collect();
    let complete = walk.next().is_none() && !walk.is_cut;
    Ok(Listed { entries, complete })
}
