//! A day's plan: which digests there are, entered before anything leaves.

use std::collections::HashMap;

use chrono::{DateTime, Days, NaiveDate, Utc};

use super::database::{Database, Transaction, json, values};
use super::digests::{Addressee, Content};
use super::past::{Contents, MAX_CONTENTS, Until};
use super::suppressions::{self, Suppressions};
use super::{Ledger, Result};
use crate::reminders::Past;

/// A digest as it is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The recipient's key.
    pub recipient: String,
    /// To whom it is written.
    pub addressee: Addressee,
    /// The day that it is sent on.
    pub day: NaiveDate,
    /// What it says.
    pub content: Content,
}

/// On a server, waits until nobody plans, and keeps everybody from it until the transaction ends.
pub(super) const WHILE_PLANNING: &str =
    "SELECT pg_advisory_xact_lock(hashtext('crieur plan'), hashtext(current_schema()))";

/// A plan that is being made anew. On a server it is one transaction: when it is dropped, nothing of it
/// is entered. In the file, whoever writes keeps everybody else from writing, and people leave while
/// the plan of a long list is made: there each [`Planning::enter_all`] is a transaction, and what a
/// plan leaves that is dropped halfway is given up by the next.
pub struct Planning<'a> {
    database: &'a Database,
    /// What is not entered yet.
    transaction: Option<Transaction<'a>>,
    /// Whom nobody writes to, and the version of the file of which that is known.
    suppressed: Suppressions,
    version: Option<i64>,
    secret: Vec<u8>,
    known: &'a Contents,
    /// The numbers of what was entered, by day and fingerprint.
    contents: HashMap<(NaiveDate, [u8; 32]), i64>,
    now: DateTime<Utc>,
    day: NaiveDate,
    /// As whom this machine plans, on a server.
    sender: &'a str,
    /// Whether it is everybody's, and of the day.
    is_whole: bool,
    count: usize,
}

