//! Papers of plugins, as clients read them.

use portreeve_manifest::content::{PAPERS_TEMPLATE, Resource, ResourceTemplate, papers_uri};
use portreeve_manifest::id::Alias;
use portreeve_runtime::{CallError, ErrorCode};
use portreeve_supply::advisory;
use portreeve_supply::licence::{self, Rules};
use portreeve_supply::papers::{Papers, shortened};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::content::{ContentChange, no_resource};
use crate::host::Host;
use crate::plugin::Facts;
use crate::registry::Registry;

/// Papers that are read at a time: each reads and examines a component.
pub(crate) const READING_MAX: usize = 2;

/// Bytes of one plugin's papers as they are read; what is too large of them is left out.
const PAPERS_BYTES_MAX: usize = 1 << 20;

/// The media type of papers.
pub(super) const JSON: &str = "application/json";

impl Host {
    /// The papers that there are, by address; at most so many.
    pub(super) fn papers_after(&self, after: &str, max: usize) -> Vec<Resource> {
        let registry = self.registry();
        let known = registry.plugins().filter(|plugin| plugin.facts.is_some());
        let papers = known.map(|plugin| {
            let alias = &plugin.alias;
            Resource {
                uri: papers_uri(alias),
                name: format!("papers of {alias}"),
                title: Some(format!("Papers of {alias}")),
                description: Some(format!(
                    "What is known of the plugin `{alias}`: who made it, of what, under which terms, what it asks for, and what was found in it"
                )),
                mime_type: Some(JSON.to_owned()),
                size: None,
                annotations: None,
                icons: Vec::new(),
            }
        });
        let mut papers: Vec<Resource> = papers
            .filter(|resource| resource.uri.as_str() > after)
            .collect();
        // By address, which is not by alias: `a-b` comes before `a/`.
        papers.sort_by(|a, b| a.uri.cmp(&b.uri));
        papers.truncate(max);
        papers
    }

    /// A plugin's papers as JSON: those that `portreeve inspect --json` prints, without what is
    /// this machine's own affair: paths, and what is granted.
    pub(super) async fn papers(
        &self,
        alias: &Alias,
        cancel: &CancellationToken,
    ) -> Result<String, CallError> {
        let registry = self.registry();
        let facts = known(&registry, alias)?.clone();
        let adopted = self.adopted.lock().await;
        let policy = adopted
            .as_ref()
            .and_then(|adopted| adopted.policy.licenses.clone());
        drop(adopted);
        let dir = self.project.dir().to_owned();
        let alias = alias.clone();
        let turn = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(CallError::cancelled()),
            turn = self.reading.clone().acquire_owned() => turn,
        };
        let turn = turn.map_err(|error| CallError::internal(error.to_string()))?;
        let reading = move || {
            // Until it is done, whoever waits for it.
            let _turn = turn;
            let package = facts.component.package(facts.manifest.id.as_str())?;
            let rules = Rules::load(policy.as_ref(), &dir);
            let licences = rules.map(|rules| licence::examine(&package, &alias, &rules));
            let papers = Papers {
                alias: &alias,
                package: &package,
                advisories: &without_places(&facts),
                scan: &facts.scan,
                licences: licences.as_ref().map_err(|why| {
                    tracing::warn!(plugin = %alias, "its licences can't be judged: {why}");
                    "they can't be judged: this host's log has the reason"
                }),
            };
            let mut members = papers.to_object();
            members.insert("alias".to_owned(), json!(alias));
            members.insert("signer".to_owned(), json!(facts.signer));
            Ok(Value::Object(shortened(members, PAPERS_BYTES_MAX)).to_string())
        };
        match tokio::task::spawn_blocking(reading).await {
            Ok(read) => read.map_err(|why: String| CallError {
                log: Some(why),
                ..CallError::host(
                    ErrorCode::Unavailable,
                    "not-ready",
                    "the plugin's file can't be read, or has changed; a change is taken up in a moment",
                )
            }),
            Err(error) => Err(CallError::internal(error.to_string())),
        }
    }

    /// Tells listeners what is different about papers. `judged_anew` says that another policy
    /// holds.
    pub(crate) fn tell_papers(&self, before: &Registry, now: &Registry, judged_anew: bool) {
        let there = |registry: &Registry| -> Vec<_> {
            let plugins = registry.plugins();
            let known = plugins.filter_map(|plugin| Some((plugin.alias.clone(), plugin.digest()?)));
            known.collect()
        };
        // Nobody who listens is no error.
        if there(before) != there(now) {
            let _ = self.content_changes.send(ContentChange::Papers);
        }
        for plugin in now.plugins() {
            let then = before.plugin(&plugin.alias);
            let then = then.and_then(|plugin| plugin.facts.as_ref());
            let (Some(facts), Some(then)) = (&plugin.facts, then) else {
                continue;
            };
            let same = facts.component.digest == then.component.digest
                && facts.advisories == then.advisories
                && facts.signer == then.signer
                && json!(facts.scan) == json!(then.scan);
            if judged_anew || !same {
                let uri = papers_uri(&plugin.alias).into();
                let _ = self.content_changes.send(ContentChange::Updated(uri));
            }
        }
    }
}

/// What is known of a plugin whose package was read.
pub(super) fn known<'a>(registry: &'a Registry, alias: &Alias) -> Result<&'a Facts, CallError> {
    let plugin = registry.plugin(alias.as_str());
    let facts = plugin.and_then(|plugin| plugin.facts.as_ref());
    facts.ok_or_else(no_resource)
}

/// What is known of its parts, without the paths of this machine that it may name.
fn without_places(facts: &Facts) -> advisory::Report {
    let mut report = (*facts.advisories).clone();
    if let Some(database) = &mut report.database {
        database.sources.clear();
    }
    if report.problem.is_some() {
        report.problem = Some("the database of advisories can't be used".to_owned());
    }
    report
}

pub(super) fn template() -> ResourceTemplate {
    ResourceTemplate {
                uri_template: PAPERS_TEMPLATE.to_owned(),
                name: "papers".to_owned(),
                title: Some("Papers of plugins".to_owned()),
                description: Some(
                    "What is known of a plugin: who made it, of what, under which terms, what it asks for, and what was found in it".to_owned(),
                ),
                mime_type: Some(JSON.to_owned()),
                annotations: None,
                icons: Vec::new(),
    }
}
