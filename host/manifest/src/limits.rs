//! How much a plugin may use: every limit, its default, its range and its setting.
//!
//! Each limit stands here once, as a row of `limits!`; the three forms of the limits and
//! the table of the README are made of the rows.

use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::HumanDuration;
use crate::size::ByteSize;

/// What a limit is counted in.
pub(crate) trait Quantity: Copy {
    /// The amount as a plain number: bytes, milliseconds or a count.
    fn amount(self) -> u64;
    /// A plain number as people write it in this unit.
    fn show(amount: u64) -> String;
    /// The unit as the README's table names it.
    const UNIT: &'static str;
}

macro_rules! count {
    ($($type:ty),*) => {$(
        impl Quantity for $type {
            fn amount(self) -> u64 {
                self.into()
            }
            fn show(amount: u64) -> String {
                group_digits(amount)
            }
            const UNIT: &'static str = "count";
        }
    )*};
}
count!(u32, u64);

impl Quantity for ByteSize {
    fn amount(self) -> u64 {
        self.0
    }
    fn show(amount: u64) -> String {
        ByteSize(amount).to_string()
    }
    const UNIT: &'static str = "size";
}

impl Quantity for HumanDuration {
    fn amount(self) -> u64 {
        // Rounded up, so that a time just beyond the maximum is not taken for it.
        u64::try_from(self.0.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
    fn show(amount: u64) -> String {
        HumanDuration(Duration::from_millis(amount)).to_string()
    }
    const UNIT: &'static str = "duration";
}

/// A number with its digits in groups of three: `10,000`.
fn group_digits(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A value outside the range that its limit allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` is {value}, but must be {allowed}")]
pub struct LimitError {
    /// The setting's key in `limits = { … }`.
    pub setting: &'static str,
    /// The refused value.
    pub value: String,
    /// What is allowed: `between 64 KiB and 4 MiB`.
    pub allowed: String,
}

/// A limit as documentation shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitField {
    /// The setting's key in `limits = { … }`.
    pub setting: &'static str,
    /// How the value is written: `count`, `size` or `duration`.
    pub unit: &'static str,
    /// What is limited.
    pub description: &'static str,
    /// The default as people write it.
    pub default: String,
    /// The smallest value that is allowed.
    pub min: String,
    /// The largest value that is allowed.
    pub max: String,
}

/// Checks one written value against its range.
pub(crate) fn in_range<Q: Quantity>(
    setting: &'static str,
    written: Q,
    range: RangeInclusive<u64>,
    errors: &mut Vec<LimitError>,
) {
    if !range.contains(&written.amount()) {
        errors.push(LimitError {
            setting,
            value: Q::show(written.amount()),
            allowed: format!(
                "between {} and {}",
                Q::show(*range.start()),
                Q::show(*range.end())
            ),
        });
    }
}

/// A table of limits in its three forms: as they run, as an operator writes them, and as
/// documentation shows them. What a range can't say is checked by `check`.
macro_rules! limits {
    (
        $(#[doc = $limits_doc:literal])+
        $limits:ident;
        $(#[doc = $overrides_doc:literal])+
        $overrides:ident;
        $(
            $(#[doc = $doc:literal])+
            $field:ident, $setting:literal: $type:ty as $written:ty = $default:expr, $range:expr;
        )*
    ) => {
        $(#[doc = $limits_doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $limits {
            $($(#[doc = $doc])+ pub $field: $type,)*
        }

        $(#[doc = $overrides_doc])+
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub struct $overrides {
            $(
                $(#[doc = $doc])+
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$written>,
            )*
        }

        impl Default for $limits {
            fn default() -> Self {
                $limits {
                    $($field: {
                        let default: $written = $default;
                        default.into()
                    },)*
                }
            }
        }

        impl $limits {
            /// These limits with an operator's settings in place of some.
            ///
            /// # Errors
            /// Every setting that is outside its range.
            pub fn with(&self, overrides: &$overrides) -> Result<$limits, Vec<LimitError>> {
                let mut limits = self.clone();
                let mut errors = Vec::new();
                $(if let Some(written) = overrides.$field {
                    in_range($setting, written, $range, &mut errors);
                    limits.$field = written.into();
                })*
                limits.check(&mut errors);
                if errors.is_empty() { Ok(limits) } else { Err(errors) }
            }

            /// Every limit, for documentation, in the order of the type's fields.
            pub fn fields() -> Vec<LimitField> {
                vec![$({
                    let default: $written = $default;
                    LimitField {
                        setting: $setting,
                        unit: <$written as Quantity>::UNIT,
                        description: concat!($($doc),+).trim_ascii(),
                        default: <$written as Quantity>::show(default.amount()),
                        min: <$written as Quantity>::show(*$range.start()),
                        max: <$written as Quantity>::show(*$range.end()),
                    }
                }),*]
            }
        }
    };
}
pub(crate) use limits;

/// 2^53 − 1: what every JSON and TOML reader can hold; for a budget it is as good as none.
const BUDGET_MAX: u64 = (1 << 53) - 1;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const DAY_MS: u64 = 86_400_000;

limits! {
    /// The limits of one plugin as they run: every number is set.
    Limits;
    /// The limits that an operator sets for a plugin: `limits = { … }` in
    /// `portreeve.toml`. What isn't set keeps its default.
    LimitOverrides;
    /// Fuel of one call: roughly the number of WebAssembly instructions that it may run.
    fuel, "fuel": u64 as u64 = 10_000_000_000, 10_000..=BUDGET_MAX;
    /// Wall clock of one call, from its start to its answer.
    timeout, "timeout": Duration as HumanDuration = HumanDuration(Duration::from_secs(30)), 1..=DAY_MS;
    /// All linear memories of one instance together.
    memory, "memory": ByteSize as ByteSize = ByteSize::mib(64), 64 * KIB..=4 * GIB;
    /// Elements of all tables of one instance together.
    table_elements, "table-elements": u64 as u64 = 20_000, 0..=1_000_000;
    /// Core instances that one component may be made of.
    instances, "instances": u32 as u32 = 30, 1..=1_000;
    /// Linear memories that one component may have.
    memories, "memories": u32 as u32 = 10, 1..=100;
    /// Tables that one component may have.
    tables, "tables": u32 as u32 = 20, 0..=1_000;
    /// Native stack of the guest's functions; a power of two.
    stack, "stack": ByteSize as ByteSize = ByteSize::kib(512), 64 * KIB..=4 * MIB;
    /// Handles that one call may hold at a time: resources, streams, sockets.
    handles, "handles": u32 as u32 = 1_000, 1..=1_000_000;
    /// Arguments of one call, as JSON text.
    arguments, "arguments": ByteSize as ByteSize = ByteSize::mib(1), KIB..=4 * MIB;
    /// Answer of one call.
    result, "result": ByteSize as ByteSize = ByteSize::mib(4), KIB..=GIB;
    /// Standard output and standard error of one call together; the rest is dropped.
    output, "output": ByteSize as ByteSize = ByteSize::kib(64), 0..=16 * MIB;
    /// Bytes that the host takes from the guest in one host call.
    host_call, "host-call": ByteSize as ByteSize = ByteSize::mib(4), 4 * KIB..=256 * MIB;
    /// Host calls of one call.
    host_calls, "host-calls": u64 as u64 = 1_000_000, 100..=BUDGET_MAX;
    /// Calls of this plugin that run at a time.
    concurrent_calls, "concurrent-calls": u32 as u32 = 16, 1..=10_000;
    /// Calls of this plugin that wait for their turn.
    queue, "queue": u32 as u32 = 64, 0..=100_000;
    /// Times within ten minutes that a resident instance which broke is started again.
    restarts, "restarts": u32 as u32 = 5, 0..=1_000;
    /// Requests that one call sends: HTTP requests, retries, and connections of sockets.
    requests, "requests": u32 as u32 = 100, 0..=1_000_000;
    /// Bytes that one call sends over the network.
    sent, "sent": ByteSize as ByteSize = ByteSize::mib(10), 0..=TIB;
    /// Bytes that one call receives over the network.
    received, "received": ByteSize as ByteSize = ByteSize::mib(50), 0..=TIB;
    /// Connections that the plugin has at a time.
    connections, "connections": u32 as u32 = 16, 0..=10_000;
    /// Requests that the plugin sends within a day.
    requests_a_day, "requests-a-day": u64 as u64 = 100_000, 0..=BUDGET_MAX;
    /// Bytes that the plugin sends and receives within a day, both together.
    traffic_a_day, "traffic-a-day": ByteSize as ByteSize = ByteSize::gib(10), 0..=1024 * TIB;
    /// Bytes that one call writes to files; what a file grows by without being written counts.
    written, "written": ByteSize as ByteSize = ByteSize::mib(100), 0..=TIB;
    /// Files, directories and links that one call makes.
    files, "files": u32 as u32 = 1_000, 0..=1_000_000;
    /// Files, directories and streams of them that one call has open at a time.
    open_files, "open-files": u32 as u32 = 64, 0..=10_000;
    /// One value that the plugin keeps in its key-value store.
    value, "value": ByteSize as ByteSize = ByteSize::mib(1), 0..=8 * MIB;
    /// Keys that the plugin keeps in its key-value store.
    keys, "keys": u64 as u64 = 100_000, 0..=100_000_000;
    /// Notices that the plugin gives within a minute.
    notices_a_minute, "notices-a-minute": u32 as u32 = 20, 0..=10_000;
    /// Questions that the plugin asks within a minute.
    questions_a_minute, "questions-a-minute": u32 as u32 = 20, 0..=10_000;
    /// Time that a call waits for people; its own time stands still meanwhile.
    ask_timeout, "ask-timeout": Duration as HumanDuration = HumanDuration(Duration::from_secs(600)), 1_000..=DAY_MS;
    /// Calls of this plugin that wait for people at a time.
    parked_calls, "parked-calls": u32 as u32 = 4, 0..=1_000;
    /// Resources of the plugin that are listed; the rest is left out.
    resources, "resources": u32 as u32 = 10_000, 0..=1_000_000;
}

impl Limits {
    /// What a range alone cannot say.
    fn check(&self, errors: &mut Vec<LimitError>) {
        // The engine of a stack size is made once and shared: few sizes, few engines.
        if !self.stack.0.is_power_of_two() && !errors.iter().any(|e| e.setting == "stack") {
            errors.push(LimitError {
                setting: "stack",
                value: self.stack.to_string(),
                allowed: "a power of two, such as 256 KiB or 1 MiB".into(),
            });
        }
    }
}

/// Plugins that one project may list. A thousand are known to run on one machine.
pub const PLUGINS_MAX: u32 = 1_000;

/// The limits of the host itself, over all plugins: `[host]` in `portreeve.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Calls of all plugins that run at a time.
    pub concurrent_calls: u32,
    /// Calls of all plugins that wait for their turn.
    pub queue: u32,
    /// Calls of all plugins that wait for people at a time.
    pub parked_calls: u32,
    /// Resident instances of all plugins.
    pub residents: u32,
    /// Plugins that one project may list.
    pub plugins: u32,
}

impl Default for HostLimits {
    fn default() -> Self {
        HostLimits {
            concurrent_calls: 64,
            queue: 256,
            parked_calls: 32,
            residents: 32,
            plugins: PLUGINS_MAX,
        }
    }
}

/// The limits of the host that an operator sets: `[host] limits = { … }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostLimitOverrides {
    /// Calls of all plugins that run at a time.
    pub concurrent_calls: Option<u32>,
    /// Calls of all plugins that wait for their turn.
    pub queue: Option<u32>,
    /// Calls of all plugins that wait for people at a time.
    pub parked_calls: Option<u32>,
    /// Resident instances of all plugins.
    pub residents: Option<u32>,
}

impl HostLimits {
    /// These limits with an operator's settings in place of some.
    ///
    /// # Errors
    /// Every setting that is outside its range.
    pub fn with(&self, overrides: &HostLimitOverrides) -> Result<HostLimits, Vec<LimitError>> {
        let mut limits = self.clone();
        let mut errors = Vec::new();
        if let Some(written) = overrides.concurrent_calls {
            in_range("concurrent-calls", written, 1..=10_000, &mut errors);
            limits.concurrent_calls = written;
        }
        if let Some(written) = overrides.queue {
            in_range("queue", written, 0..=1_000_000, &mut errors);
            limits.queue = written;
        }
        if let Some(written) = overrides.parked_calls {
            in_range("parked-calls", written, 0..=10_000, &mut errors);
            limits.parked_calls = written;
        }
        if let Some(written) = overrides.residents {
            in_range("residents", written, 0..=1_000, &mut errors);
            limits.residents = written;
        }
        if errors.is_empty() {
            Ok(limits)
        } else {
            Err(errors)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_table_of_limits() {
        let table: String = Limits::fields()
            .iter()
            .map(|f| {
                format!(
                    "{} ({}): {} [{}, {}]: {}\n",
                    f.setting, f.unit, f.default, f.min, f.max, f.description
                )
            })
            .collect();
        expect![[r#"
            fuel (count): 10,000,000,000 [10,000, 9,007,199,254,740,991]: Fuel of one call: roughly the number of WebAssembly instructions that it may run.
            timeout (duration): 30s [1ms, 1d]: Wall clock of one call, from its start to its answer.
            memory (size): 64 MiB [64 KiB, 4 GiB]: All linear memories of one instance together.
            table-elements (count): 20,000 [0, 1,000,000]: Elements of all tables of one instance together.
            instances (count): 30 [1, 1,000]: Core instances that one component may be made of.
            memories (count): 10 [1, 100]: Linear memories that one component may have.
            tables (count): 20 [0, 1,000]: Tables that one component may have.
            stack (size): 512 KiB [64 KiB, 4 MiB]: Native stack of the guest's functions; a power of two.
            handles (count): 1,000 [1, 1,000,000]: Handles that one call may hold at a time: resources, streams, sockets.
            arguments (size): 1 MiB [1 KiB, 4 MiB]: Arguments of one call, as JSON text.
            result (size): 4 MiB [1 KiB, 1 GiB]: Answer of one call.
            output (size): 64 KiB [0 B, 16 MiB]: Standard output and standard error of one call together; the rest is dropped.
            host-call (size): 4 MiB [4 KiB, 256 MiB]: Bytes that the host takes from the guest in one host call.
            host-calls (count): 1,000,000 [100, 9,007,199,254,740,991]: Host calls of one call.
            concurrent-calls (count): 16 [1, 10,000]: Calls of this plugin that run at a time.
            queue (count): 64 [0, 100,000]: Calls of this plugin that wait for their turn.
            restarts (count): 5 [0, 1,000]: Times within ten minutes that a resident instance which broke is started again.
            requests (count): 100 [0, 1,000,000]: Requests that one call sends: HTTP requests, retries, and connections of sockets.
            sent (size): 10 MiB [0 B, 1 TiB]: Bytes that one call sends over the network.
            received (size): 50 MiB [0 B, 1 TiB]: Bytes that one call receives over the network.
            connections (count): 16 [0, 10,000]: Connections that the plugin has at a time.
            requests-a-day (count): 100,000 [0, 9,007,199,254,740,991]: Requests that the plugin sends within a day.
            traffic-a-day (size): 10 GiB [0 B, 1024 TiB]: Bytes that the plugin sends and receives within a day, both together.
            written (size): 100 MiB [0 B, 1 TiB]: Bytes that one call writes to files; what a file grows by without being written counts.
            files (count): 1,000 [0, 1,000,000]: Files, directories and links that one call makes.
            open-files (count): 64 [0, 10,000]: Files, directories and streams of them that one call has open at a time.
            value (size): 1 MiB [0 B, 8 MiB]: One value that the plugin keeps in its key-value store.
            keys (count): 100,000 [0, 100,000,000]: Keys that the plugin keeps in its key-value store.
            notices-a-minute (count): 20 [0, 10,000]: Notices that the plugin gives within a minute.
            questions-a-minute (count): 20 [0, 10,000]: Questions that the plugin asks within a minute.
            ask-timeout (duration): 10m [1s, 1d]: Time that a call waits for people; its own time stands still meanwhile.
            parked-calls (count): 4 [0, 1,000]: Calls of this plugin that wait for people at a time.
            resources (count): 10,000 [0, 1,000,000]: Resources of the plugin that are listed; the rest is left out.
        "#]].assert_eq(&table);
    }

    #[test]
    fn settings_replace_defaults_within_their_range() {
        let set = |text: &str| Limits::default().with(&toml::from_str(text).unwrap());
        let limits = set("memory = '128 MiB'\ntimeout = '20s'\nstack = '1 MiB'").unwrap();
        assert_eq!(limits.memory, ByteSize::mib(128));
        assert_eq!(limits.timeout, Duration::from_secs(20));
        assert_eq!(limits.fuel, Limits::default().fuel);

        let errors =
            set("memory = '5 GiB'\ntimeout = '0s'\nstack = '65 KiB'\nfuel = 1\nqueue = 1000000")
                .unwrap_err();
        let shown: String = errors.iter().map(|e| format!("{e}\n")).collect();
        expect![[r#"
            `fuel` is 1, but must be between 10,000 and 9,007,199,254,740,991
            `timeout` is 0s, but must be between 1ms and 1d
            `memory` is 5 GiB, but must be between 64 KiB and 4 GiB
            `queue` is 1,000,000, but must be between 0 and 100,000
            `stack` is 65 KiB, but must be a power of two, such as 256 KiB or 1 MiB
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn defaults_are_within_their_ranges() {
        let defaults = Limits::default();
        let all = LimitOverrides {
            fuel: Some(defaults.fuel),
            timeout: Some(defaults.timeout.into()),
            memory: Some(defaults.memory),
            table_elements: Some(defaults.table_elements),
            instances: Some(defaults.instances),
            memories: Some(defaults.memories),
            tables: Some(defaults.tables),
            stack: Some(defaults.stack),
            handles: Some(defaults.handles),
            arguments: Some(defaults.arguments),
            result: Some(defaults.result),
            output: Some(defaults.output),
            host_call: Some(defaults.host_call),
            host_calls: Some(defaults.host_calls),
            concurrent_calls: Some(defaults.concurrent_calls),
            queue: Some(defaults.queue),
            restarts: Some(defaults.restarts),
            requests: Some(defaults.requests),
            sent: Some(defaults.sent),
            received: Some(defaults.received),
            connections: Some(defaults.connections),
            requests_a_day: Some(defaults.requests_a_day),
            traffic_a_day: Some(defaults.traffic_a_day),
            written: Some(defaults.written),
            files: Some(defaults.files),
            open_files: Some(defaults.open_files),
            value: Some(defaults.value),
            keys: Some(defaults.keys),
            notices_a_minute: Some(defaults.notices_a_minute),
            questions_a_minute: Some(defaults.questions_a_minute),
            ask_timeout: Some(defaults.ask_timeout.into()),
            parked_calls: Some(defaults.parked_calls),
            resources: Some(defaults.resources),
        };
        assert_eq!(defaults.with(&all), Ok(defaults));
    }

    #[test]
    fn settings_are_the_names_of_the_fields() {
        let json = serde_json::to_value(schemars::schema_for!(LimitOverrides)).unwrap();
        for field in Limits::fields() {
            assert!(
                json["properties"].get(field.setting).is_some(),
                "{}",
                field.setting
            );
        }
    }
}
