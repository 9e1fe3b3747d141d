//! The threads that guests run on, apart from those of the protocol: a guest that spins
//! holds up other guests of its thread for a tick, and nobody else.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use futures::FutureExt as _;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// One thread for each core, each with a scheduler of its own; a call goes to the thread with
/// the fewest. Waking such a thread and being woken by it costs several times what a short
/// call does, and least of all here: one scheduler over all threads would wake a second one
/// to look for more work, and one that waits for I/O as well would wait in `epoll` (both
/// measured). Guests wait for time only, and what does I/O for them runs elsewhere; but for
/// sockets, which wasmtime opens where their guest runs: their calls have threads of their own.
pub(crate) struct GuestThreads {
    plain: Threads,
    with_sockets: OnceLock<std::io::Result<Threads>>,
    end: CancellationToken,
    _until_dropped: DropGuard,
}

struct Threads {
    first: GuestThread,
    others: Vec<GuestThread>,
}

struct GuestThread {
    handle: Handle,
    /// Calls that this thread has.
    calls: Arc<AtomicUsize>,
}

impl GuestThreads {
    pub(crate) fn start() -> std::io::Result<GuestThreads> {
        let end = CancellationToken::new();
        Ok(GuestThreads {
            plain: Threads::start(&end, false)?,
            with_sockets: OnceLock::new(),
            end: end.clone(),
            _until_dropped: end.drop_guard(),
        })
    }

    /// Takes the first step of `work` on the thread that asks: what it starts and waits for
    /// belongs to a guests' thread already. None where it isn't done with that, and is to be
    /// spawned; an error is its panic.
    pub(crate) fn begin<T>(
        &self,
        work: &mut (impl Future<Output = T> + Unpin),
    ) -> Option<std::thread::Result<T>> {
        let _context = self.plain.idlest().handle.enter();
        AssertUnwindSafe(work).catch_unwind().now_or_never()
    }

    /// Runs `work` on one of the threads; on one that waits for sockets, where it uses any.
    /// Dropping the result stops it.
    ///
    /// # Errors
    /// When the system gives no threads for sockets.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        uses_sockets: bool,
    ) -> Result<AbortOnDropHandle<T>, &std::io::Error> {
        if !uses_sockets {
            return Ok(self.plain.spawn(work));
        }
        let threads = self
            .with_sockets
            .get_or_init(|| Threads::start(&self.end, true));
        Ok(threads.as_ref()?.spawn(work))
    }
}

impl Threads {
    fn start(end: &CancellationToken, io: bool) -> std::io::Result<Threads> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let others = (1..cores)
            .map(|_| GuestThread::start(end.clone(), io))
            .collect::<Result<_, _>>()?;
        Ok(Threads {
            first: GuestThread::start(end.clone(), io)?,
            others,
        })
    }

    /// The thread with the fewest calls.
    fn idlest(&self) -> &GuestThread {
        let load = |thread: &GuestThread| thread.calls.load(Ordering::Relaxed);
        self.others.iter().fold(&self.first, |idlest, other| {
            if load(other) < load(idlest) {
                other
            } else {
                idlest
            }
        })
    }

    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        let thread = self.idlest();
        let counted = Counted::new(&thread.calls);
        AbortOnDropHandle::new(thread.handle.spawn(async move {
            let _counted = counted;
            work.await
        }))
    }
}

impl GuestThread {
    fn start(end: CancellationToken, io: bool) -> std::io::Result<GuestThread> {
        let mut runtime = Builder::new_current_thread();
        runtime.enable_time();
        if io {
            runtime.enable_io();
        }
        let runtime = runtime.build()?;
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
