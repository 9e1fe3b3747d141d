//! Getting components from where they are into the store, held against the operator's policy.
//!
//! Nothing of a project is changed here: what was brought is installed by its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use portreeve_egress::GateError;
use portreeve_manifest::id::Alias;
use portreeve_manifest::integrity::Integrity;
use portreeve_manifest::lock::LockedPlugin;
use portreeve_manifest::plugin::{Origin, PluginManifest};
use portreeve_manifest::project::{PluginSource, ProjectManifest};
use portreeve_manifest::source::OciReference;
use portreeve_supply::credentials::RegistryCredentials;
use portreeve_supply::fetch::{Artifact, FetchSettings, Progress};
use portreeve_supply::signature::SignatureFile;
use portreeve_supply::{
    ArtifactStore, Digest, FetchError, Fetched, Fetcher, IntakeLimits, Package, Reference,
    StoreError, on_all_cores,
};
use semver::{Version, VersionReq};

use crate::agreement::{Agreement, Pin};
use crate::host::HostError;
use crate::network;
use crate::papers::{Agreed, Cargo, Desk};
use crate::project::Project;

/// Why a component was not brought.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It can't be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It can't be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing can be fetched as `[network]` is set.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// Its papers are not in order: a refusal by policy.
    #[error("`{alias}` is refused: {why}")]
    Refused {
        /// What the operator calls it.
        alias: Alias,
        /// The step that refuses it, what it found, and what to do.
        why: String,
    },
    /// The work was given up.
    #[error("reading it was given up: {0}")]
    GivenUp(String),
    /// The project can't be used.
    #[error(transparent)]
    Project(Box<HostError>),
}

impl SourceError {
    /// Whether it is the gate that refuses what was had, rather than that nothing was.
    pub fn is_refusal(&self) -> bool {
        match self {
            SourceError::Refused { .. } => true,
            SourceError::Fetch(error) => matches!(
                error,
                FetchError::NoDigest { .. }
                    | FetchError::Mismatch { .. }
                    | FetchError::TooLarge { .. }
                    | FetchError::NotAComponent { .. }
            ),
            _ => false,
        }
    }
}

/// A component that is in the store, and may be installed as far as its papers go.
#[derive(Debug)]
pub struct Brought {
    /// Which one it is.
    pub pin: Pin,
    /// What is in it.
    pub package: Package,
    /// Who signed it, as the lockfile names them.
    pub signer: Option<String>,
}

/// Where a project's components come from.
pub struct Sources {
    fetcher: Fetcher,
    store: ArtifactStore,
    desk: Arc<Desk>,
    agreement: Agreement,
}

impl Sources {
    /// The sources of a project, reached as its manifest says.
    ///
    /// # Errors
    /// When its lockfile can't be read, or nothing can be sent as it is set.
    pub fn open(
        project: &Project,
        manifest: &ProjectManifest,
        store: ArtifactStore,
        credentials: Box<dyn RegistryCredentials>,
    ) -> Result<Sources, SourceError> {
        let agreement = Agreement::read(project);
        let agreement = agreement.map_err(|error| SourceError::Project(Box::new(error)))?;
        let sources = Sources::without_project(project.dir(), manifest, store, credentials)?;
        Ok(Sources {
            agreement,
            ..sources
        })
    }

    /// Sources where nothing was agreed to.
    ///
    /// # Errors
    /// When nothing can be sent as it is set.
    pub fn without_project(
        dir: &Path,
        manifest: &ProjectManifest,
        store: ArtifactStore,
        credentials: Box<dyn RegistryCredentials>,
    ) -> Result<Sources, SourceError> {
        let settings = &manifest.settings;
        let gate = network::gate(dir, &settings.network)?;
        let (mut mirrors, mut token_hosts) = (BTreeMap::new(), BTreeMap::new());
        for (host, registry) in &settings.registries {
            mirrors.insert(host.clone(), registry.mirrors.clone());
            token_hosts.insert(host.clone(), registry.token_hosts.clone());
        }
        let fetch = FetchSettings {
            mirrors,
            token_hosts,
            ..FetchSettings::default()
        };
        Ok(Sources {
            fetcher: Fetcher::with_store(&gate, credentials, fetch, store.clone()),
            store,
            desk: Desk::open(&manifest.policy, dir, None),
            agreement: Agreement::default(),
        })
    }

    /// What was agreed to of a plugin.
    pub fn locked(&self, alias: &Alias) -> Option<&LockedPlugin> {
        self.agreement.lock.plugins.get(alias)
    }

