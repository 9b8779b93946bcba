//! The ledger's home in SQLite.
//!
//! One directory holds `ledger.db`, the anchor `ledger.head`, `ledger.lock`, and `ledger.ids` (see `ids`).
//!
//! **Why a rollback journal and not WAL.** A person's change makes a handful of entries, so the speed of appending
//! doesn't matter, and at rest the ledger is one file: it can be copied, kept and read where the reader may not write
//! (WAL needs a writable `-shm`). In this mode a commit is the removal of the journal, and `synchronous=FULL` doesn't
//! flush that removal: after a power cut the journal could come back and take an acknowledged entry away. Hence
//! `synchronous=EXTRA`, which is FULL plus an fsync of the directory.
//!
//! **Several processes.** Whoever appends holds an exclusive flock(2) on `ledger.lock` from before the transaction
//! until the anchor is written, so the anchor can't go backwards. Readers take no lock but SQLite's own. A crash after
//! the commit leaves the anchor one behind; the next append or [`Ledger::append_once`](super::Ledger::append_once)
//! mends that.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions as _, Connection as _};

use super::head::{self, Anchor, Head};
use super::sql::wrap;
use super::{LedgerError, ids};
use crate::db::{Work, block_on, make_private, private_lock, sqlite_options};

/// The format of the database, in SQLite's user_version.
const FORMAT: i64 = 1;

/// Marks the file as ours, in SQLite's application_id: "GRLG".
const APPLICATION: i64 = 0x4752_4c47;

const SCHEMA: &str = "
CREATE TABLE entry (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    user TEXT NOT NULL,
    uid INTEGER NOT NULL,
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
) STRICT;
CREATE TABLE counter (
    kind TEXT PRIMARY KEY,
    last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA application_id=1196575815;
PRAGMA user_version=1;
";

/// The files of one ledger.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    /// Absent when open for reading only.
    lock: Option<File>,
    /// Absent only while this is dropped.
    db: Mutex<Option<SqliteConnection>>,
}

impl Files {
    pub(super) async fn open(dir: &Path) -> Result<Self, LedgerError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| LedgerError::Io {
            what: "make the directory",
            path: dir.into(),
            source,
        })?;
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| LedgerError::Io { what, path, source }
        };
        let path = dir.join("ledger.lock");
        let lock = private_lock(&path).map_err(io("open", &path))?;
        let path = dir.join("ledger.db");
        make_private(&path).map_err(io("make", &path))?;
        let db = wrap("open", &place(dir), sqlite_options(&path).connect().await)?;
        let files = Self { dir: dir.into(), lock: Some(lock), db: Mutex::new(Some(db)) };
        files.make().await?;
        Ok(files)
    }

    pub(super) async fn open_read_only(dir: &Path) -> Result<Self, LedgerError> {
        let path = dir.join("ledger.db");
        let there =
            path.try_exists().map_err(|source| LedgerError::Io { what: "look for", path: path.clone(), source })?;
        let options = sqlite_options(&path).read_only(true);
        let open = async |options: sqlx::sqlite::SqliteConnectOptions| {
            let db = wrap("open", &place(dir), options.connect().await)?;
            Ok(Self { dir: dir.into(), lock: None, db: Mutex::new(Some(db)) })
        };
        if !there {
            let files: Self = open(sqlite_options(Path::new(":memory:"))).await?;
            let made = async { files.guard().read()?.script(SCHEMA).await };
            wrap("set up", &files.place(), made.await)?;
            return Ok(files);
        }
        let checked = async |files: Self| {
            files.guard().check_format(dir).await?;
            Ok(files)
        };
        let outcome = match open(options.clone()).await {
            Ok(files) => checked(files).await,
            Err(error) => Err(error),
        };
        match outcome {
            // An interrupted transaction waits for somebody who may write to take it back. Without that permission the
            // file is read as it stands: what was being appended may show up unreadable.
            Err(error) if needs_recovery(&error) => checked(open(options.immutable(true)).await?).await,
            outcome => outcome,
        }
    }

    /// The tables of a new ledger.
    async fn make(&self) -> Result<(), LedgerError> {
        let mut guard = self.guard();
        if guard.check_format(&self.dir).await? {
            return Ok(());
        }
        self.lock(&mut guard)?;
        // Another process may have been faster.
        if guard.check_format(&self.dir).await? {
            return Ok(());
        }
        let made = async {
            let mut work = guard.begin().await?;
            work.script(SCHEMA).await?;
            work.commit().await
        };
        wrap("make", &self.place(), made.await)
    }

    pub(super) fn place(&self) -> String {
        place(&self.dir)
    }

    /// The connection, for one thread at a time.
    pub(super) fn guard(&self) -> Guard<'_> {
        Guard { db: self.db.lock().unwrap_or_else(PoisonError::into_inner), locked: None }
    }

    /// Keeps other writers out as long as `guard` lives.
    pub(super) fn lock<'a>(&'a self, guard: &mut Guard<'a>) -> Result<(), LedgerError> {
        let Some(file) = &self.lock else {
            return Err(LedgerError::ReadOnly { place: self.place() });
        };
        rustix::io::retry_on_intr(|| flock(file, FlockOperation::LockExclusive)).map_err(|errno| LedgerError::Io {
            what: "lock",
            path: self.dir.join("ledger.lock"),
            source: errno.into(),
        })?;
        guard.locked = Some(Locked(file));
        Ok(())
    }

    pub(super) fn anchor(&self) -> Result<Anchor, LedgerError> {
        head::read(&self.dir)
    }

    pub(super) fn write_anchor(&self, head: &Head) -> Result<(), LedgerError> {
        head::write(&self.dir, head)
    }

    pub(super) fn counts(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        ids::read(&self.dir)
    }

    pub(super) fn save_count(&self, kind: &str, last: u64) -> Result<(), LedgerError> {
        ids::write(&self.dir, kind, last)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let db = self.db.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(db) = db {
            // Waits until the file is closed. What was committed is safe in any case.
            let _ = block_on(db.close());
        }
    }
}

