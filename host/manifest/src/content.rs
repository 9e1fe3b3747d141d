//! Documents of resources, templates and prompts, as plugins hand them over, and the
//! addresses under which clients see resources.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::grant::Topic;
use crate::icon::{ICONS_BYTES_MAX, Icon, check_icons};
use crate::id::Alias;
use crate::json::{self, JsonError, JsonLimits};
use crate::tool::{
    DESCRIPTION_BYTES_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX, NAME_BYTES_MAX, TITLE_BYTES_MAX,
    is_tool_name,
};

/// The longest address of a plugin's own, in bytes.
pub const URI_BYTES_MAX: usize = 1_024;
/// The longest name of a resource, in bytes.
pub const RESOURCE_NAME_BYTES_MAX: usize = 256;
/// Prompts that one plugin may offer, as many as tools.
pub const PROMPTS_MAX: usize = 512;
/// Templates that one plugin may offer, as many as tools.
pub const TEMPLATES_MAX: usize = 512;
/// Arguments of one prompt.
pub const ARGUMENTS_MAX: usize = 32;

/// Whom something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// Hints about a resource, as in MCP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotations {
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<Audience>>,
    /// How important it is, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<f64>,
    /// When it last changed (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// A resource. Members that this version doesn't know are dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// The plugin's own address of it.
    pub uri: String,
    /// Its name.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is, for models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Hints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
}

/// A kind of addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceTemplate {
    /// The plugin's own addresses, as a template (RFC 6570).
    pub uri_template: String,
    /// Its name.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What there is, for models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Hints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
}

/// A prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    /// The plugin's name of it: 1 to 64 of `[A-Za-z0-9_.-]`.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What is filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<PromptArgument>,
    /// Pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
}

/// An argument of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptArgument {
    /// Its name: 1 to 64 of `[A-Za-z0-9_.-]`.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it must be there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The text is not strict JSON, too long or too deep.
    #[error("a document is refused: {0}")]
    Json(#[from] JsonError),
    /// A member is missing or has the wrong type.
    #[error("a document is refused: {0}")]
    Shape(String),
    /// A member has a value that isn't allowed.
    #[error("{of:?} is refused: {why}")]
    Value {
        /// The name or address, cut off where it is long.
        of: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// Two have one name or address.
    #[error("two are named {0:?}; give each a name of its own")]
    Duplicate(String),
    /// There are too many.
    #[error("there are {found}, but at most {max} are allowed")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
}

/// A document of a list.
pub trait Document: Sized + serde::de::DeserializeOwned {
    /// What tells it from the others of its list.
    fn key(&self) -> &str;

    /// Checks all of it.
    ///
    /// # Errors
    /// What is wrong first, and what would be right.
    fn check(&self) -> Result<(), String>;

    /// Reads the documents of a list, of which there may be `max`.
    ///
    /// # Errors
    /// Too many, two of one name, or one that [`Document::check`] refuses.
    fn parse_list(documents: &[String], max: usize) -> Result<Vec<Self>, ContentError> {
        if documents.len() > max {
            return Err(ContentError::TooMany {
                found: documents.len(),
                max,
            });
        }
        let limits = JsonLimits {
            // Its icons come on top.
            bytes_max: DOCUMENT_BYTES_MAX.saturating_add(ICONS_BYTES_MAX),
            depth_max: DOCUMENT_DEPTH_MAX,
        };
        let mut keys = BTreeSet::new();
        let mut list = Vec::with_capacity(documents.len());
        for text in documents {
            let value = json::parse(text, &limits)?;
            let read: Self = serde_json::from_value(value)
                .map_err(|error| ContentError::Shape(error.to_string()))?;
            read.check().map_err(|why| ContentError::Value {
                of: read.key().chars().take(NAME_BYTES_MAX).collect(),
                why,
            })?;
            if !keys.insert(read.key().to_owned()) {
                let key = read.key().chars().take(NAME_BYTES_MAX).collect();
                return Err(ContentError::Duplicate(key));
            }
            list.push(read);
        }
        Ok(list)
    }
}

impl Document for Resource {
    fn key(&self) -> &str {
        &self.uri
    }

    fn check(&self) -> Result<(), String> {
        check_uri(&self.uri)?;
        check_name(&self.name)?;
        check_texts(self.title.as_deref(), self.description.as_deref())?;
        check_mime_type(self.mime_type.as_deref())?;
        check_annotations(self.annotations.as_ref())?;
        check_icons(&self.icons)
    }
}

impl Document for ResourceTemplate {
    fn key(&self) -> &str {
        &self.uri_template
    }

    fn check(&self) -> Result<(), String> {
        check_template(&self.uri_template)?;
        check_name(&self.name)?;
        check_texts(self.title.as_deref(), self.description.as_deref())?;
        check_mime_type(self.mime_type.as_deref())?;
        check_annotations(self.annotations.as_ref())?;
        check_icons(&self.icons)
    }
}

impl Document for Prompt {
    fn key(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Result<(), String> {
        let name_of = |name: &str| {
            if is_tool_name(name) {
                return Ok(());
            }
            Err(format!(
                "a name has 1 to {NAME_BYTES_MAX} characters of A-Z, a-z, 0-9, `_`, `.` and `-`"
            ))
        };
        name_of(&self.name)?;
        check_texts(self.title.as_deref(), self.description.as_deref())?;
        if self.arguments.len() > ARGUMENTS_MAX {
            return Err(format!(
                "it has {} arguments, but at most {ARGUMENTS_MAX} are allowed",
                self.arguments.len()
            ));
        }
        let mut names = BTreeSet::new();
        for argument in &self.arguments {
            name_of(&argument.name)?;
            check_texts(argument.title.as_deref(), argument.description.as_deref())?;
            if !names.insert(&argument.name) {
                return Err(format!("two arguments are named `{}`", argument.name));
            }
        }
        check_icons(&self.icons)
    }
}

/// Where a scheme ends.
fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let mut bytes = scheme.bytes();
    let first = bytes.next()?.is_ascii_lowercase();
    let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    (first && rest).then_some(scheme)
}

/// Checks a plugin's own address.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn check_uri(uri: &str) -> Result<(), String> {
    check_address(uri, b"")
}

