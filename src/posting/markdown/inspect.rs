//! What is wrong with a posting's text, and where.

use std::collections::HashSet;
use std::ops::Range;

use comrak::Arena;
use comrak::arena_tree::NodeEdge;
use comrak::nodes::{NodeHtmlBlock, NodeValue};
use memchr::memchr_iter;
use url::Url;

use super::options;
use super::safe::{Absolute, DROPPED, sanitise, unsafe_html};

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
    let is_long = |line: &&str| line.len() > MAX_DEPTH;
    let suspicious = memchr_iter(b'<', markdown.as_bytes()).count() > MAX_DEPTH
        || lines(markdown).filter(is_long).any(|line| marks(line) > MAX_DEPTH);
    suspicious && {
        let (arena, options) = (Arena::new(), options());
        let root = comrak::parse_document(&arena, markdown, &options);
        depth(&unsafe_html(root, &options)) > MAX_DEPTH
    }
}

/// The lines of a text, however they end.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let ends = memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    let mut start = 0;
    ends.filter_map(move |end| {
        let line = text.get(start..end);
        start = end + 1;
        line
    })
}

/// How deep the elements of an HTML text stand in each other at most, as a parser sees it (HTML Living
/// Standard, section 13.2.6.4.7). Elements that need no end do not count.
fn depth(html: &str) -> usize {
    const ENDLESS: &[&str] = &[
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "option", "p",
        "param", "source", "tbody", "td", "tfoot", "th", "thead", "tr", "track", "wbr",
    ];
    // What ends around a block goes on in it.
    const FORMATTING: &[&str] = &[
        "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt",
        "u",
    ];
    // An item ends the one before it, if nothing else than these stands between them.
    const THROUGH: &[&str] = &["address", "div", "span"];
    let is_one_of = |names: &[&str], name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
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
        if name.is_empty() || is_one_of(ENDLESS, name) {
            continue;
        }
        if !closes {
            let same: &[&str] = match name.to_ascii_lowercase().as_str() {
                "li" => &["li"],
                "dd" | "dt" => &["dd", "dt"],
                _ => &[],
            };
            let is_between = |open: &&&str| is_one_of(THROUGH, open) || is_one_of(FORMATTING, open);
            let between = open.iter().rev().take_while(is_between).count();
            let before = open.len() - between;
            if before > 0 && is_one_of(same, open[before - 1]) {
                open.truncate(before - 1);
            }
            open.push(name);
            deepest = deepest.max(open.len());
        } else if let Some(at) = open.iter().rposition(|open| open.eq_ignore_ascii_case(name)) {
            if is_one_of(FORMATTING, name) {
                open.remove(at);
            } else {
                // What stands inside ends with it; an end without a beginning ends nothing.
                open.truncate(at);
            }
        }
        if deepest > MAX_DEPTH {
            break;
        }
    }
    deepest
}

/// Where links and images without an address stand, in bytes of the text.
pub fn empty_links(markdown: &str) -> Vec<Range<usize>> {
    // Nearly every text has none, and parsing costs more than looking.
    let closes_nothing = |at| {
        let before: &[u8] = markdown.as_bytes().get(..at).unwrap_or_default();
        [&b"("[..], b"( ", b"(<>"].iter().any(|empty| before.ends_with(empty))
    };
    if !memchr_iter(b')', markdown.as_bytes()).any(closes_nothing) {
        return Vec::new();
    }
    places(markdown, |value| match value {
        NodeValue::Link(link) | NodeValue::Image(link) => link.url.trim().is_empty(),
        _ => false,
    })
}

/// An element or a comment that hides what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hiding {
    /// The line where it begins, in bytes of the text.
    pub span: Range<usize>,
    /// What ends it.
    pub end: String,
}

