//! `portreeve bus`: messages between plugins.

use std::io::Read as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{
    BusAct, BusDone, BusStats, BusTail, ProgressListener, ProgressReport, ReplayFrom,
};
use portreeve_manifest::duration::HumanDuration;
use portreeve_manifest::grant::{Topic, TopicPattern};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::audit::moment;
use crate::context::Context;
use crate::progress::Progress;
use crate::session::Session;
use crate::{output, text};

/// Longest message that is read, in bytes: more than the host takes.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// Publish messages, look on, and see to dead letters.
///
/// Plugins tell each other what happens through topics. A message is shown as an event of
/// CloudEvents 1.0. What is published waits for the next `portreeve serve` where none runs.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve bus publish builds.failed '{\"number\": 7}'
  portreeve bus tail 'builds.>'
  portreeve bus tail builds.failed --from 1h   and what lies there since then
  portreeve bus stats
  portreeve bus dead list
  portreeve bus dead retry ID")]
pub(crate) struct Bus {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Publish a message as the host's own. It is on disk when this returns.
    Publish {
        /// Where to.
        topic: Topic,
        /// What it says; `-` reads standard input.
        payload: String,
        /// What that is: a media type. JSON where it is JSON, else text.
        #[arg(long, value_name = "TYPE")]
        content_type: Option<String>,
        /// Messages of one key are handled in order.
        #[arg(long)]
        key: Option<String>,
        /// A message of the same id enters the topic once within its window.
        #[arg(long, value_name = "ID")]
        dedup_id: Option<String>,
        /// Has it enter the topic later.
        #[arg(long, value_name = "TIME")]
        delay: Option<HumanDuration>,
        /// Has it end unhandled after a time.
        #[arg(long, value_name = "TIME")]
        ttl: Option<HumanDuration>,
    },
    /// Show messages as they enter topics, one to a line, until interrupted.
    Tail {
        /// Those of these topics.
        #[arg(default_value = ">")]
        pattern: TopicPattern,
        /// End after so many.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// Show first what lies there from then on, topic by topic: what is not handled yet, and
        /// what `keep` keeps. A position (1, 2, 3 ...), a moment, or how long ago.
        #[arg(long, value_name = "N|WHEN", value_parser = replay_from)]
        from: Option<ReplayFrom>,
    },
    /// Show topics, who subscribes, and what ended without being handled.
    Stats,
    /// Have messages of a topic delivered again to one who subscribes to it, or skip some.
    ///
    /// What was handled can be gone back to only where `keep` is set for the topic, under
    /// [messages.topics] in portreeve.toml.
    Replay {
        /// The plugin, or `webhook:NAME`.
        subscriber: String,
        /// The topic.
        topic: Topic,
        /// From what was published then: a moment, or how long ago.
        #[arg(long, value_name = "WHEN", value_parser = moment, required_unless_present = "position", conflicts_with = "position")]
        from: Option<i64>,
        /// From this position on: 1, 2, 3 ...
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
        position: Option<i64>,
    },
    /// Messages that were given up.
    Dead {
        #[command(subcommand)]
        what: Dead,
    },
}

#[derive(Subcommand)]
enum Dead {
    /// List them, the oldest first, 200 at a time.
    List {
        /// Those that this plugin gave up.
        #[arg(long)]
        plugin: Option<String>,
        /// Those of this topic.
        #[arg(long)]
        topic: Option<String>,
        /// Those after this one.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Show one, with what it says.
    Show {
        /// Its id.
        id: String,
    },
    /// Have one delivered once more, as if it were new.
    Retry {
        /// Its id.
        id: String,
    },
    /// Remove one. There is no way back.
    Drop {
        /// Its id.
        id: String,
    },
}

impl Bus {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        let act = self.act()?;
        let looks_on = matches!(act, BusAct::Tail(_));
        let done = context.block_on(async {
            let mut session = Session::open(project).await?;
            let cancel = CancellationToken::new();
            let request = ControlRequest::Bus(act);
            let answer = if looks_on {
                let listener = Arc::new(Printer);
                session.ask(request, &listener, &cancel).await
            } else {
                session
                    .ask(request, &Arc::new(Progress::new()), &cancel)
                    .await
            };
            session.end().await;
            match answer? {
                ControlAnswer::Bus(done) => Ok(done),
                _ => bail!("the owner of the project answered something else"),
            }
        })?;
        match &done {
            BusDone::Published { id, duplicate } => {
                let result = json!({ "id": id, "duplicate": duplicate });
                context.output.result(&result, || match duplicate {
                    true => format!("nothing was published: message {id} has this dedup id"),
                    false => format!("published message {id}"),
                })
            }
            BusDone::Tailed { missed: 0 } => Ok(()),
            BusDone::Tailed { missed } => {
                output::note(format!("{missed} messages came too fast and are not shown"));
                Ok(())
            }
            BusDone::Stats(stats) => context.output.result(stats, || show_stats(stats)),
            BusDone::Dead(letters) => context.output.result(letters, || show_dead(letters)),
            BusDone::Done => context.output.result(&json!({}), || "done".to_owned()),
        }
    }

