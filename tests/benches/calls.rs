//! What a fresh call costs: raw wasmtime, the runtime, the host. CPU time, in one run.

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

use std::sync::Arc;

use portreeve_core::Host;
use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    Arguments, CallContext, Config as PluginConfig, Failure, NoDirectories, NoHttp, NoKv,
    NoMessages, NoPrompt, NoSecrets, NoSockets, OutputSink, ProgressReport, ProgressSink, Runtime,
    Stream, Target, Template,
};
use portreeve_supply::Digest;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi::WasiCtx;

use raw::Raw;
use support::{Bench, call, cpu, median, object, on_threads, report};

/// Calls of one turn, and turns.
const CALLS: u32 = 2_000;
const TURNS: usize = 15;

const TOOL: &str = "echo__echo";

async fn raw_call(raw: &Raw, arguments: &String) {
    raw.call("echo", arguments, WasiCtx::builder().build())
        .await;
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
        let call = async move { raw_call(&raw, &arguments).await };
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

fn main() {
    on_threads(bench());
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
    let object = object(arguments.clone());
    let quiet = Arc::new(Quiet);
    call(&host, TOOL, &object).await;

    let (mut raw_us, mut runtime_ratios, mut host_ratios) = (vec![], vec![], vec![]);
    let (mut raw_many, mut host_many) = (vec![], vec![]);
    let (mut apart_ratios, mut host_apart_ratios) = (vec![], vec![]);
    let apart = Apart::start();
    let raw = Arc::new(raw);
    for turn in 0..=TURNS {
        let start = cpu();
        for _ in 0..CALLS {
            raw_call(&raw, &text).await;
        }
        let after_raw = cpu();
        for _ in 0..CALLS {
            through_runtime(&template, &arguments, &limits, &quiet).await;
        }
        let after_runtime = cpu();
        for _ in 0..CALLS {
            call(&host, TOOL, &object).await;
        }
        let after_host = cpu();
        for _ in 0..CALLS {
            apart.call(&raw, &text).await;
        }
        let after_apart = cpu();
        let (raw_too, text_too) = (raw.clone(), text.clone());
        at_once(move || {
            let (raw, text) = (raw_too.clone(), text_too.clone());
            async move { raw_call(&raw, &text).await }
        })
        .await;
        let after_raw_many = cpu();
        let (host_too, object_too) = (host.clone(), object.clone());
        at_once(move || {
            let (host, object) = (host_too.clone(), object_too.clone());
            async move { _ = call(&host, TOOL, &object).await }
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
    make: impl Fn() -> F + Send + Clone + 'static,
) {
    let callers = (0..AT_ONCE).map(|_| {
        let make = make.clone();
        tokio::spawn(async move {
            for _ in 0..CALLS / AT_ONCE {
                make().await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("the calls succeed");
    }
}