impl Planning<'_> {
    pub(super) fn database(&self) -> &Database {
        self.database
    }

    /// Begins to write.
    fn begin(&mut self) -> Result<()> {
        if self.transaction.is_none() {
            self.transaction = Some(self.database.begin()?);
        }
        Ok(())
    }

    /// Enters what was written.
    fn end(&mut self) -> Result<()> {
        self.transaction.take().map_or(Ok(()), Transaction::commit)
    }

    /// Looks who left since the last time: nobody can while this is written. On a server somebody may
    /// leave still, and is stopped when their message is about to; who asks to be forgotten waits.
    fn look_who_left(&mut self) -> Result<()> {
        let version = if self.database.is_shared() {
            Some(0)
        } else {
            Some(self.database.value("PRAGMA data_version", &[])?)
        };
        if self.version != version {
            self.suppressed = suppressions::all(self.database, self.secret.clone())?;
            self.version = version;
        }
        Ok(())
    }

    /// What was said to a recipient until now.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn past(&self, recipient: &str, today: NaiveDate) -> Result<Past> {
        self.known.past(self.database, recipient, &Until::now(today))
    }

    /// The same of several recipients.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn pasts(&self, recipients: &[&str], today: NaiveDate) -> Result<Vec<Past>> {
        if !self.database.is_shared() {
            let _looking = self.database.looking()?;
            return recipients.iter().map(|recipient| self.past(recipient, today)).collect();
        }
        self.known.pasts(self.database, recipients, &Until::now(today))
    }

    /// Enters a digest. Returns its number; `None` when there is one for that recipient and day that
    /// somebody is about to send.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn enter(&mut self, digest: &Planned) -> Result<Option<i64>> {
        let Planned { recipient, addressee, day, content } = digest;
        self.begin()?;
        let content = self.content(*day, content)?;
        let insert = |edition: u32| {
            self.database.row(
                "INSERT INTO digests (recipient, day, state, planned_at, content, edition)
                 VALUES (?1, ?2, 'planned', ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING RETURNING id",
                values![recipient, *day, self.now, content, edition],
                |row| row.get(0),
            )
        };
        let mut id = insert(0)?;
        if id.is_none() {
            // What was given up on the same day is said anew.
            let given_up: Option<u32> = self.database.row(
                "DELETE FROM digests WHERE recipient = ?1 AND day = ?2 AND state = 'abandoned'
                 RETURNING edition + (CASE WHEN message_id IS NULL THEN 0 ELSE 1 END)",
                values![recipient, *day],
                |row| row.get(0),
            )?;
            if let Some(edition) = given_up {
                id = insert(edition)?;
            }
        }
        let Some(id) = id else { return Ok(None) };
        let Addressee { email, name, language, subscribed } = addressee;
        self.database.execute(
            "INSERT INTO addressees (digest, email, name, language, subscribed)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            values![id, email, name, language, *subscribed],
        )?;
        self.count += 1;
        Ok(Some(id))
    }

    /// Enters several digests of a day, as [`Planning::enter`] does. Those who left meanwhile get none.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn enter_all(&mut self, digests: &[Planned]) -> Result<()> {
        let Some(day) = digests.first().map(|digest| digest.day) else { return Ok(()) };
        self.begin()?;
        self.look_who_left()?;
        let stays = |digest: &&Planned| !self.suppressed.contains(&digest.recipient);
        let digests: Vec<&Planned> = digests.iter().filter(stays).collect();
        if !self.database.is_shared() {
            digests.into_iter().try_for_each(|digest| self.enter(digest).map(|_| ()))?;
            return self.end();
        }
        // What was given up on the same day is said anew. It may be all of a long plan, where the server
        // remembers none: it must not look for these among those, and so does not see what it looks for.
        let recipients: Vec<&str> = digests.iter().map(|digest| &*digest.recipient).collect();
        let given_up: Vec<(String, u32)> = self.database.rows(
            "DELETE FROM digests WHERE state || '' = 'abandoned' AND id = ANY (ARRAY(
                 SELECT digests.id FROM jsonb_array_elements_text(?1::TEXT::JSONB) AS given
                     JOIN digests ON recipient = given AND day = ?2))
             RETURNING recipient, edition + (CASE WHEN message_id IS NULL THEN 0 ELSE 1 END)",
            values![&json(&recipients), day],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let given_up: HashMap<String, u32> = given_up.into_iter().collect();
        let mut given = Vec::with_capacity(digests.len());
        for Planned { recipient, addressee, content, .. } in digests {
            let Addressee { email, name, language, subscribed } = addressee;
            let content = self.content(day, content)?;
            let subscribed = i64::from(*subscribed);
            let edition = given_up.get(recipient).copied().unwrap_or(0);
            given.push((recipient, content, email, name, language, subscribed, edition));
        }
        let given = json(&given);
        self.count += self.database.execute(
            "WITH given AS (
                 SELECT value->>0 AS recipient, (value->>1)::BIGINT AS content, value->>2 AS email,
                     value->>3 AS name, value->>4 AS language, (value->>5)::BIGINT AS subscribed,
                     (value->>6)::BIGINT AS edition
                 FROM jsonb_array_elements(?1::TEXT::JSONB)
             ), entered AS (
                 INSERT INTO digests (recipient, day, state, planned_at, content, edition)
                     SELECT recipient, ?2, 'planned', ?3, content, edition FROM given
                 ON CONFLICT DO NOTHING RETURNING id, recipient
             )
             INSERT INTO addressees (digest, email, name, language, subscribed)
                 SELECT id, email, name, language, subscribed
                 FROM entered JOIN given USING (recipient)
             ON CONFLICT DO NOTHING",
            values![&given, day, self.now],
        )?;
        Ok(())
    }

    /// The number of what a digest says.
    fn content(&mut self, day: NaiveDate, content: &Content) -> Result<i64> {
        let Content { text, fingerprint } = content;
        let key = (day, *fingerprint);
        if let Some(number) = self.contents.get(&key) {
            return Ok(*number);
        }
        let fingerprint = &fingerprint[..];
        self.database.execute(
            "INSERT INTO contents (day, fingerprint, entries) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
            values![day, fingerprint, text],
        )?;
        let number = self.database.value(
            "SELECT id FROM contents WHERE day = ?1 AND fingerprint = ?2",
            values![day, fingerprint],
        )?;
        if self.contents.len() >= MAX_CONTENTS {
            self.contents.clear();
        }
        self.contents.insert(key, number);
        Ok(number)
    }

    /// Does not let this pass for the plan of its day: it is made before the hour of digests.
    pub fn before_the_hour(&mut self) {
        self.is_whole = false;
    }

    /// Enters that the plan is whole. Returns how many digests it has.
    ///
    /// # Errors
    /// When the ledger cannot be written: then it does not pass for one.
    pub fn commit(mut self) -> Result<usize> {
        if self.is_whole {
            self.begin()?;
            self.database.execute(
                "INSERT INTO plans (day, sender) VALUES (?1, ?2)
                 ON CONFLICT (day) DO UPDATE SET sender = excluded.sender",
                values![self.day, self.sender],
            )?;
            // Those of a week stay, and the one before: who gets a digest a week may be owed one.
            let week_ago = self.day.checked_sub_days(Days::new(7)).unwrap_or(self.day);
            self.database.execute(
                "DELETE FROM plans WHERE day < (SELECT max(day) FROM plans WHERE day < ?1)",
                values![week_ago],
            )?;
        }
        self.end()?;
        Ok(self.count)
    }
}

