//! One random change to a real tree.
//!
//! A mutation does not name paths: it holds indexes, and picks from what is there when it is applied. So any list of
//! mutations fits any tree, and shrinking either one keeps the other meaningful. Where there is nothing to pick
//! from, or the file system rightly refuses (a directory cannot go into itself), nothing happens.

use super::disk::{self, Time};
use super::node::{Node, What};
use proptest::sample::Index;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

/// A change, and the time that all it touches has afterwards.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// What is done.
    pub action: Action,
    /// The modification time of what was changed and of the directories it is in.
    pub when: Time,
}

/// What a mutation does. An [`Index`] picks among the paths (or regular files, or directories) that are there.
#[derive(Clone, Debug)]
pub enum Action {
    /// Makes a new file in a directory.
    Create(Index, PathBuf, Node),
    /// Removes a path with all below it.
    Delete(Index),
    /// Moves a path, a populated directory too, to a name in a directory; what has that name is replaced where
    /// rename(2) does so.
    Rename(Index, Index, PathBuf),
    /// Removes a path and makes another kind of file of the same name.
    Replace(Index, Node),
    /// Writes other data of the same length into a file, and puts its modification time back.
    EditUnseen(Index, u64),
    /// Writes other data at the start of a file in place.
    Edit(Index, u64),
    /// Sets the length of a file.
    Resize(Index, u64),
    /// Changes permission bits.
    Chmod(Index, u32),
    /// Changes owner and group.
    Chown(Index, u32, u32),
    /// Changes nothing but the modification time.
    Touch(Index),
    /// Sets an extended attribute (ACLs and capabilities are such).
    SetXattr(Index, String, Vec<u8>),
    /// Removes all extended attributes.
    ClearXattrs(Index),
    /// Gives a file one more name in a directory.
    HardLink(Index, Index, PathBuf),
    /// Removes one name of a file that has several.
    Unlink(Index),
    /// `rm -r d; mkdir d`.
    Recreate(Index),
    /// Opens a file for writing and writes nothing: no change at all.
    OpenOnly(Index),
}

impl Mutation {
    /// Changes the tree below `root`.
    ///
    /// # Errors
    /// An operation that should have worked and did not.
    pub fn apply(&self, root: &Path) -> io::Result<()> {
        let scene = Scene { root, paths: disk::paths(root)? };
        match &self.action {
            Action::Create(parent, name, node) => self.create(&scene, parent, name, node),
            Action::Delete(at) => scene.any(at).map_or(Ok(()), |path| {
                disk::remove(&path)?;
                self.stamp_parent(&path)
            }),
            Action::Rename(from, to, name) => self.rename(&scene, from, to, name),
            Action::Replace(at, node) => scene.any(at).map_or(Ok(()), |path| {
                disk::remove(&path)?;
                self.make(&scene, &path, node)
            }),
            Action::EditUnseen(at, seed) => scene.file(at).map_or(Ok(()), |path| {
                let before = disk::mtime(&path)?;
                overwrite(&path, *seed)?;
                disk::set_mtime(&path, before)
            }),
            Action::Edit(at, seed) => self.touching(scene.file(at), |path| overwrite(path, *seed)),
            Action::Resize(at, length) => {
                self.touching(scene.file(at), |path| fs::File::options().write(true).open(path)?.set_len(*length))
            }
            Action::Chmod(at, mode) => scene.not_a_link(at).map_or(Ok(()), |path| disk::set_mode(&path, *mode)),
            Action::Chown(at, uid, gid) => scene.any(at).map_or(Ok(()), |path| lchown(path, Some(*uid), Some(*gid))),
            Action::Touch(at) => self.touching(scene.any(at), |_| Ok(())),
            Action::SetXattr(at, name, value) => scene.any(at).map_or(Ok(()), |path| {
                if what_is(&path)?.can_have(name) { disk::set_xattr(&path, name, value) } else { Ok(()) }
            }),
            Action::ClearXattrs(at) => scene.any(at).map_or(Ok(()), |path| clear_xattrs(&path)),
            Action::HardLink(from, parent, name) => self.hard_link(&scene, from, parent, name),
            Action::Unlink(at) => scene.several_names(at).map_or(Ok(()), |path| {
                fs::remove_file(&path)?;
                self.stamp_parent(&path)
            }),
            Action::Recreate(at) => scene.inner_directory(at).map_or(Ok(()), |path| {
                fs::remove_dir_all(&path)?;
                fs::create_dir(&path)?;
                disk::set_mode(&path, 0o755)?;
                disk::set_mtime(&path, self.when)?;
                self.stamp_parent(&path)
            }),
            Action::OpenOnly(at) => {
                scene.file(at).map_or(Ok(()), |path| fs::File::options().read(true).write(true).open(path).map(drop))
            }
        }
    }

    fn create(&self, scene: &Scene<'_>, parent: &Index, name: &Path, node: &Node) -> io::Result<()> {
        let path = scene.directory(parent).join(name);
        if disk::exists(&path) { Ok(()) } else { self.make(scene, &path, node) }
    }

