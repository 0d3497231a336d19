//! HTML's content model, for what authors write: an item outside of a list, a block in a word. Browsers make
//! something of everything; validators and screen readers do not. What stands where it must not becomes a
//! plain block, or loses its tags; its text stays.
//!
//! What is read here comes from a sanitiser: every element has its end, and every value its quotes.

use std::borrow::Cow;

use memchr::memchr;

use super::MAX_DEPTH;

/// A piece of a document.
enum Node<'h> {
    Text(&'h str),
    Element(Element<'h>),
}

struct Element<'h> {
    name: &'h str,
    /// As they are written, with the space before them.
    attributes: &'h str,
    children: Vec<Node<'h>>,
}

/// Elements without content.
const VOID: [&str; 3] = ["br", "hr", "img"];

/// Elements that stand in a line, and hold nothing else ("phrasing content" that is not transparent).
const INLINE: [&str; 20] = [
    "abbr", "b", "bdi", "cite", "code", "dfn", "em", "i", "kbd", "mark", "q", "s", "samp", "small",
    "span", "strong", "sub", "sup", "u", "var",
];

/// Elements that hold what their parent may hold.
const TRANSPARENT: [&str; 3] = ["a", "del", "ins"];

/// Headings hold lines only, and stand in no heading of a table, and in no term.
const HEADINGS: [&str; 6] = ["h1", "h2", "h3", "h4", "h5", "h6"];

/// What may stand at a place.
#[derive(Clone, Copy)]
struct Place<'p> {
    parent: &'p str,
    only_lines: bool,
    no_headings: bool,
}

/// The document with every element where it may stand (HTML Living Standard, sections 3.2.5 and 4.4).
pub(super) fn valid(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let body = Place { parent: "body", only_lines: false, no_headings: false };
    write_all(&parse(html), body, &mut out);
    out
}

/// The tree of a document. What stands deeper than anybody writes loses its tags: everything below goes
/// down the tree, and needs a place on the stack for each step.
fn parse(html: &str) -> Vec<Node<'_>> {
    let mut open = vec![Element { name: "", attributes: "", children: Vec::new() }];
    let mut ignored = 0_usize;
    let mut rest = html;
    while let Some(at) = memchr(b'<', rest.as_bytes()) {
        let (text, tag) = rest.split_at(at);
        add(&mut open, Node::Text(text));
        let (inside, after) = split_tag(&tag[1..]);
        rest = after;
        if inside.starts_with('/') {
            if ignored > 0 {
                ignored -= 1;
            } else {
                close(&mut open);
            }
            continue;
        }
        let end = inside.find(char::is_whitespace).unwrap_or(inside.len());
        let (name, attributes) = inside.split_at(end);
        let element = Element { name, attributes, children: Vec::new() };
        if VOID.contains(&name) {
            add(&mut open, Node::Element(element));
        } else if open.len() > MAX_DEPTH {
            ignored += 1;
        } else {
            open.push(element);
        }
    }
    add(&mut open, Node::Text(rest));
    while open.len() > 1 {
        close(&mut open);
    }
    open.pop().map(|root| root.children).unwrap_or_default()
}

/// What stands in a tag, and what stands behind it. Between quotes no tag ends.
fn split_tag(tag: &str) -> (&str, &str) {
    let mut is_quoted = false;
    let end = tag.find(|c: char| {
        is_quoted ^= c == '"';
        c == '>' && !is_quoted
    });
    end.map_or((tag, ""), |end| (&tag[..end], &tag[end + 1..]))
}

fn add<'h>(open: &mut [Element<'h>], node: Node<'h>) {
    if let Some(parent) = open.last_mut() {
        parent.children.push(node);
    }
}

fn close(open: &mut Vec<Element<'_>>) {
    // The document itself stays open.
    if open.len() > 1
        && let Some(element) = open.pop()
    {
        add(open, Node::Element(element));
    }
}

impl Node<'_> {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Element(element) => Some(element.name),
        }
    }

    /// Whether there is anything in it to be seen.
    fn is_seen(&self) -> bool {
        match self {
            Self::Text(text) => !text.trim().is_empty(),
            Self::Element(Element { name, children, .. }) => {
                matches!(*name, "img" | "hr") || children.iter().any(Self::is_seen)
            }
        }
    }
}

