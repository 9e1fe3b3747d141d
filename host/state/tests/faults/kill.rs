//! Killed at any write, and a disk that fails at any write: what was acknowledged is there,
//! and nothing is half there.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::child::{Kind, Output, Work};
use crate::support::{check_now, place};

/// Writes of a child: enough to make the schema, to write, and to put all into the file.
const WRITES: u32 = 6;

#[test]
fn killed_at_random_it_keeps_what_it_acknowledged() {
    let (_dir, path) = place();
    let mut acknowledged = Vec::new();
    for round in 0..25_u64 {
        // From the first start on, which makes the state.
        let mut child = Work::new(Kind::Storm, &path, 0)
            .command()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut said = Vec::new();
            out.read_to_end(&mut said).unwrap();
            said
        });
        std::thread::sleep(Duration::from_millis(10 + round * 37 % 190));
        child.kill().unwrap();
        child.wait().unwrap();
        let output = Output::new(&reader.join().unwrap(), false);
        assert_eq!(output.failures(), Vec::<&str>::new());
        check_now(&path, &output.lines);
        acknowledged.extend(output.lines);
    }
    // Later rounds write the same keys again, so all of it must be there at the end.
    let writes = acknowledged
        .iter()
        .filter(|line| line.starts_with("put"))
        .count();
    assert!(writes > 100, "only {writes} writes were acknowledged");
    check_now(&path, &acknowledged);
}

#[test]
fn killed_at_any_write_it_keeps_what_it_acknowledged() {
    // How often a child does each of these when nothing stops it; at least so many must have
    // been tried.
    for (call, at_least) in [
        ("pwrite64", 40),
        ("fdatasync,fsync", 8),
        ("ftruncate", 1),
        ("unlink", 1),
    ] {
        let Some(killed) = sweep(call, "signal=KILL", |output, path, _| {
            check_now(path, &output.lines);
        }) else {
            return;
        };
        assert!(killed >= at_least, "{call}: {killed}");
    }
}

#[test]
fn a_disk_that_fails_at_any_write_fails_that_write_alone() {
    for (call, fault, at_least) in [
        ("pwrite64", "error=ENOSPC", 40),
        ("pwrite64", "error=EIO", 40),
        ("fdatasync,fsync", "error=EIO", 8),
    ] {
        let Some(failed) = sweep(call, fault, |output, path, injected| {
            check_now(path, &output.lines);
            let failures = output.failures();
            // Each thread counts its own calls, so that more than one may have been hit.
            assert!(
                failures.len() <= injected,
                "{call} {fault}: {:#?}",
                output.lines
            );
            for failure in failures {
                // SQLite tells a full disk from one that fails everywhere but where it makes
                // the log's index.
                let full = failure.contains(": Full:") && failure.contains("make room on the disk");
                let told = if fault == "error=ENOSPC" && !failure.contains("failed open") {
                    full
                } else {
                    full || failure.contains("whether the disk is full or fails")
                };
                assert!(told, "{call} {fault}: {failure}");
            }
        }) else {
            return;
        };
        assert!(failed >= at_least, "{call} {fault}: {failed}");
    }
}

/// Has a child fail at the first of these calls, another at the second, and so on until one
/// comes through. How many failed; None without `strace`.
fn sweep(call: &str, fault: &str, check: impl Fn(&Output, &Path, usize) + Sync) -> Option<u32> {
    /// More calls than a child makes.
    const CALLS_MAX: u32 = 400;
    let next = AtomicU32::new(1);
    let through = AtomicU32::new(CALLS_MAX);
    let run = |number: u32| {
        let (_dir, path) = place();
        let inject = format!("inject={call}:{fault}:when={number}");
        let trace = format!("trace={call}");
        let log = path.with_extension("strace");
        let mut command = Work::new(Kind::Write, &path, WRITES).traced(&[
            "-o",
            log.to_str().unwrap(),
            "-e",
            &trace,
            "-e",
            &inject,
        ])?;
        let output = Output::of(&mut command);
        let traced = std::fs::read_to_string(&log).unwrap();
        let injected = traced.matches("INJECTED").count();
        let hit = if fault == "signal=KILL" {
            !output.ended
        } else {
            injected > 0
        };
        check(&output, &path, injected);
        Some(hit)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= through.load(Ordering::Relaxed) {
                            return Some(());
                        }
                        if !run(number)? {
                            through.fetch_min(number, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap())
    })?;
    let failed = through.load(Ordering::Relaxed) - 1;
    assert!(failed + 1 < CALLS_MAX, "{call}: it never came through");
    Some(failed)
}
