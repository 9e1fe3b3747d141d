//! The attributes of `portreeve-sdk`; use them through that crate, which documents them.
//!
//! Architecture invariant: a macro here only reads a function's signature and writes an
//! implementation of `portreeve_sdk::Tool` beside it. Whatever can be done by a function at
//! run time (schemas, parsing of arguments, answers) is done in `portreeve-sdk`, not in
//! generated code.
#![deny(missing_docs)]

use proc_macro::TokenStream;

mod args;
mod plugin;
mod tool;

/// Makes a tool of a function. See `portreeve_sdk::tool`.
#[proc_macro_attribute]
pub fn tool(attribute: TokenStream, item: TokenStream) -> TokenStream {
    tool::expand(attribute.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Exports tools as a plugin. See `portreeve_sdk::plugin`.
#[proc_macro]
pub fn plugin(input: TokenStream) -> TokenStream {
    plugin::expand(input.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
