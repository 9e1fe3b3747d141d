//! Writes a part of a page as Markdown (CommonMark with tables).
//!
//! The words are the page's, the marks are ours: what the page writes in Markdown's own
//! characters is escaped, so that it can't forge a link, an image or a heading. Images are
//! named, not shown: a client that shows one fetches it, and tells its server so.

mod inline;
mod table;

use portreeve_sdk::text;
use url::Url;

use crate::article::Article;
use crate::tree::{DEPTH_MAX, Node};
use inline::Inline;

/// Lists and quotations within each other that are shown as such.
const NESTING_MAX: usize = 8;

/// What lines of an item are indented by: as far as its bullet or number is long.
const SPACES: &str = "          ";

/// Writes the text of a page.
///
/// What becomes longer than `bytes_max` is left out; the second value says whether all is there.
pub(crate) fn write(
    article: &Article<'_>,
    page: &Url,
    links: bool,
    bytes_max: usize,
) -> (String, bool) {
    let base = article.base.and_then(|base| page.join(base).ok());
    let mut writer = Writer {
        article,
        base: base.unwrap_or_else(|| page.clone()),
        links,
        bytes_max,
        out: String::new(),
        prefixes: Vec::new(),
        shared: 0,
        item: None,
        tight: false,
        flat: false,
        inline: Inline::default(),
    };
    writer.children(article.content, 0);
    writer.end_paragraph();
    let mut out = writer.out;
    let complete = out.len() <= bytes_max;
    out.truncate(out.floor_char_boundary(bytes_max));
    (out, complete)
}

/// One line of the page's words, with Markdown's characters escaped.
pub(crate) fn escaped(line: &str) -> String {
    let mut inline = Inline::default();
    inline.text(line);
    inline.take()
}

/// Writes blocks one after the other.
struct Writer<'a> {
    article: &'a Article<'a>,
    base: Url,
    links: bool,
    bytes_max: usize,
    out: String,
    /// What each line starts with, from the outermost block to the innermost.
    prefixes: Vec<&'static str>,
    /// How many of them the block before has too.
    shared: usize,
    /// The bullet or number that the next block starts with, and which prefix it stands for.
    item: Option<(usize, String)>,
    /// Whether blocks follow each other without an empty line.
    tight: bool,
    /// Whether all of it shall be one line: blocks only part words.
    flat: bool,
    /// The paragraph that is being written.
    inline: Inline,
}

impl<'a> Writer<'a> {
    fn children(&mut self, node: Node<'a>, depth: usize) {
        for child in node.children() {
            self.node(child, depth);
        }
    }

    fn node(&mut self, node: Node<'a>, depth: usize) {
        if self.out.len() + self.inline.len() > self.bytes_max || self.article.skips(node) {
            return;
        }
        if let Some(text) = node.text() {
            self.inline.text(text);
            return;
        }
        // The parser bounds the depth of what it is given; what it moves may lie deeper.
        if depth > 2 * DEPTH_MAX {
            let text = node.all_text(|node| self.article.skips(node));
            self.inline.text(&text);
            return;
        }
        let depth = depth + 1;
        let name = node.name();
        if self.flat && (is_block(name) || is_block_with_marks(name)) {
            self.inline.space();
            self.children(node, depth);
            self.inline.space();
            return;
        }
        match name {
            "br" if self.flat => self.inline.space(),
            "br" => self.inline.line_break(),
            "hr" => self.block("---"),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.heading(node, depth),
            "pre" | "listing" | "xmp" | "plaintext" => self.code_block(node),
            "blockquote" => {
                self.end_paragraph();
                self.nested("> ", |writer| writer.children(node, depth));
            }
            "ul" | "ol" | "dir" => self.list(node, depth),
            "table" => self.table(node, depth),
            "dt" | "summary" | "legend" | "caption" | "figcaption" => {
                self.end_paragraph();
                let mark = if node.name() == "figcaption" {
                    "*"
                } else {
                    "**"
                };
                self.marked(mark, mark, node, depth);
                self.end_paragraph();
            }
            "b" | "strong" => self.marked("**", "**", node, depth),
            "i" | "em" | "cite" | "dfn" | "var" => self.marked("*", "*", node, depth),
            "del" | "s" | "strike" => self.marked("~~", "~~", node, depth),
            "q" => self.marked("“", "”", node, depth),
            "sup" => self.raised("^", node, depth),
            "sub" => self.raised("_", node, depth),
            "code" | "kbd" | "samp" | "tt" => {
                let text = node.all_text(|node| self.article.skips(node));
                self.inline.code(&text);
            }
            "math" => match node.attribute("alttext") {
                Some(formula) => self.inline.code(formula),
                None => self.children(node, depth),
            },
            "a" => self.link(node, depth),
            "img" => self.inline.image(node.attribute("alt").unwrap_or_default()),
            name if is_block(name) => {
                self.end_paragraph();
                self.children(node, depth);
                self.end_paragraph();
            }
            _ => self.children(node, depth),
        }
    }

