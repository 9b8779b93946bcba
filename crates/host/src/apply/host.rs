//! The state directory of one root, its lock, and the records in it.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use greenroom_core::{Changeset, ContentHash, changeset};
use rustix::fs::FlockOperation;

use super::error::{Context as _, Error, Refusal};
use super::record::{self, Direction, Phase, Record, RecordKind};
use crate::scan::Tree;
use crate::sys::fs;

/// What belongs to one host: `<root>/var/lib/greenroom`.
pub struct HostState {
    root: PathBuf,
    state: OwnedFd,
    changes: OwnedFd,
}

const STATE: [&[u8]; 3] = [b"var", b"var/lib", b"var/lib/greenroom"];

impl HostState {
    /// Opens the state of the host whose tree is at `root`; makes it when there is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(root: &Path) -> Result<Self, Error> {
        let fail = || format!("make the state directory below {}", root.display());
        let tree = fs::open_root(root).context(fail)?;
        for path in STATE {
            make_below(tree.as_fd(), path).context(fail)?;
        }
        let state = fs::open_in_root(tree.as_fd(), STATE[2]).context(fail)?;
        make_private(state.as_fd(), b"changes").context(fail)?;
        Self::with(root, state)
    }

    /// Opens the state of the host, `None` when nothing was ever done to it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn find(root: &Path) -> Result<Option<Self>, Error> {
        let fail = || format!("open the state directory below {}", root.display());
        let tree = fs::open_root(root).context(fail)?;
        match fs::open_in_root(tree.as_fd(), b"var/lib/greenroom/changes") {
            Ok(_) => Self::with(root, fs::open_in_root(tree.as_fd(), STATE[2]).context(fail)?).map(Some),
            Err(error) if crate::scan::is_absence(&error) => Ok(None),
            Err(source) => Err(Error::Io { what: fail(), source }),
        }
    }

    fn with(root: &Path, state: OwnedFd) -> Result<Self, Error> {
        let changes = fs::open_dir(state.as_fd(), b"changes").context(|| "open the records of changes".to_owned())?;
        Ok(Self { root: root.to_owned(), state, changes })
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A handle on the tree.
    pub(super) fn tree(&self) -> Result<Tree, Error> {
        Ok(Tree::open(&self.root)?)
    }

    /// Takes the lock. `holder` says what for, to others who find it taken. It is given back when the guard goes.
    ///
    /// # Errors
    /// [`Refusal::Busy`] at once when it is taken by somebody who lives.
    pub fn lock(&self, holder: &str) -> Result<Guard<'_>, Error> {
        let fail = || "lock the host".to_owned();
        let file = match fs::create_file(self.state.as_fd(), b"lock") {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open_lock().context(fail)?,
            other => other.context(fail)?,
        };
        let until = Instant::now() + INHERITED;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let text = record::read_file(self.state.as_fd(), b"lock").unwrap_or_default();
                    let holder = String::from_utf8_lossy(&text).trim().to_owned();
                    if !has_ended(&holder) || Instant::now() > until {
                        return Err(Refusal::Busy { holder }.into());
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(other) => return Err(Error::Io { what: fail(), source: other.into() }),
            }
        }
        let note = format!("process {}, {holder}\n", std::process::id());
        file.set_len(0).and_then(|()| (&file).write_all(note.as_bytes())).context(fail)?;
        Ok(Guard { host: self, lock: file })
    }

    fn open_lock(&self) -> io::Result<std::fs::File> {
        use rustix::fs::{Mode, OFlags};
        let oflags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.state, "lock", oflags, Mode::empty())?.into())
    }

    /// All records of this host, oldest first.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a journal that cannot be read, [`Error::Io`].
    pub fn changes(&self) -> Result<Vec<Record>, Error> {
        let names = fs::names(self.changes.as_fd(), b"").context(|| "list the records of changes".to_owned())?;
        let mut records = Vec::with_capacity(names.len());
        for name in names {
            let id = String::from_utf8_lossy(&name).into_owned();
            let dir = self.record_dir(&id)?;
            let damaged = |error: io::Error| Error::Damaged { change: id.clone(), what: error.to_string() };
            records.push(Record::read(dir.as_fd()).map_err(damaged)?.unwrap_or_else(|| Record::unwritten(&id)));
        }
        records.sort_by_key(|r| r.seq);
        Ok(records)
    }

    /// The records that are neither finished nor rolled back.
    ///
    /// # Errors
    /// As [`HostState::changes`].
    pub fn open_journals(&self) -> Result<Vec<Record>, Error> {
        Ok(self.changes()?.into_iter().filter(|r| r.phase.is_open()).collect())
    }

    /// The record by which what `id` did is in place: itself, or the last one that brought it back. What a later change did
    /// and had to take back again leaves such a one behind.
    ///
    /// # Errors
    /// As [`HostState::changes`].
    pub fn in_place_by(&self, id: &str) -> Result<String, Error> {
        let records = self.changes()?;
        let heir = records.iter().find(|r| r.id == id).and_then(|target| {
            let current = Guard::current(&records, &target.owner)?;
            (current.1 == target.direction).then_some(current.0)
        });
        Ok(heir.unwrap_or_else(|| id.to_owned()))
    }

    /// The changeset that a record goes through (in the record's direction).
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn changeset(&self, record: &Record) -> Result<Changeset, Error> {
        let dir = self.record_dir(&record.owner)?;
        let bytes = record::read_file(dir.as_fd(), b"changeset")
            .context(|| format!("read the changeset of {}", record.owner))?;
        let damaged = |what: String| Error::Damaged { change: record.owner.clone(), what };
        if ContentHash::of(&bytes) != record.changeset {
            return Err(damaged("the changeset is not the one that was recorded".to_owned()));
        }
        changeset::codec::decode(&bytes).map_err(|e| damaged(e.to_string()))
    }

    pub(super) fn changes_dir(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    pub(super) fn record_dir(&self, id: &str) -> Result<OwnedFd, Error> {
        fs::open_dir(self.changes.as_fd(), id.as_bytes()).context(|| format!("open the record of {id}"))
    }

    /// The record `id`.
    pub(super) fn record(&self, id: &str) -> Result<Record, Error> {
        let found = self.changes()?.into_iter().find(|r| r.id == id);
        found.ok_or_else(|| Refusal::Record { change: id.to_owned(), why: "no such change on this host" }.into())
    }
}

