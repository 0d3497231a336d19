//! What was said to people before: what their digests say, and which of them count.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use chrono::NaiveDate;

use super::database::{Database, Row, json, values};
use super::{Error, Ledger, Result};
use crate::reminders::{Entry, Past};

/// How many contents are known by heart.
pub(super) const MAX_CONTENTS: usize = 10_000;

/// What digests say, by the number of it.
#[derive(Debug, Default)]
pub(super) struct Contents(RefCell<HashMap<i64, Arc<[Arc<Entry>]>>>);

impl Contents {
    pub(super) fn read(&self, database: &Database, id: i64) -> Result<Arc<[Arc<Entry>]>> {
        if let Some(entries) = self.0.borrow().get(&id) {
            return Ok(entries.clone());
        }
        // Where a damaged ledger lost it, it counts as nothing: whoever was told is told again, which
        // is better than never.
        let query = "SELECT entries FROM contents WHERE id = ?1";
        let entries: Option<String> = database.row(query, values![id], |row| row.get(0))?;
        let entries = entries.unwrap_or_else(|| "[]".to_owned());
        let entries: Arc<[Arc<Entry>]> = serde_json::from_str::<Vec<Entry>>(&entries)
            .map_err(|error| Error::Damaged(format!("what digests of content {id} say: {error}")))?
            .into_iter()
            .map(Arc::new)
            .collect();
        let mut known = self.0.borrow_mut();
        if known.len() >= MAX_CONTENTS {
            known.clear();
        }
        known.insert(id, entries.clone());
        Ok(entries)
    }

    /// What was said to a recipient, as far as it counts.
    pub(super) fn past(
        &self,
        database: &Database,
        recipient: &str,
        until: &Until<'_>,
    ) -> Result<Past> {
        let mut past = Past::default();
        let contents = database.rows(
            "SELECT day, state, content, id, message_id FROM digests WHERE recipient = ?1
             ORDER BY id",
            values![recipient],
            |row| until.remember(row, &mut past),
        )?;
        self.say(database, contents.into_iter().flatten(), &mut past)?;
        Ok(past)
    }

    /// The same of several recipients, asked for at once: a server is far away.
    pub(super) fn pasts(
        &self,
        database: &Database,
        recipients: &[&str],
        until: &Until<'_>,
    ) -> Result<Vec<Past>> {
        let mut pasts: Vec<Past> = recipients.iter().map(|_| Past::default()).collect();
        let places: HashMap<&str, usize> =
            recipients.iter().enumerate().map(|(at, recipient)| (*recipient, at)).collect();
        let recipients = json(&recipients);
        let said = database.rows(
            "SELECT day, state, content, id, message_id, recipient FROM digests WHERE recipient IN
                 (SELECT jsonb_array_elements_text(?1::TEXT::JSONB)) ORDER BY id",
            values![&recipients],
            |row| {
                let Some(at) = places.get(row.text(5)?) else { return Ok(None) };
                let Some(past) = pasts.get_mut(*at) else { return Ok(None) };
                Ok(until.remember(row, past)?.map(|content| (*at, content)))
            },
        )?;
        for (at, content) in said.into_iter().flatten() {
            if let Some(past) = pasts.get_mut(at) {
                self.say(database, [content], past)?;
            }
        }
        Ok(pasts)
    }

    /// Adds what digests said.
    fn say(
        &self,
        database: &Database,
        contents: impl IntoIterator<Item = Said>,
        past: &mut Past,
    ) -> Result<()> {
        contents.into_iter().try_for_each(|said| {
            let (Said::Certainly(content) | Said::Perhaps(content)) = said;
            for entry in self.read(database, content)?.iter().cloned() {
                match said {
                    Said::Certainly(_) => past.add(entry),
                    Said::Perhaps(_) => past.add_perhaps(entry),
                }
            }
            Ok(())
        })
    }
}

/// The number of what a digest said.
#[derive(Debug, Clone, Copy)]
enum Said {
    /// It counts as said.
    Certainly(i64),
    /// It was given up after it may have arrived: it is said again, and may have been said.
    Perhaps(i64),
}

/// Which digests count as past: their days before one day, and what stood in them before another. A
/// day on which a digest was refused counts as one on which there was one.
#[derive(Debug, Clone)]
pub(super) struct Until<'a> {
    days: String,
    /// `None` where all that stood in them counts.
    content: Option<String>,
    /// The numbers of those that count as given up.
    without: &'a [i64],
}

impl<'a> Until<'a> {
    /// Everything, on a day.
    pub(super) fn now(today: NaiveDate) -> Self {
        let tomorrow = today.succ_opt().unwrap_or(today);
        Self { days: tomorrow.to_string(), content: None, without: &[] }
    }

    /// What there was when a day began.
    fn before(day: NaiveDate) -> Self {
        Self { days: day.to_string(), content: Some(day.to_string()), without: &[] }
    }

    /// As if some digests had been given up.
    fn without(self, without: &'a [i64]) -> Self {
        Self { without, ..self }
    }

    /// Remembers the day of a digest, and returns what it said, if that counts. A row has day, state,
    /// content, number and the message's id, if it was about to leave, first.
    fn remember(&self, row: &Row<'_>, past: &mut Past) -> Result<Option<Said>> {
        let content: Option<i64> = row.get(2)?;
        if !self.without.is_empty() && self.without.contains(&row.get(3)?) {
            past.add_owed(row.get(0)?);
            return Ok(content.map(Said::Perhaps));
        }
        let (day, state) = (row.text(0)?, row.text(1)?);
        let may_have_arrived = matches!(state, "sending" | "sent" | "in_doubt" | "held");
        if day < self.days.as_str() && matches!(state, "planned" | "deferred" | "abandoned") {
            past.add_owed(row.get(0)?);
        }
        if day < self.days.as_str() && (may_have_arrived || state == "refused") {
            past.add_day(row.get(0)?);
        }
        let content = content.filter(|_| self.content.as_deref().is_none_or(|end| day < end));
        Ok(match state {
            _ if may_have_arrived => content.map(Said::Certainly),
            "abandoned" if row.get::<Option<String>>(4)?.is_some() => content.map(Said::Perhaps),
            _ => None,
        })
    }
}

impl Ledger {
    /// What was said to a recipient, or may have been, until now.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn past(&self, recipient: &str, today: NaiveDate) -> Result<Past> {
        self.contents.past(&self.database, recipient, &Until::now(today))
    }

    /// The same, as if some digests had been given up.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn past_without(&self, recipient: &str, today: NaiveDate, without: &[i64]) -> Result<Past> {
        let until = Until::now(today).without(without);
        self.contents.past(&self.database, recipient, &until)
    }

    /// The same, as it was when a day began.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn past_before(&self, recipient: &str, day: NaiveDate) -> Result<Past> {
        self.contents.past(&self.database, recipient, &Until::before(day))
    }

    /// What digests with this number say.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn content(&self, id: i64) -> Result<Arc<[Arc<Entry>]>> {
        self.contents.read(&self.database, id)
    }
}
