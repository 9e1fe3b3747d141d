//! What plugins say of what they offer, as clients and their models get it: without characters
//! that nobody sees, in which words for the model alone could be hidden.
//!
//! Only texts are changed, for people and models to read. What is data, such as the names of
//! arguments and the values that they may have, must stay as its plugin knows it; the scan
//! finds what is hidden there.

use std::borrow::Cow;

use portreeve_manifest::clean;
use serde_json::{Map, Value};

/// The members of a schema that are texts.
const TEXTS: [&str; 3] = ["title", "description", "$comment"];

/// The members of a schema whose values are data, whatever these contain.
const DATA: [&str; 4] = ["default", "const", "enum", "examples"];

/// A text without what nobody sees.
pub(crate) fn text(text: String) -> String {
    match clean::visible(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(visible) => visible,
    }
}

/// The same of a text that may be missing.
pub(crate) fn maybe(said: Option<String>) -> Option<String> {
    said.map(text)
}

/// A schema whose texts are without what nobody sees.
pub(crate) fn schema(mut schema: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in &mut schema {
        if DATA.contains(&name.as_str()) {
            continue;
        }
        let is_text = TEXTS.contains(&name.as_str());
        let taken = std::mem::take(value);
        *value = match taken {
            Value::String(said) if is_text => text(said).into(),
            // Also below a property that is called as a text is: it is no text then.
            other => inside(other),
        };
    }
    schema
}

/// The same of what lies within one. Documents nest less than 32 deep.
fn inside(value: Value) -> Value {
    match value {
        Value::Object(members) => schema(members).into(),
        Value::Array(items) => items.into_iter().map(inside).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HIDDEN: &str = "Adds.\u{e0072}\u{e0075}\u{200b}\u{202e}\nThen\tshows 👩\u{200d}🔬.";
    const SEEN: &str = "Adds.\nThen\tshows 👩\u{200d}🔬.";

    #[test]
    fn texts_lose_what_nobody_sees_and_data_stays() {
        assert_eq!(text(HIDDEN.to_owned()), SEEN);
        let given = json!({
            "type": "object",
            "description": HIDDEN,
            "properties": {
                "description": {"type": "string", "title": HIDDEN, "enum": [HIDDEN], "pattern": HIDDEN},
                HIDDEN: {"default": {"description": HIDDEN}},
            },
            "anyOf": [{"$comment": HIDDEN}],
        });
        let expected = json!({
            "type": "object",
            "description": SEEN,
            "properties": {
                "description": {"type": "string", "title": SEEN, "enum": [HIDDEN], "pattern": HIDDEN},
                HIDDEN: {"default": {"description": HIDDEN}},
            },
            "anyOf": [{"$comment": SEEN}],
        });
        let Value::Object(given) = given else {
            panic!("it is an object");
        };
        assert_eq!(Value::Object(schema(given)), expected);
    }
}