/// The lock of a host. All that changes it goes through this.
pub struct Guard<'h> {
    pub(super) host: &'h HostState,
    lock: std::fs::File,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being started by another thread may hold a copy until it executes.
        // Nothing can be done when it fails, and closing follows.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

impl Guard<'_> {
    /// The host whose lock this is.
    #[must_use]
    pub fn host(&self) -> &HostState {
        self.host
    }

    /// Closes a record that is done: the caller has finished what belongs to it. Closing twice is fine.
    ///
    /// # Errors
    /// [`Refusal::Record`] when it is not done.
    pub fn close(&self, id: &str) -> Result<(), Error> {
        let mut record = self.host.record(id)?;
        match record.phase {
            Phase::Closed => return Ok(()),
            Phase::Done => {}
            _ => return Err(Refusal::Record { change: id.to_owned(), why: "it is not in place" }.into()),
        }
        record.phase = Phase::Closed;
        let dir = self.host.record_dir(id)?;
        // The content before the name; that the name is there is not waited for: closing can be repeated.
        let synced = record.prepare(dir.as_fd()).and_then(|()| fs::sync_name(dir.as_fd(), b"journal.new"));
        synced.and_then(|()| Record::turn(dir.as_fd())).context(|| format!("close {id}"))
    }

    /// A record for a new change, not written yet.
    pub(super) fn new_record(&self, id: &str, kind: RecordKind, changeset: &Changeset) -> Result<Record, Error> {
        let refuse = |why| Refusal::Record { change: id.to_owned(), why };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if id.is_empty() || id.len() > 64 || id.starts_with('.') || !id.bytes().all(plain) {
            return Err(refuse("not a name for a change").into());
        }
        let records = self.host.changes()?;
        if let Some(open) = records.iter().find(|r| r.phase.is_open()) {
            return Err(Refusal::Open { change: open.id.clone() }.into());
        }
        if records.iter().any(|r| r.id == id) {
            return Err(refuse("there is a change of this name").into());
        }
        Ok(Record {
            seq: records.last().map_or(1, |r| r.seq + 1),
            kind,
            changeset: changeset.id(),
            entries: changeset.entries().len() as u64,
            ..Record::unwritten(id)
        })
    }

    /// Makes the record's directory with its journal.
    pub(super) fn create_record(&self, record: &Record, changeset: Option<&Changeset>) -> Result<OwnedFd, Error> {
        let fail = || format!("write the record of {}", record.id);
        fs::make_dir(self.host.changes_dir(), record.id.as_bytes(), 0o700).context(fail)?;
        let dir = self.host.record_dir(&record.id)?;
        if let Some(changeset) = changeset {
            let write = |file: &mut io::BufWriter<std::fs::File>| {
                let mut outcome = Ok(());
                changeset::codec::encode(changeset, &mut |piece| {
                    if outcome.is_ok() {
                        outcome = file.write_all(piece);
                    }
                });
                outcome
            };
            record::write_file_by(dir.as_fd(), b"changeset", write).context(fail)?;
        }
        if record.tops.is_empty() {
            // Lost in a power cut, it is as if nothing had been begun: nothing has.
            record.prepare(dir.as_fd()).and_then(|()| Record::turn(dir.as_fd())).context(fail)?;
        } else {
            // What is made on other file systems must be found again.
            record.write(dir.as_fd()).context(fail)?;
            fs::sync(self.host.changes_dir()).context(fail)?;
        }
        Ok(dir)
    }

    /// In which state a chain is: the last record in it that is in place.
    pub(super) fn current(records: &[Record], owner: &str) -> Option<(String, Direction)> {
        let in_place = |r: &&Record| r.owner == owner && matches!(r.phase, Phase::Done | Phase::Closed);
        records.iter().rev().find(in_place).map(|r| (r.id.clone(), r.direction))
    }
}

