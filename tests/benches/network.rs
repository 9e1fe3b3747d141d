//! The network of plugins: a request of a guest's against the same request by hyper-util's own
//! client, and a decision among 10,000 rules against one among one.
//!
//! `cargo bench -p portreeve --bench network` takes about a minute.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod support;

use std::convert::Infallible;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use portreeve_core::Host;
use portreeve_manifest::grant::{Decision, NetworkPolicy, NetworkRule, Target};
use serde_json::json;
use support::{Bench, call, measured, median, object, on_threads, report};

/// Requests of one turn, and turns.
const REQUESTS: u32 = 1_000;
const TURNS: usize = 15;

/// Rules of a plugin that has many.
const RULES: usize = 10_000;

/// Set where this process is the server.
const SERVER: &str = "PORTREEVE_BENCH_SERVER";

fn main() {
    if std::env::var_os(SERVER).is_some() {
        serve();
    }
    decisions();
    on_threads(requests());
}

/// A server in a process of its own, so that its CPU time is its own.
fn serve() -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            let service = service_fn(|_| async {
                let body = Full::new(Bytes::from_static(&[b'x'; 1_024]));
                Ok::<_, Infallible>(http::Response::new(body))
            });
            tokio::spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            });
        }
    })
}

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Server {
        let mut process = Command::new(std::env::current_exe().expect("this bench"))
            .env(SERVER, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut address = String::new();
        BufReader::new(process.stdout.take().expect("its output"))
            .read_line(&mut address)
            .expect("its address");
        Server {
            process,
            address: address.trim().to_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn requests() {
    let server = Server::start();
    let url = format!("http://{}/a", server.address);
    let bench = Bench::new();
    let table = format!(
        "grants.network = [\"GET http://{}/**\"]\ngrants.addresses = [\"127.0.0.1\"]\nlimits = {{ requests = 100000, requests-a-day = 10000000, timeout = \"5m\" }}\n",
        server.address
    );
    let project = bench.project_of("web", portreeve_test_artifacts::HTTP, &table);
    let host = Host::open(bench.host_config(&project))
        .await
        .expect("a host");
    let plain = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build::<_, Full<Bytes>>(HttpConnector::new());
    from_guest(&host, &url, 10).await;
    without(&plain, &url, 10).await;
    let (mut each, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let natively = measured(without(&plain, &url, REQUESTS)).await;
        let guest = measured(from_guest(&host, &url, REQUESTS)).await;
        each.push(natively * 1e6 / f64::from(REQUESTS));
        ratios.push(guest / natively);
    }
    println!(
        "{:.1} µs CPU a request without host and guest (for orientation)",
        median(each)
    );
    report(
        "a request of a guest's, against that",
        median(ratios),
        2.0,
        "×",
    );
}

async fn without(client: &legacy::Client<HttpConnector, Full<Bytes>>, url: &str, requests: u32) {
    for _ in 0..requests {
        let request = http::Request::get(url)
            .body(Full::default())
            .expect("a request");
        let response = client.request(request).await.expect("a response");
        let body = response.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes().len(), 1_024);
    }
}

async fn from_guest(host: &Arc<Host>, url: &str, requests: u32) {
    let arguments = object(json!({
        "request": {"url": url, "read": 1_024},
        "times": requests,
        "pause_ms": 0,
    }));
    let outcome = call(host, "web__send_again", &arguments).await;
    let answers = &outcome.structured.expect("a structured answer")["answers"];
    let answers = answers.as_array().expect("answers");
    assert_eq!(answers.len(), requests as usize);
    assert!(
        answers.iter().all(|answer| answer["status"] == 200),
        "{:?}",
        answers[0]
    );
}

/// Decisions among many rules and among one, each rule of a host of its own.
fn decisions() {
    const DECISIONS: usize = 20_000;
    let rules = |count: usize| -> Vec<NetworkRule> {
        (0..count)
            .map(|number| {
                format!("GET,POST https://h{number}.example.com/repos/**")
                    .parse()
                    .expect("a rule")
            })
            .collect()
    };
    let policy = |count| {
        let rules = rules(count);
        let requests = rules.iter().map(|rule| (rule.clone(), None)).collect();
        NetworkPolicy::new(Some(requests), &rules)
    };
    let (one, many) = (policy(1), policy(RULES));
    let target = |number: usize| {
        Target::new(
            "GET",
            &format!("https://h{number}.example.com/repos/acme/site"),
        )
        .expect("a target")
    };
    let first = target(0);
    let others: Vec<Target> = (0..RULES).step_by(RULES / 1_000).map(target).collect();
    let mut ratios = Vec::new();
    for _ in 0..TURNS {
        let began = Instant::now();
        for _ in 0..DECISIONS {
            assert!(allowed(&one, &first));
        }
        let alone = began.elapsed();
        let began = Instant::now();
        for number in 0..DECISIONS {
            assert!(allowed(&many, &others[number % others.len()]));
        }
        ratios.push(began.elapsed().as_secs_f64() / alone.as_secs_f64());
    }
    report(
        &format!("a decision among {RULES} rules, against one among one"),
        median(ratios),
        3.0,
        "×",
    );
}

fn allowed(policy: &NetworkPolicy, target: &Target) -> bool {
    matches!(
        black_box(policy.decide(black_box(target))),
        Decision::Allowed { .. }
    )
}
