//! What the plugin tells people and asks of them. Telling needs the grant `ui.notify`, asking
//! the grant `ui.ask`.
//!
//! ```toml
//! [requests.ui]
//! notify = "tell you when a build breaks"
//! ask = "let you choose the repository"
//! ```
//!
//! ```
//! use portreeve_sdk::{Error, ui};
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Choice {
//!     /// The repository to look into.
//!     repository: String,
//! }
//!
//! fn choose() -> Result<Option<String>, Error> {
//!     ui::warning("A build broke").link("https://ci.example.com/17").send()?;
//!     match ui::ask::<Choice>("Which repository?")? {
//!         ui::Answer::Accepted(choice) => Ok(Some(choice.repository)),
//!         ui::Answer::Declined | ui::Answer::Dismissed => Ok(None),
//!     }
//! }
//! # assert!(choose().is_err());
//! ```
//!
//! A question goes to whoever sits at the client, or waits in the host's inbox; the call's time
//! stands still meanwhile. Forms are flat: fields are texts, numbers, booleans, choices and lists
//! of choices. A text field with `"writeOnly": true` in its schema is sensitive
//! (`#[schemars(extend("writeOnly" = true))]`): it is asked for in the inbox only.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::bindings::tools::portreeve::prompt::{notices as wire_notices, questions as wire};
use crate::host::{notices, questions};
use crate::{Code, Error};

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// What was filled in.
    Accepted(T),
    /// Somebody said no.
    Declined,
    /// Somebody put it away without saying yes or no.
    Dismissed,
}

impl<T> Answer<T> {
    /// What was filled in, if anything was.
    pub fn accepted(self) -> Option<T> {
        match self {
            Answer::Accepted(answer) => Some(answer),
            Answer::Declined | Answer::Dismissed => None,
        }
    }
}

/// A notice that is being written.
#[derive(Clone, Debug)]
#[must_use = "a notice is told when it is sent"]
pub struct Notice(wire_notices::Notice);

fn notice(level: wire_notices::Level, title: &str) -> Notice {
    Notice(wire_notices::Notice {
        level,
        title: title.to_owned(),
        body: String::new(),
        link: None,
    })
}

/// A notice of something good to know.
pub fn info(title: &str) -> Notice {
    notice(wire_notices::Level::Info, title)
}

/// A notice of something worth a look.
pub fn warning(title: &str) -> Notice {
    notice(wire_notices::Level::Warning, title)
}

/// A notice of something that went wrong.
pub fn error(title: &str) -> Notice {
    notice(wire_notices::Level::Error, title)
}

impl Notice {
    /// Says more, in plain text of 2,000 characters at most.
    pub fn body(mut self, body: &str) -> Notice {
        body.clone_into(&mut self.0.body);
        self
    }

    /// Says where to read more: an `https` URL.
    pub fn link(mut self, url: &str) -> Notice {
        self.0.link = Some(url.to_owned());
        self
    }

    /// Tells it.
    ///
    /// # Errors
    /// `permission-denied` where it is not granted, and in a native build; `invalid-argument`
    /// where the title is empty or the link is none; `rate-limited` where there are too many.
    pub fn send(self) -> Result<(), Error> {
        notices::notify(&self.0).map_err(Error::from_failure)
    }
}

/// Asks for a `T`, whose fields are the form's, and waits for the answer.
///
/// # Errors
/// `permission-denied` where it is not granted, and in a native build; `invalid-argument` where
/// `T` is no flat form; `timeout` where nobody answers; `rate-limited`, `quota-exceeded` and
/// `unavailable` where nobody can be asked now.
pub fn ask<T: JsonSchema + DeserializeOwned>(message: &str) -> Result<Answer<T>, Error> {
    let answer = ask_raw(message, &form::<T>())?;
    Ok(match answer {
        Answer::Accepted(answer) => {
            Answer::Accepted(serde_json::from_value(answer).map_err(unfit)?)
        }
        Answer::Declined => Answer::Declined,
        Answer::Dismissed => Answer::Dismissed,
    })
}

