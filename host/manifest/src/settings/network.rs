//! How plugins' requests leave this machine: `[network]` in `portreeve.toml`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::duration::HumanDuration;
use crate::grant::{HostPath, Origin};
use crate::limits::{LimitError, in_range};
use crate::size::ByteSize;
use crate::text::quoted;

/// Most name servers: each that doesn't answer costs a look-up its time.
const DNS_MAX: usize = 8;

/// Most origins with care of their own; each may keep a cache and a count.
const ORIGINS_MAX: usize = 1_000;

/// The port of name servers (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How plugins' requests leave this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    /// The name servers that are asked; none: the system's.
    pub dns: Vec<SocketAddr>,
    /// Whose certificates are believed.
    pub roots: Roots,
    /// The proxy that requests go through. That of the environment is not used.
    pub proxy: Option<Url>,
    /// How long connecting may take: look-up, connection and TLS.
    pub connect: Duration,
    /// How long the first byte of an answer may take.
    pub first_byte: Duration,
    /// How long the next bytes of an answer may take.
    pub between_bytes: Duration,
    /// Care for single origins.
    pub origins: BTreeMap<Origin, OriginCare>,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        NetworkSettings {
            dns: Vec::new(),
            roots: Roots::System,
            proxy: None,
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            between_bytes: Duration::from_secs(30),
            origins: BTreeMap::new(),
        }
    }
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those that the system trusts.
    System,
    /// Those in this file alone (PEM), relative to the project's directory.
    File(HostPath),
    /// The system's and those in this file.
    Both(HostPath),
}

/// How the host treats an origin, for all plugins together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginCare {
    /// How often a request that may be repeated is tried at most; 1: no retry.
    pub attempts: u32,
    /// How many requests may be sent.
    pub rate: Option<OriginRate>,
    /// When it is left alone for a while.
    pub breaker: Option<OriginBreaker>,
    /// Room for answers that may be used again.
    pub cache: Option<ByteSize>,
}

impl Default for OriginCare {
    fn default() -> Self {
        OriginCare {
            attempts: 1,
            rate: None,
            breaker: None,
            cache: None,
        }
    }
}

/// So many requests in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginRate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

/// After so many failures within a minute an origin is left alone for a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginBreaker {
    /// How many failures within a minute.
    pub failures: u32,
    /// How long nothing is sent.
    pub pause: Duration,
}

/// `[network]`: how plugins' requests leave this machine.
///
/// ```toml
/// [network]
/// dns = ["192.0.2.53"]
/// roots = { file = "keys/acme-ca.pem", system = true }
/// proxy = "http://proxy.example.com:3128"
/// connect = "5s"
///
/// [network.origins."https://api.example.com"]
/// attempts = 3
/// rate = { count = 50, per = "1s" }
/// breaker = { failures = 5, pause = "30s" }
/// cache = "10 MiB"
/// ```
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawNetwork {
    /// The name servers that are asked, as addresses with or without a port; the system's
    /// where there is none.
    dns: Vec<String>,
    /// Whose certificates are believed; the system's by default.
    roots: Option<RawRoots>,
    /// The proxy that requests go through, spoken to by http. That of the environment is not used.
    proxy: Option<String>,
    /// How long connecting may take: look-up, connection and TLS. 10s by default.
    connect: Option<HumanDuration>,
    /// How long the first byte of an answer may take; 30s by default.
    first_byte: Option<HumanDuration>,
    /// How long the next bytes of an answer may take; 30s by default.
    between_bytes: Option<HumanDuration>,
    /// Care for single origins, for all plugins together.
    origins: BTreeMap<Origin, RawCare>,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawRoots {
    /// A file of certificates (PEM), relative to the project's directory.
    file: HostPath,
    /// Whether the system's are believed as well; they aren't unless it says so.
    #[serde(default)]
    system: bool,
}

/// How an origin is treated.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawCare {
    /// How often a request that may be repeated is tried at most; 1, no retry, by default.
    attempts: Option<u32>,
    /// How many requests may be sent.
    rate: Option<RawRate>,
    /// When it is left alone for a while.
    breaker: Option<RawBreaker>,
    /// Room for answers that may be used again; none by default.
    cache: Option<ByteSize>,
}

/// So many requests in such a time.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawRate {
    /// How many.
    count: u32,
    /// In which time.
    per: HumanDuration,
}

/// When an origin is left alone.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawBreaker {
    /// After how many failures within a minute.
    failures: u32,
    /// For how long.
    pause: HumanDuration,
}

/// What is wrong, and in which table below `[network]`.
type Wrong = (Vec<String>, LimitError);

