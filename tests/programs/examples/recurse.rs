//! Recurses without end.

use std::hint::black_box;

use portreeve_test_programs::{Answer, text, tools};

tools! {
    /// Recurses with next to nothing in linear memory: the native stack runs out.
    fn native_stack() -> Answer {
        Ok(text(down(black_box(1)).to_string()))
    }

    /// Recurses with 4 KiB a frame in linear memory: the guest's own stack runs out.
    fn shadow_stack() -> Answer {
        Ok(text(down_with_array(black_box(1)).to_string()))
    }

    /// Recurses `depth` times, and answers `back`.
    fn depth(depth: u64) -> Answer {
        black_box(up_to(black_box(depth)));
        Ok(text("back"))
    }
}

/// Zero is never reached before the stack's end; the black boxes keep it from being a loop.
#[inline(never)]
fn down(n: u64) -> u64 {
    if black_box(n) == 0 {
        return 1;
    }
    black_box(down(n.wrapping_add(1))).wrapping_add(n)
}

#[inline(never)]
fn down_with_array(n: u64) -> u64 {
    let mut array = [n; 512];
    if black_box(&mut array)[0] == 0 {
        return 1;
    }
    black_box(down_with_array(n.wrapping_add(1))).wrapping_add(array[511])
}

#[inline(never)]
fn up_to(n: u64) -> u64 {
    if black_box(n) == 0 {
        return 1;
    }
    black_box(up_to(n - 1)).wrapping_add(n)
}
