//! Front matter that is no YAML, made so as its author meant it. Whatever is changed, nothing moves.

use std::ops::Range;

use super::{Line, MAX_REPAIRS, Problem, key_and_value, lines};
use crate::diagnostics::Code;
use crate::posting::vocabulary;
use crate::yaml::{self, Node, Value};

/// Tabs may not indent in YAML. One byte for one byte: positions stay.
pub(super) fn untab(yaml: &mut String, offset: usize, warnings: &mut Vec<Problem>) {
    let tabs: Vec<Range<usize>> = lines(yaml)
        .filter_map(|line| {
            let content = line.text(yaml);
            let indent = content.len() - content.trim_start_matches([' ', '\t']).len();
            content[..indent].contains('\t').then_some(line.start..line.start + indent)
        })
        .collect();
    if let Some(first) = tabs.first() {
        let span = first.start + offset..first.end + offset;
        let help = "indent with spaces";
        warnings.push(Problem::new(Code::YamlRepaired, span, "a tab was read as a space", help));
    }
    for range in tabs {
        let spaces = " ".repeat(range.len());
        yaml.replace_range(range, &spaces);
    }
}

/// A no-break space after a key's colon, as French typing makes it, separates nothing in YAML.
pub(super) fn unbind(yaml: &mut String, offset: usize, warnings: &mut Vec<Problem>) {
    let bound = |line: &Line| {
        let text = line.text(yaml);
        let colon = text.find(':')?;
        let is_key =
            text[..colon].trim().chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        (is_key && text[colon + 1..].starts_with('\u{A0}')).then_some(line.start + colon + 1)
    };
    let places: Vec<usize> = lines(yaml).filter_map(|line| bound(&line)).collect();
    for at in places {
        let span = at + offset..at + offset + 2;
        let message = "a no-break space after the colon was read as a space";
        warnings.push(Problem::new(Code::YamlRepaired, span, message, "write a plain space"));
        yaml.replace_range(at..at + 2, "  ");
    }
}

/// Without a space after it, a colon separates nothing in YAML. A line that begins with a key that is
/// known is taken as it is meant.
pub(super) fn uncram(
    yaml: &mut String,
    offset: usize,
    warnings: &mut Vec<Problem>,
    repaired: &mut Vec<(Node, Node)>,
) {
    let crammed: Vec<Line> = lines(yaml)
        .filter(|line| {
            let text = line.text(yaml);
            // What is indented belongs to the line before, and may be a text.
            text.split_once(':').is_some_and(|(key, value)| {
                !key.starts_with(' ')
                    && vocabulary::lookup(key).is_some()
                    && !value.starts_with([' ', '\t', '/', ':'])
                    && !value.is_empty()
            })
        })
        .take(MAX_REPAIRS)
        .collect();
    for line in crammed {
        let content = line.text(yaml);
        let colon = content.find(':').unwrap_or_default();
        let name = content[..colon].to_owned();
        let value = plain(&content[colon + 1..]);
        let place = line.start + offset;
        let span = place..place + colon + 1;
        let message = format!("`{name}:` was read as if there was a space after it");
        let help = format!("write `{name}: …`, with a space");
        warnings.push(Problem::new(Code::YamlRepaired, span, message, help));
        let node = |span: Range<usize>, text: String| Node {
            span,
            value: Value::Scalar { text, quoted: true },
        };
        let value_span = place + colon + 1..line.end + offset;
        repaired.push((node(place..place + colon, name), node(value_span, value)));
        *yaml = blanked(yaml, line);
    }
}

/// How many lines before the place where the parser stopped may be the one at fault.
pub(super) const SUSPECTS: usize = 4;

/// The line to take as it stands: of the last `key: value` lines up to where the parser stopped,
/// the one without which it comes furthest. What is never closed (a quote, a bracket) shows only
/// on a later line.
pub(super) fn line_to_repair(yaml: &str, at: usize) -> Option<Line> {
    lines_before(yaml, at)
        .filter(|line| is_repairable(line.text(yaml)))
        .take(SUSPECTS)
        .map(|line| {
            let without = blanked(yaml, line);
            let reached =
                yaml::parse(&without).map_or_else(|error| error.span.start, |_| usize::MAX);
            (reached, line)
        })
        // Of several, the nearest to the place.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, line)| line)
}

/// The line that a place is in and those before it, from there backwards, as far as is sensible.
pub(super) fn lines_before(text: &str, at: usize) -> impl Iterator<Item = Line> + '_ {
    /// A value that is open for longer than this was not left open by mistake.
    const REACH: usize = 200;
    // At the very end there may be no line any more.
    let mut next = Some(at.min(text.trim_end_matches('\n').len()));
    std::iter::from_fn(move || {
        let inside = next?;
        let start = text[..inside].rfind('\n').map_or(0, |newline| newline + 1);
        next = start.checked_sub(1);
        let line = lines(&text[start..]).next()?;
        Some(Line { start, end: start + line.end, next: start + line.next })
    })
    .take(REACH)
}

/// The text with spaces in place of a line: everything else stays where it is.
pub(super) fn blanked(yaml: &str, line: Line) -> String {
    format!("{}{}{}", &yaml[..line.start], " ".repeat(line.end - line.start), &yaml[line.end..])
}

fn is_repairable(line: &str) -> bool {
    match key_and_value(line) {
        Some((_, value)) if !value.is_empty() => true,
        // An empty value, or an indented key, is not at fault by itself.
        Some((key, _)) => key.start > 0 && vocabulary::lookup(&line[key]).is_some(),
        None => false,
    }
}

/// A line as a key and a plain text.
pub(super) fn repair(yaml: &str, line: Line, offset: usize) -> (Node, Node, String) {
    let content = line.text(yaml);
    let (key, value) = key_and_value(content).unwrap_or((0..0, 0..content.len()));
    let name = content[key.clone()].to_owned();
    let written = &content[value.clone()];
    let unquoted = plain(written);
    let base = line.start + offset;
    let node = |span: Range<usize>, text: String| Node {
        span: span.start + base..span.end + base,
        value: Value::Scalar { text, quoted: true },
    };
    let message = format!("the value of `{name}` is not valid YAML and was read as plain text");
    (node(key, name), node(value, unquoted), message)
}

/// What a value says that is no YAML, or stands where YAML sees none.
fn plain(written: &str) -> String {
    // A quote that is never closed is no part of the text; one around its first words is.
    match written.chars().next() {
        Some(quote @ ('"' | '\'')) if !closes_early(written, quote) => {
            let inner = &written[1..];
            inner.strip_suffix(quote).unwrap_or(inner).replace("\\\"", "\"").replace("''", "'")
        }
        _ => written.split(" #").next().unwrap_or_default().trim_end().to_owned(),
    }
}

/// Whether the quote that a text begins with is closed within it: `"Beta" team`, `"Beta" and "Gamma"`.
fn closes_early(text: &str, quote: char) -> bool {
    let Some((inner, after)) = text[1..].split_once(quote) else { return false };
    let follows_a_word = inner.chars().next_back().is_some_and(|c| !c.is_whitespace() && c != '\\');
    let ends_a_word = after.starts_with(|c: char| !c.is_alphanumeric() && c != quote);
    // Of a text that does not end with a quote, it cannot be the quote of the whole.
    follows_a_word && (ends_a_word || !(after.is_empty() || text.ends_with(quote)))
}
