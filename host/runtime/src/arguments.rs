//! The arguments of a call, held against their limit once.

use portreeve_manifest::limits::Limits;
use serde_json::Value;

use crate::error::{CallError, LimitHit};

/// The arguments of a call: a JSON value, and the text that a guest gets.
#[derive(Clone, Debug)]
pub struct Arguments {
    value: Value,
    text: String,
}

impl Arguments {
    /// Writes the value out.
    ///
    /// # Errors
    /// The limit, when its text is longer.
    pub fn new(value: Value, limits: &Limits) -> Result<Arguments, CallError> {
        let text = value.to_string();
        if text.len() > limits.arguments.as_usize() {
            return Err(CallError::limit(LimitHit {
                setting: "arguments".into(),
                allowed: format!("{} of arguments", limits.arguments),
                used: format!("they have {} bytes as JSON", text.len()),
            }));
        }
        Ok(Arguments { value, text })
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value as a text.
    pub fn text(&self) -> &String {
        &self.text
    }
}
