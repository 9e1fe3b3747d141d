//! A component in plain wasmtime: the same engine settings and metering as the host's, an
//! `InstancePre`, and for each call a new store with a WASI context and a limiter, and one typed
//! call.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    StoreLimits, StoreLimitsBuilder,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/tools"],
        inline: "
            package portreeve:bench;
            world raw { export portreeve:tools/provider@0.1.0; }
        ",
        world: "portreeve:bench/raw",
        exports: { default: async },
    });
}
use bindings::exports::portreeve::tools::provider::{GuestIndices, Outcome};

struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A component that offers tools, ready to be called.
pub(crate) struct Raw {
    engine: Engine,
    instance: InstancePre<Guest>,
    provider: GuestIndices,
}

impl Raw {
    pub(crate) fn new(bytes: &[u8]) -> Raw {
        let mut config = Config::new();
        config
            .consume_fuel(true)
            .epoch_interruption(true)
            .concurrency_support(false)
            .native_unwind_info(false)
            .generate_address_map(false);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(64)
            .total_stacks(64)
            .linear_memory_keep_resident(2 << 20)
            .table_keep_resident(64 << 10)
            .async_stack_keep_resident(64 << 10)
            .max_memory_size(4 << 30)
            .total_memories(1_024)
            .total_tables(2_048)
            .pagemap_scan(Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::new(&engine, bytes).expect("a component");
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("wasi");
        stand_in(&mut linker, &component);
        let instance = linker.instantiate_pre(&component).expect("an instance");
        let provider = GuestIndices::new(&instance).expect("a provider");
        Raw {
            engine,
            instance,
            provider,
        }
    }

    /// Calls a tool in a fresh instance.
    pub(crate) async fn call(&self, tool: &str, arguments: &String, wasi: WasiCtx) -> Outcome {
        let mut store = Store::new(
            &self.engine,
            Guest {
                wasi,
                table: ResourceTable::new(),
                limits: StoreLimitsBuilder::new().memory_size(64 << 20).build(),
            },
        );
        store.limiter(|guest| &mut guest.limits);
        store.set_fuel(10_000_000_000).expect("fuel");
        store
            .fuel_async_yield_interval(Some(1_000_000))
            .expect("yields");
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = self.instance.instantiate_async(&mut store).await;
        let instance = instance.expect("an instance");
        let provider = self.provider.load(&mut store, &instance);
        let provider = provider.expect("a provider");
        let answer = provider.call_call_tool(&mut store, tool, arguments).await;
        answer.expect("no trap").expect("an answer")
    }
}

/// Gives the component what else it imports; it calls none of that here.
fn stand_in(linker: &mut Linker<Guest>, component: &Component) {
    let engine = linker.engine().clone();
    for (name, item) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(imported) = item.ty else {
            continue;
        };
        if !name.starts_with("portreeve:") {
            continue;
        }
        let mut instance = linker.instance(name).expect("an import");
        for (function, item) in imported.exports(&engine) {
            if let ComponentItem::ComponentFunc(_) = item.ty {
                instance
                    .func_new(function, |_, _, _, _| panic!("it is not called"))
                    .expect("a function");
            }
        }
    }
}
