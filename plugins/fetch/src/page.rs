//! From what a server answers to what is read.

use portreeve_sdk::{Error, text};
use url::Url;

use crate::article::Article;
use crate::tree::Tree;
use crate::{charset, json, markdown};

/// What a server answered.
pub(crate) struct Served<'a> {
    /// The address that answered.
    pub(crate) url: &'a Url,
    /// Its `content-type`, if it gave one.
    pub(crate) content_type: Option<&'a str>,
    /// Its `content-encoding`, if it gave one.
    pub(crate) encoding: Option<&'a str>,
    /// The body.
    pub(crate) body: &'a [u8],
}

/// How a page shall be read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    /// As it was sent, without being turned into Markdown.
    pub(crate) raw: bool,
    /// All of it, not the main text alone.
    pub(crate) whole: bool,
    /// With the addresses of its links.
    pub(crate) links: bool,
}

/// A page as text.
#[derive(Debug)]
pub(crate) struct Page {
    /// The text: all of it is the page's word.
    pub(crate) text: String,
    /// What it was made from: the media type.
    pub(crate) media_type: String,
    /// Whether nothing was left out for its size.
    pub(crate) complete: bool,
}

/// What can be read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Html,
    Json,
    Text,
}

/// Reads an answer as text of at most `bytes_max` bytes.
///
/// # Errors
/// It is none that can be read.
pub(crate) fn read(served: &Served<'_>, how: Reading, bytes_max: usize) -> Result<Page, Error> {
    if let Some(encoding) = served.encoding.map(str::trim)
        && !encoding.is_empty()
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(unreadable(
            served,
            &format!(
                "is compressed ({}), though that was not asked for",
                text::line(encoding, 40)
            ),
        ));
    }
    let (media_type, label) = split(served.content_type.unwrap_or_default());
    let (kind, media_type) = match kind_of(&media_type) {
        Some(kind) => (kind, media_type),
        None if media_type.is_empty() && !served.body.contains(&0) => {
            if looks_like_html(served.body) {
                (Kind::Html, "text/html".to_owned())
            } else {
                (Kind::Text, "text/plain".to_owned())
            }
        }
        None => {
            let what = match media_type.as_str() {
                "" => "of no stated type, and looks like no text",
                named => &format!("of the type {}", text::line(named, 100)),
            };
            return Err(unreadable(
                served,
                &format!("is {what} ({} bytes)", served.body.len()),
            ));
        }
    };
    let text = charset::decode(served.body, label.as_deref(), kind == Kind::Html);
    if text.contains('\0') && kind != Kind::Html {
        return Err(unreadable(served, "has bytes that no text has"));
    }
    let (text, complete) = match kind {
        Kind::Html if !how.raw => {
            let (text, complete) = article(&text, served.url, how, bytes_max);
            return Ok(Page {
                text,
                media_type,
                complete,
            });
        }
        Kind::Json if !how.raw => match json::pretty(&text, bytes_max) {
            Some(pretty) => {
                let complete = pretty.len() < bytes_max;
                (pretty, complete)
            }
            None => (text, true),
        },
        _ => (text, true),
    };
    let mut text = text::lines(&text);
    let complete = complete && text.len() <= bytes_max;
    text.truncate(text.floor_char_boundary(bytes_max));
    Ok(Page {
        text,
        media_type,
        complete,
    })
}

/// The text of a page of HTML, headed by what the page is called and who wrote it.
fn article(html: &str, url: &Url, how: Reading, bytes_max: usize) -> (String, bool) {
    let tree = Tree::parse(html);
    let article = Article::find(&tree, how.whole);
    let (text, complete) = markdown::write(&article, url, how.links, bytes_max);
    let mut head = String::new();
    if let Some(title) = &article.title {
        let title = markdown::escaped(title);
        // Many pages begin with it.
        if !text
            .lines()
            .take(3)
            .any(|line| line == format!("# {title}"))
        {
            head.push_str(&format!("# {title}\n\n"));
        }
    }
    let by = [&article.byline, &article.published].map(|line| line.as_deref());
    let by: Vec<String> = by.into_iter().flatten().map(markdown::escaped).collect();
    if !by.is_empty() {
        head.push_str(&by.join(" · "));
        head.push_str("\n\n");
    }
    head.push_str(&text);
    let complete = complete && head.len() <= bytes_max && tree.complete;
    head.truncate(head.floor_char_boundary(bytes_max));
    (head.trim_end().to_owned(), complete)
}

/// The media type in lower case, and the label of the charset.
fn split(content_type: &str) -> (String, Option<String>) {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let label = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    });
    (media_type, label)
}

/// How a media type is read; `None` for what is no text.
fn kind_of(media_type: &str) -> Option<Kind> {
    Some(match media_type {
        "text/html" | "application/xhtml+xml" => Kind::Html,
        "application/json" | "text/json" => Kind::Json,
        "application/xml"
        | "application/javascript"
        | "application/x-javascript"
        | "application/ecmascript"
        | "application/x-ndjson"
        | "application/yaml"
        | "application/x-yaml"
        | "application/toml"
        | "application/sql"
        | "application/x-sh"
        | "application/rtf"
        | "message/rfc822" => Kind::Text,
        other if other.ends_with("+json") => Kind::Json,
        other
            if other.starts_with("text/")
                || other.ends_with("+xml")
                || other.ends_with("+yaml") =>
        {
            // Pictures of XML say nothing that is read.
            if other == "image/svg+xml" {
                return None;
            }
            Kind::Text
        }
        _ => return None,
    })
}

