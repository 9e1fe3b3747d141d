//! `portreeve call`: one tool, once.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{
    CallError, CallResponse, Content, ErrorCode, Origin, Outcome, PluginView, ProjectView,
    ToolView, Usage,
};
use portreeve_manifest::json::{self, JsonLimits};
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::papers::bytes;
use crate::context::Context;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::session::Session;
use crate::{error, output, text};

/// How long an interrupted call may take to end.
const CANCEL_TIME_MAX: Duration = Duration::from_secs(3);

/// Call a tool.
///
/// Calls a tool of the project and prints its answer.
///
/// Arguments are one JSON object, on the command line or in a file, or pairs given with
/// --arg, whose values are read as the tool's schema wants them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve call markdown__render '{\"markdown\": \"# Hello\"}'
  portreeve call markdown render --arg 'markdown=# Hello'
  portreeve call markdown/render --args-file arguments.json
  generate-arguments | portreeve call markdown__render --args-file -")]
pub(crate) struct Call {
    /// The tool: ALIAS__TOOL as `portreeve list` shows it, ALIAS/TOOL, or ALIAS TOOL;
    /// then its arguments as a JSON object.
    #[arg(required = true, num_args = 1..=3, value_names = ["TOOL", "ARGS_JSON"])]
    words: Vec<String>,
    /// One argument; repeat for more.
    #[arg(long = "arg", value_name = "NAME=VALUE", conflicts_with = "args_file")]
    args: Vec<String>,
    /// Read the arguments from a file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    args_file: Option<PathBuf>,
    /// Write the bytes of the answer (an image, say) to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What was written on the command line.
struct Words<'a> {
    alias: Option<&'a str>,
    tool: &'a str,
    arguments: Option<&'a str>,
}

impl Call {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let words = split(&self.words)?;
        let given = [
            words.arguments.is_some(),
            !self.args.is_empty(),
            self.args_file.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() > 1 {
            return Err(error::usage(
                "give the arguments once: as JSON, with --arg, or with --args-file",
            ));
        }
        let project = context.project()?;
        context.block_on(async {
            let progress = Arc::new(Progress::new());
            let cancel = CancellationToken::new();
            let mut session = Session::open(project).await?;
            let called = self.call(&mut session, &words, &progress, &cancel).await;
            progress.clear();
            // Before waiting for what others asked of this process meanwhile.
            let shown = called.and_then(|response| self.show(context, &response));
            session.end().await;
            shown
        })
    }

    async fn call(
        &self,
        session: &mut Session,
        words: &Words<'_>,
        progress: &Arc<Progress>,
        cancel: &CancellationToken,
    ) -> anyhow::Result<CallResponse> {
        let answer = session.ask(ControlRequest::Project, progress, cancel).await;
        let ControlAnswer::Project(view) = answer? else {
            bail!("the owner of the project answered something else");
        };
        let (plugin, tool) = find(&view, words)?;
        let request = ControlRequest::Call {
            tool: tool.name.clone(),
            arguments: self.arguments(plugin, tool, words.arguments)?,
        };
        progress.quick_step(&format!("calling {}", tool.name));
        let call = session.ask(request, progress, cancel);
        match interruptible(call, cancel).await?? {
            ControlAnswer::Called(response) => Ok(*response),
            _ => bail!("the owner of the project answered something else"),
        }
    }

    /// The arguments, as strictly read as a client's.
    fn arguments(
        &self,
        plugin: &PluginView,
        tool: &ToolView,
        given: Option<&str>,
    ) -> anyhow::Result<Map<String, Value>> {
        let limits = JsonLimits {
            bytes_max: usize::try_from(plugin.arguments_max).unwrap_or(usize::MAX),
            ..JsonLimits::default()
        };
        let read = |text: &str, from: &str| match json::parse(text, &limits) {
            Ok(Value::Object(arguments)) => Ok(arguments),
            Ok(_) => Err(error::usage(format!(
                "{from}: arguments are a JSON object, such as '{{\"name\": \"value\"}}'"
            ))),
            Err(why) => Err(error::usage(format!("{from}: {why}"))),
        };
        match (given, &self.args_file) {
            (Some(text), _) => read(text, "the arguments"),
            (None, Some(file)) => {
                let text = read_arguments(file, limits.bytes_max)?;
                read(&text, &file.display().to_string())
            }
            (None, None) => pairs(&self.args, &tool.tool.input_schema, &limits),
        }
    }

