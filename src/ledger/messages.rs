//! The bytes of messages that may have been taken. What a message has in common with others is
//! written once, for all of them: to write a list's digests into the ledger costs little more than
//! what differs between them.

use std::collections::HashMap;

use super::database::{Database, values};
use super::{Error, Result};
use crate::mail::Shared;

/// How many texts are known by heart.
const MAX_TEXTS: usize = 10_000;

/// The numbers of texts in the ledger, by their fingerprints.
pub(super) type Texts = HashMap<[u8; 32], i64>;

/// Enters a message, in place of what was there.
pub(super) fn write(
    database: &Database,
    texts: &mut Texts,
    digest: i64,
    message: &[u8],
    shared: &[Shared],
) -> Result<()> {
    let mut own = Vec::with_capacity(4096);
    // Where each text belongs among the message's own bytes, and its number.
    let mut places: Vec<(usize, i64)> = Vec::with_capacity(shared.len());
    let mut end = 0;
    for Shared { range, fingerprint } in shared {
        let (Some(before), Some(text)) =
            (message.get(end..range.start), message.get(range.clone()))
        else {
            continue;
        };
        own.extend_from_slice(before);
        places.push((own.len(), number(database, texts, fingerprint, text)?));
        end = range.end;
    }
    own.extend_from_slice(message.get(end..).unwrap_or_default());
    database.execute(
        "INSERT INTO messages (digest, own, shared) VALUES (?1, ?2, ?3)
         ON CONFLICT (digest) DO UPDATE SET own = excluded.own, shared = excluded.shared",
        values![digest, &own[..], &json(&places)?],
    )?;
    Ok(())
}

/// The number of a text, which is entered where it is not there yet.
fn number(
    database: &Database,
    texts: &mut Texts,
    fingerprint: &[u8; 32],
    text: &[u8],
) -> Result<i64> {
    if let Some(number) = texts.get(fingerprint) {
        return Ok(*number);
    }
    database.execute(
        "INSERT INTO texts (fingerprint, text) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        values![&fingerprint[..], text],
    )?;
    let number =
        database.value("SELECT id FROM texts WHERE fingerprint = ?1", values![&fingerprint[..]])?;
    if texts.len() >= MAX_TEXTS {
        texts.clear();
    }
    texts.insert(*fingerprint, number);
    Ok(number)
}

/// The message of a digest, to the byte; nothing where there is none.
pub(super) fn read(database: &Database, digest: i64) -> Result<Vec<u8>> {
    let found: Option<(Vec<u8>, String)> = database.row(
        "SELECT own, shared FROM messages WHERE digest = ?1",
        values![digest],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let Some((own, places)) = found else { return Ok(Vec::new()) };
    let damaged = || Error::Damaged(damage(digest));
    let places: Vec<(usize, i64)> = serde_json::from_str(&places).map_err(|_| damaged())?;
    let mut message = Vec::new();
    let mut end = 0;
    for (place, number) in places {
        message.extend_from_slice(own.get(end..place).ok_or_else(damaged)?);
        let found: Option<Vec<u8>> =
            database
                .row("SELECT text FROM texts WHERE id = ?1", values![number], |row| row.get(0))?;
        message.extend_from_slice(&found.ok_or_else(damaged)?);
        end = place;
    }
    message.extend_from_slice(own.get(end..).unwrap_or_default());
    Ok(message)
}

/// The digests whose messages cannot be put together any more.
pub(super) fn incomplete(database: &Database) -> Result<Vec<i64>> {
    let digests: Vec<i64> = database.rows("SELECT digest FROM messages", &[], |row| row.get(0))?;
    let mut broken = Vec::new();
    for digest in digests {
        match read(database, digest) {
            Err(Error::Damaged(_)) => broken.push(digest),
            read => drop(read?),
        }
    }
    Ok(broken)
}

/// What is wrong with a message that cannot be put together.
pub(super) fn damage(digest: i64) -> String {
    format!("the message of digest {digest} is incomplete")
}

/// Keeps others from removing texts, until this connection is closed: who holds it writes messages, and
/// knows the numbers of texts by heart.
pub(super) fn hold_texts(database: &Database) -> Result<()> {
    database.execute(
        "SELECT pg_advisory_lock_shared(hashtext('crieur texts'), hashtext(current_schema()))",
        &[],
    )?;
    Ok(())
}

/// Removes the texts of which no message is made any more. Where another machine writes messages, it
/// is left to whoever is the last.
pub(super) fn prune(database: &Database) -> Result<()> {
    if !database.is_shared() {
        return prune_alone(database);
    }
    let is_alone: i64 = database.value(
        "SELECT pg_try_advisory_lock(hashtext('crieur texts'), hashtext(current_schema()))::INT::BIGINT",
        &[],
    )?;
    if is_alone == 0 {
        return Ok(());
    }
    let pruned = prune_alone(database);
    database.execute(
        "SELECT pg_advisory_unlock(hashtext('crieur texts'), hashtext(current_schema()))",
        &[],
    )?;
    pruned
}

fn prune_alone(database: &Database) -> Result<()> {
    let statement = database.pick(
        "DELETE FROM texts WHERE id NOT IN
             (SELECT json_extract(place.value, '$[1]') FROM messages, json_each(shared) AS place)",
        "DELETE FROM texts WHERE id NOT IN
             (SELECT (place ->> 1)::BIGINT
              FROM messages, json_array_elements(shared::JSON) AS place)",
    );
    database.execute(statement, &[])?;
    Ok(())
}

fn json(places: &[(usize, i64)]) -> Result<String> {
    serde_json::to_string(places).map_err(|error| Error::Io(error.into()))
}
