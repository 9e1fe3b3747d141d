//! What all steps found about a component, a score of it, and what the policy says.
//!
//! The arithmetic is meant to be redone by hand. Each [`Aspect`] begins with its points; each
//! rule that found something takes its own, once; an aspect ends at nothing. What could not be
//! examined is left out of both sides: the score is what is left of the points that could be
//! examined, of 100, rounded down, and how many those were is told beside it.

use std::collections::BTreeMap;

use portreeve_manifest::id::Alias;
use portreeve_manifest::policy::{ScanPolicy, Severity};
use serde::{Deserialize, Serialize};

use crate::advisory::{self, Kind, Standing};
use crate::finding::{Aspect, Certainty, Finding, Findings, Place, Rule, rules};
use crate::licence;

/// What was found about a component so far, and what was not examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Examined {
    /// What was found.
    pub findings: Findings,
    /// What nobody has examined, and why: nothing is known of it.
    pub unknown: BTreeMap<Aspect, String>,
    /// What was found in the list of tools that the plugin gave when it ran last; none where it
    /// was never asked, since its package says which they are.
    pub listed: Option<Findings>,
}

impl Examined {
    /// What a scan alone found: who made it and what is known of its parts comes from others.
    pub(crate) fn scanned(findings: Findings) -> Examined {
        Examined {
            findings,
            unknown: BTreeMap::from([
                (
                    Aspect::Provenance,
                    "no signer is listed under [policy.signatures]".to_owned(),
                ),
                (
                    Aspect::Vulnerabilities,
                    "it was held against no advisories".to_owned(),
                ),
            ]),
            listed: None,
        }
    }

    /// Takes in what was found by who examined an aspect.
    pub fn examined(&mut self, aspect: Aspect, findings: Findings) {
        self.unknown.remove(&aspect);
        self.findings.extend(findings);
        self.findings.sort();
    }

    /// Takes in what is known of the packages that it was made from. What the operator passes
    /// over, and what is only needed to build, is left out.
    pub fn advised(&mut self, report: &advisory::Report) {
        let mut findings = Findings::default();
        for judged in &report.found {
            let hit = &judged.hit;
            if matches!(judged.standing, Standing::Ignored { .. }) || hit.package.build_only {
                continue;
            }
            let rule = match (hit.certain, hit.kind, hit.severity) {
                (false, ..) => &rules::ADVISORY_UNCERTAIN,
                (_, Kind::Malicious, _) => &rules::PACKAGE_MALICIOUS,
                (_, Kind::Information, _) | (.., Some(Severity::Info)) => &rules::ADVISORY_NOTICE,
                (.., Some(Severity::Low)) => &rules::ADVISORY_LOW,
                (.., Some(Severity::Medium)) => &rules::ADVISORY_MEDIUM,
                (.., Some(Severity::High)) => &rules::ADVISORY_HIGH,
                (.., Some(Severity::Critical)) => &rules::ADVISORY_CRITICAL,
                (.., None) => &rules::ADVISORY_UNRATED,
            };
            let name = hit.package.label();
            let what = format!("{}: {}", hit.id, hit.summary);
            findings.push(Finding::new(rule, Place::Package { name }, what));
        }
        self.examined(Aspect::Vulnerabilities, findings);
        let known = report.database.is_some() && report.problem.is_none() && report.packages_known;
        if !known {
            let why = report.gaps().into_iter().next().unwrap_or_default();
            self.unknown.insert(Aspect::Vulnerabilities, why);
        }
    }

    /// What was found in its list of tools, among the rest.
    fn with_listed(mut self) -> Examined {
        if let Some(listed) = self.listed.take() {
            self.findings.extend(listed);
            self.findings.sort();
        }
        self
    }

    /// Takes in what is to be looked at of the licences of what it was made from: what goes
    /// together says the operator's table. Its own were looked at with the rest of it.
    pub fn licensed(&mut self, report: &licence::Report) {
        let of_parts = [&rules::LICENCE_WRITTEN, &rules::LICENCE_CONFLICT];
        for note in &report.notes {
            if let Some(rule) = of_parts.iter().find(|rule| rule.id == note.rule) {
                let name = note.about.clone();
                let place = Place::Package { name };
                self.findings
                    .push(Finding::new(rule, place, note.found.clone()));
            }
        }
        self.findings.sort();
    }

    /// Takes in who signed it, where somebody is listed who could have.
    pub fn signed(&mut self, signer: Option<&str>) {
        let mut findings = Findings::default();
        if signer.is_none() {
            let what = "no signature of it counts";
            findings.push(Finding::new(&rules::UNSIGNED, Place::Component, what));
        }
        self.examined(Aspect::Provenance, findings);
    }
}

