//! The tables of the ledger, and how one of an earlier version is brought up to date.

use std::io;

use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, TransactionBehavior};

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
    // People who join and leave by themselves, what comes back from their servers, and the keys of
    // the links in their mails; several machines that send.
    "
    CREATE TABLE requests (
        recipient TEXT PRIMARY KEY,
        email TEXT NOT NULL,
        wishes TEXT NOT NULL,
        asked_at TEXT NOT NULL,
        mailed_at TEXT
    ) STRICT;
    CREATE TABLE subscribers (
        recipient TEXT PRIMARY KEY,
        email TEXT NOT NULL,
        wishes TEXT NOT NULL,
        source TEXT NOT NULL CHECK (source IN ('form', 'command', 'import', 'list')),
        asked_at TEXT NOT NULL,
        confirmed_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE returned (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        recipient TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('temporary', 'permanent', 'complaint')),
        day TEXT NOT NULL,
        reason TEXT NOT NULL,
        UNIQUE (recipient, kind, day)
    ) STRICT;
    CREATE TABLE new_suppressions (
        recipient TEXT PRIMARY KEY,
        reason TEXT NOT NULL CHECK (reason IN
            ('unsubscribed', 'refused', 'bounced', 'complained', 'forgotten')),
        since TEXT NOT NULL
    ) STRICT;
    INSERT INTO new_suppressions SELECT recipient, reason, since FROM suppressions;
    DROP TABLE suppressions;
    ALTER TABLE new_suppressions RENAME TO suppressions;
    CREATE TABLE keys (id INTEGER PRIMARY KEY, value BLOB NOT NULL, since TEXT NOT NULL) STRICT;
    CREATE TABLE senders (id TEXT PRIMARY KEY, alive_until INTEGER NOT NULL) STRICT;
    ALTER TABLE digests ADD COLUMN sender TEXT;
    ",
    // SQLite makes a table of a list of values, each time that it looks whether one is among them: that
    // cost more than the rest of a change of state. Numbers that were given are not given again.
    "
    CREATE TABLE new_digests (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        recipient TEXT NOT NULL,
        day TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state = 'planned' OR state = 'sending' OR state = 'sent'
            OR state = 'deferred' OR state = 'refused' OR state = 'in_doubt' OR state = 'held'
            OR state = 'abandoned'),
        message_id TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        doubts INTEGER NOT NULL DEFAULT 0,
        counts INTEGER NOT NULL DEFAULT 0,
        reason TEXT,
        planned_at TEXT NOT NULL,
        settled_at TEXT,
        content INTEGER,
        sender TEXT,
        UNIQUE (recipient, day)
    ) STRICT;
    INSERT INTO sqlite_sequence (name, seq)
        SELECT 'new_digests', seq FROM sqlite_sequence WHERE name = 'digests';
    INSERT INTO new_digests (id, recipient, day, state, message_id, attempts, doubts, counts,
            reason, planned_at, settled_at, content, sender)
        SELECT id, recipient, day, state, message_id, attempts, doubts, counts,
            reason, planned_at, settled_at, content, sender
        FROM digests;
    DROP TABLE digests;
    ALTER TABLE new_digests RENAME TO digests;
    CREATE INDEX digests_by_state ON digests (state) WHERE state <> 'sent';
    ",
    // How many digests of the day were given up before this one.
    "ALTER TABLE digests ADD COLUMN edition INTEGER NOT NULL DEFAULT 0;",
    // On which days there was a plan, whether or not anything was due.
    "CREATE TABLE plans (day TEXT PRIMARY KEY, sender TEXT NOT NULL) STRICT;",
];

