//! A TOML text with the place of everything in it: parsing within bounds, reading it as a
//! type while collecting mistakes, and finding the span of a path.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};
use toml_parser::lexer::TokenKind;

use crate::diagnostic::{Diagnostic, Diagnostics, ERRORS_MAX, Source};
use crate::json;
use crate::reader::{ReadError, TableReader};

/// The longest manifest, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 20;
/// How deep tables and arrays may lie within each other. The deepest thing that is ours is
/// 7 deep; JSON Schemas under `[config]` need more.
pub(crate) const DEPTH_MAX: usize = 40;
/// The version of both manifests' grammar.
pub(crate) const SCHEMA_VERSION: i64 = 1;

/// A parsed text.
pub(crate) struct Document<'t> {
    source: &'t Source,
    root: Spanned<DeTable<'t>>,
}

/// The place of a value: keys, and indices of arrays as text.
type Path = Vec<String>;

impl<'t> Document<'t> {
    /// The text that it was read from.
    pub(crate) fn source(&self) -> &'t Source {
        self.source
    }

    /// Parses a manifest: bounded, syntactically right and of our schema version.
    pub(crate) fn parse(source: &'t Source) -> Result<Self, Diagnostics> {
        let document = Document::parse_any_version(source)?;
        document.check_version()?;
        Ok(document)
    }

    /// Parses a text whose schema version the caller judges: bounded and syntactically right.
    pub(crate) fn parse_any_version(source: &'t Source) -> Result<Self, Diagnostics> {
        let refuse = |errors| Err(Diagnostics::new(source.clone(), errors));
        let text = source.text();
        if text.len() > TEXT_BYTES_MAX {
            return refuse(vec![Diagnostic::new(
                format!(
                    "the file has {} bytes, but at most {TEXT_BYTES_MAX} are allowed",
                    text.len()
                ),
                None,
            )]);
        }
        if let Some(span) = long_key(text) {
            return refuse(vec![too_deep(span)]);
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let errors = errors.iter().map(|error| {
                let message = format!("this is not TOML: {}", error.message());
                let diagnostic = Diagnostic::new(message, error.span());
                match error.message() {
                    "duplicate key" => {
                        diagnostic.with_help("each key and table may stand once; merge them")
                    }
                    _ => diagnostic,
                }
            });
            return refuse(errors.take(ERRORS_MAX).collect());
        }
        let document = Document { source, root };
        if let Some(span) = deeper_than(document.root.get_ref().values(), DEPTH_MAX) {
            return refuse(vec![too_deep(span)]);
        }
        Ok(document)
    }

    /// What stands behind `schema`: its place, and its number where it is one.
    pub(crate) fn schema_version(&self) -> Option<(Range<usize>, Option<i64>)> {
        let found = self.root.get_ref().get("schema")?;
        let number = found.get_ref().as_integer();
        let number = number.and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        Some((found.span(), number))
    }

    /// Refuses another schema version before anything else: its keys mean other things.
    fn check_version(&self) -> Result<(), Diagnostics> {
        let error = match self.schema_version() {
            None => Diagnostic::new("the key `schema` is missing", Some(0..0))
                .with_help(format!("start the file with `schema = {SCHEMA_VERSION}`")),
            Some((_, Some(SCHEMA_VERSION))) => return Ok(()),
            Some((span, Some(newer))) if newer > SCHEMA_VERSION => Diagnostic::new(
                format!("the file has schema version {newer}, but this version of Portreeve reads version {SCHEMA_VERSION}"),
                Some(span),
            )
            .with_help("use a newer version of Portreeve"),
            Some((span, _)) => Diagnostic::new("this is no schema version", Some(span))
                .with_help(format!("write `schema = {SCHEMA_VERSION}`")),
        };
        Err(self.refuse(vec![error]))
    }

    /// Reads the document as a type and collects mistakes: what is wrong is taken out and
    /// the rest is read again, so that one mistake doesn't hide the next. What was taken
    /// out stays out: later paths and spans are those of what was read.
    pub(crate) fn read<T: DeserializeOwned>(&mut self, errors: &mut Vec<Diagnostic>) -> Option<T> {
        let mut removed: Vec<Path> = Vec::new();
        // Each round takes something out; the second half is for what then misses a part.
        for _ in 0..ERRORS_MAX * 2 {
            let error = match T::deserialize(TableReader(self.root.get_ref())) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let path = error
                .span
                .as_ref()
                .and_then(|span| find(self.root.get_ref(), span));
            // A table that misses what was just taken out of it is no mistake of its own.
            let consequence = removed
                .iter()
                .any(|gone| gone.starts_with(path.as_deref().unwrap_or_default()));
            if !consequence {
                errors.push(reword(&error));
            }
            let path = path.filter(|_| errors.len() < ERRORS_MAX)?;
            remove(self.root.get_mut(), &path);
            // What lay within it is gone, and in an array the next item has its place.
            removed.retain(|gone| !gone.starts_with(&path));
            if path
                .last()
                .is_some_and(|step| step.parse::<usize>().is_err())
            {
                removed.push(path);
            }
        }
        None
    }

    /// The span of the value at a path, or of the nearest thing around it.
    pub(crate) fn span(&self, path: &[&str]) -> Option<Range<usize>> {
        let (first, rest) = path.split_first()?;
        let mut value = self.root.get_ref().get(*first)?;
        for step in rest {
            let next = match value.get_ref() {
                DeValue::Table(table) => table.get(*step),
                DeValue::Array(array) => step.parse().ok().and_then(|i: usize| array.get(i)),
                _ => None,
            };
            let Some(next) = next else { break };
            value = next;
        }
        Some(value.span()).filter(|span| !span.is_empty())
    }

    /// The span of the key at a path, or of the nearest thing around it.
    pub(crate) fn key_span(&self, path: &[&str]) -> Option<Range<usize>> {
        let (last, parents) = path.split_last()?;
        let mut table = self.root.get_ref();
        for step in parents {
            match table.get(*step).map(Spanned::get_ref) {
                Some(DeValue::Table(inner)) => table = inner,
                _ => return self.span(path),
            }
        }
        table
            .get_key_value(*last)
            .map(|(key, _)| key.span())
            .or_else(|| self.span(path))
    }

    /// Diagnostics of this document.
    pub(crate) fn refuse(&self, errors: Vec<Diagnostic>) -> Diagnostics {
        Diagnostics::new(self.source.clone(), errors)
    }
}