    /// Which of these components are in the store, unchanged. All cores look.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn held(&self, digests: Vec<Digest>) -> Result<BTreeSet<Digest>, SourceError> {
        let store = self.store.clone();
        let looking = move || {
            let found = on_all_cores(&digests, |digest| match store.holds(digest) {
                Ok(there) => Ok(there.then_some(*digest)),
                // It is aside, and fetched again.
                Err(StoreError::Changed { .. }) => Ok(None),
                Err(error) => Err(SourceError::from(error)),
            });
            let found = found.into_iter().filter_map(Result::transpose);
            found.collect::<Result<_, _>>()
        };
        blocking(looking).await?
    }

    /// The versions that a source has, from the oldest to the newest; none where it has no
    /// list of them.
    ///
    /// # Errors
    /// When it doesn't say.
    pub async fn versions(&self, source: &PluginSource) -> Result<Vec<Version>, SourceError> {
        match source {
            PluginSource::Oci(reference) if is_open(reference) => {
                Ok(self.fetcher.versions(reference).await?)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Brings a component from its source: the newest version that is wanted, where the source
    /// names none itself. Unless the operator agrees to another signer, it must be the one of the
    /// component that is installed from there.
    ///
    /// # Errors
    /// When it can't be had, is not what its digest says, or may not be installed.
    pub async fn bring(
        &self,
        alias: &Alias,
        source: &PluginSource,
        wanted: Option<&VersionReq>,
        agreed: bool,
        progress: Progress<'_>,
    ) -> Result<Brought, SourceError> {
        let mut reference = source.clone();
        if let PluginSource::Oci(open) = source
            && is_open(open)
        {
            let versions = self.versions(source).await?;
            let Some(version) = newest(&versions, wanted) else {
                return Err(refused(alias, no_version(open, wanted, &versions)));
            };
            reference = PluginSource::Oci(open.at_version(version));
        }
        let fetched = self.fetch(&reference, progress).await?;
        let from_there = |locked: &&LockedPlugin| locked.source == source.to_string();
        let before = self.locked(alias).filter(from_there).filter(|_| !agreed);
        let before = before.and_then(Agreed::of);
        let brought = self.clear(alias, source, before, fetched).await?;
        held_against_tag(alias, &reference, &brought)?;
        Ok(brought)
    }

    /// Brings a component that was agreed to, from where it was had then.
    ///
    /// # Errors
    /// When it can't be had, or is another one.
    pub async fn bring_locked(
        &self,
        alias: &Alias,
        source: &PluginSource,
        locked: &LockedPlugin,
        progress: Progress<'_>,
    ) -> Result<Brought, SourceError> {
        let resolved = locked.resolved.as_deref().unwrap_or(&locked.source);
        let resolved = PluginSource::parse(resolved).map_err(|why| refused(alias, why))?;
        let fetched = self.fetch(&resolved, progress).await?;
        let expected = [Some(&locked.digest), locked.sha512.as_ref()];
        for expected in expected.into_iter().flatten() {
            let expected: Integrity = expected
                .parse()
                .map_err(|error| refused(alias, format!("portreeve.lock: {error}")))?;
            if !expected.is_of(&fetched.bytes) {
                return Err(SourceError::Fetch(FetchError::Mismatch {
                    what: resolved.to_string(),
                    found: expected.found(&fetched.bytes),
                    expected,
                }));
            }
        }
        self.clear(alias, source, Agreed::of(locked), fetched).await
    }

    /// Fetches something that is no component: the one layer of an artifact.
    ///
    /// # Errors
    /// When it can't be had, or has more than `max` bytes.
    pub async fn artifact(
        &self,
        reference: &OciReference,
        max: u64,
        progress: Progress<'_>,
    ) -> Result<Artifact, SourceError> {
        Ok(self.fetcher.artifact(reference, max, progress).await?)
    }

    /// Publishes a component with its signatures under the tag of a reference. Gives the digest
    /// of what the registry has then.
    ///
    /// # Errors
    /// When the registry doesn't take it, or has the version already.
    pub async fn publish(
        &self,
        reference: &OciReference,
        component: &[u8],
        signatures: &[SignatureFile],
    ) -> Result<Digest, SourceError> {
        Ok(self.fetcher.push(reference, component, signatures).await?)
    }

    async fn fetch(
        &self,
        source: &PluginSource,
        progress: Progress<'_>,
    ) -> Result<Fetched, SourceError> {
        // What is fetched is nowhere in the project.
        let reference = Reference::new(source, Path::new(""));
        Ok(self.fetcher.fetch(&reference, progress).await?)
    }

    /// Reads what was fetched, holds it against the policy and puts it into the store.
    async fn clear(
        &self,
        alias: &Alias,
        source: &PluginSource,
        agreed: Option<Agreed>,
        fetched: Fetched,
    ) -> Result<Brought, SourceError> {
        let name = source.name().unwrap_or_default().to_owned();
        let (desk, store) = (self.desk.clone(), self.store.clone());
        let owned = alias.clone();
        let cleared = blocking(move || {
            let limits = IntakeLimits::default();
            let package = Package::read(&fetched.bytes, &name, &limits)
                .map_err(|error| refused(&owned, format!("size and shape: {error}")))?;
            let cargo = Cargo {
                package: &package,
                bytes: &fetched.bytes,
                signatures: &fetched.signatures,
                remote: true,
            };
            let signer = desk
                .signer(&owned, &cargo, agreed.as_ref())
                .map_err(|why| refused(&owned, why))?;
            let digest = store.put(&fetched.bytes)?;
            store.put_signatures(&digest, &fetched.signatures)?;
            let sha512 = Integrity::sha512(&fetched.bytes);
            Ok::<_, SourceError>(Brought {
                pin: Pin {
                    digest: digest.to_string(),
                    sha512: Some(sha512.to_string()),
                    resolved: Some(fetched.resolved),
                },
                package,
                signer,
            })
        });
        cleared.await?
    }
}

/// Whether a reference leaves it open which version is meant.
fn is_open(reference: &OciReference) -> bool {
    reference.tag().is_none() && reference.digest().is_none()
}

/// The newest version that is wanted; one that is not finished yet only where it is asked for.
pub fn newest<'a>(versions: &'a [Version], wanted: Option<&VersionReq>) -> Option<&'a Version> {
    let any = VersionReq::STAR;
    let wanted = wanted.unwrap_or(&any);
    versions
        .iter()
        .filter(|version| wanted.matches(version))
        .max()
}

