//! Licences: what a plugin and the packages it was made from declare, whether their texts
//! agree, whether they go together, and what the operator's policy says.

mod compatibility;
mod declared;
mod names;
mod notice;
mod policy;
mod rules;
mod text;

use std::collections::{BTreeMap, HashMap};

use portreeve_manifest::id::Alias;
use serde::Serialize;

use crate::Package;

pub use compatibility::{Answer, Compatibility, TABLE_BYTES_MAX};
pub use declared::Declared;
pub use notice::notice;
pub use policy::Verdict;
pub use rules::Rules;
pub use text::{Told, tell};

/// A package and its licence.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// Its name: the plugin's alias, or that of a package it was made from.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it comes from; none for the plugin itself.
    pub ecosystem: Option<crate::dependencies::Ecosystem>,
    /// Whether none of its code should be in the component.
    pub build_only: bool,
    /// What it declares, as an expression where it can be read as one.
    pub license: Option<String>,
    /// What the policy says.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Whether it can be a part of the plugin; none for the plugin itself.
    pub fits: Option<Answer>,
}

/// Something about a licence that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Which kind it is: `licence-text`, `licence-written`, `licence-conflict`, …
    pub rule: &'static str,
    /// What it is about.
    pub about: String,
    /// What was found.
    pub found: String,
}

/// The licences of one plugin.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The plugin, then what it was made from.
    pub rows: Vec<Row>,
    /// What to look at.
    pub notes: Vec<Note>,
    /// Whether all packages that it was made from are known.
    pub dependencies_known: bool,
    /// Whose table says what goes together, and of when.
    pub compatibility: String,
}

impl Report {
    /// Why the policy refuses the plugin; none where it doesn't. What is not known of the
    /// packages that it was made from refuses nothing: the report says so.
    pub fn refusal(&self, alias: &Alias) -> Option<String> {
        let (row, why) = self.rows.iter().find_map(|row| match &row.verdict {
            Verdict::Denied { why } if !row.build_only => Some((row, why.clone())),
            Verdict::Unknown { why } if row.ecosystem.is_none() => Some((row, why.clone())),
            _ => None,
        })?;
        let whose = match row.ecosystem {
            None => "its licence".to_owned(),
            Some(ecosystem) => format!(
                "the licence of {} {} ({ecosystem}), which it was made from,",
                row.name, row.version
            ),
        };
        let (licence, exception) = match &row.license {
            Some(licence) => (format!(" `{licence}`"), format!("allow = [\"{licence}\"]")),
            None => (String::new(), "unlicensed = true".to_owned()),
        };
        // What is no single licence has to be named by its parts.
        let exception = if row
            .license
            .as_ref()
            .is_some_and(|licence| licence.contains(' '))
        {
            "allow = [\"LICENCE\"]".to_owned()
        } else {
            exception
        };
        Some(format!(
            "licence: {whose}{licence} is refused by [policy.licenses]: {why}; `portreeve licenses {alias}` shows all of them, and an exception allows it: exceptions = [{{ plugin = \"{alias}\", {exception}, reason = \"...\" }}]"
        ))
    }
}

/// Examines the licences of a package and their texts, for the plugin with this alias.
pub fn examine(package: &Package, alias: &Alias, rules: &Rules) -> Report {
    let mut report = judge(package, alias, rules);
    let said = package.manifest.license.as_ref().map(ToString::to_string);
    let own = Declared::read(said.as_deref().unwrap_or_default());
    texts(package, alias, &own, &mut report.notes);
    dependency_texts(package, &mut report.notes);
    report
}

/// The same without the texts, which only advise and take longest.
pub fn judge(package: &Package, alias: &Alias, rules: &Rules) -> Report {
    let (policy, table) = (rules.policy(), rules.table());
    let mut notes = Vec::new();
    let manifest = &package.manifest;
    let said = manifest.license.as_ref().map(ToString::to_string);
    let own = Declared::read(said.as_deref().unwrap_or_default());
    let mut rows = vec![Row {
        name: alias.to_string(),
        version: manifest.version.to_string(),
        ecosystem: None,
        build_only: false,
        license: said,
        verdict: policy::judge(policy, alias, &own),
        fits: None,
    }];
    if let Declared::Unknown(why) = &own {
        notes.push(note("licence-unknown", alias, why));
    }
    for dependency in &package.dependencies.list {
        let about = dependency.label();
        let said = Declared::read(dependency.license.as_deref().unwrap_or_default());
        if let Declared::Lax { warning, .. } = &said {
            notes.push(note("licence-written", &about, warning));
        }
        let fits = match (own.expression(), said.expression()) {
            _ if dependency.build_only => None,
            (Some(whole), Some(part)) => Some(table.check(whole, part)),
            _ => Some(Answer::Unknown),
        };
        if let (Some(Answer::Conflict), Some(whole), Some(part)) =
            (fits, own.expression(), said.expression())
        {
            let found = format!(
                "`{part}` in a component under `{whole}`: for review, says the {}",
                table.source()
            );
            notes.push(note("licence-conflict", &about, &found));
        }
        rows.push(Row {
            name: dependency.name.clone(),
            version: dependency.version.clone(),
            ecosystem: Some(dependency.ecosystem),
            build_only: dependency.build_only,
            license: said
                .expression()
                .map(ToString::to_string)
                .or_else(|| dependency.license.clone()),
            verdict: policy::judge(policy, alias, &said),
            fits,
        });
    }
    for problem in &package.dependencies.problems {
        notes.push(note("dependencies-unread", alias, problem));
    }
    Report {
        rows,
        notes,
        dependencies_known: package.dependencies.is_whole(),
        compatibility: table.source().to_owned(),
    }
}