/// The same tables for a server, which knows no earlier version than the fourth.
const POSTGRES: &str = "
    CREATE TABLE digests (
        id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
        recipient TEXT COLLATE \"C\" NOT NULL,
        day TEXT COLLATE \"C\" NOT NULL,
        state TEXT NOT NULL CHECK (state IN
            ('planned', 'sending', 'sent', 'deferred', 'refused', 'in_doubt', 'held', 'abandoned')),
        message_id TEXT,
        attempts BIGINT NOT NULL DEFAULT 0,
        doubts BIGINT NOT NULL DEFAULT 0,
        counts BIGINT NOT NULL DEFAULT 0,
        reason TEXT,
        planned_at TEXT NOT NULL,
        settled_at TEXT,
        content BIGINT,
        sender TEXT,
        UNIQUE (recipient, day)
    );
    CREATE INDEX digests_by_state ON digests (state, id) WHERE state <> 'sent';
    CREATE INDEX digests_by_message ON digests (message_id);
    CREATE TABLE contents (
        id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
        day TEXT COLLATE \"C\" NOT NULL,
        fingerprint BYTEA NOT NULL,
        entries TEXT NOT NULL,
        UNIQUE (day, fingerprint)
    );
    CREATE TABLE addressees (
        digest BIGINT PRIMARY KEY REFERENCES digests (id) ON DELETE CASCADE,
        email TEXT NOT NULL,
        name TEXT,
        language TEXT,
        subscribed BIGINT NOT NULL
    );
    CREATE TABLE messages (
        digest BIGINT PRIMARY KEY REFERENCES digests (id) ON DELETE CASCADE,
        own BYTEA NOT NULL,
        shared TEXT NOT NULL
    );
    CREATE TABLE texts (
        id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
        fingerprint BYTEA NOT NULL UNIQUE,
        text BYTEA NOT NULL
    );
    CREATE TABLE runs (
        id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
        started_at TEXT NOT NULL,
        ended_at TEXT,
        planned BIGINT NOT NULL DEFAULT 0,
        sent BIGINT NOT NULL DEFAULT 0,
        deferred BIGINT NOT NULL DEFAULT 0,
        refused BIGINT NOT NULL DEFAULT 0,
        in_doubt BIGINT NOT NULL DEFAULT 0,
        error TEXT
    );
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BYTEA NOT NULL);
    CREATE TABLE requests (
        recipient TEXT COLLATE \"C\" PRIMARY KEY,
        email TEXT NOT NULL,
        wishes TEXT NOT NULL,
        asked_at TEXT COLLATE \"C\" NOT NULL,
        mailed_at TEXT
    );
    CREATE TABLE subscribers (
        recipient TEXT COLLATE \"C\" PRIMARY KEY,
        email TEXT NOT NULL,
        wishes TEXT NOT NULL,
        source TEXT NOT NULL CHECK (source IN ('form', 'command', 'import', 'list')),
        asked_at TEXT NOT NULL,
        confirmed_at TEXT NOT NULL
    );
    CREATE TABLE returned (
        id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
        recipient TEXT COLLATE \"C\" NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('temporary', 'permanent', 'complaint')),
        day TEXT COLLATE \"C\" NOT NULL,
        reason TEXT NOT NULL,
        UNIQUE (recipient, kind, day)
    );
    CREATE TABLE suppressions (
        recipient TEXT COLLATE \"C\" PRIMARY KEY,
        reason TEXT NOT NULL CHECK (reason IN
            ('unsubscribed', 'refused', 'bounced', 'complained', 'forgotten')),
        since TEXT NOT NULL
    );
    CREATE TABLE keys (id BIGINT PRIMARY KEY, value BYTEA NOT NULL, since TEXT NOT NULL);
    CREATE TABLE senders (id TEXT PRIMARY KEY, alive_until BIGINT NOT NULL);
    CREATE TABLE plans (day TEXT COLLATE \"C\" PRIMARY KEY, sender TEXT NOT NULL);
";

/// The statements that bring a server's tables from each version to the next.
const POSTGRES_MIGRATIONS: &[(u32, &str)] = &[
    (4, POSTGRES),
    (5, ""),
    (6, "ALTER TABLE digests ADD COLUMN edition BIGINT NOT NULL DEFAULT 0"),
    (7, ""),
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
    if found < known {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Somebody else may have been at it: whoever waited for them finds it done.
        let found = version(&transaction)?;
        if found > known {
            return Err(Error::TooNew { found, known });
        }
        for (_, migration) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", known)?;
        transaction.execute(
            "INSERT OR IGNORE INTO secrets (name, value) VALUES ('addresses', ?1)",
            [&secret()?[..]],
        )?;
        transaction.commit()?;
    }
    connection.pragma_update(None, "foreign_keys", "ON")?;
    Ok(connection)
}

/// Brings the tables of a server up to date.
///
/// # Errors
/// When they are from a later version, or cannot be written.
pub(super) fn migrate_server(client: &mut postgres::Client) -> Result<()> {
    let known = known_version();
    let mut transaction = client.transaction()?;
    // Only one machine makes them: the others wait here.
    transaction.batch_execute(
        "SELECT pg_advisory_xact_lock(hashtext('crieur'), hashtext(current_schema()));
         CREATE TABLE IF NOT EXISTS crieur (version BIGINT NOT NULL)",
    )?;
    let found = transaction.query_opt("SELECT version FROM crieur", &[])?;
    let found = match found {
        Some(row) => u32::try_from(row.try_get::<_, i64>(0)?).unwrap_or(u32::MAX),
        None => 0,
    };
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    for (version, migration) in POSTGRES_MIGRATIONS.iter().filter(|(version, _)| *version > found) {
        transaction.batch_execute(migration)?;
        transaction.execute("DELETE FROM crieur", &[])?;
        transaction.execute("INSERT INTO crieur VALUES ($1)", &[&i64::from(*version)])?;
    }
    if found < known {
        transaction.execute(
            "INSERT INTO secrets (name, value) VALUES ('addresses', $1) ON CONFLICT DO NOTHING",
            &[&&secret()?[..]],
        )?;
    }
    Ok(transaction.commit()?)
}

/// The version of a server's tables, where it has any that can be read as they are.
///
/// # Errors
/// When they are of another version.
pub(super) fn readable_version(client: &mut postgres::Client) -> Result<Option<u32>> {
    let known = known_version();
    if client.query_one("SELECT to_regclass('crieur') IS NULL", &[])?.try_get(0)? {
        return Ok(None);
    }
    let Some(row) = client.query_opt("SELECT version FROM crieur", &[])? else { return Ok(None) };
    let found = u32::try_from(row.try_get::<_, i64>(0)?).unwrap_or(u32::MAX);
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    let is_so = |(version, migration): &(u32, &str)| *version <= found || migration.is_empty();
    if !POSTGRES_MIGRATIONS.iter().all(is_so) {
        return Err(Error::Outdated { found, known });
    }
    Ok(Some(found))
}

/// A random number that nobody guesses.
pub(super) fn secret() -> Result<[u8; 32]> {
    let mut secret = [0; 32];
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| io::Error::other("the machine has no random numbers"))?;
    Ok(secret)
}
