//! Digests: how they are planned, what is left of them to send, and what was said before.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Error, Ledger, Result, messages};
use crate::reminders::{Entry, Past};

/// How many contents are known by heart.
const MAX_CONTENTS: usize = 10_000;

/// A digest as it is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The recipient's key.
    pub recipient: String,
    /// To whom it is written.
    pub addressee: Addressee,
    /// The day that it is sent on.
    pub day: NaiveDate,
    /// What it says.
    pub content: Content,
}

/// What a digest says, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The entries, in JSON.
    text: String,
    fingerprint: [u8; 32],
}

impl Content {
    /// What stands in a digest.
    pub fn new(entries: &[Entry]) -> Self {
        // Texts and numbers always have a form in JSON.
        let text = serde_json::to_string(entries).unwrap_or_default();
        Self { fingerprint: blake3::hash(text.as_bytes()).into(), text }
    }
}

/// To whom a message is written: kept until it is known what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addressee {
    /// The address, as it was written.
    pub email: String,
    /// The person's name.
    pub name: Option<String>,
    /// The language of the mail; the site's by default.
    pub language: Option<String>,
    /// Whether the person is on the mailing list.
    pub subscribed: bool,
}

/// A digest that may leave: planned, not taken yet, or in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number in the ledger.
    pub id: i64,
    /// The recipient's key.
    pub recipient: String,
    /// To whom it is written.
    pub addressee: Addressee,
    /// The number of what it says.
    pub content: i64,
    /// Id and bytes of the message that may have been taken: it leaves again as it is, or not at
    /// all.
    pub message: Option<(String, Vec<u8>)>,
}

/// A digest that may have been taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubtful {
    /// Its number in the ledger.
    pub id: i64,
    /// The recipient's key.
    pub recipient: String,
    /// The day that it was planned for.
    pub day: NaiveDate,
    /// The message's id.
    pub message_id: String,
    /// The message, to the byte.
    pub message: Vec<u8>,
    /// What it says.
    pub entries: Arc<[Arc<Entry>]>,
    /// Whether it is held for a person.
    pub held: bool,
    /// How often it may have been taken.
    pub doubts: u32,
}

/// What digests say, by the number of it.
#[derive(Debug, Default)]
pub(super) struct Contents(RefCell<HashMap<i64, Arc<[Arc<Entry>]>>>);

impl Contents {
    fn read(&self, connection: &Connection, id: i64) -> Result<Arc<[Arc<Entry>]>> {
        if let Some(entries) = self.0.borrow().get(&id) {
            return Ok(entries.clone());
        }
        // Where a damaged ledger lost it, it counts as nothing: whoever was told is told again, which
        // is better than never.
        let entries: String = connection
            .prepare_cached("SELECT entries FROM contents WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?
            .unwrap_or_else(|| "[]".to_owned());
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

    /// What was said to a recipient: the days of digests before one day, and what stood in those
    /// before another. A day on which a digest was refused counts as one on which there was one.
    fn past(
        &self,
        connection: &Connection,
        recipient: &str,
        days_before: &str,
        before: &str,
    ) -> Result<Past> {
        let mut past = Past::default();
        let mut digests = connection.prepare_cached(
            "SELECT day, state, content FROM digests WHERE recipient = ?1 ORDER BY day",
        )?;
        let mut rows = digests.query([recipient])?;
        while let Some(row) = rows.next()? {
            let (day, state) = (row.get_ref(0)?, row.get_ref(1)?);
            let state = state.as_str().unwrap_or_default();
            let day = day.as_str().unwrap_or_default();
            let may_have_arrived = matches!(state, "sending" | "sent" | "in_doubt" | "held");
            if day < days_before && (may_have_arrived || state == "refused") {
                past.add_day(row.get(0)?);
            }
            if let Some(content) = row.get(2)?
                && may_have_arrived
                && day < before
            {
                for entry in self.read(connection, content)?.iter() {
                    past.add(entry.clone());
                }
            }
        }
        Ok(past)
    }
}

/// A plan that is being made anew, in one transaction: when it is dropped, nothing of it is entered.
pub struct Planning<'a> {
    transaction: Transaction<'a>,
    known: &'a Contents,
    /// The numbers of what was entered, by day and fingerprint.
    contents: HashMap<(NaiveDate, [u8; 32]), i64>,
    now: DateTime<Utc>,
    count: usize,
}

impl Planning<'_> {
    /// What was said to a recipient until now.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn past(&self, recipient: &str, today: NaiveDate) -> Result<Past> {
        let tomorrow = today.succ_opt().unwrap_or(today).to_string();
        self.known.past(&self.transaction, recipient, &tomorrow, "9999-12-31")
    }

    /// Enters a digest. Returns its number.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn enter(&mut self, digest: &Planned) -> Result<i64> {
        let Planned { recipient, addressee, day, content } = digest;
        let content = self.content(*day, content)?;
        // What was given up on the same day is said anew.
        let insert = self
            .transaction
            .prepare_cached(
                "INSERT INTO digests (recipient, day, state, planned_at, content)
                 VALUES (?1, ?2, 'planned', ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![recipient, day, self.now, content])?;
        if insert == 0 {
            self.transaction.execute(
                "DELETE FROM digests WHERE recipient = ?1 AND day = ?2 AND state = 'abandoned'",
                params![recipient, day],
            )?;
            self.transaction.execute(
                "INSERT INTO digests (recipient, day, state, planned_at, content)
                 VALUES (?1, ?2, 'planned', ?3, ?4)",
                params![recipient, day, self.now, content],
            )?;
        }
        let id = self.transaction.last_insert_rowid();
        let Addressee { email, name, language, subscribed } = addressee;
        self.transaction
            .prepare_cached(
                "INSERT INTO addressees (digest, email, name, language, subscribed)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![id, email, name, language, subscribed])?;
        self.count += 1;
        Ok(id)
    }

    /// The number of what a digest says.
    fn content(&mut self, day: NaiveDate, content: &Content) -> Result<i64> {
        let Content { text, fingerprint } = content;
        let key = (day, *fingerprint);
        if let Some(number) = self.contents.get(&key) {
            return Ok(*number);
        }
        let fingerprint = &fingerprint[..];
        self.transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO contents (day, fingerprint, entries) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![day, fingerprint, text])?;
        let number = self
            .transaction
            .prepare_cached("SELECT id FROM contents WHERE day = ?1 AND fingerprint = ?2")?
            .query_row(params![day, fingerprint], |row| row.get(0))?;
        if self.contents.len() >= MAX_CONTENTS {
            self.contents.clear();
        }
        self.contents.insert(key, number);
        Ok(number)
    }

    /// Enters the plan as a whole. Returns how many digests it has.
    ///
    /// # Errors
    /// When the ledger cannot be written: then nothing of it is entered.
    pub fn commit(self) -> Result<usize> {
        self.transaction.commit()?;
        Ok(self.count)
    }
}

