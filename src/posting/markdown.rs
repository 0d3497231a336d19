//! Markdown to HTML that is safe to put into a feed, a page or a mail, and to plain text.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::ops::Range;

use ammonia::{UrlRelative, UrlRelativeEvaluate};
use comrak::nodes::{AstNode, NodeValue, TableAlignment};
use comrak::{Arena, Options};
use url::Url;

use crate::text;

/// `CommonMark` with tables, task lists, autolinks, strikethrough and emoji shortcodes.
fn options() -> Options<'static> {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.tasklist = true;
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.shortcodes = true;
    // Raw HTML passes through here and is sanitised afterwards, with everything else.
    options.render.r#unsafe = true;
    options
}

/// Elements that survive: those that HTML still has and that say something in any reader.
const TAGS: &[&str] = &[
    "a",
    "abbr",
    "b",
    "bdi",
    "blockquote",
    "br",
    "caption",
    "cite",
    "code",
    "dd",
    "del",
    "details",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
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
    "samp",
    "small",
    "span",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "time",
    "tr",
    "u",
    "ul",
    "var",
];

/// Elements whose content is not for readers.
const DROPPED: &[&str] = &[
    "script", "style", "iframe", "object", "embed", "applet", "noscript", "noframes", "template",
    "svg", "math", "title", "textarea", "select", "canvas", "audio", "video",
];

/// Where a link may lead.
const SCHEMES: &[&str] = &["http", "https", "mailto", "tel"];

comrak::create_formatter!(Formatter, {
    // A check box is a character: an input element means nothing in a feed or a mail.
    NodeValue::TaskItem(ref task) => |context, entering| {
        if entering {
            context.cr()?;
            context.write_str(if task.symbol.is_some() { "<li>☑ " } else { "<li>☐ " })?;
        } else {
            context.write_str("</li>\n")?;
        }
    },
});

// The same, in the spelling in which a sanitiser would write it. What it does not name has one
// spelling only.
comrak::create_formatter!(SafeFormatter, {
    NodeValue::TaskItem(ref task) => |context, entering| {
        if entering {
            context.cr()?;
            context.write_str(if task.symbol.is_some() { "<li>☑ " } else { "<li>☐ " })?;
        } else {
            context.write_str("</li>\n")?;
        }
    },
    NodeValue::Text(ref words) => |context, entering| {
        if entering {
            write_escaped(context, words, false)?;
        }
    },
    NodeValue::Code(ref code) => |context, entering| {
        if entering {
            context.write_str("<code>")?;
            write_escaped(context, &code.literal, false)?;
            context.write_str("</code>")?;
        }
    },
    NodeValue::CodeBlock(ref block) => |context, entering| {
        if entering {
            context.cr()?;
            context.write_str("<pre><code>")?;
            write_escaped(context, &block.literal, false)?;
            context.write_str("</code></pre>\n")?;
        }
    },
    NodeValue::LineBreak => |context, entering| {
        if entering {
            context.write_str("<br>\n")?;
        }
    },
    NodeValue::ThematicBreak => |context, entering| {
        if entering {
            context.cr()?;
            context.write_str("<hr>\n")?;
        }
    },
    NodeValue::Link(ref link) => |context, entering| {
        if entering {
            context.write_str("<a")?;
            for (name, value) in [("href", &link.url), ("title", &link.title)] {
                if !value.is_empty() {
                    write!(context, " {name}=\"")?;
                    write_escaped(context, value, true)?;
                    context.write_str("\"")?;
                }
            }
            context.write_str(">")?;
        } else {
            context.write_str("</a>")?;
        }
    },
});

/// Writes text or an attribute's value as HTML's own serialisation does (HTML Living Standard,
/// section 13.3, "escaping a string").
fn write_escaped(output: &mut impl Write, text: &str, attribute: bool) -> std::fmt::Result {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let (reference, length) = match byte {
            b'&' => ("&amp;", 1),
            b'<' => ("&lt;", 1),
            b'>' => ("&gt;", 1),
            b'"' if attribute => ("&quot;", 1),
            // A no-break space, U+00A0.
            0xC2 if text.as_bytes().get(at + 1) == Some(&0xA0) => ("&nbsp;", 2),
            _ => continue,
        };
        output.write_str(&text[from..at])?;
        output.write_str(reference)?;
        from = at + length;
    }
    output.write_str(&text[from..])
}

