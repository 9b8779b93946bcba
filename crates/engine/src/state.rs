//! Where things are kept: `--state DIR`.
//!
//! ```text
//! ledger/              the ledger
//! blobs/               contents, by hash
//! changesets/HASH      changesets, in their canonical encoding
//! rehearsals/rN.json   the record of each rehearsal
//! noise/KEY.json       what a boot changes, by state of the host
//! copies/ID/           copies that exist just now
//! contents.lock        who adds contents holds it with others, who drops some holds it alone
//! ```

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use greenroom_core::changeset::codec;
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::{Changeset, ContentHash};
use greenroom_store::blobs::DirBlobs;
use greenroom_store::ledger::{Ledger, SqlLedger};
use rustix::fs::{FlockOperation, flock};

use crate::EngineError;

/// The state directory, open.
pub struct State {
    dir: PathBuf,
    /// The record of all that happened.
    pub ledger: SqlLedger,
    /// Contents.
    pub blobs: DirBlobs,
    lock: fs::File,
}

/// Holds the lock of a state alone.
pub(crate) struct Alone<'a>(&'a State);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let _ = self.0.flock(FlockOperation::Unlock);
    }
}

impl State {
    /// Opens the state at `dir` and makes it where it is missing.
    ///
    /// # Errors
    /// The directory cannot be made or used.
    pub fn open(dir: &Path) -> Result<Self, EngineError> {
        for part in ["", "changesets", "rehearsals", "noise", "copies"] {
            let path = dir.join(part);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(EngineError::file("make the directory", path))?;
        }
        let dir = fs::canonicalize(dir).map_err(EngineError::file("find", dir))?;
        let ledger = SqlLedger::open(&dir.join("ledger"))?;
        let blobs = DirBlobs::open(&dir.join("blobs"))
            .map_err(|source| EngineError::Damaged { path: dir.join("blobs"), source: Box::new(source) })?;
        let path = dir.join("contents.lock");
        let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(EngineError::file("open", path))?;
        Ok(Self { dir, ledger, blobs, lock })
    }

    /// From here on, as long as this is open, nothing is dropped: a content that is found is still there when the record that needs it
    /// is written. Waits for a `gc` that is at it.
    ///
    /// # Errors
    /// The lock's.
    pub(crate) fn keeps(&self) -> Result<(), EngineError> {
        self.flock(FlockOperation::LockShared).map_err(EngineError::file("lock", self.dir.join("contents.lock")))
    }

