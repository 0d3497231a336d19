//! The ledger: what was planned and what was sent, in `SQLite` or `PostgreSQL`, written before
//! anything leaves.
//!
//! A digest is *planned*, then *sending* (committed with its bytes before the first of them leaves),
//! then *sent*, *deferred* (not taken now), *refused* (for good), or *in doubt*: the connection
//! ended after the message and before the answer (RFC 1047). What is in doubt is sent again, the
//! same to the byte, on the same day; or it is *held* for a person; after its day it is *abandoned*,
//! and what it said is planned anew.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::clock::Deadline;
use crate::private;

/// Whether a digest is this process's own, or nobody's: who held it is gone.
macro_rules! free {
    ($sender:literal) => {
        concat!(
            "(sender IS NULL OR sender = ",
            $sender,
            " OR sender NOT IN (SELECT id FROM senders
                 WHERE alive_until > extract(epoch FROM clock_timestamp())))"
        )
    };
}

/// Whether a digest is to one of the recipients of a list in JSON; an empty one means all.
macro_rules! meant {
    (file $list:literal) => {
        concat!("(", $list, " = '[]' OR recipient IN (SELECT value FROM json_each(", $list, ")))")
    };
    (server $list:literal) => {
        concat!(
            "(",
            $list,
            " = '[]' OR recipient IN (SELECT jsonb_array_elements_text(",
            $list,
            "::TEXT::JSONB)))"
        )
    };
}

/// A statement that ends with a condition, for digests that nobody else holds, to all or to those on a
/// list. In a file, whose sender has no name, nobody does.
macro_rules! unless_held {
    ($database:expr, $statement:literal, $sender:literal) => {
        $database.pick(
            concat!($statement, " AND ", $sender, " = ''"),
            concat!($statement, " AND ", free!($sender)),
        )
    };
    ($database:expr, $statement:literal, $sender:literal, to $list:literal) => {
        $database.pick(
            concat!($statement, " AND ", meant!(file $list), " AND ", $sender, " = ''"),
            concat!($statement, " AND ", meant!(server $list), " AND ", free!($sender)),
        )
    };
}

mod backup;
mod database;
mod digests;
mod error;
mod keys;
mod marks;
mod messages;
mod moving;
mod past;
mod people;
mod planning;
mod returned;
mod schema;
mod server;
mod status;
mod suppressions;

pub use backup::{MOVED, Restored, check, restore};
pub use digests::{Addressee, Content, Doubtful, Waiting};
pub use error::{Error, Result};
pub use marks::Mark;
pub use people::{CONFIRMATION, People, Request, Subscriber};
pub use planning::{Planned, Planning};
pub use returned::Returned;
pub use server::{Address, Heart};
pub use status::{Run, Status, Trouble, Unsent};
pub use suppressions::{Reason, Suppressions};

use database::{Database, values};
use messages::Texts;
use past::Contents;
use schema::{known_version, version};

/// The path of a ledger in a file, in a private folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// The name of the file, in the site's private folder.
const FILE: &str = "ledger.sqlite3";
/// How long digests are remembered: longer than the longest lead, so that no plan needs older ones.
const KEPT_DAYS: u64 = 400;

/// How long to wait for another process that writes.
const PATIENCE: Duration = Duration::from_mins(1);

/// The ledger of one site.
pub struct Ledger {
    database: Database,
    /// What was read lately of what digests say.
    contents: Contents,
    /// What was written lately of what messages have in common.
    texts: Texts,
    /// As whom this process holds digests, where others send, too.
    sender: String,
    /// Where it is, where it is on a server.
    address: Option<Address>,
    /// Where it is, where it is in a file, and which file that was when it was opened.
    place: Option<(PathBuf, (u64, u64))>,
    /// Held as long as it is open.
    _presence: Option<File>,
}

impl Ledger {
    /// Opens the ledger, makes it where there is none, and brings one of an earlier version up to
    /// date, after a backup. Damage shows where it is met: see [`Ledger::refuse_damage`].
    ///
    /// # Errors
    /// When it cannot be read and written.
    pub fn open(folder: &Path) -> Result<Self> {
        private::folder(folder)?;
        let path = folder.join(FILE);
        if is_absent(&path)? && !backup::all(folder)?.is_empty() {
            return Err(Error::Missing);
        }
        // SQLite gives its own files the permissions of the database.
        private::made(&path).map_err(not_ours(&path))?;
        let changed_at = fs::metadata(&path)?.modified()?;
        let connection = Connection::open(&path).map_err(|error| refused(&path, error))?;
        connection.busy_timeout(PATIENCE)?;
        // What is committed is on the disk: a mark that is lost would send a mail twice.
        write_ahead(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let version = version(&connection)?;
        if (1..known_version()).contains(&version) {
            refuse_damage(&connection)?;
            let day = DateTime::<Utc>::from(changed_at).format("%Y-%m-%d");
            backup::make(&connection, folder, &format!("{day}-version-{version}"))?;
        }
        let ledger = Self::of(schema::migrated(connection)?)?;
        Ok(Self { place: identity(&path).map(|identity| (path, identity)), ..ledger })
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
            Connection::open_with_flags(address.as_str(), flags)
        } else {
            Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        };
        let connection = connection.map_err(|error| refused(&path, error))?;
        match version(&connection)? {
            0 => Ok(None),
            found if found == known_version() => Self::of(connection).map(Some),
            // One of an earlier version is brought up to date in memory.
            _ => {
                let mut copy = Connection::open_in_memory()?;
                rusqlite::backup::Backup::new(&connection, &mut copy)?.run_to_completion(
                    1000,
                    Duration::ZERO,
                    None,
                )?;
                Self::of(schema::migrated(copy)?).map(Some)
            }
        }
    }

