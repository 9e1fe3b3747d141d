//! `portreeve.toml`: which plugins an operator runs, and what they may do.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use semver::VersionReq;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::document::{Document, JsonTable, SchemaVersion};
use crate::expose::Expose;
use crate::feature::Feature;
use crate::grant::{DIRECTORIES_MAX, Effective, Excess, ExcessItem, Grants, forbidden};
use crate::id::Alias;
use crate::limits::{HostLimitOverrides, HostLimits, LimitError, LimitOverrides, Limits};
use crate::plugin::PluginManifest;
use crate::policy::{Policy, RequireSignature};
use crate::settings::{
    AlertSettings, GenerationSettings, META_TOOLS, MessagesSettings, NetworkSettings, RawAlerts,
    RawAudit, RawGenerations, RawMessages, RawNetwork, RawRegistry, RawServe, RawState, RawVault,
    RawWebhooks, ServeSettings, Settings, WebhookSettings, read_registries,
};
pub use crate::source::{HttpsSource, PluginSource};
use crate::text::quoted;
use crate::tool::ToolPrefix;

/// A valid `portreeve.toml`.
#[derive(Clone, Debug)]
pub struct ProjectManifest {
    file: Source,
    /// The limits over all plugins.
    pub host: HostLimits,
    /// How the host keeps what it keeps.
    pub settings: Settings,
    /// What is demanded of a plugin's papers.
    pub policy: Policy,
    /// The plugins by alias.
    pub plugins: BTreeMap<Alias, PluginEntry>,
}

/// One installed plugin: `[plugins.ALIAS]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginEntry {
    /// The operator's name of the plugin.
    pub alias: Alias,
    /// The line of its table in the file, counted from 1.
    pub line: usize,
    /// Where it comes from.
    pub source: PluginSource,
    /// The versions that may run.
    pub version: Option<VersionReq>,
    /// What names of its tools begin with, where that is not `ALIAS__`.
    pub prefix: Option<ToolPrefix>,
    /// The plugin's settings; see [`ProjectManifest::config`].
    pub config: Map<String, Value>,
    /// What it may do, as far as it asks for it; see [`ProjectManifest::effective`].
    pub grants: Grants,
    /// How much it may use.
    pub limits: Limits,
    /// How it is shown to clients.
    pub expose: Expose,
}

/// The grammar of `portreeve.toml`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "portreeve.toml", rename = "PortreeveToml")]
pub(crate) struct RawProject {
    /// The version of this file's grammar.
    #[serde(rename = "schema")]
    _schema: SchemaVersion,
    /// What holds for all plugins together.
    #[serde(default)]
    host: RawHost,
    /// The database of the project.
    #[serde(default)]
    state: RawState,
    /// The log of what happened.
    #[serde(default)]
    audit: RawAudit,
    /// The versions of plugins that can be gone back to.
    #[serde(default)]
    generations: RawGenerations,
    /// The secrets.
    #[serde(default)]
    vault: RawVault,
    /// What you want to be told of.
    #[serde(default)]
    alerts: RawAlerts,
    /// How plugins' requests leave this machine.
    #[serde(default)]
    network: RawNetwork,
    /// How registries are reached, by their hosts.
    #[serde(default)]
    registries: BTreeMap<String, RawRegistry>,
    /// How clients reach the host over the network.
    #[serde(default)]
    serve: RawServe,
    /// Messages between plugins.
    #[serde(default)]
    messages: RawMessages,
    /// What others tell this host over HTTP, and what it tells them.
    #[serde(default)]
    webhooks: RawWebhooks,
    /// What is demanded of a plugin's papers.
    #[serde(default)]
    policy: Policy,
    /// The plugins by alias.
    #[serde(default)]
    plugins: BTreeMap<Alias, RawEntry>,
}

/// What holds for all plugins together.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawHost {
    /// How much all plugins together may use.
    limits: HostLimitOverrides,
}

