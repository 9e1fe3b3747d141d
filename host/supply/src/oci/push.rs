//! Publishing in registries.

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use oci_spec::image::{Descriptor, MediaType};
use portreeve_egress::{HostRequest, Take};
use portreeve_manifest::source::OciReference;

use super::Registries;
use super::layout::{self, Artifact, MANIFEST_BYTES_MAX};
use super::referrers::fallback;
use super::registry::{Access, Repository, WORDS_BYTES_MAX};
use crate::fetch::FetchError;
use crate::signature::SignatureFile;
use crate::{Digest, IntakeLimits, Package};

impl Registries {
    /// Publishes a component and what signs it; gives the digest of its manifest.
    pub(crate) async fn push(
        &self,
        reference: &OciReference,
        component: &[u8],
        signatures: &[SignatureFile],
    ) -> Result<Digest, FetchError> {
        let Some(tag) = reference.tag() else {
            return Err(FetchError::NoTag(reference.to_string()));
        };
        let name = reference
            .repository()
            .rsplit('/')
            .next()
            .unwrap_or_default();
        let package = Package::read(component, name, &IntakeLimits::default())?;
        // Mirrors are for reading.
        let place = Repository::new(
            self,
            reference.registry(),
            reference.repository().to_owned(),
        );
        let artifact =
            layout::of_component(component, &package).map_err(|why| place.protocol("", why))?;
        let digest = Digest::of(&artifact.manifest);
        let there = place.there(tag).await?;
        if let Some(there) = there.filter(|there| *there != digest)
            && OciReference::version_of(tag).is_some()
        {
            return Err(FetchError::VersionTaken {
                reference: reference.to_string(),
                found: there.to_string(),
            });
        }
        place.put(&artifact, tag).await?;
        for signature in signatures {
            place
                .attach(signature, &artifact.descriptor, &digest)
                .await?;
        }
        Ok(digest)
    }
}

impl Repository<'_> {
    /// The manifest under a tag, if there is one.
    async fn there(&self, tag: &str) -> Result<Option<Digest>, FetchError> {
        let path = format!("manifests/{tag}");
        let take = Take::at_most(MANIFEST_BYTES_MAX);
        let answer = self.get(Access::Push, &path, layout::ACCEPT, &take).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(Digest::of(&answer.body))),
            _ => Err(self.refused(tag, &answer)),
        }
    }

    /// Puts blobs, and the manifest over them under a tag or its digest. Whether the registry
    /// notes by itself what it refers to.
    async fn put(&self, artifact: &Artifact, item: &str) -> Result<bool, FetchError> {
        for blob in &artifact.blobs {
            self.put_blob(blob).await?;
        }
        let kind = artifact.descriptor.media_type();
        self.put_manifest(kind, &artifact.manifest, item).await
    }

    async fn put_blob(&self, blob: &[u8]) -> Result<(), FetchError> {
        let digest = Digest::of(blob).to_string();
        let take = Take::at_most(WORDS_BYTES_MAX);
        let head = HostRequest::new(Method::HEAD, self.url(&format!("blobs/{digest}")).await?);
        if self
            .send(Access::Push, head, &take)
            .await?
            .status
            .is_success()
        {
            return Ok(());
        }
        let start = self.url("blobs/uploads/").await?;
        let request = HostRequest::new(Method::POST, start.clone());
        let answer = self.send(Access::Push, request, &take).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(self.refused("", &answer));
        }
        let location = answer.headers.get(LOCATION).and_then(|at| at.to_str().ok());
        let Some(upload) = location.and_then(|location| start.join(location).ok()) else {
            return Err(self.protocol("", "it does not say where a blob is to be sent"));
        };
        let mut upload = self.same_origin(&start, upload)?;
        upload.query_pairs_mut().append_pair("digest", &digest);
        let request = HostRequest::new(Method::PUT, upload)
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            )
            .body(blob.to_vec());
        let answer = self.send(Access::Push, request, &take).await?;
        match answer.status {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(self.refused(&digest, &answer)),
        }
    }

    async fn put_manifest(
        &self,
        kind: &MediaType,
        manifest: &[u8],
        item: &str,
    ) -> Result<bool, FetchError> {
        let kind = HeaderValue::from_str(kind.as_ref())
            .map_err(|error| self.protocol("", error.to_string()))?;
        let url = self.url(&format!("manifests/{item}")).await?;
        let request = HostRequest::new(Method::PUT, url)
            .header(CONTENT_TYPE, kind)
            .body(manifest.to_vec());
        let take = Take::at_most(WORDS_BYTES_MAX);
        let answer = self.send(Access::Push, request, &take).await?;
        if !answer.status.is_success() {
            return Err(self.refused(item, &answer));
        }
        let said = answer.headers.get("docker-content-digest");
        let digest = Digest::of(manifest).to_string();
        if said.is_some_and(|said| said.as_bytes() != digest.as_bytes()) {
            return Err(self.protocol(
                item,
                "it says that it got another manifest than it was sent",
            ));
        }
        Ok(answer.headers.contains_key("oci-subject"))
    }

    /// Attaches a signature to a manifest.
    async fn attach(
        &self,
        signature: &SignatureFile,
        subject: &Descriptor,
        digest: &Digest,
    ) -> Result<(), FetchError> {
        let artifact = layout::of_signature(signature.kind, &signature.bytes, subject)
            .map_err(|why| self.protocol("", why))?;
        let item = artifact.descriptor.digest().as_ref().to_owned();
        if self.put(&artifact, &item).await? {
            return Ok(());
        }
        let mut listed = self.tagged(digest).await?;
        if listed
            .iter()
            .any(|one| one.digest() == artifact.descriptor.digest())
        {
            return Ok(());
        }
        listed.push(artifact.descriptor);
        let index = layout::of_index(listed).map_err(|why| self.protocol("", why))?;
        self.put_manifest(&MediaType::ImageIndex, &index, &fallback(digest))
            .await?;
        Ok(())
    }
}
