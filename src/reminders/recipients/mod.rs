//! The mailing list: who is told of what. Two files can hold it, one reader checks both.

use std::collections::HashMap;
use std::ops::Range;

use chrono::{DateTime, Utc, Weekday};
use serde::{Deserialize, Serialize};
use unic_langid::LanguageIdentifier;

use super::plan::Candidate;
use crate::diagnostics::{Code, Severity, nearest};
use crate::posting::values;
use crate::text;

mod csv;
mod yaml;

pub use csv::{Rows, read as read_csv};
pub use yaml::read as read_yaml;

/// How much of a name is used, in characters.
const MAX_NAME: usize = 80;
/// How many days before a closing somebody can ask to be told.
const MAX_LEAD: u16 = 365;

/// The keys that have several values.
const LISTS: [&str; 4] = ["domains", "teams", "contracts", "lead_days"];

/// The values in a text that stands where a list can: between semicolons, or else between commas.
fn split(key: &str, text: &str) -> Vec<String> {
    let separator = if text.contains(';') { ';' } else { ',' };
    if LISTS.contains(&key) {
        text.split(separator).map(str::to_owned).collect()
    } else {
        vec![text.to_owned()]
    }
}

/// How somebody came to be on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// By the form on the site, confirmed by mail.
    Form,
    /// The operator entered them.
    Command,
    /// From a list that the operator read in.
    Import,
    /// They stood in the site's list, and changed their wishes themselves.
    List,
}

impl Source {
    const ALL: [Self; 4] = [Self::Form, Self::Command, Self::Import, Self::List];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Command => "command",
            Self::Import => "import",
            Self::List => "list",
        }
    }

    /// The source with a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

/// When somebody consented to be written to, and how they came to be on the list, as far as a list
/// says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consent {
    /// When.
    pub at: Option<DateTime<Utc>>,
    /// How.
    pub source: Option<Source>,
}

/// Somebody who is written to. Empty interests mean everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address, as it was written.
    pub email: String,
    /// The person's name.
    pub name: Option<String>,
    /// The language of the mails; the site's by default.
    pub language: Option<LanguageIdentifier>,
    /// Whether the person is on the mailing list, and not only the owner of a posting.
    pub subscribed: bool,
    /// Only postings in one of these fields of work, as [`text::term`]s.
    pub domains: Vec<String>,
    /// Only postings of one of these teams, as [`text::term`]s.
    pub teams: Vec<String>,
    /// Only postings with one of these contracts, as [`text::term`]s.
    pub contracts: Vec<String>,
    /// Only postings for people without experience.
    pub junior: bool,
    /// How many days before the closing; the site's by default.
    pub lead_days: Option<Vec<u16>>,
    /// On which day of the week, for those who want one digest a week.
    pub weekly: Option<Weekday>,
    /// Whether postings are announced when they open, too.
    pub new: bool,
    /// When and how they consented, as far as the list says.
    pub consent: Consent,
}

impl Recipient {
    /// Somebody on the list without any wishes.
    pub fn new(email: impl Into<String>) -> Self {
        Self {
            email: email.into(),
            name: None,
            language: None,
            subscribed: true,
            domains: Vec::new(),
            teams: Vec::new(),
            contracts: Vec::new(),
            junior: false,
            lead_days: None,
            weekly: None,
            new: false,
            consent: Consent::default(),
        }
    }

    /// What tells recipients apart.
    pub fn key(&self) -> String {
        key(&self.email)
    }

    /// Whether a posting is among the recipient's interests.
    pub fn wants(&self, candidate: &Candidate<'_>) -> bool {
        let any = |wanted: &[String], offered: &[String]| {
            wanted.is_empty() || offered.iter().any(|term| wanted.contains(term))
        };
        self.subscribed
            && any(&self.domains, &candidate.domains)
            && any(&self.teams, &candidate.teams)
            && any(&self.contracts, &candidate.contracts)
            && (!self.junior || candidate.posting.junior == Some(true))
    }
}

/// What somebody wishes to be told, in a form that can be kept and written into files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// The person's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The tag of the language of the mails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Fields of work, as [`text::term`]s.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// Teams, as [`text::term`]s.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<String>,
    /// Contracts, as [`text::term`]s.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contracts: Vec<String>,
    /// Only postings for people without experience.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub junior: bool,
    /// How many days before the closing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead_days: Option<Vec<u16>>,
    /// On which day of the week, for those who want one digest a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekday: Option<Weekday>,
    /// Whether postings are announced when they open, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub new: bool,
}

