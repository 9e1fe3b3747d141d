//! `portreeve advisories`: known weaknesses of what plugins were made from.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{AdvisoryAct, Project};
use portreeve_manifest::id::Alias;
use portreeve_manifest::policy::AdvisoryPolicy;
use portreeve_manifest::project::{PluginSource, ProjectManifest};
use portreeve_supply::Package;
use portreeve_supply::advisory::{
    self, AdvisoryStore, Collector, Database, DatabaseInfo, Judged, Report, Standing,
};
use serde_json::{Value, json};

use super::inspect;
use super::papers::{count, read_installed};
use crate::context::Context;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::{error, output, places, sources, text};

/// Show known weaknesses of the packages that plugins were made from.
///
/// Holds what plugins record of their packages against a database on this machine, which you
/// keep up to date: RustSec's repository, and what OSV publishes of crates.io, npm and PyPI.
/// Nothing is fetched by itself. What a component was made from is its author's word.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve advisories update ~/src/advisory-db ~/Downloads/all.zip
  portreeve advisories update oci://registry.example.com/security/advisories
  portreeve advisories status
  portreeve advisories check                 all plugins of the project
  portreeve advisories check dist/markdown-0.1.0.wasm --json")]
pub(crate) struct Advisories {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Update(Update),
    Status(Status),
    Check(Check),
}

/// Replace the database, and hold what is installed against it.
///
/// Takes directories, OSV's archives, single files and artifacts in registries, whose one layer
/// is such an archive or file. All of them together become the database: what was there is
/// replaced. On record in the project's audit log; what is newly known of its plugins raises
/// alerts.
#[derive(Args)]
struct Update {
    /// Where advisories are.
    #[arg(required = true, value_name = "DIR|FILE|oci://REFERENCE")]
    sources: Vec<PathBuf>,
}

/// Say what the database is, and how old.
#[derive(Args)]
struct Status {}

/// Hold what plugins were made from against the database.
#[derive(Args)]
struct Check {
    /// A component file, a directory that holds one, or the alias of an installed plugin; all
    /// of the project by default.
    #[arg(value_name = "PATH|ALIAS")]
    what: Option<PathBuf>,
}

impl Advisories {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        match &self.what {
            What::Update(update) => update.run(context),
            What::Status(_) => status(context),
            What::Check(check) => check.run(context),
        }
    }
}

/// What is known of weaknesses here, and what the operator makes of it.
pub(crate) struct Known {
    database: Result<Option<Database>, String>,
    policy: Option<AdvisoryPolicy>,
}

impl Known {
    /// Reads the database of this machine.
    pub(crate) fn open(manifest: Option<&ProjectManifest>) -> anyhow::Result<Known> {
        let database = places::advisories()?.open();
        Ok(Known {
            database: database.map_err(|error| error.to_string()),
            policy: manifest.and_then(|manifest| manifest.policy.advisories.clone()),
        })
    }

    /// The database; none where there is none, or it can't be used.
    fn database(&self) -> Option<&Database> {
        self.database.as_ref().ok()?.as_ref()
    }

    /// Holds a package against it.
    pub(crate) fn examine(&self, package: &Package, alias: &Alias) -> Report {
        let database = self.database.as_ref().map(Option::as_ref);
        let database = database.map_err(String::as_str);
        advisory::examine(
            package,
            alias,
            database,
            self.policy.as_ref(),
            Timestamp::now(),
        )
    }
}

/// What is to be looked at, a line each.
pub(crate) fn notes(report: &Report) -> String {
    let mut shown = String::new();
    for Judged { hit, standing } in &report.found {
        let standing = match standing {
            Standing::Refuses => "REFUSED: ".to_owned(),
            Standing::Told => String::new(),
            Standing::Ignored { reason, until } => match until {
                Some(until) => format!("passed over until {until} ({reason}): "),
                None => format!("passed over ({reason}): "),
            },
        };
        // Writing to a string can't fail.
        let _ = writeln!(
            shown,
            "  {}",
            text::line(&format!("{standing}{}", hit.words()))
        );
    }
    for gap in report.gaps() {
        let _ = writeln!(shown, "  unknown: {}", text::line(&gap));
    }
    shown
}

/// The same under a heading that says against what it was held.
pub(crate) fn section(report: &Report) -> String {
    let against = match &report.database {
        Some(info) => format!(
            " of {}, held against {}",
            count(report.packages, "package"),
            info.words()
        ),
        None => String::new(),
    };
    let number = match report.found.len() {
        1 => "1 advisory".to_owned(),
        number => format!("{number} advisories"),
    };
    format!("{number}{}\n{}", text::line(&against), notes(report))
}

