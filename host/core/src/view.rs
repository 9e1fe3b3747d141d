//! The project as commands show it: what a host has open, in a form that can be sent.

use portreeve_manifest::grant::{Granted, Standing};
use portreeve_manifest::tool::{Tool, exposed_name};
use portreeve_state::HistoryRow;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::agreement::WithheldTool;
use crate::plugin::{Plugin, PluginStatus};
use crate::project::Project;
use crate::registry::Registry;
use crate::resident::ResidentStatus;

/// A project, with its plugins by alias.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProjectView {
    /// Its directory.
    pub project: String,
    /// Its plugins.
    pub plugins: Vec<PluginView>,
}

/// A plugin and the tools that it offers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginView {
    /// The operator's name for it.
    pub alias: String,
    /// The author's id; none for a plugin whose package could not be read.
    pub id: Option<String>,
    /// Its version.
    pub version: Option<Version>,
    /// The digest of its component file.
    pub digest: Option<String>,
    /// Its component file, or what was given for one that could not be found.
    pub path: String,
    /// `ready` or `failed`.
    pub status: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// How its one instance does, for a plugin that has one for all calls.
    pub instance: Option<ResidentStatus>,
    /// Most bytes of the arguments of one call.
    pub arguments_max: u64,
    /// What it offers.
    pub tools: Vec<ToolView>,
    /// What it would offer, were that agreed to.
    pub withheld: Vec<WithheldTool>,
    /// What its entry in the manifest says and nothing comes of.
    pub warnings: Vec<String>,
    /// What it asks for, the heaviest first.
    pub requests: Vec<RequestView>,
    /// What is granted to it, as in the operator's file.
    pub grants: Map<String, Value>,
    /// The last change of that.
    pub changed: Option<ChangeView>,
}

/// Something that a plugin asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RequestView {
    /// The capability.
    pub capability: String,
    /// What of it; empty where the capability says it all.
    pub what: String,
    /// What it means: the plugin may …
    pub words: String,
    /// Why, in its author's words.
    pub reason: Option<String>,
    /// How much harm it can do: `low`, `medium` or `high`.
    pub weight: String,
    /// What could go wrong.
    pub risk: String,
    /// Whether this version of the host can grant it.
    pub grantable: bool,
    /// Whether it is granted, or some of it.
    pub standing: Standing,
    /// The rules, as they are granted, by which it is: they may be narrower or wider.
    pub rules: Vec<String>,
}

/// A change of what a plugin is granted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChangeView {
    /// When: milliseconds since 1970, UTC.
    pub time: i64,
    /// What was done, such as `grant`.
    pub kind: String,
    /// Who did it.
    pub who: String,
}

/// A tool under the name that callers use.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ToolView {
    /// `ALIAS__TOOL`.
    pub name: String,
    /// What people see.
    pub title: String,
    /// The tool as the plugin describes it.
    pub tool: Tool,
}

impl ProjectView {
    /// `changes` are the last ones, by plugin.
    pub(crate) fn new(
        project: &Project,
        registry: &Registry,
        changes: &[HistoryRow],
    ) -> ProjectView {
        ProjectView {
            project: project.dir().to_string_lossy().into_owned(),
            plugins: registry
                .plugins()
                .map(|plugin| PluginView::new(plugin, registry, changes))
                .collect(),
        }
    }

    /// One plugin by its alias.
    pub fn plugin(&self, alias: &str) -> Option<&PluginView> {
        self.plugins.iter().find(|plugin| plugin.alias == alias)
    }

    /// All tools, with the plugin of each.
    pub fn tools(&self) -> impl Iterator<Item = (&PluginView, &ToolView)> {
        self.plugins
            .iter()
            .flat_map(|plugin| plugin.tools.iter().map(move |tool| (plugin, tool)))
    }

    /// One tool by the name that callers use.
    pub fn tool(&self, name: &str) -> Option<(&PluginView, &ToolView)> {
        self.tools().find(|(_, tool)| tool.name == name)
    }

    /// The name that callers use for a tool of a plugin.
    pub fn tool_name(alias: &str, tool: &str) -> String {
        exposed_name(alias, tool)
    }
}

impl PluginView {
    fn new(plugin: &Plugin, registry: &Registry, changes: &[HistoryRow]) -> PluginView {
        let in_force = plugin.in_force().unwrap_or_default();
        let mut requests: Vec<_> = plugin
            .manifest()
            .map(|manifest| manifest.requests.items())
            .unwrap_or_default();
        requests.sort_by_key(|item| std::cmp::Reverse(item.weight));
        let granted = Granted::read(&in_force.written);
        let requests = requests
            .into_iter()
            .map(|item| RequestView {
                standing: granted.standing(&item),
                rules: granted.rules(&item),
                capability: item.feature.name().to_owned(),
                what: item.what,
                words: item.words,
                reason: item.reason,
                weight: item.weight.as_str().to_owned(),
                risk: item.risk.to_owned(),
                grantable: item.grantable,
            })
            .collect();
        let changed = changes
            .iter()
            .find(|row| *row.holder.alias == *plugin.alias)
            .map(|row| ChangeView {
                time: row.time_ms,
                kind: row.kind.clone(),
                who: row.who.clone(),
            });
        let (status, reason) = match &plugin.status {
            PluginStatus::Ready => ("ready", None),
            PluginStatus::Failed(why) => ("failed", Some(why.clone())),
        };
        let tools = registry
            .tools()
            .filter(|tool| tool.plugin.alias == plugin.alias)
            .map(|tool| ToolView {
                name: tool.name.clone(),
                title: tool.title().to_owned(),
                tool: tool.tool().clone(),
            })
            .collect();
        PluginView {
            alias: plugin.alias.clone(),
            id: plugin.id().map(str::to_owned),
            version: plugin.version().cloned(),
            digest: plugin.digest().map(|digest| digest.to_string()),
            path: plugin.path.to_string_lossy().into_owned(),
            status: status.to_owned(),
            reason,
            instance: plugin.resident(),
            arguments_max: plugin.limits().map_or(0, |limits| limits.arguments.0),
            tools,
            withheld: registry
                .withheld_tools()
                .filter(|tool| tool.plugin == plugin.alias)
                .collect(),
            warnings: plugin.warnings().to_vec(),
            requests,
            grants: in_force.written.clone(),
            changed,
        }
    }
}
