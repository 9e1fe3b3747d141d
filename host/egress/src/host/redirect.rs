//! Redirects of the host's own requests.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, LOCATION, PROXY_AUTHORIZATION};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use portreeve_manifest::grant::{Scheme, Target};
use portreeve_manifest::settings::is_loopback;
use url::{Host, Position, Url};

use super::{HostClient, HostRequest};
use crate::body::Body;
use crate::client::{Client, Clock};
use crate::connect::Reach;
use crate::error::{GateError, GateErrorKind};
use crate::standing::Standing;

/// Bytes of one part of a body that is sent: what is sent is what shows that it goes on.
const PART_BYTES: usize = 64 << 10;

impl HostClient {
    /// Sends a request, and goes on to where it is sent. Gives the URL that has answered.
    pub(super) async fn follow(
        &self,
        request: &HostRequest,
        mut headers: HeaderMap,
        clock: &Clock,
    ) -> Result<(Response<Body>, Url), GateError> {
        let method = &request.method;
        let first = target(method, &request.url)?;
        if first.scheme() == Scheme::Http && !is_local(&first) {
            return Err(refused(format!(
                "{} is asked over https only; http is for this machine",
                first.origin()
            )));
        }
        let mut seen = vec![first.url().clone()];
        let mut at = first.clone();
        let mut client = &self.0.near;
        loop {
            let response = self.one(client, &at, &headers, request, clock).await;
            let response = response.map_err(|error| match error.kind() {
                // What the gate advises is for plugins.
                GateErrorKind::AddressRefused { address } if at != first => refused(format!(
                    "{} leads to {}, and {address} is none that it may lead to",
                    place(&first),
                    place(&at)
                )),
                _ => error,
            })?;
            let Some(next) = next(&response, &at)? else {
                return Ok((response, at.url().clone()));
            };
            if !matches!(*method, Method::GET | Method::HEAD) {
                return Err(refused(format!(
                    "{} sends it on to {}, and what is written goes only where it was meant to go",
                    place(&at),
                    next.origin()
                )));
            }
            if next.scheme() == Scheme::Http && at.scheme() == Scheme::Https {
                return Err(refused(format!(
                    "{} leads from https to http, to {}",
                    place(&at),
                    place(&next)
                )));
            }
            if seen.contains(next.url()) {
                return Err(refused(format!(
                    "{} leads round in a circle, by {}",
                    place(&first),
                    place(&next)
                )));
            }
            if seen.len() > self.0.limits.redirects {
                return Err(refused(format!(
                    "{} is sent on more than {} times",
                    place(&first),
                    self.0.limits.redirects
                )));
            }
            if next.origin() != at.origin() {
                for secret in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
                    headers.remove(secret);
                }
            }
            client = self.reach(&first, &next).await?;
            seen.push(next.url().clone());
            at = next;
        }
    }

    /// Who may go there. A server chooses public addresses; in a private network, or on this
    /// machine, it may choose others of the same only if the operator has sent us to such a one.
    async fn reach(&self, first: &Target, next: &Target) -> Result<&Client, GateError> {
        if next.host() == first.host() || is_local(first) {
            return Ok(&self.0.near);
        }
        let (Some(host), false) = (first.host(), is_local(next)) else {
            return Err(refused(format!(
                "{} leads to this machine, to {}",
                place(first),
                place(next)
            )));
        };
        let connector = self.0.near.gate().connector();
        match connector.addresses(&host, Reach::Granted(&[])).await {
            Ok(_) => Ok(&self.0.far),
            Err(error) if matches!(error.kind(), GateErrorKind::AddressRefused { .. }) => {
                Ok(&self.0.near)
            }
            Err(error) => Err(error),
        }
    }

    async fn one(
        &self,
        client: &Client,
        at: &Target,
        headers: &HeaderMap,
        request: &HostRequest,
        clock: &Clock,
    ) -> Result<Response<Body>, GateError> {
        let length = request.body.len() as u64;
        let has_length =
            length > 0 || [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
        let mut sent = Request::new(parts(request.body.clone()));
        *sent.method_mut() = request.method.clone();
        *sent.uri_mut() = Uri::try_from(&at.url()[..Position::AfterQuery]).map_err(|_| {
            GateError::new(
                GateErrorKind::InvalidUrl,
                "the URL has characters that can't be sent",
            )
        })?;
        *sent.headers_mut() = headers.clone();
        let length = has_length.then_some(length);
        let standing = Arc::new(Standing {
            call: self.0.policy.clone(),
            target: Arc::new(at.clone()),
            credential: None,
            placeholders: false,
            is_hosts: true,
        });
        client.attempt(standing, sent, length, None, clock).await
    }
}

/// A body, in parts.
fn parts(body: Bytes) -> Body {
    let count = body.len().div_ceil(PART_BYTES);
    let parts = (0..count).map(move |part| {
        let start = part * PART_BYTES;
        let end = body.len().min(start.saturating_add(PART_BYTES));
        Ok(Frame::data(body.slice(start..end)))
    });
    StreamBody::new(stream::iter(parts)).boxed_unsync()
}

/// Where a response sends us on to.
fn next(response: &Response<Body>, at: &Target) -> Result<Option<Target>, GateError> {
    let is_redirect = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ]
    .contains(&response.status());
    let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
        return Ok(None);
    };
    let location = location.to_str().ok();
    let Some(url) = location.and_then(|text| at.url().join(text).ok()) else {
        return Err(refused(format!(
            "{} leads to an address that is none",
            place(at)
        )));
    };
    let method = Method::from_bytes(at.method().as_bytes());
    target(&method.unwrap_or_default(), &url).map(Some)
}

/// A URL as it is shown: without its query, which may hold secrets.
fn place(target: &Target) -> String {
    format!("{}{}", target.origin(), target.path())
}

fn target(method: &Method, url: &Url) -> Result<Target, GateError> {
    Target::new(method.as_str(), url.as_str())
        .map_err(|error| GateError::new(GateErrorKind::InvalidUrl, error.to_string()))
}

fn is_local(target: &Target) -> bool {
    target
        .host()
        .is_some_and(|host: Host<&str>| is_loopback(&host))
}

fn refused(message: String) -> GateError {
    GateError::new(GateErrorKind::Redirect, message)
}
