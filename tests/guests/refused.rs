//! Bytes that are no component, or none that this host can run: each gets a clear refusal,
//! quickly, and harms nothing.

use std::time::Duration;

use portreeve_manifest::limits::Limits;
use portreeve_runtime::{Error, Runtime};
use portreeve_supply::{Digest, IntakeLimits, Package};

use crate::support::{Guest, config, guest_with, run};

/// What the whole way says of a component: its package, then the compiler, then the linker.
fn refusal(path: &str) -> String {
    match guest_with(path, &Limits::default()) {
        Ok(_) => panic!("{path} was taken"),
        Err(refusal) => refusal,
    }
}

#[test]
fn components_that_are_refused() {
    for (program, part) in [
        (portreeve_test_artifacts::CORE_MODULE, "module"),
        (
            portreeve_test_artifacts::UNKNOWN_IMPORT,
            "foo:bar/baz@1.0.0",
        ),
        (portreeve_test_artifacts::MANY_EXPORTS, "export"),
        (portreeve_test_artifacts::LONG_NAME, "name"),
        (portreeve_test_artifacts::NESTED_COMPONENTS, "levels"),
        // More than any setting of a limit allows.
        (portreeve_test_artifacts::MANY_INSTANCES, "200"),
        (portreeve_test_artifacts::HUGE_TABLE, "table"),
    ] {
        let refusal = refusal(program);
        assert!(refusal.contains(part), "{program}: {refusal}");
        assert!(refusal.len() < 2_000, "{program}: {} bytes", refusal.len());
    }
}

/// Types that are small in the file and large when written out are left out of the tools,
/// and the rest of the component works.
#[test]
fn types_that_explode_are_left_out() {
    for program in [
        portreeve_test_artifacts::EXPLODING_TYPE,
        portreeve_test_artifacts::NESTED_TYPE,
    ] {
        let guest =
            guest_with(program, &Limits::default()).unwrap_or_else(|e| panic!("{program}: {e}"));
        assert!(
            guest
                .package
                .surface
                .skipped
                .iter()
                .any(|(name, _)| name.contains("take")),
            "{program}"
        );
        assert!(
            guest.call("answer", serde_json::json!({})).result.is_ok(),
            "{program}"
        );
    }
}

/// Straight to the compiler, as if the examination had let them through.
#[test]
fn the_compiler_refuses_what_is_no_component() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(config(dir.path().to_owned())).unwrap();
    let good = std::fs::read(portreeve_test_artifacts::ECHO).unwrap();
    let mut cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\0asm".to_vec(),
        b"(component)".to_vec(),
        vec![0xff; 10_000],
        good.iter().rev().copied().collect(),
    ];
    cases.extend([10, 100, good.len() / 2, good.len() - 1].map(|cut| good[..cut].to_vec()));
    for bytes in cases {
        let length = bytes.len();
        let digest = Digest::of(&bytes);
        let load = runtime.load(
            digest.as_bytes(),
            Limits::default().stack,
            move || Ok(bytes),
            &|_| {},
        );
        match run(load) {
            Err(Error::Compile(why)) => assert!(!why.is_empty()),
            other => panic!("{length} bytes: {:?}", other.err()),
        }
    }
}

/// Random changes of a good component: refused, or taken and then run within its limits.
/// Never a panic, a hang or a crash of the host.
#[test]
fn mutated_components() {
    let good = std::fs::read(portreeve_test_artifacts::TABLE_GROW).unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let tight = Limits {
        fuel: 10_000_000,
        timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(config(dir.path().to_owned())).unwrap();
    for _ in 0..60 {
        let mut bytes = good.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        let Ok(package) = Package::read(&bytes, "mutated", &IntakeLimits::default()) else {
            continue;
        };
        let digest = Digest::of(&bytes);
        let loaded = run(runtime.load(digest.as_bytes(), tight.stack, move || Ok(bytes), &|_| {}));
        if let Ok(template) = loaded {
            let guest = Guest { template, package };
            // It may do anything but outlive its limits.
            let _ = guest.call_within("grow", serde_json::json!({"elements": 1}), &tight);
        }
    }
}
