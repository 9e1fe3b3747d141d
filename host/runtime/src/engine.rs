//! The engines: what they allow, how they meter, where instances live.
//!
//! One engine serves all plugins with the same stack limit, which wasmtime fixes per
//! engine; nearly always that is one. The compiler process uses the same settings
//! ([`settings`]), so that what it compiles is what this process loads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, ModuleVersionStrategy,
    OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
};

use crate::error::Error;
use crate::guest::Guest;

/// The wasmtime that this crate is built with, and our own version of the cache: part of
/// the name of every compiled file, since `deserialize` itself compares only wasmtime's
/// major version.
pub(crate) const CODE_VERSION: &str = "48.0.8+1";

/// How often a running guest gives way to others and its deadline is looked at.
const TICK: Duration = Duration::from_millis(10);

/// Native stack that host functions may use below a guest's frames. wasmtime's default
/// split is 512 KiB for wasm of a 2 MiB stack.
const HOST_STACK_BYTES: usize = 1536 * 1024;

/// Engines are made for at most this many different stack limits.
const ENGINES_MAX: usize = 8;

/// Most memories, tables and core instances that one component may have: the upper ends of
/// the ranges of the limits `memories`, `tables` and `instances`.
const COMPONENT_MEMORIES_MAX: u32 = 100;
const COMPONENT_TABLES_MAX: u32 = 1_000;
const COMPONENT_INSTANCES_MAX: u32 = 1_000;

/// How many of each there are for every instance that may live: JavaScript and Python
/// components need about five core instances; the defaults of the limits lie below.
const SLOT_MEMORIES: u32 = 16;
const SLOT_TABLES: u32 = 32;
const SLOT_INSTANCES: u32 = 128;

/// Most elements of one table: the upper end of the range of `table-elements`.
const TABLE_ELEMENTS_MAX: usize = 1_000_000;

/// Memory that a pooled slot keeps between calls instead of giving it back to the kernel:
/// with `pagemap_scan` only touched pages are reset, which makes a fresh instance about
/// three times cheaper (measured, 48.0.8).
const KEEP_RESIDENT_MEMORY: usize = 2 * 1024 * 1024;
const KEEP_RESIDENT_TABLE: usize = 64 * 1024;
const KEEP_RESIDENT_STACK: usize = 64 * 1024;

/// Unused slots that keep the memory image of the component that used them last.
const WARM_SLOTS_MAX: u32 = 16;

/// The settings that the compiler and the running host share.
pub(crate) fn settings() -> Result<Config, Error> {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        .table_lazy_init(true)
        .signals_based_traps(true)
        .native_unwind_info(false)
        .generate_address_map(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_component_model(true)
        .wasm_gc(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false);
    config
        .module_version(ModuleVersionStrategy::Custom(CODE_VERSION.to_owned()))
        .map_err(Error::engine)?;
    Ok(config)
}

/// An engine with everything linked that a guest may import.
pub(crate) struct EngineRoom {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Guest>,
    /// Whether instances come from a pool.
    pub(crate) pooled: bool,
}

/// All engines of a runtime, by stack limit, and the clock that drives them.
pub(crate) struct Engines {
    slots: u32,
    rooms: Mutex<BTreeMap<usize, Arc<EngineRoom>>>,
    ticker: Ticker,
}

impl Engines {
    /// `slots` is the number of instances that may live at once.
    pub(crate) fn new(slots: u32) -> Result<Engines, Error> {
        Ok(Engines {
            slots: slots.max(1),
            rooms: Mutex::default(),
            ticker: Ticker::start()?,
        })
    }

    /// The engine for guests whose stack may hold `stack` bytes.
    pub(crate) fn with_stack(&self, stack: usize) -> Result<Arc<EngineRoom>, Error> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(&stack) {
            return Ok(room.clone());
        }
        if rooms.len() >= ENGINES_MAX {
            // Those that no plugin has any more.
            rooms.retain(|_, room| Arc::strong_count(room) > 1);
        }
        if rooms.len() >= ENGINES_MAX {
            return Err(Error::TooManyStackSizes { max: ENGINES_MAX });
        }
        let (engine, pooled) = self.make(stack)?;
        let linker = crate::guest::linker(&engine).map_err(Error::engine)?;
        self.ticker.drive(&engine);
        let room = Arc::new(EngineRoom {
            engine,
            linker,
            pooled,
        });
        rooms.insert(stack, room.clone());
        Ok(room)
    }

    /// Pooled instances where the machine allows it, else instances on demand: the pool
    /// reserves 4 GiB of address space for each memory, which containers and `ulimit -v`
    /// may refuse.
    fn make(&self, stack: usize) -> Result<(Engine, bool), Error> {
        let mut config = settings()?;
        config
            .enable_compiler(false)
            .max_wasm_stack(stack)
            .async_stack_size(stack.saturating_add(HOST_STACK_BYTES));
        let mut pooled = config.clone();
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(self.pool()));
        match Engine::new(&pooled) {
            Ok(engine) => Ok((engine, true)),
            Err(error) => {
                tracing::warn!(%error, "no instance pool on this machine: calls cost about three times more");
                let engine = Engine::new(&config).map_err(Error::engine)?;
                Ok((engine, false))
            }
        }
    }

    fn pool(&self) -> PoolingAllocationConfig {
        let slots = self.slots;
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(slots)
            .total_stacks(slots)
            .total_core_instances(slots.saturating_mul(SLOT_INSTANCES))
            .total_memories(slots.saturating_mul(SLOT_MEMORIES))
            .total_tables(slots.saturating_mul(SLOT_TABLES))
            .max_core_instances_per_component(COMPONENT_INSTANCES_MAX)
            .max_memories_per_component(COMPONENT_MEMORIES_MAX)
            .max_tables_per_component(COMPONENT_TABLES_MAX)
            .max_tables_per_module(SLOT_TABLES)
            .max_component_instance_size(16 << 20)
            .max_core_instance_size(16 << 20)
            .table_elements(TABLE_ELEMENTS_MAX)
            .max_memory_size(4 << 30)
            .linear_memory_keep_resident(KEEP_RESIDENT_MEMORY)
            .table_keep_resident(KEEP_RESIDENT_TABLE)
            .async_stack_keep_resident(KEEP_RESIDENT_STACK)
            .max_unused_warm_slots(WARM_SLOTS_MAX.min(slots))
            .pagemap_scan(Enabled::Auto);
        pool
    }
}

/// One thread that moves the epoch of every engine on, so that a spinning guest yields
/// and its deadline is seen. It ends with the runtime.
struct Ticker {
    engines: Arc<Mutex<Vec<EngineWeak>>>,
    alive: Arc<()>,
}

impl Ticker {
    fn start() -> Result<Ticker, Error> {
        let engines = Arc::new(Mutex::new(Vec::<EngineWeak>::new()));
        let alive = Arc::new(());
        let (seen, while_alive) = (engines.clone(), Arc::downgrade(&alive));
        std::thread::Builder::new()
            .name("portreeve-epoch".to_owned())
            .spawn(move || {
                while while_alive.strong_count() > 0 {
                    std::thread::sleep(TICK);
                    let engines = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    for engine in engines.iter().filter_map(EngineWeak::upgrade) {
                        engine.increment_epoch();
                    }
                }
            })
            .map_err(|error| Error::Setup {
                what: "the epoch thread could not be started".to_owned(),
                error,
            })?;
        Ok(Ticker { engines, alive })
    }

    fn drive(&self, engine: &Engine) {
        debug_assert!(Arc::strong_count(&self.alive) > 0);
        self.engines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(engine.weak());
    }
}
