//! Thresholds: what is told when use crosses one, and when it is back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use portreeve_manifest::duration::HumanDuration;
use portreeve_manifest::settings::{AlertMetric, AlertRule, AlertScope};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::histogram::Latency;
use super::tally::Tally;

/// Parts of a window: it is exact to a twelfth of its length.
const SLICES: u32 = 12;

/// An alert ends when the value is at this part of its threshold or below: one that hovers
/// about the threshold raises one alert, not many.
const RELEASE: f64 = 0.9;

/// How long an alert is not raised again after it ended.
const QUIET: Duration = Duration::from_secs(300);

/// Alerts of one look. What is more waits for the next: nobody reads them faster.
const ALERTS_AT_ONCE: usize = 20;

/// Hears of alerts. Called between two writes of usage: it must not block.
pub trait AlertSink: Send + Sync {
    /// One alert was raised, or ended.
    fn alert(&self, alert: &Alert);
}

/// Whether an alert was raised or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// The threshold was crossed.
    Raised,
    /// The value is back below it.
    Over,
}

/// A threshold was crossed, or is so no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Alert {
    /// Which of both.
    pub state: AlertState,
    /// The plugin; none where the rule is about all together.
    pub plugin: Option<String>,
    /// What was looked at.
    pub metric: AlertMetric,
    /// Its value, in the metric's unit: a part of 1, a count, milliseconds or bytes.
    pub value: f64,
    /// The threshold, in the same unit.
    pub above: f64,
    /// The window, in seconds.
    pub over_secs: u64,
    /// Calls in the window.
    pub calls: u64,
    /// When: milliseconds since 1970, UTC.
    pub time: i64,
    /// All that in a sentence.
    pub message: String,
}

impl Alert {
    /// As the body of an audit record.
    pub fn body(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(body)) => body,
            // Only a map with other keys than text has no form in JSON.
            _ => Map::new(),
        }
    }

    /// Whether both are of the same rule about the same plugin.
    pub fn is_of_the_same_rule(&self, other: &Alert) -> bool {
        (&self.plugin, self.metric, self.over_secs)
            == (&other.plugin, other.metric, other.over_secs)
            && self.above.to_bits() == other.above.to_bits()
    }
}

/// All rules, each with what it looks at.
#[derive(Debug)]
pub(super) struct Alerts {
    rules: Vec<Watched>,
}

/// A rule, and the use of each plugin (or of all: none) in its window.
#[derive(Debug)]
struct Watched {
    rule: AlertRule,
    targets: BTreeMap<Option<Arc<str>>, Target>,
}

#[derive(Debug, Default)]
struct Target {
    slices: VecDeque<Slice>,
    /// Bytes that the plugin stores, as far as they are known.
    stored: u64,
    /// The alert that stands.
    standing: Option<Alert>,
    /// When the last one ended.
    ended: Option<Instant>,
}

/// A part of the window.
#[derive(Debug)]
struct Slice {
    start: Instant,
    calls: u64,
    failed: u64,
    fuel: u64,
    refusals: u64,
    /// Only where the rule looks at it: it takes two KiB.
    latency: Option<Latency>,
}

impl Alerts {
    pub(super) fn new(rules: Vec<AlertRule>) -> Alerts {
        let mut alerts = Alerts { rules: Vec::new() };
        alerts.set_rules(rules);
        alerts
    }

    /// Takes other rules; what those that stay have seen is kept.
    pub(super) fn set_rules(&mut self, rules: Vec<AlertRule>) {
        let mut before = std::mem::take(&mut self.rules);
        self.rules = rules
            .into_iter()
            .map(
                |rule| match before.iter().position(|watched| watched.rule == rule) {
                    Some(place) => before.swap_remove(place),
                    None => Watched {
                        rule,
                        targets: BTreeMap::new(),
                    },
                },
            )
            .collect();
    }

    /// Adds what plugins used since the last time.
    pub(super) fn add(&mut self, now: Instant, used: &BTreeMap<Arc<str>, Tally>) {
        for watched in &mut self.rules {
            for (alias, tally) in used {
                let target = match &watched.rule.scope {
                    AlertScope::Project => None,
                    AlertScope::Each => Some(alias.clone()),
                    AlertScope::Plugin(only) if only.as_str() == &**alias => Some(alias.clone()),
                    AlertScope::Plugin(_) => continue,
                };
                let target = watched.targets.entry(target).or_default();
                target.add(now, &watched.rule, tally);
            }
        }
    }

