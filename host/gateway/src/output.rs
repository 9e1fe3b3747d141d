//! The writing side of a connection: whole lines, one at a time, until it is closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ErrorData, RequestId};
use rmcp::service::TxJsonRpcMessage;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::written::written;

/// Refusals that may wait to be written; then nothing more is read until the client reads.
const REFUSALS_MAX: u32 = 64;

/// Longest time that a closing connection still writes.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(1);

/// Where messages to a client go.
pub(crate) struct Output<W> {
    writer: Mutex<W>,
    refusals: Arc<Semaphore>,
    connection: CancellationToken,
    closed: CancellationToken,
}

/// The right to refuse one message of the client.
pub(crate) struct Refusing(OwnedSemaphorePermit);

impl<W: AsyncWrite + Send + Unpin + 'static> Output<W> {
    /// An output that ends `connection` when it can't write.
    pub(crate) fn new(writer: W, connection: CancellationToken) -> Arc<Output<W>> {
        Arc::new(Output {
            writer: Mutex::new(writer),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX as usize)),
            connection,
            closed: CancellationToken::new(),
        })
    }

    /// Writes a message; ready when the system has all of it.
    ///
    /// To be awaited to its end: a line that stops in the middle would spoil the next.
    pub(crate) async fn write(&self, message: &TxJsonRpcMessage<RoleServer>) -> io::Result<()> {
        let mut line = written(message)?;
        line.push(b'\n');
        let written = tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(io::ErrorKind::NotConnected.into()),
            written = self.write_line(&line) => written,
        };
        if written.is_err() {
            self.connection.cancel();
        }
        written
    }

    async fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        writer.write_all(line).await?;
        writer.flush().await
    }

    /// Waits until a refusal may be written.
    pub(crate) async fn refusing(&self) -> Option<Refusing> {
        let permit = self.refusals.clone().acquire_owned().await;
        permit.ok().map(Refusing)
    }

    /// Refuses a message, without waiting for the client to read that.
    pub(crate) fn refuse(
        self: &Arc<Self>,
        refusing: Refusing,
        id: Option<RequestId>,
        error: ErrorData,
    ) {
        let output = self.clone();
        tokio::spawn(async move {
            let written = output
                .write(&TxJsonRpcMessage::<RoleServer>::error(error, id))
                .await;
            if let Err(error) = written {
                tracing::debug!(%error, "a refusal could not be written");
            }
            drop(refusing.0);
        });
    }

    /// Closes the connection, after the refusals that wait are written.
    pub(crate) async fn close(&self) {
        let refused = self.refusals.acquire_many(REFUSALS_MAX);
        if tokio::time::timeout(CLOSING_TIME_MAX, refused)
            .await
            .is_err()
        {
            tracing::debug!("the client did not read the last refusals");
        }
        self.closed.cancel();
        let shutdown = async { self.writer.lock().await.shutdown().await };
        // A client that is gone can't be told; one that doesn't read would be waited for.
        let _ = tokio::time::timeout(CLOSING_TIME_MAX, shutdown).await;
    }
}
