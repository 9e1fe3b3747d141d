//! Usage in a real database: what was counted is there, bounded, whatever the clock and the
//! disk do.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod faulty;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faulty::Faulty;
use portreeve_manifest::settings::{AlertMetric, AlertRule, AlertScope};
use portreeve_state::usage::{
    Alert, AlertSink, AlertState, CallUse, LATENCY_ERROR, OTHER, PAIRS_MAX, PLUGIN_PAIRS_MAX,
    ROW_BYTES_MAX, ToolUse, Usage, UsageConfig, UsageMeter, usage,
};
use portreeve_state::{Holder, SqliteStore, StateStore, StoreConfig, UsageRow, UsageSpan};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A day's start, some time ago.
const START: i64 = 20_000 * DAY;

/// A store and a meter with a clock of its own.
struct Fixture {
    _dir: tempfile::TempDir,
    store: Arc<Faulty>,
    clock: Arc<AtomicI64>,
    meter: Arc<UsageMeter>,
}

impl Fixture {
    async fn new() -> Fixture {
        Fixture::with(UsageConfig::default()).await
    }

    async fn with(config: UsageConfig) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        // What is tested here is not what a crash of the machine leaves.
        let store_config = StoreConfig {
            sync: false,
            ..StoreConfig::default()
        };
        let inner = SqliteStore::open(&dir.path().join("state.db"), &store_config)
            .await
            .unwrap();
        let store = Arc::new(Faulty {
            inner,
            fails: AtomicBool::new(false),
            rows: AtomicU64::new(0),
        });
        let clock = Arc::new(AtomicI64::new(START));
        let meter = meter(&store, &clock, config).await;
        Fixture {
            _dir: dir,
            store,
            clock,
            meter,
        }
    }

    fn call(&self, tool: &str, now_ms: i64) {
        self.meter.record("a", tool, &used(now_ms));
    }

    async fn rows(&self, span: UsageSpan) -> Vec<UsageRow> {
        self.store.usage(span, i64::MIN, i64::MAX).await.unwrap()
    }

    /// All of a window up to `to_ms`, from the rows that reach back to `from_ms`.
    async fn usage(&self, from_ms: i64, to_ms: i64) -> Usage {
        usage(&*self.store, (from_ms, to_ms), to_ms, &[])
            .await
            .unwrap()
    }
}

async fn meter(
    store: &Arc<Faulty>,
    clock: &Arc<AtomicI64>,
    config: UsageConfig,
) -> Arc<UsageMeter> {
    let clock = clock.clone();
    let config = UsageConfig {
        clock: Arc::new(move || clock.load(Ordering::SeqCst)),
        ..config
    };
    UsageMeter::open(store.clone(), config).await.unwrap()
}

fn used(now_ms: i64) -> CallUse {
    CallUse {
        now_ms,
        duration: Duration::from_millis(3),
        fuel: 10,
        memory_peak: 1 << 20,
        bytes_in: 5,
        bytes_out: 7,
        ..CallUse::default()
    }
}

fn calls(usage: &Usage) -> u64 {
    usage.plugins.iter().map(|plugin| plugin.all.calls).sum()
}

#[tokio::test]
async fn what_was_counted_is_in_every_resolution() {
    let fixture = Fixture::new().await;
    let error = CallUse {
        error: Some("timeout"),
        refusals: 2,
        duration: Duration::from_secs(1),
        ..used(START + MINUTE)
    };
    fixture.call("one", START);
    fixture.meter.record("a", "one", &error);
    fixture.meter.flush().await.unwrap();
    fixture.call("two", START + MINUTE);
    fixture.meter.record("b", "one", &used(START + HOUR));
    fixture.meter.close().await;
    let counts = [
        (UsageSpan::Minute, 4),
        (UsageSpan::Hour, 3),
        (UsageSpan::Day, 3),
    ];
    for (span, count) in counts {
        assert_eq!(fixture.rows(span).await.len(), count, "{span:?}");
    }
    fixture
        .store
        .kv_put(&Holder::plugin("b"), "bucket", "key", vec![0; 100], 1 << 20)
        .await
        .unwrap();
    for ago in [2 * HOUR, 2 * DAY, 300 * DAY] {
        let usage = fixture
            .usage(START + 2 * HOUR - ago, START + 2 * HOUR)
            .await;
        let [a, b] = &usage.plugins[..] else {
            panic!("{usage:?}");
        };
        assert_eq!((&*a.alias, a.all.calls, a.storage_bytes), ("a", 3, 0));
        assert_eq!((&*b.alias, b.all.calls, b.storage_keys), ("b", 1, 1));
        assert!(b.storage_bytes >= 100);
        let [one, _] = &a.tools[..] else {
            panic!("{usage:?}");
        };
        let expected = ToolUse {
            tool: "one".to_owned(),
            calls: 2,
            failed: 1,
            errors: BTreeMap::from([("timeout".to_owned(), 1)]),
            refusals: 2,
            p50_us: one.p50_us,
            p95_us: 1_000_000,
            p99_us: 1_000_000,
            max_us: 1_000_000,
            sum_us: 1_003_000,
            fuel: 20,
            memory_peak: 1 << 20,
            bytes_in: 10,
            bytes_out: 14,
        };
        assert_eq!(one, &expected);
        assert!((3_000..=3_188).contains(&one.p50_us), "{}", one.p50_us);
    }
}

