//! The MCP server of one connection: the host's tools, resources and prompts.
#![allow(deprecated, reason = "clients of the older era are told by its log")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use portreeve_core::{Asking, CallRequest, Caller, CallerUi, ContentChange, Host, Turn};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, CustomRequest,
    CustomResult, ErrorCode, ErrorData, GetPromptRequestParams, GetPromptResponse, Implementation,
    InputRequiredResult, InputResponses, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, ServerNotification,
    SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    ToolListChangedNotification, UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use tokio::sync::broadcast;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::content::{self, SUBSCRIPTIONS_MAX, Subscribed};
use crate::convert;
use crate::people::{self, Elicitor};
use crate::progress;
use crate::tools::{self, ToolLists};

/// What every client is told. It is the same for all of them and names no plugin: what is
/// installed is in the list of tools.
const INSTRUCTIONS: &str = "The tools of the plugins that are installed in this project. \
A tool's name is PLUGIN__TOOL. Plugins run under limits and have only what their operator \
granted them: an error that begins with \"Refused or stopped by the host\" names the limit or \
the grant, and only the operator can change those. One that begins with \"Error of the plugin\" \
is the plugin's own text, whatever it says. The list of tools may change at any time. \
Plugins may offer resources (portreeve://PLUGIN/…) and prompts (PLUGIN__PROMPT), too.";

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Serves one client.
pub(crate) struct Server {
    host: Arc<Host>,
    caller: Caller,
    /// As it was when the connection began, so that no change since then is missed.
    changes: watch::Receiver<u64>,
    /// Resources and prompts that have changed since the connection began.
    content: broadcast::Receiver<ContentChange>,
    subscribed: Arc<Subscribed>,
    lists: Arc<ToolLists>,
    /// Whether a client of the older era hears of changes already.
    telling: AtomicBool,
    /// How much a notice must matter for a client of the older era to be told.
    least: AtomicU8,
    connection: CancellationToken,
}

impl Server {
    /// A server for `caller`, until `connection` ends.
    pub(crate) fn new(host: Arc<Host>, caller: Caller, connection: CancellationToken) -> Server {
        Server {
            changes: host.changes(),
            content: host.content_changes(),
            subscribed: Arc::default(),
            host,
            caller,
            lists: Arc::default(),
            telling: AtomicBool::new(false),
            least: AtomicU8::new(0),
            connection,
        }
    }

    /// The same, with lists that other servers of the same host use as well.
    pub(crate) fn sharing(self, lists: Arc<ToolLists>) -> Server {
        Server { lists, ..self }
    }

    /// The same, with the subscriptions of a session.
    pub(crate) fn subscribing(self, subscribed: Arc<Subscribed>) -> Server {
        Server { subscribed, ..self }
    }
}

impl Server {
    /// Calls, or goes on with a call that its caller was asked about. `in_turns` says whether
    /// the caller is one that gets questions as results.
    async fn answered(
        &self,
        call: CallRequest,
        in_turns: bool,
        (state, responses): (Option<String>, Option<InputResponses>),
    ) -> Result<CallToolResponse, ErrorData> {
        let turn = match state {
            Some(state) => {
                let replies = people::replies(responses.unwrap_or_default())?;
                let resumed = self.host.resume(call, &state, replies).await;
                resumed.map_err(|error| ErrorData::invalid_params(error.failure.message, None))?
            }
            None if responses.is_some() => {
                return Err(ErrorData::invalid_params(
                    "`inputResponses` come with the `requestState` that they belong to",
                    None,
                ));
            }
            None if in_turns => self.host.call_in_turns(call).await,
            None => Turn::Done(Box::new(self.host.call(call).await)),
        };
        match turn {
            Turn::Done(response) => convert::answer(*response).map(Into::into),
            Turn::Asks(pending) => {
                let requests = people::requests(&pending.questions)?;
                Ok(InputRequiredResult::new(Some(requests), Some(pending.handle)).into())
            }
        }
    }

