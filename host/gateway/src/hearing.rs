//! What a client hears while something is worked on for it: how far that is, where it asked to
//! be told, and what plugins write to its log.
#![allow(deprecated, reason = "clients of the older era are told by its log")]

use std::sync::Arc;

use portreeve_core::{CallerUi, ProgressListener, ProgressReport};
use rmcp::RoleServer;
use rmcp::model::ProgressToken;
use rmcp::service::RequestContext;
use tokio::sync::mpsc::Receiver;

use crate::progress;
use crate::told::{self, Told};

/// What comes for the client of one request.
pub(crate) struct Hearing<'a> {
    context: &'a RequestContext<RoleServer>,
    reports: Option<(ProgressToken, Receiver<ProgressReport>)>,
    told: Option<Receiver<Told>>,
}

impl<'a> Hearing<'a> {
    /// Lets the client be told of what matters as much as `least`, or of nothing, and of
    /// progress if its request has a token for that.
    pub(crate) fn begin(
        context: &'a RequestContext<RoleServer>,
        least: Option<u8>,
        ui: &mut CallerUi,
    ) -> (Option<Arc<dyn ProgressListener>>, Hearing<'a>) {
        let told = least.map(|least| {
            let (listener, told) = told::told(least);
            ui.listener = Some(Arc::new(listener));
            told
        });
        let mut listener: Option<Arc<dyn ProgressListener>> = None;
        let reports = context.meta.get_progress_token().map(|token| {
            let (reporter, reports) = progress::reports();
            listener = Some(reporter);
            (token, reports)
        });
        let hearing = Hearing {
            context,
            reports,
            told,
        };
        (listener, hearing)
    }

    /// Works, and passes on meanwhile what comes. When this returns, all of it is written:
    /// nothing comes after the answer.
    pub(crate) async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let client = &self.context.peer;
        let work = async {
            match self.told {
                None => work.await,
                Some(told) => told::passed_on(work, told, client).await,
            }
        };
        match self.reports {
            None => work.await,
            Some((token, reports)) => {
                let cancelled = &self.context.ct;
                Box::pin(progress::passed_on(work, reports, client, token, cancelled)).await
            }
        }
    }
}
