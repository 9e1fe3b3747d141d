//! Resources, prompts and completions, as the protocol wants them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use portreeve_core::{
    Asked, Body, CallError, Caller, Completing, Completions, ContentChange, Filled, Host, Listed,
    Part, Plugin, Registry, ResourceCursor, Said, Subject,
};
use portreeve_manifest::content as document;
use rmcp::model::{
    Annotations, ArgumentInfo, CompleteRequestParams, CompleteResult, CompletionInfo, ContentBlock,
    ErrorCode, ErrorData, GetPromptResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, MetaObject, PaginatedRequestParams, Prompt, PromptArgument,
    PromptListChangedNotification, PromptMessage, ReadResourceResult, Reference, Resource,
    ResourceContents, ResourceListChangedNotification, ResourceTemplate,
    ResourceUpdatedNotification, ResourceUpdatedNotificationParam, Role, ServerNotification,
};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::convert::{self, META_PLUGIN};
use crate::{panels, tools, visible};

/// Prompts and templates on one page.
const PAGE: usize = 1_000;

/// Resources that one connection may subscribe to.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 1_000;

/// The longest text that a client has completed, in bytes.
const COMPLETED_BYTES_MAX: usize = 4_096;

/// The key of `_meta` that names the plugins which are missing in a list.
const META_UNAVAILABLE: &str = "portreeve/unavailable";

/// The resources that a client has subscribed to.
#[derive(Default)]
pub(crate) struct Subscribed(Mutex<BTreeSet<String>>);

/// What a client is told of.
pub(crate) enum Heard {
    Resources,
    Prompts,
    Updated(String),
}

impl Subscribed {
    /// Those of a client of the newer era, which were accepted.
    pub(crate) fn to(uris: impl IntoIterator<Item = String>) -> Subscribed {
        Subscribed(Mutex::new(uris.into_iter().collect()))
    }

