//! `plugin.toml`: what a plugin's author says about it.

use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::document::{Document, JsonTable, SchemaVersion};
use crate::grant::{DIRECTORIES_MAX, RequestItem, Requests};
use crate::id::PluginId;
use crate::licence::Licence;
use crate::schema;
use crate::text::quoted;

/// The longest description of a plugin, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 2_000;

/// A valid `plugin.toml`, or what stands in for one that a component doesn't have.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginManifest {
    /// Whether the author wrote it.
    pub origin: Origin,
    /// The author's name of the plugin.
    pub id: PluginId,
    /// Its version; 0.0.0 where an inferred manifest knows none.
    pub version: Version,
    /// Its licence; a declared manifest always has one.
    pub license: Option<Licence>,
    /// What it is for, in a sentence or two.
    pub description: Option<String>,
    /// How many instances answer its calls.
    pub instances: Instances,
    /// What it asks for.
    pub requests: Requests,
    /// What the operator may set.
    pub config: ConfigSchema,
}

/// Where a manifest comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The author wrote it.
    Declared,
    /// It is made up from what the component's other sections say; it requests nothing.
    Inferred,
}

/// How many instances answer a plugin's calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Instances {
    /// A fresh one per call: nothing leaks from one caller to the next.
    #[default]
    PerCall,
    /// One that lives long and is supervised.
    Resident,
}

/// The grammar of `plugin.toml`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "plugin.toml", rename = "PluginToml")]
pub(crate) struct RawPluginManifest {
    /// The version of this file's grammar.
    #[serde(rename = "schema")]
    _schema: SchemaVersion,
    /// What the plugin is.
    plugin: RawPlugin,
    /// What it asks for.
    #[serde(default)]
    requests: Requests,
    /// What the operator may set: a JSON Schema of an object.
    config: Option<JsonTable>,
}

/// What the plugin is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawPlugin {
    /// Its name: a-z, 0-9 and single hyphens.
    id: PluginId,
    /// Its version, as in semver.org.
    #[serde(deserialize_with = "crate::text::version")]
    #[schemars(with = "String")]
    version: Version,
    /// Its licence as an SPDX expression.
    license: Licence,
    /// What it is for, in a sentence or two.
    description: Option<String>,
    /// How many instances answer its calls.
    #[serde(default)]
    instances: Instances,
}

impl PluginManifest {
    /// Reads a `plugin.toml`. `file` is the name that diagnostics show.
    ///
    /// # Errors
    /// Every mistake in the text, with its place.
    pub fn parse(file: &str, text: &str) -> Result<PluginManifest, Diagnostics> {
        let source = Source::new(file, text);
        let mut document = Document::parse(&source)?;
        let mut errors = Vec::new();
        let raw: Option<RawPluginManifest> = document.read(&mut errors);
        let manifest = raw.and_then(|raw| validate(raw, &document, &mut errors));
        match manifest {
            Some(manifest) if errors.is_empty() => Ok(manifest),
            _ => Err(document.refuse(errors)),
        }
    }

    /// The manifest of a component that has none: it requests nothing.
    pub fn inferred(
        id: PluginId,
        version: Option<Version>,
        license: Option<Licence>,
        description: Option<String>,
    ) -> PluginManifest {
        PluginManifest {
            origin: Origin::Inferred,
            id,
            version: version.unwrap_or(Version::new(0, 0, 0)),
            license,
            description,
            instances: Instances::PerCall,
            requests: Requests::default(),
            config: ConfigSchema::default(),
        }
    }

    /// What the plugin asks for but no operator can grant in this version of the host.
    pub fn unenforced_requests(&self) -> Vec<RequestItem> {
        let mut items = self.requests.items();
        items.retain(|item| !item.grantable);
        items
    }
}

