//! Questions on the terminal.

use std::sync::{Once, mpsc};

use anyhow::Context as _;
use dialoguer::console::Term;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a process that an interrupt ended, as shells count: 128 and the signal.
const INTERRUPTED: i32 = 130;

/// Asks, and leaves a terminal that can be used, however the question ends.
///
/// # Errors
/// When there is no answer.
pub(crate) fn answered<T>(ask: impl FnOnce() -> dialoguer::Result<T>) -> anyhow::Result<T> {
    show_cursor_when_interrupted();
    ask()
        .inspect_err(|dialoguer::Error::IO(error)| {
            if error.kind() == std::io::ErrorKind::Interrupted {
                interrupted();
            }
            // Nobody to show it to when the terminal is gone.
            let _ = Term::stderr().show_cursor();
        })
        .context("the terminal is gone; nothing was changed")
}

/// Ends the process, as an interrupt does where nobody listens for it.
fn interrupted() -> ! {
    let _ = Term::stderr().show_cursor();
    std::process::exit(INTERRUPTED);
}

/// Questions hide the cursor, and an interrupt would end the process before it is back.
fn show_cursor_when_interrupted() {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        let (listens, wait) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let Ok(mut interrupts) = signal(SignalKind::interrupt()) else {
                    return;
                };
                let _ = listens.send(());
                interrupts.recv().await;
                interrupted();
            });
        });
        // Ends as well where the thread could not listen.
        let _ = wait.recv();
    });
}
