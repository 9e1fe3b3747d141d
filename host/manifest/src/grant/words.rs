//! What a request means, in plain words, and what could go wrong with it.

use std::net::IpAddr;

use serde::Serialize;

use super::network::{
    AddressRange, CredentialAsked, HostPattern, NetworkRule, Place, Ports, Scheme, SocketProtocol,
    SocketRule,
};
use crate::feature::Feature;

/// How much harm a capability can do once it is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Little: a nuisance at most.
    Low,
    /// Some: think about it.
    Medium,
    /// Much: it leaves the operator's hands.
    High,
}

impl Weight {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Weight::Low => "low",
            Weight::Medium => "medium",
            Weight::High => "high",
        }
    }
}

impl std::fmt::Display for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a capability means and what could go wrong with it.
pub(super) struct Told {
    pub(super) words: String,
    pub(super) weight: Weight,
    pub(super) risk: &'static str,
}

/// Tells what `what` of a capability means.
pub(super) fn tell(feature: Feature, what: &str) -> Told {
    use Weight::{High, Low, Medium};
    let (words, weight, risk) = match feature {
        Feature::Network => return network(what),
        Feature::Sockets => return sockets(what),
        Feature::Credentials => return credential(what),
        Feature::Addresses => return addresses(what),
        Feature::Directories if what.ends_with("(read and write)") => (
            format!("read and change what is in {}", bare(what)),
            High,
            "it can change, delete and replace every file there",
        ),
        Feature::Directories => (
            format!("read what is in {}", bare(what)),
            Medium,
            "with a way out (network, messages) it can pass on every file there",
        ),
        Feature::StorageKv => (
            format!("keep up to {what} of its own between calls"),
            Low,
            "what one caller tells it can be kept and shown to another",
        ),
        Feature::UiNotify => (
            "show you notices".to_owned(),
            Low,
            "its words may mislead you",
        ),
        Feature::UiAsk => (
            "ask you to fill in forms".to_owned(),
            Medium,
            "it may ask for what you should not tell it",
        ),
        Feature::UiProgress => (
            "report how far a call has come".to_owned(),
            Low,
            "its words may mislead you",
        ),
        Feature::UiPanels => (
            "show panels of its own".to_owned(),
            Medium,
            "a panel may look like something else",
        ),
        Feature::MessagesPublish => (
            format!("publish messages to `{what}`"),
            Medium,
            "whoever subscribes acts on what it says",
        ),
        Feature::MessagesSubscribe => (
            format!("receive the messages of `{what}`"),
            Medium,
            "it reads whatever is published there",
        ),
        Feature::MessagesRequest => (
            format!("ask others over `{what}` and wait for the answer"),
            Medium,
            "whoever answers acts on what it asks",
        ),
        Feature::SecretsInject => (
            format!("have the secret `{what}` put into its outbound requests, unseen"),
            Medium,
            "it acts in the name of whoever the secret belongs to; a host that it sends the secret to can hand it back",
        ),
        Feature::SecretsReveal => (
            format!("read the secret `{what}` itself"),
            High,
            "once read, it can be passed on wherever the plugin can write to",
        ),
        Feature::Invoke => (
            format!("call the tools `{what}` of other plugins"),
            Medium,
            "it can do through them what it may not do itself",
        ),
        Feature::Schedules => (
            format!("run by itself ({what})"),
            Medium,
            "it works when nobody looks",
        ),
        Feature::ClientSampling => (
            "ask your client's model".to_owned(),
            Medium,
            "it spends your tokens and hears what the model says",
        ),
        Feature::ClientRoots => (
            "see which directories your client works in".to_owned(),
            Low,
            "names of directories can tell of projects",
        ),
        Feature::ClientLog => (
            "write to your client's log".to_owned(),
            Low,
            "its words may mislead you",
        ),
        // No capability; there for completeness.
        Feature::InstancesResident
        | Feature::PolicyLicenses
        | Feature::PolicySignatures
        | Feature::PolicyScan => (feature.name().to_owned(), Low, ""),
    };
    Told {
        words,
        weight,
        risk,
    }
}

/// A directory without its mode.
fn bare(what: &str) -> &str {
    what.rsplit_once(" (").map_or(what, |(path, _)| path)
}

