//! What a control plane knows, all of it: so that another one goes on where it died.
//!
//! # How it is used
//! [`Control::open`] (SQLite) or [`Control::connect`] (PostgreSQL) gives a handle that is cheap to clone and may be used
//! by many tasks at once; on PostgreSQL also by several control planes. Nothing is decided in memory: whoever wants to act
//! asks here, in a transaction, and is told whether it may. A method that returns is durable. One that is dropped or fails
//! did nothing at all, unless it was just committing: then nobody knows. So every writing method can be called again: the
//! second call finds what the first one did.
//!
//! All times are parameters, milliseconds since 1970 in UTC ([`Millis`]); nothing here reads a clock, and nothing is decided by
//! comparing times of two control planes, whose clocks differ. All bodies are JSON
//! as text and are kept byte for byte; nothing here reads them.
//!
//! # What is in it
//! | room | tables |
//! |---|---|
//! | `people` | tokens of people, one-time tokens of hosts |
//! | `agents` | hosts with their certificates, who holds their stream, what they said last, why they are not served |
//! | `commands` | the mailbox to hosts, at most one result for each |
//! | `reports` | what hosts tell, each thing once and in order |
//! | `sagas` | changes across hosts: leases and fencing |
//! | `locks` | which change has which host |
//! | `events` | what is told to people, in order; and documents by name |
//! | `watch` | hints that something is new |
//! | `schema` | the tables, by versions |
//!
//! # Order
//! Commands, reports and events carry a number that grows in the order of commits ([`Command::changed`], …): who has read up
//! to N and asks for what comes after N misses nothing. A sequence of PostgreSQL can't do that (a lower number may be
//! committed later), so writers of one such table take the number from a row that they hold until they commit. That makes
//! them wait for one another: write many at once, in one call.
//!
//! # Where it is
//! PostgreSQL: in the schema `greenroom`, beside the ledger. SQLite: the file `control.db` beside `ledger.db`, not in it:
//! this one is busy and wants WAL, that one has to be one file that can be read anywhere (see decision 0008).
//!
//! Not here: what a change does, what a role may do, and the ledger. No entry of the ledger is in one transaction with
//! anything here: [`Ledger::append_once`](crate::ledger::Ledger::append_once) is how a saga writes to it.

mod agents;
mod commands;
mod events;
mod locks;
mod people;
mod reports;
mod sagas;
mod schema;
mod watch;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

pub use agents::{Agent, Certificate, NewStatus, Refused, Standing};
pub use commands::{Command, CommandState, Done, NewCommand, Outcome, Underway};
pub use events::Event;
pub use locks::HostLock;
pub use people::{EnrolmentRefusal, NewToken, Role, Token};
pub use reports::{NewReport, Report};
pub use sagas::{Fence, Lease, Saga, Step};
pub use watch::{Hint, Subject, Watch};

use crate::db::{Address, Pool, Value, Work, make_private, private_lock, values};

/// Milliseconds since 1970, UTC.
pub type Millis = i64;

