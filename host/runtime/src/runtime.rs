//! The runtime: from a component's bytes to a [`Template`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use portreeve_manifest::limits::Limits;
use portreeve_manifest::size::ByteSize;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::{Cache, Miss};
use crate::compile::CompileLimits;
use crate::compiler::Compiler;
use crate::engine::{CODE_VERSION, Engines};
use crate::error::Error;
use crate::template::Template;

/// Where the runtime keeps its things and how much it may use.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Directory of compiled components; made with mode 0700.
    pub cache_dir: PathBuf,
    /// File of the key that authenticates them; outside of `cache_dir`.
    pub cache_key: PathBuf,
    /// Bytes of compiled components that are kept. Default: 4 GiB.
    pub cache_bytes_max: u64,
    /// The program `portreeve-compile`.
    pub compiler: PathBuf,
    /// What it may use.
    pub compile_limits: CompileLimits,
    /// Instances that may live at once.
    pub instances: u32,
}

/// What [`Runtime::load`] is about to do, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was not in the cache: compiling takes about a second per MiB.
    Compiling,
    /// Compiled, and kept for the next time.
    Compiled,
}

/// Makes components ready to run.
pub struct Runtime {
    engines: Engines,
    cache: Arc<Cache>,
    compiler: Compiler,
}

impl Runtime {
    /// Sets up engines, cache and compiler.
    ///
    /// # Errors
    /// When the cache or its key can't be trusted, or the machine refuses an engine.
    pub fn new(config: RuntimeConfig) -> Result<Runtime, Error> {
        Ok(Runtime {
            engines: Engines::new(config.instances)?,
            cache: Arc::new(Cache::open(
                &config.cache_dir,
                &config.cache_key,
                config.cache_bytes_max,
            )?),
            compiler: Compiler::new(config.compiler, config.compile_limits),
        })
    }

    /// Whether instances come from a pool on this machine; without one, calls cost about
    /// three times more.
    ///
    /// # Errors
    /// When the machine refuses an engine.
    pub fn is_pooled(&self) -> Result<bool, Error> {
        let stack = Limits::default().stack;
        Ok(self.engines.with_stack(stack.as_usize())?.pooled)
    }

    /// Makes the component with the SHA-256 `digest` ready for guests with `stack` bytes of
    /// stack: from the cache, else by compiling what `read` gives.
    ///
    /// `read` must check that its bytes have the digest; it is called only when the cache
    /// has nothing that can be believed.
    ///
    /// # Errors
    /// When the component can't be read, compiled, or linked.
    pub async fn load(
        &self,
        digest: &[u8; 32],
        stack: ByteSize,
        read: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
        on_step: &(dyn Fn(Step) + Sync),
    ) -> Result<Template, Error> {
        let room = self.engines.with_stack(stack.as_usize())?;
        let name = code_name(digest, &room.engine);
        match self.cached(&room.engine, &name).await? {
            Ok(component) => return Template::new(room, component),
            Err(Miss::Absent) => {}
            Err(miss) => tracing::warn!(name, "compiling a component anew: {miss}"),
        }
        on_step(Step::Compiling);
        let bytes = blocking(read).await?.map_err(Error::Source)?;
        let code = self.compiler.compile(&bytes).await?;
        drop(bytes);
        let (cache, stored) = (self.cache.clone(), name.clone());
        blocking(move || cache.store(&stored, &code))
            .await?
            .map_err(|error| Error::Setup {
                what: "the compiled component can't be kept".to_owned(),
                error,
            })?;
        on_step(Step::Compiled);
        match self.cached(&room.engine, &name).await? {
            Ok(component) => Template::new(room, component),
            Err(Miss::Unfit(why)) => Err(Error::Mismatch(why)),
            Err(miss) => Err(Error::Setup {
                what: "the compiled component was lost".to_owned(),
                error: std::io::Error::other(miss),
            }),
        }
    }

    async fn cached(&self, engine: &Engine, name: &str) -> Result<Result<Component, Miss>, Error> {
        let (cache, engine, name) = (self.cache.clone(), engine.clone(), name.to_owned());
        blocking(move || cache.load(&engine, &name)).await
    }
}

/// The name of compiled code: the component's digest, and everything of the engine that its
/// code depends on.
fn code_name(digest: &[u8; 32], engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    CODE_VERSION.hash(&mut hasher);
    std::env::consts::ARCH.hash(&mut hasher);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digest}-{:016x}", hasher.finish())
}

/// Runs `work`, which reads or writes files, where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Setup {
            what: "work on a component was given up".to_owned(),
            error: std::io::Error::other(error),
        })
}
