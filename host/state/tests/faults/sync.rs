//! That what is acknowledged was synced to the disk before: seen from outside, in the calls
//! that the process makes of the system.

use std::collections::HashMap;

use crate::child::{Kind, Output, Work};
use crate::support::place;

/// Writes that are acknowledged.
const WRITES: u32 = 12;

#[test]
fn what_is_acknowledged_was_synced_before() {
    let Some(seen) = acknowledged_before_sync(true) else {
        return;
    };
    assert_eq!(seen, (expected(), 0));
}

#[test]
fn the_proof_fails_where_nothing_is_synced() {
    let Some(seen) = acknowledged_before_sync(false) else {
        return;
    };
    assert_eq!(seen, (expected(), expected()));
}

/// Keys, and a record of the audit log with each third.
fn expected() -> usize {
    usize::try_from(WRITES + WRITES / 3).unwrap()
}

/// How many writes a child acknowledged, and how many of these too early.
fn acknowledged_before_sync(sync: bool) -> Option<(usize, usize)> {
    let (_dir, path) = place();
    let trace = path.with_extension("strace");
    let mut work = Work::new(Kind::Write, &path, WRITES);
    work.sync = sync;
    let mut command = work.traced(&[
        "-y",
        "-o",
        trace.to_str().unwrap(),
        "-e",
        "trace=write,pwrite64,pwritev,fdatasync,fsync",
    ])?;
    let output = Output::of(&mut command);
    assert!(output.ended && output.failures().is_empty(), "{output:#?}");
    Some(early(&std::fs::read_to_string(&trace).unwrap()))
}

/// Counts the acknowledgements in a trace, and those with no data written since the one
/// before, or with data that was not synced between.
fn early(trace: &str) -> (usize, usize) {
    /// What is known of the write-ahead log's newest bytes.
    #[derive(PartialEq)]
    enum Log {
        Unchanged,
        Written,
        Synced,
    }
    let mut log = Log::Unchanged;
    let (mut count, mut early) = (0, 0);
    // A call that another thread's interrupts is told in two lines.
    let mut begun: HashMap<&str, &str> = HashMap::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        let resumed = call.starts_with("<...");
        let unfinished = call.ends_with("<unfinished ...>");
        let start = if resumed {
            begun.remove(thread).unwrap_or(call)
        } else {
            call
        };
        if unfinished {
            begun.insert(thread, call);
        }
        let of_log = start.contains("-wal>");
        // What is said counts from its beginning, what is synced from its end.
        if start.starts_with("write(1<") && !resumed {
            if start.contains("\"put ") || start.contains("\"audit ") {
                count += 1;
                early += usize::from(log != Log::Synced);
                log = Log::Unchanged;
            }
        } else if of_log && start.starts_with("pwrite") && !unfinished {
            log = Log::Written;
        } else if of_log
            && (start.starts_with("fdatasync(") || start.starts_with("fsync("))
            && call.ends_with("= 0")
            && log == Log::Written
        {
            log = Log::Synced;
        }
    }
    (count, early)
}

#[test]
fn a_trace_is_read_right() {
    let lines = |lines: &[&str]| lines.join("\n");
    let write = "7 pwrite64(9</d/state.db-wal>, \"x\"..., 4096, 24) = 4096";
    let sync = "7 fdatasync(9</d/state.db-wal>) = 0";
    let said = "8 write(1<pipe:[1]>, \"put a 1\\n\", 8) = 8";
    assert_eq!(early(&lines(&[write, sync, said])), (1, 0));
    assert_eq!(early(&lines(&[write, said, sync])), (1, 1));
    assert_eq!(early(&lines(&[sync, write, said])), (1, 1));
    assert_eq!(early(&lines(&[write, sync, said, said])), (2, 1));
    let split = [
        write,
        "7 fdatasync(9</d/state.db-wal> <unfinished ...>",
        said,
        "7 <... fdatasync resumed>) = 0",
    ];
    assert_eq!(early(&lines(&split)), (1, 1));
    let split = [
        write,
        "7 fdatasync(9</d/state.db-wal> <unfinished ...>",
        "7 <... fdatasync resumed>) = 0",
        said,
    ];
    assert_eq!(early(&lines(&split)), (1, 0));
    let other = "7 fdatasync(9</d/state.db>) = 0";
    assert_eq!(early(&lines(&[write, other, said])), (1, 1));
}