fn too_deep(span: Range<usize>) -> Diagnostic {
    Diagnostic::new(
        format!("more than {DEPTH_MAX} tables and arrays lie within each other"),
        Some(span),
    )
}

/// A dotted key with too many parts. Looked for before parsing, since each part becomes a
/// table within the last, however many there are.
fn long_key(text: &str) -> Option<Range<usize>> {
    let mut dots = 0;
    let mut start = 0;
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::Atom
            | TokenKind::Whitespace
            | TokenKind::BasicString
            | TokenKind::LiteralString => {}
            _ => {
                dots = 0;
                start = token.span().end();
            }
        }
        if dots > DEPTH_MAX {
            return Some(start..token.span().end());
        }
    }
    None
}

/// The span of something that lies deeper than allowed.
fn deeper_than<'a, 't: 'a>(
    mut values: impl Iterator<Item = &'a Spanned<DeValue<'t>>>,
    depth: usize,
) -> Option<Range<usize>> {
    values.find_map(|value| {
        let depth = match depth.checked_sub(1) {
            Some(depth) => depth,
            None => return Some(value.span()),
        };
        match value.get_ref() {
            DeValue::Table(table) => {
                let values: Box<dyn Iterator<Item = _>> = Box::new(table.values());
                deeper_than(values, depth)
            }
            DeValue::Array(array) => {
                let values: Box<dyn Iterator<Item = _>> = Box::new(array.iter());
                deeper_than(values, depth)
            }
            _ => None,
        }
    })
}