/// Asks with a schema of one's own.
///
/// # Errors
/// Those of [`ask`].
pub fn ask_raw(message: &str, schema: &Value) -> Result<Answer<Value>, Error> {
    let mut answers = ask_many(&[(message, schema.clone())])?;
    answers
        .pop()
        .ok_or_else(|| Error::new(Code::Internal, "the answer was lost"))
}

/// Asks several things at once, 1 to 8, and waits for all answers, in the order of the questions.
///
/// # Errors
/// Those of [`ask`].
pub fn ask_many(asked: &[(&str, Value)]) -> Result<Vec<Answer<Value>>, Error> {
    let asked: Vec<wire::Question> = asked
        .iter()
        .map(|(message, schema)| wire::Question {
            message: (*message).to_owned(),
            schema: schema.to_string(),
        })
        .collect();
    let answers = questions::ask_many(&asked).map_err(Error::from_failure)?;
    answers
        .into_iter()
        .map(|answer| {
            Ok(match answer {
                wire::Answer::Accepted(text) => {
                    Answer::Accepted(serde_json::from_str(&text).map_err(unfit)?)
                }
                wire::Answer::Declined => Answer::Declined,
                wire::Answer::Dismissed => Answer::Dismissed,
            })
        })
        .collect()
}

pub(crate) fn unfit(error: serde_json::Error) -> Error {
    Error::new(Code::Internal, format!("the answer can't be read: {error}"))
}

/// The form of a type: its schema without what forms don't know.
pub fn form<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    let mut form = Map::new();
    let Value::Object(mut schema) = schema else {
        return Value::Object(form);
    };
    for key in ["type", "required"] {
        if let Some(value) = schema.remove(key) {
            form.insert(key.to_owned(), value);
        }
    }
    let mut properties = Map::new();
    if let Some(Value::Object(fields)) = schema.remove("properties") {
        properties.extend(fields.into_iter().map(|(name, field)| (name, flat(field))));
    }
    form.insert("properties".to_owned(), Value::Object(properties));
    Value::Object(form)
}

/// A field without what Rust's types say besides: the width of numbers, and that it may be null,
/// which in a form is that it may be missing.
fn flat(field: Value) -> Value {
    let Value::Object(mut field) = field else {
        return field;
    };
    if let Some(Value::Array(types)) = field.get("type") {
        let one = types
            .iter()
            .find(|name| name.as_str() != Some("null"))
            .cloned();
        field.extend(one.map(|one| ("type".to_owned(), one)));
    }
    let number = matches!(
        field.get("type").and_then(Value::as_str),
        Some("integer" | "number")
    );
    if number {
        field.remove("format");
    }
    if field.get("default") == Some(&Value::Null) {
        field.remove("default");
    }
    if let Some(Value::Array(choices)) = field.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    Value::Object(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is of use")]
    struct Everything {
        /// A name.
        name: String,
        age: u8,
        share: Option<f64>,
        sure: bool,
        size: Option<Size>,
        sizes: Vec<Size>,
        #[schemars(extend("writeOnly" = true))]
        key: String,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code, reason = "only its schema is of use")]
    enum Size {
        Small,
        Large,
    }

    #[test]
    fn a_type_becomes_a_flat_form() {
        let form = form::<Everything>();
        assert_eq!(form["type"], "object");
        assert_eq!(form["properties"]["name"]["description"], "A name.");
        assert_eq!(form["properties"]["age"]["type"], "integer");
        assert!(form["properties"]["age"].get("format").is_none());
        assert_eq!(form["properties"]["share"]["type"], "number");
        assert_eq!(
            form["properties"]["size"]["enum"],
            serde_json::json!(["small", "large"])
        );
        assert_eq!(form["properties"]["sizes"]["items"]["enum"][1], "large");
        assert_eq!(form["properties"]["key"]["writeOnly"], true);
        let required = form["required"].as_array().unwrap();
        assert!(!required.contains(&"share".into()) && required.contains(&"age".into()));
    }
}
