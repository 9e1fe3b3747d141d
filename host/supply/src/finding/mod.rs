//! What is found about a component that somebody should look at: one form for every step
//! that examines it, so that policy, score, screens and the cache need no other.
//!
//! A [`Finding`] names a [`Rule`] of the published table ([`rules`]), which says how bad it
//! is, whether it is a fact or a guess, and why it matters; the finding itself says where it
//! was found, and what. Facts may refuse a plugin, where the operator's policy says so; a
//! guess never does.

pub mod rules;

use std::collections::BTreeMap;
use std::fmt;

use portreeve_manifest::clean;
use portreeve_manifest::policy::Severity;
use serde::{Deserialize, Serialize};

/// Findings of one rule that are kept for one component; the rest is counted. More than
/// somebody reads, and few enough that each rule leaves room for the others.
pub const OF_A_RULE_MAX: usize = 16;

/// The longest text of a finding, and of a name within it, in characters: one line or two.
const TEXT_CHARS_MAX: usize = 200;

/// What a rule's findings say about, each with its share of the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// Who made it, and whether that can be told.
    Provenance,
    /// Whether it asks for what it needs, and no more.
    LeastAuthority,
    /// What is known to be wrong with what it was made from.
    Vulnerabilities,
    /// Whether it says what it is, and under which terms.
    Transparency,
    /// What is in its data, its declarations and its texts.
    Content,
}

impl Aspect {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Aspect; 5] = [
        Aspect::Provenance,
        Aspect::LeastAuthority,
        Aspect::Vulnerabilities,
        Aspect::Transparency,
        Aspect::Content,
    ];

    /// Its share of the score, in points; all of them together are 100.
    pub const fn points(self) -> u32 {
        match self {
            Aspect::Provenance => 30,
            Aspect::LeastAuthority => 25,
            Aspect::Vulnerabilities => 25,
            Aspect::Transparency => 10,
            Aspect::Content => 10,
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Aspect::Provenance => "provenance",
            Aspect::LeastAuthority => "least authority",
            Aspect::Vulnerabilities => "vulnerabilities",
            Aspect::Transparency => "transparency",
            Aspect::Content => "content",
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How sure a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// What it says is so. The operator's policy may refuse a plugin for it.
    Fact,
    /// What it says is likely, but harmless things look the same: for somebody to review. It
    /// refuses nothing.
    Heuristic,
}

/// A rule of the published table.
#[derive(Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rule {
    /// Its name, which stays the same and is what exceptions name.
    pub id: &'static str,
    /// What it is about.
    pub aspect: Aspect,
    /// How bad it is.
    pub severity: Severity,
    /// How sure it is.
    pub certainty: Certainty,
    /// What it takes from the points of its aspect, once, however often it finds something.
    pub points: u32,
    /// Why it matters, and what to look at.
    pub why: &'static str,
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Place {
    /// The component as a whole.
    Component,
    /// Something that it imports.
    Import {
        /// The interface, as it is imported.
        name: String,
    },
    /// Something that it exports.
    Export {
        /// The interface or function, as it is exported.
        name: String,
    },
    /// Bytes of the file.
    Bytes {
        /// Which part of the component they are in: `data of module 2`, `section sbom`.
        part: String,
        /// Where they begin in the file.
        offset: u64,
        /// How many they are.
        length: u64,
    },
    /// A text of a tool.
    Tool {
        /// The tool's name.
        tool: String,
        /// Which of its texts: `description`, `inputSchema/properties/path/description`.
        part: String,
        /// Where it begins in that text, in bytes.
        offset: u64,
    },
    /// A text of the plugin's manifest.
    Manifest {
        /// Which one: `plugin.description`, `requests.network`.
        path: String,
        /// Where it begins in that text, in bytes.
        offset: u64,
    },
    /// A package that it was made from.
    Package {
        /// Name and version.
        name: String,
    },
    /// A licence text that is packed with it.
    Licence {
        /// The name of the file.
        file: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Component => f.write_str("the component"),
            Place::Import { name } => write!(f, "import {name}"),
            Place::Export { name } => write!(f, "export {name}"),
            Place::Bytes {
                part,
                offset,
                length,
            } => {
                write!(f, "{part}, {length} bytes at {offset:#x}")
            }
            Place::Tool { tool, part, offset } => {
                write!(f, "tool {tool}, {part}, byte {offset}")
            }
            Place::Manifest { path, offset } => write!(f, "plugin.toml, {path}, byte {offset}"),
            Place::Package { name } => write!(f, "package {name}"),
            Place::Licence { file } => write!(f, "licence text {file}"),
        }
    }
}

/// Something about a component that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is, how bad, and why it matters.
    pub rule: &'static Rule,
    /// Where it was found.
    pub place: Place,
    /// What was found, in a line that shows no secret.
    pub what: String,
}

impl Finding {
    /// A finding of a rule. Texts are cut to a line and cleaned: they come from strangers.
    pub fn new(rule: &'static Rule, place: Place, what: impl AsRef<str>) -> Finding {
        Finding {
            rule,
            place: place.cleaned(),
            what: clean::line(what.as_ref(), TEXT_CHARS_MAX),
        }
    }
}

