//! The programs in text: `tests/programs/wat/*.wat`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{Kind, Program};

/// Assembles all of them.
pub(crate) fn programs(directory: &Path) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .context("an odd file name")?;
        let text = fs::read_to_string(&path)?;
        let subject = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix(";; "));
        programs.push(Program {
            name: name.to_owned(),
            subject: subject
                .with_context(|| format!("{name} doesn't say what it is"))?
                .to_owned(),
            kind: Kind::Text,
            wasm: wat::parse_file(&path)?,
        });
    }
    Ok(programs)
}
