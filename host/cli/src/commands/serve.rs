//! `portreeve serve`: the project as an MCP server on standard input and output.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use portreeve_core::control::ControlSocket;
use portreeve_core::{Caller, OwnerLock, Ownership, Project};
use portreeve_gateway::Error;
use portreeve_gateway::owner::{OwnerSocket, Proxy};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::{logging, output, places, session};

/// How long calls may take to end once the process shall end.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// How long an owner may take to answer, or to give the project up when it is ending: longer
/// than [`END_TIME_MAX`].
const OWNER_TIME_MAX: Duration = Duration::from_secs(15);

/// Pause between two looks at who owns the project.
const OWNER_PAUSE: Duration = Duration::from_millis(20);

/// Serve the project's tools to an MCP client on standard input and output.
///
/// MCP clients start this by themselves, once they are told how: see
/// --print-client-config. The first process of a project owns it; any further one passes its
/// client on to that one, so that all clients see one host. Changes of portreeve.toml and of
/// plugins are taken up while it runs.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve serve --print-client-config                    what to paste into a client
  portreeve serve --print-client-config --client vscode
  portreeve serve --project ~/tools")]
pub(crate) struct Serve {
    /// Print what to paste into an MCP client's configuration, and serve nothing.
    #[arg(long)]
    print_client_config: bool,
    /// Whose configuration to print.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Client::Claude, requires = "print_client_config")]
    client: Client,
}

/// MCP clients by the form of their configuration.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Client {
    /// Claude Desktop and Claude Code; most other clients use the same form.
    Claude,
    /// Cursor: .cursor/mcp.json.
    Cursor,
    /// Visual Studio Code: .vscode/mcp.json.
    Vscode,
    /// Zed: settings.json.
    Zed,
}

impl Serve {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        let project = context.project()?;
        if self.print_client_config {
            return output::print_json(&client_config(self.client, &places::program()?, &project)?);
        }
        context.block_on(async {
            match own(&project).await? {
                Role::Owner(lock) => {
                    logging::to_project(context.verbose, &project)?;
                    serve(project, lock).await
                }
                Role::Proxy(proxy) => {
                    context.log()?;
                    pass_on(proxy).await
                }
            }
        })
    }
}

/// What a client needs to start this.
///
/// # Errors
/// When a path is no text: no client's configuration could name it.
fn client_config(client: Client, program: &Path, project: &Project) -> anyhow::Result<Value> {
    let named = |path: &Path| match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err(anyhow::anyhow!(
            "the path {} is no UTF-8 text, which clients' configurations need: rename it",
            path.display()
        )),
    };
    let program = named(program)?;
    let args = [
        "serve".to_owned(),
        "--project".to_owned(),
        named(project.dir())?,
    ];
    Ok(match client {
        Client::Claude | Client::Cursor => {
            json!({ "mcpServers": { "portreeve": { "command": program, "args": args } } })
        }
        Client::Vscode => json!({
            "servers": { "portreeve": { "type": "stdio", "command": program, "args": args } }
        }),
        Client::Zed => json!({
            "context_servers": {
                "portreeve": { "source": "custom", "command": program, "args": args, "env": {} }
            }
        }),
    })
}

/// What this process is to the project.
enum Role {
    /// Its owner.
    Owner(OwnerLock),
    /// Connected to its owner.
    Proxy(Proxy),
}

/// Owns the project, or connects to who does. An owner may end at any moment: the project is
/// then free again. One that is there for one command is waited for.
async fn own(project: &Project) -> anyhow::Result<Role> {
    let mut deadline = Instant::now() + OWNER_TIME_MAX;
    loop {
        let failed = match project.own(portreeve_core::Role::Serve)? {
            Ownership::Mine(lock) => return Ok(Role::Owner(lock)),
            // An owner that has its lock and has not yet written where it listens.
            Ownership::Other(None) => anyhow::anyhow!(
                "another process owns {}, but does not say where it listens: end that `portreeve serve`, then start this one again",
                project.dir().display()
            ),
            Ownership::Other(Some(owner)) if owner.role == portreeve_core::Role::Command => {
                deadline = Instant::now() + OWNER_TIME_MAX;
                anyhow::anyhow!("a command of portreeve still uses this project")
            }
            Ownership::Other(Some(owner)) => match Proxy::connect(&owner.mcp).await {
                Ok(proxy) => return Ok(Role::Proxy(proxy)),
                Err(error @ Error::NoAnswer { .. }) => error.into(),
                Err(error) => return Err(error.into()),
            },
        };
        if Instant::now() >= deadline {
            return Err(failed);
        }
        sleep(OWNER_PAUSE).await;
    }
}

/// Serves the client on standard input and output, and all that come over the socket.
async fn serve(project: Project, lock: OwnerLock) -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() {
        output::note(
            "serving MCP on standard input and output; a client is expected there, not a person: see `portreeve serve --print-client-config`",
        );
    }
    let mut end = End::new()?;
    // Before the plugins are read: others wait for their answers rather than for the socket.
    let socket = OwnerSocket::bind(&lock.sockets().mcp)?;
    let path = lock.sockets().control.clone();
    let control = ControlSocket::bind(&path)
        .with_context(|| format!("the socket {} can't be made", path.display()))?;
    let host = tokio::select! {
        host = session::open_host(project, lock) => host?,
        () = end.asked() => return Ok(()),
    };
    let _watch = match host.watch().await {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!("changes are taken up at the next start only: {error}");
            None
        }
    };
    tracing::info!(project = %host.project().dir().display(), version = env!("CARGO_PKG_VERSION"), "serving");
    let shutdown = CancellationToken::new();
    let leave = CancellationToken::new();
    let mut others = tokio::spawn({
        let clients = socket.serve(host.clone(), leave.clone(), shutdown.clone());
        let commands = control.serve(host.clone(), leave.clone(), shutdown.clone());
        async move { tokio::join!(clients, commands) }
    });
    let (reader, writer) = portreeve_gateway::stdio();
    let own = portreeve_gateway::serve_connection(
        host.clone(),
        Caller::local("stdio"),
        reader,
        writer,
        shutdown.clone(),
    );
    tokio::pin!(own);
    let served = tokio::select! {
        served = &mut own => {
            tracing::info!("the client left");
            // Others may still pass their clients on to us.
            leave.cancel();
            tokio::select! {
                _ = &mut others => {}
                () = end.asked() => {}
            }
            Some(served)
        }
        () = end.asked() => None,
    };
    tracing::info!("ending");
    shutdown.cancel();
    let ended = tokio::time::timeout(END_TIME_MAX, async {
        let served = match served {
            Some(served) => served,
            None => own.await,
        };
        if !others.is_finished()
            && let Err(error) = others.await
        {
            tracing::error!(%error, "the connections' task failed");
        }
        host.close().await;
        served
    });
    match ended.await {
        Ok(served) => Ok(served?),
        Err(_) => {
            tracing::warn!("calls did not end in time; leaving them");
            Ok(())
        }
    }
}

/// Passes the client on to the process that owns the project.
async fn pass_on(proxy: Proxy) -> anyhow::Result<()> {
    let mut end = End::new()?;
    let (reader, writer) = portreeve_gateway::stdio();
    tokio::select! {
        ended = proxy.pass(reader, writer) => Ok(ended?),
        () = end.asked() => Ok(()),
    }
}

/// The signals that ask a process to end.
struct End {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl End {
    fn new() -> anyhow::Result<End> {
        let listen = |kind| signal(kind).context("signals can't be noticed");
        Ok(End {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
