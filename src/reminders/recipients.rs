//! The mailing list: `recipients.yaml`.

use std::collections::HashMap;

use chrono::Weekday;
use serde::Deserialize;
use unic_langid::LanguageIdentifier;

use crate::diagnostics::{Code, Diagnostic, Severity, Source, nearest};
use crate::posting::Posting;
use crate::text;
use crate::yaml::{self, Node, Value};

/// Somebody on the mailing list. Empty interests mean everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address, as it was written.
    pub email: String,
    /// The person's name.
    pub name: Option<String>,
    /// The language of the mails; the site's by default.
    pub language: Option<LanguageIdentifier>,
    /// Only postings in one of these fields of work.
    pub domains: Vec<String>,
    /// Only postings of one of these teams.
    pub teams: Vec<String>,
    /// Only postings with one of these contracts.
    pub contracts: Vec<String>,
    /// Only postings for people without experience.
    pub junior: bool,
    /// How many days before the closing; the site's by default.
    pub lead_days: Option<Vec<u16>>,
    /// On which day of the week, for those who want one digest a week.
    pub weekly: Option<Weekday>,
}

impl Recipient {
    /// What tells recipients apart: two spellings of an address are one person.
    pub fn key(&self) -> String {
        self.email.to_lowercase()
    }

    /// Whether a posting is among the recipient's interests.
    pub fn wants(&self, posting: &Posting) -> bool {
        let any = |wanted: &[String], offered: &[String]| {
            wanted.is_empty()
                || offered
                    .iter()
                    .any(|value| wanted.iter().any(|want| text::term(want) == text::term(value)))
        };
        any(&self.domains, &posting.domains)
            && any(&self.teams, posting.team.as_slice())
            && any(&self.contracts, posting.contract.as_slice())
            && (!self.junior || posting.junior == Some(true))
    }
}

