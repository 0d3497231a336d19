//! Whom nobody writes to any more, whatever the mailing list says: who left, who asked to be
//! forgotten, and addresses that do not exist.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use chrono::{DateTime, NaiveDate, Utc};
use ring::digest::{SHA256, digest};

use super::database::{Database, json, values};
use super::planning::WHILE_PLANNING;
use super::{Ledger, Result, backup};

/// After how many days of refusals in a row nobody writes to an address any more.
const REFUSALS: u32 = 3;

/// Why nobody writes to an address any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The person said so.
    Unsubscribed,
    /// It was refused too often.
    Refused,
    /// Its server says that it takes nothing, or does not exist.
    Bounced,
    /// The person told their provider that the mail is unwanted.
    Complained,
    /// The person asked to be forgotten.
    Forgotten,
}

impl Reason {
    const ALL: [Self; 5] =
        [Self::Unsubscribed, Self::Refused, Self::Bounced, Self::Complained, Self::Forgotten];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsubscribed => "unsubscribed",
            Self::Refused => "refused",
            Self::Bounced => "bounced",
            Self::Complained => "complained",
            Self::Forgotten => "forgotten",
        }
    }
}

/// The addresses that nobody writes to any more.
#[derive(Debug, Clone, Default)]
pub struct Suppressions {
    recipients: HashSet<String>,
    secret: Vec<u8>,
}

impl Suppressions {
    /// Whether nobody writes to the recipient with this key.
    pub fn contains(&self, recipient: &str) -> bool {
        !self.recipients.is_empty()
            && (self.recipients.contains(recipient)
                || self.recipients.contains(&pseudonym(&self.secret, recipient)))
    }
}

