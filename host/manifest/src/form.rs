//! Forms: what a plugin asks people, and whether their answers fit it.
//!
//! A form is written as a JSON Schema of the flat kind that MCP elicitation has. It is taken
//! apart into fields with everything in them bounded and cleaned, and what is shown is made of
//! these fields anew: nothing that was not understood reaches anybody.

mod answer;
mod read;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use read::FormError;

use crate::clean;

/// Longest schema, in bytes.
const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// Longest message, in characters.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// Fields of one form.
const FIELDS_MAX: usize = 20;

/// Things to choose from in one field.
const CHOICES_MAX: usize = 100;

/// Longest title of a field or a choice, in characters.
const TITLE_CHARS_MAX: usize = 100;

/// Longest description of a field, in characters.
const DESCRIPTION_CHARS_MAX: usize = 500;

/// Longest text that is answered, in characters.
const TEXT_CHARS_MAX: u64 = 10_000;

/// Something that people are asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Form {
    /// What it is about.
    pub message: String,
    /// The fields, one at least.
    pub fields: Vec<Field>,
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Field {
    /// Its name in the answer: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// What people see in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is to be filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether an answer has it in any case.
    pub required: bool,
    /// What it takes.
    pub kind: FieldKind,
    /// What stands in it before anybody writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Whether the titles of what there is to choose stand in `enumNames`, as older clients
    /// read them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enum_names: bool,
}

/// What a field takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum FieldKind {
    /// Text.
    Text {
        /// Its least length, in characters.
        min: u64,
        /// Its greatest length, in characters.
        max: u64,
        /// What it must look like.
        format: Option<Format>,
        /// Whether nobody may look over the shoulder of whoever writes it.
        sensitive: bool,
    },
    /// A number.
    Number {
        /// Whether it has no fraction.
        whole: bool,
        /// The least.
        min: Option<f64>,
        /// The greatest.
        max: Option<f64>,
    },
    /// Yes or no.
    Flag,
    /// One of several things.
    Choice(Vec<Choice>),
    /// Some of several things.
    Choices {
        /// The things.
        of: Vec<Choice>,
        /// How many at least.
        min: u64,
        /// How many at most.
        max: u64,
    },
}

/// Something to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Choice {
    /// How it stands in the answer.
    pub value: String,
    /// What people see in its place.
    pub title: Option<String>,
}

/// What a text must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `somebody@example.com`.
    Email,
    /// An absolute URI.
    Uri,
    /// `2026-07-28`.
    Date,
    /// `2026-07-28T12:30:00Z`.
    DateTime,
}

impl Format {
    /// Its name in a schema.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Email => "email",
            Format::Uri => "uri",
            Format::Date => "date",
            Format::DateTime => "date-time",
        }
    }
}

impl Field {
    /// Whether what is written there is nobody else's business.
    pub fn is_sensitive(&self) -> bool {
        matches!(
            self.kind,
            FieldKind::Text {
                sensitive: true,
                ..
            }
        )
    }

    /// What people see: its title, or its name where it has none.
    pub fn label(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }

    fn schema(&self) -> Value {
        let mut schema = match &self.kind {
            FieldKind::Text {
                min, max, format, ..
            } => {
                let mut schema = json!({"type": "string", "minLength": min, "maxLength": max});
                put(&mut schema, "format", format.map(Format::as_str));
                schema
            }
            FieldKind::Number { whole, min, max } => {
                let mut schema = json!({"type": if *whole { "integer" } else { "number" }});
                put(&mut schema, "minimum", min.map(|min| number(min, *whole)));
                put(&mut schema, "maximum", max.map(|max| number(max, *whole)));
                schema
            }
            FieldKind::Flag => json!({"type": "boolean"}),
            FieldKind::Choice(of) if self.enum_names => {
                let values: Vec<&str> = of.iter().map(|choice| choice.value.as_str()).collect();
                let titles = of.iter().map(|choice| choice.title.as_ref());
                let titles: Vec<&String> = titles
                    .zip(of)
                    .map(|(title, choice)| title.unwrap_or(&choice.value))
                    .collect();
                json!({"type": "string", "enum": values, "enumNames": titles})
            }
            FieldKind::Choice(of) => {
                let mut schema = choices(of, "oneOf");
                put(&mut schema, "type", Some("string"));
                schema
            }
            FieldKind::Choices { of, min, max } => {
                let mut items = choices(of, "anyOf");
                if items.get("enum").is_some() {
                    put(&mut items, "type", Some("string"));
                }
                json!({"type": "array", "items": items, "minItems": min, "maxItems": max})
            }
        };
        put(&mut schema, "title", self.title.as_deref());
        put(&mut schema, "description", self.description.as_deref());
        put(&mut schema, "default", self.default.clone());
        schema
    }
}

fn put(schema: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let (Value::Object(members), Some(value)) = (schema, value) {
        members.insert(key.to_owned(), value.into());
    }
}

/// A number as JSON has it: whole ones without a fraction, where they have none.
fn number(value: f64, whole: bool) -> Value {
    /// 2^53: up to here, floats hold every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and not too large")]
    if whole && value.fract() == 0.0 && value.abs() <= EXACT {
        Value::from(value as i64)
    } else {
        Value::from(value)
    }
}

fn choices(of: &[Choice], titled: &str) -> Value {
    if of.iter().all(|choice| choice.title.is_none()) {
        let values: Vec<&str> = of.iter().map(|choice| choice.value.as_str()).collect();
        return json!({ "enum": values });
    }
    let each = of.iter().map(|choice| {
        let title = choice.title.as_ref().unwrap_or(&choice.value);
        json!({"const": choice.value, "title": title})
    });
    json!({ titled: each.collect::<Vec<_>>() })
}

impl Form {
    /// Reads a form that a plugin has written.
    ///
    /// # Errors
    /// It is no schema of the kind that MCP elicitation has, or larger than a form may be.
    pub fn read(message: &str, schema: &str) -> Result<Form, FormError> {
        let message = clean::lines(message, MESSAGE_CHARS_MAX);
        if message.is_empty() {
            return Err(FormError::new("the message is empty; say what is asked"));
        }
        Ok(Form {
            message,
            fields: read::fields(schema)?,
        })
    }

    /// Whether something of it is sensitive.
    pub fn is_sensitive(&self) -> bool {
        self.fields.iter().any(Field::is_sensitive)
    }

    /// The form as a schema of MCP elicitation.
    pub fn schema(&self) -> Value {
        let properties: Map<String, Value> = self
            .fields
            .iter()
            .map(|field| (field.name.clone(), field.schema()))
            .collect();
        let required: Vec<&str> = self
            .fields
            .iter()
            .filter(|field| field.required)
            .map(|field| field.name.as_str())
            .collect();
        json!({"type": "object", "properties": properties, "required": required})
    }
}

#[cfg(test)]
mod tests;