impl Wishes {
    /// The recipient with an address who wishes that.
    pub fn of(self, email: &str) -> Recipient {
        Recipient {
            name: self.name,
            language: self.language.and_then(|language| language.parse().ok()),
            domains: self.domains,
            teams: self.teams,
            contracts: self.contracts,
            junior: self.junior,
            lead_days: self.lead_days,
            weekly: self.weekday,
            new: self.new,
            ..Recipient::new(email)
        }
    }

    /// These, with what the form where people ask does not show as it was before.
    #[must_use]
    pub fn keeping(self, before: Self) -> Self {
        let (name, lead_days) = (self.name.or(before.name), self.lead_days.or(before.lead_days));
        Self { name, lead_days, ..self }
    }
}

impl From<&Recipient> for Wishes {
    fn from(recipient: &Recipient) -> Self {
        Self {
            name: recipient.name.clone(),
            language: recipient.language.as_ref().map(ToString::to_string),
            domains: recipient.domains.clone(),
            teams: recipient.teams.clone(),
            contracts: recipient.contracts.clone(),
            junior: recipient.junior,
            lead_days: recipient.lead_days.clone(),
            weekday: recipient.weekly,
            new: recipient.new,
        }
    }
}

/// What tells addresses apart: two spellings of one address are one person, and so are the two forms
/// of a domain beyond ASCII (RFC 5891).
pub fn key(email: &str) -> String {
    let email = email.trim().to_lowercase();
    match email.rsplit_once('@') {
        Some((local, domain)) if !domain.is_ascii() => {
            let domain = url::Host::parse(domain).map_or(domain.to_owned(), |d| d.to_string());
            format!("{local}@{domain}")
        }
        _ => email,
    }
}

/// The keys of an entry, which are the columns of a table.
pub const KEYS: &[&str] = &[
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
    "confirmed_at",
    "source",
];

/// The known key nearest to one that is not, as help.
fn suggestion(name: &str) -> String {
    nearest(name, KEYS.iter().copied()).map_or_else(
        || format!("the keys are: {}", KEYS.join(", ")),
        |near| format!("did you mean `{near}`?"),
    )
}

/// An entry as it stands in either kind of file: the texts of each key, and where they stand.
#[derive(Debug, Default)]
struct Entry {
    values: HashMap<&'static str, (Vec<String>, Range<usize>)>,
    span: Range<usize>,
}

/// Something to say about an entry.
struct Remark {
    severity: Severity,
    code: Code,
    span: Range<usize>,
    message: String,
    help: &'static str,
}

impl Entry {
    fn texts(&self, key: &str) -> Vec<String> {
        let lines = self.values.get(key).into_iter().flat_map(|(texts, _)| texts);
        lines.map(|text| text::one_line(text)).filter(|text| !text.is_empty()).collect()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.texts(key).into_iter().next()
    }

    fn span(&self, key: &str) -> Range<usize> {
        self.values.get(key).map_or_else(|| self.span.clone(), |(_, span)| span.clone())
    }

    /// The recipient. Only the address is needed: what else cannot be read is as if it was not
    /// there, because somebody who is written to too often is better off than one who is not.
    fn check(&self, mut remark: impl FnMut(Remark)) -> Option<Recipient> {
        let Some(email) = self.text("email") else {
            remark(Remark {
                severity: Severity::Error,
                code: Code::InvalidRecipient,
                span: self.span.clone(),
                message: "this entry has no `email`".to_owned(),
                help: "add the address, or delete the entry",
            });
            return None;
        };
        // Some systems write one letter with two characters.
        let email = text::composed(email);
        // As it stands: an address without what should not be in it is somebody else's.
        let given = self.values.get("email").map_or(&[][..], |(texts, _)| texts.as_slice());
        let as_given = |given: &String| text::composed(given.trim().to_owned()) == email;
        if !text::is_deliverable(&email) || given.len() != 1 || !given.iter().all(as_given) {
            remark(Remark {
                severity: Severity::Error,
                code: Code::InvalidRecipient,
                span: self.span("email"),
                message: match given.len() {
                    1 => "this is not a mail address".to_owned(),
                    _ => "one entry has one address".to_owned(),
                },
                help: "correct it, or delete the entry",
            });
            return None;
        }
        Some(Recipient {
            name: self.text("name").map(|name| text::shortened(&name, MAX_NAME)),
            language: self
                .value("language", &mut remark, "a tag like `fr` or `en`", |tag| tag.parse().ok()),
            subscribed: true,
            domains: self.terms("domains", &mut remark),
            teams: self.terms("teams", &mut remark),
            contracts: self.terms("contracts", &mut remark),
            junior: self.flag("junior", &mut remark),
            lead_days: self.lead_days(&mut remark),
            weekly: self.weekly(&mut remark),
            new: self.flag("new", &mut remark),
            consent: Consent {
                at: self.value(
                    "confirmed_at",
                    &mut remark,
                    "an instant like `2026-09-01T08:00:00Z`",
                    instant,
                ),
                source: self.value(
                    "source",
                    &mut remark,
                    "`form`, `command`, `import` or `list`",
                    Source::named,
                ),
            },
            email,
        })
    }

