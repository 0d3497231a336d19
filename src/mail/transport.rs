//! The ways by which a message leaves.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use chrono::NaiveDate;

/// Puts each message into a file of its own: for sites that have no mail server yet, and to look
/// at what would be sent. The folder holds addresses: whoever makes it keeps it private.
pub struct Outbox {
    /// The folder.
    pub folder: PathBuf,
}

impl Outbox {
    fn path(&self, day: NaiveDate, message_id: &str) -> PathBuf {
        let id = message_id.trim_start_matches('<').split('@').next().unwrap_or_default();
        self.folder.join(format!("{day}-{id}.eml"))
    }

    /// Whether a message is there: files leave no doubt.
    pub fn has(&self, day: NaiveDate, message_id: &str) -> bool {
        self.path(day, message_id).exists()
    }

    /// Writes a message. Writing it again writes the same file.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn send(&self, day: NaiveDate, message_id: &str, message: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(message)?;
        file.as_file().sync_all()?;
        file.persist(self.path(day, message_id)).map_err(|error| error.error)?;
        // The name is on the disk, too, before the ledger says so.
        fs::File::open(&self.folder)?.sync_all()
    }
}
