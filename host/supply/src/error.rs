//! What can be wrong with a component file, in sentences for the person who gave it to us.

use std::path::PathBuf;

use portreeve_manifest::diagnostic::Diagnostics;
use portreeve_manifest::size::ByteSize;

/// Why a component was not taken in or not packed: what happened, why, and what to do.
///
/// The messages don't name the file, apart from those about finding it: whoever reads a
/// package knows what it is called to the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file or directory.
    #[error("there is no file `{0}`: check the path")]
    NotFound(PathBuf),
    /// The path is no file and no directory.
    #[error(
        "`{0}` is neither a file nor a directory: give a component file (*.wasm) or a plugin's directory"
    )]
    NotAFile(PathBuf),
    /// The operating system refused.
    #[error("`{path}` can't be read: {error}")]
    Io {
        /// What was being read.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A directory without any component in it.
    #[error(
        "no component in `{0}`: there is no *.wasm in it nor in its dist/ directory; run `portreeve build {0}`"
    )]
    NothingBuilt(PathBuf),
    /// A directory with several.
    #[error("several components in `{directory}`: {names}; name the one that is meant")]
    Ambiguous {
        /// Where they are.
        directory: PathBuf,
        /// The first of them.
        names: String,
    },
    /// A file of no bytes.
    #[error("the file is empty: a build or a download was cut off; make it again")]
    Empty,
    /// WebAssembly text instead of binary.
    #[error(
        "this is WebAssembly text (WAT), not a binary component: translate it with `wasm-tools parse FILE -o FILE.wasm`"
    )]
    Wat,
    /// Any other text.
    #[error(
        "this is a text file that begins with `{0}`, not a WebAssembly component: give the *.wasm that `portreeve build` writes"
    )]
    Text(String),
    /// A core module.
    #[error(
        "this is a core WebAssembly module, not a component: build it for `wasm32-wasip2` (`portreeve build` does), or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Neither text nor WebAssembly.
    #[error(
        "this is no WebAssembly: it begins with the bytes {0}, where a component has 00 61 73 6d; give the *.wasm that `portreeve build` writes"
    )]
    NotWasm(String),
    /// WebAssembly of a version that is not known.
    #[error(
        "this is WebAssembly of an unknown binary version ({0}): it was made by a much older or newer tool; build it again with current ones"
    )]
    UnknownVersion(String),
    /// The file ends in the middle.
    #[error(
        "the component ends in the middle of its data, at byte {offset}: the file was cut off; build or fetch it again"
    )]
    Truncated {
        /// Where the data are missing.
        offset: u64,
    },
    /// It needs what the runtime has switched off.
    #[error(
        "the component uses a WebAssembly feature that this host has switched off ({feature}; {message}, at byte {offset}): build it without that feature"
    )]
    Feature {
        /// The name of the proposal.
        feature: String,
        /// What the validator said.
        message: String,
        /// Where.
        offset: u64,
    },
    /// It breaks the rules of the format.
    #[error(
        "the component is not valid WebAssembly: {message} (at byte {offset}); it is damaged or its tool is faulty: build or fetch it again"
    )]
    Invalid {
        /// What the validator said.
        message: String,
        /// Where.
        offset: u64,
    },
    /// It is larger than allowed in some respect.
    #[error(
        "the component is too large to take in: {what} {found}, where the limit is {limit}; {advice}"
    )]
    TooLarge {
        /// What was measured, such as `its exports:`.
        what: &'static str,
        /// How much there is of it.
        found: String,
        /// How much there may be.
        limit: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// A section of ours occurs twice.
    #[error(
        "the component has more than one section `{0}`: other tools have merged two packages; pack it again with `portreeve build`"
    )]
    DuplicateSection(&'static str),
    /// A section of ours that is no text.
    #[error(
        "the section `{section}` is not as `portreeve build` writes it: {reason}; pack the component again"
    )]
    BadSection {
        /// Which one.
        section: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The recorded plugin.toml has mistakes.
    #[error("the component's plugin.toml has mistakes:\n{0}")]
    Manifest(Box<Diagnostics>),
    /// It speaks a version of our contract that this host doesn't.
    #[error("the component exports `{found}`, and this host knows `{known}`: {advice}")]
    Contract {
        /// What it exports.
        found: String,
        /// What could be served.
        known: &'static str,
        /// Which side is behind.
        advice: &'static str,
    },
    /// Tools are recorded that nothing could run.
    #[error(
        "tools are recorded for this component, but it doesn't export `portreeve:tools/provider`: pack it again with `portreeve build`"
    )]
    ToolsWithoutProvider,
    /// Nothing to make an id of.
    #[error(
        "this component carries no name, and its file's name `{0}` has no letter a-z or digit to make an id of: rename the file, or pack the component with a plugin.toml (`portreeve build`)"
    )]
    NoId(String),
}

impl Error {
    /// A bound on bytes that was exceeded.
    pub(crate) fn too_many_bytes(
        what: &'static str,
        found: u64,
        limit: ByteSize,
        advice: &'static str,
    ) -> Error {
        Error::TooLarge {
            what,
            found: format!("{found} bytes"),
            limit: limit.to_string(),
            advice,
        }
    }

    /// A bound on a number of things that was exceeded.
    pub(crate) fn too_many(
        what: &'static str,
        found: impl ToString,
        limit: u32,
        advice: &'static str,
    ) -> Error {
        Error::TooLarge {
            what,
            found: found.to_string(),
            limit: limit.to_string(),
            advice,
        }
    }

    /// What the parser or validator said about `bytes`, in our terms.
    pub(crate) fn from_validator(error: &wasmparser::Error, bytes: &[u8]) -> Error {
        let offset = error.offset() as u64;
        let message = shorten(error.message());
        let feature = match error.missing_wasm_feature() {
            Some(features) => Some(
                features
                    .iter_names()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
            // The only missing feature that the validator doesn't tell from a mistake.
            None if message == "multiple memories" => Some("MULTI_MEMORY".to_owned()),
            None => None,
        };
        if let Some(feature) = feature {
            return Error::Feature {
                feature: feature.to_lowercase().replace('_', "-"),
                message,
                offset,
            };
        }
        if is_cut_off(bytes) {
            return Error::Truncated {
                offset: bytes.len() as u64,
            };
        }
        Error::Invalid { message, offset }
    }
}

/// Whether the last of a component's sections goes on beyond the end of the file.
fn is_cut_off(bytes: &[u8]) -> bool {
    /// Custom sections are 0, the component model's go up to its start section.
    const SECTION_ID_MAX: u8 = 12;
    let mut reader = wasmparser::BinaryReader::new(bytes.get(8..).unwrap_or_default(), 8);
    while let Ok(id) = reader.read_u8() {
        if id > SECTION_ID_MAX {
            return false;
        }
        let Ok(size) = reader.read_var_u32() else {
            return reader.eof();
        };
        if reader.read_bytes(size as usize).is_err() {
            return true;
        }
    }
    false
}

/// Validators quote names from the file, which may be long or hold control characters.
pub(crate) fn shorten(text: &str) -> String {
    const CHARACTERS_MAX: usize = 300;
    let mut short: String = text
        .chars()
        .take(CHARACTERS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        short.push('…');
    }
    short
}