/// A posting's text, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text as HTML that is safe to show.
    pub html: String,
    /// Its words on one line, without markup, cut.
    pub summary: String,
}

/// Renders a posting's text, with a summary of at most `max` characters. Addresses become absolute:
/// relative to `base`, the site's address, and those within the text (`#place`) to `page`, the
/// posting's own.
pub fn render(markdown: &str, max: usize, base: &Url, page: &Url) -> Rendered {
    let arena = Arena::new();
    let options = options();
    let root = comrak::parse_document(&arena, markdown, &options);
    let summary = summary(root, max);
    let absolute = Absolute { base, page };
    let html = safe_html(root, &options, &absolute)
        .unwrap_or_else(|| sanitise(&unsafe_html(root, &options), &absolute));
    // Character references can name what a document may not contain.
    let html = match text::allowed(named_links(&sound_images(&html)).trim()) {
        Cow::Borrowed(same) if same.len() == html.len() => None,
        changed => Some(changed.into_owned()),
    }
    .unwrap_or(html);
    Rendered { html, summary }
}

/// What most texts become, without the detour through an HTML parser: text in which nothing but
/// links could do harm. `None` where an author wrote HTML, or anything else that a parser would
/// have to look at.
fn safe_html<'a>(
    root: &'a AstNode<'a>,
    options: &Options<'_>,
    absolute: &Absolute<'_>,
) -> Option<String> {
    let mut links = Vec::new();
    for node in root.descendants() {
        match &node.data.borrow().value {
            NodeValue::HtmlBlock(_) | NodeValue::HtmlInline(_) | NodeValue::Image(_) => {
                return None;
            }
            NodeValue::Table(table)
                if table.alignments.iter().any(|at| *at != TableAlignment::None) =>
            {
                return None;
            }
            NodeValue::Link(_) => links.push(node),
            _ => {}
        }
    }
    let is_link = |node: &AstNode<'a>| matches!(node.data.borrow().value, NodeValue::Link(_));
    if links.iter().any(|link| link.ancestors().skip(1).any(is_link)) {
        // A link in a link is two links, and HTML knows where the first one ends.
        return None;
    }
    let before: Vec<String> = links.iter().map(|link| absolute.rewrite(link)).collect();
    let mut html = String::new();
    let written = SafeFormatter::format_document(root, options, &mut html);
    for (link, url) in links.iter().zip(before) {
        if let NodeValue::Link(link) = &mut link.data.borrow_mut().value {
            link.url = url;
        }
    }
    // What a parser reads as something else than it is.
    let is_odd = html.contains('\r') || !text::is_all_allowed(&html);
    (written.is_ok() && !is_odd).then_some(html)
}

/// Images, each with an address and a text: without the first only the second is shown, and without the
/// second it is empty.
fn sound_images(html: &str) -> Cow<'_, str> {
    if !html.contains("<img") {
        return Cow::Borrowed(html);
    }
    let value = |tag: &str, name: &str| -> Option<String> {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        Some(rest.split('"').next().unwrap_or_default().to_owned())
    };
    let mut sound = String::with_capacity(html.len() + 16);
    let mut parts = html.split("<img");
    sound.push_str(parts.next().unwrap_or_default());
    for part in parts {
        // A sanitiser writes `>` in a value as it is; quotes it does not.
        let end = part.split('"').scan((0, false), |(at, quoted), piece| {
            let found = (!*quoted).then(|| piece.find('>').map(|end| *at + end)).flatten();
            *at += piece.len() + 1;
            *quoted = !*quoted;
            Some(found)
        });
        let Some(end) = end.flatten().next() else { continue };
        let (tag, rest) = part.split_at(end);
        let text = value(tag, "alt").unwrap_or_default();
        if value(tag, "src").is_some_and(|address| !address.is_empty()) {
            sound.push_str("<img");
            sound.push_str(tag);
            sound.push_str(if tag.contains(" alt=\"") { "" } else { " alt=\"\"" });
            sound.push_str(rest);
        } else {
            sound.push_str(&text);
            sound.push_str(&rest[1..]);
        }
    }
    Cow::Owned(sound)
}

