//! The trees and their layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use greenroom_core::image::{Manifest, between, contents, is_manifest};
use greenroom_core::{ContentHash, TreePath, changeset};
use greenroom_host::apply::Contents;
use greenroom_host::copy::{self, stack, stack::Stack};
use greenroom_host::scan::Tree;
use greenroom_host::sys::fs::sync_file_system;
use greenroom_store::blobs::{BlobStore as _, DirBlobs};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::image::places;
use crate::state::write_durably;
use crate::{EngineError, State, lock};

/// A stack has so many layers at most: each costs a look at every path that is opened.
const DEEPEST: usize = 16;

/// Where manifests and contents come from.
pub(crate) trait Source {
    /// The manifest of this name.
    ///
    /// # Errors
    /// It cannot be had.
    fn manifest(&self, state: &State, id: ContentHash) -> Result<Manifest, EngineError>;

    /// Puts these contents into the state's.
    ///
    /// # Errors
    /// They cannot be had.
    fn contents(&self, state: &State, wanted: &BTreeMap<ContentHash, u64>) -> Result<(), EngineError>;
}

/// All trees.
pub(crate) struct Shelf {
    dir: PathBuf,
}

/// Which layers a tree is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Layers {
    /// The topmost first.
    layers: Vec<u64>,
}

/// A tree that is mounted, and kept as long as it is.
pub(crate) struct Shown {
    stack: Stack,
    _used: File,
}

impl Shown {
    pub(crate) fn root(&self) -> &Path {
        self.stack.root()
    }
}