impl Ledger {
    /// What was said to a recipient, or may have been, until now.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn past(&self, recipient: &str, today: NaiveDate) -> Result<Past> {
        let tomorrow = today.succ_opt().unwrap_or(today).to_string();
        self.contents.past(&self.connection, recipient, &tomorrow, "9999-12-31")
    }

    /// The same, as it was when a day began.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn past_before(&self, recipient: &str, day: NaiveDate) -> Result<Past> {
        let day = day.to_string();
        self.contents.past(&self.connection, recipient, &day, &day)
    }

    /// Forgets what nobody took, and begins a plan anew.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn plan(&mut self, now: DateTime<Utc>) -> Result<Planning<'_>> {
        let transaction = self.connection.transaction()?;
        transaction.execute("DELETE FROM digests WHERE state IN ('planned', 'deferred')", [])?;
        let known = &self.contents;
        Ok(Planning { transaction, known, contents: HashMap::new(), now, count: 0 })
    }

    /// The next digests of a day that may leave, after one of them.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn waiting(
        &self,
        day: NaiveDate,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Waiting>> {
        let after = match after {
            Some(after) => after,
            // Before them lies all that was sent.
            None => match self.first_waiting()? {
                Some(first) => first - 1,
                None => return Ok(Vec::new()),
            },
        };
        let mut statement = self.connection.prepare_cached(
            "SELECT id, recipient, content, state, message_id, email, name, language, subscribed
             FROM digests NOT INDEXED LEFT JOIN addressees ON addressees.digest = id
             WHERE id > ?1 AND day = ?2 AND state IN ('planned', 'deferred', 'in_doubt')
             ORDER BY id LIMIT ?3",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![after, day, limit])?;
        let mut waiting = Vec::new();
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let recipient: String = row.get(1)?;
            let message = match row.get_ref(3)?.as_str() {
                Ok("in_doubt") => {
                    let message_id = row.get::<_, Option<_>>(4)?.unwrap_or_default();
                    Some((message_id, messages::read(&self.connection, id)?))
                }
                _ => None,
            };
            let addressee = Addressee {
                email: row.get::<_, Option<_>>(5)?.unwrap_or_else(|| recipient.clone()),
                name: row.get(6)?,
                language: row.get(7)?,
                subscribed: row.get::<_, Option<_>>(8)?.unwrap_or(true),
            };
            let content = row.get::<_, Option<_>>(2)?.unwrap_or_default();
            waiting.push(Waiting { id, recipient, addressee, content, message });
        }
        Ok(waiting)
    }

    fn first_waiting(&self) -> Result<Option<i64>> {
        let query = "SELECT min(id) FROM digests
             WHERE state <> 'sent' AND state IN ('planned', 'deferred', 'in_doubt')";
        Ok(self.connection.query_row(query, [], |row| row.get(0))?)
    }

    /// What digests with this number say.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn content(&self, id: i64) -> Result<Arc<[Arc<Entry>]>> {
        self.contents.read(&self.connection, id)
    }

    /// What may have been taken, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn doubtful(&self) -> Result<Vec<Doubtful>> {
        let mut statement = self.connection.prepare(
            "SELECT id, recipient, day, message_id, state, doubts, content
             FROM digests WHERE state IN ('sending', 'in_doubt', 'held') ORDER BY id",
        )?;
        let mut rows = statement.query([])?;
        let mut doubtful = Vec::new();
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            doubtful.push(Doubtful {
                id,
                recipient: row.get(1)?,
                day: row.get(2)?,
                message_id: row.get::<_, Option<_>>(3)?.unwrap_or_default(),
                message: messages::read(&self.connection, id)?,
                held: row.get_ref(4)?.as_str() == Ok("held"),
                doubts: row.get(5)?,
                entries: self.content(row.get::<_, Option<_>>(6)?.unwrap_or_default())?,
            });
        }
        Ok(doubtful)
    }
}