    /// Nobody else adds contents from here on, until this is dropped. `None`: somebody does.
    ///
    /// # Errors
    /// The lock's.
    pub(crate) fn alone(&self) -> Result<Option<Alone<'_>>, EngineError> {
        match self.flock(FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Alone(self))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(EngineError::file("lock", self.dir.join("contents.lock"))(error)),
        }
    }

    fn flock(&self, how: FlockOperation) -> io::Result<()> {
        rustix::io::retry_on_intr(|| flock(&self.lock, how)).map_err(io::Error::from)
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A name for the next rehearsal or change: `r1`, `c1`, …
    ///
    /// # Errors
    /// The ledger's.
    pub fn next_id(&self, letter: &str) -> Result<String, EngineError> {
        if letter != "r" {
            return Ok(format!("{letter}{}", self.ledger.next_id(letter)?));
        }
        loop {
            let id = format!("r{}", self.ledger.next_id_unsynced("r")?);
            // A power cut may have taken the number back; a ledger that was lost and begun anew counts from the beginning.
            // Either way no rehearsal is written over.
            if !self.rehearsal_path(&id).exists() {
                return Ok(id);
            }
        }
    }

    /// Keeps a changeset under its identity.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_changeset(&self, changeset: &Changeset) -> Result<ContentHash, EngineError> {
        let id = changeset.id();
        let path = self.changeset_path(&id);
        // The one of nothing is known by its name.
        if !changeset.is_empty() && !path.exists() {
            let write = |file: &mut io::BufWriter<fs::File>| {
                let mut outcome = Ok(());
                codec::encode(changeset, &mut |piece| {
                    if outcome.is_ok() {
                        outcome = file.write_all(piece);
                    }
                });
                outcome
            };
            write_durably_by(&path, write).map_err(EngineError::file("write", path))?;
        }
        Ok(id)
    }

    /// Reads a changeset.
    ///
    /// # Errors
    /// It is not there, or not what its name says.
    pub fn changeset(&self, id: &ContentHash) -> Result<Changeset, EngineError> {
        if *id == Changeset::default().id() {
            return Ok(Changeset::default());
        }
        let path = self.changeset_path(id);
        let bytes = fs::read(&path).map_err(EngineError::file("read", &path))?;
        let damaged =
            |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Damaged { path: path.clone(), source };
        if ContentHash::of(&bytes) != *id {
            return Err(damaged("its content does not have the hash that is its name".into()));
        }
        codec::decode(&bytes).map_err(|error| damaged(Box::new(error)))
    }

    /// Where a changeset is kept.
    #[must_use]
    pub fn changeset_path(&self, id: &ContentHash) -> PathBuf {
        self.dir.join("changesets").join(id.to_string())
    }

    /// Keeps the record of a rehearsal.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_rehearsal(&self, rehearsal: &Rehearsal) -> Result<(), EngineError> {
        let path = self.rehearsal_path(&rehearsal.rehearsal);
        let text = serde_json::to_vec_pretty(rehearsal)
            .map_err(|error| EngineError::Damaged { path: path.clone(), source: Box::new(error) })?;
        write_durably(&path, &text).map_err(EngineError::file("write", path))
    }

    fn rehearsal_path(&self, id: &str) -> PathBuf {
        self.dir.join("rehearsals").join(format!("{id}.json"))
    }

    /// Reads the record of a rehearsal.
    ///
    /// # Errors
    /// There is none of that name, or it is damaged.
    pub fn rehearsal(&self, id: &str) -> Result<Rehearsal, EngineError> {
        let path = self.rehearsal_path(id);
        let valid = id.strip_prefix('r').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        match fs::read(&path) {
            Ok(text) if valid => {
                serde_json::from_slice(&text).map_err(|error| EngineError::Damaged { path, source: Box::new(error) })
            }
            Err(error) if valid && error.kind() != io::ErrorKind::NotFound => {
                Err(EngineError::File { doing: "read", path, source: error })
            }
            _ => Err(EngineError::usage(format!("there is no rehearsal {id}"), "`greenroom log` lists them")),
        }
    }

    /// The names of all rehearsals on record, in the order of their numbers.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn rehearsals(&self) -> Result<Vec<String>, EngineError> {
        let dir = self.dir.join("rehearsals");
        let entries = fs::read_dir(&dir).map_err(EngineError::file("read", &dir))?;
        let mut out: Vec<(u64, String)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?.strip_suffix(".json")?.to_owned();
                Some((name.strip_prefix('r')?.parse().ok()?, name))
            })
            .collect();
        out.sort();
        Ok(out.into_iter().map(|(_, name)| name).collect())
    }

    /// Forgets a rehearsal's record.
    ///
    /// # Errors
    /// It cannot be deleted.
    pub fn drop_rehearsal(&self, id: &str) -> Result<(), EngineError> {
        let path = self.rehearsal_path(id);
        fs::remove_file(&path).map_err(EngineError::file("delete", path))
    }

    /// A directory for a copy that nobody uses yet.
    #[must_use]
    pub fn copy_dir(&self, name: &str) -> PathBuf {
        self.dir.join("copies").join(name)
    }
}

/// Writes a file so that after a power cut it is there whole or not at all.
///
/// # Errors
/// The kernel's.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_durably_by(path, |file| file.write_all(bytes))
}

/// The same for a content that is not in memory as a whole.
fn write_durably_by(path: &Path, write: impl FnOnce(&mut io::BufWriter<fs::File>) -> io::Result<()>) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let temporary = path.with_extension("new");
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let mut buffered = io::BufWriter::new(file);
    write(&mut buffered)?;
    buffered.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(dir)?.sync_all()
}
