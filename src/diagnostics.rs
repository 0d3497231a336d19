//! One type for every problem in a file that a person wrote.
//!
//! A [`Diagnostic`] says what is wrong, where, and what to write instead. Problems are values: they
//! are collected while files are read and shown together at the end, so one mistake never hides
//! another and never stops the rest.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::{Deserialize, Serialize};

use crate::text;

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something was left out because of it; a person has to act.
    Error,
    /// It was understood, but perhaps not as it was meant.
    Warning,
    /// Worth knowing, nothing to repair.
    Note,
}

/// What kind of problem it is. The names are stable: people filter on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// A file could not be read.
    Unreadable,
    /// A file is larger than a posting may be.
    TooLarge,
    /// A symbolic link leads out of the site.
    OutsideSite,
    /// A file has bytes that no text has.
    NotText,
    /// A file is not in UTF-8.
    Encoding,
    /// A file begins with a byte-order mark.
    ByteOrderMark,
    /// A value or text holds characters that feeds may not contain.
    ControlCharacter,
    /// The file's name is not that of a posting, or makes no address.
    FileName,
    /// A file lies among the postings and is none.
    IgnoredFile,
    /// There is no front matter.
    NoFrontMatter,
    /// The lines around the front matter are not plain `---`.
    Fence,
    /// The front matter has no end.
    UnclosedFrontMatter,
    /// The YAML cannot be read.
    YamlSyntax,
    /// The YAML is nested or multiplied beyond what a person writes.
    YamlLimit,
    /// A line of the YAML was read in spite of a mistake.
    YamlRepaired,
    /// Elements of the text stand in each other beyond what a person writes.
    TooDeep,
    /// One key stands twice.
    DuplicateKey,
    /// A key that means nothing here.
    UnknownKey,
    /// A key written in another way than usual.
    KeySpelling,
    /// Two keys with one meaning have different values.
    SameMeaning,
    /// A key without a value.
    EmptyValue,
    /// A list, a text or a mapping where something else is expected.
    WrongType,
    /// HTML in a line of plain text.
    Markup,
    /// A date that does not exist or cannot be read.
    InvalidDate,
    /// A date that is not written as year-month-day.
    DateFormat,
    /// Something that is neither yes nor no.
    InvalidFlag,
    /// A status that is none of the known ones.
    InvalidStatus,
    /// A value that is not what its key asks for.
    InvalidValue,
    /// A web or mail address that is none.
    InvalidAddress,
    /// A slug or an id that cannot be used as it stands.
    InvalidIdentity,
    /// Nothing says what the posting is called.
    NoTitle,
    /// Two statements that cannot both be true.
    Contradiction,
    /// Two postings share one id or one address.
    DuplicateId,
    /// A link without an address.
    EmptyLink,
    /// HTML that begins and never ends, and hides what follows.
    UnclosedHtml,
    /// An entry of the mailing list that cannot be used.
    InvalidRecipient,
    /// One address twice in the mailing list.
    DuplicateRecipient,
    /// The mailing list is where others can read it.
    PublicList,
    /// The dates of the last changes could not be read from git.
    History,
    /// A file that crieur would write already exists and is somebody else's.
    ForeignFile,
    /// A template cannot be used.
    Template,
}

impl Code {
    /// The stable name, as `--format json` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too-large",
            Self::OutsideSite => "outside-site",
            Self::NotText => "not-text",
            Self::Encoding => "encoding",
            Self::ByteOrderMark => "byte-order-mark",
            Self::ControlCharacter => "control-character",
            Self::FileName => "file-name",
            Self::IgnoredFile => "ignored-file",
            Self::NoFrontMatter => "no-front-matter",
            Self::Fence => "fence",
            Self::UnclosedFrontMatter => "unclosed-front-matter",
            Self::YamlSyntax => "yaml-syntax",
            Self::YamlLimit => "yaml-limit",
            Self::YamlRepaired => "yaml-repaired",
            Self::TooDeep => "too-deep",
            Self::DuplicateKey => "duplicate-key",
            Self::UnknownKey => "unknown-key",
            Self::KeySpelling => "key-spelling",
            Self::SameMeaning => "same-meaning",
            Self::EmptyValue => "empty-value",
            Self::WrongType => "wrong-type",
            Self::Markup => "markup",
            Self::InvalidDate => "invalid-date",
            Self::DateFormat => "date-format",
            Self::InvalidFlag => "invalid-flag",
            Self::InvalidStatus => "invalid-status",
            Self::InvalidValue => "invalid-value",
            Self::InvalidAddress => "invalid-address",
            Self::InvalidIdentity => "invalid-identity",
            Self::NoTitle => "no-title",
            Self::Contradiction => "contradiction",
            Self::DuplicateId => "duplicate-id",
            Self::EmptyLink => "empty-link",
            Self::UnclosedHtml => "unclosed-html",
            Self::InvalidRecipient => "invalid-recipient",
            Self::DuplicateRecipient => "duplicate-recipient",
            Self::PublicList => "public-list",
            Self::History => "history",
            Self::ForeignFile => "foreign-file",
            Self::Template => "template",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text file as it was read, to point into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The path from the site's folder, with forward slashes.
    pub path: Arc<str>,
    /// The text, decoded.
    pub text: Arc<String>,
}

