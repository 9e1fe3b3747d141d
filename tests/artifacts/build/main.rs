//! Compiles the guest test programs and writes a module of constants, one for each.

#![allow(
    clippy::print_stdout,
    reason = "printing is how a build script speaks to cargo"
)]

mod assembled;
mod compiled;
mod documented;
mod generated;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A program, ready to be named in the module of constants.
struct Program {
    /// Its name: snake_case, as its file.
    name: String,
    /// One line that says what it is for.
    subject: String,
    /// What it is.
    kind: Kind,
    /// The component (or, for one of them, the core module).
    wasm: Vec<u8>,
}

/// What a program is, which decides where tests are asked for.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Exports `portreeve:tools/provider`, compiled from Rust.
    Provider,
    /// Exports nothing of Portreeve's, compiled from Rust.
    Bare,
    /// Assembled from text: components that no compiler would make.
    Text,
}

fn main() -> Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?)
        .join("../..")
        .canonicalize()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let programs = root.join("tests/programs");
    for path in ["Cargo.toml", "src", "examples", "wit", "wat"] {
        println!("cargo::rerun-if-changed={}", programs.join(path).display());
    }
    for path in [
        "wit",
        "host/runtime/wit",
        "Cargo.lock",
        "tests/artifacts/build",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }

    let mut all = compiled::programs(&root, &out)?;
    all.push(documented::program(&programs, &all)?);
    all.extend(assembled::programs(&programs.join("wat"))?);
    all.extend(generated::programs()?);
    all.sort_by(|a, b| a.name.cmp(&b.name));

    for program in &all {
        fs::write(wasm_path(&out, program), &program.wasm)?;
    }
    fs::write(out.join("programs.rs"), module(&all, &out))?;
    Ok(())
}

fn wasm_path(out: &Path, program: &Program) -> PathBuf {
    out.join(&program.name).with_extension("wasm")
}

/// The module of constants and macros.
fn module(all: &[Program], out: &Path) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    for program in all {
        let constant = program.name.to_uppercase();
        let path = wasm_path(out, program);
        let _ = writeln!(
            text,
            "/// {}\npub const {constant}: &str = {path:?};",
            program.subject
        );
    }
    let _ = writeln!(
        text,
        "/// The names and paths of all programs, sorted by name.\n\
         pub const ALL: &[(&str, &str)] = &[",
    );
    for Program { name, .. } in all {
        let _ = writeln!(text, "({name:?}, {}),", name.to_uppercase());
    }
    text.push_str("];\n");

    let groups: [(&str, &str, &[Kind]); 4] = [
        (
            "program",
            "each program",
            &[Kind::Provider, Kind::Bare, Kind::Text],
        ),
        ("provider", "each provider of tools", &[Kind::Provider]),
        (
            "bare",
            "each bare component compiled from Rust",
            &[Kind::Bare],
        ),
        ("text", "each program assembled from text", &[Kind::Text]),
    ];
    for (group, what, kinds) in groups {
        let _ = writeln!(
            text,
            "/// Calls `$macro!(name)` for {what}.\n\
             #[macro_export]\n\
             macro_rules! foreach_{group} {{\n($macro:ident) => {{"
        );
        for program in all.iter().filter(|program| kinds.contains(&program.kind)) {
            let _ = writeln!(text, "$macro!({});", program.name);
        }
        text.push_str("};\n}\n");
    }
    text
}
