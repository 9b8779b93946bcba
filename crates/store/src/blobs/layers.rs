//! The layers of a store: those that this process brought and that have no name yet, and those in `layers`.
//!
//! A layer is made in the scratch directory and gets its name, which begins with the hash of its index, when all that it holds
//! is durable. So there is no layer with a name that is half there, and what a killed process leaves is cleared away as
//! any other debris.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenroom_core::ContentHash;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::layer::{self, FILES, Layer};
use super::scratch::Scratch;
use super::{BlobError, DirBlobs};

/// What the layers of a store are.
#[derive(Debug)]
pub(super) struct Layers {
    dir: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Not durable yet.
    pending: Vec<Arc<Layer>>,
    /// By name; those that cannot be used have a reason.
    named: BTreeMap<OsString, Result<Arc<Layer>, Arc<io::Error>>>,
    leftovers: Vec<Leftovers>,
}

/// A tree came in as a layer, with things in it that are no contents, or that the store has already.
#[derive(Debug)]
pub struct Leftovers {
    layer: Arc<Layer>,
    older: Vec<Arc<Layer>>,
    store: PathBuf,
}

impl Layers {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of this process that have no name yet: nobody else knows of them.
    pub(super) fn pending(&self) -> Vec<Arc<Layer>> {
        self.known().pending.clone()
    }

    /// Those that have a name, as far as is known: `fresh` looks for others.
    pub(super) fn named(&self, fresh: bool) -> Result<Vec<Arc<Layer>>, BlobError> {
        let mut known = self.known();
        if fresh {
            self.look(&mut known).map_err(|source| self.failed("list", source))?;
        }
        Ok(known.named.values().filter_map(|layer| layer.as_ref().ok().cloned()).collect())
    }

    /// One that cannot be used, if there is one.
    pub(super) fn unusable(&self) -> Option<BlobError> {
        self.known().named.iter().find_map(|(name, layer)| {
            let path = self.dir.join(name).join("index");
            let why = layer.as_ref().err()?;
            Some(BlobError::Io { what: "use", path, source: io::Error::new(why.kind(), why.to_string()) })
        })
    }

    fn failed(&self, what: &'static str, source: io::Error) -> BlobError {
        BlobError::Io { what, path: self.dir.clone(), source }
    }

