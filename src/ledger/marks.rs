//! What happens to digests, written down before and after it does.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::database::{Database, values};
use super::messages::{self, Texts};
use super::{Ledger, Result};
use crate::mail::Shared;

/// What happened to a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Its first byte is about to leave.
    Sending {
        /// The message's id.
        message_id: String,
        /// The message, to the byte.
        message: Arc<Vec<u8>>,
        /// What other messages have in common with it, from first to last.
        shared: Vec<Shared>,
    },
    /// It was taken.
    Sent,
    /// It was not taken, and may be later.
    Deferred(String),
    /// It was refused for good. Where it was the address that was refused, and not this message,
    /// it counts against the address.
    Refused {
        /// What the server said.
        reason: String,
        /// Whether the address does not exist, or takes nothing from us.
        address: bool,
    },
    /// It may have been taken.
    InDoubt(String),
    /// The same, and a person decides.
    Held(String),
    /// What may have been taken is not sent again.
    Abandoned,
}

impl Mark {
    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::Sending { .. } => "sending",
            Self::Sent => "sent",
            Self::Deferred(_) => "deferred",
            Self::Refused { .. } => "refused",
            Self::InDoubt(_) => "in_doubt",
            Self::Held(_) => "held",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Ledger {
    /// What was being sent when a run ended before its time may have been taken.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn doubt_interrupted(&self) -> Result<usize> {
        let statement = unless_held!(
            self.database,
            "UPDATE digests SET state = 'in_doubt', doubts = doubts + 1, sender = NULL,
                 reason = 'the run ended before the answer came'
             WHERE state <> 'sent' AND state = 'sending'",
            "?1"
        );
        self.database.execute(statement, values![&self.sender])
    }

    /// Enters what happened to digests, in one transaction. Returns the numbers of those that must
    /// not leave, because nobody writes to their recipients any more since they were planned.
    ///
    /// # Errors
    /// When the ledger cannot be written: then nothing may leave.
    pub fn mark(&mut self, marks: &[(i64, Mark)], now: DateTime<Utc>) -> Result<Vec<i64>> {
        let transaction = self.database.begin()?;
        let mut stopped = Vec::new();
        let written = marks.iter().try_for_each(|(id, mark)| {
            let is_entered = apply(&transaction, &mut self.texts, (*id, &self.sender), mark, now)?;
            // What has left already does not come back because somebody was forgotten meanwhile.
            if !is_entered && matches!(mark, Mark::Sending { .. }) {
                stopped.push(*id);
            }
            Ok(())
        });
        if let Err(error) = written.and_then(|()| transaction.commit()) {
            // What was written of it is not there any more.
            self.texts = Texts::default();
            return Err(error);
        }
        Ok(stopped)
    }
}

/// Enters one mark of a sender. `false` when the digest must not leave, or is somebody else's.
pub(super) fn apply(
    database: &Database,
    texts: &mut Texts,
    (id, sender): (i64, &str),
    mark: &Mark,
    now: DateTime<Utc>,
) -> Result<bool> {
    let state = mark.state();
    match mark {
        Mark::Sending { message_id, message, shared } => {
            let statement = database.pick(
                "UPDATE digests SET state = ?2, message_id = ?3, reason = NULL,
                     attempts = attempts + 1
                 WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM suppressions
                         WHERE suppressions.recipient = digests.recipient)
                     AND ?4 = ''",
                // Who was asleep for long holds nothing any more.
                "UPDATE digests SET state = ?2, message_id = ?3, reason = NULL,
                     attempts = attempts + 1
                 WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM suppressions
                         WHERE suppressions.recipient = digests.recipient)
                     AND sender = ?4 AND EXISTS (SELECT 1 FROM senders
                         WHERE id = ?4 AND alive_until > extract(epoch FROM clock_timestamp()))",
            );
            if database.execute(statement, values![id, state, message_id, sender])? == 0 {
                return Ok(false);
            }
            messages::write(database, texts, id, message, shared)?;
        }
        Mark::Sent | Mark::Abandoned => {
            let statement = unless_held!(
                database,
                "UPDATE digests SET state = ?2, settled_at = ?3 WHERE id = ?1",
                "?4"
            );
            if database.execute(statement, values![id, state, now, sender])? == 0 {
                return Ok(false);
            }
            settle(database, id)?;
        }
        // What may have been taken before is not forgotten because it is not taken now.
        Mark::Deferred(reason) => {
            let statement = unless_held!(
                database,
                "UPDATE digests SET settled_at = ?3, reason = ?4,
                     state = CASE WHEN doubts > 0 THEN 'in_doubt' ELSE ?2 END
                 WHERE id = ?1",
                "?5"
            );
            if database.execute(statement, values![id, state, now, reason, sender])? == 0 {
                return Ok(false);
            }
            database.execute(
                "DELETE FROM messages WHERE digest = ?1
                     AND (SELECT doubts FROM digests WHERE id = ?1) = 0",
                values![id],
            )?;
        }
        Mark::Refused { reason, address } => {
            let statement = unless_held!(
                database,
                "UPDATE digests SET settled_at = ?3, reason = ?4,
                     state = CASE WHEN doubts > 0 THEN 'held' ELSE ?2 END,
                     counts = CASE WHEN doubts > 0 THEN counts ELSE ?5 END
                 WHERE id = ?1",
                "?6"
            );
            let values = values![id, state, now, reason, *address, sender];
            if database.execute(statement, values)? == 0 {
                return Ok(false);
            }
            let doubts: u32 =
                database.value("SELECT doubts FROM digests WHERE id = ?1", values![id])?;
            // A server that refuses what it may have taken before says nothing about the first time.
            if doubts == 0 {
                settle(database, id)?;
            }
        }
        Mark::InDoubt(reason) | Mark::Held(reason) => {
            let statement = unless_held!(
                database,
                "UPDATE digests SET state = ?2, reason = ?3, doubts = doubts + 1 WHERE id = ?1",
                "?4"
            );
            return Ok(database.execute(statement, values![id, state, reason, sender])? > 0);
        }
    }
    Ok(true)
}

/// The bytes, and to whom they went, are kept no longer than they may be needed: they are about
/// somebody.
fn settle(database: &Database, id: i64) -> Result<()> {
    database.execute("DELETE FROM messages WHERE digest = ?1", values![id])?;
    database.execute("DELETE FROM addressees WHERE digest = ?1", values![id])?;
    Ok(())
}
