//! HTML in what people write, and in what becomes part of a page.

use std::borrow::Cow;

/// The elements that people write into lines of text.
const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "b",
    "big",
    "blockquote",
    "br",
    "center",
    "cite",
    "code",
    "del",
    "div",
    "em",
    "font",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "mark",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "script",
    "small",
    "span",
    "strike",
    "strong",
    "style",
    "sub",
    "sup",
    "svg",
    "table",
    "td",
    "th",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "iframe",
    "form",
    "input",
    "button",
    "body",
    "html",
    "head",
    "title",
    "meta",
    "link",
    "object",
    "embed",
    "video",
    "audio",
    "dl",
    "dt",
    "dd",
    "section",
    "article",
    "header",
    "footer",
    "nav",
    "main",
    "details",
    "summary",
    "samp",
    "label",
    "select",
    "option",
    "textarea",
    "noscript",
    "template",
    "math",
    "time",
];

/// Plain text of what may have been written as HTML: no tags, no character references. Readers of
/// RSS would otherwise show a title's `<b>` as bold, and those of Atom as it stands. What only
/// looks like a tag (`C<T>`) keeps its text in brackets that mean nothing to anybody.
pub fn without_markup(text: &str) -> Cow<'_, str> {
    let mut plain = Cow::Borrowed(text);
    // What was escaped twice is markup again after one round.
    for _ in 0..3 {
        if !plain.contains(['<', '&']) {
            break;
        }
        let has_tags =
            plain.match_indices('<').any(|(at, _)| bracket(&plain[at..]) != Bracket::Sign);
        let stripped = if has_tags { strip(&plain) } else { plain.to_string() };
        let decoded = html_escape::decode_html_entities(&stripped).into_owned();
        if decoded == *plain {
            break;
        }
        plain = Cow::Owned(decoded);
    }
    plain
}

/// What an opening bracket begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    /// An element of HTML, or a comment.
    Tag,
    /// Something that every reader that knows HTML would take for a tag.
    Lookalike,
    /// Nothing: less than, or a mail address.
    Sign,
}

fn bracket(text: &str) -> Bracket {
    let inner = text.strip_prefix('<').unwrap_or(text);
    if inner.starts_with("!--") {
        return Bracket::Tag;
    }
    let Some((inside, _)) = inner.split_once('>') else { return Bracket::Sign };
    let name = inside.strip_prefix('/').unwrap_or(inside);
    let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
    let ends = name[end..].is_empty() || name[end..].starts_with(['/', ' ', '\t', '\n', '\r']);
    if ends && ELEMENTS.iter().any(|element| name[..end].eq_ignore_ascii_case(element)) {
        Bracket::Tag
    } else if end > 0
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !inside.contains('@')
    {
        Bracket::Lookalike
    } else {
        Bracket::Sign
    }
}

/// The text without its tags, as HTML.
fn strip(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    let mut lookalike = false;
    for (at, c) in text.char_indices() {
        match (c, if c == '<' { bracket(&text[at..]) } else { Bracket::Sign }) {
            ('<', Bracket::Lookalike) => {
                lookalike = true;
                html.push('‹');
            }
            ('<', Bracket::Sign) => html.push_str("&lt;"),
            ('>', _) if lookalike => {
                lookalike = false;
                html.push('›');
            }
            _ => html.push(c),
        }
    }
    ammonia::Builder::empty().clean(&html).to_string()
}

/// HTML that was sanitised, as a part of a page: with headings that fit below the page's own and skip no
/// level, whichever levels their author took for their size; and what is wider than a window can be
/// scrolled with keys alone.
pub fn part_of_page(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    // The levels, as they were written, that the present place is below.
    let mut above: Vec<u8> = Vec::new();
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (closes, name) = match rest.strip_prefix("</") {
            Some(name) => (true, name),
            None => (false, &rest[1..]),
        };
        if !closes && let Some(name) = ["pre", "table"].into_iter().find(|part| begins(name, part))
        {
            out.push('<');
            out.push_str(name);
            out.push_str(" tabindex=\"0\"");
            rest = &rest[1 + name.len()..];
            continue;
        }
        let level = if let [b'h', level @ b'1'..=b'6', b'>' | b' ', ..] = name.as_bytes() {
            level - b'0'
        } else {
            out.push('<');
            rest = &rest[1..];
            continue;
        };
        if !closes {
            while above.last().is_some_and(|last| *last >= level) {
                above.pop();
            }
            above.push(level);
        }
        out.push_str(if closes { "</h" } else { "<h" });
        out.push_str(&(above.len() + 1).clamp(2, 6).to_string());
        rest = &name[2..];
    }
    out.push_str(rest);
    out
}

/// Whether what stands behind an opening bracket is an element of this name.
fn begins(tag: &str, name: &str) -> bool {
    tag.strip_prefix(name).is_some_and(|rest| rest.starts_with(['>', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_begin_below_the_title_and_skip_no_level() {
        for (html, expected) in [
            ("<h1 id=\"a\">A</h1><h2>B</h2><hr>", "<h2 id=\"a\">A</h2><h3>B</h3><hr>"),
            ("<h3>A</h3><h5>B</h5><h3>C</h3>", "<h2>A</h2><h3>B</h3><h2>C</h2>"),
            ("<h4>A</h4><h2>B</h2><h6>C</h6>", "<h2>A</h2><h2>B</h2><h3>C</h3>"),
            ("1 < 2 <hr> <header>", "1 < 2 <hr> <header>"),
            ("<pre><code>x</code></pre>", "<pre tabindex=\"0\"><code>x</code></pre>"),
            ("<table align=\"left\"><tr>", "<table tabindex=\"0\" align=\"left\"><tr>"),
            ("<prefer>", "<prefer>"),
        ] {
            assert_eq!(part_of_page(html), expected);
        }
    }

    #[test]
    fn markup_in_a_line_is_taken_off() {
        for (text, expected) in [
            ("R&D", "R&D"),
            ("R&amp;D", "R&D"),
            ("<b>Dév</b> &eacute;", "Dév é"),
            ("a < b, c > d & e", "a < b, c > d & e"),
            ("I <3 you", "I <3 you"),
            ("&lt;b&gt;x&lt;/b&gt;", "x"),
            ("x<script>alert(1)</script>y", "xy"),
            ("Alix <alix@example.org>", "Alix <alix@example.org>"),
            ("C<T> and a <b, c> d", "C‹T› and a ‹b, c› d"),
            ("a <3 b > c", "a <3 b > c"),
        ] {
            assert_eq!(without_markup(text), expected);
        }
    }
}
