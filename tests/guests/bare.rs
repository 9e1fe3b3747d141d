//! Components that know nothing of Portreeve: their plain functions, called with JSON.

use portreeve_manifest::limits::Limits;
use portreeve_manifest::size::ByteSize;
use portreeve_runtime::{ErrorCode, Origin};
use portreeve_supply::Tools;
use serde_json::{Value, json};

use crate::support::{Guest, guest, limit_of, none, text};

/// The tool of the function `name` in the interface `roundtrip`.
fn tool(guest: &Guest, name: &str) -> String {
    let Tools::Bare(functions) = &guest.package.tools else {
        panic!("it is bare");
    };
    functions
        .iter()
        .find(|function| function.export.function == name)
        .unwrap_or_else(|| panic!("no function {name}"))
        .tool
        .name
        .clone()
}

/// What the function answers, as JSON.
fn answer(guest: &Guest, name: &str, arguments: Value) -> Value {
    let outcome = guest.call(&tool(guest, name), arguments).result.unwrap();
    assert!(!outcome.is_error);
    Value::Object(outcome.structured.unwrap())
}

#[test]
fn every_type_there_and_back() {
    let bare = guest(portreeve_test_artifacts::BARE_VALUES);
    for (function, value) in [
        ("of-bool", json!(true)),
        ("of-u8", json!(255)),
        ("of-s8", json!(-128)),
        ("of-u16", json!(65535)),
        ("of-s16", json!(-32768)),
        ("of-u32", json!(4294967295_u32)),
        ("of-s32", json!(-2147483648)),
        ("of-u64", json!("18446744073709551615")),
        ("of-u64", json!(9007199254740991_u64)),
        ("of-s64", json!("-9223372036854775808")),
        ("of-f32", json!(0.1)),
        ("of-f64", json!(-2.5e-300)),
        ("of-f64", json!("Infinity")),
        ("of-char", json!("🦀")),
        ("of-string", json!("é\u{0}\u{1F980}")),
        ("of-option", json!(null)),
    ] {
        let back = answer(&bare, function, json!({"value": value}));
        assert_eq!(back, json!({"result": value}), "{function}");
    }
}

/// Every value that a function's own schema is made for is taken and comes back.
#[test]
fn schemas_say_what_is_taken() {
    let bare = guest(portreeve_test_artifacts::BARE_VALUES);
    let Tools::Bare(functions) = &bare.package.tools else {
        panic!("it is bare");
    };
    let mut round_trips = 0;
    for function in functions {
        let [(name, ty)] = function.params.as_slice() else {
            continue;
        };
        if function.result.as_ref() != Some(ty) {
            continue;
        }
        for value in samples(ty) {
            let arguments = json!({name: value});
            let finished = bare.call(&function.tool.name, arguments.clone());
            let outcome = finished
                .result
                .unwrap_or_else(|error| panic!("{} {arguments}: {error}", function.tool.name));
            let schema = Value::Object(function.tool.output_schema.clone().unwrap());
            let structured = Value::Object(outcome.structured.unwrap());
            assert!(
                jsonschema::is_valid(&schema, &structured),
                "{} {structured}",
                function.tool.name
            );
            round_trips += 1;
        }
    }
    assert!(round_trips > 30, "{round_trips}");
}

