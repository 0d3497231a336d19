//! What came back: messages that could not be delivered (RFC 3464), and complaints (RFC 5965).

use chrono::{DateTime, NaiveDate, Utc};

use super::database::{json, values};
use super::{Ledger, Reason, Result};

/// On how many days something has to be said of an address, where nothing proves that the message
/// was ours.
const UNPROVEN: u32 = 3;
/// On how many days an address may be out of order before nobody writes to it any more.
const TEMPORARY: u32 = 10;

/// What was said of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// It took nothing, and may later.
    Temporary,
    /// It takes nothing.
    Permanent,
    /// Its owner complained.
    Complaint,
}

impl Returned {
    fn as_str(self) -> &'static str {
        match self {
            Self::Temporary => "temporary",
            Self::Permanent => "permanent",
            Self::Complaint => "complaint",
        }
    }
}

impl Ledger {
    /// Enters what was said of an address on a day, and from when on nobody writes to it any more.
    /// `proven` when the message that it is about was certainly ours: anybody can write such a
    /// report. Returns why nobody writes to the address from now on, if that is so.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn returned(
        &mut self,
        recipient: &str,
        kind: Returned,
        proven: bool,
        reason: &str,
        (day, now): (NaiveDate, DateTime<Utc>),
    ) -> Result<Option<Reason>> {
        if self.is_forgotten(recipient)? {
            return Ok(None);
        }
        self.database.execute(
            "INSERT INTO returned (recipient, kind, day, reason) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
            values![recipient, kind.as_str(), day, reason],
        )?;
        // What was taken in between, and of which nothing came back before the next, shows that the
        // address works.
        // What proves nothing counts together, whatever it says.
        let days: u32 = self.database.value(
            "SELECT count(DISTINCT day) FROM returned WHERE recipient = ?1
                 AND (kind = ?2 OR (?2 <> 'temporary' AND kind <> 'temporary')) AND day > coalesce((
                 SELECT max(day) FROM digests WHERE recipient = ?1 AND state = 'sent'
                     AND NOT EXISTS (SELECT 1 FROM returned AS back
                         WHERE back.recipient = ?1 AND back.day >= digests.day
                             AND back.day < coalesce((SELECT min(day) FROM digests AS next
                                 WHERE next.recipient = ?1 AND next.state = 'sent'
                                     AND next.day > digests.day), '9999'))), '')",
            values![recipient, kind.as_str()],
        )?;
        let suppressed = match kind {
            // Who complained is not even written to when somebody enters the address again: nobody can do
            // that to another.
            Returned::Complaint if proven => Some(Reason::Complained),
            Returned::Permanent if proven => Some(Reason::Bounced),
            Returned::Complaint | Returned::Permanent if days >= UNPROVEN => Some(Reason::Bounced),
            Returned::Temporary if days >= TEMPORARY => Some(Reason::Bounced),
            _ => None,
        };
        let Some(reason) = suppressed else { return Ok(None) };
        Ok(self.suppress(recipient, reason, now)?.then_some(reason))
    }

    /// Whether a digest was ever planned for somebody.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn knows(&self, recipient: &str) -> Result<bool> {
        let query = "SELECT 1 FROM digests WHERE recipient = ?1 LIMIT 1";
        Ok(self.database.row(query, values![recipient], |_| Ok(()))?.is_some())
    }

    /// To whom a message with one of these ids was sent, if we sent one.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn recipient_of(&self, message_ids: &[&str]) -> Result<Option<String>> {
        if message_ids.is_empty() {
            return Ok(None);
        }
        let query = self.database.pick(
            "SELECT recipient FROM digests
             WHERE message_id IN (SELECT value FROM json_each(?1)) ORDER BY id DESC LIMIT 1",
            "SELECT recipient FROM digests
             WHERE message_id IN (SELECT jsonb_array_elements_text(?1::TEXT::JSONB))
             ORDER BY id DESC LIMIT 1",
        );
        self.database.row(query, values![&json(&message_ids)], |row| row.get(0))
    }
}
