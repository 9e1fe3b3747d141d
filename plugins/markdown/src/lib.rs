//! Renders and outlines Markdown: CommonMark with tables and strikethrough.
//!
//! The HTML is safe to put into a page whatever the text says, by construction: raw HTML never
//! reaches it, so that all elements and attributes are the renderer's own, and links and images
//! keep harmless addresses only.
#![deny(missing_docs)]

mod headings;
mod html;

use portreeve_sdk::{Error, Json, plugin, tool};

/// The longest text, in bytes. A book chapter has about 50 KiB.
const TEXT_BYTES_MAX: usize = 512 * 1024;

/// Renders Markdown (CommonMark, tables, strikethrough) as an HTML fragment that is safe to show:
/// raw HTML, and with it every script, event handler, style and frame, is left out, as are
/// `javascript:` and `data:` addresses. Use it to show Markdown from anywhere in a page or a mail.
#[tool(
    title = "Render Markdown",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn render(
    /// The Markdown text, at most 512 KiB.
    markdown: String,
) -> Result<String, Error> {
    html::sanitised(bounded(&markdown)?)
}

/// Lists the headings of a Markdown text in order, with level, text and line. Use it to find
/// one's way in a long document before reading a part of it.
#[tool(
    title = "Outline Markdown",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn outline(
    /// The Markdown text, at most 512 KiB.
    markdown: String,
    /// The deepest level to list, 1 to 6; all of them if left out.
    #[schemars(range(min = 1, max = 6))]
    depth: Option<u8>,
) -> Result<Json<headings::Outline>, Error> {
    let depth = depth.unwrap_or(6);
    if !(1..=6).contains(&depth) {
        return Err(Error::invalid_argument(format_args!(
            "depth is {depth}; headings have the levels 1 to 6"
        )));
    }
    Ok(Json(headings::of(bounded(&markdown)?, depth)))
}

plugin!(render, outline);

fn bounded(markdown: &str) -> Result<&str, Error> {
    if markdown.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid_argument(format_args!(
            "the text has {} bytes, more than the {TEXT_BYTES_MAX} that are taken; split it at a \
             heading",
            markdown.len()
        ))
        .reason("text-too-long"));
    }
    Ok(markdown)
}

/// The dialect, the same for all tools.
fn options() -> pulldown_cmark::Options {
    pulldown_cmark::Options::ENABLE_TABLES | pulldown_cmark::Options::ENABLE_STRIKETHROUGH
}

#[cfg(test)]
mod tests {
    use portreeve_sdk::{Code, call};

    #[test]
    fn a_text_beyond_the_limit_is_refused() {
        let text = "é".repeat(super::TEXT_BYTES_MAX / 2 + 1);
        let arguments = format!(r#"{{"markdown": "{text}"}}"#);
        for error in [
            call::<super::render>(&arguments).unwrap_err(),
            call::<super::outline>(&arguments).unwrap_err(),
        ] {
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.message().contains("524290 bytes"), "{error}");
        }
    }

    #[test]
    fn depth_has_a_range() {
        for depth in ["0", "7"] {
            let arguments = format!(r#"{{"markdown": "", "depth": {depth}}}"#);
            assert_eq!(
                call::<super::outline>(&arguments).unwrap_err().code(),
                Code::InvalidArgument
            );
        }
    }
}
