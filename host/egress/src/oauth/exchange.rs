//! One request for a token, and what comes back.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde::{Deserialize, Deserializer};
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::Client;
use crate::body::Body;
use crate::care::Exchange;
use crate::credential::{SecretId, basic, unusable};
use crate::error::{GateError, GateErrorKind, Phase};

/// Time for one answer of a token server, all of it.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Bytes of an answer: tokens have a few kilobytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long a token is taken to be good that doesn't say it. A 401 tells when it isn't.
const LIFETIME_UNSAID: Duration = Duration::from_secs(3600);

/// The longest that a token is believed to be good.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How the client says who it is: RFC 6749, section 2.3.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum How {
    /// `client_secret_basic`, which every server must understand.
    #[default]
    Basic,
    /// `client_secret_post`, which some understand alone.
    Post,
}

/// What the server gave.
pub(super) struct Granted {
    pub(super) access_token: Zeroizing<String>,
    pub(super) lifetime: Duration,
    pub(super) refresh_token: Option<Zeroizing<String>>,
}

/// Gets a token. Where the server doesn't take the client by one way of saying who it is, the
/// other is tried, and remembered if it works.
pub(super) async fn get(
    id: &SecretId,
    client: &Client,
    refresh_token: Option<&Zeroizing<String>>,
    how: &mut How,
    exchange: &dyn Exchange,
) -> Result<Granted, GateError> {
    let other = match how {
        How::Basic => How::Post,
        How::Post => How::Basic,
    };
    match ask(id, client, refresh_token, *how, exchange).await? {
        Answer::Granted(granted) => Ok(granted),
        Answer::Refused(refusal) if refusal.is_of_client() && client.secret.is_some() => {
            match ask(id, client, refresh_token, other, exchange).await? {
                Answer::Granted(granted) => {
                    *how = other;
                    Ok(granted)
                }
                Answer::Refused(second) if second.is_of_client() => Err(refusal.error(id)),
                // It has got further that way.
                Answer::Refused(second) => {
                    *how = other;
                    Err(second.error(id))
                }
            }
        }
        Answer::Refused(refusal) => Err(refusal.error(id)),
    }
}

enum Answer {
    Granted(Granted),
    Refused(Refusal),
}

/// What a server said that gave nothing: of its words only those that are known.
struct Refusal {
    status: StatusCode,
    code: Option<&'static str>,
}

impl Refusal {
    /// Whether it doesn't know the client, or the way that it says who it is.
    fn is_of_client(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
            || (self.status == StatusCode::BAD_REQUEST
                && matches!(self.code, Some("invalid_client" | "invalid_request")))
    }

    fn error(&self, id: &SecretId) -> GateError {
        let advice = match self.code {
            Some("invalid_grant") => "; its refresh token is over: get another, and store it anew",
            Some("invalid_client" | "unauthorized_client") => {
                "; check its client-id and client-secret"
            }
            Some("invalid_scope") => "; check its scopes",
            _ if self.status.is_redirection() => {
                "; redirects are not followed: store the address it leads to as token-url"
            }
            _ if self.status == StatusCode::NOT_FOUND => "; check its token-url",
            _ => "",
        };
        let code = self
            .code
            .map(|code| format!(" ({code})"))
            .unwrap_or_default();
        unusable(
            id,
            format_args!(
                "got no token: its server answered {}{code}{advice}",
                self.status
            ),
        )
    }
}

