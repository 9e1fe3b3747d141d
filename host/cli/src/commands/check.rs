//! `portreeve check`: an author's directory, without building it.

use std::path::PathBuf;

use clap::Args;
use portreeve_manifest::grant::Requests;
use portreeve_manifest::limits::Limits;
use portreeve_manifest::plugin::PluginManifest;
use portreeve_runtime::Runtime;
use portreeve_supply::evidence::{Evidence, Verdict, compare};
use portreeve_supply::{IntakeLimits, Package, source};
use serde::Serialize;
use serde_json::json;

use super::papers::AuthorFile;
use crate::cargo::Crate;
use crate::context::Context;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::{error, places, review};

/// Check a plugin's files without building it.
///
/// Checks a plugin's directory without building it: plugin.toml, Cargo.toml, and the package
/// in dist/ if there is one.
///
/// What plugin.toml requests is held against the interfaces that the package imports: a
/// request that nothing imports is unneeded, and what is imported without a request will be
/// refused. Hosts, paths and names can't be seen in imports, and where a guest language
/// imports more than it uses, the answer is `unknown`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve check
  portreeve check plugins/markdown --json")]
pub(crate) struct Check {
    /// The plugin's directory, with plugin.toml.
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    level: Level,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    Fine,
    /// Nothing tells.
    Unknown,
    Warning,
    Error,
}

impl Check {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let author = AuthorFile::read(&self.dir)?;
        let manifest = &author.manifest;
        let mut findings = vec![Finding {
            level: Level::Fine,
            message: format!(
                "{} describes {} {}",
                author.name, manifest.id, manifest.version
            ),
        }];
        findings.push(self.check_crate(&author));
        findings.extend(self.check_package(context, &author));
        let requests = manifest.requests.items();
        let result = json!({
            "id": manifest.id,
            "version": manifest.version,
            "findings": findings,
            "requests": requests,
        });
        context
            .output
            .result(&result, || show(&findings, manifest))?;
        if findings.iter().any(|finding| finding.level == Level::Error) {
            return Err(error::shown(Exit::Failed));
        }
        Ok(())
    }

    fn check_crate(&self, author: &AuthorFile) -> Finding {
        let checked = match Crate::read(&self.dir) {
            Ok(Some(found)) => found.check(&author.manifest, &author.name, &author.text),
            Ok(None) => {
                return Finding {
                    level: Level::Fine,
                    message: "no Cargo.toml: the component comes from another tool (`portreeve build --component FILE`)".to_owned(),
                };
            }
            Err(error) => Err(error),
        };
        match checked {
            Ok(()) => Finding {
                level: Level::Fine,
                message: "Cargo.toml makes a component of the same version".to_owned(),
            },
            Err(error) => Finding {
                level: Level::Error,
                message: format!("{error:#}"),
            },
        }
    }

    /// What is in dist/, if anything is.
    fn check_package(&self, context: &Context, author: &AuthorFile) -> Vec<Finding> {
        let finding = |level, message: String| vec![Finding { level, message }];
        let limits = IntakeLimits::default();
        let read = match source::read(&self.dir.join("dist"), &limits) {
            Ok(read) => read,
            Err(
                portreeve_supply::Error::NotFound(_) | portreeve_supply::Error::NothingBuilt(_),
            ) => {
                return finding(
                    Level::Fine,
                    "not built yet: `portreeve build` makes the package".to_owned(),
                );
            }
            Err(error) => return finding(Level::Error, error.to_string()),
        };
        let file = read.path.display().to_string();
        let package = match Package::read(&read.bytes, &read.name(), &limits) {
            Ok(package) => package,
            Err(error) => return finding(Level::Error, format!("{file}: {error}")),
        };
        let mut findings = Vec::new();
        let said = |manifest| serde_json::to_value(manifest).ok();
        if said(&package.manifest) == said(&author.manifest) {
            findings.extend(finding(
                Level::Fine,
                format!("{file} was packed with this plugin.toml"),
            ));
        } else {
            findings.extend(finding(
                Level::Warning,
                format!("{file} was packed with another plugin.toml: run `portreeve build`"),
            ));
        }
        findings.extend(check_imports(&author.manifest.requests, &package));
        // Whether every import is there can only be said by linking.
        let loaded = context.block_on(async {
            let progress = Progress::new();
            let runtime = Runtime::new(places::runtime()?)?;
            let bytes = read.bytes;
            runtime
                .load(
                    package.digest.as_bytes(),
                    Limits::default().stack,
                    move || Ok(bytes),
                    &|_| progress.step("compiling the package"),
                )
                .await?;
            Ok(())
        });
        findings.extend(match loaded {
            Ok(()) => finding(
                Level::Fine,
                format!("{file} fits this version of Portreeve"),
            ),
            Err(error) => finding(Level::Error, format!("{file}: {error:#}")),
        });
        findings
    }
}

/// What the author asks for against what the package imports.
fn check_imports(requests: &Requests, package: &Package) -> Vec<Finding> {
    let evidence = compare(requests, &package.surface);
    let mut findings: Vec<_> = evidence.iter().filter_map(judge).collect();
    // One sentence for all that can't be told, since the reason is one.
    if let Some(doubt) = package.surface.linkage.doubt() {
        for (verdict, what) in [
            (Verdict::PerhapsUnneeded, "which it requests and imports"),
            (
                Verdict::PerhapsUnrequested,
                "which it imports without a request (that use would be refused)",
            ),
        ] {
            let names: Vec<_> = evidence
                .iter()
                .filter(|found| found.verdict == verdict)
                .map(|found| format!("`{}`", found.feature))
                .collect();
            if !names.is_empty() {
                findings.push(Finding {
                    level: Level::Unknown,
                    message: format!("whether it uses {}, {what}: {doubt}", names.join(", ")),
                });
            }
        }
    }
    if !evidence.is_empty() {
        findings.push(Finding {
            level: Level::Unknown,
            message: "which hosts, paths and names it uses: imports don't show them".to_owned(),
        });
    }
    findings
}

/// What is known of one capability; none where nothing is, or where all is told together.
fn judge(found: &Evidence) -> Option<Finding> {
    let name = found.feature;
    let interfaces = found.interfaces.join(", ");
    let (level, message) = match found.verdict {
        Verdict::Fits => (
            Level::Fine,
            format!("it requests `{name}`, and imports {interfaces}"),
        ),
        Verdict::Unneeded => (
            Level::Warning,
            format!(
                "it requests `{name}`, but imports nothing that uses it ({interfaces}): take the request out of plugin.toml, so that no operator has to decide on it"
            ),
        ),
        Verdict::Unrequested => (
            Level::Warning,
            format!(
                "it imports {interfaces}, but does not request `{name}`, so that use will be refused: request it in plugin.toml, or leave out the code that uses it"
            ),
        ),
        Verdict::Unseen => (
            Level::Unknown,
            format!(
                "whether it uses `{name}`, which it requests: no import of this version shows that"
            ),
        ),
        Verdict::PerhapsUnneeded | Verdict::PerhapsUnrequested => return None,
    };
    Some(Finding { level, message })
}

fn show(findings: &[Finding], manifest: &PluginManifest) -> String {
    let mut shown = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Fine => "fine",
            Level::Unknown => "unknown",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        shown.push_str(&format!("{level}: {}\n", finding.message));
    }
    shown.push_str(&review::describe_all(manifest, None));
    shown
}