fn check_address(uri: &str, besides: &[u8]) -> Result<(), String> {
    if uri.len() > URI_BYTES_MAX {
        return Err(format!(
            "the address has {} bytes, but at most {URI_BYTES_MAX} are allowed",
            uri.len()
        ));
    }
    let Some(scheme) = scheme(uri) else {
        return Err("an address begins with a scheme in small letters, as `note://7` does".into());
    };
    // RFC 3986: what else there is is written with `%`.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    if !uri.bytes().all(|b| allowed(b) || besides.contains(&b)) {
        return Err("an address has only characters of RFC 3986; write others with `%`".into());
    }
    if scheme == "ui" && !uri.starts_with("ui://") {
        return Err("the address of a panel begins with `ui://`".into());
    }
    Ok(())
}

fn check_template(template: &str) -> Result<(), String> {
    check_address(template, b"{}|^")?;
    let mut open = false;
    for byte in template.bytes() {
        match (byte, open) {
            (b'{', false) => open = true,
            (b'}', true) => open = false,
            (b'{' | b'}', _) => return Err("its braces don't match (RFC 6570)".into()),
            _ => {}
        }
    }
    if open {
        return Err("its braces don't match (RFC 6570)".into());
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("its name is empty".into());
    }
    check_text("name", name, RESOURCE_NAME_BYTES_MAX, false)
}

fn check_texts(title: Option<&str>, description: Option<&str>) -> Result<(), String> {
    if let Some(title) = title {
        check_text("title", title, TITLE_BYTES_MAX, false)?;
    }
    match description {
        Some(text) => check_text("description", text, DESCRIPTION_BYTES_MAX, true),
        None => Ok(()),
    }
}

fn check_text(member: &str, text: &str, bytes_max: usize, lines: bool) -> Result<(), String> {
    if text.len() > bytes_max {
        return Err(format!(
            "its {member} has {} bytes, but at most {bytes_max} are allowed",
            text.len()
        ));
    }
    // Clients print these: an escape sequence could rewrite a terminal.
    let control = |c: &char| c.is_control() && !(lines && matches!(c, '\n' | '\t'));
    match text.chars().find(control) {
        Some(c) => Err(format!(
            "its {member} contains the control character {c:?}; remove it"
        )),
        None => Ok(()),
    }
}

