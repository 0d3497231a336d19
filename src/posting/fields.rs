//! The fields of a posting's front matter: which value stands under which of a field's names, and the
//! kinds of values that fields take. What authors wrote otherwise is read as they meant it, and said.

use std::collections::BTreeMap;
use std::ops::Range;

use super::moment::{self, Moment, Reading};
use super::values::{json, same, yes_or_no};
use super::vocabulary::{self, Field, Known};
use crate::diagnostics::{Code, Diagnostic, Severity, Source, nearest};
use crate::key::Key;
use crate::site::Site;
use crate::text;
use crate::yaml::{Node, Value};

/// How long a line of text may be, in characters. Titles stand in subjects and lists.
pub(super) const MAX_LINE: usize = 500;
/// How many items a list may have. Every value of a facet has feeds of its own.
const MAX_ITEMS: usize = 50;
/// How many problems of one file are told.
const MAX_PROBLEMS: usize = 50;

/// A value with the key that it stands under.
#[derive(Debug, Clone)]
pub(super) struct Keyed {
    pub(super) key: Node,
    pub(super) value: Node,
    rank: usize,
}

/// The text of an item that YAML reads as a key and its value: `- Design: UX`.
fn joined(item: &Node) -> Option<String> {
    let Value::Mapping(entries) = &item.value else { return None };
    let [(key, value)] = &entries[..] else { return None };
    let value = value.as_text().filter(|_| !value.is_null())?;
    Some(format!("{}: {value}", key.as_text()?))
}

/// Keys of one field that stand beside each other by intention: of these Hugo's files have both, for the day
/// of the text and for that on which it is published.
const USUAL: [(&str, &str); 1] = [("publishDate", "date")];

impl Keyed {
    pub(super) fn name(&self) -> &str {
        self.key.as_text().unwrap_or_default()
    }
}

/// Turns keys and values into fields, collecting what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) site: &'a Site,
    pub(super) source: &'a Source,
    pub(super) file: Key,
    pub(super) is_verbatim: bool,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) values: BTreeMap<Field, Keyed>,
    pub(super) extra: BTreeMap<String, serde_json::Value>,
}