/// What hides the text behind it, because it has no end, or a late one: `<video src="…" />` begins an
/// element, which goes on.
pub fn hiding_html(markdown: &str) -> Option<Hiding> {
    // Nearly every text has nothing of the kind, or ends it where it begins; parsing costs more than looking.
    if !may_hide(markdown) {
        return None;
    }
    let arena = Arena::new();
    let options = options();
    let root = comrak::parse_document(&arena, markdown, &options);
    // Signs where each piece of text begins and ends, and one behind the last. What a sanitiser takes away
    // with one of them was to be read.
    let sign = |number: usize| format!("{SIGN}{NUMBER}{number}{SIGN}");
    let text = |number: usize| &*arena.alloc(NodeValue::Text(sign(number).into()).into());
    let mut begun: Option<(usize, String)> = None;
    // What had begun before each sign, and whether something was ended just before it.
    let mut before = Vec::new();
    let mut is_ended = false;
    for edge in root.traverse().collect::<Vec<_>>() {
        let (NodeEdge::Start(node) | NodeEdge::End(node)) = edge;
        let is_start = matches!(edge, NodeEdge::Start(_));
        let line = node.data.borrow().sourcepos.start.line;
        match &mut node.data.borrow_mut().value {
            NodeValue::HtmlBlock(NodeHtmlBlock { literal: html, .. })
            | NodeValue::HtmlInline(html)
                if is_start =>
            {
                begun = last_hidden(html, line).or(begun);
                is_ended |= html.trim_start().starts_with("</");
                continue;
            }
            NodeValue::CodeBlock(block) if is_start => {
                block.literal.insert_str(0, &sign(before.len()));
            }
            NodeValue::Paragraph | NodeValue::Heading(_) | NodeValue::TableCell if is_start => {
                node.prepend(text(before.len()));
            }
            NodeValue::Paragraph | NodeValue::Heading(_) | NodeValue::TableCell => {
                node.append(text(before.len()));
            }
            _ => continue,
        }
        before.push((begun.clone(), std::mem::take(&mut is_ended)));
    }
    let behind = arena.alloc(NodeValue::Paragraph.into());
    behind.append(text(before.len()));
    root.append(behind);
    before.push((begun, is_ended));
    let nowhere = Url::parse("https://localhost/").ok()?;
    let shown =
        sanitise(&unsafe_html(root, &options), &Absolute { base: &nowhere, page: &nowhere });
    let shown: HashSet<usize> =
        shown.split(SIGN).filter_map(|part| part.strip_prefix(NUMBER)?.parse().ok()).collect();
    // What is hidden up to an end that its author wrote is hidden as it was meant.
    let mut hidden: Option<&Option<(usize, String)>> = None;
    for (number, (begun, is_ended)) in before.iter().enumerate() {
        if !shown.contains(&number) {
            hidden = hidden.or(Some(begun));
        } else if *is_ended {
            hidden = None;
        } else if hidden.is_some() {
            break;
        }
    }
    let (line, end) = hidden?.clone()?;
    let start = line_starts(markdown).get(line.saturating_sub(1)).copied()?;
    let line = markdown.get(start..)?.lines().next()?;
    Some(Hiding { span: start..start + line.len(), end })
}

/// Whether something begins in a text that hides what it holds, and does not end at once: in the same piece
/// of text, with nothing of the kind inside.
fn may_hide(markdown: &str) -> bool {
    let mut from = 0;
    for at in memchr_iter(b'<', markdown.as_bytes()) {
        let rest = markdown.get(at..).unwrap_or_default();
        let Some(end) = (at >= from).then(|| end_of_hidden(rest)).flatten() else { continue };
        let Some((inside, _)) = rest.split_once(&*end) else { return true };
        let has_another = memchr_iter(b'<', inside.as_bytes())
            .skip(1)
            .any(|at| end_of_hidden(inside.get(at..).unwrap_or_default()).is_some());
        // Behind an empty line begins another piece of text.
        if has_another || inside.lines().skip(1).any(|line| line.trim().is_empty()) {
            return true;
        }
        from = at + inside.len() + end.len();
    }
    false
}

/// What stands around a sign, and before its number: characters that no text has.
const SIGN: char = '\u{F8FF}';
const NUMBER: char = '\u{F8FE}';

/// What ends what begins here, if its content is not for readers.
fn end_of_hidden(text: &str) -> Option<String> {
    let inside = text.strip_prefix('<')?;
    if inside.starts_with("!--") {
        return Some("-->".to_owned());
    }
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(inside.len());
    let name = DROPPED.iter().find(|name| name.eq_ignore_ascii_case(&inside[..end]))?;
    Some(format!("</{name}>"))
}

/// The last in a piece of HTML that hides what it holds: its line, and what ends it.
fn last_hidden(html: &str, first_line: usize) -> Option<(usize, String)> {
    html.rmatch_indices('<').find_map(|(at, _)| {
        let end = end_of_hidden(&html[at..])?;
        Some((first_line + html[..at].matches('\n').count(), end))
    })
}

/// Where the lines of a text begin, in bytes.
fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect()
}

