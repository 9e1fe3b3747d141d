//! What messages between plugins cost: one that is published and handled by a resident instance,
//! and a request that it answers, each against a call of it. All three go through one mailbox.
//! CPU time, in turns in one run.

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
use std::sync::Arc;
use std::time::Duration;

use portreeve_core::Host;
use serde_json::{Value, json};

use support::{Bench, call, measured, median, object, on_threads, report};

/// Messages of one turn, and turns.
const MESSAGES: u64 = 1_000;
const TURNS: usize = 15;

fn main() {
    on_threads(bench());
}

/// Packs the program that handles and sends messages as its author would.
fn pack(bench: &Bench, project: &Path, alias: &str, instances: &str) {
    let source = project.join(format!("{alias}-source"));
    std::fs::create_dir_all(&source).expect("a directory");
    let manifest = format!(
        "schema = 1\n[plugin]\nid = \"{alias}\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
         instances = \"{instances}\"\n\
         [requests.messages]\npublish = [\">\"]\nsubscribe = [\">\"]\nrequest = [\">\"]\n\
         [config.properties]\nstart = {{ type = \"string\" }}\n"
    );
    std::fs::write(source.join("plugin.toml"), manifest).expect("a manifest");
    let status = bench
        .portreeve(project)
        .arg("build")
        .arg(&source)
        .args(["--component", portreeve_test_artifacts::POST, "--out"])
        .arg(project.join(format!("{alias}.wasm")))
        .status()
        .expect("it is packed");
    assert!(status.success(), "{alias} is not packed");
}

fn project(bench: &Bench) -> PathBuf {
    let project = bench.project("post", []);
    pack(bench, &project, "keeper", "resident");
    pack(bench, &project, "sender", "per-call");
    let manifest = r#"schema = 1
[messages]
publisher-rate = 1000000
lag = 10000000
topics."keeper.>" = { ephemeral = true, rate = 1000000 }
[plugins.keeper]
source = "keeper.wasm"
grants.messages = { subscribe = ["keeper.>"] }
[plugins.sender]
source = "sender.wasm"
grants.messages = { publish = ["keeper.>"], request = ["keeper.>"] }
limits = { timeout = "5m" }
"#;
    std::fs::write(project.join("portreeve.toml"), manifest).expect("a manifest");
    project
}

async fn act(host: &Arc<Host>, alias: &str, what: &str) {
    let what = object(json!({ "what": what }));
    call(host, &format!("{alias}__act"), &what).await;
}

/// How many messages were handled; none while nobody subscribes.
async fn handled(host: &Arc<Host>) -> Option<u64> {
    let stats = host.bus_stats().await.expect("the broker answers");
    let keeper = |one: &&Value| one["plugin"] == "keeper";
    stats.subscriptions.iter().find(keeper)?["acked"].as_u64()
}

async fn until_handled(host: &Arc<Host>, count: u64) {
    while handled(host).await.is_none_or(|handled| handled < count) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn bench() {
    let bench = Bench::new();
    let project = project(&bench);
    let host = Host::open(bench.host_config(&project))
        .await
        .expect("a host");
    host.deliver_messages();
    until_handled(&host, 0).await;
    let (mut each, mut messages, mut requests) = (vec![], vec![], vec![]);
    for turn in 0..=TURNS {
        let calls = measured(async {
            for _ in 0..MESSAGES {
                act(&host, "keeper", "hello").await;
            }
        });
        let calls = calls.await;
        let before = handled(&host).await.expect("a subscription");
        let published = measured(async {
            act(
                &host,
                "sender",
                &format!("publish keeper.t {MESSAGES} quiet"),
            )
            .await;
            until_handled(&host, before + MESSAGES).await;
        });
        let published = published.await;
        let asked = measured(act(&host, "sender", &format!("asks keeper.t {MESSAGES}"))).await;
        if turn > 0 {
            each.push(calls * 1e6 / MESSAGES as f64);
            messages.push(published / calls);
            requests.push(asked / calls);
        }
    }
    host.close().await;
    println!(
        "a call of a resident instance: {:.1} µs CPU (for orientation)",
        median(each)
    );
    report(
        "a message published and handled by a resident instance, against a call of it",
        median(messages),
        3.0,
        "×",
    );
    report(
        "a request that it answers, against a call of it",
        median(requests),
        4.0,
        "×",
    );
}
