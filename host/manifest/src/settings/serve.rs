//! How clients reach the host over the network: `[serve]` in `portreeve.toml`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::duration::HumanDuration;
use crate::grant::HostPath;
use crate::limits::{LimitError, LimitField, Quantity, in_range, limits};
use crate::scope::{Scope, Scopes};
use crate::size::ByteSize;
use crate::text::quoted;

/// Most names, origins and scopes that may be listed: each request is held against all of them.
const LISTED_MAX: usize = 64;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const DAY_MS: u64 = 86_400_000;

/// The tools that stand for all others where `meta-tools` is set.
pub const META_TOOLS: [&str; 3] = ["call_tool", "describe_tool", "search_tools"];

/// How clients reach the host over the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeSettings {
    /// Names by which clients may call it, besides those of this machine and the address
    /// itself.
    pub hosts: Vec<String>,
    /// Origins of web pages whose scripts may call it, as `scheme://host[:port]`.
    pub origins: Vec<String>,
    /// The certificates and the key that it shows; none: no TLS.
    pub tls: Option<ServeTls>,
    /// Whether clients are shown three tools that search, describe and call the others, in
    /// place of a list of all.
    pub meta_tools: bool,
    /// What clients may read of the host itself.
    pub scopes: ServeScopes,
    /// Whether panels of several plugins may have tools called by clients that show them by
    /// their own means: such a client lets each of them call all tools that are for panels.
    pub shared_panels: bool,
    /// How much clients may use.
    pub limits: ServeLimits,
}

/// What clients may read of the host itself, by the way on which they come: nothing that isn't
/// written. A client is a program with a model, not its user: what it reads are words of plugins'
/// authors and of whoever they talk to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeScopes {
    /// Clients of the operator's own user: over standard input and output, which is the project's
    /// socket where another process has the project already.
    pub stdio: Scopes,
    /// Clients over HTTP, from this machine or another.
    pub http: Scopes,
}

/// What the host shows to clients that connect by TLS. Files are PEM, relative to the
/// project's directory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServeTls {
    /// The chain of certificates, the host's own first.
    pub certificate: HostPath,
    /// Its private key.
    pub key: HostPath,
}

limits! {
    /// How much clients over the network may use: every number is set.
    ServeLimits;
    /// The limits that an operator sets for clients over the network:
    /// `[serve] limits = { … }` in `portreeve.toml`. What isn't set keeps its default.
    ServeLimitOverrides;
    /// Connections that are open at a time.
    connections, "connections": u32 as u32 = 512, 1..=100_000;
    /// Head of one request: its line and its header fields.
    head, "head": ByteSize as ByteSize = ByteSize::kib(32), 8 * KIB..=MIB;
    /// Header fields of one request.
    fields, "fields": u32 as u32 = 64, 16..=1_000;
    /// Body of one request: one message.
    body, "body": ByteSize as ByteSize = ByteSize::mib(8), KIB..=64 * MIB;
    /// Bodies of all requests that are being read and worked on, together.
    bodies, "bodies": ByteSize as ByteSize = ByteSize::mib(256), MIB..=(16 << 30);
    /// Arrays and objects within each other in one message.
    depth, "depth": u32 as u32 = 100, 8..=120;
    /// How long a connection may take to send a request's head, or stand idle before it.
    idle, "idle": Duration as HumanDuration = HumanDuration(Duration::from_secs(60)), 100..=DAY_MS;
    /// How long a body may take to arrive.
    body_time, "body-time": Duration as HumanDuration = HumanDuration(Duration::from_secs(30)), 100..=DAY_MS;
    /// How long a client may take nothing of an answer that it was sent.
    stall, "stall": Duration as HumanDuration = HumanDuration(Duration::from_secs(30)), 100..=DAY_MS;
    /// Sessions of clients of the older protocol; at the limit, the one that was idle longest ends.
    sessions, "sessions": u32 as u32 = 10_000, 1..=1_000_000;
    /// How long a session stays when nothing is asked in it.
    session_idle, "session-idle": Duration as HumanDuration = HumanDuration(Duration::from_secs(1_800)), 1_000..=30 * DAY_MS;
    /// Requests of one session that are worked on at a time.
    session_requests, "session-requests": u32 as u32 = 64, 1..=10_000;
    /// Events that are kept of one session, for a client that lost its connection and comes back.
    replay_events, "replay-events": u32 as u32 = 256, 16..=10_000;
    /// Bytes of those; more than the largest answer, which is one event.
    replay, "replay": ByteSize as ByteSize = ByteSize::mib(8), 64 * KIB..=256 * MIB;
    /// Bytes of those of all sessions together.
    replays, "replays": ByteSize as ByteSize = ByteSize::mib(256), MIB..=(16 << 30);
    /// How long they are kept; a session's own stream that nobody comes back for ends then.
    replay_age, "replay-age": Duration as HumanDuration = HumanDuration(Duration::from_secs(300)), 1_000..=DAY_MS;
    /// How long a stream of events is held before its client shall come back for the rest; only
    /// for clients that do, those of 2025-11-25.
    stream_time, "stream-time": Duration as HumanDuration = HumanDuration(Duration::from_secs(600)), 100..=DAY_MS;
    /// How long calls may take to end once the host shall end.
    drain, "drain": Duration as HumanDuration = HumanDuration(Duration::from_secs(5)), 0..=3_600_000;
}