fn network(what: &str) -> Told {
    let Ok(rule) = what.parse::<NetworkRule>() else {
        return Told {
            words: format!("send HTTP requests: {what}"),
            weight: Weight::High,
            risk: "what it sees can be sent there",
        };
    };
    let methods = match &rule.methods {
        Some(methods) => methods.join(" and "),
        None => "HTTP requests of every kind".to_owned(),
    };
    let reads = rule.methods.as_ref().is_some_and(|methods| {
        methods
            .iter()
            .all(|method| matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS"))
    });
    let url = what.split_once(' ').map_or(what, |(_, url)| url);
    let (weight, risk) = if rule.host == HostPattern::Any {
        (
            Weight::High,
            "any host of the internet will do, so what it sees can be sent to anybody",
        )
    } else if matches!(rule.host, HostPattern::Below(_)) {
        (
            Weight::High,
            "any host below that name will do, so what it sees can be sent to whoever runs one",
        )
    } else if is_special(&rule.host) {
        (
            Weight::High,
            "machines that nobody else can reach are open to it",
        )
    } else if rule.scheme == Scheme::Http {
        (
            Weight::High,
            "whoever is on the way can read and change what goes there and back",
        )
    } else if is_many(&rule.ports) {
        (
            Weight::High,
            "whatever listens there is open to it, and what it sees can be sent there",
        )
    } else if rule.methods.is_none() {
        (
            Weight::High,
            "what it sees can be sent there, and whatever can be done there, it can do",
        )
    } else if reads {
        (
            Weight::Medium,
            "what it sees can be sent there, as part of an address",
        )
    } else {
        (
            Weight::Medium,
            "what it sees can be sent there, and things there can be changed",
        )
    };
    Told {
        words: format!("send {methods} to {url}"),
        weight,
        risk,
    }
}

/// Whether it is more than one port.
fn is_many(ports: &Ports) -> bool {
    !matches!(ports, Ports::Range(range) if range.start() == range.end())
}

/// Whether a host is this machine, or an address that not everybody has a way to.
fn is_special(host: &HostPattern) -> bool {
    match host {
        HostPattern::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        HostPattern::Any | HostPattern::Below(_) => false,
        HostPattern::Address(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        HostPattern::Address(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some()
        }
    }
}

fn sockets(what: &str) -> Told {
    let Ok(rule) = what.parse::<SocketRule>() else {
        return Told {
            words: format!("open sockets: {what}"),
            weight: Weight::High,
            risk: "what it sees can be sent there, in whatever protocol",
        };
    };
    let protocol = match rule.protocol {
        SocketProtocol::Tcp => "TCP",
        SocketProtocol::Udp => "UDP",
    };
    let place = format!("{}:{} over {protocol}", rule.host, rule.ports);
    let wide =
        matches!(rule.host, HostPattern::Below(_) | HostPattern::Any) || is_many(&rule.ports);
    let (words, weight, risk) = if rule.listen {
        (
            format!("accept connections at {place}"),
            Weight::High,
            "whoever reaches that address speaks to it",
        )
    } else if is_special(&rule.host) {
        (
            format!("connect to {place}"),
            Weight::High,
            "machines that nobody else can reach are open to it, in whatever protocol",
        )
    } else {
        (
            format!("connect to {place}"),
            if wide { Weight::High } else { Weight::Medium },
            "what it sees can be sent there, in whatever protocol",
        )
    };
    Told {
        words,
        weight,
        risk,
    }
}

fn addresses(what: &str) -> Told {
    /// Where clouds tell a machine who it is, and hand it credentials.
    const METADATA: [&str; 3] = ["169.254.169.254", "169.254.170.2", "fd00:ec2::254"];
    let range = what.parse::<AddressRange>().ok();
    let has = |address: &str| {
        range.is_some_and(|range| address.parse().is_ok_and(|address| range.contains(address)))
    };
    let risk = if METADATA.into_iter().any(has) {
        "the cloud's service there can hand out this machine's own credentials"
    } else if has("127.0.0.1") || has("::1") {
        "services of this machine that trust whoever is on it are open to it"
    } else {
        "machines that nobody else can reach are open to it"
    };
    Told {
        words: format!("reach the private or special addresses {what}"),
        weight: Weight::High,
        risk,
    }
}

fn credential(what: &str) -> Told {
    const RISK: &str =
        "it acts in the name of whoever the credential belongs to, but can't read it";
    let Ok(asked) = what.parse::<CredentialAsked>() else {
        return Told {
            words: format!("have the host add the credential `{what}` to its requests"),
            weight: Weight::Medium,
            risk: RISK,
        };
    };
    let place = match &asked.used.place {
        None => String::new(),
        Some(Place::Header(name)) => format!(" as the header `{name}`"),
        Some(Place::Query(name)) => format!(" as `{name}` in the address"),
    };
    let (weight, risk) = if asked.rule.scheme == Scheme::Http && !is_special(&asked.rule.host) {
        (
            Weight::High,
            "whoever is on the way can read the credential",
        )
    } else if asked.rule.host == HostPattern::Any {
        (Weight::High, "whatever host it names gets the credential")
    } else if matches!(asked.rule.host, HostPattern::Below(_)) {
        (
            Weight::High,
            "any host below that name gets the credential, whoever runs it",
        )
    } else if matches!(asked.used.place, Some(Place::Query(_))) {
        (
            Weight::Medium,
            "addresses stand in the logs of servers, and the credential with them",
        )
    } else {
        (Weight::Medium, RISK)
    };
    Told {
        words: format!(
            "have the host add the credential `{}`{place} to {}",
            asked.used.name, asked.rule
        ),
        weight,
        risk,
    }
}

/// Says that a use was refused, and what would allow it: which line of which file, and which
/// command.
///
/// `item` is what of the capability was to be used, such as the name of a secret; `asked`
/// whether the plugin's own manifest asks for it.
pub fn refusal(feature: Feature, item: &str, alias: &str, place: &str, asked: bool) -> String {
    let told = tell(feature, item);
    let words = told.words;
    if !asked
        && matches!(
            feature,
            Feature::Network | Feature::Sockets | Feature::Addresses
        )
    {
        return format!(
            "`{alias}` may not {words}: its plugin.toml does not ask for it, so that it can't be granted; its author has to write `allow = \"{item}\"` under [[requests.{feature}]]"
        );
    }
    if !asked {
        return format!(
            "`{alias}` may not {words}: its plugin.toml does not ask for `{feature}`, so that it can't be granted; its author has to ask for it"
        );
    }
    let (grant, argument) = match feature {
        Feature::UiNotify
        | Feature::UiAsk
        | Feature::UiProgress
        | Feature::UiPanels
        | Feature::ClientSampling
        | Feature::ClientRoots
        | Feature::ClientLog => (format!("grants.{feature} = true"), feature.to_string()),
        Feature::SecretsInject | Feature::SecretsReveal | Feature::Credentials => (
            format!("grants.{feature} = {{ {item} = \"vault:NAME\" }}"),
            format!("{feature}={item}:NAME"),
        ),
        Feature::StorageKv => (
            format!("grants.{feature} = \"{item}\""),
            format!("'{feature}={item}'"),
        ),
        _ => (
            format!("grants.{feature} = [\"{item}\"]"),
            format!("'{feature}={item}'"),
        ),
    };
    format!(
        "`{alias}` may not {words}: it is not granted; `{grant}` under [plugins.{alias}] ({place}) allows it, and `portreeve grant {alias} {argument}` writes that"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn every_capability_has_words() {
        let shown: String = Feature::ALL
            .into_iter()
            .filter(|feature| feature.is_capability())
            .map(|feature| {
                let told = tell(feature, "X");
                format!(
                    "{feature} [{}]: {}; {}\n",
                    told.weight, told.words, told.risk
                )
            })
            .collect();
        expect![[r#"
            network [high]: send HTTP requests: X; what it sees can be sent there
            credentials [medium]: have the host add the credential `X` to its requests; it acts in the name of whoever the credential belongs to, but can't read it
            sockets [high]: open sockets: X; what it sees can be sent there, in whatever protocol
            addresses [high]: reach the private or special addresses X; machines that nobody else can reach are open to it
            directories [medium]: read what is in X; with a way out (network, messages) it can pass on every file there
            storage.kv [low]: keep up to X of its own between calls; what one caller tells it can be kept and shown to another
            ui.notify [low]: show you notices; its words may mislead you
            ui.ask [medium]: ask you to fill in forms; it may ask for what you should not tell it
            ui.progress [low]: report how far a call has come; its words may mislead you
            ui.panels [medium]: show panels of its own; a panel may look like something else
            messages.publish [medium]: publish messages to `X`; whoever subscribes acts on what it says
            messages.subscribe [medium]: receive the messages of `X`; it reads whatever is published there
            messages.request [medium]: ask others over `X` and wait for the answer; whoever answers acts on what it asks
            secrets.inject [medium]: have the secret `X` put into its outbound requests, unseen; it acts in the name of whoever the secret belongs to; a host that it sends the secret to can hand it back
            secrets.reveal [high]: read the secret `X` itself; once read, it can be passed on wherever the plugin can write to
            invoke [medium]: call the tools `X` of other plugins; it can do through them what it may not do itself
            schedules [medium]: run by itself (X); it works when nobody looks
            client.sampling [medium]: ask your client's model; it spends your tokens and hears what the model says
            client.roots [low]: see which directories your client works in; names of directories can tell of projects
            client.log [low]: write to your client's log; its words may mislead you
        "#]].assert_eq(&shown);
    }

    #[test]
    fn rules_are_weighed_by_where_they_lead() {
        let shown: String = [
            (Feature::Network, "GET https://api.github.com/repos/**"),
            (Feature::Network, "GET,POST https://api.github.com/repos/**"),
            (Feature::Network, "GET https://*.example.com/**"),
            (Feature::Network, "* https://api.example.com/**"),
            (Feature::Network, "GET http://example.com/**"),
            (Feature::Network, "GET https://10.1.2.3/**"),
            (Feature::Network, "GET http://localhost:8080/**"),
            (Feature::Network, "GET https://example.com:*/**"),
            (Feature::Sockets, "tcp db.example.com:5432"),
            (Feature::Sockets, "udp *.example.com:53"),
            (Feature::Sockets, "tcp db.example.com:*"),
            (Feature::Sockets, "tcp 192.168.0.1:22"),
            (Feature::Sockets, "listen tcp 127.0.0.1:8080"),
            (Feature::Addresses, "10.0.0.0/8"),
            (Feature::Addresses, "127.0.0.0/8"),
            (Feature::Addresses, "169.254.0.0/16"),
            (
                Feature::Credentials,
                "api for GET https://api.example.com/**",
            ),
            (
                Feature::Credentials,
                "api in header x-key for GET https://*.example.com/**",
            ),
            (
                Feature::Credentials,
                "api in query key for GET https://api.example.com/**",
            ),
            (
                Feature::Credentials,
                "api for GET http://api.example.com/**",
            ),
            (Feature::Directories, "/notes (read)"),
            (Feature::Directories, "/notes (read and write)"),
        ]
        .into_iter()
        .map(|(feature, what)| {
            let told = tell(feature, what);
            format!("[{}] {}: {}\n", told.weight, told.words, told.risk)
        })
        .collect();
        expect![[r#"
            [medium] send GET to https://api.github.com/repos/**: what it sees can be sent there, as part of an address
            [medium] send GET and POST to https://api.github.com/repos/**: what it sees can be sent there, and things there can be changed
            [high] send GET to https://*.example.com/**: any host below that name will do, so what it sees can be sent to whoever runs one
            [high] send HTTP requests of every kind to https://api.example.com/**: what it sees can be sent there, and whatever can be done there, it can do
            [high] send GET to http://example.com/**: whoever is on the way can read and change what goes there and back
            [high] send GET to https://10.1.2.3/**: machines that nobody else can reach are open to it
            [high] send GET to http://localhost:8080/**: machines that nobody else can reach are open to it
            [high] send GET to https://example.com:*/**: whatever listens there is open to it, and what it sees can be sent there
            [medium] connect to db.example.com:5432 over TCP: what it sees can be sent there, in whatever protocol
            [high] connect to *.example.com:53 over UDP: what it sees can be sent there, in whatever protocol
            [high] connect to db.example.com:* over TCP: what it sees can be sent there, in whatever protocol
            [high] connect to 192.168.0.1:22 over TCP: machines that nobody else can reach are open to it, in whatever protocol
            [high] accept connections at 127.0.0.1:8080 over TCP: whoever reaches that address speaks to it
            [high] reach the private or special addresses 10.0.0.0/8: machines that nobody else can reach are open to it
            [high] reach the private or special addresses 127.0.0.0/8: services of this machine that trust whoever is on it are open to it
            [high] reach the private or special addresses 169.254.0.0/16: the cloud's service there can hand out this machine's own credentials
            [medium] have the host add the credential `api` to GET https://api.example.com/**: it acts in the name of whoever the credential belongs to, but can't read it
            [high] have the host add the credential `api` as the header `x-key` to GET https://*.example.com/**: any host below that name gets the credential, whoever runs it
            [medium] have the host add the credential `api` as `key` in the address to GET https://api.example.com/**: addresses stand in the logs of servers, and the credential with them
            [high] have the host add the credential `api` to GET http://api.example.com/**: whoever is on the way can read the credential
            [medium] read what is in /notes: with a way out (network, messages) it can pass on every file there
            [high] read and change what is in /notes: it can change, delete and replace every file there
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn a_refusal_says_what_would_allow_it() {
        let shown: String = [
            (Feature::UiProgress, "", true),
            (Feature::SecretsReveal, "signing-key", true),
            (Feature::Network, "GET https://example.com/", true),
            (Feature::SecretsReveal, "signing-key", false),
            (Feature::StorageKv, "10 MiB", true),
        ]
        .into_iter()
        .map(|(feature, item, asked)| {
            refusal(feature, item, "demo", "portreeve.toml:12", asked) + "\n"
        })
        .collect();
        expect![[r#"
            `demo` may not report how far a call has come: it is not granted; `grants.ui.progress = true` under [plugins.demo] (portreeve.toml:12) allows it, and `portreeve grant demo ui.progress` writes that
            `demo` may not read the secret `signing-key` itself: it is not granted; `grants.secrets.reveal = { signing-key = "vault:NAME" }` under [plugins.demo] (portreeve.toml:12) allows it, and `portreeve grant demo secrets.reveal=signing-key:NAME` writes that
            `demo` may not send GET to https://example.com/: it is not granted; `grants.network = ["GET https://example.com/"]` under [plugins.demo] (portreeve.toml:12) allows it, and `portreeve grant demo 'network=GET https://example.com/'` writes that
            `demo` may not read the secret `signing-key` itself: its plugin.toml does not ask for `secrets.reveal`, so that it can't be granted; its author has to ask for it
            `demo` may not keep up to 10 MiB of its own between calls: it is not granted; `grants.storage.kv = "10 MiB"` under [plugins.demo] (portreeve.toml:12) allows it, and `portreeve grant demo 'storage.kv=10 MiB'` writes that
        "#]].assert_eq(&shown);
    }

    #[test]
    fn a_refused_connection_says_which_line_would_allow_it() {
        let rule = "GET https://api.example.com/a";
        let shown: String = [
            (Feature::Network, rule, true),
            (Feature::Network, rule, false),
            (Feature::Credentials, "github", true),
            (Feature::Sockets, "tcp db.example.com:5432", false),
            (Feature::Addresses, "10.1.2.3/32", true),
        ]
        .into_iter()
        .map(|(feature, item, asked)| {
            refusal(feature, item, "demo", "portreeve.toml:3", asked) + "\n"
        })
        .collect();
        expect![[r#"
            `demo` may not send GET to https://api.example.com/a: it is not granted; `grants.network = ["GET https://api.example.com/a"]` under [plugins.demo] (portreeve.toml:3) allows it, and `portreeve grant demo 'network=GET https://api.example.com/a'` writes that
            `demo` may not send GET to https://api.example.com/a: its plugin.toml does not ask for it, so that it can't be granted; its author has to write `allow = "GET https://api.example.com/a"` under [[requests.network]]
            `demo` may not have the host add the credential `github` to its requests: it is not granted; `grants.credentials = { github = "vault:NAME" }` under [plugins.demo] (portreeve.toml:3) allows it, and `portreeve grant demo credentials=github:NAME` writes that
            `demo` may not connect to db.example.com:5432 over TCP: its plugin.toml does not ask for it, so that it can't be granted; its author has to write `allow = "tcp db.example.com:5432"` under [[requests.sockets]]
            `demo` may not reach the private or special addresses 10.1.2.3/32: it is not granted; `grants.addresses = ["10.1.2.3/32"]` under [plugins.demo] (portreeve.toml:3) allows it, and `portreeve grant demo 'addresses=10.1.2.3/32'` writes that
        "#]].assert_eq(&shown);
    }
}
