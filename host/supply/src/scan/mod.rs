//! What a component's bytes, declarations and texts show, without running anything of it.
//!
//! A scan sees what isn't hidden from it: text that code puts together while it runs shows
//! nowhere in a file. So what it finds is worth a look, and that it finds nothing proves
//! nothing. What bounds a plugin are its grants.
//!
//! - [`authority`](self::authority) holds declarations against requests;
//! - [`data`](self::data) looks at what its data is: packed, encoded, another program;
//! - [`patterns`](self::patterns) looks for texts in it: keys, addresses, commands;
//! - [`texts`](self::texts) reads what models and people will read;
//! - [`report`](self::report) makes a score of it, and holds it against the policy.

mod authority;
mod data;
mod parts;
mod patterns;
mod report;
mod secrets;
mod texts;
mod urls;

use crate::finding::{Finding, Findings, Place, rules};
use crate::licence;
use crate::{ArtifactStore, Digest, Package};

pub use report::{AspectScore, Examined, Excepted, Report, Score, Taken, check};
pub use texts::read_tools;

/// Looks through a component; `bytes` are those that `package` was read from.
pub fn scan(bytes: &[u8], package: &Package) -> Examined {
    let mut findings = Findings::default();
    let parts = parts::Parts::of(bytes);
    authority::hold(package, &parts, &mut findings);
    let requests = &package.manifest.requests;
    for part in &parts.parts {
        patterns::look(part, requests, &mut findings);
        if part.is_data() {
            data::look(part, &mut findings);
        }
    }
    texts::read(package, &mut findings);
    papers(package, &mut findings);
    findings.sort();
    Examined::scanned(findings)
}

/// The same as it was found before, where it was; otherwise it is kept.
pub fn scan_once(store: &ArtifactStore, bytes: &[u8], package: &Package) -> Examined {
    if let Some(known) = store.findings(&package.digest) {
        return known;
    }
    let examined = scan(bytes, package);
    if let Err(error) = store.keep_findings(&package.digest, &examined) {
        tracing::warn!(%error, "what was found about a component is not kept");
    }
    examined
}

/// Keeps what was found in the list of tools that a plugin gave when it ran, in place of that of
/// an earlier list.
pub fn keep_listed(store: &ArtifactStore, digest: &Digest, listed: &Findings) {
    let Some(mut known) = store.findings(digest) else {
        return;
    };
    if known.listed.as_ref() == Some(listed) {
        return;
    }
    known.listed = Some(listed.clone());
    if let Err(error) = store.keep_findings(digest, &known) {
        tracing::warn!(%error, "what was found in a list of tools is not kept");
    }
}

/// What its papers don't say.
fn papers(package: &Package, findings: &mut Findings) {
    use portreeve_manifest::plugin::Origin;
    let mut say = |rule, what: &str| findings.push(Finding::new(rule, Place::Component, what));
    if package.manifest.origin == Origin::Inferred {
        say(
            &rules::MANIFEST_INFERRED,
            "there is no section portreeve:manifest",
        );
    }
    if package.tools == crate::Tools::Unrecorded {
        say(
            &rules::TOOLS_UNRECORDED,
            "there is no section portreeve:tools",
        );
    }
    if package.dependencies.sources.is_empty() {
        say(
            &rules::DEPENDENCIES_UNKNOWN,
            "there is no section that lists packages",
        );
    }
    for problem in &package.dependencies.problems {
        say(&rules::DEPENDENCIES_UNREAD, problem);
    }
    licences(package, findings);
}

/// What its licence and the texts of it don't agree on.
fn licences(package: &Package, findings: &mut Findings) {
    for note in licence::own_notes(package) {
        let Some(rule) = rules::find(note.rule) else {
            continue;
        };
        let place = match note.rule {
            "licence-text" | "licence-text-unknown" => Place::Licence { file: note.about },
            _ => Place::Component,
        };
        findings.push(Finding::new(rule, place, note.found));
    }
}