impl NetworkSettings {
    /// The settings as they were written; what is wrong goes to `errors`.
    pub(crate) fn read(raw: &RawNetwork, errors: &mut Vec<Wrong>) -> NetworkSettings {
        let mut wrong = Vec::new();
        let mut settings = NetworkSettings {
            dns: dns(&raw.dns, &mut wrong),
            proxy: proxy(raw.proxy.as_deref(), &mut wrong),
            ..NetworkSettings::default()
        };
        if let Some(RawRoots { file, system }) = raw.roots.clone() {
            settings.roots = match system {
                true => Roots::Both(file),
                false => Roots::File(file),
            };
        }
        let mut time = |setting, written: Option<HumanDuration>, time: &mut Duration| {
            if let Some(written) = written {
                in_range(setting, written, 10..=HOUR_MS, &mut wrong);
                *time = written.0;
            }
        };
        time("connect", raw.connect, &mut settings.connect);
        time("first-byte", raw.first_byte, &mut settings.first_byte);
        time(
            "between-bytes",
            raw.between_bytes,
            &mut settings.between_bytes,
        );
        if raw.origins.len() > ORIGINS_MAX {
            wrong.push(LimitError {
                setting: "origins",
                value: format!("a table of {}", raw.origins.len()),
                allowed: format!("at most {ORIGINS_MAX} origins"),
            });
        }
        errors.extend(wrong.into_iter().map(|error| (Vec::new(), error)));
        for (origin, raw) in &raw.origins {
            settings
                .origins
                .insert(origin.clone(), care(origin, raw, errors));
        }
        settings
    }
}

/// Reads one origin's care.
fn care(origin: &Origin, raw: &RawCare, errors: &mut Vec<Wrong>) -> OriginCare {
    let mut care = OriginCare::default();
    let table = |inner: &[&str]| -> Vec<String> {
        let origin = origin.to_string();
        ["origins", &origin]
            .iter()
            .chain(inner)
            .map(|key| (*key).to_owned())
            .collect()
    };
    let mut check = |inner: &[&str], wrong: Vec<LimitError>| {
        errors.extend(wrong.into_iter().map(|error| (table(inner), error)));
    };
    let mut wrong = Vec::new();
    if let Some(attempts) = raw.attempts {
        in_range("attempts", attempts, 1..=10, &mut wrong);
        care.attempts = attempts;
    }
    if let Some(cache) = raw.cache {
        in_range("cache", cache, 4 << 10..=1 << 30, &mut wrong);
        care.cache = Some(cache);
    }
    check(&[], std::mem::take(&mut wrong));
    if let Some(rate) = &raw.rate {
        in_range("count", rate.count, 1..=1_000_000, &mut wrong);
        in_range("per", rate.per, 1..=DAY_MS, &mut wrong);
        care.rate = Some(OriginRate {
            count: rate.count,
            per: rate.per.0,
        });
    }
    check(&["rate"], std::mem::take(&mut wrong));
    if let Some(breaker) = &raw.breaker {
        in_range("failures", breaker.failures, 1..=1_000, &mut wrong);
        in_range("pause", breaker.pause, 10..=DAY_MS, &mut wrong);
        care.breaker = Some(OriginBreaker {
            failures: breaker.failures,
            pause: breaker.pause.0,
        });
    }
    check(&["breaker"], wrong);
    care
}

/// Reads the addresses of name servers.
fn dns(written: &[String], wrong: &mut Vec<LimitError>) -> Vec<SocketAddr> {
    let mut refuse = |value: String| {
        wrong.push(LimitError {
            setting: "dns",
            value,
            allowed: format!(
                "a list of at most {DNS_MAX} addresses such as \"192.0.2.53\" or \"[2001:db8::53]:5353\""
            ),
        });
    };
    if written.len() > DNS_MAX {
        refuse(format!("a list of {}", written.len()));
        return Vec::new();
    }
    let mut servers = Vec::new();
    for text in written {
        let address = text.parse::<IpAddr>().ok();
        let server = address
            .map(|address| SocketAddr::new(address, DNS_PORT))
            .or_else(|| text.parse().ok())
            .filter(|server| server.port() > 0);
        match server {
            Some(server) => servers.push(server),
            None => refuse(quoted(text)),
        }
    }
    servers
}

/// Reads the address of a proxy.
fn proxy(written: Option<&str>, wrong: &mut Vec<LimitError>) -> Option<Url> {
    const URL_BYTES_MAX: usize = 2_048;
    let written = written?;
    let url = Url::parse(written).ok().filter(|url| {
        url.scheme() == "http"
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && written.len() <= URL_BYTES_MAX
    });
    if url.is_none() {
        wrong.push(LimitError {
            setting: "proxy",
            // Not the value: there may be a password in it.
            value: "no such address".to_owned(),
            allowed: "an address such as \"http://proxy.example.com:3128\", without user, password and path".to_owned(),
        });
    }
    url
}
