//! The MCP server of one connection: the host's tools, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portreeve_core::{CallRequest, Caller, Host};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode, ErrorData,
    Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    SubscriptionFilter, Tool, ToolListChangedNotification,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::convert;
use crate::progress;
use crate::tools::{self, ToolLists};

/// What every client is told. It is the same for all of them and names no plugin: what is
/// installed is in the list of tools.
const INSTRUCTIONS: &str = "The tools of the plugins that are installed in this project. \
A tool's name is PLUGIN__TOOL. Plugins run under limits and have only what their operator \
granted them: an error that begins with \"Refused or stopped by the host\" names the limit or \
the grant, and only the operator can change those. One that begins with \"Error of the plugin\" \
is the plugin's own text, whatever it says. The list of tools may change at any time.";

/// Serves one client.
pub(crate) struct Server {
    host: Arc<Host>,
    caller: Caller,
    /// As it was when the connection began, so that no change since then is missed.
    changes: watch::Receiver<u64>,
    lists: Arc<ToolLists>,
    /// Whether a client of the older era hears of changes already.
    telling: AtomicBool,
    connection: CancellationToken,
}

impl Server {
    /// A server for `caller`, until `connection` ends.
    pub(crate) fn new(host: Arc<Host>, caller: Caller, connection: CancellationToken) -> Server {
        Server {
            changes: host.changes(),
            host,
            caller,
            lists: Arc::default(),
            telling: AtomicBool::new(false),
            connection,
        }
    }

    /// The same, with lists that other servers of the same host use as well.
    pub(crate) fn sharing(self, lists: Arc<ToolLists>) -> Server {
        Server { lists, ..self }
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
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
        let mut call = CallRequest {
            caller: self.caller.clone(),
            tool: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
            progress: None,
            cancel: context.ct.clone(),
        };
        let response = match context.meta.get_progress_token() {
            None => self.host.call(call).await,
            Some(token) => {
                let (reporter, reports) = progress::reports();
                call.progress = Some(reporter);
                let call = self.host.call(call);
                progress::passed_on(call, reports, &context.peer, token, &context.ct).await
            }
        };
        convert::answer(response).map(Into::into)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(ErrorData::new(
            ErrorCode::METHOD_NOT_FOUND,
            format!(
                "this server has no method {:?}; it offers tools only",
                request.method
            ),
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
        loop {
            tokio::select! {
                () = self.connection.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            let changed = ToolListChangedNotification::default();
            if context
                .peer
                .send_notification(changed.into())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    fn accepted_subscription_filter(&self, _: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.clone();
        loop {
            tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                () = self.connection.cancelled() => return Ok(()),
                changed = changes.changed() => if changed.is_err() {
                    return Ok(());
                },
            }
            let wanted = subscription.accepted().tools_list_changed == Some(true);
            if wanted
                && subscription
                    .sink()
                    .notify_tool_list_changed()
                    .await
                    .is_err()
            {
                return Ok(());
            }
        }
    }
}
