//! What of a page is to be read: its title, who wrote it, and where the main text lies.
//!
//! There are two passes. What no reader sees (scripts, what is hidden) is left out always; what
//! stands beside the text (menus, cookie banners) only where a text remains without it. Then the
//! text is searched for: in the elements made for it, or else by going down from the body to
//! where nearly all of its paragraphs lie.

use crate::tree::{Node, Tree};
use portreeve_sdk::text;

/// The longest title and byline, in bytes.
const LINE_BYTES_MAX: usize = 300;

/// A main text shorter than this, in bytes, is doubted: all of the page is read instead.
const TEXT_BYTES_MIN: usize = 200;

/// What of the page's text an element must hold to be its main text: `<main>` and `<article>`
/// by their word, any other by its paragraphs.
const DECLARED_PER_CENT: usize = 25;
const FOUND_PER_CENT: usize = 90;

/// The shortest paragraph that counts, in bytes: menus are made of shorter ones.
const PARAGRAPH_BYTES_MIN: usize = 25;

/// What stands beside a text, by the words in names of classes and ids.
const BESIDE: &[&str] = &[
    "ad",
    "ads",
    "advert",
    "advertisement",
    "banner",
    "breadcrumb",
    "breadcrumbs",
    "consent",
    "cookie",
    "cookies",
    "footer",
    "gdpr",
    "menu",
    "modal",
    "nav",
    "navbar",
    "navigation",
    "newsletter",
    "noprint",
    "pager",
    "pagination",
    "popup",
    "promo",
    "recommended",
    "related",
    "share",
    "sharing",
    "sidebar",
    "signup",
    "skip",
    "social",
    "sponsor",
    "sponsored",
    "subscribe",
    "toolbar",
];

/// A page as it is read.
pub(crate) struct Article<'a> {
    /// What it is called.
    pub(crate) title: Option<String>,
    /// Who wrote it.
    pub(crate) byline: Option<String>,
    /// When it was published, as the page writes it.
    pub(crate) published: Option<String>,
    /// The address that its links start from, if the page gives one.
    pub(crate) base: Option<&'a str>,
    /// Where the text lies.
    pub(crate) content: Node<'a>,
    /// What is left out of it, by [`Node::id`].
    dropped: Vec<bool>,
}

