//! `portreeve list`: what is installed.

use std::fmt::Write as _;

use anyhow::bail;
use clap::Args;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{ProjectView, WithheldTool};
use portreeve_manifest::grant::Standing;

use crate::context::Context;
use crate::text;

/// List the project's plugins and their tools.
///
/// Lists the project's plugins and the tools that each offers, under the names that clients
/// see. A plugin that can't be used stands there with the reason, and so does a tool that is
/// withheld.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve list
  portreeve list --grants     what each plugin asks for and is granted
  portreeve list --json       with the schemas of all tools")]
pub(crate) struct List {
    /// Show what each plugin asks for and is granted, instead of its tools.
    #[arg(long)]
    grants: bool,
}

impl List {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        let request = ControlRequest::Project;
        let ControlAnswer::Project(view) = context.ask(project, "reading the plugins", request)?
        else {
            bail!("the owner of the project answered something else");
        };
        context.output.result(&view, || {
            if self.grants {
                show_grants(&view)
            } else {
                show(&view)
            }
        })
    }
}

fn show_grants(view: &ProjectView) -> String {
    if view.plugins.is_empty() {
        return show(view);
    }
    let mut shown = String::new();
    for plugin in &view.plugins {
        let _ = write!(shown, "{}", plugin.alias);
        if let (Some(id), Some(version)) = (&plugin.id, &plugin.version) {
            let _ = write!(shown, "  {id} {version}");
        }
        if let Some(changed) = &plugin.changed {
            let time = jiff::Timestamp::from_millisecond(changed.time)
                .map_or_else(|_| changed.time.to_string(), |time| time.to_string());
            let _ = write!(
                shown,
                "  (last changed {time}: {} by {})",
                changed.kind, changed.who
            );
        }
        shown.push('\n');
        match &plugin.reason {
            Some(why) => {
                let why = text::lines(why).to_string().replace('\n', "\n    ");
                let _ = writeln!(shown, "  stopped\n    {why}");
            }
            None if plugin.requests.is_empty() => shown.push_str("  asks for nothing\n"),
            None => {}
        }
        for request in &plugin.requests {
            let state = match (request.standing, request.grantable) {
                (Standing::Granted, _) => "granted",
                (Standing::Partly, _) => "in part",
                (Standing::NotGranted, true) => "not granted",
                (Standing::NotGranted, false) => "can't be granted by this version",
            };
            let _ = writeln!(
                shown,
                "  {state:<11}  [{}] {}: {}",
                request.weight,
                request.capability,
                text::line(&request.words)
            );
            if request.standing == Standing::Partly {
                let rules = request.rules.join("; ");
                let _ = writeln!(shown, "  {:<11}  granted of it: {}", "", text::line(&rules));
            }
        }
        if !plugin.grants.is_empty() {
            let grants = serde_json::Value::Object(plugin.grants.clone()).to_string();
            let _ = writeln!(shown, "  in force: {}", text::line(&grants));
        }
    }
    shown
}

fn show(view: &ProjectView) -> String {
    /// Longest description in the overview, in characters.
    const DESCRIPTION_CHARS_MAX: usize = 80;
    if view.plugins.is_empty() {
        return format!(
            "no plugins in {} yet; `portreeve add PATH` installs one",
            view.project
        );
    }
    let mut shown = String::new();
    for plugin in &view.plugins {
        let _ = write!(shown, "{}", plugin.alias);
        if let (Some(id), Some(version)) = (&plugin.id, &plugin.version) {
            let _ = write!(shown, "  {id} {version}");
        }
        match &plugin.reason {
            None => shown.push('\n'),
            Some(why) => {
                let why = text::lines(why).to_string().replace('\n', "\n    ");
                let _ = writeln!(shown, "  not usable\n    {why}");
            }
        }
        if let Some(instance) = &plugin.instance {
            let state = instance.state.as_str();
            let _ = write!(shown, "  one instance for all calls: {state}");
            if let Some(why) = &instance.error {
                let _ = write!(shown, "; it broke: {}", text::line(why));
            }
            shown.push('\n');
        }
        for tool in &plugin.tools {
            let about = tool.tool.description.as_deref().unwrap_or_default();
            let about = text::summary(about, DESCRIPTION_CHARS_MAX);
            let _ = write!(shown, "  {}", tool.name);
            if !about.is_empty() {
                let _ = write!(shown, "  {}", text::line(&about));
            }
            shown.push('\n');
        }
        for tool in &plugin.withheld {
            let _ = writeln!(shown, "  {}", text::line(&withheld(tool)));
        }
        for warning in &plugin.warnings {
            let _ = writeln!(shown, "  WARNING: {}", text::line(warning));
        }
    }
    shown
}

/// A tool that is withheld, why, and what lets it through.
pub(crate) fn withheld(tool: &WithheldTool) -> String {
    format!(
        "WITHHELD: {}: {}; `{}` lets it through",
        tool.name, tool.reason, tool.command
    )
}