    /// Whether a rule is about what plugins store.
    pub(super) fn look_at_storage(&self) -> bool {
        let mut metrics = self.rules.iter().map(|watched| watched.rule.metric);
        metrics.any(|metric| metric == AlertMetric::Storage)
    }

    /// What is to be told now. `stored` are the bytes that plugins store, where they may
    /// have changed.
    pub(super) fn look(
        &mut self,
        now: Instant,
        now_ms: i64,
        stored: &HashMap<Arc<str>, u64>,
    ) -> Vec<Alert> {
        let mut told = Vec::new();
        for Watched { rule, targets } in &mut self.rules {
            for (alias, target) in targets.iter_mut() {
                if let Some(bytes) = alias.as_ref().and_then(|alias| stored.get(alias)) {
                    target.stored = *bytes;
                }
                target.forget(now, rule.over);
                if told.len() < ALERTS_AT_ONCE {
                    told.extend(target.look(now, now_ms, rule, alias.as_deref()));
                }
            }
            targets.retain(|_, target| target.says_something(now, rule));
        }
        told
    }

    /// The alerts that stand.
    pub(super) fn standing(&self) -> Vec<Alert> {
        let targets = self
            .rules
            .iter()
            .flat_map(|watched| watched.targets.values());
        targets
            .filter_map(|target| target.standing.clone())
            .collect()
    }
}

impl Target {
    fn add(&mut self, now: Instant, rule: &AlertRule, tally: &Tally) {
        let part = rule.over / SLICES;
        if self
            .slices
            .back()
            .is_none_or(|slice| now - slice.start >= part)
        {
            self.slices.push_back(Slice {
                start: now,
                calls: 0,
                failed: 0,
                fuel: 0,
                refusals: 0,
                latency: (rule.metric == AlertMetric::LatencyP99).then(Latency::default),
            });
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.calls = slice.calls.saturating_add(tally.calls);
            slice.failed = slice.failed.saturating_add(tally.failed());
            slice.fuel = slice.fuel.saturating_add(tally.fuel);
            slice.refusals = slice.refusals.saturating_add(tally.refusals);
            if let Some(latency) = &mut slice.latency {
                latency.add(&tally.latency);
            }
        }
    }

    /// Lets go of what is out of the window.
    fn forget(&mut self, now: Instant, over: Duration) {
        while self
            .slices
            .front()
            .is_some_and(|slice| now - slice.start >= over)
        {
            self.slices.pop_front();
        }
    }

    /// The value now; none where there is too little to say.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a threshold is not more exact than 53 bits"
    )]
    fn value(&self, rule: &AlertRule) -> (u64, Option<f64>) {
        let sum = |of: fn(&Slice) -> u64| self.slices.iter().map(of).fold(0, u64::saturating_add);
        let calls = sum(|slice| slice.calls);
        let value = match rule.metric {
            AlertMetric::ErrorRate if calls == 0 => return (calls, None),
            AlertMetric::ErrorRate => sum(|slice| slice.failed) as f64 / calls as f64,
            AlertMetric::Calls => calls as f64,
            AlertMetric::Fuel => sum(|slice| slice.fuel) as f64,
            AlertMetric::Refusals => sum(|slice| slice.refusals) as f64,
            AlertMetric::Storage => return (calls, Some(self.stored as f64)),
            AlertMetric::LatencyP99 => {
                let mut all = Latency::default();
                let parts = self
                    .slices
                    .iter()
                    .filter_map(|slice| slice.latency.as_ref());
                parts.for_each(|part| all.add(part));
                all.quantile(0.99).as_secs_f64() * 1_000.0
            }
        };
        (calls, (calls >= rule.min_calls).then_some(value))
    }

    fn look(
        &mut self,
        now: Instant,
        now_ms: i64,
        rule: &AlertRule,
        alias: Option<&str>,
    ) -> Option<Alert> {
        let (calls, value) = self.value(rule);
        let state = match (&self.standing, value) {
            (None, Some(value)) if value > rule.above && self.may_be_raised(now) => {
                AlertState::Raised
            }
            (Some(_), None) => AlertState::Over,
            // A threshold of nothing is gone below by nothing.
            (Some(_), Some(value)) if value <= rule.above * RELEASE => AlertState::Over,
            _ => return None,
        };
        let alert = alert(rule, alias, state, (calls, value.unwrap_or(0.0)), now_ms);
        if state == AlertState::Raised {
            self.standing = Some(alert.clone());
        } else {
            self.standing = None;
            self.ended = Some(now);
        }
        Some(alert)
    }

    fn may_be_raised(&self, now: Instant) -> bool {
        self.ended.is_none_or(|ended| now - ended >= QUIET)
    }

    /// Whether forgetting it would change what is told.
    fn says_something(&self, now: Instant, rule: &AlertRule) -> bool {
        self.standing.is_some()
            || !self.slices.is_empty()
            || !self.may_be_raised(now)
            || rule.metric == AlertMetric::Storage && self.stored > 0
    }
}