/// Some values of a type.
fn samples(ty: &portreeve_manifest::wit_type::WitType) -> Vec<Value> {
    use portreeve_manifest::wit_type::WitType as T;
    match ty {
        T::Bool => vec![json!(true), json!(false)],
        T::S8 | T::S16 | T::S32 | T::S64 => vec![json!(-1), json!(7)],
        T::U8 | T::U16 | T::U32 | T::U64 => vec![json!(0), json!(7)],
        T::F32 | T::F64 => vec![json!(1.5), json!("NaN")],
        T::Char => vec![json!("é")],
        T::String => vec![json!(""), json!("text")],
        T::List(item) => vec![json!([]), Value::Array(samples(item))],
        T::Record(fields) => {
            let first = |ty| samples(ty).into_iter().next().unwrap();
            let last = |ty| samples(ty).into_iter().last().unwrap();
            vec![
                fields
                    .iter()
                    .map(|f| (f.name.clone(), first(&f.ty)))
                    .collect(),
                fields
                    .iter()
                    .map(|f| (f.name.clone(), last(&f.ty)))
                    .collect(),
            ]
        }
        T::Tuple(types) => vec![types.iter().map(|ty| samples(ty).remove(0)).collect()],
        T::Variant(cases) => cases
            .iter()
            .flat_map(|case| match &case.ty {
                None => vec![json!(case.name)],
                Some(ty) => samples(ty)
                    .into_iter()
                    .map(|v| json!({case.name.as_str(): v}))
                    .collect(),
            })
            .collect(),
        T::Enum(names) => names.iter().map(|name| json!(name)).collect(),
        T::Flags(names) => vec![json!([]), json!(names)],
        T::Option(inner) if inner.accepts_null() => {
            let some = samples(inner)
                .into_iter()
                .map(|value| json!({"some": value}));
            some.chain([Value::Null]).collect()
        }
        T::Option(inner) => samples(inner).into_iter().chain([Value::Null]).collect(),
        T::Result { ok, err } => {
            let side = |name: &str, ty: &Option<Box<T>>| {
                let value = ty.as_ref().map_or(Value::Null, |ty| samples(ty).remove(0));
                json!({name: value})
            };
            vec![side("ok", ok), side("err", err)]
        }
    }
}

#[test]
fn several_parameters_of_which_some_are_optional() {
    let bare = guest(portreeve_test_artifacts::BARE_VALUES);
    let several = tool(&bare, "several");
    for arguments in [
        json!({"first": "a"}),
        json!({"first": "a", "third": true}),
        json!({"first": "a", "second": null, "third": null}),
    ] {
        assert!(!bare.call(&several, arguments).result.unwrap().is_error);
    }
    let error = bare.call(&several, none()).result.unwrap_err();
    assert_eq!(error.failure.code, ErrorCode::InvalidArgument);
    assert!(error.failure.message.contains("first"), "{error}");
    let error = bare.call(&several, json!({"frist": 1})).result.unwrap_err();
    assert!(error.failure.message.contains("`frist`"), "{error}");
}

#[test]
fn arguments_of_another_type_never_reach_the_guest() {
    let bare = guest(portreeve_test_artifacts::BARE_VALUES);
    for (function, value) in [
        ("of-u8", json!(256)),
        ("of-u8", json!(-1)),
        ("of-u8", json!("1")),
        ("of-bool", json!(1)),
        ("of-char", json!("ab")),
        ("of-u64", json!(18446744073709551615_u64)),
        ("of-string", json!(null)),
    ] {
        let finished = bare.call(&tool(&bare, function), json!({"value": value}));
        assert_eq!(finished.usage.fuel, 0, "{function}");
        let error = finished.result.unwrap_err();
        assert_eq!(error.origin, Origin::Host, "{function}");
        assert_eq!(error.failure.code, ErrorCode::InvalidArgument, "{function}");
        assert!(error.failure.message.starts_with("value: "), "{error}");
    }
}

#[test]
fn an_err_is_an_error_of_the_tool() {
    let bare = guest(portreeve_test_artifacts::BARE_VALUES);
    let call = |fail: bool| {
        let arguments = json!({"fail": fail, "value": 7});
        bare.call(&tool(&bare, "top-result"), arguments)
            .result
            .unwrap()
    };
    let fine = call(false);
    assert!(!fine.is_error);
    assert_eq!(fine.structured.unwrap()["result"], json!(7));
    let failed = call(true);
    assert!(failed.is_error && failed.structured.is_none());
    let nothing = tool(&bare, "top-result-of-nothing");
    let fine = bare.call(&nothing, json!({"fail": false})).result.unwrap();
    assert!(!fine.is_error);
    assert!(
        bare.call(&nothing, json!({"fail": true}))
            .result
            .unwrap()
            .is_error
    );
}