    fn show(&self, context: &Context, response: &CallResponse) -> anyhow::Result<()> {
        if let (Some(file), Ok(outcome)) = (&self.out, &response.result) {
            write_blob(file, outcome)?;
        }
        if context.output.is_json() {
            output::print_json(&describe(response))?;
        }
        match &response.result {
            Ok(outcome) => {
                if !context.output.is_json() {
                    show_outcome(outcome, self.out.is_some())?;
                }
                if outcome.is_error {
                    output::note(format!(
                        "the tool reports an error (call {})",
                        response.call_id
                    ));
                    return Err(error::shown(Exit::Failed));
                }
                Ok(())
            }
            Err(why) => {
                output::note(format!(
                    "error: {} (call {})",
                    explain(why),
                    response.call_id
                ));
                Err(error::shown(exit(why)))
            }
        }
    }
}

/// Takes the words apart: the tool in one or two, then perhaps its arguments.
fn split(words: &[String]) -> anyhow::Result<Words<'_>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is_json = |word: &str| word.trim_start().starts_with(['{', '[', '"']);
    let (names, arguments) = match words.as_slice() {
        [names @ .., last] if !names.is_empty() && is_json(last) => (names, Some(*last)),
        names => (names, None),
    };
    let (alias, tool) = match names {
        [name] => name
            .split_once('/')
            .map_or((None, *name), |(alias, tool)| (Some(alias), tool)),
        [alias, tool] => (Some(*alias), *tool),
        _ => {
            return Err(error::usage(
                "write ALIAS__TOOL, ALIAS/TOOL or ALIAS TOOL, and after it the arguments as one JSON object in quotes",
            ));
        }
    };
    Ok(Words {
        alias,
        tool,
        arguments,
    })
}

/// The tool that is meant.
fn find<'a>(
    view: &'a ProjectView,
    words: &Words<'_>,
) -> anyhow::Result<(&'a PluginView, &'a ToolView)> {
    /// Names that are like enough to be meant.
    const LIKENESS_MIN: f64 = 0.75;
    const SUGGESTIONS_MAX: usize = 3;
    let name = match words.alias {
        Some(alias) => ProjectView::tool_name(alias, words.tool),
        None => words.tool.to_owned(),
    };
    if let Some(found) = view.tool(&name) {
        return Ok(found);
    }
    let alias = words.alias.or_else(|| Some(words.tool.split_once("__")?.0));
    let plugin = alias.and_then(|alias| view.plugin(alias));
    if let Some(plugin) = plugin
        && let Some(why) = &plugin.reason
    {
        bail!("the plugin `{}` can't be used: {why}", plugin.alias);
    }
    if words.alias.is_none()
        && let Some(plugin) = view.plugin(words.tool)
    {
        /// Names of tools that are shown.
        const SHOWN_MAX: usize = 20;
        let alias = &plugin.alias;
        let tools: Vec<_> = plugin
            .tools
            .iter()
            .map(|tool| format!("`{}`", tool.name))
            .collect();
        let (shown, more) = match tools.split_at_checked(SHOWN_MAX) {
            Some((shown, [_, ..])) => (shown, ", and more"),
            _ => (&*tools, ""),
        };
        match shown {
            [] => bail!("`{alias}` is a plugin, and offers no tool; `portreeve list` shows why"),
            shown => bail!(
                "`{alias}` is a plugin; name one of its tools: {}{more}",
                shown.join(", ")
            ),
        }
    }
    let mut like: Vec<(f64, &str)> = view
        .tools()
        .map(|(_, tool)| {
            let own = strsim::normalized_damerau_levenshtein(words.tool, &tool.tool.name);
            (
                strsim::normalized_damerau_levenshtein(&name, &tool.name).max(own),
                tool.name.as_str(),
            )
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .collect();
    like.sort_by(|a, b| b.0.total_cmp(&a.0));
    let like: Vec<_> = like
        .iter()
        .take(SUGGESTIONS_MAX)
        .map(|(_, name)| format!("`{name}`"))
        .collect();
    let advice = if like.is_empty() {
        "`portreeve list` shows what there is".to_owned()
    } else {
        format!(
            "did you mean {}? `portreeve list` shows all",
            like.join(" or ")
        )
    };
    bail!("there is no tool `{name}`: {advice}")
}

fn read_arguments(file: &Path, bytes_max: usize) -> anyhow::Result<String> {
    if file != Path::new("-") {
        return super::papers::read_text(file, bytes_max as u64);
    }
    let mut text = String::new();
    std::io::stdin()
        .take((bytes_max as u64).saturating_add(1))
        .read_to_string(&mut text)
        .context("the arguments can't be read from standard input")?;
    // One that is too long is refused where it is parsed.
    Ok(text)
}

/// `name=value` pairs: text where the schema wants text, else JSON where it is JSON.
fn pairs(
    pairs: &[String],
    schema: &Map<String, Value>,
    limits: &JsonLimits,
) -> anyhow::Result<Map<String, Value>> {
    let mut arguments = Map::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(error::usage(format!(
                "`--arg {pair}` has no value: write `--arg {pair}=VALUE`"
            )));
        };
        let wanted = schema
            .get("properties")
            .and_then(|properties| properties.get(name)?.get("type")?.as_str());
        let value = match wanted {
            Some("string") => Value::from(value),
            _ => json::parse(value, limits).unwrap_or_else(|_| Value::from(value)),
        };
        if arguments.insert(name.to_owned(), value).is_some() {
            return Err(error::usage(format!(
                "the argument `{name}` is given twice"
            )));
        }
    }
    Ok(arguments)
}