/// What another component is said to have, and what it has no more, than the one before.
pub(crate) fn changes(before: &Report, now: &Report) -> Vec<String> {
    let names = |report: &Report| -> Vec<String> {
        let found = report.found.iter();
        found.map(|judged| judged.hit.id.clone()).collect()
    };
    let (known, left) = (names(before), names(now));
    let new = now
        .found
        .iter()
        .filter(|judged| !known.contains(&judged.hit.id));
    let gone = before
        .found
        .iter()
        .filter(|judged| !left.contains(&judged.hit.id));
    let new = new.map(|judged| format!("new advisory: {}", judged.hit.words()));
    let gone = gone.map(|judged| {
        let (id, package) = (&judged.hit.id, judged.hit.package.label());
        format!("no more: {id} of {package}")
    });
    new.chain(gone)
        .map(|line| text::line(&line).to_string())
        .collect()
}

impl Update {
    fn run(&self, context: &Context) -> anyhow::Result<()> {
        let project = context.project().ok();
        let manifest = match &project {
            Some(project) => Some(context.manifest(project)?),
            None => None,
        };
        let mut found = Collector::default();
        for source in &self.sources {
            match source.to_str().filter(|text| text.contains("://")) {
                None => found.path(source)?,
                Some(text) => fetch(
                    context,
                    text,
                    &mut found,
                    project.as_ref(),
                    manifest.as_ref(),
                )?,
            }
        }
        let store = places::advisories()?;
        // One that can't be used is replaced like any other.
        let before = store.open().ok().flatten();
        let before = before.map(|database| database.info().clone());
        for problem in found.problems() {
            output::note(format!("not read: {}", text::line(problem)));
        }
        let staged = store.stage(found, Timestamp::now().as_millisecond())?;
        let info = staged.info.clone();
        let path = staged.keep()?;
        let placed = place(context, project.as_ref(), &store, &path);
        if placed.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        let record = placed?;
        if before
            .as_ref()
            .is_some_and(|before| before.newest > info.newest)
        {
            output::note(
                "its newest advisory is older than that of the database before: is the source up to date?",
            );
        }
        let plugins = match (&project, &manifest) {
            (Some(project), Some(manifest)) => {
                installed(project, manifest, &Known::open(Some(manifest))?)
            }
            _ => Vec::new(),
        };
        let result = json!({
            "database": info,
            "record": record,
            "plugins": plugins.iter().map(Examined::describe).collect::<Vec<_>>(),
        });
        context.output.result(&result, || {
            let mut shown = format!("took in {}", about(&info));
            for plugin in &plugins {
                shown.push_str(&plugin.show());
            }
            shown
        })
    }
}

/// Puts a database into its place: by the owner of the project, who records it, where there is
/// one.
fn place(
    context: &Context,
    project: Option<&Project>,
    store: &AdvisoryStore,
    staged: &Path,
) -> anyhow::Result<Option<i64>> {
    let Some(project) = project else {
        store.adopt(staged)?;
        return Ok(None);
    };
    let act = AdvisoryAct::Replace {
        staged: staged.to_owned(),
    };
    let request = ControlRequest::Advisories(act);
    match context.ask(project.clone(), "holding plugins against it", request)? {
        ControlAnswer::Advisories(done) => Ok(Some(done.record)),
        other => anyhow::bail!("the owner of the project answered something else: {other:?}"),
    }
}

/// Takes an artifact of a registry.
fn fetch(
    context: &Context,
    source: &str,
    found: &mut Collector,
    project: Option<&Project>,
    manifest: Option<&ProjectManifest>,
) -> anyhow::Result<()> {
    let PluginSource::Oci(reference) = PluginSource::parse(source).map_err(error::usage)? else {
        return Err(error::usage(format!(
            "{source} is no artifact in a registry: give a directory, a file, or oci://REGISTRY/OWNER/NAME"
        )));
    };
    let sources = match (project, manifest) {
        (Some(project), Some(manifest)) => sources::open(project, manifest)?,
        _ => {
            let none = ProjectManifest::parse("portreeve.toml", "schema = 1\n")?;
            sources::open_anywhere(Path::new("."), &none)?
        }
    };
    let progress = Arc::new(Progress::new());
    let shown = sources::shown(&progress, source);
    let max = found.archive_max();
    let artifact = context.block_on(async {
        let artifact = sources.artifact(&reference, max, &shown).await;
        artifact.map_err(sources::failed)
    });
    progress.clear();
    let artifact = artifact?;
    Ok(found.bytes(&artifact.resolved, artifact.bytes)?)
}

