//! A tool: its description for hosts and models, and how it is called.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{Answer, Error, Outcome, schema};

/// A tool. [`#[tool]`](macro@crate::tool) writes the implementation, under the name of the
/// function; by hand it is only needed for what a function's signature can't say.
pub trait Tool {
    /// The name, unique in its plugin: 1 to 64 of `A-Z a-z 0-9 _ . -`.
    const NAME: &'static str;
    /// The name for people.
    const TITLE: Option<&'static str> = None;
    /// What it does and when to use it, for models.
    const DESCRIPTION: &'static str;
    /// Hints about its effects.
    const ANNOTATIONS: Annotations = Annotations::NONE;
    /// Pictures that clients show beside its name: up to 8.
    const ICONS: &'static [Icon] = &[];
    /// Whether its calls are tasks.
    const TASKS: TaskSupport = TaskSupport::Optional;
    /// The address of the panel that clients show with its answers; it begins with `ui://`.
    const PANEL: Option<&'static str> = None;
    /// Whether it is there for the plugin's panels alone, and not for models.
    const PANEL_ONLY: bool = false;
    /// The arguments: a struct whose members are the parameters.
    type Arguments: DeserializeOwned + JsonSchema;
    /// What it returns.
    type Answer: Answer;

    /// Runs it.
    fn run(arguments: Self::Arguments) -> Self::Answer;
}

/// Hints about a tool's effects, as in MCP. A client may show them or ask before a call; they
/// are the author's word, no limit that anything enforces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Annotations {
    /// It changes nothing.
    #[serde(rename = "readOnlyHint", skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// What it changes may be lost: it overwrites or deletes.
    #[serde(rename = "destructiveHint", skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
    /// The same call again changes nothing more.
    #[serde(rename = "idempotentHint", skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// It deals with things outside, such as the web, rather than with a closed set.
    #[serde(rename = "openWorldHint", skip_serializing_if = "Option::is_none")]
    pub open_world: Option<bool>,
}

impl Annotations {
    /// No hints.
    pub const NONE: Self = Self {
        read_only: None,
        destructive: None,
        idempotent: None,
        open_world: None,
    };
}

/// Whether a tool's calls are tasks: those that callers come back for. The host keeps them; a
/// tool knows nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskSupport {
    /// Never: it is done before anybody would come back.
    Forbidden,
    /// Where the caller says so, or it takes long.
    #[default]
    Optional,
    /// Always: it takes long each time. Callers that don't come back for tasks are refused, but for
    /// those of versions that knew none.
    Required,
}

/// How a tool is called, as in MCP.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Execution {
    task_support: TaskSupport,
}

/// A picture of a tool.
///
/// ```
/// use portreeve_sdk::{Icon, Theme, tool};
///
/// const ICONS: &[Icon] = &[
///     Icon::new("data:image/png;base64,iVBORw0KGgo=").sizes(&["48x48"]),
///     Icon::new("data:image/png;base64,iVBORw0KGgo=").theme(Theme::Dark),
/// ];
///
/// /// Greets.
/// #[tool(icons = ICONS)]
/// fn greet() -> String {
///     "hello".to_owned()
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Icon {
    src: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    sizes: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    theme: Option<Theme>,
}

/// What an icon is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// A light background.
    Light,
    /// A dark background.
    Dark,
}

impl Icon {
    /// The one with this address: `data:image/…`, up to 16 KiB. Hosts refuse others, since a
    /// picture from elsewhere would tell that server who looks.
    pub const fn new(src: &'static str) -> Self {
        Self {
            src,
            mime_type: None,
            sizes: &[],
            theme: None,
        }
    }

    /// With another media type than its address says.
    #[must_use]
    pub const fn mime_type(mut self, mime_type: &'static str) -> Self {
        self.mime_type = Some(mime_type);
        self
    }

    /// For these sizes: `48x48`, or `any`.
    #[must_use]
    pub const fn sizes(mut self, sizes: &'static [&'static str]) -> Self {
        self.sizes = sizes;
        self
    }

    /// For this background alone.
    #[must_use]
    pub const fn theme(mut self, theme: Theme) -> Self {
        self.theme = Some(theme);
        self
    }
}

/// The JSON document of `portreeve:tools/provider.list-tools`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'static str>,
    description: &'static str,
    input_schema: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "is_none")]
    annotations: Annotations,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    icons: &'static [Icon],
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Execution>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<Value>,
}

/// How a tool belongs to panels, as in MCP Apps.
fn meta<T: Tool>() -> Option<Value> {
    let mut ui = Map::new();
    if let Some(panel) = T::PANEL {
        ui.insert("resourceUri".to_owned(), panel.into());
    }
    if T::PANEL_ONLY {
        ui.insert("visibility".to_owned(), json!(["app"]));
    }
    (!ui.is_empty()).then(|| json!({ "ui": ui }))
}

fn is_none(annotations: &Annotations) -> bool {
    *annotations == Annotations::NONE
}

/// The tool as a host sees it: a JSON document with its name, description and schemas.
///
/// # Errors
/// Where the arguments or the structured answer are not objects.
pub fn describe<T: Tool>() -> Result<Value, Error> {
    let input_schema = schema::input::<T::Arguments>();
    if !schema::is_object(&input_schema) {
        return Err(Error::internal(format_args!(
            "the arguments of the tool `{}` are not an object; make them a struct with named \
             fields",
            T::NAME
        )));
    }
    let output_schema = T::Answer::output_schema();
    if output_schema
        .as_ref()
        .is_some_and(|schema| !schema::is_object(schema))
    {
        return Err(Error::internal(format_args!(
            "the structured answer of the tool `{}` is not an object; put it into a field of a \
             struct",
            T::NAME
        )));
    }
    Ok(serde_json::to_value(Document {
        name: T::NAME,
        title: T::TITLE,
        description: T::DESCRIPTION,
        input_schema,
        output_schema,
        annotations: T::ANNOTATIONS,
        icons: T::ICONS,
        execution: (T::TASKS != TaskSupport::Optional).then_some(Execution {
            task_support: T::TASKS,
        }),
        meta: meta::<T>(),
    })?)
}

/// Calls a tool as a host does, with its arguments as JSON text. For a plugin's own tests.
///
/// ```
/// use portreeve_sdk::{Content, call, tool};
///
/// /// Adds two numbers.
/// #[tool]
/// fn add(a: i32, b: i32) -> String {
///     i64::from(a).wrapping_add(i64::from(b)).to_string()
/// }
///
/// let outcome = call::<add>(r#"{"a": 2, "b": 3}"#)?;
/// assert_eq!(outcome.content, [Content::text("5")]);
/// assert!(call::<add>(r#"{"a": 2, "c": 3}"#).is_err());
/// # Ok::<(), portreeve_sdk::Error>(())
/// ```
///
/// # Errors
/// `invalid-argument` where the arguments don't fit, else what the tool returns.
pub fn call<T: Tool>(arguments: &str) -> Result<Outcome, Error> {
    let arguments = serde_json::from_str(arguments).map_err(|error| {
        Error::invalid_argument(format_args!(
            "the arguments of `{}` don't fit its input schema: {error}",
            T::NAME
        ))
    })?;
    T::run(arguments).into_outcome()
}
