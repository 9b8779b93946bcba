//! One way to talk to SQLite and to PostgreSQL, through sqlx.
//!
//! A statement is one text for both: parameters are `$1`, `$2`, …, values are 64-bit numbers, texts and nothing. What
//! the two do differently (opening, locks, who may write) is said where it is done.
//!
//! [`Work`] is a transaction, or a connection for a single statement. A transaction that is dropped is taken back,
//! also when the future that held it is dropped half-way.
//!
//! Not here: what is in the tables, and when something may be written.

mod open;
mod pool;

use std::ops::ControlFlow;

use futures_util::TryStreamExt as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Database, Postgres, Row as _, SqlSafeStr, Sqlite, Transaction};

pub(crate) use open::{Address, block_on, format, make_private, private_lock, set_format, sqlite_options};
pub(crate) use pool::Pool;

/// A value of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A number.
    Int(i64),
    /// A text, or nothing in a column of texts.
    Text(Option<String>),
    /// Nothing in a column of numbers, or a number.
    MaybeInt(Option<i64>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(value.cast_signed())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::MaybeInt(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl From<&Option<String>> for Value {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

/// The values of a statement, in the order of its parameters.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::db::Value::from($value)),*] };
}
pub(crate) use values;

/// A row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The number in column `at`.
    pub(crate) fn int(&self, at: usize) -> sqlx::Result<i64> {
        match self {
            Self::Sqlite(row) => row.try_get(at),
            Self::Postgres(row) => row.try_get(at),
        }
    }

    /// The number in column `at`, which was written from a `u64`.
    pub(crate) fn number(&self, at: usize) -> sqlx::Result<u64> {
        Ok(self.int(at)?.cast_unsigned())
    }

    /// The number in column `at`, if there is one.
    pub(crate) fn maybe_int(&self, at: usize) -> sqlx::Result<Option<i64>> {
        match self {
            Self::Sqlite(row) => row.try_get(at),
            Self::Postgres(row) => row.try_get(at),
        }
    }

    /// The text in column `at`.
    pub(crate) fn text(&self, at: usize) -> sqlx::Result<String> {
        match self {
            Self::Sqlite(row) => row.try_get(at),
            Self::Postgres(row) => row.try_get(at),
        }
    }

    /// The text in column `at`, if there is one.
    pub(crate) fn maybe_text(&self, at: usize) -> sqlx::Result<Option<String>> {
        match self {
            Self::Sqlite(row) => row.try_get(at),
            Self::Postgres(row) => row.try_get(at),
        }
    }
}

/// A transaction or a connection.
pub(crate) enum Work<'c> {
    SqliteTransaction(Transaction<'c, Sqlite>),
    SqliteConnection(&'c mut SqliteConnection),
    SqlitePooled(PoolConnection<Sqlite>),
    PostgresTransaction(Transaction<'c, Postgres>),
    PostgresPooled(PoolConnection<Postgres>),
}

enum Link<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

impl Work<'_> {
    fn link(&mut self) -> Link<'_> {
        match self {
            Self::SqliteTransaction(transaction) => Link::Sqlite(transaction),
            Self::SqliteConnection(connection) => Link::Sqlite(connection),
            Self::SqlitePooled(connection) => Link::Sqlite(connection),
            Self::PostgresTransaction(transaction) => Link::Postgres(transaction),
            Self::PostgresPooled(connection) => Link::Postgres(connection),
        }
    }

    /// Carries out one statement; gives the number of rows that it changed.
    pub(crate) async fn execute(&mut self, sql: impl SqlSafeStr, values: &[Value]) -> sqlx::Result<u64> {
        Ok(match self.link() {
            Link::Sqlite(db) => bind(sqlx::query(sql), values).execute(db).await?.rows_affected(),
            Link::Postgres(db) => bind(sqlx::query(sql), values).execute(db).await?.rows_affected(),
        })
    }

    /// Carries out several statements without values.
    pub(crate) async fn script(&mut self, sql: impl SqlSafeStr) -> sqlx::Result<()> {
        match self.link() {
            Link::Sqlite(db) => sqlx::raw_sql(sql).execute(db).await.map(|_| ()),
            Link::Postgres(db) => sqlx::raw_sql(sql).execute(db).await.map(|_| ()),
        }
    }

    /// Gives each row of the answer to `take`, as it arrives, until that has enough or something fails.
    pub(crate) async fn each(
        &mut self,
        sql: impl SqlSafeStr,
        values: &[Value],
        mut take: impl FnMut(&Row) -> sqlx::Result<ControlFlow<()>>,
    ) -> sqlx::Result<()> {
        match self.link() {
            Link::Sqlite(db) => {
                let mut rows = bind(sqlx::query(sql), values).fetch(db);
                while let Some(row) = rows.try_next().await? {
                    if take(&Row::Sqlite(row))?.is_break() {
                        break;
                    }
                }
            }
            Link::Postgres(db) => {
                let mut rows = bind(sqlx::query(sql), values).fetch(db);
                while let Some(row) = rows.try_next().await? {
                    if take(&Row::Postgres(row))?.is_break() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// All rows of the answer, each as `read` reads it.
    pub(crate) async fn list<T>(
        &mut self,
        sql: impl SqlSafeStr,
        values: &[Value],
        read: impl Fn(&Row) -> sqlx::Result<T>,
    ) -> sqlx::Result<Vec<T>> {
        let mut out = Vec::new();
        self.each(sql, values, |row| {
            out.push(read(row)?);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(out)
    }

    /// The row of the answer, if there is one. The statement gives at most one.
    pub(crate) async fn row(&mut self, sql: impl SqlSafeStr, values: &[Value]) -> sqlx::Result<Option<Row>> {
        Ok(match self.link() {
            Link::Sqlite(db) => bind(sqlx::query(sql), values).fetch_optional(db).await?.map(Row::Sqlite),
            Link::Postgres(db) => bind(sqlx::query(sql), values).fetch_optional(db).await?.map(Row::Postgres),
        })
    }

    /// Makes it durable.
    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        match self {
            Self::SqliteTransaction(transaction) => transaction.commit().await,
            Self::PostgresTransaction(transaction) => transaction.commit().await,
            // A single statement outside a transaction is durable by itself.
            Self::SqliteConnection(_) | Self::SqlitePooled(_) | Self::PostgresPooled(_) => Ok(()),
        }
    }

    /// Takes it back, and waits until that is done.
    pub(crate) async fn roll_back(self) -> sqlx::Result<()> {
        match self {
            Self::SqliteTransaction(transaction) => transaction.rollback().await,
            Self::PostgresTransaction(transaction) => transaction.rollback().await,
            Self::SqliteConnection(_) | Self::SqlitePooled(_) | Self::PostgresPooled(_) => Ok(()),
        }
    }
}

fn bind<'q, D>(mut query: Query<'q, D, D::Arguments>, values: &[Value]) -> Query<'q, D, D::Arguments>
where
    D: Database,
    i64: sqlx::Type<D> + sqlx::Encode<'q, D>,
    Option<i64>: sqlx::Type<D> + sqlx::Encode<'q, D>,
    Option<String>: sqlx::Type<D> + sqlx::Encode<'q, D>,
{
    for value in values {
        query = match value {
            Value::Int(number) => query.bind(*number),
            Value::MaybeInt(number) => query.bind(*number),
            Value::Text(text) => query.bind(text.clone()),
        };
    }
    query
}
