//! What a command asks, asked of the process that owns the project: another one, or this
//! one, for as long as the command takes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use portreeve_core::control::{
    ConnectError, ControlAnswer, ControlClient, ControlError, ControlRequest, ControlSocket,
};
use portreeve_core::{
    Caller, Host, HostConfig, OwnerLock, Ownership, ProgressListener, Project, Role,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::places;

/// How long an owner may take to answer, or to give the project up when it is ending: longer
/// than a `serve` takes to end.
const OWNER_TIME_MAX: Duration = Duration::from_secs(15);

/// Pause between two looks at who owns the project.
const OWNER_PAUSE: Duration = Duration::from_millis(20);

/// A way to the owner.
pub(crate) struct Session {
    way: Way,
}

enum Way {
    /// Another process.
    Other(ControlClient),
    /// This one.
    Own(Own),
}

/// The project, owned for one command. Others may ask meanwhile, as they would ask a server.
struct Own {
    host: Arc<Host>,
    leave: CancellationToken,
    others: JoinHandle<()>,
}

impl Session {
    /// Connects to the owner, or becomes it.
    pub(crate) async fn open(project: Project) -> anyhow::Result<Session> {
        let deadline = Instant::now() + OWNER_TIME_MAX;
        loop {
            let why = match project.own(Role::Command)? {
                Ownership::Mine(lock) => {
                    let own = Own::open(project, lock).await?;
                    return Ok(Session { way: Way::Own(own) });
                }
                Ownership::Other(None) => "it does not say where it listens".to_owned(),
                Ownership::Other(Some(owner)) => match ControlClient::connect(&owner.control).await
                {
                    Ok(client) => {
                        return Ok(Session {
                            way: Way::Other(client),
                        });
                    }
                    Err(ConnectError::Useless(error)) => return Err(error.into()),
                    Err(ConnectError::NoAnswer(why)) => {
                        format!("it does not answer on {}: {why}", owner.control.display())
                    }
                },
            };
            if Instant::now() >= deadline {
                anyhow::bail!(
                    "another process owns {}, and {why}; end that `portreeve`, then try again",
                    project.dir().display()
                );
            }
            sleep(OWNER_PAUSE).await;
        }
    }

    /// Connects to the owner, if there is one.
    pub(crate) async fn other(project: &Project) -> anyhow::Result<Option<Session>> {
        let Ownership::Other(Some(owner)) = project.own(Role::Command)? else {
            return Ok(None);
        };
        match ControlClient::connect(&owner.control).await {
            Ok(client) => Ok(Some(Session {
                way: Way::Other(client),
            })),
            Err(ConnectError::Useless(error)) => Err(error.into()),
            // It is just ending, or stuck.
            Err(ConnectError::NoAnswer(_)) => Ok(None),
        }
    }

    /// Asks for something.
    pub(crate) async fn ask<P: ProgressListener + 'static>(
        &mut self,
        request: ControlRequest,
        progress: &Arc<P>,
        cancel: &CancellationToken,
    ) -> Result<ControlAnswer, ControlError> {
        match &mut self.way {
            Way::Other(client) => client.ask(&request, progress.as_ref(), cancel).await,
            Way::Own(own) => {
                let listener: Arc<dyn ProgressListener> = progress.clone();
                let caller = Caller::local("command");
                own.host
                    .control(request, caller, Some(listener), cancel.clone())
                    .await
            }
        }
    }

    /// Waits for what others asked of this process meanwhile, and gives the project up.
    pub(crate) async fn end(self) {
        let Way::Own(own) = self.way else {
            return;
        };
        own.leave.cancel();
        if let Err(error) = own.others.await {
            tracing::error!(%error, "the control socket's task failed");
        }
        own.host.close().await;
    }
}

impl Own {
    async fn open(project: Project, lock: OwnerLock) -> anyhow::Result<Own> {
        // Before the plugins are read: others wait for their answers rather than for the
        // socket.
        let path = lock.sockets().control.clone();
        let socket = ControlSocket::bind(&path)
            .with_context(|| format!("the socket {} can't be made", path.display()))?;
        let host = open_host(project, lock, std::future::pending()).await?;
        let leave = CancellationToken::new();
        let others =
            tokio::spawn(socket.serve(host.clone(), leave.clone(), CancellationToken::new()));
        Ok(Own {
            host,
            leave,
            others,
        })
    }
}

/// Opens a project that this process owns, unless `ended` comes first.
pub(crate) async fn open_host(
    project: Project,
    lock: OwnerLock,
    ended: impl Future<Output = ()>,
) -> anyhow::Result<Arc<Host>> {
    // A file that may not grow any more shall fail its write, not end the process: its
    // default is to kill. Once there is a handler, it stays.
    let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    let _ = signal(too_large).context("the system's signals can't be noticed")?;
    let config = HostConfig {
        project,
        lock: lock.into(),
        runtime: places::runtime()?,
        user_state: places::state_dir()?,
        artifacts: places::artifacts()?,
    };
    Ok(Host::open_unless(config, ended).await?)
}
