//! `portreeve sbom`: what a component was made from, for other tools.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portreeve_supply::sbom;

use super::inspect;
use super::papers::write;
use crate::context::Context;
use crate::output;

/// Write the software bill of materials of a component.
///
/// It holds what the component carries: its list of packages, or a bill of another tool. A
/// package that is recorded was there when the component was built.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve sbom markdown                       CycloneDX 1.6, to standard output
  portreeve sbom dist/markdown-0.1.0.wasm --format spdx --out markdown.spdx.json")]
pub(crate) struct Sbom {
    /// A component file, a directory that holds one, or the alias of an installed plugin.
    #[arg(value_name = "PATH|ALIAS")]
    what: PathBuf,
    /// Which format.
    #[arg(long, value_enum, default_value_t = Format::Cyclonedx)]
    format: Format,
    /// Where to write it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// CycloneDX 1.6, as JSON.
    Cyclonedx,
    /// SPDX 2.3, as JSON.
    Spdx,
}

impl Sbom {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let (_, package, _) = inspect::find(&self.what, context)?;
        for problem in &package.dependencies.problems {
            output::note(format!("not read: {problem}"));
        }
        if package.dependencies.sources.is_empty() {
            output::note("what it was made from is not recorded: the bill names it alone");
        }
        let subject = sbom::Subject::package(&package);
        let list = &package.dependencies.list;
        let bill = match self.format {
            Format::Cyclonedx => sbom::cyclonedx(&subject, list),
            Format::Spdx => {
                let now = jiff::Timestamp::now()
                    .strftime("%Y-%m-%dT%H:%M:%SZ")
                    .to_string();
                sbom::spdx(&subject, list, &now)
            }
        };
        match &self.out {
            None => output::print_json(&bill),
            Some(file) => {
                write(
                    file,
                    format!("{}\n", serde_json::to_string_pretty(&bill)?).as_bytes(),
                )?;
                let result = serde_json::json!({ "file": output::path(file) });
                context
                    .output
                    .result(&result, || format!("wrote {}", file.display()))
            }
        }
    }
}
