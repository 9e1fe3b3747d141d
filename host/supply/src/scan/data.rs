//! What data is, rather than what it says: packed, encoded, or a program of another system.

use std::sync::OnceLock;

use aho_corasick::AhoCorasick;

use super::parts::Part;
use crate::finding::{Finding, Findings, rules};

/// Bytes whose entropy is measured together. Random ones have 7.95 bits a byte in so many.
const WINDOW: usize = 4 << 10;

/// The entropy from which on they are taken for packed, in bits a byte: what deflate makes
/// has 7.85 and more, tables of numbers and machine code have less than 7.5.
const PACKED_BITS: f64 = 7.8;

/// Packed bytes in a row that are worth a look: keys and tables of ciphers have less.
const PACKED_BYTES_MIN: usize = 16 << 10;

/// Characters of base64 in a row that are worth a look: certificates and icons have less.
const ENCODED_BYTES_MIN: usize = 8 << 10;

/// Programs that are looked at in one part: the two bytes that they begin with are common.
const PROGRAMS_MAX: usize = 4_096;

/// Looks at a part.
pub(super) fn look(part: &Part<'_>, findings: &mut Findings) {
    packed(part, findings);
    encoded(part, findings);
    programs(part, findings);
}

fn packed(part: &Part<'_>, findings: &mut Findings) {
    let mut run = 0..0;
    let mut tell = |run: &std::ops::Range<usize>| {
        if run.len() >= PACKED_BYTES_MIN {
            let place = part.place(run.start, run.len());
            let what =
                format!("each {WINDOW} bytes have an entropy of {PACKED_BITS} bits a byte or more");
            findings.push(Finding::new(&rules::DATA_PACKED, place, what));
        }
    };
    for (number, window) in part.data.chunks_exact(WINDOW).enumerate() {
        let start = number.saturating_mul(WINDOW);
        if entropy(window) >= PACKED_BITS {
            if run.is_empty() {
                run = start..start;
            }
            run.end = start.saturating_add(WINDOW);
        } else {
            tell(&run);
            run = 0..0;
        }
    }
    tell(&run);
}

/// Shannon's entropy, in bits a byte.
pub(super) fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let all = bytes.len() as f64;
    let bits = counts.iter().filter(|count| **count > 0).map(|count| {
        let share = f64::from(*count) / all;
        -share * share.log2()
    });
    bits.sum()
}

fn encoded(part: &Part<'_>, findings: &mut Findings) {
    let mut from: usize = 0;
    let runs = part.data.split(|byte| !is_base64(*byte));
    for run in runs {
        let start = from;
        from = start.saturating_add(run.len()).saturating_add(1);
        if run.len() < ENCODED_BYTES_MIN {
            continue;
        }
        // Words that run into each other have few capitals and digits.
        let share =
            |is: fn(&u8) -> bool| run.iter().filter(|byte| is(byte)).count() * 20 > run.len();
        if share(u8::is_ascii_uppercase)
            && share(u8::is_ascii_lowercase)
            && share(u8::is_ascii_digit)
        {
            let place = part.place(start, run.len());
            let what = format!("{} characters of base64 in a row", run.len());
            findings.push(Finding::new(&rules::DATA_ENCODED, place, what));
        }
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// What programs begin with, or in the case of Windows have after their first header.
const PROGRAMS: [(&[u8], &str); 6] = [
    (b"\x7fELF", "Linux (ELF)"),
    (b"PE\0\0", "Windows (PE)"),
    (b"\xcf\xfa\xed\xfe", "macOS (Mach-O)"),
    (b"\xca\xfe\xba\xbe", "Java (class)"),
    (b"\0asm\x01\0\0\0", "WebAssembly (module)"),
    (b"\0asm\x0d\0\x01\0", "WebAssembly (component)"),
];

fn programs(part: &Part<'_>, findings: &mut Findings) {
    static BEGINS: OnceLock<Option<AhoCorasick>> = OnceLock::new();
    let begins =
        BEGINS.get_or_init(|| AhoCorasick::new(PROGRAMS.iter().map(|(begin, _)| begin)).ok());
    let Some(begins) = begins else {
        return;
    };
    for begin in begins.find_iter(part.data).take(PROGRAMS_MAX) {
        let program = part.data.get(begin.start()..).unwrap_or_default();
        let before = part.data.get(..begin.start()).unwrap_or_default();
        if is_program(before, program)
            && let Some((_, what)) = PROGRAMS.get(begin.pattern().as_usize())
        {
            let place = part.place(begin.start(), program.len());
            let what = format!("the head of a program for {what}");
            findings.push(Finding::new(&rules::PROGRAM_EMBEDDED, place, what));
        }
    }
}

/// Whether a head goes on as such heads do.
fn is_program(before: &[u8], program: &[u8]) -> bool {
    match program {
        // 32 or 64 bits, an order of bytes, version 1; a kind of program, 1 to 4.
        [
            0x7f,
            b'E',
            b'L',
            b'F',
            1 | 2,
            1 | 2,
            1,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            kind,
            other,
            ..,
        ] => {
            matches!((kind, other), (1..=4, 0) | (0, 1..=4))
        }
        // A kind of machine (x86, x86-64, ARM64), and before it a head that points here.
        [b'P', b'E', 0, 0, machine, machine_2, ..] => {
            let known = matches!(
                (machine, machine_2),
                (0x4c, 0x01) | (0x64, 0x86) | (0x64, 0xaa)
            );
            known && points_here(before)
        }
        // x86-64 or ARM64, a kind of file, 1 to 12.
        [
            0xcf,
            0xfa,
            0xed,
            0xfe,
            7 | 12,
            0,
            0,
            1,
            _,
            _,
            _,
            _,
            1..=12,
            0,
            0,
            0,
            ..,
        ] => true,
        // Versions of Java's class files, 45 to 90.
        [0xca, 0xfe, 0xba, 0xbe, 0, _, 0, 45..=90, ..] => true,
        // A first section, which fits into the rest.
        [0, b'a', b's', b'm', _, 0, _, 0, 0..=13, rest @ ..] => {
            let mut reader = wasmparser::BinaryReader::new(rest, 0);
            let size = reader.read_var_u32().unwrap_or_default() as usize;
            size > 0 && size <= rest.len()
        }
        _ => false,
    }
}

/// Whether `MZ` stands where the head of a Windows program would that points to its end.
fn points_here(before: &[u8]) -> bool {
    /// Where such a head says how far it is to the next one.
    const POINTER: usize = 0x3c;
    /// Heads of today are 64 to 512 bytes away.
    const BEFORE_MAX: usize = 1 << 10;
    let near = before
        .get(before.len().saturating_sub(BEFORE_MAX)..)
        .unwrap_or_default();
    memchr::memmem::find_iter(near, b"MZ").any(|start| {
        let distance = near.len() - start;
        let pointer = near
            .get(start + POINTER..)
            .and_then(|rest| rest.first_chunk::<4>());
        pointer.is_some_and(|pointer| u32::from_le_bytes(*pointer) as usize == distance)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropies() {
        assert_eq!(entropy(&[7; 4096]), 0.0);
        let all: Vec<u8> = (0..=255).cycle().take(4096).collect();
        assert_eq!(entropy(&all), 8.0);
        let text = b"the quick brown fox jumps over the lazy dog ".repeat(100);
        assert!(entropy(&text[..4096]) < 4.5);
    }
}
