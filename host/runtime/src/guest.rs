//! A guest: the data of one store, what it imports, and the hook that meters its calls
//! into the host.

use std::sync::Arc;

use portreeve_manifest::limits::Limits;
use portreeve_manifest::size::ByteSize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{CallHook, Engine, Store, StoreContextMut};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bindings;
use crate::bindings::portreeve::network::failures;
use crate::bindings::portreeve::{content, host, messages, prompt, secrets, storage, ui};
use crate::bindings::wasi::keyvalue;
use crate::capability::changes::Changes;
use crate::capability::config::Config;
use crate::capability::directories::{self, DirectorySource, NoDirectories};
use crate::capability::last_failure::LastFailure;
use crate::capability::messages::{MessageBus, NoMessages};
use crate::capability::network;
use crate::capability::network::http::{Http, HttpSource, NoHttp, REQUEST_HEADER_BYTES_MAX};
use crate::capability::network::sockets::{NoSockets, Rooms, SocketSource, Sockets};
use crate::capability::progress::{NoProgress, ProgressSink};
use crate::capability::prompt::{NoPrompt, PromptSource};
use crate::capability::secrets::{NoSecrets, SecretSource};
use crate::capability::storage::{KvSource, NoKv};
use crate::clock::Clock;
use crate::error::LimitHit;
use crate::limiter::Limiter;
use crate::output::{Output, OutputSink, Stream};

/// Fuel that a call from the guest into the host costs, on top of the instructions around
/// it. One unit of fuel is about 0.08 ns of a loop and a host call 31–104 ns (measured,
/// 48.0.8), so that a flood of host calls uses up fuel about as fast as a loop.
const HOST_CALL_FUEL: u64 = 1_000;

/// How much fuel a guest uses before it gives way to others; costs less than 1.2× on
/// compute kernels (measured, 48.0.8).
const YIELD_FUEL: u64 = 1_000_000;

/// Most random bytes of one request.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// What a call knows about itself and may reach outside of the runtime.
#[derive(Clone)]
pub struct CallContext {
    /// The id of the call; empty while tools are listed.
    pub call_id: String,
    /// Who is calling.
    pub caller: String,
    /// What the operator has set.
    pub config: Config,
    /// Takes the guest's progress reports.
    pub progress: Arc<dyn ProgressSink>,
    /// Tells and asks people.
    pub prompt: Arc<dyn PromptSource>,
    /// Gives the guest its secrets.
    pub secrets: Arc<dyn SecretSource>,
    /// Sends the guest's requests.
    pub http: Arc<dyn HttpSource>,
    /// Decides about the guest's sockets.
    pub sockets: Arc<dyn SocketSource>,
    /// Keeps keys and values for the guest.
    pub kv: Arc<dyn KvSource>,
    /// Decides about directories.
    pub directories: Arc<dyn DirectorySource>,
    /// Takes the guest's messages.
    pub messages: Arc<dyn MessageBus>,
    /// Takes what the guest writes to stdout and stderr.
    pub output: Arc<dyn OutputSink>,
    /// Ends the call when it is cancelled.
    pub cancel: CancellationToken,
}

impl CallContext {
    /// That of nobody's call, in which nothing is granted or configured.
    pub(crate) fn without_grants(output: Arc<dyn OutputSink>) -> CallContext {
        CallContext {
            call_id: String::new(),
            caller: String::new(),
            config: Config::default(),
            progress: Arc::new(NoProgress),
            prompt: Arc::new(NoPrompt),
            secrets: Arc::new(NoSecrets),
            http: Arc::new(NoHttp),
            sockets: Arc::new(NoSockets),
            kv: Arc::new(NoKv),
            directories: Arc::new(NoDirectories),
            messages: Arc::new(NoMessages),
            output,
            cancel: CancellationToken::new(),
        }
    }
}

/// The data of a store.
pub(crate) struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    http_hooks: Http,
    pub(crate) sockets: Sockets,
    pub(crate) rooms: Rooms,
    pub(crate) last_failure: Arc<LastFailure>,
    pub(crate) directory_failure: Arc<LastFailure>,
    table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) context: CallContext,
    pub(crate) output: Output,
    pub(crate) clock: Arc<Clock>,
    /// Fuel left when the guest last called the host.
    pub(crate) fuel_left: u64,
    pub(crate) progress_next: Option<Instant>,
    /// What the guest says that it changed.
    pub(crate) changes: Changes,
    /// Largest value that the guest may keep.
    pub(crate) kv_value_max: ByteSize,
    /// Bytes of the call's arguments.
    pub(crate) bytes_in: u64,
    /// Bytes that the host may copy out of the guest in one host call, and as its result.
    copy_max: usize,
    result_max: usize,
    /// Fuel at the end of the last call into the host.
    fuel_after_host: Option<u64>,
    /// Whether the guest's export has returned, so that what is copied is its result.
    pub(crate) returned: bool,
    /// Whether it was stopped.
    pub(crate) stopped: bool,
}

