//! What the operator has agreed to, held against what a component asks for.

use std::collections::BTreeMap;

use portreeve_manifest::id::Alias;
use portreeve_manifest::lock::{LockedPlugin, Lockfile};
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::project::{PluginEntry, ProjectManifest};
use portreeve_manifest::tool::{TOOLS_MAX, Tool, ToolExecution};
use portreeve_supply::Digest;
use serde::{Deserialize, Serialize};

use crate::host::HostError;
use crate::papers::Agreed;
use crate::plugin::Facts;
use crate::project::{LOCKFILE, Project};
use crate::registry::Registry;

/// Tools of one plugin that the lockfile names: those that it has, and as many that it had.
const LOCKED_TOOLS_MAX: usize = 2 * TOOLS_MAX;

/// What was agreed to before, and what came just now.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    /// As `portreeve.lock` says it.
    pub(crate) lock: Lockfile,
    /// The components that came with what is being done.
    pub(crate) arrived: BTreeMap<Alias, Arrival>,
}

/// A component that takes the place of another, or is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Arrival {
    /// Which one it is.
    #[serde(flatten)]
    pub pin: Pin,
    /// Whether the operator has seen what it asks for, and agrees. Otherwise it may ask for no
    /// more than was agreed to.
    pub agreed: bool,
}

/// Which component it is, whatever its source stands for later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pin {
    /// The SHA-256 digest of its bytes.
    pub digest: String,
    /// The SHA-512 digest of its bytes, where it came over a network.
    pub sha512: Option<String>,
    /// What its source stood for: an address by which the same bytes are had again.
    pub resolved: Option<String>,
}

impl Pin {
    /// A component on this machine.
    pub fn local(digest: &Digest) -> Pin {
        Pin {
            digest: digest.to_string(),
            sha512: None,
            resolved: None,
        }
    }
}

impl From<&LockedPlugin> for Pin {
    fn from(locked: &LockedPlugin) -> Pin {
        Pin {
            digest: locked.digest.clone(),
            sha512: locked.sha512.clone(),
            resolved: locked.resolved.clone(),
        }
    }
}

/// What was agreed to in a project; nothing where it has no lockfile.
///
/// # Errors
/// When the file can't be read or has mistakes.
pub fn read_lockfile(project: &Project) -> Result<Lockfile, HostError> {
    match project.read_lock()? {
        Some(text) => {
            let file = project.lock_path().display().to_string();
            Ok(Lockfile::parse(&file, &text)?)
        }
        None => Ok(Lockfile::default()),
    }
}

impl Agreement {
    /// Reads the lockfile; nothing was agreed to where there is none.
    pub(crate) fn read(project: &Project) -> Result<Agreement, HostError> {
        let lock = read_lockfile(project)?;
        Ok(Agreement {
            lock,
            arrived: BTreeMap::new(),
        })
    }

    /// The component that was agreed to, and who signed it. None where nobody did, and where the
    /// operator is agreeing to another one.
    pub(crate) fn signed(&self, alias: &Alias) -> Option<Agreed> {
        if self
            .arrived
            .get(alias)
            .is_some_and(|arrival| arrival.agreed)
        {
            return None;
        }
        Agreed::of(self.lock.plugins.get(alias)?)
    }

    /// Whether this component was agreed to before.
    pub(crate) fn has(&self, alias: &Alias, digest: &Digest) -> bool {
        let locked = self.lock.plugins.get(alias);
        locked.is_some_and(|locked| locked.digest == digest.to_string())
    }

    /// The component that a remote source stands for: it is never fetched on the way.
    ///
    /// # Errors
    /// It was not fetched from there, and what to do.
    pub(crate) fn pin(&self, alias: &Alias, source: &str) -> Result<Pin, String> {
        if let Some(arrival) = self.arrived.get(alias) {
            return Ok(arrival.pin.clone());
        }
        match self.lock.plugins.get(alias) {
            Some(locked) if locked.source == source => Ok(locked.into()),
            Some(locked) => Err(format!(
                "its source is {source} now, and was {} when it was agreed to: `portreeve install` fetches it from there",
                locked.source
            )),
            None => Err("it was not fetched yet: `portreeve install` does".to_owned()),
        }
    }

