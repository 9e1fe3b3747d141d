//! `portreeve data`: what plugins keep.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal as _, Read};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use dialoguer::Confirm;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{DataAct, DataDone, DataEntry, Project};
use portreeve_manifest::id::Alias;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::papers::bytes;
use crate::context::Context;
use crate::progress::Progress;
use crate::prompt::answered;
use crate::session::Session;
use crate::{error, output, review, text};

/// Longest line that is read, in bytes: more than the largest value and the longest key, quoted.
const LINE_BYTES_MAX: u64 = 15 << 20;

/// Entries that are put in at once.
const ENTRIES_MAX: usize = 1_000;

/// Bytes of the values that are put in at once; one value may be larger.
const BYTES_MAX: usize = 4 << 20;

/// Take out, put in or remove what plugins keep.
///
/// This is the key-value storage that a plugin has under `grants.storage.kv`. Entries are written
/// one to a line, as JSON: `key`, `value` in base64, where it ends `expires` (milliseconds since
/// 1970, UTC), and `bucket` where it has one. Each act is on record.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve data export notes > notes.jsonl
  portreeve data import notes notes.jsonl
  portreeve data import notes < notes.jsonl
  portreeve data clear notes --yes")]
pub(crate) struct Data {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Write what a plugin keeps to standard output.
    ///
    /// What changes meanwhile may be missing or there; all else is there once.
    Export {
        /// The plugin, by its name in this project, or one that was removed.
        alias: Alias,
    },
    /// Put entries among what a plugin keeps, in place of those of the same keys.
    ///
    /// The plugin must be granted that much. Up to a thousand entries are put in at a time, all
    /// of these or none; when one can't be, those before it stay.
    Import {
        /// The plugin, by its name in this project.
        alias: Alias,
        /// The file; standard input where none is given.
        file: Option<PathBuf>,
    },
    /// Remove all that a plugin keeps. There is no way back.
    Clear {
        /// The plugin, by its name in this project, or one that was removed.
        alias: Alias,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
}

impl Data {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        match &self.what {
            What::Export { alias } => context.block_on(asking(project, async |owner: &mut _| {
                export(owner, alias).await
            })),
            What::Import { alias, file } => {
                let entries = Entries::open(file.as_ref())?;
                let imported = context.block_on(asking(project, async |owner: &mut _| {
                    import(owner, alias, entries).await
                }))?;
                let result = json!({ "alias": alias, "imported": imported });
                context.output.result(&result, || {
                    format!("{imported} entries are now among what `{alias}` keeps")
                })
            }
            What::Clear { alias, yes } => {
                if !yes && !sure(alias)? {
                    bail!("nothing was removed");
                }
                let done = context.block_on(asking(project, async |owner: &mut Owner| {
                    let alias = alias.clone();
                    owner.ask(DataAct::Clear { alias }).await
                }))?;
                let DataDone::Cleared { keys, bytes: size } = done else {
                    return Err(other());
                };
                let result = json!({ "alias": alias, "keys": keys, "bytes": size });
                context.output.result(&result, || {
                    format!(
                        "removed what `{alias}` kept: {keys} keys with {}",
                        bytes(size)
                    )
                })
            }
        }
    }
}

/// Whether the person at the terminal means it.
fn sure(alias: &Alias) -> anyhow::Result<bool> {
    if !review::is_interactive() {
        return Err(error::usage(format!(
            "nobody can be asked here: --yes removes all that `{alias}` keeps; `portreeve data export {alias}` writes it to a file first"
        )));
    }
    let question = Confirm::new()
        .with_prompt(format!(
            "Remove all that `{alias}` keeps? There is no way back."
        ))
        .default(false);
    answered(|| question.interact())
}

/// Whoever owns the project, asked several things.
struct Owner {
    session: Session,
    progress: Arc<Progress>,
}

impl Owner {
    async fn ask(&mut self, act: DataAct) -> anyhow::Result<DataDone> {
        let request = ControlRequest::Data(act);
        let cancel = CancellationToken::new();
        match self.session.ask(request, &self.progress, &cancel).await? {
            ControlAnswer::Data(done) => Ok(done),
            _ => Err(other()),
        }
    }
}

fn other() -> anyhow::Error {
    anyhow::anyhow!("the owner of the project answered something else")
}

/// Does something with the owner, and lets go of the project afterwards, come what may.
async fn asking<T>(
    project: Project,
    work: impl AsyncFnOnce(&mut Owner) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let progress = Arc::new(Progress::new());
    progress.quick_step("opening the project");
    let mut owner = Owner {
        session: Session::open(project).await?,
        progress,
    };
    owner.progress.clear();
    let done = work(&mut owner).await;
    owner.session.end().await;
    done
}

