//! Resources, prompts and completion: asked of the plugins that offer them, each by itself, so
//! that one that fails hides nothing of the others.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use portreeve_manifest::content::{
    Named, Prompt, Resource, ResourceTemplate, check_prompt_arguments, exposed_uri, is_panel, named,
};
use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    CallError, Changes, Completing, Completions, ErrorCode, Filled, Finished, Given, Part, Subject,
    Wanted,
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::call::{CallRequest, Caller, ProgressListener};
use crate::host::Host;
use crate::log::CallOutput;
use crate::panels;
use crate::pipeline::name_limits_place;
use crate::plugin::{Facts, Plugin};
use crate::prompt::CallerUi;
use crate::readers::{Own, TopicsChanged};
use crate::record::Ended;
use crate::registry::Registry;
use crate::scope::CallScope;

/// Longest time that a plugin may take to list something.
const LISTING_TIME_MAX: Duration = Duration::from_secs(10);

/// Plugins that are asked at a time for one list.
const AT_ONCE: usize = 8;

/// Resources after which a page ends.
const PAGE_MIN: usize = 500;

/// Which interfaces of `portreeve:content` a component exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offers {
    pub(crate) resources: bool,
    pub(crate) prompts: bool,
    pub(crate) completion: bool,
}

/// What has changed for clients, besides tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentChange {
    /// There are other resources or templates.
    Resources,
    /// There are other prompts.
    Prompts,
    /// The resource that clients see at this address has another content.
    Updated(Arc<str>),
    /// There are papers of other plugins, for callers who may read those.
    Papers,
    /// Something entered topics, for callers who may read those.
    Topics(Arc<TopicsChanged>),
    /// Callers may read more of the host's own, or less.
    Scopes,
}

/// Who asks.
#[derive(Clone)]
pub struct Asking {
    /// Who.
    pub caller: Caller,
    /// Who wants to hear of progress.
    pub progress: Option<Arc<dyn ProgressListener>>,
    /// The ways to the caller's client.
    pub ui: CallerUi,
    /// Ends it.
    pub cancel: CancellationToken,
}

impl Asking {
    /// Who makes a call.
    pub(crate) fn of(call: CallRequest) -> Asking {
        Asking {
            caller: call.caller,
            progress: call.progress,
            ui: call.ui,
            cancel: call.cancel,
        }
    }

    /// What is asked, as a call.
    pub(crate) fn request(&self, what: String, arguments: Map<String, Value>) -> CallRequest {
        CallRequest {
            caller: self.caller.clone(),
            tool: what,
            arguments,
            progress: self.progress.clone(),
            ui: self.ui.clone(),
            cancel: self.cancel.clone(),
        }
    }
}

/// Where a list goes on: at a plugin, in its own words, after so many of its resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceCursor {
    /// The plugin, or the first one after this name.
    pub alias: String,
    /// Where it goes on; none from its beginning.
    pub next: Option<String>,
    /// How many of its resources came before.
    pub before: u32,
}

/// A list of all plugins that could be asked.
#[derive(Debug)]
pub struct Listed<T> {
    /// What there is, with the plugins' own names and addresses.
    pub items: Vec<(Arc<Plugin>, T)>,
    /// Plugins that gave none, and why.
    pub failed: Vec<(String, CallError)>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Listed {
            items: Vec::new(),
            failed: Vec::new(),
        }
    }
}

/// The end of a question to one plugin.
#[derive(Debug)]
pub struct Asked<T> {
    /// Its id: in the log, and for the caller.
    pub call_id: String,
    /// The plugin that answered; none where nobody was found.
    pub plugin: Option<Arc<Plugin>>,
    /// The answer.
    pub result: Result<T, CallError>,
}

impl<T> Asked<T> {
    fn and_then<U>(self, next: impl FnOnce(T) -> Result<U, CallError>) -> Asked<U> {
        Asked {
            call_id: self.call_id,
            plugin: self.plugin,
            result: self.result.and_then(next),
        }
    }
}

impl Plugin {
    /// The address under which clients see one of its own.
    pub fn exposed_uri(&self, own: &str) -> String {
        let schemes = self.facts.as_ref().map(|facts| &facts.expose.schemes);
        exposed_uri(&self.alias, schemes.map_or(&[][..], Vec::as_slice), own)
    }

    pub(crate) fn offers(&self) -> Offers {
        let facts = self.facts.as_ref();
        facts.map(|facts| facts.offers).unwrap_or_default()
    }
}

