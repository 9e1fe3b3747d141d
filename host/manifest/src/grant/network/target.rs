//! What a request is addressed to, in the one form that rules are held against and that is
//! sent.

use std::fmt;

use url::{Host, Url};

use super::host::{HostPattern, dns_name};
use super::origin::Origin;
use super::path::{PathPattern, normal};
use super::ports::Ports;
use super::rule::{NetworkRule, Scheme, check_method};

/// The longest URL that is sent, in bytes.
const URL_BYTES_MAX: usize = 16 << 10;

/// Method and URL of one request, normalised: what is checked is what is sent.
///
/// The host is in lower case, `xn--…` where it isn't ASCII, without the root's dot, an
/// address in its common form; the port is a number; the path has its dot segments resolved
/// and is percent-encoded where it must be and nowhere else (and a `*` as `%2A`, since rules
/// give that sign a meaning). There is no user name and no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
    /// The rule that allows this alone.
    rule: NetworkRule,
}

/// Why nothing can be sent to a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(String);

fn refuse<T>(why: impl Into<String>) -> Result<T, TargetError> {
    Err(TargetError(why.into()))
}

impl Target {
    /// Reads method and URL.
    ///
    /// # Errors
    /// When it is no URL of `http` or `https`, or one that servers read in several ways.
    pub fn new(method: &str, url: &str) -> Result<Target, TargetError> {
        let method = method.to_ascii_uppercase();
        check_method(&method).map_err(TargetError)?;
        check_text(url)?;
        let mut url = Url::parse(url).map_err(|error| TargetError(format!("no URL: {error}")))?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            other => {
                return refuse(format!(
                    "the scheme `{other}` is not spoken; write https or http"
                ));
            }
        };
        url.set_fragment(None);
        let host = normal_host(&mut url)?;
        let path = normal_path(&mut url)?;
        let port = match url.port_or_known_default() {
            None | Some(0) => return refuse("there is no port 0"),
            Some(port) => port,
        };
        if url.as_str().len() > URL_BYTES_MAX {
            return refuse(format!(
                "the URL is longer than {URL_BYTES_MAX} bytes once it is percent-encoded"
            ));
        }
        Ok(Target {
            url,
            rule: NetworkRule {
                methods: Some(vec![method]),
                scheme,
                host,
                ports: Ports::one(port),
                path,
            },
        })
    }

    /// The method, in capitals, as it is sent.
    pub fn method(&self) -> &str {
        let methods = self.rule.methods.as_deref().unwrap_or_default();
        methods.first().map_or("", String::as_str)
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.rule.scheme
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

    /// Scheme, host and port.
    pub fn origin(&self) -> Origin {
        Origin {
            scheme: self.scheme(),
            host: self.url.host_str().unwrap_or_default().to_owned(),
            port: self.port(),
        }
    }

    /// The rule that allows this request alone.
    pub(super) fn exact(&self) -> &NetworkRule {
        &self.rule
    }

    /// The narrowest rule that can be written which allows this request.
    pub fn rule(&self) -> NetworkRule {
        let mut rule = self.rule.clone();
        if rule.path.is_ambiguous() || rule.to_string().parse::<NetworkRule>().is_err() {
            rule.path = PathPattern::all();
        }
        rule
    }
}

/// Refuses what the URL standard would mend, each reader in its own way.
fn check_text(url: &str) -> Result<(), TargetError> {
    if url.len() > URL_BYTES_MAX {
        return refuse(format!("the URL is longer than {URL_BYTES_MAX} bytes"));
    }
    if url.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return refuse("the URL has a space or a control character; percent-encode it");
    }
    if url.contains('\\') {
        return refuse("the URL has a `\\`, which some take for a `/`; percent-encode it");
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return refuse("no URL: it must start with https:// or http://");
    };
    if scheme.contains(['/', '?', '#', ':']) {
        return refuse("no URL: it must start with https:// or http://");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return refuse("the URL has no host");
    }
    if authority.contains('@') {
        return refuse(
            "a URL must not carry a user name or a password; the plugin's manifest asks for a credential instead",
        );
    }
    Ok(())
}

/// Brings the host of a URL into its one form.
fn normal_host(url: &mut Url) -> Result<HostPattern, TargetError> {
    let name = match url.host() {
        None => return refuse("the URL has no host"),
        Some(Host::Ipv4(address)) => return Ok(HostPattern::Address(address.into())),
        Some(Host::Ipv6(address)) => return Ok(HostPattern::Address(address.into())),
        Some(Host::Domain(name)) => name.to_owned(),
    };
    let plain = dns_name(&name).map_err(TargetError)?;
    if plain != name {
        url.set_host(Some(&plain))
            .map_err(|error| TargetError(format!("no URL: {error}")))?;
    }
    if url.host() == Some(Host::Domain(&plain)) {
        Ok(HostPattern::Name(plain))
    } else {
        refuse("the host of the URL can be read in several ways")
    }
}

/// Brings the path of a URL into its one form.
fn normal_path(url: &mut Url) -> Result<PathPattern, TargetError> {
    let mut path = normal(url.path()).map_err(|why| TargetError(why.to_owned()))?;
    if path.contains('*') {
        path = path.replace('*', "%2A");
    }
    if path != url.path() {
        url.set_path(&path);
    }
    if url.path() != path {
        return refuse("the path of the URL can be read in several ways");
    }
    Ok(PathPattern::exact(&path))
}

impl fmt::Display for Target {
    /// Without the query, which may hold secrets: `GET https://example.com/a`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method(), self.origin(), self.path())
    }
}