/// The state of a control plane.
#[derive(Debug, Clone)]
pub struct Control {
    pool: Pool,
    /// The database, as messages name it.
    place: String,
    hints: watch::Hints,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The database did not answer, or refused.
    #[error("cannot {what} in {place}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// The database: a path, or an address without credentials.
        place: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file can't be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It was written by a newer Greenroom.
    #[error("{place} has format {found}, this program knows formats up to {known}: upgrade Greenroom")]
    Newer {
        /// The database.
        place: String,
        /// The format there.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// It is another program's database.
    #[error("{place} is a database, but not a Greenroom control plane's")]
    Foreign {
        /// The database.
        place: String,
    },
    /// Somebody else drives it now.
    #[error("{saga} is driven by another control plane: fence {fence} is no longer the current one")]
    Fenced {
        /// The saga.
        saga: String,
        /// The fence that was shown.
        fence: u64,
    },
    /// Another change has the host.
    #[error("{host} is held by {change}")]
    Locked {
        /// The first host, by name, that is not free.
        host: String,
        /// Who has it.
        change: String,
    },
    /// A host's one-time token is no good.
    #[error("the enrolment token {reason}")]
    Enrolment {
        /// Why.
        reason: EnrolmentRefusal,
    },
    /// What was to be made is there, with another content.
    #[error("there already is a {what} {id}")]
    Exists {
        /// What.
        what: &'static str,
        /// Its name.
        id: String,
    },
}

impl Control {
    /// Opens the state in the directory `dir`; makes the directory (mode 0700) and the file (0600) when there is none.
    ///
    /// # Errors
    /// [`ControlError::Newer`], [`ControlError::Foreign`], or what the file system or SQLite say.
    pub async fn open(dir: &Path) -> Result<Self, ControlError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| ControlError::Io { what, path, source }
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(io("make the directory", dir))?;
        let path = dir.join("control.db");
        // SQLite waits for nobody while a database is switched to WAL; whoever else opens it at that time would be told
        // that it is locked.
        let lock_path = dir.join("control.lock");
        let lock = private_lock(&lock_path).map_err(io("open", &lock_path))?;
        let locking = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock));
        let _opening = locking.await.map_err(std::io::Error::other).flatten().map_err(io("lock", &lock_path))?;
        make_private(&path).map_err(io("make", &path))?;
        let place = path.display().to_string();
        Self::ready(Self { pool: Pool::sqlite(&path), place, hints: watch::Hints::here() }).await
    }

    /// Opens the state in the PostgreSQL database at `url`, as [`SqlLedger::connect`](crate::ledger::SqlLedger::connect);
    /// makes its tables when there are none.
    ///
    /// # Errors
    /// [`ControlError::Newer`], or what the server says.
    pub async fn connect(url: &str) -> Result<Self, ControlError> {
        let address = Address::parse(url).map_err(|source| ControlError::Database {
            what: "read the address",
            // What cannot be read may contain the password.
            place: "postgres://…".into(),
            source: Box::new(source),
        })?;
        let place = address.place.clone();
        Self::ready(Self { pool: Pool::postgres(address), place, hints: watch::Hints::from_server() }).await
    }

    async fn ready(self) -> Result<Self, ControlError> {
        match self.wrap("make the tables", schema::migrate(&self.pool).await)? {
            schema::Found::Ready => Ok(self),
            schema::Found::Newer { found, known } => Err(ControlError::Newer { place: self.place, found, known }),
            schema::Found::Foreign => Err(ControlError::Foreign { place: self.place }),
        }
    }

    /// Closes the connections, when what runs has ended. Other handles of the same state end with this one.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn wrap<T>(&self, what: &'static str, outcome: sqlx::Result<T>) -> Result<T, ControlError> {
        outcome.map_err(|source| ControlError::Database { what, place: self.place.clone(), source: Box::new(source) })
    }

    async fn begin(&self, what: &'static str) -> Result<Work<'static>, ControlError> {
        self.wrap(what, self.pool.begin().await)
    }

    /// Commits, and tells all who watch.
    async fn commit(&self, what: &'static str, mut work: Work<'static>, hints: &[Hint]) -> Result<(), ControlError> {
        self.wrap(what, self.hints.before_commit(&mut work, hints).await)?;
        self.wrap(what, work.commit().await)?;
        self.hints.after_commit(hints);
        Ok(())
    }

    /// One statement that reads.
    async fn list<T>(
        &self,
        what: &'static str,
        sql: &'static str,
        values: &[Value],
        read: impl Fn(&crate::db::Row) -> sqlx::Result<T>,
    ) -> Result<Vec<T>, ControlError> {
        let mut work = self.wrap(what, self.pool.read().await)?;
        self.wrap(what, work.list(sql, values, read).await)
    }

    /// One statement that writes; gives how many rows it changed.
    async fn change(
        &self,
        what: &'static str,
        sql: &'static str,
        values: &[Value],
        hints: &[Hint],
    ) -> Result<u64, ControlError> {
        let mut work = self.begin(what).await?;
        let changed = self.wrap(what, work.execute(sql, values).await)?;
        self.commit(what, work, if changed == 0 { &[] } else { hints }).await?;
        Ok(changed)
    }
}

/// Takes the next `count` numbers of `name`; gives the last of them. Nobody else gets any until this transaction ends.
async fn take_numbers(work: &mut Work<'_>, name: &str, count: usize) -> sqlx::Result<i64> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let sql = "UPDATE numbering SET last = last + $2 WHERE name = $1 RETURNING last";
    work.row(sql, values![name, count]).await?.ok_or(sqlx::Error::RowNotFound)?.int(0)
}

/// `($1, $2), ($3, $4), …`: `rows` rows of `columns` values, the first of them parameter number `first`.
fn rows(rows: usize, columns: usize, first: usize) -> String {
    let row = |row: usize| {
        let values: Vec<String> = (0..columns).map(|column| format!("${}", first + row * columns + column)).collect();
        format!("({})", values.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// `$1, $2, …`: `count` values.
fn places(count: usize) -> String {
    (1..=count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// How many rows go into one statement.
const BATCH: usize = 250;

/// A text that stands for a variant, in the database.
fn unreadable(what: &'static str, text: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{text:?} is no {what}").into())
}
