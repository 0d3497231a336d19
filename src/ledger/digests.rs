//! Digests: how they are planned, what is left of them to send, and what was said before.
//!
//! Nearly all of them were sent. The others have an index of their own, which SQLite takes only for a
//! statement that says `state <> 'sent'` itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::database::{Database, Row, Transaction, json, values};
use super::suppressions::{self, Suppressions};
use super::{Error, Ledger, Result, messages};
use crate::reminders::{Entry, Past};
use chrono::{DateTime, Days, NaiveDate, Utc};

/// How many contents are known by heart.
const MAX_CONTENTS: usize = 10_000;

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

/// What a digest says, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The entries, in JSON.
    text: String,
    fingerprint: [u8; 32],
}

impl Content {
    /// What stands in a digest.
    pub fn new(entries: &[Entry]) -> Self {
        let text = json(&entries);
        Self { fingerprint: blake3::hash(text.as_bytes()).into(), text }
    }
}

/// To whom a message is written: kept until it is known what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addressee {
    /// The address, as it was written.
    pub email: String,
    /// The person's name.
    pub name: Option<String>,
    /// The language of the mail; the site's by default.
    pub language: Option<String>,
    /// Whether the person is on the mailing list.
    pub subscribed: bool,
}

/// A digest that may leave: planned, not taken yet, or in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number in the ledger.
    pub id: i64,
    /// The recipient's key.
    pub recipient: String,
    /// To whom it is written.
    pub addressee: Addressee,
    /// The number of what it says.
    pub content: i64,
    /// How many digests of the same day were given up before it: they may have arrived, and are other
    /// messages.
    pub edition: u32,
    /// Id and bytes of the message that may have been taken: it leaves again as it is, or not at
    /// all.
    pub message: Option<(String, Vec<u8>)>,
}

/// A digest that may have been taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubtful {
    /// Its number in the ledger.
    pub id: i64,
    /// The recipient's key.
    pub recipient: String,
    /// The day that it was planned for.
    pub day: NaiveDate,
    /// The message's id.
    pub message_id: String,
    /// The message, to the byte.
    pub message: Vec<u8>,
    /// What it says.
    pub entries: Arc<[Arc<Entry>]>,
    /// Whether it is held for a person.
    pub held: bool,
    /// How often it may have been taken.
    pub doubts: u32,
}

/// What digests say, by the number of it.
#[derive(Debug, Default)]
pub(super) struct Contents(RefCell<HashMap<i64, Arc<[Arc<Entry>]>>>);

impl Contents {
    fn read(&self, database: &Database, id: i64) -> Result<Arc<[Arc<Entry>]>> {
        if let Some(entries) = self.0.borrow().get(&id) {
            return Ok(entries.clone());
        }
        // Where a damaged ledger lost it, it counts as nothing: whoever was told is told again, which
        // is better than never.
        let query = "SELECT entries FROM contents WHERE id = ?1";
        let entries: Option<String> = database.row(query, values![id], |row| row.get(0))?;
        let entries = entries.unwrap_or_else(|| "[]".to_owned());
        let entries: Arc<[Arc<Entry>]> = serde_json::from_str::<Vec<Entry>>(&entries)
            .map_err(|error| Error::Damaged(format!("what digests of content {id} say: {error}")))?
            .into_iter()
            .map(Arc::new)
            .collect();
        let mut known = self.0.borrow_mut();
        if known.len() >= MAX_CONTENTS {
            known.clear();
        }
        known.insert(id, entries.clone());
        Ok(entries)
    }

    /// What was said to a recipient, as far as it counts.
    fn past(&self, database: &Database, recipient: &str, until: Until<'_>) -> Result<Past> {
        let mut past = Past::default();
        let contents = database.rows(
            "SELECT day, state, content, id, message_id FROM digests WHERE recipient = ?1
             ORDER BY id",
            values![recipient],
            |row| until.remember(row, &mut past),
        )?;
        self.say(database, contents.into_iter().flatten(), &mut past)?;
        Ok(past)
    }

