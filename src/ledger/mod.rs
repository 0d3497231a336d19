//! The ledger: what was planned and what was sent, in SQLite, written before anything leaves.
//!
//! A digest is *planned*, then *sending* (committed with its bytes before the first of them leaves),
//! then *sent*, *deferred* (not taken now), *refused* (for good), or *in doubt*: the connection
//! ended after the message and before the answer (RFC 1047). What is in doubt is sent again, the
//! same to the byte, on the same day; or it is *held* for a person; after its day it is *abandoned*,
//! and what it said is planned anew.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use chrono::{DateTime, Days, NaiveDate, Utc};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, params};

use crate::private;
use crate::reminders::{Entry, Sent};

mod backup;
mod schema;
mod status;
mod suppressions;

pub use backup::{Restored, check, restore};
pub use status::{Run, Status, Trouble, Unsent};
pub use suppressions::{Reason, Suppressions};

use schema::{known_version, version};

/// The name of the file, in the site's private folder.
const FILE: &str = "ledger.sqlite3";
/// How long digests are remembered: longer than the longest lead, so that no plan needs older ones.
const KEPT_DAYS: u64 = 400;

/// Why the ledger cannot be used. Nothing is sent then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot use the ledger: {0}")]
    Io(#[from] io::Error),
    /// SQLite refused; it may not the next time.
    #[error("cannot use the ledger: {0}")]
    Database(rusqlite::Error),
    /// What the file holds is not what was written into it.
    #[error(
        "the ledger is damaged ({0}), and nothing is sent without it: `crieur ledger restore` puts together what can be read of it and its last backup"
    )]
    Damaged(String),
    /// There are backups of it, and it is gone.
    #[error(
        "the ledger is missing, and its backups are not: nothing is sent, because it may have been sent already; `crieur ledger restore` takes the last backup"
    )]
    Missing,
    /// It was written by a later version of crieur.
    #[error(
        "the ledger has version {found}, this crieur knows {known}; install the newer version again"
    )]
    TooNew {
        /// What the file says.
        found: u32,
        /// What we know.
        known: u32,
    },
}

impl Error {
    /// Whether the next run may succeed without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            // Something else is where it should be.
            Self::Io(error) => {
                !matches!(error.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory)
            }
            Self::Database(_) => true,
            Self::Damaged(_) | Self::Missing | Self::TooNew { .. } => false,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // Unknown: a table or a column is not there.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Database(error),
        }
    }
}

/// The result of an operation on the ledger.
pub type Result<T> = std::result::Result<T, Error>;

/// The ledger of one site.
pub struct Ledger {
    connection: Connection,
}

/// A digest as it is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The recipient's key.
    pub recipient: String,
    /// The day that it is sent on.
    pub day: NaiveDate,
    /// What it says.
    pub entries: Vec<Entry>,
}

/// What happened to a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Its first byte is about to leave.
    Sending {
        /// The message's id.
        message_id: String,
        /// The message, to the byte.
        message: Vec<u8>,
    },
    /// It was taken.
    Sent,
    /// It was not taken, and may be later.
    Deferred(String),
    /// It was refused for good. Where it was the address that was refused, and not this message,
    /// it counts against the address.
    Refused {
        /// What the server said.
        reason: String,
        /// Whether the address does not exist, or takes nothing from us.
        address: bool,
    },
    /// It may have been taken.
    InDoubt(String),
    /// The same, and a person decides.
    Held(String),
    /// What may have been taken is not sent again.
    Abandoned,
}

impl Mark {
    fn state(&self) -> &'static str {
        match self {
            Self::Sending { .. } => "sending",
            Self::Sent => "sent",
            Self::Deferred(_) => "deferred",
            Self::Refused { .. } => "refused",
            Self::InDoubt(_) => "in_doubt",
            Self::Held(_) => "held",
            Self::Abandoned => "abandoned",
        }
    }
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
    pub entries: Vec<Entry>,
    /// Whether it is held for a person.
    pub held: bool,
    /// How often it may have been taken.
    pub doubts: u32,
}

