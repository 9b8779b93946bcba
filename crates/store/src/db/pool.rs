//! Connections for many callers at once.

use std::path::Path;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};

use super::{Address, Work, sqlite_options};

/// How long a caller waits for a connection that is free and works.
const PATIENCE: Duration = Duration::from_secs(30);

/// SQLite's readers, and PostgreSQL's connections.
const CONNECTIONS: u32 = 8;

/// Connections to one database.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite {
        /// One connection: whoever writes next waits for it, in turn, and not in SQLite's busy loop.
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

impl Pool {
    /// Connections to the SQLite file at `path`, which exists. It is set to WAL: readers and the writer don't wait for
    /// each other, and a commit is one sync.
    pub(crate) fn sqlite(path: &Path) -> Self {
        let options = sqlite_options(path).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let pool = |most| {
            SqlitePoolOptions::new().max_connections(most).acquire_timeout(PATIENCE).connect_lazy_with(options.clone())
        };
        Self::Sqlite { writer: pool(1), readers: pool(CONNECTIONS) }
    }

    /// Connections to a PostgreSQL database.
    pub(crate) fn postgres(address: Address) -> Self {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        Self::Postgres(pool.connect_lazy_with(address.options))
    }

    /// Begins a transaction that will write.
    pub(crate) async fn begin(&self) -> sqlx::Result<Work<'static>> {
        match self {
            Self::Sqlite { writer, .. } => writer.begin_with("BEGIN IMMEDIATE").await.map(Work::SqliteTransaction),
            Self::Postgres(pool) => pool.begin().await.map(Work::PostgresTransaction),
        }
    }

    /// For statements that only read.
    pub(crate) async fn read(&self) -> sqlx::Result<Work<'static>> {
        match self {
            Self::Sqlite { readers, .. } => readers.acquire().await.map(Work::SqlitePooled),
            Self::Postgres(pool) => pool.acquire().await.map(Work::PostgresPooled),
        }
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                // The last one that closes makes one file of the database and its log.
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}