/// What a rule takes from the points of its aspect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Taken {
    /// The rule.
    pub rule: &'static str,
    /// Its points.
    pub points: u32,
    /// Whether they count against `min-score`.
    pub counts: bool,
}

/// The points of one aspect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AspectScore {
    /// Which one.
    pub aspect: Aspect,
    /// The points that it begins with.
    pub of: u32,
    /// Why nothing is known of it; none where it was examined.
    pub unknown: Option<String>,
    /// What was taken.
    pub taken: Vec<Taken>,
    /// What is left.
    pub left: u32,
}

impl AspectScore {
    fn of(aspect: Aspect, examined: &Examined, counts: impl Fn(&Rule) -> bool) -> AspectScore {
        let rules = examined.findings.rules().into_iter();
        let taken: Vec<Taken> = rules
            .filter(|rule| rule.aspect == aspect && rule.points > 0)
            .map(|rule| Taken {
                rule: rule.id,
                points: rule.points,
                counts: counts(rule),
            })
            .collect();
        let of = aspect.points();
        AspectScore {
            aspect,
            of,
            unknown: examined.unknown.get(&aspect).cloned(),
            left: of.saturating_sub(taken.iter().map(|taken| taken.points).sum()),
            taken,
        }
    }

    /// What would be left if only that was taken which counts.
    fn held(&self) -> u32 {
        let taken = self.taken.iter().filter(|taken| taken.counts);
        self.of
            .saturating_sub(taken.map(|taken| taken.points).sum())
    }

    /// The arithmetic, in a line.
    pub fn line(&self) -> String {
        if let Some(why) = &self.unknown {
            return format!("{:<16} unknown: {why}", self.aspect);
        }
        let mut line = format!("{:<16} {}", self.aspect, self.of);
        for taken in &self.taken {
            line.push_str(&format!(" - {} {}", taken.points, taken.rule));
        }
        line.push_str(&format!(" = {}", self.left));
        line
    }
}

/// A score of what could be examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Score {
    /// The score, 0 to 100.
    pub score: u32,
    /// The same without guesses, advisories and what is excepted: `min-score` is held against it.
    pub held: u32,
    /// The points that are left.
    pub left: u32,
    /// The points that could be examined, of 100: how much the score rests on.
    pub coverage: u32,
    /// Where they come from.
    pub aspects: Vec<AspectScore>,
}

impl Score {
    fn of(examined: &Examined, counts: impl Fn(&Rule) -> bool) -> Score {
        let aspects: Vec<AspectScore> = Aspect::ALL
            .into_iter()
            .map(|aspect| AspectScore::of(aspect, examined, &counts))
            .collect();
        let sum = |points: fn(&AspectScore) -> u32| -> u32 {
            let known = aspects.iter().filter(|aspect| aspect.unknown.is_none());
            known.map(points).sum()
        };
        let (left, held, coverage) = (sum(|a| a.left), sum(AspectScore::held), sum(|a| a.of));
        let of_100 = |points: u32| (points * 100).checked_div(coverage).unwrap_or(0);
        Score {
            score: of_100(left),
            held: of_100(held),
            left,
            coverage,
            aspects,
        }
    }

    /// The arithmetic, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "score {} of 100: {} of the {} points that could be examined are left, and {} are unknown",
            self.score,
            self.left,
            self.coverage,
            100_u32.saturating_sub(self.coverage)
        )];
        lines.extend(
            self.aspects
                .iter()
                .map(|aspect| format!("  {}", aspect.line())),
        );
        if self.held != self.score {
            lines.push(format!(
                "  without heuristics, advisories and what is excepted it is {}: that is what min-score is held against",
                self.held
            ));
        }
        lines
    }
}

/// A rule that the operator has excepted for a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Excepted {
    /// The rule.
    pub rule: &'static str,
    /// The operator's reason.
    pub reason: String,
}

/// What was found about one plugin, and what follows.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The version of the rules.
    pub rules: u32,
    /// What was found, the worst first.
    #[serde(flatten)]
    pub findings: Findings,
    /// What the operator has excepted of it.
    pub excepted: Vec<Excepted>,
    /// What is left of 100 points.
    pub score: Score,
    /// Why the policy refuses the plugin; none where it doesn't.
    pub refusal: Option<String>,
}