/// What is to be looked at of the plugin's own licence and its texts, whatever the policy.
pub(crate) fn own_notes(package: &Package) -> Vec<Note> {
    let mut notes = Vec::new();
    let about = &package.manifest.id;
    let said = package.manifest.license.as_ref().map(ToString::to_string);
    let own = Declared::read(said.as_deref().unwrap_or_default());
    if let Declared::Unknown(why) = &own {
        notes.push(note("licence-unknown", about, why));
    }
    texts(package, about, &own, &mut notes);
    notes
}

/// Holds the plugin's own texts against what it declares.
fn texts(package: &Package, whole: &impl ToString, own: &Declared, notes: &mut Vec<Note>) {
    /// As many as `portreeve build` packs.
    const TEXTS_MAX: usize = 16;
    let mut texts = 0_usize;
    let files = package.licence_texts.iter();
    for (name, text) in files.filter(|(name, _)| is_licence(name)).take(TEXTS_MAX) {
        let told = text::tell(text, own.expression());
        texts += usize::from(told != Told::Names);
        match told {
            Told::Declared(_) | Told::Names => {}
            Told::Other(found) => {
                let said = own
                    .expression()
                    .map_or("nothing".to_owned(), |e| format!("`{e}`"));
                let found = format!("the text is that of {found}, but {said} is declared");
                notes.push(note("licence-text", name, &found));
            }
            Told::Unknown => {
                let found = "the text is that of no licence that is known";
                notes.push(note("licence-text-unknown", name, found));
            }
        }
    }
    if texts == 0 {
        notes.push(note(
            "licence-text-missing",
            whole,
            "no licence text is packed with it",
        ));
    }
}

/// A notice is handed on with a licence, and is none.
fn is_licence(file: &str) -> bool {
    !file.to_ascii_uppercase().starts_with("NOTICE")
}

/// Holds the texts of the packages that it was made from against what those declare.
fn dependency_texts(package: &Package, notes: &mut Vec<Note>) {
    /// A text takes some milliseconds: those of a hundred packages, each once.
    const TEXTS_MAX: usize = 128;
    let declared: HashMap<String, Declared> = package
        .dependencies
        .list
        .iter()
        .filter_map(|found| Some((found.label(), Declared::read(found.license.as_deref()?))))
        .collect();
    let texts = package.dependency_texts.iter();
    for one in texts.filter(|one| is_licence(&one.name)).take(TEXTS_MAX) {
        // Of packages that declare the same, the first stands for all.
        let mut told: BTreeMap<String, (Told, Vec<&str>)> = BTreeMap::new();
        for label in &one.packages {
            let said = declared.get(label).and_then(Declared::expression);
            let key = said.map(ToString::to_string).unwrap_or_default();
            let (_, labels) = told
                .entry(key)
                .or_insert_with(|| (text::tell(&one.text, said), Vec::new()));
            labels.push(label);
        }
        for (said, (told, labels)) in told {
            let about = format!("{} of {}", one.name, labels.join(", "));
            match told {
                Told::Declared(_) => {}
                Told::Other(found) if said.is_empty() => {
                    let found = format!("the text is that of {found}, and no licence is declared");
                    notes.push(note("licence-text", &about, &found));
                }
                Told::Other(found) => {
                    let found = format!("the text is that of {found}, but `{said}` is declared");
                    notes.push(note("licence-text", &about, &found));
                }
                Told::Names => {}
                Told::Unknown => {
                    let found = "the text is that of no licence that is known";
                    notes.push(note("licence-text-unknown", &about, found));
                }
            }
        }
    }
    let left = package.dependency_texts.len().saturating_sub(TEXTS_MAX);
    if left > 0 {
        let found = format!("{left} licence texts were not looked at: {TEXTS_MAX} are");
        notes.push(note("licence-text-unread", &package.manifest.id, &found));
    }
}

fn note(rule: &'static str, about: &(impl ToString + ?Sized), found: &str) -> Note {
    Note {
        rule,
        about: about.to_string(),
        found: found.to_owned(),
    }
}
