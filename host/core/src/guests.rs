//! The threads that guests run on, apart from those of the protocol: a guest that spins
//! holds up other guests of its thread for a tick, and whoever called it for one turn at most.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use futures::FutureExt as _;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// One thread for each core, each with a scheduler of its own; a call goes to the thread with
/// the fewest. Waking such a thread and being woken by it costs up to four times what a short
/// call does, which is why that begins where it is made ([`GuestThreads::begin`]), and least of
/// all here: one scheduler over all threads would wake a second one
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

    /// Takes the first step of `work` on the thread that asks: for a guest, until it has used a
    /// turn's fuel, the clock ticks, or it waits for something. What it starts belongs to a
    /// guests' thread already. None where it is not done then, and is to be spawned; an error
    /// is its panic.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }

    #[tokio::test]
    async fn work_begins_here_and_goes_on_there() {
        let threads = GuestThreads::start().unwrap();
        let short = threads.begin(&mut Box::pin(async { here() }));
        assert_eq!(short.unwrap().unwrap(), here());
        let mut long = Box::pin(async {
            let begun = here();
            tokio::task::yield_now().await;
            (begun, here())
        });
        assert!(threads.begin(&mut long).is_none());
        let (begun, ended) = threads.spawn(long, false).unwrap().await.unwrap();
        assert_eq!((begun, ended.as_deref()), (here(), Some("portreeve-guest")));
    }

    #[tokio::test]
    async fn what_it_starts_is_there_from_the_beginning() {
        let threads = GuestThreads::start().unwrap();
        let mut work = Box::pin(async { tokio::spawn(async { here() }).await.unwrap() });
        let started = match threads.begin(&mut work) {
            // It was quicker there.
            Some(started) => started.unwrap(),
            None => threads.spawn(work, false).unwrap().await.unwrap(),
        };
        assert_eq!(started.as_deref(), Some("portreeve-guest"));
    }

    #[tokio::test]
    async fn a_panic_is_its_own() {
        let threads = GuestThreads::start().unwrap();
        let mut work = Box::pin(async { panic!("on purpose") });
        assert!(threads.begin::<()>(&mut work).unwrap().is_err());
    }
}
