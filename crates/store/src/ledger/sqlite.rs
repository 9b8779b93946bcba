//! The ledger in SQLite: opening, appending, counting.
//!
//! One directory holds `ledger.db`, the anchor `ledger.head`, and `ledger.lock`.
//!
//! **Why a rollback journal and not WAL.** A person's change makes a handful of entries, so the speed of appending
//! doesn't matter, and at rest the ledger is one file: it can be copied, kept and read where the reader may not write
//! (WAL needs a writable `-shm`). In this mode a commit is the removal of the journal, and `synchronous=FULL` doesn't
//! flush that removal: after a power cut the journal could come back and take an acknowledged entry away. Hence
//! `synchronous=EXTRA`, which is FULL plus an fsync of the directory.
//!
//! **Several processes.** Whoever appends holds an exclusive flock(2) on `ledger.lock` from before the transaction
//! until the anchor is written, so the anchor can't go backwards. Readers take no lock but SQLite's own.
//!
//! An append: lock, begin, read the last row, insert, commit (durable), replace the anchor, unlock. A crash after the
//! commit leaves the anchor one behind; the next append or [`Ledger::append_once`] mends that.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior};
use rustix::fs::{FlockOperation, flock};

use super::chain::Row;
use super::head::{self, Anchor, Head};
use super::read::{COLUMNS, row};
use super::{Draft, Entry, Filter, Ledger, LedgerError, Listing, NO_HASH, Verdict};

/// The format of the database, in SQLite's user_version.
const FORMAT: i64 = 1;

/// Marks the file as ours, in SQLite's application_id: "GRLG".
const APPLICATION: i64 = 0x4752_4c47;

/// How long one process waits for another one's transaction.
const PATIENCE: Duration = Duration::from_secs(30);

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
";

/// A ledger in a directory, in SQLite.
#[derive(Debug)]
pub struct SqliteLedger {
    pub(super) db: Connection,
    pub(super) dir: PathBuf,
    /// Absent when open for reading only.
    lock: Option<File>,
}

impl SqliteLedger {
    /// Opens the ledger in `dir`; makes the directory (mode 0700) and the ledger (files 0600) when there is none.
    ///
    /// # Errors
    /// [`LedgerError::Newer`], [`LedgerError::NotALedger`], or what the file system or SQLite say.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| LedgerError::Io {
            what: "make the directory",
            path: dir.into(),
            source,
        })?;
        let lock = private_file(&dir.join("ledger.lock"))?;
        // SQLite would make it with the umask's mode; its journals take over the mode of this file.
        let path = dir.join("ledger.db");
        private_file(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags);
        let ledger = Self { db: wrap("open", dir, db)?, dir: dir.into(), lock: Some(lock) };
        ledger.prepare()?;
        Ok(ledger)
    }

    /// Opens the ledger in `dir` for reading: nothing is written there, and no permission to write is needed. Where
    /// there is none, it is empty.
    ///
    /// # Errors
    /// As [`SqliteLedger::open`].
    pub fn open_read_only(dir: &Path) -> Result<Self, LedgerError> {
        let path = dir.join("ledger.db");
        let there =
            path.try_exists().map_err(|source| LedgerError::Io { what: "look for", path: path.clone(), source })?;
        if !there {
            let db = wrap("open", dir, Connection::open_in_memory())?;
            let ledger = Self { db, dir: dir.into(), lock: None };
            ledger.run(SCHEMA)?;
            return Ok(ledger);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = wrap("open", dir, Connection::open_with_flags(&path, flags))?;
        let ledger = Self { db, dir: dir.into(), lock: None };
        match ledger.set_patience().and_then(|()| ledger.check_format()) {
            // An interrupted transaction waits for somebody who may write to take it back. Without that permission the
            // file is read as it stands: what was being appended may show up unreadable.
            Err(error) if needs_recovery(&error) => {
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                let db = wrap("open", dir, Connection::open_with_flags(immutable(&path), flags))?;
                let ledger = Self { db, ..ledger };
                ledger.check_format()?;
                Ok(ledger)
            }
            outcome => outcome.map(|_| ledger),
        }
    }

    fn set_patience(&self) -> Result<(), LedgerError> {
        wrap("open", &self.dir, self.db.busy_timeout(PATIENCE))
    }

    /// Settings of the connection, and the tables of a new ledger.
    fn prepare(&self) -> Result<(), LedgerError> {
        self.set_patience()?;
        self.run("PRAGMA synchronous=EXTRA; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;")?;
        if self.check_format()? {
            return Ok(());
        }
        let _lock = self.lock()?;
        let transaction = self.begin()?;
        // Another process may have been faster.
        if !self.check_format()? {
            self.run(SCHEMA)?;
            self.run(&format!("PRAGMA application_id={APPLICATION}; PRAGMA user_version={FORMAT};"))?;
        }
        wrap("make", &self.dir, transaction.commit())
    }

    /// Whether the tables are there, in a format that is known; false for an empty database.
    fn check_format(&self) -> Result<bool, LedgerError> {
        let number = |pragma: &str| -> Result<i64, LedgerError> {
            wrap("read", &self.dir, self.db.query_row(pragma, [], |row| row.get(0)))
        };
        let format = number("PRAGMA user_version")?;
        let application = number("PRAGMA application_id")?;
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        match (application, format) {
            (0, 0) if tables == 0 => Ok(false),
            (APPLICATION, 1..=FORMAT) => Ok(true),
            (APPLICATION, found) if found > FORMAT => {
                Err(LedgerError::Newer { place: place(&self.dir), found, known: FORMAT })
            }
            _ => Err(LedgerError::NotALedger { place: place(&self.dir) }),
        }
    }

    fn run(&self, sql: &str) -> Result<(), LedgerError> {
        wrap("set up", &self.dir, self.db.execute_batch(sql))
    }

    fn begin(&self) -> Result<Transaction<'_>, LedgerError> {
        // Unchecked for nesting only: every transaction of this type ends in the function that began it.
        let begun = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate);
        wrap("lock", &self.dir, begun)
    }

    fn lock(&self) -> Result<Locked<'_>, LedgerError> {
        let Some(file) = &self.lock else {
            return Err(LedgerError::ReadOnly { place: place(&self.dir) });
        };
        rustix::io::retry_on_intr(|| flock(file, FlockOperation::LockExclusive)).map_err(|errno| LedgerError::Io {
            what: "lock",
            path: self.dir.join("ledger.lock"),
            source: errno.into(),
        })?;
        Ok(Locked(file))
    }

    fn add(&self, once: Option<&str>, draft: &Draft) -> Result<Entry, LedgerError> {
        draft.check()?;
        let _lock = self.lock()?;
        let transaction = self.begin()?;
        let last = self.last()?;
        let may_anchor = self.anchor_agrees(&last)?;
        if let Some(existing) = once.map(|key| self.by_key(key)).transpose()?.flatten() {
            drop(transaction);
            if may_anchor {
                head::write(&self.dir, &last)?;
            }
            return damaged(existing.seq, existing.into_entry());
        }
        let row = next_row(&last, once, draft);
        wrap("append to", &self.dir, insert(&transaction, &row))?;
        wrap("append to", &self.dir, transaction.commit())?;
        if may_anchor {
            head::write(&self.dir, &Head { seq: row.seq, hash: row.hash.clone() })?;
        }
        damaged(row.seq, row.into_entry())
    }

    /// Number and hash of the last entry; 0 and [`NO_HASH`] without any.
    fn last(&self) -> Result<Head, LedgerError> {
        let last = self
            .db
            .query_row("SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1", [], |row| {
                Ok(Head { seq: row.get::<_, i64>(0)?.cast_unsigned(), hash: row.get(1)? })
            })
            .optional();
        Ok(wrap("read", &self.dir, last)?.unwrap_or(Head { seq: 0, hash: NO_HASH.into() }))
    }

    /// Whether the anchor is one that this table can have had; only then it may be moved on.
    fn anchor_agrees(&self, last: &Head) -> Result<bool, LedgerError> {
        match head::read(&self.dir)? {
            Anchor::Garbled => Ok(false),
            // Before the first append, or a crash right after it.
            Anchor::Absent => Ok(last.seq <= 1),
            Anchor::Sound(head) => {
                let sql = "SELECT hash FROM entry WHERE seq = ?1";
                let hash: rusqlite::Result<Option<String>> =
                    self.db.query_row(sql, [head.seq.cast_signed()], |row| row.get(0)).optional();
                Ok(wrap("read", &self.dir, hash)? == Some(head.hash))
            }
        }
    }

    fn by_key(&self, key: &str) -> Result<Option<Row>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM entry WHERE once = ?1");
        wrap("read", &self.dir, self.db.query_row(&sql, [key], row).optional())
    }
}

