//! Where a database is, and how a connection to it is set up.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::pin::pin;
use std::str::FromStr as _;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};

use super::{Work, values};

/// How long one process waits for another one's transaction.
const PATIENCE: Duration = Duration::from_secs(30);

/// The schema of PostgreSQL in which all tables of Greenroom are.
pub(crate) const SCHEMA: &str = "greenroom";

/// A PostgreSQL database.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) options: PgConnectOptions,
    /// The address without the password, for messages.
    pub(crate) place: String,
}

impl Address {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?…`.
    pub(crate) fn parse(url: &str) -> sqlx::Result<Self> {
        let options = PgConnectOptions::from_str(url)?.disable_statement_logging();
        let place = format!(
            "postgres://{}@{}:{}/{}",
            options.get_username(),
            options.get_socket().map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string()),
            options.get_port(),
            options.get_database().unwrap_or_else(|| options.get_username()),
        );
        let options = options.application_name("greenroom").options([("search_path", SCHEMA)]);
        Ok(Self { options, place })
    }
}

/// What every connection to an SQLite file has.
pub(crate) fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(PATIENCE)
        .synchronous(SqliteSynchronous::Extra)
        .foreign_keys(true)
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
}

/// Makes the file of an SQLite database, mode 0600, unless it is there; SQLite would make it with the umask's mode, and its
/// other files take over this one's. One that is there is not opened: closing it again would take away all locks that
/// SQLite has on it in this process.
pub(crate) fn make_private(path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(|_| ()),
    }
}

/// A file of which the flock(2) is what matters, mode 0600.
pub(crate) fn private_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Waits for `work` on this thread. SQLite's connections need no runtime: each has a thread of its own, which wakes this one.
/// It may be called anywhere, also by what another runtime runs.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(outcome) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            return outcome;
        }
        std::thread::park();
    }
}

/// The format of the tables of `room` in PostgreSQL, 0 when there are none. Makes the schema when it is missing; the
/// caller holds a lock.
pub(crate) async fn format(work: &mut Work<'_>, room: &str) -> sqlx::Result<i64> {
    work.script("CREATE SCHEMA IF NOT EXISTS greenroom").await?;
    work.script("CREATE TABLE IF NOT EXISTS format (room TEXT PRIMARY KEY, version BIGINT NOT NULL)").await?;
    let found = work.row("SELECT version FROM format WHERE room = $1", values![room]).await?;
    found.map_or(Ok(0), |row| row.int(0))
}

/// Notes the format of `room`.
pub(crate) async fn set_format(work: &mut Work<'_>, room: &str, version: i64) -> sqlx::Result<()> {
    let sql = "INSERT INTO format (room, version) VALUES ($1, $2)
               ON CONFLICT (room) DO UPDATE SET version = excluded.version";
    work.execute(sql, values![room, version]).await.map(|_| ())
}
