//! The types that a tool's parameters may have.

use serde_json::{Value, json};

/// A type that a parameter may have: its JSON Schema, and how it is read.
pub trait Parameter: Sized {
    /// Whether a call must give it.
    const REQUIRED: bool = true;

    /// The JSON Schema of its values.
    fn schema() -> Value;

    /// The value, if `value` (null where it was not given) is one.
    fn read(value: &Value) -> Option<Self>;
}

impl Parameter for u64 {
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0})
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_u64()
    }
}

/// Any JSON value.
impl Parameter for Value {
    fn schema() -> Value {
        json!({})
    }

    fn read(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl Parameter for f64 {
    fn schema() -> Value {
        json!({"type": "number"})
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_f64()
    }
}

impl Parameter for bool {
    fn schema() -> Value {
        json!({"type": "boolean"})
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Parameter for String {
    fn schema() -> Value {
        json!({"type": "string"})
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }
}

impl<T: Parameter> Parameter for Option<T> {
    const REQUIRED: bool = false;

    fn schema() -> Value {
        T::schema()
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            given => T::read(given).map(Some),
        }
    }
}
