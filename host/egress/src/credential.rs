//! Secrets that the host adds to requests, so that the guest has the use of them and never
//! the secret.

mod parameter;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize as _, Zeroizing};

use crate::care::Exchange;
use crate::error::{GateError, GateErrorKind};
use crate::oauth::{Lease, TokenSource, Tokens};
use crate::tls::ClientIdentity;
use portreeve_manifest::grant::{CredentialUse, Place};

/// Where an API key goes when its rule doesn't say.
pub const API_KEY_HEADER: &str = "x-api-key";

/// Certificates of a chain: more than any that is in use.
const CHAIN_LENGTH_MAX: usize = 16;

/// Which secret of the vault, as it was at some time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretId {
    /// What the vault calls it, unique within it.
    pub name: String,
    /// Counts its values.
    pub version: i64,
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret `{}`", self.name)
    }
}

/// A secret in the form that requests need it in. Its memory is overwritten when it is
/// dropped, and it is never shown.
pub struct Credential {
    id: SecretId,
    form: Form,
}

enum Form {
    /// A text for a header or a parameter.
    ApiKey(HeaderValue),
    /// All of the value of `Authorization`.
    Authorization(HeaderValue),
    /// For TLS.
    Certificate(Arc<ClientIdentity>),
    /// What gets tokens for `Authorization`.
    Tokens(Arc<TokenSource>),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match &self.form {
            Form::ApiKey(_) => "an API key",
            Form::Authorization(_) => "Authorization",
            Form::Certificate(_) => "a certificate",
            Form::Tokens(_) => "OAuth tokens",
        };
        write!(f, "Credential({}: {form}, …)", self.id)
    }
}

/// What a request was given, to be told of a 401: see [`Credential::renew`].
#[derive(Debug)]
#[must_use = "a 401 is answered with it"]
pub struct Applied(Option<Lease>);

impl Credential {
    /// A credential of a kind of the vault, made of its fields.
    ///
    /// # Errors
    /// The kind is none that requests are made with, a field is missing, or has a content
    /// that could not be sent; the content is not repeated.
    pub fn new(
        kind: &str,
        id: SecretId,
        fields: impl IntoIterator<Item = (String, Zeroizing<String>)>,
        tokens: &Tokens,
    ) -> Result<Credential, GateError> {
        let mut fields = Fields {
            id: &id,
            fields: fields.into_iter().collect(),
        };
        let form = match kind {
            "api-key" => Form::ApiKey(fields.header("value", "")?),
            "bearer" => Form::Authorization(fields.header("value", "Bearer ")?),
            "basic" => Form::Authorization(fields.basic()?),
            "certificate" => Form::Certificate(Arc::new(fields.certificate()?)),
            "oauth2-client-credentials" | "oauth2-refresh-token" => {
                Form::Tokens(tokens.source(kind, &mut fields)?)
            }
            _ => {
                return Err(fields.unusable(format_args!(
                    "is of kind {kind}, which no request is made with; name another in the grant"
                )));
            }
        };
        Ok(Credential { id, form })
    }

    /// Adds it to a request, in the place of whatever the guest put there. An OAuth token is
    /// fetched first where there is none; `exchange` is the way to its server.
    ///
    /// The URI is secret from then on, and must not be logged.
    ///
    /// # Errors
    /// The place is none for its kind, or there is no token.
    pub async fn apply<B>(
        &self,
        used: &CredentialUse,
        request: &mut Request<B>,
        exchange: &Arc<dyn Exchange>,
    ) -> Result<Applied, GateError> {
        let place = used.place.as_ref();
        match &self.form {
            Form::ApiKey(value) => match place {
                Some(Place::Query(name)) => {
                    let uri = parameter::with(request.uri(), name, value.as_bytes());
                    *request.uri_mut() = uri.ok_or_else(|| {
                        let what = format_args!("does not fit into the query as `{name}`");
                        unusable(&self.id, what)
                    })?;
                }
                place => {
                    let name = match place {
                        Some(Place::Header(name)) => name,
                        _ => API_KEY_HEADER,
                    };
                    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                        unusable(&self.id, format_args!("can't go into a header `{name}`"))
                    })?;
                    request.headers_mut().insert(name, value.clone());
                }
            },
            Form::Authorization(value) => {
                self.only_authorization(place)?;
                request.headers_mut().insert(AUTHORIZATION, value.clone());
            }
            Form::Certificate(_) => {
                if place.is_some() {
                    return Err(self.misplaced("with the TLS connection"));
                }
                if request.uri().scheme() != Some(&http::uri::Scheme::HTTPS) {
                    let what = format_args!("is a certificate, which only https:// can show");
                    return Err(unusable(&self.id, what));
                }
            }
            Form::Tokens(source) => {
                self.only_authorization(place)?;
                let (value, lease) = source.token(exchange).await?;
                request.headers_mut().insert(AUTHORIZATION, value);
                return Ok(Applied(Some(lease)));
            }
        }
        Ok(Applied(None))
    }

    /// The certificate to show, which needs connections of its own.
    pub fn identity(&self) -> Option<&Arc<ClientIdentity>> {
        match &self.form {
            Form::Certificate(identity) => Some(identity),
            _ => None,
        }
    }

    /// Whether a 401 may mean no more than that a new token is due.
    pub fn is_renewable(&self) -> bool {
        matches!(self.form, Form::Tokens(_))
    }

    /// Told that a request with this was answered with 401. Whether the next is given another
    /// token, so that it is worth repeating.
    pub fn renew(&self, applied: &Applied) -> bool {
        match (&self.form, &applied.0) {
            (Form::Tokens(source), Some(lease)) => source.refuse(lease),
            _ => false,
        }
    }

    fn only_authorization(&self, place: Option<&Place>) -> Result<(), GateError> {
        match place {
            None => Ok(()),
            Some(Place::Header(name)) if name == AUTHORIZATION.as_str() => Ok(()),
            Some(_) => Err(self.misplaced("in the header authorization")),
        }
    }

    fn misplaced(&self, where_to: &str) -> GateError {
        unusable(
            &self.id,
            format_args!(
                "always goes {where_to}; leave `header` and `query` out of the rule's credential, or use a secret of kind api-key"
            ),
        )
    }
}

