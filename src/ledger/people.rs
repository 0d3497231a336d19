//! Who subscribes: people who asked and have not confirmed yet, and those who have. What stands here
//! wins over the mailing list in the site's files.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::database::{Database, Row, json, values};
use super::suppressions::{is_suppressed, pseudonym};
use super::{Error, Ledger, Planning, Reason, Result};
use crate::reminders::Recipient;
use crate::reminders::recipients::{Consent, Source, Wishes};

/// How long an address that somebody entered can be confirmed. Nothing more is sent to it meanwhile.
pub const CONFIRMATION: TimeDelta = TimeDelta::hours(48);

/// Somebody who subscribes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Who, and what they want.
    pub recipient: Recipient,
    /// How they came to subscribe.
    pub source: Source,
    /// When they asked to.
    pub asked_at: DateTime<Utc>,
    /// When they consented for the last time.
    pub confirmed_at: DateTime<Utc>,
}

/// Somebody who asked to subscribe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who, and what they want.
    pub recipient: Recipient,
    /// When they asked.
    pub asked_at: DateTime<Utc>,
}

/// The list of those who subscribe by themselves, as a plan reads it.
pub trait People {
    /// Which of these subscribe, by their keys, and how they came to.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    fn subscribing(&self, recipients: &[String]) -> Result<HashMap<String, Source>>;

    /// The next of those who subscribe, after one of them, by their keys.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    fn subscribers(&self, after: &str, limit: usize) -> Result<Vec<Subscriber>>;
}

impl People for Ledger {
    fn subscribing(&self, recipients: &[String]) -> Result<HashMap<String, Source>> {
        subscribing(&self.database, recipients)
    }

    fn subscribers(&self, after: &str, limit: usize) -> Result<Vec<Subscriber>> {
        subscribers(&self.database, after, limit)
    }
}

impl People for Planning<'_> {
    fn subscribing(&self, recipients: &[String]) -> Result<HashMap<String, Source>> {
        subscribing(self.database(), recipients)
    }

    fn subscribers(&self, after: &str, limit: usize) -> Result<Vec<Subscriber>> {
        subscribers(self.database(), after, limit)
    }
}

fn subscribing(database: &Database, recipients: &[String]) -> Result<HashMap<String, Source>> {
    let source = |name: &str| Source::named(name).unwrap_or(Source::Command);
    if database.is_shared() {
        // A server is far away: all are asked for at once.
        let query = "SELECT recipient, source FROM subscribers WHERE recipient IN
             (SELECT jsonb_array_elements_text(?1::TEXT::JSONB))";
        let found = database.rows(query, values![&json(&recipients)], |row| {
            Ok((row.get(0)?, source(row.text(1)?)))
        })?;
        return Ok(found.into_iter().collect());
    }
    let _looking = database.looking()?;
    let mut found = HashMap::new();
    for recipient in recipients {
        let query = "SELECT source FROM subscribers WHERE recipient = ?1";
        let subscribes = database.row(query, values![recipient], |row| Ok(source(row.text(0)?)))?;
        found.extend(subscribes.map(|source| (recipient.clone(), source)));
    }
    Ok(found)
}

fn subscribers(database: &Database, after: &str, limit: usize) -> Result<Vec<Subscriber>> {
    database.rows(
        "SELECT email, wishes, source, asked_at, confirmed_at FROM subscribers
         WHERE recipient > ?1 ORDER BY recipient LIMIT ?2",
        values![after, i64::try_from(limit).unwrap_or(i64::MAX)],
        subscriber,
    )
}

fn subscriber(row: &Row<'_>) -> Result<Subscriber> {
    let source = Source::named(row.text(2)?).unwrap_or(Source::Command);
    let confirmed_at = row.get(4)?;
    let consent = Consent { at: Some(confirmed_at), source: Some(source) };
    let recipient = Recipient { consent, ..recipient(row)? };
    Ok(Subscriber { recipient, source, asked_at: row.get(3)?, confirmed_at })
}

/// The recipient whose address and wishes stand in the first two columns.
fn recipient(row: &Row<'_>) -> Result<Recipient> {
    Ok(read_wishes(row.text(1)?)?.of(row.text(0)?))
}

fn read_wishes(kept: &str) -> Result<Wishes> {
    serde_json::from_str(kept)
        .map_err(|error| Error::Damaged(format!("what a subscriber wishes: {error}")))
}

