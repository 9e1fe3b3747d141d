//! `portreeve inbox` and `portreeve answer`: what waits for people.

use std::io::BufRead as _;

use anyhow::bail;
use clap::Args;
use dialoguer::console::Term;
use dialoguer::{Confirm, Input, MultiSelect, Password, Select};
use jiff::Timestamp;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{InboxAct, InboxDone, InboxItem, InboxWhat, Reply};
use portreeve_manifest::form::{Choice, Field, FieldKind, Form};
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::prompt::answered;
use crate::{error, review, text};

/// Longest line that is read from standard input, in bytes: more than any answer has.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Show what waits for you: questions of plugins, and their notices.
///
/// A question waits here where the client of the call can't show it, or where something in it
/// is sensitive; `portreeve answer` answers it. The call that asked waits meanwhile.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve inbox
  portreeve inbox --json
  portreeve inbox --clear")]
pub(crate) struct Inbox {
    /// Take away the notices, and the questions that nobody waits for any more.
    #[arg(long)]
    clear: bool,
}

impl Inbox {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        if self.clear {
            let InboxDone::Cleared(count) = ask(context, InboxAct::Clear)? else {
                return Err(other());
            };
            return context.output.result(&json!({ "cleared": count }), || {
                format!("took {count} away")
            });
        }
        let items = items(context)?;
        context.output.result(&items, || match items.as_slice() {
            [] => "nothing waits for you".to_owned(),
            items => items.iter().map(shown).collect::<Vec<_>>().join("\n"),
        })
    }
}

/// Answer a question of a plugin.
///
/// Fields that are not given with --field are asked for on a terminal. Sensitive ones are never
/// given on the command line: they are asked for unseen, or read from standard input, a line
/// for each, in their order.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve answer k7dpm2xw
  portreeve answer k7dpm2xw --field repository=acme/site --field days=3
  portreeve answer k7dpm2xw --decline
  portreeve answer k7dpm2xw < token.txt")]
pub(crate) struct Answer {
    /// The question, as `portreeve inbox` shows it.
    id: String,
    /// What to fill in; lists of choices with commas.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    field: Vec<(String, String)>,
    /// Say no.
    #[arg(long, conflicts_with_all = ["field", "dismiss"])]
    decline: bool,
    /// Put it away without saying yes or no.
    #[arg(long, conflicts_with = "field")]
    dismiss: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "write NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Answer {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let reply = match (self.decline, self.dismiss) {
            (true, _) => Reply::Declined,
            (_, true) => Reply::Dismissed,
            (false, false) => {
                let items = items(context)?;
                let form = items.into_iter().find_map(|item| match item.what {
                    InboxWhat::Question { form, waits: true } if item.id == self.id => {
                        Some((item.plugin, form))
                    }
                    _ => None,
                });
                match form {
                    Some((plugin, form)) => Reply::Accepted(self.filled_in(&plugin, &form)?),
                    // The owner says what became of it.
                    None => Reply::Dismissed,
                }
            }
        };
        let outcome = reply.as_str();
        let id = self.id.clone();
        let InboxDone::Answered = ask(context, InboxAct::Answer { id, reply })? else {
            return Err(other());
        };
        let result = json!({ "id": self.id, "outcome": outcome });
        context
            .output
            .result(&result, || format!("{outcome}; the call goes on"))
    }

    fn filled_in(&self, plugin: &str, form: &Form) -> anyhow::Result<Map<String, Value>> {
        for (name, _) in &self.field {
            match form.fields.iter().find(|field| field.name == *name) {
                None => {
                    let names: Vec<&str> = form
                        .fields
                        .iter()
                        .map(|field| field.name.as_str())
                        .collect();
                    return Err(error::usage(format!(
                        "there is no field `{name}`; there are {}",
                        names.join(", ")
                    )));
                }
                Some(field) if field.is_sensitive() => {
                    return Err(error::usage(format!(
                        "`{name}` is sensitive, and other processes see command lines: leave it out, and it is asked for, or read from standard input"
                    )));
                }
                Some(_) => {}
            }
        }
        let interactive = review::is_interactive();
        if interactive {
            let asked = format!("`{plugin}` asks:\n\n{}\n", form.message);
            tell(&text::lines(&asked))?;
        }
        let mut answer = Map::new();
        for field in &form.fields {
            let given = self.field.iter().rfind(|(name, _)| *name == field.name);
            let value = match given {
                Some((_, text)) => Some(fitting(field, text)?),
                None if interactive => prompted(field)?,
                None if field.is_sensitive() => {
                    line()?.map(|text| fitting(field, &text)).transpose()?
                }
                None => field.default.clone(),
            };
            match value {
                Some(value) => {
                    answer.insert(field.name.clone(), value);
                }
                None if field.required => {
                    let how = if field.is_sensitive() {
                        "pass it on standard input".to_owned()
                    } else {
                        format!("give it with --field {}=VALUE", field.name)
                    };
                    return Err(error::usage(format!("`{}` is missing: {how}", field.name)));
                }
                None => {}
            }
        }
        Ok(answer)
    }
}

fn fitting(field: &Field, text: &str) -> anyhow::Result<Value> {
    field
        .typed(text)
        .map_err(|why| error::usage(format!("`{}`: {why}", field.name)))
}