    /// The same of several recipients, asked for at once: a server is far away.
    fn pasts(
        &self,
        database: &Database,
        recipients: &[&str],
        until: Until<'_>,
    ) -> Result<Vec<Past>> {
        let mut pasts: Vec<Past> = recipients.iter().map(|_| Past::default()).collect();
        let places: HashMap<&str, usize> =
            recipients.iter().enumerate().map(|(at, recipient)| (*recipient, at)).collect();
        let recipients = json(&recipients);
        let said = database.rows(
            "SELECT day, state, content, id, message_id, recipient FROM digests WHERE recipient IN
                 (SELECT jsonb_array_elements_text(?1::TEXT::JSONB)) ORDER BY id",
            values![&recipients],
            |row| {
                let Some(at) = places.get(row.text(5)?) else { return Ok(None) };
                let Some(past) = pasts.get_mut(*at) else { return Ok(None) };
                Ok(until.remember(row, past)?.map(|content| (*at, content)))
            },
        )?;
        for (at, content) in said.into_iter().flatten() {
            if let Some(past) = pasts.get_mut(at) {
                self.say(database, [content], past)?;
            }
        }
        Ok(pasts)
    }

    /// Adds what digests said.
    fn say(
        &self,
        database: &Database,
        contents: impl IntoIterator<Item = Said>,
        past: &mut Past,
    ) -> Result<()> {
        contents.into_iter().try_for_each(|said| {
            let (Said::Certainly(content) | Said::Perhaps(content)) = said;
            for entry in self.read(database, content)?.iter().cloned() {
                match said {
                    Said::Certainly(_) => past.add(entry),
                    Said::Perhaps(_) => past.add_perhaps(entry),
                }
            }
            Ok(())
        })
    }
}

/// The number of what a digest said.
#[derive(Debug, Clone, Copy)]
enum Said {
    /// It counts as said.
    Certainly(i64),
    /// It was given up after it may have arrived: it is said again, and may have been said.
    Perhaps(i64),
}

/// Which digests count as past: their days before one day, and what stood in them before another. A
/// day on which a digest was refused counts as one on which there was one.
#[derive(Debug, Clone, Copy)]
struct Until<'a> {
    days: &'a str,
    content: &'a str,
    /// The numbers of those that count as given up.
    without: &'a [i64],
}

impl Until<'_> {
    /// Remembers the day of a digest, and returns what it said, if that counts. A row has day, state,
    /// content, number and the message's id, if it was about to leave, first.
    fn remember(self, row: &Row<'_>, past: &mut Past) -> Result<Option<Said>> {
        let content: Option<i64> = row.get(2)?;
        if !self.without.is_empty() && self.without.contains(&row.get(3)?) {
            past.add_owed(row.get(0)?);
            return Ok(content.map(Said::Perhaps));
        }
        let (day, state) = (row.text(0)?, row.text(1)?);
        let may_have_arrived = matches!(state, "sending" | "sent" | "in_doubt" | "held");
        if day < self.days && matches!(state, "planned" | "deferred" | "abandoned") {
            past.add_owed(row.get(0)?);
        }
        if day < self.days && (may_have_arrived || state == "refused") {
            past.add_day(row.get(0)?);
        }
        let content = content.filter(|_| day < self.content);
        Ok(match state {
            _ if may_have_arrived => content.map(Said::Certainly),
            "abandoned" if row.get::<Option<String>>(4)?.is_some() => content.map(Said::Perhaps),
            _ => None,
        })
    }
}

/// On a server, waits until nobody plans, and keeps everybody from it until the transaction ends.
pub(super) const WHILE_PLANNING: &str =
    "SELECT pg_advisory_xact_lock(hashtext('crieur plan'), hashtext(current_schema()))";