impl ServeLimits {
    /// What a range alone cannot say.
    fn check(&self, errors: &mut Vec<LimitError>) {
        for (one, of_one, all, of_all) in [
            ("body", self.body, "bodies", self.bodies),
            ("replay", self.replay, "replays", self.replays),
        ] {
            if of_one > of_all && !errors.iter().any(|error| error.setting == all) {
                errors.push(LimitError {
                    setting: all,
                    value: of_all.to_string(),
                    allowed: format!("at least one `{one}` ({of_one})"),
                });
            }
        }
    }
}

/// `[serve]`: how clients reach the host over the network.
///
/// ```toml
/// [serve]
/// hosts = ["mcp.example.com"]
/// origins = ["https://app.example.com"]
/// tls = { certificate = "tls/chain.pem", key = "tls/key.pem" }
/// scopes = { stdio = ["papers:read"], http = ["topics:read:builds.>"] }
/// limits = { connections = 1000, body = "1 MiB" }
/// ```
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawServe {
    /// Names by which clients may call it, besides those of this machine and the address
    /// that it listens on.
    hosts: Vec<String>,
    /// Origins of web pages whose scripts may call it.
    origins: Vec<String>,
    /// The certificates and the key that it shows; without them it doesn't speak TLS.
    tls: Option<ServeTls>,
    /// Whether clients are shown three tools that search, describe and call the others, in
    /// place of a list of all; also over standard input and output. False by default.
    meta_tools: bool,
    /// What clients may read of the host itself: papers of plugins, and messages in topics.
    /// Nothing by default.
    scopes: RawScopes,
    /// Whether clients that show panels by their own means may have tools called for panels of
    /// several plugins. They take all plugins for one server and let each panel call all tools
    /// that are for panels, those of the other plugins included. False by default: then panels
    /// call tools there only while no more than one plugin is granted `ui.panels`.
    shared_panels: bool,
    /// How much clients may use.
    limits: ServeLimitOverrides,
}

/// `[serve] scopes`: what clients may read of the host itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawScopes {
    /// Clients over standard input and output.
    #[schemars(with = "Vec<Scope>")]
    stdio: Vec<String>,
    /// Clients over HTTP.
    #[schemars(with = "Vec<Scope>")]
    http: Vec<String>,
}

/// What is wrong, and in which table below `[serve]`.
type Wrong = (Vec<String>, LimitError);