    /// Whether a component may run under what was agreed to. A plugin that was never seen is
    /// agreed to by standing in the operator's file.
    ///
    /// # Errors
    /// What it asks for beyond that, and what to do.
    pub(crate) fn covers(
        &self,
        entry: &PluginEntry,
        digest: &Digest,
        manifest: &PluginManifest,
    ) -> Result<(), String> {
        let alias = &entry.alias;
        let digest = digest.to_string();
        if let Some(arrival) = self.arrived.get(alias).filter(|arrival| arrival.agreed) {
            let seen = &arrival.pin.digest;
            if *seen == digest {
                return Ok(());
            }
            return Err(format!(
                "its component was replaced while you looked at it ({seen} then, {digest} now): look at it again with `portreeve grant {alias}`"
            ));
        }
        let Some(agreed) = self.lock.plugins.get(alias) else {
            return Ok(());
        };
        if agreed.digest == digest {
            return Ok(());
        }
        let diff = agreed.differs(&manifest.requests);
        if diff.more.is_empty() {
            return Ok(());
        }
        let how = match entry.source.is_remote() {
            true => {
                format!("`portreeve update {alias} --agree` agrees to that, and grants nothing")
            }
            false => format!(
                "`portreeve grant {alias}` shows it and asks; or put the former component back"
            ),
        };
        Err(format!(
            "requests: its component was replaced ({} {}, now {}) and asks for more than was agreed to in {LOCKFILE}:\n{}\n{how}",
            manifest.id,
            agreed.version,
            manifest.version,
            diff.lines().join("\n"),
        ))
    }
}

/// The digest of a tool as clients see it: a name that stays, and words or pictures that change
/// under it, is how a tool becomes another one unseen.
fn tool_digest(tool: &Tool) -> String {
    let mut seen = serde_json::json!({
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
        "annotations": tool.annotations,
    });
    // Those who agreed before there were these stay with what they agreed to.
    if let Some(seen) = seen.as_object_mut() {
        if !tool.icons.is_empty() {
            seen.insert("icons".to_owned(), serde_json::json!(tool.icons));
        }
        if tool.execution != ToolExecution::default() {
            seen.insert("execution".to_owned(), serde_json::json!(tool.execution));
        }
    }
    Digest::of(seen.to_string().as_bytes()).to_string()
}

/// A tool that is not offered, since it is not what was agreed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WithheldTool {
    /// The operator's name for its plugin.
    pub plugin: String,
    /// The name under which it was offered.
    pub name: String,
    /// Why it is withheld.
    pub reason: String,
    /// The command that lets it through.
    pub command: String,
}

impl WithheldTool {
    /// The tool of this name, of a plugin that has other words for it than before.
    pub fn new(alias: &str, name: String) -> WithheldTool {
        WithheldTool {
            plugin: alias.to_owned(),
            name,
            reason:
                "it has another description, other schemas, icons or tasks than those that were agreed to"
                    .to_owned(),
            command: format!("portreeve grant {alias} --agree"),
        }
    }
}

/// The tools of a component that have other words than those that were agreed to, by name.
pub fn changed_tools<'a>(
    lock: &Lockfile,
    alias: &Alias,
    tools: impl IntoIterator<Item = &'a Tool>,
) -> Vec<String> {
    let Some(locked) = lock.plugins.get(alias) else {
        return Vec::new();
    };
    let changed = tools.into_iter().filter(|tool| {
        let pinned = locked.tools.get(&tool.name);
        pinned.is_some_and(|pinned| *pinned != tool_digest(tool))
    });
    changed.map(|tool| tool.name.clone()).collect()
}

impl Agreement {
    /// Whether a tool is as it was agreed to. One that nobody has seen before is agreed to with
    /// its plugin.
    pub(crate) fn covers_tool(&self, alias: &str, tool: &Tool) -> bool {
        if self
            .arrived
            .get(alias)
            .is_some_and(|arrival| arrival.agreed)
        {
            return true;
        }
        let locked = self.lock.plugins.get(alias);
        let pinned = locked.and_then(|locked| locked.tools.get(&tool.name));
        pinned.is_none_or(|pinned| *pinned == tool_digest(tool))
    }
}

