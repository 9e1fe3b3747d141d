//! From what somebody has filled in to an answer that fits the form.

use serde_json::{Map, Value};
use url::Url;

use super::{Choice, Field, FieldKind, Form, Format, number};
use crate::text::quoted;

impl Form {
    /// An answer that fits the form, with its defaults in place of what is missing and may be.
    ///
    /// # Errors
    /// What is wrong with it, by field. No word of a sensitive field is in it.
    pub fn check(&self, answer: &Map<String, Value>) -> Result<Map<String, Value>, Vec<String>> {
        let (mut checked, mut mistakes) = (Map::new(), Vec::new());
        for field in &self.fields {
            let given = answer.get(&field.name).filter(|value| !value.is_null());
            match given.map(|value| field.fit(value)) {
                Some(Ok(value)) => {
                    checked.insert(field.name.clone(), value);
                }
                Some(Err(why)) => mistakes.push(format!("`{}`: {why}", field.name)),
                None if field.required => mistakes.push(format!("`{}` is missing", field.name)),
                None => {}
            }
        }
        let named = |name: &&String| self.fields.iter().any(|field| field.name == **name);
        if let Some(name) = answer.keys().find(|name| !named(name)) {
            mistakes.push(format!("there is no field {}", quoted(name)));
        }
        if mistakes.is_empty() {
            Ok(checked)
        } else {
            Err(mistakes)
        }
    }
}

impl Field {
    /// What somebody has typed, as a value of the field's type.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn typed(&self, text: &str) -> Result<Value, String> {
        let value = match &self.kind {
            FieldKind::Text { .. } | FieldKind::Choice(_) => Value::from(text),
            FieldKind::Number { whole, .. } => {
                let text = text.trim();
                let value = if *whole {
                    text.parse::<i64>().map(Value::from).ok()
                } else {
                    let finite = text.parse::<f64>().ok().filter(|number| number.is_finite());
                    finite.map(Value::from)
                };
                value.ok_or_else(|| format!("{} is no {}", quoted(text), self.wanted()))?
            }
            FieldKind::Flag => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "y" => Value::from(true),
                "false" | "no" | "n" => Value::from(false),
                _ => return Err(format!("{} is neither yes nor no", quoted(text))),
            },
            FieldKind::Choices { .. } => {
                let chosen = text
                    .split(',')
                    .map(str::trim)
                    .filter(|word| !word.is_empty());
                Value::Array(chosen.map(Value::from).collect())
            }
        };
        self.fit(&value)
    }

    fn wanted(&self) -> &'static str {
        match self.kind {
            FieldKind::Text { .. } => "text",
            FieldKind::Number { whole: true, .. } => "whole number",
            FieldKind::Number { .. } => "number",
            FieldKind::Flag => "true or false",
            FieldKind::Choice(_) => "one of its choices",
            FieldKind::Choices { .. } => "list of its choices",
        }
    }

    /// A value that fits the field. Mistakes of sensitive fields don't quote it.
    pub(super) fn fit(&self, value: &Value) -> Result<Value, String> {
        let wrong = || format!("it must be a {}", self.wanted());
        match &self.kind {
            FieldKind::Text {
                min, max, format, ..
            } => {
                let text = value.as_str().ok_or_else(wrong)?;
                let chars = text.chars().count() as u64;
                if chars < *min || chars > *max {
                    return Err(format!(
                        "it has {chars} characters, but must have {min} to {max}"
                    ));
                }
                match format {
                    Some(format) if !format.fits(text) => {
                        Err(format!("it does not look like `{}`", format.example()))
                    }
                    _ => Ok(value.clone()),
                }
            }
            FieldKind::Number { whole, min, max } => {
                let given = value.as_f64().ok_or_else(wrong)?;
                if *whole && (given.fract() != 0.0 || given.abs() > 9_007_199_254_740_991.0) {
                    return Err(wrong());
                }
                if min.is_some_and(|min| given < min) || max.is_some_and(|max| given > max) {
                    let shown = |bound: Option<f64>, none: &str| {
                        bound.map_or_else(|| none.to_owned(), |bound| bound.to_string())
                    };
                    return Err(format!(
                        "it is {given}, but must be between {} and {}",
                        shown(*min, "any number"),
                        shown(*max, "any number")
                    ));
                }
                Ok(if *whole {
                    number(given, true)
                } else {
                    value.clone()
                })
            }
            FieldKind::Flag => value.as_bool().map(Value::from).ok_or_else(wrong),
            FieldKind::Choice(of) => {
                let chosen = value.as_str().ok_or_else(wrong)?;
                is_offered(of, chosen).map(|()| value.clone())
            }
            FieldKind::Choices { of, min, max } => {
                let chosen = value.as_array().ok_or_else(wrong)?;
                let mut seen: Vec<&str> = Vec::new();
                for one in chosen.iter().take(of.len().saturating_add(1)) {
                    let one = one.as_str().ok_or_else(wrong)?;
                    is_offered(of, one)?;
                    if seen.contains(&one) {
                        return Err(format!("{} stands there twice", quoted(one)));
                    }
                    seen.push(one);
                }
                let count = seen.len() as u64;
                if count < *min || count > *max {
                    return Err(format!("{count} are chosen, but it must be {min} to {max}"));
                }
                Ok(value.clone())
            }
        }
    }
}

fn is_offered(of: &[Choice], value: &str) -> Result<(), String> {
    if of.iter().any(|choice| choice.value == value) {
        return Ok(());
    }
    let all: Vec<&str> = of.iter().map(|choice| choice.value.as_str()).collect();
    Err(format!("{} is none of {}", quoted(value), all.join(", ")))
}

impl Format {
    fn example(self) -> &'static str {
        match self {
            Format::Email => "somebody@example.com",
            Format::Uri => "https://example.com/",
            Format::Date => "2026-07-28",
            Format::DateTime => "2026-07-28T12:30:00Z",
        }
    }

    fn fits(self, text: &str) -> bool {
        match self {
            Format::Email => text.split_once('@').is_some_and(|(name, host)| {
                let clean = |part: &str| {
                    !part.is_empty() && !part.chars().any(|c| c.is_whitespace() || c.is_control())
                };
                clean(name) && clean(host) && !host.contains('@')
            }),
            Format::Uri => Url::parse(text).is_ok(),
            Format::Date => {
                let parsed = text.parse::<toml::value::Datetime>();
                parsed.is_ok_and(|time| time.date.is_some() && time.time.is_none())
            }
            Format::DateTime => {
                let parsed = text.parse::<toml::value::Datetime>();
                parsed.is_ok_and(|time| {
                    time.date.is_some() && time.time.is_some() && time.offset.is_some()
                })
            }
        }
    }
}