fn about(info: &DatabaseInfo) -> String {
    let mut shown = format!("{}\n", info.words());
    if info.unread > 0 {
        // Writing to a string can't fail.
        let _ = writeln!(shown, "  {} could not be read", count(info.unread, "file"));
    }
    shown
}

fn status(context: &Context) -> anyhow::Result<()> {
    let manifest = match context.project() {
        Ok(project) => Some(context.manifest(&project)?),
        Err(_) => None,
    };
    let known = Known::open(manifest.as_ref())?;
    if let Err(why) = &known.database {
        anyhow::bail!("{why}");
    }
    let info = known.database().map(Database::info);
    let policy = known.policy.clone().unwrap_or_default();
    let age = info.and_then(|info| info.age_days(Timestamp::now()));
    let stale = info.is_some() && age.is_none_or(|age| age > policy.stale_after_days());
    let result = json!({
        "database": info,
        "file": output::path(&places::advisories()?.path()),
        "age-days": age,
        "stale": stale,
        "stale-after-days": policy.stale_after_days(),
    });
    context.output.result(&result, || {
        let Some(info) = info else {
            return "there is no database of advisories here: `portreeve advisories update SOURCE` takes one in".to_owned();
        };
        let mut shown = about(info);
        let taken = Timestamp::from_millisecond(info.taken);
        let taken = taken.map_or_else(|_| info.taken.to_string(), |time| time.to_string());
        // Writing to a string can't fail.
        let _ = writeln!(shown, "  taken in {taken} from {}", text::line(&info.sources.join(", ")));
        if stale {
            let age = age.map_or("of unknown age".to_owned(), |age| format!("{age} days old"));
            let _ = writeln!(
                shown,
                "OLD: it is {age}, where {} are the limit (`stale-after` under [policy.advisories]): `portreeve advisories update SOURCE` takes a new one in",
                count(usize::try_from(policy.stale_after_days()).unwrap_or(0), "day")
            );
        }
        shown
    })
}

/// A plugin, examined or not.
struct Examined {
    alias: Alias,
    read: Result<Report, String>,
}

impl Examined {
    fn refused(&self) -> bool {
        let report = self.read.as_ref().ok();
        report.is_some_and(|report| report.refusal(&self.alias).is_some())
    }

    fn describe(&self) -> Value {
        match &self.read {
            Ok(report) => json!({
                "alias": self.alias,
                "report": report,
                "refusal": report.refusal(&self.alias),
            }),
            Err(why) => json!({ "alias": self.alias, "error": why }),
        }
    }

    fn show(&self) -> String {
        match &self.read {
            Ok(report) => format!("{}: {}", self.alias, section(report)),
            Err(why) => format!("{}: {}\n", self.alias, text::line(why)),
        }
    }
}

/// All plugins of a project.
fn installed(project: &Project, manifest: &ProjectManifest, known: &Known) -> Vec<Examined> {
    let plugins = manifest.plugins.iter().map(|(alias, entry)| Examined {
        alias: alias.clone(),
        read: read_installed(project, entry)
            .map(|(_, package)| known.examine(&package, alias))
            .map_err(|error| format!("{error:#}")),
    });
    plugins.collect()
}

impl Check {
    fn run(&self, context: &Context) -> anyhow::Result<()> {
        let project = context.project().ok();
        let manifest = match &project {
            Some(project) => Some(context.manifest(project)?),
            None => None,
        };
        let known = Known::open(manifest.as_ref())?;
        let examined = match (&self.what, &project, &manifest) {
            (Some(what), ..) => {
                let (_, package, installed) = inspect::find(what, context)?;
                let name = what.to_str().filter(|_| installed.is_some());
                let alias = Alias::new(name.unwrap_or(package.manifest.id.as_str()))?;
                let read = Ok(known.examine(&package, &alias));
                vec![Examined { alias, read }]
            }
            (None, Some(project), Some(manifest)) => installed(project, manifest, &known),
            _ => {
                context.project()?;
                Vec::new()
            }
        };
        let plugins: Vec<Value> = examined.iter().map(Examined::describe).collect();
        context.output.result(&json!({ "plugins": plugins }), || {
            if examined.is_empty() {
                return "no plugins here yet; `portreeve add PATH` installs one".to_owned();
            }
            examined.iter().map(Examined::show).collect()
        })?;
        if examined.iter().any(Examined::refused) {
            return Err(error::shown(Exit::Refused));
        }
        Ok(())
    }
}
