//! `#[tool]`: from a function to an implementation of `portreeve_sdk::Tool`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, Meta, Pat, PatType, Result,
    ReturnType, Signature, Type,
};

use crate::args::{Quoted, ToolArgs, check_name};

/// One parameter of the function: a member of the arguments.
struct Parameter {
    attributes: Vec<Attribute>,
    name: Ident,
    ty: Type,
}

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let args = ToolArgs::parse(attribute)?;
    let span = item.span();
    let mut function: ItemFn = syn::parse2(item).map_err(|error| {
        // The parser's own message would speak of tokens; what matters is what it is for.
        Error::new(span, format!("#[tool] belongs on a function: {error}"))
    })?;
    check_signature(&function.sig)?;

    let ident = function.sig.ident.clone();
    let name = match args.name.clone() {
        Some(name) => name,
        None => {
            let name = ident.unraw().to_string();
            check_name(&name).map_err(|why| Error::new(ident.span(), why))?;
            name
        }
    };
    let description = doc_text(&function.attrs);
    if description.is_empty() {
        return Err(Error::new(
            ident.span(),
            "a tool needs a doc comment (`/// …`): it is the description from which a model \
             learns what the tool does and when to use it",
        ));
    }
    let parameters = take_parameters(&mut function)?;

    let answer = match &function.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };
    // The type stands alone under its own span, so that an answer of the wrong type is
    // reported there.
    let answer_type = quote_spanned!(answer.span()=> type Answer = #answer;);
    let visibility = &function.vis;
    let title = Quoted(args.title.as_ref());
    let annotations = args.annotations();
    let icons = args.icons.iter();
    let tasks = args.tasks.iter();
    let panel = Quoted(args.panel.as_ref());
    let panel_only = args.panel_only.unwrap_or(false);
    let fields = parameters.iter().map(|parameter| {
        let Parameter {
            attributes,
            name,
            ty,
        } = parameter;
        quote!(#(#attributes)* pub #name: #ty)
    });
    let names = parameters.iter().map(|parameter| &parameter.name);

    Ok(quote! {
        #function

        // A function lives among the values, this type among the types: one name for both.
        #[doc(hidden)]
        #[allow(non_camel_case_types, reason = "it has the name of its function")]
        #visibility enum #ident {}

        const _: () = {
            #[derive(
                ::portreeve_sdk::__private::serde::Deserialize,
                ::portreeve_sdk::__private::schemars::JsonSchema,
            )]
            #[serde(crate = "::portreeve_sdk::__private::serde", deny_unknown_fields)]
            #[schemars(crate = "::portreeve_sdk::__private::schemars")]
            pub struct Arguments { #(#fields),* }

            impl ::portreeve_sdk::Tool for #ident {
                const NAME: &'static str = #name;
                const TITLE: ::core::option::Option<&'static str> = #title;
                const DESCRIPTION: &'static str = #description;
                const ANNOTATIONS: ::portreeve_sdk::Annotations = #annotations;
                #(const ICONS: &'static [::portreeve_sdk::Icon] = #icons;)*
                #(const TASKS: ::portreeve_sdk::TaskSupport = ::portreeve_sdk::TaskSupport::#tasks;)*
                const PANEL: ::core::option::Option<&'static str> = #panel;
                const PANEL_ONLY: bool = #panel_only;
                type Arguments = Arguments;
                #answer_type
                fn run(arguments: Arguments) -> Self::Answer {
                    let _ = &arguments;
                    #ident(#(arguments.#names),*)
                }
            }
        };
    })
}

/// Refuses what can't be called with one JSON object and return one answer.
fn check_signature(signature: &Signature) -> Result<()> {
    if let Some(token) = &signature.asyncness {
        return Err(Error::new(
            token.span(),
            "a tool is a plain function: calls into a component are synchronous; remove `async`",
        ));
    }
    if let Some(token) = &signature.unsafety {
        return Err(Error::new(
            token.span(),
            "a tool is a safe function; remove `unsafe`",
        ));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new(
            abi.span(),
            "a tool is a plain Rust function; remove `extern`",
        ));
    }
    let generics = &signature.generics;
    if !generics.params.is_empty() {
        return Err(Error::new(
            generics.span(),
            "a tool can't be generic: its schema needs concrete types",
        ));
    }
    if let Some(clause) = &generics.where_clause {
        return Err(Error::new(
            clause.span(),
            "a tool can't be generic; remove the `where` clause",
        ));
    }
    if let Some(variadic) = &signature.variadic {
        return Err(Error::new(
            variadic.span(),
            "a tool has named parameters only",
        ));
    }
    if let ReturnType::Type(_, ty) = &signature.output
        && let Type::ImplTrait(_) = ty.as_ref()
    {
        return Err(Error::new(
            ty.span(),
            "a tool returns a concrete type: `String`, `Json<T>`, `Content`, `Outcome`, or a \
             `Result` of one of them",
        ));
    }
    Ok(())
}

/// Moves the attributes of the parameters (docs, serde, schemars) out of the function, where
/// the compiler wouldn't accept them.
fn take_parameters(function: &mut ItemFn) -> Result<Vec<Parameter>> {
    function
        .sig
        .inputs
        .iter_mut()
        .map(|input| match input {
            FnArg::Receiver(receiver) => Err(Error::new(
                receiver.span(),
                "a tool is a free function: it has no `self`; state within a call goes into \
                 local variables",
            )),
            FnArg::Typed(typed) => parameter(typed),
        })
        .collect()
}

fn parameter(typed: &mut PatType) -> Result<Parameter> {
    let name = match typed.pat.as_ref() {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
            pattern.ident.clone()
        }
        other => {
            return Err(Error::new(
                other.span(),
                "a parameter of a tool needs a plain name: it becomes a member of the arguments; \
                 take it apart in the body",
            ));
        }
    };
    match typed.ty.as_ref() {
        Type::Reference(reference) => {
            return Err(Error::new(
                reference.span(),
                "a tool owns its arguments: take `String` for `&str`, `Vec<T>` for `&[T]`, `T` \
                 for `&T`",
            ));
        }
        Type::ImplTrait(ty) => {
            return Err(Error::new(
                ty.span(),
                "a tool can't be generic: its schema needs concrete types",
            ));
        }
        _ => {}
    }
    let (attributes, kept) = std::mem::take(&mut typed.attrs)
        .into_iter()
        .partition(|attribute| {
            ["doc", "serde", "schemars"]
                .iter()
                .any(|name| attribute.path().is_ident(name))
        });
    typed.attrs = kept;
    // The field of the arguments keeps the plain name; `mut` concerns the body alone.
    Ok(Parameter {
        attributes,
        name: format_ident!("{name}"),
        ty: typed.ty.as_ref().clone(),
    })
}

/// The doc comment as text: one leading space of every line dropped, as rustdoc does.
fn doc_text(attributes: &[Attribute]) -> String {
    let lines: Vec<String> = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"))
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) => match &pair.value {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(text),
                    ..
                }) => Some(text.value()),
                _ => None,
            },
            _ => None,
        })
        .flat_map(|text| {
            text.split('\n')
                .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests;