/// The connection, held.
pub(super) struct Guard<'a> {
    // Given back before the connection is, which is the one after it.
    locked: Option<Locked<'a>>,
    db: MutexGuard<'a, Option<SqliteConnection>>,
}

impl Guard<'_> {
    fn db(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        self.db.as_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    pub(super) async fn begin(&mut self) -> sqlx::Result<Work<'_>> {
        self.db()?.begin_with("BEGIN IMMEDIATE").await.map(Work::SqliteTransaction)
    }

    pub(super) fn read(&mut self) -> sqlx::Result<Work<'_>> {
        self.db().map(Work::SqliteConnection)
    }

    /// Whether the tables are there, in a format that is known; false for an empty database.
    async fn check_format(&mut self, dir: &Path) -> Result<bool, LedgerError> {
        let sql = "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
                   FROM pragma_user_version, pragma_application_id";
        let found = async {
            let row = self.read()?.row(sql, &[]).await?.ok_or(sqlx::Error::RowNotFound)?;
            Ok((row.int(0)?, row.int(1)?, row.int(2)?))
        };
        match wrap("read", &place(dir), found.await)? {
            (0, 0, 0) => Ok(false),
            (1..=FORMAT, APPLICATION, _) => Ok(true),
            (found, APPLICATION, _) if found > FORMAT => {
                Err(LedgerError::Newer { place: place(dir), found, known: FORMAT })
            }
            _ => Err(LedgerError::NotALedger { place: place(dir) }),
        }
    }
}

/// Holds the lock until it is dropped.
struct Locked<'a>(&'a File);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Closing the file would give it back too; nothing can be done about a failure here.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

fn place(dir: &Path) -> String {
    dir.join("ledger.db").display().to_string()
}

/// Whether SQLite refuses to read because a journal is left that it may not play back.
fn needs_recovery(error: &LedgerError) -> bool {
    const READ_ONLY: i32 = 8;
    const CANNOT_OPEN: i32 = 14;
    let LedgerError::Database { source, .. } = error else { return false };
    let Some(sqlx::Error::Database(error)) = source.downcast_ref::<sqlx::Error>() else { return false };
    // The lower byte of SQLite's extended code is the code.
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, READ_ONLY | CANNOT_OPEN))
}
