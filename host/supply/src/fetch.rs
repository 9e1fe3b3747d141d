//! Fetching components, and what is said about them, from where they are: files, web servers,
//! OCI registries; and publishing them in registries.
//!
//! What comes from elsewhere is held against the digest that was asked for, byte for byte,
//! before anybody sees it. Who may sign, and whether anybody must, is looked at elsewhere:
//! here signatures are only found.

mod error;
mod https;
mod local;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portreeve_egress::{Gate, HostClient, HostLimits};
use portreeve_manifest::source::{HttpsSource, Mirror, OciReference, PluginSource};
use semver::Version;

pub use error::FetchError;

use crate::credentials::RegistryCredentials;
use crate::oci::Registries;
use crate::signature::SignatureFile;
use crate::store::ArtifactStore;
use crate::{Digest, IntakeLimits};

/// What is fetched: a source that is told from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A file, or a directory that holds one.
    Local(PathBuf),
    /// A file on a web server.
    Https(HttpsSource),
    /// An artifact in an OCI registry.
    Oci(OciReference),
}

impl Reference {
    /// What a source means to a project in this directory.
    pub fn new(source: &PluginSource, project: &Path) -> Reference {
        match source {
            PluginSource::Local(path) => Reference::Local(project.join(path)),
            PluginSource::Https(source) => Reference::Https(source.clone()),
            PluginSource::Oci(reference) => Reference::Oci(reference.clone()),
        }
    }
}

/// A component that was fetched.
#[derive(Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What its bytes hash to.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where exactly it came from, so that it is had again: a path, an address with its
    /// digest, `oci://…@sha256:…`.
    pub resolved: String,
    /// What was found of signatures, in no order.
    pub signatures: Vec<SignatureFile>,
    /// The tag that was asked for, in a registry.
    pub version_tag: Option<String>,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched")
            .field("digest", &self.digest)
            .field("bytes", &self.bytes.len())
            .field("resolved", &self.resolved)
            .field("signatures", &self.signatures)
            .field("version_tag", &self.version_tag)
            .finish()
    }
}

/// Something else than a component that was fetched.
#[derive(Debug)]
pub struct Artifact {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where exactly it came from: `oci://…@sha256:…`.
    pub resolved: String,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchProgress {
    /// It is looked what there is.
    Resolving,
    /// The component comes.
    Downloading {
        /// Bytes that have come.
        received: u64,
        /// Of how many, where that is known.
        total: Option<u64>,
    },
    /// It is looked who has signed it.
    Signatures,
}

/// Who wants to know how far it has come.
pub type Progress<'a> = &'a (dyn Fn(FetchProgress) + Send + Sync);

/// How things are fetched.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// The largest component, in bytes.
    pub component_max: u64,
    /// How long it may take, and how often it is tried.
    pub http: HostLimits,
    /// What is asked before a registry, by the registry's name.
    pub mirrors: BTreeMap<String, Vec<Mirror>>,
    /// Hosts beside a registry's own that may be shown its log-in in exchange for a token.
    pub token_hosts: BTreeMap<String, Vec<String>>,
}

impl Default for FetchSettings {
    fn default() -> FetchSettings {
        FetchSettings {
            component_max: IntakeLimits::default().component.0,
            http: HostLimits::default(),
            mirrors: BTreeMap::new(),
            token_hosts: BTreeMap::new(),
        }
    }
}

/// Fetches components, and publishes them. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

struct Inner {
    client: HostClient,
    registries: Registries,
    component_max: u64,
    store: Option<ArtifactStore>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Fetcher").field(&self.0.client).finish()
    }
}

impl Fetcher {
    /// One that goes out through a gate and knows log-ins.
    pub fn new(
        gate: &Gate,
        credentials: Box<dyn RegistryCredentials>,
        settings: FetchSettings,
    ) -> Fetcher {
        Fetcher::build(gate, credentials, settings, None)
    }

    /// One that doesn't fetch what is in the store, where the digest is known before.
    pub fn with_store(
        gate: &Gate,
        credentials: Box<dyn RegistryCredentials>,
        settings: FetchSettings,
        store: ArtifactStore,
    ) -> Fetcher {
        Fetcher::build(gate, credentials, settings, Some(store))
    }

    fn build(
        gate: &Gate,
        credentials: Box<dyn RegistryCredentials>,
        settings: FetchSettings,
        store: Option<ArtifactStore>,
    ) -> Fetcher {
        let client = HostClient::new(gate, settings.http);
        Fetcher(Arc::new(Inner {
            component_max: settings.component_max,
            registries: Registries::new(client.clone(), credentials, settings),
            client,
            store,
        }))
    }

    /// Fetches a component and its signatures.
    ///
    /// # Errors
    /// When it can't be had, is larger than allowed, or isn't what its digest says.
    pub async fn fetch(
        &self,
        reference: &Reference,
        progress: Progress<'_>,
    ) -> Result<Fetched, FetchError> {
        progress(FetchProgress::Resolving);
        match reference {
            Reference::Local(path) => local::fetch(path, self.0.component_max).await,
            Reference::Https(source) => self.fetch_https(source, progress).await,
            Reference::Oci(reference) => {
                let (registries, store) = (&self.0.registries, self.0.store.as_ref());
                registries.pull(reference, store, progress).await
            }
        }
    }

    /// Fetches the one layer of an artifact that is no component, whatever its type is.
    ///
    /// # Errors
    /// When it can't be had, has several layers, or has more than `max` bytes.
    pub async fn artifact(
        &self,
        reference: &OciReference,
        max: u64,
        progress: Progress<'_>,
    ) -> Result<Artifact, FetchError> {
        progress(FetchProgress::Resolving);
        self.0.registries.artifact(reference, max, progress).await
    }

    /// The versions that a repository has, from the oldest to the newest: those of its tags
    /// that are versions.
    ///
    /// # Errors
    /// When the registry doesn't say.
    pub async fn versions(&self, reference: &OciReference) -> Result<Vec<Version>, FetchError> {
        self.0.registries.versions(reference).await
    }

    /// Publishes a component with its signatures under a tag. What is there already is not sent
    /// again; a tag of a version that is there for another component is left as it is.
    ///
    /// # Errors
    /// When it is no component, the registry doesn't take it, or the version is taken.
    pub async fn push(
        &self,
        reference: &OciReference,
        component: &[u8],
        signatures: &[SignatureFile],
    ) -> Result<Digest, FetchError> {
        let registries = &self.0.registries;
        registries.push(reference, component, signatures).await
    }
}

/// What is in the store. One that was changed is fetched again.
pub(crate) async fn stored(store: Option<&ArtifactStore>, digest: Digest) -> Option<Vec<u8>> {
    let store = store?.clone();
    let read = tokio::task::spawn_blocking(move || store.get(&digest)).await;
    match read.ok()? {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "the store is passed over");
            None
        }
    }
}
