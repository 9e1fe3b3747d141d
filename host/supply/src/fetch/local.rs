//! Components on this machine.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use portreeve_manifest::size::ByteSize;

use super::{FetchError, Fetched, SIGNATURE_BYTES_MAX, SignatureFile, SignatureKind};
use crate::{Digest, Error, IntakeLimits, source};

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
    let mut signatures = Vec::new();
    for kind in SignatureKind::ALL {
        let mut beside = OsString::from(&source.path);
        beside.push(kind.suffix());
        if let Some(bytes) = read_beside(&PathBuf::from(beside))? {
            signatures.push(SignatureFile { kind, bytes });
        }
    }
    Ok(Fetched {
        digest: Digest::of(&source.bytes),
        resolved: source.path.display().to_string(),
        bytes: source.bytes,
        signatures,
        version_tag: None,
    })
}

fn read_beside(path: &Path) -> Result<Option<Vec<u8>>, FetchError> {
    let io = |error: std::io::Error| {
        FetchError::Local(Error::Io {
            path: path.to_owned(),
            error,
        })
    };
    let file = match std::fs::metadata(path) {
        Ok(kind) if !kind.is_file() => return Ok(None),
        Ok(_) => File::open(path).map_err(io)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut bytes = Vec::new();
    file.take(SIGNATURE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > SIGNATURE_BYTES_MAX {
        return Err(FetchError::TooLarge {
            what: path.display().to_string(),
            max: SIGNATURE_BYTES_MAX,
        });
    }
    Ok(Some(bytes))
}
