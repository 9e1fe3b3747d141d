//! HTML as a tree, as browsers read it, within bounds: broken markup becomes what they make
//! of it, and a page that nests or multiplies without end stops growing.
//!
//! Nodes lie in one list and point at each other by index, so that nothing here recurses.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::iter::successors;
use std::rc::Rc;

use html5ever::buffer_queue::BufferQueue;
use html5ever::interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts};
use html5ever::{Attribute, ExpandedName, LocalName, QualName, ns};

/// Elements within elements; start tags beyond it are left out. Pages have 60 at most,
/// Chromium stops at 512.
pub(crate) const DEPTH_MAX: usize = 128;

/// Nodes of a page; what comes after is left out. The longest pages of Wikipedia have 60,000.
/// One token more may add as many again, by reopening what is open.
const NODES_MAX: usize = 200_000;

/// The attributes that are read; no others are kept.
const ATTRIBUTES: &[&str] = &[
    "alt",
    "alttext",
    "aria-hidden",
    "class",
    "colspan",
    "content",
    "datetime",
    "hidden",
    "href",
    "id",
    "itemprop",
    "name",
    "property",
    "rel",
    "role",
    "start",
    "style",
];

/// How long each may be, in bytes (a link's address is the longest), and how many a page may
/// have; what is beyond is left out.
const ATTRIBUTE_BYTES_MAX: usize = 4_096;
const ATTRIBUTES_MAX: usize = 200_000;

/// A parsed page.
pub(crate) struct Tree {
    nodes: Vec<Links>,
    /// Whether something was left out, for its size.
    pub(crate) complete: bool,
}

/// A node with its place in the tree.
struct Links {
    parent: Option<usize>,
    previous: Option<usize>,
    next: Option<usize>,
    first: Option<usize>,
    last: Option<usize>,
    data: Data,
}

/// What a node is.
enum Data {
    /// The document, comments and what else has no text of its own.
    None,
    Text(String),
    Element(Rc<QualName>, Vec<Attribute>),
}

impl Tree {
    /// Reads HTML, whatever it looks like.
    pub(crate) fn parse(html: &str) -> Tree {
        let sink = Sink {
            nodes: RefCell::new(vec![Links::new(Data::None)]),
            depth: Cell::new(0),
            attributes: Cell::new(0),
        };
        let options = TreeBuilderOpts {
            scripting_enabled: false,
            ..TreeBuilderOpts::default()
        };
        let bounded = Bounded {
            builder: TreeBuilder::new(sink, options),
            complete: Cell::new(true),
        };
        let tokenizer = Tokenizer::new(bounded, TokenizerOpts::default());
        let input = BufferQueue::default();
        input.push_back(StrTendril::from_slice(html));
        // It stops after each script, and where a page names its charset, which is known.
        while !input.is_empty() {
            let _ = tokenizer.feed(&input);
        }
        tokenizer.end();
        let Bounded { builder, complete } = tokenizer.sink;
        Tree {
            nodes: builder.sink.nodes.into_inner(),
            complete: complete.get(),
        }
    }

    /// The document itself, above all else.
    pub(crate) fn root(&self) -> Node<'_> {
        Node { tree: self, id: 0 }
    }

    /// How many nodes there are; each has an [`Node::id`] below it.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

/// A node of a tree.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    tree: &'a Tree,
    id: usize,
}

impl<'a> Node<'a> {
    /// Its number, unique in its tree.
    pub(crate) fn id(self) -> usize {
        self.id
    }

