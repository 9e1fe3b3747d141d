//! A component that carries the documentation of its interface.
//!
//! Rust's linker drops doc comments from components. Tools that keep them use a custom
//! section, `package-docs`, in the form that WIT packages have it.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context as _, Result};
use wasm_encoder::{ComponentSection as _, CustomSection};
use wit_parser::{PackageMetadata, Resolve};

use crate::{Kind, Program};

/// `bare_values` with such a section.
pub(crate) fn program(programs: &Path, all: &[Program]) -> Result<Program> {
    let bare = all.iter().find(|program| program.name == "bare_values");
    let mut wasm = bare
        .context("there is no program `bare_values`")?
        .wasm
        .clone();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(programs.join("wit/values"))?;
    CustomSection {
        name: PackageMetadata::SECTION_NAME.into(),
        data: Cow::Owned(PackageMetadata::extract(&resolve, package).encode()?),
    }
    .append_to_component(&mut wasm);
    Ok(Program {
        name: "bare_documented".into(),
        subject: "`bare_values` with the documentation of its WIT package.".into(),
        kind: Kind::Bare,
        wasm,
    })
}
