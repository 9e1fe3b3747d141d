//! What it costs to look through a component, against compiling it, and what it costs to look up
//! what was found, against reading and hashing it.
//!
//! `cargo bench -p portreeve --bench scan` builds first-party plugins as their authors do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portreeve_core::ArtifactStore;
use portreeve_manifest::id::Alias;
use portreeve_supply::licence::{self, Rules};
use portreeve_supply::{Digest, IntakeLimits, Package, scan};
use wasmtime::{Config, Engine};

use support::{Bench, cpu, median, report};

/// Pairs that are measured in turns.
const PAIRS: usize = 7;

const PLUGINS: [&str; 3] = ["markdown", "data", "github"];

fn main() {
    let bench = Bench::new();
    let alias = Alias::new("p").unwrap();
    let rules = Rules::default();
    let mut config = Config::new();
    config.consume_fuel(true).epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();

    // Once for a process: the texts of all licences.
    let (_, loaded) = measured(|| licence::tell("MIT License. Permission is hereby granted", None));
    println!("the texts of licences are loaded once, in {loaded:.1?} of CPU time");

    for name in PLUGINS {
        let file = built(&bench, name);
        let bytes = std::fs::read(&file).unwrap();
        println!("{name}: {} KiB", bytes.len() >> 10);
        let limits = IntakeLimits::default();
        let package = Package::read(&bytes, name, &limits).unwrap();
        let (mut first, mut cached, mut scanned, mut shares) = (vec![], vec![], vec![], vec![]);
        for _ in 0..PAIRS {
            let (_, compiled) = measured(|| engine.precompile_component(&bytes).unwrap());
            let (_, looked) = measured(|| {
                scan::scan(&bytes, &package);
                licence::examine(&package, &alias, &rules)
            });
            let (_, scan) = measured(|| scan::scan(&bytes, &package));
            first.push(ratio(looked, compiled));
            scanned.push(ratio(scan, compiled));
            shares.push(ratio(loaded + looked, compiled));
        }
        let store = ArtifactStore::open(&bench.path().join("findings"), 1 << 30).unwrap();
        scan::scan_once(&store, &bytes, &package);
        for _ in 0..PAIRS * 5 {
            let (_, read) = measured(|| Digest::of(&std::fs::read(&file).unwrap()));
            let (found, looked) = measured(|| {
                let digest = Digest::of(&std::fs::read(&file).unwrap());
                store.findings(&digest).unwrap()
            });
            assert!(!found.findings.list.is_empty());
            cached.push(ratio(looked, read));
        }
        report(
            "  first examination against compiling",
            median(first),
            0.5,
            "×",
        );
        println!("  of that the scan alone: {:.3}×", median(scanned));
        println!("  with the loading of all texts: {:.2}×", median(shares));
        report(
            "  cached, against reading and hashing",
            median(cached),
            1.5,
            "×",
        );
    }
}

/// CPU time of something.
fn measured<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = cpu();
    let done = work();
    (done, cpu() - before)
}

fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64().max(1e-9)
}

/// A plugin as its author builds it.
fn built(bench: &Bench, name: &str) -> PathBuf {
    let package = bench.path().join(format!("{name}.wasm"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let status = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .arg("build")
        .arg(root.join("plugins").join(name))
        .arg("--out")
        .arg(&package)
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("author"),
        )
        .env("PORTREEVE_CACHE_DIR", bench.path().join("cache"))
        .env("PORTREEVE_STATE_DIR", bench.path().join("state"))
        .status()
        .unwrap();
    assert!(status.success(), "{name} is not built");
    package
}