impl Place {
    fn cleaned(self) -> Place {
        let clean = |text: String| clean::line(&text, TEXT_CHARS_MAX);
        match self {
            Place::Component => Place::Component,
            Place::Import { name } => Place::Import { name: clean(name) },
            Place::Export { name } => Place::Export { name: clean(name) },
            Place::Bytes {
                part,
                offset,
                length,
            } => Place::Bytes {
                part: clean(part),
                offset,
                length,
            },
            Place::Tool { tool, part, offset } => Place::Tool {
                tool: clean(tool),
                part: clean(part),
                offset,
            },
            Place::Manifest { path, offset } => Place::Manifest {
                path: clean(path),
                offset,
            },
            Place::Package { name } => Place::Package { name: clean(name) },
            Place::Licence { file } => Place::Licence { file: clean(file) },
        }
    }
}

/// A finding as it is written: with all that its rule says, so that it can be read alone.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Written<'a> {
    rule: &'a str,
    severity: Severity,
    aspect: Aspect,
    certainty: Certainty,
    #[serde(rename = "where")]
    place: &'a Place,
    what: &'a str,
    why: &'a str,
}

impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            rule: self.rule.id,
            severity: self.rule.severity,
            aspect: self.rule.aspect,
            certainty: self.rule.certainty,
            place: &self.place,
            what: &self.what,
            why: self.rule.why,
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Finding {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Finding, D::Error> {
        /// What the rule's table doesn't say already.
        #[derive(Deserialize)]
        struct Read {
            rule: String,
            #[serde(rename = "where")]
            place: Place,
            what: String,
        }
        let read = Read::deserialize(deserializer)?;
        let rule = rules::find(&read.rule).ok_or_else(|| {
            serde::de::Error::custom(format_args!("there is no rule `{}`", read.rule))
        })?;
        Ok(Finding::new(rule, read.place, read.what))
    }
}

/// The findings about a component, a bounded number for each rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Findings {
    /// The findings, the worst first once they are [sorted](Findings::sort).
    pub list: Vec<Finding>,
    /// How many more there are, by rule.
    pub more: BTreeMap<String, u64>,
}

impl Findings {
    /// Adds a finding, or counts it where there are [enough](OF_A_RULE_MAX) of its rule. What
    /// is there already is not added again.
    pub fn push(&mut self, finding: Finding) {
        if self.list.contains(&finding) {
            return;
        }
        let of_rule = self.list.iter().filter(|known| known.rule == finding.rule);
        if of_rule.count() < OF_A_RULE_MAX {
            self.list.push(finding);
        } else {
            let more = self.more.entry(finding.rule.id.to_owned()).or_default();
            *more = more.saturating_add(1);
        }
    }

    /// Adds those of another step.
    pub fn extend(&mut self, others: Findings) {
        for finding in others.list {
            self.push(finding);
        }
        for (rule, more) in others.more {
            let known = self.more.entry(rule).or_default();
            *known = known.saturating_add(more);
        }
    }

    /// Puts the worst first, and those of one rule together.
    pub fn sort(&mut self) {
        self.list.sort_by(|a, b| {
            let key = |finding: &Finding| {
                (
                    std::cmp::Reverse(finding.rule.severity),
                    finding.rule.certainty,
                    finding.rule.id,
                )
            };
            key(a).cmp(&key(b)).then_with(|| a.place.cmp(&b.place))
        });
    }

    /// The rules that found something, each once.
    pub fn rules(&self) -> Vec<&'static Rule> {
        let mut rules: Vec<&'static Rule> = Vec::new();
        for finding in &self.list {
            if !rules.contains(&finding.rule) {
                rules.push(finding.rule);
            }
        }
        rules
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_bounded_and_each_is_there_once() {
        let mut findings = Findings::default();
        for offset in [0, 0, 1, 2].into_iter().chain(3..100) {
            let place = Place::Bytes {
                part: "data of module 1".to_owned(),
                offset,
                length: 4,
            };
            findings.push(Finding::new(&rules::PRIVATE_KEY, place, "a key"));
        }
        findings.push(Finding::new(&rules::UNSIGNED, Place::Component, "unsigned"));
        assert_eq!(findings.list.len(), OF_A_RULE_MAX + 1);
        assert_eq!(findings.more["private-key"], 100 - OF_A_RULE_MAX as u64);
        findings.sort();
        assert_eq!(findings.list.last().unwrap().rule.id, "unsigned");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut findings = Findings::default();
        let places = [
            Place::Component,
            Place::Import {
                name: "wasi:http/outgoing-handler@0.2.3".to_owned(),
            },
            Place::Tool {
                tool: "t".to_owned(),
                part: "description".to_owned(),
                offset: 7,
            },
            Place::Package {
                name: "left-pad 1.3.0".to_owned(),
            },
        ];
        for place in places {
            findings.push(Finding::new(
                &rules::TEXT_HIDDEN,
                place,
                "a\u{202e}b\u{1b}[2J",
            ));
        }
        let text = serde_json::to_string(&findings).unwrap();
        assert!(
            !text.contains('\u{202e}') && text.contains("\"severity\":\"high\""),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Findings>(&text).unwrap(), findings);
        let unknown = text.replace("text-hidden", "text-forgotten");
        assert!(serde_json::from_str::<Findings>(&unknown).is_err());
    }
}