impl Source {
    /// A source from its path and text.
    pub fn new(path: impl Into<Arc<str>>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: Arc::new(text.into()) }
    }
}

/// A place in a file, with the line itself to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Counted from 1.
    line: usize,
    /// Counted from 1, in characters.
    column: usize,
    /// The line, or the part of a very long one around the place.
    excerpt: String,
    /// The bytes of `excerpt` that are at fault.
    underline: Range<usize>,
}

impl Place {
    /// How much of a line is shown on either side, in bytes.
    const CONTEXT: usize = 100;

    fn new(text: &str, span: &Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let whole = text[line_start..line_end].trim_end_matches('\r');
        // Only the first line of the place is shown: the mistake begins there.
        let from = start - line_start;
        let to = text.floor_char_boundary(span.end.min(text.len())).saturating_sub(line_start);
        let to = to.clamp(from, whole.len().max(from)).min(from + Self::CONTEXT);
        let (from, to) = (whole.floor_char_boundary(from), whole.floor_char_boundary(to));
        let cut = whole.floor_char_boundary(from.saturating_sub(Self::CONTEXT));
        let end = whole.floor_char_boundary((to + Self::CONTEXT).min(whole.len()));
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            excerpt: whole[cut..end].to_owned(),
            underline: from - cut..to - cut,
        }
    }
}

/// One problem in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// What kind of problem.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// The file, from the site's folder, with forward slashes.
    pub path: Arc<str>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    place: Option<Place>,
}

impl Diagnostic {
    /// A problem with a file as a whole.
    pub fn new(
        severity: Severity,
        code: Code,
        path: impl Into<Arc<str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { code, severity, path: path.into(), message: message.into(), help: None, place: None }
    }

    /// The same problem, at the bytes `span` of `source`.
    #[must_use]
    pub fn at(mut self, source: &Source, span: &Range<usize>) -> Self {
        self.place = Some(Place::new(&source.text, span));
        self
    }

    /// The same problem, at the bytes `span` of a line of a file that is not held as a whole.
    #[must_use]
    pub fn at_line(mut self, number: usize, line: &str, span: &Range<usize>) -> Self {
        self.place = Some(Place { line: number, ..Place::new(line, span) });
        self
    }

    /// The same problem, with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same problem with addresses made unreadable, for what is kept: cron mails and journals.
    #[must_use]
    pub fn without_addresses(mut self) -> Self {
        self.message = text::starred(&self.message);
        if let Some(place) = &mut self.place {
            // As long as it was: the underline stays where it is.
            place.excerpt = text::starred(&place.excerpt);
            // What is no address may be meant as one, wherever it stands in the line.
            if self.code == Code::InvalidRecipient {
                let value = place.excerpt.find(": ").map_or(0, |colon| colon + 2);
                let (key, value) = place.excerpt.split_at(value);
                let words = value.split_inclusive(char::is_whitespace);
                let hidden = words.map(|word| {
                    let end = word.trim_end().len();
                    [&*text::hidden(&word[..end]), &word[end..]].concat()
                });
                place.excerpt = [key.to_owned(), hidden.collect()].concat();
            }
        }
        self
    }

    /// The line, counted from 1; of a problem with a file as a whole, the first.
    pub fn line(&self) -> usize {
        self.place.as_ref().map_or(1, |place| place.line)
    }

    /// The column, counted from 1 in characters.
    pub fn column(&self) -> usize {
        self.place.as_ref().map_or(1, |place| place.column)
    }

    /// The problem as an excerpt with the text underlined, for people. `prefix` goes before the
    /// path, so that the place can be opened from where the reader stands.
    pub fn human(&self, prefix: &str) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let path = visible(&format!("{prefix}{}", self.path));
        let title = level.primary_title(visible(&self.message)).id(self.code.as_str());
        let mut group = annotate_snippets::Group::with_title(title);
        let (excerpt, indent);
        match &self.place {
            Some(place) => {
                (excerpt, indent) = (printable(&place.excerpt), place.underline.clone());
                group = group.element(
                    Snippet::source(excerpt.as_str())
                        .line_start(place.line)
                        .path(path.as_str())
                        .annotation(AnnotationKind::Primary.span(indent)),
                );
            }
            None => {
                group = group
                    .element(annotate_snippets::Origin::path(path.as_str()).line(1).char_column(1));
            }
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(visible(help)));
        }
        Renderer::styled().render(&[group])
    }

    /// The problem as an annotation command of GitHub Actions.
    pub fn github(&self, prefix: &str) -> String {
        let command = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let file = property(&format!("{prefix}{}", self.path));
        let properties = format!("file={file},line={},col={}", self.line(), self.column());
        let message = match &self.help {
            Some(help) => format!("{}\n{help}", self.message),
            None => self.message.clone(),
        };
        format!("::{command} {properties},title={}::{}", self.code, data(&message))
    }
}

