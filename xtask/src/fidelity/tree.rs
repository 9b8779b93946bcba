//! A plain walk over a file tree: every path with every fact that a program could have set.
//!
//! This is the witness of the comparison. It shares no code with Greenroom's own scan: another way to walk (`read_dir`
//! instead of handles), another way to read metadata, contents and attributes. It follows no symbolic link and does not
//! look into the directories of Greenroom's own state.
//!
//! Not among the facts, because no program can set them: inode numbers, change times, link counts of directories, sizes of
//! directories.

use rustix::fs::{CWD, FileType, IFlags, Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is known of one path: the name of the fact and its value, as text.
pub(crate) type Facts = BTreeMap<String, String>;

/// All paths of a tree; the root itself is `/`.
pub(crate) type Tree = BTreeMap<PathBuf, Facts>;

/// Greenroom's own places: they are on the host on which Greenroom worked and on no other.
const OWN: &[&str] = &["/var/lib/greenroom", "/.greenroom"];

/// Reads the tree at `root`.
///
/// # Errors
/// A path cannot be read although it is there. A path that goes away during the walk is no error: hosts are alive.
pub(crate) fn read(root: &Path) -> io::Result<Tree> {
    let mut walk = Walk { root, tree: Tree::new(), names: BTreeMap::new() };
    walk.look(Path::new("/"))?;
    for names in walk.names.into_values().filter(|names| names.len() > 1) {
        let group = format!("{names:?}");
        for name in names {
            if let Some(facts) = walk.tree.get_mut(&name) {
                facts.insert("hard links".to_owned(), group.clone());
            }
        }
    }
    Ok(walk.tree)
}

struct Walk<'a> {
    root: &'a Path,
    tree: Tree,
    /// Paths by device and inode, of files with more than one name.
    names: BTreeMap<(u64, u64), Vec<PathBuf>>,
}

impl Walk<'_> {
    fn look(&mut self, path: &Path) -> io::Result<()> {
        if OWN.iter().any(|own| path == Path::new(own)) {
            return Ok(());
        }
        let full = self.root.join(path.strip_prefix("/").unwrap_or(path));
        let facts = fs::symlink_metadata(&full).and_then(|meta| Ok((facts(&full, &meta)?, meta)));
        let (facts, meta) = match facts {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", full.display())))?,
        };
        self.tree.insert(path.to_owned(), facts);
        if meta.is_dir() {
            let mut names: Vec<_> =
                fs::read_dir(&full)?.map(|entry| entry.map(|e| e.file_name())).collect::<Result<_, _>>()?;
            // In order, so that the names of a file with several come out in the same order everywhere.
            names.sort();
            for name in names {
                self.look(&path.join(name))?;
            }
        } else if meta.nlink() > 1 {
            self.names.entry((meta.dev(), meta.ino())).or_default().push(path.to_owned());
        }
        Ok(())
    }
}

fn facts(full: &Path, meta: &Metadata) -> io::Result<Facts> {
    let mut facts = Facts::new();
    let mut add = |name: &str, value: String| facts.insert(name.to_owned(), value);
    let kind = FileType::from_raw_mode(meta.mode());
    add("kind", format!("{kind:?}"));
    add("mode", format!("{:04o}", meta.mode() & 0o7777));
    add("owner", format!("{}:{}", meta.uid(), meta.gid()));
    add("mtime", format!("{}.{:09}", meta.mtime(), meta.mtime_nsec()));
    match kind {
        FileType::RegularFile => {
            add("size", meta.len().to_string());
            add("content", hash(full)?);
        }
        FileType::Symlink => {
            add("target", format!("{:?}", fs::read_link(full)?));
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            add("device", format!("{:#x}", meta.rdev()));
        }
        _ => {}
    }
    if matches!(kind, FileType::RegularFile | FileType::Directory) {
        add("attributes", attributes(full)?);
    }
    for (name, value) in xattrs(full)? {
        add(&name, value);
    }
    Ok(facts)
}

fn hash(full: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut fs::File::open(full)?, &mut hasher)?;
    Ok(hasher.finalize().to_hex()[..24].to_owned())
}

/// What `chattr` can set; the file system keeps other flags for itself.
fn attributes(full: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, full, flags, Mode::empty())?;
    let kept = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::NODUMP | IFlags::NOATIME;
    Ok(rustix::fs::ioctl_getflags(&file).map_or_else(|_| String::new(), |flags| format!("{:?}", flags & kept)))
}

/// Every extended attribute: ACLs and capabilities are among them.
fn xattrs(full: &Path) -> io::Result<Vec<(String, String)>> {
    let mut names = vec![0; 65_536];
    let length = rustix::fs::llistxattr(full, &mut names[..])?;
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(full, std::ffi::OsStr::from_bytes(name), &mut value[..])?;
        found.push((
            format!("xattr {}", String::from_utf8_lossy(name)),
            format!("{:?}", value[..length].escape_ascii().to_string()),
        ));
    }
    Ok(found)
}