    /// What a key means, if it means anything.
    fn value<T>(
        &self,
        key: &'static str,
        remark: &mut impl FnMut(Remark),
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(key)?;
        let value = read(&text);
        if value.is_none() {
            remark(Remark {
                severity: Severity::Warning,
                code: Code::InvalidValue,
                span: self.span(key),
                message: format!(
                    "`{key}`: `{}` is not {expected}; it is ignored",
                    text::shortened(&text, 40)
                ),
                help: "correct it, or delete it",
            });
        }
        value
    }

    /// Interests. One without a letter or a digit would be nobody's, and keep everything from a reader.
    fn terms(&self, key: &'static str, remark: &mut impl FnMut(Remark)) -> Vec<String> {
        let mut terms = Vec::new();
        for text in self.texts(key) {
            let term = text::term(&text);
            if !term.is_empty() {
                terms.push(term);
                continue;
            }
            remark(Remark {
                severity: Severity::Warning,
                code: Code::InvalidValue,
                span: self.span(key),
                message: format!(
                    "`{key}`: `{}` names nothing; it is ignored",
                    text::shortened(&text, 40)
                ),
                help: "leave it empty for everything",
            });
        }
        terms
    }

    fn flag(&self, key: &'static str, remark: &mut impl FnMut(Remark)) -> bool {
        self.value(key, remark, "`true` or `false`", values::yes_or_no).unwrap_or_default()
    }

    fn lead_days(&self, remark: &mut impl FnMut(Remark)) -> Option<Vec<u16>> {
        let texts = self.texts("lead_days");
        let days: Option<Vec<u16>> = texts
            .iter()
            .flat_map(|text| text.split([' ', ',', ';']).filter(|text| !text.is_empty()))
            .map(|text| text.parse().ok().filter(|days| *days <= MAX_LEAD))
            .collect();
        if days.is_none() {
            remark(Remark {
                severity: Severity::Warning,
                code: Code::InvalidValue,
                span: self.span("lead_days"),
                message: format!(
                    "`lead_days` needs numbers of days from 0 to {MAX_LEAD}; the site's are used"
                ),
                help: "write for example `[7, 3, 1]`",
            });
        }
        days.filter(|days| !days.is_empty())
    }

    fn weekly(&self, remark: &mut impl FnMut(Remark)) -> Option<Weekday> {
        let weekly =
            self.value("cadence", remark, "`daily` or `weekly`", |text| {
                match text::folded(text).as_str() {
                    "daily" => Some(false),
                    "weekly" => Some(true),
                    _ => None,
                }
            });
        let day = self.value("weekday", remark, "a day of the week, like `Tue`", weekday);
        match weekly {
            Some(true) => Some(day.unwrap_or(Weekday::Mon)),
            // Whoever names a day means once a week.
            None => day,
            Some(false) => None,
        }
    }
}

/// An instant (RFC 3339).
fn instant(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).map(|instant| instant.to_utc()).ok()
}

/// A day of the week, in English, whole or by its first three letters, or in French.
pub(crate) fn weekday(text: &str) -> Option<Weekday> {
    const FRENCH: [&str; 7] =
        ["lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"];
    text.parse().ok().or_else(|| {
        let folded = text::folded(text);
        let number = FRENCH.iter().position(|name| *name == folded)?;
        Weekday::try_from(u8::try_from(number).ok()?).ok()
    })
}