/// Checks a media type.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn check_mime_type(mime_type: Option<&str>) -> Result<(), String> {
    let Some(text) = mime_type else {
        return Ok(());
    };
    let whole = text.len() <= 256
        && text.contains('/')
        && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if whole {
        return Ok(());
    }
    Err("its media type is none; one looks as `text/plain` does".into())
}

fn check_annotations(annotations: Option<&Annotations>) -> Result<(), String> {
    let Some(annotations) = annotations else {
        return Ok(());
    };
    if annotations
        .priority
        .is_some_and(|priority| !(0.0..=1.0).contains(&priority))
    {
        return Err("its priority is none between 0 and 1".into());
    }
    if annotations.audience.as_ref().is_some_and(|a| a.len() > 2) {
        return Err("its audience has more than two members".into());
    }
    match &annotations.last_modified {
        Some(text) => check_text("lastModified", text, 64, false),
        None => Ok(()),
    }
}

/// What addresses of plugins begin with, as clients see them.
const OURS: &str = "portreeve://";
/// What addresses of panels begin with, everywhere.
const PANELS: &str = "ui://";

/// The media type of a panel (MCP Apps).
pub const PANEL_MIME_TYPE: &str = "text/html;profile=mcp-app";

/// Whether clients take something of this address or media type for a panel.
pub fn is_panel(uri: &str, mime_type: Option<&str>) -> bool {
    let profiled = |mime_type: &str| mime_type.to_ascii_lowercase().contains("profile=");
    uri.starts_with(PANELS) || mime_type.is_some_and(profiled)
}

/// The address under which clients see a plugin's own: `portreeve://ALIAS/OWN`, and
/// `ui://ALIAS/REST` for `ui://REST`. As it is where its scheme is one of `plain`, which the
/// operator gives to one plugin alone.
///
/// It holds for templates as well: what stands before stays as it is when one is filled in.
pub fn exposed_uri(alias: &str, plain: &[String], own: &str) -> String {
    if let Some(rest) = own.strip_prefix(PANELS) {
        return format!("{PANELS}{alias}/{rest}");
    }
    match scheme(own) {
        Some(scheme) if plain.iter().any(|plain| plain == scheme) => own.to_owned(),
        _ => format!("{OURS}{alias}/{own}"),
    }
}

/// What an address that clients use means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// A plugin's own address, which is written so.
    Own(&'a str, &'a str),
    /// A panel of the plugin, without its `ui://`.
    Panel(&'a str, &'a str),
    /// One with this scheme, which a plugin may have been given.
    Plain(&'a str),
    /// The papers of the plugin with this alias: the host's own.
    Papers(&'a str),
    /// The messages in this topic: the host's own.
    Topic(&'a str),
}

/// What clients fill in to read the papers of a plugin.
pub const PAPERS_TEMPLATE: &str = "portreeve://plugins/{alias}/papers";

/// What clients fill in to read the messages of a topic.
pub const TOPIC_TEMPLATE: &str = "portreeve://topics/{topic}";

/// The address of a plugin's papers.
pub fn papers_uri(alias: &str) -> String {
    format!("{OURS}plugins/{alias}/papers")
}

/// The address of the messages in a topic.
pub fn topic_uri(topic: &Topic) -> String {
    format!("{OURS}topics/{topic}")
}

/// What is the host's own. A plugin's own address has a scheme, with a colon, so that none is
/// like one of these, whatever the plugin's alias.
fn hosts_own(rest: &str) -> Option<Named<'_>> {
    let alias = rest
        .strip_prefix("plugins/")
        .and_then(|rest| rest.strip_suffix("/papers"))
        .filter(|alias| Alias::new(*alias).is_ok());
    let topic = rest
        .strip_prefix("topics/")
        .filter(|topic| topic.parse::<Topic>().is_ok());
    alias.map(Named::Papers).or(topic.map(Named::Topic))
}

/// Reads an address that a client uses.
pub fn named(uri: &str) -> Option<Named<'_>> {
    if let Some(rest) = uri.strip_prefix(OURS) {
        if let Some(own) = hosts_own(rest) {
            return Some(own);
        }
        let (alias, own) = rest.split_once('/')?;
        return Some(Named::Own(alias, own));
    }
    if let Some(rest) = uri.strip_prefix(PANELS) {
        let (alias, rest) = rest.split_once('/')?;
        return Some(Named::Panel(alias, rest));
    }
    scheme(uri).map(Named::Plain)
}

