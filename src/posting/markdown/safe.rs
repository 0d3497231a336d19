//! HTML that is safe to show: written so, or else sanitised.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::LazyLock;

use ammonia::{UrlRelative, UrlRelativeEvaluate};
use comrak::Options;
use comrak::nodes::{AstNode, NodeValue, TableAlignment};
use memchr_n::MemchrN;
use url::Url;

use super::model;
use crate::text;

/// Elements that survive: those that HTML still has and that say something in any reader.
pub(super) const TAGS: &[&str] = &[
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
    "tr",
    "u",
    "ul",
    "var",
];

/// Elements whose content is not for readers.
pub(super) const DROPPED: &[&str] = &[
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
    // The last is how a no-break space begins, U+00A0.
    static ESCAPED: LazyLock<MemchrN> = LazyLock::new(|| MemchrN::new(b"&<>\"\xC2"));
    let bytes = text.as_bytes();
    let mut from = 0;
    for at in ESCAPED.iter(bytes) {
        let (reference, length) = match &bytes[at..] {
            [b'&', ..] => ("&amp;", 1),
            [b'<', ..] => ("&lt;", 1),
            [b'>', ..] => ("&gt;", 1),
            [b'"', ..] if attribute => ("&quot;", 1),
            [0xC2, 0xA0, ..] => ("&nbsp;", 2),
            _ => continue,
        };
        output.write_str(&text[from..at])?;
        output.write_str(reference)?;
        from = at + length;
    }
    output.write_str(&text[from..])
}

/// What a document says, as HTML that is safe to show.
pub(super) fn html<'a>(
    root: &'a AstNode<'a>,
    options: &Options<'_>,
    absolute: &Absolute<'_>,
) -> String {
    safe_html(root, options, absolute)
        .unwrap_or_else(|| sanitise(&unsafe_html(root, options), absolute))
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

/// What the Markdown says, with all of its raw HTML.
pub(super) fn unsafe_html<'a>(root: &'a AstNode<'a>, options: &Options<'_>) -> String {
    let mut html = String::new();
    match Formatter::format_document(root, options, &mut html) {
        Ok(()) => html,
        // Writing into a string does not fail.
        Err(_) => String::new(),
    }
}

/// HTML with nothing in it that could act, track, or break out of where it is put.
pub(super) fn sanitise(html: &str, absolute: &Absolute<'_>) -> String {
    let none = HashSet::new;
    let attributes: HashMap<&str, HashSet<&str>> = HashMap::from([
        ("a", HashSet::from(["href", "title"])),
        ("img", HashSet::from(["src", "alt", "title", "width", "height"])),
        ("ol", HashSet::from(["start", "reversed"])),
        ("li", HashSet::from(["value"])),
        ("td", HashSet::from(["colspan", "rowspan"])),
        ("th", HashSet::from(["colspan", "rowspan", "scope"])),
        ("abbr", HashSet::from(["title"])),
        ("details", HashSet::from(["open"])),
    ]);
    let clean = ammonia::Builder::new()
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
            ("a", "href") | ("img", "src") => {
                let address = with_slashes(value).map_or(Cow::Borrowed(value), Cow::Owned);
                // Browsers do the same with what the parser of addresses leaves.
                let has_space = address.contains(char::is_whitespace);
                let strict = || address.split_whitespace().collect::<Vec<_>>().join("%20");
                Some(if has_space { Cow::Owned(strict()) } else { address })
            }
            // HTML's own grammar for the few attributes that have one.
            (_, "colspan") => {
                value.parse::<u16>().ok().filter(|n| (1..=1000).contains(n)).map(|_| value.into())
            }
            (_, "width" | "height" | "rowspan" | "start" | "value") => {
                value.parse::<u16>().ok().map(|_| Cow::Borrowed(value))
            }
            (_, "scope") => {
                let is_known = matches!(value, "row" | "col" | "rowgroup" | "colgroup");
                is_known.then_some(Cow::Borrowed(value))
            }
            (_, "dir") => matches!(value, "ltr" | "rtl" | "auto").then_some(Cow::Borrowed(value)),
            (_, "lang") => {
                value.parse::<unic_langid::LanguageIdentifier>().ok().map(|_| Cow::Borrowed(value))
            }
            _ => Some(Cow::Borrowed(value)),
        })
        .link_rel(None)
        .clean(html)
        .to_string();
    model::valid(&clean)
}

/// Makes addresses absolute.
#[derive(Clone, Copy)]
pub(super) struct Absolute<'a> {
    /// The site's address.
    pub(super) base: &'a Url,
    /// The posting's page.
    pub(super) page: &'a Url,
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
        return Some(format!("mailto:{}", text::mailto(address)));
    }
    let host = address.split(['/', '?', '#']).next()?;
    (host.starts_with("www.") && host.matches('.').count() > 1)
        .then(|| Url::parse(&format!("https://{address}")).ok().map(|url| text::strict(url).into()))
        .flatten()
}

/// An address of the web whose two slashes are not two: on a page of that scheme it would lead into the
/// site itself.
fn with_slashes(address: &str) -> Option<String> {
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let rest = address.trim_start().get(url.scheme().len() + 1..)?;
    let is_whole = rest.starts_with("//") && !rest.starts_with("///");
    (!is_whole).then(|| text::strict(url).into())
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
            Ok(url) => {
                SCHEMES.contains(&url.scheme()).then(|| with_slashes(&written).unwrap_or(written))
            }
            Err(url::ParseError::RelativeUrlWithoutBase) => {
                self.evaluate(&written).map(Cow::into_owned)
            }
            Err(_) => None,
        };
        let empty = link.url.trim().is_empty();
        std::mem::replace(&mut link.url, address.filter(|_| !empty).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::options;
    use super::*;
    use comrak::Arena;
    use proptest::prelude::*;

    /// What comes without a sanitiser, and what it would make of the same.
    fn both_ways(markdown: &str) -> Option<(String, String)> {
        let base = "https://emplois.example.org/jobs/".parse().unwrap();
        let page = "https://emplois.example.org/jobs/postings/a.html".parse().unwrap();
        let absolute = Absolute { base: &base, page: &page };
        let (arena, options) = (Arena::new(), options());
        let root = comrak::parse_document(&arena, markdown, &options);
        let safe = safe_html(root, &options, &absolute)?;
        Some((safe, sanitise(&unsafe_html(root, &options), &absolute)))
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
        fn a_text_without_html_comes_out_as_from_a_sanitiser(
            parts in prop::collection::vec(prop::sample::select(PARTS), 0..40),
        ) {
            if let Some((safe, sanitised)) = both_ways(&parts.concat()) {
                prop_assert_eq!(safe, sanitised);
            }
        }
    }
}
