//! The record of one change to this host, and the small file that decides its outcome.
//!
//! The file is replaced as a whole: written beside, synced, renamed, the directory synced. So it says either the old or the
//! new thing, on the disk too. Where a whole file system is synced at that point anyway, that sync serves for the file.

use std::io::{self, Read as _, Write as _};
use std::os::fd::BorrowedFd;

use greenroom_core::{ContentHash, TreePath};
use serde::{Deserialize, Serialize};

use super::plan::Side;
use crate::sys::fs;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// A changeset was put in place.
    Apply,
    /// A record was taken back.
    Undo,
    /// Nothing was changed: what was found is taken as wanted from now on.
    Adopt,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing in the tree is touched yet.
    Staging,
    /// Decided: it is being put in place.
    Committed,
    /// In place and durable; the caller has not closed it yet.
    Done,
    /// Decided: it is being taken back.
    Backing,
    /// Finished, in place.
    Closed,
    /// Finished, taken back.
    RolledBack,
}

impl Phase {
    /// Whether something is left to do.
    #[must_use]
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Closed | Self::RolledBack)
    }
}

/// Towards the changeset's *after*, or back to its *before*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards *after*.
    Forward,
    /// To *before*.
    Back,
}

impl Direction {
    pub(super) fn side(self) -> Side {
        match self {
            Self::Forward => Side::After,
            Self::Back => Side::Before,
        }
    }

    pub(super) fn opposite(self) -> Self {
        match self {
            Self::Forward => Self::Back,
            Self::Back => Self::Forward,
        }
    }
}

/// One change that was made to this host, or is being made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The caller's name for it.
    pub id: String,
    /// Its place in the order of all records of this host.
    pub seq: u64,
    /// What was done.
    pub kind: RecordKind,
    /// The record that it takes back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<String>,
    /// The record whose changeset and slots it uses: itself, unless it takes something back.
    pub owner: String,
    /// In which direction it goes through the owner's changeset.
    pub direction: Direction,
    /// The owner's changeset.
    pub changeset: ContentHash,
    /// How many entries that has.
    pub entries: u64,
    /// How far it has come.
    pub phase: Phase,
    /// Tops of the other file systems that hold slots, in their order from 1.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tops: Vec<TreePath>,
    /// The caller's own.
    #[serde(default)]
    pub meta: serde_json::Value,
}

const JOURNAL: &[u8] = b"journal";
const NEXT: &[u8] = b"journal.new";

impl Record {
    /// What stands in for a record of which a crash left only the directory.
    pub(super) fn unwritten(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            seq: u64::MAX,
            kind: RecordKind::Apply,
            of: None,
            owner: id.to_owned(),
            direction: Direction::Forward,
            changeset: ContentHash::of(b""),
            entries: 0,
            phase: Phase::Staging,
            tops: Vec::new(),
            meta: serde_json::Value::Null,
        }
    }

    /// Replaces the journal in `dir`, durably.
    pub(super) fn write(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.prepare(dir)?;
        fs::sync_name(dir, NEXT)?;
        Self::turn(dir)?;
        fs::sync(dir)
    }

    /// Writes what the journal will say next. The caller syncs the file system, and then says [`Record::decide`].
    pub(super) fn prepare(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        write_file(dir, NEXT, &serde_json::to_vec(self)?)
    }

    /// Makes the journal say what was prepared and synced, durably.
    pub(super) fn decide(dir: BorrowedFd<'_>) -> io::Result<()> {
        Self::turn(dir)?;
        fs::sync(dir)
    }

    /// Makes the journal say what was prepared. After a power cut it says this or what it said before.
    pub(super) fn turn(dir: BorrowedFd<'_>) -> io::Result<()> {
        fs::rename(dir, NEXT, JOURNAL)
    }

    /// Reads the journal in `dir`; `None` when none was written yet.
    pub(super) fn read(dir: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        match read_file(dir, JOURNAL) {
            // Of a first journal that was not synced, a power cut can leave the name without the content.
            Ok(bytes) if bytes.iter().all(|b| *b == 0) => Ok(None),
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Writes a new file in a directory of ours; what an interrupted attempt left there goes.
pub(super) fn write_file(dir: BorrowedFd<'_>, name: &[u8], bytes: &[u8]) -> io::Result<()> {
    write_file_by(dir, name, |file| file.write_all(bytes))
}

/// The same for what is not in memory as a whole.
pub(super) fn write_file_by(
    dir: BorrowedFd<'_>,
    name: &[u8],
    write: impl FnOnce(&mut io::BufWriter<std::fs::File>) -> io::Result<()>,
) -> io::Result<()> {
    match fs::remove(dir, name, false) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = io::BufWriter::new(fs::create_file(dir, name)?);
    write(&mut file)?;
    file.into_inner().map(|_| ()).map_err(io::IntoInnerError::into_error)
}

pub(super) fn read_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::open_file(dir, name)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}
