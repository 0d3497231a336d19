//! Finds the front matter of a file and reads its keys, in spite of what goes wrong with fences,
//! indentation, tabs and colons.

use std::ops::Range;

use super::vocabulary;
use crate::diagnostics::Code;
use crate::yaml::{self, Node, Value};

mod mend;

use mend::{SUSPECTS, line_to_repair, lines_before};

/// Something that was understood in spite of a mistake, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// Where, in bytes of the file's text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Problem {
    fn new(
        code: Code,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { code, span, message: message.into(), help: help.into() }
    }
}

/// The keys of a posting and where its text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontMatter {
    /// Keys and values in the order of the file.
    pub entries: Vec<(Node, Node)>,
    /// The bytes of the text after the front matter.
    pub body: Range<usize>,
    /// What was understood in spite of a mistake.
    pub warnings: Vec<Problem>,
}

/// Reads the front matter of a text.
///
/// # Errors
/// When there is none, or it cannot be understood.
pub fn read(text: &str) -> Result<FrontMatter, Problem> {
    let mut warnings = Vec::new();
    let split = split(text, &mut warnings)?;
    let entries = entries(text, split.yaml, &mut warnings)?;
    Ok(FrontMatter { entries, body: split.body, warnings })
}

/// Whether a text begins as a posting does: with a fence. Tells a posting whose name lacks `.md`
/// from another file.
pub fn begins_with_fence(text: &str) -> bool {
    lines(text).find(|line| !line.is_blank(text)).is_some_and(|line| line.is_fence(text))
}

/// The two parts of a file.
struct Split {
    yaml: Range<usize>,
    body: Range<usize>,
}

/// A line without its end.
#[derive(Clone, Copy)]
struct Line {
    start: usize,
    end: usize,
    /// Where the next line starts.
    next: usize,
}

impl Line {
    fn text(self, text: &str) -> &str {
        &text[self.start..self.end]
    }

    fn is_blank(self, text: &str) -> bool {
        self.text(text).trim().is_empty()
    }

    /// Three or more dashes, whichever key of the keyboard made them.
    fn is_fence(self, text: &str) -> bool {
        let line = self.text(text).trim();
        let dashes: usize = line
            .chars()
            .map(|c| match c {
                '-' => 1,
                '–' => 2,
                '—' => 3,
                _ => 0,
            })
            .sum();
        dashes >= 3 && line.chars().all(|c| matches!(c, '-' | '–' | '—'))
    }

    fn span(self) -> Range<usize> {
        self.start..self.end
    }
}

fn lines(text: &str) -> impl Iterator<Item = Line> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= text.len() {
            return None;
        }
        let start = at;
        let (end, next) = match memchr::memchr(b'\n', &text.as_bytes()[start..]) {
            Some(newline) => (start + newline, start + newline + 1),
            None => (text.len(), text.len()),
        };
        at = next;
        let end = start + text[start..end].trim_end_matches('\r').len();
        Some(Line { start, end, next })
    })
}

const SHAPE: &str =
    "begin the file with a line `---`, then `key: value` lines, then another line `---`";

fn split(text: &str, warnings: &mut Vec<Problem>) -> Result<Split, Problem> {
    let Some(first) = lines(text).find(|line| !line.is_blank(text)) else {
        return Err(Problem::new(Code::NoFrontMatter, 0..0, "the file is empty", SHAPE));
    };
    let opening = first.is_fence(text);
    if !opening && !begins_with_known_key(first.text(text)) {
        return Err(no_front_matter(text, first));
    }
    let mut start = if opening { first.next } else { first.start };
    let mut closing = closing_fence(text, start);
    // Nothing stands between the first two fences, and what would be the text is front matter.
    if opening
        && let Some(second) = closing
        && text[start..second.start].trim().is_empty()
        && let Some(next) = lines(&text[second.next..]).next()
        && begins_with_known_key(next.text(&text[second.next..]))
        && let Some(third) = closing_fence(text, second.next)
        && is_mapping(&text[second.next..third.start])
    {
        let help = "delete one of the two lines `---`";
        let message = "two lines begin the front matter";
        warnings.push(Problem::new(Code::Fence, second.span(), message, help));
        (start, closing) = (second.next, Some(third));
    }
    let Some(closing) = closing else {
        return Err(if opening {
            Problem::new(
                Code::UnclosedFrontMatter,
                first.span(),
                "the front matter has no end",
                "write a line `---` after the last `key: value`",
            )
        } else {
            no_front_matter(text, first)
        });
    };
    if first.start > 0 {
        let help = "begin the file with the line `---`";
        warnings.push(Problem::new(
            Code::Fence,
            first.span(),
            "blank lines stand before the front matter",
            help,
        ));
    }
    if !opening {
        let help = "write a line `---` before it";
        warnings.push(Problem::new(
            Code::Fence,
            first.span(),
            "the front matter has no opening line",
            help,
        ));
    }
    for fence in [opening.then_some(first), Some(closing)].into_iter().flatten() {
        if !matches!(fence.text(text).trim_end(), "---" | "...") {
            let message = format!("`{}` was read as `---`", fence.text(text).trim_end());
            let help = "write three hyphens at the beginning of the line, and nothing else";
            warnings.push(Problem::new(Code::Fence, fence.span(), message, help));
        }
    }
    Ok(Split { yaml: start..closing.start, body: closing.next..text.len() })
}

