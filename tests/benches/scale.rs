//! Many plugins and many calls: the start, the memory of each, the memory over time.
//!
//! `cargo bench -p portreeve --bench scale` takes some minutes: it compiles 1,000 components
//! once. `PORTREEVE_BENCH_PLUGINS` sets another number.

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
use std::time::Instant;

use portreeve_core::Host;
use serde_json::Map;

use support::{Bench, call, median, memory_of, report};

const STARTS: usize = 9;
const CALLS: usize = 100_000;
const CALLS_BEFORE: usize = 10_000;

async fn open(bench: &Bench, project: PathBuf) -> Arc<Host> {
    Host::open(bench.host_config(&project))
        .await
        .expect("a host")
}

/// Starts the host, asks for its tools, and ends it. Returns the seconds to the answer.
fn start(bench: &Bench, project: &Path, tools: usize) -> f64 {
    use std::io::{BufRead, BufReader, Write};
    let begun = Instant::now();
    let mut child = bench
        .portreeve(project)
        .arg("serve")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the host starts");
    let mut to = child.stdin.take().expect("stdin");
    let mut from = BufReader::new(child.stdout.take().expect("stdout"));
    writeln!(to, r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"b","version":"1"}}}}}}"#).expect("a line");
    let mut line = String::new();
    from.read_line(&mut line).expect("an answer");
    writeln!(
        to,
        r#"{{"jsonrpc":"2.0","method":"notifications/initialized"}}"#
    )
    .expect("a line");
    writeln!(to, r#"{{"jsonrpc":"2.0","id":2,"method":"tools/list"}}"#).expect("a line");
    line.clear();
    from.read_line(&mut line).expect("an answer");
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(line.matches("\"inputSchema\"").count(), tools, "{line}");
    let _ = child.kill();
    let _ = child.wait();
    seconds
}

async fn starts(bench: &Bench, components: &[PathBuf], tools_each: usize) {
    let one = bench.project("start-1", aliased(&components[..1]));
    let many = bench.project("start-64", aliased(&components[..64]));
    let (mut ones, mut ratios) = (vec![], vec![]);
    for turn in 0..=STARTS {
        let base = start(bench, &one, tools_each);
        let all = start(bench, &many, 64 * tools_each);
        if turn > 0 {
            ones.push(base);
            ratios.push(all / base);
        }
    }
    println!(
        "start to the first tools/list with 1 plugin: {:.0} ms (for orientation)",
        median(ones) * 1e3
    );
    report(
        "the same with 64 plugins, against 1",
        median(ratios),
        3.0,
        "×",
    );
}

fn aliased(components: &[PathBuf]) -> impl Iterator<Item = (String, &Path)> {
    components
        .iter()
        .enumerate()
        .map(|(n, path)| (format!("p{n}"), path.as_path()))
}

/// Private memory of a host with all these plugins, each called once and then idle.
async fn memory_with(bench: &Bench, name: &str, components: &[PathBuf]) -> u64 {
    let host = open(bench, bench.project(name, aliased(components))).await;
    for number in 0..components.len() {
        call(&host, &format!("p{number}__echo"), &Map::new()).await;
    }
    let (_, private) = memory_of("self");
    private
}

async fn steady(bench: &Bench) {
    let echo = PathBuf::from(portreeve_test_artifacts::ECHO);
    let host = open(
        bench,
        bench.project("steady", [("p0".to_owned(), echo.as_path())]),
    )
    .await;
    let mut before = 0;
    for number in 0..CALLS {
        call(&host, "p0__echo", &Map::new()).await;
        if number == CALLS_BEFORE {
            before = memory_of("self").0;
        }
    }
    let after = memory_of("self").0;
    let growth = (after as f64 - before as f64) / before as f64 * 100.0;
    println!(
        "resident after {CALLS_BEFORE} calls: {} MiB, after {CALLS}: {} MiB",
        before >> 20,
        after >> 20
    );
    report("growth of the resident size", growth, 5.0, " %");
}

/// Says how much private memory a host with the first `count` plugins has, in a process of
/// its own: here, freed memory would be used again and not be seen.
fn memory_in_a_child(bench: &Bench, count: usize) -> u64 {
    let output = std::process::Command::new(std::env::current_exe().expect("this program"))
        .arg(MEMORY)
        .arg(bench.path())
        .arg(count.to_string())
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("{output:?}"))
}

const MEMORY: &str = "--memory";

fn main() {
    let threads = tokio::runtime::Runtime::new().expect("threads");
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, dir, count] = arguments.as_slice()
        && flag == MEMORY
    {
        let bench = Bench::at(dir.into());
        let count = count.parse().expect("a number");
        let components = bench.distinct(portreeve_test_artifacts::ECHO, count);
        println!(
            "{}",
            threads.block_on(memory_with(&bench, &format!("memory-{count}"), &components))
        );
        threads.shutdown_background();
        return;
    }
    let wanted = std::env::var("PORTREEVE_BENCH_PLUGINS")
        .ok()
        .and_then(|n| n.parse().ok());
    let count = wanted.unwrap_or(1_000_usize).max(64);
    let bench = Bench::new();
    println!("compiling {count} components once");
    memory_in_a_child(&bench, count);
    let components = bench.distinct(portreeve_test_artifacts::ECHO, count);
    threads.block_on(async {
        starts(&bench, &components, 2).await;
        steady(&bench).await;
    });
    let (first, all) = (
        memory_in_a_child(&bench, 1),
        memory_in_a_child(&bench, count),
    );
    let each = all.saturating_sub(first) as f64 / (count - 1) as f64 / 1024.0;
    report(
        &format!("private memory of each of {count} idle plugins"),
        each,
        100.0,
        " KiB",
    );
    threads.shutdown_background();
}
