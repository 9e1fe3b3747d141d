use super::*;
use expect_test::expect;
use proptest::prelude::*;

fn form(properties: Value) -> Form {
    let required: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
    let schema = json!({"type": "object", "properties": properties, "required": required});
    Form::read("Which?", &schema.to_string()).unwrap()
}

#[test]
fn forms_are_made_anew_of_what_was_understood() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Na\u{1b}[31mme", "description": "y\u{202e}ou", "minLength": 1, "maxLength": 1_000_000, "default": "me"},
            "mail": {"type": "string", "format": "email"},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "share": {"type": "number", "default": 0.5},
            "sure": {"type": "boolean", "default": false},
            "colour": {"type": "string", "enum": ["red", "green"], "enumNames": ["Red", "Green"]},
            "size": {"type": "string", "enum": ["s", "m"]},
            "days": {"type": "array", "items": {"anyOf": [{"const": "mo", "title": "Monday"}, {"const": "tu"}]}, "minItems": 1},
        },
        "required": ["name"],
    });
    let form = Form::read(
        " Who\u{7} are\u{2066} you?\n\n\n\nSay. ",
        &schema.to_string(),
    )
    .unwrap();
    assert_eq!(form.message, "Who are you?\n\nSay.");
    expect![[r#"{"properties":{"age":{"maximum":150,"minimum":0,"type":"integer"},"colour":{"enum":["red","green"],"enumNames":["Red","Green"],"type":"string"},"days":{"items":{"anyOf":[{"const":"mo","title":"Monday"},{"const":"tu","title":"tu"}]},"maxItems":2,"minItems":1,"type":"array"},"mail":{"format":"email","maxLength":10000,"minLength":0,"type":"string"},"name":{"default":"me","description":"you","maxLength":10000,"minLength":1,"title":"Na[31mme","type":"string"},"share":{"default":0.5,"type":"number"},"size":{"enum":["s","m"],"type":"string"},"sure":{"default":false,"type":"boolean"}},"required":["name"],"type":"object"}"#]]
    .assert_eq(&form.schema().to_string());
    // What was made of it is read as the same.
    let again = Form::read(&form.message, &form.schema().to_string()).unwrap();
    assert_eq!(
        (again.schema(), &again.message),
        (form.schema(), &form.message)
    );
}

#[test]
fn what_is_no_form_is_refused() {
    let of = |properties: Value| json!({"type": "object", "properties": properties}).to_string();
    let many: Map<String, Value> = (0..21)
        .map(|number| (format!("f{number}"), json!({"type": "boolean"})))
        .collect();
    let choices: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    let cases = [
        "".to_owned(),
        "[]".to_owned(),
        r#"{"type":"string"}"#.to_owned(),
        r#"{"type":"object"}"#.to_owned(),
        of(json!({})),
        of(Value::Object(many)),
        format!(
            "{{\"type\":\"object\",\"title\":\"{}\"}}",
            "x".repeat(70_000)
        ),
        of(json!({"a b": {"type": "boolean"}})),
        of(json!({"a\u{1b}": {"type": "boolean"}})),
        of(json!({"a": {"type": "object", "properties": {}}})),
        of(json!({"a": {"type": "string", "pattern": "(a+)+$"}})),
        of(json!({"a": {"type": "string", "format": "password"}})),
        of(json!({"a": {"type": "string", "minLength": 9, "maxLength": 8}})),
        of(json!({"a": {"type": "string", "writeOnly": true, "default": "x"}})),
        of(json!({"a": {"type": "string", "default": "x\u{202e}"}})),
        of(json!({"a": {"type": "integer", "default": 1.5}})),
        of(json!({"a": {"type": "string", "enum": []}})),
        of(json!({"a": {"type": "string", "enum": choices}})),
        of(json!({"a": {"type": "string", "enum": ["x", "x"]}})),
        of(json!({"a": {"type": "string", "enum": ["x\u{200b}"]}})),
        of(json!({"a": {"type": "array", "items": {"type": "string"}}})),
        json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["b"]})
            .to_string(),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}}}).to_string(),
    ];
    let told: String = cases
        .iter()
        .map(|schema| format!("{}\n", Form::read("m", schema).unwrap_err()))
        .collect();
    expect![[r#"
        the schema can't be read: line 1, column 1: the text ends in the middle of a value; send all of it
        the schema must be an object
        the schema's `type` must be "object"
        the schema has no `properties`
        the form has 0 fields, but forms have 1 to 20
        the form has 21 fields, but forms have 1 to 20
        the schema can't be read: the JSON text has 70028 bytes, but at most 65536 are allowed
        `a b` is no name of a field: names have 1 to 64 of A-Z a-z 0-9 _ -
        `a\u{1b}` is no name of a field: names have 1 to 64 of A-Z a-z 0-9 _ -
        `a`: its `type` must be string, number, integer, boolean or array
        `a`: it has `pattern`, which forms don't know; they know type, title, description, default, minLength, maxLength, format, writeOnly
        `a`: its `format` must be email, uri, date or date-time
        `a`: `minLength` is more than `maxLength` allows
        `a` is sensitive, and has no default
        the default of `a` has unprintable characters
        `a` has a default that does not fit: it must be a whole number
        `a`: there are 0 things to choose from, but there may be 1 to 100
        `a`: there are 101 things to choose from, but there may be 1 to 100
        `a`: `x` can be chosen twice
        `a`: `x\u{200b}` can't be chosen: it has 1 to 100 printable characters
        `a`: there must be either `enum` or `anyOf`
        `required` names `b`, which is no property
        `a`: its `type` must be string, number, integer, boolean or array
    "#]].assert_eq(&told);
    assert!(Form::read("\u{202e}\u{1b}", &of(json!({"a": {"type": "boolean"}}))).is_err());
}

#[test]
fn answers_fit_or_are_refused() {
    let form = form(json!({
        "name": {"type": "string", "minLength": 2},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "day": {"type": "string", "format": "date"},
        "size": {"type": "string", "enum": ["s", "m"]},
        "days": {"type": "array", "items": {"enum": ["mo", "tu"]}},
        "key": {"type": "string", "writeOnly": true, "maxLength": 5},
    }));
    let good = json!({"name": "Ada", "age": 36.0, "day": "1815-12-10", "size": "s", "days": ["tu"], "key": "k"});
    let checked = form.check(good.as_object().unwrap()).unwrap();
    assert_eq!(checked["age"].to_string(), "36");
    let bad = json!({"name": "A", "age": 1.5, "day": "1815-13-10", "size": "x", "days": ["mo", "mo"], "key": "a secret that is long", "more": 1});
    expect![[r#"
        `age`: it must be a whole number
        `day`: it does not look like `2026-07-28`
        `days`: `mo` stands there twice
        `key`: it has 21 characters, but must have 0 to 5
        `name`: it has 1 characters, but must have 2 to 10000
        `size`: `x` is none of s, m
        there is no field `more`"#]]
    .assert_eq(&form.check(bad.as_object().unwrap()).unwrap_err().join("\n"));
    assert_eq!(form.check(&Map::new()).unwrap_err().len(), 6);
}

#[test]
fn what_is_typed_gets_its_type() {
    let form = form(json!({
        "age": {"type": "integer", "maximum": 150},
        "share": {"type": "number"},
        "sure": {"type": "boolean"},
        "days": {"type": "array", "items": {"enum": ["mo", "tu"]}},
        "name": {"type": "string", "maxLength": 3},
    }));
    let typed = |name: &str, text: &str| {
        let field = form.fields.iter().find(|field| field.name == name).unwrap();
        field.typed(text).ok()
    };
    for (name, text, value) in [
        ("age", " 36 ", Some(json!(36))),
        ("age", "36.5", None),
        ("age", "151", None),
        ("share", "0.5", Some(json!(0.5))),
        ("share", "NaN", None),
        ("share", "inf", None),
        ("sure", "Yes", Some(json!(true))),
        ("sure", "n", Some(json!(false))),
        ("sure", "perhaps", None),
        ("days", "tu, mo", Some(json!(["tu", "mo"]))),
        ("days", "", Some(json!([]))),
        ("days", "we", None),
        ("name", "Ada", Some(json!("Ada"))),
        ("name", "Grace", None),
    ] {
        assert_eq!(typed(name, text), value, "{name} {text}");
    }
}

proptest! {
    #[test]
    fn no_schema_panics(text in "(?s).{0,200}", key in "[a-zA-Z]{0,12}", value in "[0-9a-z\"\\[\\]{}.-]{0,20}") {
        let _ = Form::read("m", &text);
        let _ = Form::read("m", &format!(r#"{{"type":"object","properties":{{"a":{{"type":"string","{key}":{value}}}}}}}"#));
    }

    #[test]
    fn what_is_shown_is_clean(title in "(?s).{0,150}", message in "(?s).{0,50}", answer in any::<String>()) {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string", "title": title, "description": title}}});
        if let Ok(form) = Form::read(&message, &schema.to_string()) {
            let shown = format!("{}{}", form.message.replace('\n', ""), form.fields[0].label());
            prop_assert!(!shown.chars().any(clean::is_hostile), "{shown:?}");
            let answer = json!({"a": answer});
            let checked = form.check(answer.as_object().unwrap());
            prop_assert_eq!(checked.ok(), answer.as_object().cloned());
        }
    }
}
