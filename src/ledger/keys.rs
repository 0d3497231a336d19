//! The keys that links in mails are made with. There is a new one now and then; what an old one made
//! goes on to hold, because nobody knows in which mails it stands.

use chrono::{DateTime, TimeDelta, Utc};

use super::database::values;
use super::{Ledger, Result, schema};
use crate::tokens::Keys;

/// For how long new links are made with a key.
const LIFE: TimeDelta = TimeDelta::days(180);

impl Ledger {
    /// The keys to make links with, and to know our own by.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn keys(&self) -> Result<Keys> {
        let keys = self.database.rows("SELECT id, value FROM keys ORDER BY id", &[], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(Keys::new(self.secret()?, keys))
    }

    /// The same, with a new key where the last is old.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn renewed_keys(&mut self, now: DateTime<Utc>) -> Result<Keys> {
        let query = "SELECT max(since), coalesce(max(id), 0) FROM keys";
        let last = self.database.row(query, &[], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (since, number): (Option<DateTime<Utc>>, i64) = last.unwrap_or_default();
        if since.is_none_or(|since| since + LIFE < now) {
            self.database.execute(
                "INSERT INTO keys (id, value, since) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                values![number + 1, &schema::secret()?[..], now],
            )?;
        }
        self.keys()
    }
}