fn alert(
    rule: &AlertRule,
    alias: Option<&str>,
    state: AlertState,
    (calls, value): (u64, f64),
    time: i64,
) -> Alert {
    let metric = rule.metric;
    let whose = alias.map_or_else(|| AlertScope::Project.to_string(), str::to_owned);
    let over = HumanDuration(rule.over);
    let window = if metric == AlertMetric::Storage {
        String::new()
    } else {
        format!(" over {over}")
    };
    let (shown, above) = (metric.show(value), metric.show(rule.above));
    let message = match state {
        AlertState::Raised => {
            format!("{metric} of {whose}{window} is {shown}, above {above}")
        }
        AlertState::Over => {
            format!("{metric} of {whose}{window} is {shown} again; it was above {above}")
        }
    };
    Alert {
        state,
        plugin: alias.map(str::to_owned),
        metric,
        value,
        above: rule.above,
        over_secs: rule.over.as_secs(),
        calls,
        time,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::super::CallUse;
    use super::*;

    fn rule(scope: AlertScope, metric: AlertMetric, above: f64, min_calls: u64) -> AlertRule {
        AlertRule {
            scope,
            metric,
            above,
            over: Duration::from_secs(300),
            min_calls,
        }
    }

    fn used(calls: u64, failed: u64, millis: u64) -> Tally {
        let mut tally = Tally::default();
        for number in 0..calls {
            tally.record(&CallUse {
                error: (number < failed).then_some("internal"),
                duration: Duration::from_millis(millis),
                fuel: 1_000,
                refusals: 1,
                ..CallUse::default()
            });
        }
        tally
    }

    /// What is told, one look each ten seconds, of a plugin `a` that is used so.
    fn told(rule: AlertRule, looks: &[(u64, u64, u64)], stored: u64) -> Vec<(usize, String)> {
        let mut alerts = Alerts::new(vec![rule]);
        let start = Instant::now();
        let stored = HashMap::from([(Arc::from("a"), stored)]);
        let mut told = Vec::new();
        for (turn, (calls, failed, millis)) in looks.iter().enumerate() {
            let now = start + Duration::from_secs(10) * u32::try_from(turn).unwrap();
            if *calls > 0 {
                let tally = used(*calls, *failed, *millis);
                alerts.add(now, &BTreeMap::from([("a".into(), tally)]));
            }
            let now_alerts = alerts.look(now, 7, &stored);
            told.extend(now_alerts.into_iter().map(|alert| (turn, alert.message)));
        }
        told
    }

    fn is(told: &[(usize, String)], expected: &[(usize, &str)]) {
        let told: Vec<_> = told.iter().map(|(turn, text)| (*turn, &**text)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn an_alert_is_raised_once_and_ends_once() {
        let mut looks = vec![(10, 0, 1), (10, 5, 1), (10, 10, 1), (10, 10, 1)];
        looks.extend([(10, 0, 1); 40]);
        let rule = rule(AlertScope::Each, AlertMetric::ErrorRate, 0.2, 20);
        is(
            &told(rule, &looks, 0),
            &[
                (1, "error-rate of a over 5m is 25.0 %, above 20.0 %"),
                (
                    13,
                    "error-rate of a over 5m is 17.9 % again; it was above 20.0 %",
                ),
            ],
        );
    }

    #[test]
    fn few_calls_say_nothing() {
        let rule = rule(AlertScope::Each, AlertMetric::ErrorRate, 0.2, 20);
        is(&told(rule, &[(19, 19, 1), (0, 0, 0)], 0), &[]);
    }

    #[test]
    fn what_hovers_about_its_threshold_is_told_once() {
        let looks: Vec<_> = (0..200).map(|turn| (30 + turn % 2, 0, 1)).collect();
        // Thirty looks of 30 or 31 calls each are in a window.
        let rule = rule(AlertScope::Project, AlertMetric::Calls, 914.0, 0);
        let told = told(rule, &looks, 0);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].1.contains("all plugins together"), "{told:?}");
    }

    #[test]
    fn an_alert_that_ended_stays_quiet_for_a_while() {
        // A burst each two minutes, in a window of one.
        let mut looks = Vec::new();
        for _ in 0..5 {
            looks.push((100, 0, 1));
            looks.extend([(0, 0, 0); 11]);
        }
        let rule = AlertRule {
            over: Duration::from_secs(60),
            ..rule(AlertScope::Each, AlertMetric::Calls, 50.0, 0)
        };
        let turns: Vec<_> = told(rule, &looks, 0).iter().map(|told| told.0).collect();
        // The bursts at 12 and 24 come too soon after the end at 6.
        assert_eq!(turns, [0, 6, 36, 42]);
    }

    #[test]
    fn each_metric_is_looked_at() {
        use AlertMetric::{Fuel, LatencyP99, Refusals, Storage};
        for (metric, above, below, message) in [
            (
                LatencyP99,
                499.0,
                600.0,
                "latency-p99 of a over 5m is 500ms, above 499ms",
            ),
            (
                Fuel,
                29_999.0,
                30_000.0,
                "fuel of a over 5m is 30000, above 29999",
            ),
            (
                Refusals,
                29.0,
                30.0,
                "refusals of a over 5m is 30, above 29",
            ),
            (
                Storage,
                1_023.0,
                1_024.0,
                "storage of a is 1 KiB, above 1023 B",
            ),
        ] {
            let looks = [(30, 0, 500), (0, 0, 0)];
            let one = AlertScope::Plugin("a".parse().unwrap());
            is(
                &told(rule(one.clone(), metric, above, 0), &looks, 1_024),
                &[(0, message)],
            );
            is(&told(rule(one, metric, below, 0), &looks, 1_024), &[]);
            let other = AlertScope::Plugin("b".parse().unwrap());
            is(&told(rule(other, metric, above, 0), &looks, 1_024), &[]);
        }
    }

    #[test]
    fn many_alerts_are_told_in_turns() {
        let mut alerts = Alerts::new(vec![rule(AlertScope::Each, AlertMetric::Calls, 0.0, 0)]);
        let now = Instant::now();
        let used: BTreeMap<Arc<str>, _> = (0..50)
            .map(|number| (Arc::from(format!("p{number}")), used(1, 0, 1)))
            .collect();
        alerts.add(now, &used);
        let told: Vec<_> = (0..4)
            .map(|_| alerts.look(now, 0, &HashMap::new()).len())
            .collect();
        assert_eq!(told, [20, 20, 10, 0]);
        assert_eq!(alerts.standing().len(), 50);
        // Rules that stay keep what stands.
        let same = rule(AlertScope::Each, AlertMetric::Calls, 0.0, 0);
        alerts.set_rules(vec![
            rule(AlertScope::Project, AlertMetric::Fuel, 1.0, 0),
            same,
        ]);
        assert_eq!(alerts.standing().len(), 50);
        alerts.set_rules(Vec::new());
        assert_eq!(alerts.standing(), []);
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let mut alerts = Alerts::new(vec![rule(AlertScope::Each, AlertMetric::Calls, 9.0, 0)]);
        let now = Instant::now();
        alerts.add(now, &BTreeMap::from([("a".into(), used(5, 0, 1))]));
        assert!(alerts.look(now, 0, &HashMap::new()).is_empty());
        assert_eq!(alerts.rules[0].targets.len(), 1);
        alerts.look(now + Duration::from_secs(300), 0, &HashMap::new());
        assert_eq!(alerts.rules[0].targets.len(), 0);
    }

    #[test]
    fn an_alert_is_a_record() {
        let rule = rule(AlertScope::Each, AlertMetric::ErrorRate, 0.2, 20);
        let alert = alert(&rule, Some("a"), AlertState::Raised, (40, 0.25), 7);
        let body = alert.body();
        assert_eq!(body["state"], "raised");
        assert_eq!(body["metric"], "error-rate");
        let read: Alert = serde_json::from_value(Value::Object(body)).unwrap();
        assert_eq!(read, alert);
        assert!(read.is_of_the_same_rule(&alert));
    }
}
