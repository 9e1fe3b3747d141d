//! What commands ask of the process that owns the project.
//!
//! A command that finds an owner asks it over the control socket; one that finds none
//! becomes the owner for as long as it takes, and asks itself. Either way
//! [`Host::control`] does it. On the socket each connection carries requests one after the
//! other: a line of JSON each, answered by lines of progress and one answer. Who closes the
//! connection gives up what they asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_manifest::diagnostic::Diagnostics;
use portreeve_manifest::edit::{Edit, EditError};
use portreeve_manifest::id::Alias;
use portreeve_runtime::ProgressReport;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::admin::Edited;
use crate::advisories::{AdvisoryAct, AdvisoryDone};
use crate::agreement::Arrival;
use crate::call::{CallRequest, CallResponse, Caller, ProgressListener};
use crate::data::{DataAct, DataDone};
use crate::generations::{GenerationView, RollBack};
use crate::host::{Host, HostError};
use crate::messages::{BusAct, BusDone};
use crate::prompt::{CallerUi, InboxAct, InboxDone};
use crate::secrets::{SecretAct, SecretDone};
use crate::status::Status;
use crate::view::ProjectView;

pub use crate::control_socket::{ConnectError, ControlClient, ControlSocket};

/// Something that a command asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlRequest {
    /// The project as it is.
    Project,
    /// A call to a tool.
    Call {
        /// The tool, `ALIAS__TOOL`.
        tool: String,
        /// Its arguments.
        arguments: Map<String, Value>,
    },
    /// A change of the operator's file.
    Edit {
        /// The change.
        edit: Edit,
        /// The plugin's component, where its operator has seen what it asks for.
        arrived: Option<Arrival>,
    },
    /// Components of the plugins in the operator's file, which are in the store.
    Install {
        /// By the plugins' names.
        arrived: BTreeMap<Alias, Arrival>,
    },
    /// Something with the database of advisories.
    Advisories(AdvisoryAct),
    /// The versions that plugins had: of one, or of all.
    Generations {
        /// The plugin.
        alias: Option<Alias>,
    },
    /// A version that a plugin had, again.
    RollBack(RollBack),
    /// Something with the vault.
    Secret(SecretAct),
    /// Something with what a plugin keeps.
    Data(DataAct),
    /// Something with messages.
    Bus(BusAct),
    /// Something with what waits for people.
    Inbox(InboxAct),
    /// How the project does, from a moment on: milliseconds since 1970, UTC.
    Status {
        /// The moment.
        from: i64,
    },
}

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlAnswer {
    /// The project as it is.
    Project(ProjectView),
    /// The end of a call.
    Called(Box<CallResponse>),
    /// What an edit came to.
    Edited(Edited),
    /// They are installed.
    Installed,
    /// What came of an act with the database of advisories.
    Advisories(AdvisoryDone),
    /// The versions that plugins had.
    Generations(Vec<GenerationView>),
    /// The one that is installed again.
    RolledBack(Box<GenerationView>),
    /// What came of an act with the vault.
    Secret(SecretDone),
    /// What came of an act with what a plugin keeps.
    Data(DataDone),
    /// What came of an act with messages.
    Bus(BusDone),
    /// What came of an act with what waits for people.
    Inbox(InboxDone),
    /// How the project does.
    Status(Box<Status>),
}

/// Why it was not done.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[error("{message}")]
pub struct ControlError {
    /// What happened, why, and what to do.
    pub message: String,
    /// Whether it is a refusal by policy rather than a failure.
    pub refused: bool,
    /// The places in files that it is about.
    pub places: Vec<Place>,
}

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The column, counted from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl ControlError {
    /// Something that could not be done.
    pub fn failed(message: impl Into<String>) -> ControlError {
        ControlError {
            message: message.into(),
            refused: false,
            places: Vec::new(),
        }
    }
}

