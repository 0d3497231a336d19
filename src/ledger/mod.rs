//! The ledger: what was planned and what was sent, in SQLite, written before anything leaves.

use std::fs;
use std::io;
use std::path::Path;

use chrono::{DateTime, NaiveDate, Utc};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::reminders::Sent;

/// The statements that bring a ledger from each version to the next.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE digests (
        id INTEGER PRIMARY KEY,
        recipient TEXT NOT NULL,
        day TEXT NOT NULL,
        message_id TEXT NOT NULL,
        message BLOB NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('planned', 'sending', 'sent')),
        planned_at TEXT NOT NULL,
        sent_at TEXT,
        UNIQUE (recipient, day)
    ) STRICT;
    CREATE TABLE items (
        digest INTEGER NOT NULL REFERENCES digests (id) ON DELETE CASCADE,
        posting TEXT NOT NULL,
        closes TEXT NOT NULL,
        stage INTEGER NOT NULL,
        PRIMARY KEY (digest, posting)
    ) STRICT;
"];

/// Why the ledger cannot be used. Nothing is sent then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot use the ledger: {0}")]
    Io(#[from] io::Error),
    /// SQLite refused.
    #[error("cannot use the ledger: {0}")]
    Database(#[from] rusqlite::Error),
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

/// The result of an operation on the ledger.
pub type Result<T> = std::result::Result<T, Error>;

/// The ledger of one site.
pub struct Ledger {
    connection: Connection,
}

/// A digest as it is entered: the message is complete before anything is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The recipient's key.
    pub recipient: String,
    /// The day that it is sent on.
    pub day: NaiveDate,
    /// The message's id.
    pub message_id: String,
    /// The message, to the byte.
    pub message: Vec<u8>,
    /// What it reminds of: posting's id, closing date, stage.
    pub items: Vec<(String, String, u16)>,
}

/// A digest that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
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
    /// Whether it was being sent when a run ended.
    pub begun: bool,
}

impl Ledger {
    /// Opens the ledger, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be read and written.
    pub fn open(folder: &Path) -> Result<Self> {
        private_folder(folder)?;
        let path = folder.join("ledger.sqlite3");
        // SQLite gives its own files the permissions of the database.
        private_file(&path)?;
        Self::with(Connection::open(&path)?)
    }

    /// A ledger that is read only, for what must write nothing. `None` where there is none yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open_to_read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("ledger.sqlite3");
        if !path.exists() {
            return Ok(None);
        }
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(&path, flags)?;
        let known: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((known > 0).then_some(Self { connection }))
    }

    /// A ledger in memory, for tests.
    ///
    /// # Errors
    /// When `SQLite` refuses.
    pub fn in_memory() -> Result<Self> {
        Self::with(Connection::open_in_memory()?)
    }

    fn with(mut connection: Connection) -> Result<Self> {
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        // One run at a time writes, and a reader leaves no files of its own behind.
        connection.pragma_update(None, "journal_mode", "DELETE")?;
        // What is committed is on the disk: a mark that is lost would send a mail twice.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let versions: Vec<(u32, &str)> = (1..).zip(MIGRATIONS.iter().copied()).collect();
        let known = versions.last().map_or(0, |(version, _)| *version);
        if found > known {
            return Err(Error::TooNew { found, known });
        }
        for (version, migration) in versions.into_iter().filter(|(version, _)| *version > found) {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()?;
        }
        Ok(Self { connection })
    }

    /// Everything that was sent, or may have been.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn sent(&self) -> Result<Sent> {
        let mut sent = Sent::default();
        let mut statement = self.connection.prepare(
            "SELECT recipient, day, posting, closes, stage
             FROM items JOIN digests ON digests.id = items.digest
             WHERE digests.state <> 'planned'",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (recipient, day): (String, NaiveDate) = (row.get(0)?, row.get(1)?);
            let (posting, closes): (String, String) = (row.get(2)?, row.get(3)?);
            sent.add(&recipient, day, &posting, &closes, row.get(4)?);
        }
        Ok(sent)
    }

    /// Forgets what was planned and never begun to be sent: it is planned anew, from what is open
    /// now, for those who are on the list now.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn forget_planned(&self) -> Result<usize> {
        Ok(self.connection.execute("DELETE FROM digests WHERE state = 'planned'", [])?)
    }

    /// Enters a whole plan, or nothing of it.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn plan(&mut self, digests: &[Planned], now: DateTime<Utc>) -> Result<()> {
        let transaction = self.connection.transaction()?;
        for digest in digests {
            enter(&transaction, digest, now)?;
        }
        Ok(transaction.commit()?)
    }

    /// What is planned, or was being sent when a run ended.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn waiting(&self) -> Result<Vec<Waiting>> {
        let mut statement = self.connection.prepare(
            "SELECT id, recipient, day, message_id, message, state = 'sending' FROM digests
             WHERE state IN ('planned', 'sending') ORDER BY id",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Waiting {
                id: row.get(0)?,
                recipient: row.get(1)?,
                day: row.get(2)?,
                message_id: row.get(3)?,
                message: row.get(4)?,
                begun: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Marks a digest before its first byte leaves.
    ///
    /// # Errors
    /// When the ledger cannot be written: then nothing may leave.
    pub fn sending(&self, id: i64) -> Result<()> {
        self.connection.execute("UPDATE digests SET state = 'sending' WHERE id = ?1", [id])?;
        Ok(())
    }

    /// Takes the mark back: it is certain that nothing left.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn not_sent(&self, id: i64) -> Result<()> {
        self.connection.execute("UPDATE digests SET state = 'planned' WHERE id = ?1", [id])?;
        Ok(())
    }

    /// Marks a digest as sent.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn mark_sent(&self, id: i64, now: DateTime<Utc>) -> Result<()> {
        self.connection.execute(
            "UPDATE digests SET state = 'sent', sent_at = ?2 WHERE id = ?1",
            params![id, now],
        )?;
        Ok(())
    }

    /// The state of a digest, for tests and explanations.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn state(&self, recipient: &str, day: NaiveDate) -> Result<Option<String>> {
        let query = "SELECT state FROM digests WHERE recipient = ?1 AND day = ?2";
        Ok(self
            .connection
            .query_row(query, params![recipient, day], |row| row.get(0))
            .optional()?)
    }
}