/// Links without a text, which nobody can see or hear, say where they lead.
fn named_links(html: &str) -> Cow<'_, str> {
    let mut named = String::new();
    let mut written = 0;
    for (at, _) in html.match_indices("></a>") {
        let tag = html[written..at].rfind('<').map_or("", |start| &html[written + start..at]);
        let address = tag.strip_prefix("<a ").and_then(|tag| tag.split("href=\"").nth(1));
        let Some(address) = address.and_then(|rest| rest.split('"').next()) else { continue };
        named.push_str(&html[written..=at]);
        named.push_str(address.trim_start_matches("mailto:"));
        written = at + 1;
    }
    if written == 0 {
        return Cow::Borrowed(html);
    }
    named.push_str(&html[written..]);
    Cow::Owned(named)
}

/// What the Markdown says, with all of its raw HTML.
fn unsafe_html<'a>(root: &'a AstNode<'a>, options: &Options<'_>) -> String {
    let mut html = String::new();
    match Formatter::format_document(root, options, &mut html) {
        Ok(()) => html,
        // Writing into a string does not fail.
        Err(_) => String::new(),
    }
}

/// How deep elements may stand in each other. The time that an HTML parser takes grows with the
/// depth of what is open, and a megabyte of `>` or `<div>` would take it hours.
pub const MAX_DEPTH: usize = 200;

/// Whether a text's elements stand in each other deeper than [`MAX_DEPTH`].
pub fn is_too_deep(markdown: &str) -> bool {
    // Nearly every text has neither many tags nor a line with many marks; looking is cheaper than
    // rendering.
    let marks = |line: &str| {
        let rest = line.trim_start_matches([' ', '\t', '>', '*', '+', '-', '.', ')']);
        line.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len()
    };
    let suspicious = markdown.bytes().filter(|byte| *byte == b'<').count() > MAX_DEPTH
        || markdown.lines().any(|line| line.len() > MAX_DEPTH && marks(line) > MAX_DEPTH);
    suspicious && {
        let (arena, options) = (Arena::new(), options());
        let root = comrak::parse_document(&arena, markdown, &options);
        depth(&unsafe_html(root, &options)) > MAX_DEPTH
    }
}

/// How deep the elements of an HTML text stand in each other at most. Elements that need no end
/// do not count.
fn depth(html: &str) -> usize {
    const ENDLESS: &[&str] = &[
        "area", "base", "br", "col", "dd", "dt", "embed", "hr", "img", "input", "li", "link",
        "meta", "option", "p", "param", "source", "tbody", "td", "tfoot", "th", "thead", "tr",
        "track", "wbr",
    ];
    let mut open: Vec<&str> = Vec::new();
    let mut deepest = 0;
    for (at, _) in html.match_indices('<') {
        let tag = &html[at + 1..];
        let (closes, name) = match tag.strip_prefix('/') {
            Some(name) => (true, name),
            None => (false, tag),
        };
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        let name = &name[..end];
        if name.is_empty() || ENDLESS.iter().any(|endless| name.eq_ignore_ascii_case(endless)) {
            continue;
        }
        if !closes {
            open.push(name);
            deepest = deepest.max(open.len());
        } else if let Some(at) = open.iter().rposition(|open| open.eq_ignore_ascii_case(name)) {
            // What stands inside ends with it; an end without a beginning ends nothing.
            open.truncate(at);
        }
        if deepest > MAX_DEPTH {
            break;
        }
    }
    deepest
}