/// Waits for the call; an interrupt cancels it.
async fn interruptible<T>(
    call: impl Future<Output = T>,
    cancel: &CancellationToken,
) -> anyhow::Result<T> {
    // Before the call begins: without it, an interrupt would end the process at once.
    let mut interrupts = signal(SignalKind::interrupt()).context("interrupts can't be noticed")?;
    tokio::pin!(call);
    tokio::select! {
        response = &mut call => return Ok(response),
        _ = interrupts.recv() => {}
    }
    cancel.cancel();
    tokio::time::timeout(CANCEL_TIME_MAX, call)
        .await
        .context("the call was interrupted, but does not end; leaving it")
}

/// Who says that it failed, and what they say.
fn explain(error: &CallError) -> String {
    let message = &error.failure.message;
    let who = match error.origin {
        Origin::Plugin => "the plugin failed",
        Origin::Host => "not done",
        Origin::Internal => "the host failed",
    };
    format!("{who} ({}): {message}", error.failure.code)
}

fn exit(error: &CallError) -> Exit {
    match (error.origin, error.failure.code) {
        (Origin::Host, ErrorCode::PermissionDenied) => Exit::Refused,
        _ => Exit::Failed,
    }
}

fn show_outcome(outcome: &Outcome, written: bool) -> anyhow::Result<()> {
    for piece in &outcome.content {
        match piece {
            Content::Text(text) => output::print_exact(text)?,
            Content::Blob { .. } if written => {}
            Content::Blob { data, mime_type } => {
                let size = bytes(data.len() as u64);
                let note = format!("[{size} of {mime_type}; --out FILE writes them]");
                output::print(&text::line(&note))?;
            }
            Content::Link { uri, name, .. } => {
                let link = format!("{name}: {uri}");
                output::print(&text::line(&link))?;
            }
        }
    }
    match &outcome.structured {
        Some(structured) if !says_the_same(&outcome.content, structured) => {
            output::print_exact(&serde_json::to_string_pretty(structured)?)
        }
        _ => Ok(()),
    }
}

/// Whether the only text says what the structured answer says, as it should for clients that
/// read only one of them.
fn says_the_same(content: &[Content], structured: &Map<String, Value>) -> bool {
    let [Content::Text(text)] = content else {
        return false;
    };
    let read: Option<Value> = serde_json::from_str(text).ok();
    if read.as_ref().and_then(Value::as_object) == Some(structured) {
        return true;
    }
    let only = structured.get("result").filter(|_| structured.len() == 1);
    only.is_some_and(|only| only.as_str() == Some(text) || Some(only) == read.as_ref())
}

/// Writes the bytes of an answer.
fn write_blob(file: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    let mut blobs = outcome.content.iter().filter_map(|piece| match piece {
        Content::Blob { data, .. } => Some(data),
        _ => None,
    });
    let Some(first) = blobs.next() else {
        bail!("the answer has no bytes to write to {}", file.display());
    };
    if blobs.next().is_some() {
        bail!("the answer has several pieces of bytes; `--json` prints them all");
    }
    std::fs::write(file, first).with_context(|| format!("{} can't be written", file.display()))?;
    output::note(format!(
        "wrote {} to {}",
        bytes(first.len() as u64),
        file.display()
    ));
    Ok(())
}