/// The places that mistakes in a file are at.
pub fn places(diagnostics: &Diagnostics) -> Vec<Place> {
    let source = diagnostics.source_file();
    let place = |error: &portreeve_manifest::diagnostic::Diagnostic| {
        let position = error.span.as_ref().map(|span| source.position(span.start));
        Place {
            file: source.name().to_owned(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            message: error.message.clone(),
            help: error.help.clone(),
        }
    };
    diagnostics.errors().iter().map(place).collect()
}

impl From<&Diagnostics> for ControlError {
    fn from(diagnostics: &Diagnostics) -> ControlError {
        ControlError {
            message: diagnostics.to_string(),
            refused: false,
            places: places(diagnostics),
        }
    }
}

impl From<HostError> for ControlError {
    fn from(error: HostError) -> ControlError {
        match &error {
            HostError::Manifest(diagnostics)
            | HostError::Edit(EditError::Before(diagnostics) | EditError::After(diagnostics)) => {
                ControlError {
                    message: error.to_string(),
                    ..diagnostics.into()
                }
            }
            HostError::Refused(why) => ControlError {
                refused: true,
                ..ControlError::failed(why)
            },
            _ => ControlError::failed(error.to_string()),
        }
    }
}

impl Host {
    /// Does what a command asks for. Dropping the future gives it up where it can be given
    /// up: a call is stopped.
    ///
    /// # Errors
    /// Why it was not done. The failure of a tool is an answer.
    pub async fn control(
        self: &Arc<Self>,
        request: ControlRequest,
        caller: Caller,
        progress: Option<Arc<dyn ProgressListener>>,
        cancel: CancellationToken,
    ) -> Result<ControlAnswer, ControlError> {
        match request {
            ControlRequest::Project => {
                let changes = self.store.history_latest().await.map_err(HostError::from)?;
                let view = ProjectView::new(self.project(), &self.registry(), &changes);
                Ok(ControlAnswer::Project(view))
            }
            ControlRequest::Call { tool, arguments } => {
                let response = self
                    .call(CallRequest {
                        caller,
                        tool,
                        arguments,
                        progress,
                        ui: CallerUi::default(),
                        cancel,
                    })
                    .await;
                Ok(ControlAnswer::Called(Box::new(response)))
            }
            ControlRequest::Edit { edit, arrived } => {
                let edited = self.edit(&edit, arrived, &caller).await?;
                Ok(ControlAnswer::Edited(edited))
            }
            ControlRequest::Install { arrived } => {
                self.take_in(arrived, &caller).await?;
                self.collect_store().await;
                Ok(ControlAnswer::Installed)
            }
            ControlRequest::Generations { alias } => Ok(ControlAnswer::Generations(
                self.generations(alias.as_ref()).await?,
            )),
            ControlRequest::RollBack(wanted) => {
                let now = self.roll_back(&wanted, &caller).await?;
                self.collect_store().await;
                Ok(ControlAnswer::RolledBack(Box::new(now)))
            }
            ControlRequest::Status { from } => {
                Ok(ControlAnswer::Status(Box::new(self.status(from).await?)))
            }
            ControlRequest::Advisories(act) => Ok(ControlAnswer::Advisories(
                self.advisories(act, &caller).await?,
            )),
            ControlRequest::Bus(act) => Ok(ControlAnswer::Bus(
                self.bus(act, &caller, progress, cancel).await?,
            )),
            ControlRequest::Inbox(act) => Ok(ControlAnswer::Inbox(self.inbox(act, &caller).await?)),
            ControlRequest::Data(act) => Ok(ControlAnswer::Data(self.data(act, &caller).await?)),
            ControlRequest::Secret(act) => {
                Ok(ControlAnswer::Secret(self.secret(act, &caller).await?))
            }
        }
    }
}

/// One line of an owner.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// What it is, first on each connection.
    Hello {
        /// Its version: only the same one is sure to speak the same language.
        version: String,
    },
    /// How far the request has come.
    Progress(ProgressReport),
    /// The end of the request.
    Answer(Result<ControlAnswer, ControlError>),
}
