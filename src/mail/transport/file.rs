//! Files, for sites that have no mail server yet, and to look at what would be sent.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use chrono::NaiveDate;

use super::{Connection, Delivery, Letter, Transport, Unavailable};
use crate::private;

/// Puts each message into a file of its own. The folder holds addresses: whoever makes it keeps it
/// private.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// The folder.
    pub folder: PathBuf,
}

impl Outbox {
    /// The file of a message. Sending a message again writes the same file.
    pub fn path(&self, day: NaiveDate, message_id: &str) -> PathBuf {
        let id = message_id.trim_start_matches('<').split('@').next().unwrap_or_default();
        self.folder.join(format!("{day}-{id}.eml"))
    }

    /// Whether a message is there: files leave no doubt.
    pub fn has(&self, day: NaiveDate, message_id: &str) -> bool {
        self.path(day, message_id).exists()
    }

    fn write(&self, letter: &Letter<'_>) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(letter.bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.path(letter.day, letter.message_id)).map_err(|error| error.error)?;
        // The name is on the disk, too, before the ledger says so.
        fs::File::open(&self.folder)?.sync_all()
    }
}

impl Transport for Outbox {
    fn connections(&self) -> usize {
        1
    }

    fn connect(&self) -> Result<Box<dyn Connection + '_>, Unavailable> {
        private::folder(&self.folder).map_err(|error| {
            let why = format!("cannot write to `{}`: {error}", self.folder.display());
            if private::needs_a_person(&error) {
                Unavailable::Misconfigured(why)
            } else {
                Unavailable::Away(why)
            }
        })?;
        Ok(Box::new(self.clone()))
    }
}

impl Connection for Outbox {
    fn end(&mut self, letter: &Letter<'_>, _next: Option<&Letter<'_>>) -> Delivery {
        match self.write(letter) {
            Ok(()) => Delivery::Accepted,
            Err(error) => {
                Delivery::Broken(format!("cannot write to `{}`: {error}", self.folder.display()))
            }
        }
    }
}
