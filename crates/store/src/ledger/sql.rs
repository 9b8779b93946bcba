//! The ledger in tables: appending and counting, on SQLite and on PostgreSQL.
//!
//! An append, on both: keep other writers out, begin, read the last row, insert, commit (durable), and the anchor. Where
//! the tables are, how writers are kept out and where the anchor is, is the [`Home`]'s.
//!
//! The trait is blocking and sqlx is not. SQLite's connection has a thread of its own that needs no runtime, so waiting
//! for it is all there is to do; a PostgreSQL ledger carries a runtime of one thread.

use std::future::Future;
use std::path::Path;

use super::chain::Row;
use super::head::{Anchor, Head};
use super::postgres::Server;
use super::read::{COLUMNS, row};
use super::sqlite::{Files, Guard};
use super::{Draft, Entry, Filter, Ledger, LedgerError, Listing, NO_HASH, Verdict};
use crate::db::{Work, block_on, values};

/// A ledger in a database.
#[derive(Debug)]
pub struct SqlLedger {
    pub(super) home: Home,
    /// The database, as messages name it.
    pub(super) place: String,
}

/// Where the tables are.
#[derive(Debug)]
pub(super) enum Home {
    /// SQLite, in a directory.
    Files(Files),
    /// PostgreSQL.
    Server(Server),
}