/// Whether an operator may give a scheme to a plugin: not those that mean something else.
pub fn is_plain_scheme(text: &str) -> bool {
    let taken = [
        "ui",
        "portreeve",
        "http",
        "https",
        "file",
        "data",
        "javascript",
        "blob",
    ];
    (1..=32).contains(&text.len())
        && scheme(&format!("{text}:")) == Some(text)
        && !taken.contains(&text)
}

/// Holds the arguments that a client gives against those that a prompt has.
///
/// # Errors
/// What is wrong with them.
pub fn check_prompt_arguments(
    prompt: &Prompt,
    arguments: &serde_json::Map<String, Value>,
) -> Result<(), String> {
    for (name, value) in arguments {
        if !prompt.arguments.iter().any(|known| known.name == *name) {
            let name: String = name.chars().take(NAME_BYTES_MAX).collect();
            return Err(format!("this prompt has no argument {name:?}"));
        }
        if !value.is_string() {
            return Err(format!("the argument `{name}` is no string"));
        }
    }
    let missing =
        |argument: &&PromptArgument| argument.required && !arguments.contains_key(&argument.name);
    match prompt.arguments.iter().find(missing) {
        Some(argument) => Err(format!("the argument `{}` is missing", argument.name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn resource(document: Value) -> Result<Resource, String> {
        Resource::parse_list(&[document.to_string()], 1)
            .map(|mut list| list.remove(0))
            .map_err(|error| error.to_string())
    }

    fn with(member: &str, value: Value) -> Value {
        let mut document = json!({"uri": "note://7", "name": "7"});
        document[member] = value;
        document
    }

    #[test]
    fn what_is_read() {
        let full = json!({
            "uri": "note://7?x=1#y", "name": "7", "title": "Seven", "description": "a\nb",
            "mimeType": "text/html;profile=mcp-app", "size": 12,
            "annotations": {"audience": ["user"], "priority": 0.5, "lastModified": "2026-01-01T00:00:00Z"},
            "icons": [{"src": "data:image/png;base64,AAAA", "sizes": ["48x48"], "theme": "dark"}],
            "later": true,
        });
        let mut known = full.clone();
        known.as_object_mut().unwrap().remove("later");
        assert_eq!(
            serde_json::to_value(resource(full).unwrap()).unwrap(),
            known
        );
    }

    #[test]
    fn what_is_refused() {
        for (document, why) in [
            (with("uri", json!("7")), "scheme"),
            (with("uri", json!("Note://7")), "scheme"),
            (with("uri", json!("note://a b")), "RFC 3986"),
            (with("uri", json!("note://\u{202e}")), "RFC 3986"),
            (with("uri", json!("ui:x")), "ui://"),
            (
                with("uri", json!(format!("n:{}", "x".repeat(URI_BYTES_MAX)))),
                "bytes",
            ),
            (with("name", json!("")), "empty"),
            (with("name", json!("a\u{1b}[0m")), "control character"),
            (
                with("title", json!("x".repeat(TITLE_BYTES_MAX + 1))),
                "title",
            ),
            (with("mimeType", json!("text")), "media type"),
            (with("annotations", json!({"priority": 2})), "priority"),
            (
                with("icons", json!([{"src": "https://example.com/i.png"}])),
                "bytes along",
            ),
            (json!([]), "refused"),
        ] {
            let told = resource(document.clone()).unwrap_err();
            assert!(told.contains(why), "{document}: {told}");
        }
        let one = with("name", json!("a")).to_string();
        let two = [one.clone(), one.clone()];
        assert!(matches!(
            Resource::parse_list(&two, 2),
            Err(ContentError::Duplicate(_))
        ));
        assert!(matches!(
            Resource::parse_list(&two, 1),
            Err(ContentError::TooMany { .. })
        ));
    }

    #[test]
    fn templates_have_whole_braces() {
        for (template, fine) in [
            ("note://{id}", true),
            ("note://{+path}{?a,b}", true),
            ("note://{id", false),
            ("note://id}", false),
            ("note://{{id}}", false),
            ("{scheme}://x", false),
        ] {
            assert_eq!(check_template(template).is_ok(), fine, "{template}");
        }
    }

    #[test]
    fn arguments_of_prompts() {
        let prompt: Prompt = serde_json::from_value(json!({
            "name": "p", "arguments": [{"name": "a", "required": true}, {"name": "b"}],
        }))
        .unwrap();
        for (arguments, fine) in [
            (json!({"a": "1"}), true),
            (json!({"a": "1", "b": "2"}), true),
            (json!({}), false),
            (json!({"a": 1}), false),
            (json!({"a": "1", "c": "2"}), false),
        ] {
            let given = arguments.as_object().unwrap();
            assert_eq!(
                check_prompt_arguments(&prompt, given).is_ok(),
                fine,
                "{arguments}"
            );
        }
    }

    #[test]
    fn the_hosts_own_have_addresses() {
        assert_eq!(named(&papers_uri("notes")), Some(Named::Papers("notes")));
        let topic = "builds.failed".parse().unwrap();
        assert_eq!(
            named(&topic_uri(&topic)),
            Some(Named::Topic("builds.failed"))
        );
        for other in [
            "portreeve://plugins/notes/papers/",
            "portreeve://plugins/a/b/papers",
            "portreeve://plugins//papers",
            "portreeve://plugins/note:1",
            "portreeve://topics/",
            "portreeve://topics/builds.*",
            "portreeve://topics/a/b",
            "portreeve://topics/%61",
            "portreeve://topics/note:1",
        ] {
            assert!(matches!(named(other), Some(Named::Own(..))), "{other}");
        }
    }

    fn read_back(alias: &str, plain: &[String], own: &str) -> Option<(String, String)> {
        let exposed = exposed_uri(alias, plain, own);
        Some(match named(&exposed)? {
            Named::Own(alias, own) => (alias.to_owned(), own.to_owned()),
            Named::Panel(alias, rest) => (alias.to_owned(), format!("ui://{rest}")),
            Named::Plain(_) => (alias.to_owned(), exposed.clone()),
            Named::Papers(_) | Named::Topic(_) => return None,
        })
    }

    proptest! {
        #[test]
        fn addresses_are_read_back(alias in "[a-z0-9]{1,8}", own in "(ui://|note:|test:|portreeve://)[a-z/:?#]{0,20}") {
            let plain = ["test".to_owned()];
            let read = read_back(&alias, &plain, &own);
            prop_assert_eq!(read, Some((alias, own)));
        }

        #[test]
        fn no_plugin_has_the_address_of_another(
            a in "[a-z0-9]{1,3}", b in "[a-z0-9]{1,3}",
            own_a in "(ui://|n:|portreeve://)[a-z0-9/:]{0,8}", own_b in "(ui://|n:|portreeve://)[a-z0-9/:]{0,8}",
        ) {
            prop_assume!(a != b);
            prop_assert_ne!(exposed_uri(&a, &[], &own_a), exposed_uri(&b, &[], &own_b));
        }

        #[test]
        fn no_plugin_has_an_address_of_the_hosts(
            alias in "(plugins|topics|[a-z]{1,3})", own in "([a-z]{0,3}[:/.]){0,3}(papers)?",
        ) {
            prop_assume!(check_uri(&own).is_ok());
            let exposed = exposed_uri(&alias, &[], &own);
            let read = named(&exposed);
            let ours = matches!(read, Some(Named::Papers(_) | Named::Topic(_)));
            prop_assert!(read.is_some() && !ours);
        }

        #[test]
        fn any_address_is_answered(uri in "\\PC*") {
            let _ = named(&uri);
            let _ = check_uri(&uri);
        }
    }
}