/// The next line of standard input.
fn line() -> anyhow::Result<Option<String>> {
    use std::io::Read as _;
    let mut line = Vec::new();
    let mut input = std::io::stdin().lock().take(LINE_BYTES_MAX);
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8(line).map_err(|_| error::usage("standard input is not UTF-8"))?;
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn label(field: &Field) -> String {
    let mut label = field.label().to_owned();
    if let Some(description) = &field.description {
        label.push_str(&format!(" ({description})"));
    }
    if !field.required {
        label.push_str(", may be left out");
    }
    text::line(&label).to_string()
}

fn titles(of: &[Choice]) -> Vec<String> {
    let title = |choice: &Choice| choice.title.as_ref().unwrap_or(&choice.value).clone();
    of.iter().map(title).collect()
}

/// Says something beside the questions, which are on standard error.
fn tell(text: &text::Clean<'_>) -> anyhow::Result<()> {
    Term::stderr().write_line(&text.to_string())?;
    Ok(())
}

/// Asks on the terminal until it fits.
fn prompted(field: &Field) -> anyhow::Result<Option<Value>> {
    loop {
        let text = match &field.kind {
            FieldKind::Text {
                sensitive: true, ..
            } => {
                let question = Password::new()
                    .with_prompt(label(field))
                    .allow_empty_password(true);
                answered(|| question.interact())?
            }
            FieldKind::Flag if field.required => {
                let question = Confirm::new().with_prompt(label(field));
                return Ok(Some(answered(|| question.interact())?.into()));
            }
            FieldKind::Choice(of) if field.required => {
                let question = Select::new().with_prompt(label(field)).items(titles(of));
                let chosen = answered(|| question.interact())?;
                let value = of.get(chosen).map(|choice| choice.value.clone());
                return Ok(value.map(Value::from));
            }
            FieldKind::Choices { of, .. } => {
                let question = MultiSelect::new()
                    .with_prompt(label(field))
                    .items(titles(of));
                let chosen = answered(|| question.interact())?;
                let values = chosen.into_iter().filter_map(|at| of.get(at));
                let values = values
                    .map(|choice| choice.value.clone())
                    .collect::<Vec<_>>();
                values.join(",")
            }
            _ => {
                let mut question = Input::<String>::new()
                    .with_prompt(label(field))
                    .allow_empty(true);
                if let Some(default) = &field.default {
                    let shown = default
                        .as_str()
                        .map_or_else(|| default.to_string(), str::to_owned);
                    question = question.with_initial_text(shown);
                }
                answered(|| question.interact_text())?
            }
        };
        if text.is_empty() && !field.required {
            return Ok(None);
        }
        match field.typed(&text) {
            Ok(value) => return Ok(Some(value)),
            Err(why) => tell(&text::line(&why))?,
        }
    }
}

fn items(context: &Context) -> anyhow::Result<Vec<InboxItem>> {
    match ask(context, InboxAct::List)? {
        InboxDone::Items(items) => Ok(items),
        _ => Err(other()),
    }
}

fn ask(context: &Context, act: InboxAct) -> anyhow::Result<InboxDone> {
    let project = context.project()?;
    match context.ask(project, "opening the inbox", ControlRequest::Inbox(act))? {
        ControlAnswer::Inbox(done) => Ok(done),
        _ => bail!("the owner of the project answered something else"),
    }
}

fn other() -> anyhow::Error {
    anyhow::anyhow!("the owner of the project answered something else")
}

/// An item, for people.
fn shown(item: &InboxItem) -> String {
    let time = Timestamp::from_millisecond(item.created)
        .map(|time| time.strftime("%Y-%m-%d %H:%M").to_string())
        .unwrap_or_default();
    let mut shown = match &item.what {
        InboxWhat::Notice(notice) => {
            let mut shown = format!(
                "{}  {time}  {} from `{}`: {}",
                item.id,
                notice.level.as_str(),
                item.plugin,
                notice.title
            );
            for line in notice.body.lines().chain(notice.link.as_deref()) {
                shown.push_str(&format!("\n    {line}"));
            }
            shown
        }
        InboxWhat::Question { form, waits } => {
            let state = if *waits {
                format!("portreeve answer {}", item.id)
            } else {
                "nobody waits for the answer any more".to_owned()
            };
            let mut shown = format!("{}  {time}  `{}` asks; {state}", item.id, item.plugin);
            for line in form.message.lines() {
                shown.push_str(&format!("\n    {line}"));
            }
            for field in &form.fields {
                let what = match &field.kind {
                    FieldKind::Text {
                        sensitive: true, ..
                    } => "text, unseen".to_owned(),
                    FieldKind::Text { format, .. } => {
                        format.map_or("text", |format| format.as_str()).to_owned()
                    }
                    FieldKind::Number { whole: true, .. } => "whole number".to_owned(),
                    FieldKind::Number { .. } => "number".to_owned(),
                    FieldKind::Flag => "yes or no".to_owned(),
                    FieldKind::Choice(of) => format!("one of {}", values(of)),
                    FieldKind::Choices { of, .. } => format!("some of {}", values(of)),
                };
                let optional = if field.required {
                    ""
                } else {
                    ", may be left out"
                };
                shown.push_str(&format!("\n      {}: {what}{optional}", field.name));
            }
            shown
        }
    };
    shown.push('\n');
    shown
}

fn values(of: &[Choice]) -> String {
    let values: Vec<&str> = of.iter().map(|choice| choice.value.as_str()).collect();
    values.join(", ")
}
