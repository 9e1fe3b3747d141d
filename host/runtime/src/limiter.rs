//! Counts what a store uses and says no at its limits.

use portreeve_manifest::limits::Limits;
use portreeve_manifest::size::ByteSize;
use wasmtime::ResourceLimiter;

use crate::error::LimitHit;

/// The limits of one store and what it has used of them.
///
/// wasmtime asks about each memory and table alone; the limits here are for all of them
/// together.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_max: usize,
    memory_now: usize,
    pub(crate) memory_peak: usize,
    elements_max: usize,
    elements_now: usize,
    instances_max: usize,
    memories_max: usize,
    tables_max: usize,
    host_calls_max: u64,
    pub(crate) host_calls: u64,
    /// The first limit that was reached: what stopped the guest.
    pub(crate) hit: Option<LimitHit>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Limiter {
        Limiter {
            memory_max: limits.memory.as_usize(),
            memory_now: 0,
            memory_peak: 0,
            elements_max: usize::try_from(limits.table_elements).unwrap_or(usize::MAX),
            elements_now: 0,
            instances_max: limits.instances as usize,
            memories_max: limits.memories as usize,
            tables_max: limits.tables as usize,
            host_calls_max: limits.host_calls,
            host_calls: 0,
            hit: None,
        }
    }

    /// Counts what is each turn's own anew; memory and tables are the instance's.
    pub(crate) fn begin_turn(&mut self) {
        self.memory_peak = self.memory_now;
        self.host_calls = 0;
        self.hit = None;
    }

    /// Notes that `hit` stops the guest, and gives the error that does it.
    pub(crate) fn stop(&mut self, hit: LimitHit) -> wasmtime::Error {
        let error = wasmtime::format_err!("limit reached: {}", hit.setting);
        self.hit.get_or_insert(hit);
        error
    }

    /// Counts a call from the guest into the host.
    pub(crate) fn host_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls = self.host_calls.saturating_add(1);
        if self.host_calls <= self.host_calls_max {
            return Ok(());
        }
        let max = self.host_calls_max;
        Err(self.stop(LimitHit {
            setting: "host-calls".into(),
            allowed: format!("{max} calls into the host"),
            used: "it makes more".to_owned(),
        }))
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // It fails by its own declaration, and nothing is used.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = self
            .memory_now
            .saturating_sub(current)
            .saturating_add(desired);
        if total > self.memory_max {
            // An error stops the guest with a clear reason; `false` would reach it as -1,
            // which Rust guests answer by trapping without one.
            return Err(self.stop(LimitHit {
                setting: "memory".into(),
                allowed: format!("{} of memory", ByteSize(self.memory_max as u64)),
                used: format!("it asks for {}", ByteSize(total as u64)),
            }));
        }
        self.memory_now = total;
        self.memory_peak = self.memory_peak.max(total);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = self
            .elements_now
            .saturating_sub(current)
            .saturating_add(desired);
        if total > self.elements_max {
            return Err(self.stop(LimitHit {
                setting: "table-elements".into(),
                allowed: format!("{} table elements", self.elements_max),
                used: format!("it asks for {total}"),
            }));
        }
        self.elements_now = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        self.tables_max
    }

    fn memories(&self) -> usize {
        self.memories_max
    }
}