impl Guest {
    /// What the guest holds handles to.
    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.http_hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// Everything that a guest may import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    host::context::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    host::config::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    ui::progress::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    prompt::notices::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    prompt::questions::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    secrets::store::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    secrets::inject::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    secrets::reveal::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    failures::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    bindings::portreeve::directories::failures::add_to_linker::<_, HasSelf<Guest>>(
        &mut linker,
        |guest| guest,
    )?;
    storage::kv::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    messages::bus::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    messages::message::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    content::changes::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    keyvalue::store::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    keyvalue::atomics::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    keyvalue::batch::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    network::add_to_linker(&mut linker)?;
    directories::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// A new store with every limit set: instances, memories and tables are read from the
/// limiter at the moment it is attached.
pub(crate) fn store(
    engine: &Engine,
    limits: &Limits,
    context: CallContext,
    clock: Arc<Clock>,
) -> wasmtime::Result<Store<Guest>> {
    let output = Output::new(context.output.clone(), limits.output.as_usize());
    let last_failure = Arc::new(LastFailure::default());
    let sockets = Sockets::new(context.sockets.clone(), last_failure.clone());
    let checked = sockets.clone();
    // Environment, arguments and stdin stay empty; files are ours (`directories`). Whether there are sockets is
    // asked when one is made; wasmtime's own look-ups are replaced, and off besides.
    let mut wasi = WasiCtx::builder();
    wasi.stdout(output.stream(Stream::Stdout))
        .stderr(output.stream(Stream::Stderr))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(true)
        .allow_udp(true)
        .socket_addr_check(move |address, used| checked.checking(address, used))
        .allow_ip_name_lookup(false)
        .allow_blocking_current_thread(false);
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(REQUEST_HEADER_BYTES_MAX);
    let http_hooks = Http::new(context.http.clone(), last_failure.clone(), clock.clone());
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.handles as usize);
    let mut store = Store::new(
        engine,
        Guest {
            wasi: wasi.build(),
            http,
            http_hooks,
            sockets,
            rooms: Rooms::default(),
            last_failure,
            directory_failure: Arc::default(),
            table,
            limiter: Limiter::new(limits),
            context,
            output,
            clock,
            fuel_left: limits.fuel,
            progress_next: None,
            changes: Changes::default(),
            kv_value_max: limits.value,
            bytes_in: 0,
            copy_max: limits.host_call.as_usize(),
            result_max: limits.result.as_usize(),
            fuel_after_host: None,
            returned: false,
            stopped: false,
        },
    );
    store.limiter(|guest| &mut guest.limiter);
    store.set_fuel(limits.fuel)?;
    store.fuel_async_yield_interval(Some(YIELD_FUEL))?;
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store.set_max_component_handles(limits.handles as usize);
    store.call_hook(meter);
    Ok(store)
}

/// Gives a guest that has been called before what is each call's own: its context, fuel, clock
/// and counts. What it remembers and has open stays.
pub(crate) fn begin_turn(
    store: &mut Store<Guest>,
    limits: &Limits,
    context: CallContext,
    clock: Arc<Clock>,
) -> wasmtime::Result<()> {
    let guest = store.data_mut();
    guest.limiter.begin_turn();
    guest
        .output
        .begin(context.output.clone(), limits.output.as_usize());
    guest.last_failure.clear();
    guest.directory_failure.clear();
    guest.sockets.set_source(context.sockets.clone());
    guest.http_hooks = Http::new(
        context.http.clone(),
        guest.last_failure.clone(),
        clock.clone(),
    );
    guest.context = context;
    guest.clock = clock;
    guest.fuel_left = limits.fuel;
    guest.progress_next = None;
    guest.bytes_in = 0;
    guest.fuel_after_host = None;
    guest.returned = false;
    store.set_fuel(limits.fuel)?;
    // The clock of epochs went on between turns.
    store.set_epoch_deadline(1);
    Ok(())
}

/// Runs at each change between guest and host: counts and charges host calls, and keeps
/// apart what is copied out of the guest during a host call and what as its result.
fn meter(mut store: StoreContextMut<'_, Guest>, hook: CallHook) -> wasmtime::Result<()> {
    match hook {
        CallHook::CallingHost => {
            let fuel = store.get_fuel()?;
            let left = fuel.saturating_sub(HOST_CALL_FUEL);
            store.set_fuel(left)?;
            let guest = store.data_mut();
            guest.fuel_left = left;
            guest.limiter.host_call()?;
            if left == 0 {
                return Err(guest.limiter.stop(out_of_fuel(None)));
            }
            let copy_max = guest.copy_max;
            store.set_hostcall_fuel(copy_max);
        }
        CallHook::ReturningFromHost => {
            store.data_mut().fuel_after_host = Some(store.get_fuel()?);
        }
        CallHook::ReturningFromWasm => {
            // A guest that ran on after its last call into the host comes from its own
            // end; one that did not was stopped by that call.
            let fuel = store.get_fuel()?;
            let guest = store.data_mut();
            guest.returned = guest.fuel_after_host != Some(fuel);
            let result_max = guest.result_max;
            store.set_hostcall_fuel(result_max);
        }
        CallHook::CallingWasm => {}
    }
    Ok(())
}

/// The limit of fuel, where `allowed` is known.
pub(crate) fn out_of_fuel(allowed: Option<u64>) -> LimitHit {
    LimitHit {
        setting: "fuel".into(),
        allowed: allowed.map_or_else(
            || "the fuel it has".to_owned(),
            |fuel| format!("{fuel} units of fuel"),
        ),
        used: "all of it is used".to_owned(),
    }
}
