//! The programs in Rust: a cargo of its own compiles them for the guests' target.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{Message, TargetKind};

use crate::{Kind, Program};

const TARGET: &str = "wasm32-wasip2";

/// Compiles all of them. `out` is this build script's own directory.
pub(crate) fn programs(root: &Path, out: &Path) -> Result<Vec<Program>> {
    ensure_target()?;
    let mut cargo = command(
        env::var_os("CARGO")
            .as_deref()
            .unwrap_or(OsStr::new("cargo")),
    );
    cargo
        .args([
            "build",
            "--package",
            "portreeve-test-programs",
            "--examples",
            "--release",
        ])
        .args(["--locked", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_directory(out))
        // Small components: every test that runs one compiles it to native code first.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cargo doesn't start")?;
    let messages = child.stdout.take().context("cargo has no output")?;

    let mut programs = Vec::new();
    for message in Message::parse_stream(BufReader::new(messages)) {
        let Message::CompilerArtifact(artifact) = message? else {
            continue;
        };
        if !artifact.target.kind.contains(&TargetKind::Example) {
            continue;
        }
        let wasm = artifact
            .filenames
            .iter()
            .find(|path| path.extension() == Some("wasm"));
        let wasm = wasm.with_context(|| format!("{} is no wasm", artifact.target.name))?;
        programs.push(program(
            &artifact.target.name,
            &artifact.target.src_path,
            wasm,
        )?);
    }
    let status = child.wait()?;
    ensure!(
        status.success(),
        "the guest test programs don't compile: cargo ended with {status}"
    );
    Ok(programs)
}

fn program(name: &str, source: impl AsRef<Path>, wasm: impl AsRef<Path>) -> Result<Program> {
    let source = fs::read_to_string(source)?;
    let subject = source
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("//! "));
    Ok(Program {
        name: name.to_owned(),
        subject: subject
            .with_context(|| format!("{name} doesn't say what it is"))?
            .to_owned(),
        kind: if name.starts_with("bare_") {
            Kind::Bare
        } else {
            Kind::Provider
        },
        wasm: fs::read(wasm)?,
    })
}

/// One directory beside the profiles' own, so that `check`, `clippy`, `test` and `bench`
/// share what was compiled. It is another than the outer cargo's, whose lock is held now.
fn target_directory(out: &Path) -> PathBuf {
    out.ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").exists())
        .unwrap_or(out)
        .join("test-programs")
}

/// Makes sure that the standard library of the guests' target is there.
fn ensure_target() -> Result<()> {
    if target_is_installed()? {
        return Ok(());
    }
    // Without rustup this fails to start; what counts is whether the target is there.
    let rustup = command("rustup")
        .args(["target", "add", TARGET])
        .stdout(Stdio::null())
        .status();
    ensure!(
        target_is_installed()?,
        "the guest test programs need the target {TARGET}, and `rustup target add {TARGET}` \
         didn't install it ({}): install it for this toolchain, then build again",
        match rustup {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
    );
    Ok(())
}

fn target_is_installed() -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = command(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("rustc doesn't start")?;
    Ok(output.status.success() && Path::new(String::from_utf8(output.stdout)?.trim()).exists())
}

/// A command without what the outer cargo set for this build, or was told by its user for
/// the host: flags, wrappers (clippy is one), profiles, the target directory.
fn command(program: impl AsRef<OsStr>) -> Command {
    const CLEARED: [&str; 10] = [
        "CARGO_BUILD_",
        "CARGO_CFG_",
        "CARGO_ENCODED_",
        "CARGO_FEATURE_",
        "CARGO_INCREMENTAL",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CLIPPY_",
    ];
    const KEPT: &str = "CARGO_BUILD_JOBS";

    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let cleared = CLEARED.iter().any(|prefix| text.starts_with(prefix))
            || text.starts_with("RUSTC")
            || text.starts_with("RUSTFLAGS")
            || text.starts_with("RUSTDOC");
        if cleared && text != KEPT {
            command.env_remove(&name);
        }
    }
    command
}
