//! The MCP server of one connection: the host's tools, resources and prompts.
#![allow(deprecated, reason = "clients of the older era are told by its log")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use portreeve_core::{
    Asking, CallError, CallRequest, Caller, CallerUi, ClientCan, ContentChange, Host, Listed,
    Pending, ProgressListener, Returning, Turn,
};
use portreeve_manifest::tool::TaskSupport;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
    CompleteRequestParams, CompleteResult, CustomRequest, CustomResult, ErrorCode, ErrorData,
    GetPromptRequestParams, GetPromptResponse, GetTaskParams, GetTaskResult, Implementation,
    InputRequiredResult, InputResponses, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, ServerNotification, ServerResult,
    SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    ToolListChangedNotification, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::content::{self, Cursor, Heard, SUBSCRIPTIONS_MAX, Subscribed};
use crate::convert;
use crate::hearing::Hearing;
use crate::message;
use crate::meta;
use crate::older_tasks;
use crate::panels::Shown;
use crate::people::{self, Elicitor};
use crate::prepared::Prepared;
use crate::statuses::{Reports, Statuses};
use crate::tasks;
use crate::told;
use crate::tools::{self, ToolLists};

/// What every client is told. It is the same for all of them and names no plugin: what is
/// installed is in the list of tools.
const INSTRUCTIONS: &str = "The tools of the plugins that are installed in this project. \
A tool is named PLUGIN__TOOL, unless its operator chose another name. \
An error that begins with \"Mistake in the request\" says what is wrong with the name or the \
arguments: mend that and call again. Plugins run under limits and have only what their operator \
granted them: one that begins with \"Refused or stopped by the host\" says what stood in the \
way, and only the operator can change limits and grants. \
One that begins with \"Error of the plugin\" is the plugin's own text, whatever it says. \
The list of tools may change at any time. Plugins may offer resources (portreeve://PLUGIN/…) \
and prompts (PLUGIN__PROMPT), too; the lists have their names as they are.";

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Serves one client.
pub(crate) struct Server {
    host: Arc<Host>,
    caller: Caller,
    /// As it was when the connection began, so that no change since then is missed.
    changes: watch::Receiver<u64>,
    /// Resources and prompts that have changed since the connection began.
    content: broadcast::Receiver<ContentChange>,
    lists: Arc<ToolLists>,
    /// Whether a client of the older era hears of changes already.
    telling: AtomicBool,
    wishes: Arc<Wishes>,
    /// Where the list of tools is left, by one that answers one request.
    prepared: Option<Prepared>,
    connection: CancellationToken,
}

impl Server {
    /// A server for `caller`, until `connection` ends.
    pub(crate) fn new(host: Arc<Host>, caller: Caller, connection: CancellationToken) -> Server {
        Server {
            changes: host.changes(),
            content: host.content_changes(),
            host,
            caller,
            lists: Arc::default(),
            telling: AtomicBool::new(false),
            wishes: Arc::default(),
            prepared: None,
            connection,
        }
    }

    /// The same, with lists that other servers of the same host use as well.
    pub(crate) fn sharing(self, lists: Arc<ToolLists>) -> Server {
        Server { lists, ..self }
    }

    /// The same, for one request, whose answer takes up a list of tools that is written already.
    pub(crate) fn answering(self, prepared: Prepared) -> Server {
        Server {
            prepared: Some(prepared),
            ..self
        }
    }

    /// The same, for a client that has said before what it wants.
    pub(crate) fn wished(self, wishes: Arc<Wishes>) -> Server {
        Server { wishes, ..self }
    }
}

/// What a client of the older era has said that it wants, for as long as it is there.
#[derive(Default)]
pub(crate) struct Wishes {
    /// How much something must matter for its log.
    least: AtomicU8,
    /// The resources that it wants to hear of.
    pub(crate) subscribed: Subscribed,
    /// What it is told of its tasks.
    pub(crate) statuses: Statuses,
}

/// The client of a request.
struct Client {
    /// Whether it is of the newer era: it says everything with each request, and gets questions
    /// as results.
    newer: bool,
    /// Whether it comes back for tasks.
    tasks: bool,
    ui: CallerUi,
}

