//! What the host itself has to read, for callers with the scope: papers of plugins.
//!
//! One function decides, for lists, reads, subscriptions and what listeners are told alike, each
//! time anew: a scope that is taken away is gone at once.

use std::sync::Arc;
use std::time::Instant;

use portreeve_manifest::content::{
    Named, PAPERS_TEMPLATE, Resource, ResourceTemplate, named, papers_uri,
};
use portreeve_manifest::id::Alias;
use portreeve_manifest::scope::{Scope, Scopes};
use portreeve_runtime::{Body, CallError, ErrorCode, Part, Usage};
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind};
use portreeve_supply::licence::{self, Rules};
use portreeve_supply::papers::{Papers, shortened};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::call::{Caller, Door};
use crate::content::{Asked, Asking, ContentChange, no_resource};
use crate::host::Host;
use crate::plugin::Facts;
use crate::project::MANIFEST;
use crate::record::Ended;
use crate::registry::Registry;

/// Entries of one page.
const PAGE: usize = 500;

/// Papers that are read at a time: each reads and examines a component.
pub(crate) const READING_MAX: usize = 2;

/// Bytes of one plugin's papers as they are read; what is too large of them is left out.
const PAPERS_BYTES_MAX: usize = 1 << 20;

/// The media type of papers.
const JSON: &str = "application/json";

/// Something of the host's own that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// What is known of the plugin with this alias.
    Papers(Alias),
}

impl Own {
    /// What a client means by an address; none where it isn't the host's own.
    pub(crate) fn named(uri: &str) -> Option<Own> {
        match named(uri)? {
            Named::Papers(alias) => Some(Own::Papers(Alias::new(alias).ok()?)),
            _ => None,
        }
    }

    fn uri(&self) -> String {
        match self {
            Own::Papers(alias) => papers_uri(alias.as_str()),
        }
    }

    /// Whether these scopes let somebody read it.
    fn is_within(&self, scopes: &Scopes) -> bool {
        match self {
            Own::Papers(_) => scopes.papers(),
        }
    }

    /// The scope that would.
    fn scope(&self) -> Scope {
        match self {
            Own::Papers(_) => Scope::Papers,
        }
    }
}

impl Host {
    /// What a caller may read of the host itself, as its operator says now.
    fn scopes(&self, caller: &Caller) -> Scopes {
        let settings = self.serve_settings();
        match caller.door {
            Door::Stdio => settings.scopes.stdio.clone(),
            Door::Http => settings.scopes.http.clone(),
            Door::Inside => Scopes::default(),
        }
    }

    /// Whether a caller who wants to hear of what is at an address may: always, where that is a
    /// plugin's.
    pub fn may_hear(&self, caller: &Caller, uri: &str) -> bool {
        Own::named(uri).is_none_or(|own| own.is_within(&self.scopes(caller)))
    }

    /// Whether a caller may read papers.
    pub fn may_read_papers(&self, caller: &Caller) -> bool {
        self.scopes(caller).papers()
    }

    /// What the host itself has to read, as far as the caller may, by address; and where the list
    /// goes on. `after` is the last address of the page before.
    pub fn own_resources(&self, caller: &Caller, after: &str) -> (Vec<Resource>, Option<String>) {
        let mut page = Vec::new();
        if self.may_read_papers(caller) {
            page.extend(self.papers_after(after));
        }
        let next = (page.len() > PAGE).then(|| {
            page.truncate(PAGE);
            page.last().map(|last| last.uri.clone())
        });
        (page, next.flatten())
    }

    /// One more than a page has.
    fn papers_after(&self, after: &str) -> Vec<Resource> {
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
        papers.truncate(PAGE + 1);
        papers
    }

    /// The kinds of addresses that the caller may read.
    pub fn own_templates(&self, caller: &Caller) -> Vec<ResourceTemplate> {
        let mut templates = Vec::new();
        if self.may_read_papers(caller) {
            templates.push(ResourceTemplate {
                uri_template: PAPERS_TEMPLATE.to_owned(),
                name: "papers".to_owned(),
                title: Some("Papers of plugins".to_owned()),
                description: Some(
                    "What is known of a plugin: who made it, of what, under which terms, what it asks for, and what was found in it".to_owned(),
                ),
                mime_type: Some(JSON.to_owned()),
                annotations: None,
                icons: Vec::new(),
            });
        }
        templates
    }

    /// Says whether a caller may have themselves told of changes of what is at an address. What
    /// is the host's own is on record, as reading it is.
    ///
    /// # Errors
    /// A refusal, and what its operator can do; there is no such thing.
    pub fn subscribe_resource(
        &self,
        caller: &Caller,
        uri: &str,
    ) -> Result<(), (String, CallError)> {
        let call_id = self.ids.next();
        let Some(own) = Own::named(uri) else {
            let known = self.registry().resource(uri).is_some();
            return known.then_some(()).ok_or_else(|| (call_id, no_resource()));
        };
        let may = self.audit_is_kept();
        let may = may.and_then(|()| self.permit(caller, &own, &call_id));
        let may = may.and_then(|()| match &own {
            Own::Papers(alias) => with_papers(&self.registry(), alias).map(drop),
        });
        self.record_read(
            &call_id,
            caller,
            "resources/subscribe",
            uri,
            may.as_ref().err(),
            Instant::now(),
        );
        may.map_err(|error| (call_id, error))
    }