/// How long a lock may outlive its holder: a process that the holder was starting when it was killed shares it until it
/// executes, and one that enters a control group first may take a while to get there.
const INHERITED: Duration = Duration::from_secs(3);

/// Whether the process that a lock names is gone.
fn has_ended(holder: &str) -> bool {
    let pid = holder.strip_prefix("process ").and_then(|rest| rest.split(',').next()?.parse::<u32>().ok());
    pid.is_some_and(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    })
}

/// Makes one directory of the way to the state, if it is not there, leaving its parent's mtime alone.
fn make_below(tree: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
    match fs::open_in_root(tree, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.map(|_| ()),
    }
    let cut = path.iter().rposition(|b| *b == b'/');
    let parent = fs::open_in_root(tree, cut.map_or(b".", |at| &path[..at]))?;
    let name = cut.map_or(path, |at| &path[at + 1..]);
    if path == STATE[2] { make_private(parent.as_fd(), name) } else { quietly(parent.as_fd(), name, 0o755) }
}

/// Makes a directory for root alone where there is none.
pub(super) fn make_private(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match quietly(parent, name, 0o700) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn quietly(parent: BorrowedFd<'_>, name: &[u8], mode: u16) -> io::Result<()> {
    let mtime = fs::status(parent, b"")?.mtime;
    fs::make_dir(parent, name, mode)?;
    fs::set_mtime(parent, b"", mtime)
}