/// The line that ends the front matter: a proper one before one that only looks like it, because a
/// text inside of the front matter may have such lines, too; unless what the proper one would end
/// is no YAML.
fn closing_fence(text: &str, start: usize) -> Option<Line> {
    let find = |is_fence: fn(Line, &str) -> bool| {
        lines(&text[start..])
            .map(|line| Line {
                start: start + line.start,
                end: start + line.end,
                next: start + line.next,
            })
            .find(|line| is_fence(*line, text))
    };
    let proper = find(|line, text| matches!(line.text(text).trim_end(), "---" | "..."));
    let loose = find(Line::is_fence);
    match (proper, loose) {
        (Some(proper), Some(loose)) if loose.start < proper.start => {
            let is_yaml = yaml::parse(&text[start..proper.start]).is_ok();
            Some(if is_yaml { proper } else { loose })
        }
        (proper, loose) => proper.or(loose),
    }
}

/// Whether a text is what front matter is made of.
fn is_mapping(text: &str) -> bool {
    yaml::parse(text)
        .is_ok_and(|node| node.is_some_and(|node| matches!(node.value, yaml::Value::Mapping(_))))
}

fn no_front_matter(text: &str, first: Line) -> Problem {
    let message = match first.text(text).trim() {
        "+++" => "front matter in TOML is not read",
        line if line.starts_with('{') => "front matter in JSON is not read",
        _ => "there is no front matter, so nothing says what the posting is",
    };
    Problem::new(Code::NoFrontMatter, first.span(), message, SHAPE)
}

pub(super) fn begins_with_known_key(line: &str) -> bool {
    key_and_value(line).is_some_and(|(key, _)| vocabulary::lookup(&line[key]).is_some())
}

/// The bytes of the key and of the value of a line `key: value`.
fn key_and_value(line: &str) -> Option<(Range<usize>, Range<usize>)> {
    let colon = line.find(':')?;
    let rest = &line[colon + 1..];
    if !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let start = line.len() - line.trim_start().len();
    let key = start..start + line[start..colon].trim_end().len();
    let name = &line[key.clone()];
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
        return None;
    }
    let value_start = colon + 1 + (rest.len() - rest.trim_start().len());
    Some((key, value_start..value_start.max(line.trim_end().len())))
}

/// How many lines are mended before a file is given up.
const MAX_REPAIRS: usize = 40;

/// Reads the keys. A line on which the YAML fails is taken as `key: value` with a plain text as
/// its value and blanked out, in place, so that everything else keeps its position.
fn entries(
    text: &str,
    range: Range<usize>,
    warnings: &mut Vec<Problem>,
) -> Result<Vec<(Node, Node)>, Problem> {
    let offset = range.start;
    let mut yaml = text[range].to_owned();
    let mut repaired: Vec<(Node, Node)> = Vec::new();
    mend::untab(&mut yaml, offset, warnings);
    mend::unbind(&mut yaml, offset, warnings);
    mend::uncram(&mut yaml, offset, warnings, &mut repaired);
    let root = loop {
        match yaml::parse(&yaml) {
            Ok(root) => break root,
            Err(error) => {
                let at = error.span.start;
                let line = (!error.limit && repaired.len() < MAX_REPAIRS)
                    .then(|| line_to_repair(&yaml, at))
                    .flatten();
                let Some(line) = line else {
                    return Err(unreadable(&yaml, &error, offset));
                };
                let (key, value, message) = mend::repair(&yaml, line, offset);
                let written = text.get(value.span.clone()).unwrap_or_default().trim();
                let help = if written.starts_with(['[', '{']) {
                    "put each item in double quotes"
                } else if written.starts_with('"') && written.contains('\\') {
                    "write each backslash twice, and other characters as themselves"
                } else {
                    "put the value in double quotes"
                };
                warnings.push(Problem::new(Code::YamlRepaired, value.span.clone(), message, help));
                repaired.push((key, value));
                yaml = mend::blanked(&yaml, line);
            }
        }
    };
    let mut entries = match root {
        None => Vec::new(),
        // What is left of a mapping whose lines were all repaired.
        Some(node) if node.is_null() && node.as_text().is_some() => Vec::new(),
        Some(Node { value: Value::Mapping(entries), .. }) => entries,
        Some(_) => {
            let strange = |line: &Line| {
                let text = line.text(&yaml);
                !line.is_blank(&yaml)
                    && !text.starts_with([' ', '#'])
                    && key_and_value(text).is_none()
            };
            let line = lines(&yaml).find(strange).map_or(0..yaml.len(), Line::span);
            return Err(Problem::new(
                Code::YamlSyntax,
                line.start + offset..line.end + offset,
                "the front matter is not made of `key: value` lines",
                "write `key: value`, with a space after the colon, on each line",
            ));
        }
    };
    for (key, value) in &mut entries {
        shift(key, offset);
        shift(value, offset);
    }
    entries.extend(repaired);
    entries.sort_by_key(|(key, _)| key.span.start);
    Ok(entries)
}

