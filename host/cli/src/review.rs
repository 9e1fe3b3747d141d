//! What a plugin asks for, shown to its operator and asked about, one thing after the other.

use std::io::IsTerminal as _;

use dialoguer::{Confirm, Input};
use portreeve_manifest::edit::{ArgumentError, granted_by, merge};
use portreeve_manifest::feature::Feature;
use portreeve_manifest::grant::{Granted, RequestItem, Standing};
use portreeve_manifest::id::Name;
use portreeve_manifest::plugin::{Origin, PluginManifest};
use portreeve_manifest::size::ByteSize;
use serde_json::{Map, Value};

use crate::prompt::answered;
use crate::{error, output, text};

/// How the operator says what to grant.
pub(crate) struct Choice<'a> {
    /// What was named on the command line: `CAPABILITY` or `CAPABILITY=VALUE`.
    pub(crate) named: &'a [String],
    /// Whether everything is granted that is asked for and can be.
    pub(crate) all: bool,
    /// Whether somebody at a terminal is asked, where nothing is named.
    pub(crate) ask: bool,
}

/// A request for people: what it means, why, and what could go wrong.
pub(crate) fn describe(item: &RequestItem, state: &str) -> String {
    let mut shown = format!(
        "  [{}] {}{}\n",
        item.weight,
        text::line(&item.words),
        if state.is_empty() {
            String::new()
        } else {
            format!(" — {state}")
        }
    );
    if let Some(reason) = &item.reason {
        shown.push_str(&format!("         why: {}\n", text::line(reason)));
    }
    if !item.risk.is_empty() {
        shown.push_str(&format!("         risk: {}\n", item.risk));
    }
    if !item.grantable {
        shown.push_str("         this version of Portreeve can't grant it\n");
    }
    shown
}

/// Requests for people, the heaviest first; with `granted`, as in the operator's file, also
/// which of them are.
pub(crate) fn describe_all(
    plugin: &PluginManifest,
    granted: Option<&Map<String, Value>>,
) -> String {
    let mut items = plugin.requests.items();
    if items.is_empty() {
        return match plugin.origin {
            Origin::Declared => "it asks for nothing\n".to_owned(),
            Origin::Inferred => "it carries no manifest and so asks for nothing\n".to_owned(),
        };
    }
    items.sort_by_key(|item| std::cmp::Reverse(item.weight));
    let granted = granted.map(Granted::read);
    let mut shown = "it asks to\n".to_owned();
    for item in &items {
        let state = granted
            .as_ref()
            .map(|granted| match granted.standing(item) {
                Standing::Granted => "granted".to_owned(),
                Standing::Partly => format!("granted in part: {}", granted.rules(item).join("; ")),
                Standing::NotGranted if item.grantable => "not granted".to_owned(),
                Standing::NotGranted => String::new(),
            });
        shown.push_str(&describe(item, &state.unwrap_or_default()));
    }
    shown
}

/// What the operator grants of what is asked for: named, all, or asked on a terminal.
/// `already` is what is granted before; only the rest is asked about.
pub(crate) fn choose(
    plugin: &PluginManifest,
    choice: &Choice<'_>,
    already: &Map<String, Value>,
) -> anyhow::Result<Map<String, Value>> {
    let items = plugin.requests.items();
    let asked = (plugin.origin == Origin::Declared).then_some(items.as_slice());
    let mut grants = Map::new();
    let mut add = |argument: &str| -> anyhow::Result<()> {
        let more = granted_by(argument, asked).map_err(|told| match told {
            ArgumentError::Usage(why) => error::usage(why),
            ArgumentError::Refused(why) => anyhow::anyhow!(why),
        })?;
        merge(&mut grants, &more);
        Ok(())
    };
    for argument in choice.named {
        add(argument)?;
    }
    if choice.all {
        for item in items.iter().filter(|item| item.grantable) {
            add(&all_of(item))?;
        }
    } else if choice.ask && choice.named.is_empty() && is_interactive() {
        let already = Granted::read(already);
        let mut left: Vec<_> = items
            .iter()
            .filter(|item| {
                item.grantable
                    && already.standing(item) == Standing::NotGranted
                    && !already.names(item)
            })
            .collect();
        left.sort_by_key(|item| std::cmp::Reverse(item.weight));
        // A credential that is asked for with several rules is granted once.
        let mut seen = std::collections::BTreeSet::new();
        left.retain(|item| seen.insert((item.feature, item.key())));
        for item in left {
            if let Some(argument) = ask(item)? {
                add(&argument)?;
            }
        }
    }
    Ok(grants)
}

/// The argument that grants a request as it is asked for.
fn all_of(item: &RequestItem) -> String {
    if item.key().is_empty() {
        item.feature.to_string()
    } else {
        format!("{}={}", item.feature, item.key())
    }
}

/// Whether somebody can be asked.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks whether a component may ask for more than before.
pub(crate) fn agree() -> anyhow::Result<bool> {
    let question = Confirm::new()
        .with_prompt("May it ask for that? What is granted comes next.")
        .default(false);
    answered(|| question.interact())
}

/// Asks whether versions are taken that somebody should agree to.
pub(crate) fn agree_to_update() -> anyhow::Result<bool> {
    let question = Confirm::new()
        .with_prompt("Take it? Nothing is granted by that.")
        .default(false);
    answered(|| question.interact())
}

/// Asks about one request. None, where it is not granted.
fn ask(item: &RequestItem) -> anyhow::Result<Option<String>> {
    output::note(describe(item, "").trim_end());
    let question = Confirm::new()
        .with_prompt(format!("Grant `{}`?", all_of(item)))
        .default(false);
    if !answered(|| question.interact())? {
        return Ok(None);
    }
    let (prompt, first) = match item.feature {
        Feature::SecretsInject | Feature::SecretsReveal | Feature::Credentials => (
            "Which secret of the vault stands behind it?",
            item.key().to_owned(),
        ),
        Feature::StorageKv => ("How much may it keep?", item.what.clone()),
        _ => return Ok(Some(all_of(item))),
    };
    let secret = item.feature != Feature::StorageKv;
    let question = Input::new()
        .with_prompt(prompt)
        .default(first)
        .validate_with(|answer: &String| match Name::new(answer.as_str()) {
            Err(error) if secret => Err(error.to_string()),
            _ if secret => Ok(()),
            _ => match answer.parse::<ByteSize>() {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
        });
    let answer: String = answered(|| question.interact_text())?;
    Ok(Some(if secret {
        format!("{}={}:{answer}", item.feature, item.key())
    } else {
        format!("{}={answer}", item.feature)
    }))
}
