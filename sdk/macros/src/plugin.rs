//! `plugin!`: from a list of tools to the exports of a component.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Error, Ident, Path, Result, Token};

/// `a, b::c, start = setup, health = check`
struct Input {
    tools: Vec<Path>,
    hooks: Hooks,
    content: Content,
}

/// The types that offer resources and prompts.
#[derive(Default)]
struct Content {
    resources: Option<Path>,
    prompts: Option<Path>,
}

/// The functions that take part in the life of an instance.
#[derive(Default)]
struct Hooks {
    start: Option<Path>,
    stop: Option<Path>,
    health: Option<Path>,
    migrate: Option<Path>,
    handle: Option<Path>,
    respond: Option<Path>,
}

impl Hooks {
    /// Whether none of them is of the life of an instance.
    fn no_lifecycle(&self) -> bool {
        self.start.is_none()
            && self.stop.is_none()
            && self.health.is_none()
            && self.migrate.is_none()
    }
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut tools = Vec::new();
        let mut hooks = Hooks::default();
        let mut content = Content::default();
        while !input.is_empty() {
            if input.peek(Ident) && input.peek2(Token![=]) {
                let key: Ident = input.parse()?;
                input.parse::<Token![=]>()?;
                let value: Path = input.parse()?;
                let slot = match key.to_string().as_str() {
                    "start" => &mut hooks.start,
                    "stop" => &mut hooks.stop,
                    "health" => &mut hooks.health,
                    "migrate" => &mut hooks.migrate,
                    "handle" => &mut hooks.handle,
                    "respond" => &mut hooks.respond,
                    "resources" => &mut content.resources,
                    "prompts" => &mut content.prompts,
                    _ => {
                        return Err(Error::new(
                            key.span(),
                            "unknown key; there are `start`, `stop`, `health`, `migrate`, `handle`, `respond`, `resources` and `prompts`",
                        ));
                    }
                };
                if slot.replace(value).is_some() {
                    return Err(Error::new(key.span(), format!("`{key}` is given twice")));
                }
            } else {
                let tool: Path = input.parse()?;
                let text = tool.to_token_stream().to_string();
                if tools
                    .iter()
                    .any(|known: &Path| known.to_token_stream().to_string() == text)
                {
                    return Err(Error::new_spanned(tool, "this tool is listed twice"));
                }
                tools.push(tool);
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if tools.is_empty() && content.resources.is_none() && content.prompts.is_none() {
            return Err(input.error(
                "a plugin lists its tools: `plugin!(greet, wave)`, each a function with #[tool]",
            ));
        }
        Ok(Self {
            tools,
            hooks,
            content,
        })
    }
}

pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let Input {
        tools,
        hooks,
        content,
    } = syn::parse2(input)?;
    let private = quote!(::portreeve_sdk::__private);

    let start = hooks.start.as_ref().map(|hook| {
        quote! {
            fn start(config: &str) -> ::core::result::Result<(), ::portreeve_sdk::Error> {
                #private::start(config, #hook)
            }
        }
    });
    let stop = hooks.stop.as_ref().map(|hook| {
        quote! {
            fn stop(deadline: ::core::time::Duration) {
                #hook(deadline)
            }
        }
    });
    let health = hooks.health.as_ref().map(|hook| {
        quote! {
            fn health() -> ::core::result::Result<(), ::portreeve_sdk::Error> {
                #hook().map_err(::core::convert::Into::into)
            }
        }
    });
    let migrate = hooks.migrate.as_ref().map(|hook| {
        quote! {
            fn migrate(from_version: &str) -> ::core::result::Result<(), ::portreeve_sdk::Error> {
                #hook(from_version).map_err(::core::convert::Into::into)
            }
        }
    });
    let handle = hooks.handle.as_ref().map(|hook| {
        quote! {
            fn handle(
                message: ::portreeve_sdk::messages::Message,
            ) -> ::core::result::Result<::portreeve_sdk::messages::Handled, ::portreeve_sdk::Error> {
                #hook(message)
                    .map(::core::convert::Into::into)
                    .map_err(::core::convert::Into::into)
            }
        }
    });
    let respond = hooks.respond.as_ref().map(|hook| {
        quote! {
            fn respond(
                request: ::portreeve_sdk::messages::Message,
            ) -> ::core::result::Result<::portreeve_sdk::messages::Answer, ::portreeve_sdk::Error> {
                #hook(request).map_err(::core::convert::Into::into)
            }
        }
    });
    let export_handler = hooks.handle.is_some().then(|| {
        quote! {
            #[cfg(target_family = "wasm")]
            #private::bindings::handler::export_handler!(
                Component with_types_in #private::bindings::handler
            );
        }
    });
    let export_responder = hooks.respond.is_some().then(|| {
        quote! {
            #[cfg(target_family = "wasm")]
            #private::bindings::responder::export_responder!(
                Component with_types_in #private::bindings::responder
            );
        }
    });
    let export_lifecycle = (!hooks.no_lifecycle()).then(|| {
        quote! {
            #[cfg(target_family = "wasm")]
            #private::bindings::lifecycle::export_lifecycle!(
                Component with_types_in #private::bindings::lifecycle
            );
        }
    });

    let nothing = quote!(#private::Nothing);
    let or_nothing = |path: &Option<Path>| match path {
        Some(path) => path.to_token_stream(),
        None => nothing.clone(),
    };
    let export_content = (content.resources.is_some() || content.prompts.is_some()).then(|| {
        let resources = or_nothing(&content.resources);
        let prompts = or_nothing(&content.prompts);
        quote! {
            impl #private::ContentPlugin for Component {
                type Resources = #resources;
                type Prompts = #prompts;
            }

            #[cfg(target_family = "wasm")]
            #private::bindings::content::export_content!(
                Component with_types_in #private::bindings::content
            );
        }
    });

    Ok(quote! {
        const _: () = {
            enum Component {}

            impl #private::Plugin for Component {
                const TOOLS: &'static [#private::Entry] = &[#(#private::Entry::of::<#tools>()),*];
                #start
                #stop
                #health
                #migrate
                #handle
                #respond
            }

            const _: () = #private::assert_unique(<Component as #private::Plugin>::TOOLS);

            #[cfg(target_family = "wasm")]
            #private::bindings::tools::export_tools!(
                Component with_types_in #private::bindings::tools
            );
            #export_lifecycle
            #export_handler
            #export_responder
            #export_content
        };
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    fn check(input: &str, expected: Expect) {
        let text = match input.parse().map(super::expand) {
            Ok(Ok(_)) => "fine".to_owned(),
            Ok(Err(error)) => {
                let start = error.span().start();
                format!("{}:{}: {error}", start.line, start.column + 1)
            }
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn what_is_exported() {
        check(
            "greet, tools::wave, start = setup, stop = bye,",
            expect![[r#"fine"#]],
        );
        check(
            "",
            expect![
                "1:1: unexpected end of input, a plugin lists its tools: `plugin!(greet, wave)`, each a function with #[tool]"
            ],
        );
        check(
            "greet, greet",
            expect![[r#"1:8: this tool is listed twice"#]],
        );
        check(
            "greet, begin = setup",
            expect![[
                r#"1:8: unknown key; there are `start`, `stop`, `health`, `migrate`, `handle`, `respond`, `resources` and `prompts`"#
            ]],
        );
        check(
            "greet, start = a, start = b",
            expect![[r#"1:19: `start` is given twice"#]],
        );
        check("greet wave", expect![[r#"1:7: expected `,`"#]]);
    }
}
