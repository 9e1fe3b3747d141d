//! `portreeve keys`: keys that sign plugins.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use dialoguer::Password;
use portreeve_supply::signature::NewKeyPair;
use serde_json::json;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::output;
use crate::prompt::answered;

/// Longest passphrase that is read from a pipe, in bytes.
const INPUT_BYTES_MAX: u64 = 4 << 10;

/// Make keys that sign plugins.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve keys new acme                      acme.pub to give away, acme.key to keep
  portreeve keys new ci --without-passphrase   for a machine that nobody sits at")]
pub(crate) struct Keys {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Make a pair of minisign keys: NAME.pub and NAME.key.
    ///
    /// The secret key is sealed with a passphrase, asked for on a terminal and read from
    /// standard input elsewhere. Other tools of minisign read both files.
    New {
        /// What the files are called, without their endings; may be a path.
        name: PathBuf,
        /// Leave the secret key open to whoever can read its file.
        #[arg(long)]
        without_passphrase: bool,
    },
}

impl Keys {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        let Act::New {
            name,
            without_passphrase,
        } = &self.act;
        let passphrase = match without_passphrase {
            true => None,
            false => Some(passphrase(true)?),
        };
        let pair = NewKeyPair::generate(passphrase.as_deref().map(String::as_str))?;
        let (public, secret) = (with_ending(name, "pub"), with_ending(name, "key"));
        pair.write(&public, &secret)?;
        let id = pair.public.id();
        let result = json!({
            "id": id,
            "public": output::path(&public),
            "secret": output::path(&secret),
        });
        context.output.result(&result, || {
            format!(
                "made the key {id}\n  {} is for those who run your plugins: `keys = [{{ file = \"{0}\" }}]` under [policy.signatures]\n  {} stays with you: `portreeve sign PLUGIN.wasm --key {1}`",
                public.display(),
                secret.display()
            )
        })
    }
}

fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}

/// A passphrase: asked for on a terminal, twice where it is a new one, else from a pipe.
pub(super) fn passphrase(new: bool) -> anyhow::Result<Zeroizing<String>> {
    if std::io::stdin().is_terminal() {
        let question = Password::new().with_prompt("Passphrase of the key");
        let question = match new {
            true => question.with_confirmation("Once more", "They differ; try again"),
            false => question,
        };
        return Ok(Zeroizing::new(answered(|| question.interact())?));
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .take(INPUT_BYTES_MAX)
        .read_to_string(&mut text)
        .context("the passphrase can't be read from standard input")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    if line.is_empty() {
        bail!(
            "there is no passphrase: give one on a terminal or on standard input, or say --without-passphrase for a new key"
        );
    }
    Ok(Zeroizing::new(line.to_owned()))
}