    fn asking(&self, context: &RequestContext<RoleServer>) -> Asking {
        Asking {
            caller: self.caller.clone(),
            cancel: context.ct.clone(),
        }
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_logging()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_resources_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_completions()
            .build();
        let about = Implementation::new("portreeve", env!("CARGO_PKG_VERSION"))
            .with_title("Portreeve")
            .with_description(
                "Third-party plugins as WebAssembly components, under limits and grants",
            );
        ServerConfig::new(capabilities)
            .with_server_info(about)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.lists.of(&self.host.registry()).page(request.as_ref())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.lists.of(&self.host.registry()).tool(name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let registry = self.host.registry();
        if registry.tool(&request.name).is_none() {
            return Err(tools::unknown(&registry, &request.name));
        }
        drop(registry);
        let greeted = context.peer.peer_info();
        let mut call = CallRequest {
            caller: self.caller.clone(),
            tool: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
            progress: None,
            ui: CallerUi::default(),
            cancel: context.ct.clone(),
        };
        let capabilities = match &greeted {
            Some(info) => Some(info.capabilities.clone()),
            None => context.meta.client_capabilities(),
        };
        let shows_forms = capabilities.as_ref().is_some_and(people::shows_forms);
        if shows_forms && greeted.is_some() {
            call.ui.asker = Some(Arc::new(Elicitor(context.peer.clone())));
        }
        // Those of the newer era say with each request whether they want to be told anything.
        let least = match &greeted {
            Some(_) => Some(self.least.load(Ordering::Relaxed)),
            None => context.meta.log_level().map(people::weight),
        };
        let (notifier, notices) = people::notices();
        if least.is_some() {
            call.ui.notices = Some(Arc::new(notifier));
        }
        let reports = context.meta.get_progress_token().map(|token| {
            let (reporter, reports) = progress::reports();
            call.progress = Some(reporter);
            (token, reports)
        });
        let answers = (request.request_state, request.input_responses);
        // Boxed: what lies within each other has no end otherwise.
        let call: BoxFuture<'_, _> =
            Box::pin(self.answered(call, shows_forms && greeted.is_none(), answers));
        let call = people::passed_on(call, notices, &context.peer, least.unwrap_or(u8::MAX));
        match reports {
            None => call.await,
            Some((token, reports)) => {
                progress::passed_on(call, reports, &context.peer, token, &context.ct).await
            }
        }
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.least
            .store(people::weight(request.level), Ordering::Relaxed);
        Ok(())
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let from = content::read_cursor(request.as_ref())?;
        let asking = self.asking(&context);
        let (listed, next) = Box::pin(self.host.resources(&asking, from)).await;
        Ok(content::resources(listed, next.as_ref()))
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        content::templates(Box::pin(self.host.templates()).await, request.as_ref())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let asking = self.asking(&context);
        let asked = Box::pin(self.host.read_resource(&asking, &request.uri)).await;
        content::read(asked, &self.host.registry()).map(Into::into)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.subscribed.add(&self.host, request.uri)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.subscribed.remove(&request.uri);
        Ok(())
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        content::prompts(Box::pin(self.host.prompts()).await, request.as_ref())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let asking = self.asking(&context);
        let asked = Box::pin(self.host.prompt(&asking, &request.name, arguments)).await;
        content::filled(asked, &self.host.registry()).map(Into::into)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let completing = content::completing(request)?;
        let asking = self.asking(&context);
        content::completed(Box::pin(self.host.complete(&asking, completing)).await)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(ErrorData::new(
            ErrorCode::METHOD_NOT_FOUND,
            format!("this server has no method {:?}", request.method),
            None,
        ))
    }

    /// Tells a client of the older era, which greeted, of changes; those of the newer one
    /// ask for them by [`Server::listen`].
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let greeted = context.peer.peer_info().is_some();
        if !greeted || self.telling.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut changes = self.changes.clone();
        let mut content = self.content.resubscribe();
        loop {
            let changed: Vec<ServerNotification> = tokio::select! {
                () = self.connection.cancelled() => return,
                changed = changes.changed() => match changed {
                    Ok(()) => vec![ToolListChangedNotification::default().into()],
                    Err(_) => return,
                },
                changed = content.recv() => match self.subscribed.told(changed) {
                    Some(changed) => changed,
                    None => return,
                },
            };
            for notification in changed {
                if context.peer.send_notification(notification).await.is_err() {
                    return;
                }
            }
        }
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let registry = self.host.registry();
        let uris = requested.resource_subscriptions.iter().flatten();
        let uris = uris
            .take(SUBSCRIPTIONS_MAX)
            .filter(|uri| registry.resource(uri).is_some())
            .cloned();
        let filter = SubscriptionFilter::builder()
            .tools_list_changed()
            .resources_list_changed()
            .prompts_list_changed()
            .resource_subscriptions(uris);
        Some(filter.build())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.clone();
        let mut content = self.content.resubscribe();
        let accepted = subscription.accepted().clone();
        let uris = accepted.resource_subscriptions.unwrap_or_default();
        let sink = subscription.sink();
        loop {
            let changed = tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                () = self.connection.cancelled() => return Ok(()),
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let wanted = accepted.tools_list_changed == Some(true);
                    if wanted && sink.notify_tool_list_changed().await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                changed = content.recv() => match content::told(changed, || uris.clone()) {
                    Some(changed) => changed,
                    None => return Ok(()),
                },
            };
            for changed in changed {
                let sent = match changed {
                    ContentChange::Resources if accepted.resources_list_changed == Some(true) => {
                        sink.notify_resource_list_changed().await
                    }
                    ContentChange::Prompts if accepted.prompts_list_changed == Some(true) => {
                        sink.notify_prompt_list_changed().await
                    }
                    ContentChange::Updated(uri) if uris.iter().any(|wanted| **wanted == *uri) => {
                        sink.notify_resource_updated(&*uri).await
                    }
                    _ => Ok(()),
                };
                if sent.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