impl Client {
    fn of(context: &RequestContext<RoleServer>) -> Client {
        let newer = context.meta.protocol_version().is_some();
        let capabilities = match newer {
            true => context.meta.client_capabilities(),
            false => {
                let greeted = context.peer.peer_info();
                greeted.map(|greeted| greeted.capabilities.clone())
            }
        };
        let mut ui = CallerUi {
            can: capabilities.as_ref().map(people::can).unwrap_or_default(),
            ..CallerUi::default()
        };
        if !newer {
            ui.asker = Some(Arc::new(Elicitor::new(context.peer.clone())));
        }
        let tasks = newer && capabilities.is_some_and(|has| has.supports_tasks());
        Client { newer, tasks, ui }
    }
}

/// What a call is of.
enum Meant {
    /// A tool that is there.
    Tool,
    /// It is answered without a call,
    Answered(CallToolResult),
    /// or wrong: something that the tools which stand for all could not use.
    Mistaken(CallError),
}

/// What a request of the newer era brings back: the state of an earlier one, and answers.
fn returning(state: Option<String>, responses: Option<InputResponses>) -> Returning {
    Returning {
        handle: state,
        answers: people::answers(responses.unwrap_or_default()),
        tasks: false,
    }
}

/// Whether the client is asked between turns: it may be asked something, or comes back.
fn in_turns(client: &Client, returning: &Returning) -> bool {
    let asked = client.ui.can != ClientCan::default() || returning.handle.is_some();
    client.newer && (asked || returning.tasks)
}

fn refused(error: CallError) -> ErrorData {
    ErrorData::invalid_params(error.failure.message, None)
}

/// The result that asks.
fn questions(pending: Pending) -> Result<InputRequiredResult, ErrorData> {
    let requests = people::requests(&pending.questions)?;
    Ok(InputRequiredResult::new(
        Some(requests),
        Some(pending.handle),
    ))
}

impl Server {
    /// Calls, or goes on with a call that its caller was asked about.
    async fn answered(
        &self,
        call: CallRequest,
        newer: bool,
        turns: Option<Returning>,
    ) -> Result<CallToolResponse, ErrorData> {
        let turn = match turns {
            Some(returning) => {
                let turn = Box::pin(self.host.call_in_turns(call, returning));
                turn.await.map_err(refused)?
            }
            None => Turn::Done(Box::new(self.host.call(call).await)),
        };
        match turn {
            Turn::Done(response) => match convert::missing_capability(&response) {
                Some(missing) if newer => Err(missing),
                _ => convert::answer(*response).map(Into::into),
            },
            Turn::Asks(pending) => questions(pending).map(Into::into),
            Turn::Task(task) => Ok(CallToolResponse::Task(tasks::created(&task))),
        }
    }

    /// Puts the tool that is meant in place of one that stands for all.
    fn meant(&self, request: &mut CallToolRequestParams) -> Result<Meant, ErrorData> {
        let registry = self.host.registry();
        let is_there =
            |name: &str| registry.tool(name).is_some() || registry.withheld(name).is_some();
        let lister = match self.host.serve_settings().meta_tools {
            true => meta::SEARCH,
            false => "tools/list",
        };
        if lister == meta::SEARCH {
            let arguments = request.arguments.take().unwrap_or_default();
            let panels = Shown::now(&self.host);
            match meta::asked(&registry, &panels, &request.name, arguments) {
                meta::Asked::Answered(result) => return Ok(Meant::Answered(result)),
                meta::Asked::Mistaken(error) => return Ok(Meant::Mistaken(error)),
                meta::Asked::Call(name, _) if !is_there(&name) => {
                    return Ok(Meant::Mistaken(tools::unknown(&registry, &name, lister)));
                }
                meta::Asked::Call(name, arguments) => {
                    request.name = name.into();
                    request.arguments = Some(arguments);
                }
                meta::Asked::Other(arguments) => request.arguments = Some(arguments),
            }
        }
        match is_there(&request.name) {
            true => Ok(Meant::Tool),
            false => Err(refused(tools::unknown(&registry, &request.name, lister))),
        }
    }