impl Registry {
    /// The plugin behind an address that clients see, and its own address for it.
    pub fn resource(&self, uri: &str) -> Option<(Arc<Plugin>, String)> {
        let (plugin, own) = match named(uri)? {
            Named::Own(alias, own) => (self.plugin(alias)?, own.to_owned()),
            Named::Panel(alias, rest) => (self.plugin(alias)?, format!("ui://{rest}")),
            Named::Plain(scheme) => {
                let has = |plugin: &&Arc<Plugin>| {
                    let facts = plugin.facts.as_ref();
                    facts.is_some_and(|facts| facts.expose.schemes.iter().any(|s| s == scheme))
                };
                (self.plugins().find(has)?, uri.to_owned())
            }
            Named::Papers(_) | Named::Topic(_) => return None,
        };
        // One thing has one address.
        let same = plugin.offers().resources && plugin.exposed_uri(&own) == uri;
        same.then(|| (plugin.clone(), own))
    }

    /// Plugins that export an interface.
    fn offering(&self, which: fn(&Offers) -> bool) -> Vec<Arc<Plugin>> {
        let offering = self.plugins().filter(|plugin| which(&plugin.offers()));
        offering.cloned().collect()
    }

    /// What tells two registries apart in what they offer besides tools.
    pub(crate) fn content_of(&self, which: fn(&Offers) -> bool) -> Vec<impl PartialEq + use<>> {
        let offering = self.offering(which).into_iter();
        let facts = offering.filter_map(|plugin| {
            let facts = plugin.facts.as_ref()?;
            Some((
                plugin.alias.clone(),
                facts.component.digest,
                facts.expose.clone(),
            ))
        });
        facts.collect()
    }
}