async fn export(owner: &mut Owner, alias: &Alias) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let alias = alias.clone();
        let DataDone::Page { entries, next } = owner.ask(DataAct::Export { alias, after }).await?
        else {
            return Err(other());
        };
        for entry in &entries {
            let line = serde_json::to_string(entry)?;
            output::print(&text::line(&text::json(&line)))?;
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn import(owner: &mut Owner, alias: &Alias, mut entries: Entries) -> anyhow::Result<u64> {
    let mut imported = 0_u64;
    loop {
        let some = entries.some()?;
        if some.is_empty() {
            return Ok(imported);
        }
        let act = DataAct::Import {
            alias: alias.clone(),
            entries: some,
        };
        let before = imported;
        let done = owner.ask(act).await;
        let done = done.with_context(|| match before {
            0 => "nothing was put in".to_owned(),
            before => format!("the first {before} entries were put in, and the next ones not"),
        })?;
        let DataDone::Imported(count) = done else {
            return Err(other());
        };
        imported = imported.saturating_add(count);
    }
}

/// Entries of a file, a part at a time.
struct Entries {
    from: Box<dyn BufRead>,
    name: String,
    line: usize,
    /// What was read and did not fit into the part before.
    next: Option<DataEntry>,
}

impl Entries {
    fn open(file: Option<&PathBuf>) -> anyhow::Result<Entries> {
        let (from, name): (Box<dyn BufRead>, String) = match file {
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path).with_context(|| format!("{name} can't be read"))?;
                (Box::new(BufReader::new(file)), name)
            }
            None if std::io::stdin().is_terminal() => {
                return Err(error::usage(
                    "name a file, or pass its lines on standard input",
                ));
            }
            None => (
                Box::new(BufReader::new(std::io::stdin())),
                "standard input".to_owned(),
            ),
        };
        Ok(Entries {
            from,
            name,
            line: 0,
            next: None,
        })
    }

    /// The next entries, as many as are put in at once; none at the end.
    fn some(&mut self) -> anyhow::Result<Vec<DataEntry>> {
        let (mut some, mut bytes) = (Vec::new(), 0_usize);
        loop {
            let entry = match self.next.take() {
                Some(entry) => entry,
                None => match self.entry()? {
                    Some(entry) => entry,
                    None => return Ok(some),
                },
            };
            bytes = bytes.saturating_add(entry.value.len());
            if some.len() >= ENTRIES_MAX || (bytes > BYTES_MAX && !some.is_empty()) {
                self.next = Some(entry);
                return Ok(some);
            }
            some.push(entry);
        }
    }

    fn entry(&mut self) -> anyhow::Result<Option<DataEntry>> {
        loop {
            let mut line = Vec::new();
            let at_most = LINE_BYTES_MAX.saturating_add(1);
            let read = (&mut self.from).take(at_most).read_until(b'\n', &mut line);
            self.line = self.line.saturating_add(1);
            let place = || format!("line {} of {}", self.line, self.name);
            if read.with_context(|| format!("{} can't be read", place()))? == 0 {
                return Ok(None);
            }
            if line.len() as u64 > LINE_BYTES_MAX {
                bail!(
                    "{} has more than {LINE_BYTES_MAX} bytes, which is more than any entry",
                    place()
                );
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let entry = serde_json::from_slice(&line);
            return entry.map(Some).with_context(|| {
                format!(
                    "{} is no entry as `portreeve data export` writes it",
                    place()
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Entries {
        Entries {
            from: Box::new(std::io::Cursor::new(text.to_owned())),
            name: "f".to_owned(),
            line: 0,
            next: None,
        }
    }

    #[test]
    fn entries_are_read_in_parts() {
        let line = |key: usize, bytes: usize| {
            let entry = DataEntry {
                bucket: String::new(),
                key: key.to_string(),
                value: vec![7; bytes],
                expires: None,
            };
            serde_json::to_string(&entry).unwrap() + "\n\n"
        };
        let small: String = (0..2_500).map(|number| line(number, 3)).collect();
        let large: String = (0..3).map(|number| line(number, 3 << 20)).collect();
        for (text, parts) in [
            (small, &[1_000, 1_000, 500, 0][..]),
            (large, &[1, 1, 1, 0]),
            (line(0, 8 << 20), &[1, 0]),
            (String::new(), &[0]),
        ] {
            let mut entries = entries(&text);
            for part in parts {
                assert_eq!(entries.some().unwrap().len(), *part);
            }
        }
    }

    #[test]
    fn a_line_that_is_no_entry_is_told_with_its_place() {
        let mut entries = entries("{\"key\":\"k\",\"value\":\"\"}\n\n{\"key\":\"k\"}\n");
        let told = format!("{:#}", entries.some().unwrap_err());
        assert!(told.contains("line 3 of f"), "{told}");
    }
}
