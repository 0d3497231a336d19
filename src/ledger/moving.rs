//! From a file to a server: everything, or nothing.

use rusqlite::types::ValueRef;

use super::database::{Database, Value};
use super::{Error, Ledger, Result};

/// A table: how it is read, how it is written, how many columns that are, and whether its rows are
/// numbered.
struct Table {
    read: &'static str,
    write: &'static str,
    columns: usize,
    numbered: Option<&'static str>,
}

macro_rules! table {
    ($name:literal, $columns:literal, $places:literal, $count:literal) => {
        Table {
            read: concat!("SELECT ", $columns, " FROM ", $name),
            write: concat!("INSERT INTO ", $name, " (", $columns, ") VALUES (", $places, ")"),
            columns: $count,
            numbered: None,
        }
    };
    (numbered $name:literal, $columns:literal, $places:literal, $count:literal) => {
        Table {
            numbered: Some(concat!(
                "SELECT setval(pg_get_serial_sequence('",
                $name,
                "', 'id'), coalesce(max(id), 1)) FROM ",
                $name
            )),
            ..table!($name, $columns, $places, $count)
        }
    };
}

/// All that is kept, in an order in which whatever is named is there already. Who is sending is the
/// server's own.
const TABLES: &[Table] = &[
    table!(numbered "contents", "id, day, fingerprint, entries", "?1, ?2, ?3, ?4", 4),
    table!(numbered "texts", "id, fingerprint, text", "?1, ?2, ?3", 3),
    table!(
        numbered "digests",
        "id, recipient, day, state, message_id, attempts, doubts, counts, reason, planned_at, settled_at, content, edition",
        "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13",
        13
    ),
    table!("addressees", "digest, email, name, language, subscribed", "?1, ?2, ?3, ?4, ?5", 5),
    table!("messages", "digest, own, shared", "?1, ?2, ?3", 3),
    table!(
        numbered "runs",
        "id, started_at, ended_at, planned, sent, deferred, refused, in_doubt, error",
        "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9",
        9
    ),
    table!("secrets", "name, value", "?1, ?2", 2),
    table!("keys", "id, value, since", "?1, ?2, ?3", 3),
    table!("requests", "recipient, email, wishes, asked_at, mailed_at", "?1, ?2, ?3, ?4, ?5", 5),
    table!(
        "subscribers",
        "recipient, email, wishes, source, asked_at, confirmed_at",
        "?1, ?2, ?3, ?4, ?5, ?6",
        6
    ),
    table!(numbered "returned", "id, recipient, kind, day, reason", "?1, ?2, ?3, ?4, ?5", 5),
    table!("suppressions", "recipient, reason, since", "?1, ?2, ?3", 3),
    table!("plans", "day, sender", "?1, ?2", 2),
];

impl Ledger {
    /// Copies everything from a file to a server on which there is nothing yet. Returns how many rows
    /// that were; `None` when there is something, and nothing is copied.
    ///
    /// # Errors
    /// When one cannot be read or the other written: then nothing is there afterwards.
    pub fn copy_to(&self, server: &mut Self) -> Result<Option<usize>> {
        let Some(file) = self.database.file() else { return Err(Error::Elsewhere) };
        let transaction = server.database.begin()?;
        let there: i64 = transaction.value(
            "SELECT (SELECT count(*) FROM digests) + (SELECT count(*) FROM subscribers)
                 + (SELECT count(*) FROM suppressions) + (SELECT count(*) FROM requests)",
            &[],
        )?;
        if there > 0 {
            return Ok(None);
        }
        // Those were made when the tables were; links and pseudonyms are made with the file's.
        transaction.batch("DELETE FROM secrets; DELETE FROM keys")?;
        let mut rows = 0;
        for table in TABLES {
            rows += copy(file, &transaction, table)?;
        }
        transaction.commit()?;
        Ok(Some(rows))
    }
}

fn copy(file: &rusqlite::Connection, server: &Database, table: &Table) -> Result<usize> {
    let mut statement = file.prepare(table.read)?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let mut values = Vec::with_capacity(table.columns);
        for column in 0..table.columns {
            values.push(match row.get_ref(column)? {
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Blob(bytes) => Value::Bytes(bytes),
                ValueRef::Text(text) => Value::Text(
                    std::str::from_utf8(text)
                        .map_err(|_| Error::Damaged("a text in it is none".to_owned()))?,
                ),
                ValueRef::Null | ValueRef::Real(_) => Value::Null,
            });
        }
        server.execute(table.write, &values)?;
        count += 1;
    }
    if let Some(numbered) = table.numbered {
        server.value::<i64>(numbered, &[])?;
    }
    Ok(count)
}
