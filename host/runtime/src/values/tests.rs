use expect_test::expect;
use portreeve_manifest::wit_type::{Case, Field};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn list(item: WitType) -> WitType {
    WitType::List(Box::new(item))
}

fn option(inner: WitType) -> WitType {
    WitType::Option(Box::new(inner))
}

fn field(name: &str, ty: WitType) -> Field {
    Field {
        name: name.to_owned(),
        ty,
        docs: None,
    }
}

fn case(name: &str, ty: Option<WitType>) -> Case {
    Case {
        name: name.to_owned(),
        ty,
        docs: None,
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// There and back gives the same.
#[test]
fn values_go_there_and_back() {
    let shape = WitType::Variant(vec![case("none", None), case("side", Some(WitType::F64))]);
    let record = WitType::Record(vec![
        field("name", WitType::String),
        field("age", option(WitType::U8)),
    ]);
    for (ty, value) in [
        (WitType::Bool, json!(true)),
        (WitType::S8, json!(-128)),
        (WitType::U8, json!(255)),
        (WitType::S16, json!(-32768)),
        (WitType::U16, json!(65535)),
        (WitType::S32, json!(i32::MIN)),
        (WitType::U32, json!(u32::MAX)),
        (WitType::S64, json!(-9007199254740991_i64)),
        (WitType::S64, json!("-9223372036854775808")),
        (WitType::U64, json!(9007199254740991_u64)),
        (WitType::U64, json!("18446744073709551615")),
        (WitType::F32, json!(0.1)),
        (WitType::F64, json!(-1.5e300)),
        (WitType::F64, json!("NaN")),
        (WitType::F64, json!("-Infinity")),
        (WitType::Char, json!("é")),
        (WitType::Char, json!("🦀")),
        (WitType::String, json!("a\u{0}b")),
        (list(WitType::U8), json!([0, 1, 255])),
        (
            WitType::Tuple(vec![WitType::Bool, WitType::String]),
            json!([true, "x"]),
        ),
        (record.clone(), json!({"name": "n", "age": 3})),
        (record, json!({"name": "n", "age": null})),
        (shape.clone(), json!("none")),
        (shape, json!({"side": 2.5})),
        (WitType::Enum(names(&["a", "b"])), json!("b")),
        (WitType::Flags(names(&["r", "w"])), json!(["w"])),
        (option(WitType::Bool), json!(null)),
        (option(option(WitType::Bool)), json!({"some": null})),
        (option(option(WitType::Bool)), json!({"some": true})),
        (option(option(WitType::Bool)), json!(null)),
        (
            WitType::Result {
                ok: Some(Box::new(WitType::U8)),
                err: None,
            },
            json!({"ok": 1}),
        ),
        (
            WitType::Result {
                ok: Some(Box::new(WitType::U8)),
                err: None,
            },
            json!({"err": null}),
        ),
    ] {
        let val = to_val(&ty, &value).unwrap_or_else(|error| panic!("{ty:?}: {error}"));
        assert_eq!(from_val(&ty, &val).unwrap(), value, "{ty:?}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    let params = vec![
        (
            "items".to_owned(),
            list(WitType::Record(vec![
                field("id", WitType::U8),
                field("kind", WitType::Enum(names(&["a", "b"]))),
            ])),
        ),
        ("note".to_owned(), option(WitType::String)),
        ("big".to_owned(), option(WitType::U64)),
        ("c".to_owned(), option(WitType::Char)),
        ("f".to_owned(), option(WitType::F32)),
        (
            "v".to_owned(),
            option(WitType::Variant(vec![
                case("x", None),
                case("y", Some(WitType::U8)),
            ])),
        ),
        (
            "flags".to_owned(),
            option(WitType::Flags(names(&["r", "w"]))),
        ),
        (
            "pair".to_owned(),
            option(WitType::Tuple(vec![WitType::U8, WitType::U8])),
        ),
    ];
    let told: String = [
        json!([]),
        json!({}),
        json!({"items": [], "nots": 1}),
        json!({"items": [{"id": 256, "kind": "a"}]}),
        json!({"items": [{"id": 1, "kind": "c"}]}),
        json!({"items": [{"id": 1}]}),
        json!({"items": [{"id": 1, "kind": "a", "more": 0}]}),
        json!({"items": [{"id": 1.5, "kind": "a"}]}),
        json!({"items": [], "big": 9007199254740992_u64}),
        json!({"items": [], "big": "18446744073709551616"}),
        json!({"items": [], "big": "+1"}),
        json!({"items": [], "big": -1}),
        json!({"items": [], "c": "ab"}),
        json!({"items": [], "c": ""}),
        json!({"items": [], "f": 1e39}),
        json!({"items": [], "f": "inf"}),
        json!({"items": [], "v": "y"}),
        json!({"items": [], "v": {"x": 1}}),
        json!({"items": [], "v": {"x": 1, "y": 1}}),
        json!({"items": [], "flags": ["r", "r"]}),
        json!({"items": [], "flags": "r"}),
        json!({"items": [], "pair": [1]}),
        json!({"items": [], "note": "é".repeat(100).repeat(2).chars().map(|_| 1).collect::<Vec<u8>>()}),
    ]
    .iter()
    .map(|value| match super::arguments(&params, value) {
        Ok(_) => format!("accepted: {value}\n"),
        Err(error) => format!("{}\n", error.failure.message),
    })
    .collect();
    expect![[r#"
        the arguments: it must be an object, but is []
        items: it is required, but missing
        the arguments: there is no `nots`; known are "items", "note", "big", "c", "f", "v", "flags", "pair"
        items[0].id: it must be an integer in 0..255, but is 256
        items[0].kind: it must be one of "a", "b", but is "c"
        items[0].kind: it is required, but missing
        items[0]: there is no `more`; known are "id", "kind"
        items[0].id: it must be an integer in 0..255, but is 1.5
        big: it must be an integer in 0..18446744073709551615, beyond ±9007199254740991 as decimal text, but is 9007199254740992
        big: it must be an integer in 0..18446744073709551615, beyond ±9007199254740991 as decimal text, but is "18446744073709551616"
        big: it must be an integer in 0..18446744073709551615, beyond ±9007199254740991 as decimal text, but is "+1"
        big: it must be an integer in 0..18446744073709551615, beyond ±9007199254740991 as decimal text, but is -1
        c: it must be a string of one character, but is "ab"
        c: it must be a string of one character, but is ""
        f: it must be a number that 32 bits can hold, but is 1e+39
        f: it must be a number, "NaN", "Infinity" or "-Infinity", but is "inf"
        v: it must be {"y": payload}, but is "y"
        v: it must be "x" without payload, but is {"x":1}
        v: it must be "case" or {"case": payload}, but is {"x":1,"y":1}
        flags[1]: "r" stands there twice
        flags: it must be an array, but is "r"
        pair: it must be an array of 2 values, but is [1]
        note: it must be a string, but is [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1…
    "#]]
    .assert_eq(&told);
}

fn types() -> impl Strategy<Value = WitType> {
    let leaf = prop_oneof![
        Just(WitType::Bool),
        Just(WitType::S8),
        Just(WitType::U32),
        Just(WitType::S64),
        Just(WitType::U64),
        Just(WitType::F32),
        Just(WitType::F64),
        Just(WitType::Char),
        Just(WitType::String),
        Just(WitType::Enum(names(&["a", "b", "c"]))),
        Just(WitType::Flags(names(&["r", "w", "x"]))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed.clone().prop_map(WitType::List),
            boxed.clone().prop_map(WitType::Option),
            prop::collection::vec(inner.clone(), 0..3).prop_map(WitType::Tuple),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|types| WitType::Record(
                types
                    .into_iter()
                    .enumerate()
                    .map(|(i, ty)| field(&format!("f{i}"), ty))
                    .collect()
            )),
            prop::collection::vec(prop::option::of(inner), 1..3).prop_map(|types| {
                WitType::Variant(
                    types
                        .into_iter()
                        .enumerate()
                        .map(|(i, ty)| case(&format!("c{i}"), ty))
                        .collect(),
                )
            }),
            (prop::option::of(boxed.clone()), prop::option::of(boxed))
                .prop_map(|(ok, err)| WitType::Result { ok, err }),
        ]
    })
}

/// JSON that often, but not always, is of the kind that some type wants.
fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(1.0)),
        Just(json!(9007199254740991_i64)),
        Just(json!(-9007199254740992_i64)),
        any::<u64>().prop_map(|n| Value::from(n.to_string())),
        any::<char>().prop_map(|c| Value::from(c.to_string())),
        prop::sample::select(vec!["a", "c", "r", "NaN", "c0", "", "-0", "00"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(
                prop::sample::select(vec!["f0", "f1", "c0", "c1", "ok", "err", "some"])
                    .prop_map(str::to_owned),
                inner,
                0..3
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What the schema accepts the conversion accepts, and the other way round; and what is
    /// accepted comes back as something that the schema accepts too.
    #[test]
    fn schema_and_conversion_agree(ty in types(), value in json_values()) {
        let schema = jsonschema::validator_for(&ty.schema()).unwrap();
        let converted = to_val(&ty, &value);
        // Numbers at the edge of a type's range are left to the conversion: a schema can't
        // say "fits 32 bits after rounding", nor bound decimal text by value.
        let edge = converted.as_ref().err().is_some_and(|error| {
            error.contains("32 bits") || error.contains("as decimal text")
        });
        if !edge {
            prop_assert_eq!(schema.is_valid(&value), converted.is_ok(), "{:?} {} {:?}", ty, value, converted);
        }
        if let Ok(val) = converted {
            let back = from_val(&ty, &val).unwrap();
            prop_assert!(schema.is_valid(&back), "{back}");
            let again = to_val(&ty, &back).unwrap();
            prop_assert_eq!(from_val(&ty, &again).unwrap(), back);
        }
    }
}
