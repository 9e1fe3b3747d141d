//! The arguments of `#[tool(…)]`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::{Error, Expr, Ident, LitBool, LitStr, Result, Token};

/// Characters of a tool's name; the host holds names to the same number.
const NAME_CHARACTERS_MAX: usize = 64;

/// What stands in the parentheses of `#[tool(…)]`.
#[derive(Default)]
pub(crate) struct ToolArgs {
    pub(crate) name: Option<String>,
    pub(crate) title: Option<String>,
    read_only: Option<bool>,
    destructive: Option<bool>,
    idempotent: Option<bool>,
    open_world: Option<bool>,
    pub(crate) icons: Option<Expr>,
    pub(crate) tasks: Option<Ident>,
    pub(crate) panel: Option<String>,
    pub(crate) panel_only: Option<bool>,
}

impl ToolArgs {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut args = Self::default();
        let parser = syn::meta::parser(|meta| args.member(&meta));
        parser.parse2(tokens)?;
        Ok(args)
    }

    fn member(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let key = meta
            .path
            .get_ident()
            .map(Ident::to_string)
            .unwrap_or_default();
        match key.as_str() {
            "name" => {
                let literal: LitStr = meta.value()?.parse()?;
                let name = literal.value();
                check_name(&name).map_err(|why| Error::new(literal.span(), why))?;
                set(&mut self.name, name, meta)
            }
            "title" => {
                let literal: LitStr = meta.value()?.parse()?;
                set(&mut self.title, literal.value(), meta)
            }
            "read_only" => set(&mut self.read_only, flag(meta)?, meta),
            "destructive" => set(&mut self.destructive, flag(meta)?, meta),
            "idempotent" => set(&mut self.idempotent, flag(meta)?, meta),
            "open_world" => set(&mut self.open_world, flag(meta)?, meta),
            "icons" => {
                let icons = meta.value()?.parse()?;
                set(&mut self.icons, icons, meta)
            }
            "tasks" => {
                let literal: LitStr = meta.value()?.parse()?;
                let variant = match literal.value().as_str() {
                    "forbidden" => "Forbidden",
                    "optional" => "Optional",
                    "required" => "Required",
                    _ => {
                        let why = "tasks are `\"forbidden\"`, `\"optional\"` or `\"required\"`";
                        return Err(Error::new(literal.span(), why));
                    }
                };
                set(&mut self.tasks, Ident::new(variant, literal.span()), meta)
            }
            "panel" => {
                let literal: LitStr = meta.value()?.parse()?;
                let panel = literal.value();
                if !panel.starts_with("ui://") {
                    let why = "the address of a panel begins with `ui://`";
                    return Err(Error::new(literal.span(), why));
                }
                set(&mut self.panel, panel, meta)
            }
            "panel_only" => set(&mut self.panel_only, flag(meta)?, meta),
            _ => Err(meta.error(
                "unknown argument; a tool takes `name = \"…\"`, `title = \"…\"`, \
                 `icons = ICONS`, `tasks = \"required\"`, `panel = \"ui://…\"`, `read_only`, \
                 `destructive`, `idempotent`, `open_world` and `panel_only` (each of the last \
                 five also as `= false`)",
            )),
        }
    }

    /// The constant of type `portreeve_sdk::Annotations`.
    pub(crate) fn annotations(&self) -> TokenStream {
        let read_only = Quoted(self.read_only);
        let destructive = Quoted(self.destructive);
        let idempotent = Quoted(self.idempotent);
        let open_world = Quoted(self.open_world);
        quote! {
            ::portreeve_sdk::Annotations {
                read_only: #read_only,
                destructive: #destructive,
                idempotent: #idempotent,
                open_world: #open_world,
            }
        }
    }
}

/// Writes an option as an expression; `quote` by itself would leave `None` out.
pub(crate) struct Quoted<T>(pub(crate) Option<T>);

impl<T: ToTokens> ToTokens for Quoted<T> {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(match &self.0 {
            Some(value) => quote!(::core::option::Option::Some(#value)),
            None => quote!(::core::option::Option::None),
        });
    }
}

/// `read_only` and `read_only = true` say the same.
fn flag(meta: &ParseNestedMeta<'_>) -> Result<bool> {
    if meta.input.peek(Token![=]) {
        Ok(meta.value()?.parse::<LitBool>()?.value)
    } else {
        Ok(true)
    }
}

fn set<T>(slot: &mut Option<T>, value: T, meta: &ParseNestedMeta<'_>) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(meta.error("given twice"));
    }
    Ok(())
}

/// Why a name can't be a tool's.
pub(crate) fn check_name(name: &str) -> std::result::Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > NAME_CHARACTERS_MAX || !name.chars().all(allowed) {
        return Err(format!(
            "a tool's name has 1 to {NAME_CHARACTERS_MAX} of the characters A-Z a-z 0-9 _ . -; \
             set another with #[tool(name = \"…\")]"
        ));
    }
    Ok(())
}
