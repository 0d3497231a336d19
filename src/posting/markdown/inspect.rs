//! What is wrong with a posting's text, and where.

use std::ops::Range;

use comrak::Arena;
use comrak::nodes::NodeValue;
use memchr::memchr_iter;

use super::options;
use super::safe::unsafe_html;

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

/// Where a comment, or an element whose content is not shown, begins and never ends.
pub fn unclosed_html(markdown: &str) -> Option<Range<usize>> {
    const HIDING: [(&str, &str); 3] =
        [("<!--", "-->"), ("<style", "</style"), ("<script", "</script")];
    let is_open = |text: &str| {
        let text = text.trim_start().to_ascii_lowercase();
        HIDING.iter().any(|(begin, end)| text.starts_with(begin) && !text.contains(end))
    };
    // Nearly every text has none of these, and parsing costs more than looking.
    let may_hide = |at: usize| {
        HIDING.iter().any(|(begin, _)| {
            let found = markdown.as_bytes().get(at..at + begin.len());
            found.is_some_and(|found| found.eq_ignore_ascii_case(begin.as_bytes()))
        })
    };
    if !memchr_iter(b'<', markdown.as_bytes()).any(may_hide) {
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
}