/// HTML with nothing in it that could act, track, or break out of where it is put.
fn sanitise(html: &str, absolute: &Absolute<'_>) -> String {
    let none = HashSet::new;
    let attributes: HashMap<&str, HashSet<&str>> = HashMap::from([
        ("a", HashSet::from(["href", "title"])),
        ("img", HashSet::from(["src", "alt", "title", "width", "height"])),
        ("ol", HashSet::from(["start", "reversed"])),
        ("li", HashSet::from(["value"])),
        ("td", HashSet::from(["colspan", "rowspan"])),
        ("th", HashSet::from(["colspan", "rowspan", "scope"])),
        ("time", HashSet::from(["datetime"])),
        ("abbr", HashSet::from(["title"])),
        ("details", HashSet::from(["open"])),
    ]);
    ammonia::Builder::new()
        .tags(TAGS.iter().copied().collect())
        .clean_content_tags(DROPPED.iter().copied().collect())
        .tag_attributes(attributes)
        .tag_attribute_values(HashMap::new())
        .set_tag_attribute_values(HashMap::new())
        .generic_attributes(HashSet::from(["lang", "dir"]))
        .generic_attribute_prefixes(none())
        .url_schemes(SCHEMES.iter().copied().collect())
        .url_relative(UrlRelative::Custom(Box::new(*absolute)))
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            // An empty link is no link; an image without a file is nothing.
            ("a", "href") | ("img", "src") if value.trim().is_empty() => None,
            // HTML's own grammar for the few attributes that have one.
            (_, "width" | "height" | "colspan" | "rowspan" | "start" | "value") => {
                value.parse::<u16>().ok().map(|_| Cow::Borrowed(value))
            }
            (_, "dir") => matches!(value, "ltr" | "rtl" | "auto").then_some(Cow::Borrowed(value)),
            (_, "lang") => {
                value.parse::<unic_langid::LanguageIdentifier>().ok().map(|_| Cow::Borrowed(value))
            }
            _ => Some(Cow::Borrowed(value)),
        })
        .link_rel(None)
        .clean(html)
        .to_string()
}

/// Makes addresses absolute.
#[derive(Clone, Copy)]
struct Absolute<'a> {
    base: &'a Url,
    page: &'a Url,
}

impl<'a> UrlRelativeEvaluate<'a> for Absolute<'a> {
    fn evaluate<'url>(&self, address: &'url str) -> Option<Cow<'url, str>> {
        if let Some(meant) = without_scheme(address) {
            return Some(Cow::Owned(meant));
        }
        let from = if address.starts_with('#') { self.page } else { self.base };
        from.join(address).ok().map(|url| Cow::Owned(text::strict(url).into()))
    }
}

/// The address that was copied without its scheme, of a mailbox or from a browser.
fn without_scheme(address: &str) -> Option<String> {
    if text::is_address(address) {
        return Some(format!("mailto:{address}"));
    }
    let host = address.split(['/', '?', '#']).next()?;
    (host.starts_with("www.") && host.matches('.').count() > 1)
        .then(|| Url::parse(&format!("https://{address}")).ok().map(|url| text::strict(url).into()))
        .flatten()
}

impl Absolute<'_> {
    /// Gives a link of a document the address under which it will be found, or none where it
    /// must not lead. Returns the one that it had.
    fn rewrite<'a>(&self, link: &'a AstNode<'a>) -> String {
        let NodeValue::Link(link) = &mut link.data.borrow_mut().value else { return String::new() };
        let mut written = String::new();
        // Writing into a string does not fail.
        let _ = comrak::html::escape_href(&mut written, &link.url, false);
        // An HTML parser reads these two back.
        let written = written.replace("&#x27;", "'").replace("&amp;", "&");
        let address = match Url::parse(&written) {
            Ok(url) => SCHEMES.contains(&url.scheme()).then_some(written),
            Err(url::ParseError::RelativeUrlWithoutBase) => {
                self.evaluate(&written).map(Cow::into_owned)
            }
            Err(_) => None,
        };
        let empty = link.url.trim().is_empty();
        std::mem::replace(&mut link.url, address.filter(|_| !empty).unwrap_or_default())
    }
}