    fn links(self) -> Option<&'a Links> {
        self.tree.nodes.get(self.id)
    }

    fn at(self, pick: impl Fn(&Links) -> Option<usize>) -> Option<Node<'a>> {
        Some(Node {
            tree: self.tree,
            id: pick(self.links()?)?,
        })
    }

    /// The node that it is a child of.
    pub(crate) fn parent(self) -> Option<Node<'a>> {
        self.at(|links| links.parent)
    }

    /// Its children, in order.
    pub(crate) fn children(self) -> impl Iterator<Item = Node<'a>> {
        successors(self.at(|links| links.first), |node| {
            node.at(|links| links.next)
        })
    }

    /// It and all below it, each before its children; none below those that `skip` names.
    pub(crate) fn walk(self, skip: impl Fn(Node<'a>) -> bool) -> impl Iterator<Item = Node<'a>> {
        let end = self.id;
        let start = (!skip(self)).then_some(self);
        successors(start, move |&node| {
            let mut down = node.at(|links| links.first);
            let mut from = node;
            loop {
                match down {
                    Some(next) if !skip(next) => return Some(next),
                    Some(skipped) => from = skipped,
                    None if from.id == end => return None,
                    None => {}
                }
                // Where there is nothing beside it, on beside what it lies in.
                while from.id != end && from.at(|links| links.next).is_none() {
                    from = from.parent()?;
                }
                if from.id == end {
                    return None;
                }
                down = from.at(|links| links.next);
            }
        })
    }

    /// The name of an element of HTML or MathML; empty for text, the document, and SVG.
    pub(crate) fn name(self) -> &'a str {
        match self.links().map(|links| &links.data) {
            Some(Data::Element(name, _)) if name.ns == ns!(html) || name.ns == ns!(mathml) => {
                &name.local
            }
            _ => "",
        }
    }

    /// Whether it is an element of any kind.
    pub(crate) fn is_element(self) -> bool {
        matches!(
            self.links().map(|links| &links.data),
            Some(Data::Element(..))
        )
    }

    /// The text of a text node.
    pub(crate) fn text(self) -> Option<&'a str> {
        match self.links().map(|links| &links.data) {
            Some(Data::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// An attribute of an element.
    pub(crate) fn attribute(self, name: &str) -> Option<&'a str> {
        match self.links().map(|links| &links.data) {
            Some(Data::Element(_, attributes)) => attributes
                .iter()
                .find(|attribute| &*attribute.name.local == name)
                .map(|attribute| &*attribute.value),
            _ => None,
        }
    }

    /// The words of an attribute that holds a list of them, or of a name such as `main-content`.
    pub(crate) fn words(self, attribute: &str) -> impl Iterator<Item = &'a str> {
        self.attribute(attribute)
            .unwrap_or_default()
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
    }

    /// All text below it, as it stands in the page, without what `skip` names.
    pub(crate) fn all_text(self, skip: impl Fn(Node<'a>) -> bool) -> String {
        self.walk(skip).filter_map(Node::text).collect()
    }
}

impl Links {
    fn new(data: Data) -> Links {
        Links {
            parent: None,
            previous: None,
            next: None,
            first: None,
            last: None,
            data,
        }
    }
}

/// Lets a tree builder see only so much.
struct Bounded {
    builder: TreeBuilder<Handle, Sink>,
    complete: Cell<bool>,
}

impl TokenSink for Bounded {
    type Handle = Handle;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<Handle> {
        let sink = &self.builder.sink;
        let full = sink.nodes.borrow().len() >= NODES_MAX;
        let too_deep = sink.depth.get() >= DEPTH_MAX;
        match token {
            Token::EOFToken => {}
            _ if full => {
                self.complete.set(false);
                return TokenSinkResult::Continue;
            }
            // The text in it is kept, where it stands.
            Token::TagToken(Tag {
                kind: TagKind::StartTag,
                self_closing: false,
                ref name,
                ..
            }) if too_deep && !has_text_of_its_own(name) => return TokenSinkResult::Continue,
            Token::CommentToken(_) | Token::ParseError(_) => return TokenSinkResult::Continue,
            _ => {}
        }
        self.builder.process_token(token, line)
    }

    fn end(&self) {
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder
            .adjusted_current_node_present_but_not_in_html_namespace()
    }
}

/// Elements whose text is no HTML: without their start tags, it would be read as such.
fn has_text_of_its_own(name: &str) -> bool {
    matches!(
        name,
        "script" | "style" | "textarea" | "title" | "xmp" | "iframe" | "noembed" | "noframes"
    )
}

/// What the tree builder calls a node.
#[derive(Clone)]
struct Handle {
    id: usize,
    name: Rc<QualName>,
}

/// Takes the nodes from the tree builder.
struct Sink {
    nodes: RefCell<Vec<Links>>,
    /// How deep the node lies that was put last. Where a page only closes, it is too large
    /// until the next text.
    depth: Cell<usize>,
    /// How many attributes are kept so far.
    attributes: Cell<usize>,
}

impl Sink {
    /// Leaves out the attributes that are not read, or are too many.
    fn keep(&self, attributes: &mut Vec<Attribute>) {
        attributes.retain(|attribute| {
            let kept = self.attributes.get() < ATTRIBUTES_MAX
                && attribute.value.len() <= ATTRIBUTE_BYTES_MAX
                && ATTRIBUTES.contains(&&*attribute.name.local);
            self.attributes.update(|count| count + usize::from(kept));
            kept
        });
        attributes.shrink_to_fit();
    }

    fn add(&self, data: Data) -> usize {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Links::new(data));
        nodes.len() - 1
    }

    fn get<T>(&self, id: usize, pick: impl Fn(&Links) -> T) -> Option<T> {
        self.nodes.borrow().get(id).map(pick)
    }

    fn set(&self, id: Option<usize>, change: impl FnOnce(&mut Links)) {
        let mut nodes = self.nodes.borrow_mut();
        if let Some(links) = id.and_then(|id| nodes.get_mut(id)) {
            change(links);
        }
    }

    fn parent(&self, id: usize) -> Option<usize> {
        self.get(id, |links| links.parent)?
    }

    fn detach(&self, id: usize) {
        let Some((parent, previous, next)) =
            self.get(id, |links| (links.parent, links.previous, links.next))
        else {
            return;
        };
        match previous {
            Some(_) => self.set(previous, |links| links.next = next),
            None => self.set(parent, |links| links.first = next),
        }
        match next {
            Some(_) => self.set(next, |links| links.previous = previous),
            None => self.set(parent, |links| links.last = previous),
        }
        self.set(Some(id), |links| {
            links.parent = None;
            links.previous = None;
            links.next = None;
        });
    }

    /// Puts a node into `parent`, before `next` or at the end.
    fn attach(&self, parent: usize, next: Option<usize>, id: usize) {
        self.detach(id);
        let previous = match next {
            Some(next) => self.get(next, |links| links.previous),
            None => self.get(parent, |links| links.last),
        }
        .flatten();
        self.set(Some(id), |links| {
            links.parent = Some(parent);
            links.previous = previous;
            links.next = next;
        });
        match previous {
            Some(_) => self.set(previous, |links| links.next = Some(id)),
            None => self.set(Some(parent), |links| links.first = Some(id)),
        }
        match next {
            Some(_) => self.set(next, |links| links.previous = Some(id)),
            None => self.set(Some(parent), |links| links.last = Some(id)),
        }
    }

    fn insert(&self, parent: usize, next: Option<usize>, child: NodeOrText<Handle>) {
        let depth = successors(Some(parent), |&id| self.parent(id))
            .take(2 * DEPTH_MAX)
            .count();
        self.depth.set(depth);
        match child {
            NodeOrText::AppendNode(handle) => self.attach(parent, next, handle.id),
            NodeOrText::AppendText(text) => {
                let before = match next {
                    Some(next) => self.get(next, |links| links.previous),
                    None => self.get(parent, |links| links.last),
                }
                .flatten();
                let mut text = Some(text);
                self.set(before, |links| {
                    if let Data::Text(known) = &mut links.data {
                        known.push_str(&text.take().unwrap_or_default());
                    }
                });
                if let Some(text) = text {
                    let id = self.add(Data::Text(text.to_string()));
                    self.attach(parent, next, id);
                }
            }
        }
    }
}

