//! The threads that guests run on, apart from those of the protocol: a guest that spins
//! holds up other guests of its thread for a tick, and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// One thread for each core, each with a scheduler of its own; a call goes to the thread with
/// the fewest. Waking such a thread and being woken by it costs several times what a short
/// call does, and least of all here: one scheduler over all threads would wake a second one
/// to look for more work, and one that waits for I/O as well would wait in `epoll` (both
/// measured). Guests wait for time only; what does I/O for them runs elsewhere.
pub(crate) struct GuestThreads {
    first: GuestThread,
    others: Vec<GuestThread>,
    _until_dropped: DropGuard,
}

struct GuestThread {
    handle: Handle,
    /// Calls that this thread has.
    calls: Arc<AtomicUsize>,
}

impl GuestThreads {
    pub(crate) fn start() -> std::io::Result<GuestThreads> {
        let end = CancellationToken::new();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let others = (1..cores)
            .map(|_| GuestThread::start(end.clone()))
            .collect::<Result<_, _>>()?;
        Ok(GuestThreads {
            first: GuestThread::start(end.clone())?,
            others,
            _until_dropped: end.drop_guard(),
        })
    }

    /// Runs `work` on one of the threads. Dropping the result stops it.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        let load = |thread: &GuestThread| thread.calls.load(Ordering::Relaxed);
        let thread = self.others.iter().fold(&self.first, |idlest, other| {
            if load(other) < load(idlest) {
                other
            } else {
                idlest
            }
        });
        let counted = Counted::new(&thread.calls);
        AbortOnDropHandle::new(thread.handle.spawn(async move {
            let _counted = counted;
            work.await
        }))
    }
}

impl GuestThread {
    fn start(end: CancellationToken) -> std::io::Result<GuestThread> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("portreeve-guest".to_owned())
            .spawn(move || runtime.block_on(end.cancelled()))?;
        Ok(GuestThread {
            handle,
            calls: Arc::default(),
        })
    }
}

/// A call among those of its thread.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(calls: &Arc<AtomicUsize>) -> Counted {
        calls.fetch_add(1, Ordering::Relaxed);
        Counted(calls.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