impl<'h> Element<'h> {
    fn elements(&self) -> impl DoubleEndedIterator<Item = &Self> {
        self.children.iter().filter_map(|child| match child {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// Whether there are words in it that stand in none of its elements.
    fn has_words(&self) -> bool {
        let is_word =
            |child: &Node<'_>| matches!(child, Node::Text(text) if !text.trim().is_empty());
        self.children.iter().any(is_word)
    }

    fn is_of_a_line(&self) -> bool {
        INLINE.contains(&self.name)
            || TRANSPARENT.contains(&self.name)
            || matches!(self.name, "br" | "img")
    }

    /// Whether a block stands in it, however deep in a line.
    fn has_block(&self) -> bool {
        self.elements().any(|child| !child.is_of_a_line() || child.has_block())
    }

    /// What it is called at a place: a plain block, where it may not stand as what it is.
    fn called(&self, place: Place<'_>) -> &'h str {
        let Place { parent, no_headings, .. } = place;
        let is_sound = match self.name {
            "li" => matches!(parent, "ol" | "ul"),
            "dt" | "dd" => matches!(parent, "dl" | PAIRS),
            "figcaption" => parent == "figure",
            "summary" => parent == "details",
            "details" => {
                let first = self.children.iter().find(|child| match child {
                    Node::Text(text) => !text.trim().is_empty(),
                    Node::Element(_) => true,
                });
                first.and_then(Node::name) == Some("summary")
                    && self.elements().filter(|child| child.name == "summary").count() == 1
            }
            "dl" => {
                let mut children = self.elements();
                let are_groups = self.elements().all(|child| child.name == "div");
                !self.has_words()
                    && if are_groups {
                        children.all(|child| !child.has_words() && child.is_of_pairs())
                    } else {
                        self.is_of_pairs()
                    }
            }
            "figure" => {
                let captions = self.elements().filter(|child| child.name == "figcaption").count();
                let ends = [self.elements().next(), self.elements().next_back()];
                let is_at_an_end = ends.into_iter().flatten().any(|e| e.name == "figcaption");
                captions == 0 || (captions == 1 && is_at_an_end)
            }
            name => !(no_headings && HEADINGS.contains(&name)),
        };
        if is_sound { self.name } else { "div" }
    }

    /// Whether terms are followed by what is said of them, and nothing else is there.
    fn is_of_pairs(&self) -> bool {
        let mut last = None;
        for child in self.elements() {
            match (last, child.name) {
                (_, "dt") | (Some(_), "dd") => last = Some(child.name),
                _ => return false,
            }
        }
        last == Some("dd")
    }
}

/// A plain block in a list of terms, with some of its pairs.
const PAIRS: &str = "div of pairs";

fn write_all(nodes: &[Node<'_>], place: Place<'_>, out: &mut String) {
    for node in nodes {
        write(node, place, out);
    }
}

fn write(node: &Node<'_>, place: Place<'_>, out: &mut String) {
    let element = match node {
        Node::Text(text) => return out.push_str(text),
        Node::Element(element) => element,
    };
    let Element { name, attributes, children } = element;
    let is_heading_of_a_summary = place.parent == "summary" && HEADINGS.contains(name);
    if place.only_lines && !element.is_of_a_line() && !is_heading_of_a_summary {
        // Words that were apart stay so, and are read as they were meant.
        let of_texts = of_texts(attributes);
        let (begin, end) = if of_texts.is_empty() { (" ", " ") } else { (" <span", "</span> ") };
        out.push_str(begin);
        if !of_texts.is_empty() {
            out.extend([&*of_texts, ">"]);
        }
        write_all(children, place, out);
        out.push_str(end);
        return;
    }
    if !place.only_lines && INLINE.contains(name) && element.has_block() {
        write_all(children, place, out);
        return;
    }
    let called = element.called(place);
    // What else it was has no meaning on a plain block.
    let attributes: Cow<'_, str> =
        if called == *name { Cow::Borrowed(attributes) } else { Cow::Owned(of_texts(attributes)) };
    out.extend(["<", called, &*attributes, ">"]);
    if VOID.contains(name) {
        return;
    }
    let inherits = TRANSPARENT.contains(name) && place.only_lines;
    let holds_lines = INLINE.contains(name)
        || HEADINGS.contains(&called)
        || matches!(called, "p" | "pre" | "summary");
    let is_of_pairs = called == "div" && place.parent == "dl";
    let inside = Place {
        parent: if is_of_pairs { PAIRS } else { called },
        only_lines: inherits || holds_lines,
        no_headings: place.no_headings || matches!(called, "dt" | "th"),
    };
    if matches!(called, "ol" | "ul") {
        write_items(children, inside, out);
    } else {
        write_all(children, inside, out);
    }
    out.extend(["</", called, ">"]);
}

/// Writes what stands in a list: its items, and between them one for what is none.
fn write_items(children: &[Node<'_>], place: Place<'_>, out: &mut String) {
    let mut nodes = Vec::with_capacity(children.len());
    for child in children {
        flatten(child, &mut nodes);
    }
    let is_item = |node: &&Node<'_>| node.name() == Some("li");
    for run in nodes.chunk_by(|a, b| is_item(a) == is_item(b)) {
        if run.first().is_some_and(is_item) {
            for item in run {
                write(item, place, out);
            }
        } else if run.iter().any(|node| node.is_seen()) {
            out.push_str("<li>");
            let inside = Place { parent: "li", ..place };
            for node in run {
                write(node, inside, out);
            }
            out.push_str("</li>");
        } else {
            let texts = run.iter().filter_map(|node| match node {
                Node::Text(text) => Some(*text),
                Node::Element(_) => None,
            });
            out.extend(texts);
        }
    }
}

/// The nodes of a list, without the words' elements around items.
fn flatten<'n, 'h>(node: &'n Node<'h>, nodes: &mut Vec<&'n Node<'h>>) {
    match node {
        Node::Element(element)
            if element.is_of_a_line() && element.elements().any(|child| child.name == "li") =>
        {
            for child in &element.children {
                flatten(child, nodes);
            }
        }
        node => nodes.push(node),
    }
}

/// Those attributes that say how a text is read, whatever element it stands in.
fn of_texts(attributes: &str) -> String {
    let value = |name: &str| {
        let (_, rest) = attributes.split_once(&[" ", name, "=\""].concat())?;
        let (value, _) = rest.split_once('"')?;
        Some([" ", name, "=\"", value, "\""].concat())
    };
    ["lang", "dir"].into_iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_where_it_may_is_left_as_it_is() {
        for html in [
            "",
            "a &lt; b",
            "<p>a <b>b <i>c</i></b><br>d</p>",
            "<ul>\n<li>a<ul><li>b</li></ul></li>\n</ul>",
            "<ol start=\"3\"><li value=\"5\"><p>a</p></li></ol>",
            "<dl><dt>a</dt><dt>b</dt><dd>c</dd><dt>d</dt><dd>e</dd></dl>",
            "<dl><div><dt>a</dt><dd>b</dd></div><div><dt>c</dt><dd>d</dd></div></dl>",
            "<details open=\"\">\n<summary>a</summary>b<div>c</div></details>",
            "<details><summary><h3>T</h3></summary>x</details>",
            "<figure><img src=\"a>b\" alt=\"\"><figcaption>c</figcaption></figure>",
            "<a href=\"x\"><div>a</div></a>",
            "<p><a href=\"x\"><b>a</b></a></p>",
            "<table><caption>a</caption><tbody><tr><td><p>a</p></td></tr></tbody></table>",
            "<blockquote><h2>a</h2><pre><code>a\nb</code></pre><hr></blockquote>",
        ] {
            assert_eq!(valid(html), html);
        }
    }

    #[test]
    fn what_stands_elsewhere_loses_its_meaning_and_no_word() {
        for (html, expected) in [
            ("<li>a</li>", "<div>a</div>"),
            ("<ul>a<li>b</li></ul>", "<ul><li>a</li><li>b</li></ul>"),
            ("<ul><ul><li>b</li></ul></ul>", "<ul><li><ul><li>b</li></ul></li></ul>"),
            ("<ul><li>a</li><br>\n<li>b</li></ul>", "<ul><li>a</li>\n<li>b</li></ul>"),
            (
                "<ul><strong>\n</strong><li>a</li><b><li>b</li></b></ul>",
                "<ul><li>a</li><li>b</li></ul>",
            ),
            ("<dt>a</dt><dd>b</dd>", "<div>a</div><div>b</div>"),
            ("<dl><dd>a</dd></dl>", "<div><div>a</div></div>"),
            ("<dl><dt>a</dt></dl>", "<div><div>a</div></div>"),
            ("<dl><div><dd>a</dd></div></dl>", "<div><div><div>a</div></div></div>"),
            ("<summary>a</summary>", "<div>a</div>"),
            ("<details>a</details>", "<div>a</div>"),
            ("<details><p>a</p><summary>b</summary></details>", "<div><p>a</p><div>b</div></div>"),
            (
                "<figcaption lang=\"ar\" dir=\"rtl\">a</figcaption>",
                "<div lang=\"ar\" dir=\"rtl\">a</div>",
            ),
            ("<b>a<ul><li>b</li></ul></b>", "a<ul><li>b</li></ul>"),
            ("<u><a href=\"x\"><h2>T</h2></a></u>", "<a href=\"x\"><h2>T</h2></a>"),
            ("<h2>a<div>b</div>c</h2>", "<h2>a b c</h2>"),
            ("<h2><div lang=\"ar\">b</div></h2>", "<h2> <span lang=\"ar\">b</span> </h2>"),
            (
                "<table><tbody><tr><th><h3>a</h3></th></tr></tbody></table>",
                "<table><tbody><tr><th><div>a</div></th></tr></tbody></table>",
            ),
        ] {
            let made = valid(html);
            assert_eq!(made.replace("<ul>\n<li>", "<ul><li>"), expected, "{html}");
            assert_eq!(valid(&made), made);
        }
    }

    #[test]
    fn what_is_deeper_than_anybody_writes_needs_no_more_room() {
        for (begin, end) in [("<li><dd>", "</dd></li>"), ("<div>", "</div>"), ("<b>", "</b>")] {
            let html = format!("{}a{}", begin.repeat(100_000), end.repeat(100_000));
            let made = valid(&html);
            assert!(made.contains('a') && made.len() < 20 * MAX_DEPTH, "{begin}");
        }
    }
}
