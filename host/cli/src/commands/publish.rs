//! `portreeve publish`: a plugin into a registry.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use portreeve_core::other_version;
use portreeve_manifest::project::ProjectManifest;
use portreeve_manifest::source::OciReference;
use portreeve_supply::signature::read_beside;
use portreeve_supply::{IntakeLimits, Package, source};
use serde_json::json;

use crate::context::{Context, manifest_name};
use crate::progress::Progress;
use crate::{output, sources};

/// Publish a plugin's component in an OCI registry.
///
/// Sends the component as an ordinary WebAssembly artifact that other tools can read, under the
/// tag of its version, and the signatures that lie beside it. A version that is there stays as
/// it is. Log in with `docker login` or `podman login`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve publish plugins/markdown oci://registry.example.com/acme/markdown
  portreeve publish dist/github.wasm oci://127.0.0.1:5000/acme/github")]
pub(crate) struct Publish {
    /// A component file, or a directory that holds one.
    path: PathBuf,
    /// The repository, as oci://REGISTRY/OWNER/NAME; its tag is the version, or the one that is
    /// written.
    repository: OciReference,
    /// Publish it without a signature.
    #[arg(long)]
    unsigned: bool,
}

impl Publish {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let limits = IntakeLimits::default();
        let file = source::locate(&self.path)?;
        let read = source::read(&file, &limits)?;
        let package = Package::read(&read.bytes, &read.name(), &limits)?;
        let plugin = &package.manifest;
        let signatures = read_beside(&file).map_err(anyhow::Error::msg)?;
        if signatures.is_empty() && !self.unsigned {
            bail!(
                "there is no signature beside {}: sign it with `portreeve sign`, or say --unsigned; operators refuse plugins from registries that nobody signed, unless they say otherwise",
                file.display()
            );
        }
        if self.repository.digest().is_some() {
            bail!("a component is published under a tag: leave the digest out");
        }
        if let Some(tagged) = other_version(&self.repository, plugin) {
            bail!(
                "the tag {tagged} is not the version of {} {}, so that operators would refuse it: leave the tag out",
                plugin.id,
                plugin.version
            );
        }
        let reference = match self.repository.tag() {
            Some(_) => self.repository.clone(),
            None => self.repository.at_version(&plugin.version),
        };
        // Certificates, mirrors and proxies are those of the project, where we are in one.
        let here = std::env::current_dir()?;
        let project = context.project();
        let sources = match &project {
            Ok(project) => sources::open(project, &context.manifest(project)?)?,
            Err(_) => {
                sources::open_anywhere(&here, &ProjectManifest::parse("none", "schema = 1\n")?)?
            }
        };
        if let Ok(project) = &project {
            tracing::debug!("with the settings of {}", manifest_name(project));
        }
        let progress = Arc::new(Progress::new());
        progress.step(&format!("publishing {reference}"));
        let pushed = context.block_on(async {
            let pushed = sources.publish(&reference, &read.bytes, &signatures).await;
            pushed.map_err(sources::failed)
        });
        progress.clear();
        let pushed = pushed?;
        let pinned = reference
            .at_digest(&pushed.to_string())
            .map_err(anyhow::Error::msg)?;
        let result = json!({
            "id": plugin.id,
            "version": plugin.version,
            "file": output::path(&file),
            "digest": package.digest,
            "reference": reference.to_string(),
            "resolved": pinned.to_string(),
            "signatures": signatures.len(),
        });
        context.output.result(&result, || {
            format!(
                "published {} {} as {pinned} with {}\nnext: `portreeve add {}`",
                plugin.id,
                plugin.version,
                super::papers::count(signatures.len(), "signature"),
                self.repository,
            )
        })
    }
}
