//! `portreeve sign`: a signature beside a plugin's component.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use portreeve_supply::signature::{SecretKey, SignatureKind, path_beside};
use portreeve_supply::{IntakeLimits, Package, source};
use serde_json::json;

use super::keys::passphrase;
use crate::context::Context;
use crate::output;

/// Sign a plugin's component.
///
/// Writes FILE.minisig beside the component. What is signed are its bytes, and with them its id
/// and version, so that the signature stands for no other plugin and no other version.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve sign plugins/markdown --key acme.key
  portreeve sign dist/github.wasm --key acme.key < passphrase.txt")]
pub(crate) struct Sign {
    /// A component file, or a directory that holds one.
    path: PathBuf,
    /// The secret key, as `portreeve keys new` made it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

impl Sign {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        let limits = IntakeLimits::default();
        let file = source::locate(&self.path)?;
        let read = source::read(&file, &limits)?;
        let package = Package::read(&read.bytes, &read.name(), &limits)?;
        let text = SecretKey::read_text(&self.key)?;
        let passphrase = match SecretKey::is_protected(&text)? {
            true => Some(passphrase(false)?),
            false => None,
        };
        let key = SecretKey::parse(&text, passphrase.as_deref().map(String::as_str))?;
        let plugin = &package.manifest;
        let signature = key.sign(&read.bytes, &plugin.id, &plugin.version)?;
        let beside = path_beside(&file, SignatureKind::Minisign);
        write(&beside, &signature.bytes)
            .with_context(|| format!("{} can't be written", beside.display()))?;
        let result = json!({
            "id": plugin.id,
            "version": plugin.version,
            "digest": package.digest,
            "key": key.public().id(),
            "signature": output::path(&beside),
        });
        context.output.result(&result, || {
            format!(
                "signed {} {} with the key {}: {}",
                plugin.id,
                plugin.version,
                key.public().id(),
                beside.display()
            )
        })
    }
}

/// Writes a file beside its place, and puts it there whole.
fn write(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(dir.unwrap_or(std::path::Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable)?;
    file.persist(path)?;
    Ok(())
}
