//! Components on this machine.

use std::path::Path;

use portreeve_manifest::size::ByteSize;

use super::{FetchError, Fetched};
use crate::signature::read_beside;
use crate::{Digest, IntakeLimits, source};

/// Reads a component and the signatures beside it.
pub(super) async fn fetch(path: &Path, max: u64) -> Result<Fetched, FetchError> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&path, max)).await;
    read.map_err(|error| FetchError::NotFound {
        what: "the file".to_owned(),
        said: error.to_string(),
    })?
}

fn read(path: &Path, max: u64) -> Result<Fetched, FetchError> {
    let limits = IntakeLimits {
        component: ByteSize(max),
        ..IntakeLimits::default()
    };
    let source = source::read(path, &limits)?;
    let signatures = read_beside(&source.path).map_err(FetchError::Signature)?;
    Ok(Fetched {
        digest: Digest::of(&source.bytes),
        resolved: source.path.display().to_string(),
        bytes: source.bytes,
        signatures,
        version_tag: None,
    })
}