/// One installed plugin.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawEntry {
    /// Where it comes from: the path of a component or of a directory that holds one.
    source: String,
    /// The versions that may run, as in Cargo: `"^1.4"`.
    #[serde(default, deserialize_with = "crate::text::version_req")]
    #[schemars(with = "Option<String>")]
    version: Option<VersionReq>,
    /// What names of its tools begin with, in place of `ALIAS__`. Where two plugins come to
    /// offer the same name, the one whose name is `ALIAS__TOOL` has it, else the first by alias.
    #[serde(default)]
    prefix: Option<ToolPrefix>,
    /// The plugin's settings; its manifest says which there are.
    #[serde(default)]
    config: JsonTable,
    /// What it may do.
    #[serde(default)]
    grants: Grants,
    /// How much it may use.
    #[serde(default)]
    limits: LimitOverrides,
    /// How it is shown to clients.
    #[serde(default)]
    expose: Expose,
}

impl ProjectManifest {
    /// What differs from another one besides grants, and besides plugins that only one of them
    /// has: tables and keys of the file, in its order.
    pub fn differences(&self, other: &ProjectManifest) -> Vec<String> {
        let (mine, theirs) = (&self.settings, &other.settings);
        let audit = |settings: &Settings| {
            let outlet = settings.audit_outlet.clone();
            (settings.audit_size, settings.audit_age, outlet)
        };
        let tables = [
            ("host", self.host != other.host),
            ("state", mine.state_size != theirs.state_size),
            ("audit", audit(mine) != audit(theirs)),
            ("generations", mine.generations != theirs.generations),
            ("vault", mine.vault_key != theirs.vault_key),
            ("alerts", mine.alerts != theirs.alerts),
            ("network", mine.network != theirs.network),
            ("registries", mine.registries != theirs.registries),
            ("serve", mine.serve != theirs.serve),
            ("messages", mine.messages != theirs.messages),
            ("webhooks", mine.webhooks != theirs.webhooks),
            ("policy", self.policy != other.policy),
        ];
        let mut differ: Vec<String> = tables
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(table, _)| (*table).to_owned())
            .collect();
        for (alias, entry) in &self.plugins {
            let Some(other) = other.plugins.get(alias) else {
                continue;
            };
            let keys = [
                ("source", entry.source != other.source),
                ("version", entry.version != other.version),
                ("prefix", entry.prefix != other.prefix),
                ("config", entry.config != other.config),
                ("limits", entry.limits != other.limits),
                ("expose", entry.expose != other.expose),
            ];
            let keys = keys.iter().filter(|(_, differs)| *differs);
            differ.extend(keys.map(|(key, _)| format!("plugins.{alias}.{key}")));
        }
        differ
    }

    /// Reads a `portreeve.toml`. `file` is the name that diagnostics show.
    ///
    /// # Errors
    /// Every mistake in the text, with its place; what this version of the host doesn't
    /// enforce is one.
    pub fn parse(file: &str, text: &str) -> Result<ProjectManifest, Diagnostics> {
        let source = Source::new(file, text);
        let mut document = Document::parse(&source)?;
        let mut errors = Vec::new();
        let raw: Option<RawProject> = document.read(&mut errors);
        let Some(raw) = raw else {
            return Err(document.refuse(errors));
        };
        check_policy(&raw.policy, &document, &mut errors);
        let host = HostLimits::default()
            .with(&raw.host.limits)
            .unwrap_or_else(|wrong| {
                push_limits(wrong, &["host", "limits"], &document, &mut errors);
                HostLimits::default()
            });
        let mut wrong = Vec::new();
        let mut settings = Settings::read(&raw.state, &raw.audit, &raw.vault, &mut wrong);
        for (table, error) in wrong {
            push_limits(vec![error], &[table], &document, &mut errors);
        }
        let mut wrong = Vec::new();
        settings.generations = GenerationSettings::read(&raw.generations, &mut wrong);
        push_limits(wrong, &["generations"], &document, &mut errors);
        let mut wrong = Vec::new();
        settings.alerts = AlertSettings::read(&raw.alerts, &mut wrong);
        for (table, error) in wrong {
            let table = table.iter().map(String::as_str);
            let table: Vec<_> = ["alerts"].into_iter().chain(table).collect();
            push_limits(vec![error], &table, &document, &mut errors);
        }
        let mut wrong = Vec::new();
        settings.network = NetworkSettings::read(&raw.network, &mut wrong);
        for (table, error) in wrong {
            let table = table.iter().map(String::as_str);
            let table: Vec<_> = ["network"].into_iter().chain(table).collect();
            push_limits(vec![error], &table, &document, &mut errors);
        }
        let mut wrong = Vec::new();
        settings.registries = read_registries(&raw.registries, &mut wrong);
        for (host, error) in wrong {
            push_limits(vec![error], &["registries", &host], &document, &mut errors);
        }
        let mut wrong = Vec::new();
        settings.serve = ServeSettings::read(&raw.serve, &mut wrong);
        for (table, error) in wrong {
            let table = table.iter().map(String::as_str);
            let table: Vec<_> = ["serve"].into_iter().chain(table).collect();
            push_limits(vec![error], &table, &document, &mut errors);
        }
        let mut wrong = Vec::new();
        settings.messages = MessagesSettings::read(&raw.messages, &mut wrong);
        for (table, error) in wrong {
            let table = table.iter().map(String::as_str);
            let table: Vec<_> = ["messages"].into_iter().chain(table).collect();
            push_limits(vec![error], &table, &document, &mut errors);
        }
        let mut wrong = Vec::new();
        settings.webhooks = WebhookSettings::read(&raw.webhooks, &mut wrong);
        for (table, error) in wrong {
            let table = table.iter().map(String::as_str);
            let table: Vec<_> = ["webhooks"].into_iter().chain(table).collect();
            push_limits(vec![error], &table, &document, &mut errors);
        }
        let plugins_max = usize::try_from(host.plugins).unwrap_or(usize::MAX);
        if raw.plugins.len() > plugins_max {
            errors.push(Diagnostic::new(
                format!(
                    "the file lists {} plugins, but at most {plugins_max} are allowed",
                    raw.plugins.len()
                ),
                document.span(&["plugins"]),
            ));
        }
        check_schemes(&raw.plugins, &document, &mut errors);
        if settings.serve.meta_tools {
            check_meta_tools(&raw.plugins, &document, &mut errors);
        }
        let mut plugins = BTreeMap::new();
        for (alias, raw) in raw.plugins {
            let entry = validate_entry(&alias, raw, &document, &mut errors);
            plugins.insert(alias, entry);
        }
        if !errors.is_empty() {
            return Err(document.refuse(errors));
        }
        // An entry is absent only where an error says why.
        let plugins = plugins
            .into_iter()
            .filter_map(|(alias, entry)| Some((alias, entry?)))
            .collect();
        Ok(ProjectManifest {
            file: source,
            host,
            settings,
            policy: raw.policy,
            plugins,
        })
    }

    /// What a plugin may do: what it requests and its entry grants.
    ///
    /// # Errors
    /// What is granted but not requested, each with its place.
    pub fn effective(
        &self,
        entry: &PluginEntry,
        plugin: &PluginManifest,
    ) -> Result<Effective, Diagnostics> {
        entry.grants.effective(plugin).map_err(|excess| {
            let places: Vec<String> = excess.iter().map(place_in_list).collect();
            self.refuse(excess.iter().zip(&places).map(|(excess, place)| {
                let feature = excess.feature;
                let mut path = [
                    &["plugins", entry.alias.as_str(), "grants"],
                    &parts(feature)[..],
                ]
                .concat();
                let mut what = format!("`grants.{feature}`");
                match &excess.what {
                    None => {}
                    Some(ExcessItem::Name(name)) => {
                        path.push(name.as_str());
                        what = format!("`grants.{feature}.{name}`");
                    }
                    Some(ExcessItem::Rule(_, rule)) => {
                        path.push(place);
                        what = format!("{} (`grants.{feature}`)", quoted(rule));
                    }
                }
                let message = format!(
                    "{what} is granted, but the plugin.toml of {} {} does not request it",
                    plugin.id, plugin.version
                );
                let help = format!(
                    "remove the grant; or its author adds `{feature}` to [requests] of plugin.toml"
                );
                (path, Diagnostic::new(message, None).with_help(help))
            }))
        })
    }

    /// A plugin's settings, checked against what its manifest says they are.
    ///
    /// # Errors
    /// Every setting that is wrong or missing, with its place.
    pub fn config<'a>(
        &self,
        entry: &'a PluginEntry,
        plugin: &PluginManifest,
    ) -> Result<&'a Map<String, Value>, Diagnostics> {
        let wrong = match plugin.config.check(&entry.config) {
            Ok(()) => return Ok(&entry.config),
            Err(wrong) => wrong,
        };
        Err(self.refuse(wrong.iter().map(|error| {
            let mut path = vec!["plugins", entry.alias.as_str(), "config"];
            path.extend(error.path.iter().map(String::as_str));
            let help = format!(
                "see [config] in the plugin.toml of {} {}",
                plugin.id, plugin.version
            );
            (path, Diagnostic::new(&error.message, None).with_help(help))
        })))
    }

    /// The name and text of the file.
    pub fn file(&self) -> &Source {
        &self.file
    }

    /// Says that something in a plugin's entry is wrong which only a look at the plugin
    /// shows, such as a `version` that it doesn't have. `key` is the key in the entry.
    pub fn refuse_entry(&self, alias: &Alias, key: &str, message: &str, help: &str) -> Diagnostics {
        let path = vec!["plugins", alias.as_str(), key];
        self.refuse([(path, Diagnostic::new(message, None).with_help(help))].into_iter())
    }

    /// Says that a setting is wrong which only a look beyond the file shows, such as the
    /// file of a key that it names. `path` is the keys and indices to it.
    pub fn refuse_setting(&self, path: &[&str], message: &str) -> Diagnostics {
        self.refuse([(path.to_vec(), Diagnostic::new(message, None))].into_iter())
    }

    /// Diagnostics with a path instead of a span each.
    fn refuse<'a>(&self, errors: impl Iterator<Item = (Vec<&'a str>, Diagnostic)>) -> Diagnostics {
        // Parsed again: spans are needed on this way only.
        let document = Document::parse(&self.file).ok();
        let errors = errors.map(|(path, error)| Diagnostic {
            span: document
                .as_ref()
                .and_then(|document| document.key_span(&path)),
            ..error
        });
        Diagnostics::new(self.file.clone(), errors.collect())
    }
}

