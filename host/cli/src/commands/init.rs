//! `portreeve init`: a new project.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use portreeve_core::MANIFEST;
use portreeve_manifest::edit;
use serde_json::json;

use super::papers::read_text;
use crate::context::Context;
use crate::output;

/// What a project keeps for itself, as `.gitignore` says it.
const IGNORED: &str = ".portreeve/";

/// Largest `.gitignore` that is read, in bytes.
const GITIGNORE_BYTES_MAX: u64 = 1 << 20;

/// Make a directory a project: write portreeve.toml.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve init              here
  portreeve init ~/tools      there")]
pub(crate) struct Init {
    /// The directory; made where it is missing.
    #[arg(default_value = ".")]
    dir: PathBuf,
}

impl Init {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("the directory {} can't be made", self.dir.display()))?;
        let dir = self
            .dir
            .canonicalize()
            .with_context(|| format!("the directory {} can't be used", self.dir.display()))?;
        let path = dir.join(MANIFEST);
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        write_new(&path, &edit::new_project(&name))?;
        let ignored = ignore(&dir)?;
        let result = json!({
            "project": output::path(&dir),
            "manifest": output::path(&path),
            "gitignore": ignored,
        });
        context.output.result(&result, || {
            let also = if ignored {
                format!(", and `{IGNORED}` into .gitignore")
            } else {
                String::new()
            };
            format!(
                "wrote {}{also}\nnext: `portreeve add PATH` installs a plugin",
                path.display()
            )
        })
    }
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => anyhow::bail!(
            "{} is there already and is left as it is; this is a project: see `portreeve list`",
            path.display()
        ),
        written => written.with_context(|| format!("{} can't be written", path.display())),
    }
}

/// Adds what a project keeps for itself to the `.gitignore` of a git work tree. Says whether
/// it did.
fn ignore(dir: &Path) -> anyhow::Result<bool> {
    let path = dir.join(".gitignore");
    let in_work_tree = dir.ancestors().any(|dir| dir.join(".git").exists());
    if !in_work_tree || !path.is_file() {
        return Ok(false);
    }
    let text = read_text(&path, GITIGNORE_BYTES_MAX)?;
    let same = |line: &str| line.trim().trim_matches('/') == IGNORED.trim_matches('/');
    if text.lines().any(same) {
        return Ok(false);
    }
    let start = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{start}{IGNORED}\n").as_bytes()))
        .with_context(|| format!("{} can't be written", path.display()))?;
    Ok(true)
}