impl Shelf {
    /// The shelf in this state directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn open(state: &Path) -> Result<Self, EngineError> {
        let dir = state.join("stage");
        for part in ["", "layers", "trees", "empty", "below", "noise", "work"] {
            make_dir(&dir.join(part))?;
        }
        Ok(Self { dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Mounts the tree of a manifest at the directory `at`; where there is none yet, it is made first.
    ///
    /// # Errors
    /// The source's; there is no room, or the kernel has no overlays.
    pub(crate) fn show(&self, id: ContentHash, at: &Path, source: &dyn Source) -> Result<Shown, EngineError> {
        let _alone = self.alone()?;
        let tree = match self.tree(id)? {
            Some(tree) => tree,
            None => self.make(id, source)?,
        };
        self.mount(id, &tree, at)
    }

    /// Drops trees that are not among `keep` and that nothing uses, and then layers that no tree has.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn drop_others(&self, keep: &BTreeSet<ContentHash>) -> Result<(), EngineError> {
        let _alone = self.alone()?;
        let mut needed = BTreeSet::new();
        for id in self.trees()? {
            let Some(tree) = self.tree(id)? else { continue };
            if keep.contains(&id) || !self.is_free(id)? {
                needed.extend(tree.layers);
                continue;
            }
            for path in [self.tree_path(id), self.manifest_path(id)] {
                fs::remove_file(&path).map_err(EngineError::file("delete", path))?;
            }
        }
        for number in self.layers()?.difference(&needed) {
            let path = self.layer(*number);
            copy::remove_tree(&path).map_err(EngineError::file("delete", path))?;
        }
        Ok(())
    }

    pub(super) fn alone(&self) -> Result<File, EngineError> {
        let path = self.dir.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(EngineError::file("open", &path))?;
        let held = rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive));
        held.map_err(|error| EngineError::file("lock", path)(error.into()))?;
        Ok(file)
    }

    fn is_free(&self, id: ContentHash) -> Result<bool, EngineError> {
        let path = self.tree_path(id);
        let file = File::open(&path).map_err(EngineError::file("open", path))?;
        Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
    }

    fn mount(&self, id: ContentHash, tree: &Layers, at: &Path) -> Result<Shown, EngineError> {
        let path = self.tree_path(id);
        let used = File::open(&path).map_err(EngineError::file("open", &path))?;
        flock(&used, FlockOperation::LockShared).map_err(|error| EngineError::file("lock", path)(error.into()))?;
        let layers: Vec<PathBuf> = tree.layers.iter().map(|number| self.layer(*number)).collect();
        let stack = Stack::mount(&layers, &self.dir.join("empty"), at).map_err(|error| {
            let what = format!("this machine cannot be a stage: {}", crate::apply::chain(&error));
            EngineError::refused(
                what,
                "a stage needs overlayfs and a state directory on ext4, XFS or btrfs; or --stage=no",
            )
        })?;
        Ok(Shown { stack, _used: used })
    }

    /// Makes a tree: a layer over the tree from which it differs least.
    fn make(&self, id: ContentHash, source: &dyn Source) -> Result<Layers, EngineError> {
        // What an earlier try had fetched is used.
        let fetched = State::open(&self.dir.join("fetched"))?;
        let manifest = source.manifest(&fetched, id)?;
        let below = self.nearest(&manifest)?;
        let (shown, has) = match &below {
            None => (None, BTreeMap::new()),
            Some((id, tree, base)) => (Some(self.mount(*id, tree, &self.dir.join("below"))?), places(base)),
        };
        let flat = || (manifest.clone(), Vec::new());
        let (delta, under) = match &below {
            Some((_, tree, base)) if tree.layers.len() < DEEPEST => (between(base, &manifest), tree.layers.clone()),
            _ => flat(),
        };
        let missing: BTreeMap<ContentHash, u64> =
            contents(&delta).into_iter().filter(|(content, _)| !has.contains_key(content)).collect();
        source.contents(&fetched, &missing)?;
        let tree = shown.as_ref().map(|shown| Tree::open(shown.root())).transpose()?;
        let number =
            self.write(&manifest, &delta, &FromBoth { blobs: &fetched.blobs, tree: tree.map(Mutex::new), has })?;
        drop(shown);
        let tree = Layers { layers: std::iter::once(number).chain(under).collect() };
        let encoded = changeset::codec::encoded(&manifest);
        let path = self.manifest_path(id);
        write_durably(&path, &encoded).map_err(EngineError::file("write", path))?;
        let path = self.tree_path(id);
        let text = serde_json::to_vec(&tree)
            .map_err(|error| EngineError::Damaged { path: path.clone(), source: Box::new(error) })?;
        write_durably(&path, &text).map_err(EngineError::file("write", path))?;
        let path = fetched.dir().to_owned();
        drop(fetched);
        copy::remove_tree(&path).map_err(EngineError::file("delete", path))?;
        Ok(tree)
    }

    /// Writes a layer and makes it durable; its number.
    fn write(
        &self,
        manifest: &Manifest,
        delta: &changeset::Changeset,
        from: &FromBoth<'_>,
    ) -> Result<u64, EngineError> {
        let dir = self.dir.join("layers");
        let unfinished = dir.join("new");
        copy::remove_tree(&unfinished).map_err(EngineError::file("delete", &unfinished))?;
        make_dir(&unfinished)?;
        stack::write(&unfinished, manifest, delta, from)?;
        let open = File::open(&dir).map_err(EngineError::file("open", &dir))?;
        sync_file_system(open.as_fd()).map_err(EngineError::file("make durable", &unfinished))?;
        let number = self.layers()?.last().map_or(1, |last| last + 1);
        let path = self.layer(number);
        fs::rename(&unfinished, &path).map_err(EngineError::file("put in place", path))?;
        open.sync_all().map_err(EngineError::file("make durable", dir))?;
        Ok(number)
    }

    /// The tree over which a layer for `manifest` needs the fewest bytes that it does not have, then the fewest paths; `None`: a tree
    /// of its own needs as few.
    fn nearest(&self, manifest: &Manifest) -> Result<Option<(ContentHash, Layers, Manifest)>, EngineError> {
        let wanted = contents(manifest);
        let (mut least, mut found) = ((wanted.values().sum::<u64>(), 0, 0), None);
        for id in self.trees()? {
            // One that is damaged serves nobody; it is made anew when it is asked for.
            let (Some(tree), Ok(base)) = (self.tree(id)?, self.manifest(id)) else { continue };
            let has = contents(&base);
            let missing = wanted.iter().filter(|(content, _)| !has.contains_key(content)).map(|(_, size)| size).sum();
            let cost = (missing, between(&base, manifest).entries().len(), tree.layers.len());
            if cost < least {
                (least, found) = (cost, Some((id, tree, base)));
            }
        }
        Ok(found)
    }

    /// The layers of a tree; `None`: there is none, or not all of them.
    fn tree(&self, id: ContentHash) -> Result<Option<Layers>, EngineError> {
        let path = self.tree_path(id);
        match fs::read(&path) {
            Ok(text) => {
                let tree: Option<Layers> = serde_json::from_slice(&text).ok();
                Ok(tree.filter(|tree| tree.layers.iter().all(|number| self.layer(*number).is_dir())))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EngineError::file("read", path)(error)),
        }
    }

    fn manifest(&self, id: ContentHash) -> Result<Manifest, EngineError> {
        let path = self.manifest_path(id);
        let bytes = fs::read(&path).map_err(EngineError::file("read", &path))?;
        changeset::codec::decode_named(&bytes, id)
            .filter(is_manifest)
            .ok_or_else(|| EngineError::Damaged { path, source: "it is not the manifest that its name says".into() })
    }

    fn trees(&self) -> Result<Vec<ContentHash>, EngineError> {
        let names = self.names("trees")?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect())
    }

    fn layers(&self) -> Result<BTreeSet<u64>, EngineError> {
        Ok(self.names("layers")?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn names(&self, part: &str) -> Result<Vec<String>, EngineError> {
        let dir = self.dir.join(part);
        let entries = fs::read_dir(&dir).map_err(EngineError::file("read", dir))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn layer(&self, number: u64) -> PathBuf {
        self.dir.join("layers").join(number.to_string())
    }

    fn tree_path(&self, id: ContentHash) -> PathBuf {
        self.dir.join("trees").join(format!("{id}.json"))
    }

    fn manifest_path(&self, id: ContentHash) -> PathBuf {
        self.dir.join("trees").join(id.to_string())
    }
}

/// Makes a directory that is root's alone.
///
/// # Errors
/// The kernel's.
pub(super) fn make_dir(path: &Path) -> Result<(), EngineError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(EngineError::file("make the directory", path))
}

/// Contents that were fetched, and those that a tree has.
struct FromBoth<'a> {
    blobs: &'a DirBlobs,
    tree: Option<Mutex<Tree>>,
    has: BTreeMap<ContentHash, (TreePath, u64)>,
}

impl Contents for FromBoth<'_> {
    fn open(&self, hash: &ContentHash) -> io::Result<File> {
        if let (Some((path, _)), Some(tree)) = (self.has.get(hash), &self.tree)
            && let Some(file) = lock(tree).open_file(path).map_err(io::Error::other)?
        {
            return Ok(file);
        }
        self.blobs.open(*hash).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests;