    fn uris(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one.
    ///
    /// # Errors
    /// When there is no such resource, its scope is not given, or there are too many.
    pub(crate) fn add(&self, host: &Host, caller: &Caller, uri: String) -> Result<(), ErrorData> {
        let may = host.subscribe_resource(caller, &uri);
        may.map_err(|(call_id, error)| {
            convert::refusal(error, &call_id, ErrorCode::RESOURCE_NOT_FOUND)
        })?;
        let mut uris = self.uris();
        if uris.len() >= SUBSCRIPTIONS_MAX && !uris.contains(&uri) {
            return Err(ErrorData::invalid_params(
                format!(
                    "this connection has {SUBSCRIPTIONS_MAX} subscriptions, which is all that it may have; end some first"
                ),
                None,
            ));
        }
        uris.insert(uri);
        Ok(())
    }

    /// Removes one.
    pub(crate) fn remove(&self, uri: &str) {
        self.uris().remove(uri);
    }

    /// What the client is told of a change: nothing of resources that it has not subscribed to,
    /// or may no longer read; everything, where it was too slow; none where the host is gone.
    pub(crate) fn told(
        &self,
        changed: Result<ContentChange, RecvError>,
        host: &Host,
        caller: &Caller,
    ) -> Option<Vec<Heard>> {
        let mut uris = self.uris();
        let may = |uri: &String| host.may_hear(caller, uri);
        Some(match changed {
            Ok(ContentChange::Resources) => vec![Heard::Resources],
            Ok(ContentChange::Prompts) => vec![Heard::Prompts],
            Ok(ContentChange::Papers) if host.may_read_papers(caller) => vec![Heard::Resources],
            Ok(ContentChange::Papers) => Vec::new(),
            Ok(ContentChange::Topics(changed)) => {
                let new = host.may_hear_of_new(caller, &changed);
                let concerned = uris.iter().filter(|uri| changed.concerns(uri) && may(uri));
                let updated = concerned.cloned().map(Heard::Updated);
                new.then_some(Heard::Resources)
                    .into_iter()
                    .chain(updated)
                    .collect()
            }
            Ok(ContentChange::Scopes) => {
                uris.retain(may);
                vec![Heard::Resources]
            }
            Ok(ContentChange::Updated(uri)) => {
                let uri = uris.get(&*uri).filter(|uri| may(uri));
                uri.cloned().map(Heard::Updated).into_iter().collect()
            }
            Err(RecvError::Lagged(_)) => {
                uris.retain(may);
                let updated = uris.iter().cloned().map(Heard::Updated);
                [Heard::Resources, Heard::Prompts]
                    .into_iter()
                    .chain(updated)
                    .collect()
            }
            Err(RecvError::Closed) => return None,
        })
    }
}

impl From<Heard> for ServerNotification {
    fn from(heard: Heard) -> ServerNotification {
        match heard {
            Heard::Resources => ResourceListChangedNotification::default().into(),
            Heard::Prompts => PromptListChangedNotification::default().into(),
            Heard::Updated(uri) => {
                let about = ResourceUpdatedNotificationParam::new(uri);
                ResourceUpdatedNotification::new(about).into()
            }
        }
    }
}

/// Where a list of resources goes on: in the plugins', which come first, or in the host's own,
/// after this address.
pub(crate) enum Cursor {
    Plugins(ResourceCursor),
    Own(String),
}

/// Reads a client's cursor of resources.
pub(crate) fn read_cursor(request: Option<&PaginatedRequestParams>) -> Result<Cursor, ErrorData> {
    let Some(cursor) = request.and_then(|request| request.cursor.as_deref()) else {
        return Ok(Cursor::Plugins(ResourceCursor::default()));
    };
    let text = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let text = text.ok_or_else(tools::foreign_cursor)?;
    if let Ok(after) = serde_json::from_slice(&text) {
        return Ok(Cursor::Own(after));
    }
    let read = serde_json::from_slice(&text).ok();
    let (alias, next, before) = read.ok_or_else(tools::foreign_cursor)?;
    Ok(Cursor::Plugins(ResourceCursor {
        alias,
        next,
        before,
    }))
}

fn write_cursor(cursor: &Cursor) -> String {
    let text = match cursor {
        Cursor::Plugins(at) => json!([at.alias, at.next, at.before]),
        Cursor::Own(after) => json!(after),
    };
    BASE64_URL_SAFE_NO_PAD.encode(text.to_string())
}

/// Which plugins are missing.
fn missing(failed: Vec<(String, CallError)>) -> Option<MetaObject> {
    if failed.is_empty() {
        return None;
    }
    let failed: Vec<Value> = failed
        .into_iter()
        .map(|(alias, error)| {
            json!({"plugin": alias, "origin": error.origin, "code": error.failure.code, "message": error.failure.message})
        })
        .collect();
    let mut meta = Map::new();
    meta.insert(META_UNAVAILABLE.to_owned(), failed.into());
    Some(MetaObject(meta))
}

/// A page of resources: the plugins' and, after them, the host's own.
pub(crate) fn resources(
    listed: Listed<document::Resource>,
    own: Vec<document::Resource>,
    next: Option<&Cursor>,
) -> ListResourcesResult {
    let items = listed.items.into_iter();
    let items = items.map(|(plugin, item)| resource(plugin.exposed_uri(&item.uri), item));
    let own = own.into_iter().map(|item| resource(item.uri.clone(), item));
    let mut result = ListResourcesResult::with_all_items(items.chain(own).collect());
    result.next_cursor = next.map(write_cursor);
    result.meta = missing(listed.failed);
    result
}

fn resource(uri: String, item: document::Resource) -> Resource {
    let mut shown = Resource::new(uri, visible::text(item.name));
    shown.title = visible::maybe(item.title);
    shown.description = visible::maybe(item.description);
    shown.mime_type = item.mime_type;
    shown.size = item.size;
    shown.icons = convert::icons(&item.icons);
    shown.annotations = item.annotations.map(annotations);
    shown
}

pub(crate) fn templates(
    listed: Listed<document::ResourceTemplate>,
    own: Vec<document::ResourceTemplate>,
    request: Option<&PaginatedRequestParams>,
) -> Result<ListResourceTemplatesResult, ErrorData> {
    let items = listed.items.into_iter();
    let items = items.map(|(plugin, item)| (plugin.exposed_uri(&item.uri_template), item));
    let own = own
        .into_iter()
        .map(|item| (item.uri_template.clone(), item));
    let items = items.chain(own).map(|(uri, item)| {
        let mut shown = ResourceTemplate::new(uri, visible::text(item.name));
        shown.title = visible::maybe(item.title);
        shown.description = visible::maybe(item.description);
        shown.mime_type = item.mime_type;
        shown.icons = convert::icons(&item.icons);
        shown.annotations = item.annotations.map(annotations);
        shown
    });
    let mut items: Vec<_> = items.collect();
    items.sort_by(|a, b| a.uri_template.cmp(&b.uri_template));
    let (page, next) = tools::page(&items, |item| &item.uri_template, request, PAGE)?;
    let mut result = ListResourceTemplatesResult::with_all_items(page);
    result.next_cursor = next;
    result.meta = missing(listed.failed);
    Ok(result)
}

pub(crate) fn prompts(
    listed: Listed<document::Prompt>,
    request: Option<&PaginatedRequestParams>,
) -> Result<ListPromptsResult, ErrorData> {
    let items = listed.items.into_iter().map(|(plugin, item)| {
        let arguments = item.arguments.into_iter().map(|argument| {
            let mut shown = PromptArgument::new(argument.name).with_required(argument.required);
            shown.title = visible::maybe(argument.title);
            shown.description = visible::maybe(argument.description);
            shown
        });
        let arguments: Vec<_> = arguments.collect();
        let arguments = (!arguments.is_empty()).then_some(arguments);
        let name = plugin.name_of(&item.name);
        let mut shown = Prompt::new(name, visible::maybe(item.description), arguments);
        shown.title = Some(visible::text(item.title.unwrap_or(item.name)));
        shown.icons = convert::icons(&item.icons);
        shown
    });
    let items: Vec<_> = items.collect();
    let (page, next) = tools::page(&items, |item| &item.name, request, PAGE)?;
    let mut result = ListPromptsResult::with_all_items(page);
    result.next_cursor = next;
    result.meta = missing(listed.failed);
    Ok(result)
}

fn annotations(hints: document::Annotations) -> Annotations {
    let mut shown = Annotations::default();
    shown.audience = hints.audience.map(|audience| {
        let roles = audience.into_iter().map(|role| match role {
            document::Audience::User => Role::User,
            document::Audience::Assistant => Role::Assistant,
        });
        roles.collect()
    });
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1")]
    let priority = hints.priority.map(|priority| priority as f32);
    shown.priority = priority;
    shown.last_modified = hints.last_modified;
    shown
}

/// What was read.
///
/// # Errors
/// Why nothing was.
pub(crate) fn read(
    asked: Asked<Vec<Part>>,
    uri: &str,
    registry: &Registry,
) -> Result<ReadResourceResult, ErrorData> {
    let answered = answered(asked, ErrorCode::RESOURCE_NOT_FOUND);
    let (plugin, call_id, parts) = answered.map_err(|mut error| {
        if error.code == ErrorCode::RESOURCE_NOT_FOUND
            && let Some(Value::Object(data)) = &mut error.data
        {
            data.insert("uri".to_owned(), uri.into());
        }
        error
    })?;
    let parts = parts
        .into_iter()
        .map(|part| contents(plugin.as_deref(), part, registry));
    let mut result = ReadResourceResult::new(parts.collect());
    result.meta = Some(MetaObject(convert::call_meta(&call_id)));
    Ok(result)
}

fn contents(plugin: Option<&Plugin>, part: Part, registry: &Registry) -> ResourceContents {
    let uri = plugin.map_or_else(|| part.uri.clone(), |plugin| plugin.exposed_uri(&part.uri));
    let is_panel = document::is_panel(&part.uri, part.mime_type.as_deref());
    let shown = match part.body {
        Body::Text(html) if is_panel && let Some(plugin) = plugin => {
            ResourceContents::text(panels::with_names(&html, plugin, registry), uri)
        }
        Body::Text(text) => ResourceContents::text(text, uri),
        Body::Bytes(bytes) => ResourceContents::blob(BASE64_STANDARD.encode(bytes), uri),
    };
    let shown = match part.mime_type {
        Some(mime_type) => shown.with_mime_type(mime_type),
        None => shown,
    };
    if part.meta.is_empty() && !is_panel {
        return shown;
    }
    let pairs = part.meta.into_iter();
    let pairs = pairs.map(|(name, value)| (format!("{META_PLUGIN}{name}"), value.into()));
    let ui = is_panel.then(|| ("ui".to_owned(), panels::meta()));
    shown.with_meta(MetaObject(pairs.chain(ui).collect()))
}

/// A prompt, filled in.
///
/// # Errors
/// Why it was not.
pub(crate) fn filled(
    asked: Asked<Filled>,
    registry: &Registry,
) -> Result<GetPromptResult, ErrorData> {
    let (plugin, call_id, filled) = answered(asked, ErrorCode::INVALID_PARAMS)?;
    let messages = filled.messages.into_iter().enumerate();
    let messages = messages.map(|(index, message)| {
        let role = if message.by_model {
            Role::Assistant
        } else {
            Role::User
        };
        let block = match message.said {
            Said::Content(content) => convert::block(content, &call_id, index),
            Said::Embedded(part) => {
                ContentBlock::resource(contents(plugin.as_deref(), part, registry))
            }
        };
        PromptMessage::new(role, block)
    });
    let mut result = GetPromptResult::new(messages.collect());
    result.description = visible::maybe(filled.description);
    result.meta = Some(MetaObject(convert::call_meta(&call_id)));
    Ok(result)
}

/// What a client wants completed.
///
/// # Errors
/// When it is too long.
pub(crate) fn completing(request: CompleteRequestParams) -> Result<Completing, ErrorData> {
    let ArgumentInfo { name, value, .. } = request.argument;
    let known = request.context.and_then(|context| context.arguments);
    let known: Map<String, Value> = known
        .into_iter()
        .flatten()
        .map(|(name, value)| (name, value.into()))
        .collect();
    let texts = known.iter().map(|(name, value)| {
        let value = value.as_str().map_or(0, str::len);
        name.len().saturating_add(value)
    });
    let bytes = texts.fold(
        name.len().saturating_add(value.len()),
        usize::saturating_add,
    );
    if bytes > COMPLETED_BYTES_MAX {
        return Err(ErrorData::invalid_params(
            format!("at most {COMPLETED_BYTES_MAX} bytes of arguments are completed"),
            None,
        ));
    }
    Ok(Completing {
        subject: match request.r#ref {
            Reference::Prompt(prompt) => Subject::Prompt(prompt.name),
            Reference::Resource(resource) => Subject::Template(resource.uri),
            _ => return Err(ErrorData::invalid_params("this is no reference", None)),
        },
        argument: name,
        value,
        known,
    })
}

/// Values for an argument.
///
/// # Errors
/// Why there are none.
pub(crate) fn completed(asked: Asked<Completions>) -> Result<CompleteResult, ErrorData> {
    let (_, call_id, found) = answered(asked, ErrorCode::INVALID_PARAMS)?;
    let mut info = CompletionInfo::new(found.values)
        .map_err(|error| ErrorData::internal_error(error, None))?;
    info.total = found.total;
    info.has_more = Some(found.more);
    let mut result = CompleteResult::new(info);
    result.meta = Some(MetaObject(convert::call_meta(&call_id)));
    Ok(result)
}

type Answered<T> = (Option<std::sync::Arc<Plugin>>, String, T);

fn answered<T>(asked: Asked<T>, not_found: ErrorCode) -> Result<Answered<T>, ErrorData> {
    match asked.result {
        Ok(given) => Ok((asked.plugin, asked.call_id, given)),
        Err(error) => Err(convert::refusal(error, &asked.call_id, not_found)),
    }
}
