//! HTML's content model, for what authors write: an item outside of a list, a block in a word. Browsers make
//! something of everything; validators and screen readers do not. What stands where it must not becomes a
//! plain block, or loses its tags; its text stays.
//!
//! What is read here comes from a sanitiser: every element has its end, and every value its quotes.

use memchr::memchr;

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

/// Elements that hold lines only, beside [`INLINE`].
const OF_LINES: [&str; 9] = ["h1", "h2", "h3", "h4", "h5", "h6", "p", "pre", "summary"];

/// The document with every element where it may stand (HTML Living Standard, sections 3.2.5 and 4.4).
pub(super) fn valid(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    write_all(&parse(html), "body", false, &mut out);
    out
}

fn parse(html: &str) -> Vec<Node<'_>> {
    let mut open = vec![Element { name: "", attributes: "", children: Vec::new() }];
    let mut rest = html;
    while let Some(at) = memchr(b'<', rest.as_bytes()) {
        let (text, tag) = rest.split_at(at);
        add(&mut open, Node::Text(text));
        let (inside, after) = split_tag(&tag[1..]);
        rest = after;
        if inside.starts_with('/') {
            close(&mut open);
            continue;
        }
        let end = inside.find(char::is_whitespace).unwrap_or(inside.len());
        let (name, attributes) = inside.split_at(end);
        let element = Element { name, attributes, children: Vec::new() };
        if VOID.contains(&name) {
            add(&mut open, Node::Element(element));
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

impl Element<'_> {
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

    /// Whether a block stands in it, however deep in a line.
    fn has_block(&self) -> bool {
        self.elements().any(|child| !child.is_of_a_line() || child.has_block())
    }

    fn is_of_a_line(&self) -> bool {
        INLINE.contains(&self.name)
            || TRANSPARENT.contains(&self.name)
            || matches!(self.name, "br" | "img")
    }

    /// What it is called where it stands: a plain block, where it may not stand as what it is.
    fn called(&self, parent: &str) -> &str {
        let is_sound = match self.name {
            "li" => matches!(parent, "ol" | "ul"),
            "dt" | "dd" => parent == "dl",
            "figcaption" => parent == "figure",
            "summary" => parent == "details",
            "details" => {
                let is_first = |child: &Node<'_>| match child {
                    Node::Text(text) => (!text.trim().is_empty()).then_some(false),
                    Node::Element(element) => Some(element.name == "summary"),
                };
                self.children.iter().find_map(is_first) == Some(true)
                    && self.elements().filter(|child| child.name == "summary").count() == 1
            }
            "ol" | "ul" => !self.has_words() && self.elements().all(|child| child.name == "li"),
            "dl" => !self.has_words() && self.is_of_pairs(),
            "figure" => {
                let captions = self.elements().filter(|child| child.name == "figcaption").count();
                let ends = [self.elements().next(), self.elements().next_back()];
                let is_at_an_end = ends.into_iter().flatten().any(|e| e.name == "figcaption");
                captions == 0 || (captions == 1 && is_at_an_end)
            }
            _ => true,
        };
        if is_sound { self.name } else { "div" }
    }

    /// Whether terms are followed by what is said of them, and nothing else is there.
    fn is_of_pairs(&self) -> bool {
        let mut last = "dd";
        let mut count = 0;
        for child in self.elements() {
            if !matches!((last, child.name), (_, "dt") | ("dt" | "dd", "dd")) {
                return false;
            }
            if count == 0 && child.name != "dt" {
                return false;
            }
            last = child.name;
            count += 1;
        }
        count > 0 && last == "dd"
    }
}

/// Writes what stands in an element, which may hold lines only.
fn write_all(nodes: &[Node<'_>], parent: &str, only_lines: bool, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Element(element) => write(element, parent, only_lines, out),
        }
    }
}

fn write(element: &Element<'_>, parent: &str, only_lines: bool, out: &mut String) {
    let Element { name, attributes, children } = element;
    let is_inline = INLINE.contains(name);
    let is_out_of_place =
        if only_lines { !element.is_of_a_line() } else { is_inline && element.has_block() };
    if is_out_of_place {
        // Words that were apart stay so.
        let is_block = !element.is_of_a_line();
        out.push_str(if is_block { " " } else { "" });
        write_all(children, parent, only_lines, out);
        out.push_str(if is_block { " " } else { "" });
        return;
    }
    let called = element.called(parent);
    // What else it was has no meaning on a plain block.
    let attributes = if called == *name { attributes } else { "" };
    out.extend(["<", called, attributes, ">"]);
    if VOID.contains(name) {
        return;
    }
    let inherits = TRANSPARENT.contains(name) && only_lines;
    let only_lines = inherits || is_inline || OF_LINES.contains(&called);
    write_all(children, called, only_lines, out);
    out.extend(["</", called, ">"]);
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
            "<details open=\"\">\n<summary>a</summary>b<div>c</div></details>",
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
            ("<ul>a<li>b</li></ul>", "<div>a<div>b</div></div>"),
            ("<ul><ul><li>b</li></ul></ul>", "<div><ul><li>b</li></ul></div>"),
            ("<dt>a</dt><dd>b</dd>", "<div>a</div><div>b</div>"),
            ("<dl><dd>a</dd></dl>", "<div><div>a</div></div>"),
            ("<dl><dt>a</dt></dl>", "<div><div>a</div></div>"),
            ("<summary>a</summary>", "<div>a</div>"),
            ("<details>a</details>", "<div>a</div>"),
            ("<details><p>a</p><summary>b</summary></details>", "<div><p>a</p><div>b</div></div>"),
            ("<figcaption lang=\"en\">a</figcaption>", "<div>a</div>"),
            ("<b>a<ul><li>b</li></ul></b>", "a<ul><li>b</li></ul>"),
            ("<u><a href=\"x\"><h2>T</h2></a></u>", "<a href=\"x\"><h2>T</h2></a>"),
            ("<h2>a<div>b</div>c</h2>", "<h2>a b c</h2>"),
            ("<p><a href=\"x\">a</a></p>", "<p><a href=\"x\">a</a></p>"),
        ] {
            assert_eq!(valid(html), expected, "{html}");
            assert_eq!(valid(expected), expected);
        }
    }
}