    fn act(&self) -> anyhow::Result<BusAct> {
        Ok(match &self.what {
            What::Publish {
                topic,
                payload,
                content_type,
                key,
                dedup_id,
                delay,
                ttl,
            } => {
                let payload = payload_of(payload)?;
                let ms =
                    |time: &HumanDuration| u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX);
                let json = serde_json::from_slice::<Value>(&payload).is_ok();
                let default = if json {
                    "application/json"
                } else {
                    "text/plain"
                };
                let mut event = json!({
                    "specversion": "1.0",
                    "id": dedup_id.clone().unwrap_or_else(unique),
                    "source": "/command",
                    "type": topic.as_str(),
                    "datacontenttype": content_type.as_deref().unwrap_or(default),
                    "data_base64": BASE64_STANDARD.encode(&payload),
                });
                if let (Some(key), Some(event)) = (key, event.as_object_mut()) {
                    event.insert("partitionkey".to_owned(), json!(key));
                }
                BusAct::Publish {
                    event,
                    delay_ms: delay.as_ref().map_or(0, ms),
                    ttl_ms: ttl.as_ref().map(ms),
                }
            }
            What::Tail {
                pattern,
                count,
                from,
            } => BusAct::Tail(BusTail {
                pattern: pattern.clone(),
                count: *count,
                from: *from,
            }),
            What::Stats => BusAct::Stats,
            What::Replay {
                subscriber,
                topic,
                from,
                position,
            } => BusAct::Replay {
                subscriber: subscriber.clone(),
                topic: topic.clone(),
                from: match (from, position) {
                    (Some(time), _) => ReplayFrom::Time(*time),
                    (None, position) => ReplayFrom::Position(position.unwrap_or(1)),
                },
            },
            What::Dead { what } => match what {
                Dead::List {
                    plugin,
                    topic,
                    after,
                } => BusAct::DeadList {
                    alias: plugin.clone(),
                    topic: topic.clone(),
                    after: after.clone(),
                },
                Dead::Show { id } => BusAct::DeadShow { id: id.clone() },
                Dead::Retry { id } => BusAct::DeadRetry { id: id.clone() },
                Dead::Drop { id } => BusAct::DeadDrop { id: id.clone() },
            },
        })
    }
}

/// A position in a topic, or a time.
fn replay_from(text: &str) -> Result<ReplayFrom, String> {
    match text.parse::<i64>() {
        Ok(position) if position > 0 => Ok(ReplayFrom::Position(position)),
        Ok(_) => Err("positions are 1, 2, 3 ...".to_owned()),
        Err(_) => moment(text).map(ReplayFrom::Time),
    }
}

/// An id that no other message has: the moment and the process.
fn unique() -> String {
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("{now}-{}", std::process::id())
}

fn payload_of(given: &str) -> anyhow::Result<Vec<u8>> {
    if given != "-" {
        return Ok(given.as_bytes().to_vec());
    }
    let mut payload = Vec::new();
    let mut input = std::io::stdin().lock().take(MESSAGE_BYTES_MAX);
    input
        .read_to_end(&mut payload)
        .context("the message can't be read")?;
    Ok(payload)
}

/// Prints each event as a line.
struct Printer;

impl ProgressListener for Printer {
    fn progress(&self, report: ProgressReport) {
        // What comes while the host makes itself ready is none.
        if let Some(event) = report.message.filter(|text| text.starts_with('{'))
            && output::print(&text::line(&text::json(&event))).is_err()
        {
            // Nobody reads any more.
            std::process::exit(0);
        }
    }
}

fn show_stats(stats: &BusStats) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => text::line(text).to_string(),
        other => other.to_string(),
    };
    let mut lines = Vec::new();
    for topic in &stats.topics {
        let ephemeral = if topic["ephemeral"] == json!(true) {
            ", in memory"
        } else {
            ""
        };
        lines.push(format!(
            "{}  {} messages with {} bytes{ephemeral}; {} have entered since the host started",
            word(&topic["topic"]),
            topic["messages"],
            topic["bytes"],
            topic["published"],
        ));
    }
    for one in &stats.subscriptions {
        let patterns = one["patterns"].as_array().map_or(&[][..], Vec::as_slice);
        let patterns: Vec<String> = patterns.iter().map(word).collect();
        lines.push(format!(
            "{} subscribes to {}: {} wait, {} with it now; {} delivered, {} handled, {} to be tried again",
            word(&one["plugin"]),
            patterns.join(" "),
            one["lag"],
            one["in-flight"],
            one["delivered"],
            one["acked"],
            one["retried"],
        ));
    }
    for one in &stats.counted {
        let of = match one["plugin"].as_str() {
            None | Some("") => String::new(),
            Some(plugin) => format!(" of {}", text::line(plugin)),
        };
        lines.push(format!(
            "{} {} in {}{of}",
            one["count"],
            word(&one["what"]),
            word(&one["topic"])
        ));
    }
    lines.push(format!("{} dead letters", stats.dead));
    lines.join("\n")
}

fn show_dead(letters: &[Value]) -> String {
    if letters.is_empty() {
        return "no dead letters".to_owned();
    }
    let letters = letters.iter().map(|letter| {
        let line = |name: &str| text::line(letter[name].as_str().unwrap_or("")).to_string();
        let event = &letter["event"];
        let mut shown = format!(
            "{}  {} by {} after {} tries: {}\n  {}",
            line("id"),
            line("reason"),
            line("plugin"),
            letter["attempts"],
            text::line(event.get("type").and_then(Value::as_str).unwrap_or("")),
            line("detail"),
        );
        if event.get("data").is_some() || event.get("data_base64").is_some() {
            shown.push_str("\n  ");
            shown.push_str(&text::line(&event.to_string()).to_string());
        }
        shown
    });
    letters.collect::<Vec<_>>().join("\n")
}
