//! What plugins keep and read: a `get` of a key from a guest against the same query without
//! one, and a file of 64 KiB read by a guest against the same guest in plain wasmtime-wasi. CPU
//! time, in turns in one run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod raw;
mod support;

use portreeve_core::Host;
use portreeve_state::{Holder, SqliteStore, StateStore as _};
use serde_json::json;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use raw::Raw;
use support::{Bench, call, measured, median, object, on_threads, report};

/// What is done in one turn, and turns.
const GETS: u64 = 2_000;
const READS: u64 = 500;
const TURNS: usize = 15;

/// The value of a key, and the file, in bytes.
const VALUE: usize = 1_000;
const FILE: u64 = 64 << 10;

fn main() {
    on_threads(async {
        let bench = Bench::new();
        keys(&bench).await;
        files(&bench).await;
    });
}

async fn keys(bench: &Bench) {
    let table = "grants.storage.kv = \"1 MiB\"\nlimits = { timeout = \"5m\" }\n";
    let project = bench.project_of("kv", portreeve_test_artifacts::KV, table);
    let config = bench.host_config(&project);
    let database = config.project.database();
    let host = Host::open(config).await.expect("a host");
    let set = json!({"key": "k", "value": "x".repeat(VALUE), "expected": null});
    call(&host, "kv__set", &object(set)).await;
    // The same queries through a pool of the same make, on the same file.
    let store = SqliteStore::read(&database).await.expect("the state");
    let holder = Holder::plugin("kv");
    // On the threads' own, as the guest is: `main` waits in a way of its own.
    let natively = async || {
        let (store, holder) = (store.clone(), holder.clone());
        let queries = tokio::spawn(async move {
            for _ in 0..GETS {
                let now_ms = portreeve_state::audit::wall_clock();
                let entry = store.kv_entry(&holder, "", "k", now_ms).await;
                let entry = entry.expect("a state").expect("an entry");
                assert_eq!(entry.value.len(), VALUE);
            }
        });
        queries.await.expect("the queries end");
    };
    let from_guest = async || {
        let gets = object(json!({"key": "k", "times": GETS}));
        let found = call(&host, "kv__gets", &gets).await.structured;
        assert_eq!(found.expect("an object")["found"], GETS);
    };
    let (mut each, mut ratios) = (vec![], vec![]);
    for turn in 0..=TURNS {
        let native = measured(natively()).await;
        let guest = measured(from_guest()).await;
        if turn > 0 {
            each.push(native * 1e6 / GETS as f64);
            ratios.push(guest / native);
        }
    }
    host.close().await;
    println!(
        "the query by itself: {:.1} µs CPU (for orientation)",
        median(each)
    );
    report(
        "a get of a key from a guest, against the same query",
        median(ratios),
        2.0,
        "×",
    );
}

async fn files(bench: &Bench) {
    let table = "grants.directories = [{ path = \"/files\", from = \"files\" }]\nlimits = { timeout = \"5m\" }\n";
    let component = portreeve_test_artifacts::DIRECTORIES;
    let project = bench.project_of("files", component, table);
    let dir = project.join("files");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(dir.join("a"), vec![b'x'; FILE as usize]).expect("a file");
    let host = Host::open(bench.host_config(&project))
        .await
        .expect("a host");
    let raw = Raw::new(&std::fs::read(component).expect("a component"));
    let arguments = json!({"path": "/files/a", "times": READS});
    let text = arguments.to_string();
    let plainly = async || {
        let mut wasi = WasiCtxBuilder::new();
        wasi.preopened_dir(&dir, "/files", FsPerms::ReadOnly)
            .expect("a directory");
        let answer = raw.call("read_files", &text, wasi.build()).await;
        let all = (READS * FILE).to_string();
        assert!(format!("{answer:?}").contains(&all), "{answer:?}");
    };
    let arguments = object(arguments);
    let from_host = async || {
        let read = call(&host, "files__read_files", &arguments)
            .await
            .structured;
        assert_eq!(read.expect("an object")["bytes"], READS * FILE);
    };
    let (mut each, mut ratios) = (vec![], vec![]);
    for turn in 0..=TURNS {
        let plain = measured(plainly()).await;
        let host = measured(from_host()).await;
        if turn > 0 {
            each.push(plain * 1e6 / READS as f64);
            ratios.push(host / plain);
        }
    }
    host.close().await;
    println!(
        "a file of 64 KiB in plain wasmtime-wasi: {:.1} µs CPU a read (for orientation)",
        median(each)
    );
    report(
        "a file of 64 KiB read by a guest, against plain wasmtime-wasi",
        median(ratios),
        1.5,
        "×",
    );
}