fn enter(transaction: &Transaction<'_>, digest: &Planned, now: DateTime<Utc>) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO digests (recipient, day, message_id, message, state, planned_at)
         VALUES (?1, ?2, ?3, ?4, 'planned', ?5)",
        )?
        .execute(params![digest.recipient, digest.day, digest.message_id, digest.message, now])?;
    let id = transaction.last_insert_rowid();
    let mut statement = transaction.prepare_cached(
        "INSERT INTO items (digest, posting, closes, stage) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (posting, closes, stage) in &digest.items {
        statement.execute(params![id, posting, closes, stage])?;
    }
    Ok(())
}

/// Makes a folder that nobody else may read: it holds addresses.
///
/// # Errors
/// When the file system refuses.
pub fn private_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    restrict(folder, 0o700)
}

fn private_file(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().create(true).append(true).open(path)?;
    restrict(path, 0o600)
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(path)?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn restrict(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(recipient: &str, day: &str) -> Planned {
        Planned {
            recipient: recipient.to_owned(),
            day: day.parse().unwrap(),
            message_id: "<x@y>".to_owned(),
            message: b"text".to_vec(),
            items: vec![("tag:a,2021:p".to_owned(), "2021-09-03".to_owned(), 3)],
        }
    }

    #[test]
    fn a_plan_is_entered_as_a_whole_or_not_at_all() {
        let mut ledger = Ledger::in_memory().unwrap();
        let now = DateTime::UNIX_EPOCH;
        assert!(ledger.plan(&[digest("a", "2021-09-01"), digest("a", "2021-09-01")], now).is_err());
        assert!(ledger.waiting().unwrap().is_empty());
        ledger.plan(&[digest("a", "2021-09-01"), digest("b", "2021-09-01")], now).unwrap();
        assert_eq!(ledger.waiting().unwrap().len(), 2);
    }

    #[test]
    fn what_was_begun_stays_and_what_was_not_is_forgotten() {
        let mut ledger = Ledger::in_memory().unwrap();
        let now = DateTime::UNIX_EPOCH;
        let plan =
            [digest("a", "2021-09-01"), digest("b", "2021-09-01"), digest("c", "2021-09-01")];
        ledger.plan(&plan, now).unwrap();
        let waiting = ledger.waiting().unwrap();
        ledger.sending(waiting[0].id).unwrap();
        ledger.sending(waiting[1].id).unwrap();
        ledger.mark_sent(waiting[1].id, now).unwrap();
        assert_eq!(ledger.forget_planned().unwrap(), 1);
        assert_eq!(ledger.state("a", plan[0].day).unwrap().as_deref(), Some("sending"));
        assert_eq!(ledger.state("b", plan[0].day).unwrap().as_deref(), Some("sent"));
        assert_eq!(ledger.state("c", plan[0].day).unwrap(), None);
    }

    #[test]
    fn a_ledger_lasts_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join(".crieur");
        assert!(Ledger::open_to_read(&private).unwrap().is_none());
        Ledger::open(&private)
            .unwrap()
            .plan(&[digest("a", "2021-09-01")], DateTime::UNIX_EPOCH)
            .unwrap();
        assert_eq!(Ledger::open(&private).unwrap().waiting().unwrap().len(), 1);
        assert!(Ledger::open_to_read(&private).unwrap().is_some());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&private), 0o700);
            assert_eq!(mode(&private.join("ledger.sqlite3")), 0o600);
        }
    }

    #[test]
    fn a_ledger_from_the_future_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Ledger::open(folder.path())
            .unwrap()
            .connection
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert!(matches!(Ledger::open(folder.path()), Err(Error::TooNew { found: 99, .. })));
    }
}