/// Another run on the same day adds to the same rows.
#[tokio::test]
async fn a_restart_goes_on_counting() {
    let fixture = Fixture::new().await;
    for run in 1..=3 {
        let meter = meter(&fixture.store, &fixture.clock, UsageConfig::default()).await;
        meter.record("a", "one", &used(START + 1));
        meter.close().await;
        assert_eq!(calls(&fixture.usage(START, START + MINUTE).await), run);
    }
    for span in UsageSpan::ALL {
        assert_eq!(fixture.rows(span).await.len(), 1);
    }
}

/// Lets time pass. The database's own waits are in real time, so the clock can't stay still.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn it_is_written_every_ten_seconds() {
    let fixture = Fixture::new().await;
    fixture.call("one", START);
    assert_eq!(fixture.rows(UsageSpan::Day).await.len(), 0);
    // The writer's pause begins when it first runs.
    tokio::task::yield_now().await;
    pass(Duration::from_secs(10)).await;
    for _ in 0..1_000 {
        if !fixture.rows(UsageSpan::Day).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing was written");
}

#[tokio::test]
async fn a_write_that_fails_keeps_the_counts() {
    let fixture = Fixture::new().await;
    fixture.store.fails.store(true, Ordering::SeqCst);
    // For longer than minutes are held.
    for minute in 0..20 {
        fixture.call("one", START + minute * MINUTE);
        fixture.meter.flush().await.unwrap_err();
    }
    fixture.store.fails.store(false, Ordering::SeqCst);
    fixture.call("one", START + 20 * MINUTE);
    fixture.meter.flush().await.unwrap();
    let now = START + 30 * MINUTE;
    assert_eq!(calls(&fixture.usage(now - DAY, now).await), 21);
    assert_eq!(calls(&fixture.usage(now - 300 * DAY, now).await), 21);
    // The newest minutes are there, the older ones were given up.
    assert_eq!(calls(&fixture.usage(START, now).await), 8);
    // What was written is not written again.
    let rows = fixture.store.rows.load(Ordering::SeqCst);
    fixture.meter.flush().await.unwrap();
    assert_eq!(fixture.store.rows.load(Ordering::SeqCst), rows);
}

#[tokio::test]
async fn a_storm_of_tools_is_bounded() {
    let fixture = Fixture::new().await;
    for number in 0..5_000 {
        fixture
            .meter
            .record("storm", &format!("tool{number}"), &used(START));
    }
    for number in 0..2_000 {
        fixture
            .meter
            .record(&format!("p{number}"), "tool", &used(START));
        // One that is known has its place.
        fixture.meter.record("storm", "tool0", &used(START));
    }
    fixture
        .meter
        .record(&"x".repeat(10_000), &"y".repeat(10_000), &used(START));
    fixture.meter.flush().await.unwrap();
    let rows = fixture.rows(UsageSpan::Day).await;
    assert_eq!(rows.len(), PAIRS_MAX + 1);
    assert!(rows.iter().all(|row| row.data.len() <= ROW_BYTES_MAX));
    let usage = fixture.usage(START, START + MINUTE).await;
    assert_eq!(calls(&usage), 9_001);
    let storm = usage.plugins.iter().find(|plugin| plugin.alias == "storm");
    let storm = &storm.unwrap().tools;
    assert_eq!(storm.len(), PLUGIN_PAIRS_MAX + 1);
    let of = |name: &str| storm.iter().find(|tool| tool.tool == name).unwrap().calls;
    assert_eq!((of("tool0"), of(OTHER)), (2_001, 4_900));
    let others = usage.plugins.iter().find(|plugin| plugin.alias == OTHER);
    assert_eq!(others.unwrap().all.calls, 2_001 - 399);
}

