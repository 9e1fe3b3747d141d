//! `portreeve scan`: what a component's bytes and texts show, and a score of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Error, bail};
use clap::Args;
use portreeve_core::{Project, read_lockfile};
use portreeve_manifest::id::Alias;
use portreeve_manifest::policy::{Policy, Severity};
use portreeve_supply::finding::{Certainty, Finding, rules};
use portreeve_supply::licence::{self, Rules};
use portreeve_supply::scan::{self, Examined, Report};
use portreeve_supply::{Digest, IntakeLimits, Package, source};
use serde_json::{Value, json};

use super::advisories::Known;
use super::inspect;
use super::papers::{count, read_installed};
use crate::context::Context;
use crate::exit::Exit;
use crate::{error, places, text};

/// Look through plugins, and make a score of what is found.
///
/// Looks through bytes, declarations and texts, and runs nothing: imports against requests,
/// keys and addresses in data, packed data, hidden characters and instructions to models in the
/// texts of tools. Facts can refuse a plugin, if [policy.scan] says so; guesses never do. A
/// scan sees what isn't hidden from it: that it finds nothing proves nothing.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve scan                            all plugins of the project
  portreeve scan dist/markdown-0.1.0.wasm   a component file
  portreeve scan markdown --json
  portreeve scan --rules                    what is looked for, and what it takes")]
pub(crate) struct Scan {
    /// A component file, a directory that holds one, or the alias of an installed plugin; all
    /// of the project by default.
    #[arg(value_name = "PATH|ALIAS")]
    what: Option<PathBuf>,
    /// Show the rules instead.
    #[arg(long, conflicts_with = "what")]
    rules: bool,
}

/// What components are judged by.
pub(crate) struct Judge {
    policy: Policy,
    project: Option<Project>,
    known: Known,
    licences: Rules,
}

/// A plugin, looked through or not.
struct Looked {
    alias: Alias,
    read: Result<Report, String>,
}

impl Judge {
    /// By the policy of the project, where there is one.
    ///
    /// # Errors
    /// A policy that can't be read.
    pub(crate) fn open(context: &Context) -> anyhow::Result<Judge> {
        let Ok(project) = context.project() else {
            return Ok(Judge {
                policy: Policy::default(),
                project: None,
                known: Known::open(None)?,
                licences: Rules::default(),
            });
        };
        let manifest = context.manifest(&project)?;
        let known = Known::open(Some(&manifest))?;
        let policy = manifest.policy;
        if let Some(policy) = &policy.scan {
            scan::check(policy).map_err(Error::msg)?;
        }
        let licences = policy.licenses.as_ref();
        Ok(Judge {
            licences: Rules::load(licences, project.dir()).map_err(Error::msg)?,
            policy,
            project: Some(project),
            known,
        })
    }

    /// Looks through a component, or takes what was found before, for the plugin with this
    /// alias.
    pub(crate) fn report(
        &self,
        file: &Path,
        package: &Package,
        alias: &Alias,
    ) -> anyhow::Result<Report> {
        let mut examined = examined(file, package)?;
        self.signed(package, alias, &mut examined);
        examined.licensed(&licence::judge(package, alias, &self.licences));
        examined.advised(&self.known.examine(package, alias));
        Ok(Report::new(examined, self.policy.scan.as_ref(), alias))
    }

    /// Who signed it, where it is the component that is installed: the gate has judged that.
    fn signed(&self, package: &Package, alias: &Alias, examined: &mut Examined) {
        let lock = self
            .project
            .as_ref()
            .and_then(|project| read_lockfile(project).ok());
        let locked = lock.and_then(|lock| lock.plugins.get(alias).cloned());
        let same = locked.filter(|locked| locked.digest == package.digest.to_string());
        if let (true, Some(locked)) = (self.policy.signatures().lists_signers(), same) {
            examined.signed(locked.signer.as_deref());
        }
    }
}

/// What was found in a component's file, now or before.
fn examined(file: &Path, package: &Package) -> anyhow::Result<Examined> {
    let store = places::artifacts()?;
    if let Some(known) = store.findings(&package.digest) {
        return Ok(known);
    }
    let bytes = source::read(file, &IntakeLimits::default())?.bytes;
    if Digest::of(&bytes) != package.digest {
        bail!(
            "{} was replaced while it was read: try again",
            file.display()
        );
    }
    Ok(scan::scan_once(&store, &bytes, package))
}

impl Scan {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        if self.rules {
            let table = json!({ "version": rules::VERSION, "rules": rules::ALL });
            return context.output.result(&table, show_rules);
        }
        let looked = self.look(context)?;
        let refused = looked.iter().any(|plugin| {
            let report = plugin.read.as_ref().ok();
            report.is_some_and(|report| report.refusal.is_some())
        });
        let result = json!({ "plugins": looked.iter().map(describe).collect::<Vec<_>>() });
        context.output.result(&result, || show(&looked))?;
        if refused {
            return Err(error::shown(Exit::Refused));
        }
        Ok(())
    }

    fn look(&self, context: &Context) -> anyhow::Result<Vec<Looked>> {
        let judge = Judge::open(context)?;
        if let Some(what) = &self.what {
            let (file, package, installed) = inspect::find(what, context)?;
            let name = what.to_str().filter(|_| installed.is_some());
            let alias = Alias::new(name.unwrap_or(package.manifest.id.as_str()))?;
            let read = Ok(judge.report(&file, &package, &alias)?);
            return Ok(vec![Looked { alias, read }]);
        }
        let project = context.project()?;
        let plugins = context.manifest(&project)?.plugins;
        let looked = plugins.iter().map(|(alias, entry)| {
            let read = read_installed(&project, entry)
                .and_then(|(file, package)| judge.report(&file, &package, alias));
            Looked {
                alias: alias.clone(),
                read: read.map_err(|error| format!("{error:#}")),
            }
        });
        Ok(looked.collect())
    }
}

