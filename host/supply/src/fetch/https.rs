//! Components on web servers.

use http::StatusCode;
use portreeve_egress::{Answer, GateErrorKind, HostRequest, Take};
use portreeve_manifest::integrity::Integrity;
use portreeve_manifest::source::HttpsSource;
use url::Url;

use super::{FetchError, FetchProgress, Fetched, Fetcher, Progress, stored};
use crate::Digest;
use crate::error::shorten;
use crate::signature::{SIGNATURE_BYTES_MAX, SignatureFile, SignatureKind};

impl Fetcher {
    pub(super) async fn fetch_https(
        &self,
        source: &HttpsSource,
        progress: Progress<'_>,
    ) -> Result<Fetched, FetchError> {
        let known = match source.integrity {
            Some(Integrity::Sha256(digest)) => {
                stored(self.0.store.as_ref(), Digest::from(digest)).await
            }
            _ => None,
        };
        let bytes = match known {
            Some(bytes) => bytes,
            None => self.download(&source.url, progress).await?,
        };
        let digest = Digest::of(&bytes);
        let what = shown(&source.url);
        let Some(expected) = source.integrity else {
            return Err(FetchError::NoDigest { url: what, digest });
        };
        if !expected.is_of(&bytes) {
            let found = expected.found(&bytes);
            return Err(FetchError::Mismatch {
                what,
                expected,
                found,
            });
        }
        progress(FetchProgress::Signatures);
        let mut signatures = Vec::new();
        for kind in SignatureKind::ALL {
            let mut beside = source.url.clone();
            beside.set_path(&format!("{}{}", source.url.path(), kind.suffix()));
            if let Some(bytes) = self.beside(&beside).await? {
                signatures.push(SignatureFile { kind, bytes });
            }
        }
        Ok(Fetched {
            digest,
            bytes,
            resolved: source.to_string(),
            signatures,
            version_tag: None,
        })
    }

    async fn download(&self, url: &Url, progress: Progress<'_>) -> Result<Vec<u8>, FetchError> {
        let told = |received, total| progress(FetchProgress::Downloading { received, total });
        let take = Take {
            max: self.0.component_max,
            size: None,
            progress: Some(&told),
        };
        let answer = self.get(url, &take).await?;
        match answer.status {
            status if status.is_success() => Ok(answer.body),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(FetchError::NotFound {
                what: shown(url),
                said: answer.status.to_string(),
            }),
            _ => Err(status(url, &answer)),
        }
    }

    /// A file beside it, if there is one.
    async fn beside(&self, url: &Url) -> Result<Option<Vec<u8>>, FetchError> {
        let answer = self
            .get(url, &Take::at_most(SIGNATURE_BYTES_MAX as u64))
            .await?;
        match answer.status {
            status if status.is_success() => Ok(Some(answer.body)),
            // Some keep quiet about what isn't there.
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN => Ok(None),
            _ => Err(status(url, &answer)),
        }
    }

    async fn get(&self, url: &Url, take: &Take<'_>) -> Result<Answer, FetchError> {
        let request = HostRequest::get(url.clone());
        let sent = self.0.client.send(&request, take).await;
        sent.map_err(|error| match error.kind() {
            GateErrorKind::BodyTooLarge => FetchError::TooLarge {
                what: shown(url),
                max: take.max,
            },
            _ => FetchError::Network {
                what: shown(url),
                error,
            },
        })
    }
}

fn status(url: &Url, answer: &Answer) -> FetchError {
    FetchError::Status {
        what: shown(url),
        status: answer.status.as_u16(),
        said: shorten(answer.status.canonical_reason().unwrap_or("no reason")),
    }
}

/// An address as it is shown: what stands behind `?` is often what lets one in.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.query().is_some() {
        url.set_query(Some("…"));
    }
    url.to_string().replace("?%E2%80%A6", "?…")
}
