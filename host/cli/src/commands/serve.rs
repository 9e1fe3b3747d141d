//! `portreeve serve`: the project as an MCP server on standard input and output, or over HTTP.

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use portreeve_core::control::ControlSocket;
use portreeve_core::{Caller, Host, HostError, OwnerLock, Ownership, Project, Role as ProjectRole};
use portreeve_gateway::Error;
use portreeve_gateway::http::{HttpServer, Listen, Reach};
use portreeve_gateway::owner::{OwnerSocket, connect};
use portreeve_gateway::relay::{Left, Relay};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
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

/// An owner that a client had for less than this has done nothing for it; how often that may be
/// before it is given up.
const SHORT_TIME: Duration = Duration::from_secs(1);
const SHORT_MAX: u32 = 100;

/// Bytes that may lie between a client and the host in one process.
const RELAYED_BYTES: usize = 64 << 10;

/// Serve the project's tools to MCP clients: one on standard input and output, or any number
/// over HTTP.
///
/// MCP clients start this by themselves, once they are told how: see
/// --print-client-config. The first process of a project owns it; any further one passes its
/// client on to that one, so that all clients see one host. With --listen it stays, and serves
/// whoever connects, at /mcp; [serve] in portreeve.toml says who that may be. Changes of
/// portreeve.toml and of plugins are taken up while it runs, also at SIGHUP.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve serve --print-client-config                    what to paste into a client
  portreeve serve --print-client-config --client vscode
  portreeve serve --print-client-config --listen 127.0.0.1:8080
  portreeve serve --project ~/tools
  portreeve serve --listen 127.0.0.1:8080                  clients connect to http://127.0.0.1:8080/mcp
  portreeve serve --listen unix:/run/portreeve/mcp.sock")]
