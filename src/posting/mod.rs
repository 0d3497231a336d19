//! A posting: what an author wrote, understood.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use url::Url;

pub(crate) mod decode;
mod fields;
pub mod files;
pub mod front_matter;
pub mod lifecycle;
pub mod load;
pub mod markdown;
pub mod moment;
pub mod parse;
pub mod values;
pub mod vocabulary;

pub use lifecycle::State;
pub use moment::Moment;

use crate::diagnostics::Source;
use crate::key::Key;
use crate::site::Facet;
use vocabulary::Field;

/// One posting. Texts are single lines without markup; empty ones are absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Posting {
    /// The file it was read from.
    #[serde(skip)]
    pub source: Source,
    /// The key of the file's bytes.
    pub key: Key,
    /// Whether the source's text is the file's bytes, with nothing decoded or replaced.
    pub is_verbatim: bool,
    /// The bytes of the file's text that are the posting's own text, in Markdown.
    pub body: Range<usize>,
    /// Where each field stands in the file, for messages about it.
    pub places: BTreeMap<Field, Range<usize>>,
    /// Its part of every address: ASCII, lower case, unique in a site.
    pub slug: String,
    /// Its identity for feed readers, a URI that never changes.
    pub id: String,
    /// What it is called; the role, where no title is given.
    pub title: String,
    /// The role that is to be filled.
    pub role: Option<String>,
    /// The kind of contract.
    pub contract: Option<String>,
    /// The team that the person will join.
    pub team: Option<String>,
    /// The organisation that hires.
    pub organisation: Option<String>,
    /// Whether it is a partner's posting, only announced here.
    pub partner: bool,
    /// Where to apply.
    pub apply_url: Option<Url>,
    /// When it opens.
    pub opens: Option<Moment>,
    /// When it closes.
    pub closes: Option<Moment>,
    /// Whom to ask.
    pub contacts: Vec<Contact>,
    /// Somebody was found.
    pub filled: bool,
    /// What its author says of its being open, if anything.
    pub open: Option<bool>,
    /// The same in another key.
    pub status: Option<Status>,
    /// Fields of work.
    pub domains: Vec<String>,
    /// Technologies.
    pub technologies: Vec<String>,
    /// Whether people without experience are welcome.
    pub junior: Option<bool>,
    /// Where the work is.
    pub location: Option<String>,
    /// Whether and how the work can be done from elsewhere.
    pub remote: Option<String>,
    /// The pay.
    pub salary: Option<String>,
    /// The language it is written in (BCP 47), where it is not the site's.
    pub language: Option<String>,
    /// Addresses where it was before, as paths from the site's root.
    pub redirect_from: Vec<String>,
    /// When it last changed, according to its author.
    pub updated: Option<Moment>,
    /// When its file last changed, according to git.
    pub committed: Option<DateTime<Utc>>,
    /// When its file last changed on the day that `updated` names, according to git.
    pub touched: Option<DateTime<Utc>>,
    /// When its file first came, according to git.
    pub added: Option<DateTime<Utc>>,
    /// The day that its file's name begins with.
    pub named_day: Option<NaiveDate>,
    /// Keys that mean nothing to crieur, for templates.
    #[serde(with = "as_text")]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// Whom to ask: a name, an address or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// As the author wrote it.
    pub text: String,
    /// The mail address in it.
    pub email: Option<String>,
}

/// What `status` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Open.
    Open,
    /// Not open any more.
    Closed,
    /// Somebody was found.
    Filled,
    /// Not open yet.
    Draft,
}

impl Posting {
    /// Whether its text is here. Of a file whose meaning is known the text is not kept: most of it is
    /// never asked for.
    pub fn is_read(&self) -> bool {
        self.source.text.get(self.body.clone()).is_some()
    }

    /// The posting's text, in Markdown.
    pub fn markdown(&self) -> &str {
        self.source.text.get(self.body.clone()).unwrap_or_default()
    }

    /// Who hires: the organisation, or else the team.
    pub fn employer(&self) -> Option<&str> {
        self.organisation.as_deref().or(self.team.as_deref())
    }

    /// When it was published: its opening, or else the day that its file's name begins with.
    pub fn published(&self, zone: chrono_tz::Tz) -> Option<DateTime<Utc>> {
        self.opens.or(self.named_day.map(Moment::Day)).map(|moment| moment.start(zone))
    }

    /// When it came to be open, as far as anybody can tell: its publication, or else its file's coming.
    pub fn came(&self, zone: chrono_tz::Tz) -> Option<DateTime<Utc>> {
        self.published(zone).or(self.added)
    }

    /// When it last changed: what its author says, or else git, or else when it was published. Of a day
    /// that its author names git tells the hour, if it changed on that day: one change after another.
    /// Never the time of a build. Where nothing is known, the beginning of the `since` year.
    pub fn updated(&self, zone: chrono_tz::Tz, since: NaiveDate) -> DateTime<Utc> {
        self.updated
            .map(|moment| self.touched.unwrap_or_else(|| moment.start(zone)))
            .or(self.committed)
            .or_else(|| self.published(zone))
            .unwrap_or_else(|| since.and_time(NaiveTime::MIN).and_utc())
    }

    /// Whether anything tells when it last changed.
    pub fn is_dated(&self) -> bool {
        self.updated.is_some()
            || self.committed.is_some()
            || self.opens.or(self.named_day.map(Moment::Day)).is_some()
    }

    /// When anything about it changed: its text, as it is shown, or else its file. What an author says
    /// of the text is not when a date or a state changed.
    pub fn changed(&self, updated: DateTime<Utc>) -> DateTime<Utc> {
        self.committed.map_or(updated, |committed| committed.max(updated))
    }

    /// Leaves out what has not happened yet: that is nobody's last change, and no day of publication.
    /// A day in the file's name that was to come when the file last changed is none for good, so that
    /// nothing changes when it comes. Returns when some of the rest will have happened, if there is any.
    pub fn forget_what_is_to_come(
        &mut self,
        now: DateTime<Utc>,
        zone: chrono_tz::Tz,
    ) -> Option<DateTime<Utc>> {
        let start = |day: &NaiveDate| Moment::Day(*day).start(zone);
        let committed = self.committed;
        self.named_day =
            self.named_day.filter(|day| committed.is_none_or(|committed| start(day) <= committed));
        let day = self.named_day.map(Moment::Day);
        let to_come = [self.updated, day].into_iter().flatten().map(|moment| moment.start(zone));
        let first = to_come.filter(|start| *start > now).min();
        self.updated = self.updated.filter(|at| at.start(zone) <= now);
        self.named_day = self.named_day.filter(|day| start(day) <= now);
        first
    }

    /// The values of a facet that the posting has.
    pub fn facet(&self, facet: Facet) -> &[String] {
        match facet {
            Facet::Domain => &self.domains,
            Facet::Team => self.team.as_slice(),
            Facet::Contract => self.contract.as_slice(),
            Facet::Organisation => self.organisation.as_slice(),
        }
    }
}

/// Values of any kind, for formats that must know the kind beforehand.
mod as_text {
    use std::collections::BTreeMap;

    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(
        extra: &BTreeMap<String, Value>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = if extra.is_empty() {
            String::new()
        } else {
            serde_json::to_string(extra).map_err(S::Error::custom)?
        };
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Value>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(BTreeMap::new());
        }
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}
