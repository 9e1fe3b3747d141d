//! Markdown to sanitised HTML.

use portreeve_sdk::Error;
use pulldown_cmark::{CowStr, Event, Parser, Tag, TagEnd};

/// The deepest nesting of lists, quotes and emphasis. Documents stay below ten; browsers cut off
/// or slow down on much deeper trees.
const NESTING_MAX: usize = 100;

/// Schemes of addresses that a link may have; an address without scheme is relative, thus fine.
const LINK_SCHEMES: [&str; 4] = ["http", "https", "mailto", "tel"];

/// Schemes of addresses that an image may have.
const IMAGE_SCHEMES: [&str; 2] = ["http", "https"];

/// Renders a text.
///
/// # Errors
/// `invalid-argument` where the text nests too deeply.
pub(crate) fn sanitised(markdown: &str) -> Result<String, Error> {
    let mut html = String::with_capacity(markdown.len() + markdown.len() / 2);
    let mut filter = Filter::default();
    let events = Parser::new_ext(markdown, crate::options())
        .map_while(|event| filter.pass(event))
        .flatten();
    pulldown_cmark::html::push_html(&mut html, events);
    if filter.depth > NESTING_MAX {
        return Err(Error::invalid_argument(format_args!(
            "the text nests lists, quotes or emphasis more than {NESTING_MAX} deep; flatten it"
        ))
        .reason("nested-too-deeply"));
    }
    Ok(html)
}

/// Lets harmless events through.
#[derive(Default)]
struct Filter {
    /// How many elements are open.
    depth: usize,
    /// For each open link, whether it is kept.
    links: Vec<bool>,
    /// For each open image, whether it is kept.
    images: Vec<bool>,
}

impl Filter {
    /// The event as it goes on, if it does; nothing at all where the text nests too deeply.
    #[allow(
        clippy::option_option,
        reason = "the outer one ends the text, the inner one leaves an event out"
    )]
    fn pass<'a>(&mut self, event: Event<'a>) -> Option<Option<Event<'a>>> {
        match &event {
            Event::Start(_) => self.depth += 1,
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth > NESTING_MAX {
            return None;
        }
        let kept = match &event {
            Event::Start(Tag::Link { dest_url, .. }) => {
                keep(&mut self.links, dest_url, &LINK_SCHEMES)
            }
            Event::Start(Tag::Image { dest_url, .. }) => {
                keep(&mut self.images, dest_url, &IMAGE_SCHEMES)
            }
            Event::End(TagEnd::Link) => self.links.pop().unwrap_or(false),
            Event::End(TagEnd::Image) => self.images.pop().unwrap_or(false),
            // In tables Markdown has no line break of its own.
            Event::InlineHtml(tag) if is_line_break(tag) => return Some(Some(Event::HardBreak)),
            Event::Html(_) | Event::InlineHtml(_) => false,
            _ => true,
        };
        Some(kept.then_some(event))
    }
}

/// Decides on a link or an image and remembers it for its end; its text stays in any case.
fn keep(open: &mut Vec<bool>, address: &CowStr<'_>, schemes: &[&str]) -> bool {
    let kept = is_harmless(address, schemes);
    open.push(kept);
    kept
}

/// Whether an address is relative or has one of the schemes. Browsers pass over control
/// characters and blanks in a scheme, so they don't count here either.
fn is_harmless(address: &str, schemes: &[&str]) -> bool {
    let plain: String = address
        .chars()
        .filter(|c| !c.is_control() && !c.is_whitespace())
        .collect();
    match plain.find([':', '/', '?', '#']) {
        Some(end) if plain.get(end..).is_some_and(|rest| rest.starts_with(':')) => {
            let scheme = plain.get(..end).unwrap_or_default();
            schemes
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known))
        }
        _ => true,
    }
}