impl<'a> Article<'a> {
    /// Finds the text of a page: the main one, or the `whole` of it.
    pub(crate) fn find(tree: &'a Tree, whole: bool) -> Article<'a> {
        let mut dropped = vec![false; tree.len()];
        drop_where(tree, &mut dropped, is_unseen);
        let head = Head::read(tree, &dropped);
        let body = tree
            .root()
            .walk(|_| false)
            .find(|node| node.name() == "body")
            .unwrap_or(tree.root());
        let all = Measured::new(tree, &dropped);
        let mut content = body;
        if !whole {
            let mut strict = dropped.clone();
            let half = all.text(body) / 2;
            drop_where(tree, &mut strict, |node| {
                is_beside(node) && all.text(node) <= half
            });
            let measured = Measured::new(tree, &strict);
            let main = main_text(body, &measured);
            if measured.text(main) >= TEXT_BYTES_MIN.min(all.text(body)) {
                content = main;
                dropped = strict;
            }
        }
        Article {
            title: head.title,
            byline: head.byline,
            published: head.published,
            base: head.base,
            content,
            dropped,
        }
    }

    /// Whether a node is no part of the text.
    pub(crate) fn skips(&self, node: Node<'_>) -> bool {
        self.dropped.get(node.id()).copied().unwrap_or(true)
    }
}

/// Marks nodes, and leaves alone what lies in them: nobody comes there.
fn drop_where(tree: &Tree, dropped: &mut [bool], drops: impl Fn(Node<'_>) -> bool) {
    for node in tree.root().walk(|_| false) {
        if node.is_element()
            && let Some(dropped) = dropped.get_mut(node.id())
        {
            *dropped = *dropped || drops(node);
        }
    }
}

/// What no reader sees, or can't be read as text.
fn is_unseen(node: Node<'_>) -> bool {
    match node.name() {
        // SVG.
        "" => return true,
        "annotation" | "annotation-xml" => return true,
        "applet" | "area" | "audio" | "base" | "button" | "canvas" | "datalist" | "dialog"
        | "embed" | "frame" | "frameset" | "iframe" | "input" | "link" | "map" | "meta"
        | "meter" | "noembed" | "noframes" | "noscript" | "object" | "option" | "progress"
        | "rp" | "rt" | "script" | "select" | "style" | "template" | "textarea" | "title"
        | "video" => return true,
        _ => {}
    }
    let style = || {
        let style: String = node
            .attribute("style")
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_ascii_whitespace())
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let zero = |property: &str| {
            style.match_indices(property).any(|(at, _)| {
                let value = style.get(at + property.len()..).unwrap_or_default();
                let value = value.split(';').next().unwrap_or_default();
                value.starts_with('0')
                    && value
                        .bytes()
                        .take_while(|b| !b.is_ascii_alphabetic() && *b != b'%' && *b != b'!')
                        .all(|b| matches!(b, b'0' | b'.'))
            })
        };
        style.contains("display:none")
            || style.contains("visibility:hidden")
            || style.contains("visibility:collapse")
            || zero("opacity:")
            || zero("font-size:")
    };
    node.attribute("hidden").is_some()
        || node
            .attribute("aria-hidden")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || style()
}

/// What stands beside the text of a page, if it has one.
fn is_beside(node: Node<'_>) -> bool {
    let within = |names: &[&str]| {
        std::iter::successors(node.parent(), |above| above.parent())
            .any(|above| names.contains(&above.name()))
    };
    match node.name() {
        "nav" | "aside" | "footer" | "menu" => return true,
        // Within an article, it holds the article's title.
        "header" => return !within(&["article", "main"]),
        "html" | "body" | "main" | "article" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "pre"
        | "code" | "a" | "tr" | "td" | "th" | "tbody" => return false,
        _ => {}
    }
    let role = node.attribute("role").unwrap_or_default();
    matches!(
        role,
        "alertdialog"
            | "banner"
            | "complementary"
            | "contentinfo"
            | "dialog"
            | "navigation"
            | "search"
    ) || ["class", "id"].iter().any(|attribute| {
        node.words(attribute)
            .any(|word| BESIDE.iter().any(|known| word.eq_ignore_ascii_case(known)))
    })
}

/// The element that holds the main text.
fn main_text<'a>(body: Node<'a>, measured: &Measured) -> Node<'a> {
    let enough = |node: Node<'_>, of: Node<'_>, per_cent: usize| {
        measured.text(node) * 100 >= measured.text(of) * per_cent && measured.text(node) > 0
    };
    let mains = |node: &Node<'_>| {
        node.name() == "main" || node.attribute("role").is_some_and(|role| role == "main")
    };
    let mut start = body;
    let declared = body
        .walk(|_| false)
        .filter(mains)
        .max_by_key(|main| measured.text(*main));
    if let Some(main) = declared.filter(|main| enough(*main, body, DECLARED_PER_CENT)) {
        start = main;
    }
    // One article is the text; more are a list of them, which is read as such.
    let mut articles = start
        .walk(|_| false)
        .filter(|node| node.name() == "article");
    if let (Some(article), None) = (articles.next(), articles.next())
        && enough(article, start, DECLARED_PER_CENT)
    {
        start = article;
    }
    if start.name() == "body" {
        while let Some(inner) = start.children().find(|child| {
            is_container(*child)
                && measured.paragraphs(start) > 0
                && measured.paragraphs(*child) * 100 >= measured.paragraphs(start) * FOUND_PER_CENT
        }) {
            start = inner;
        }
    }
    start
}

fn is_container(node: Node<'_>) -> bool {
    matches!(
        node.name(),
        "div"
            | "section"
            | "article"
            | "main"
            | "form"
            | "center"
            | "font"
            | "table"
            | "tbody"
            | "tr"
            | "td"
            | "span"
    )
}

/// How much text lies in each node, in bytes without white space at the ends.
struct Measured {
    text: Vec<usize>,
    paragraphs: Vec<usize>,
}

