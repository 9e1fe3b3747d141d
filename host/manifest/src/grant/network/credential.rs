//! Which credential the host adds to a request, and where.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rule::{NetworkRule, RuleError};
use crate::id::Name;
use crate::text::quoted;

/// Longest name of a header or of a query parameter, in bytes.
const PLACE_BYTES_MAX: usize = 64;

/// Headers that the host writes itself, or that would change what the request is.
const HOST_HEADERS: [&str; 12] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A credential that the host adds to requests: `"github"`, or with the place of an API key
/// `{ name = "maps", query = "key" }`, `{ name = "search", header = "x-api-key" }`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialUse {
    /// The plugin's name of it; grants say which secret it is.
    pub name: Name,
    /// Where an API key goes, if not into the header `x-api-key`.
    pub place: Option<Place>,
}

/// Where an API key goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Into this header, in lower case.
    Header(String),
    /// Into this parameter of the query.
    Query(String),
}

impl Place {
    /// A header.
    ///
    /// # Errors
    /// A sentence: it is no name of a header, or one that the host writes itself.
    pub fn header(name: &str) -> Result<Place, String> {
        let name = name.to_ascii_lowercase();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || name.len() > PLACE_BYTES_MAX || !name.bytes().all(token) {
            return Err(format!(
                "{} is no name of a header; write one such as \"x-api-key\"",
                quoted(&name)
            ));
        }
        if HOST_HEADERS.contains(&name.as_str()) || name.starts_with("proxy-") {
            return Err(format!(
                "the header `{name}` is the host's; a credential goes into another"
            ));
        }
        Ok(Place::Header(name))
    }

    /// A parameter of the query.
    ///
    /// # Errors
    /// A sentence: it has characters that would have to be escaped.
    pub fn query(name: &str) -> Result<Place, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if name.is_empty() || name.len() > PLACE_BYTES_MAX || !name.bytes().all(plain) {
            return Err(format!(
                "{} is no name of a query parameter; write one such as \"key\"",
                quoted(name)
            ));
        }
        Ok(Place::Query(name.to_owned()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Header(name) => write!(f, "header {name}"),
            Place::Query(name) => write!(f, "query {name}"),
        }
    }
}

impl Serialize for CredentialUse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let (key, place) = match &self.place {
            None => return self.name.serialize(serializer),
            Some(Place::Header(place)) => ("header", place),
            Some(Place::Query(place)) => ("query", place),
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry(key, place)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for CredentialUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UseVisitor)
    }
}

struct UseVisitor;

/// The table form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawUse {
    /// The plugin's name of it.
    name: Name,
    /// The header that an API key goes into.
    header: Option<String>,
    /// The parameter of the query that an API key goes into.
    query: Option<String>,
}

impl<'de> Visitor<'de> for UseVisitor {
    type Value = CredentialUse;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a credential's name, or { name = \"…\", header = \"…\" }, or { name = \"…\", query = \"…\" }",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<CredentialUse, E> {
        Ok(CredentialUse {
            name: text.parse().map_err(E::custom)?,
            place: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CredentialUse, A::Error> {
        let raw = RawUse::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let place = match (&raw.header, &raw.query) {
            (None, None) => Ok(None),
            (Some(header), None) => Place::header(header).map(Some),
            (None, Some(query)) => Place::query(query).map(Some),
            (Some(_), Some(_)) => Err("a credential goes into a header or into the query".into()),
        };
        Ok(CredentialUse {
            name: raw.name,
            place: place.map_err(de::Error::custom)?,
        })
    }
}

impl JsonSchema for CredentialUse {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CredentialUse".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let name = generator.subschema_for::<Name>();
        let table = generator.subschema_for::<RawUse>();
        schemars::json_schema!({
            "description": "A credential that the host adds to requests.",
            "anyOf": [name, table],
        })
    }
}

/// A credential and the requests that it is asked for, as it is shown and agreed to:
/// `github for GET https://api.github.com/**`, `maps in query key for GET https://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialAsked {
    /// The credential.
    pub used: CredentialUse,
    /// The requests.
    pub rule: NetworkRule,
}

impl CredentialAsked {
    /// Whether it asks for everything that `other` asks for, in the same place.
    pub fn covers(&self, other: &CredentialAsked) -> bool {
        self.used == other.used && self.rule.covers(&other.rule)
    }
}

impl FromStr for CredentialAsked {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let refuse = |why: String| RuleError::new(text, why);
        let (used, rule) = text
            .split_once(" for ")
            .ok_or_else(|| refuse("write NAME for RULE".into()))?;
        let (name, place) = match used.split_once(" in ") {
            None => (used, None),
            Some((name, place)) => {
                let place = match place.split_once(' ') {
                    Some(("header", header)) => Place::header(header),
                    Some(("query", query)) => Place::query(query),
                    _ => Err("a credential goes into a header or into the query".into()),
                };
                (name, Some(place.map_err(refuse)?))
            }
        };
        let name = Name::new(name).map_err(|error| refuse(error.to_string()))?;
        Ok(CredentialAsked {
            used: CredentialUse { name, place },
            rule: rule.parse()?,
        })
    }
}

impl fmt::Display for CredentialAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.used.name.fmt(f)?;
        if let Some(place) = &self.used.place {
            write!(f, " in {place}")?;
        }
        write!(f, " for {}", self.rule)
    }
}
