//! `portreeve:host/config`: what the operator has set for this plugin.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::bindings::portreeve::host::config::Host;
use crate::guest::Guest;

/// The operator's configuration of one plugin, as every call of it sees it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    values: Arc<Map<String, Value>>,
    text: Arc<str>,
}

impl Config {
    /// Keeps `values`, which the caller has checked against the plugin's schema.
    pub fn new(values: Map<String, Value>) -> Config {
        let text = Value::Object(values.clone()).to_string().into();
        Config {
            values: Arc::new(values),
            text,
        }
    }

    /// All of it as one JSON object.
    pub fn text(&self) -> &str {
        if self.text.is_empty() {
            "{}"
        } else {
            &self.text
        }
    }
}

impl Host for Guest {
    fn get(&mut self, key: String) -> Option<String> {
        self.context.config.values.get(&key).map(Value::to_string)
    }

    fn all(&mut self) -> String {
        self.context.config.text().to_owned()
    }
}