pub(crate) struct Serve {
    /// Print what to paste into an MCP client's configuration, and serve nothing. With --listen,
    /// for clients that connect there.
    #[arg(long)]
    print_client_config: bool,
    /// Serve over HTTP here, instead of on standard input and output: an address with a port,
    /// "unix:/PATH", or "inherited" for the sockets of a service manager. May be given more
    /// than once.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<Listen>,
    /// Let --listen take addresses that other machines can reach. Nobody is asked who they are:
    /// whoever connects can call every tool.
    #[arg(long, requires = "listen")]
    allow_remote: bool,
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
            let config = match self.listen.first() {
                None => client_config(self.client, &places::program()?, &project)?,
                Some(address) => {
                    let tls = context.manifest(&project)?.settings.serve.tls.is_some();
                    client_config_over_http(self.client, &endpoint(address, tls)?)
                }
            };
            return output::print_json(&config);
        }
        context.block_on(async {
            logging::to_project(context.verbose)?;
            match self.listen.as_slice() {
                [] => serve_stdio(project).await,
                addresses => {
                    let Role::Owner(lock) = own(&project, ProjectRole::Listen).await? else {
                        anyhow::bail!(
                            "another `portreeve serve` owns {}: only one that owns the project can listen; end that one first",
                            project.dir().display()
                        );
                    };
                    let settings = context.manifest(&project)?.settings.serve;
                    let reach = if self.allow_remote { Reach::Remote } else { Reach::Local };
                    // Before the host is opened: who connects meanwhile waits, and what is
                    // refused has changed nothing.
                    let server = HttpServer::bind(addresses, reach, &settings, project.dir())?;
                    serve(project, lock, Clients::Http(server), Signals::new()?).await
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

/// What a client needs to connect to one that listens.
fn client_config_over_http(client: Client, url: &str) -> Value {
    match client {
        Client::Claude => {
            json!({ "mcpServers": { "portreeve": { "type": "http", "url": url } } })
        }
        Client::Cursor => json!({ "mcpServers": { "portreeve": { "url": url } } }),
        Client::Vscode => json!({ "servers": { "portreeve": { "type": "http", "url": url } } }),
        Client::Zed => json!({ "context_servers": { "portreeve": { "url": url } } }),
    }
}

/// Where clients on this machine reach an address that is listened on.
fn endpoint(address: &Listen, tls: bool) -> anyhow::Result<String> {
    let Listen::Tcp(address) = address else {
        anyhow::bail!(
            "{address} is no address that a client's configuration can name: give the one that clients connect to, an address with a port"
        );
    };
    if address.port() == 0 {
        anyhow::bail!(
            "the port 0 is another one at each start: give the one that clients connect to, an address with a port"
        );
    }
    let mut address = *address;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let scheme = if tls { "https" } else { "http" };
    Ok(format!("{scheme}://{address}/mcp"))
}

/// What this process is to the project.
enum Role {
    /// Its owner.
    Owner(OwnerLock),
    /// Connected to its owner, which is that for this.
    Proxy(UnixStream, ProjectRole),
}

/// Owns the project, or connects to who does. An owner may end at any moment: the project is
/// then free again. One that is there for one command is waited for.
async fn own(project: &Project, role: ProjectRole) -> anyhow::Result<Role> {
    let mut deadline = Instant::now() + OWNER_TIME_MAX;
    loop {
        let failed = match project.own(role)? {
            Ownership::Mine(lock) => return Ok(Role::Owner(lock)),
            // An owner that has its lock and has not yet written where it listens.
            Ownership::Other(None) => anyhow::anyhow!(
                "another process owns {}, but does not say where it listens: end that `portreeve serve`, then start this one again",
                project.dir().display()
            ),
            Ownership::Other(Some(owner)) if owner.role == ProjectRole::Command => {
                deadline = Instant::now() + OWNER_TIME_MAX;
                anyhow::anyhow!("a command of portreeve still uses this project")
            }
            Ownership::Other(Some(owner)) => match connect(&owner.mcp).await {
                Ok(stream) => return Ok(Role::Proxy(stream, owner.role)),
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

/// Connects to the next owner of a project whose last one listened. Whoever watches over that
/// one starts it again, which can't be done when another process has taken its place.
async fn await_owner(project: &Project) -> anyhow::Result<Role> {
    let deadline = Instant::now() + OWNER_TIME_MAX;
    while Instant::now() < deadline {
        if let Some(owner) = project.last_owner()?
            && owner.role != ProjectRole::Command
            && let Ok(stream) = connect(&owner.mcp).await
        {
            return Ok(Role::Proxy(stream, owner.role));
        }
        sleep(OWNER_PAUSE).await;
    }
    Err(Error::OwnerGone.into())
}

/// Serves the client on standard input and output, until it leaves: as the owner of the
/// project, or by way of its owner. When that one ends, this process takes its place, or
/// another one does, and the client keeps its server.
async fn serve_stdio(project: Project) -> anyhow::Result<()> {
    let (mut stream, mut role) = match own(&project, ProjectRole::Serve).await? {
        Role::Owner(lock) => return serve(project, lock, Clients::Stdio, Signals::new()?).await,
        Role::Proxy(stream, role) => (stream, role),
    };
    let mut signals = Signals::new()?;
    let (reader, writer) = portreeve_gateway::stdio();
    let mut relay = Relay::new(reader, writer);
    let mut short = 0_u32;
    loop {
        let since = Instant::now();
        let left = tokio::select! {
            left = relay.pass(stream) => left?,
            () = signals.end() => return Ok(()),
        };
        if left == Left::Client {
            return Ok(());
        }
        short = if since.elapsed() < SHORT_TIME {
            short.saturating_add(1)
        } else {
            0
        };
        if short > SHORT_MAX {
            return Err(Error::OwnerGone.into());
        }
        let next = async {
            match role {
                ProjectRole::Listen => await_owner(&project).await,
                _ => own(&project, ProjectRole::Serve).await,
            }
        };
        let next = tokio::select! {
            next = next => next?,
            () = signals.end() => return Ok(()),
        };
        (stream, role) = match next {
            Role::Owner(lock) => {
                return serve(project, lock, Clients::Relayed(Box::new(relay)), signals).await;
            }
            Role::Proxy(stream, role) => (stream, role),
        };
    }
}

/// Whom the owner serves besides those that come over its socket.
enum Clients {
    /// The one on standard input and output; without it, the process ends.
    Stdio,
    /// The same, who was another owner's client before.
    Relayed(Box<Relay>),
    /// All that connect here, until the process is asked to end.
    Http(HttpServer),
}

/// Serves the clients, and all that come over the socket.
async fn serve(
    project: Project,
    lock: OwnerLock,
    clients: Clients,
    mut signals: Signals,
) -> anyhow::Result<()> {
    logging::own_project(&project)?;
    if matches!(clients, Clients::Stdio) && std::io::stdin().is_terminal() {
        output::note(
            "serving MCP on standard input and output; a client is expected there, not a person: see `portreeve serve --print-client-config`",
        );
    }
    // Before the plugins are read: others wait for their answers rather than for the socket.
    let socket = OwnerSocket::bind(&lock.sockets().mcp)?;
    let path = lock.sockets().control.clone();
    let control = ControlSocket::bind(&path)
        .with_context(|| format!("the socket {} can't be made", path.display()))?;
    let host = match session::open_host(project, lock, signals.end()).await {
        Err(error) if matches!(error.downcast_ref(), Some(HostError::Ended)) => return Ok(()),
        opened => opened?,
    };
    if let Clients::Http(server) = &clients {
        if server.is_remote() {
            output::note(
                "warning: other machines can reach this, and nobody is asked who they are: whoever connects can call every tool",
            );
            tracing::warn!("serving whoever connects from other machines, as --allow-remote says");
        }
        for endpoint in server.endpoints() {
            output::note(format!("serving MCP at {endpoint}"));
            tracing::info!(endpoint, "listening");
        }
    }
    host.deliver_messages();
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
    let mut certificates = None;
    let mut drain = Duration::ZERO;
    let own: Pin<Box<dyn Future<Output = Result<(), Error>>>> = match clients {
        Clients::Stdio => {
            let (reader, writer) = portreeve_gateway::stdio();
            Box::pin(serve_client(host.clone(), reader, writer, shutdown.clone()))
        }
        Clients::Relayed(mut relay) => {
            tracing::info!("the process that owned this project ended; this one takes its place");
            let (near, far) = tokio::io::duplex(RELAYED_BYTES);
            let (reader, writer) = tokio::io::split(far);
            let served = serve_client(host.clone(), reader, writer, shutdown.clone());
            Box::pin(async move {
                let (_, served) = tokio::join!(relay.pass(near), served);
                served
            })
        }
        Clients::Http(server) => {
            certificates = Some(server.certificates());
            drain = host.serve_settings().limits.drain;
            let (host, shutdown) = (host.clone(), shutdown.clone());
            Box::pin(async move {
                server.serve(host, shutdown).await;
                Ok(())
            })
        }
    };
    tokio::pin!(own);
    let served = loop {
        tokio::select! {
            served = &mut own => {
                tracing::info!("the client left");
                // Others may still pass their clients on to us.
                leave.cancel();
                tokio::select! {
                    _ = &mut others => {}
                    () = signals.end() => {}
                }
                break Some(served);
            }
            asked = signals.next() => {
                if asked == Asked::End {
                    break None;
                }
                if let Some(certificates) = &certificates {
                    certificates.reload();
                }
                match host.reload().await {
                    Ok(()) => tracing::info!("the project was read again, as a signal asked for"),
                    Err(error) => tracing::error!("the project is used as it was before: {error}"),
                }
            }
        }
    };
    tracing::info!("ending");
    shutdown.cancel();
    let time_max = END_TIME_MAX + drain;
    let ended = tokio::time::timeout(time_max, async {
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

/// Serves the client that started this process.
async fn serve_client(
    host: Arc<Host>,
    reader: impl AsyncRead + Send + Unpin + 'static,
    writer: impl AsyncWrite + Send + Unpin + 'static,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let caller = Caller::local("stdio");
    portreeve_gateway::serve_connection(host, caller, reader, writer, shutdown).await
}

/// The signals that a process heeds.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let listen = |kind| signal(kind).context("signals can't be noticed");
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::End,
            _ = self.terminate.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Waits until the process is asked to end.
    async fn end(&mut self) {
        while self.next().await != Asked::End {}
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    End,
    /// To read the files again.
    Reload,
}
