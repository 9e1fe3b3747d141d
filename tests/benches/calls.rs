//! What a fresh call costs: raw wasmtime, the runtime, the host. CPU time, in one run.
//!
//! Raw is the same component with the same engine settings and metering: an `InstancePre`,
//! a new store with a WASI context and a limiter, one typed call.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod support;

use std::sync::Arc;

use portreeve_core::{CallRequest, Caller, Host};
use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    Arguments, CallContext, Config as PluginConfig, Failure, NoDirectories, NoHttp, NoKv,
    NoMessages, NoPrompt, NoSecrets, NoSockets, OutputSink, ProgressReport, ProgressSink, Runtime,
    Stream, Target, Template,
};
use portreeve_supply::Digest;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    StoreLimits, StoreLimitsBuilder,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

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

/// Calls of one turn, and turns.
const CALLS: u32 = 2_000;
const TURNS: usize = 15;

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
        pool.total_component_instances(64)
            .total_stacks(64)
            .linear_memory_keep_resident(2 << 20)
            .table_keep_resident(64 << 10)
            .async_stack_keep_resident(64 << 10)
            .max_memory_size(4 << 30)
            .total_memories(1_024)
            .total_tables(2_048)
            .pagemap_scan(Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::new(&engine, bytes).expect("a component");
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("wasi");
        let instance = linker.instantiate_pre(&component).expect("an instance");
        let provider = GuestIndices::new(&instance).expect("a provider");
        Raw {
            engine,
            instance,
            provider,
        }
    }

    async fn call(&self, arguments: &String) {
        let mut store = Store::new(
            &self.engine,
            RawGuest {
                wasi: WasiCtx::builder().build(),
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
        let instance = self
            .instance
            .instantiate_async(&mut store)
            .await
            .expect("an instance");
        let provider = self
            .provider
            .load(&mut store, &instance)
            .expect("a provider");
        let answer = provider
            .call_call_tool(&mut store, "echo", arguments)
            .await
            .expect("an answer");
        assert!(answer.is_ok());
    }
}

/// A thread that raw calls run on, so that they don't share the caller's: as calls of the host
/// do that are not over with their first turn. What this costs by itself depends on the machine
/// more than all else here.
struct Apart {
    handle: tokio::runtime::Handle,
    end: CancellationToken,
}

impl Apart {
    fn start() -> Apart {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
        let ended = end.clone();
        std::thread::spawn(move || runtime.block_on(ended.cancelled()));
        Apart { handle, end }
    }

    async fn call(&self, raw: &Arc<Raw>, arguments: &str) {
        let (raw, arguments) = (raw.clone(), arguments.to_owned());
        let call = async move { raw.call(&arguments).await };
        self.handle.spawn(call).await.expect("the call succeeds");
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

struct Quiet;

impl OutputSink for Quiet {
    fn line(&self, _: Stream, _: &str) {}
}

impl ProgressSink for Quiet {
    fn permitted(&self) -> Result<(), Failure> {
        Ok(())
    }
    fn report(&self, _: ProgressReport) {}
}

async fn through_runtime(
    template: &Template,
    arguments: &Value,
    limits: &Limits,
    quiet: &Arc<Quiet>,
) {
    let context = CallContext {
        call_id: "bench".to_owned(),
        caller: "local".to_owned(),
        config: PluginConfig::default(),
        progress: quiet.clone(),
        client: Arc::new(portreeve_runtime::NoClient),
        prompt: Arc::new(NoPrompt),
        secrets: Arc::new(NoSecrets),
        http: Arc::new(NoHttp),
        kv: Arc::new(NoKv),
        directories: Arc::new(NoDirectories),
        messages: Arc::new(NoMessages),
        sockets: Arc::new(NoSockets),
        output: quiet.clone(),
        cancel: CancellationToken::new(),
    };
    let arguments = Arguments::new(arguments.clone(), limits).expect("short arguments");
    let finished = template
        .call(Target::Tool("echo"), &arguments, limits, context)
        .await;
    assert!(finished.result.is_ok());
}

async fn through_host(host: &Arc<Host>, caller: &Caller, arguments: &Map<String, Value>) {
    let request = CallRequest {
        caller: caller.clone(),
        tool: "echo__echo".to_owned(),
        arguments: arguments.clone(),
        progress: None,
        ui: Default::default(),
        cancel: CancellationToken::new(),
    };
    let response = host.call(request).await;
    assert!(response.result.is_ok(), "{:?}", response.result);
}

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    threads.block_on(bench());
    threads.shutdown_background();
}

async fn bench() {
    let path = portreeve_test_artifacts::ECHO;
    let bytes = std::fs::read(path).expect("echo");
    let raw = Raw::new(&bytes);
    let bench = Bench::new();
    let runtime = Runtime::new(bench.runtime_config()).expect("a runtime");
    let limits = Limits::default();
    let digest = Digest::of(&bytes);
    let template = runtime
        .load(digest.as_bytes(), limits.stack, move || Ok(bytes), &|_| {})
        .await
        .expect("a template");
    let project = bench.project("one", [("echo".to_owned(), path.as_ref())]);
    let host = Host::open(bench.host_config(&project))
        .await
        .expect("a host");

    let arguments = json!({"text": "hello"});
    let text = arguments.to_string();
    let object = arguments.as_object().expect("an object").clone();
    let caller = Caller::local("bench");
    let quiet = Arc::new(Quiet);
    through_host(&host, &caller, &object).await;

    let (mut raw_us, mut runtime_ratios, mut host_ratios) = (vec![], vec![], vec![]);
    let (mut raw_many, mut host_many) = (vec![], vec![]);
    let (mut apart_ratios, mut host_apart_ratios) = (vec![], vec![]);
    let apart = Apart::start();
    let raw = Arc::new(raw);
    for turn in 0..=TURNS {
        let start = cpu();
        for _ in 0..CALLS {
            raw.call(&text).await;
        }
        let after_raw = cpu();
        for _ in 0..CALLS {
            through_runtime(&template, &arguments, &limits, &quiet).await;
        }
        let after_runtime = cpu();
        for _ in 0..CALLS {
            through_host(&host, &caller, &object).await;
        }
        let after_host = cpu();
        for _ in 0..CALLS {
            apart.call(&raw, &text).await;
        }
        let after_apart = cpu();
        let (raw_too, text_too) = (raw.clone(), text.clone());
        at_once(move || {
            let (raw, text) = (raw_too.clone(), text_too.clone());
            async move { raw.call(&text).await }
        })
        .await;
        let after_raw_many = cpu();
        let (host_too, caller_too, object_too) = (host.clone(), caller.clone(), object.clone());
        at_once(move || {
            let (host, caller, object) = (host_too.clone(), caller_too.clone(), object_too.clone());
            async move { through_host(&host, &caller, &object).await }
        })
        .await;
        let after_host_many = cpu();
        if turn == 0 {
            continue; // warm-up
        }
        let base = (after_raw - start).as_secs_f64();
        raw_us.push(base / f64::from(CALLS) * 1e6);
        runtime_ratios.push((after_runtime - after_raw).as_secs_f64() / base);
        host_ratios.push((after_host - after_runtime).as_secs_f64() / base);
        let apart = (after_apart - after_host).as_secs_f64();
        apart_ratios.push(apart / base);
        host_apart_ratios.push((after_host - after_runtime).as_secs_f64() / apart);
        let base = (after_raw_many - after_apart).as_secs_f64();
        raw_many.push(base / f64::from(CALLS) * 1e6);
        host_many.push((after_host_many - after_raw_many).as_secs_f64() / base);
    }
    println!(
        "raw wasmtime: {:.1} µs CPU a fresh call (for orientation)",
        median(raw_us)
    );
    println!(
        "raw wasmtime on another thread than the caller's, against raw: {:.2}× (for orientation)",
        median(apart_ratios)
    );
    println!(
        "a fresh call through Host::call, one at a time, against that: {:.2}× (for orientation)",
        median(host_apart_ratios)
    );
    report(
        "a fresh call through the runtime, against raw",
        median(runtime_ratios),
        1.5,
        "×",
    );
    report(
        "a fresh call through Host::call, one at a time, against raw",
        median(host_ratios),
        2.5,
        "×",
    );
    println!(
        "raw wasmtime, {AT_ONCE} at once: {:.1} µs CPU a fresh call (for orientation)",
        median(raw_many)
    );
    report(
        &format!("a fresh call through Host::call, {AT_ONCE} at once, against raw"),
        median(host_many),
        2.5,
        "×",
    );
}

/// Calls that run at once in the turns that measure many.
const AT_ONCE: u32 = 8;

/// Makes the calls of a turn, some at once.
async fn at_once<F: Future<Output = ()> + Send + 'static>(
    call: impl Fn() -> F + Send + Clone + 'static,
) {
    let callers = (0..AT_ONCE).map(|_| {
        let call = call.clone();
        tokio::spawn(async move {
            for _ in 0..CALLS / AT_ONCE {
                call().await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("the calls succeed");
    }
}
