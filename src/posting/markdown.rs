//! Markdown to HTML that is safe to put into a feed, a page or a mail, and to plain text.

use std::borrow::Cow;

use comrak::nodes::{AstNode, NodeValue};
use comrak::{Arena, Options};
use memchr::memmem;
use url::Url;

use crate::text;

mod inspect;
mod model;
mod safe;

pub use inspect::{Hiding, MAX_DEPTH, empty_links, hiding_html, is_too_deep};

use safe::{Absolute, DROPPED};

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
    let html = safe::html(root, &options, &Absolute { base, page });
    // Character references can name what a document may not contain.
    let html = match text::allowed(named_links(&sound_images(&html)).trim()) {
        Cow::Borrowed(same) if same == html => None,
        changed => Some(changed.into_owned()),
    }
    .unwrap_or(html);
    Rendered { html, summary }
}

/// Images, each with an address and a text: without the first only the second is shown, and without the
/// second it is empty.
fn sound_images(html: &str) -> Cow<'_, str> {
    if memmem::find(html.as_bytes(), b"<img").is_none() {
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
        // In a value it would be written as a reference (HTML, "escaping a string").
        let Some((tag, rest)) = part.split_once('>') else { continue };
        let text = value(tag, "alt").unwrap_or_default();
        if value(tag, "src").is_some_and(|address| !address.is_empty()) {
            sound.push_str("<img");
            // A text of nothing but space is none.
            let blank = (!text.is_empty() && is_blank(&text)).then(|| format!(" alt=\"{text}\""));
            match blank {
                Some(blank) => sound.push_str(&tag.replace(&blank, " alt=\"\"")),
                None => sound.push_str(tag),
            }
            sound.push_str(if tag.contains(" alt=\"") { ">" } else { " alt=\"\">" });
        } else {
            sound.push_str(&text);
        }
        sound.push_str(rest);
    }
    Cow::Owned(sound)
}

/// Links without a text, which nobody can see or hear, say where they lead.
fn named_links(html: &str) -> Cow<'_, str> {
    let mut named = String::new();
    let (mut written, mut looked) = (0, 0);
    let close = "</a>";
    for end in memmem::find_iter(html.as_bytes(), close) {
        // Links do not stand in each other.
        let since = std::mem::replace(&mut looked, end + close.len());
        let Some(start) = html[since..end].rfind("<a ").map(|start| since + start) else {
            continue;
        };
        let Some((tag, inner)) = html[start..end].split_once('>') else { continue };
        // Nearly all links begin with a letter.
        if inner.starts_with(|c: char| c.is_alphanumeric()) || !is_nameless(inner) {
            continue;
        }
        let address = tag.split("href=\"").nth(1).and_then(|rest| rest.split('"').next());
        let Some(address) = address else { continue };
        named.push_str(&html[written..end]);
        named.push_str(address.trim_start_matches("mailto:"));
        written = end;
    }
    if written == 0 {
        return Cow::Borrowed(html);
    }
    named.push_str(&html[written..]);
    Cow::Owned(named)
}

/// Whether there is nothing to read in this, neither words nor images that have any.
fn is_nameless(html: &str) -> bool {
    let mut rest = html;
    while let Some((text, from)) = rest.split_once('<') {
        let (tag, behind) = from.split_once('>').unwrap_or((from, ""));
        let says = tag.starts_with("img") && tag.contains(" alt=\"") && !tag.contains(" alt=\"\"");
        if says || !is_blank(text) {
            return false;
        }
        rest = behind;
    }
    is_blank(rest)
}