fn describe(response: &CallResponse) -> Value {
    let mut value = json!({ "call-id": response.call_id, "usage": usage(&response.usage) });
    let (name, result) = match &response.result {
        Ok(outcome) => ("result", describe_outcome(outcome)),
        Err(error) => ("error", describe_error(error)),
    };
    if let Some(value) = value.as_object_mut() {
        value.insert(name.to_owned(), result);
    }
    value
}

fn usage(usage: &Usage) -> Value {
    json!({
        "duration-ms": usage.duration.as_secs_f64() * 1e3,
        "fuel": usage.fuel,
        "memory-peak": usage.memory_peak,
        "host-calls": usage.host_calls,
        "output-bytes": usage.output_bytes,
    })
}

fn describe_outcome(outcome: &Outcome) -> Value {
    let content: Vec<_> = outcome
        .content
        .iter()
        .map(|piece| match piece {
            Content::Text(text) => json!({ "type": "text", "text": text }),
            Content::Blob { data, mime_type } => {
                json!({ "type": "blob", "mime-type": mime_type, "base64": BASE64_STANDARD.encode(data) })
            }
            Content::Link { uri, name, mime_type } => {
                json!({ "type": "link", "uri": uri, "name": name, "mime-type": mime_type })
            }
        })
        .collect();
    json!({
        "content": content,
        "structured": outcome.structured,
        "is-error": outcome.is_error,
        "meta": outcome.meta,
    })
}

fn describe_error(error: &CallError) -> Value {
    let failure = &error.failure;
    json!({
        "kind": exit(error).kind(),
        "origin": error.origin,
        "code": failure.code,
        "reason": failure.reason,
        "message": failure.message,
        "retry-after-ms": failure.retry_after.map(|after| after.as_millis() as u64),
        "detail": failure.detail,
        "limit": error.limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_spelled_naturally() {
        let check = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            split(&words).ok().map(|words| {
                (
                    words.alias.map(str::to_owned),
                    words.tool.to_owned(),
                    words.arguments.map(str::to_owned),
                )
            })
        };
        let some = |alias: Option<&str>, tool: &str, arguments: Option<&str>| {
            Some((
                alias.map(str::to_owned),
                tool.to_owned(),
                arguments.map(str::to_owned),
            ))
        };
        assert_eq!(check(&["a__t"]), some(None, "a__t", None));
        assert_eq!(check(&["a__t", " {}"]), some(None, "a__t", Some(" {}")));
        assert_eq!(check(&["a/t", "{}"]), some(Some("a"), "t", Some("{}")));
        assert_eq!(check(&["a", "t", "{}"]), some(Some("a"), "t", Some("{}")));
        assert_eq!(check(&["a", "t"]), some(Some("a"), "t", None));
        assert_eq!(check(&["a", "t", "u"]), None);
    }

    #[test]
    fn only_a_refusal_of_the_host_is_one() {
        let host = CallError::host(ErrorCode::PermissionDenied, "not-granted", "no");
        assert_eq!(exit(&host), Exit::Refused);
        let plugin = CallError {
            origin: Origin::Plugin,
            ..host
        };
        assert_eq!(exit(&plugin), Exit::Failed);
        let other = CallError::host(ErrorCode::Timeout, "limit-timeout", "late");
        assert_eq!(exit(&other), Exit::Failed);
    }

    #[test]
    fn pairs_follow_the_schema() {
        let schema = json!({ "properties": {
            "text": { "type": "string" }, "n": { "type": "integer" }, "list": { "type": "array" },
        }});
        let check = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|pair| (*pair).to_owned()).collect();
            pairs(&given, schema.as_object().unwrap(), &JsonLimits::default())
                .map(Value::Object)
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            check(&["text=5", "n=5", "list=[1]", "other=a=b"]).unwrap(),
            json!({ "text": "5", "n": 5, "list": [1], "other": "a=b" })
        );
        assert!(check(&["text"]).unwrap_err().contains("text=VALUE"));
        assert!(check(&["n=1", "n=2"]).unwrap_err().contains("twice"));
    }

    #[test]
    fn the_same_answer_is_shown_once() {
        let check = |text: &str, structured: Value| {
            says_the_same(
                &[Content::Text(text.to_owned())],
                structured.as_object().unwrap(),
            )
        };
        assert!(check("5", json!({ "result": 5 })));
        assert!(check("five", json!({ "result": "five" })));
        assert!(check("{\"a\": 1}", json!({ "a": 1 })));
        assert!(!check("about five", json!({ "result": 5 })));
        assert!(!check("5", json!({ "result": 5, "more": 1 })));
    }
}
