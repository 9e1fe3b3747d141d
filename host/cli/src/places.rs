//! Where things lie on this machine.

use std::path::PathBuf;

use anyhow::Context as _;
use etcetera::BaseStrategy as _;
use portreeve_runtime::{CompileLimits, RuntimeConfig};
use portreeve_supply::ArtifactStore;
use portreeve_supply::advisory::AdvisoryStore;

/// Bytes of compiled components that are kept.
const CACHE_BYTES_MAX: u64 = 4 << 30;

/// Bytes of components in the store, all projects of the user together.
const STORE_BYTES_MAX: u64 = 8 << 30;

/// Instances that may live at once where no project says how many.
const INSTANCES: u32 = 64;

/// The name of the compiler program.
pub(crate) const COMPILER: &str = "portreeve-compile";

/// Where the runtime keeps its things: compiled components in the user's cache, the key that
/// authenticates them in the user's state, the compiler beside this program.
pub(crate) fn runtime() -> anyhow::Result<RuntimeConfig> {
    Ok(RuntimeConfig {
        cache_dir: cache_dir()?.join("compiled"),
        cache_key: state_dir()?.join("cache.key"),
        cache_bytes_max: CACHE_BYTES_MAX,
        compiler: compiler()?,
        compile_limits: CompileLimits::default(),
        instances: INSTANCES,
    })
}

fn cache_dir() -> anyhow::Result<PathBuf> {
    if let Some(dir) = from_env("PORTREEVE_CACHE_DIR")? {
        return Ok(dir);
    }
    Ok(user()?.cache_dir().join("portreeve"))
}

/// The user's own directory for keys and other state.
pub(crate) fn state_dir() -> anyhow::Result<PathBuf> {
    if let Some(dir) = from_env("PORTREEVE_STATE_DIR")? {
        return Ok(dir);
    }
    let user = user()?;
    // Every Unix strategy has a directory for state; data is the next best.
    let dir = user.state_dir().unwrap_or_else(|| user.data_dir());
    Ok(dir.join("portreeve"))
}

/// The store of components that came over a network.
pub(crate) fn artifacts() -> anyhow::Result<ArtifactStore> {
    Ok(ArtifactStore::open(
        &state_dir()?.join("store"),
        STORE_BYTES_MAX,
    )?)
}

/// The database of known weaknesses.
pub(crate) fn advisories() -> anyhow::Result<AdvisoryStore> {
    Ok(AdvisoryStore::new(state_dir()?.join("advisories")))
}

fn compiler() -> anyhow::Result<PathBuf> {
    if let Some(path) = from_env("PORTREEVE_COMPILER")? {
        return Ok(path);
    }
    Ok(program()?.with_file_name(COMPILER))
}

/// This program.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("where this program lies can't be found out")
}

fn user() -> anyhow::Result<impl etcetera::BaseStrategy> {
    etcetera::choose_base_strategy()
        .context("your home directory can't be found: set HOME, or PORTREEVE_CACHE_DIR and PORTREEVE_STATE_DIR")
}

/// A path from an environment variable, made absolute.
fn from_env(name: &str) -> anyhow::Result<Option<PathBuf>> {
    match std::env::var_os(name) {
        Some(value) if !value.is_empty() => {
            let path = std::path::absolute(&value).with_context(|| format!("{name} is no path"))?;
            Ok(Some(path))
        }
        _ => Ok(None),
    }
}