/// What stands for somebody who was forgotten: it tells whether an address is theirs, and not what
/// the address is.
pub(super) fn pseudonym(secret: &[u8], recipient: &str) -> String {
    let hash = digest(&SHA256, &[secret, b"\nforgotten\n", recipient.as_bytes()].concat());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All who are entered.
pub(super) fn all(database: &Database, secret: Vec<u8>) -> Result<Suppressions> {
    let recipients = database.rows("SELECT recipient FROM suppressions", &[], |row| row.get(0))?;
    Ok(Suppressions { recipients: recipients.into_iter().collect(), secret })
}

/// Whether nobody writes to whoever is entered like this.
pub(super) fn is_suppressed(database: &Database, entered: &str) -> Result<bool> {
    let query = "SELECT 1 FROM suppressions WHERE recipient = ?1";
    Ok(database.row(query, values![entered], |_| Ok(()))?.is_some())
}

/// Enters that nobody writes to somebody any more. The first reason stays, but what a person says
/// counts more than what their server said, and a complaint more than anything.
const SUPPRESS: &str = "INSERT INTO suppressions (recipient, reason, since) VALUES (?1, ?2, ?3)
     ON CONFLICT (recipient) DO UPDATE SET reason = excluded.reason, since = excluded.since
     WHERE (excluded.reason = 'unsubscribed' AND suppressions.reason IN ('refused', 'bounced'))
         OR (excluded.reason = 'complained'
             AND suppressions.reason NOT IN ('complained', 'forgotten'))";

impl Ledger {
    /// Lets these digests wait for the next run that were refused, and not because of their addresses: that
    /// does not count against them. Returns how many.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn defer(&mut self, refused: &[i64]) -> Result<u32> {
        let statement = self.database.pick(
            "UPDATE digests SET state = 'deferred', counts = 0 WHERE state = 'refused'
                 AND id IN (SELECT value FROM json_each(?1))",
            "UPDATE digests SET state = 'deferred', counts = 0 WHERE state = 'refused'
                 AND id = ANY (ARRAY(SELECT jsonb_array_elements_text(?1::TEXT::JSONB)::BIGINT))",
        );
        let deferred = self.database.execute(statement, values![&json(&refused)])?;
        Ok(u32::try_from(deferred).unwrap_or(u32::MAX))
    }

    /// The same of those that were refused for their recipients' sake, by a server that took nothing on their
    /// day from any run: it has lost its list of people, and is no witness.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn defer_unknown(&mut self, refused: &[i64]) -> Result<u32> {
        let Some(first) = refused.first() else { return Ok(0) };
        let query = "SELECT 1 FROM digests
             WHERE day = (SELECT day FROM digests WHERE id = ?1) AND state = 'sent' LIMIT 1";
        let is_witness = self.database.row(query, values![*first], |_| Ok(()))?.is_some();
        if is_witness { Ok(0) } else { self.defer(refused) }
    }

    /// The same of what a run had refused that was killed before anybody took anything: it could not know
    /// yet whether that was the server's doing.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn defer_interrupted(&mut self) -> Result<u32> {
        if !self.was_interrupted()? {
            return Ok(0);
        }
        let query = "SELECT id FROM digests WHERE state <> 'sent' AND state = 'refused'
             AND settled_at = (SELECT started_at FROM runs ORDER BY id DESC LIMIT 1)";
        let refused: Vec<i64> = self.database.rows(query, &[], |row| row.get(0))?;
        if refused.len() < 2 { Ok(0) } else { self.defer_unknown(&refused) }
    }

    /// Leaves alone the addresses that were refused time and again and took nothing in between.
    /// Returns their keys. Refusals of a run in which nobody was accepted say nothing about the
    /// addresses, and are not counted.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn suppress_refused(
        &mut self,
        somebody_was_accepted: bool,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>> {
        let transaction = self.database.begin()?;
        if !somebody_was_accepted {
            transaction.execute(
                "UPDATE digests SET counts = 0
                 WHERE state <> 'sent' AND state = 'refused' AND settled_at = ?1",
                values![now],
            )?;
        }
        let recipients: Vec<String> = transaction.rows(
            "SELECT recipient FROM digests AS refused
             WHERE state <> 'sent' AND state = 'refused' AND counts = 1
                 AND NOT EXISTS (SELECT 1 FROM suppressions
                     WHERE suppressions.recipient = refused.recipient)
                 AND day > coalesce((
                     SELECT max(day) FROM digests AS sent
                     WHERE sent.recipient = refused.recipient AND sent.state = 'sent'), '')
             GROUP BY recipient HAVING count(*) >= ?1 ORDER BY recipient",
            values![REFUSALS],
            |row| row.get(0),
        )?;
        for recipient in &recipients {
            transaction.execute(SUPPRESS, values![recipient, Reason::Refused.as_str(), now])?;
        }
        transaction.commit()?;
        Ok(recipients)
    }

    /// The addresses that nobody writes to any more.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn suppressions(&self) -> Result<Suppressions> {
        all(&self.database, self.secret()?)
    }

    /// Why, and since when, nobody writes to a recipient, if nobody does.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn suppressed(&self, recipient: &str) -> Result<Option<(Reason, DateTime<Utc>)>> {
        let pseudonym = pseudonym(&self.secret()?, recipient);
        self.database.row(
            "SELECT reason, since FROM suppressions WHERE recipient IN (?1, ?2)",
            values![recipient, &pseudonym],
            |row| {
                let name = row.text(0)?;
                let reason = Reason::ALL.into_iter().find(|known| known.as_str() == name);
                Ok((reason.unwrap_or(Reason::Unsubscribed), row.get(1)?))
            },
        )
    }

    /// From now on nobody writes to a recipient. `false` when that was so already.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn suppress(
        &mut self,
        recipient: &str,
        reason: Reason,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let pseudonym = pseudonym(&self.secret()?, recipient);
        let transaction = self.database.begin()?;
        if is_suppressed(&transaction, &pseudonym)? {
            return Ok(false);
        }
        let new = transaction.execute(SUPPRESS, values![recipient, reason.as_str(), now])?;
        for statement in [
            "DELETE FROM digests WHERE recipient = ?1 AND state IN ('planned', 'deferred')",
            // Nor is anything waiting to be confirmed.
            "DELETE FROM requests WHERE recipient = ?1",
        ] {
            transaction.execute(statement, values![recipient])?;
        }
        transaction.commit()?;
        Ok(new > 0)
    }

    /// Whether somebody asked to be forgotten: nothing is written down about them again.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn is_forgotten(&self, recipient: &str) -> Result<bool> {
        is_suppressed(&self.database, &pseudonym(&self.secret()?, recipient))
    }

    /// Takes that back. `false` when there is nothing to take back.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn release(&mut self, recipient: &str) -> Result<bool> {
        let pseudonym = pseudonym(&self.secret()?, recipient);
        // The slate is clean.
        for query in [
            "UPDATE digests SET counts = 0 WHERE recipient = ?1",
            "DELETE FROM returned WHERE recipient = ?1",
        ] {
            self.database.execute(query, values![recipient])?;
        }
        let query = "DELETE FROM suppressions WHERE recipient IN (?1, ?2)";
        Ok(self.database.execute(query, values![recipient, &pseudonym])? > 0)
    }

    /// Erases a recipient: every digest, and every backup, which hold the address, too. What is
    /// left is a number that tells the address when it is met again, so that nobody writes to it.
    /// Returns the days and ids of the messages that left, or were about to.
    ///
    /// # Errors
    /// When the ledger or its backups cannot be written.
    pub fn forget(
        &mut self,
        folder: &Path,
        recipient: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<(NaiveDate, String)>> {
        let pseudonym = pseudonym(&self.secret()?, recipient);
        if let Some(file) = self.database.file() {
            file.pragma_update(None, "secure_delete", "ON")?;
        }
        let transaction = self.database.begin()?;
        if self.database.is_shared() {
            // What another machine is planning this moment can be seen, and erased, afterwards.
            transaction.batch(WHILE_PLANNING)?;
        }
        let messages = transaction.rows(
            "SELECT day, message_id FROM digests
             WHERE recipient = ?1 AND message_id IS NOT NULL",
            values![recipient],
            |row| Ok((row.get(0)?, row.text(1)?.to_owned())),
        )?;
        // What servers said of others may name them.
        for query in [
            transaction.pick(
                "UPDATE digests SET reason = NULL WHERE instr(lower(reason), ?1) > 0",
                "UPDATE digests SET reason = NULL WHERE strpos(lower(reason), ?1) > 0",
            ),
            transaction.pick(
                "UPDATE returned SET reason = '' WHERE instr(lower(reason), ?1) > 0",
                "UPDATE returned SET reason = '' WHERE strpos(lower(reason), ?1) > 0",
            ),
        ] {
            transaction.execute(query, values![recipient])?;
        }
        for query in [
            "DELETE FROM digests WHERE recipient = ?1",
            "DELETE FROM suppressions WHERE recipient = ?1",
            "DELETE FROM subscribers WHERE recipient = ?1",
            "DELETE FROM requests WHERE recipient = ?1",
            "DELETE FROM returned WHERE recipient = ?1",
        ] {
            transaction.execute(query, values![recipient])?;
        }
        transaction.execute(SUPPRESS, values![&pseudonym, Reason::Forgotten.as_str(), now])?;
        transaction.commit()?;
        if let Some(file) = self.database.file() {
            // Neither free pages nor the log remember.
            file.execute_batch("VACUUM")?;
            let busy: bool =
                file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            if busy {
                let why = "somebody reads it, and its log still holds the address; try again";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why).into());
            }
        }
        for old in backup::all(folder)?.into_iter().chain(backup::leftovers(folder)?) {
            fs::remove_file(old)?;
        }
        self.back_up(folder, now)?;
        Ok(messages)
    }
}
