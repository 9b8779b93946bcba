//! The ledger's home in PostgreSQL.
//!
//! The tables are those of SQLite, in the schema `greenroom`, and the entries have the same hashes. What differs:
//!
//! * Writers of all processes wait for one another at an advisory lock that lasts as long as the transaction.
//! * The anchor is the only row of the table `head`, written in the transaction that appends. So it never lags behind. It
//!   shows that entries at the end were removed by somebody who did not think of it. Unlike a file on another disk it is in
//!   the same database: an older copy of the whole database brings its older anchor along and is not seen.
//! * Durable is what the server calls so: a server with `fsync=off` or an asynchronous standby that takes over can lose
//!   entries that were acknowledged.
//! * A text with a NUL in it, which PostgreSQL can't keep, is refused as a bad draft.

use std::future::Future;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::runtime::{Builder, Runtime};

use super::LedgerError;
use super::head::{Anchor, Head};
use super::sql::wrap;
use crate::db::{Address, Work, values};

/// The format of the tables, in the table `format`.
const FORMAT: i64 = 1;

/// How long to wait for a server that is away: a restart takes some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The key of the advisory lock: "GRLG", as SQLite's application_id.
const LOCK: i64 = 0x4752_4c47;

const SCHEMA: &str = r#"
CREATE TABLE entry (
    seq BIGINT PRIMARY KEY,
    id TEXT NOT NULL,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    "user" TEXT NOT NULL,
    uid BIGINT NOT NULL,
    login_user TEXT,
    tty TEXT,
    origin TEXT,
    command TEXT,
    change TEXT,
    rehearsal TEXT,
    root TEXT NOT NULL,
    why TEXT,
    detail TEXT NOT NULL,
    once TEXT UNIQUE,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE TABLE counter (kind TEXT PRIMARY KEY, last BIGINT NOT NULL);
CREATE TABLE head (only_one BIGINT PRIMARY KEY CHECK (only_one = 1), seq BIGINT NOT NULL, hash TEXT NOT NULL);
"#;

/// The server, and what is needed to wait for it.
#[derive(Debug)]
pub(super) struct Server {
    pool: PgPool,
    pub(super) place: String,
    /// Absent only while this is dropped.
    runtime: Option<Runtime>,
}

impl Server {
    pub(super) fn connect(url: &str) -> Result<Self, LedgerError> {
        // What cannot be read may contain the password.
        let address = wrap("connect to", "postgres://…", Address::parse(url))?;
        let place = address.place;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = wrap("start a thread for", &place, runtime.map_err(sqlx::Error::Io))?;
        let pool = {
            let _inside = runtime.enter();
            PgPoolOptions::new().max_connections(2).acquire_timeout(PATIENCE).connect_lazy_with(address.options)
        };
        let server = Self { pool, place, runtime: Some(runtime) };
        server.block_on(server.make())?;
        Ok(server)
    }

    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.runtime {
            Some(runtime) => runtime.block_on(work),
            None => unreachable!("only drop takes it"),
        }
    }

    async fn make(&self) -> Result<(), LedgerError> {
        let made = async {
            let mut work = self.begin().await?;
            let found = crate::db::format(&mut work, "ledger").await?;
            if found == 0 {
                work.script(SCHEMA).await?;
                crate::db::set_format(&mut work, "ledger", FORMAT).await?;
            }
            work.commit().await?;
            Ok(found)
        };
        let found = wrap("set up", &self.place, made.await)?;
        if found > FORMAT {
            return Err(LedgerError::Newer { place: self.place.clone(), found, known: FORMAT });
        }
        Ok(())
    }

    pub(super) async fn begin(&self) -> sqlx::Result<Work<'_>> {
        let mut work = Work::PostgresTransaction(self.pool.begin().await?);
        work.row("SELECT pg_advisory_xact_lock($1)", values![LOCK]).await?;
        Ok(work)
    }

    pub(super) async fn read(&self) -> sqlx::Result<Work<'_>> {
        self.pool.acquire().await.map(Work::PostgresPooled)
    }

    pub(super) async fn anchor(work: &mut Work<'_>) -> sqlx::Result<Anchor> {
        match work.row("SELECT seq, hash FROM head", &[]).await? {
            Some(row) => Ok(Anchor::Sound(Head { seq: row.number(0)?, hash: row.text(1)? })),
            None => Ok(Anchor::Absent),
        }
    }

    pub(super) async fn write_anchor(work: &mut Work<'_>, head: &Head) -> sqlx::Result<()> {
        let sql = "INSERT INTO head (only_one, seq, hash) VALUES (1, $1, $2)
                   ON CONFLICT (only_one) DO UPDATE SET seq = excluded.seq, hash = excluded.hash";
        work.execute(sql, values![head.seq, &head.hash]).await.map(|_| ())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime that is dropped inside another one panics; this way it doesn't wait.
            runtime.shutdown_background();
        }
    }
}