/// The words of a text on one line, without markup, at most `max` characters.
fn summary<'a>(root: &'a AstNode<'a>, max: usize) -> String {
    let mut words = String::new();
    for block in root.children() {
        let is_prose = matches!(
            block.data.borrow().value,
            NodeValue::Paragraph | NodeValue::List(_) | NodeValue::BlockQuote
        );
        if is_prose {
            words.push_str(&inline_text(block));
            words.push(' ');
        }
        // Long enough to be cut: what follows does not show.
        if words.len() > max * 5 {
            break;
        }
    }
    // More than will be left of it, whatever space there is between the words.
    let end = words.char_indices().nth(max * 2).map_or(words.len(), |(at, _)| at);
    text::shortened(&text::one_line(&words[..end]), max)
}

/// The first heading's text.
pub fn first_heading(markdown: &str) -> Option<String> {
    let arena = Arena::new();
    let root = comrak::parse_document(&arena, markdown, &options());
    root.children()
        .find(|node| matches!(node.data.borrow().value, NodeValue::Heading(_)))
        .map(|heading| text::one_line(&inline_text(heading)))
        .filter(|heading| !heading.is_empty())
}

/// The text below a node. Raw HTML is no text, and nor is what stands inside an element that is
/// dropped with its content.
fn inline_text<'a>(node: &'a AstNode<'a>) -> String {
    let mut text = String::new();
    let mut dropped: Option<&str> = None;
    for node in node.descendants() {
        let data = node.data.borrow();
        if let NodeValue::HtmlInline(tag) = &data.value {
            let name = tag.trim_start_matches(['<', '/']).to_ascii_lowercase();
            let known = |element: &&&str| {
                name.strip_prefix(**element)
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
            };
            let element = DROPPED.iter().find(known).copied();
            match dropped {
                None if !tag.starts_with("</") => dropped = element,
                Some(open) if tag.starts_with("</") && element == Some(open) => dropped = None,
                _ => {}
            }
        }
        if dropped.is_some() {
            continue;
        }
        match &data.value {
            NodeValue::Text(words) => text.push_str(words),
            NodeValue::Code(code) => text.push_str(&code.literal),
            NodeValue::ShortCode(code) => text.push_str(&code.emoji),
            NodeValue::SoftBreak
            | NodeValue::LineBreak
            | NodeValue::Paragraph
            | NodeValue::Item(_) => text.push(' '),
            _ => {}
        }
    }
    text
}

/// Where links and images without an address stand, in bytes of the text.
pub fn empty_links(markdown: &str) -> Vec<Range<usize>> {
    // Nearly every text has none, and parsing costs more than looking.
    if !markdown.contains("()") && !markdown.contains("( )") && !markdown.contains("(<>)") {
        return Vec::new();
    }
    places(markdown, |value| match value {
        NodeValue::Link(link) | NodeValue::Image(link) => link.url.trim().is_empty(),
        _ => false,
    })
}

/// Where a comment, or an element whose content is not shown, begins and never ends.
pub fn unclosed_html(markdown: &str) -> Option<Range<usize>> {
    const HIDING: [(&str, &str); 3] =
        [("<!--", "-->"), ("<style", "</style"), ("<script", "</script")];
    let is_open = |text: &str| {
        let text = text.trim_start().to_ascii_lowercase();
        HIDING.iter().any(|(begin, end)| text.starts_with(begin) && !text.contains(end))
    };
    // Nearly every text has none of these, and parsing costs more than looking.
    if !["<!--", "<s", "<S"].iter().any(|begin| markdown.contains(begin)) {
        return None;
    }
    let found = places(markdown, |value| match value {
        NodeValue::HtmlBlock(block) => is_open(&block.literal),
        _ => false,
    });
    let start = found.first()?.start;
    let line = markdown.get(start..)?.lines().next()?;
    Some(start..start + line.len())
}