/// Whether a body without a type begins as pages do.
fn looks_like_html(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let start = start.get(..14).unwrap_or(start).to_ascii_lowercase();
    start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
}

fn unreadable(served: &Served<'_>, what: &str) -> Error {
    Error::unsupported(format_args!(
        "what {} answered {what}; pages, text and JSON can be read here",
        served.url.origin().ascii_serialization()
    ))
    .reason("not-readable")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use portreeve_sdk::Code;

    use super::*;

    const PLAIN: Reading = Reading {
        raw: false,
        whole: false,
        links: true,
    };

    fn read_as(body: &[u8], content_type: Option<&str>, how: Reading) -> Result<Page, Error> {
        let served = Served {
            url: &Url::parse("https://example.com/a").unwrap(),
            content_type,
            encoding: None,
            body,
        };
        read(&served, how, 10_000)
    }

    fn check(body: &str, content_type: &str, how: Reading, expected: Expect) {
        let page = read_as(body.as_bytes(), Some(content_type), how).unwrap();
        expected.assert_eq(&page.text);
    }

    #[test]
    fn a_page_has_a_head() {
        let page = "<title>A *title*</title><meta name=author content=Ada>\
                    <meta name=date content=2026-11-02><p>Text <a href=b>b</a>";
        check(
            page,
            "text/html; charset=utf-8",
            PLAIN,
            expect![[r"
                # A \*title\*

                Ada · 2026-11-02

                Text [b](https://example.com/b)"]],
        );
        check(
            page,
            "TEXT/HTML",
            Reading {
                links: false,
                ..PLAIN
            },
            expect![[r"
                # A \*title\*

                Ada · 2026-11-02

                Text b"]],
        );
        check(
            page,
            "text/html",
            Reading { raw: true, ..PLAIN },
            expect![[
                r"<title>A *title*</title><meta name=author content=Ada><meta name=date content=2026-11-02><p>Text <a href=b>b</a>"
            ]],
        );
        check(
            "<title>Twice</title><h1>Twice</h1>x",
            "text/html",
            PLAIN,
            expect![[r"
                # Twice

                x"]],
        );
    }

    #[test]
    fn json_and_text_are_read() {
        check(
            r#"{"b":1,"a":[true]}"#,
            "application/problem+json",
            PLAIN,
            expect![[r#"
                {
                  "b": 1,
                  "a": [
                    true
                  ]
                }"#]],
        );
        check("{\"a\"", "application/json", PLAIN, expect![[r#"{"a""#]]);
        check(
            "a\r\n\u{1b}[1m<b>*b*",
            "text/markdown",
            PLAIN,
            expect!["a\n[1m<b>*b*"],
        );
        check("<rss/>", "application/rss+xml", PLAIN, expect!["<rss/>"]);
        let latin = read_as(
            b"caf\xe9",
            Some("text/plain; format=flowed; Charset=\"iso-8859-1\""),
            PLAIN,
        );
        assert_eq!(latin.unwrap().text, "café");
        assert_eq!(
            read_as(b" <!DOCTYPE html>x", None, PLAIN).unwrap().text,
            "x"
        );
        assert_eq!(read_as(b"<x>", None, PLAIN).unwrap().text, "<x>");
    }

    #[test]
    fn what_is_no_text_is_refused_with_a_sentence() {
        for (body, content_type, says) in [
            (
                &b"\x89PNG"[..],
                Some("image/png"),
                "is of the type image/png (4 bytes)",
            ),
            (b"<svg/>", Some("image/svg+xml"), "image/svg+xml"),
            (b"%PDF", Some("application/pdf"), "application/pdf"),
            (b"a\0b", Some("text/plain"), "has bytes that no text has"),
            (b"a\0b", None, "looks like no text"),
            (b"", Some("a\u{202e}b/c"), "the type ab/c"),
        ] {
            let error = read_as(body, content_type, PLAIN).unwrap_err();
            assert_eq!(error.code(), Code::Unsupported);
            assert!(error.message().contains(says), "{error}");
        }
        let served = Served {
            url: &Url::parse("https://example.com/?key=CANARY").unwrap(),
            content_type: Some("text/html"),
            encoding: Some("gzip"),
            body: b"\x1f\x8b",
        };
        let error = read(&served, PLAIN, 10).unwrap_err();
        assert!(error.message().contains("compressed (gzip)"), "{error}");
        assert!(!error.message().contains("CANARY"), "{error}");
    }

    #[test]
    fn the_text_is_bounded() {
        for (body, content_type) in [
            ("é".repeat(9_000), "text/plain"),
            (
                format!("<title>t</title><p>{}", "é".repeat(9_000)),
                "text/html",
            ),
            (format!("[{}1]", "1,".repeat(5_000)), "application/json"),
        ] {
            let page = read_as(body.as_bytes(), Some(content_type), PLAIN).unwrap();
            assert!(
                page.text.len() <= 10_000 && !page.complete,
                "{content_type}"
            );
        }
    }
}