/// The name of what is no element; the tree builder asks for none of these.
fn no_name() -> Rc<QualName> {
    Rc::new(QualName::new(None, ns!(), LocalName::default()))
}

impl TreeSink for Sink {
    type Handle = Handle;
    type Output = ();
    type ElemName<'a> = ExpandedName<'a>;

    fn finish(self) {}

    fn parse_error(&self, _message: Cow<'static, str>) {}

    fn get_document(&self) -> Handle {
        Handle {
            id: 0,
            name: no_name(),
        }
    }

    fn elem_name<'a>(&'a self, target: &'a Handle) -> ExpandedName<'a> {
        target.name.expanded()
    }

    fn create_element(
        &self,
        name: QualName,
        mut attributes: Vec<Attribute>,
        _flags: ElementFlags,
    ) -> Handle {
        self.keep(&mut attributes);
        let name = Rc::new(name);
        Handle {
            id: self.add(Data::Element(Rc::clone(&name), attributes)),
            name,
        }
    }

    fn create_comment(&self, _text: StrTendril) -> Handle {
        Handle {
            id: self.add(Data::None),
            name: no_name(),
        }
    }

    fn create_pi(&self, _target: StrTendril, _data: StrTendril) -> Handle {
        self.create_comment(StrTendril::new())
    }

    fn append(&self, parent: &Handle, child: NodeOrText<Handle>) {
        self.insert(parent.id, None, child);
    }

    fn append_based_on_parent_node(
        &self,
        element: &Handle,
        previous: &Handle,
        child: NodeOrText<Handle>,
    ) {
        if self.parent(element.id).is_some() {
            self.append_before_sibling(element, child);
        } else {
            self.append(previous, child);
        }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    /// What lies in a template is not shown, so that it may lie in the element itself, which
    /// is left out.
    fn get_template_contents(&self, target: &Handle) -> Handle {
        target.clone()
    }

    fn same_node(&self, one: &Handle, other: &Handle) -> bool {
        one.id == other.id
    }

    fn set_quirks_mode(&self, _mode: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &Handle, child: NodeOrText<Handle>) {
        if let Some(parent) = self.parent(sibling.id) {
            self.insert(parent, Some(sibling.id), child);
        }
    }

    /// Only `<html>` and `<body>` come to it, whose further tags are rare.
    fn add_attrs_if_missing(&self, target: &Handle, mut attributes: Vec<Attribute>) {
        self.keep(&mut attributes);
        self.set(Some(target.id), |links| {
            if let Data::Element(_, known) = &mut links.data {
                attributes.retain(|new| known.iter().all(|known| known.name != new.name));
                known.append(&mut attributes);
            }
        });
    }

    fn remove_from_parent(&self, target: &Handle) {
        self.detach(target.id);
    }

    fn reparent_children(&self, node: &Handle, new_parent: &Handle) {
        while let Some(Some(child)) = self.get(node.id, |links| links.first) {
            self.attach(new_parent.id, None, child);
        }
    }
}
