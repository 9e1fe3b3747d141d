//! A plugin's papers in one document, as commands print them and readers are given them.

use portreeve_manifest::id::Alias;
use portreeve_manifest::tool::Tool;
use serde_json::{Map, Value, json};

use crate::package::{Package, Tools};
use crate::{advisory, licence, scan};

/// All that is known of a plugin without running it.
#[derive(Debug)]
pub struct Papers<'a> {
    /// The operator's name for it.
    pub alias: &'a Alias,
    /// Its component.
    pub package: &'a Package,
    /// What is known of the packages that it was made from.
    pub advisories: &'a advisory::Report,
    /// What was found when it was looked through.
    pub scan: &'a scan::Report,
    /// Under which terms it comes; or why that can't be judged.
    pub licences: Result<&'a licence::Report, &'a str>,
}

impl Papers<'_> {
    /// As an object for programs.
    pub fn to_object(&self) -> Map<String, Value> {
        let mut members = describe(self.package);
        let licences = match self.licences {
            Ok(report) => json!({ "report": report, "refusal": report.refusal(self.alias) }),
            Err(why) => json!({ "error": why }),
        };
        for (name, value) in [
            ("advisories", json!(self.advisories)),
            ("scan", json!(self.scan)),
            ("licenses", licences),
        ] {
            members.insert(name.to_owned(), value);
        }
        members
    }
}

/// What a component says of itself, as an object for programs.
pub fn describe(package: &Package) -> Map<String, Value> {
    let manifest = &package.manifest;
    let surface = &package.surface;
    let skipped = surface.skipped.iter();
    let skipped: Vec<_> = skipped
        .map(|(name, why)| json!({ "name": name, "reason": why }))
        .collect();
    let dependencies = json!({
        "list": package.dependencies.list,
        "recorded-by": package.dependencies.sources,
        "problems": package.dependencies.problems,
    });
    let licences: Vec<_> = package.licence_texts.iter().map(|(name, _)| name).collect();
    let members = [
        ("id", json!(manifest.id)),
        ("version", json!(manifest.version)),
        ("license", json!(manifest.license)),
        ("description", json!(manifest.description)),
        ("manifest", json!(manifest.origin)),
        ("instances", json!(manifest.instances)),
        ("digest", json!(package.digest)),
        ("size", json!(package.size)),
        ("tools", json!(known_tools(package))),
        ("tools-from", json!(tools_from(package))),
        ("requests", json!(manifest.requests.items())),
        ("config", json!(manifest.config)),
        ("imports", json!(surface.imports)),
        ("exports", json!(surface.exports)),
        ("lifecycle", json!(surface.lifecycle)),
        ("handles-messages", json!(surface.handles_messages)),
        ("answers-requests", json!(surface.answers_requests)),
        ("asynchronous", json!(surface.asynchronous)),
        ("skipped", json!(skipped)),
        ("licence-texts", json!(licences)),
        ("dependencies", dependencies),
    ];
    let members = members.into_iter();
    members
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The tools that are known without running anything.
pub fn known_tools(package: &Package) -> Vec<&Tool> {
    match &package.tools {
        Tools::Recorded(tools) => tools.iter().collect(),
        Tools::Bare(functions) => functions.iter().map(|function| &function.tool).collect(),
        Tools::Unrecorded | Tools::None => Vec::new(),
    }
}

/// Where the list of tools comes from.
fn tools_from(package: &Package) -> &'static str {
    match package.tools {
        Tools::Recorded(_) => "recorded",
        Tools::Unrecorded => "unrecorded",
        Tools::Bare(_) => "functions",
        Tools::None => "none",
    }
}

/// Takes the largest members out until what is left has at most so many bytes as JSON; `left-out`
/// says how many each of them has.
pub fn shortened(mut members: Map<String, Value>, bytes_max: usize) -> Map<String, Value> {
    let sizes = members
        .iter()
        .map(|(name, value)| (value.to_string().len(), name.clone()));
    let mut sizes: Vec<(usize, String)> = sizes.collect();
    sizes.sort();
    let mut left_out = Map::new();
    while Value::Object(members.clone()).to_string().len() > bytes_max
        && let Some((bytes, name)) = sizes.pop()
    {
        members.remove(&name);
        left_out.insert(name, bytes.into());
        members.insert("left-out".to_owned(), left_out.clone().into());
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_gives_way_and_is_named() {
        let members = json!({ "a": "x".repeat(900), "b": "y".repeat(500), "c": 1 });
        let members = members.as_object().unwrap().clone();
        assert_eq!(shortened(members.clone(), 2_000), members);
        let less = Value::Object(shortened(members.clone(), 1_000));
        assert_eq!(less["left-out"], json!({ "a": 902 }));
        assert_eq!((less["c"].clone(), less["b"].is_string()), (json!(1), true));
        let least = Value::Object(shortened(members, 100));
        assert_eq!(least, json!({ "c": 1, "left-out": { "a": 902, "b": 502 } }));
    }
}
