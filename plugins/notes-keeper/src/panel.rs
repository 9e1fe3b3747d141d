//! What clients may read and show: each note, and the panel with all of them.

use portreeve_sdk::Error;
use portreeve_sdk::content::{Page, Part, Resource, Resources, Template};

use crate::note::Number;
use crate::shelf;

/// The panel's own address.
const PANEL: &str = "ui://notes";

/// Values that are offered for a number.
const COMPLETED_MAX: usize = 100;

/// The notes as resources.
pub(crate) enum Offered {}

impl Resources for Offered {
    fn list(cursor: Option<&str>, limit: u32) -> Result<Page, Error> {
        let after = cursor.map(str::parse).transpose();
        let after = after.map_err(|_| Error::invalid_argument("this cursor is none"))?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let listed = shelf::list(after.map(Number), limit.clamp(1, 1_000))?;
        let notes = listed.notes.into_iter().map(|note| {
            let uri = Number(note.number).uri();
            Resource::new(uri, note.number.to_string())
                .title(note.title)
                .mime_type("text/markdown")
        });
        let panel = Resource::panel(PANEL, "notes").title("Notes");
        let first = cursor.is_none().then_some(panel);
        Ok(Page {
            items: first.into_iter().chain(notes).collect(),
            next: listed.next.map(|next| next.to_string()),
        })
    }

    fn templates() -> Vec<Template> {
        vec![Template {
            description: Some("A note, by its number".to_owned()),
            mime_type: Some("text/markdown".to_owned()),
            ..Template::new("note://{number}", "note")
        }]
    }

    fn read(uri: &str) -> Result<Vec<Part>, Error> {
        if uri == PANEL {
            return Ok(vec![Part::panel(uri, include_str!("panel.html"))]);
        }
        let number = Number::of_uri(uri)
            .ok_or_else(|| Error::not_found("notes are at `note://` and a number"))?;
        let kept = shelf::read(number)?;
        Ok(vec![
            Part::text(uri, kept.note.text).mime_type("text/markdown"),
        ])
    }

    fn complete(_template: &str, _argument: &str, value: &str) -> Vec<String> {
        let numbers = shelf::numbers(None).map_while(Result::ok);
        let numbers = numbers.map(|number| number.0.to_string());
        let fitting = numbers.filter(|number| number.starts_with(value));
        fitting.take(COMPLETED_MAX).collect()
    }
}