/// The version that the tag of a reference is, where that is another one than the plugin's. A
/// component from elsewhere that says no version has none to hold it against.
pub fn other_version(reference: &OciReference, manifest: &PluginManifest) -> Option<Version> {
    let none = Version::new(0, 0, 0);
    let says_none = manifest.origin == Origin::Inferred && manifest.version == none;
    let tagged = reference.tag().and_then(OciReference::version_of);
    tagged.filter(|tagged| *tagged != manifest.version && !says_none)
}

/// Holds a tag that is a version against the version of what it stands for: whoever can write in
/// a registry can move a tag.
fn held_against_tag(
    alias: &Alias,
    reference: &PluginSource,
    brought: &Brought,
) -> Result<(), SourceError> {
    let oci = match reference {
        // Who names a digest means that one, whatever the tag says.
        PluginSource::Oci(oci) if oci.digest().is_none() => oci,
        _ => return Ok(()),
    };
    let manifest = &brought.package.manifest;
    match other_version(oci, manifest) {
        None => Ok(()),
        Some(tagged) => Err(refused(
            alias,
            format!(
                "version: {oci} stands for {} {}, and not for {tagged}: whoever can write there may have moved the tag; ask its author, or name what you mean by its digest: {}",
                manifest.id,
                manifest.version,
                brought.pin.resolved.as_deref().unwrap_or_default()
            ),
        )),
    }
}

fn no_version(
    reference: &OciReference,
    wanted: Option<&VersionReq>,
    versions: &[Version],
) -> String {
    /// As many as one reads.
    const SHOWN_MAX: usize = 8;
    let mut there: Vec<_> = versions.iter().rev().map(ToString::to_string).collect();
    let more = there.len().saturating_sub(SHOWN_MAX);
    there.truncate(SHOWN_MAX);
    if more > 0 {
        there.push(format!("and {more} more"));
    }
    let there = match there.is_empty() {
        true => "it has no tags that are versions".to_owned(),
        false => format!("it has {}", there.join(", ")),
    };
    let wanted = wanted.map_or_else(|| "any finished one".to_owned(), ToString::to_string);
    format!(
        "version: {reference} has none that is wanted ({wanted}); {there}: ask for one of them, or name a tag"
    )
}

fn refused(alias: &Alias, why: impl Into<String>) -> SourceError {
    SourceError::Refused {
        alias: alias.clone(),
        why: why.into(),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SourceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| SourceError::GivenUp(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_is_wanted() {
        let versions: Vec<Version> = ["0.9.0", "1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let cases = [
            (None, Some("1.10.0")),
            (Some("^1"), Some("1.10.0")),
            (Some("~1.9"), Some("1.9.0")),
            (Some("<1"), Some("0.9.0")),
            (Some("=2.0.0-rc.1"), Some("2.0.0-rc.1")),
            (Some("^3"), None),
        ];
        for (wanted, expected) in cases {
            let wanted = wanted.map(|wanted| wanted.parse::<VersionReq>().unwrap());
            let found = newest(&versions, wanted.as_ref()).map(ToString::to_string);
            assert_eq!(found.as_deref(), expected, "{wanted:?}");
        }
        let reference: OciReference = "oci://r.example.com/a/b".parse().unwrap();
        let told = no_version(&reference, Some(&"^3".parse().unwrap()), &versions);
        assert!(
            told.contains("^3") && told.contains("2.0.0-rc.1, 1.9.0"),
            "{told}"
        );
    }
}
