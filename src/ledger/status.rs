//! What a person may want to know of the ledger: the last runs, what waits, what failed.

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::Serialize;

use super::database::{json, values};
use super::{Ledger, Result};

/// How many runs, and how many digests of each kind of trouble, are told of.
const MAX: u32 = 20;
/// How long trouble is told of, in days.
const RECENT_DAYS: u64 = 30;

/// What there is to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The last runs that had something to send, or found that one before them was killed, newest first.
    pub runs: Vec<Run>,
    /// Digests that wait: planned, or not taken yet.
    pub waiting: u32,
    /// Digests that may or may not have arrived.
    pub in_doubt: u32,
    /// Addresses that nobody writes to any more.
    pub suppressed: u32,
    /// The newest digests that did not arrive, or may not have.
    pub troubles: Vec<Trouble>,
}

/// A run that had something to send, or found that one before it was killed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Run {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; `None` while it lasts, and for one that was killed.
    pub ended_at: Option<DateTime<Utc>>,
    /// How many digests it had to send.
    pub planned: u32,
    /// How many were taken.
    pub sent: u32,
    /// How many were not taken, and are planned anew by the next run.
    pub deferred: u32,
    /// How many were refused for good.
    pub refused: u32,
    /// How many may or may not have arrived.
    pub in_doubt: u32,
    /// What stopped it.
    pub error: Option<String>,
}

/// A digest that did not arrive, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The recipient's address.
    pub recipient: String,
    /// The day of the digest.
    pub day: NaiveDate,
    /// `deferred`, `refused`, `in_doubt`, `held` or `abandoned`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What was said.
    pub reason: Option<String>,
}

/// How many digests have not arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unsent {
    /// Planned, or not taken yet.
    pub waiting: u32,
    /// They may or may not have arrived.
    pub in_doubt: u32,
    /// The same, and a person decides.
    pub held: u32,
}

impl Ledger {
    /// How many digests have not arrived, of these recipients or of all: where several machines send, of
    /// those that this one took.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn unsent(&self, only: &[String]) -> Result<Unsent> {
        let query = self.database.pick(
            concat!(
                "SELECT count(*) FILTER (WHERE state IN ('planned', 'deferred', 'sending')),
                     count(*) FILTER (WHERE state = 'in_doubt'),
                     count(*) FILTER (WHERE state = 'held')
                 FROM digests WHERE state <> 'sent' AND ?1 = '' AND ",
                meant!(file "?2")
            ),
            concat!(
                "SELECT count(*) FILTER (WHERE state IN ('planned', 'deferred', 'sending')
                         AND sender = ?1),
                     count(*) FILTER (WHERE state = 'in_doubt'),
                     count(*) FILTER (WHERE state = 'held')
                 FROM digests WHERE state <> 'sent' AND ",
                meant!(server "?2"),
                " AND ",
                free!("?1")
            ),
        );
        let unsent = self.database.row(query, values![&self.sender, &json(&only)], |row| {
            Ok(Unsent { waiting: row.get(0)?, in_doubt: row.get(1)?, held: row.get(2)? })
        })?;
        Ok(unsent.unwrap_or_default())
    }

    /// Whether the last run that sent was killed. Where several machines send, another one may be at
    /// it, and nobody can tell.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn was_interrupted(&self) -> Result<bool> {
        if self.database.is_shared() {
            return Ok(false);
        }
        let query = "SELECT 1 FROM (SELECT ended_at FROM runs ORDER BY id DESC LIMIT 1) AS latest
             WHERE ended_at IS NULL";
        Ok(self.database.row(query, &[], |_| Ok(()))?.is_some())
    }

    /// Enters that a run begins to send. Returns its number.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn begin_run(&self, planned: usize, now: DateTime<Utc>) -> Result<i64> {
        let planned = u32::try_from(planned).unwrap_or(u32::MAX);
        self.database.value(
            "INSERT INTO runs (started_at, planned) VALUES (?1, ?2) RETURNING id",
            values![now, planned],
        )
    }

    /// Enters how a run ended.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn end_run(&self, id: i64, run: &Run) -> Result<()> {
        self.database.execute(
            "UPDATE runs SET ended_at = ?2, sent = ?3, deferred = ?4, refused = ?5, in_doubt = ?6,
                 error = ?7 WHERE id = ?1",
            values![
                id,
                run.ended_at,
                run.sent,
                run.deferred,
                run.refused,
                run.in_doubt,
                &run.error,
            ],
        )?;
        Ok(())
    }

    /// What there is to know.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn status(&self, today: NaiveDate) -> Result<Status> {
        let unsent = self.database.row(
            "SELECT count(*) FILTER (WHERE state IN ('planned', 'deferred', 'sending')),
                 count(*) FILTER (WHERE state IN ('in_doubt', 'held'))
             FROM digests WHERE state <> 'sent'",
            &[],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let (waiting, in_doubt) = unsent.unwrap_or_default();
        let runs = self.database.rows(
            "SELECT started_at, ended_at, planned, sent, deferred, refused, in_doubt, error
             FROM runs ORDER BY id DESC LIMIT ?1",
            values![MAX],
            |row| {
                Ok(Run {
                    started_at: row.get(0)?,
                    ended_at: row.get(1)?,
                    planned: row.get(2)?,
                    sent: row.get(3)?,
                    deferred: row.get(4)?,
                    refused: row.get(5)?,
                    in_doubt: row.get(6)?,
                    error: row.get(7)?,
                })
            },
        )?;
        let recent = today.checked_sub_days(Days::new(RECENT_DAYS)).unwrap_or(today);
        let troubles = self.database.rows(
            "SELECT recipient, day, state, attempts, reason FROM digests
             WHERE state <> 'sent' AND (state IN ('in_doubt', 'held')
                 OR (state IN ('deferred', 'refused') AND day > ?2)
                 -- What never left was planned anew, and troubles nobody.
                 OR (state = 'abandoned' AND message_id IS NOT NULL AND day > ?2))
             ORDER BY day DESC, id LIMIT ?1",
            values![MAX, recent],
            |row| {
                Ok(Trouble {
                    recipient: row.get(0)?,
                    day: row.get(1)?,
                    state: row.get(2)?,
                    attempts: row.get(3)?,
                    reason: row.get(4)?,
                })
            },
        )?;
        Ok(Status {
            runs,
            troubles,
            waiting,
            in_doubt,
            suppressed: self.database.value("SELECT count(*) FROM suppressions", &[])?,
        })
    }
}
