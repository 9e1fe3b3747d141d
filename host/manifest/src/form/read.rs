//! From a schema to fields.

use serde_json::{Map, Value};

use super::{
    CHOICES_MAX, Choice, DESCRIPTION_CHARS_MAX, FIELDS_MAX, Field, FieldKind, Format,
    SCHEMA_BYTES_MAX, TEXT_CHARS_MAX, TITLE_CHARS_MAX,
};
use crate::clean;
use crate::json::{self, JsonLimits};
use crate::text::quoted;

/// Why a form can't be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormError(String);

impl FormError {
    pub(super) fn new(why: impl Into<String>) -> FormError {
        FormError(why.into())
    }
}

type Members = Map<String, Value>;

/// Deepest nesting of a schema.
const DEPTH_MAX: usize = 8;

/// Longest name of a field, in bytes.
const NAME_BYTES_MAX: usize = 64;

pub(super) fn fields(schema: &str) -> Result<Vec<Field>, FormError> {
    let limits = JsonLimits {
        bytes_max: SCHEMA_BYTES_MAX,
        depth_max: DEPTH_MAX,
    };
    let schema = json::parse(schema, &limits)
        .map_err(|error| FormError(format!("the schema can't be read: {error}")))?;
    let Value::Object(schema) = schema else {
        return Err(FormError::new("the schema must be an object"));
    };
    known(
        &schema,
        "the schema",
        &[
            "$schema",
            "type",
            "properties",
            "required",
            "title",
            "description",
        ],
    )?;
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(FormError::new("the schema's `type` must be \"object\""));
    }
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return Err(FormError::new("the schema has no `properties`"));
    };
    if properties.is_empty() || properties.len() > FIELDS_MAX {
        return Err(FormError(format!(
            "the form has {} fields, but forms have 1 to {FIELDS_MAX}",
            properties.len()
        )));
    }
    let required = names(schema.get("required"), "required")?;
    if let Some(name) = required
        .iter()
        .find(|name| !properties.contains_key(**name))
    {
        return Err(FormError(format!(
            "`required` names {}, which is no property",
            quoted(name)
        )));
    }
    properties
        .iter()
        .map(|(name, schema)| field(name, schema, required.contains(&name.as_str())))
        .collect()
}

fn field(name: &str, schema: &Value, required: bool) -> Result<Field, FormError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(fits) {
        return Err(FormError(format!(
            "{} is no name of a field: names have 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ -",
            quoted(name)
        )));
    }
    let Value::Object(schema) = schema else {
        return Err(FormError(format!("`{name}` must be an object")));
    };
    let kind = kind(schema).map_err(|FormError(why)| FormError(format!("`{name}`: {why}")))?;
    let text = |key: &str, chars_max| {
        let text = clean::line(schema.get(key)?.as_str()?, chars_max);
        (!text.is_empty()).then_some(text)
    };
    let mut field = Field {
        name: name.to_owned(),
        title: text("title", TITLE_CHARS_MAX),
        description: text("description", DESCRIPTION_CHARS_MAX),
        required,
        kind,
        default: None,
        enum_names: schema.contains_key("enumNames"),
    };
    if let Some(default) = schema.get("default") {
        if field.is_sensitive() {
            return Err(FormError(format!(
                "`{name}` is sensitive, and has no default"
            )));
        }
        let default = field
            .fit(default)
            .map_err(|why| FormError(format!("`{name}` has a default that does not fit: {why}")))?;
        // It is shown, so it must show what it is.
        if default
            .as_str()
            .is_some_and(|text| text.chars().any(clean::is_hostile))
        {
            return Err(FormError(format!(
                "the default of `{name}` has unprintable characters"
            )));
        }
        field.default = Some(default);
    }
    Ok(field)
}

/// Members that every property may have.
const COMMON: [&str; 4] = ["type", "title", "description", "default"];

fn kind(schema: &Members) -> Result<FieldKind, FormError> {
    let allow = |more: &[&str]| {
        let all: Vec<&str> = COMMON.iter().chain(more).copied().collect();
        known(schema, "it", &all)
    };
    match schema.get("type").and_then(Value::as_str) {
        Some("string") if schema.contains_key("enum") || schema.contains_key("oneOf") => {
            allow(&["enum", "enumNames", "oneOf"])?;
            Ok(FieldKind::Choice(choices(schema, "oneOf")?))
        }
        Some("string") => {
            allow(&["minLength", "maxLength", "format", "writeOnly"])?;
            let min = count(schema, "minLength")?.unwrap_or(0);
            let max = count(schema, "maxLength")?.unwrap_or(TEXT_CHARS_MAX);
            let max = max.min(TEXT_CHARS_MAX);
            ordered(min <= max, "minLength", "maxLength")?;
            Ok(FieldKind::Text {
                min,
                max,
                format: schema.get("format").map(format).transpose()?,
                sensitive: match schema.get("writeOnly") {
                    None => false,
                    Some(Value::Bool(sensitive)) => *sensitive,
                    Some(_) => return Err(FormError::new("`writeOnly` must be true or false")),
                },
            })
        }
        Some(number @ ("number" | "integer")) => {
            allow(&["minimum", "maximum"])?;
            let (min, max) = (bound(schema, "minimum")?, bound(schema, "maximum")?);
            let fits = min.zip(max).is_none_or(|(min, max)| min <= max);
            ordered(fits, "minimum", "maximum")?;
            Ok(FieldKind::Number {
                whole: number == "integer",
                min,
                max,
            })
        }
        Some("boolean") => {
            allow(&[])?;
            Ok(FieldKind::Flag)
        }
        Some("array") => {
            allow(&["items", "minItems", "maxItems"])?;
            let Some(Value::Object(items)) = schema.get("items") else {
                return Err(FormError::new("`items` must be an object"));
            };
            known(items, "`items`", &["type", "enum", "anyOf", "oneOf"])?;
            let titled = if items.contains_key("oneOf") {
                "oneOf"
            } else {
                "anyOf"
            };
            let of = choices(items, titled)?;
            let all = of.len() as u64;
            let min = count(schema, "minItems")?.unwrap_or(0);
            let max = count(schema, "maxItems")?.unwrap_or(all).min(all);
            ordered(min <= max, "minItems", "maxItems")?;
            Ok(FieldKind::Choices { of, min, max })
        }
        _ => Err(FormError::new(
            "its `type` must be string, number, integer, boolean or array",
        )),
    }
}

