//! One installed plugin: what it is, what it may do, and its component, made ready on first
//! use.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use portreeve_manifest::content::{Prompt, ResourceTemplate};
use portreeve_manifest::expose::Expose;
use portreeve_manifest::limits::Limits;
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::tool::{Tool, ToolPrefix, exposed_name};
use portreeve_runtime::{CallError, Config, Error, ErrorCode, Step, Template};
use portreeve_supply::{Digest, IntakeLimits, Package, advisory, scan, source};
use semver::Version;
use tokio::sync::OnceCell;

use crate::content::Offers;
use crate::grants::{GrantCell, InForce};
use crate::install::FileStamp;
use crate::pace::Pace;
use crate::resident::{Residence, ResidentStatus};
use crate::workshop::Workshop;

/// A plugin of the project, under the name that the operator gave it.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The operator's name for it.
    pub alias: String,
    /// What names of its tools begin with, where that is not `ALIAS__`.
    pub prefix: Option<ToolPrefix>,
    /// Its component file, or what was given for one that could not be found.
    pub path: PathBuf,
    /// Whether its tools are offered.
    pub status: PluginStatus,
    pub(crate) facts: Option<Facts>,
}

/// Whether a plugin's tools are offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginStatus {
    /// They are.
    Ready,
    /// They are not, and why.
    Failed(String),
}

/// What is known of a plugin whose package was read.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) limits: Limits,
    pub(crate) config: Config,
    /// How it is shown to clients.
    pub(crate) expose: Expose,
    /// What it exports besides tools.
    pub(crate) offers: Offers,
    /// What the author says of it.
    pub(crate) manifest: Arc<PluginManifest>,
    /// What its entry grants; in force once the registry is.
    pub(crate) next: Arc<InForce>,
    /// What is in force now.
    pub(crate) grants: Arc<GrantCell>,
    pub(crate) component: Arc<Component>,
    /// Where its instance lives, for one that has one for all calls.
    pub(crate) residence: Option<Arc<Residence>>,
    /// Who signed it, as the lockfile names them.
    pub(crate) signer: Option<String>,
    /// What was found when it was looked through.
    pub(crate) scan: Box<scan::Report>,
    /// What is known of the packages that it was made from.
    pub(crate) advisories: Box<advisory::Report>,
    /// Tools that are not offered since they changed after they were agreed to, by the
    /// plugin's own names.
    pub(crate) withheld: Vec<String>,
    /// What its entry says and nothing comes of.
    pub(crate) warnings: Vec<String>,
    pub(crate) stamp: Option<FileStamp>,
}

impl Plugin {
    /// What its entry says and nothing comes of.
    pub(crate) fn warnings(&self) -> &[String] {
        let facts = self.facts.as_ref();
        facts.map_or(&[], |facts| &facts.warnings)
    }

    /// The author's id; none for a plugin whose package could not be read.
    pub fn id(&self) -> Option<&str> {
        self.facts.as_ref().map(|facts| facts.manifest.id.as_str())
    }

    /// Its version.
    pub fn version(&self) -> Option<&Version> {
        self.facts.as_ref().map(|facts| &facts.manifest.version)
    }

    /// The digest of its component file.
    pub fn digest(&self) -> Option<Digest> {
        self.facts.as_ref().map(|facts| facts.component.digest)
    }

    /// The name under which clients see one of its tools: the operator's for it, else the
    /// plugin's own after `ALIAS__` or the operator's prefix.
    pub(crate) fn tool_name(&self, own: &str) -> String {
        let given = self.facts.as_ref();
        let given = given.and_then(|facts| facts.expose.tool_name(own));
        given.map_or_else(|| self.name_of(own), str::to_owned)
    }

    /// The name under which clients see something of it that its operator gave no name.
    pub fn name_of(&self, own: &str) -> String {
        match &self.prefix {
            None => exposed_name(&self.alias, own),
            Some(prefix) => prefix.exposed_name(&self.alias, own),
        }
    }

    /// What the author says of it.
    pub fn manifest(&self) -> Option<&PluginManifest> {
        self.facts.as_ref().map(|facts| &*facts.manifest)
    }

    /// What it may do now.
    pub fn in_force(&self) -> Option<Arc<InForce>> {
        self.facts.as_ref().map(|facts| facts.grants.load())
    }

    /// Who signed its component, as the lockfile names them; none where nobody did who is
    /// listed.
    pub fn signer(&self) -> Option<&str> {
        self.facts
            .as_ref()
            .and_then(|facts| facts.signer.as_deref())
    }

    /// The same plugin, which may do what is in another cell.
    pub(crate) fn under(&self, grants: Arc<GrantCell>) -> Plugin {
        let mut plugin = self.clone();
        if let Some(facts) = &mut plugin.facts {
            facts.grants = grants;
        }
        plugin
    }

    /// How its resident instance does; none for one that has a fresh one for each call.
    pub fn resident(&self) -> Option<ResidentStatus> {
        let residence = self.facts.as_ref()?.residence.as_ref()?;
        Some(residence.status())
    }

