//! Signatures of what is in a registry: manifests that refer to another as their subject.

use http::StatusCode;
use oci_spec::image::Descriptor;
use portreeve_egress::Take;

use super::Registries;
use super::layout::{self, Document, MANIFEST_BYTES_MAX};
use super::registry::{Access, Repository};
use crate::Digest;
use crate::fetch::FetchError;
use crate::signature::{SIGNATURE_BYTES_MAX, SIGNATURES_MAX, SignatureFile};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Registries {
    /// The signatures of a manifest, from the first place that has some. That a mirror can't
    /// say is no reason to give up; that nobody can, is.
    pub(super) async fn signatures(
        &self,
        places: &[Repository<'_>],
        digest: &Digest,
    ) -> Result<Vec<SignatureFile>, FetchError> {
        let mut last = Ok(Vec::new());
        for place in places {
            match place.signatures(digest).await {
                Ok(found) if !found.is_empty() => return Ok(found),
                other => last = other,
            }
        }
        last
    }
}

impl Repository<'_> {
    async fn signatures(&self, subject: &Digest) -> Result<Vec<SignatureFile>, FetchError> {
        let mut signatures = Vec::new();
        let referrers = self.referrers(subject).await?;
        let kind_of = |referrer: &Descriptor| {
            let kind = referrer.artifact_type().as_ref()?;
            layout::signature_kind(kind.as_ref())
        };
        let listed = referrers
            .iter()
            .filter_map(|referrer| Some((referrer, kind_of(referrer)?)));
        for (referrer, kind) in listed.take(SIGNATURES_MAX) {
            if referrer.size() > MANIFEST_BYTES_MAX {
                continue;
            }
            let found = self.listed(referrer).await?;
            let of = found.manifest.subject().as_ref();
            let is_ours = of.is_some_and(|of| of.digest().as_ref() == subject.to_string());
            let [layer] = found.manifest.layers().as_slice() else {
                continue;
            };
            if !is_ours || layer.size() > SIGNATURE_BYTES_MAX as u64 {
                continue;
            }
            let take = Take {
                size: Some(layer.size()),
                ..Take::at_most(SIGNATURE_BYTES_MAX as u64)
            };
            let bytes = self.blob(layer, &take).await?;
            signatures.push(SignatureFile { kind, bytes });
        }
        Ok(signatures)
    }

    /// What refers to a manifest. A registry that doesn't say so itself has a tag for it
    /// (specification, "Referrers Tag Schema").
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, FetchError> {
        let path = format!("referrers/{subject}");
        let take = Take::at_most(MANIFEST_BYTES_MAX);
        let answer = self.get(Access::Pull, &path, INDEX, &take).await?;
        match answer.status {
            status if status.is_success() => self.index(&path, &answer.body),
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::BAD_REQUEST
            | StatusCode::NOT_IMPLEMENTED => self.tagged(subject).await,
            _ => Err(self.refused(&path, &answer)),
        }
    }

    /// The list under the tag that stands for what refers to a manifest.
    pub(super) async fn tagged(&self, subject: &Digest) -> Result<Vec<Descriptor>, FetchError> {
        let tag = fallback(subject);
        let take = Take::at_most(MANIFEST_BYTES_MAX);
        match self.manifest(&tag, &take).await {
            Ok((bytes, _)) => self.index(&tag, &bytes),
            Err(FetchError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn index(&self, item: &str, bytes: &[u8]) -> Result<Vec<Descriptor>, FetchError> {
        match layout::read(bytes, None).map_err(|why| self.protocol("", why))? {
            Document::Index(index) => Ok(index.manifests().clone()),
            Document::Manifest(_) => Err(self.protocol(item, "it is no list of what refers to it")),
        }
    }
}

/// The tag that stands for what refers to a manifest.
pub(super) fn fallback(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}