impl Measured {
    fn new(tree: &Tree, dropped: &[bool]) -> Measured {
        let mut measured = Measured {
            text: vec![0; tree.len()],
            paragraphs: vec![0; tree.len()],
        };
        let skip = |node: Node<'_>| dropped.get(node.id()).copied().unwrap_or(true);
        let nodes: Vec<Node<'_>> = tree.root().walk(skip).collect();
        // From the last to the first: what lies in a node comes after it.
        for node in nodes.into_iter().rev() {
            let own = node.text().map_or(0, |text| text.trim().len());
            let at = |list: &[usize], node: Node<'_>| list.get(node.id()).copied().unwrap_or(0);
            let total = at(&measured.text, node) + own;
            let mut paragraphs = at(&measured.paragraphs, node);
            // Menus are lists of links: text in links is none.
            if node.name() == "a" {
                paragraphs = 0;
            } else if own >= PARAGRAPH_BYTES_MIN {
                paragraphs += own;
            }
            for (list, value) in [
                (&mut measured.text, total),
                (&mut measured.paragraphs, paragraphs),
            ] {
                if let Some(entry) = list.get_mut(node.id()) {
                    *entry = value;
                }
                if let Some(above) = node.parent().and_then(|above| list.get_mut(above.id())) {
                    *above += value;
                }
            }
        }
        measured
    }

    fn text(&self, node: Node<'_>) -> usize {
        self.text.get(node.id()).copied().unwrap_or(0)
    }

    fn paragraphs(&self, node: Node<'_>) -> usize {
        self.paragraphs.get(node.id()).copied().unwrap_or(0)
    }
}

/// What a page says of itself.
#[derive(Default)]
struct Head<'a> {
    title: Option<String>,
    byline: Option<String>,
    published: Option<String>,
    base: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn read(tree: &'a Tree, dropped: &[bool]) -> Head<'a> {
        let seen = |node: Node<'_>| dropped.get(node.id()).copied().unwrap_or(true);
        let line =
            |text: &str| Some(text::line(text, LINE_BYTES_MAX)).filter(|line| !line.is_empty());
        let mut head = Head::default();
        let mut og_title = None;
        let mut heading = None;
        let mut marked_byline = None;
        let mut time = None;
        for node in tree.root().walk(|_| false) {
            let first = |place: &mut Option<String>, text: &str| {
                if place.is_none() {
                    *place = line(text);
                }
            };
            match node.name() {
                "title" => first(&mut head.title, &node.all_text(|_| false)),
                "base" if head.base.is_none() => head.base = node.attribute("href"),
                "meta" => {
                    let value = node.attribute("content").unwrap_or_default();
                    let name = node.attribute("property").or(node.attribute("name"));
                    match name.unwrap_or_default() {
                        "og:title" => first(&mut og_title, value),
                        // Some give the address of the author's page.
                        "author" | "article:author" | "dc.creator" if !value.contains("://") => {
                            first(&mut head.byline, value);
                        }
                        "article:published_time" | "date" | "dc.date" => {
                            first(&mut head.published, value);
                        }
                        _ => {}
                    }
                }
                "h1" if heading.is_none() => first(&mut heading, &node.all_text(seen)),
                "time" if time.is_none() => {
                    let shown = || node.all_text(seen);
                    match node.attribute("datetime") {
                        Some(value) => first(&mut time, value),
                        None => first(&mut time, &shown()),
                    }
                }
                "" => {}
                _ if marked_byline.is_none() && !seen(node) && is_byline(node) => {
                    first(&mut marked_byline, &node.all_text(seen));
                }
                _ => {}
            }
        }
        head.title = head.title.or(og_title).or(heading);
        head.byline = head.byline.or(marked_byline);
        head.published = head.published.or(time);
        head
    }
}

