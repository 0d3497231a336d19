//! Copies of the ledger, and what to do with one that is damaged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, types::Value};

use super::database::Database;
use super::schema::{self, known_version, version};
use super::{Error, FILE, Ledger, Result, is_absent, messages, refuse_damage};
use crate::diagnostics::plural;
use crate::private;

/// The file of a ledger that was moved to a server.
pub const MOVED: &str = "ledger.moved.sqlite3";

/// The ledger that is being put together.
const UNFINISHED: &str = "restored.sqlite3";

/// How many backups of each kind are kept.
const KEPT: usize = 5;

/// What was put together from a damaged ledger and its last backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// How many digests the new ledger knows.
    pub digests: u32,
    /// The backup that was used.
    pub backup: Option<PathBuf>,
    /// The newer ones that are damaged themselves.
    pub unusable: Vec<PathBuf>,
    /// Where the damaged file is now.
    pub damaged: Option<PathBuf>,
    /// Whether there is no damaged file, or a part of it could not be read.
    pub incomplete: bool,
}

/// The backups, oldest first: by the days in their names, which stay when files are copied. Those
/// without one are of earlier versions.
pub(super) fn all(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = named(&folder.join("backups"), "ledger-")?;
    found.retain(|path| path.extension().is_some_and(|end| end == "sqlite3"));
    found.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (is_dated(&name), name)
    });
    Ok(found)
}

/// Whether the name of a backup begins with a day.
fn is_dated(name: &str) -> bool {
    name.trim_start_matches("ledger-").starts_with(|c: char| c.is_ascii_digit())
}

/// The damaged ledgers that others were put together from, what was not finished, and the file of a
/// ledger that is on a server now.
pub(super) fn leftovers(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = named(folder, "damaged-")?;
    found.extend(named(folder, "restored")?);
    found.extend(named(folder, MOVED)?);
    Ok(found)
}

fn named(folder: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // An empty one was never finished. A journal holds what its file did.
        let is_whole = entry.metadata()?.len() > 0;
        let ends = [".sqlite3", ".sqlite3-journal"];
        let is_ours = ends.iter().any(|end| name.ends_with(end));
        if name.starts_with(prefix) && is_ours && is_whole {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Makes a backup, in place of one of that name, and removes the oldest.
pub(super) fn make(connection: &Connection, folder: &Path, name: &str) -> Result<()> {
    let backups = folder.join("backups");
    private::folder(&backups)?;
    let path = backups.join(format!("ledger-{name}.sqlite3"));
    // One at a time: whoever comes meanwhile waits, and makes a newer one.
    let turn = private::file(&backups.join("lock"))?;
    turn.lock()?;
    // Whole or not at all: a copy that was cut short is under another name.
    let unfinished = backups.join("unfinished");
    remove(&unfinished)?;
    connection.execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])?;
    private::made(&unfinished)?;
    fs::File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, path)?;
    // What was made before an upgrade is not pushed out by what was made after it.
    let is_of_an_upgrade = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains("version-"))
    };
    let (upgrades, days): (Vec<PathBuf>, Vec<PathBuf>) =
        all(folder)?.into_iter().partition(is_of_an_upgrade);
    for found in [upgrades, days] {
        for old in found.iter().take(found.len().saturating_sub(KEPT)) {
            fs::remove_file(old)?;
        }
    }
    Ok(())
}

/// Looks at every page and every reference. Returns what is wrong, in SQLite's words; nothing when
/// all is well, and `None` when there is no ledger.
///
/// # Errors
/// When it cannot be read at all.
pub fn check(folder: &Path) -> Result<Option<Vec<String>>> {
    let ledger = match Ledger::open_to_read(folder) {
        Ok(Some(ledger)) => ledger,
        Ok(None) => return Ok(None),
        Err(Error::Damaged(why)) => return Ok(Some(vec![why])),
        Err(error) => return Err(error),
    };
    let read = || -> Result<Vec<String>> {
        let mut found: Vec<String> = ledger
            .database
            .rows("PRAGMA integrity_check", &[], |row| row.get(0))?
            .into_iter()
            .filter(|line| line != "ok")
            .collect();
        let lost: Vec<String> =
            ledger.database.rows("PRAGMA foreign_key_check", &[], |row| row.get(0))?;
        found.extend(lost.iter().map(|table| format!("a row of `{table}` belongs to nothing")));
        let unknown: u32 = ledger.database.value(
            "SELECT count(*) FROM digests
             WHERE content IS NOT NULL AND content NOT IN (SELECT id FROM contents)",
            &[],
        )?;
        if unknown > 0 {
            found.push(format!("nobody knows what {} said", plural(unknown as usize, "digest")));
        }
        let broken = messages::incomplete(&ledger.database)?;
        found.extend(broken.iter().map(|digest| messages::damage(*digest)));
        Ok(found)
    };
    match read() {
        Ok(found) => Ok(Some(found)),
        Err(Error::Damaged(why)) => Ok(Some(vec![why])),
        Err(error) => Err(error),
    }
}

