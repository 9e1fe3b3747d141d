//! Programs whose text is too long to write: many of something, or deep.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::{Kind, Program};

/// A core module with `answer`, and with what a component needs to pass values in memory.
const MODULE: &str = r#"
  (core module $module
    (memory (export "memory") 16)
    (table 1 funcref)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $place i32)
      (local.set $place
        (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $place) (local.get 3)))
      local.get $place)
    (func (export "answer") (result i32) i32.const 42)
    (func (export "take-list") (param i32 i32) (result i32) local.get 1)
    (func (export "take-pointer") (param i32) (result i32) local.get 0))
"#;

const INSTANCE: &str = r#"
  (core instance $instance (instantiate $module))
  (alias core export $instance "memory" (core memory $memory))
  (alias core export $instance "realloc" (core func $realloc))
"#;

const ANSWER: &str = r#"
  (func (export "answer") (result u32) (canon lift (core func $instance "answer")))
"#;

/// Builds all of them.
pub(crate) fn programs() -> Result<Vec<Program>> {
    let texts = [
        (
            "many_exports",
            "10,000 exported functions: `f0` to `f9999`.",
            many_exports(),
        ),
        (
            "many_instances",
            "200 core instances, each with a memory of 1 MiB and a table.",
            many_instances(),
        ),
        (
            "nested_components",
            "Components within components, 64 deep.",
            nested_components(),
        ),
        (
            "nested_type",
            "A parameter of lists within lists, 90 deep.",
            nested_type(),
        ),
        (
            "exploding_type",
            "A parameter whose type is small in the file and 65,536 fields when written out.",
            exploding_type(),
        ),
        (
            "long_name",
            "An exported function whose name has 90,000 characters.",
            long_name(),
        ),
    ];
    let program = |(name, subject, text): (&str, &str, String)| {
        Ok(Program {
            name: name.to_owned(),
            subject: subject.to_owned(),
            kind: Kind::Text,
            wasm: wat::parse_str(text).with_context(|| format!("{name} doesn't assemble"))?,
        })
    };
    texts.into_iter().map(program).collect()
}

fn many_exports() -> String {
    let lift = r#"(canon lift (core func $instance "answer"))"#;
    let mut exports = String::new();
    for n in 0..10_000 {
        let _ = writeln!(exports, r#"(func (export "f{n}") (result u32) {lift})"#);
    }
    format!("(component {MODULE} {INSTANCE} {exports})")
}

fn many_instances() -> String {
    let others = "(core instance (instantiate $module))\n".repeat(199);
    format!("(component {MODULE} {INSTANCE} {others} {ANSWER})")
}

fn nested_components() -> String {
    let (open, close) = ("(component\n".repeat(64), ")".repeat(64));
    format!("(component {open} {close} {MODULE} {INSTANCE} {ANSWER})")
}

fn nested_type() -> String {
    let (open, close) = ("(list ".repeat(90), ")".repeat(90));
    format!(
        r#"(component {MODULE} {INSTANCE} {ANSWER}
            (func (export "take") (param "value" {open} u8 {close}) (result u32)
              (canon lift (core func $instance "take-list") (memory $memory) (realloc $realloc))))"#
    )
}

fn exploding_type() -> String {
    let mut types = String::from("(type $t0 (tuple u8 u8))\n");
    for n in 1..16 {
        let _ = writeln!(types, "(type $t{n} (tuple $t{} $t{}))", n - 1, n - 1);
    }
    format!(
        r#"(component {MODULE} {INSTANCE} {ANSWER} {types}
            (func (export "take") (param "value" $t15) (result u32)
              (canon lift (core func $instance "take-pointer") (memory $memory) (realloc $realloc))))"#
    )
}

fn long_name() -> String {
    let name = "a".repeat(90_000);
    format!(
        r#"(component {MODULE} {INSTANCE} {ANSWER}
            (func (export "{name}") (result u32) (canon lift (core func $instance "answer"))))"#
    )
}