/// Where elements of a kind stand, in bytes of the text.
fn places(markdown: &str, is_meant: impl Fn(&NodeValue) -> bool) -> Vec<Range<usize>> {
    let arena = Arena::new();
    let root = comrak::parse_document(&arena, markdown, &options());
    let starts = line_starts(markdown);
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

    #[test]
    fn what_hides_the_rest_is_found() {
        for (markdown, line, end) in [
            ("a\n\n<!-- TODO\n\nb", "<!-- TODO", "-->"),
            ("a\n\n<STYLE>\nb\n\nc", "<STYLE>", "</style>"),
            (
                "a\n\n<iframe src=\"https://v.example.org/1\" />\n\n## b\n\nc",
                "<iframe src=\"https://v.example.org/1\" />",
                "</iframe>",
            ),
            ("a <video src=x> b\n\nc", "a <video src=x> b", "</video>"),
            ("# a <canvas/> b\n\nc", "# a <canvas/> b", "</canvas>"),
            ("<div>\n<style>p{}\n\nb\n\n</div>", "<style>p{}", "</style>"),
            ("<script>a</script> <script>b\n\nc", "<script>a</script> <script>b", "</script>"),
            // The end of another is the end of this one.
            (
                "<iframe src=1 />\n\nb\n\n<iframe src=2></iframe>\n\nc",
                "<iframe src=1 />",
                "</iframe>",
            ),
            ("- <audio src=x>\n\n  b", "- <audio src=x>", "</audio>"),
            ("<canvas>\n\n    code", "<canvas>", "</canvas>"),
            ("<select>\n\n| a |\n|---|\n| b |", "<select>", "</select>"),
        ] {
            let Hiding { span, end: found } = hiding_html(markdown).expect(markdown);
            assert_eq!((&markdown[span], &*found), (line, end), "{markdown}");
        }
        for closed in [
            "<!-- a\n\nb -->\n\nc",
            "<!-- a --!> b",
            "a <!-- b",
            "`<!--`",
            "<style>a</style>",
            "a < b",
            "<video src=x>No video here</video>\n\nb",
            "a <iframe src=x></iframe> b",
            "<scripts>a\n\nb",
            "<video controls src=\"a.mp4\">\n\nYour browser shows no video.\n\n</video>\n\nAfter.",
            "<noscript>\n\nVoir le site.\n\n</noscript>\n\n- a\n- b",
            // The end of the item is one.
            "- <audio src=x>\n- b",
            // Here HTML knows elements without content.
            "# a <svg/> b\n\nc",
            "<object data=x>a</object>\n\n- b\n- c",
        ] {
            assert_eq!(hiding_html(closed), None, "{closed}");
        }
    }

    #[test]
    fn many_paragraphs_are_looked_at_once() {
        let text = format!("<!-- a -->\n\n{}<iframe/>\n\nb", "a\n\n".repeat(20_000));
        assert_eq!(hiding_html(&text).unwrap().end, "</iframe>");
        assert_eq!(hiding_html(&format!("<!-- a -->\n\n<div>\n{}", "<".repeat(100_000))), None);
        assert_eq!(hiding_html(&"<video>a</video> ".repeat(50_000)), None);
        let one = format!("{}</video>", "<video>".repeat(50_000));
        assert!(may_hide(&one) && !may_hide(&"<!-- a -->b\n\n".repeat(50_000)));
    }

    #[test]
    fn what_nests_without_end_is_too_deep() {
        for (part, times) in [
            ("> ", 400_000),
            ("<div>", 100_000),
            ("<div></x>", 100_000),
            ("<li><ul>", 100_000),
            ("<li><dd>", 100_000),
            ("<dd><li>x", 100_000),
            ("<b><div></b>", 100_000),
        ] {
            assert!(is_too_deep(&part.repeat(times)), "{part}");
        }
        assert!(!is_too_deep(&"<p>a <br> <b>b</b>\n".repeat(10_000)));
        assert!(!is_too_deep(&"- a\n".repeat(10_000)));
        assert!(!is_too_deep(&format!("<ul>{}</ul>", "<li>a <b>b</b>\n".repeat(10_000))));
        assert!(!is_too_deep(&format!("<dl>{}</dl>", "<dt>a<dd><div>b</div>\n".repeat(10_000))));
        assert!(!is_too_deep(&format!("{}\n", "-".repeat(100_000))));
        assert!(!is_too_deep(&"| a ".repeat(10_000)));
    }
}
