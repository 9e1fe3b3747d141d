//! How two JSON Schemas differ, for those who send what one describes or read it.
//!
//! The rule is conservative and looks at the texts of the schemas only. What is certain:
//!
//! | Change | of arguments and settings | of answers |
//! |---|---|---|
//! | a property is new and required | major | minor |
//! | a property is new and optional | minor | minor |
//! | a property is gone | major | major |
//! | a property is required from now on | major | minor |
//! | a property is required no more | minor | major |
//! | more values are allowed | minor | major |
//! | fewer values are allowed | major | minor |
//! | title, description, examples, default, unknown keywords | patch | patch |
//!
//! More and fewer values are told for `type`, `enum`, the bounds of numbers and lengths,
//! and `additionalProperties`. Any other change (`pattern`, `format`, `$ref`, `$defs`,
//! `anyOf`, `not`, …) is major, even where it changes nothing in effect: two schemas may
//! say the same in different words, and this comparison doesn't know. The other way round
//! a new optional property counts as minor although a schema that said nothing about other
//! properties had allowed any value under its name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Class, Finding, Findings, quoted};

/// Whose the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// They come from outside: arguments, settings.
    In,
    /// They come from the plugin: answers.
    Out,
}

impl Side {
    fn wider(self) -> Class {
        match self {
            Side::In => Class::Minor,
            Side::Out => Class::Major,
        }
    }

    fn narrower(self) -> Class {
        match self {
            Side::In => Class::Major,
            Side::Out => Class::Minor,
        }
    }
}

/// Keywords that restrict values in ways which aren't compared, so that any change counts.
const OPAQUE: [&str; 32] = [
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "$defs",
    "definitions",
    "$id",
    "$anchor",
    "$dynamicAnchor",
    "$vocabulary",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependentRequired",
    "dependencies",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "prefixItems",
    "additionalItems",
    "contains",
    "pattern",
    "format",
    "multipleOf",
    "const",
    "contentEncoding",
    "contentMediaType",
];

/// Upper bounds: a larger one allows more, none allows all.
const UPPER: [&str; 6] = [
    "maximum",
    "exclusiveMaximum",
    "maxLength",
    "maxItems",
    "maxProperties",
    "maxContains",
];

/// Lower bounds: a smaller one allows more, none allows all.
const LOWER: [&str; 6] = [
    "minimum",
    "exclusiveMinimum",
    "minLength",
    "minItems",
    "minProperties",
    "minContains",
];

/// Compares two schemas of what a path names, such as `argument query`.
pub(super) fn compare(
    what: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    side: Side,
    findings: &mut Findings,
) {
    let at = At {
        what,
        side,
        path: String::new(),
    };
    at.compare(old, new, findings);
}

/// Where a comparison is.
struct At<'a> {
    what: &'a str,
    side: Side,
    path: String,
}