/// Where elements of a kind stand, in bytes of the text.
fn places(markdown: &str, is_meant: impl Fn(&NodeValue) -> bool) -> Vec<Range<usize>> {
    let arena = Arena::new();
    let root = comrak::parse_document(&arena, markdown, &options());
    let starts: Vec<usize> =
        std::iter::once(0).chain(markdown.match_indices('\n').map(|(at, _)| at + 1)).collect();
    // Columns are counted in bytes, from one.
    let byte = |line: usize, column: usize| {
        starts.get(line.saturating_sub(1)).map_or(0, |start| (start + column).min(markdown.len()))
    };
    root.descendants()
        .filter_map(|node| {
            let data = node.data.borrow();
            is_meant(&data.value).then(|| {
                let position = data.sourcepos;
                let start = byte(position.start.line, position.start.column.saturating_sub(1));
                start..byte(position.end.line, position.end.column).max(start)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses() -> (Url, Url) {
        let base = "https://emplois.example.org/jobs/".parse().unwrap();
        (base, "https://emplois.example.org/jobs/postings/a.html".parse().unwrap())
    }

    fn html(markdown: &str) -> String {
        let (base, page) = addresses();
        render(markdown, 20, &base, &page).html.trim_end().to_owned()
    }

    fn summary(markdown: &str, max: usize) -> String {
        let (base, page) = addresses();
        render(markdown, max, &base, &page).summary
    }

    /// What comes without a sanitiser, and what it would make of the same.
    fn both_ways(markdown: &str) -> Option<(String, String)> {
        let (base, page) = addresses();
        let absolute = Absolute { base: &base, page: &page };
        let (arena, options) = (Arena::new(), options());
        let root = comrak::parse_document(&arena, markdown, &options);
        let safe = safe_html(root, &options, &absolute)?;
        Some((safe, sanitise(&unsafe_html(root, &options), &absolute)))
    }

    #[test]
    fn images_have_an_address_and_a_text() {
        for (markdown, expected) in [
            ("![logo]()", "<p>logo</p>"),
            (
                "![a \"b\" > c](/d.png)",
                "<p><img src=\"https://emplois.example.org/d.png\" alt=\"a &quot;b&quot; &gt; c\"></p>",
            ),
            (
                "x <img src=\"/b.png\"> y",
                "<p>x <img src=\"https://emplois.example.org/b.png\" alt=\"\"> y</p>",
            ),
            ("x <img alt='c > d'> y", "<p>x c &gt; d y</p>"),
            ("x <img> y", "<p>x  y</p>"),
            ("x <img src=\"javascript:z\" alt=\"\"> y", "<p>x  y</p>"),
        ] {
            assert_eq!(
                html(markdown)
                    .replace("a &quot;b&quot; > c", "a &quot;b&quot; &gt; c")
                    .replace("c > d", "c &gt; d"),
                expected,
                "{markdown}"
            );
        }
    }

    #[test]
    fn what_hides_the_rest_is_found() {
        let found = |markdown: &str| unclosed_html(markdown).map(|at| markdown[at].to_owned());
        assert_eq!(found("a\n\n<!-- TODO\n\nb"), Some("<!-- TODO".to_owned()));
        assert_eq!(found("a\n\n<STYLE>\nb\n\nc"), Some("<STYLE>".to_owned()));
        for closed in ["<!-- a\n\nb -->\n\nc", "a <!-- b", "`<!--`", "<style>a</style>", "a < b"] {
            assert_eq!(found(closed), None, "{closed}");
        }
    }

    #[test]
    fn most_texts_need_no_sanitiser_and_come_out_as_from_one() {
        for markdown in [
            "# A *b* **c** ~~d~~ `e <f> & \"g\"` :wave: 'h' \"i\" & <\n\nj  \nk\\\nl\n\n---\n",
            "- a\n- b\n\n  c\n\n1. d\n2. e\n\n7) f\n\n- [ ] g\n- [x] h\n",
            "> a\n> > b\n\n    c <d> &amp;\n\n```rust x\n\n<e>\n```\n",
            "| a | b |\n| - | - |\n| `c` | d\u{A0}e |\n\n| a |\n| - |\n",
            "[a](b \"c 'd' <e> \\\" &quot;\") <https://a.fr/?b=c&d='e'> https://a.fr/ü%20%zz a@b.org",
            "[a](javascript:b) [c]() [d](#e) [f](//g.h/i j) [k](<l m>) [n](http://[::1]/o)",
            "[a](mailto:b@c.d?subject=e&body=f'g) [h](tel:+33) [i](ftp://j) [k](https://)",
            "&nbsp; &#160; &copy; &lt;b&gt; www.example.org é à 日本語 😀",
        ] {
            let (safe, sanitised) = both_ways(markdown).expect(markdown);
            assert_eq!(safe, sanitised, "{markdown}");
        }
        for markdown in ["<b>a</b>", "![a](b)", "| a |\n| :-: |\n", "&#13;", "&#7;", "&#0;"] {
            assert_eq!(both_ways(markdown), None, "{markdown}");
        }
    }

    #[test]
    fn a_link_without_a_text_says_where_it_leads() {
        let text = html(
            "[](https://a.org/x) <a href=\"mailto:a@b.org\"></a> <a href=\"https://c.org\">c</a>",
        );
        assert!(text.contains(">https://a.org/x</a>") && text.contains(">a@b.org</a>"), "{text}");
        assert!(text.contains(">c</a>"), "{text}");
    }

    #[test]
    fn the_extensions_are_on() {
        assert_eq!(
            html("| a |\n| - |\n| b |"),
            "<table>\n<thead>\n<tr>\n<th>a</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>b</td>\n</tr>\n</tbody>\n</table>"
        );
        assert_eq!(html("- [x] a\n- [ ] b"), "<ul>\n<li>☑ a</li>\n<li>☐ b</li>\n</ul>");
        assert_eq!(html("~~a~~ :wave:"), "<p><del>a</del> 👋</p>");
        assert_eq!(html("https://a.fr/b"), r#"<p><a href="https://a.fr/b">https://a.fr/b</a></p>"#);
    }

    #[test]
    fn addresses_become_absolute() {
        for (address, expected) in [
            ("/img/a.png", "https://emplois.example.org/img/a.png"),
            ("img/a.png", "https://emplois.example.org/jobs/img/a.png"),
            ("#faq", "https://emplois.example.org/jobs/postings/a.html#faq"),
            ("?q=1", "https://emplois.example.org/jobs/?q=1"),
            ("//cdn.example.org/x", "https://cdn.example.org/x"),
            ("https://a.fr", "https://a.fr"),
            ("mailto:a@b.fr", "mailto:a@b.fr"),
        ] {
            assert_eq!(
                html(&format!("[x]({address})")),
                format!(r#"<p><a href="{expected}">x</a></p>"#)
            );
            assert_eq!(
                html(&format!(r#"<b><a href="{address}">x</a></b>"#)),
                format!(r#"<p><b><a href="{expected}">x</a></b></p>"#)
            );
        }
    }

    #[test]
    fn addresses_without_a_scheme_are_what_they_look_like() {
        for (address, expected) in [
            ("jobs@example.org", "mailto:jobs@example.org"),
            ("www.example.org/a?b=c", "https://www.example.org/a?b=c"),
            ("www.html", "https://emplois.example.org/jobs/www.html"),
        ] {
            for text in [format!("[x]({address})"), format!("<a href=\"{address}\">x</a>")] {
                assert!(html(&text).contains(&format!("href=\"{expected}\"")), "{}", html(&text));
            }
        }
    }

    #[test]
    fn nothing_that_acts_survives() {
        for (markdown, expected) in [
            ("<style>p { color: red }</style>", ""),
            ("<style>\np {}\n\nq {}\n</style>\n\ntext", "<p>text</p>"),
            ("a <script>alert(1)</script> b", "<p>a  b</p>"),
            ("<iframe src='https://a.fr'>x</iframe>", ""),
            ("<p onclick='a()'>x</p>", "<p>x</p>"),
            ("[x](javascript:alert(1))", "<p><a>x</a></p>"),
            ("<a href='jav&#x09;ascript:alert(1)'>x</a>", "<p><a>x</a></p>"),
            ("<a href='JaVaScRiPt:alert(1)'>x</a>", "<p><a>x</a></p>"),
            ("[x](data:text/html,a)", "<p><a>x</a></p>"),
            ("![x](data:image/png;base64,AA)", "<p>x</p>"),
            ("<form action='/x'><button>Go</button></form>", "Go"),
            ("<p style='position:fixed'>x</p>", "<p>x</p>"),
            ("<svg><script>x</script></svg>y", "<p>y</p>"),
            ("<!-- secret -->x", "x"),
            ("[]()", "<p><a></a></p>"),
            ("[x]()", "<p><a>x</a></p>"),
            ("&#7;&#xFFFE;a", "<p>a</p>"),
        ] {
            assert_eq!(html(markdown), expected, "{markdown}");
        }
    }

    #[test]
    fn a_summary_is_prose_without_markup() {
        let markdown = "# Title\n\nWe **look** for\n[somebody](https://a.fr) <script>evil()</script>:wave:\n\n- one\n- two\n\n<style>\nx\n</style>";
        assert_eq!(summary(markdown, 300), "We look for somebody 👋 one two");
        assert_eq!(summary(markdown, 12), "We look for…");
        assert_eq!(summary("", 12), "");
    }

    #[test]
    fn what_nests_without_end_is_too_deep() {
        for (part, times) in
            [("> ", 400_000), ("<div>", 100_000), ("<div></x>", 100_000), ("<li><ul>", 100_000)]
        {
            assert!(is_too_deep(&part.repeat(times)), "{part}");
        }
        assert!(!is_too_deep(&"<p>a <br> <b>b</b>\n".repeat(10_000)));
        assert!(!is_too_deep(&"- a\n".repeat(10_000)));
        assert!(!is_too_deep(&format!("{}\n", "-".repeat(100_000))));
        assert!(!is_too_deep(&"| a ".repeat(10_000)));
    }

    #[test]
    fn headings_and_empty_links_are_found() {
        assert_eq!(first_heading("a\n\n## The *job*\n"), Some("The job".to_owned()));
        assert_eq!(first_heading("a"), None);
        let markdown = "é [a]() b\n\n- [c]( ) [d](e)\n";
        let found: Vec<&str> = empty_links(markdown).into_iter().map(|r| &markdown[r]).collect();
        assert_eq!(found, ["[a]()", "[c]( )"]);
    }

    /// What texts are made of, and what a parser might see in it.
    const PARTS: &[&str] = &[
        " ",
        "a",
        "B",
        "1",
        "é",
        "\u{A0}",
        "\t",
        "\n",
        "\n\n",
        "\n- ",
        "\n1. ",
        "\n> ",
        "\n    ",
        "\n# ",
        "\n- [x] ",
        "\n| a | b |\n| - | - |\n| ",
        "|",
        "*",
        "**",
        "_",
        "~~",
        "`",
        "``",
        "```",
        "[",
        "](",
        ")",
        "](/a \"b\")",
        "(",
        "]",
        "!",
        "<",
        ">",
        "&",
        "#",
        ";",
        ":",
        "=",
        "'",
        "\"",
        "\\",
        "-",
        "+",
        ".",
        "%",
        "%2",
        "https://a.b/",
        "www.a.b",
        "javascript:",
        "mailto:",
        "@c.fr",
        "//d",
        "&nbsp;",
        "&#12;",
        "&#150;",
        "&#x2028;",
        "&amp;",
        "&lt;",
        "&quot;",
        ":wave:",
        "---\n",
        "===\n",
        "<https://e>",
        "[f]: g\n",
        "[f]",
        "[^1]",
        "\u{FEFF}",
        "\u{85}",
        "\u{0}",
        "\r",
    ];

    proptest! {
        #[test]
        fn any_markdown_is_rendered_safely(markdown in "[ a<>/\\[\\]()!*_`#&;:=\"'\n|~-]{0,80}") {
            let html = html(&markdown);
            prop_assert!(!html.to_lowercase().contains("<script"));
            let (base, page) = addresses();
            prop_assert_eq!(sanitise(&html, &Absolute { base: &base, page: &page }), html);
            empty_links(&markdown);
        }

        #[test]
        fn a_text_without_html_comes_out_as_from_a_sanitiser(
            parts in prop::collection::vec(prop::sample::select(PARTS), 0..40),
        ) {
            if let Some((safe, sanitised)) = both_ways(&parts.concat()) {
                prop_assert_eq!(safe, sanitised);
            }
        }
    }
}
