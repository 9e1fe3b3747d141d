//! The registry: an immutable picture of all plugins and the tools they offer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use jsonschema::Validator;
use portreeve_manifest::expose::ExposedTool;
use portreeve_manifest::tool::Tool;
use portreeve_manifest::wit_type::BareFunction;
use portreeve_manifest::{schema, schema_cost};
use serde_json::{Map, Value};

use crate::agreement::WithheldTool;
use crate::plugin::Plugin;

/// All plugins and tools of a project at one moment. A change makes a new one.
#[derive(Debug, Default)]
pub struct Registry {
    plugins: BTreeMap<String, Arc<Plugin>>,
    tools: BTreeMap<String, Arc<RegisteredTool>>,
    /// The plugins of tools that are withheld, by the names that clients would see.
    withheld: BTreeMap<String, Arc<Plugin>>,
}

/// A tool under the name that callers use.
#[derive(Debug)]
pub struct RegisteredTool {
    /// `ALIAS__TOOL`, or what the operator's prefix makes of it; unique in the registry.
    pub name: String,
    /// The plugin that offers it.
    pub plugin: Arc<Plugin>,
    offered: Offered,
    input: OnceLock<Result<Schema, String>>,
    output: OnceLock<Result<Schema, String>>,
}

/// What stands behind a tool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Offered {
    /// A tool of a provider.
    Tool(Tool),
    /// An exported function of a bare component.
    Function(Box<BareFunction>),
}

impl RegisteredTool {
    fn new(plugin: Arc<Plugin>, offered: Offered) -> RegisteredTool {
        let own = &offered.tool().name;
        let name = plugin.tool_name(own);
        RegisteredTool {
            name,
            plugin,
            offered,
            input: OnceLock::new(),
            output: OnceLock::new(),
        }
    }

    /// The tool as the plugin describes it.
    pub fn tool(&self) -> &Tool {
        self.offered.tool()
    }

    /// What people see: the plugin's title for it, else its own name for it.
    pub fn title(&self) -> &str {
        let tool = self.tool();
        let said = self.said().and_then(|said| said.title.as_deref());
        said.or(tool.title.as_deref()).unwrap_or(&tool.name)
    }

    /// What it does and when to use it: the operator's words for it, else the plugin's.
    pub fn description(&self) -> Option<&str> {
        let said = self.said().and_then(|said| said.description.as_deref());
        said.or(self.tool().description.as_deref())
    }

    /// What it is about, as the operator says.
    pub fn category(&self) -> Option<&str> {
        let facts = self.plugin.facts.as_ref()?;
        facts.expose.category(&self.tool().name)
    }

    /// Words that it is found by, as the operator says.
    pub fn tags(&self) -> BTreeSet<&str> {
        let facts = self.plugin.facts.as_ref();
        facts
            .map(|facts| facts.expose.tags(&self.tool().name))
            .unwrap_or_default()
    }

    /// What the operator says of it in place of the plugin.
    fn said(&self) -> Option<&ExposedTool> {
        let facts = self.plugin.facts.as_ref()?;
        facts.expose.tool.get(&self.tool().name)
    }

    pub(crate) fn offered(&self) -> &Offered {
        &self.offered
    }

    /// Holds arguments against the input schema.
    ///
    /// # Errors
    /// What is wrong with them, by place.
    pub(crate) fn check_arguments(&self, arguments: &Value) -> Result<(), String> {
        let schema = &self.tool().input_schema;
        check(&self.input, schema, arguments, "the arguments")
    }

    /// Holds a structured answer against the output schema.
    ///
    /// # Errors
    /// What is wrong with it, by place.
    pub(crate) fn check_answer(
        &self,
        answer: &mut Option<Map<String, Value>>,
    ) -> Result<(), String> {
        let Some(schema) = &self.tool().output_schema else {
            return Ok(());
        };
        let Some(answer) = answer else {
            return Err("it has an output schema, but gave no structured answer".to_owned());
        };
        // Only lent: an answer may have megabytes.
        let value = Value::Object(std::mem::take(answer));
        let checked = check(&self.output, schema, &value, "the answer");
        if let Value::Object(lent) = value {
            *answer = lent;
        }
        checked
    }
}

impl Offered {
    pub(crate) fn tool(&self) -> &Tool {
        match self {
            Offered::Tool(tool) => tool,
            Offered::Function(function) => &function.tool,
        }
    }
}

/// A schema, ready to hold values against.
#[derive(Debug)]
pub(crate) struct Schema {
    validator: Validator,
    depth_max: usize,
}

impl Schema {
    pub(crate) fn new(schema: &Map<String, Value>) -> Result<Schema, String> {
        let schema = Value::Object(schema.clone());
        Ok(Schema {
            validator: schema::compile(&schema)?,
            depth_max: schema_cost::depth_max(&schema)?,
        })
    }

