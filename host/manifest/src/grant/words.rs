//! What a request means, in plain words, and what could go wrong with it.

use serde::Serialize;

use super::network::{HostPattern, NetworkRule, SocketRule};
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
        Feature::Credentials => (
            format!("have the host add the credential `{what}` to its requests"),
            Medium,
            "it acts in the name of whoever the credential belongs to, but can't read it",
        ),
        Feature::Addresses => (
            format!("reach the private or special addresses {what}"),
            High,
            "machines that nobody else can reach are open to it",
        ),
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
            "it acts in the name of whoever the secret belongs to, but can't read it",
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
        | Feature::SourceRemote
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
    let reads = rule.methods.as_ref().is_some_and(|methods| {
        methods
            .iter()
            .all(|method| matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS"))
    });
    let many = matches!(rule.host, HostPattern::Below(_));
    let methods = match &rule.methods {
        Some(methods) => methods.join(" and "),
        None => "HTTP requests of every kind".to_owned(),
    };
    let url = what.split_once(' ').map_or(what, |(_, url)| url);
    let (weight, risk) = match (many, reads) {
        (true, _) => (
            Weight::High,
            "any host below that name will do, so what it sees can be sent to whoever runs one",
        ),
        (false, false) => (
            Weight::Medium,
            "what it sees can be sent there, and things there can be changed",
        ),
        (false, true) => (
            Weight::Medium,
            "what it sees can be sent there, as part of an address",
        ),
    };
    Told {
        words: format!("send {methods} to {url}"),
        weight,
        risk,
    }
}

fn sockets(what: &str) -> Told {
    let listens = what
        .parse::<SocketRule>()
        .is_ok_and(|rule: SocketRule| rule.listen);
    let (words, risk) = if listens {
        (
            format!("accept connections: {what}"),
            "whoever reaches that address speaks to it",
        )
    } else {
        (
            format!("connect to {what}"),
            "what it sees can be sent there, in whatever protocol",
        )
    };
    Told {
        words,
        weight: Weight::High,
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
            sockets [high]: connect to X; what it sees can be sent there, in whatever protocol
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
            secrets.inject [medium]: have the secret `X` put into its outbound requests, unseen; it acts in the name of whoever the secret belongs to, but can't read it
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
            (Feature::Sockets, "tcp db.example.com:5432"),
            (Feature::Sockets, "listen tcp 127.0.0.1:8080"),
            (Feature::Directories, "/notes (read)"),
            (Feature::Directories, "/notes (read and write)"),
        ]
        .into_iter()
        .map(|(feature, what)| {
            let told = tell(feature, what);
            format!("[{}] {}\n", told.weight, told.words)
        })
        .collect();
        expect![[r#"
            [medium] send GET to https://api.github.com/repos/**
            [medium] send GET and POST to https://api.github.com/repos/**
            [high] send GET to https://*.example.com/**
            [high] connect to tcp db.example.com:5432
            [high] accept connections: listen tcp 127.0.0.1:8080
            [medium] read what is in /notes
            [high] read and change what is in /notes
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
        "#]].assert_eq(&shown);
    }
}