    /// Reads something of the host's own.
    pub(crate) async fn read_own(self: &Arc<Self>, asking: &Asking, own: Own) -> Asked<Vec<Part>> {
        let call_id = self.ids.next();
        let began = Instant::now();
        let uri = own.uri();
        let result = self.part_of(asking, &own, &call_id).await;
        let error = result.as_ref().err();
        self.record_read(
            &call_id,
            &asking.caller,
            "resources/read",
            &uri,
            error,
            began,
        );
        let result = result.map(|(mime_type, text)| {
            vec![Part {
                uri,
                mime_type: Some(mime_type.to_owned()),
                body: Body::Text(text),
                meta: Vec::new(),
            }]
        });
        Asked {
            call_id,
            plugin: None,
            result,
        }
    }

    async fn part_of(
        self: &Arc<Self>,
        asking: &Asking,
        own: &Own,
        call_id: &str,
    ) -> Result<(&'static str, String), CallError> {
        self.audit_is_kept()?;
        self.permit(&asking.caller, own, call_id)?;
        match own {
            Own::Papers(alias) => Ok((JSON, self.papers(alias, &asking.cancel).await?)),
        }
    }

    /// Lets pass what the caller may read. A refusal says nothing of whether it exists.
    ///
    /// # Errors
    /// A refusal, which is on record.
    fn permit(&self, caller: &Caller, own: &Own, call_id: &str) -> Result<(), CallError> {
        if own.is_within(&self.scopes(caller)) {
            return Ok(());
        }
        let scope = own.scope();
        let mut body = Map::new();
        body.insert("scope".to_owned(), scope.to_string().into());
        body.insert("item".to_owned(), own.uri().into());
        let event = AuditEvent {
            kind: AuditKind::Refusal,
            holder: Holder::host(),
            caller: caller.name.clone(),
            call: call_id.to_owned(),
            body,
        };
        // The record of the reading itself has the refusal, too.
        if let Err(error) = self.audit.note(event) {
            tracing::error!(%error, "a refusal was not recorded");
        }
        let (whose, setting) = match caller.door {
            Door::Stdio => ("clients over standard input and output have", "stdio"),
            Door::Http => ("clients over HTTP have", "http"),
            Door::Inside => ("plugins never have", "stdio"),
        };
        let message = format!(
            "this needs the scope `{scope}`, which {whose} not: its operator gives it in {MANIFEST}, under [serve]: scopes = {{ {setting} = [\"{scope}\"] }}"
        );
        Err(CallError::host(
            ErrorCode::PermissionDenied,
            "not-granted",
            message,
        ))
    }

    fn record_read(
        &self,
        call_id: &str,
        caller: &Caller,
        method: &str,
        uri: &str,
        error: Option<&CallError>,
        began: Instant,
    ) {
        self.record_ended(&Ended {
            call_id,
            caller: &caller.name,
            plugin: None,
            tool: method,
            item: Some(uri),
            scope: None,
            error,
            is_error: false,
            usage: &Usage {
                duration: began.elapsed(),
                ..Usage::default()
            },
        });
    }

    /// A plugin's papers as JSON: those that `portreeve inspect --json` prints, without what is
    /// this machine's own affair: paths, and what is granted.
    async fn papers(&self, alias: &Alias, cancel: &CancellationToken) -> Result<String, CallError> {
        let registry = self.registry();
        let facts = with_papers(&registry, alias)?.clone();
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
        let known = |registry: &Registry| -> Vec<_> {
            let plugins = registry.plugins();
            let known = plugins.filter_map(|plugin| Some((plugin.alias.clone(), plugin.digest()?)));
            known.collect()
        };
        // Nobody who listens is no error.
        if known(before) != known(now) {
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
fn with_papers<'a>(registry: &'a Registry, alias: &Alias) -> Result<&'a Facts, CallError> {
    let plugin = registry.plugin(alias.as_str());
    let facts = plugin.and_then(|plugin| plugin.facts.as_ref());
    facts.ok_or_else(no_resource)
}

/// What is known of its parts, without the paths of this machine that it may name.
fn without_places(facts: &Facts) -> portreeve_supply::advisory::Report {
    let mut report = (*facts.advisories).clone();
    if let Some(database) = &mut report.database {
        database.sources.clear();
    }
    if report.problem.is_some() {
        report.problem = Some("the database of advisories can't be used".to_owned());
    }
    report
}