impl Ledger {
    /// Opens the ledger, makes it where there is none, and brings one of an earlier version up to
    /// date, after a backup.
    ///
    /// # Errors
    /// When it cannot be read and written, or is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        private::folder(folder)?;
        let path = folder.join(FILE);
        if is_absent(&path)? && !backup::all(folder)?.is_empty() {
            return Err(Error::Missing);
        }
        // SQLite gives its own files the permissions of the database.
        private::file(&path)?;
        let connection = Connection::open(&path)?;
        // What is committed is on the disk: a mark that is lost would send a mail twice.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let damage: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if damage != "ok" {
            return Err(Error::Damaged(damage));
        }
        let version = version(&connection)?;
        if (1..known_version()).contains(&version) {
            backup::make(&connection, folder, &format!("version-{version}"))?;
        }
        Ok(Self { connection: schema::migrated(connection)? })
    }

    /// The ledger as it stands, for what must write nothing. `None` where there is none yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open_to_read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if is_absent(&path)? {
            return if backup::all(folder)?.is_empty() { Ok(None) } else { Err(Error::Missing) };
        }
        let log = folder.join(format!("{FILE}-wal"));
        let connection = if is_absent(&log)? {
            // Nobody writes, and without this SQLite would make files to find that out.
            let mut address = url::Url::from_file_path(fs::canonicalize(&path)?)
                .map_err(|()| io::Error::other("the path of the ledger is no address"))?;
            address.set_query(Some("immutable=1"));
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(address.as_str(), flags)?
        } else {
            Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?
        };
        match version(&connection)? {
            0 => Ok(None),
            found if found == known_version() => Ok(Some(Self { connection })),
            // One of an earlier version is brought up to date in memory.
            _ => {
                let mut copy = Connection::open_in_memory()?;
                rusqlite::backup::Backup::new(&connection, &mut copy)?.run_to_completion(
                    1000,
                    std::time::Duration::ZERO,
                    None,
                )?;
                Ok(Some(Self { connection: schema::migrated(copy)? }))
            }
        }
    }

    /// A ledger in memory.
    ///
    /// # Errors
    /// When `SQLite` refuses.
    pub fn in_memory() -> Result<Self> {
        Ok(Self { connection: schema::migrated(Connection::open_in_memory()?)? })
    }

    /// A random number of the site's own, from which tokens and pseudonyms of addresses are made.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn secret(&self) -> Result<Vec<u8>> {
        let query = "SELECT value FROM secrets WHERE name = 'addresses'";
        Ok(self.connection.query_row(query, [], |row| row.get(0))?)
    }

    /// Everything that was sent, or may have been, about some postings. A day on which a digest was
    /// refused counts as one on which there was a digest.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn sent<'a>(
        &self,
        postings: impl IntoIterator<Item = &'a str>,
        today: NaiveDate,
    ) -> Result<Sent> {
        let tomorrow = today.succ_opt().unwrap_or(today);
        self.read_sent(postings, &tomorrow.to_string(), "9999-12-31")
    }

    /// The same, as it was when a day began.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn sent_before<'a>(
        &self,
        postings: impl IntoIterator<Item = &'a str>,
        day: NaiveDate,
    ) -> Result<Sent> {
        self.read_sent(postings, &day.to_string(), &day.to_string())
    }

    /// The last day of each recipient before one day, and what was said before another.
    fn read_sent<'a>(
        &self,
        postings: impl IntoIterator<Item = &'a str>,
        days_before: &str,
        before: &str,
    ) -> Result<Sent> {
        let mut sent = Sent::default();
        let mut days = self.connection.prepare(
            "SELECT recipient, max(day) FROM digests
             WHERE state IN ('sending', 'sent', 'refused', 'in_doubt', 'held') AND day < ?1
             GROUP BY recipient",
        )?;
        let mut rows = days.query([days_before])?;
        while let Some(row) = rows.next()? {
            sent.add_day(row.get_ref(0)?.as_str().unwrap_or_default(), row.get(1)?);
        }
        let postings: HashSet<&str> = postings.into_iter().collect();
        let mut items = self.connection.prepare(
            "SELECT recipient, posting, section, what, closes, stage
             FROM items JOIN digests ON digests.id = items.digest
             WHERE digests.state IN ('sending', 'sent', 'in_doubt', 'held') AND day < ?1
             ORDER BY day, digests.id",
        )?;
        let mut rows = items.query([before])?;
        while let Some(row) = rows.next()? {
            let posting = row.get_ref(1)?.as_str().unwrap_or_default();
            if !postings.contains(posting) {
                continue;
            }
            sent.add(row.get_ref(0)?.as_str().unwrap_or_default(), entry(row, 1)?);
        }
        Ok(sent)
    }

    /// What was being sent when a run ended before its time may have been taken.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn doubt_interrupted(&self) -> Result<usize> {
        Ok(self.connection.execute(
            "UPDATE digests SET state = 'in_doubt', doubts = doubts + 1,
                 reason = 'the run ended before the answer came'
             WHERE state = 'sending'",
            [],
        )?)
    }

    /// What may have been taken, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn doubtful(&self) -> Result<Vec<Doubtful>> {
        let mut items = self
            .connection
            .prepare("SELECT posting, section, what, closes, stage FROM items WHERE digest = ?1")?;
        let mut statement = self.connection.prepare(
            "SELECT id, recipient, day, message_id, message, state, doubts
             FROM digests WHERE state IN ('sending', 'in_doubt', 'held') ORDER BY id",
        )?;
        let mut rows = statement.query([])?;
        let mut doubtful = Vec::new();
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let entries = items.query_map([id], |row| entry(row, 0))?;
            doubtful.push(Doubtful {
                id,
                recipient: row.get(1)?,
                day: row.get(2)?,
                message_id: row.get::<_, Option<_>>(3)?.unwrap_or_default(),
                message: row.get::<_, Option<_>>(4)?.unwrap_or_default(),
                held: row.get_ref(5)?.as_str() == Ok("held"),
                doubts: row.get(6)?,
                entries: entries.collect::<std::result::Result<_, _>>()?,
            });
        }
        Ok(doubtful)
    }

    /// Forgets what nobody took, and enters a plan made anew, in one transaction. Returns the
    /// numbers of the digests, in their order.
    ///
    /// # Errors
    /// When the ledger cannot be written: then nothing of it is entered.
    pub fn plan(&mut self, digests: &[Planned], now: DateTime<Utc>) -> Result<Vec<i64>> {
        let transaction = self.connection.transaction()?;
        transaction.execute("DELETE FROM digests WHERE state IN ('planned', 'deferred')", [])?;
        let ids =
            digests.iter().map(|digest| enter(&transaction, digest, now)).collect::<Result<_>>()?;
        transaction.commit()?;
        Ok(ids)
    }

    /// Enters what happened to digests, in one transaction.
    ///
    /// # Errors
    /// When the ledger cannot be written: then nothing may leave.
    pub fn mark(&mut self, marks: &[(i64, Mark)], now: DateTime<Utc>) -> Result<()> {
        let transaction = self.connection.transaction()?;
        for (id, mark) in marks {
            apply(&transaction, *id, mark, now)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Removes what is so old that it changes no plan any more.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn prune(&mut self, today: NaiveDate) -> Result<()> {
        let oldest = today.checked_sub_days(Days::new(KEPT_DAYS)).unwrap_or(today);
        self.connection.execute(
            "DELETE FROM digests
             WHERE day < ?1 AND state IN ('sent', 'refused', 'abandoned')",
            [oldest],
        )?;
        Ok(())
    }

    /// Makes the backup of the day, in place of an earlier one, and removes old ones.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn back_up(&self, folder: &Path, now: DateTime<Utc>) -> Result<()> {
        backup::make(&self.connection, folder, &now.format("%Y-%m-%d").to_string())
    }
}