/// An entry of the list as it stands.
#[derive(Debug, Deserialize)]
struct Entry {
    email: String,
    name: Option<String>,
    language: Option<String>,
    #[serde(default)]
    domains: OneOrMany<String>,
    #[serde(default)]
    teams: OneOrMany<String>,
    #[serde(default)]
    contracts: OneOrMany<String>,
    #[serde(default)]
    junior: bool,
    #[serde(default)]
    lead_days: OneOrMany<u16>,
    #[serde(default)]
    cadence: Cadence,
    weekday: Option<Weekday>,
    /// Asks for a section that is not written yet; `check` says so.
    #[serde(default)]
    new: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> From<OneOrMany<T>> for Vec<T> {
    fn from(values: OneOrMany<T>) -> Self {
        match values {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Cadence {
    #[default]
    Daily,
    Weekly,
}

const KEYS: &[&str] = &[
    "email",
    "name",
    "language",
    "domains",
    "teams",
    "contracts",
    "junior",
    "lead_days",
    "cadence",
    "weekday",
    "new",
];

/// Reads the list. A problem with one entry is one for that entry alone.
pub fn read(path: &str, content: &str) -> (Vec<Recipient>, Vec<Diagnostic>) {
    let source = Source::new(path, content);
    let mut problems = Vec::new();
    let mut recipients: Vec<Recipient> = Vec::new();
    let error =
        |message: String| Diagnostic::new(Severity::Error, Code::InvalidRecipient, path, message);
    // Longer than any list that was typed, and short enough to be held. Every value takes a byte.
    let items = match yaml::parse_with(content, content.len().max(yaml::MAX_NODES)) {
        Ok(None) => Vec::new(),
        Ok(Some(Node { value: Value::Sequence(items), .. })) => items,
        Ok(Some(node)) if node.is_null() => Vec::new(),
        Ok(Some(node)) => {
            let help = "write one entry a person: `- email: somebody@example.org`";
            problems.push(
                error("the mailing list is not a list".to_owned())
                    .at(&source, &node.span)
                    .help(help),
            );
            Vec::new()
        }
        Err(syntax) => {
            let span = syntax.span.start..syntax.span.end.max(syntax.span.start + 1);
            let message = format!("the mailing list cannot be read: {}", syntax.message);
            let help = "write one entry a person: `- email: somebody@example.org`";
            problems.push(error(message).at(&source, &span).help(help));
            Vec::new()
        }
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    let (mut line, mut counted) = (1, 0);
    for item in items {
        let Some(recipient) = entry(&source, &item, &mut problems) else { continue };
        line += content[counted..item.span.start.min(content.len())].matches('\n').count();
        counted = item.span.start.min(content.len());
        if let Some(first) = seen.get(&recipient.key()) {
            problems.push(
                Diagnostic::new(
                    Severity::Warning,
                    Code::DuplicateRecipient,
                    path,
                    format!("the address stands in line {first} already; that entry counts"),
                )
                .at(&source, &item.span)
                .help("delete one of the two"),
            );
        } else {
            seen.insert(recipient.key(), line);
            recipients.push(recipient);
        }
    }
    (recipients, problems)
}

fn entry(source: &Source, item: &Node, problems: &mut Vec<Diagnostic>) -> Option<Recipient> {
    let mut report =
        |severity, code, span: &std::ops::Range<usize>, message: String, help: &str| {
            problems.push(
                Diagnostic::new(severity, code, source.path.clone(), message)
                    .at(source, span)
                    .help(help),
            );
        };
    let span = item.span.clone();
    if let Value::Mapping(entries) = &item.value {
        for (key, _) in entries {
            let name = key.as_text().unwrap_or_default();
            if !KEYS.contains(&name) {
                let help = nearest(name, KEYS.iter().copied()).map_or_else(
                    || format!("the keys are: {}", KEYS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                report(
                    Severity::Warning,
                    Code::UnknownKey,
                    &key.span,
                    format!("`{name}` is not known here"),
                    &help,
                );
            }
        }
    }
    // An entry as a document of its own: what is wrong with it is no other's problem.
    let value = plain(item);
    let parsed: Entry = match serde_yaml::from_value(value) {
        Ok(parsed) => parsed,
        Err(error) => {
            let message = format!("this entry cannot be used: {error}");
            report(
                Severity::Error,
                Code::InvalidRecipient,
                &span,
                message,
                "write at least `- email: somebody@example.org`",
            );
            return None;
        }
    };
    let email = text::one_line(&parsed.email);
    if !text::is_address(&email) {
        let place = item.entry("email").map_or(span, |(_, value)| value.span.clone());
        let message = format!("`{}` is not a mail address", text::shortened(&email, 60));
        report(
            Severity::Error,
            Code::InvalidRecipient,
            &place,
            message,
            "correct it, or delete the entry",
        );
        return None;
    }
    if parsed.new {
        let message =
            "`new` is not understood yet: no digest has a section of new postings".to_owned();
        report(
            Severity::Warning,
            Code::InvalidValue,
            &span,
            message,
            "nothing; postings that close are announced all the same",
        );
    }
    let language =
        parsed.language.as_deref().and_then(|tag| tag.parse::<LanguageIdentifier>().ok());
    if parsed.language.is_some() && language.is_none() {
        report(
            Severity::Warning,
            Code::InvalidValue,
            &span,
            "`language` is no language tag; the site's is used".to_owned(),
            "write a tag like `fr` or `en`",
        );
    }
    let weekly =
        (parsed.cadence == Cadence::Weekly).then(|| parsed.weekday.unwrap_or(Weekday::Mon));
    Some(Recipient {
        email,
        name: parsed.name.map(|name| text::one_line(&name)).filter(|name| !name.is_empty()),
        language,
        domains: parsed.domains.into(),
        teams: parsed.teams.into(),
        contracts: parsed.contracts.into(),
        junior: parsed.junior,
        lead_days: Some(parsed.lead_days.into()).filter(|days: &Vec<u16>| !days.is_empty()),
        weekly,
    })
}

/// The entry as serde's YAML knows it. Scalars of keys that take texts stay texts: a team may be
/// called 2021.
fn plain(node: &Node) -> serde_yaml::Value {
    const NOT_TEXTS: &[&str] = &["junior", "lead_days", "new"];
    let Value::Mapping(entries) = &node.value else { return value(node, true) };
    let given = entries.iter().filter(|(_, value)| !value.is_null());
    serde_yaml::Value::Mapping(
        given
            .map(|(key, item)| {
                let is_text = !key.as_text().is_some_and(|key| NOT_TEXTS.contains(&key));
                (value(key, true), value(item, is_text))
            })
            .collect(),
    )
}

fn value(node: &Node, is_text: bool) -> serde_yaml::Value {
    match &node.value {
        Value::Scalar { text, quoted } if *quoted || is_text => {
            serde_yaml::Value::String(text.clone())
        }
        Value::Scalar { text, .. } => {
            serde_yaml::from_str(text).unwrap_or_else(|_| serde_yaml::Value::String(text.clone()))
        }
        Value::Sequence(items) => {
            serde_yaml::Value::Sequence(items.iter().map(|item| value(item, is_text)).collect())
        }
        Value::Mapping(entries) => serde_yaml::Value::Mapping(
            entries.iter().map(|(k, v)| (value(k, true), value(v, is_text))).collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emails(content: &str) -> (Vec<String>, Vec<String>) {
        let (recipients, problems) = read("content/recipients.yaml", content);
        (
            recipients.into_iter().map(|r| r.email).collect(),
            problems.iter().map(|p| format!("{}:{} {}", p.code, p.line(), p.message)).collect(),
        )
    }

    #[test]
    fn one_bad_entry_is_one_bad_entry() {
        let (good, problems) = emails(
            "- email: a@example.org\n  domains: dev\n- email: not an address\n- name: X\n- email: A@example.org\n- email: b@example.org\n  lead_days: soon\n- email: c@example.org\n  domain: x\n",
        );
        assert_eq!(good, ["a@example.org", "c@example.org"]);
        assert_eq!(problems.len(), 5, "{problems:#?}");
        assert!(problems[0].starts_with("invalid-recipient:3 "));
        assert!(problems[2].contains("line 1 already"));
        assert!(problems[4].starts_with("unknown-key:9 "));
    }

    #[test]
    fn an_empty_list_is_a_list() {
        assert_eq!(emails(""), (vec![], vec![]));
        assert_eq!(emails("[]"), (vec![], vec![]));
        assert_eq!(emails("a: b").1.len(), 1);
        assert_eq!(emails("- [").1.len(), 1);
    }
}