impl Ledger {
    /// Begins a plan anew, of those with these keys, or of everybody. What nobody took of an earlier one
    /// does not leave any more, and counts as owed for a week. `None` where another machine has planned
    /// the day, lives, and is not through with it: what is left of it can be sent, too.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn plan(
        &mut self,
        day: NaiveDate,
        only: &[String],
        now: DateTime<Utc>,
    ) -> Result<Option<Planning<'_>>> {
        let transaction = self.database.begin()?;
        if self.database.is_shared() {
            // One plans at a time: the others wait here, and find what it planned.
            transaction.batch(WHILE_PLANNING)?;
            let is_planned = transaction.row(
                "SELECT 1 FROM plans JOIN senders ON senders.id = plans.sender
                 WHERE day = ?1 AND plans.sender <> ?2
                     AND alive_until > extract(epoch FROM clock_timestamp())
                     AND EXISTS (SELECT 1 FROM digests WHERE digests.day = ?1
                         AND state IN ('planned', 'deferred', 'sending'))",
                values![day, &self.sender],
                |_| Ok(()),
            )?;
            if is_planned.is_some() {
                return Ok(None);
            }
        }
        // That there was something to say on a day of this week counts in the next plans.
        let week_ago = day.checked_sub_days(Days::new(7)).unwrap_or(day);
        let statement = unless_held!(
            self.database,
            "UPDATE digests SET state = 'abandoned', message_id = NULL, reason = NULL
             WHERE state <> 'sent' AND state IN ('planned', 'deferred')",
            "?1",
            to "?2"
        );
        if transaction.execute(statement, values![&self.sender, &json(&only)])? > 0 {
            for table in ["messages", "addressees"] {
                transaction.batch(&format!(
                    "DELETE FROM {table} WHERE digest IN
                         (SELECT id FROM digests WHERE state <> 'sent' AND state = 'abandoned')"
                ))?;
            }
        }
        transaction.execute(
            "DELETE FROM digests
             WHERE state <> 'sent' AND state = 'abandoned' AND message_id IS NULL
                 AND day <= ?1",
            values![week_ago],
        )?;
        let database = &self.database;
        let secret = self.secret()?;
        let transaction = if database.is_shared() {
            Some(transaction)
        } else {
            transaction.commit()?;
            None
        };
        Ok(Some(Planning {
            database,
            transaction,
            suppressed: Suppressions::default(),
            version: None,
            secret,
            known: &self.contents,
            contents: HashMap::new(),
            now,
            day,
            sender: &self.sender,
            is_whole: only.is_empty(),
            count: 0,
        }))
    }

    /// The days before another for which everybody's digests were planned, in their order: those of the
    /// last week, and the one before, are remembered.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn planned_days(&self, before: NaiveDate) -> Result<Vec<NaiveDate>> {
        let query = "SELECT day FROM plans WHERE day < ?1 ORDER BY day";
        self.database.rows(query, values![before], |row| row.get(0))
    }
}
