//! Digests: what is left of them to send, and what may have been taken.
//!
//! Nearly all of them were sent. The others have an index of their own, which SQLite takes only for a
//! statement that says `state <> 'sent'` itself.

use std::sync::Arc;

use chrono::NaiveDate;

use super::database::{json, values};
use super::{Ledger, Result, messages};
use crate::reminders::Entry;

/// What a digest says, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The entries, in JSON.
    pub(super) text: String,
    pub(super) fingerprint: [u8; 32],
}

impl Content {
    /// What stands in a digest.
    pub fn new(entries: &[Entry]) -> Self {
        let text = json(&entries);
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
    /// How many digests of the same day were given up before it: they may have arrived, and are other
    /// messages.
    pub edition: u32,
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

impl Ledger {
    /// How many digests of a day wait to be sent, and are nobody else's: to these recipients, or to all.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn free(&self, day: NaiveDate, only: &[String]) -> Result<usize> {
        let statement = unless_held!(
            self.database,
            "SELECT count(*) FROM digests
             WHERE state <> 'sent' AND state IN ('planned', 'deferred') AND day = ?1",
            "?2",
            to "?3"
        );
        let count: u32 =
            self.database.value(statement, values![day, &self.sender, &json(&only)])?;
        Ok(count as usize)
    }

    /// The languages of those whose digests of a day wait to be sent.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn languages(&self, day: NaiveDate) -> Result<Vec<String>> {
        self.database.rows(
            "SELECT DISTINCT language FROM addressees JOIN digests ON digests.id = digest
             WHERE state IN ('planned', 'deferred', 'in_doubt') AND day = ?1
                 AND language IS NOT NULL ORDER BY language",
            values![day],
            |row| row.get(0),
        )
    }

    /// The next digests of a day that may leave, after one of them: of these recipients, or of all.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn waiting(
        &self,
        day: NaiveDate,
        only: &[String],
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
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let only = json(&only);
        if self.database.is_shared() {
            // What others look at this very moment will be theirs.
            self.database.execute(
                concat!(
                    "UPDATE digests SET sender = ?4 WHERE id IN
                         (SELECT id FROM digests
                          WHERE id > ?1 AND day = ?2
                              AND state IN ('planned', 'deferred', 'in_doubt')
                              AND ",
                    meant!(server "?5"),
                    " AND ",
                    free!("?4"),
                    " ORDER BY id LIMIT ?3 FOR UPDATE SKIP LOCKED)"
                ),
                values![after, day, limit, &self.sender, &only],
            )?;
        }
        let mut waiting = self.database.rows(
            self.database.pick(
                concat!(
                    "SELECT id, recipient, content, state, message_id, email, name, language,
                         subscribed, edition
                     FROM digests NOT INDEXED LEFT JOIN addressees ON addressees.digest = id
                     WHERE id > ?1 AND day = ?2 AND state IN ('planned', 'deferred', 'in_doubt')
                         AND ?4 = '' AND ",
                    meant!(file "?5"),
                    " ORDER BY id LIMIT ?3"
                ),
                concat!(
                    "SELECT id, recipient, content, state, message_id, email, name, language,
                         subscribed, edition
                     FROM digests LEFT JOIN addressees ON addressees.digest = id
                     WHERE id > ?1 AND day = ?2 AND state IN ('planned', 'deferred', 'in_doubt')
                         AND sender = ?4 AND ",
                    meant!(server "?5"),
                    " ORDER BY id LIMIT ?3"
                ),
            ),
            values![after, day, limit, &self.sender, &only],
            |row| {
                let recipient: String = row.get(1)?;
                let message = match row.text(3)? {
                    "in_doubt" => Some((row.text(4)?.to_owned(), Vec::new())),
                    _ => None,
                };
                let addressee = Addressee {
                    email: row.get::<Option<_>>(5)?.unwrap_or_else(|| recipient.clone()),
                    name: row.get(6)?,
                    language: row.get(7)?,
                    subscribed: row.get::<Option<i64>>(8)? != Some(0),
                };
                let content = row.get::<Option<_>>(2)?.unwrap_or_default();
                let (id, edition) = (row.get(0)?, row.get(9)?);
                Ok(Waiting { id, recipient, addressee, content, edition, message })
            },
        )?;
        for Waiting { id, message, .. } in &mut waiting {
            if let Some((_, bytes)) = message {
                *bytes = messages::read(&self.database, *id)?;
            }
        }
        Ok(waiting)
    }

    fn first_waiting(&self) -> Result<Option<i64>> {
        let query = "SELECT min(id) FROM digests
             WHERE state <> 'sent' AND state IN ('planned', 'deferred', 'in_doubt')";
        self.database.value(query, &[])
    }

    /// What may have been taken, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn doubtful(&self) -> Result<Vec<Doubtful>> {
        // What somebody is sending this very moment is not in doubt.
        let statement = self.database.pick(
            "SELECT id, recipient, day, message_id, state, doubts, content
             FROM digests
             WHERE state <> 'sent' AND state IN ('sending', 'in_doubt', 'held') AND ?1 = ''
             ORDER BY id",
            concat!(
                "SELECT id, recipient, day, message_id, state, doubts, content
                 FROM digests
                 WHERE state <> 'sent' AND state IN ('sending', 'in_doubt', 'held') AND ",
                free!("?1"),
                " ORDER BY id"
            ),
        );
        let mut doubtful = self.database.rows(statement, values![&self.sender], |row| {
            let doubtful = Doubtful {
                id: row.get(0)?,
                recipient: row.get(1)?,
                day: row.get(2)?,
                message_id: row.text(3)?.to_owned(),
                message: Vec::new(),
                held: row.text(4)? == "held",
                doubts: row.get(5)?,
                entries: Arc::default(),
            };
            Ok((doubtful, row.get::<Option<i64>>(6)?.unwrap_or_default()))
        })?;
        for (doubtful, content) in &mut doubtful {
            doubtful.message = messages::read(&self.database, doubtful.id)?;
            doubtful.entries = self.content(*content)?;
        }
        Ok(doubtful.into_iter().map(|(doubtful, _)| doubtful).collect())
    }
}
