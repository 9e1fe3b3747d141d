//! Requests to one repository of a registry.

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use portreeve_egress::{Answer, GateErrorKind, HostRequest, Take};
use portreeve_manifest::settings::is_loopback;
use serde::Deserialize;
use url::Url;

use super::{Registries, auth, lock};
use crate::error::shorten;
use crate::fetch::FetchError;

/// The API of Docker's own registry is not where its name says.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Bytes of an answer that only says something.
pub(super) const WORDS_BYTES_MAX: u64 = 64 << 10;

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    /// To read.
    Pull,
    /// To read and to write.
    Push,
}

impl Access {
    /// As token servers call it.
    pub(super) fn actions(self) -> &'static str {
        match self {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        }
    }
}

/// A repository of a registry.
pub(super) struct Repository<'a> {
    pub(super) registries: &'a Registries,
    /// The registry, as operators write it.
    pub(super) registry: String,
    pub(super) name: String,
}

impl<'a> Repository<'a> {
    pub(super) fn new(registries: &'a Registries, registry: &str, name: String) -> Repository<'a> {
        Repository {
            registries,
            registry: registry.to_owned(),
            name,
        }
    }

    /// What it is called in messages, with what is in it.
    pub(super) fn shown(&self, item: &str) -> String {
        let between = match item {
            "" => "",
            item if item.contains(':') => "@",
            _ => ":",
        };
        format!("{}/{}{between}{item}", self.registry, self.name)
    }

    /// The address of a thing in it.
    pub(super) async fn url(&self, path: &str) -> Result<Url, FetchError> {
        let base = self.base().await?;
        let path = format!("/v2/{}/{path}", self.name);
        base.join(&path).map_err(|error| FetchError::Protocol {
            what: self.shown(""),
            why: error.to_string(),
        })
    }

    /// Sends a request, and logs in where that is asked for.
    pub(super) async fn send(
        &self,
        access: Access,
        request: HostRequest,
        take: &Take<'_>,
    ) -> Result<Answer, FetchError> {
        let key = (self.registry.clone(), self.name.clone(), access);
        let held = lock(&self.registries.sessions).get(&key).cloned();
        let answer = self.once(&request, held, take).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let session = auth::log_in(self, access, &answer).await?;
        let answer = self.once(&request, Some(session.clone()), take).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            lock(&self.registries.sessions).remove(&key);
            return Err(self.unauthorized(&answer));
        }
        lock(&self.registries.sessions).insert(key, session);
        Ok(answer)
    }

    /// GET of a thing in it.
    pub(super) async fn get(
        &self,
        access: Access,
        path: &str,
        accept: &'static str,
        take: &Take<'_>,
    ) -> Result<Answer, FetchError> {
        let request = HostRequest::get(self.url(path).await?)
            .header(http::header::ACCEPT, HeaderValue::from_static(accept));
        self.send(access, request, take).await
    }

    async fn once(
        &self,
        request: &HostRequest,
        session: Option<HeaderValue>,
        take: &Take<'_>,
    ) -> Result<Answer, FetchError> {
        let mut request = request.clone();
        request
            .headers
            .extend(session.map(|session| (AUTHORIZATION, session)));
        self.exchange(&request, take).await
    }

    /// One exchange, without any log-in of ours.
    pub(super) async fn exchange(
        &self,
        request: &HostRequest,
        take: &Take<'_>,
    ) -> Result<Answer, FetchError> {
        let sent = self.registries.client.send(request, take).await;
        sent.map_err(|error| match error.kind() {
            GateErrorKind::BodyTooLarge if take.size.is_none() => FetchError::TooLarge {
                what: self.shown(""),
                max: take.max,
            },
            _ => FetchError::Network {
                what: self.shown(""),
                error,
            },
        })
    }

    /// That a status is none that was hoped for.
    pub(super) fn refused(&self, item: &str, answer: &Answer) -> FetchError {
        match answer.status {
            StatusCode::NOT_FOUND => FetchError::NotFound {
                what: self.shown(item),
                said: said(answer),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorized(answer),
            status => FetchError::Status {
                what: self.shown(item),
                status: status.as_u16(),
                said: said(answer),
            },
        }
    }

    pub(super) fn unauthorized(&self, answer: &Answer) -> FetchError {
        FetchError::Unauthorized {
            registry: self.registry.clone(),
            said: said(answer),
        }
    }

    pub(super) fn protocol(&self, item: &str, why: impl Into<String>) -> FetchError {
        FetchError::Protocol {
            what: self.shown(item),
            why: shorten(&why.into()),
        }
    }

    /// Where the API is. A registry on this machine speaks TLS, or else plain HTTP.
    async fn base(&self) -> Result<Url, FetchError> {
        let (hub, api) = DOCKER_HUB;
        let host = if self.registry == hub {
            api
        } else {
            &self.registry
        };
        let at = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/"))
                .map_err(|error| self.protocol("", error.to_string()))
        };
        let base = at("https")?;
        if !base.host().is_some_and(|host| is_loopback(&host)) {
            return Ok(base);
        }
        if let Some(known) = lock(&self.registries.bases).get(host) {
            return Ok(known.clone());
        }
        let base = match self.ping(&base).await {
            Ok(_) => base,
            Err(error) => {
                let is_tls = matches!(&error, FetchError::Network { error, .. } if *error.kind() == GateErrorKind::Tls);
                let plain = at("http")?;
                // One that speaks TLS, and isn't trusted, says no to this.
                match is_tls {
                    true if self.ping(&plain).await.is_ok_and(|ok| ok) => plain,
                    _ => return Err(error),
                }
            }
        };
        lock(&self.registries.bases).insert(host.to_owned(), base.clone());
        Ok(base)
    }

    /// Whether a registry is there.
    async fn ping(&self, base: &Url) -> Result<bool, FetchError> {
        let url = base
            .join("/v2/")
            .map_err(|error| self.protocol("", error.to_string()))?;
        let request = HostRequest::new(Method::GET, url);
        let answer = self
            .exchange(&request, &Take::at_most(WORDS_BYTES_MAX))
            .await?;
        Ok(answer.status.is_success() || answer.status == StatusCode::UNAUTHORIZED)
    }
}

/// What a registry says is wrong (specification, "Error Codes").
pub(super) fn said(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        code: String,
        #[serde(default)]
        message: Option<String>,
    }
    let read: Result<Errors, _> = serde_json::from_slice(&answer.body);
    let first = read
        .ok()
        .and_then(|errors| errors.errors.into_iter().next());
    match first {
        Some(one) => {
            let message = one.message.unwrap_or_default();
            shorten(format!("{} {message}", one.code.to_lowercase().replace('_', " ")).trim())
        }
        None => answer.status.to_string(),
    }
}
