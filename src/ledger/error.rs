//! Why the ledger cannot be used, and whether the next run may find it otherwise.

use std::io;

use rusqlite::ErrorCode;

use super::database;
use crate::private;

/// Why the ledger cannot be used. Nothing is sent then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot use the ledger: {0}")]
    Io(io::Error),
    /// SQLite refused; it may not the next time.
    #[error("cannot use the ledger: {}{}", .0, perhaps(.0))]
    Database(rusqlite::Error),
    /// The server refused, or is away; it may not be the next time.
    #[error("cannot use the ledger: {}", database::said(.0))]
    Server(postgres::Error),
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
    /// It is on a server, which is looked after with its own tools.
    #[error(
        "the ledger is on a server: look after it with the tools of PostgreSQL (`pg_dump`, `pg_restore`)"
    )]
    Elsewhere,
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
    /// It was written by an earlier version of crieur, and who only reads must not change it.
    #[error(
        "the ledger on the server has version {found}, this crieur reads {known}: the next `crieur remind` brings it up to date"
    )]
    Outdated {
        /// What the server says.
        found: u32,
        /// What we know.
        known: u32,
    },
}

/// What SQLite does not say: it cannot tell a disk that is full from one that is broken.
fn perhaps(error: &rusqlite::Error) -> &'static str {
    let is_disk = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
    if is_disk { "; is the disk full?" } else { "" }
}

impl Error {
    /// Whether the next run may succeed without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            // Something else is where it should be.
            Self::Io(error) => !private::needs_a_person(error),
            Self::Database(error) => !matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly)
            ),
            // Who we are, which database, and what we may do there: that does not change by itself.
            Self::Server(error) => !error.code().is_some_and(|code| {
                let code = code.code();
                code.starts_with("28") || matches!(code, "3D000" | "3F000" | "42501")
            }),
            // The next run that sends brings it up to date.
            Self::Outdated { .. } => true,
            Self::Damaged(_) | Self::Missing | Self::Elsewhere | Self::TooNew { .. } => false,
        }
    }
}

// Each says its cause itself.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
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

impl From<postgres::Error> for Error {
    fn from(error: postgres::Error) -> Self {
        Self::Server(error)
    }
}

/// The result of an operation on the ledger.
pub type Result<T> = std::result::Result<T, Error>;
