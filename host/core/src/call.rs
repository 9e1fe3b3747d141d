//! What goes into a call and what comes out of it.

use std::sync::Arc;

use portreeve_runtime::{CallError, Outcome, ProgressReport, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::prompt::CallerUi;

/// Who calls, as the gateway found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What plugins and logs see: `local` for the person at this machine.
    pub name: Arc<str>,
    /// What turns are taken by: one connection, so that several clients of one person get
    /// their share each.
    pub connection: Arc<str>,
    /// The way on which they came.
    pub door: Door,
}

/// The way on which a caller came. It says which scopes they have: see
/// [`ServeScopes`](portreeve_manifest::settings::ServeScopes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Standard input and output, or a socket of the project: the operator's own user.
    Stdio,
    /// A listener: whoever can connect.
    Http,
    /// None: the host's own doing, or a plugin's. It has no scope.
    Inside,
}

impl Caller {
    /// The person at this machine, through the connection with this name.
    pub fn local(connection: &str) -> Caller {
        Caller {
            name: "local".into(),
            connection: connection.into(),
            door: Door::Stdio,
        }
    }
}

/// Hears how far a call has come. Called while the call waits: it must not block.
pub trait ProgressListener: Send + Sync {
    /// One report, from the plugin or, while it is made ready, from the host.
    fn progress(&self, report: ProgressReport);

    /// Whether it can take one more now. What comes all the same may be dropped.
    fn has_room(&self) -> bool {
        true
    }
}

/// A call to a tool.
#[derive(Clone)]
pub struct CallRequest {
    /// Who calls.
    pub caller: Caller,
    /// The tool's name in the registry (`ALIAS__TOOL`).
    pub tool: String,
    /// The arguments.
    pub arguments: Map<String, Value>,
    /// Who wants to hear of progress.
    pub progress: Option<Arc<dyn ProgressListener>>,
    /// The ways to the people at the caller's client.
    pub ui: CallerUi,
    /// Ends the call.
    pub cancel: CancellationToken,
}

/// The end of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallResponse {
    /// The call's id: in the log, and for the caller.
    pub call_id: String,
    /// The answer.
    pub result: Result<Outcome, CallError>,
    /// What it took; nothing where no guest ran.
    pub usage: Usage,
}