impl Reader<'_> {
    /// Adds a problem; past a limit, only errors. Whoever made a thousand mistakes made one.
    pub(super) fn report(
        &mut self,
        severity: Severity,
        code: Code,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.diagnostics.len() >= MAX_PROBLEMS && severity != Severity::Error {
            return;
        }
        self.diagnostics.push(
            Diagnostic::new(severity, code, self.source.path.clone(), message)
                .at(self.source, span)
                .help(help),
        );
    }

    pub(super) fn warn(
        &mut self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.report(Severity::Warning, code, span, message, help);
    }

    pub(super) fn error(
        &mut self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.report(Severity::Error, code, span, message, help);
    }

    /// Gives every value to the field that its key means.
    pub(super) fn sort(&mut self, entries: Vec<(Node, Node)>) {
        let mut seen: BTreeMap<String, Range<usize>> = BTreeMap::new();
        // The last of several lines with one key is the one that counts, as in most YAML readers.
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        for (at, (key, value)) in entries.iter().enumerate() {
            if let Some(name) = key.as_text()
                && (!value.is_null() || !last.contains_key(name))
            {
                last.insert(name.to_owned(), at);
            }
        }
        for (at, (key, value)) in entries.into_iter().enumerate() {
            let Some(name) = key.as_text().map(str::to_owned) else {
                let help = "write one `key: value` on each line";
                self.warn(Code::WrongType, &key.span, "a key is not a text; it was ignored", help);
                continue;
            };
            if seen.insert(name.clone(), key.span.clone()).is_some() {
                let is_passed_over = value.is_null() && last.get(&name) != Some(&at);
                let which = if is_passed_over { "the one with a value" } else { "the last one" };
                let message = format!("`{name}` stands here a second time; {which} counts");
                self.warn(Code::DuplicateKey, &key.span, message, "keep one of them");
            }
            if last.get(&name) != Some(&at) {
                continue;
            }
            self.assign(&name, key, value);
        }
    }

    fn assign(&mut self, name: &str, key: Node, value: Node) {
        let (field, rank) = match vocabulary::lookup(name) {
            Some(Known::Exactly(field, rank)) => (field, rank),
            Some(Known::Spelled(field, rank, usual)) => {
                let message = format!("`{name}` was read as `{usual}`");
                self.warn(Code::KeySpelling, &key.span, message, format!("write `{usual}`"));
                (field, rank)
            }
            None => {
                let help = match nearest(name, vocabulary::keys()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "it is kept for templates".to_owned(),
                };
                if self.is_prose(&key, &value) {
                    self.warn(
                        Code::UnclosedFrontMatter,
                        &key.span,
                        "this reads like a line of the text; here it is shown to nobody",
                        "write `---` on a line of its own where the front matter ends",
                    );
                }
                if let Some((inner, span)) = self.swallowed(&value) {
                    let message = format!(
                        "`{inner}` stands inside of `{}`, where nobody reads it",
                        text::one_line(name)
                    );
                    let help = "begin a line with it";
                    self.warn(Code::UnknownKey, &span, message, help);
                }
                let message = format!("`{}` is not a key that crieur knows", text::one_line(name));
                self.report(Severity::Note, Code::UnknownKey, &key.span, message, help);
                self.extra.insert(text::one_line(name), json(&value));
                return;
            }
        };
        if value.is_null() {
            let message = format!("`{name}` has no value");
            self.warn(Code::EmptyValue, &key.span, message, "give it one, or delete the line");
            return;
        }
        let new = Keyed { key, value, rank };
        let Some(old) = self.values.remove(&field) else {
            self.values.insert(field, new);
            return;
        };
        let (first, second) = if new.rank < old.rank { (new, old) } else { (old, new) };
        let is_usual = USUAL.contains(&(first.name(), second.name()));
        if !is_usual && !same(&first.value, &second.value) {
            let message = format!(
                "`{}` and `{}` mean the same but differ; `{}` counts",
                first.name(),
                second.name(),
                first.name()
            );
            self.warn(
                Code::SameMeaning,
                &second.key.span.clone(),
                message,
                format!("keep only `{}`", first.name()),
            );
        }
        self.values.insert(field, first);
    }

    /// A key that says when a posting closes, in the value of a key that nobody knows: indented, it is a part
    /// of that. In a text it is one where its value is a date, or a yes or no.
    fn swallowed(&self, value: &Node) -> Option<(String, Range<usize>)> {
        let decides = |name: &str| {
            let known = vocabulary::lookup(name);
            matches!(
                known,
                Some(Known::Exactly(Field::Closes | Field::TakenDown | Field::Filled, _))
            )
        };
        let is_meant = |value: &str| {
            let (zone, day_first) = (self.site.timezone, self.site.reads_day_first());
            !matches!(moment::read(value, zone, day_first), Reading::Unreadable { .. })
                || yes_or_no(value).is_some()
        };
        match &value.value {
            // As it is written: YAML may have made one line of several.
            Value::Scalar { .. } => {
                let mut start = value.span.start;
                let text = self.source.text.get(value.span.clone())?;
                text.split_inclusive('\n').find_map(|line| {
                    let at = start + line.len() - line.trim_start().len();
                    start += line.len();
                    let (key, rest) = line.trim().split_once(':')?;
                    let is_key = decides(key) && is_meant(rest.trim());
                    is_key.then(|| (key.to_owned(), at..at + key.len()))
                })
            }
            Value::Sequence(_) => None,
            Value::Mapping(entries) => entries.iter().find_map(|(key, _)| {
                let name = key.as_text().filter(|name| decides(name))?;
                Some((name.to_owned(), key.span.clone()))
            }),
        }
    }

    pub(super) fn value(&self, field: Field) -> Option<Keyed> {
        self.values.get(&field).cloned()
    }

    /// A single line of text.
    pub(super) fn text(&mut self, field: Field) -> Option<String> {
        let keyed = self.value(field)?;
        let raw = match &keyed.value.value {
            Value::Scalar { text, .. } => text.clone(),
            Value::Sequence(items) => {
                let texts: Vec<&str> = items.iter().filter_map(Node::as_text).collect();
                let joined = texts.join(", ");
                let message = format!("`{}` is a list where one text is expected", keyed.name());
                let help = format!(
                    "write it on one line: `{}: {}`",
                    keyed.name(),
                    text::one_line(&joined)
                );
                self.warn(Code::WrongType, &keyed.value.span, message, help);
                joined
            }
            Value::Mapping(_) => {
                self.not_a_text(&keyed);
                return None;
            }
        };
        self.line(&raw, &keyed.value.span)
    }

    /// Cleans a text, and says so where that changes it visibly.
    pub(super) fn line(&mut self, raw: &str, span: &Range<usize>) -> Option<String> {
        let wrong = |c: &char| !text::is_allowed(*c) || text::turns_direction(*c);
        if let Some(bad) = raw.chars().find(wrong) {
            let message =
                format!("the character U+{:04X} does not belong in a line of text", u32::from(bad));
            self.warn(Code::ControlCharacter, span, message, "delete it; it was left out");
        }
        let mut raw = raw;
        if let Some((end, _)) = raw.char_indices().nth(MAX_LINE) {
            let message = format!("longer than {MAX_LINE} characters; the rest was left out");
            self.warn(Code::InvalidValue, span, message, "shorten it; the text has room for more");
            raw = &raw[..end];
        }
        let plain = text::without_markup(raw);
        let line = text::one_line(&plain);
        if plain != raw {
            let message = format!("HTML in a line of plain text; it was read as “{line}”");
            self.warn(Code::Markup, span, message, "write it without HTML");
        }
        (!line.is_empty()).then_some(line)
    }

    /// Whether an entry is a sentence of the text that follows: after an empty line, and written as
    /// nobody writes a key.
    fn is_prose(&self, key: &Node, value: &Node) -> bool {
        let text = &self.source.text;
        let before = text.get(..key.span.start).unwrap_or_default();
        let before = before.trim_end_matches(' ');
        let after_empty = before.ends_with("\n\n") || before.ends_with("\n\r\n");
        let has_space = |text: &str| text.trim().contains(char::is_whitespace);
        let is_spaced =
            text.get(key.span.end..).is_some_and(|rest| rest.starts_with([' ', '\u{A0}']));
        let is_sentence = value.as_text().is_some_and(|value| {
            has_space(value) && value.trim_end().ends_with(['.', '!', '?', '…', ';', ','])
        });
        after_empty && (is_spaced || is_sentence || key.as_text().is_some_and(has_space))
    }

    fn not_a_text(&mut self, keyed: &Keyed) {
        let message = format!(
            "`{}` has keys of its own where a text is expected; it was ignored",
            keyed.name()
        );
        let help = format!(
            "write it on one line, in double quotes if it has a colon: `{}: \"…\"`",
            keyed.name()
        );
        self.warn(Code::WrongType, &keyed.value.span, message, help);
    }

    /// One text, or a list of texts, without repetitions.
    pub(super) fn list(&mut self, field: Field) -> Vec<String> {
        self.items(field).into_iter().map(|(text, _)| text).collect()
    }

    /// The same, with where each stands.
    pub(super) fn items(&mut self, field: Field) -> Vec<(String, Range<usize>)> {
        let Some(keyed) = self.value(field) else { return Vec::new() };
        let items = match &keyed.value.value {
            Value::Scalar { .. } => vec![keyed.value.clone()],
            Value::Sequence(items) => items.clone(),
            Value::Mapping(_) => {
                self.not_a_text(&keyed);
                return Vec::new();
            }
        };
        let mut list: Vec<(String, Range<usize>)> = Vec::new();
        if items.len() > MAX_ITEMS {
            let message = format!(
                "`{}` has more than {MAX_ITEMS} items; the rest was left out",
                keyed.name()
            );
            self.warn(Code::InvalidValue, &keyed.value.span, message, "keep those that matter");
        }
        for item in items.into_iter().take(MAX_ITEMS) {
            let joined = joined(&item);
            if let Some(joined) = &joined {
                let message = format!("this item has a colon; it was read as the text `{joined}`");
                let quoted = joined.replace('\\', "\\\\").replace('"', "\\\"");
                let help = format!("put it in double quotes: `\"{quoted}\"`");
                self.warn(Code::YamlRepaired, &item.span, message, help);
            }
            match joined.as_deref().or(item.as_text()) {
                Some(raw) if !item.is_null() => {
                    if let Some(line) = self.line(raw, &item.span)
                        && list.iter().all(|(known, _)| *known != line)
                    {
                        list.push((line, item.span));
                    }
                }
                Some(_) => {
                    let message = format!("`{}` has an empty item", keyed.name());
                    self.warn(Code::EmptyValue, &item.span, message, "delete it");
                }
                None => {
                    let message =
                        format!("an item of `{}` is not a text; it was ignored", keyed.name());
                    self.warn(Code::WrongType, &item.span, message, "write one text an item");
                }
            }
        }
        list
    }

    /// The scalar of a field that takes one word; of a list, its first item.
    pub(super) fn word(
        &mut self,
        field: Field,
        severity: Severity,
    ) -> Option<(Keyed, String, Range<usize>)> {
        let keyed = self.value(field)?;
        let node = match &keyed.value.value {
            Value::Sequence(items) => {
                let message = format!(
                    "`{}` is a list where one value is expected; its first counts",
                    keyed.name()
                );
                self.warn(Code::WrongType, &keyed.value.span, message, "write one value");
                items.first().cloned()?
            }
            _ => keyed.value.clone(),
        };
        let Some(text) = node.as_text().map(text::one_line) else {
            let message =
                format!("`{}` has keys of its own where one value is expected", keyed.name());
            self.report(
                severity,
                Code::WrongType,
                &node.span,
                message,
                format!("write one value: `{}: …`", keyed.name()),
            );
            return None;
        };
        Some((keyed, text, node.span))
    }

    pub(super) fn moment(&mut self, field: Field, severity: Severity) -> Option<Moment> {
        let (keyed, text, span) = self.word(field, severity)?;
        match moment::read(&text, self.site.timezone, self.site.reads_day_first()) {
            Reading::Plain(moment) => Some(moment),
            Reading::Understood(moment) => {
                let message = format!("`{text}` was read as {moment}");
                self.warn(
                    Code::DateFormat,
                    &span,
                    message,
                    format!("write `{}: {moment}`", keyed.name()),
                );
                Some(moment)
            }
            Reading::Unreadable { why, instead } => {
                let shown = text::shortened(&text, 40);
                let message = format!("`{}`: `{shown}` {why}", keyed.name());
                self.report(severity, Code::InvalidDate, &span, message, instead);
                None
            }
        }
    }

    pub(super) fn flag(&mut self, field: Field, severity: Severity) -> Option<bool> {
        let (keyed, text, span) = self.word(field, severity)?;
        let flag = yes_or_no(&text);
        if flag.is_none() {
            let message = format!(
                "`{}`: `{}` is neither yes nor no",
                keyed.name(),
                text::shortened(&text, 40)
            );
            self.report(
                severity,
                Code::InvalidFlag,
                &span,
                message,
                format!("write `{0}: true` or `{0}: false`", keyed.name()),
            );
        }
        flag
    }
}
