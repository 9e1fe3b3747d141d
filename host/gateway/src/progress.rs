//! Progress of a call, to the client that asked for it.

use std::sync::Arc;

use portreeve_core::{ProgressListener, ProgressReport};
use rmcp::RoleServer;
use rmcp::model::{ProgressNotification, ProgressNotificationParam, ProgressToken};
use rmcp::service::Peer;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

/// Reports that wait for a client that reads slowly; more are dropped.
const WAITING_MAX: usize = 16;

/// Takes reports without ever waiting.
pub(crate) struct Reporter(Sender<ProgressReport>);

impl ProgressListener for Reporter {
    fn progress(&self, report: ProgressReport) {
        // Full: the client is behind, and a later report will tell it more.
        let _ = self.0.try_send(report);
    }
}

/// Where reports go in, and where they come out.
pub(crate) fn reports() -> (Arc<Reporter>, Receiver<ProgressReport>) {
    let (sender, receiver) = channel(WAITING_MAX);
    (Arc::new(Reporter(sender)), receiver)
}

/// Runs `call` and passes its reports on meanwhile. When this returns, all of them are
/// written: none can come after the answer.
pub(crate) async fn passed_on<T>(
    call: impl Future<Output = T>,
    reports: Receiver<ProgressReport>,
    client: &Peer<RoleServer>,
    token: ProgressToken,
    cancelled: &CancellationToken,
) -> T {
    let answered = CancellationToken::new();
    let call = async {
        let answer = call.await;
        answered.cancel();
        answer
    };
    let passing = pass_on(reports, client, token, &answered, cancelled);
    tokio::join!(call, passing).0
}

async fn pass_on(
    mut reports: Receiver<ProgressReport>,
    client: &Peer<RoleServer>,
    token: ProgressToken,
    answered: &CancellationToken,
    cancelled: &CancellationToken,
) {
    let mut last = f64::NEG_INFINITY;
    loop {
        let report = tokio::select! {
            biased;
            () = cancelled.cancelled() => return,
            report = reports.recv() => report,
            () = answered.cancelled() => {
                // No more come in; those that wait are read still.
                reports.close();
                reports.recv().await
            }
        };
        let Some(report) = report else {
            return;
        };
        // The protocol wants it to grow.
        if report.done <= last {
            continue;
        }
        last = report.done;
        let mut params = ProgressNotificationParam::new(token.clone(), report.done);
        params.total = report.total;
        params.message = report.message;
        let report = ProgressNotification::new(params).into();
        // Boxed: it is large, and each request has room for it otherwise.
        if Box::pin(client.send_notification(report)).await.is_err() {
            return;
        }
    }
}