impl At<'_> {
    /// What a message calls the place.
    fn name(&self) -> String {
        if self.path.is_empty() {
            self.what.to_owned()
        } else {
            format!("{} {}", self.what, quoted(&self.path))
        }
    }

    fn within(&self, step: &str) -> At<'_> {
        let path = if self.path.is_empty() || step == "[]" {
            format!("{}{step}", self.path)
        } else {
            format!("{}.{step}", self.path)
        };
        At { path, ..*self }
    }

    fn say(&self, class: Class, how: impl Into<String>, findings: &mut Findings) {
        findings.push(Finding {
            class,
            what: self.name(),
            how: how.into(),
        });
    }

    fn compare(&self, old: &Map<String, Value>, new: &Map<String, Value>, findings: &mut Findings) {
        if old == new {
            return;
        }
        self.properties(old, new, findings);
        self.types(old, new, findings);
        self.values(old, new, findings);
        self.rest(old, new, findings);
        let (more, fewer) = (self.side.wider(), self.side.narrower());
        for (keywords, larger, smaller) in [(UPPER, more, fewer), (LOWER, fewer, more)] {
            for keyword in keywords {
                let class = match (old.get(keyword), new.get(keyword)) {
                    (old, new) if old == new => continue,
                    // A bound that goes allows more, whichever it is.
                    (Some(_), None) => more,
                    (None, Some(_)) => fewer,
                    (Some(old), Some(new)) => match (old.as_f64(), new.as_f64()) {
                        (Some(old), Some(new)) if new > old => larger,
                        (Some(old), Some(new)) if new < old => smaller,
                        _ => Class::Major,
                    },
                    (None, None) => continue,
                };
                self.say(class, changed(keyword, old, new), findings);
            }
        }
        for keyword in ["items", "uniqueItems"] {
            self.other(keyword, old, new, findings);
        }
        let keywords: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for keyword in keywords {
            let keyword = keyword.as_str();
            if old.get(keyword) == new.get(keyword) {
                continue;
            }
            if OPAQUE.contains(&keyword) {
                self.say(Class::Major, changed(keyword, old, new), findings);
            } else if !COMPARED.contains(&keyword)
                && !UPPER.contains(&keyword)
                && !LOWER.contains(&keyword)
            {
                // A remark, or a keyword that no validator knows.
                self.say(Class::Patch, changed(keyword, old, new), findings);
            }
        }
    }

    fn properties(
        &self,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        findings: &mut Findings,
    ) {
        let (before, now) = (members(old), members(new));
        let (needed, needs) = (required(old), required(new));
        let names: BTreeSet<&str> = [&before, &now]
            .into_iter()
            .flat_map(|members| members.keys().copied())
            .chain(needed.iter().copied())
            .chain(needs.iter().copied())
            .collect();
        for name in names {
            let at = self.within(name);
            let (was, is) = (needed.contains(name), needs.contains(name));
            match (before.get(name), now.get(name)) {
                (None, Some(schema)) => {
                    let (class, how) = match (is, self.side) {
                        (true, Side::In) => (Class::Major, "is new and required"),
                        (true, Side::Out) => (Class::Minor, "is new and required"),
                        (false, _) => (Class::Minor, "is new"),
                    };
                    at.say(class, format!("{how}: {}", told(Some(schema))), findings);
                    continue;
                }
                (Some(_), None) => {
                    at.say(Class::Major, "is gone", findings);
                    continue;
                }
                (Some(Value::Object(old)), Some(Value::Object(new))) => {
                    at.compare(old, new, findings);
                }
                (Some(old), Some(new)) if old != new => {
                    at.say(Class::Major, "is described in another way", findings);
                }
                _ => {}
            }
            match (was, is) {
                (false, true) => {
                    at.say(self.side.narrower(), "is required from now on", findings);
                }
                (true, false) => at.say(self.side.wider(), "is required no more", findings),
                _ => {}
            }
        }
    }

    fn types(&self, old: &Map<String, Value>, new: &Map<String, Value>, findings: &mut Findings) {
        let (before, now) = (types(old), types(new));
        let class = match (&before, &now) {
            (old, new) if old == new => return,
            (Some(before), Some(now)) if before.is_subset(now) => self.side.wider(),
            (Some(before), Some(now)) if now.is_subset(before) => self.side.narrower(),
            (Some(_), None) => self.side.wider(),
            (None, Some(_)) => self.side.narrower(),
            _ => Class::Major,
        };
        self.say(class, changed("type", old, new), findings);
    }

    fn values(&self, old: &Map<String, Value>, new: &Map<String, Value>, findings: &mut Findings) {
        let (before, now) = (old.get("enum"), new.get("enum"));
        let class = match (before, now) {
            (old, new) if old == new => return,
            (Some(Value::Array(before)), Some(Value::Array(now))) => {
                let within = |these: &[Value], those: &[Value]| {
                    let those: BTreeSet<String> = those.iter().map(super::canonical).collect();
                    these
                        .iter()
                        .all(|value| those.contains(&super::canonical(value)))
                };
                match (within(before, now), within(now, before)) {
                    (true, true) => Class::Patch,
                    (true, false) => self.side.wider(),
                    (false, true) => self.side.narrower(),
                    (false, false) => Class::Major,
                }
            }
            (Some(Value::Array(_)), None) => self.side.wider(),
            (None, Some(Value::Array(_))) => self.side.narrower(),
            _ => Class::Major,
        };
        self.say(class, changed("enum", old, new), findings);
    }

    /// Whether members beyond the listed ones are allowed.
    fn rest(&self, old: &Map<String, Value>, new: &Map<String, Value>, findings: &mut Findings) {
        let open = |schema: &Map<String, Value>| match schema.get("additionalProperties") {
            None | Some(Value::Bool(true)) => Some(true),
            Some(Value::Bool(false)) => Some(false),
            Some(_) => None,
        };
        let keyword = "additionalProperties";
        let class = match (open(old), open(new)) {
            (Some(old), Some(new)) if old == new => return,
            (_, Some(true)) | (Some(false), None) => self.side.wider(),
            (Some(true), _) | (_, Some(false)) => self.side.narrower(),
            _ => return self.other(keyword, old, new, findings),
        };
        self.say(class, changed(keyword, old, new), findings);
    }

    /// A keyword whose value is a schema or a flag.
    fn other(
        &self,
        keyword: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        findings: &mut Findings,
    ) {
        let class = match (old.get(keyword), new.get(keyword)) {
            (old, new) if old == new => return,
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                self.within("[]").compare(old, new, findings);
                return;
            }
            (None | Some(Value::Bool(true)), Some(Value::Object(_))) if keyword == "items" => {
                self.side.narrower()
            }
            (Some(Value::Object(_)), None | Some(Value::Bool(true))) if keyword == "items" => {
                self.side.wider()
            }
            (None | Some(Value::Bool(false)), Some(Value::Bool(true)))
                if keyword == "uniqueItems" =>
            {
                self.side.narrower()
            }
            (Some(Value::Bool(true)), None | Some(Value::Bool(false)))
                if keyword == "uniqueItems" =>
            {
                self.side.wider()
            }
            _ => Class::Major,
        };
        self.say(class, changed(keyword, old, new), findings);
    }
}

