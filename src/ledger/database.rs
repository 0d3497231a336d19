//! The databases that a ledger can be kept in, behind one set of statements: `SQLite`, in a file, for
//! one machine, and `PostgreSQL`, for several.
//!
//! A statement is written once for both. Its values are numbered (`?1`), numbers have 64 bits, days
//! and instants are texts that sort as they follow each other. Where the two speak differently,
//! [`Database::pick`] takes one of two statements.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error as _;
use std::ops::Deref;

use chrono::{DateTime, NaiveDate, Utc};
use postgres::types::private::BytesMut;
use postgres::types::{IsNull, Type};
use rusqlite::types::{ToSqlOutput, ValueRef};
use serde::Serialize;

use super::{Error, Result};

/// A connection to a database.
pub(super) enum Database {
    /// In a file, or in memory.
    Sqlite(rusqlite::Connection),
    /// On a server.
    Postgres(Box<Server>),
}

/// A connection to a server, with the statements that it knows already.
pub(super) struct Server {
    client: RefCell<postgres::Client>,
    statements: RefCell<HashMap<&'static str, postgres::Statement>>,
}

/// A value for a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Day(NaiveDate),
    Instant(DateTime<Utc>),
}

/// Values of several types, for a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::ledger::database::Value::from($value)),*][..] };
}
pub(super) use values;

/// How an instant is written: instants sort as texts.
const INSTANT: &str = "%F %T%.f%:z";

fn written(instant: DateTime<Utc>) -> String {
    instant.format(INSTANT).to_string()
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Integer(flag.into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<NaiveDate> for Value<'_> {
    fn from(day: NaiveDate) -> Self {
        Self::Day(day)
    }
}

impl From<DateTime<Utc>> for Value<'_> {
    fn from(instant: DateTime<Utc>) -> Self {
        Self::Instant(instant)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        Self::from(text.as_deref())
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Day(day) => ToSqlOutput::Owned(day.to_string().into()),
            Self::Instant(instant) => ToSqlOutput::Owned(written(*instant).into()),
        })
    }
}

impl postgres::types::ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql(kind, out),
            // A text on a server has no NUL in it.
            Self::Text(text) => text.replace('\0', "").to_sql(kind, out),
            Self::Bytes(bytes) => bytes.to_sql(kind, out),
            Self::Day(day) => day.to_string().to_sql(kind, out),
            Self::Instant(instant) => written(*instant).to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    postgres::types::to_sql_checked!();
}

/// A row of an answer.
pub(super) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r postgres::Row),
}

/// What can be read from a row.
pub(super) trait Column: Sized {
    fn read(row: &Row<'_>, at: usize) -> Result<Self>;
}

impl Row<'_> {
    /// The value of a column, counted from 0.
    pub(super) fn get<T: Column>(&self, at: usize) -> Result<T> {
        T::read(self, at)
    }

    /// A text as it stands in the row, without a copy; empty where there is none.
    pub(super) fn text(&self, at: usize) -> Result<&str> {
        match self {
            Self::Sqlite(row) => {
                Ok(row.get_ref(at)?.as_str_or_null().unwrap_or_default().unwrap_or_default())
            }
            Self::Postgres(row) => Ok(row.try_get::<_, Option<&str>>(at)?.unwrap_or_default()),
        }
    }
}

macro_rules! column {
    ($($kind:ty),*) => {$(
        impl Column for $kind {
            fn read(row: &Row<'_>, at: usize) -> Result<Self> {
                match row {
                    Row::Sqlite(row) => Ok(row.get(at)?),
                    Row::Postgres(row) => Ok(row.try_get(at)?),
                }
            }
        }

        impl Column for Option<$kind> {
            fn read(row: &Row<'_>, at: usize) -> Result<Self> {
                match row {
                    Row::Sqlite(row) => Ok(row.get(at)?),
                    Row::Postgres(row) => Ok(row.try_get(at)?),
                }
            }
        }
    )*};
}

column!(i64, String, Vec<u8>);

impl Column for u32 {
    fn read(row: &Row<'_>, at: usize) -> Result<Self> {
        let number = i64::read(row, at)?;
        Self::try_from(number).map_err(|_| Error::Damaged(format!("{number} is no count")))
    }
}

impl Column for NaiveDate {
    fn read(row: &Row<'_>, at: usize) -> Result<Self> {
        let text = row.text(at)?;
        text.parse().map_err(|_| Error::Damaged(format!("`{text}` is no day")))
    }
}

impl Column for DateTime<Utc> {
    fn read(row: &Row<'_>, at: usize) -> Result<Self> {
        let text = row.text(at)?;
        DateTime::parse_from_str(text, INSTANT)
            .map(|instant| instant.to_utc())
            .map_err(|_| Error::Damaged(format!("`{text}` is no instant")))
    }
}