/// Checks what the types alone don't say.
fn validate(
    raw: RawPluginManifest,
    document: &Document<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<PluginManifest> {
    if let Some(why) = raw.plugin.description.as_deref().and_then(bad_description) {
        errors.push(Diagnostic::new(
            why,
            document.span(&["plugin", "description"]),
        ));
    }
    let mut paths = std::collections::BTreeSet::new();
    if raw.requests.directories.len() > DIRECTORIES_MAX {
        errors.push(Diagnostic::new(
            format!("more than {DIRECTORIES_MAX} directories are requested"),
            document.span(&["requests", "directories"]),
        ));
    }
    for (index, request) in raw.requests.directories.iter().enumerate() {
        if !paths.insert(&request.path) {
            errors.push(Diagnostic::new(
                format!("the path {} is requested twice", request.path),
                document.span(&["requests", "directories", &index.to_string(), "path"]),
            ));
        }
    }
    let config = match raw
        .config
        .map(|table| ConfigSchema::new(table.0))
        .transpose()
    {
        Ok(config) => config.unwrap_or_default(),
        Err(why) => {
            errors.push(Diagnostic::new(why, document.span(&["config"])));
            return None;
        }
    };
    Some(PluginManifest {
        origin: Origin::Declared,
        id: raw.plugin.id,
        version: raw.plugin.version,
        license: Some(raw.plugin.license),
        description: raw.plugin.description,
        instances: raw.plugin.instances,
        requests: raw.requests,
        config,
    })
}

/// What is wrong with a description.
fn bad_description(text: &str) -> Option<String> {
    if text.len() > DESCRIPTION_BYTES_MAX {
        return Some(format!(
            "the description has {} bytes, but at most {DESCRIPTION_BYTES_MAX} are allowed",
            text.len()
        ));
    }
    text.chars()
        .any(|c| c.is_control() && c != '\n')
        .then(|| "the description has control characters".into())
}

/// What an operator may set: `[config]` of `plugin.toml`, a JSON Schema of an object.
///
/// ```toml
/// [config]
/// required = ["owner"]
/// [config.properties]
/// owner = { type = "string", description = "whose repositories" }
/// per-page = { type = "integer", minimum = 1, maximum = 100, default = 30 }
/// ```
///
/// `type = "object"` goes without saying. So does `additionalProperties = false` where the
/// schema lists `properties` and says nothing else about members: a mistyped setting is
/// an error. A plugin without `[config]` has no settings.
#[derive(Clone, Debug)]
pub struct ConfigSchema {
    schema: Map<String, Value>,
    validator: Option<Arc<jsonschema::Validator>>,
}

/// The keywords that may allow members beyond `properties`.
const OPENING_KEYWORDS: [&str; 10] = [
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "dependentSchemas",
    "$ref",
    "$dynamicRef",
];

/// The schema of a plugin that has no settings.
impl Default for ConfigSchema {
    fn default() -> Self {
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        schema.insert("additionalProperties".into(), false.into());
        ConfigSchema {
            schema,
            validator: None,
        }
    }
}

impl Serialize for ConfigSchema {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.schema.serialize(serializer)
    }
}

/// One way in which a configuration doesn't meet its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The keys and indices to the value.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
}

impl ConfigSchema {
    /// Takes a JSON Schema as that of a configuration.
    ///
    /// # Errors
    /// A sentence: it is no JSON Schema of an object.
    pub fn new(mut schema: Map<String, Value>) -> Result<ConfigSchema, String> {
        let ty = schema.entry("type").or_insert_with(|| "object".into());
        if ty.as_str() != Some("object") {
            return Err("[config] must be a schema of an object; leave `type` out".into());
        }
        let closed = OPENING_KEYWORDS
            .iter()
            .all(|keyword| !schema.contains_key(*keyword));
        if closed {
            schema.insert("additionalProperties".into(), false.into());
        }
        let validator = schema::compile(&Value::Object(schema.clone()))
            .map_err(|why| format!("[config] is no usable JSON Schema: {why}"))?;
        Ok(ConfigSchema {
            schema,
            validator: Some(Arc::new(validator)),
        })
    }

    /// The JSON Schema.
    pub fn schema(&self) -> &Map<String, Value> {
        &self.schema
    }

    /// Checks a configuration.
    ///
    /// # Errors
    /// Every way in which it doesn't meet the schema.
    pub fn check(&self, config: &Map<String, Value>) -> Result<(), Vec<ConfigError>> {
        let errors: Vec<ConfigError> = match &self.validator {
            None => config
                .keys()
                .map(|key| ConfigError {
                    path: vec![key.clone()],
                    message: "the plugin has no settings".into(),
                })
                .collect(),
            Some(validator) => validator
                .iter_errors(&Value::Object(config.clone()))
                .take(crate::diagnostic::ERRORS_MAX)
                .flat_map(|error| explain(&error))
                .collect(),
        };
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

/// What is wrong with a configuration, in the operator's words.
fn explain(error: &jsonschema::ValidationError<'_>) -> Vec<ConfigError> {
    let path: Vec<String> = error
        .instance_path()
        .iter()
        .map(|segment| segment.to_string())
        .collect();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .take(crate::diagnostic::ERRORS_MAX)
            .map(|key| ConfigError {
                path: [path.clone(), vec![key.clone()]].concat(),
                message: format!("the plugin has no setting {}", quoted(key)),
            })
            .collect(),
        ValidationErrorKind::Required { property } => vec![ConfigError {
            path,
            message: format!(
                "the setting {} is missing",
                schema::shorten(&property.to_string())
            ),
        }],
        _ => vec![ConfigError {
            path,
            message: schema::shorten(&error.to_string()),
        }],
    }
}
