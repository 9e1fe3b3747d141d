//! Plain functions as tools.

use expect_test::{Expect, expect};
use portreeve_supply::{IntakeLimits, Package, Tools};

use crate::common::{append, read, wasm};

/// A component whose functions are imported and exported again, which gives them any type
/// without any code.
fn reexport(types: &str, functions: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("(component {types}");
    for (at, (name, ty)) in functions.iter().enumerate() {
        text.push_str(&format!(
            r#"(import "i{at}" (func $f{at} {ty})) (export "{name}" (func $f{at}))"#
        ));
    }
    wasm(&(text + ")"))
}

/// A line for each tool, then one for each thing that was left out.
fn shown(package: &Package) -> String {
    let mut lines = Vec::new();
    if let Tools::Bare(functions) = &package.tools {
        for f in functions {
            let export = f
                .export
                .interface
                .as_deref()
                .map_or(String::new(), |i| format!("{i}#"));
            let output = f
                .tool
                .output_schema
                .as_ref()
                .map(|s| serde_json::to_string(s).unwrap());
            lines.push(format!(
                "{} = {export}{} {:?}\n  in  {}\n  out {}",
                f.tool.name,
                f.export.function,
                f.tool.description.as_deref().unwrap_or_default(),
                serde_json::to_string(&f.tool.input_schema).unwrap(),
                output.as_deref().unwrap_or("nothing"),
            ));
        }
    }
    lines.extend(
        package
            .surface
            .skipped
            .iter()
            .map(|(name, why)| format!("- {name}: {why}")),
    );
    lines.join("\n")
}

fn check(component: &[u8], expected: Expect) {
    expected.assert_eq(&shown(&read(component).unwrap()));
}