impl Ledger for SqliteLedger {
    fn append(&self, draft: &Draft) -> Result<Entry, LedgerError> {
        self.add(None, draft)
    }

    fn append_once(&self, key: &str, draft: &Draft) -> Result<Entry, LedgerError> {
        self.add(Some(key), draft)
    }

    fn next_id(&self, kind: &str) -> Result<u64, LedgerError> {
        let _lock = self.lock()?;
        let transaction = self.begin()?;
        let sql = "INSERT INTO counter (kind, last) VALUES (?1, 1)
                   ON CONFLICT (kind) DO UPDATE SET last = last + 1 RETURNING last";
        let next = transaction.query_row(sql, [kind], |row| row.get::<_, i64>(0));
        let next = wrap("count in", &self.dir, next)?;
        wrap("count in", &self.dir, transaction.commit())?;
        Ok(next.cast_unsigned())
    }

    fn entries(&self, filter: &Filter) -> Result<Listing, LedgerError> {
        self.list(filter)
    }

    fn verify(&self) -> Result<Verdict, LedgerError> {
        self.check()
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

fn insert(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO entry ({COLUMNS}) VALUES
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
    );
    let actor = &row.actor;
    let values = rusqlite::params![
        row.seq.cast_signed(),
        row.id,
        row.at,
        row.kind,
        actor.user,
        actor.uid,
        actor.login_user,
        actor.tty,
        actor.from,
        actor.command,
        row.change,
        row.rehearsal,
        row.root,
        row.why,
        row.detail,
        row.once,
        row.prev,
        row.hash,
    ];
    transaction.execute(&sql, values).map(|_| ())
}

fn damaged<T>(seq: u64, outcome: Result<T, serde_json::Error>) -> Result<T, LedgerError> {
    outcome.map_err(|error| LedgerError::Damaged { seq, reason: error.to_string() })
}

/// Gives SQLite's errors the context that callers need.
pub(super) fn wrap<T>(what: &'static str, dir: &Path, outcome: rusqlite::Result<T>) -> Result<T, LedgerError> {
    outcome.map_err(|source| LedgerError::Database { what, place: place(dir), source: Box::new(source) })
}

fn place(dir: &Path) -> String {
    dir.join("ledger.db").display().to_string()
}

/// Whether SQLite refuses to read because a journal is left that it may not play back.
fn needs_recovery(error: &LedgerError) -> bool {
    let LedgerError::Database { source, .. } = error else { return false };
    let code = source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen))
}

/// `path` as an SQLite URI that takes no locks and looks for no journal.
fn immutable(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    uri + "?immutable=1"
}

fn private_file(path: &Path) -> Result<File, LedgerError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| LedgerError::Io { what: "open", path: path.into(), source })
}
