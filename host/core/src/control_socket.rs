//! The control socket: both ends.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use portreeve_runtime::ProgressReport;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::call::{Caller, ProgressListener};
use crate::control::{ControlAnswer, ControlError, ControlRequest, Line};
use crate::hidden_lines::HiddenLines;
use crate::host::Host;
use crate::socket::{self, LocalSocket};

/// Commands that ask one owner at a time.
const CONNECTIONS_MAX: usize = 64;

/// Longest request, in bytes: more than the largest `arguments` that can be set, quoted.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// Longest answer that a command reads, in bytes: more than the largest `result` that can be
/// set, quoted.
const ANSWER_BYTES_MAX: usize = 3 << 30;

/// Reports of progress that wait to be sent; further ones are dropped.
const REPORTS_MAX: usize = 16;

/// The socket on which an owner takes what commands ask for, open and not yet served.
#[derive(Debug)]
pub struct ControlSocket(LocalSocket);

impl ControlSocket {
    /// Makes the socket at `path`, where there must be none, for this user only.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn bind(path: &Path) -> std::io::Result<ControlSocket> {
        LocalSocket::bind(path).map(ControlSocket)
    }

    /// Serves commands until `shutdown` is cancelled, or, once `leave` is cancelled, until
    /// those that have asked are answered.
    pub async fn serve(
        self,
        host: Arc<Host>,
        leave: CancellationToken,
        shutdown: CancellationToken,
    ) {
        let end = shutdown.clone();
        let serve = move |stream: UnixStream, number| {
            let caller = Caller::local(&format!("command-{number}"));
            let (host, shutdown) = (host.clone(), end.clone());
            async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    // A command that goes away is no error.
                    _ = converse(host, caller, stream) => {}
                }
            }
        };
        let refuse = |stream: UnixStream| async move {
            let (_, mut to) = stream.into_split();
            let busy = ControlError::failed(format!(
                "the process that owns this project is asked by {CONNECTIONS_MAX} commands already; try again in a moment"
            ));
            let _ = write(&mut to, &Line::Answer(Err(busy))).await;
        };
        self.0
            .serve(CONNECTIONS_MAX, serve, refuse, leave, shutdown)
            .await;
    }
}

/// Answers the requests of one connection, one after the other.
async fn converse(host: Arc<Host>, caller: Caller, stream: UnixStream) -> std::io::Result<()> {
    let (from, mut to) = stream.into_split();
    let hello = Line::Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    write(&mut to, &hello).await?;
    let mut lines = FramedRead::new(from, HiddenLines::new(REQUEST_BYTES_MAX));
    while let Some(line) = lines.next().await {
        let line = line?;
        let request = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => {
                let why = format!("this is no request that this version knows: {error}");
                write(&mut to, &Line::Answer(Err(ControlError::failed(why)))).await?;
                continue;
            }
        };
        drop(line);
        let (reporter, mut reports) = mpsc::channel(REPORTS_MAX);
        let cancel = CancellationToken::new();
        let _give_up = cancel.clone().drop_guard();
        let listener: Arc<dyn ProgressListener> = Arc::new(Reporter(reporter));
        let work = host.control(request, caller.clone(), Some(listener), cancel);
        tokio::pin!(work);
        let answer = loop {
            tokio::select! {
                biased;
                Some(report) = reports.recv() => write(&mut to, &Line::Progress(report)).await?,
                answer = &mut work => break answer,
                // Nothing is asked before the answer: this is the other side's end.
                _ = lines.next() => return Ok(()),
            }
        };
        // What was reported before it.
        while let Ok(report) = reports.try_recv() {
            write(&mut to, &Line::Progress(report)).await?;
        }
        write(&mut to, &Line::Answer(answer)).await?;
    }
    Ok(())
}

/// Passes reports on.
struct Reporter(mpsc::Sender<ProgressReport>);

impl ProgressListener for Reporter {
    fn progress(&self, report: ProgressReport) {
        // One that is too fast for its reader is not needed.
        let _ = self.0.try_send(report);
    }

    fn has_room(&self) -> bool {
        self.0.capacity() > 0
    }
}

async fn write(to: &mut OwnedWriteHalf, line: &impl Serialize) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    to.write_all(&text).await
}

/// Why a command can't ask the owner.
#[derive(Debug)]
pub enum ConnectError {
    /// Nobody answers: it is just starting, just ending, or stuck.
    NoAnswer(String),
    /// Somebody does, who can't help.
    Useless(ControlError),
}

/// A command's connection to the owner.
#[derive(Debug)]
pub struct ControlClient {
    lines: FramedRead<OwnedReadHalf, LinesCodec>,
    to: OwnedWriteHalf,
}

impl ControlClient {
    /// Connects to the owner that listens at `path`; one that is just starting is waited
    /// for, up to a second.
    ///
    /// # Errors
    /// When nobody answers, or somebody who is of no use.
    pub async fn connect(path: &Path) -> Result<ControlClient, ConnectError> {
        let stream = socket::connect(path)
            .await
            .map_err(ConnectError::NoAnswer)?;
        let (from, to) = stream.into_split();
        let mut client = ControlClient {
            lines: FramedRead::new(from, LinesCodec::new_with_max_length(ANSWER_BYTES_MAX)),
            to,
        };
        match client.line().await {
            Ok(Line::Hello { version }) if version == env!("CARGO_PKG_VERSION") => Ok(client),
            Ok(Line::Hello { version }) => {
                Err(ConnectError::Useless(ControlError::failed(format!(
                    "Portreeve {version} runs this project, and this is {}: end that process (the MCP client that started it does so when it is closed), or use that version",
                    env!("CARGO_PKG_VERSION")
                ))))
            }
            Ok(Line::Answer(Err(error))) => Err(ConnectError::Useless(error)),
            Ok(_) => Err(ConnectError::NoAnswer("it does not greet".to_owned())),
            Err(error) => Err(ConnectError::NoAnswer(error.message)),
        }
    }

    /// Asks for something and waits for the answer. Dropping the future closes the
    /// connection and gives up what was asked for, and so does `cancel`.
    ///
    /// # Errors
    /// Why it was not done, or that the owner ended meanwhile.
    pub async fn ask(
        &mut self,
        request: &ControlRequest,
        progress: &dyn ProgressListener,
        cancel: &CancellationToken,
    ) -> Result<ControlAnswer, ControlError> {
        let line = serde_json::to_vec(request).map(Zeroizing::new);
        let mut line = line.map_err(|error| ControlError::failed(error.to_string()))?;
        line.push(b'\n');
        if self.to.write_all(&line).await.is_err() {
            return Err(gone());
        }
        drop(line);
        loop {
            let line = tokio::select! {
                line = self.line() => line?,
                () = cancel.cancelled() => return Err(ControlError::failed("the call was cancelled")),
            };
            match line {
                Line::Progress(report) => progress.progress(report),
                Line::Answer(answer) => return answer,
                Line::Hello { .. } => {}
            }
        }
    }

    async fn line(&mut self) -> Result<Line, ControlError> {
        match self.lines.next().await {
            Some(Ok(line)) => serde_json::from_str(&line).map_err(|error| {
                ControlError::failed(format!(
                    "the process that owns this project answers in another language: {error}"
                ))
            }),
            Some(Err(error)) => Err(ControlError::failed(format!(
                "the answer of the process that owns this project can't be read: {error}"
            ))),
            None => Err(gone()),
        }
    }
}

fn gone() -> ControlError {
    ControlError::failed(
        "the process that owns this project ended before it answered; what was asked for may have been done: look, and try again",
    )
}
