//! What is different in a new version of a plugin, and whether its number says so.
//!
//! Two versions are compared by what they say about themselves ([`Content`]): nothing is
//! run. Each difference has a [`Class`], by what it means to those who call the tools and
//! to the operator's settings; the largest is held against the step between the version
//! numbers. What is shown to models (titles, descriptions, hints) breaks nobody, but agents
//! act on it, so it is shown in full. Requests, licence and signer have no class: they are
//! the operator's to agree to, whatever the number says.
//!
//! Interfaces are compared by name and version only. What their functions take and return
//! is seen where it becomes tools; for schemas see the rule in `change/schema.rs`.

mod lines;
mod schema;
mod surface;
mod version;

use std::collections::BTreeMap;
use std::fmt;

use portreeve_manifest::lock::{self, RequestDiff};
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::tool::{TaskSupport, Tool};
use semver::Version;
use serde::Serialize;
use serde_json::Value;

use crate::{Digest, Package, Surface, Tools};

pub use version::Step;

/// Findings about one thing at most; more would not be read.
const FINDINGS_MAX: usize = 100;

/// How much a difference means, as version numbers mean it (semver.org).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// There is none.
    #[default]
    Same,
    /// Nobody has to do anything.
    Patch,
    /// There is more than before.
    Minor,
    /// What worked before may not work any more.
    Major,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Class::Same => "same",
            Class::Patch => "patch",
            Class::Minor => "minor",
            Class::Major => "major",
        })
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it means.
    pub class: Class,
    /// What has changed.
    pub what: String,
    /// How: the rest of a sentence that begins with `what`.
    pub how: String,
}

/// What was one thing and is now another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// What it was, if there was any.
    pub before: Option<String>,
    /// What it is, if there is any.
    pub now: Option<String>,
}

impl Turn {
    fn of<T: ToString + PartialEq>(before: Option<&T>, now: Option<&T>) -> Option<Turn> {
        (before != now).then(|| Turn {
            before: before.map(ToString::to_string),
            now: now.map(ToString::to_string),
        })
    }
}

/// What one version of a plugin says about itself.
#[derive(Clone, Debug)]
pub struct Content<'a> {
    /// Its manifest.
    pub manifest: &'a PluginManifest,
    /// Its imports and exports.
    pub surface: &'a Surface,
    /// Its tools; none where they aren't recorded. Who has asked it may put them here.
    pub tools: Option<Vec<&'a Tool>>,
}

impl<'a> Content<'a> {
    /// What a package says.
    pub fn of(package: &'a Package) -> Content<'a> {
        let tools = match &package.tools {
            Tools::Recorded(tools) => Some(tools.iter().collect()),
            Tools::Bare(functions) => Some(functions.iter().map(|f| &f.tool).collect()),
            Tools::None => Some(Vec::new()),
            Tools::Unrecorded => None,
        };
        Content {
            manifest: &package.manifest,
            surface: &package.surface,
            tools,
        }
    }

    /// The digest of its surface, for the lockfile: tools, imports and exports, in an order
    /// of their own. Equal digests mean that callers and host see no difference.
    pub fn surface_digest(&self) -> Digest {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        let tools = self.tools.as_ref().map(|tools| {
            let documents = tools.iter().map(|tool| (&tool.name, document(tool)));
            documents.collect::<BTreeMap<_, _>>()
        });
        let surface = serde_json::json!({
            "imports": sorted(&self.surface.imports),
            "exports": sorted(&self.surface.exports),
            "tools": tools,
        });
        Digest::of(canonical(&surface).as_bytes())
    }
}

/// A tool as JSON.
fn document(tool: &Tool) -> Value {
    // A tool is made of texts, flags and JSON: writing it can't fail.
    serde_json::to_value(tool).unwrap_or_default()
}

/// How a tool differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolChange {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub presence: Presence,
    /// The largest class of its differences.
    pub class: Class,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Turn>,
    /// What models are told about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Turn>,
    /// How its schemas, hints and icons differ.
    pub findings: Vec<Finding>,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// It wasn't before.
    New,
    /// It isn't any more.
    Gone,
    /// It was and is, but differs.
    Changed,
}

