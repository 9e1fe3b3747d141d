//! Advisories against the operator's policy, for one plugin.

use portreeve_manifest::id::Alias;
use portreeve_manifest::policy::{AdvisoryPolicy, Date, Severity};
use serde::Serialize;

use super::{Database, DatabaseInfo, Hit, Kind};
use crate::Package;
use crate::dependencies::Dependencies;

/// What becomes of an advisory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "standing")]
pub enum Standing {
    /// It refuses the plugin.
    Refuses,
    /// It is only told.
    Told,
    /// The operator passes over it.
    Ignored {
        /// The reason that the operator wrote.
        reason: String,
        /// Until which day.
        until: Option<Date>,
    },
}

/// An advisory, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judged {
    /// The advisory.
    #[serde(flatten)]
    pub hit: Hit,
    /// What becomes of it.
    #[serde(flatten)]
    pub standing: Standing,
}

/// What is known of the packages of one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The advisories, the worst first.
    pub found: Vec<Judged>,
    /// How many packages were looked at.
    pub packages: usize,
    /// Whether all packages that it was made from are recorded.
    pub packages_known: bool,
    /// Packages of kinds that no advisory is known of.
    pub packages_elsewhere: usize,
    /// What they were held against; nothing where there is no database.
    pub database: Option<DatabaseInfo>,
    /// Whether that is too old.
    pub stale: bool,
    /// Why the database could not be used.
    pub problem: Option<String>,
}

impl Report {
    /// Why the policy refuses the plugin; none where it doesn't.
    pub fn refusal(&self, alias: &Alias) -> Option<String> {
        let refusing = |judged: &&Judged| judged.standing == Standing::Refuses;
        let worst = self.found.iter().find(refusing)?;
        let more = self.found.iter().filter(refusing).count() - 1;
        let more = match more {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let Hit { id, package, .. } = &worst.hit;
        Some(format!(
            "advisory: {}{more}, which [policy.advisories] refuses; `portreeve advisories check` shows them, and an exception allows it: ignore = [{{ id = \"{id}\", plugin = \"{alias}\", reason = \"...\" }}]; better, ask its author for one that is made with a mended {}",
            worst.hit.words(),
            package.name,
        ))
    }

    /// Those of which somebody should know: what is neither information, nor passed over, nor
    /// only needed to build.
    pub fn alarming(&self) -> impl Iterator<Item = &Hit> {
        let judged = self.found.iter();
        judged
            .filter(|judged| {
                !matches!(judged.standing, Standing::Ignored { .. })
                    && judged.hit.kind != Kind::Information
                    && !judged.hit.package.build_only
            })
            .map(|judged| &judged.hit)
    }

    /// What is not known, in a sentence each.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        match (&self.database, &self.problem) {
            (_, Some(problem)) => gaps.push(problem.clone()),
            (None, None) => gaps.push(
                "there is no database of advisories here: `portreeve advisories update SOURCE` takes one in"
                    .to_owned(),
            ),
            (Some(info), None) if self.stale => {
                let newest = info.newest.as_deref().unwrap_or("an unknown date");
                gaps.push(format!(
                    "the database of advisories is old: its newest is of {newest}; `portreeve advisories update SOURCE` takes a new one in"
                ));
            }
            _ => {}
        }
        if !self.packages_known {
            gaps.push("what it was made from is not, or not all, recorded".to_owned());
        }
        if self.packages_elsewhere > 0 {
            gaps.push(format!(
                "{} of its packages are of kinds that are not looked up",
                self.packages_elsewhere
            ));
        }
        gaps
    }
}

impl Hit {
    /// In a sentence, for people.
    pub fn words(&self) -> String {
        let how = match (self.certain, self.kind) {
            (false, _) => "may be affected, its version can't be compared: ",
            (true, Kind::Malicious) => "means harm: ",
            (true, _) => "",
        };
        let built = if self.package.build_only {
            " (only needed to build)"
        } else {
            ""
        };
        let fixed = match self.fixed.as_slice() {
            [] => String::new(),
            versions => format!("; mended in {}", versions.join(", ")),
        };
        format!(
            "{} {}{built} {how}{} [{}]{fixed}",
            self.id,
            self.package.label(),
            self.summary,
            self.severity_word()
        )
    }

