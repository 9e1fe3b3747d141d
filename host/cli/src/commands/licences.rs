//! `portreeve licenses`: under which terms plugins come.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Error;
use clap::Args;
use portreeve_manifest::id::Alias;
use portreeve_manifest::project::ProjectManifest;
use portreeve_supply::Package;
use portreeve_supply::licence::{self, Answer, Report, Rules, Verdict};
use serde_json::{Value, json};

use super::inspect;
use super::papers::{count, read_installed};
use crate::context::Context;
use crate::{error, exit::Exit, output, text};

/// Show the licences of plugins and of what they were made from.
///
/// Shows what each declares, what [policy.licenses] says of it, and whether it goes together
/// with the plugin's own licence, by a table that people have made: for review, and no legal
/// advice. What a component was made from is its author's word.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve licenses                            of all plugins of the project
  portreeve licenses dist/markdown-0.1.0.wasm --json
  portreeve licenses markdown --notice NOTICE   names everybody, with their texts")]
pub(crate) struct Licences {
    /// A component file, a directory that holds one, or the alias of an installed plugin; all
    /// of the project by default.
    #[arg(value_name = "PATH|ALIAS")]
    what: Option<PathBuf>,
    /// Write an attribution file as well.
    #[arg(long, value_name = "FILE")]
    notice: Option<PathBuf>,
}

/// A plugin, read or not.
struct Examined {
    alias: Alias,
    read: Result<(Package, Report), String>,
}

impl Licences {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let examined = self.examine(context)?;
        if let Some(file) = &self.notice {
            let notices: Vec<String> = examined
                .iter()
                .filter_map(|plugin| Some(licence::notice(&plugin.read.as_ref().ok()?.0)))
                .collect();
            super::papers::write(file, notices.join("\n\n").as_bytes())?;
        }
        let refused = examined.iter().any(|plugin| {
            let report = plugin.read.as_ref().ok();
            report.is_some_and(|(_, report)| report.refusal(&plugin.alias).is_some())
        });
        let result = json!({
            "plugins": examined.iter().map(describe).collect::<Vec<_>>(),
            "notice": self.notice.as_deref().map(output::path),
        });
        context.output.result(&result, || show(&examined))?;
        if refused {
            return Err(error::shown(Exit::Refused));
        }
        Ok(())
    }

    fn examine(&self, context: &Context) -> anyhow::Result<Vec<Examined>> {
        let project = context.project().ok();
        let manifest = match &project {
            Some(project) => Some(context.manifest(project)?),
            None => None,
        };
        let rules = match (&project, &manifest) {
            (Some(project), Some(manifest)) => {
                Rules::load(manifest.policy.licenses.as_ref(), project.dir()).map_err(Error::msg)?
            }
            _ => Rules::default(),
        };
        if let Some(what) = &self.what {
            let (_, package, installed) = inspect::find(what, context)?;
            let name = what.to_str().filter(|_| installed.is_some());
            let alias = Alias::new(name.unwrap_or(package.manifest.id.as_str()))?;
            let report = licence::examine(&package, &alias, &rules);
            let read = Ok((package, report));
            return Ok(vec![Examined { alias, read }]);
        }
        let (Some(project), Some(manifest)) = (project, manifest) else {
            context.project()?;
            return Ok(Vec::new());
        };
        let plugins = manifest.plugins.iter().map(|(alias, entry)| {
            let read = read_installed(&project, entry)
                .map(|(_, package)| {
                    let report = licence::examine(&package, alias, &rules);
                    (package, report)
                })
                .map_err(|error| format!("{error:#}"));
            let alias = alias.clone();
            Examined { alias, read }
        });
        Ok(plugins.collect())
    }
}

/// Holds a component's licences against the policy of the project, where there is one.
///
/// # Errors
/// Why that can't be read.
pub(crate) fn judge(
    context: &Context,
    manifest: Option<&ProjectManifest>,
    package: &Package,
    alias: &Alias,
) -> Result<Report, String> {
    let rules = match (context.project(), manifest) {
        (Ok(project), Some(manifest)) => {
            Rules::load(manifest.policy.licenses.as_ref(), project.dir())?
        }
        _ => Rules::default(),
    };
    Ok(licence::examine(package, alias, &rules))
}

fn describe(plugin: &Examined) -> Value {
    match &plugin.read {
        Ok((_, report)) => json!({
            "alias": plugin.alias,
            "report": report,
            "refusal": report.refusal(&plugin.alias),
        }),
        Err(why) => json!({ "alias": plugin.alias, "error": why }),
    }
}

/// What is to be looked at, a line each.
pub(crate) fn notes(report: &Report) -> String {
    let mut shown = String::new();
    for note in &report.notes {
        // Writing to a string can't fail.
        let (about, found) = (text::line(&note.about), text::line(&note.found));
        let _ = writeln!(shown, "  {}: {about}: {found}", note.rule);
    }
    shown
}

/// The whole in a line, why the policy refuses it, and what to look at.
pub(crate) fn section(licences: &Result<Report, String>, alias: &Alias) -> String {
    let report = match licences {
        Ok(report) => report,
        Err(why) => return format!("licences can't be judged: {}\n", text::line(why)),
    };
    let parts = report.rows.iter().skip(1).filter(|row| !row.build_only);
    let mut shown = format!(
        "licences of it and {}: `portreeve licenses` shows them\n",
        count(parts.count(), "package")
    );
    if let Some(why) = report.refusal(alias) {
        // Writing to a string can't fail.
        let _ = writeln!(shown, "  refused: {}", text::line(&why));
    }
    shown + &notes(report)
}

fn show(examined: &[Examined]) -> String {
    if examined.is_empty() {
        return "no plugins here yet; `portreeve add PATH` installs one".to_owned();
    }
    let mut shown = String::new();
    let mut source = None;
    for plugin in examined {
        let report = match &plugin.read {
            Ok((_, report)) => report,
            Err(why) => {
                let _ = writeln!(shown, "{}: {}", plugin.alias, text::line(why));
                continue;
            }
        };
        source = Some(&report.compatibility);
        for row in &report.rows {
            let indent = if row.ecosystem.is_some() { "  " } else { "" };
            let label = format!(
                "{indent}{} {}",
                text::line(&row.name),
                text::line(&row.version)
            );
            let licence = row.license.as_deref().unwrap_or("unknown");
            let fits = match row.fits {
                _ if row.build_only => "build only",
                None => "",
                Some(Answer::Fine) => "fits",
                Some(Answer::Unknown) => "fits: unknown",
                Some(Answer::Conflict) => "conflict",
            };
            let verdict = row.verdict.word();
            let line = format!(
                "{label:<36} {:<34} {verdict:<10} {fits}",
                text::line(licence)
            );
            let _ = writeln!(shown, "{}", line.trim_end());
            if let Verdict::Exception { reason } = &row.verdict {
                let _ = writeln!(shown, "{indent}  reason: {}", text::line(reason));
            }
        }
        if !report.dependencies_known {
            shown.push_str("  what it was made from is not, or not all, recorded: unknown\n");
        }
        shown.push_str(&notes(report));
        if let Some(why) = report.refusal(&plugin.alias) {
            let _ = writeln!(shown, "  refused: {}", text::line(&why));
        }
    }
    if let Some(source) = source {
        let source = text::line(source);
        let _ = writeln!(shown, "what fits: {source}; for review, no legal advice");
    }
    shown
}
