//! What a request is addressed to, in the one form that rules are held against and that is
//! sent.

use std::fmt;

use url::{Host, Url};

use super::network::Scheme;

/// The longest URL that is sent, in bytes.
const URL_BYTES_MAX: usize = 16 << 10;

/// Method and URL of one request, normalised: what is checked is what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    method: String,
    scheme: Scheme,
    url: Url,
}

/// Why nothing can be sent to a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(String);

impl Target {
    /// Reads method and URL.
    ///
    /// # Errors
    /// When it is no URL of `http` or `https`, or one that servers read in several ways.
    pub fn new(method: &str, url: &str) -> Result<Target, TargetError> {
        if url.len() > URL_BYTES_MAX {
            return Err(TargetError("the URL is too long".to_owned()));
        }
        let url = Url::parse(url).map_err(|error| TargetError(format!("no URL: {error}")))?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            other => {
                return Err(TargetError(format!(
                    "the scheme `{other}` is not spoken; write https or http"
                )));
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError("a URL must not carry a user name".to_owned()));
        }
        Ok(Target {
            method: method.to_owned(),
            scheme,
            url,
        })
    }

    /// The method, as it is sent.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host.
    pub fn host(&self) -> Option<Host<&str>> {
        self.url.host()
    }

    /// The port: the scheme's where none was written.
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(0)
    }

    /// The path, from its first `/` on.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// The URL that is sent.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl fmt::Display for Target {
    /// Without the query, which may hold secrets: `GET https://example.com/a`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        write!(f, "{} {shown}", self.method)
    }
}
