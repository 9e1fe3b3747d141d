//! Tools that say all that they can say, through the SDK.

use std::time::Duration;

use portreeve_sdk::{Icon, Theme, plugin, tool};

const ICONS: &[Icon] = &[
    Icon::new("data:image/png;base64,iVBORw0KGgo=").sizes(&["48x48", "any"]),
    Icon::new("data:image/svg+xml;base64,PHN2Zy8+")
        .mime_type("image/svg+xml")
        .theme(Theme::Dark),
];

/// Has pictures.
#[tool(icons = ICONS)]
fn pictured() -> String {
    "seen".to_owned()
}

/// Sleeps for `ms` milliseconds, and is no task.
#[tool(tasks = "forbidden")]
fn no_task(ms: u64) -> String {
    std::thread::sleep(Duration::from_millis(ms));
    "slept".to_owned()
}

/// Sleeps for `ms` milliseconds, as a task.
#[tool(tasks = "required")]
fn task(ms: u64) -> String {
    std::thread::sleep(Duration::from_millis(ms));
    "slept".to_owned()
}

/// Tells the region.
#[tool]
fn regional(
    /// Where it is; clients repeat it in a header.
    #[schemars(extend("x-mcp-header" = "Region"))]
    region: String,
) -> String {
    region
}

plugin!(pictured, no_task, task, regional);