/// A clock that jumps puts counts where it says, and loses none.
#[tokio::test]
async fn a_clock_that_jumps_corrupts_nothing() {
    let fixture = Fixture::new().await;
    let jumps = [
        0,
        -DAY,
        400 * 365 * DAY,
        MINUTE,
        -START - 5,
        i64::MIN / 2,
        i64::MAX / 2,
    ];
    for _ in 0..3 {
        for jump in jumps {
            let now = START.saturating_add(jump);
            fixture.clock.store(now, Ordering::SeqCst);
            fixture.call("one", now);
            fixture.meter.flush().await.unwrap();
        }
    }
    // Within one turn as well, more moments than are held apart.
    for number in 0..500 {
        fixture.call("one", START + number * DAY);
        fixture
            .meter
            .record("b", &format!("t{number}"), &used(START - number * DAY));
    }
    fixture.meter.flush().await.unwrap();
    let sum: u64 = {
        let usage = usage(&*fixture.store, (0, i64::MAX), i64::MAX, &[]).await;
        calls(&usage.unwrap())
    };
    assert_eq!(sum, 21 + 1_000);
    let days: std::collections::BTreeSet<_> = fixture
        .rows(UsageSpan::Day)
        .await
        .iter()
        .map(|row| row.start_ms)
        .collect();
    assert!(days.len() <= 20, "{days:?}");
    assert!(
        days.iter().all(|day| day % DAY == 0 && *day >= 0),
        "{days:?}"
    );
}

/// A thousand rows of each span before now, and as many after.
async fn fill(fixture: &Fixture) {
    let row = |span: UsageSpan, start_ms: i64| UsageRow {
        holder: Holder::plugin("a"),
        tool: "one".to_owned(),
        span,
        start_ms,
        data: vec![1],
    };
    let rows = (-1_000..1_000)
        .flat_map(|number| UsageSpan::ALL.map(|span| row(span, START + number * span.ms())))
        .collect();
    fixture.store.usage_put(rows).await.unwrap();
}

#[tokio::test]
async fn rows_are_kept_for_a_while() {
    let fixture = Fixture::new().await;
    fill(&fixture).await;
    fixture.meter.flush().await.unwrap();
    // Those before, the one of now, and a day of the future that a clock may have been in.
    for (span, kept) in [
        (UsageSpan::Minute, 180 + 1_000),
        (UsageSpan::Hour, 14 * 24 + 24),
        (UsageSpan::Day, 400 + 1),
    ] {
        assert_eq!(fixture.rows(span).await.len(), kept, "{span:?}");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_prunes_nothing() {
    let fixture = Fixture::new().await;
    fixture
        .clock
        .store(START + 100 * 365 * DAY, Ordering::SeqCst);
    fill(&fixture).await;
    // Nothing is known of the clock at the start but that it is far from all rows.
    fixture.meter.flush().await.unwrap();
    assert_eq!(fixture.rows(UsageSpan::Day).await.len(), 2_000);
    // It jumps back, and then about.
    for jump in [0, 50 * 365 * DAY, -DAY, 0] {
        fixture.clock.store(START + jump, Ordering::SeqCst);
        fixture.meter.flush().await.unwrap();
    }
    assert_eq!(fixture.rows(UsageSpan::Day).await.len(), 2_000);
    // An hour without a jump, and it is believed.
    fixture.clock.store(START + HOUR, Ordering::SeqCst);
    pass(Duration::from_secs(3_600)).await;
    fixture.meter.flush().await.unwrap();
    assert_eq!(fixture.rows(UsageSpan::Day).await.len(), 402);
}

#[tokio::test]
async fn a_damaged_row_is_left_out() {
    let fixture = Fixture::new().await;
    fill(&fixture).await;
    fixture.call("one", START);
    fixture.call("two", START);
    fixture.meter.flush().await.unwrap();
    assert_eq!(calls(&fixture.usage(START, START + MINUTE).await), 2);
}

/// More rows than one read gives.
#[tokio::test]
async fn many_rows_are_summed_up() {
    let fixture = Fixture::new().await;
    for minute in 0..60 {
        for number in 0..400 {
            let alias = format!("p{}", number % 10);
            let tool = format!("t{number}");
            fixture
                .meter
                .record(&alias, &tool, &used(START + minute * MINUTE));
        }
        fixture.meter.flush().await.unwrap();
    }
    let usage = fixture.usage(START, START + 2 * HOUR).await;
    assert_eq!(usage.resolution, MINUTE);
    assert_eq!(calls(&usage), 60 * 400);
}

#[derive(Default)]
struct Heard(Mutex<Vec<Alert>>);

impl AlertSink for Heard {
    fn alert(&self, alert: &Alert) {
        self.0.lock().unwrap().push(alert.clone());
    }
}

#[tokio::test]
async fn alerts_are_heard_even_when_nothing_can_be_written() {
    let heard = Arc::new(Heard::default());
    let rule = |metric, above| AlertRule {
        scope: AlertScope::Each,
        metric,
        above,
        over: Duration::from_secs(60),
        min_calls: 0,
    };
    let config = UsageConfig {
        rules: vec![
            rule(AlertMetric::Calls, 2.0),
            rule(AlertMetric::Storage, 10.0),
        ],
        sink: Some(heard.clone()),
        ..UsageConfig::default()
    };
    let fixture = Fixture::with(config).await;
    let holder = Holder::plugin("a");
    fixture
        .store
        .kv_put(&holder, "bucket", "key", vec![0; 100], 1 << 20)
        .await
        .unwrap();
    fixture.store.fails.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        fixture.call("one", START);
    }
    fixture.meter.flush().await.unwrap_err();
    fixture.meter.flush().await.unwrap_err();
    let heard: Vec<_> = heard.0.lock().unwrap().drain(..).collect();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard.iter().all(|alert| alert.state == AlertState::Raised));
    assert_eq!(fixture.meter.standing(), heard);
    fixture.meter.set_rules(Vec::new());
    assert!(fixture.meter.standing().is_empty());
}