/// The key of what is too much in the list of its capability.
fn place_in_list(excess: &Excess) -> String {
    match &excess.what {
        Some(ExcessItem::Rule(place, _)) => place.to_string(),
        _ => String::new(),
    }
}

/// The keys of a capability below `grants`.
fn parts(feature: Feature) -> Vec<&'static str> {
    feature.name().split('.').collect()
}

/// Says that something is part of the grammar but not of this version.
fn unenforced(what: &str, span: Option<std::ops::Range<usize>>) -> Diagnostic {
    Diagnostic::new(
        format!("not enforced by this version of Portreeve yet: `{what}`; remove it"),
        span,
    )
}

fn check_policy(policy: &Policy, document: &Document<'_>, errors: &mut Vec<Diagnostic>) {
    let signatures = policy.signatures.as_ref();
    if let Some(signatures) = signatures {
        signatures.check(document, errors);
    }
    let require = signatures.and_then(|signatures| signatures.require);
    let written = [
        (
            Feature::PolicyLicenses,
            policy.licenses.is_some(),
            &["policy", "licenses"][..],
        ),
        (
            Feature::PolicySignatures,
            require == Some(RequireSignature::Trusted),
            &["policy", "signatures", "require"],
        ),
        (
            Feature::PolicySignatures,
            signatures.is_some_and(|signatures| !signatures.keys.is_empty()),
            &["policy", "signatures", "keys"],
        ),
        (
            Feature::PolicySignatures,
            signatures.is_some_and(|signatures| !signatures.identities.is_empty()),
            &["policy", "signatures", "identities"],
        ),
        (
            Feature::PolicySignatures,
            signatures.is_some_and(|signatures| signatures.trust_root.is_some()),
            &["policy", "signatures", "trust-root"],
        ),
        (
            Feature::PolicyScan,
            policy.scan.is_some(),
            &["policy", "scan"],
        ),
    ];
    for (feature, written, path) in written {
        if written && !feature.enforced() {
            errors.push(unenforced(&path.join("."), document.key_span(path)));
        }
    }
}

