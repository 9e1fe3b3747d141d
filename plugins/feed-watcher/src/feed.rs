//! Feeds: RSS 2.0 and Atom, as far as items have an id, a title and a link.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use portreeve_sdk::Error;
use roxmltree::{Document, Node, ParsingOptions};

/// Items of a feed that are looked at.
const ITEMS_MAX: usize = 200;

/// Longest text of an item, in characters.
const TEXT_CHARS_MAX: usize = 300;

/// Nodes of a document: what a feed of this many items has, with much to spare.
const NODES_MAX: u32 = 100_000;

/// One item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// What tells it from others of its feed.
    pub(crate) id: String,
    /// Its title; may be empty.
    pub(crate) title: String,
    /// Its address; may be empty.
    pub(crate) link: String,
}

/// Reads a feed, in its order.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Item>, Error> {
    let refuse = |why: String| Error::unavailable(format_args!("it is no feed: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|error| refuse(error.to_string()))?;
    let options = ParsingOptions {
        nodes_limit: NODES_MAX,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text.trim_start_matches('\u{feff}'), options)
        .map_err(|error| refuse(error.to_string()))?;
    let root = document.root_element().tag_name().name();
    let (name, id) = match root {
        "rss" | "RDF" => ("item", "guid"),
        "feed" => ("entry", "id"),
        other => return Err(refuse(format!("it begins with <{}>", shorten(other)))),
    };
    let items = document
        .descendants()
        .filter(|node| node.tag_name().name() == name);
    Ok(items
        .take(ITEMS_MAX)
        .map(|item| {
            let title = child(item, "title").map(content).unwrap_or_default();
            let link = child(item, "link").map(link).unwrap_or_default();
            let own = child(item, id).map(content).filter(|id| !id.is_empty());
            Item {
                id: own.unwrap_or_else(|| format!("{link} {title}")),
                title,
                link,
            }
        })
        .filter(|item| !item.id.trim().is_empty())
        .collect())
}

fn child<'a, 'b>(node: Node<'a, 'b>, name: &str) -> Option<Node<'a, 'b>> {
    node.children()
        .find(|child| child.tag_name().name() == name)
}

fn content(node: Node<'_, '_>) -> String {
    let text: String = node
        .descendants()
        .filter_map(|part| part.text().filter(|_| part.is_text()))
        .collect();
    shorten(&text)
}

/// RSS has the address as text, Atom as an attribute.
fn link(node: Node<'_, '_>) -> String {
    node.attribute("href")
        .map_or_else(|| content(node), shorten)
}

/// One line of bounded length.
fn shorten(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(TEXT_CHARS_MAX).collect()
}

/// What an item enters the topic once under: of bounded length, whatever its id is.
pub(crate) fn dedup_id(feed: &str, id: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (feed, id).hash(&mut hasher);
    let start: String = id.chars().take(40).collect();
    format!("{:016x} {start}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, title: &str, link: &str) -> Item {
        Item {
            id: id.to_owned(),
            title: title.to_owned(),
            link: link.to_owned(),
        }
    }

    #[test]
    fn rss_and_atom_are_read() {
        let rss = "<rss><channel><title>C</title>
            <item><guid>1</guid><title>One &amp; <![CDATA[more]]></title><link>http://a/1</link></item>
            <item><title>Two</title><link>http://a/2</link></item></channel></rss>";
        assert_eq!(
            read(rss.as_bytes()).unwrap(),
            [
                item("1", "One & more", "http://a/1"),
                item("http://a/2 Two", "Two", "http://a/2")
            ]
        );
        let atom = "<feed xmlns='http://www.w3.org/2005/Atom'><entry><id>x</id>
            <title>T</title><link href='http://a/x'/></entry></feed>";
        assert_eq!(
            read(atom.as_bytes()).unwrap(),
            [item("x", "T", "http://a/x")]
        );
    }

    #[test]
    fn what_is_no_feed_is_refused() {
        for text in ["", "text", "<html/>", "<rss>", "\u{0}"] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read(b"\xff").is_err());
        // Entities that multiply.
        let bomb = "<!DOCTYPE r [<!ENTITY a 'xxxxxxxxxx'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>
            <!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;'>]><rss>&d;</rss>";
        assert!(read(bomb.as_bytes()).is_err());
    }
}