/// After all days.
const EVER: &str = "9999-12-31";

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
        let version = match self.database.is_shared() {
            true => Some(0),
            false => Some(self.database.value("PRAGMA data_version", &[])?),
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
        let tomorrow = today.succ_opt().unwrap_or(today).to_string();
        let until = Until { days: &tomorrow, content: EVER, without: &[] };
        self.known.past(self.database, recipient, until)
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
        let tomorrow = today.succ_opt().unwrap_or(today).to_string();
        let until = Until { days: &tomorrow, content: EVER, without: &[] };
        self.known.pasts(self.database, recipients, until)
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
        // What was given up on the same day is said anew.
        let recipients: Vec<&str> = digests.iter().map(|digest| &*digest.recipient).collect();
        let given_up: Vec<(String, u32)> = self.database.rows(
            "DELETE FROM digests WHERE day = ?2 AND state = 'abandoned' AND recipient IN
                 (SELECT jsonb_array_elements_text(?1::TEXT::JSONB))
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
            // The one before stays: today may be planned once more.
            self.database.execute(
                "DELETE FROM plans WHERE day < (SELECT max(day) FROM plans WHERE day < ?1)",
                values![self.day],
            )?;
        }
        self.end()?;
        Ok(self.count)
    }
}

impl Ledger {
    /// What was said to a recipient, or may have been, until now.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn past(&self, recipient: &str, today: NaiveDate) -> Result<Past> {
        let tomorrow = today.succ_opt().unwrap_or(today).to_string();
        let until = Until { days: &tomorrow, content: EVER, without: &[] };
        self.contents.past(&self.database, recipient, until)
    }

    /// The same, as if some digests had been given up.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn past_without(&self, recipient: &str, today: NaiveDate, without: &[i64]) -> Result<Past> {
        let tomorrow = today.succ_opt().unwrap_or(today).to_string();
        let until = Until { days: &tomorrow, content: EVER, without };
        self.contents.past(&self.database, recipient, until)
    }

    /// The same, as it was when a day began.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn past_before(&self, recipient: &str, day: NaiveDate) -> Result<Past> {
        let day = day.to_string();
        self.contents.past(
            &self.database,
            recipient,
            Until { days: &day, content: &day, without: &[] },
        )
    }

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

    /// The last day before another for which everybody's digests were planned. The last two are
    /// remembered.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn last_plan(&self, before: NaiveDate) -> Result<Option<NaiveDate>> {
        let query = "SELECT day FROM plans WHERE day < ?1 ORDER BY day DESC LIMIT 1";
        self.database.row(query, values![before], |row| row.get(0))
    }

    /// How many digests of a day wait to be sent, and are nobody else's: to these recipients, or to all.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn free(&self, day: NaiveDate, only: &[String]) -> Result<usize> {
        let statement = unless_held!(
            self.database,
            "SELECT count(*) FROM digests
             WHERE state <> 'sent' AND state IN ('planned', 'deferred') AND day = ?1",
            "?2",
            to "?3"
        );
        let count: u32 =
            self.database.value(statement, values![day, &self.sender, &json(&only)])?;
        Ok(count as usize)
    }

    /// The languages of those whose digests of a day wait to be sent.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn languages(&self, day: NaiveDate) -> Result<Vec<String>> {
        self.database.rows(
            "SELECT DISTINCT language FROM addressees JOIN digests ON digests.id = digest
             WHERE state IN ('planned', 'deferred', 'in_doubt') AND day = ?1
                 AND language IS NOT NULL ORDER BY language",
            values![day],
            |row| row.get(0),
        )
    }

    /// The next digests of a day that may leave, after one of them: of these recipients, or of all.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn waiting(
        &self,
        day: NaiveDate,
        only: &[String],
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Waiting>> {
        let after = match after {
            Some(after) => after,
            // Before them lies all that was sent.
            None => match self.first_waiting()? {
                Some(first) => first - 1,
                None => return Ok(Vec::new()),
            },
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let only = json(&only);
        if self.database.is_shared() {
            // What others look at this very moment will be theirs.
            self.database.execute(
                concat!(
                    "UPDATE digests SET sender = ?4 WHERE id IN
                         (SELECT id FROM digests
                          WHERE id > ?1 AND day = ?2
                              AND state IN ('planned', 'deferred', 'in_doubt')
                              AND ",
                    meant!(server "?5"),
                    " AND ",
                    free!("?4"),
                    " ORDER BY id LIMIT ?3 FOR UPDATE SKIP LOCKED)"
                ),
                values![after, day, limit, &self.sender, &only],
            )?;
        }
        let mut waiting = self.database.rows(
            self.database.pick(
                concat!(
                    "SELECT id, recipient, content, state, message_id, email, name, language,
                         subscribed, edition
                     FROM digests NOT INDEXED LEFT JOIN addressees ON addressees.digest = id
                     WHERE id > ?1 AND day = ?2 AND state IN ('planned', 'deferred', 'in_doubt')
                         AND ?4 = '' AND ",
                    meant!(file "?5"),
                    " ORDER BY id LIMIT ?3"
                ),
                concat!(
                    "SELECT id, recipient, content, state, message_id, email, name, language,
                         subscribed, edition
                     FROM digests LEFT JOIN addressees ON addressees.digest = id
                     WHERE id > ?1 AND day = ?2 AND state IN ('planned', 'deferred', 'in_doubt')
                         AND sender = ?4 AND ",
                    meant!(server "?5"),
                    " ORDER BY id LIMIT ?3"
                ),
            ),
            values![after, day, limit, &self.sender, &only],
            |row| {
                let recipient: String = row.get(1)?;
                let message = match row.text(3)? {
                    "in_doubt" => Some((row.text(4)?.to_owned(), Vec::new())),
                    _ => None,
                };
                let addressee = Addressee {
                    email: row.get::<Option<_>>(5)?.unwrap_or_else(|| recipient.clone()),
                    name: row.get(6)?,
                    language: row.get(7)?,
                    subscribed: row.get::<Option<i64>>(8)? != Some(0),
                };
                let content = row.get::<Option<_>>(2)?.unwrap_or_default();
                let (id, edition) = (row.get(0)?, row.get(9)?);
                Ok(Waiting { id, recipient, addressee, content, edition, message })
            },
        )?;
        for Waiting { id, message, .. } in &mut waiting {
            if let Some((_, bytes)) = message {
                *bytes = messages::read(&self.database, *id)?;
            }
        }
        Ok(waiting)
    }

    fn first_waiting(&self) -> Result<Option<i64>> {
        let query = "SELECT min(id) FROM digests
             WHERE state <> 'sent' AND state IN ('planned', 'deferred', 'in_doubt')";
        self.database.value(query, &[])
    }

    /// What digests with this number say.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn content(&self, id: i64) -> Result<Arc<[Arc<Entry>]>> {
        self.contents.read(&self.database, id)
    }

    /// What may have been taken, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn doubtful(&self) -> Result<Vec<Doubtful>> {
        // What somebody is sending this very moment is not in doubt.
        let statement = self.database.pick(
            "SELECT id, recipient, day, message_id, state, doubts, content
             FROM digests
             WHERE state <> 'sent' AND state IN ('sending', 'in_doubt', 'held') AND ?1 = ''
             ORDER BY id",
            concat!(
                "SELECT id, recipient, day, message_id, state, doubts, content
                 FROM digests
                 WHERE state <> 'sent' AND state IN ('sending', 'in_doubt', 'held') AND ",
                free!("?1"),
                " ORDER BY id"
            ),
        );
        let mut doubtful = self.database.rows(statement, values![&self.sender], |row| {
            let doubtful = Doubtful {
                id: row.get(0)?,
                recipient: row.get(1)?,
                day: row.get(2)?,
                message_id: row.text(3)?.to_owned(),
                message: Vec::new(),
                held: row.text(4)? == "held",
                doubts: row.get(5)?,
                entries: Arc::default(),
            };
            Ok((doubtful, row.get::<Option<i64>>(6)?.unwrap_or_default()))
        })?;
        for (doubtful, content) in &mut doubtful {
            doubtful.message = messages::read(&self.database, doubtful.id)?;
            doubtful.entries = self.content(*content)?;
        }
        Ok(doubtful.into_iter().map(|(doubtful, _)| doubtful).collect())
    }
}