    /// Tells the first mistake only: collecting all of them would take as much memory as
    /// there are.
    pub(crate) fn check(&self, value: &Value, what: &str) -> Result<(), String> {
        /// Longest part of a message, in characters: it quotes the value.
        const CHARS_MAX: usize = 300;
        let depth = schema_cost::depth(value);
        if depth > self.depth_max {
            return Err(format!(
                "{what}: {depth} levels deep, but this tool's schema refers to itself in ways that allow {}",
                self.depth_max
            ));
        }
        self.validator.validate(value).map_err(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { what } else { &place };
            let text = error.to_string();
            let mut short: String = text.chars().take(CHARS_MAX).collect();
            if short.len() < text.len() {
                short.push('…');
            }
            format!("{place}: {short}")
        })
    }
}

fn check(
    cell: &OnceLock<Result<Schema, String>>,
    schema: &Map<String, Value>,
    value: &Value,
    what: &str,
) -> Result<(), String> {
    cell.get_or_init(|| Schema::new(schema))
        .as_ref()
        .map_err(|error| format!("the tool's schema can't be used: {error}"))?
        .check(value, what)
}

impl Registry {
    /// A registry of these plugins, each with what it offers.
    pub(crate) fn new(plugins: Vec<(Arc<Plugin>, Vec<Offered>)>) -> Registry {
        let mut registry = Registry::default();
        // Names that operators have changed come last: they can't take another plugin's own.
        let (own, changed): (Vec<_>, Vec<_>) = plugins
            .into_iter()
            .partition(|(plugin, _)| plugin.prefix.is_none());
        for (plugin, offered) in own.into_iter().chain(changed) {
            let facts = plugin.facts.as_ref();
            for own in facts.iter().flat_map(|facts| &facts.withheld) {
                let name = plugin.tool_name(own);
                registry
                    .withheld
                    .entry(name)
                    .or_insert_with(|| plugin.clone());
            }
            for offered in offered {
                let tool = RegisteredTool::new(plugin.clone(), offered);
                // Names are made to be distinct but for prefixes; otherwise a clash would need a
                // collision of their hashes. The first stays.
                if let Some(first) = registry.tools.get(&tool.name) {
                    tracing::error!(
                        name = tool.name,
                        first = first.plugin.alias,
                        second = plugin.alias,
                        "two tools have one name; the second is not offered"
                    );
                    continue;
                }
                registry.tools.insert(tool.name.clone(), Arc::new(tool));
            }
            registry.plugins.insert(plugin.alias.clone(), plugin);
        }
        registry
    }

    /// All tools, by name.
    pub fn tools(&self) -> impl ExactSizeIterator<Item = &Arc<RegisteredTool>> {
        self.tools.values()
    }

    /// The tools that are withheld, by the names that clients would see.
    pub fn withheld_tools(&self) -> impl Iterator<Item = WithheldTool> {
        let withheld = self.withheld.iter();
        withheld.map(|(name, plugin)| WithheldTool::new(&plugin.alias, name.clone()))
    }

    /// Why a tool is withheld, if it is: under the name that clients would see.
    pub fn withheld(&self, name: &str) -> Option<WithheldTool> {
        let plugin = self.withheld.get(name)?;
        Some(WithheldTool::new(&plugin.alias, name.to_owned()))
    }

    /// One tool by its name.
    pub fn tool(&self, name: &str) -> Option<&Arc<RegisteredTool>> {
        self.tools.get(name)
    }

    /// All plugins, by alias.
    pub fn plugins(&self) -> impl ExactSizeIterator<Item = &Arc<Plugin>> {
        self.plugins.values()
    }

    /// One plugin by its alias.
    pub fn plugin(&self, alias: &str) -> Option<&Arc<Plugin>> {
        self.plugins.get(alias)
    }

    /// What each plugin offers, by alias.
    pub(crate) fn offered(&self) -> BTreeMap<&str, Vec<&Offered>> {
        let mut offered: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for tool in self.tools.values() {
            let of_plugin = offered.entry(&tool.plugin.alias).or_default();
            of_plugin.push(&tool.offered);
        }
        offered
    }

    /// Whether both offer the same tools in the same words.
    pub(crate) fn offers_the_same(&self, other: &Registry) -> bool {
        self.tools.len() == other.tools.len()
            && self
                .tools
                .iter()
                .zip(&other.tools)
                .all(|((a, tool), (b, same))| {
                    a == b
                        && tool.tool() == same.tool()
                        && tool.title() == same.title()
                        && tool.description() == same.description()
                        && tool.category() == same.category()
                        && tool.tags() == same.tags()
                })
    }
}
