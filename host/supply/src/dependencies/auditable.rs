//! The list that `cargo auditable` embeds, and we do: JSON, compressed with zlib.

use auditable_serde::{DependencyKind, Source, VersionInfo};
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};
use portreeve_manifest::json::{self, JsonLimits};

use super::{Dependency, Ecosystem, plain, too_many};
use crate::IntakeLimits;

/// Document, list, package, its dependencies.
const DEPTH_MAX: usize = 6;

/// Reads a section. Its root, which is the plugin itself, is left out.
pub(super) fn read(data: &[u8], limits: &IntakeLimits) -> Result<Vec<Dependency>, String> {
    if data.len() as u64 > limits.dependency_list.0 {
        return Err(format!(
            "it has {} bytes, where {} are read (`dependency-list`)",
            data.len(),
            limits.dependency_list
        ));
    }
    let bytes_max = limits.dependency_text.as_usize();
    let text = decompress_to_vec_zlib_with_limit(data, bytes_max).map_err(|error| {
        if error.status == TINFLStatus::HasMoreOutput {
            format!(
                "it unpacks to more than {}, which is all that is read (`dependency-text`)",
                limits.dependency_text
            )
        } else {
            "it is not compressed with zlib, as cargo auditable does".to_owned()
        }
    })?;
    let text = String::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    let bounds = JsonLimits {
        bytes_max,
        depth_max: DEPTH_MAX,
    };
    let value = json::parse(&text, &bounds).map_err(|error| error.to_string())?;
    // Before the graph is checked, which costs more than counting.
    let packages = value.get("packages").and_then(|list| list.as_array());
    if packages.is_some_and(|list| list.len() > limits.dependencies as usize) {
        return Err(too_many(limits));
    }
    // From the text: its sources borrow from it.
    let info: VersionInfo = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    info.packages
        .into_iter()
        .filter(|package| !package.root)
        .map(|package| {
            Ok(Dependency {
                ecosystem: match package.source {
                    Source::CratesIo | Source::Registry | Source::Git | Source::Local => {
                        Ecosystem::Cargo
                    }
                    _ => Ecosystem::Other,
                },
                name: plain(&package.name)?,
                version: plain(&package.version.to_string())?,
                build_only: package.kind == DependencyKind::Build,
                license: None,
            })
        })
        .collect()
}

/// Writes a section.
///
/// # Errors
/// A list that can't be written as JSON.
pub fn write(info: &VersionInfo) -> Result<Vec<u8>, serde_json::Error> {
    /// Small lists: the best compression costs nothing.
    const LEVEL: u8 = 9;
    Ok(compress_to_vec_zlib(&serde_json::to_vec(info)?, LEVEL))
}
