//! `portreeve status`: how the project does, and what its plugins use.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use jiff::Timestamp;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{
    BreakerState, CareStatus, ResidentState, ResidentView, Status as ProjectStatus,
};
use portreeve_state::usage::ToolUse;
use portreeve_state::{SqliteStore, StateStore};
use tokio_util::sync::CancellationToken;

use super::audit::moment;
use super::list::withheld;
use super::papers::bytes;
use crate::context::Context;
use crate::progress::Progress;
use crate::session::Session;
use crate::text;

/// See whether a host runs, and what plugins use.
///
/// Shows the host that runs, its load and the alerts that stand, and for each plugin and tool
/// its calls, errors, latency, fuel, memory and bytes. Without a host it shows what was kept.
/// Percentiles are up to 6.25 % above what they stand for.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve status
  portreeve status --since 15m
  portreeve status --since 30d --json")]
pub(crate) struct Status {
    /// From which moment on: a moment, or how long ago.
    #[arg(long, value_name = "WHEN", default_value = "24h", value_parser = moment)]
    since: i64,
}

impl Status {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        let status = context.block_on(async {
            if let Some(mut session) = Session::other(&project).await? {
                let request = ControlRequest::Status { from: self.since };
                let progress = Arc::new(Progress::new());
                let answer = session
                    .ask(request, &progress, &CancellationToken::new())
                    .await?;
                return match answer {
                    ControlAnswer::Status(status) => Ok(*status),
                    _ => bail!("the owner of the project answered something else"),
                };
            }
            let manifest = context.manifest(&project)?;
            let aliases: Vec<&str> = manifest
                .plugins
                .keys()
                .map(portreeve_manifest::id::Alias::as_str)
                .collect();
            let store: Arc<dyn StateStore> = SqliteStore::read(&project.database()).await?;
            Ok(ProjectStatus::of(&*store, self.since, &aliases).await?)
        })?;
        context.output.result(&status, || show(&status))
    }
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

fn show(status: &ProjectStatus) -> String {
    let mut shown = String::new();
    // Writing to a string can't fail.
    match &status.host {
        None => shown.push_str("no host runs\n"),
        Some(host) => {
            let _ = writeln!(
                shown,
                "a host runs since {} (process {}, version {}): {} calls run, {} wait",
                time(host.since),
                host.pid,
                host.version,
                host.running,
                host.waiting
            );
            if let Some(why) = &host.audit_failing {
                let _ = writeln!(shown, "NO CALL IS RUN: {}", text::line(why));
            }
            for alert in &host.alerts {
                let _ = writeln!(shown, "ALERT: {}", text::line(&alert.message));
            }
            for tool in &host.withheld {
                let _ = writeln!(shown, "{}", text::line(&withheld(tool)));
            }
            for warning in &host.warnings {
                let _ = writeln!(shown, "WARNING: {}", text::line(warning));
            }
            for alert in &host.advisories {
                let _ = writeln!(shown, "ADVISORY: {}", text::line(&alert.message));
            }
            for used in &host.network {
                let _ = writeln!(
                    shown,
                    "{} has made {} of {} requests today, with {} of {}; {} connections now",
                    text::line(&used.plugin),
                    used.requests,
                    used.requests_allowed,
                    bytes(used.bytes),
                    bytes(used.bytes_allowed),
                    used.connections
                );
            }
            let messages = &host.messages;
            for one in &messages.subscriptions {
                let _ = writeln!(
                    shown,
                    "{} has {} messages waiting, {} with it now; {} handled since then",
                    text::line(one["plugin"].as_str().unwrap_or("?")),
                    one["lag"],
                    one["in-flight"],
                    one["acked"]
                );
            }
            if messages.dead > 0 {
                let _ = writeln!(
                    shown,
                    "DEAD LETTERS: {}; see `portreeve bus dead list`",
                    messages.dead
                );
            }
            for one in &host.residents {
                show_resident(&mut shown, one);
            }
            for origin in &host.origins {
                show_origin(&mut shown, origin);
            }
        }
    }
    let _ = writeln!(
        shown,
        "state {}, audit log {} up to record {}",
        bytes(status.state_bytes),
        bytes(status.audit_bytes),
        status.audit_last
    );
    let _ = writeln!(
        shown,
        "\nfrom {} to {}",
        time(status.usage.from),
        time(status.usage.to)
    );
    for plugin in &status.usage.plugins {
        let _ = writeln!(
            shown,
            "{}  stores {} in {} keys",
            text::line(&plugin.alias),
            bytes(plugin.storage_bytes),
            plugin.storage_keys
        );
        if plugin.tools.is_empty() {
            shown.push_str("  no calls\n");
        }
        for tool in &plugin.tools {
            show_tool(&mut shown, tool);
        }
    }
    shown
}

fn show_resident(shown: &mut String, one: &ResidentView) {
    let ResidentView { plugin, instance } = one;
    // Writing to a string can't fail.
    let _ = write!(
        shown,
        "{}  instance {} since {}",
        text::line(plugin),
        instance.state.as_str(),
        time(instance.since)
    );
    if instance.broke > 0 {
        let _ = write!(shown, "; it broke {} times", instance.broke);
    }
    if let Some(why) = &instance.error {
        let _ = write!(shown, ", at last: {}", text::line(why));
    }
    match instance.state {
        ResidentState::Restarts => {
            let next = instance.next.map_or_else(String::new, time);
            let _ = write!(shown, "; it is started again at {next}");
        }
        ResidentState::Failed => {
            let _ = write!(
                shown,
                "; it stays down until its component or portreeve.toml changes, or the next `portreeve serve`; `portreeve logs --plugin {}` shows what it wrote",
                text::line(plugin)
            );
        }
        ResidentState::Asleep | ResidentState::Runs | ResidentState::Ended => {}
    }
    shown.push('\n');
}

fn show_origin(shown: &mut String, origin: &CareStatus) {
    // Writing to a string can't fail.
    let _ = write!(
        shown,
        "{}  {} retries, {} over the rate",
        text::line(&origin.origin),
        origin.retries,
        origin.rate_limited
    );
    if let Some(breaker) = &origin.breaker {
        let state = match breaker.state {
            BreakerState::Closed => "closed",
            BreakerState::Open => "OPEN",
            BreakerState::HalfOpen => "half open",
        };
        let _ = write!(shown, "; circuit {state} since {}", breaker.since);
    }
    if let Some(cache) = &origin.cache {
        let _ = write!(
            shown,
            "; cache {} with {} hits and {} misses",
            bytes(cache.bytes),
            cache.hits,
            cache.misses
        );
    }
    shown.push('\n');
}

fn show_tool(shown: &mut String, tool: &ToolUse) {
    let ms = |us: u64| us as f64 / 1e3;
    let _ = writeln!(
        shown,
        "  {}  {} calls, {} failed, {} refusals; p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        text::line(&tool.tool),
        tool.calls,
        tool.failed,
        tool.refusals,
        ms(tool.p50_us),
        ms(tool.p95_us),
        ms(tool.p99_us),
        ms(tool.max_us),
    );
    let _ = writeln!(
        shown,
        "      fuel {}, memory up to {}, {} in, {} out",
        tool.fuel,
        bytes(tool.memory_peak),
        bytes(tool.bytes_in),
        bytes(tool.bytes_out),
    );
    for (code, count) in &tool.errors {
        let _ = writeln!(shown, "      {count} × {}", text::line(code));
    }
}
