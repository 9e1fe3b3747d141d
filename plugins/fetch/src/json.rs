//! JSON, made readable as it stands: members keep their order, numbers all their digits.

use serde::de::IgnoredAny;

/// JSON with a line for each member; `None` where it is none. What becomes longer than
/// `bytes_max` is cut off.
pub(crate) fn pretty(text: &str, bytes_max: usize) -> Option<String> {
    // Also bounds the depth, at 128.
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len().min(bytes_max));
    let mut depth = 0usize;
    let mut raw = text.chars().peekable();
    while let Some(c) = raw.next() {
        if out.len() > bytes_max {
            break;
        }
        match c {
            ' ' | '\t' | '\n' | '\r' => {}
            '"' => {
                out.push('"');
                let mut escaped = false;
                for c in raw.by_ref() {
                    out.push(c);
                    match c {
                        _ if escaped => escaped = false,
                        '\\' => escaped = true,
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                out.push(c);
                while raw.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = raw.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
    }
    out.truncate(out.floor_char_boundary(bytes_max));
    Some(out)
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn it_is_laid_out() {
        assert_eq!(
            pretty(r#" {"b":[1.50, {}, [ ] ,"x, \"{y"],"a":null} "#, 999).unwrap(),
            "{\n  \"b\": [\n    1.50,\n    {},\n    [],\n    \"x, \\\"{y\"\n  ],\n  \"a\": null\n}"
        );
        assert_eq!(pretty("{]", 999), None);
        assert_eq!(pretty(&"[".repeat(100_000), 999), None);
        assert_eq!(pretty("[\"éé\"]", 6).unwrap(), "[\n  \"");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_says_the_same_and_as_serde_lays_it_out(value in value()) {
            let laid_out = pretty(&value.to_string(), 1 << 20).unwrap();
            prop_assert_eq!(&laid_out, &serde_json::to_string_pretty(&value).unwrap());
        }
    }
}