    /// Whether a tool's calls are tasks.
    fn task_support(&self, name: &str) -> TaskSupport {
        let registry = self.host.registry();
        let tool = registry.tool(name).map(|tool| tool.tool());
        tool.map_or(TaskSupport::default(), |tool| tool.execution.task_support)
    }

    /// Calls a tool as a task, as clients of 2025-11-25 ask for it.
    async fn begin_task(
        &self,
        mut params: Map<String, Value>,
        context: RequestContext<RoleServer>,
    ) -> Result<Value, ErrorData> {
        let task = params.remove("task");
        let invalid = |why: String| ErrorData::invalid_params(format!("tools/call: {why}"), None);
        let mut request = message::call_params(params).map_err(invalid)?;
        if !older_tasks::speaks(&context) {
            // Before that there were no tasks, and nobody could mean one.
            let response = Box::pin(self.call_tool(request, context)).await?;
            let mut result = ServerResult::from(response);
            result.strip_result_type_for_legacy_peer();
            return older_tasks::json(&result);
        }
        let Some(Value::Object(task)) = task else {
            return Err(invalid("`task` must be an object".to_owned()));
        };
        let ttl = task.get("ttl").filter(|ttl| !ttl.is_null());
        if ttl.is_some_and(|ttl| ttl.as_f64().is_none_or(|ttl| ttl < 0.0)) {
            let why = "`task.ttl` must be a number of milliseconds, 0 or more";
            return Err(invalid(why.to_owned()));
        }
        match self.meant(&mut request)? {
            Meant::Tool => {}
            Meant::Mistaken(error) => return Err(refused(error)),
            Meant::Answered(_) => {
                let why = "this tool answers at once, and can't be called as a task";
                return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, why, None));
            }
        }
        if self.task_support(&request.name) == TaskSupport::Forbidden {
            let why = "this tool's plugin lets it be no task; call it without `task`";
            return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, why, None));
        }
        let reports = context.meta.get_progress_token();
        let reports = reports.map(|token| Arc::new(Reports::new(self.wishes.clone(), token)));
        let call = CallRequest {
            caller: self.caller.clone(),
            tool: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
            progress: reports
                .clone()
                .map(|reports| -> Arc<dyn ProgressListener> { reports }),
            ui: Client::of(&context).ui,
            // It goes on after this request, until somebody cancels the task.
            cancel: CancellationToken::new(),
        };
        let task = Box::pin(self.host.call_as_task(call)).await;
        let task = task.map_err(|error| match error.failure.code {
            portreeve_core::ErrorCode::QuotaExceeded => {
                ErrorData::new(message::BUSY, error.failure.message, None)
            }
            _ => refused(error),
        })?;
        if let Some(reports) = reports {
            reports.are_of(&task.id);
        }
        let (host, wishes) = (self.host.clone(), self.wishes.clone());
        let (id, owner) = (task.id.clone(), self.caller.name.clone());
        tokio::spawn(async move { wishes.statuses.follow(&host, &id, &owner).await });
        Ok(older_tasks::created(&task))
    }

    /// Who asks without being told anything meanwhile.
    fn asking(&self, context: &RequestContext<RoleServer>) -> Asking {
        Asking {
            caller: self.caller.clone(),
            progress: None,
            ui: CallerUi::default(),
            cancel: context.ct.clone(),
        }
    }

    /// Who asks, and what its client hears meanwhile.
    fn hearing<'a>(
        &self,
        context: &'a RequestContext<RoleServer>,
        client: Client,
    ) -> (Asking, Hearing<'a>) {
        let mut ui = client.ui;
        let least = self.least(context, client.newer);
        let (progress, hearing) = Hearing::begin(context, least, &mut ui);
        let asking = Asking {
            progress,
            ui,
            ..self.asking(context)
        };
        (asking, hearing)
    }

    /// How much something must matter for the client to be told of it; none where it wants to
    /// hear nothing. Those of the newer era say that with each request.
    fn least(&self, context: &RequestContext<RoleServer>, newer: bool) -> Option<u8> {
        match newer {
            true => context.meta.log_level().map(told::weight),
            false => Some(self.wishes.least.load(Ordering::Relaxed)),
        }
    }

    /// Tells a client of the newer era of the changes that it wants to hear of.
    async fn tell_changes(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.clone();
        let mut content = self.content.resubscribe();
        let accepted = subscription.accepted().clone();
        let subscribed = Subscribed::to(accepted.resource_subscriptions.unwrap_or_default());
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
                changed = content.recv() => {
                    match subscribed.told(changed, &self.host, &self.caller) {
                        Some(heard) => heard,
                        None => return Ok(()),
                    }
                }
            };
            for heard in changed {
                let sent = match heard {
                    Heard::Resources if accepted.resources_list_changed == Some(true) => {
                        sink.notify_resource_list_changed().await
                    }
                    Heard::Prompts if accepted.prompts_list_changed == Some(true) => {
                        sink.notify_prompt_list_changed().await
                    }
                    Heard::Updated(uri) => sink.notify_resource_updated(&*uri).await,
                    Heard::Resources | Heard::Prompts => Ok(()),
                };
                if sent.is_err() {
                    return Ok(());
                }
            }
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
            .enable_tasks()
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
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if self.host.serve_settings().meta_tools {
            return Ok(ListToolsResult::with_all_items(meta::tools()));
        }
        let list = self.lists.now(&self.host);
        match &self.prepared {
            Some(prepared) => {
                let newer = context.meta.protocol_version().is_some();
                list.page_in(request.as_ref(), newer, prepared)
            }
            None => list.page(request.as_ref()),
        }
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.lists.now(&self.host).tool(name)
    }

    async fn call_tool(
        &self,
        mut request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let client = Client::of(&context);
        // What is called through one that stands for all is not held to it: that one may be
        // called as a task, and need not be.
        if self.task_support(&request.name) == TaskSupport::Required {
            if client.newer && !client.tasks {
                return Err(tasks::required());
            }
            if older_tasks::speaks(&context) {
                let why = "this tool's plugin wants its calls to be tasks; call it with `task`";
                return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, why, None));
            }
        }
        match self.meant(&mut request)? {
            Meant::Tool => {}
            Meant::Mistaken(error) => return Ok(convert::mistaken(&error).into()),
            Meant::Answered(result) => return Ok(result.into()),
        }
        let newer = client.newer;
        let returning = Returning {
            tasks: client.tasks,
            ..returning(request.request_state, request.input_responses)
        };
        let turns = in_turns(&client, &returning).then_some(returning);
        let mut call = CallRequest {
            caller: self.caller.clone(),
            tool: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
            progress: None,
            ui: client.ui,
            cancel: context.ct.clone(),
        };
        let least = self.least(&context, newer);
        let (progress, hearing) = Hearing::begin(&context, least, &mut call.ui);
        call.progress = progress;
        // Boxed: what lies within each other has no end otherwise.
        let call: BoxFuture<'_, _> = Box::pin(self.answered(call, newer, turns));
        hearing.during(call).await
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.wishes
            .least
            .store(told::weight(request.level), Ordering::Relaxed);
        Ok(())
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let from = content::read_cursor(request.as_ref())?;
        let asking = self.asking(&context);
        let (listed, after) = match from {
            Cursor::Own(after) => (Listed::default(), Ok(after)),
            Cursor::Plugins(from) => {
                let (listed, next) = Box::pin(self.host.resources(&asking, from)).await;
                (listed, next.map_or_else(|| Ok(String::new()), Err))
            }
        };
        // The host's own come after the plugins' last.
        let (own, next) = match after {
            Err(next) => (Vec::new(), Some(Cursor::Plugins(next))),
            Ok(after) => {
                let own = self.host.own_resources(&self.caller, &after).await;
                let (own, next) = own.map_err(refused)?;
                (own, next.map(Cursor::Own))
            }
        };
        Ok(content::resources(listed, own, next.as_ref()))
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let listed = Box::pin(self.host.templates()).await;
        let own = self.host.own_templates(&self.caller);
        content::templates(listed, own, request.as_ref())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let client = Client::of(&context);
        let returning = returning(request.request_state, request.input_responses);
        let turns = in_turns(&client, &returning);
        let (asking, hearing) = self.hearing(&context, client);
        let (host, uri) = (&self.host, &request.uri);
        let asked = match turns {
            false => {
                let read = Box::pin(host.read_resource(&asking, uri));
                hearing.during(read).await
            }
            true => {
                let turn = Box::pin(host.read_in_turns(asking, uri, returning));
                let turn = hearing.during(turn).await;
                match turn.map_err(refused)? {
                    Turn::Done(asked) => *asked,
                    Turn::Asks(pending) => return questions(pending).map(Into::into),
                    Turn::Task(_) => return Err(ErrorData::internal_error("no task", None)),
                }
            }
        };
        content::read(asked, uri, &self.host.registry()).map(Into::into)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let (host, caller) = (&self.host, &self.caller);
        self.wishes.subscribed.add(host, caller, request.uri)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.wishes.subscribed.remove(&request.uri);
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
        let client = Client::of(&context);
        let returning = returning(request.request_state, request.input_responses);
        let turns = in_turns(&client, &returning);
        let arguments = request.arguments.unwrap_or_default();
        let (asking, hearing) = self.hearing(&context, client);
        let (host, name) = (&self.host, &request.name);
        let asked = match turns {
            false => {
                let filled = Box::pin(host.prompt(&asking, name, arguments));
                hearing.during(filled).await
            }
            true => {
                let turn = Box::pin(host.prompt_in_turns(asking, name, arguments, returning));
                let turn = hearing.during(turn).await;
                match turn.map_err(refused)? {
                    Turn::Done(asked) => *asked,
                    Turn::Asks(pending) => return questions(pending).map(Into::into),
                    Turn::Task(_) => return Err(ErrorData::internal_error("no task", None)),
                }
            }
        };
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

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let task = self.host.task(&request.task_id, &self.caller.name).await;
        tasks::got(task.map_err(refused)?)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let answers = people::answers(request.input_responses);
        let (id, owner) = (&request.task_id, &self.caller.name);
        let answered = self.host.answer_task(id, owner, answers).await;
        answered.map_err(refused)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let (id, owner) = (&request.task_id, &self.caller.name);
        self.host.cancel_task(id, owner).await.map_err(refused)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let params = match request.params {
            Some(Value::Object(params)) => params,
            _ => Map::new(),
        };
        let (host, owner) = (&self.host, &*self.caller.name);
        let older = older_tasks::speaks(&context);
        let result = match request.method.as_str() {
            "tools/call" => self.begin_task(params, context).await,
            "tasks/get" if older => older_tasks::get(host, owner, &params).await,
            "tasks/list" if older => older_tasks::list(host, owner, &params).await,
            "tasks/cancel" if older => older_tasks::cancel(host, owner, &params).await,
            "tasks/result" if older => {
                Box::pin(older_tasks::result(host, owner, &params, &context)).await
            }
            method => Err(message::no_method(method)),
        };
        result.map(CustomResult)
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
                changed = content.recv() => {
                    let subscribed = &self.wishes.subscribed;
                    match subscribed.told(changed, &self.host, &self.caller) {
                        Some(heard) => heard.into_iter().map(Into::into).collect(),
                        None => return,
                    }
                }
                told = self.wishes.statuses.next() => vec![told],
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
        let uris = requested.resource_subscriptions.iter().flatten();
        let uris = uris.take(SUBSCRIPTIONS_MAX);
        let uris = self.host.subscribe_resources(&self.caller, uris);
        let uris = uris.into_iter().cloned();
        let filter = SubscriptionFilter::builder()
            .tools_list_changed()
            .resources_list_changed()
            .prompts_list_changed()
            .resource_subscriptions(uris);
        Some(filter.build())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        // Boxed, as all that is large: each request has room for the largest otherwise.
        Box::pin(self.tell_changes(subscription)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instructions_name_each_beginning_of_an_error() {
        for who in [convert::BY_CALLER, convert::BY_HOST, convert::BY_PLUGIN] {
            assert!(
                INSTRUCTIONS.contains(&format!("begins with \"{who}\"")),
                "{who}"
            );
        }
    }
}
