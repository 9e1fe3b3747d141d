//! `portreeve list`: what is installed.

use std::fmt::Write as _;

use clap::Args;
use portreeve_core::{Plugin, PluginStatus, Project, RegisteredTool, Registry};
use serde_json::{Value, json};

use crate::context::Context;
use crate::progress::Progress;
use crate::{output, text};

/// List the project's plugins and their tools.
///
/// Lists the project's plugins and the tools that each offers, under the names that clients
/// see. A plugin that can't be used stands there with the reason.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve list
  portreeve list --json       with the schemas of all tools")]
pub(crate) struct List {}

impl List {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        let registry = context.block_on(async {
            let progress = Progress::new();
            progress.quick_step("reading the plugins");
            Ok(context.host(project.clone()).await?.registry())
        })?;
        context
            .output
            .result(&describe(&project, &registry), || show(&project, &registry))
    }
}

fn tools<'a>(
    registry: &'a Registry,
    plugin: &'a Plugin,
) -> impl Iterator<Item = &'a RegisteredTool> {
    registry
        .tools()
        .map(|tool| &**tool)
        .filter(|tool| tool.plugin.alias == plugin.alias)
}

fn describe(project: &Project, registry: &Registry) -> Value {
    let plugins: Vec<_> = registry
        .plugins()
        .map(|plugin| {
            let (status, reason) = match &plugin.status {
                PluginStatus::Ready => ("ready", None),
                PluginStatus::Failed(why) => ("failed", Some(why)),
            };
            let tools: Vec<_> = tools(registry, plugin)
                .map(
                    |tool| json!({ "name": tool.name, "title": tool.title(), "tool": tool.tool() }),
                )
                .collect();
            json!({
                "alias": plugin.alias,
                "id": plugin.id(),
                "version": plugin.version(),
                "digest": plugin.digest(),
                "path": output::path(&plugin.path),
                "status": status,
                "reason": reason,
                "tools": tools,
            })
        })
        .collect();
    json!({ "project": output::path(project.dir()), "plugins": plugins })
}

fn show(project: &Project, registry: &Registry) -> String {
    /// Longest description in the overview, in characters.
    const DESCRIPTION_CHARS_MAX: usize = 80;
    if registry.plugins().len() == 0 {
        return format!(
            "no plugins in {} yet; `portreeve add PATH` installs one",
            project.dir().display()
        );
    }
    let mut shown = String::new();
    for plugin in registry.plugins() {
        let _ = write!(shown, "{}", plugin.alias);
        if let (Some(id), Some(version)) = (plugin.id(), plugin.version()) {
            let _ = write!(shown, "  {id} {version}");
        }
        match &plugin.status {
            PluginStatus::Ready => shown.push('\n'),
            PluginStatus::Failed(why) => {
                let why = text::lines(why).to_string().replace('\n', "\n    ");
                let _ = writeln!(shown, "  not usable\n    {why}");
            }
        }
        for tool in tools(registry, plugin) {
            let about = tool.tool().description.as_deref().unwrap_or_default();
            let about = text::summary(about, DESCRIPTION_CHARS_MAX);
            let _ = write!(shown, "  {}", tool.name);
            if !about.is_empty() {
                let _ = write!(shown, "  {}", text::line(&about));
            }
            shown.push('\n');
        }
    }
    shown
}