impl Report {
    /// Holds what was found against the policy, for the plugin with this alias.
    pub fn new(examined: Examined, policy: Option<&ScanPolicy>, alias: &Alias) -> Report {
        let examined = examined.with_listed();
        let exceptions = policy.into_iter().flat_map(|policy| &policy.exceptions);
        let exceptions: Vec<_> = exceptions
            .filter(|exception| exception.plugin == *alias)
            .collect();
        let exception = |rule: &Rule| {
            let mut all = exceptions.iter();
            all.find(|exception| exception.rules.iter().any(|name| name.as_str() == rule.id))
        };
        let excepted = examined.findings.rules().into_iter().filter_map(|rule| {
            let reason = exception(rule)?.reason.to_string();
            Some(Excepted {
                rule: rule.id,
                reason,
            })
        });
        let excepted: Vec<Excepted> = excepted.collect();
        // Weaknesses that come to be known have a policy of their own: what is installed goes on.
        let counts = |rule: &Rule| {
            rule.certainty == Certainty::Fact
                && rule.aspect != Aspect::Vulnerabilities
                && exception(rule).is_none()
        };
        let score = Score::of(&examined, counts);
        let refusal =
            policy.and_then(|policy| refusal(&examined.findings, &score, policy, alias, counts));
        Report {
            rules: rules::VERSION,
            findings: examined.findings,
            excepted,
            score,
            refusal,
        }
    }

    /// The operator's reason for excepting a rule.
    pub fn exception(&self, rule: &Rule) -> Option<&str> {
        let mut all = self.excepted.iter();
        all.find(|excepted| excepted.rule == rule.id)
            .map(|excepted| excepted.reason.as_str())
    }

    /// The whole in a few numbers, for the record.
    pub fn brief(&self) -> serde_json::Value {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for finding in &self.findings.list {
            *counts.entry(finding.rule.severity.as_str()).or_default() += 1;
        }
        serde_json::json!({
            "rules": self.rules,
            "score": self.score.score,
            "coverage": self.score.coverage,
            "findings": counts,
            "excepted": self.excepted,
        })
    }

    /// What takes the place of another component and shows what that didn't: the rules from
    /// `medium` on, facts and guesses, without what is excepted. Its operator should agree to it.
    pub fn news(&self, before: &Report) -> Vec<&'static Rule> {
        let known = before.findings.rules();
        let rules = self.findings.rules().into_iter();
        rules
            .filter(|rule| rule.severity >= Severity::Medium)
            .filter(|rule| !known.contains(rule) && self.exception(rule).is_none())
            .collect()
    }
}

/// Gates first: a single fact that the policy doesn't allow refuses, whatever the score.
fn refusal(
    findings: &Findings,
    score: &Score,
    policy: &ScanPolicy,
    alias: &Alias,
    counts: impl Fn(&Rule) -> bool,
) -> Option<String> {
    let look = format!("`portreeve scan {alias}` shows all that was found");
    let exception = |rules: &[&str]| {
        let names: Vec<String> = rules.iter().map(|rule| format!("\"{rule}\"")).collect();
        format!(
            "exceptions = [{{ plugin = \"{alias}\", rules = [{}], reason = \"...\" }}]",
            names.join(", ")
        )
    };
    if let Some(deny) = policy.deny {
        let denied = findings
            .list
            .iter()
            .find(|finding| finding.rule.severity >= deny && counts(finding.rule));
        if let Some(finding) = denied {
            return Some(format!(
                "scan: {} ({}): {}: {}; {}. [policy.scan] refuses findings from `{deny}` on: {look}, and if you know why it is so, an exception allows it: {}",
                finding.rule.id,
                finding.rule.severity,
                finding.place,
                finding.what,
                finding.rule.why,
                exception(&[finding.rule.id])
            ));
        }
    }
    let min = policy
        .min_score
        .map(u32::from)
        .filter(|min| score.held < *min)?;
    let taken = score
        .aspects
        .iter()
        .filter(|aspect| aspect.unknown.is_none());
    let mut taken: Vec<&Taken> = taken
        .flat_map(|aspect| &aspect.taken)
        .filter(|taken| taken.counts)
        .collect();
    taken.sort_by_key(|taken| std::cmp::Reverse(taken.points));
    let most: Vec<&str> = taken.iter().take(3).map(|taken| taken.rule).collect();
    Some(format!(
        "scan: its score without heuristics and advisories is {} of 100, and [policy.scan] asks for {min}; most was taken by {}: {look} and the arithmetic, and if you know why it is so, an exception gives the points back: {}",
        score.held,
        most.join(", "),
        exception(&most)
    ))
}

/// Whether a policy's exceptions name rules that there are.
///
/// # Errors
/// A name of none, with the nearest.
pub fn check(policy: &ScanPolicy) -> Result<(), String> {
    let names = policy
        .exceptions
        .iter()
        .flat_map(|exception| &exception.rules);
    for name in names {
        if rules::find(name.as_str()).is_none() {
            return Err(format!(
                "[policy.scan] excepts the rule `{name}`, and there is none of that name: `portreeve scan --rules` lists them"
            ));
        }
    }
    Ok(())
}