impl Host {
    /// Resources of all plugins, by alias, from where a page ended.
    pub async fn resources(
        self: &Arc<Self>,
        asking: &Asking,
        from: ResourceCursor,
    ) -> (Listed<Resource>, Option<ResourceCursor>) {
        let mut plugins = self.registry().offering(|offers| offers.resources);
        plugins.retain(|plugin| plugin.alias >= from.alias);
        let mut listed = Listed::default();
        let mut from = Some(from);
        let mut rest = plugins.into_iter().peekable();
        while rest.peek().is_some() {
            let some: Vec<_> = rest.by_ref().take(AT_ONCE).collect();
            let asked = some.into_iter().map(|plugin| {
                let begin = from.take().filter(|from| from.alias == plugin.alias);
                let begin = begin.unwrap_or_default();
                async move {
                    let wanted = Wanted::Resources(begin.next);
                    let asked = self.ask(asking, plugin.clone(), wanted).await;
                    (plugin, begin.before, asked)
                }
            });
            let mut asked = futures::stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE);
            while let Some((plugin, before, asked)) = asked.next().await {
                let (items, next) = match asked.result {
                    Ok(Given::Resources(items, next)) => (items, next),
                    Ok(_) => continue,
                    Err(error) => {
                        listed.failed.push((plugin.alias.clone(), error));
                        continue;
                    }
                };
                let max = plugin.limits().map_or(0, |limits| limits.resources);
                let room = max.saturating_sub(before) as usize;
                // An empty page counts, too: a list of nothing but those would never end.
                let counted = u32::try_from(items.len().max(1)).unwrap_or(u32::MAX);
                let before = before.saturating_add(counted);
                let items = items.into_iter().take(room);
                listed
                    .items
                    .extend(items.map(|item| (plugin.clone(), item)));
                if let Some(next) = next {
                    if before < max {
                        let alias = plugin.alias.clone();
                        let next = Some(next);
                        return (
                            listed,
                            Some(ResourceCursor {
                                alias,
                                next,
                                before,
                            }),
                        );
                    }
                    tracing::warn!(
                        plugin = plugin.alias,
                        "it has more resources than its limit `resources` of {max}; the rest is left out"
                    );
                }
            }
            drop(asked);
            if listed.items.len() >= PAGE_MIN
                && let Some(plugin) = rest.peek()
            {
                let alias = plugin.alias.clone();
                return (
                    listed,
                    Some(ResourceCursor {
                        alias,
                        ..ResourceCursor::default()
                    }),
                );
            }
        }
        (listed, None)
    }

    /// The templates of all plugins, by alias.
    pub async fn templates(self: &Arc<Self>) -> Listed<ResourceTemplate> {
        let plugins = self.registry().offering(|offers| offers.resources);
        let mut listed = self.listed(plugins, Self::templates_of).await;
        listed.items.retain(|(plugin, template)| {
            plugin.shows_panels()
                || !is_panel(&template.uri_template, template.mime_type.as_deref())
        });
        listed
    }

    /// The prompts of all plugins, by the names that clients see. Of two with one name it is
    /// that of the plugin whose names nobody changed, else the first by alias, as with tools.
    pub async fn prompts(self: &Arc<Self>) -> Listed<Prompt> {
        let mut plugins = self.registry().offering(|offers| offers.prompts);
        plugins.sort_by_key(|plugin| plugin.prefix.is_some());
        let mut listed = self.listed(plugins, Self::prompts_of).await;
        let name = |(plugin, prompt): &(Arc<Plugin>, Prompt)| plugin.name_of(&prompt.name);
        listed.items.sort_by_cached_key(name);
        listed
            .items
            .dedup_by(|later, first| name(later) == name(first));
        listed
    }

    async fn listed<T: Clone, F>(
        self: &Arc<Self>,
        plugins: Vec<Arc<Plugin>>,
        of: impl Fn(Arc<Self>, Arc<Plugin>) -> F,
    ) -> Listed<T>
    where
        F: Future<Output = Result<Arc<[T]>, CallError>>,
    {
        let asked = plugins.into_iter().map(|plugin| {
            let list = of(self.clone(), plugin.clone());
            async move { (plugin, list.await) }
        });
        let mut asked = futures::stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE);
        let mut listed = Listed::default();
        while let Some((plugin, list)) = asked.next().await {
            match list {
                Ok(list) => {
                    let items = list.iter().cloned();
                    listed
                        .items
                        .extend(items.map(|item| (plugin.clone(), item)));
                }
                Err(error) => {
                    tracing::warn!(plugin = plugin.alias, %error, "a plugin lists nothing");
                    listed.failed.push((plugin.alias.clone(), error));
                }
            }
        }
        listed
    }

    async fn templates_of(
        self: Arc<Self>,
        plugin: Arc<Plugin>,
    ) -> Result<Arc<[ResourceTemplate]>, CallError> {
        let facts = facts(&plugin)?;
        let asking = || async {
            match self
                .ask_component(&plugin.alias, facts, Wanted::Templates)
                .await?
            {
                Given::Templates(list) => Ok(list.into()),
                _ => Err(CallError::internal("something else answered for templates")),
            }
        };
        let list = facts.component.templates.get_or_try_init(asking).await;
        list.cloned()
    }

    async fn prompts_of(self: Arc<Self>, plugin: Arc<Plugin>) -> Result<Arc<[Prompt]>, CallError> {
        let facts = facts(&plugin)?;
        let asking = || async {
            match self
                .ask_component(&plugin.alias, facts, Wanted::Prompts)
                .await?
            {
                Given::Prompts(list) => Ok(list.into()),
                _ => Err(CallError::internal("something else answered for prompts")),
            }
        };
        let list = facts.component.prompts.get_or_try_init(asking).await;
        list.cloned()
    }

    /// Asks for what depends on nothing but the component.
    async fn ask_component(
        &self,
        alias: &str,
        facts: &Facts,
        wanted: Wanted,
    ) -> Result<Given, CallError> {
        let limits = for_listing(&facts.limits);
        let template = self.template(alias, facts, None).await?.clone();
        let output = Arc::new(CallOutput {
            log: self.workshop.log.clone(),
            plugin: alias.to_owned(),
            call: String::new(),
        });
        let asked = async move { template.ask_without_grants(&wanted, &limits, output).await };
        self.workshop.run(asked, false).await.result
    }

    /// Reads the resource that clients see at `uri`.
    pub async fn read_resource(self: &Arc<Self>, asking: &Asking, uri: &str) -> Asked<Vec<Part>> {
        if let Some(own) = Own::named(uri) {
            return self.read_own(asking, own).await;
        }
        let Some((plugin, own)) = self.registry().resource(uri) else {
            return self.nobody(no_resource());
        };
        let asked = self.ask(asking, plugin, Wanted::Read(own)).await;
        asked.and_then(|given| match given {
            Given::Read(parts) => Ok(parts),
            _ => Err(CallError::internal(
                "something else answered for a resource",
            )),
        })
    }

    /// Fills in the prompt that clients see under this name.
    pub async fn prompt(
        self: &Arc<Self>,
        asking: &Asking,
        name: &str,
        arguments: Map<String, Value>,
    ) -> Asked<Filled> {
        let Some((plugin, prompt)) = self.find_prompt(name).await else {
            return self.nobody(CallError::host(
                ErrorCode::NotFound,
                "no-such-prompt",
                "there is no prompt with this name; `prompts/list` names them all",
            ));
        };
        let bytes = Value::Object(arguments.clone()).to_string().len();
        let fits = match plugin.limits() {
            Some(limits) if bytes > limits.arguments.as_usize() => Err(format!(
                "the arguments have {bytes} bytes, but at most {} are allowed (`arguments` in the plugin's limits)",
                limits.arguments
            )),
            _ => check_prompt_arguments(&prompt, &arguments),
        };
        if let Err(why) = fits {
            let error = CallError::host(ErrorCode::InvalidArgument, "arguments", why);
            return self.nobody(error);
        }
        let wanted = Wanted::Prompt(prompt.name, arguments);
        let asked = self.ask(asking, plugin, wanted).await;
        asked.and_then(|given| match given {
            Given::Prompt(filled) => Ok(filled),
            _ => Err(CallError::internal("something else answered for a prompt")),
        })
    }

    /// Completes an argument; its subject has the name or address that clients see. Nothing is
    /// found where the plugin completes none.
    pub async fn complete(
        self: &Arc<Self>,
        asking: &Asking,
        mut completing: Completing,
    ) -> Asked<Completions> {
        if let Some(found) = self.complete_own(&asking.caller, &completing).await {
            return Asked {
                call_id: self.ids.next(),
                plugin: None,
                result: found,
            };
        }
        let plugin = match &mut completing.subject {
            Subject::Prompt(name) => match self.find_prompt(name).await {
                Some((plugin, prompt)) => {
                    *name = prompt.name;
                    Some(plugin)
                }
                None => None,
            },
            Subject::Template(uri) => {
                let templates = self.templates().await.items;
                let found = templates
                    .into_iter()
                    .find(|(plugin, template)| plugin.exposed_uri(&template.uri_template) == *uri);
                found.map(|(plugin, template)| {
                    *uri = template.uri_template;
                    plugin
                })
            }
        };
        let Some(plugin) = plugin else {
            return self.nobody(CallError::host(
                ErrorCode::NotFound,
                "no-such-reference",
                "there is no such prompt or template",
            ));
        };
        if !plugin.offers().completion {
            return Asked {
                call_id: self.ids.next(),
                plugin: Some(plugin),
                result: Ok(Completions::default()),
            };
        }
        let wanted = Wanted::Completions(completing);
        let asked = self.ask(asking, plugin, wanted).await;
        asked.and_then(|given| match given {
            Given::Completions(found) => Ok(found),
            _ => Err(CallError::internal(
                "something else answered for a completion",
            )),
        })
    }

    /// The prompt with this name. Those whose plugin's name it begins with are asked first, so
    /// that one that hangs holds up nobody else's.
    async fn find_prompt(self: &Arc<Self>, name: &str) -> Option<(Arc<Plugin>, Prompt)> {
        let plugins = self.registry().offering(|offers| offers.prompts);
        let (likely, mut others): (Vec<_>, Vec<_>) = plugins.into_iter().partition(|plugin| {
            let rest = name.strip_prefix(plugin.alias.as_str());
            plugin.prefix.is_none() && rest.is_some_and(|rest| rest.starts_with("__"))
        });
        others.sort_by_key(|plugin| plugin.prefix.is_some());
        for plugins in [likely, others] {
            let listed = self.listed(plugins, Self::prompts_of).await.items;
            let found = listed
                .into_iter()
                .find(|(plugin, prompt)| plugin.name_of(&prompt.name) == name);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The answer where no plugin is asked.
    fn nobody<T>(&self, error: CallError) -> Asked<T> {
        Asked {
            call_id: self.ids.next(),
            plugin: None,
            result: Err(error),
        }
    }

    /// Asks one plugin, as a call is made: with a turn, its grants, and a record.
    async fn ask(
        self: &Arc<Self>,
        asking: &Asking,
        plugin: Arc<Plugin>,
        wanted: Wanted,
    ) -> Asked<Given> {
        let call_id = self.ids.next();
        let (method, item) = match &wanted {
            Wanted::Resources(_) => ("resources/list", None),
            Wanted::Templates => ("resources/templates/list", None),
            Wanted::Read(uri) => ("resources/read", Some(uri.clone())),
            Wanted::Prompts => ("prompts/list", None),
            Wanted::Prompt(name, _) => ("prompts/get", Some(name.clone())),
            Wanted::Completions(_) => ("completion/complete", None),
        };
        let request = asking.request(method.to_owned(), Map::new());
        let mut scope = None;
        let finished = self
            .prepare_to_ask(&call_id, &request, &plugin, wanted, &mut scope)
            .await
            .unwrap_or_else(Finished::refused);
        self.tell_changes(&plugin, finished.changes);
        self.record_ended(&Ended {
            call_id: &call_id,
            caller: &request.caller.name,
            plugin: Some(&plugin),
            tool: method,
            item: item.as_deref(),
            scope: scope.as_deref(),
            error: finished.result.as_ref().err(),
            is_error: false,
            usage: &finished.usage,
        });
        if let Err(error) = &finished.result {
            tracing::info!(
                call = call_id,
                plugin = plugin.alias,
                method,
                origin = ?error.origin,
                code = %error.failure.code,
                detail = error.log,
                "a plugin gave no answer: {}",
                error.failure.message,
            );
        }
        Asked {
            call_id,
            plugin: Some(plugin),
            result: finished.result,
        }
    }

    async fn prepare_to_ask(
        self: &Arc<Self>,
        call_id: &str,
        request: &CallRequest,
        plugin: &Arc<Plugin>,
        wanted: Wanted,
        scope: &mut Option<Arc<CallScope>>,
    ) -> Result<Finished<Given>, CallError> {
        self.audit_is_kept()?;
        let facts = facts(plugin)?;
        let alias = &plugin.alias;
        let ready = async {
            let listener = request.progress.as_deref();
            let template = self.template(alias, facts, listener).await?.clone();
            let connection = &request.caller.connection;
            let permit = self.admission.admit(connection, alias, &facts.limits);
            let permit = permit.await?;
            let vessel = self.vessel(plugin, facts, &template).await?;
            Ok((permit, vessel))
        };
        let (permit, vessel) = tokio::select! {
            biased;
            () = request.cancel.cancelled() => Err(CallError::cancelled()),
            ready = ready => ready,
        }?;
        let scope = scope.insert(CallScope::new(
            plugin.clone(),
            call_id,
            request.caller.name.clone(),
            self.audit.clone(),
            Vec::new(),
        ));
        let resident = vessel.is_resident();
        let uses_sockets = vessel.may_use_sockets(facts, scope);
        let context = self.context(facts, scope, request, uses_sockets).await?;
        let limits = match wanted {
            Wanted::Resources(_) | Wanted::Completions(_) => for_listing(&facts.limits),
            _ => facts.limits.clone(),
        };
        if let Wanted::Read(uri) = &wanted {
            panels::permit(scope, uri, None)?;
        }
        let asked = Box::pin(async move {
            let _permit = permit;
            vessel.ask(&wanted, &limits, context).await
        });
        let mut finished = match resident {
            // A turn that were cut off would take the instance from everybody else.
            true => {
                let pace = &facts.component.pace;
                self.workshop
                    .call_to_its_end(asked, pace, uses_sockets)
                    .await
            }
            false => self.workshop.run(asked, uses_sockets).await,
        };
        finished.result = finished
            .result
            .and_then(|given| panels::permitted(scope, given));
        name_limits_place(&mut finished.result, alias);
        Ok(finished)
    }

    /// Tells clients what a plugin's call has changed.
    pub(crate) fn tell_changes(&self, plugin: &Plugin, changes: Changes) {
        if changes.is_empty() || !plugin.offers().resources {
            return;
        }
        // Nobody who listens is no error.
        if changes.list {
            let _ = self.content_changes.send(ContentChange::Resources);
        }
        for own in changes.updated {
            let uri = plugin.exposed_uri(&own).into();
            let _ = self.content_changes.send(ContentChange::Updated(uri));
        }
    }
}

fn facts(plugin: &Plugin) -> Result<&Facts, CallError> {
    let alias = &plugin.alias;
    let facts = plugin.facts.as_ref();
    facts.ok_or_else(|| CallError::internal(format!("`{alias}` was asked, but has no package")))
}

fn for_listing(limits: &Limits) -> Limits {
    Limits {
        timeout: limits.timeout.min(LISTING_TIME_MAX),
        ..limits.clone()
    }
}

pub(crate) fn no_resource() -> CallError {
    CallError::host(
        ErrorCode::NotFound,
        "no-such-resource",
        "there is no resource at this address; `resources/list` names those there are",
    )
}