/// Counting is part of every call. The bound is far above what it takes, so that a busy
/// machine keeps it; a wait for the disk would not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_takes_little() {
    const CALLS: u32 = 200_000;
    let fixture = Fixture::new().await;
    let tools: Vec<_> = (0..100).map(|number| format!("tool{number}")).collect();
    let start = Instant::now();
    for tool in tools.iter().cycle().take(CALLS as usize) {
        fixture.call(tool, START);
    }
    let each = start.elapsed() / CALLS;
    println!("{each:?} for each call");
    assert!(each < Duration::from_micros(20), "{each:?}");
    fixture.meter.flush().await.unwrap();
    let all = calls(&fixture.usage(START, START + MINUTE).await);
    assert_eq!(all, u64::from(CALLS));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The minutes of an hour and the hour's own row say the same, and what they say of
    /// times is within the stated error.
    #[test]
    fn minutes_merged_are_the_hour(
        calls in proptest::collection::vec((0..60_i64, 0..20_000_000_u64, 0..4_usize), 1..200),
    ) {
        const CODES: [&str; 3] = ["timeout", "internal", "conflict"];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new().await;
            for (number, (minute, micros, code)) in calls.iter().enumerate() {
                fixture.meter.record("a", "one", &CallUse {
                    error: CODES.get(*code).copied(),
                    duration: Duration::from_micros(*micros),
                    ..used(START + minute * MINUTE)
                });
                // Not with each call, so that one write has several minutes.
                if number % 2 == 1 {
                    fixture.meter.flush().await.unwrap();
                }
            }
            fixture.meter.close().await;
            let now = START + HOUR;
            let minutes = fixture.usage(START, now).await;
            let hours = fixture.usage(now - DAY, now).await;
            assert_eq!((minutes.resolution, hours.resolution), (MINUTE, HOUR));
            assert_eq!(minutes.plugins, hours.plugins);
            let tool = &hours.plugins[0].tools[0];
            assert_eq!(tool.calls, calls.len() as u64);
            let mut micros: Vec<_> = calls.iter().map(|call| call.1).collect();
            micros.sort_unstable();
            for (part, said) in [(0.5, tool.p50_us), (0.95, tool.p95_us), (0.99, tool.p99_us)] {
                let rank = (calls.len() as f64 * part).ceil() as usize;
                let exact = micros[rank - 1];
                let most = exact as f64 * (1.0 + LATENCY_ERROR) + 1.0;
                assert!(said >= exact && said as f64 <= most, "{said} for {exact}");
            }
            assert_eq!(tool.max_us, micros[micros.len() - 1]);
        });
    }
}
