//! A bare component: plain functions over every type, as a host that doesn't know
//! Portreeve would call them.

#![cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "not exported"))]

mod bindings {
    wit_bindgen::generate!({
        path: "wit/values",
        world: "values",
        additional_derives: [PartialEq],
    });
}

use bindings::exports::portreeve_test::values::roundtrip::{
    Access, Colour, Guest as Roundtrip, Many, Point, Route, Shape,
};

struct Program;

impl bindings::Guest for Program {
    fn add(left: i32, right: i32) -> i32 {
        left.wrapping_add(right)
    }

    fn greet(name: String, loud: Option<bool>) -> String {
        let greeting = format!("Hello, {name}!");
        if loud.unwrap_or_default() {
            greeting.to_uppercase()
        } else {
            greeting
        }
    }
}

/// Functions that return what they are given.
macro_rules! returning {
    ($($function:ident: $type:ty),* $(,)?) => {
        $(fn $function(value: $type) -> $type {
            value
        })*
    };
}

impl Roundtrip for Program {
    returning! {
        of_bool: bool,
        of_u8: u8,
        of_s8: i8,
        of_u16: u16,
        of_s16: i16,
        of_u32: u32,
        of_s32: i32,
        of_u64: u64,
        of_s64: i64,
        of_f32: f32,
        of_f64: f64,
        of_char: char,
        of_string: String,
        of_list: Vec<u16>,
        of_bytes: Vec<u8>,
        of_nested_list: Vec<Vec<String>>,
        of_record: Point,
        of_nested_record: Route,
        of_tuple: (u8, String, bool),
        of_variant: Shape,
        of_enum: Colour,
        of_flags: Access,
        of_many_flags: Many,
        of_option: Option<u32>,
        of_nested_option: Option<Option<String>>,
        of_map: Vec<(String, u32)>,
    }

    fn of_result(value: Result<u32, String>) -> (Result<u32, String>,) {
        (value,)
    }

    fn of_empty_result(value: Result<(), ()>) -> Vec<Result<(), ()>> {
        vec![value]
    }

    fn several(first: String, second: Option<u8>, third: Option<bool>) -> String {
        format!("{first} {second:?} {third:?}")
    }

    fn nothing() {}

    fn consume(_value: String) {}

    fn extremes() -> (u64, i64) {
        (u64::MAX, i64::MIN)
    }

    fn specials() -> Vec<f64> {
        vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]
    }

    fn top_result(fail: bool, value: u32) -> Result<u32, String> {
        if fail {
            Err(format!("failed with {value}"))
        } else {
            Ok(value)
        }
    }

    fn top_result_of_records(fail: bool, value: Point) -> Result<Point, Point> {
        if fail { Err(value) } else { Ok(value) }
    }

    fn top_result_of_nothing(fail: bool) -> Result<(), ()> {
        if fail { Err(()) } else { Ok(()) }
    }

    fn big(bytes: u32) -> String {
        "x".repeat(bytes as usize)
    }

    fn many_lists(count: u32) -> Vec<Vec<u8>> {
        vec![Vec::new(); count as usize]
    }

    fn spin() {
        loop {
            std::hint::spin_loop();
        }
    }

    fn trap() {
        std::process::abort()
    }
}

#[cfg(target_family = "wasm")]
bindings::export!(Program with_types_in bindings);