fn is_line_break(tag: &str) -> bool {
    let name = tag.trim_start_matches('<').trim_end_matches('>');
    name.trim_end_matches('/').trim().eq_ignore_ascii_case("br")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(markdown: &str, expected: &str) {
        assert_eq!(
            sanitised(markdown).unwrap().trim_end(),
            expected,
            "{markdown}"
        );
    }

    #[test]
    fn commonmark_and_tables() {
        check("# A *b*", "<h1>A <em>b</em></h1>");
        check("a ~~b~~", "<p>a <del>b</del></p>");
        check(
            "3. a\n4. b",
            "<ol start=\"3\">\n<li>a</li>\n<li>b</li>\n</ol>",
        );
        check(
            "```rust\nfn a() {}\n```",
            "<pre><code class=\"language-rust\">fn a() {}\n</code></pre>",
        );
        check(
            "|a|b|\n|--|-:|\n|1|2|",
            "<table><thead><tr><th>a</th><th style=\"text-align: right\">b</th></tr></thead><tbody>\n\
             <tr><td>1</td><td style=\"text-align: right\">2</td></tr>\n</tbody></table>",
        );
        check("a < b & c", "<p>a &lt; b &amp; c</p>");
        check("", "");
    }

    #[test]
    fn addresses() {
        check(
            "[a](https://example.com/?a=1&b \"t\")",
            "<p><a href=\"https://example.com/?a=1&amp;b\" title=\"t\">a</a></p>",
        );
        check("[a](/b:c#d)", "<p><a href=\"/b:c#d\">a</a></p>");
        check("[a](MAILTO:b@c)", "<p><a href=\"MAILTO:b@c\">a</a></p>");
        check(
            "<b@example.com>",
            "<p><a href=\"mailto:b@example.com\">b@example.com</a></p>",
        );
        check("![a](b.png)", "<p><img src=\"b.png\" alt=\"a\" /></p>");
        // The text stays where the address goes.
        check("[a *b*](javascript:x) c", "<p>a <em>b</em> c</p>");
        check(
            "[![a](data:b)](https://c/)",
            "<p><a href=\"https://c/\">a</a></p>",
        );
        check("![a](mailto:b)", "<p>a</p>");
    }

    #[test]
    fn raw_html_is_left_out() {
        check("a <b onclick=x>c</b><br/>d", "<p>a c<br />\nd</p>");
        check("a\n\n<div>b</div>\n\nc", "<p>a</p>\n<p>c</p>");
        check("`<b>`", "<p><code>&lt;b&gt;</code></p>");
    }

    #[test]
    fn harm_is_removed() {
        for markdown in [
            "<script>alert(1)</script>",
            "<SCRIPT SRC=//example.com/x.js></SCRIPT>",
            "<scr<script>ipt>alert(1)</script>",
            "[a](javascript:alert(1))",
            "[a](JaVaScRiPt:alert(1))",
            "[a](&#106;avascript:alert(1))",
            "[a](<java\tscript:alert(1)>)",
            "[a](<&#9;java&#10;script:alert(1)>)",
            "[a](<\u{1}javascript:alert(1)>)",
            "[a](https://example.com \"\\\" onclick=alert(1)\")",
            "![\" onerror=alert(1)](https://example.com/a.png)",
            "[a]( javascript:alert(1))",
            "[a](vbscript:alert(1))",
            "[a](data:text/html;base64,PHNjcmlwdD4=)",
            "![a](data:image/svg+xml;base64,PHN2Zz4=)",
            "<javascript:alert(1)>",
            "[a]: javascript:alert(1)\n\n[a]",
            "<img src=x onerror=alert(1)>",
            "<img src=\"data:image/png;base64,AA==\">",
            "<a href=\"javascript:alert(1)\" onclick=alert(1)>a</a>",
            "<div style=\"background:url(javascript:alert(1))\">a</div>",
            "<style>*{display:none}</style>",
            "<iframe src=\"https://example.com\"></iframe>",
            "<object data=x></object><embed src=x>",
            "<form action=https://example.com><input name=a></form>",
            "<svg><animate onbegin=alert(1)></svg>",
            "<math><mtext><mglyph><style><img src=x onerror=alert(1)>",
            "<base href=https://example.com>",
            "<meta http-equiv=refresh content=0>",
            "<td style=\"position:fixed;text-align:left\">a</td>",
            "<code class=\"language-a evil\">a</code>",
            "```\"onload=alert(1)\na\n```",
            "<!-- <script> -->",
        ] {
            let html = sanitised(markdown).unwrap();
            // Whatever stands between angle brackets is markup, and outside its quotes are names.
            for part in html.split('<').skip(1) {
                let tag = part.split('>').next().unwrap_or_default().to_lowercase();
                let names: String = tag.split('"').step_by(2).collect();
                let element = names.trim_start_matches('/').split_whitespace().next();
                let known = ["p", "a", "h1", "pre", "code", "img"];
                assert!(
                    element.is_some_and(|name| known.contains(&name)),
                    "{markdown} gave {html}"
                );
                for harm in [" on", "style"] {
                    assert!(!names.contains(harm), "{markdown} gave {html}");
                }
                for harm in ["script:", "data:"] {
                    assert!(!tag.contains(harm), "{markdown} gave {html}");
                }
            }
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        for markdown in [
            ">".repeat(100_000),
            "1. ".repeat(100_000),
            format!("{}a{}", "*".repeat(50_000), "*".repeat(50_000)),
            (0..200)
                .map(|n| format!("{}- a\n", " ".repeat(2 * n)))
                .collect(),
        ] {
            let error = sanitised(&markdown).unwrap_err();
            assert!(error.message().contains("nests"), "{error}");
        }
        // Siblings are not nesting.
        let siblings = "> *a*\n\n- [b](c)\n\n<br>d\n\n".repeat(1_000);
        assert!(sanitised(&siblings).is_ok());
    }
}