impl ServeSettings {
    /// The settings as they were written; what is wrong goes to `errors`.
    pub(crate) fn read(raw: &RawServe, errors: &mut Vec<Wrong>) -> ServeSettings {
        let mut wrong = Vec::new();
        let hosts = list("hosts", &raw.hosts, host_name, HOSTS, &mut wrong);
        let origins = list("origins", &raw.origins, origin, ORIGINS, &mut wrong);
        errors.extend(wrong.into_iter().map(|error| (Vec::new(), error)));
        let mut wrong = Vec::new();
        let mut scopes = |setting, written: &[String]| {
            let read = |text: &str| text.parse::<Scope>().ok();
            let scopes = list(setting, written, read, SCOPES, &mut wrong);
            scopes.into_iter().collect()
        };
        let scopes = ServeScopes {
            stdio: scopes("stdio", &raw.scopes.stdio),
            http: scopes("http", &raw.scopes.http),
        };
        let table = || vec!["scopes".to_owned()];
        errors.extend(wrong.into_iter().map(|error| (table(), error)));
        let limits = ServeLimits::default()
            .with(&raw.limits)
            .unwrap_or_else(|wrong| {
                let table = || vec!["limits".to_owned()];
                errors.extend(wrong.into_iter().map(|error| (table(), error)));
                ServeLimits::default()
            });
        ServeSettings {
            hosts,
            origins,
            tls: raw.tls.clone(),
            meta_tools: raw.meta_tools,
            scopes,
            shared_panels: raw.shared_panels,
            limits,
        }
    }
}

const HOSTS: &str = "a list of at most 64 names such as \"mcp.example.com\", without a port";
const ORIGINS: &str =
    "a list of at most 64 origins such as \"https://app.example.com\" or \"http://localhost:6274\"";
const SCOPES: &str = "a list of at most 64 scopes: \"papers:read\", \"topics:read\", or such as \"topics:read:builds.>\"";

/// Reads a list whose entries have one form each.
fn list<T>(
    setting: &'static str,
    written: &[String],
    read: impl Fn(&str) -> Option<T>,
    allowed: &'static str,
    wrong: &mut Vec<LimitError>,
) -> Vec<T> {
    let mut refuse = |value: String| {
        wrong.push(LimitError {
            setting,
            value,
            allowed: allowed.to_owned(),
        });
    };
    if written.len() > LISTED_MAX {
        refuse(format!("a list of {}", written.len()));
        return Vec::new();
    }
    let mut listed = Vec::new();
    for text in written {
        match read(text) {
            Some(entry) => listed.push(entry),
            None => refuse(quoted(text)),
        }
    }
    listed
}

/// A name or an address in its one form.
fn host_name(text: &str) -> Option<String> {
    let host = Host::parse(text).ok()?;
    let plain = !text.contains(|c: char| c == '%' || c.is_whitespace());
    plain.then(|| host.to_string())
}

