//! What the guest test programs share: the bindings to the contract in `wit/`, and a macro
//! that makes a provider of tools out of plain functions.
//!
//! Each program is a file in `examples/`, built as a `cdylib`: one component with one
//! subject. They use the contract itself rather than the SDK, so that a mistake in the
//! SDK can't hide one in the host, and so that they can misbehave as no SDK would let
//! them. Those whose names begin with `sdk_` are the exceptions: their subject is the SDK.
//!
//! ```
//! use portreeve_test_programs::{Answer, Guest, text, tools};
//!
//! tools! {
//!     /// Greets somebody.
//!     fn greet(name: String) -> Answer {
//!         Ok(text(format!("Hello, {name}!")))
//!     }
//! }
//!
//! # fn main() -> Result<(), portreeve_test_programs::Failure> {
//! let answer = Program::call_tool("greet".into(), r#"{"name":"Ada"}"#.into())?;
//! assert_eq!(answer, text("Hello, Ada!"));
//! assert!(Program::list_tools()?[0].contains(r#""required":["name"]"#));
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

mod bindings;
mod parameter;
mod tools;

pub use bindings::{content_world, lifecycle_world, provider};
pub use content_world::exports::portreeve::content::{completion, prompts, resources};
pub use lifecycle_world::exports::portreeve::lifecycle::lifecycle;
pub use parameter::Parameter;
pub use provider::exports::portreeve::tools::provider::{Guest, Outcome};
pub use provider::portreeve::client::{
    inputs, log as client_log, roots, sampling, types as client_types,
};
pub use provider::portreeve::directories::failures as directory_failures;
pub use provider::portreeve::host::{config, context};
pub use provider::portreeve::network::failures;
pub use provider::portreeve::prompt::{notices, questions};
pub use provider::portreeve::secrets::{inject, reveal, store};
pub use provider::portreeve::storage::kv;
pub use provider::portreeve::types::types::{Blob, Content, ErrorCode, Failure, Link};
pub use provider::portreeve::ui::progress;
pub use tools::{argument, no_such_tool, tool_document};

pub use serde_json::{Value, json};

/// Exports the program as a provider of tools. Natively it is only held against the trait:
/// linkers there refuse the names of a component's exports.
#[macro_export]
macro_rules! export {
    ($program:ident) => {
        #[cfg(target_family = "wasm")]
        $crate::provider::export_provider!($program);
        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> $crate::Answer = || {
            <$program as $crate::Guest>::list_tools()?;
            <$program as $crate::Guest>::call_tool(String::new(), String::new())
        };
    };
}

/// Exports the program's part in starting and stopping, as [`export!`] does its tools.
#[macro_export]
macro_rules! export_lifecycle {
    ($program:ident) => {
        #[cfg(target_family = "wasm")]
        $crate::lifecycle_world::export_lifecycle!($program);
        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> Result<(), $crate::Failure> = || {
            <$program as $crate::lifecycle::Guest>::start(String::new())?;
            <$program as $crate::lifecycle::Guest>::stop(0);
            <$program as $crate::lifecycle::Guest>::migrate(String::new())?;
            <$program as $crate::lifecycle::Guest>::health()
        };
    };
}

/// Exports the program's resources, prompts and completion, as [`export!`] does its tools.
#[macro_export]
macro_rules! export_content {
    ($program:ident) => {
        #[cfg(target_family = "wasm")]
        $crate::content_world::export_content!($program);
        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> Result<(), $crate::Failure> = || {
            <$program as $crate::resources::Guest>::list_resources(None, 0)?;
            <$program as $crate::resources::Guest>::list_templates()?;
            <$program as $crate::resources::Guest>::read_resource(String::new())?;
            <$program as $crate::prompts::Guest>::list_prompts()?;
            <$program as $crate::prompts::Guest>::get_prompt(String::new(), String::new())?;
            let of = $crate::completion::Subject::Prompt(String::new());
            <$program as $crate::completion::Guest>::complete(
                of,
                String::new(),
                String::new(),
                String::new(),
            )?;
            Ok(())
        };
    };
}

/// What a tool returns.
pub type Answer = Result<Outcome, Failure>;

/// An answer of these pieces.
pub fn outcome(content: Vec<Content>) -> Outcome {
    Outcome {
        content,
        is_error: false,
        meta: Vec::new(),
    }
}

/// An answer of one text.
pub fn text(text: impl Into<String>) -> Outcome {
    outcome(vec![Content::Text(text.into())])
}

/// An answer of one JSON document.
pub fn structured(value: Value) -> Outcome {
    outcome(vec![Content::Structured(value.to_string())])
}

/// A failure with this code and message.
pub fn failure(code: ErrorCode, message: impl Into<String>) -> Failure {
    Failure {
        code,
        reason: String::new(),
        message: message.into(),
        retry_after_ms: None,
        detail: None,
    }
}