    fn heading(&mut self, node: Node<'a>, depth: usize) {
        self.end_paragraph();
        let level = match node.name() {
            "h1" => "# ",
            "h2" => "## ",
            "h3" => "### ",
            "h4" => "#### ",
            "h5" => "##### ",
            _ => "###### ",
        };
        let text = self.line_of(node, depth);
        if !text.is_empty() {
            self.block(&format!("{level}{text}"));
        }
    }

    /// The text of an element as one line, be there blocks in it or not.
    fn line_of(&mut self, node: Node<'a>, depth: usize) -> String {
        let mut inner = Writer {
            article: self.article,
            base: self.base.clone(),
            links: self.links,
            bytes_max: self.bytes_max.saturating_sub(self.out.len()),
            out: String::new(),
            prefixes: Vec::new(),
            shared: 0,
            item: None,
            tight: false,
            flat: true,
            inline: Inline::default(),
        };
        inner.children(node, depth);
        inner.inline.take()
    }

    fn code_block(&mut self, node: Node<'a>) {
        self.end_paragraph();
        let text = node.all_text(|node| self.article.skips(node));
        let text = text::lines(&text);
        let text = text.trim_matches('\n');
        if text.trim().is_empty() {
            return;
        }
        let language = node
            .walk(|_| false)
            .take(3)
            .filter_map(|node| node.attribute("class"))
            .flat_map(str::split_whitespace)
            .find_map(|class| {
                class
                    .strip_prefix("language-")
                    .or_else(|| class.strip_prefix("lang-"))
            })
            .filter(|name| {
                name.len() <= 20
                    && name.bytes().all(|b| {
                        b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'#' | b'_')
                    })
            })
            .unwrap_or_default();
        let fence = inline::fence(text, 3);
        self.block(&format!("{fence}{language}\n{text}\n{fence}"));
    }

    fn list(&mut self, node: Node<'a>, depth: usize) {
        self.end_paragraph();
        let ordered = node.name() == "ol";
        let mut number: i32 = node
            .attribute("start")
            .and_then(|start| start.parse().ok())
            .filter(|start| (0..=1_000_000).contains(start))
            .unwrap_or(1);
        // A list within an item follows the item's words at once.
        self.tight = node.parent().is_some_and(|above| above.name() == "li");
        for child in node.children() {
            if child.name() != "li" {
                self.node(child, depth);
                continue;
            }
            self.end_paragraph();
            let bullet = if ordered {
                format!("{number}. ")
            } else {
                "- ".to_owned()
            };
            number = number.saturating_add(1);
            let indent = SPACES.get(..bullet.len()).unwrap_or(SPACES);
            if self.prefixes.len() < NESTING_MAX {
                self.item = Some((self.prefixes.len(), bullet));
            }
            self.nested(indent, |writer| {
                writer.children(child, depth);
                writer.end_paragraph();
                writer.item = None;
            });
            self.tight = true;
        }
        self.end_paragraph();
        self.tight = false;
    }

    /// Blocks whose lines start with `prefix`.
    fn nested(&mut self, prefix: &'static str, write: impl FnOnce(&mut Self)) {
        let deeper = self.prefixes.len() < NESTING_MAX;
        if deeper {
            self.prefixes.push(prefix);
        }
        write(self);
        self.end_paragraph();
        if deeper {
            self.prefixes.pop();
            self.shared = self.shared.min(self.prefixes.len());
        }
    }

    fn marked(&mut self, open: &'static str, close: &'static str, node: Node<'a>, depth: usize) {
        let opened = self.inline.open(open, close);
        self.children(node, depth);
        if opened {
            self.inline.close();
        }
    }

    /// Raised or lowered text, which would read as another number beside the line.
    fn raised(&mut self, mark: &'static str, node: Node<'a>, depth: usize) {
        let text = node.all_text(|node| self.article.skips(node));
        let linked = node.walk(|_| false).any(|node| node.name() == "a");
        let text = text.trim();
        if linked || text.is_empty() || text.len() > 40 {
            self.children(node, depth);
        } else if text.chars().all(char::is_alphanumeric) {
            self.inline.plain(mark);
            self.inline.text(text);
        } else {
            self.inline.plain(mark);
            self.inline.text(&format!("({text})"));
        }
    }

    fn link(&mut self, node: Node<'a>, depth: usize) {
        let target = node
            .attribute("href")
            .filter(|_| self.links)
            .and_then(|href| inline::target(&self.base, href));
        match target {
            Some(target) if self.inline.open("[", format!("]({target})")) => {
                self.children(node, depth);
                self.inline.close();
            }
            _ => self.children(node, depth),
        }
    }

    /// Ends the paragraph that is being written, if there is one.
    fn end_paragraph(&mut self) {
        let text = self.inline.take();
        if !text.is_empty() {
            self.block(&text);
        }
    }

    /// Writes lines as a block of its own.
    fn block(&mut self, text: &str) {
        let pending = self.inline.take();
        if !pending.is_empty() {
            self.block(&pending);
        }
        if !self.out.is_empty() {
            self.out.push('\n');
            if !self.tight {
                let start = self.out.len();
                self.out
                    .extend(self.prefixes.iter().take(self.shared).copied());
                let end = self.out.trim_end_matches(' ').len();
                self.out.truncate(end.max(start));
                self.out.push('\n');
            }
        }
        self.tight = false;
        self.shared = self.prefixes.len();
        for (index, line) in text.split('\n').enumerate() {
            if self.out.len() > self.bytes_max {
                return;
            }
            if index > 0 {
                self.out.push('\n');
            }
            let start = self.out.len();
            let mut item = self.item.take();
            for (index, prefix) in self.prefixes.iter().enumerate() {
                match item.take_if(|(level, _)| *level == index) {
                    Some((_, bullet)) => self.out.push_str(&bullet),
                    None => self.out.push_str(prefix),
                }
            }
            self.out.push_str(line);
            let end = self.out.trim_end_matches(' ').len();
            self.out.truncate(end.max(start));
        }
    }
}

/// Elements that begin and end on lines of their own.
fn is_block(name: &str) -> bool {
    matches!(
        name,
        "" | "address"
            | "article"
            | "aside"
            | "body"
            | "center"
            | "dd"
            | "details"
            | "div"
            | "dl"
            | "fieldset"
            | "figure"
            | "footer"
            | "form"
            | "header"
            | "hgroup"
            | "html"
            | "li"
            | "main"
            | "menu"
            | "nav"
            | "p"
            | "search"
            | "section"
            | "tbody"
            | "td"
            | "tfoot"
            | "th"
            | "thead"
            | "tr"
    )
}

/// Blocks that Markdown has marks for.
fn is_block_with_marks(name: &str) -> bool {
    matches!(
        name,
        "blockquote"
            | "caption"
            | "dir"
            | "dt"
            | "figcaption"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "hr"
            | "legend"
            | "listing"
            | "ol"
            | "plaintext"
            | "pre"
            | "summary"
            | "table"
            | "ul"
            | "xmp"
    )
}

#[cfg(test)]
mod tests;
