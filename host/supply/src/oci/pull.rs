//! Fetching from registries.

use http::header::CONTENT_TYPE;
use oci_spec::image::{Descriptor, ImageManifest};
use portreeve_egress::Take;
use portreeve_manifest::integrity::Integrity;
use portreeve_manifest::source::OciReference;

use super::Registries;
use super::layout::{self, ACCEPT, Document, MANIFEST_BYTES_MAX};
use super::registry::{Access, Repository};
use crate::Digest;
use crate::fetch::{Artifact, FetchError, FetchProgress, Fetched, Progress, stored};
use crate::store::ArtifactStore;

/// A manifest of a component, and what it is called by its bytes.
pub(super) struct Found {
    pub(super) manifest: ImageManifest,
    pub(super) digest: Digest,
}

impl Registries {
    /// Fetches a component and what signs it.
    pub(crate) async fn pull(
        &self,
        reference: &OciReference,
        store: Option<&ArtifactStore>,
        progress: Progress<'_>,
    ) -> Result<Fetched, FetchError> {
        let places = self.places(reference);
        let mut last = None;
        for place in &places {
            match place.component(reference, store, progress).await {
                Ok((found, bytes)) => {
                    progress(FetchProgress::Signatures);
                    let signatures = self.signatures(&places, &found.digest).await?;
                    return Ok(Fetched {
                        digest: Digest::of(&bytes),
                        bytes,
                        resolved: format!(
                            "oci://{}/{}@{}",
                            reference.registry(),
                            reference.repository(),
                            found.digest
                        ),
                        signatures,
                        version_tag: reference.tag().map(str::to_owned),
                    });
                }
                Err(error) => {
                    // The registry's own answer is the one that counts.
                    tracing::debug!(place = place.shown(""), %error, "it is not had from here");
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| FetchError::NotFound {
            what: reference.to_string(),
            said: "there is no place to look".to_owned(),
        }))
    }
}

impl Registries {
    /// Fetches the one layer of an artifact.
    pub(crate) async fn artifact(
        &self,
        reference: &OciReference,
        max: u64,
        progress: Progress<'_>,
    ) -> Result<Artifact, FetchError> {
        let mut last = None;
        for place in &self.places(reference) {
            match place.only_layer(reference, max, progress).await {
                Ok((digest, bytes)) => {
                    let (registry, repository) = (reference.registry(), reference.repository());
                    let resolved = format!("oci://{registry}/{repository}@{digest}");
                    return Ok(Artifact { bytes, resolved });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| FetchError::NotFound {
            what: reference.to_string(),
            said: "there is no place to look".to_owned(),
        }))
    }
}

impl Repository<'_> {
    async fn only_layer(
        &self,
        reference: &OciReference,
        max: u64,
        progress: Progress<'_>,
    ) -> Result<(Digest, Vec<u8>), FetchError> {
        let found = self.find(reference).await?;
        let what = || self.shown(item(reference));
        let [layer] = found.manifest.layers().as_slice() else {
            return Err(FetchError::NotAComponent {
                what: what(),
                why: "it has several layers, or none, where one was looked for".to_owned(),
            });
        };
        if layer.size() > max {
            return Err(FetchError::TooLarge { what: what(), max });
        }
        let told = |received, total| progress(FetchProgress::Downloading { received, total });
        let take = Take {
            max,
            size: Some(layer.size()),
            progress: Some(&told),
        };
        let bytes = self.blob(layer, &take).await?;
        Ok((found.digest, bytes))
    }

    async fn component(
        &self,
        reference: &OciReference,
        store: Option<&ArtifactStore>,
        progress: Progress<'_>,
    ) -> Result<(Found, Vec<u8>), FetchError> {
        let found = self.find(reference).await?;
        let not_one = |why| FetchError::NotAComponent {
            what: self.shown(item(reference)),
            why,
        };
        let layer = layout::component(&found.manifest).map_err(not_one)?;
        let max = self.registries.settings.component_max;
        if layer.size() > max {
            return Err(FetchError::TooLarge {
                what: self.shown(item(reference)),
                max,
            });
        }
        let integrity = layout::integrity(layer).map_err(|why| self.protocol("", why))?;
        if let Integrity::Sha256(digest) = integrity
            && let Some(bytes) = stored(store, Digest::from(digest)).await
        {
            return Ok((found, bytes));
        }
        let told = |received, total| progress(FetchProgress::Downloading { received, total });
        let take = Take {
            max,
            size: Some(layer.size()),
            progress: Some(&told),
        };
        let bytes = self.blob(layer, &take).await?;
        Ok((found, bytes))
    }

