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

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portreeve_core::{CallRequest, Caller, Host};
use portreeve_state::{Holder, SqliteStore, StateStore as _};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimits,
    StoreLimitsBuilder,
};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use support::{Bench, cpu, median, report};

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/tools"],
        inline: "
            package portreeve:bench;
            world raw { export portreeve:tools/provider@0.1.0; }
        ",
        world: "portreeve:bench/raw",
        exports: { default: async },
    });
}
use bindings::exports::portreeve::tools::provider::GuestIndices;

/// What is done in one turn, and turns.
const GETS: u64 = 2_000;
const READS: u64 = 500;
const TURNS: usize = 15;

/// The value of a key, and the file, in bytes.
const VALUE: usize = 1_000;
const FILE: u64 = 64 << 10;

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    threads.block_on(async {
        let bench = Bench::new();
        keys(&bench).await;
        files(&bench).await;
    });
    threads.shutdown_background();
}

/// A project with one plugin, and more of its table.
fn project(bench: &Bench, alias: &str, component: &str, table: &str) -> std::path::PathBuf {
    let project = bench.project(alias, [(alias.to_owned(), component.as_ref())]);
    let manifest = project.join("portreeve.toml");
    let mut text = std::fs::read_to_string(&manifest).expect("a manifest");
    text.push_str(table);
    std::fs::write(&manifest, text).expect("a manifest");
    project
}

/// Calls a tool, and gives its answer.
async fn call(host: &Arc<Host>, tool: &str, arguments: Value) -> Value {
    let request = CallRequest {
        caller: Caller::local("bench"),
        tool: tool.to_owned(),
        arguments: arguments.as_object().expect("an object").clone(),
        progress: None,
        ui: Default::default(),
        cancel: CancellationToken::new(),
    };
    let outcome = host.call(request).await.result.expect("an answer");
    outcome.structured.expect("a structured answer").into()
}

/// CPU time of something.
async fn measured(work: impl Future<Output = ()>) -> Duration {
    let before = cpu();
    work.await;
    cpu() - before
}

async fn keys(bench: &Bench) {
    let table = "grants.storage.kv = \"1 MiB\"\nlimits = { timeout = \"5m\" }\n";
    let project = project(bench, "kv", portreeve_test_artifacts::KV, table);
    let config = bench.host_config(&project);
    let database = config.project.database();
    let host = Host::open(config).await.expect("a host");
    let set = json!({"key": "k", "value": "x".repeat(VALUE), "expected": null});
    call(&host, "kv__set", set).await;
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
        let found = call(&host, "kv__gets", json!({"key": "k", "times": GETS})).await;
        assert_eq!(found["found"], GETS);
    };
    let (mut each, mut ratios) = (vec![], vec![]);
    for turn in 0..=TURNS {
        let native = measured(natively()).await.as_secs_f64();
        let guest = measured(from_guest()).await.as_secs_f64();
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

struct RawGuest {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for RawGuest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// The same guest in plain wasmtime-wasi, with the same engine settings and metering.
struct Raw {
    engine: Engine,
    instance: wasmtime::component::InstancePre<RawGuest>,
    provider: GuestIndices,
}

impl Raw {
    fn new(bytes: &[u8]) -> Raw {
        let mut config = Config::new();
        config
            .consume_fuel(true)
            .epoch_interruption(true)
            .concurrency_support(false)
            .native_unwind_info(false)
            .generate_address_map(false);
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(2 << 20)
            .max_memory_size(4 << 30);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::new(&engine, bytes).expect("a component");
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("wasi");
        // What else it imports it doesn't call here.
        for (name, item) in component.component_type().imports(&engine) {
            let ComponentItem::ComponentInstance(imported) = item.ty else {
                continue;
            };
            if !name.starts_with("portreeve:") {
                continue;
            }
            let mut instance = linker.instance(name).expect("an import");
            for (function, item) in imported.exports(&engine) {
                if let ComponentItem::ComponentFunc(_) = item.ty {
                    instance
                        .func_new(function, |_, _, _, _| panic!("it is not called"))
                        .expect("a function");
                }
            }
        }
        let instance = linker.instantiate_pre(&component).expect("an instance");
        let provider = GuestIndices::new(&instance).expect("a provider");
        Raw {
            engine,
            instance,
            provider,
        }
    }

    async fn read(&self, dir: &Path, arguments: &String) {
        let mut wasi = WasiCtxBuilder::new();
        wasi.preopened_dir(dir, "/files", FsPerms::ReadOnly)
            .expect("a directory");
        let mut store = Store::new(
            &self.engine,
            RawGuest {
                wasi: wasi.build(),
                table: ResourceTable::new(),
                limits: StoreLimitsBuilder::new().memory_size(64 << 20).build(),
            },
        );
        store.limiter(|guest| &mut guest.limits);
        store.set_fuel(10_000_000_000).expect("fuel");
        store
            .fuel_async_yield_interval(Some(1_000_000))
            .expect("yields");
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = self.instance.instantiate_async(&mut store).await;
        let instance = instance.expect("an instance");
        let provider = self.provider.load(&mut store, &instance);
        let provider = provider.expect("a provider");
        let answer = provider.call_call_tool(&mut store, "read_files", arguments);
        let answer = answer.await.expect("no trap").expect("an answer");
        let all = (READS * FILE).to_string();
        assert!(format!("{answer:?}").contains(&all), "{answer:?}");
    }
}

async fn files(bench: &Bench) {
    let table = "grants.directories = [{ path = \"/files\", from = \"files\" }]\nlimits = { timeout = \"5m\" }\n";
    let component = portreeve_test_artifacts::DIRECTORIES;
    let project = project(bench, "files", component, table);
    let dir = project.join("files");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(dir.join("a"), vec![b'x'; FILE as usize]).expect("a file");
    let host = Host::open(bench.host_config(&project))
        .await
        .expect("a host");
    let raw = Raw::new(&std::fs::read(component).expect("a component"));
    let arguments = json!({"path": "/files/a", "times": READS});
    let text = arguments.to_string();
    let from_host = async || {
        let read = call(&host, "files__read_files", arguments.clone()).await;
        assert_eq!(read["bytes"], READS * FILE);
    };
    let (mut each, mut ratios) = (vec![], vec![]);
    for turn in 0..=TURNS {
        let plain = measured(raw.read(&dir, &text)).await.as_secs_f64();
        let host = measured(from_host()).await.as_secs_f64();
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