/// The tools of a plugin that are agreed to from now on. What is withheld stays as it was, and
/// so does what is not offered now, unless all of it is agreed to anew.
fn tools(
    alias: &str,
    facts: &Facts,
    before: Option<&LockedPlugin>,
    agreed: bool,
    registry: &Registry,
) -> BTreeMap<String, String> {
    let mut tools = match before {
        Some(before) if !agreed => before.tools.clone(),
        _ => BTreeMap::new(),
    };
    // Else names of former versions could heap up.
    if tools.len() > LOCKED_TOOLS_MAX {
        tools.clear();
    }
    let offered = registry.tools().filter(|tool| tool.plugin.alias == alias);
    tools.extend(offered.map(|tool| (tool.tool().name.clone(), tool_digest(tool.tool()))));
    if let Some(before) = before {
        let kept = facts.withheld.iter().filter_map(|name| {
            let pinned = before.tools.get(name)?;
            Some((name.clone(), pinned.clone()))
        });
        tools.extend(kept);
    }
    tools
}

/// What is agreed to from now on, for the plugins that are there: `papers` are those of the
/// components that were read. One that can't be used keeps what was agreed to, unless it came
/// just now; so does one that was not read.
pub(crate) fn lockfile(
    agreement: &Agreement,
    manifest: &ProjectManifest,
    registry: &Registry,
    mut papers: BTreeMap<Alias, LockedPlugin>,
) -> Lockfile {
    let plugins = manifest.plugins.keys().filter_map(|alias| {
        let before = agreement.lock.plugins.get(alias);
        let facts = registry
            .plugin(alias.as_str())
            .and_then(|plugin| plugin.facts.as_ref());
        let arrival = agreement.arrived.get(alias);
        let new = facts.is_some() || arrival.is_some();
        let Some(mut locked) = papers.remove(alias).filter(|_| new) else {
            return before.map(|before| (alias.clone(), before.clone()));
        };
        locked.tools = match facts {
            Some(facts) => {
                let agreed = arrival.is_some_and(|arrival| arrival.agreed);
                tools(alias.as_str(), facts, before, agreed, registry)
            }
            None => before
                .map(|before| before.tools.clone())
                .unwrap_or_default(),
        };
        Some((alias.clone(), locked))
    });
    Lockfile {
        plugins: plugins.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tool(more: &Value) -> Tool {
        let mut tool = json!({"name": "t", "description": "d", "inputSchema": {"type": "object"}});
        for (member, value) in more.as_object().unwrap() {
            tool[member] = value.clone();
        }
        Tool::parse(&tool.to_string()).unwrap()
    }

    #[test]
    fn tools_are_pinned_as_clients_see_them() {
        // As it was before tools had icons, and said of tasks what they do.
        let before = json!({
            "title": null,
            "description": "d",
            "inputSchema": {"type": "object"},
            "outputSchema": null,
            "annotations": null,
        });
        let before = Digest::of(before.to_string().as_bytes()).to_string();
        assert_eq!(tool_digest(&tool(&json!({}))), before);
        let others = [
            json!({"title": "T"}),
            json!({"description": "e"}),
            json!({"inputSchema": {"type": "object", "title": "x"}}),
            json!({"outputSchema": {"type": "object"}}),
            json!({"annotations": {"readOnlyHint": true}}),
            json!({"icons": [{"src": "data:image/png,A"}]}),
            json!({"icons": [{"src": "data:image/png,B"}]}),
            json!({"execution": {"taskSupport": "forbidden"}}),
            json!({"execution": {"taskSupport": "required"}}),
        ];
        let digests = others.iter().map(|more| tool_digest(&tool(more)));
        let digests: std::collections::BTreeSet<_> = digests.chain([before]).collect();
        assert_eq!(digests.len(), others.len() + 1);
    }
}