/// What is needed to begin to work.
pub(super) enum Door<'a> {
    Files(Guard<'a>),
    Server(&'a Server),
}

impl SqlLedger {
    /// Opens the SQLite ledger in `dir`; makes the directory (mode 0700) and the ledger (files 0600) when there is none.
    ///
    /// # Errors
    /// [`LedgerError::Newer`], [`LedgerError::NotALedger`], or what the file system or SQLite say.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        block_on(Files::open(dir)).map(|files| Self { place: files.place(), home: Home::Files(files) })
    }

    /// Opens the SQLite ledger in `dir` for reading: nothing is written there, and no permission to write is needed. Where
    /// there is none, it is empty.
    ///
    /// # Errors
    /// As [`SqlLedger::open`].
    pub fn open_read_only(dir: &Path) -> Result<Self, LedgerError> {
        block_on(Files::open_read_only(dir)).map(|files| Self { place: files.place(), home: Home::Files(files) })
    }

    /// Opens the ledger in the PostgreSQL database at `url` (`postgres://USER:PASSWORD@HOST:PORT/DATABASE`); makes its
    /// tables, in the schema `greenroom`, when there are none. What the address leaves out is taken from libpq's variables
    /// (`PGHOST`, `PGUSER`, …). TLS is rustls, asked for with `?sslmode=verify-full`.
    ///
    /// Its methods wait on a runtime of its own: from within another one, call them on a thread that may block.
    ///
    /// # Errors
    /// [`LedgerError::Newer`], or what the server says.
    pub fn connect(url: &str) -> Result<Self, LedgerError> {
        Server::connect(url).map(|server| Self { place: server.place.clone(), home: Home::Server(server) })
    }

    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.home {
            Home::Files(_) => block_on(work),
            Home::Server(server) => server.block_on(work),
        }
    }

    pub(super) fn door(&self) -> Door<'_> {
        match &self.home {
            Home::Files(files) => Door::Files(files.guard()),
            Home::Server(server) => Door::Server(server),
        }
    }

    /// The door, for writing: nobody else writes while it is held.
    fn writing(&self) -> Result<Door<'_>, LedgerError> {
        let mut door = self.door();
        if let (Home::Files(files), Door::Files(guard)) = (&self.home, &mut door) {
            files.lock(guard)?;
        }
        Ok(door)
    }

    async fn add(&self, once: Option<&str>, draft: &Draft) -> Result<Entry, LedgerError> {
        draft.check()?;
        if matches!(self.home, Home::Server(_)) {
            draft.check_no_nul(once)?;
        }
        let mut door = self.writing()?;
        let mut work = self.wrap("lock", door.begin().await)?;
        let last = self.last(&mut work).await?;
        let may_anchor = self.anchor_agrees(&mut work, &last).await?;
        let existing = match once {
            Some(key) => self.by_key(&mut work, key).await?,
            None => None,
        };
        if let Some(existing) = existing {
            self.wrap("read", work.roll_back().await)?;
            if let (true, Home::Files(files)) = (may_anchor, &self.home) {
                files.write_anchor(&last)?;
            }
            return damaged(existing.seq, existing.into_entry());
        }
        let row = next_row(&last, once, draft);
        self.wrap("append to", insert(&mut work, &row).await)?;
        self.keep_count(&mut work).await?;
        let head = Head { seq: row.seq, hash: row.hash.clone() };
        match &self.home {
            Home::Files(files) => {
                self.wrap("append to", work.commit().await)?;
                if may_anchor {
                    files.write_anchor(&head)?;
                }
            }
            Home::Server(_) => {
                if may_anchor {
                    self.wrap("append to", Server::write_anchor(&mut work, &head).await)?;
                }
                self.wrap("append to", work.commit().await)?;
            }
        }
        damaged(row.seq, row.into_entry())
    }

    /// Number and hash of the last entry; 0 and [`NO_HASH`] without any.
    async fn last(&self, work: &mut Work<'_>) -> Result<Head, LedgerError> {
        let last = work.row("SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1", &[]).await;
        match self.wrap("read", last)? {
            Some(row) => {
                let head = (|| Ok(Head { seq: row.number(0)?, hash: row.text(1)? }))();
                self.wrap("read", head)
            }
            None => Ok(Head { seq: 0, hash: NO_HASH.into() }),
        }
    }

    pub(super) async fn anchor(&self, work: &mut Work<'_>) -> Result<Anchor, LedgerError> {
        match &self.home {
            Home::Files(files) => files.anchor(),
            Home::Server(_) => self.wrap("read", Server::anchor(work).await),
        }
    }

    /// Whether the anchor is one that this table can have had; only then it may be moved on.
    async fn anchor_agrees(&self, work: &mut Work<'_>, last: &Head) -> Result<bool, LedgerError> {
        match self.anchor(work).await? {
            Anchor::Garbled => Ok(false),
            // Before the first append, or a crash right after it.
            Anchor::Absent => Ok(last.seq <= 1),
            Anchor::Sound(head) => {
                let found = work.row("SELECT hash FROM entry WHERE seq = $1", values![head.seq]).await;
                let hash = found.and_then(|row| row.map(|row| row.text(0)).transpose());
                Ok(self.wrap("read", hash)? == Some(head.hash))
            }
        }
    }

    async fn by_key(&self, work: &mut Work<'_>, key: &str) -> Result<Option<Row>, LedgerError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM entry WHERE once = $1"));
        let found = work.row(sql, values![key]).await;
        self.wrap("read", found.and_then(|found| found.as_ref().map(row).transpose()))
    }

    async fn count(&self, kind: &str) -> Result<u64, LedgerError> {
        let mut door = self.writing()?;
        let mut work = self.wrap("lock", door.begin().await)?;
        let next = self.last_id(&mut work, kind).await? + 1;
        self.wrap("count in", save_count(&mut work, kind, next).await)?;
        self.wrap("count in", work.commit().await)?;
        Ok(next)
    }

    async fn count_unsynced(&self, kind: &str) -> Result<u64, LedgerError> {
        let Home::Files(files) = &self.home else { return self.count(kind).await };
        let mut door = self.writing()?;
        let mut work = self.wrap("read", door.read().await)?;
        let next = self.last_id(&mut work, kind).await? + 1;
        files.save_count(kind, next)?;
        Ok(next)
    }

    /// The number of `kind` that was given last, 0 without any.
    async fn last_id(&self, work: &mut Work<'_>, kind: &str) -> Result<u64, LedgerError> {
        let found = work.row("SELECT last FROM counter WHERE kind = $1", values![kind]).await;
        let kept = self.wrap("count in", found.and_then(|row| row.map(|row| row.number(0)).transpose()))?;
        let noted = match &self.home {
            Home::Files(files) => files.counts()?.get(kind).copied(),
            Home::Server(_) => None,
        };
        Ok(kept.unwrap_or(0).max(noted.unwrap_or(0)))
    }

    /// Makes the numbers durable that were given without.
    async fn keep_count(&self, work: &mut Work<'_>) -> Result<(), LedgerError> {
        let Home::Files(files) = &self.home else { return Ok(()) };
        for (kind, last) in files.counts()? {
            self.wrap("count in", save_count(work, &kind, last).await)?;
        }
        Ok(())
    }

    /// Gives the database's errors the context that callers need.
    pub(super) fn wrap<T>(&self, what: &'static str, outcome: sqlx::Result<T>) -> Result<T, LedgerError> {
        wrap(what, &self.place, outcome)
    }
}