    /// A ledger in memory.
    ///
    /// # Errors
    /// When `SQLite` refuses.
    pub fn in_memory() -> Result<Self> {
        Self::of(schema::migrated(Connection::open_in_memory()?)?)
    }

    fn of(connection: Connection) -> Result<Self> {
        // Somebody may leave while digests are planned or sent: each waits for the other.
        connection.busy_timeout(PATIENCE)?;
        connection.set_prepared_statement_cache_capacity(64);
        // Whatever a statement is given, it is planned once, and not for each recipient anew.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(Self::in_database(Database::Sqlite(connection)))
    }

    fn in_database(database: Database) -> Self {
        let (contents, texts) = (Contents::default(), Texts::default());
        let (sender, address, place) = (String::new(), None, None);
        Self { database, contents, texts, sender, address, place, _presence: None }
    }

    /// Holds a lock as long as the ledger is open.
    #[must_use]
    pub fn holding(self, presence: File) -> Self {
        Self { _presence: Some(presence), ..self }
    }

    /// Reads all of the file. A large one takes seconds.
    ///
    /// # Errors
    /// When a part of it is not what was written there.
    pub fn refuse_damage(&self) -> Result<()> {
        self.database.file().map_or(Ok(()), refuse_damage)
    }

    /// Waits no longer than this for others who write.
    ///
    /// # Errors
    /// When `SQLite` refuses.
    pub fn be_patient(&self, time: Duration) -> Result<()> {
        self.database.file().map_or(Ok(()), |file| Ok(file.busy_timeout(time)?))
    }

    /// Whether the connection still leads somewhere: a server may have been started anew.
    pub fn is_alive(&self) -> bool {
        match &self.place {
            Some((path, known)) => identity(path).is_some_and(|found| found == *known),
            None if self.database.is_shared() => {
                self.database.value::<i64>("SELECT 1::BIGINT", &[]).is_ok()
            }
            None => true,
        }
    }

    /// A random number of the site's own, from which tokens and pseudonyms of addresses are made.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn secret(&self) -> Result<Vec<u8>> {
        self.database.value("SELECT value FROM secrets WHERE name = 'addresses'", &[])
    }

    /// Whether anybody was ever written to.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn has_digests(&self) -> Result<bool> {
        Ok(self.database.row("SELECT 1 FROM digests LIMIT 1", &[], |_| Ok(()))?.is_some())
    }

    /// Removes what is so old that it changes no plan any more.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn prune(&mut self, today: NaiveDate) -> Result<()> {
        // A clock that is wrong for a run or two must not make everything old.
        let latest = "SELECT min(started_at) FROM
                 (SELECT started_at FROM runs ORDER BY id DESC LIMIT 3) AS latest";
        let started: Option<String> = self.database.value(latest, &[])?;
        let started = started.and_then(|instant| instant.get(..10)?.parse().ok());
        let today = started.map_or(today, |started: NaiveDate| started.min(today));
        let oldest = today.checked_sub_days(Days::new(KEPT_DAYS)).unwrap_or(today);
        self.database.execute(
            "DELETE FROM digests
             WHERE day < ?1 AND state IN ('sent', 'refused', 'abandoned')",
            values![oldest],
        )?;
        self.database.execute(
            "DELETE FROM contents WHERE day < ?1 AND id NOT IN
                 (SELECT content FROM digests WHERE state <> 'sent' AND content IS NOT NULL)",
            values![oldest],
        )?;
        // What came back so long ago counts no more.
        self.database.execute("DELETE FROM returned WHERE day < ?1", values![oldest])?;
        self.texts = Texts::default();
        messages::prune(&self.database)
    }

    /// Makes the backup of the day, in place of an earlier one, and removes old ones.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn back_up(&self, folder: &Path, now: DateTime<Utc>) -> Result<()> {
        // A server has backups of its own.
        self.database
            .file()
            .map_or(Ok(()), |file| backup::make(file, folder, &now.format("%Y-%m-%d").to_string()))
    }
}

/// Writes into a log first. Where several make a new file at once, SQLite does not wait for the others
/// by itself.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let patience = Deadline::after(PATIENCE);
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && patience.left().is_some() =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

/// What tells a file from another one that takes its place.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

fn refuse_damage(file: &Connection) -> Result<()> {
    let damage: String = file.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if damage == "ok" { Ok(()) } else { Err(Error::Damaged(damage)) }
}

/// Why a file cannot be opened: SQLite does not tell whether that will last.
fn refused(path: &Path, error: rusqlite::Error) -> Error {
    match fs::File::open(path) {
        Err(io) if io.kind() == io::ErrorKind::PermissionDenied => not_ours(path)(io).into(),
        _ => error.into(),
    }
}

/// What to do about a ledger that may not be used.
fn not_ours(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| {
        let why = format!(
            "`{path}`: {error}: run crieur as the user who has the site, and give them the file (`chown`, `chmod 600`)"
        );
        io::Error::new(error.kind(), why)
    }
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