    /// Makes a node at a full path; a hard link becomes a name of any regular file there is.
    fn make(&self, scene: &Scene<'_>, path: &Path, node: &Node) -> io::Result<()> {
        let relative = path.strip_prefix(scene.root).map_err(io::Error::other)?;
        match &node.what {
            What::HardLink(_) => {
                let there = |file: &PathBuf| file != path && disk::exists(file);
                if let Some(file) = scene.files().into_iter().find(there) {
                    fs::hard_link(file, path)?;
                }
            }
            _ => node.create(scene.root, relative)?,
        }
        if node.what == What::Directory {
            node.meta.set(path, &node.what)?;
        }
        self.stamp_parent(path)
    }

    fn rename(&self, scene: &Scene<'_>, from: &Index, to: &Index, name: &Path) -> io::Result<()> {
        let Some(from) = scene.any(from) else { return Ok(()) };
        let to = scene.directory(to).join(name);
        // Into itself, over a populated directory, a directory over a file or the other way: no rename does that.
        let two_kinds = match (fs::symlink_metadata(&from), fs::symlink_metadata(&to)) {
            (Ok(from), Ok(to)) => from.is_dir() != to.is_dir() || to.is_dir(),
            _ => false,
        };
        if to.starts_with(&from) || from.starts_with(&to) || two_kinds {
            return Ok(());
        }
        fs::rename(&from, &to)?;
        self.stamp_parent(&from)?;
        self.stamp_parent(&to)
    }

    fn hard_link(&self, scene: &Scene<'_>, from: &Index, parent: &Index, name: &Path) -> io::Result<()> {
        let to = scene.directory(parent).join(name);
        match scene.file(from) {
            Some(from) if !disk::exists(&to) => {
                fs::hard_link(from, &to)?;
                self.stamp_parent(&to)
            }
            _ => Ok(()),
        }
    }

    fn touching(&self, path: Option<PathBuf>, action: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        path.map_or(Ok(()), |path| {
            action(&path)?;
            disk::set_mtime(&path, self.when)
        })
    }

    fn stamp_parent(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |parent| disk::set_mtime(parent, self.when))
    }
}

/// What there is to pick from, in order.
struct Scene<'a> {
    root: &'a Path,
    paths: Vec<PathBuf>,
}

impl Scene<'_> {
    fn those(&self, wanted: impl Fn(&fs::Metadata) -> bool) -> Vec<PathBuf> {
        let full = self.paths.iter().map(|path| self.root.join(path));
        full.filter(|path| fs::symlink_metadata(path).is_ok_and(|meta| wanted(&meta))).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.those(fs::Metadata::is_file)
    }

    fn any(&self, index: &Index) -> Option<PathBuf> {
        pick(self.those(|_| true), index)
    }

    fn file(&self, index: &Index) -> Option<PathBuf> {
        pick(self.files(), index)
    }

    fn several_names(&self, index: &Index) -> Option<PathBuf> {
        pick(self.those(|meta| meta.is_file() && meta.nlink() > 1), index)
    }

    fn not_a_link(&self, index: &Index) -> Option<PathBuf> {
        pick(self.those(|meta| !meta.is_symlink()), index)
    }

    fn inner_directory(&self, index: &Index) -> Option<PathBuf> {
        pick(self.those(fs::Metadata::is_dir), index)
    }

    /// A directory, the root included, so there always is one.
    fn directory(&self, index: &Index) -> PathBuf {
        let mut directories = self.those(fs::Metadata::is_dir);
        directories.push(self.root.to_owned());
        pick(directories, index).unwrap_or_else(|| self.root.to_owned())
    }
}

fn pick(mut paths: Vec<PathBuf>, index: &Index) -> Option<PathBuf> {
    (!paths.is_empty()).then(|| paths.swap_remove(index.index(paths.len())))
}

/// Changes the first bytes of a file, whatever they were, and nothing of an empty one.
fn overwrite(path: &Path, seed: u64) -> io::Result<()> {
    let mut file = fs::File::options().read(true).write(true).open(path)?;
    let mut start = vec![0; 4096];
    let length = file.read(&mut start)?;
    for (old, new) in start.iter_mut().zip(disk::bytes(seed, length)) {
        // Never 0, so that every byte becomes another.
        *old ^= new | 1;
    }
    file.rewind()?;
    file.write_all(&start[..length])
}

fn clear_xattrs(path: &Path) -> io::Result<()> {
    for name in crate::oracle::xattrs(path)?.into_keys() {
        rustix::fs::lremovexattr(path, name.as_str())?;
    }
    Ok(())
}

/// Enough of what a real file is to ask which attributes it can have.
fn what_is(path: &Path) -> io::Result<What> {
    let kind = fs::symlink_metadata(path)?.file_type();
    Ok(if kind.is_dir() {
        What::Directory
    } else if kind.is_symlink() {
        What::Symlink(PathBuf::new())
    } else if kind.is_file() {
        What::HardLink(PathBuf::new())
    } else {
        What::Fifo
    })
}