    /// The manifest of the component that a reference names.
    async fn find(&self, reference: &OciReference) -> Result<Found, FetchError> {
        let item = item(reference);
        let take = Take::at_most(MANIFEST_BYTES_MAX);
        let (bytes, kind) = self.manifest(item, &take).await?;
        match self.document(item, &bytes, kind.as_deref())? {
            Document::Manifest(manifest) => Ok(Found {
                manifest: *manifest,
                digest: Digest::of(&bytes),
            }),
            Document::Index(index) => {
                let not_one = |why| FetchError::NotAComponent {
                    what: self.shown(item),
                    why,
                };
                let chosen = layout::chosen(&index).map_err(not_one)?;
                self.listed(chosen).await
            }
        }
    }

    /// A manifest that something else lists.
    pub(super) async fn listed(&self, listed: &Descriptor) -> Result<Found, FetchError> {
        let item = listed.digest().as_ref();
        let take = Take {
            size: Some(listed.size()),
            ..Take::at_most(MANIFEST_BYTES_MAX)
        };
        let (bytes, kind) = self.manifest(item, &take).await?;
        match self.document(item, &bytes, kind.as_deref())? {
            Document::Manifest(manifest) => Ok(Found {
                manifest: *manifest,
                digest: Digest::of(&bytes),
            }),
            Document::Index(_) => Err(self.protocol(item, "it is a list within a list")),
        }
    }

    fn document(
        &self,
        item: &str,
        bytes: &[u8],
        kind: Option<&str>,
    ) -> Result<Document, FetchError> {
        layout::read(bytes, kind).map_err(|why| FetchError::NotAComponent {
            what: self.shown(item),
            why: crate::error::shorten(&why),
        })
    }

    /// The bytes of a manifest, by tag or digest, and what they were sent as.
    pub(super) async fn manifest(
        &self,
        item: &str,
        take: &Take<'_>,
    ) -> Result<(Vec<u8>, Option<String>), FetchError> {
        let path = format!("manifests/{item}");
        let answer = self.get(Access::Pull, &path, ACCEPT, take).await?;
        if !answer.status.is_success() {
            return Err(self.refused(item, &answer));
        }
        if item.contains(':') {
            let expected = item.parse().map_err(|error| {
                let error: portreeve_manifest::integrity::IntegrityError = error;
                self.protocol("", error.to_string())
            })?;
            self.check(item, expected, &answer.body)?;
        }
        // What it says of itself is not needed, and must be true all the same.
        let header = |name: &str| {
            answer
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        if let Some(said) = header("docker-content-digest")
            && let Ok(said) = said.parse::<Integrity>()
            && !said.is_of(&answer.body)
        {
            let why = format!(
                "it says that it sends {said}, and sends {}",
                said.found(&answer.body)
            );
            return Err(self.protocol(item, why));
        }
        let kind = header(CONTENT_TYPE.as_str()).map(str::to_owned);
        Ok((answer.body, kind))
    }

    /// The bytes of a blob.
    pub(super) async fn blob(
        &self,
        descriptor: &Descriptor,
        take: &Take<'_>,
    ) -> Result<Vec<u8>, FetchError> {
        let item = descriptor.digest().as_ref();
        let expected = layout::integrity(descriptor).map_err(|why| self.protocol("", why))?;
        let path = format!("blobs/{item}");
        let answer = self.get(Access::Pull, &path, "*/*", take).await?;
        if !answer.status.is_success() {
            return Err(self.refused(item, &answer));
        }
        self.check(item, expected, &answer.body)?;
        Ok(answer.body)
    }

    fn check(&self, item: &str, expected: Integrity, bytes: &[u8]) -> Result<(), FetchError> {
        if expected.is_of(bytes) {
            return Ok(());
        }
        Err(FetchError::Mismatch {
            what: self.shown(item),
            found: expected.found(bytes),
            expected,
        })
    }
}

/// What is asked for: a digest says all, a tag only where there is none. Who asks for nothing
/// asks for what everybody calls the latest.
pub(super) fn item(reference: &OciReference) -> &str {
    reference.digest().or(reference.tag()).unwrap_or("latest")
}