#[test]
fn every_type_that_json_can_carry() {
    check(
        &reexport(
            r#"(type $r' (record (field "count" u8) (field "note" (option string))))
               (import "r" (type $r (eq $r')))
               (type $v' (variant (case "none") (case "some-of" u32)))
               (import "v" (type $v (eq $v')))
               (type $e' (enum "red" "blue")) (import "e" (type $e (eq $e')))
               (type $f' (flags "a" "b")) (import "f" (type $f (eq $f')))"#,
            &[
                ("add", r#"(param "a" s32) (param "b" s32) (result s32)"#),
                ("nothing", ""),
                ("record", r#"(param "r" $r) (result $r)"#),
                ("variant", r#"(param "v" $v) (result (list $v))"#),
                (
                    "small",
                    r#"(param "e" $e) (param "f" $f) (param "c" char) (param "t" (tuple bool f64))"#,
                ),
                (
                    "fallible",
                    r#"(param "n" (option u64)) (result (result $r (error string)))"#,
                ),
                ("only-error", r#"(result (result (error $e)))"#),
            ],
        ),
        expect![[r#"
            add = add ""
              in  {"additionalProperties":false,"properties":{"a":{"maximum":2147483647,"minimum":-2147483648,"type":"integer"},"b":{"maximum":2147483647,"minimum":-2147483648,"type":"integer"}},"required":["a","b"],"type":"object"}
              out {"additionalProperties":false,"properties":{"result":{"maximum":2147483647,"minimum":-2147483648,"type":"integer"}},"required":["result"],"type":"object"}
            nothing = nothing ""
              in  {"additionalProperties":false,"properties":{},"required":[],"type":"object"}
              out nothing
            record = record ""
              in  {"additionalProperties":false,"properties":{"r":{"additionalProperties":false,"properties":{"count":{"maximum":255,"minimum":0,"type":"integer"},"note":{"oneOf":[{"type":"string"},{"type":"null"}]}},"required":["count"],"type":"object"}},"required":["r"],"type":"object"}
              out {"additionalProperties":false,"properties":{"count":{"maximum":255,"minimum":0,"type":"integer"},"note":{"oneOf":[{"type":"string"},{"type":"null"}]}},"required":["count"],"type":"object"}
            variant = variant ""
              in  {"additionalProperties":false,"properties":{"v":{"oneOf":[{"const":"none"},{"additionalProperties":false,"properties":{"some-of":{"maximum":4294967295,"minimum":0,"type":"integer"}},"required":["some-of"],"type":"object"}]}},"required":["v"],"type":"object"}
              out {"additionalProperties":false,"properties":{"result":{"items":{"oneOf":[{"const":"none"},{"additionalProperties":false,"properties":{"some-of":{"maximum":4294967295,"minimum":0,"type":"integer"}},"required":["some-of"],"type":"object"}]},"type":"array"}},"required":["result"],"type":"object"}
            small = small ""
              in  {"additionalProperties":false,"properties":{"c":{"maxLength":1,"minLength":1,"type":"string"},"e":{"enum":["red","blue"],"type":"string"},"f":{"items":{"enum":["a","b"]},"type":"array","uniqueItems":true},"t":{"items":false,"maxItems":2,"minItems":2,"prefixItems":[{"type":"boolean"},{"anyOf":[{"type":"number"},{"enum":["NaN","Infinity","-Infinity"]}]}],"type":"array"}},"required":["e","f","c","t"],"type":"object"}
              out nothing
            fallible = fallible ""
              in  {"additionalProperties":false,"properties":{"n":{"oneOf":[{"anyOf":[{"maximum":9007199254740991,"minimum":0,"type":"integer"},{"pattern":"^[0-9]{1,20}$","type":"string"}]},{"type":"null"}]}},"required":[],"type":"object"}
              out {"additionalProperties":false,"properties":{"count":{"maximum":255,"minimum":0,"type":"integer"},"note":{"oneOf":[{"type":"string"},{"type":"null"}]}},"required":["count"],"type":"object"}
            only-error = only-error ""
              in  {"additionalProperties":false,"properties":{},"required":[],"type":"object"}
              out nothing"#]],
    );
}

#[test]
fn what_json_cannot_carry_is_left_out() {
    check(
        &reexport(
            r#"(import "res" (type $res (sub resource)))
               (type $s (stream u8))"#,
            &[
                ("takes", r#"(param "r" (borrow $res))"#),
                ("gives", r#"(result (own $res))"#),
                ("deep", r#"(param "l" (list (option (own $res))))"#),
                ("streams", r#"(param "s" $s)"#),
                ("waits", r#"(result (future u8))"#),
                ("later", "async"),
                ("kept", r#"(param "x" u8)"#),
            ],
        ),
        expect![[r#"
            kept = kept ""
              in  {"additionalProperties":false,"properties":{"x":{"maximum":255,"minimum":0,"type":"integer"}},"required":["x"],"type":"object"}
              out nothing
            - takes: it takes or returns a resource, which JSON can't carry
            - gives: it takes or returns a resource, which JSON can't carry
            - deep: it takes or returns a resource, which JSON can't carry
            - streams: it takes or returns a stream, which JSON can't carry
            - waits: it takes or returns a future, which JSON can't carry
            - later: it is asynchronous, which needs WASI 0.3"#]],
    );
}

/// An interface that is imported and exported under the given names.
fn interfaces(interfaces: &[(&str, &str)]) -> Vec<u8> {
    let mut text = "(component".to_owned();
    for (at, (name, exports)) in interfaces.iter().enumerate() {
        text.push_str(&format!(
            r#"(import "i{at}" (instance $i{at} {exports})) (export "{name}" (instance $i{at}))"#
        ));
    }
    wasm(&(text + ")"))
}

#[test]
fn functions_of_interfaces() {
    const F: &str = r#"(export "f" (func (param "x" u8)))"#;
    check(
        &interfaces(&[
            ("acme:one/api", F),
            ("acme:two/api@1.0.0", F),
            ("other:two/api@1.0.0", F),
            ("acme:three/api@1.0.0", F),
            ("acme:three/api@2.1.0+x", F),
            ("acme:one/else@0.1.0", F),
            ("inline", F),
            (
                "wasi:cli/run@0.2.3",
                r#"(export "run" (func (result (result))))"#,
            ),
            ("exports", r#"(export "init" (func))"#),
            (
                "acme:one/store",
                r#"(export "thing" (type $thing (sub resource)))
                   (export "[constructor]thing" (func (result (own $thing))))
                   (export "[method]thing.get" (func (param "self" (borrow $thing)) (result u8)))
                   (export "[static]thing.all" (func (result u8)))
                   (export "plain" (func (result u8)))"#,
            ),
        ]),
        expect![[r#"
            one_api_f = acme:one/api#f ""
              in  {"additionalProperties":false,"properties":{"x":{"maximum":255,"minimum":0,"type":"integer"}},"required":["x"],"type":"object"}
              out nothing
            acme_two_api_f = acme:two/api@1.0.0#f ""
              in  {"additionalProperties":false,"properties":{"x":{"maximum":255,"minimum":0,"type":"integer"}},"required":["x"],"type":"object"}
              out nothing
            other_two_api_f = other:two/api@1.0.0#f ""
              in  {"additionalProperties":false,"properties":{"x":{"maximum":255,"minimum":0,"type":"integer"}},"required":["x"],"type":"object"}
              out nothing
            acme_three_api_1.0.0_f = acme:three/api@1.0.0#f ""
              in  {"additionalProperties":false,"properties":{"x":{"maximum":255,"minimum":0,"type":"integer"}},"required":["x"],"type":"object"}
              out nothing
            acme_three_api_2.1.0_x_f_54e12341 = acme:three/api@2.1.0+x#f ""
              in  {"additionalProperties":false,"properties":{"x":{"maximum":255,"minimum":0,"type":"integer"}},"required":["x"],"type":"object"}
              out nothing
            else_f = acme:one/else@0.1.0#f ""
              in  {"additionalProperties":false,"properties":{"x":{"maximum":255,"minimum":0,"type":"integer"}},"required":["x"],"type":"object"}
              out nothing
            inline_f = inline#f ""
              in  {"additionalProperties":false,"properties":{"x":{"maximum":255,"minimum":0,"type":"integer"}},"required":["x"],"type":"object"}
              out nothing
            store_plain = acme:one/store#plain ""
              in  {"additionalProperties":false,"properties":{},"required":[],"type":"object"}
              out {"additionalProperties":false,"properties":{"result":{"maximum":255,"minimum":0,"type":"integer"}},"required":["result"],"type":"object"}
            - wasi:cli/run@0.2.3: an interface of WASI, made for other kinds of hosts
            - exports: how componentize-py prepares Python; no function of the component's own
            - acme:one/store#[constructor]thing: it makes the resource `thing`
            - acme:one/store#[method]thing.get: it belongs to the resource `thing`
            - acme:one/store#[static]thing.all: it belongs to the resource `thing`"#]],
    );
}

#[test]
fn names_do_not_depend_on_the_order() {
    const F: &str = r#"(export "f" (func))"#;
    let names = |interfaces: &[(&str, &str)]| {
        let Tools::Bare(functions) = read(&self::interfaces(interfaces)).unwrap().tools else {
            panic!()
        };
        let mut names: Vec<_> = functions
            .into_iter()
            .map(|f| (f.export, f.tool.name))
            .collect();
        names.sort();
        names
    };
    let mut all = [
        ("a:b/c", F),
        ("a:d/c", F),
        ("e:b/c", F),
        ("a:b/c@1.0.0", F),
        ("a:x/c-d", F),
    ];
    let forwards = names(&all);
    all.reverse();
    assert_eq!(forwards, names(&all));
}

#[test]
fn long_names_are_shortened_and_stay_apart() {
    let long = "a".repeat(70);
    let component = reexport(
        "",
        &[(&format!("{long}-x"), ""), (&format!("{long}-y"), "")],
    );
    check(
        &component,
        expect![[r#"
        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_5381850d = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x ""
          in  {"additionalProperties":false,"properties":{},"required":[],"type":"object"}
          out nothing
        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_4e9efecf = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-y ""
          in  {"additionalProperties":false,"properties":{},"required":[],"type":"object"}
          out nothing"#]],
    );
}

#[test]
fn documentation_where_it_is_carried() {
    let component = interfaces(&[(
        "acme:one/api@1.0.0",
        r#"(type $point' (record (field "x" u8)))
           (export "point" (type $point (eq $point')))
           (export "draw" (func (param "at" $point)))"#,
    )]);
    let docs = br#"{"worlds": {"w": {"func_exports": {"draw": {"docs": "not this"}}}},
        "interfaces": {"api": {"funcs": {"draw": {"docs": "Draws a point."}},
                               "types": {"point": {"items": {"x": "To the right."}}}}}}"#;
    let section = [&[1], docs.as_slice()].concat();
    check(
        &append(component, &[("package-docs", &section)]),
        expect![[r#"
        api_draw = acme:one/api@1.0.0#draw "Draws a point."
          in  {"additionalProperties":false,"properties":{"at":{"additionalProperties":false,"properties":{"x":{"description":"To the right.","maximum":255,"minimum":0,"type":"integer"}},"required":["x"],"type":"object"}},"required":["at"],"type":"object"}
          out nothing"#]],
    );
}

/// A record of two fields of the type before, again and again.
fn doubling(levels: usize) -> Vec<u8> {
    let mut types =
        r#"(type $a0 (record (field "x" u8))) (import "t0" (type $t0 (eq $a0)))"#.to_owned();
    for level in 1..=levels {
        let below = level - 1;
        types.push_str(&format!(
            r#"(type $a{level} (record (field "x" $t{below}) (field "y" $t{below})))
               (import "t{level}" (type $t{level} (eq $a{level})))"#
        ));
    }
    let f = format!(r#"(param "p" $t{levels})"#);
    reexport(&types, &[("f", &f), ("g", "")])
}

fn nested(levels: usize) -> Vec<u8> {
    let ty = format!(
        r#"(param "p" {}u8{})"#,
        "(list ".repeat(levels),
        ")".repeat(levels)
    );
    reexport("", &[("f", &ty), ("g", "")])
}

#[test]
fn types_that_are_too_deep_or_too_large() {
    for (component, expected) in [
        (nested(31), "g"),
        (
            nested(32),
            "- f: it has a type that is more than 32 levels deep",
        ),
        (
            nested(90),
            "- f: it has a type that is more than 32 levels deep",
        ),
        (doubling(5), "g"),
        (
            doubling(12),
            "- f: it has types that are too large to describe as a JSON Schema",
        ),
    ] {
        let shown = shown(&read(&component).unwrap());
        let last = shown.lines().last().unwrap();
        assert!(
            shown.contains(expected) && (expected != "g" || !last.starts_with('-')),
            "{shown}"
        );
    }
}

#[test]
fn the_schemas_of_all_functions_are_bounded() {
    let functions: Vec<_> = (0..100)
        .map(|n| (format!("f{n}"), r#"(param "p" $t8)"#))
        .collect();
    let functions: Vec<_> = functions
        .iter()
        .map(|(name, ty)| (name.as_str(), *ty))
        .collect();
    let mut types =
        r#"(type $a0 (record (field "x" u8))) (import "t0" (type $t0 (eq $a0)))"#.to_owned();
    for level in 1..=8 {
        let below = level - 1;
        types.push_str(&format!(
            r#"(type $a{level} (record (field "x" $t{below}) (field "y" $t{below})))
               (import "t{level}" (type $t{level} (eq $a{level})))"#
        ));
    }
    let package = read(&reexport(&types, &functions)).unwrap();
    let Tools::Bare(offered) = &package.tools else {
        panic!()
    };
    let left_out = package.surface.skipped.len();
    assert!(
        offered.len() > 10 && left_out > 10,
        "{} {left_out}",
        offered.len()
    );
    let bytes: usize = offered
        .iter()
        .map(|f| serde_json::to_vec(&f.tool).unwrap().len())
        .sum();
    assert!(bytes < 8 << 20, "{bytes}");
}

#[test]
fn at_most_so_many_functions() {
    let functions: Vec<_> = (0..3).map(|n| format!("f{n}")).collect();
    let functions: Vec<_> = functions.iter().map(|name| (name.as_str(), "")).collect();
    let limits = IntakeLimits {
        bare_functions: 2,
        ..IntakeLimits::default()
    };
    let error = Package::read(&reexport("", &functions), "n", &limits).unwrap_err();
    expect!["the component is too large to take in: the functions that it exports: more than 2, where the limit is 2; export fewer, or split the component"].assert_eq(&error.to_string());
}
