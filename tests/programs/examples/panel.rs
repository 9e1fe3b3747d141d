//! Offers a panel that uses its own tools, and tries everything else.

use portreeve_sdk::content::{Page, Part, Resource, Resources};
use portreeve_sdk::{Error, plugin, tool};

struct Panels;

impl Resources for Panels {
    fn list(_cursor: Option<&str>, _limit: u32) -> Result<Page, Error> {
        Ok(Page::all([
            Resource::panel("ui://probe", "probe").title("Probe <b>&")
        ]))
    }

    /// `ui://probe/PORT` is the panel that tries to reach a server at that port.
    fn read(uri: &str) -> Result<Vec<Part>, Error> {
        let port = match uri.strip_prefix("ui://probe") {
            Some("") => "1",
            Some(rest) => rest.trim_start_matches('/'),
            None => return Err(Error::not_found("there is nothing at this address")),
        };
        let server = format!("http://127.0.0.1:{port}");
        let html = include_str!("panel.html").replace("SERVER", &server);
        Ok(vec![Part::panel(uri, html)])
    }
}

/// Adds two numbers.
#[tool(panel = "ui://probe", read_only)]
fn add(a: i32, b: i32) -> String {
    i64::from(a).wrapping_add(i64::from(b)).to_string()
}

/// Says which panel it is for.
#[tool(panel_only, read_only)]
fn about() -> String {
    "the probe".to_owned()
}

plugin!(add, about, resources = Panels);