/// How a new version of a plugin differs from the one before.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// The id, where it is another: another plugin in the place of this one.
    pub id: Option<Turn>,
    /// The version before.
    pub from: Version,
    /// The version now.
    pub to: Version,
    /// What the step between the version numbers announces.
    pub step: Step,
    /// What the differences amount to.
    pub class: Class,
    /// Tools that are new, gone or different.
    pub tools: Vec<ToolChange>,
    /// Whether the tools of both versions are known; else they weren't compared.
    pub tools_compared: bool,
    /// How imports and exports differ.
    pub surface: Vec<Finding>,
    /// How the settings differ.
    pub config: Vec<Finding>,
    /// How requests differ.
    pub requests: RequestDiff,
    /// The licence, where it is another.
    pub license: Option<Turn>,
    /// The signer, where it is another.
    pub signer: Option<Turn>,
}

/// Why an operator should look at a change before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Concern {
    /// It is another plugin.
    OtherId,
    /// Another one has signed it, or nobody.
    OtherSigner,
    /// It asks for more.
    MoreRequests,
    /// It has another licence.
    OtherLicense,
    /// Its number announces less than has changed.
    Understated,
    /// Its number goes back.
    Downgrade,
}

/// Compares two versions of a plugin. `signer` is what
/// [`Trust::turn`](crate::signature::Trust::turn) says.
pub fn compare(before: &Content<'_>, now: &Content<'_>, signer: Option<Turn>) -> Change {
    let (old, new) = (before.manifest, now.manifest);
    let tools = match (&before.tools, &now.tools) {
        (Some(before), Some(now)) => Some(compare_tools(before, now)),
        _ => None,
    };
    let tools_compared = tools.is_some();
    let tools = tools.unwrap_or_default();
    let surface = surface::compare(before.surface, now.surface);
    let mut config = Findings::default();
    schema::compare(
        "setting",
        old.config.schema(),
        new.config.schema(),
        schema::Side::In,
        &mut config,
    );
    let config = config.0;
    let class = [
        tools.iter().map(|tool| tool.class).max(),
        surface.iter().map(|finding| finding.class).max(),
        config.iter().map(|finding| finding.class).max(),
    ];
    Change {
        id: Turn::of(Some(&old.id), Some(&new.id)),
        from: old.version.clone(),
        to: new.version.clone(),
        step: version::step(&old.version, &new.version),
        class: class.into_iter().flatten().max().unwrap_or_default(),
        tools,
        tools_compared,
        surface,
        config,
        requests: lock::differ(&lock::requests(&old.requests), &new.requests),
        license: Turn::of(old.license.as_ref(), new.license.as_ref()),
        signer,
    }
}

impl Change {
    /// Whether the version number announces less than has changed.
    pub fn understated(&self) -> bool {
        match self.step {
            Step::Up(announced) => self.class > announced,
            Step::Same => self.class > Class::Same,
            Step::Back => false,
        }
    }

    /// What an operator should look at before the change is made, the gravest first.
    pub fn concerns(&self) -> Vec<Concern> {
        let concerns = [
            (self.id.is_some(), Concern::OtherId),
            (self.signer.is_some(), Concern::OtherSigner),
            (!self.requests.more.is_empty(), Concern::MoreRequests),
            (self.license.is_some(), Concern::OtherLicense),
            (self.understated(), Concern::Understated),
            (self.step == Step::Back, Concern::Downgrade),
        ];
        let concerns = concerns.into_iter().filter(|(holds, _)| *holds);
        concerns.map(|(_, concern)| concern).collect()
    }
}