/// The fields of a secret, taken one by one.
pub(crate) struct Fields<'a> {
    pub(crate) id: &'a SecretId,
    fields: BTreeMap<String, Zeroizing<String>>,
}

impl Fields<'_> {
    fn text(&mut self, name: &str) -> Result<Zeroizing<String>, GateError> {
        let text = self.fields.remove(name).filter(|text| !text.is_empty());
        text.ok_or_else(|| self.unusable(format_args!("has no `{name}`; store it anew")))
    }

    /// A field without line ends and the like.
    pub(crate) fn line(&mut self, name: &str) -> Result<Zeroizing<String>, GateError> {
        let text = self.text(name)?;
        if text.chars().any(char::is_control) {
            return Err(self.unusable(format_args!(
                "has a line end or another control character in `{name}`; store it anew without"
            )));
        }
        Ok(text)
    }

    pub(crate) fn line_if_any(
        &mut self,
        name: &str,
    ) -> Result<Option<Zeroizing<String>>, GateError> {
        match self.fields.get(name) {
            Some(text) if !text.is_empty() => self.line(name).map(Some),
            _ => Ok(None),
        }
    }

    fn header(&mut self, name: &str, before: &str) -> Result<HeaderValue, GateError> {
        let text = self.line(name)?;
        let value = secret_header(&[before, &text]);
        value.ok_or_else(|| self.unusable(format_args!("has a `{name}` that no header can have")))
    }

    /// RFC 7617, with UTF-8.
    fn basic(&mut self) -> Result<HeaderValue, GateError> {
        let user = self.line("user")?;
        let password = self.line("password")?;
        if user.contains(':') {
            return Err(self.unusable(format_args!(
                "has a colon in `user`, and what follows it would be taken for the password"
            )));
        }
        basic(&user, &password)
            .ok_or_else(|| self.unusable(format_args!("is longer than a header can be")))
    }

    fn certificate(&mut self) -> Result<ClientIdentity, GateError> {
        let chain = self.text("certificate")?;
        let key = self.text("key")?;
        let unusable = |what: &str| self.unusable(format_args!("{what}"));
        // What is wrong with it may quote it.
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .take(CHAIN_LENGTH_MAX + 1)
            .collect::<Result<_, _>>()
            .map_err(|_| unusable("has a `certificate` that is no PEM"))?;
        if chain.is_empty() || chain.len() > CHAIN_LENGTH_MAX {
            return Err(unusable(
                "needs 1 to 16 certificates in `certificate`, its own first",
            ));
        }
        let mut key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
            unusable("has no private key in `key`: unencrypted PEM is needed (PKCS #8, PKCS #1 or SEC 1)")
        })?;
        let signing = rustls::crypto::ring::sign::any_supported_type(&key);
        key.zeroize();
        let signing = signing.map_err(|_| unusable("has a `key` of a kind that TLS can't use"))?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(unusable("has a `key` that is not its certificate's"));
            }
            Err(_) => return Err(unusable("has a `certificate` that can't be read")),
        }
        Ok(ClientIdentity::new(Arc::new(certified)))
    }

    pub(crate) fn unusable(&self, what: fmt::Arguments<'_>) -> GateError {
        unusable(self.id, what)
    }
}

/// That a secret is of no use; the words must not hold any of it.
pub(crate) fn unusable(id: &SecretId, what: fmt::Arguments<'_>) -> GateError {
    GateError::new(GateErrorKind::Credential, format!("the {id} {what}"))
}

/// `Basic` of a user and a password.
pub(crate) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let plain = joined(&[user, ":", password]);
    let mut encoded = Zeroizing::new(String::with_capacity(plain.len().div_ceil(3) * 4));
    BASE64_STANDARD.encode_string(&plain, &mut encoded);
    secret_header(&["Basic ", &encoded])
}

/// A header's value that is marked, and overwritten when its last copy is dropped.
pub(crate) fn secret_header(parts: &[&str]) -> Option<HeaderValue> {
    let bytes = Bytes::from_owner(joined(parts));
    let mut value = HeaderValue::from_maybe_shared(bytes).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Texts one after the other, without a copy left behind by growing.
pub(crate) fn joined(parts: &[&str]) -> Zeroizing<Vec<u8>> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut joined = Zeroizing::new(Vec::with_capacity(length));
    for part in parts {
        joined.extend_from_slice(part.as_bytes());
    }
    joined
}

#[cfg(test)]
mod tests;