/// Keywords that are compared by meaning.
const COMPARED: [&str; 7] = [
    "properties",
    "required",
    "type",
    "enum",
    "additionalProperties",
    "items",
    "uniqueItems",
];

fn members(schema: &Map<String, Value>) -> BTreeMap<&str, &Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let members = properties.into_iter().flatten();
    members
        .map(|(name, schema)| (name.as_str(), schema))
        .collect()
}

fn required(schema: &Map<String, Value>) -> BTreeSet<&str> {
    let names = schema.get("required").and_then(Value::as_array);
    names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The types that are allowed; none where all are. A whole number is a number.
fn types(schema: &Map<String, Value>) -> Option<BTreeSet<&str>> {
    let mut types: BTreeSet<&str> = match schema.get("type")? {
        Value::String(one) => BTreeSet::from([one.as_str()]),
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => BTreeSet::new(),
    };
    if types.contains("number") {
        types.insert("integer");
    }
    Some(types)
}

/// Says how a keyword has changed. What is there now is shown, since agents act on it.
fn changed(keyword: &str, old: &Map<String, Value>, new: &Map<String, Value>) -> String {
    format!(
        "has another {}: {}, before {}",
        super::shown(keyword),
        told(new.get(keyword)),
        told(old.get(keyword))
    )
}

/// A value as a message shows it.
pub(super) fn told(value: Option<&Value>) -> String {
    /// More than a person reads, and less than would hide the rest of the message.
    const CHARS_MAX: usize = 2_000;
    let Some(value) = value else {
        return "nothing".to_owned();
    };
    let text = super::shown(&super::canonical(value));
    match text.char_indices().nth(CHARS_MAX) {
        None => text,
        Some((end, _)) => format!(
            "{}… ({} bytes more)",
            text.get(..end).unwrap_or_default(),
            text.len() - end
        ),
    }
}
