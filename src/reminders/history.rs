//! What was sent before, as far as the plan must know.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::plan::Section;

/// One posting in a digest, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The posting's id.
    pub posting: String,
    /// The section that it stood in, and what that said of it.
    #[serde(flatten)]
    pub section: Section,
    /// The closing date that the recipient read, in ISO 8601.
    pub closes: Option<String>,
    /// The lead, in days, that made it due.
    pub stage: Option<u16>,
}

/// What was sent, by recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    recipients: HashMap<String, Past>,
}

/// What was sent to one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    days: BTreeSet<NaiveDate>,
    /// The days of digests that were planned, and that nobody took.
    owed: BTreeSet<NaiveDate>,
    /// By posting, and of each in the order in which they were sent.
    entries: Vec<Arc<Entry>>,
    /// The same of what may have been said, and counts as if it was not.
    perhaps: Vec<Arc<Entry>>,
}

impl Sent {
    /// What one recipient got.
    pub fn of(&self, recipient: &str) -> &Past {
        static NOTHING: Past = Past {
            days: BTreeSet::new(),
            owed: BTreeSet::new(),
            entries: Vec::new(),
            perhaps: Vec::new(),
        };
        self.recipients.get(recipient).unwrap_or(&NOTHING)
    }

    /// The same, to add to it.
    pub fn of_mut(&mut self, recipient: &str) -> &mut Past {
        self.recipients.entry(recipient.to_owned()).or_default()
    }
}

impl Past {
    /// Adds the day of a digest.
    pub fn add_day(&mut self, day: NaiveDate) {
        self.days.insert(day);
    }

    /// Adds the day of a digest that was planned, and that nobody took.
    pub fn add_owed(&mut self, day: NaiveDate) {
        self.owed.insert(day);
    }

    /// Whether a digest of one of these days, the last of which is not among them, was never taken.
    pub fn is_owed(&self, from: NaiveDate, until: NaiveDate) -> bool {
        from < until && self.owed.range(from..until).next().is_some()
    }

    /// Adds what stood in a digest; later ones are added later.
    pub fn add(&mut self, entry: impl Into<Arc<Entry>>) {
        insert(&mut self.entries, entry.into());
    }

    /// Adds what stood in a digest that may have arrived, and is said again.
    pub fn add_perhaps(&mut self, entry: impl Into<Arc<Entry>>) {
        insert(&mut self.perhaps, entry.into());
    }

    /// The day of the last digest up to a day. What a clock that went wrong dated later is no
    /// reason to say nothing until then.
    pub fn last_day(&self, until: NaiveDate) -> Option<NaiveDate> {
        self.days.range(..=until).next_back().copied()
    }

    /// Whether there was a digest on a later day.
    pub fn has_day_after(&self, day: NaiveDate) -> bool {
        self.days.range(day..).any(|other| *other > day)
    }

    /// What was said of a posting, oldest first.
    pub fn about(&self, posting: &str) -> impl DoubleEndedIterator<Item = &Entry> {
        about(&self.entries, posting)
    }

    /// What may have been said of a posting, oldest first.
    pub fn perhaps_about(&self, posting: &str) -> impl DoubleEndedIterator<Item = &Entry> {
        about(&self.perhaps, posting)
    }
}

fn insert(entries: &mut Vec<Arc<Entry>>, entry: Arc<Entry>) {
    let place = entries.partition_point(|other| other.posting <= entry.posting);
    entries.insert(place, entry);
}

fn about<'e>(
    entries: &'e [Arc<Entry>],
    posting: &str,
) -> impl DoubleEndedIterator<Item = &'e Entry> + use<'e> {
    let start = entries.partition_point(|entry| entry.posting.as_str() < posting);
    let rest = &entries[start..];
    let end = rest.partition_point(|entry| entry.posting == posting);
    rest[..end].iter().map(AsRef::as_ref)
}
