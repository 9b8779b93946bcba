//! The ledger: every change to production, tracked or found, on one timeline that can't be altered unnoticed.
//!
//! # What goes in, what comes out
//! A caller makes a [`Draft`] (it brings the time; nothing here reads a clock) and appends it. The ledger gives it
//! the next number, chains it to the entry before it, and returns the [`Entry`] once it is durable. Everything else
//! (states, lists, timelines) is derived by reading entries. It never contains the content of a file.
//!
//! # The chain
//! `hash = BLAKE3-derive-key("greenroom ledger entry v1", prev, seq, id, at, …)`, every field with a presence byte and
//! its length before it, `detail` as the very JSON text that is stored. `prev` is the hash of the entry before, 64
//! zeros for the first. The chain alone can't tell that its *end* was cut off, so the last number and hash are also
//! kept in an **anchor**, the file `ledger.head` beside the database, replaced atomically after each append.
//!
//! # What [`Ledger::verify`] finds, and what it can't
//! Found, with the first broken entry's number: a changed field, a changed detail, an entry that is missing in the
//! middle or at the end, swapped entries, a database that was replaced by an older copy or removed, an anchor that was
//! removed, and damage of the database file.
//!
//! Not found: whoever may write all files as root can recompute the whole chain *and* the anchor, restore an
//! older copy of *both*, or remove both and start a new ledger. Against that only a witness elsewhere helps: keep the
//! last hash (`greenroom log --json`) on another machine. Removal of the *only* entry together with the anchor,
//! and an anchor that lags one entry behind because of a crash, look like what they may honestly be. The counters of
//! [`Ledger::next_id`] are not part of the chain.
//!
//! When the anchor contradicts the table, appending goes on (an undo must not be held up by a damaged record) but
//! the anchor is left as it is: it remains the evidence, and every later verify reports it.
//!
//! # Where it is
//! In SQLite, in a directory of files; or in PostgreSQL, where several control planes share it and the anchor is a row
//! (`postgres` says what that can't detect). [`SqlLedger`] is both.
//!
//! Rooms: `chain` is the encoding; `sql` appends; `read` lists and verifies; `sqlite` and `postgres` are where the tables
//! are, how writers are kept apart and where the anchor is; `head` is the anchor's file; `ids` numbers that may be lost.

mod chain;
mod head;
mod ids;
mod postgres;
mod read;
mod sql;
mod sqlite;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use sql::SqlLedger;

/// The `prev` of the first entry.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Who did something, and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The name of the effective user.
    pub user: String,
    /// The number of the effective user.
    pub uid: u32,
    /// Who logged in, when that is another one (sudo, su).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_user: Option<String>,
    /// The terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<String>,
    /// The address that the session came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The command as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// What a caller says about something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// When: RFC 3339 in UTC with milliseconds, `2026-01-31T20:15:00.000Z`.
    pub at: String,
    /// What happened, one word of the caller's vocabulary.
    pub kind: String,
    /// Who did it.
    pub actor: Actor,
    /// The change it belongs to (`c1`).
    pub change: Option<String>,
    /// The rehearsal it belongs to or that justifies it (`r1`).
    pub rehearsal: Option<String>,
    /// The host's root that it was done to.
    pub root: String,
    /// Why, in the person's words.
    pub why: Option<String>,
    /// Whatever else there is to say. No content of files.
    pub detail: serde_json::Value,
}

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place: 1, 2, 3, … without a gap.
    pub seq: u64,
    /// Its name: `e1`, `e2`, ….
    pub id: String,
    /// See [`Draft::at`].
    pub at: String,
    /// See [`Draft::kind`].
    pub kind: String,
    /// Who did it.
    pub actor: Actor,
    /// The change it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// The rehearsal it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<String>,
    /// The host's root that it was done to.
    pub root: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whatever else there is to say.
    pub detail: serde_json::Value,
    /// The key of [`Ledger::append_once`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<String>,
    /// The hash of the entry before, hexadecimal.
    pub prev: String,
    /// The hash of this entry, hexadecimal.
    pub hash: String,
}

/// Which entries to list. All that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only entries after this number: 0 for all, the last one's number for the next page.
    pub since: u64,
    /// At most so many.
    pub limit: Option<u64>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this change.
    pub change: Option<String>,
    /// Only this rehearsal.
    pub rehearsal: Option<String>,
}

/// What was listed, oldest first, and what could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
    /// Places that are too damaged to be read. Empty for a sound ledger.
    pub unreadable: Vec<Unreadable>,
}

/// An entry, or the beginning of a stretch of entries, that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The number of the (first) entry.
    pub seq: u64,
    /// What the database says.
    pub reason: String,
}

