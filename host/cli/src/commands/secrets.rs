//! `portreeve secrets`: the vault.

use std::io::{IsTerminal as _, Read as _};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use dialoguer::{Input, Password};
use jiff::Timestamp;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{SecretAct, SecretDone, SecretText};
use portreeve_manifest::grant::Granted;
use portreeve_manifest::id::Name;
use portreeve_state::vault::{SecretInfo, SecretKind, SecretValue};
use portreeve_state::{SqliteStore, StateError, StateStore};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::prompt::answered;
use crate::{error, output, review, text};

/// Longest input that is read, in bytes: more than the largest value, quoted.
const INPUT_BYTES_MAX: u64 = 512 << 10;

/// Keep secrets for plugins, sealed.
///
/// Values come from a prompt or from standard input, never from the command line, and are
/// never shown. A plugin gets a secret only under a grant that names it:
/// `grants.secrets.reveal` to read it, `grants.secrets.inject` to have it put into its
/// requests unseen.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve secrets set github-bot --kind bearer
  portreeve secrets set github-bot --kind bearer < token.txt
  portreeve secrets list
  portreeve secrets rotate github-bot --expires 2027-01-31
  portreeve secrets rotate-key")]
pub(crate) struct Secrets {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Put a new secret into the vault.
    ///
    /// Its value is asked for on a terminal, field by field; elsewhere it is read from
    /// standard input: the text itself for api-key and bearer, a JSON object of its fields
    /// for the others.
    Set {
        /// Its name: a-z, 0-9 and single hyphens.
        name: Name,
        /// What it is for: api-key, bearer, basic, oauth2-client-credentials,
        /// oauth2-refresh-token, certificate or ssh-key.
        #[arg(long, value_name = "KIND", default_value = "api-key")]
        kind: SecretKind,
        /// When it ends: a day, a moment, or in how long: `90d`.
        #[arg(long, value_name = "WHEN", value_parser = later)]
        expires: Option<i64>,
        /// There for those who expect it.
        #[arg(long, hide = true, num_args = 0..=1)]
        value: Option<Option<String>>,
    },
    /// List the secrets: names, kinds and times, never values.
    List,
    /// Give a secret another value of the same kind.
    Rotate {
        /// Its name.
        name: Name,
        /// When it ends from now on; never, where nothing is said.
        #[arg(long, value_name = "WHEN", value_parser = later)]
        expires: Option<i64>,
    },
    /// Remove a secret.
    Remove {
        /// Its name.
        name: Name,
    },
    /// Seal all secrets with another key.
    ///
    /// Where the key is in the project's own file (the default), makes a new one in its place,
    /// and gives up the old one once everything is sealed with the new one. A key elsewhere
    /// may be other projects' too and is never replaced: name another place under [vault] in
    /// portreeve.toml, and say with --from where the key was.
    RotateKey {
        /// Where the key was until now, if you have just changed `key` under [vault]: `file`,
        /// `file:/PATH`, `keyring` or `env:NAME`.
        #[arg(long, value_name = "PLACE")]
        from: Option<String>,
    },
}

/// A moment that is still to come.
fn later(text: &str) -> Result<i64, String> {
    let then = match text.parse::<jiff::Span>() {
        Ok(span) => jiff::Zoned::now()
            .checked_add(span)
            .map(|then| then.timestamp().as_millisecond())
            .map_err(|error| format!("`{text}` is too far away: {error}"))?,
        Err(_) => super::audit::moment(text)?,
    };
    if then <= Timestamp::now().as_millisecond() {
        return Err(format!("`{text}` is over already"));
    }
    Ok(then)
}

impl Secrets {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let act = match &self.what {
            What::List => return list(context),
            What::Set {
                name,
                kind,
                expires,
                value: given,
            } => SecretAct::Set {
                name: name.clone(),
                kind: kind.as_str().to_owned(),
                value: match given {
                    None => value(*kind)?,
                    Some(_) => return Err(on_the_command_line(name)),
                },
                expires: *expires,
            },
            What::Rotate { name, expires } => {
                let secrets = read(context)?;
                let Some(before) = secrets.iter().find(|info| info.name == name.as_str()) else {
                    bail!(
                        "there is no secret `{name}`: `portreeve secrets set {name}` puts it there"
                    );
                };
                let kind: SecretKind = before.kind.parse().map_err(error::usage)?;
                SecretAct::Rotate {
                    name: name.clone(),
                    value: value(kind)?,
                    expires: *expires,
                }
            }
            What::Remove { name } => SecretAct::Remove { name: name.clone() },
            What::RotateKey { from } => SecretAct::RotateKey { from: from.clone() },
        };
        let project = context.project()?;
        let request = ControlRequest::Secret(act);
        let ControlAnswer::Secret(done) = context.ask(project, "opening the vault", request)?
        else {
            bail!("the owner of the project answered something else");
        };
        context.output.result(&done, || match &done {
            SecretDone::Secret(info) => {
                let expires = info
                    .expires
                    .map_or_else(String::new, |end| format!(", until {}", time(end)));
                format!(
                    "the vault has `{}` ({}, version {}{expires}); {}",
                    info.name,
                    info.kind,
                    info.version,
                    advice(info)
                )
            }
            SecretDone::Removed => "removed".to_owned(),
            SecretDone::Sealed(count) => format!("{count} sealed with the new key"),
        })
    }
}

