//! The ways by which a message leaves.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::ledger::{self, Waiting};

/// Puts each message into a file of its own: for sites that have no mail server yet, and to look
/// at what would be sent.
pub struct Outbox {
    /// The folder.
    pub folder: PathBuf,
}

impl Outbox {
    fn path(&self, waiting: &Waiting) -> PathBuf {
        let id = waiting.message_id.trim_start_matches('<').split('@').next().unwrap_or_default();
        self.folder.join(format!("{}-{id}.eml", waiting.day))
    }

    /// Whether a message is there: files leave no doubt.
    pub fn has(&self, waiting: &Waiting) -> bool {
        self.path(waiting).exists()
    }

    /// Writes a message. Writing it again writes the same file.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn send(&self, waiting: &Waiting) -> io::Result<PathBuf> {
        ledger::private_folder(&self.folder)?;
        let path = self.path(waiting);
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&waiting.message)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        fs::File::open(&self.folder)?.sync_all()?;
        Ok(path)
    }
}