impl Door<'_> {
    /// Begins a transaction that will write.
    async fn begin(&mut self) -> sqlx::Result<Work<'_>> {
        match self {
            Self::Files(guard) => guard.begin().await,
            Self::Server(server) => server.begin().await,
        }
    }

    /// For statements that only read.
    pub(super) async fn read(&mut self) -> sqlx::Result<Work<'_>> {
        match self {
            Self::Files(guard) => guard.read(),
            Self::Server(server) => server.read().await,
        }
    }
}

impl Ledger for SqlLedger {
    fn append(&self, draft: &Draft) -> Result<Entry, LedgerError> {
        self.block_on(self.add(None, draft))
    }

    fn append_once(&self, key: &str, draft: &Draft) -> Result<Entry, LedgerError> {
        self.block_on(self.add(Some(key), draft))
    }

    fn next_id(&self, kind: &str) -> Result<u64, LedgerError> {
        self.block_on(self.count(kind))
    }

    fn next_id_unsynced(&self, kind: &str) -> Result<u64, LedgerError> {
        self.block_on(self.count_unsynced(kind))
    }

    fn entries(&self, filter: &Filter) -> Result<Listing, LedgerError> {
        self.block_on(self.list(filter))
    }

    fn verify(&self) -> Result<Verdict, LedgerError> {
        self.block_on(self.check())
    }
}

fn next_row(last: &Head, once: Option<&str>, draft: &Draft) -> Row {
    let seq = last.seq + 1;
    let mut row = Row {
        seq,
        id: format!("e{seq}"),
        at: draft.at.clone(),
        kind: draft.kind.clone(),
        actor: draft.actor.clone(),
        change: draft.change.clone(),
        rehearsal: draft.rehearsal.clone(),
        root: draft.root.clone(),
        why: draft.why.clone(),
        detail: draft.detail.to_string(),
        once: once.map(str::to_owned),
        prev: last.hash.clone(),
        hash: String::new(),
    };
    row.hash = row.hash();
    row
}

async fn insert(work: &mut Work<'_>, row: &Row) -> sqlx::Result<()> {
    let sql = format!(
        "INSERT INTO entry ({COLUMNS}) VALUES
         ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
    );
    let actor = &row.actor;
    let values = values![
        row.seq,
        &row.id,
        &row.at,
        &row.kind,
        &actor.user,
        actor.uid,
        actor.login_user.as_deref(),
        actor.tty.as_deref(),
        actor.from.as_deref(),
        actor.command.as_deref(),
        row.change.as_deref(),
        row.rehearsal.as_deref(),
        &row.root,
        row.why.as_deref(),
        &row.detail,
        row.once.as_deref(),
        &row.prev,
        &row.hash,
    ];
    work.execute(sqlx::AssertSqlSafe(sql), values).await.map(|_| ())
}

async fn save_count(work: &mut Work<'_>, kind: &str, last: u64) -> sqlx::Result<()> {
    let sql = "INSERT INTO counter (kind, last) VALUES ($1, $2)
               ON CONFLICT (kind) DO UPDATE SET last = excluded.last WHERE counter.last < excluded.last";
    work.execute(sql, values![kind, last]).await.map(|_| ())
}

fn damaged<T>(seq: u64, outcome: Result<T, serde_json::Error>) -> Result<T, LedgerError> {
    outcome.map_err(|error| LedgerError::Damaged { seq, reason: error.to_string() })
}

pub(super) fn wrap<T>(what: &'static str, place: &str, outcome: sqlx::Result<T>) -> Result<T, LedgerError> {
    outcome.map_err(|source| LedgerError::Database { what, place: place.to_owned(), source: Box::new(source) })
}