fn is_byline(node: Node<'_>) -> bool {
    node.attribute("rel").is_some_and(|rel| rel == "author")
        || node.attribute("itemprop").is_some_and(|of| of == "author")
        || node.words("class").any(|word| word == "byline")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Titles and the text that is found, with white space folded.
    fn found(html: &str, whole: bool) -> String {
        let tree = Tree::parse(html);
        let article = Article::find(&tree, whole);
        let text = article.content.all_text(|node| article.skips(node));
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!(
            "{}|{}|{}|{words}",
            article.title.as_deref().unwrap_or("-"),
            article.byline.as_deref().unwrap_or("-"),
            article.published.as_deref().unwrap_or("-"),
        )
    }

    const LONG: &str = "The harbour master read the papers of each ship, collected the dues, and \
        wrote down who had come and gone; nobody landed a crate before he had nodded. This went \
        on for two hundred years, and then somebody invented the form in triplicate.";

    #[test]
    fn the_main_text_is_found() {
        let beside = "<nav>Home News About</nav>";
        for page in [
            format!("{beside}<main><p>{LONG}</p></main><footer>Imprint</footer>"),
            format!("{beside}<div role=main><p>{LONG}</p></div><aside>Read also</aside>"),
            format!(
                "<header>Our site</header><main><div>x</div><article><p>{LONG}</article></main>"
            ),
            format!(
                "<div id=wrap><div class='nav-bar menu'>Home</div><div><p>{LONG}</p></div></div>"
            ),
            format!(
                "<div><div class=teasers><a href=1>Something else to read on this site</a></div>\
                     <div><div><p>{LONG}</p></div></div></div>"
            ),
            format!("<table><tr><td><a href=x>Home</a><td>{LONG}</table>"),
            format!("<div class='page with sidebar'>{LONG}</div>"),
            format!("<div class=cookie-consent>We value your privacy</div><p>{LONG}</p>"),
        ] {
            let text = found(&page, false);
            assert!(
                text.ends_with(LONG) && !text.contains("Home"),
                "{page}\n{text}"
            );
            assert!(
                text.split('|').nth(3).unwrap().len() <= LONG.len() + 2,
                "{page}\n{text}"
            );
        }
    }

    #[test]
    fn a_short_page_is_read_as_a_whole() {
        assert_eq!(found("<nav>Home</nav><p>Hello", false), "-|-|-|HomeHello");
        assert_eq!(found("<nav>Home</nav>", false), "-|-|-|Home");
        assert_eq!(found("", false), "-|-|-|");
        let page = format!("<nav>Home</nav><main>{LONG}</main>");
        assert!(found(&page, true).contains("Home"));
    }

    #[test]
    fn several_articles_are_all_read() {
        let page = format!("<main><article>1 {LONG}</article><article>2 {LONG}</article></main>");
        let text = found(&page, false);
        assert!(text.contains("1 The") && text.contains("2 The"), "{text}");
    }

    #[test]
    fn what_is_hidden_is_left_out() {
        for hidden in [
            "<p hidden>X</p>",
            "<p style='display: none'>X</p>",
            "<p style='color:red; VISIBILITY : hidden'>X</p>",
            "<p style='font-size:0px'>X</p>",
            "<p style='opacity:0.0;'>X</p>",
            "<p aria-hidden=true>X</p>",
            "<!-- X -->",
            "<script>X</script><style>X</style><template>X</template><noscript>X</noscript>",
            "<svg><title>X</title><text>X</text></svg>",
            "<select><option>X</select><textarea>X</textarea><iframe>X</iframe>",
            "<div hidden><div><p>X",
        ] {
            for whole in [false, true] {
                let text = found(&format!("<p>{LONG}</p>{hidden}"), whole);
                assert!(text.ends_with(LONG), "{hidden}: {text}");
            }
        }
        let shown = "<p style='opacity:0.5;font-size:0.9em'>Y</p>";
        assert!(found(&format!("<p>{LONG}</p>{shown}"), false).ends_with('Y'));
    }

    #[test]
    fn what_the_page_says_of_itself() {
        for (html, head) in [
            ("<title> A\n B </title><h1>C</h1>", "A B|-|-"),
            ("<meta property=og:title content=O><h1>C</h1>", "O|-|-"),
            ("<h1><b>C</b> d</h1>", "C d|-|-"),
            ("<meta name=author content='Ada L.'>", "-|Ada L.|-"),
            (
                "<meta property=article:author content='https://x/y'><a rel=author>Ada",
                "-|Ada|-",
            ),
            ("<p class='post-byline'>By <b>Ada</b></p>", "-|By Ada|-"),
            (
                "<meta property=article:published_time content=2026-11-02><time>now</time>",
                "-|-|2026-11-02",
            ),
            (
                "<time datetime=2026-11-02T10:00Z>today</time>",
                "-|-|2026-11-02T10:00Z",
            ),
            ("<svg><title>no</title></svg><title>yes</title>", "yes|-|-"),
        ] {
            let found = found(html, false);
            assert!(found.starts_with(&format!("{head}|")), "{html}: {found}");
        }
    }
}
