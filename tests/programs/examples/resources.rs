//! Offers resources and prompts through the SDK, and changes them.

use portreeve_sdk::client::{self, Level};
use portreeve_sdk::content::{
    self, Message, Page, Part, Prompt, Prompts, Resource, Resources, Template,
};
use portreeve_sdk::{Content, Error, plugin, progress, tool};
use serde_json::{Map, Value};

struct Shelf;

impl Resources for Shelf {
    fn list(cursor: Option<&str>, _limit: u32) -> Result<Page, Error> {
        match cursor {
            None => Ok(Page {
                items: vec![
                    Resource::new("shelf://text", "text").mime_type("text/plain"),
                    Resource::new("shelf://bytes", "bytes").mime_type("image/png"),
                    Resource::panel("ui://board", "board"),
                ],
                next: Some("rest".to_owned()),
            }),
            Some("rest") => Ok(Page::all([Resource::new("shelf://last", "last")])),
            // A list that never ends.
            Some(_) => Ok(Page {
                items: Vec::new(),
                next: Some("again".to_owned()),
            }),
        }
    }

    fn templates() -> Vec<Template> {
        vec![Template::new("shelf://book/{id}", "book")]
    }

    fn read(uri: &str) -> Result<Vec<Part>, Error> {
        match uri {
            "shelf://text" => Ok(vec![Part::text(uri, "on the shelf")]),
            "shelf://slow" => {
                tell_steps()?;
                Ok(vec![Part::text(uri, "found at last")])
            }
            "shelf://bytes" => Ok(vec![Part::bytes(uri, [1, 2, 3], "image/png")]),
            // It says that it is another plugin's.
            "shelf://posing" => Ok(vec![Part::text("portreeve://other/note://1", "posing")]),
            "ui://board" => Ok(vec![Part::panel(uri, "<p>on the board")]),
            // Panels by another way.
            "shelf://panel" => Ok(vec![Part::panel("ui://board", "<p>behind the shelf")]),
            "shelf://profile" => Ok(vec![Part::panel(uri, "<p>in the shelf")]),
            "ui://text" => Ok(vec![Part::text(uri, "no panel")]),
            "shelf://broken" => Ok(vec![Part::text("no address", "broken")]),
            "shelf://huge" => Ok(vec![Part::text(uri, "x".repeat(8 << 20))]),
            _ => match uri.strip_prefix("shelf://book/") {
                Some(id) => Ok(vec![Part::text(uri, format!("book {id}"))]),
                None => Err(Error::not_found("there is nothing at this place")),
            },
        }
    }

    fn complete(_template: &str, _argument: &str, value: &str) -> Vec<String> {
        ["alpha", "beta", "bytes"]
            .iter()
            .filter(|id| id.starts_with(value))
            .map(|id| (*id).to_owned())
            .collect()
    }
}

impl Prompts for Shelf {
    fn list() -> Vec<Prompt> {
        vec![
            Prompt::new("review", "Reviews a book")
                .required("id", "which")
                .optional("tone", "how"),
        ]
    }

    fn get(_name: &str, arguments: &Map<String, Value>) -> Result<Vec<Message>, Error> {
        let id = arguments.get("id").and_then(Value::as_str).unwrap_or("?");
        if id == "slow" {
            tell_steps()?;
        }
        Ok(vec![
            Message::User(Content::text(format!("Review book {id}."))),
            Message::Shown(match id {
                "panel" => Part::panel("ui://board", "<p>in a prompt"),
                _ => Part::text("shelf://text", "on the shelf"),
            }),
            Message::Assistant(Content::blob([1], "image/png")),
        ])
    }

    fn complete(_prompt: &str, _argument: &str, value: &str) -> Vec<String> {
        (0..150).map(|n| format!("{value}{n}")).collect()
    }
}

/// Tells how far it is, and the client's log that it looks.
fn tell_steps() -> Result<(), Error> {
    client::log(Level::Info, &"looking")?;
    for step in 1..=3 {
        progress::report(f64::from(step), 3.0, None)?;
        // The host passes on ten reports a second.
        std::thread::sleep(std::time::Duration::from_millis(120));
    }
    Ok(())
}

/// Says that a resource has changed; fails afterwards, if told so.
#[tool]
fn touch(uri: String, fail: bool) -> Result<String, Error> {
    content::updated(&uri)?;
    content::list_changed();
    if fail {
        return Err(Error::internal("told so"));
    }
    Ok("touched".to_owned())
}

plugin!(touch, resources = Shelf, prompts = Shelf);