    /// What one call of it may use.
    pub fn limits(&self) -> Option<&Limits> {
        self.facts.as_ref().map(|facts| &facts.limits)
    }

    /// Calls of it that may run at a time: one where it has one instance for all.
    pub(crate) fn places(&self) -> usize {
        self.limits()
            .map_or(1, |limits| limits.concurrent_calls as usize)
    }
}

impl Facts {
    /// Whether its long-lived instance is to run where sockets are waited for: they may be granted
    /// while it lives.
    pub(crate) fn may_use_sockets(&self) -> bool {
        !self.manifest.requests.sockets.is_empty()
    }
}

/// A component file by its digest, compiled and linked on first use. Outlives the plugins
/// that use it when a manifest changes.
pub(crate) struct Component {
    pub(crate) digest: Digest,
    path: PathBuf,
    /// The list that was recorded when the plugin was built, for a provider that has one.
    recorded: Option<Arc<[Tool]>>,
    template: OnceCell<Template>,
    /// What it offers besides tools, once it was asked.
    pub(crate) templates: OnceCell<Arc<[ResourceTemplate]>>,
    pub(crate) prompts: OnceCell<Arc<[Prompt]>>,
    /// Why it can never be made ready: not tried again.
    failed: OnceLock<CallError>,
    /// Where its calls begin.
    pub(crate) pace: Pace,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Component {
    pub(crate) fn new(digest: Digest, path: PathBuf, recorded: Option<Arc<[Tool]>>) -> Component {
        Component {
            digest,
            path,
            recorded,
            template: OnceCell::new(),
            templates: OnceCell::new(),
            prompts: OnceCell::new(),
            failed: OnceLock::new(),
            pace: Pace::new(),
        }
    }

    /// The template; made when there is none yet.
    pub(crate) async fn template(
        &self,
        workshop: &Workshop,
        alias: &str,
        limits: &Limits,
        on_step: &(dyn Fn(Step) + Sync),
    ) -> Result<&Template, CallError> {
        if let Some(made) = self.template.get() {
            return Ok(made);
        }
        let make = || self.make(workshop, alias, limits, on_step);
        // Boxed: it is large, and each call has room for it otherwise.
        Box::pin(self.template.get_or_try_init(make)).await
    }

    async fn make(
        &self,
        workshop: &Workshop,
        alias: &str,
        limits: &Limits,
        on_step: &(dyn Fn(Step) + Sync),
    ) -> Result<Template, CallError> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        let (path, digest) = (self.path.clone(), self.digest);
        let read = move || read_checked(&path, digest);
        let template = workshop
            .runtime
            .load(self.digest.as_bytes(), limits.stack, read, on_step)
            .await
            .map_err(|error| self.not_ready(error))?;
        if let Some(recorded) = &self.recorded
            && workshop.list_tools(alias, &template, limits).await? != **recorded
        {
            return Err(self.remember(CallError::host(
                ErrorCode::PermissionDenied,
                "tools-differ",
                "the component offers other tools than the list in its package says; it is not run. Build it again with `portreeve build`, and don't install it if it is not yours",
            )));
        }
        Ok(template)
    }
}

impl Component {
    /// Reads its package once more. `name` is what it is called that doesn't say so itself.
    ///
    /// # Errors
    /// When its file can't be read, or is another one by now.
    pub(crate) fn package(&self, name: &str) -> Result<Package, String> {
        let limits = IntakeLimits {
            // It was compiled, or will be before it runs.
            check_code: false,
            ..IntakeLimits::default()
        };
        let bytes = read_checked(&self.path, self.digest)?;
        Package::read(&bytes, name, &limits).map_err(|error| error.to_string())
    }

    /// What callers are told. Paths and settings of this machine stay in its log.
    fn not_ready(&self, error: Error) -> CallError {
        let told = |told: String| CallError::host(ErrorCode::Unavailable, "not-ready", told);
        match error {
            Error::Compile(_) | Error::CompileLimit(_) | Error::Mismatch(_) => {
                self.remember(told(error.to_string()))
            }
            Error::TooManyStackSizes { .. } => told(error.to_string()),
            Error::Source(why) => CallError {
                log: Some(why),
                ..told("the plugin's file can't be read, or has changed; a change is taken up in a moment".to_owned())
            },
            other => CallError::internal(other.to_string()),
        }
    }

    fn remember(&self, error: CallError) -> CallError {
        self.failed.get_or_init(|| error).clone()
    }
}

/// The bytes of a component, if they are still those that were examined.
fn read_checked(path: &std::path::Path, digest: Digest) -> Result<Vec<u8>, String> {
    let read = source::read(path, &IntakeLimits::default()).map_err(|error| error.to_string())?;
    if Digest::of(&read.bytes) != digest {
        return Err(format!(
            "{} has changed since this host read it ({digest}); the change is taken up in a moment, or at the next start",
            path.display()
        ));
    }
    Ok(read.bytes)
}