/// How a plugin comes to use a secret of this kind.
fn advice(info: &SecretInfo) -> String {
    let name = &info.name;
    if info.kind == SecretKind::SshKey.as_str() {
        format!("`portreeve grant PLUGIN secrets.reveal=NAME:{name}` lets a plugin read it")
    } else {
        format!(
            "`portreeve grant PLUGIN credentials=NAME:{name}` has it added to a plugin's requests, unseen"
        )
    }
}

/// A value on a command line is in the shell's history and in the list of processes.
fn on_the_command_line(name: &Name) -> anyhow::Error {
    error::usage(format!(
        "a value on the command line is seen by others and kept in the shell's history: leave --value out to be asked for it, or pass it on standard input, as in `portreeve secrets set {name} < FILE`; if this was the real one, have another one made"
    ))
}

/// Tells which of the secrets that grants name are not in the vault yet.
pub(super) fn tell_missing(context: &Context, grants: &Map<String, Value>) -> anyhow::Result<()> {
    let named = Granted::read(grants).secrets();
    if named.is_empty() {
        return Ok(());
    }
    let there = read(context)?;
    for name in named {
        if !there.iter().any(|info| info.name == name.as_str()) {
            output::note(format!(
                "note: there is no secret `{name}` in the vault yet; `portreeve secrets set {name}` puts it there"
            ));
        }
    }
    Ok(())
}

/// The value of a secret: asked for on a terminal, else from standard input.
fn value(kind: SecretKind) -> anyhow::Result<SecretText> {
    if review::is_interactive() {
        return prompt(kind);
    }
    if std::io::stdin().is_terminal() {
        return Err(error::usage(
            "nobody can be asked here: pass the value on standard input",
        ));
    }
    let text = bounded(std::io::stdin())
        .context("the value can't be read from standard input; it must be text")?;
    Ok(SecretText(text))
}

/// All of a source, which must be text and not too long.
fn bounded(from: impl std::io::Read) -> anyhow::Result<Zeroizing<String>> {
    // Room for all of it at once: growing would leave copies behind.
    let room = usize::try_from(INPUT_BYTES_MAX)?.saturating_add(2);
    let mut text = Zeroizing::new(String::with_capacity(room));
    from.take(INPUT_BYTES_MAX.saturating_add(1))
        .read_to_string(&mut text)?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        bail!("it has more than {INPUT_BYTES_MAX} bytes, which is more than any secret");
    }
    Ok(text)
}

fn prompt(kind: SecretKind) -> anyhow::Result<SecretText> {
    let mut fields = Vec::new();
    for field in kind.fields() {
        let text = if field.lines {
            let question = Input::new().with_prompt(format!("{} (a file)", field.prompt));
            let path: String = answered(|| question.interact_text())?;
            std::fs::File::open(&path)
                .map_err(anyhow::Error::from)
                .and_then(bounded)
                .with_context(|| format!("{path} can't be read; it must be text"))?
        } else if field.secret {
            let question = Password::new()
                .with_prompt(field.prompt)
                .allow_empty_password(field.optional);
            Zeroizing::new(answered(|| question.interact())?)
        } else {
            let question = Input::new()
                .with_prompt(field.prompt)
                .allow_empty(field.optional);
            Zeroizing::new(answered(|| question.interact_text())?)
        };
        fields.push((field.name.to_owned(), text));
    }
    let value = SecretValue::new(kind, fields)?;
    Ok(SecretText(value.to_text()))
}

/// The secrets as they are kept, unopened.
fn read(context: &Context) -> anyhow::Result<Vec<SecretInfo>> {
    let project = context.project()?;
    context.block_on(async {
        let store: Arc<dyn StateStore> = match SqliteStore::read(&project.database()).await {
            Ok(store) => store,
            // Nothing has run here yet, so that there are none.
            Err(StateError::None(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let rows = store.secrets().await?;
        Ok(rows.iter().map(SecretInfo::of).collect())
    })
}

fn list(context: &Context) -> anyhow::Result<()> {
    let secrets = read(context)?;
    context.output.result(&secrets, || {
        if secrets.is_empty() {
            return "no secrets yet; `portreeve secrets set NAME` puts one into the vault"
                .to_owned();
        }
        let mut shown = String::new();
        let or = |moment: Option<i64>, none: &str| moment.map_or_else(|| none.to_owned(), time);
        for info in &secrets {
            shown.push_str(&format!(
                "{}  {}, version {}, set {}, ends {}, last used {}\n",
                // The state may come from elsewhere.
                text::line(&info.name),
                text::line(&info.kind),
                info.version,
                time(info.rotated),
                or(info.expires, "never"),
                or(info.used, "never"),
            ));
        }
        shown
    })
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_hides_its_value() {
        let act = SecretAct::Set {
            name: Name::new("a").unwrap(),
            kind: "bearer".to_owned(),
            value: SecretText(Zeroizing::new("CANARY".to_owned())),
            expires: None,
        };
        assert!(!format!("{act:?}").contains("CANARY"));
    }

    #[test]
    fn an_end_is_later() {
        let now = portreeve_state::audit::wall_clock();
        let soon = later("90d").unwrap();
        assert!(
            (soon - now - 90 * 86_400_000).abs() < 2 * 3_600_000,
            "{soon}"
        );
        assert!(later("2199-01-31").unwrap() > now);
        for past in ["2020-01-31", "-90d", "90d ago", "0d"] {
            assert!(later(past).unwrap_err().contains("over"), "{past}");
        }
    }
}