/// Puts a new ledger together from the last backup and whatever can be read of the damaged one, so
/// that as little as possible is sent twice. The damaged file is kept under another name.
///
/// # Errors
/// When there is nothing to restore from, or the new ledger cannot be written.
pub fn restore(folder: &Path) -> Result<Restored> {
    private::folder(folder)?;
    let path = folder.join(FILE);
    let mut backups = all(folder)?;
    let is_there = !is_absent(&path)?;
    if !is_there && backups.is_empty() {
        let nothing = "there is neither a ledger nor a backup of one";
        return Err(io::Error::new(io::ErrorKind::NotFound, nothing).into());
    }
    refuse_newer(&path)?;
    let unfinished = folder.join(UNFINISHED);
    let mut unusable = Vec::new();
    let (restored, backup) = loop {
        // Another file's journal would be played back into the new one.
        for end in ["", "-journal", "-wal"] {
            remove(&folder.join(format!("{UNFINISHED}{end}")))?;
        }
        let backup = backups.pop();
        match &backup {
            Some(backup) => drop(fs::copy(backup, &unfinished)?),
            None if !is_there && !unusable.is_empty() => {
                let why = "it is gone, and every backup of it is damaged".to_owned();
                return Err(Error::Damaged(why));
            }
            None => drop(private::file(&unfinished)?),
        }
        match begun(&unfinished) {
            Err(Error::Damaged(_)) if backup.is_some() => unusable.extend(backup),
            begun => break (begun?, backup),
        }
    };
    let restored = Database::Sqlite(restored);
    // Without the file nobody knows what came after the backup.
    let incomplete = !is_there || !salvage(&path, &restored)?;
    let digests = restored.value("SELECT count(*) FROM digests", &[])?;
    drop(restored);
    private::file(&unfinished)?.sync_all()?;
    let mut damaged = None;
    if is_there {
        // Under both names first: at no moment is there no ledger.
        let names = (1_u32..).map(|number| folder.join(format!("damaged-{number}.sqlite3")));
        for aside in names {
            match fs::hard_link(&path, &aside) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                linked => {
                    linked?;
                    damaged = Some(aside);
                    break;
                }
            }
        }
    }
    // Its log belongs to the damaged file; what could be read of it was. The new one must not have it for
    // a moment.
    remove(&folder.join(format!("{FILE}-wal")))?;
    remove(&folder.join(format!("{FILE}-shm")))?;
    fs::rename(&unfinished, &path)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(Restored { digests, backup, unusable, damaged, incomplete })
}

/// A sound ledger of a later version is in need of that version, and of nothing else.
fn refuse_newer(path: &Path) -> Result<()> {
    let found = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(Error::from)
        .and_then(|ledger| version(&ledger));
    match found {
        Ok(found) if found > known_version() => {
            Err(Error::TooNew { found, known: known_version() })
        }
        _ => Ok(()),
    }
}

/// The ledger that others are copied into: a sound copy of a backup, or an empty file.
fn begun(path: &Path) -> Result<Connection> {
    let begun = Connection::open(path)?;
    refuse_damage(&begun)?;
    let begun = schema::migrated(begun)?;
    begun.pragma_update(None, "journal_mode", "DELETE")?;
    begun.pragma_update(None, "synchronous", "FULL")?;
    Ok(begun)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Copies every row that can be read into another ledger. What the damaged one says wins: it is
/// newer. Returns whether all could be read.
fn salvage(damaged: &Path, into: &Database) -> Result<bool> {
    let Some(file) = into.file() else { return Ok(false) };
    let Some(from) = as_of_now(damaged) else { return Ok(false) };
    file.pragma_update(None, "foreign_keys", "OFF")?;
    file.execute_batch("BEGIN")?;
    let mut complete = true;
    for table in [
        "secrets",
        "contents",
        "digests",
        "addressees",
        "texts",
        "messages",
        "suppressions",
        "requests",
        "subscribers",
        "returned",
        "keys",
        "runs",
        "plans",
    ] {
        // From both ends: a page that cannot be read stops a reader, and is only in its way.
        for order in ["", " ORDER BY rowid DESC"] {
            complete &= copy(table, order, &from, file)?;
        }
    }
    file.execute_batch(
        "DELETE FROM addressees WHERE digest NOT IN (SELECT id FROM digests);
         DELETE FROM messages WHERE digest NOT IN (SELECT id FROM digests);",
    )?;
    for digest in messages::incomplete(into)? {
        file.execute("DELETE FROM messages WHERE digest = ?1", [digest])?;
        complete = false;
    }
    file.execute_batch("COMMIT")?;
    file.pragma_update(None, "foreign_keys", "ON")?;
    Ok(complete)
}

/// A damaged ledger, as this version reads it. One of an earlier version is brought up to date beside its
/// place, as far as that goes.
fn as_of_now(damaged: &Path) -> Option<Connection> {
    let from = Connection::open_with_flags(damaged, OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
    match version(&from) {
        Ok(found) if found == known_version() => Some(from),
        Ok(found) if (1..known_version()).contains(&found) => {
            let mut copy = Connection::open_in_memory().ok()?;
            let backup = rusqlite::backup::Backup::new(&from, &mut copy).ok()?;
            backup.run_to_completion(1000, Duration::ZERO, None).ok()?;
            drop(backup);
            schema::migrated(copy).ok()
        }
        _ => None,
    }
}

fn copy(table: &str, order: &str, from: &Connection, into: &Connection) -> Result<bool> {
    let Ok(mut statement) = from.prepare(&format!("SELECT * FROM {table}{order}")) else {
        return Ok(false);
    };
    let width = statement.column_count();
    let marks = vec!["?"; width].join(", ");
    let mut insert = into.prepare(&format!("INSERT OR REPLACE INTO {table} VALUES ({marks})"))?;
    let Ok(mut rows) = statement.query([]) else { return Ok(false) };
    let mut complete = true;
    loop {
        match rows.next() {
            Ok(None) => return Ok(complete),
            Ok(Some(row)) => {
                let values: rusqlite::Result<Vec<Value>> =
                    (0..width).map(|column| row.get(column)).collect();
                let Ok(values) = values else {
                    complete = false;
                    continue;
                };
                match insert.execute(rusqlite::params_from_iter(values)) {
                    Ok(_) => {}
                    // A row that was damaged breaks a rule of the table, and is left behind.
                    Err(error)
                        if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) =>
                    {
                        complete = false;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Err(_) => return Ok(false),
        }
    }
}