fn kept(wishes: &Wishes) -> Result<String> {
    serde_json::to_string(wishes).map_err(|error| Error::Io(error.into()))
}

fn wishes(recipient: &Recipient) -> Result<String> {
    kept(&Wishes::from(recipient))
}

fn has_confirmed(database: &Database, recipient: &str, asked_at: DateTime<Utc>) -> Result<bool> {
    let query = "SELECT 1 FROM subscribers WHERE recipient = ?1 AND asked_at = ?2
         AND NOT EXISTS (SELECT 1 FROM suppressions
             WHERE suppressions.recipient = subscribers.recipient)";
    Ok(database.row(query, values![recipient, asked_at], |_| Ok(()))?.is_some())
}

/// Enters a subscriber, in place of what was there.
const PUT: &str = "INSERT INTO subscribers
         (recipient, email, wishes, source, asked_at, confirmed_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
     ON CONFLICT (recipient) DO UPDATE SET email = excluded.email, wishes = excluded.wishes,
         source = excluded.source, asked_at = excluded.asked_at,
         confirmed_at = excluded.confirmed_at";

impl Ledger {
    /// Enters that somebody asks to subscribe, to be confirmed by whoever reads the mails to the
    /// address. `false` when nothing is to be sent: it was asked for a little while ago, or its owner
    /// wants no mail whatever anybody enters.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn ask(&mut self, recipient: &Recipient, now: DateTime<Utc>) -> Result<bool> {
        let key = recipient.key();
        let pseudonym = pseudonym(&self.secret()?, &key);
        let transaction = self.database.begin()?;
        let never = transaction.row(
            "SELECT 1 FROM suppressions WHERE (recipient = ?1 AND reason = ?2)
                 OR (recipient = ?3 AND reason = ?4)",
            values![&key, Reason::Complained.as_str(), &pseudonym, Reason::Forgotten.as_str()],
            |_| Ok(()),
        )?;
        if never.is_some() {
            return Ok(false);
        }
        // What was asked for in vain is forgotten.
        transaction
            .execute("DELETE FROM requests WHERE asked_at <= ?1", values![now - CONFIRMATION])?;
        let wishes = wishes(recipient)?;
        let entered = transaction.execute(
            "INSERT INTO requests (recipient, email, wishes, asked_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
            values![&key, &recipient.email, &wishes, now],
        )?;
        if entered == 0 {
            // Whoever asks again chose again; who confirms sees what was chosen, and has the last word.
            let statement = "UPDATE requests SET wishes = ?2 WHERE recipient = ?1";
            transaction.execute(statement, values![&key, &wishes])?;
        }
        transaction.commit()?;
        Ok(entered > 0)
    }

    /// Forgets who asked and did not confirm in time.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn forget_requests(&self, now: DateTime<Utc>) -> Result<usize> {
        let statement = "DELETE FROM requests WHERE asked_at <= ?1";
        self.database.execute(statement, values![now - CONFIRMATION])
    }

    /// Those who asked and did not confirm yet, by their addresses, with when they asked.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn asked(&self, now: DateTime<Utc>) -> Result<Vec<(String, DateTime<Utc>)>> {
        self.database.rows(
            "SELECT email, asked_at FROM requests WHERE asked_at > ?1 ORDER BY recipient",
            values![now - CONFIRMATION],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    /// Those who asked and were not written to yet, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn requests(&self, now: DateTime<Utc>, limit: usize) -> Result<Vec<Request>> {
        self.database.rows(
            "SELECT email, wishes, asked_at FROM requests
             WHERE mailed_at IS NULL AND asked_at > ?1 ORDER BY asked_at, recipient LIMIT ?2",
            values![now - CONFIRMATION, i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| Ok(Request { recipient: recipient(row)?, asked_at: row.get(2)? }),
        )
    }

    /// Enters, before the first byte leaves, that somebody who asked is written to: at most once,
    /// whatever becomes of it. `false` when somebody else does already.
    ///
    /// # Errors
    /// When the ledger cannot be written: then nothing may leave.
    pub fn mail_request(&mut self, request: &Request, now: DateTime<Utc>) -> Result<bool> {
        let mailed = self.database.execute(
            "UPDATE requests SET mailed_at = ?3
             WHERE recipient = ?1 AND asked_at = ?2 AND mailed_at IS NULL",
            values![&request.recipient.key(), request.asked_at, now],
        )?;
        Ok(mailed > 0)
    }

    /// Takes that back, because it certainly did not leave.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn unmail_request(&mut self, request: &Request) -> Result<()> {
        self.database.execute(
            "UPDATE requests SET mailed_at = NULL WHERE recipient = ?1 AND asked_at = ?2",
            values![&request.recipient.key(), request.asked_at],
        )?;
        Ok(())
    }

    /// What somebody asked for at an instant that can still be confirmed, and is not yet.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn request(
        &self,
        recipient: &str,
        asked_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<Recipient>> {
        if asked_at + CONFIRMATION <= now {
            return Ok(None);
        }
        let query = "SELECT email, wishes FROM requests WHERE recipient = ?1 AND asked_at = ?2";
        self.database.row(query, values![recipient, asked_at], self::recipient)
    }

    /// Whether somebody who asked at an instant has confirmed it, and did not leave since.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn has_confirmed(&self, recipient: &str, asked_at: DateTime<Utc>) -> Result<bool> {
        has_confirmed(&self.database, recipient, asked_at)
    }

    /// Enters that somebody who asked at an instant confirms it: from now on they subscribe, whatever
    /// they said before. `listed` is how they stand in the mailing list, where they do, and `chosen` what
    /// they wish now, where they say so. `false` when nobody asked then, or too long ago.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn confirm(
        &mut self,
        recipient: &str,
        (listed, chosen): (Option<&Recipient>, Option<&Recipient>),
        asked_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let chosen = chosen.map(wishes).transpose()?;
        let transaction = self.database.begin()?;
        let asked = transaction.row(
            "SELECT email, wishes FROM requests WHERE recipient = ?1 AND asked_at = ?2",
            values![recipient, asked_at],
            |row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned())),
        )?;
        let Some((email, wishes)) = asked.filter(|_| asked_at + CONFIRMATION > now) else {
            // Whoever opens the link a second time did it all the first time.
            return has_confirmed(&transaction, recipient, asked_at);
        };
        let wishes = chosen.unwrap_or(wishes);
        let before: Option<String> = transaction.row(
            "SELECT wishes FROM subscribers WHERE recipient = ?1",
            values![recipient],
            |row| row.get(0),
        )?;
        let before = before.map(|before| read_wishes(&before)).transpose()?;
        let wishes = match before.or(listed.map(Wishes::from)) {
            Some(before) => kept(&read_wishes(&wishes)?.keeping(before))?,
            None => wishes,
        };
        let source = Source::Form.as_str();
        transaction.execute(PUT, values![recipient, &email, &wishes, source, asked_at, now])?;
        for statement in [
            "DELETE FROM requests WHERE recipient = ?1",
            "DELETE FROM suppressions WHERE recipient = ?1",
            "DELETE FROM returned WHERE recipient = ?1",
            "UPDATE digests SET counts = 0 WHERE recipient = ?1",
        ] {
            transaction.execute(statement, values![recipient])?;
        }
        transaction.commit()?;
        Ok(true)
    }

    /// Somebody who subscribes, by their key.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn subscriber(&self, recipient: &str) -> Result<Option<Subscriber>> {
        self.database.row(
            "SELECT email, wishes, source, asked_at, confirmed_at FROM subscribers
             WHERE recipient = ?1",
            values![recipient],
            subscriber,
        )
    }

    /// Enters somebody who subscribes, in place of what was known of them.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn put(&mut self, subscriber: &Subscriber) -> Result<()> {
        self.put_all(std::slice::from_ref(subscriber))
    }

    /// Enters several, all or none; but of somebody who asked to be forgotten nothing is written down.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn put_all(&mut self, subscribers: &[Subscriber]) -> Result<()> {
        let secret = self.secret()?;
        let transaction = self.database.begin()?;
        for Subscriber { recipient, source, asked_at, confirmed_at } in subscribers {
            let (key, wishes) = (recipient.key(), wishes(recipient)?);
            if is_suppressed(&transaction, &pseudonym(&secret, &key))? {
                continue;
            }
            let values =
                values![&key, &recipient.email, &wishes, source.as_str(), *asked_at, *confirmed_at];
            transaction.execute(PUT, values)?;
        }
        transaction.commit()
    }

    /// Removes somebody from those who subscribe. `false` when they did not.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn remove(&mut self, recipient: &str) -> Result<bool> {
        let statement = "DELETE FROM subscribers WHERE recipient = ?1";
        Ok(self.database.execute(statement, values![recipient])? > 0)
    }
}