fn unreadable(yaml: &str, error: &yaml::SyntaxError, offset: usize) -> Problem {
    let is_item = |line: &Line| {
        let item = line.text(yaml).trim_start().strip_prefix('-');
        item.is_some_and(|item| !item.starts_with([' ', '\t', '-']) && !item.trim().is_empty())
    };
    if !error.limit
        && let Some(line) = lines_before(yaml, error.span.start).take(SUSPECTS).find(is_item)
    {
        let message = "this item of a list has no space after its hyphen";
        let span = line.start + offset..line.end + offset;
        return Problem::new(Code::YamlSyntax, span, message, "write `- ` before each item");
    }
    let span = error.span.start + offset..error.span.end.max(error.span.start + 1) + offset;
    if error.limit {
        let help = "write each value out, as a text or a short list";
        Problem::new(Code::YamlLimit, span, error.message.clone(), help)
    } else {
        let message = format!("the front matter cannot be read: {}", error.message);
        let help = "write one `key: value` on each line; put a value with a special character in double quotes";
        Problem::new(Code::YamlSyntax, span, message, help)
    }
}

/// Moves a node's place. Its depth is bounded, so recursion is safe.
fn shift(node: &mut Node, by: usize) {
    node.span = node.span.start + by..node.span.end + by;
    match &mut node.value {
        Value::Scalar { .. } => {}
        Value::Sequence(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Mapping(entries) => {
            for (key, value) in entries {
                shift(key, by);
                shift(value, by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_fences_at_the_beginning_are_one() {
        let text = "---\n---\ntitle: A\ncloses: 2021-08-01\n---\ntext\n";
        assert_eq!(keys(text), "title=A, closes=2021-08-01 | fence | \"text\\n\"");
        // What follows an empty front matter is a text, unless it is another.
        assert_eq!(keys("---\n---\nfirst words\n---\n"), " |  | \"first words\\n---\\n\"");
        let text = "---\n---\nDate: see below\n\nSome *text* here\n\n---\nthe end";
        assert!(keys(text).starts_with(" |  | "), "{}", keys(text));
    }

    #[test]
    fn a_line_of_a_text_is_no_key() {
        let text = "---\ncloses:2026-09-20\nnotes: |\n  Contact:Marie\n  date:lundi\n---\n";
        assert_eq!(
            keys(text),
            "closes=2026-09-20, notes=Contact:Marie\ndate:lundi\n | yaml-repaired | \"\""
        );
    }

    fn keys(text: &str) -> String {
        match read(text) {
            Ok(matter) => {
                let entries: Vec<String> = matter
                    .entries
                    .iter()
                    .map(|(k, v)| {
                        format!("{}={}", k.as_text().unwrap_or("?"), v.as_text().unwrap_or("?"))
                    })
                    .collect();
                let warnings: Vec<&str> = matter.warnings.iter().map(|w| w.code.as_str()).collect();
                format!(
                    "{} | {} | {:?}",
                    entries.join(", "),
                    warnings.join(","),
                    &text[matter.body]
                )
            }
            Err(problem) => format!("! {} at {:?}", problem.code, problem.span),
        }
    }

    #[test]
    fn fences_are_found_in_every_shape() {
        for (text, expected) in [
            ("---\na: 1\n---\nb", r#"a=1 |  | "b""#),
            ("---\r\na: 1\r\n---\r\nb\r\n", r#"a=1 |  | "b\r\n""#),
            ("---  \na: 1\n---\t\nb", r#"a=1 |  | "b""#),
            ("---\na: 1\n...\nb", r#"a=1 |  | "b""#),
            ("---\na: 1\n---", r#"a=1 |  | """#),
            ("---\n---\nb", r#" |  | "b""#),
            ("\n\n---\na: 1\n---\nb", r#"a=1 | fence | "b""#),
            ("----\na: 1\n-----\nb", r#"a=1 | fence,fence | "b""#),
            ("–––\na: 1\n———\nb", r#"a=1 | fence,fence | "b""#),
            ("---\n a: 1\n b: 2\n ---\nc", r#"a=1, b=2 | fence | "c""#),
            ("role: x\nopen: true\n---\nb", r#"role=x, open=true | fence | "b""#),
            ("---\na: |\n  b\n  ---\n  c\nd: 1\n---\ne", "a=b\n---\nc\n, d=1 |  | \"e\""),
            ("", "! no-front-matter at 0..0"),
            ("\n \n", "! no-front-matter at 0..0"),
            ("# Title\n\ntext", "! no-front-matter at 0..7"),
            ("Note: this is\nprose\n---\n", "! no-front-matter at 0..13"),
            ("role: x\nno end", "! no-front-matter at 0..7"),
            ("---\na: 1\nno end", "! unclosed-front-matter at 0..3"),
            ("+++\na = 1\n+++", "! no-front-matter at 0..3"),
        ] {
            assert_eq!(keys(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_yaml_refuses_is_read_line_by_line() {
        for (yaml, expected) in [
            ("title: Poste : dev\nopen: true", "title=Poste : dev, open=true | yaml-repaired"),
            ("title: \"Poste\" dev\nopen: true", "title=\"Poste\" dev, open=true | yaml-repaired"),
            (
                "title: \"A\" et \"B\"\nopen: true",
                "title=\"A\" et \"B\", open=true | yaml-repaired",
            ),
            ("title: \"a \"b\" c\"\nopen: true", "title=a \"b\" c, open=true | yaml-repaired"),
            ("title: \"Ops\"s\nopen: true", "title=\"Ops\"s, open=true | yaml-repaired"),
            ("title: a\ncloses:2021-09-20", "title=a, closes=2021-09-20 | yaml-repaired"),
            ("title:A : b\nurl://x: y", "title=A : b, url://x=y | yaml-repaired"),
            ("title: \"Poste\nopen: true", "title=Poste, open=true | yaml-repaired"),
            ("title: 'l'été'\nopen: true", "title=l'été, open=true | yaml-repaired"),
            ("title: @home\nopen: true", "title=@home, open=true | yaml-repaired"),
            ("title: `x`\nopen: true", "title=`x`, open=true | yaml-repaired"),
            ("title: *full stack*\nopen: true", "title=*full stack*, open=true | yaml-repaired"),
            ("title: [urgent] dev\nopen: true", "title=[urgent] dev, open=true | yaml-repaired"),
            ("title: {a\nopen: true", "title={a, open=true | yaml-repaired"),
            ("title: 100 % x\nopen: true", "title=100 % x, open=true | "),
            ("title: % x\nopen: true", "title=% x, open=true | yaml-repaired"),
            ("title: a\n  open: true\nrole: b", "title=a, open=true, role=b | yaml-repaired"),
            ("title:\ta\nopen: true", "title=a, open=true | yaml-repaired"),
            ("\ttitle: a\n\topen: true", "title=a, open=true | yaml-repaired"),
            ("title:\u{A0}a\nopen: true", "title=a, open=true | yaml-repaired"),
            ("a: : b\nc: : d", "a=: b, c=: d | yaml-repaired,yaml-repaired"),
        ] {
            let text = format!("---\n{yaml}\n---\n");
            let found = keys(&text);
            assert_eq!(found.trim_end_matches(" | \"\""), expected, "{yaml:?}");
        }
    }

    #[test]
    fn what_no_line_explains_is_an_error() {
        assert_eq!(keys("---\njust words\nand more\n---\n"), "! yaml-syntax at 4..14");
        assert_eq!(keys("---\n- a\n- b\n---\n"), "! yaml-syntax at 4..7");
        let list = "---\ntitle: a\ndomains:\n  - A\n  -B\ncloses: 2021-09-20\n---\n";
        assert_eq!(keys(list), "! yaml-syntax at 28..32");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(---\n)?[ a-c:\"'\\[\\]{}\t\n#&*!|>%@é-]{0,60}\n---\n.{0,5}") {
            let _ = read(&text);
        }

        #[test]
        fn places_are_inside_of_the_text(text in "---\n([a-c]: [é:\"'\\[#a]{0,8}\n){0,5}---\n") {
            if let Ok(matter) = read(&text) {
                for (key, value) in &matter.entries {
                    prop_assert!(text.get(key.span.clone()).is_some());
                    prop_assert!(text.get(value.span.clone()).is_some());
                }
            }
        }
    }
}