/// Checks one plugin's entry; none where its source cannot be used.
fn validate_entry(
    alias: &Alias,
    raw: RawEntry,
    document: &Document<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<PluginEntry> {
    let at = |path: &[&'static str]| -> Vec<&str> {
        ["plugins", alias.as_str()]
            .into_iter()
            .chain(path.iter().copied())
            .collect()
    };
    for feature in raw.grants.features() {
        if !feature.enforced() {
            let path = [at(&["grants"]), parts(feature)].concat();
            errors.push(unenforced(
                &format!("grants.{feature}"),
                document.key_span(&path),
            ));
        }
    }
    check_directories(alias, &raw.grants, document, errors);
    let limits = Limits::default().with(&raw.limits).unwrap_or_else(|wrong| {
        push_limits(wrong, &at(&["limits"]), document, errors);
        Limits::default()
    });
    for (path, why) in raw.expose.mistakes() {
        let path = [&["plugins", alias.as_str(), "expose"], &path[..]].concat();
        errors.push(Diagnostic::new(why, document.key_span(&path)));
    }
    let span = document.span(&at(&["source"]));
    let source = match PluginSource::parse(&raw.source) {
        Ok(PluginSource::Https(HttpsSource {
            integrity: None, ..
        })) => {
            errors.push(
                Diagnostic::new("a file on a web server is installed only with its digest", span)
                    .with_help("write it behind the address, as https://…#sha256=…; `portreeve add` says what it is at this moment"),
            );
            return None;
        }
        Ok(source) => source,
        Err(why) => {
            errors.push(Diagnostic::new(why, span));
            return None;
        }
    };
    let line = document
        .key_span(&["plugins", alias.as_str()])
        .map_or(1, |span| document.source().position(span.start).0);
    Some(PluginEntry {
        alias: alias.clone(),
        line,
        source,
        version: raw.version,
        prefix: raw.prefix,
        config: raw.config.0,
        grants: raw.grants,
        limits,
        expose: raw.expose,
    })
}

/// Checks what of granted directories the file itself tells.
fn check_directories(
    alias: &Alias,
    grants: &Grants,
    document: &Document<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    let path = ["plugins", alias.as_str(), "grants", "directories"];
    if grants.directories.len() > DIRECTORIES_MAX {
        errors.push(Diagnostic::new(
            format!("more than {DIRECTORIES_MAX} directories are granted"),
            document.span(&path),
        ));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, grant) in grants.directories.iter().enumerate() {
        let index = index.to_string();
        let span = |key| document.span(&[&path[..], &[index.as_str(), key]].concat());
        if !seen.insert(&grant.path) {
            errors.push(Diagnostic::new(
                format!("two directories are granted under the path {}", grant.path),
                span("path"),
            ));
        }
        if let Some(why) = forbidden(&grant.from) {
            let message = format!("{} can't be granted: {why}", quoted(grant.from.as_str()));
            let help = "grant a directory of its own, such as \"notes\"";
            errors.push(Diagnostic::new(message, span("from")).with_help(help));
        }
    }
}

/// A scheme is one plugin's: its addresses are shown without a name that tells them apart.
fn check_schemes(
    plugins: &BTreeMap<Alias, RawEntry>,
    document: &Document<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    let mut owners = BTreeMap::new();
    for (alias, entry) in plugins {
        for scheme in &entry.expose.schemes {
            if let Some(first) = owners.insert(scheme, alias)
                && first != alias
            {
                errors.push(Diagnostic::new(
                    format!("the scheme `{scheme}` belongs to the plugin `{first}` already"),
                    document.key_span(&["plugins", alias.as_str(), "expose", "schemes"]),
                ));
            }
        }
    }
}

/// The names of the tools that stand for all others lead to no other tool.
fn check_meta_tools(
    plugins: &BTreeMap<Alias, RawEntry>,
    document: &Document<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    for (alias, entry) in plugins {
        for (own, tool) in &entry.expose.tool {
            let name = tool.name.as_deref().unwrap_or_default();
            if META_TOOLS.contains(&name) {
                let path = ["plugins", alias.as_str(), "expose", "tool", own, "name"];
                let message = format!(
                    "`{name}` is one of the three tools that `meta-tools` under [serve] shows in place of the others"
                );
                let help = "give it another name, or leave `meta-tools` out";
                errors.push(Diagnostic::new(message, document.span(&path)).with_help(help));
            }
        }
    }
}

fn push_limits(
    wrong: Vec<LimitError>,
    table: &[&str],
    document: &Document<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    for error in wrong {
        let path = [table, &[error.setting]].concat();
        errors.push(Diagnostic::new(error.to_string(), document.span(&path)));
    }
}