fn compare_tools(before: &[&Tool], now: &[&Tool]) -> Vec<ToolChange> {
    let by_name = |tools: &[&'_ Tool]| -> BTreeMap<String, Tool> {
        let named = tools
            .iter()
            .map(|tool| (tool.name.clone(), (*tool).clone()));
        named.collect()
    };
    let (before, now) = (by_name(before), by_name(now));
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let changes = names.into_iter().filter_map(|name| {
        let (old, new) = (before.get(name), now.get(name));
        let (presence, class) = match (old, new) {
            (None, _) => (Presence::New, Class::Minor),
            (_, None) => (Presence::Gone, Class::Major),
            (Some(old), Some(new)) if old == new => return None,
            _ => (Presence::Changed, Class::Patch),
        };
        let text = |of: fn(&Tool) -> Option<&String>| Turn::of(old.and_then(of), new.and_then(of));
        let findings = match (old, new) {
            (Some(old), Some(new)) => compare_tool(old, new),
            (None, Some(new)) => vec![Finding {
                class: Class::Minor,
                what: "arguments".to_owned(),
                how: format!(
                    "are {}",
                    schema::told(Some(&Value::Object(new.input_schema.clone())))
                ),
            }],
            _ => Vec::new(),
        };
        let largest = findings.iter().map(|finding| finding.class).max();
        Some(ToolChange {
            name: name.clone(),
            presence,
            class: class.max(largest.unwrap_or_default()),
            title: text(|tool| tool.title.as_ref()),
            description: text(|tool| tool.description.as_ref()),
            findings,
        })
    });
    changes.collect()
}

/// How the schemas, hints and icons of a tool differ.
fn compare_tool(old: &Tool, new: &Tool) -> Vec<Finding> {
    let mut findings = Findings::default();
    schema::compare(
        "argument",
        &old.input_schema,
        &new.input_schema,
        schema::Side::In,
        &mut findings,
    );
    let mut say = |class, how: &str| {
        findings.push(Finding {
            class,
            what: "answer".to_owned(),
            how: how.to_owned(),
        });
    };
    match (&old.output_schema, &new.output_schema) {
        (None, Some(_)) => say(Class::Minor, "is described by a schema from now on"),
        (Some(_), None) => say(Class::Major, "is described by a schema no more"),
        (Some(old), Some(new)) => {
            schema::compare("answer", old, new, schema::Side::Out, &mut findings);
        }
        (None, None) => {}
    }
    if old.annotations != new.annotations {
        let shown = |tool: &Tool| {
            let hints = serde_json::to_value(&tool.annotations).unwrap_or_default();
            shown(&canonical(&hints))
        };
        findings.push(Finding {
            class: Class::Patch,
            what: "hints".to_owned(),
            how: format!("are now {}, before {}", shown(new), shown(old)),
        });
    }
    let tasks = |tool: &Tool| tool.execution.task_support;
    if tasks(old) != tasks(new) {
        findings.push(Finding {
            // Whoever called it in the one way can do so no more, or in both ways from now on.
            class: match tasks(new) {
                TaskSupport::Optional => Class::Minor,
                TaskSupport::Forbidden | TaskSupport::Required => Class::Major,
            },
            what: "tasks".to_owned(),
            how: format!(
                "are {} from now on, before {}",
                tasks(new).as_str(),
                tasks(old).as_str()
            ),
        });
    }
    if old.icons != new.icons {
        findings.push(Finding {
            class: Class::Patch,
            what: "icons".to_owned(),
            how: match (old.icons.is_empty(), new.icons.is_empty()) {
                (true, _) => "are new".to_owned(),
                (_, true) => "are gone".to_owned(),
                _ => "are others".to_owned(),
            },
        });
    }
    findings.0
}

/// Findings about one thing, only so many.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn push(&mut self, finding: Finding) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(finding);
        } else if let Some(last) = self.0.last_mut() {
            // The class of what isn't shown still counts.
            last.class = last.class.max(finding.class);
            last.what = "more".to_owned();
            last.how = "has changed than is shown here".to_owned();
        }
    }
}

/// JSON with the members of objects in the order of their names.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            let members: Vec<String> = sorted
                .into_iter()
                .map(|(name, value)| {
                    format!("{}:{}", Value::String(name.clone()), canonical(value))
                })
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        value => value.to_string(),
    }
}

/// A text from a plugin as a terminal may print it: signs that can't be seen, or that turn
/// the direction of writing, are shown by their numbers.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_graphic() || c == ' ' {
            shown.push(c);
        } else {
            // Behind another character a combining one is left as it is.
            let pair: String = ['x', c].iter().collect();
            shown.extend(pair.escape_debug().skip(1));
        }
    }
    shown
}

fn quoted(text: &str) -> String {
    format!("`{}`", shown(text))
}
