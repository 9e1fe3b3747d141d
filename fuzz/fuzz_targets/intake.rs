//! Component intake: no bytes make it panic, hang, or take more than its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_manifest::size::ByteSize;
use portreeve_supply::{Digest, IntakeLimits, Package};

fuzz_target!(|bytes: &[u8]| {
    let limits = IntakeLimits {
        component: ByteSize::mib(1),
        ..IntakeLimits::default()
    };
    if let Ok(package) = Package::read(bytes, "fuzz", &limits) {
        assert_eq!(package.digest, Digest::of(bytes));
        assert_eq!(package.size, bytes.len() as u64);
    }
});
