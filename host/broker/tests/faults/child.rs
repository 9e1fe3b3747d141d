//! A process that publishes, handles, tries again and rejects until it kills itself. It prints a
//! line before each act and one when it was told that it is on disk.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portreeve_broker::{
    Broker, Delivery, Embedded, Holder, Limits, Outcome, Publish, Retry, Sender, Start,
    Subscription, system_clock,
};
use portreeve_state::{SqliteStore, StoreConfig};

const PATH: &str = "PORTREEVE_BUS_FAULTS_PATH";
const ROUND: &str = "PORTREEVE_BUS_FAULTS_ROUND";
const SYNC: &str = "PORTREEVE_BUS_FAULTS_SYNC";

/// What the process is to do.
pub(crate) struct Work {
    pub(crate) path: PathBuf,
    pub(crate) round: u64,
    pub(crate) sync: bool,
}

pub(crate) fn subscription() -> Subscription {
    Subscription {
        holder: Holder::plugin("handler"),
        name: "main".to_owned(),
    }
}

pub(crate) fn limits() -> Limits {
    Limits {
        publisher_rate: 1_000_000,
        publisher_bytes: 1 << 40,
        backoff_ms: 1,
        backoff_max_ms: 5,
        dead_max: 100_000,
        ..Limits::default()
    }
}

/// One line, in one write of the system, at once.
fn say(what: &str, which: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{what} {which}\n").as_bytes())
        .unwrap();
    out.flush().unwrap();
}

impl Work {
    pub(crate) fn given() -> Option<Work> {
        Some(Work {
            path: std::env::var_os(PATH)?.into(),
            round: std::env::var(ROUND).unwrap().parse().unwrap(),
            sync: std::env::var(SYNC).unwrap() == "true",
        })
    }

    /// This program, to do that, with its writes traced into a file.
    pub(crate) fn traced(&self, trace: &std::path::Path) -> Command {
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-y",
            "-x",
            "-s",
            "1000000",
            "-e",
            "signal=none",
            "-o",
        ]);
        command.arg(trace);
        command.args(["-e", "trace=pwrite64,fdatasync,fsync,ftruncate,unlink"]);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
        command
            .env(PATH, &self.path)
            .env(ROUND, self.round.to_string())
            .env(SYNC, self.sync.to_string());
        command
    }

    pub(crate) fn run(&self) {
        // The tests' harness has begun a line.
        println!();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(self.work());
    }

    async fn work(&self) {
        let config = StoreConfig {
            sync: self.sync,
            ..StoreConfig::default()
        };
        let store = SqliteStore::open(&self.path, &config).await.unwrap();
        let broker = Embedded::open(store, limits(), system_clock())
            .await
            .unwrap();
        let broker: Arc<dyn Broker> = Arc::new(broker);
        let patterns = ["work.>".parse().unwrap()];
        broker
            .subscribe(&subscription(), &patterns, Start::Oldest)
            .await
            .unwrap();
        // The end comes with some act, another in each round.
        let acts = Arc::new(AtomicU64::new(15 + self.round * 37 % 120));
        let mut tasks = Vec::new();
        for number in 0..3 {
            tasks.push(tokio::spawn(publish(
                broker.clone(),
                self.round,
                number,
                acts.clone(),
            )));
            tasks.push(tokio::spawn(handle(broker.clone(), acts.clone())));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
}

/// Counts an act, of which the last ends the process as `kill -9` does.
fn acts(left: &AtomicU64) {
    if left.fetch_sub(1, Ordering::Relaxed) <= 1 {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    }
}

async fn publish(broker: Arc<dyn Broker>, round: u64, task: u64, left: Arc<AtomicU64>) {
    for number in 0_u64.. {
        let name = format!("{round}-{task}-{number}");
        let sender = Sender {
            holder: Holder::plugin("publisher"),
            principal: "local".to_owned(),
            path: Vec::new(),
        };
        let topic = format!("work.t{task}").parse().unwrap();
        let mut message = Publish::new(topic, name.clone().into_bytes(), sender);
        if number % 3 == 0 {
            message.key = Some(format!("k{}", number % 2));
        }
        if number % 7 == 6 {
            message.delay_ms = 3;
        }
        say("publishing", &name);
        acts(&left);
        broker.publish(message).await.unwrap();
        say("published", &name);
    }
}

async fn handle(broker: Arc<dyn Broker>, left: Arc<AtomicU64>) {
    let subscription = subscription();
    loop {
        broker.ready(&subscription).await.unwrap();
        for delivery in broker.fetch(&subscription, 4).await.unwrap() {
            settle(&*broker, &subscription, &delivery, &left).await;
        }
    }
}

async fn settle(
    broker: &dyn Broker,
    subscription: &Subscription,
    delivery: &Delivery,
    left: &AtomicU64,
) {
    let name = String::from_utf8(delivery.message.payload.to_vec()).unwrap();
    let kind = name.bytes().map(u64::from).sum::<u64>() % 10;
    let (before, after, outcome) = match kind {
        0 => ("rejecting", "rejected", Outcome::Reject("bad".to_owned())),
        1 | 2 if delivery.attempt == 1 => {
            let outcome = Outcome::Retry(Retry::Backoff, "later".to_owned());
            ("retrying", "retried", outcome)
        }
        _ => ("acking", "acked", Outcome::Ack),
    };
    say(before, &name);
    acts(left);
    broker
        .settle(subscription, delivery, outcome)
        .await
        .unwrap();
    say(after, &name);
}