/// An entry, from the column of its posting on.
fn entry(row: &rusqlite::Row<'_>, from: usize) -> rusqlite::Result<Entry> {
    Ok(Entry {
        posting: row.get(from)?,
        section: row.get(from + 1)?,
        what: row.get(from + 2)?,
        closes: row.get(from + 3)?,
        stage: row.get(from + 4)?,
    })
}

fn enter(transaction: &Transaction<'_>, digest: &Planned, now: DateTime<Utc>) -> Result<i64> {
    // What was given up on the same day is said anew.
    transaction
        .prepare_cached(
            "DELETE FROM digests WHERE recipient = ?1 AND day = ?2 AND state = 'abandoned'",
        )?
        .execute(params![digest.recipient, digest.day])?;
    transaction
        .prepare_cached(
            "INSERT INTO digests (recipient, day, state, planned_at)
             VALUES (?1, ?2, 'planned', ?3)",
        )?
        .execute(params![digest.recipient, digest.day, now])?;
    let id = transaction.last_insert_rowid();
    let mut statement = transaction.prepare_cached(
        "INSERT INTO items (digest, posting, section, what, closes, stage)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for entry in &digest.entries {
        let Entry { posting, section, what, closes, stage } = entry;
        statement.execute(params![id, posting, section, what, closes, stage])?;
    }
    Ok(id)
}

fn apply(transaction: &Transaction<'_>, id: i64, mark: &Mark, now: DateTime<Utc>) -> Result<()> {
    let state = mark.state();
    match mark {
        Mark::Sending { message_id, message } => transaction
            .prepare_cached(
                "UPDATE digests SET state = ?2, message_id = ?3, message = ?4, reason = NULL,
                     attempts = attempts + 1
                 WHERE id = ?1",
            )?
            .execute(params![id, state, message_id, message])?,
        // The bytes are kept no longer than they may be needed: they are about somebody.
        Mark::Sent | Mark::Abandoned => transaction
            .prepare_cached(
                "UPDATE digests SET state = ?2, message = NULL, settled_at = ?3 WHERE id = ?1",
            )?
            .execute(params![id, state, now])?,
        // What may have been taken before is not forgotten because it is not taken now.
        Mark::Deferred(reason) => transaction
            .prepare_cached(
                "UPDATE digests SET settled_at = ?3, reason = ?4,
                     state = CASE WHEN doubts > 0 THEN 'in_doubt' ELSE ?2 END,
                     message = CASE WHEN doubts > 0 THEN message END
                 WHERE id = ?1",
            )?
            .execute(params![id, state, now, reason])?,
        Mark::Refused { reason, address } => transaction
            .prepare_cached(
                "UPDATE digests SET state = ?2, message = NULL, settled_at = ?3, reason = ?4,
                     counts = ?5
                 WHERE id = ?1",
            )?
            .execute(params![id, state, now, reason, address])?,
        Mark::InDoubt(reason) | Mark::Held(reason) => transaction
            .prepare_cached(
                "UPDATE digests SET state = ?2, reason = ?3, doubts = doubts + 1 WHERE id = ?1",
            )?
            .execute(params![id, state, reason])?,
    };
    Ok(())
}

/// Whether a file is not there, or empty.
fn is_absent(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