async fn ask(
    id: &SecretId,
    client: &Client,
    refresh_token: Option<&Zeroizing<String>>,
    how: How,
    exchange: &dyn Exchange,
) -> Result<Answer, GateError> {
    let request = request(client, refresh_token, how)
        .ok_or_else(|| unusable(id, format_args!("makes no request for a token")))?;
    let exchange = async {
        let response = exchange.send(request).await?;
        let (parts, body) = response.into_parts();
        let body = read(id, body).await?;
        Ok(Response::from_parts(parts, body))
    };
    let response = tokio::time::timeout(TIME_MAX, exchange)
        .await
        .map_err(|_| {
            GateError::new(
                GateErrorKind::Timeout(Phase::Total),
                format!(
                    "the {id} got no token: its server took longer than {} s",
                    TIME_MAX.as_secs()
                ),
            )
        })??;
    if response.status() != StatusCode::OK {
        let refused: Option<Refused> = serde_json::from_slice(response.body()).ok();
        return Ok(Answer::Refused(Refusal {
            status: response.status(),
            code: refused.and_then(|refused| known(&refused.error.0)),
        }));
    }
    // What serde says of a mistake may quote the text.
    let given: Given = serde_json::from_slice(response.body()).map_err(|_| {
        let what = format_args!("got no token: its server's answer is none of RFC 6749");
        unusable(id, what)
    })?;
    if !given.token_type.0.eq_ignore_ascii_case("bearer") {
        let what = format_args!("got a token that is no bearer token, and can't be used");
        return Err(unusable(id, what));
    }
    if given.access_token.0.is_empty() || given.access_token.0.chars().any(char::is_control) {
        let what = format_args!("was given a token that no header can have");
        return Err(unusable(id, what));
    }
    let lifetime = given.expires_in.map(Duration::from_secs);
    Ok(Answer::Granted(Granted {
        access_token: given.access_token.0,
        lifetime: lifetime.unwrap_or(LIFETIME_UNSAID).min(LIFETIME_MAX),
        refresh_token: given
            .refresh_token
            .map(|token| token.0)
            .filter(|token| !token.is_empty()),
    }))
}

fn request(
    client: &Client,
    refresh_token: Option<&Zeroizing<String>>,
    how: How,
) -> Option<Request<Body>> {
    let mut form: Vec<(&str, &str)> = Vec::new();
    match refresh_token {
        None => form.push(("grant_type", "client_credentials")),
        Some(token) => form.extend([("grant_type", "refresh_token"), ("refresh_token", token)]),
    }
    if let Some(scopes) = &client.scopes {
        form.push(("scope", scopes));
    }
    let mut authorization = None;
    match (&client.secret, how) {
        (Some(secret), How::Basic) => {
            // RFC 6749, section 2.3.1: encoded before they are joined.
            let (id, secret) = (encoded(&client.id), encoded(secret));
            authorization = Some(basic(&id, &secret)?);
        }
        (Some(secret), How::Post) => {
            form.extend([("client_id", client.id.as_str()), ("client_secret", secret)]);
        }
        // A public client.
        (None, _) => form.push(("client_id", &client.id)),
    }
    let body = Full::new(Bytes::from_owner(urlencoded(&form))).map_err(|never| match never {});
    let mut request = Request::post(client.url.as_str())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body.boxed_unsync())
        .ok()?;
    if let Some(value) = authorization {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Some(request)
}

/// A text as in a form.
fn encoded(text: &str) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
    byte_serialize(text.as_bytes()).for_each(|part| encoded.push_str(part));
    encoded
}

fn urlencoded(form: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let length = form
        .iter()
        .map(|(name, value)| 3 * (name.len() + value.len()) + 2);
    let mut encoded = Zeroizing::new(Vec::with_capacity(length.sum()));
    for (name, value) in form {
        if !encoded.is_empty() {
            encoded.push(b'&');
        }
        byte_serialize(name.as_bytes()).for_each(|part| encoded.extend_from_slice(part.as_bytes()));
        encoded.push(b'=');
        byte_serialize(value.as_bytes())
            .for_each(|part| encoded.extend_from_slice(part.as_bytes()));
    }
    encoded
}

/// An answer's body, if it has no more than it may.
async fn read(id: &SecretId, mut body: Body) -> Result<Zeroizing<Vec<u8>>, GateError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > ANSWER_BYTES_MAX {
            let what = format_args!(
                "got no token: its server's answer has more than {ANSWER_BYTES_MAX} bytes"
            );
            return Err(unusable(id, what));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// A text that is overwritten when it is dropped.
struct Hidden(Zeroizing<String>);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Hidden, D::Error> {
        String::deserialize(from).map(|text| Hidden(Zeroizing::new(text)))
    }
}

/// RFC 6749, section 5.1. What else there is must be ignored.
#[derive(Deserialize)]
struct Given {
    access_token: Hidden,
    token_type: Hidden,
    expires_in: Option<u64>,
    refresh_token: Option<Hidden>,
}

/// RFC 6749, section 5.2.
#[derive(Deserialize)]
struct Refused {
    error: Hidden,
}

/// An error's code, if it is one that there is: a server may well say a secret back.
fn known(code: &str) -> Option<&'static str> {
    [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "access_denied",
        "server_error",
        "temporarily_unavailable",
    ]
    .into_iter()
    .find(|known| *known == code)
}