/// What a check of the whole ledger found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All entries are as they were written.
    Verified {
        /// How many there are.
        entries: u64,
    },
    /// They are not.
    Broken {
        /// The first broken entry's number.
        seq: u64,
        /// Its name, whether or not it is still there.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why the ledger could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file of the ledger can't be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The database refused.
    #[error("cannot {what} the ledger {place}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// The database: a path, or an address without credentials.
        place: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It was written by a newer Greenroom.
    #[error("the ledger {place} has format {found}, this program knows formats up to {known}: upgrade Greenroom")]
    Newer {
        /// The database.
        place: String,
        /// The format there.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// It is a database, but not a ledger.
    #[error("{place} is a database, but not a Greenroom ledger")]
    NotALedger {
        /// The database.
        place: String,
    },
    /// The draft can't become an entry.
    #[error("an entry's `{field}` {reason}")]
    BadDraft {
        /// The field of [`Draft`].
        field: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The entry that is needed is damaged.
    #[error("entry e{seq} of the ledger cannot be read: {reason}")]
    Damaged {
        /// Its number.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
    /// It was opened for reading.
    #[error("the ledger {place} is open for reading only")]
    ReadOnly {
        /// The database.
        place: String,
    },
}

/// An append-only, hash-chained record. Several processes may have one open at the same time.
///
/// Every implementation passes the suite in `tests/ledger`.
pub trait Ledger {
    /// Appends an entry. When this returns, neither kill -9 nor a power cut loses it.
    ///
    /// # Errors
    /// [`LedgerError::BadDraft`] for a `kind` that is empty or an `at` of another form; the store's own otherwise,
    /// and then nothing was appended, or it was and only the anchor lags behind: [`Ledger::append_once`] tells.
    fn append(&self, draft: &Draft) -> Result<Entry, LedgerError>;

    /// Appends an entry unless one with this key exists; gives that one then, whatever the draft says. For recovery:
    /// whoever was interrupted does it again.
    ///
    /// # Errors
    /// As [`Ledger::append`]; [`LedgerError::Damaged`] when the existing entry can't be read.
    fn append_once(&self, key: &str, draft: &Draft) -> Result<Entry, LedgerError>;

    /// The next number of `kind`: 1, 2, 3, …; durable, and never given again, even if nothing comes of it.
    ///
    /// # Errors
    /// The store's own.
    fn next_id(&self, kind: &str) -> Result<u64, LedgerError>;

    /// The next number of `kind` without waiting for the disk: kill -9 doesn't give it again, but a power cut before the
    /// next append may. For callers who look whether something of that number is already there.
    ///
    /// # Errors
    /// The store's own.
    fn next_id_unsynced(&self, kind: &str) -> Result<u64, LedgerError>;

    /// Lists entries, oldest first. What is damaged is named in the listing and left out, not an error.
    ///
    /// # Errors
    /// Only when nothing at all can be read.
    fn entries(&self, filter: &Filter) -> Result<Listing, LedgerError>;

    /// Checks every entry, the chain and the anchor.
    ///
    /// # Errors
    /// Only when the ledger can't be looked at; what is wrong with it is [`Verdict::Broken`].
    fn verify(&self) -> Result<Verdict, LedgerError>;
}

impl Draft {
    /// Checks what the ledger relies on.
    fn check(&self) -> Result<(), LedgerError> {
        if self.kind.is_empty() {
            return Err(LedgerError::BadDraft { field: "kind", reason: "is empty" });
        }
        const FORM: &[u8] = b"0000-00-00T00:00:00.000Z";
        let fits = |(have, form): (u8, u8)| {
            if form == b'0' { have.is_ascii_digit() } else { have == form }
        };
        if self.at.len() != FORM.len() || !self.at.bytes().zip(FORM.iter().copied()).all(fits) {
            let reason = "is not of the form 2026-01-31T20:15:00.000Z";
            return Err(LedgerError::BadDraft { field: "at", reason });
        }
        Ok(())
    }

    /// Checks that no text has a NUL in it. `detail` can't: it is stored as JSON, which escapes it.
    fn check_no_nul(&self, once: Option<&str>) -> Result<(), LedgerError> {
        let actor = &self.actor;
        let texts = [
            ("kind", Some(&*self.kind)),
            ("user", Some(&*actor.user)),
            ("login_user", actor.login_user.as_deref()),
            ("tty", actor.tty.as_deref()),
            ("from", actor.from.as_deref()),
            ("command", actor.command.as_deref()),
            ("change", self.change.as_deref()),
            ("rehearsal", self.rehearsal.as_deref()),
            ("root", Some(&*self.root)),
            ("why", self.why.as_deref()),
            ("once", once),
        ];
        match texts.into_iter().find(|(_, text)| text.is_some_and(|text| text.contains('\0'))) {
            Some((field, _)) => Err(LedgerError::BadDraft { field, reason: "has a NUL, which PostgreSQL can't keep" }),
            None => Ok(()),
        }
    }
}
