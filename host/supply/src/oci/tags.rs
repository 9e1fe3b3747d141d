//! Which versions a repository has.

use std::collections::BTreeSet;

use http::header::LINK;
use portreeve_egress::{HostRequest, Take};
use portreeve_manifest::source::OciReference;
use semver::Version;
use serde::Deserialize;
use url::Url;

use super::Registries;
use super::registry::{Access, Repository};
use crate::fetch::FetchError;

/// Bytes of one page of tags: a thousand of the longest are 128 KiB.
const PAGE_BYTES_MAX: u64 = 1 << 20;

/// Pages that are read, of a thousand tags each.
const PAGES_MAX: usize = 20;

impl Registries {
    /// The versions among the tags of a repository, from the oldest to the newest. Other tags,
    /// and those that stand for what refers to a manifest, are no versions.
    pub(crate) async fn versions(
        &self,
        reference: &OciReference,
    ) -> Result<Vec<Version>, FetchError> {
        let mut last = None;
        for place in self.places(reference) {
            match place.tags().await {
                Ok(tags) => {
                    let versions = tags.iter().filter_map(|tag| OciReference::version_of(tag));
                    let versions: BTreeSet<_> = versions.collect();
                    return Ok(versions.into_iter().collect());
                }
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(Vec::new()), Err)
    }
}

impl Repository<'_> {
    async fn tags(&self) -> Result<Vec<String>, FetchError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut url = self.url("tags/list?n=1000").await?;
        let mut tags = Vec::new();
        for _ in 0..PAGES_MAX {
            let request = HostRequest::get(url.clone());
            let take = Take::at_most(PAGE_BYTES_MAX);
            let answer = self.send(Access::Pull, request, &take).await?;
            if !answer.status.is_success() {
                return Err(self.refused("", &answer));
            }
            let page: Page = serde_json::from_slice(&answer.body).map_err(|error| {
                self.protocol("", format!("its list of tags can't be read: {error}"))
            })?;
            tags.extend(page.tags.unwrap_or_default());
            let link = answer.headers.get(LINK).and_then(|link| link.to_str().ok());
            match link.and_then(next).and_then(|next| url.join(next).ok()) {
                Some(next) => url = self.same_origin(&url, next)?,
                None => return Ok(tags),
            }
        }
        Err(self.protocol("", "its list of tags has no end"))
    }

    /// Another address of the same server: our log-in goes nowhere else.
    pub(super) fn same_origin(&self, own: &Url, other: Url) -> Result<Url, FetchError> {
        if own.origin() == other.origin() {
            return Ok(other);
        }
        let elsewhere = other.origin().ascii_serialization();
        Err(self.protocol("", format!("it goes on at another server, {elsewhere}")))
    }
}

/// The next page (RFC 8288): `</v2/…>; rel="next"`.
fn next(link: &str) -> Option<&str> {
    let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let rest = rest.replace(['"', ' '], "").to_ascii_lowercase();
    rest.split([';', ','])
        .any(|parameter| parameter == "rel=next")
        .then_some(address)
}
