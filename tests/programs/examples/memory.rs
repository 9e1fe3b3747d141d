//! Takes memory.

use std::hint::black_box;

use portreeve_test_programs::{Answer, ErrorCode, failure, json, structured, text, tools};

const MIB: usize = 1 << 20;

tools! {
    /// Allocates without end, and gives up as Rust programs do: by aborting.
    fn hog() -> Answer {
        let mut chunks = Vec::new();
        loop {
            chunks.push(black_box(vec![1_u8; MIB]));
        }
    }

    /// Allocates until refused, and answers with the MiB it got.
    fn hog_politely() -> Answer {
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut chunk = Vec::new();
            if chunks.try_reserve(1).is_err() || chunk.try_reserve_exact(MIB).is_err() {
                return Ok(structured(json!({"mib": chunks.len()})));
            }
            chunk.resize(MIB, 1);
            chunks.push(black_box(chunk));
        }
    }

    /// Writes to `mib` MiB of new memory, keeps them and answers `touched`.
    fn touch(mib: u64) -> Answer {
        let bytes = usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(MIB);
        std::mem::forget(black_box(vec![1_u8; bytes]));
        Ok(text("touched"))
    }

    /// Grows the memory by `pages` pages of 64 KiB without touching them, and answers with
    /// the pages that there were before. A `quota-exceeded` failure when it is refused.
    fn grow(pages: u64) -> Answer {
        match memory_grow(usize::try_from(pages).unwrap_or(usize::MAX)) {
            usize::MAX => Err(failure(ErrorCode::QuotaExceeded, "memory.grow was refused")),
            before => Ok(structured(json!({"pages_before": before}))),
        }
    }
}

#[cfg(target_arch = "wasm32")]
fn memory_grow(pages: usize) -> usize {
    core::arch::wasm32::memory_grow::<0>(pages)
}

#[cfg(not(target_arch = "wasm32"))]
fn memory_grow(_pages: usize) -> usize {
    usize::MAX
}