fn describe(plugin: &Looked) -> Value {
    match &plugin.read {
        Ok(report) => json!({ "alias": plugin.alias, "report": report }),
        Err(why) => json!({ "alias": plugin.alias, "error": why }),
    }
}

fn show(looked: &[Looked]) -> String {
    if looked.is_empty() {
        return "no plugins here yet; `portreeve add PATH` installs one".to_owned();
    }
    let mut shown = String::new();
    for plugin in looked {
        // Writing to a string can't fail.
        match &plugin.read {
            Ok(report) => {
                let _ = writeln!(shown, "{}", plugin.alias);
                shown.push_str(&show_report(report));
            }
            Err(why) => {
                let _ = writeln!(shown, "{}: {}", plugin.alias, text::line(why));
            }
        }
    }
    shown
}

/// All that was found about one plugin, and the arithmetic of its score.
pub(crate) fn show_report(report: &Report) -> String {
    let mut shown = String::new();
    for finding in &report.findings.list {
        let _ = writeln!(shown, "{}", line(report, finding));
        let _ = writeln!(shown, "       {}", finding.rule.why);
        if let Some(reason) = report.exception(finding.rule) {
            let _ = writeln!(shown, "       excepted: {}", text::line(reason));
        }
    }
    for (rule, more) in &report.findings.more {
        let _ = writeln!(shown, "  and {more} more of {rule}");
    }
    for line in report.score.lines() {
        let _ = writeln!(shown, "  {line}");
    }
    if let Some(why) = &report.refusal {
        let _ = writeln!(shown, "  refused: {}", text::line(why));
    }
    shown
}

/// What somebody should look at, and the score, in a line each.
pub(crate) fn notes(report: &Report) -> String {
    let mut shown = String::new();
    let mut less = 0;
    for finding in &report.findings.list {
        if finding.rule.severity < Severity::Low {
            less += 1;
            continue;
        }
        let _ = writeln!(shown, "{}", line(report, finding));
    }
    let score = &report.score;
    let _ = writeln!(
        shown,
        "  scan: score {} of 100, by the {} points of 100 that could be looked at{}",
        score.score,
        score.coverage,
        match less {
            0 => String::new(),
            less => format!("; {} of no concern", count(less, "finding")),
        }
    );
    shown
}

fn line(report: &Report, finding: &Finding) -> String {
    let rule = finding.rule;
    let excepted = match report.exception(rule) {
        Some(_) => ", excepted",
        None => "",
    };
    let sure = match rule.certainty {
        Certainty::Fact => "",
        Certainty::Heuristic => ", for review",
    };
    format!(
        "  [{}{sure}{excepted}] {}: {}: {}",
        rule.severity,
        rule.id,
        text::line(&finding.place.to_string()),
        text::line(&finding.what)
    )
}

/// What an update brings that somebody should look at, and what it takes away: by rule.
pub(crate) fn changes(before: Option<&Report>, now: &Report) -> Vec<String> {
    let of = |report: &Report| -> Vec<&'static str> {
        report.findings.rules().iter().map(|rule| rule.id).collect()
    };
    let known = before.map(of).unwrap_or_default();
    let left = of(now);
    let mut lines: Vec<String> = now
        .findings
        .list
        .iter()
        .filter(|finding| !known.contains(&finding.rule.id))
        .map(|finding| format!("new:{}", line(now, finding).replacen("  ", " ", 1)))
        .collect();
    lines.extend(
        known
            .iter()
            .filter(|rule| !left.contains(rule))
            .map(|rule| format!("no more: {rule}")),
    );
    if let Some(before) = before.filter(|before| before.score.score != now.score.score) {
        lines.push(format!(
            "score: {} of 100, was {}",
            now.score.score, before.score.score
        ));
    }
    lines
}

/// What an update brings that its operator should agree to: from `medium` on, facts and guesses.
pub(crate) fn concerns(before: &Report, now: &Report) -> Option<String> {
    let news = now.news(before);
    let rules: Vec<&str> = news.iter().map(|rule| rule.id).collect();
    let words = format!(
        "the scan finds what it didn't before ({})",
        rules.join(", ")
    );
    (!rules.is_empty()).then_some(words)
}

fn show_rules() -> String {
    let mut shown = format!("rules, version {}\n", rules::VERSION);
    for rule in rules::ALL {
        let sure = match rule.certainty {
            Certainty::Fact => "fact",
            Certainty::Heuristic => "heuristic",
        };
        let _ = writeln!(
            shown,
            "{:<22} {:<16} {:<8} {sure:<9} {:>2}  {}",
            rule.id, rule.aspect, rule.severity, rule.points, rule.why
        );
    }
    shown
}
