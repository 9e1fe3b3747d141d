//! JSON ↔ component values: any JSON for any type is converted or refused, what is converted
//! comes back, and the second round trip changes nothing.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use portreeve_manifest::json::{self, JsonLimits};
use portreeve_manifest::wit_type::{Case, Field, WitType};
use portreeve_runtime::values::{from_val, to_val};

/// Deepest type that is made.
const DEPTH_MAX: u32 = 5;

fn boxed(input: &mut Unstructured<'_>, depth: u32) -> Result<Box<WitType>> {
    ty(input, depth + 1).map(Box::new)
}

fn side(input: &mut Unstructured<'_>, depth: u32) -> Result<Option<Box<WitType>>> {
    input
        .arbitrary::<bool>()?
        .then(|| boxed(input, depth))
        .transpose()
}

fn some<T>(
    input: &mut Unstructured<'_>,
    mut make: impl FnMut(&mut Unstructured<'_>, String) -> Result<T>,
) -> Result<Vec<T>> {
    let count = input.int_in_range(1..=4)?;
    (0..count)
        .map(|number| make(input, format!("n{number}")))
        .collect()
}

fn ty(input: &mut Unstructured<'_>, depth: u32) -> Result<WitType> {
    let kinds = if depth < DEPTH_MAX { 20 } else { 14 };
    Ok(match input.int_in_range(0..=kinds)? {
        0 => WitType::Bool,
        1 => WitType::S8,
        2 => WitType::U8,
        3 => WitType::S16,
        4 => WitType::U16,
        5 => WitType::S32,
        6 => WitType::U32,
        7 => WitType::S64,
        8 => WitType::U64,
        9 => WitType::F32,
        10 => WitType::F64,
        11 => WitType::Char,
        12 => WitType::String,
        13 => WitType::Enum(some(input, |_, name| Ok(name))?),
        14 => WitType::Flags(some(input, |_, name| Ok(name))?),
        15 => WitType::List(boxed(input, depth)?),
        16 => WitType::Option(boxed(input, depth)?),
        17 => WitType::Tuple(some(input, |input, _| ty(input, depth + 1))?),
        18 => WitType::Record(some(input, |input, name| {
            Ok(Field {
                name,
                ty: ty(input, depth + 1)?,
                docs: None,
            })
        })?),
        19 => WitType::Variant(some(input, |input, name| {
            Ok(Case {
                name,
                ty: side(input, depth)?.map(|ty| *ty),
                docs: None,
            })
        })?),
        _ => WitType::Result {
            ok: side(input, depth)?,
            err: side(input, depth)?,
        },
    })
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Unstructured::new(bytes);
    let Ok(ty) = ty(&mut input, 0) else { return };
    let Ok(text) = std::str::from_utf8(input.take_rest()) else {
        return;
    };
    let Ok(value) = json::parse(text, &JsonLimits::default()) else {
        return;
    };
    let Ok(val) = to_val(&ty, &value) else { return };
    let back = from_val(&ty, &val).expect("what was converted is of its type");
    let again = to_val(&ty, &back).expect("what comes back is taken again");
    assert_eq!(from_val(&ty, &again), Ok(back));
});