    fn look(&self, known: &mut Known) -> io::Result<()> {
        let mut named = BTreeMap::new();
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let hash = name.to_str().and_then(|name| name.get(..64));
            // Other names are none of ours.
            if hash.is_none_or(|hash| hash.parse::<ContentHash>().is_err()) {
                continue;
            }
            let layer = match known.named.remove(&name) {
                Some(Ok(layer)) => Ok(layer),
                _ => match Layer::open(&self.dir.join(&name)) {
                    // It goes just now.
                    Err(error) if error.kind() == ErrorKind::NotFound && !self.dir.join(&name).exists() => continue,
                    opened => opened.map(Arc::new).map_err(Arc::new),
                },
            };
            named.insert(name, layer);
        }
        known.named = named;
        Ok(())
    }

    /// Makes a layer of the directory `tree`; false: it is on another file system, and stays where it is.
    pub(super) fn adopt(
        &self,
        scratch: &Scratch,
        tree: &Path,
        files: &[(ContentHash, &[u8])],
    ) -> Result<bool, BlobError> {
        let older = self.named(true)?;
        let at = scratch.fresh();
        let made = DirBuilder::new().mode(0o700).create(&at).and_then(|()| {
            let hash = layer::write(&at, files)?;
            match std::fs::rename(tree, at.join(FILES)) {
                Err(error) if error.kind() == ErrorKind::CrossesDevices => return Ok(None),
                moved => moved?,
            }
            let named = scratch.named(&hash.to_string());
            std::fs::rename(&at, &named)?;
            Layer::open(&named).map(Some)
        });
        let Some(layer) = made.map_err(|source| BlobError::Io { what: "take over", path: tree.into(), source })? else {
            let _ = std::fs::remove_dir_all(&at);
            return Ok(false);
        };
        let layer = Arc::new(layer);
        let mut known = self.known();
        known.pending.push(Arc::clone(&layer));
        let store = self.dir.parent().unwrap_or(&self.dir).to_owned();
        known.leftovers.push(Leftovers { layer, older, store });
        Ok(true)
    }

    /// Gives the layers that are durable now their names; false when there were none.
    pub(super) fn publish(&self) -> Result<bool, BlobError> {
        let mut known = self.known();
        if known.pending.is_empty() {
            return Ok(false);
        }
        super::dir::make_dir(&self.dir).map_err(|source| self.failed("make the directory", source))?;
        while let Some(layer) = known.pending.last() {
            self.name(layer).map_err(|source| self.failed("put a layer into", source))?;
            known.pending.pop();
        }
        self.look(&mut known).map_err(|source| self.failed("list", source))?;
        Ok(true)
    }

    fn name(&self, layer: &Layer) -> io::Result<()> {
        let own =
            layer.at.file_name().and_then(|name| name.to_str()).and_then(|name| name.get(..64)).unwrap_or_default();
        let mut number = 0;
        loop {
            // The same contents at the same paths may be there already.
            let name = if number == 0 { own.to_owned() } else { format!("{own}-{number}") };
            match renameat_with(CWD, &layer.at, CWD, self.dir.join(name), RenameFlags::NOREPLACE) {
                Err(Errno::EXIST | Errno::NOTEMPTY) => number += 1,
                done => return Ok(done?),
            }
        }
    }

    pub(super) fn leftovers(&self) -> Vec<Leftovers> {
        std::mem::take(&mut self.known().leftovers)
    }

    /// Of the layers that came until `since`: deletes what is no content, and layers without any content.
    pub(super) fn sweep(&self, since: i64) -> Result<(), BlobError> {
        for layer in self.named(true)? {
            let failed = |source| BlobError::Io { what: "clear up", path: layer.at.clone(), source };
            if layer.since().map_err(failed)? <= since && layer.sweep().map_err(failed)? {
                std::fs::remove_dir_all(&layer.at).map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl Leftovers {
    /// Deletes them: what is no content, and contents that the store has a sound copy of. Nothing may use the tree any more.
    ///
    /// # Errors
    /// [`BlobError`]; what is left then goes with [`DirBlobs::sweep`].
    pub fn clear(self) -> Result<(), BlobError> {
        let ours = self.layer.hashes().map_err(|source| self.failed(source))?;
        let others = DirBlobs::open(&self.store)?;
        let mut twice = Vec::new();
        for hash in &ours {
            match others.verify_plain(*hash) {
                Ok(()) => twice.push(*hash),
                Err(BlobError::Damaged { .. }) => drop(others.remove_plain(*hash)?),
                Err(BlobError::Absent(_)) => {}
                Err(other) => return Err(other),
            }
        }
        if !twice.is_empty() {
            // Whoever brought them may not have flushed them yet.
            others.flush()?;
        }
        for hash in twice {
            self.layer.remove(hash).map_err(|source| self.failed(source))?;
        }
        for older in self.older.iter().filter(|older| !older.is(&self.layer)) {
            let theirs =
                older.hashes().map_err(|source| BlobError::Io { what: "use", path: older.at.join("index"), source })?;
            let both = ours.iter().filter(|hash| theirs.binary_search(hash).is_ok());
            for hash in both {
                let failed = |source| BlobError::Io { what: "clear up", path: older.at.clone(), source };
                let Some(mut file) = older.content(*hash).map_err(failed)? else { continue };
                let removed = match others.check(*hash, &mut file, |_| Ok(())) {
                    Ok(_) => self.layer.remove(*hash).map_err(|source| self.failed(source)),
                    Err(BlobError::Damaged { .. }) => older.remove(*hash).map_err(failed),
                    Err(other) => return Err(other),
                };
                removed?;
            }
        }
        drop(ours);
        self.layer.sweep().map_err(|source| self.failed(source)).map(|_| ())
    }

    fn failed(&self, source: io::Error) -> BlobError {
        BlobError::Io { what: "clear up", path: self.layer.at.clone(), source }
    }
}

/// Opens a content in the first of the layers that has it. One that cannot be read is an error only when no other has it.
pub(super) fn content(layers: &[Arc<Layer>], hash: ContentHash) -> Result<Option<File>, BlobError> {
    let mut failure = None;
    for layer in layers {
        match layer.content(hash) {
            Ok(None) => {}
            Ok(found) => return Ok(found),
            Err(source) => failure = Some(BlobError::Io { what: "use", path: layer.at.join("index"), source }),
        }
    }
    failure.map_or(Ok(None), Err)
}