impl Column for Option<DateTime<Utc>> {
    fn read(row: &Row<'_>, at: usize) -> Result<Self> {
        if row.text(at)?.is_empty() { Ok(None) } else { DateTime::read(row, at).map(Some) }
    }
}

impl Database {
    /// One of two statements.
    pub(super) fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    /// Whether others may be at work in it at the same time, on other machines.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// The file, where it is one.
    pub(super) fn file(&self) -> Option<&rusqlite::Connection> {
        match self {
            Self::Sqlite(connection) => Some(connection),
            Self::Postgres(_) => None,
        }
    }

    /// Carries out a statement. Returns how many rows it changed.
    pub(super) fn execute(&self, statement: &'static str, values: &[Value<'_>]) -> Result<usize> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(statement)?;
                Ok(statement.execute(rusqlite::params_from_iter(values))?)
            }
            Self::Postgres(server) => {
                let statement = server.prepare(statement)?;
                let changed =
                    server.client.borrow_mut().execute(&statement, &parameters(values))?;
                Ok(usize::try_from(changed).unwrap_or(usize::MAX))
            }
        }
    }

    /// Asks, and reads every row of the answer.
    pub(super) fn rows<T>(
        &self,
        statement: &'static str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(statement)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                let mut read_rows = Vec::new();
                while let Some(row) = rows.next()? {
                    read_rows.push(read(&Row::Sqlite(row))?);
                }
                Ok(read_rows)
            }
            Self::Postgres(server) => {
                let statement = server.prepare(statement)?;
                let rows = server.client.borrow_mut().query(&statement, &parameters(values))?;
                rows.iter().map(|row| read(&Row::Postgres(row))).collect()
            }
        }
    }

    /// Asks for one row. `None` where there is none.
    pub(super) fn row<T>(
        &self,
        statement: &'static str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(statement)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                rows.next()?.map(|row| read(&Row::Sqlite(row))).transpose()
            }
            Self::Postgres(server) => {
                let statement = server.prepare(statement)?;
                let row = server.client.borrow_mut().query_opt(&statement, &parameters(values))?;
                row.map(|row| read(&Row::Postgres(&row))).transpose()
            }
        }
    }

    /// Asks for one value that there always is.
    pub(super) fn value<T: Column>(
        &self,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<T> {
        let value = self.row(statement, values, |row| row.get(0))?;
        value.ok_or_else(|| Error::Damaged("a row is missing".to_owned()))
    }

    /// Carries out statements without values.
    pub(super) fn batch(&self, statements: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(statements)?),
            Self::Postgres(server) => Ok(server.client.borrow_mut().batch_execute(statements)?),
        }
    }

    /// Begins a transaction: all of it is entered, or nothing.
    pub(super) fn begin(&self) -> Result<Transaction<'_>> {
        // A lock that is asked for later is refused when somebody else has written meanwhile.
        self.batch(self.pick("BEGIN IMMEDIATE", "BEGIN"))?;
        Ok(Transaction { database: self, is_open: true })
    }

    /// Looks at the file for several questions, which is quicker than for each. Nobody is kept from
    /// writing.
    pub(super) fn looking(&self) -> Result<Option<Transaction<'_>>> {
        match self.file() {
            Some(file) if file.is_autocommit() => {
                self.batch("BEGIN")?;
                Ok(Some(Transaction { database: self, is_open: true }))
            }
            _ => Ok(None),
        }
    }
}

impl Server {
    /// Speaks to a server.
    pub(super) fn new(client: postgres::Client) -> Self {
        Self { client: RefCell::new(client), statements: RefCell::default() }
    }

    fn prepare(&self, statement: &'static str) -> Result<postgres::Statement> {
        if let Some(known) = self.statements.borrow().get(statement) {
            return Ok(known.clone());
        }
        let prepared = self.client.borrow_mut().prepare(&statement.replace('?', "$"))?;
        self.statements.borrow_mut().insert(statement, prepared.clone());
        Ok(prepared)
    }
}

fn parameters<'v>(values: &'v [Value<'_>]) -> Vec<&'v (dyn postgres::types::ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn postgres::types::ToSql + Sync)).collect()
}

/// What is entered as a whole. When it is dropped, nothing of it is.
pub(super) struct Transaction<'a> {
    database: &'a Database,
    is_open: bool,
}

impl Transaction<'_> {
    /// Enters it.
    pub(super) fn commit(mut self) -> Result<()> {
        self.database.batch("COMMIT")?;
        self.is_open = false;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // Where that fails, the connection is gone, and the transaction with it.
            let _ = self.database.batch("ROLLBACK");
        }
    }
}

impl Deref for Transaction<'_> {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database
    }
}

/// Several values as one text, for a server that is asked for all of them at once.
pub(super) fn json(value: &impl Serialize) -> String {
    // Texts and numbers always have a form in JSON.
    serde_json::to_string(value).unwrap_or_default()
}

/// What a server said, with what is behind it.
pub(super) fn said(error: &postgres::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        said.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    said
}