/// An origin in the form in which browsers send it.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let tuple = url.origin();
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    (bare && tuple.is_tuple()).then(|| tuple.ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn read(text: &str) -> (ServeSettings, Vec<String>) {
        let mut errors = Vec::new();
        let settings = ServeSettings::read(&toml::from_str(text).unwrap(), &mut errors);
        let errors = errors
            .iter()
            .map(|(table, error)| format!("{}: {error}", table.join(".")))
            .collect();
        (settings, errors)
    }

    #[test]
    fn the_limits_of_clients_over_the_network() {
        let table: String = ServeLimits::fields()
            .iter()
            .map(|f| {
                format!(
                    "{} ({}): {} [{}, {}]\n",
                    f.setting, f.unit, f.default, f.min, f.max
                )
            })
            .collect();
        expect![[r#"
            connections (count): 512 [1, 100,000]
            head (size): 32 KiB [8 KiB, 1 MiB]
            fields (count): 64 [16, 1,000]
            body (size): 8 MiB [1 KiB, 64 MiB]
            bodies (size): 256 MiB [1 MiB, 16 GiB]
            depth (count): 100 [8, 120]
            idle (duration): 1m [100ms, 1d]
            body-time (duration): 30s [100ms, 1d]
            stall (duration): 30s [100ms, 1d]
            sessions (count): 10,000 [1, 1,000,000]
            session-idle (duration): 30m [1s, 30d]
            session-requests (count): 64 [1, 10,000]
            replay-events (count): 256 [16, 10,000]
            replay (size): 8 MiB [64 KiB, 256 MiB]
            replays (size): 256 MiB [1 MiB, 16 GiB]
            replay-age (duration): 5m [1s, 1d]
            stream-time (duration): 10m [100ms, 1d]
            drain (duration): 5s [0s, 1h]
        "#]]
        .assert_eq(&table);
    }

    #[test]
    fn names_and_origins_have_one_form() {
        let (settings, errors) = read(
            "hosts = ['MCP.example.com', '[::1]', '192.0.2.1']\n\
             origins = ['https://App.example.com:443', 'http://localhost:6274']",
        );
        assert_eq!(errors, [""; 0]);
        assert_eq!(settings.hosts, ["mcp.example.com", "[::1]", "192.0.2.1"]);
        assert_eq!(
            settings.origins,
            ["https://app.example.com", "http://localhost:6274"]
        );
    }

    #[test]
    fn scopes_are_given_by_the_way_on_which_clients_come() {
        assert_eq!(read("").0.scopes, ServeScopes::default());
        let (settings, errors) = read(
            "scopes = { stdio = ['papers:read'], http = ['topics:read:a.*', 'papers:read', 'topics:read:a.*'] }",
        );
        assert_eq!(errors, [""; 0]);
        let scopes = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(settings.scopes.stdio, scopes(&["papers:read"]));
        assert_eq!(
            settings.scopes.http,
            scopes(&["papers:read", "topics:read:a.*"])
        );
        let (settings, errors) = read("scopes = { http = ['papers', 'topics:read:A'] }");
        expect![[r#"
            scopes: `http` is `papers`, but must be a list of at most 64 scopes: "papers:read", "topics:read", or such as "topics:read:builds.>"
            scopes: `http` is `topics:read:A`, but must be a list of at most 64 scopes: "papers:read", "topics:read", or such as "topics:read:builds.>""#]]
        .assert_eq(&errors.join("\n"));
        assert_eq!(settings.scopes, ServeScopes::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (_, errors) = read(
            "hosts = ['a b', 'x:1', '*']\n\
             origins = ['app.example.com', 'https://a.example/path', 'null', 'data:x']\n\
             limits = { body = '128 MiB', idle = '0s', depth = 1000 }",
        );
        expect![[r#"
            : `hosts` is `a b`, but must be a list of at most 64 names such as "mcp.example.com", without a port
            : `hosts` is `x:1`, but must be a list of at most 64 names such as "mcp.example.com", without a port
            : `origins` is `app.example.com`, but must be a list of at most 64 origins such as "https://app.example.com" or "http://localhost:6274"
            : `origins` is `https://a.example/path`, but must be a list of at most 64 origins such as "https://app.example.com" or "http://localhost:6274"
            : `origins` is `null`, but must be a list of at most 64 origins such as "https://app.example.com" or "http://localhost:6274"
            : `origins` is `data:x`, but must be a list of at most 64 origins such as "https://app.example.com" or "http://localhost:6274"
            limits: `body` is 128 MiB, but must be between 1 KiB and 64 MiB
            limits: `depth` is 1,000, but must be between 8 and 120
            limits: `idle` is 0s, but must be between 100ms and 1d"#]].assert_eq(&errors.join("\n"));
        let (_, errors) = read("limits = { body = '8 MiB', bodies = '1 MiB' }");
        expect!["limits: `bodies` is 1 MiB, but must be at least one `body` (8 MiB)"]
            .assert_eq(&errors.join("\n"));
    }
}