fn is_blank(text: &str) -> bool {
    text.replace("&nbsp;", "").trim().is_empty()
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

/// How long a heading can be, in characters: longer than any that was meant as one.
const MAX_HEADING: usize = 1_000;

/// The first heading's text.
pub fn first_heading(markdown: &str) -> Option<String> {
    let arena = Arena::new();
    let root = comrak::parse_document(&arena, markdown, &options());
    root.children()
        .find(|node| matches!(node.data.borrow().value, NodeValue::Heading(_)))
        .map(|heading| text::shortened(&text::one_line(&inline_text(heading)), MAX_HEADING))
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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
            assert_eq!(html(markdown), expected, "{markdown}");
        }
    }

    #[test]
    fn a_link_without_a_text_says_where_it_leads() {
        let text = html(
            "[](https://a.org/x) <a href=\"mailto:a@b.org\"></a> <a href=\"https://c.org\">c</a>",
        );
        assert!(text.contains(">https://a.org/x</a>") && text.contains(">a@b.org</a>"), "{text}");
        assert!(text.contains(">c</a>"), "{text}");
        for (markdown, expected) in [
            ("[![](/l.png)](https://a.org)", "alt=\"\">https://a.org</a>"),
            ("[![ ](/l.png)](https://a.org)", "alt=\"\">https://a.org</a>"),
            ("[![logo](/l.png)](https://a.org)", "alt=\"logo\"></a>"),
            ("[ ](https://a.org)", "> https://a.org</a>"),
            ("<a href=\"https://a.org\">&nbsp;</a>", "https://a.org</a>"),
            ("[*a*](https://a.org)", "<em>a</em></a>"),
        ] {
            let text = html(markdown);
            assert!(text.contains(expected), "{markdown}: {text}");
        }
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
            // Half of two slashes, or none, would lead into the site itself.
            ("https:/example.org/apply", "https://example.org/apply"),
            ("https:example.org/x", "https://example.org/x"),
            ("http:///example.org/x", "http://example.org/x"),
            ("https://example.org//x", "https://example.org//x"),
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
    fn headings_and_empty_links_are_found() {
        assert_eq!(first_heading("a\n\n## The *job*\n"), Some("The job".to_owned()));
        assert_eq!(first_heading("a"), None);
        let markdown = "é [a]() b\n\n- [c]( ) [d](e)\n";
        let found: Vec<&str> = empty_links(markdown).into_iter().map(|r| &markdown[r]).collect();
        assert_eq!(found, ["[a]()", "[c]( )"]);
    }

    /// What a text might be made of that is meant to act where it is shown.
    const PARTS: &[&str] = &[
        "<script>",
        "<script src=//e.org>",
        "</script>",
        "<ScRiPt\n",
        "<iframe src='https://e.org'>",
        "<form action=/x>",
        "<style>",
        "</style>",
        "<svg>",
        "<svg onload=x()>",
        "<math>",
        "<object data=x>",
        "<base href=//e.org>",
        "<meta http-equiv=refresh content='0;url=//e.org'>",
        "<img src=x ",
        "<img src=javascript:x() ",
        "<a href=",
        "<a href=\"javascript:x()\">",
        "<p style=",
        "<td background=x>",
        "<template>",
        "<noscript>",
        "<textarea>",
        "<title>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?x",
        " onerror=",
        " onclick='x()'",
        "/onload=x()",
        " srcdoc=\"",
        " style=\"background:url(//e.org)\"",
        "javascript:",
        "JaVaScRiPt&colon;",
        "jav&#x09;ascript:",
        "data:text/html,",
        "vbscript:",
        "[a](",
        "![a](",
        "[a](javascript:x())",
        "![a](data:image/svg+xml,x)",
        "<javascript:x()>",
        "[a]: javascript:x()\n\n[a]",
        "](",
        ")",
        "&lt;script&gt;",
        "&#60;script&#62;",
        "&quot;",
        "&#34;",
        "\"",
        "'",
        "`",
        "<",
        ">",
        "/>",
        "&",
        ";",
        "=",
        " ",
        "\t",
        "\n",
        "\n\n",
        "\n    ",
        "\n- ",
        "\n> ",
        "| a |\n| - |\n| ",
        "*",
        "\\",
        "\u{0}",
        "\u{FEFF}",
        "x",
        "é",
        "https://e.org/",
    ];

    /// Whatever in the HTML of a text would do something where it is shown, as a reader of HTML finds it.
    fn acts(html: &str) -> Option<String> {
        const NAMES: [&str; 13] = [
            "href", "src", "title", "alt", "width", "height", "start", "reversed", "value",
            "scope", "colspan", "rowspan", "open",
        ];
        let mut rest = html;
        while let Some((_, tag)) = rest.split_once('<') {
            let tag = tag.strip_prefix('/').unwrap_or(tag);
            let end = tag.find(|c: char| !c.is_ascii_alphanumeric())?;
            let (name, mut inside) = tag.split_at(end);
            let known = super::safe::TAGS.contains(&name);
            let harmless = !["script", "style", "iframe", "form", "svg", "math", "base", "meta"]
                .contains(&name);
            if !known || !harmless {
                return Some(format!("<{name}"));
            }
            while !inside.starts_with('>') {
                let Some((name, value)) = inside.split_once("=\"") else {
                    return Some(inside.to_owned());
                };
                let Some((value, after)) = value.split_once('"') else {
                    return Some(inside.to_owned());
                };
                let name = name.trim_start();
                let leads = matches!(name, "href" | "src");
                let schemes = ["https://", "http://", "mailto:", "tel:"];
                let is_safe = !leads || schemes.iter().any(|scheme| value.starts_with(scheme));
                if !NAMES.contains(&name) || !is_safe {
                    return Some(format!("{name}=\"{value}\""));
                }
                inside = after;
            }
            rest = &inside[1..];
        }
        None
    }

    /// The HTML as a browser understands it, and would write it: with everything that acts.
    fn read_again(html: &str) -> String {
        const ACTING: [&str; 10] =
            ["script", "style", "iframe", "form", "svg", "math", "object", "base", "meta", "embed"];
        let tags = super::safe::TAGS.iter().copied().chain(ACTING).collect();
        ammonia::Builder::new()
            .tags(tags)
            .clean_content_tags(HashSet::new())
            .generic_attribute_prefixes(HashSet::from([""]))
            .url_schemes(HashSet::from(["http", "https", "mailto", "tel", "javascript", "data"]))
            .link_rel(None)
            .clean(html)
            .to_string()
    }

    #[test]
    fn what_acts_is_known() {
        for html in ["<p onclick=\"x()\">a</p>", "<script>a</script>", "<svg></svg>"] {
            assert_eq!(read_again(html), html);
        }
        assert_eq!(read_again("<a href=javascript:x()>"), "<a href=\"javascript:x()\"></a>");
        for html in [
            "<script>",
            "a</script>",
            "<p onclick=\"x()\">",
            "<p style=\"\">",
            "<img src=x>",
            "<a href=\"javascript:x()\">",
            "<a href=\"/x\">",
            "<p x>",
            "<SVG>",
        ] {
            assert!(acts(html).is_some(), "{html}");
        }
        for html in ["a &lt;script&gt; onclick=\"", "<p><a href=\"https://e.org/\">b</a><br></p>"] {
            assert_eq!(acts(html), None);
        }
    }

    proptest! {
        #[test]
        fn any_markdown_is_rendered_safely(
            parts in prop::collection::vec(prop::sample::select(PARTS), 0..24),
        ) {
            let markdown = parts.concat();
            let html = html(&markdown);
            prop_assert_eq!(acts(&html), None, "{}", html);
            let again = read_again(&html);
            prop_assert_eq!(acts(&again), None, "{} from {}", again, html);
            empty_links(&markdown);
        }

        #[test]
        fn any_marks_are_rendered_safely(markdown in "[ a<>/\\[\\]()!*_`#&;:=\"'\n|~-]{0,80}") {
            let html = html(&markdown);
            prop_assert_eq!(acts(&html), None, "{}", html);
            let (base, page) = addresses();
            prop_assert_eq!(safe::sanitise(&html, &Absolute { base: &base, page: &page }), html);
            empty_links(&markdown);
        }
    }
}
