use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::schema::compile;

fn field(name: &str, ty: WitType) -> Field {
    Field {
        name: name.into(),
        ty,
        docs: None,
    }
}

fn case(name: &str, ty: Option<WitType>) -> Case {
    Case {
        name: name.into(),
        ty,
        docs: None,
    }
}

/// Which of the values the type's schema accepts.
fn check(ty: WitType, values: &[&str], expected: Expect) {
    let validator = compile(&ty.schema()).unwrap();
    let shown: String = values
        .iter()
        .map(|text| {
            let value: Value = serde_json::from_str(text).unwrap();
            let verdict = if validator.is_valid(&value) {
                "yes"
            } else {
                "no"
            };
            format!("{verdict:3} {text}\n")
        })
        .collect();
    expected.assert_eq(&shown);
}

#[test]
fn schemas_are_strict() {
    check(
        WitType::U8,
        &["0", "255", "256", "-1", "1.5", "\"1\"", "null"],
        expect![[r#"
        yes 0
        yes 255
        no  256
        no  -1
        no  1.5
        no  "1"
        no  null
    "#]],
    );
    check(
        WitType::S32,
        &["-2147483648", "-2147483649", "2147483647"],
        expect![[r#"
        yes -2147483648
        no  -2147483649
        yes 2147483647
    "#]],
    );
    check(
        WitType::U64,
        &[
            "0",
            "9007199254740991",
            "9007199254740992",
            "-1",
            "\"18446744073709551615\"",
            "\"-1\"",
            "\"\"",
            "\"1e3\"",
        ],
        expect![[r#"
            yes 0
            yes 9007199254740991
            no  9007199254740992
            no  -1
            yes "18446744073709551615"
            no  "-1"
            no  ""
            no  "1e3"
        "#]],
    );
    check(
        WitType::S64,
        &[
            "-9007199254740991",
            "-9007199254740992",
            "\"-9223372036854775808\"",
            "\"--1\"",
        ],
        expect![[r#"
        yes -9007199254740991
        no  -9007199254740992
        yes "-9223372036854775808"
        no  "--1"
    "#]],
    );
    check(
        WitType::F64,
        &["1", "1.5", "\"NaN\"", "\"-Infinity\"", "\"nan\"", "null"],
        expect![[r#"
        yes 1
        yes 1.5
        yes "NaN"
        yes "-Infinity"
        no  "nan"
        no  null
    "#]],
    );
    check(
        WitType::Char,
        &["\"a\"", "\"é\"", "\"😀\"", "\"ab\"", "\"\""],
        expect![[r#"
        yes "a"
        yes "é"
        yes "😀"
        no  "ab"
        no  ""
    "#]],
    );
    check(
        WitType::Tuple(vec![WitType::Bool, WitType::String]),
        &[
            "[true, \"a\"]",
            "[true]",
            "[true, \"a\", 1]",
            "[\"a\", true]",
        ],
        expect![[r#"
            yes [true, "a"]
            no  [true]
            no  [true, "a", 1]
            no  ["a", true]
        "#]],
    );
    check(
        WitType::Enum(vec!["red".into(), "blue".into()]),
        &["\"red\"", "\"green\"", "0"],
        expect![[r#"
        yes "red"
        no  "green"
        no  0
    "#]],
    );
    check(
        WitType::Flags(vec!["read".into(), "write".into()]),
        &[
            "[]",
            "[\"write\", \"read\"]",
            "[\"read\", \"read\"]",
            "[\"run\"]",
        ],
        expect![[r#"
            yes []
            yes ["write", "read"]
            no  ["read", "read"]
            no  ["run"]
        "#]],
    );
}

#[test]
fn options_may_be_left_out() {
    let record = WitType::Record(vec![
        field("name", WitType::String),
        field("age", WitType::Option(Box::new(WitType::U8))),
    ]);
    check(
        record,
        &[
            "{\"name\": \"a\"}",
            "{\"name\": \"a\", \"age\": null}",
            "{\"name\": \"a\", \"age\": 3}",
            "{\"age\": 3}",
            "{\"name\": \"a\", \"Age\": 3}",
        ],
        expect![[r#"
            yes {"name": "a"}
            yes {"name": "a", "age": null}
            yes {"name": "a", "age": 3}
            no  {"age": 3}
            no  {"name": "a", "Age": 3}
        "#]],
    );
    let nested = WitType::Option(Box::new(WitType::Option(Box::new(WitType::Bool))));
    check(
        nested,
        &["null", "{\"some\": null}", "{\"some\": true}", "true", "{}"],
        expect![[r#"
        yes null
        yes {"some": null}
        yes {"some": true}
        no  true
        no  {}
    "#]],
    );
}

#[test]
fn variants_have_exactly_one_case() {
    let shape = WitType::Variant(vec![
        case("empty", None),
        case("circle", Some(WitType::F32)),
        case("label", Some(WitType::Option(Box::new(WitType::String)))),
    ]);
    check(
        shape,
        &[
            "\"empty\"",
            "{\"circle\": 1.5}",
            "{\"label\": null}",
            "\"circle\"",
            "{\"empty\": null}",
            "{\"circle\": 1, \"label\": null}",
            "{}",
        ],
        expect![[r#"
            yes "empty"
            yes {"circle": 1.5}
            yes {"label": null}
            no  "circle"
            no  {"empty": null}
            no  {"circle": 1, "label": null}
            no  {}
        "#]],
    );
    let result = WitType::Result {
        ok: None,
        err: Some(Box::new(WitType::String)),
    };
    check(
        result,
        &[
            "{\"ok\": null}",
            "{\"err\": \"no\"}",
            "{\"ok\": 1}",
            "{\"ok\": null, \"err\": \"no\"}",
            "null",
        ],
        expect![[r#"
        yes {"ok": null}
        yes {"err": "no"}
        no  {"ok": 1}
        no  {"ok": null, "err": "no"}
        no  null
    "#]],
    );
}

#[test]
fn a_function_becomes_a_tool() {
    let export = ExportRef {
        interface: Some("acme:math/calc@1.0.0".into()),
        function: "divide".into(),
    };
    let params = vec![
        ("a".into(), WitType::S32),
        ("precision".into(), WitType::Option(Box::new(WitType::U8))),
    ];
    let result = WitType::Result {
        ok: Some(Box::new(WitType::F64)),
        err: Some(Box::new(WitType::String)),
    };
    let function = BareFunction::new("divide", Some(" Divides.\n"), export, params, Some(result));
    function.tool.check().unwrap();
    expect![[r#"
        {
          "name": "divide",
          "description": "Divides.",
          "inputSchema": {
            "additionalProperties": false,
            "properties": {
              "a": {
                "maximum": 2147483647,
                "minimum": -2147483648,
                "type": "integer"
              },
              "precision": {
                "oneOf": [
                  {
                    "maximum": 255,
                    "minimum": 0,
                    "type": "integer"
                  },
                  {
                    "type": "null"
                  }
                ]
              }
            },
            "required": [
              "a"
            ],
            "type": "object"
          },
          "outputSchema": {
            "additionalProperties": false,
            "properties": {
              "result": {
                "anyOf": [
                  {
                    "type": "number"
                  },
                  {
                    "enum": [
                      "NaN",
                      "Infinity",
                      "-Infinity"
                    ]
                  }
                ]
              }
            },
            "required": [
              "result"
            ],
            "type": "object"
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&function.tool).unwrap());
    // Packages keep it as JSON.
    let text = serde_json::to_string(&function).unwrap();
    assert_eq!(
        serde_json::from_str::<BareFunction>(&text).unwrap(),
        function
    );
}

#[test]
fn a_record_is_the_structured_answer_itself() {
    let record = WitType::Record(vec![field("sum", WitType::U32)]);
    let export = ExportRef {
        interface: None,
        function: "add".into(),
    };
    let function = BareFunction::new("add", None, export.clone(), vec![], Some(record.clone()));
    assert_eq!(
        Value::Object(function.tool.output_schema.unwrap()),
        record.schema()
    );
    let nothing = WitType::Result {
        ok: None,
        err: None,
    };
    let function = BareFunction::new("add", None, export, vec![], Some(nothing));
    assert_eq!(function.tool.output_schema, None);
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set("[a-z]{1,4}", 1..5).prop_map(|names| names.into_iter().collect())
}

fn any_type() -> impl Strategy<Value = WitType> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            WitType::Bool,
            WitType::S8,
            WitType::U8,
            WitType::S16,
            WitType::U16,
            WitType::S32,
            WitType::U32,
            WitType::S64,
            WitType::U64,
            WitType::F32,
            WitType::F64,
            WitType::Char,
            WitType::String,
        ]),
        names().prop_map(WitType::Enum),
        names().prop_map(WitType::Flags),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed.clone().prop_map(WitType::List),
            boxed.clone().prop_map(WitType::Option),
            prop::collection::vec(inner.clone(), 0..4).prop_map(WitType::Tuple),
            (names(), prop::collection::vec(inner.clone(), 5)).prop_map(|(names, types)| {
                WitType::Record(
                    names
                        .iter()
                        .zip(types)
                        .map(|(name, ty)| field(name, ty))
                        .collect(),
                )
            }),
            (names(), prop::collection::vec(prop::option::of(inner), 5)).prop_map(
                |(names, types)| {
                    WitType::Variant(
                        names
                            .iter()
                            .zip(types)
                            .map(|(name, ty)| case(name, ty))
                            .collect(),
                    )
                }
            ),
            (prop::option::of(boxed.clone()), prop::option::of(boxed))
                .prop_map(|(ok, err)| WitType::Result { ok, err }),
        ]
    })
}

/// A value of the type.
fn sample(ty: &WitType) -> Value {
    match ty {
        WitType::Bool => true.into(),
        WitType::S8 | WitType::U8 | WitType::S16 | WitType::U16 => 1.into(),
        WitType::S32 | WitType::U32 | WitType::S64 | WitType::F32 | WitType::F64 => 1.into(),
        WitType::U64 => u64::MAX.to_string().into(),
        WitType::Char | WitType::String => "x".into(),
        WitType::List(item) => vec![sample(item)].into(),
        WitType::Record(fields) => fields
            .iter()
            .map(|f| (f.name.clone(), sample(&f.ty)))
            .collect(),
        WitType::Tuple(items) => items.iter().map(sample).collect::<Vec<_>>().into(),
        WitType::Variant(cases) => match &cases[0].ty {
            None => cases[0].name.clone().into(),
            Some(ty) => json!({ cases[0].name.clone(): sample(ty) }),
        },
        WitType::Enum(names) => names[0].clone().into(),
        WitType::Flags(names) => names.clone().into(),
        WitType::Option(inner) if inner.accepts_null() => json!({ "some": sample(inner) }),
        WitType::Option(inner) => sample(inner),
        WitType::Result { ok, .. } => json!({ "ok": ok.as_ref().map(|ty| sample(ty)) }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn schemas_of_any_type_are_valid_and_accept_its_values(ty in any_type()) {
        let schema = ty.schema();
        prop_assert!(jsonschema::meta::is_valid(&schema));
        let validator = compile(&schema).unwrap();
        prop_assert!(validator.is_valid(&sample(&ty)), "{} {}", schema, sample(&ty));
        prop_assert_eq!(validator.is_valid(&Value::Null), ty.accepts_null());
    }
}
