//! What the gate adds to a request: CPU of a granted request to a server on this machine
//! through the gate, against the same request by hyper-util's own client, in turns in one run.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod figures;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use figures::{median, report};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::service::service_fn;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use portreeve_egress::credential::Credential;
use portreeve_egress::{
    Body, Budget, CallLimits, CallPolicy, Client, DayUse, Gate, GateError, PluginBudget,
    PluginLimits, Timeouts,
};
use portreeve_manifest::grant::{AddressRange, CredentialUse, Decision, NetworkPolicy, Target};
use portreeve_manifest::id::Name;
use portreeve_manifest::settings::NetworkSettings;
use zeroize::Zeroizing;

/// Requests of one turn, and pairs of turns.
const REQUESTS: usize = 3_000;
const PAIRS: usize = 31;

/// CPU of the requests' own thread, as a ratio of what it is without the gate.
const AT_MOST: f64 = 1.3;

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(10),
    first_byte: Duration::from_secs(30),
    between_bytes: Duration::from_secs(30),
    total: Duration::from_secs(60),
};

fn main() {
    for (what, bytes) in [
        ("a response of 1 KiB", 1 << 10),
        ("a response of 256 KiB", 256 << 10),
    ] {
        let server = serve(bytes);
        // One thread, so that its CPU time is that of the requests.
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(compare(what, server, bytes));
    }
}

/// A server with threads of its own.
fn serve(bytes: usize) -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("a port");
            sender
                .send(listener.local_addr().expect("an address"))
                .expect("somebody waits");
            let body = Bytes::from(vec![7; bytes]);
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("an option");
                let body = body.clone();
                let service = service_fn(move |_| {
                    let body = body.clone();
                    async { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                });
                tokio::spawn(async {
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = connection.await;
                });
            }
        });
    });
    receiver.recv().expect("a server")
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = stat.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a time"))
}

async fn compare(what: &str, server: SocketAddr, bytes: usize) {
    let url = format!("http://{server}/a/path?with=a&query=too");
    let plain = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build::<_, Full<Bytes>>(HttpConnector::new());
    let gate = Gate::new(&NetworkSettings::default(), None).expect("a gate");
    let client = gate.client();
    // Once for warmth.
    without(&plain, &url, bytes).await;
    with(&client, &url, bytes).await;
    let mut ratios = Vec::new();
    let mut each = Vec::new();
    for _ in 0..PAIRS {
        let start = cpu();
        without(&plain, &url, bytes).await;
        let middle = cpu();
        with(&client, &url, bytes).await;
        let (without, with) = (middle - start, cpu() - middle);
        ratios.push(with.as_secs_f64() / without.as_secs_f64());
        each.push(without.as_secs_f64() * 1e6 / REQUESTS as f64);
    }
    println!("{what}: {:.1} µs of CPU without the gate", median(each));
    report(
        "  CPU through the gate / without",
        median(ratios),
        AT_MOST,
        "x",
    );
}

/// The headers that a guest's client commonly sends.
fn request(url: &str) -> http::request::Builder {
    Request::get(url)
        .header("accept", "application/json")
        .header("user-agent", "a-guest/1.0")
}

async fn without(client: &legacy::Client<HttpConnector, Full<Bytes>>, url: &str, bytes: usize) {
    for _ in 0..REQUESTS {
        let request = request(url).body(Full::default()).expect("a request");
        let response = client.request(request).await.expect("a response");
        let body = drain(response.into_body()).await;
        assert_eq!(body, bytes);
    }
}

async fn with(client: &Client, url: &str, bytes: usize) {
    let rule = || "GET http://127.0.0.1:*/a/**".parse().expect("a rule");
    let call: Arc<dyn CallPolicy> = Arc::new(Call {
        rules: NetworkPolicy::new(Some(vec![(rule(), None)]), &[rule()]),
        addresses: ["127.0.0.1".parse().expect("a range")].into(),
        budget: Budget::new(
            CallLimits {
                requests: u64::MAX,
                sent: u64::MAX,
                received: u64::MAX,
            },
            PluginBudget::new(
                PluginLimits {
                    connections: 16,
                    requests_a_day: u64::MAX,
                    traffic_a_day: u64::MAX,
                },
                DayUse::today(),
            ),
        ),
    });
    for _ in 0..REQUESTS {
        let body = Empty::new().map_err(|never: Infallible| match never {});
        let request = request(url).body(body.boxed_unsync()).expect("a request");
        let response = client
            .send(request, &call, TIMEOUTS)
            .await
            .expect("a response");
        let body: Body = response.into_body();
        assert_eq!(drain(body).await, bytes);
    }
}

/// Reads a body part by part: how many bytes it had.
async fn drain<B>(mut body: B) -> usize
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame
            .expect("a part")
            .into_data()
            .map_or(0, |data| data.len());
    }
    bytes
}

/// A call that may send requests to this machine, by a rule that is asked for and granted.
struct Call {
    rules: NetworkPolicy,
    addresses: Arc<[AddressRange]>,
    budget: Budget,
}

#[async_trait]
impl CallPolicy for Call {
    fn permit(&self, target: &Target) -> Result<Option<CredentialUse>, GateError> {
        match self.rules.decide(target) {
            Decision::Allowed { credential } => Ok(credential),
            refused => panic!("{refused:?}"),
        }
    }

    fn addresses(&self) -> Arc<[AddressRange]> {
        self.addresses.clone()
    }

    async fn credential(&self, _: &Name, _: &Target) -> Result<Arc<Credential>, GateError> {
        panic!("no rule has one")
    }

    async fn placeholder(
        &self,
        _: &str,
        _: &Target,
    ) -> Result<Option<Zeroizing<String>>, GateError> {
        Ok(None)
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }
}