    /// Its severity in a word or two.
    pub fn severity_word(&self) -> &'static str {
        match (self.kind, self.severity) {
            (Kind::Information, _) => "for information",
            (Kind::Malicious, _) => "critical",
            (_, Some(Severity::Info)) => "for information",
            (_, Some(Severity::Low)) => "low",
            (_, Some(Severity::Medium)) => "medium",
            (_, Some(Severity::High)) => "high",
            (_, Some(Severity::Critical)) => "critical",
            (_, None) => "not said, counts as high",
        }
    }
}

/// Holds the packages that a plugin was made from against a database, as the policy wants it.
pub fn examine(
    package: &Package,
    alias: &Alias,
    database: Result<Option<&Database>, &str>,
    policy: Option<&AdvisoryPolicy>,
    now: jiff::Timestamp,
) -> Report {
    examine_list(&package.dependencies, alias, database, policy, now)
}

/// The same for a list of packages alone.
pub(super) fn examine_list(
    dependencies: &Dependencies,
    alias: &Alias,
    database: Result<Option<&Database>, &str>,
    policy: Option<&AdvisoryPolicy>,
    now: jiff::Timestamp,
) -> Report {
    let none = AdvisoryPolicy::default();
    let policy = policy.unwrap_or(&none);
    let mut problem = database.err().map(str::to_owned);
    let database = database.ok().flatten();
    let mut found = Vec::new();
    let mut packages_elsewhere = 0;
    if let Some(database) = database {
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        for dependency in &dependencies.list {
            if dependency.ecosystem == crate::dependencies::Ecosystem::Other {
                packages_elsewhere += 1;
                continue;
            }
            match database.find(dependency) {
                Ok(hits) => found.extend(hits.into_iter().map(|hit| Judged {
                    standing: standing(&hit, alias, policy, today),
                    hit,
                })),
                Err(why) => problem = Some(format!("the database of advisories: {why}")),
            }
        }
    }
    found.sort_by(|a, b| {
        let weight = |judged: &Judged| {
            let refuses = judged.standing == Standing::Refuses;
            std::cmp::Reverse((refuses, judged.hit.certain, judged.hit.weight()))
        };
        let name = |judged: &Judged| (judged.hit.id.clone(), judged.hit.package.clone());
        (weight(a), name(a)).cmp(&(weight(b), name(b)))
    });
    let info = database.map(|database| database.info().clone());
    let stale_days = policy.stale_after_days();
    let stale = info
        .as_ref()
        .is_some_and(|info| info.age_days(now).is_none_or(|age| age > stale_days));
    Report {
        found,
        packages: dependencies.list.len(),
        packages_known: dependencies.is_whole(),
        packages_elsewhere,
        database: info,
        stale,
        problem,
    }
}

/// What can't be compared, is only needed to build or is said for information refuses nothing.
fn standing(
    hit: &Hit,
    alias: &Alias,
    policy: &AdvisoryPolicy,
    today: jiff::civil::Date,
) -> Standing {
    let in_time = |until: Option<Date>| until.is_none_or(|until| is_not_over(until, today));
    let ignored = policy.ignore.iter().find(|one| {
        hit.names().any(|name| name == one.id.as_str())
            && one.plugin.as_ref().is_none_or(|plugin| plugin == alias)
            && in_time(one.until)
    });
    if let Some(ignored) = ignored {
        return Standing::Ignored {
            reason: ignored.reason.to_string(),
            until: ignored.until,
        };
    }
    let counts = hit.certain && !hit.package.build_only && hit.kind != Kind::Information;
    match policy.deny {
        Some(deny) if counts && hit.weight() >= deny => Standing::Refuses,
        _ => Standing::Told,
    }
}

/// Whether a day is today or comes yet.
fn is_not_over(until: Date, today: jiff::civil::Date) -> bool {
    let (year, month, day) = until.ymd();
    let today = (
        i32::from(today.year()),
        i32::from(today.month()),
        i32::from(today.day()),
    );
    (i32::from(year), i32::from(month), i32::from(day)) >= today
}