/// A problem as `--format json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report<'a> {
    code: Code,
    severity: Severity,
    path: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    help: Option<&'a str>,
}

impl<'a> From<&'a Diagnostic> for Report<'a> {
    fn from(diagnostic: &'a Diagnostic) -> Self {
        Self {
            code: diagnostic.code,
            severity: diagnostic.severity,
            path: &diagnostic.path,
            line: diagnostic.line(),
            column: diagnostic.column(),
            message: &diagnostic.message,
            help: diagnostic.help.as_deref(),
        }
    }
}

/// An excerpt without what steers a terminal and what annotates it lets through, byte for byte.
fn printable(excerpt: &str) -> String {
    let acts = |c: char| !c.is_ascii() && c.is_control();
    let shown = |c: char| if acts(c) { "?".repeat(c.len_utf8()) } else { c.to_string() };
    excerpt.chars().map(shown).collect()
}

/// Control characters of a quoted value made visible, so that no file can steer a terminal.
fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let acts = c.is_control() || text::turns_direction(c);
            if acts { c.escape_default().collect() } else { vec![c] }
        })
        .collect()
}

/// Escapes the message of an annotation command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of an annotation command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// How many problems there are of each severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Errors.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
    /// Notes.
    pub notes: usize,
}

impl Tally {
    /// Counts.
    pub fn of(diagnostics: &[Diagnostic]) -> Self {
        let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
        Self {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            notes: count(Severity::Note),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            [(self.errors, "error"), (self.warnings, "warning"), (self.notes, "note")]
                .into_iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, what)| plural(n, what))
                .collect();
        if parts.is_empty() { f.write_str("no problems") } else { f.write_str(&parts.join(", ")) }
    }
}

/// A number and its noun: `1 error`, `2 errors`.
pub fn plural(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The candidate nearest to what was written, when it is near enough to be meant.
pub fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&written, &candidate.to_lowercase()), candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(text: &str, span: Range<usize>) -> Diagnostic {
        let source = Source::new("content/postings/a.md", text);
        Diagnostic::new(
            Severity::Error,
            Code::InvalidDate,
            source.path.clone(),
            "there is no 30 February",
        )
        .at(&source, &span)
        .help("write a day that exists")
    }

    #[test]
    fn a_place_is_counted_in_characters_from_one() {
        let text = "titre: é\ncloses: 2021-02-30\n";
        let start = text.find("2021").unwrap();
        let diagnostic = sample(text, start..start + 10);
        assert_eq!((diagnostic.line(), diagnostic.column()), (2, 9));
        let text = "é: x";
        assert_eq!(sample(text, 4..5).column(), 4);
    }

    #[test]
    fn any_span_of_any_text_has_a_place() {
        for text in ["", "\n", "é", "a\r\nb", "日本\n\n語"] {
            for start in 0..text.len() + 3 {
                for end in 0..text.len() + 3 {
                    sample(text, start..end).human("");
                }
            }
        }
    }

    #[test]
    fn nothing_steers_a_terminal() {
        let source = Source::new("a\u{9B}2J.md", "x: \u{9B}31m\u{202E}y");
        let problem =
            Diagnostic::new(Severity::Error, Code::NotText, source.path.clone(), "\u{202E}");
        let shown = problem.at(&source, &(3..5)).human("");
        assert!(!shown.contains(['\u{9B}', '\u{202E}']), "{shown:?}");
        assert!(shown.contains("x: ??31m"), "{shown:?}");
    }

    #[test]
    fn annotations_are_escaped() {
        let mut diagnostic = sample("a", 0..1);
        diagnostic.path = "a,b:c.md".into();
        diagnostic.message = "100 %\nnew".into();
        assert_eq!(
            diagnostic.github(""),
            "::error file=a%2Cb%3Ac.md,line=1,col=1,title=invalid-date::100 %25%0Anew%0Awrite a day that exists"
        );
    }

    #[test]
    fn the_nearest_key_is_found_only_when_it_is_near() {
        let keys = ["poste_ferme", "contact", "open"];
        assert_eq!(nearest("poste_fermee", keys), Some("poste_ferme"));
        assert_eq!(nearest("Contcat", keys), Some("contact"));
        assert_eq!(nearest("layout", keys), None);
    }
}