/// The path of the deepest key or value that has exactly this span.
fn find(table: &DeTable<'_>, span: &Range<usize>) -> Option<Path> {
    fn within(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Path> {
        let deeper = match value.get_ref() {
            DeValue::Table(table) => find(table, span),
            DeValue::Array(array) => array.iter().enumerate().find_map(|(index, item)| {
                let rest = within(item, span)?;
                Some([vec![index.to_string()], rest].concat())
            }),
            _ => None,
        };
        deeper.or_else(|| (value.span() == *span).then(Vec::new))
    }
    table.iter().find_map(|(key, value)| {
        let rest = within(value, span).or_else(|| (key.span() == *span).then(Vec::new))?;
        Some([vec![key.get_ref().to_string()], rest].concat())
    })
}

/// Takes the value at a path out of a table.
fn remove(table: &mut DeTable<'_>, path: &[String]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.remove(first.as_str());
    } else if let Some(value) = table.get_mut(first.as_str()) {
        remove_within(value.get_mut(), rest);
    }
}

fn remove_within(value: &mut DeValue<'_>, path: &[String]) {
    match value {
        DeValue::Table(table) => remove(table, path),
        DeValue::Array(array) => {
            let Some((first, rest)) = path.split_first() else {
                return;
            };
            let Ok(index) = first.parse::<usize>() else {
                return;
            };
            if !rest.is_empty() {
                if let Some(item) = array.get_mut(index) {
                    remove_within(item.get_mut(), rest);
                }
                return;
            }
            let items = std::mem::replace(array, DeArray::new())
                .into_iter()
                .enumerate();
            *array = items
                .filter(|(i, _)| *i != index)
                .map(|(_, item)| item)
                .collect();
        }
        _ => {}
    }
}

/// Says in our words what serde says in its own.
fn reword(error: &ReadError) -> Diagnostic {
    let message = error.message.as_str();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (first, others) = quoted.split_first().unwrap_or((&"", &[]));
    // The document itself has no span; its start stands for it.
    let span = error.span.clone().unwrap_or(0..0);
    let at = |message: String| Diagnostic::new(message, Some(span.clone()));
    if message.starts_with("unknown field ") {
        let diagnostic = at(format!("unknown key `{first}`"));
        match nearest(first, others) {
            Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
            None if others.is_empty() => diagnostic.with_help("there are no keys here"),
            None => diagnostic.with_help(format!("the keys here are {}", list(others))),
        }
    } else if message.starts_with("unknown variant ") {
        let diagnostic = at(format!("`{first}` is none of the choices"));
        diagnostic.with_help(format!("write one of {}", list(others)))
    } else if message.starts_with("missing field ") {
        at(format!("the key `{first}` is missing"))
    } else if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        at(format!(
            "expected {}, found {}",
            plain(expected),
            plain(found)
        ))
    } else {
        at(message.into())
    }
}

/// What serde expects or finds, in TOML's words.
fn plain(what: &str) -> &str {
    match what {
        "a map" | "map" => "a table",
        "a sequence" | "sequence" => "an array",
        "a boolean" => "`true` or `false`",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" => "a whole number that is not negative",
        what => ["integer ", "floating point ", "boolean "]
            .iter()
            .find_map(|kind| what.strip_prefix(kind))
            .unwrap_or(what),
    }
}

fn list(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The known name that a mistyped one is nearest to, if it is near at all.
fn nearest<'a>(mistyped: &str, known: &[&'a str]) -> Option<&'a str> {
    // The comparison takes the product of the lengths.
    if mistyped.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(mistyped, name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// A TOML table as JSON. What JSON cannot say is refused: dates, `nan`, `inf`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JsonTable(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for JsonTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match json::from_toml(deserializer)? {
            Value::Object(members) => Ok(JsonTable(members)),
            _ => Err(serde::de::Error::custom("expected a table")),
        }
    }
}

impl schemars::JsonSchema for JsonTable {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Table".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object" })
    }
}

/// The fixed value of `schema`; [`Document::parse`] has checked it.
#[derive(Deserialize)]
pub(crate) struct SchemaVersion(#[expect(dead_code, reason = "read, already checked")] i64);

impl schemars::JsonSchema for SchemaVersion {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SchemaVersion".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": SCHEMA_VERSION, "description": "The version of this file's grammar." })
    }
}