#[test]
fn limits_hold_for_bare_components_too() {
    let bare = guest(portreeve_test_artifacts::BARE_VALUES);
    let tight = Limits {
        fuel: 50_000_000,
        result: ByteSize::kib(10),
        ..Limits::default()
    };
    assert_eq!(
        limit_of(&bare.call_within(&tool(&bare, "spin"), none(), &tight)).setting,
        "fuel"
    );
    let big = bare.call_within(&tool(&bare, "big"), json!({"bytes": 100_000}), &tight);
    assert_eq!(limit_of(&big).setting, "result");
    let lists = bare.call_within(
        &tool(&bare, "many-lists"),
        json!({"count": 100_000}),
        &tight,
    );
    assert_eq!(limit_of(&lists).setting, "result");
    let trap = bare.call(&tool(&bare, "trap"), none()).result.unwrap_err();
    assert_eq!(trap.failure.reason, "plugin-trapped");
}

#[test]
fn what_can_not_be_offered_is_named_and_the_rest_works() {
    let inventory = guest(portreeve_test_artifacts::BARE_INVENTORY);
    assert_eq!(
        answer(&inventory, "capacity", none()),
        json!({"result": 12})
    );
    let skipped: Vec<_> = inventory
        .package
        .surface
        .skipped
        .iter()
        .map(|(name, _)| name)
        .collect();
    for name in ["open", "count", "stack"] {
        assert!(
            skipped.iter().any(|skipped| skipped.contains(name)),
            "{skipped:?}"
        );
    }
}

#[test]
fn documentation_becomes_descriptions() {
    let documented = guest(portreeve_test_artifacts::BARE_DOCUMENTED);
    let Tools::Bare(functions) = &documented.package.tools else {
        panic!("it is bare");
    };
    let described = functions
        .iter()
        .filter(|f| f.tool.description.is_some())
        .count();
    assert!(described > 10, "{described} of {}", functions.len());
    let Tools::Bare(plain) = guest(portreeve_test_artifacts::BARE_VALUES).package.tools else {
        panic!("it is bare");
    };
    assert!(
        plain.iter().all(|f| f.tool.description.is_none()),
        "the same without documentation"
    );
}

/// Values that break the component model's rules: a pointer outside of memory, text that is
/// no UTF-8, numbers that are no character or case.
#[test]
fn values_that_break_the_rules() {
    let bad = guest(portreeve_test_artifacts::BAD_VALUES);
    for name in [
        "out-of-bounds",
        "invalid-utf8",
        "invalid-char",
        "invalid-case",
    ] {
        let error = bad.call(name, none()).result.unwrap_err();
        assert_eq!(error.origin, Origin::Plugin, "{name}");
    }
    // A list of 2^30 things that take no room in the guest, and one that takes much more in
    // the host than in the guest.
    for name in ["many-empty", "amplified"] {
        let finished = bad.call(name, none());
        assert_eq!(limit_of(&finished).setting, "result", "{name}");
    }
    let data = guest(portreeve_test_artifacts::DATA_SEGMENTS);
    assert_eq!(text(&data.call("last", none()).result.unwrap()), "42");
}

#[test]
fn a_component_that_fails_before_it_is_called() {
    for (program, part) in [
        (portreeve_test_artifacts::START_TRAPS, "plugin-trapped"),
        (
            portreeve_test_artifacts::DATA_OUT_OF_BOUNDS,
            "plugin-trapped",
        ),
        (portreeve_test_artifacts::START_SPINS, "limit-fuel"),
    ] {
        let fails = guest(program);
        let tight = Limits {
            fuel: 50_000_000,
            ..Limits::default()
        };
        let error = fails
            .call_within("answer", none(), &tight)
            .result
            .unwrap_err();
        assert_eq!(error.failure.reason, part, "{program}: {error}");
    }
}