/// What is not understood is refused rather than left out: it might matter.
fn known(schema: &Members, what: &str, keys: &[&str]) -> Result<(), FormError> {
    match schema.keys().find(|key| !keys.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(FormError(format!(
            "{what} has {}, which forms don't know; they know {}",
            quoted(key),
            keys.join(", ")
        ))),
    }
}

fn ordered(fits: bool, least: &str, greatest: &str) -> Result<(), FormError> {
    if fits {
        return Ok(());
    }
    Err(FormError(format!(
        "`{least}` is more than `{greatest}` allows"
    )))
}

fn count(schema: &Members, key: &str) -> Result<Option<u64>, FormError> {
    match schema.get(key) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(count) => Ok(Some(count)),
            None => Err(FormError(format!(
                "`{key}` must be a whole number, 0 or more"
            ))),
        },
    }
}

fn bound(schema: &Members, key: &str) -> Result<Option<f64>, FormError> {
    match schema.get(key) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(bound) => Ok(Some(bound)),
            None => Err(FormError(format!("`{key}` must be a number"))),
        },
    }
}

fn format(format: &Value) -> Result<Format, FormError> {
    match format.as_str() {
        Some("email") => Ok(Format::Email),
        Some("uri") => Ok(Format::Uri),
        Some("date") => Ok(Format::Date),
        Some("date-time") => Ok(Format::DateTime),
        _ => Err(FormError::new(
            "its `format` must be email, uri, date or date-time",
        )),
    }
}

fn names<'a>(list: Option<&'a Value>, what: &str) -> Result<Vec<&'a str>, FormError> {
    let wrong = || FormError(format!("`{what}` must be a list of strings"));
    match list {
        None => Ok(Vec::new()),
        Some(Value::Array(names)) => {
            let names = names.iter().map(|name| name.as_str().ok_or_else(wrong));
            names.collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn choices(schema: &Members, titled: &str) -> Result<Vec<Choice>, FormError> {
    let of: Vec<Choice> = match (schema.get("enum"), schema.get(titled)) {
        (Some(_), None) => {
            let titles = names(schema.get("enumNames"), "enumNames")?;
            let values = names(schema.get("enum"), "enum")?.into_iter().enumerate();
            values
                .map(|(at, value)| choice(value, titles.get(at).copied()))
                .collect::<Result<_, _>>()?
        }
        (None, Some(Value::Array(each))) => each
            .iter()
            .map(|each| {
                let value = each.get("const").and_then(Value::as_str);
                let value = value
                    .ok_or_else(|| FormError(format!("each of `{titled}` needs a `const`")))?;
                choice(value, each.get("title").and_then(Value::as_str))
            })
            .collect::<Result<_, _>>()?,
        _ => {
            return Err(FormError(format!(
                "there must be either `enum` or `{titled}`"
            )));
        }
    };
    if of.is_empty() || of.len() > CHOICES_MAX {
        return Err(FormError(format!(
            "there are {} things to choose from, but there may be 1 to {CHOICES_MAX}",
            of.len()
        )));
    }
    let mut values: Vec<&str> = of.iter().map(|choice| choice.value.as_str()).collect();
    values.sort_unstable();
    if let Some([value, _]) = values
        .array_windows::<2>()
        .find(|[one, other]| one == other)
    {
        return Err(FormError(format!("{} can be chosen twice", quoted(value))));
    }
    Ok(of)
}

fn choice(value: &str, title: Option<&str>) -> Result<Choice, FormError> {
    if value.is_empty() || value != clean::line(value, TITLE_CHARS_MAX) {
        return Err(FormError(format!(
            "{} can't be chosen: it has 1 to {TITLE_CHARS_MAX} printable characters",
            quoted(value)
        )));
    }
    let title = title.map(|title| clean::line(title, TITLE_CHARS_MAX));
    Ok(Choice {
        value: value.to_owned(),
        title: title.filter(|title| !title.is_empty()),
    })
}
