//! What the host itself has to read, for callers with the scope: papers of plugins, and messages
//! in topics.
//!
//! One function decides, for lists, reads, subscriptions and what listeners are told alike, each
//! time anew: a scope that is taken away is gone at once.

mod papers;
mod topics;

use std::sync::Arc;
use std::time::Instant;

use portreeve_manifest::content::{
    Named, PAPERS_TEMPLATE, Resource, ResourceTemplate, TOPIC_TEMPLATE, URI_BYTES_MAX, named,
    papers_uri, topic_uri,
};
use portreeve_manifest::grant::{Topic, TopicPattern};
use portreeve_manifest::id::Alias;
use portreeve_manifest::scope::{Scope, Scopes};
use portreeve_runtime::{
    Body, CallError, Completing, Completions, ErrorCode, Part, Subject, Usage,
};
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind};
use serde_json::Map;

use crate::call::{Caller, Door};
use crate::content::{Asked, Asking, no_resource};
use crate::host::Host;
use crate::project::MANIFEST;
use crate::record::Ended;

pub(crate) use papers::READING_MAX;
pub(crate) use topics::TopicWatch;
pub use topics::TopicsChanged;

/// Entries of one page.
const PAGE: usize = 500;

/// Values of one completion, as many as the protocol has.
const COMPLETED_MAX: usize = 100;

/// Addresses of one request that are on record one by one.
const RECORDED_MAX: usize = 20;

/// What a subscription is on record as, in both eras.
const SUBSCRIBE: &str = "resources/subscribe";

/// Something of the host's own that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// What is known of the plugin with this alias.
    Papers(Alias),
    /// Messages in this topic.
    Topic(Topic),
}

impl Own {
    /// What a client means by an address; none where it isn't the host's own.
    pub(crate) fn named(uri: &str) -> Option<Own> {
        match named(uri)? {
            Named::Papers(alias) => Some(Own::Papers(Alias::new(alias).ok()?)),
            Named::Topic(topic) => Some(Own::Topic(topic.parse().ok()?)),
            Named::Own(..) | Named::Panel(..) | Named::Plain(_) => None,
        }
    }

    fn uri(&self) -> String {
        match self {
            Own::Papers(alias) => papers_uri(alias.as_str()),
            Own::Topic(topic) => topic_uri(topic),
        }
    }

    /// Whether these scopes let somebody read it.
    fn is_within(&self, scopes: &Scopes) -> bool {
        match self {
            Own::Papers(_) => scopes.papers(),
            Own::Topic(topic) => scopes.topic(topic),
        }
    }

    /// The scope that would.
    fn scope(&self) -> Scope {
        match self {
            Own::Papers(_) => Scope::Papers,
            Own::Topic(topic) => Scope::Topics(TopicPattern::from(topic)),
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
    ///
    /// # Errors
    /// When it can't be read now.
    pub async fn own_resources(
        &self,
        caller: &Caller,
        after: &str,
    ) -> Result<(Vec<Resource>, Option<String>), CallError> {
        // One more than a page has shows that there are more.
        let more = PAGE + 1;
        let mut page = Vec::new();
        if self.may_read_papers(caller) {
            page = self.papers_after(after, more);
        }
        // Their addresses come after those of papers.
        let room = more.saturating_sub(page.len());
        page.extend(self.topics_after(caller, after, room).await?);
        let goes_on = page.len() > PAGE;
        page.truncate(PAGE);
        let last = page.last().filter(|_| goes_on);
        let next = last.map(|last| last.uri.clone());
        Ok((page, next))
    }

    /// The kinds of addresses that the caller may read.
    pub fn own_templates(&self, caller: &Caller) -> Vec<ResourceTemplate> {
        let mut templates = Vec::new();
        let scopes = self.scopes(caller);
        if scopes.papers() {
            templates.push(papers::template());
        }
        if scopes.topics() {
            templates.push(topics::template());
        }
        templates
    }

    /// Values for what is filled in to an address of the host's own, as far as the caller may
    /// read there; none where it is another's address.
    pub(crate) async fn complete_own(
        &self,
        caller: &Caller,
        completing: &Completing,
    ) -> Option<Result<Completions, CallError>> {
        let Subject::Template(uri) = &completing.subject else {
            return None;
        };
        let begin = completing.value.as_str();
        let scopes = self.scopes(caller);
        let values: Vec<String> = match uri.as_str() {
            PAPERS_TEMPLATE if scopes.papers() => {
                let registry = self.registry();
                let known = registry.plugins().filter(|plugin| plugin.facts.is_some());
                let named = known.map(|plugin| plugin.alias.clone());
                named.filter(|alias| alias.starts_with(begin)).collect()
            }
            TOPIC_TEMPLATE if scopes.topics() => match self.topics_of(&scopes).await {
                Ok(topics) => {
                    let named = topics.iter().map(|stats| stats.topic.to_string());
                    named.filter(|topic| topic.starts_with(begin)).collect()
                }
                Err(error) => return Some(Err(error)),
            },
            _ => return None,
        };
        Some(Ok(Completions {
            total: u32::try_from(values.len()).ok(),
            more: values.len() > COMPLETED_MAX,
            values: values.into_iter().take(COMPLETED_MAX).collect(),
        }))
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
            // It is kept: no resource that is listed has a longer address.
            let resource = self.registry().resource(uri);
            let known = resource.is_some_and(|(_, own)| own.len() <= URI_BYTES_MAX);
            return known.then_some(()).ok_or_else(|| (call_id, no_resource()));
        };
        let may = self.audit_is_kept();
        let may = may.and_then(|()| self.permit(caller, &own, &call_id));
        let may = may.and_then(|()| self.is_there(&own));
        let error = may.as_ref().err();
        self.record_read(&call_id, caller, SUBSCRIBE, uri, error, Instant::now());
        may.map_err(|error| (call_id, error))
    }

    /// Those of several addresses of which a caller may have themselves told. One by one there is
    /// a record of the first of them, of the others only how many they were: one request is to
    /// fill no log.
    pub fn subscribe_resources<'a>(
        &self,
        caller: &Caller,
        uris: impl IntoIterator<Item = &'a String>,
    ) -> Vec<&'a String> {
        let (mut told, mut more) = (0, 0_usize);
        let mut may = |uri: &&String| match Own::named(uri) {
            Some(own) if told >= RECORDED_MAX => {
                more = more.saturating_add(1);
                own.is_within(&self.scopes(caller)) && self.is_there(&own).is_ok()
            }
            own => {
                told = told.saturating_add(usize::from(own.is_some()));
                self.subscribe_resource(caller, uri).is_ok()
            }
        };
        let accepted: Vec<&String> = uris.into_iter().filter(&mut may).collect();
        if more > 0 {
            let (call_id, item) = (self.ids.next(), format!("{more} more"));
            self.record_read(&call_id, caller, SUBSCRIBE, &item, None, Instant::now());
        }
        accepted
    }

    /// # Errors
    /// When there is no such thing.
    fn is_there(&self, own: &Own) -> Result<(), CallError> {
        match own {
            Own::Papers(alias) => papers::known(&self.registry(), alias).map(drop),
            // It may come to be.
            Own::Topic(_) => Ok(()),
        }
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
            Own::Papers(alias) => {
                let papers = self.papers(alias, &asking.cancel).await?;
                Ok((papers::JSON, papers))
            }
            Own::Topic(topic) => Ok((topics::EVENTS, self.events(topic).await?)),
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
}
