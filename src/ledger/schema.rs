//! The tables of the ledger, and how one of an earlier version is brought up to date.

use std::io;

use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::Connection;

use super::{Error, Result};

/// The statements that bring a ledger from each version to the next.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE digests (
        id INTEGER PRIMARY KEY,
        recipient TEXT NOT NULL,
        day TEXT NOT NULL,
        message_id TEXT NOT NULL,
        message BLOB NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('planned', 'sending', 'sent')),
        planned_at TEXT NOT NULL,
        sent_at TEXT,
        UNIQUE (recipient, day)
    ) STRICT;
    CREATE TABLE items (
        digest INTEGER NOT NULL REFERENCES digests (id) ON DELETE CASCADE,
        posting TEXT NOT NULL,
        closes TEXT NOT NULL,
        stage INTEGER NOT NULL,
        PRIMARY KEY (digest, posting)
    ) STRICT;
    ",
    "
    CREATE TABLE new_digests (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        recipient TEXT NOT NULL,
        day TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN
            ('planned', 'sending', 'sent', 'deferred', 'refused', 'in_doubt', 'held', 'abandoned')),
        message_id TEXT,
        message BLOB,
        attempts INTEGER NOT NULL DEFAULT 0,
        doubts INTEGER NOT NULL DEFAULT 0,
        counts INTEGER NOT NULL DEFAULT 0,
        reason TEXT,
        planned_at TEXT NOT NULL,
        settled_at TEXT,
        UNIQUE (recipient, day)
    ) STRICT;
    INSERT INTO new_digests (id, recipient, day, state, message_id, message, planned_at, settled_at)
        SELECT id, recipient, day, state, message_id,
            CASE state WHEN 'sent' THEN NULL ELSE message END, planned_at, sent_at
        FROM digests;
    CREATE TABLE new_items (
        digest INTEGER NOT NULL REFERENCES digests (id) ON DELETE CASCADE,
        posting TEXT NOT NULL,
        section TEXT NOT NULL,
        what TEXT,
        closes TEXT,
        stage INTEGER,
        PRIMARY KEY (digest, posting, section)
    ) STRICT;
    INSERT INTO new_items (digest, posting, section, closes, stage)
        SELECT digest, posting, 'closing', closes, stage FROM items;
    DROP TABLE items;
    DROP TABLE digests;
    ALTER TABLE new_digests RENAME TO digests;
    ALTER TABLE new_items RENAME TO items;
    CREATE INDEX digests_by_state ON digests (state) WHERE state <> 'sent';
    CREATE TABLE suppressions (
        recipient TEXT PRIMARY KEY,
        reason TEXT NOT NULL CHECK (reason IN ('unsubscribed', 'refused', 'forgotten')),
        since TEXT NOT NULL
    ) STRICT;
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        started_at TEXT NOT NULL,
        ended_at TEXT,
        planned INTEGER NOT NULL DEFAULT 0,
        sent INTEGER NOT NULL DEFAULT 0,
        deferred INTEGER NOT NULL DEFAULT 0,
        refused INTEGER NOT NULL DEFAULT 0,
        in_doubt INTEGER NOT NULL DEFAULT 0,
        error TEXT
    ) STRICT;
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    ",
    // What many recipients are told is written once; what only one message needs, apart from what is
    // kept of it.
    "
    CREATE TABLE contents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        day TEXT NOT NULL,
        fingerprint BLOB NOT NULL,
        entries TEXT NOT NULL,
        UNIQUE (day, fingerprint)
    ) STRICT;
    INSERT INTO contents (id, day, fingerprint, entries)
        SELECT digest, day, CAST('digest ' || digest AS BLOB), json_group_array(json_object(
            'posting', posting, 'section', section, 'what', what, 'closes', closes, 'stage', stage))
        FROM items JOIN digests ON digests.id = items.digest GROUP BY digest;
    CREATE TABLE addressees (
        digest INTEGER PRIMARY KEY REFERENCES digests (id) ON DELETE CASCADE,
        email TEXT NOT NULL,
        name TEXT,
        language TEXT,
        subscribed INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE messages (
        digest INTEGER PRIMARY KEY REFERENCES digests (id) ON DELETE CASCADE,
        own BLOB NOT NULL,
        shared TEXT NOT NULL
    ) STRICT;
    CREATE TABLE texts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        fingerprint BLOB NOT NULL UNIQUE,
        text BLOB NOT NULL
    ) STRICT;
    INSERT INTO messages (digest, own, shared)
        SELECT id, message, '[]' FROM digests WHERE message IS NOT NULL;
    ALTER TABLE digests ADD COLUMN content INTEGER;
    UPDATE digests SET content = id WHERE id IN (SELECT id FROM contents);
    ALTER TABLE digests DROP COLUMN message;
    DROP TABLE items;
    ",
];

/// The version of the ledgers that we write.
pub(super) fn known_version() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// The version of a ledger; 0 of an empty file.
pub(super) fn version(connection: &Connection) -> Result<u32> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Brings a ledger up to date.
///
/// # Errors
/// When it is from a later version, or cannot be written.
pub(super) fn migrated(mut connection: Connection) -> Result<Connection> {
    let found = version(&connection)?;
    let known = known_version();
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    // Tables are made anew, and what refers to them must not be lost on the way.
    connection.pragma_update(None, "foreign_keys", "OFF")?;
    for (version, migration) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        if version == known {
            let mut secret = [0; 32];
            SystemRandom::new()
                .fill(&mut secret)
                .map_err(|_| io::Error::other("the machine has no random numbers"))?;
            transaction.execute(
                "INSERT OR IGNORE INTO secrets (name, value) VALUES ('addresses', ?1)",
                [&secret[..]],
            )?;
        }
        transaction.commit()?;
    }
    connection.pragma_update(None, "foreign_keys", "ON")?;
    Ok(connection)
}
