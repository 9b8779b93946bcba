//! The independent view: a walk with the standard library that reads everything, holds everything, and knows no record.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use greenroom_core::manifest::flags;
use greenroom_core::{ContentHash, Kind, Mtime, Node, TreePath};
use rustix::fs::{CWD, IFlags, Mode, OFlags};

/// Every path of a tree with its state.
pub(crate) type View = BTreeMap<TreePath, Node>;

/// Looks at the tree at `root`, all but Greenroom's own.
pub(crate) fn view(root: &Path) -> View {
    let (mut out, mut names) = (View::new(), BTreeMap::new());
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        if path == Path::new("var/lib/greenroom") {
            continue;
        }
        // The path of the root itself ends in a slash otherwise.
        let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
        let meta = fs::symlink_metadata(&full).unwrap();
        if meta.file_type().is_socket() {
            continue;
        }
        let tree_path = TreePath::new(path.as_os_str().as_bytes());
        if meta.is_dir() {
            todo.extend(fs::read_dir(&full).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
        } else if meta.nlink() > 1 {
            names.entry((meta.dev(), meta.ino())).or_insert_with(Vec::new).push(tree_path.clone());
        }
        out.insert(tree_path, node(&full, &meta));
    }
    for mut group in names.into_values().filter(|group| group.len() > 1) {
        group.sort();
        for path in &group {
            out.get_mut(path).unwrap().link = Some(group[0].clone());
        }
    }
    out
}

fn node(full: &Path, meta: &fs::Metadata) -> Node {
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let kind = match meta.file_type() {
        t if t.is_dir() => Kind::Dir,
        t if t.is_symlink() => Kind::Symlink(fs::read_link(full).unwrap().as_os_str().as_bytes().into()),
        t if t.is_fifo() => Kind::Fifo,
        t if t.is_char_device() => Kind::CharDevice { major, minor },
        t if t.is_block_device() => Kind::BlockDevice { major, minor },
        _ => Kind::File { size: meta.len(), content: ContentHash::of(&fs::read(full).unwrap()) },
    };
    let mut xattrs = Vec::new();
    let mut list = [0; 65_536];
    let length = rustix::fs::llistxattr(full, &mut list[..]).unwrap();
    for name in list[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = [0; 65_536];
        let length = rustix::fs::lgetxattr(full, name, &mut value[..]).unwrap();
        xattrs.push((Box::from(name), Box::from(&value[..length])));
    }
    xattrs.sort();
    Node {
        mode: (meta.mode() & 0o7777) as u16,
        flags: if matches!(kind, Kind::Dir | Kind::File { .. }) { attributes(full) } else { 0 },
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: match kind {
            Kind::Dir => Mtime::default(),
            _ => Mtime { sec: meta.mtime(), nsec: meta.mtime_nsec() as u32 },
        },
        xattrs: xattrs.into(),
        link: None,
        kind,
    }
}

fn attributes(full: &Path) -> u8 {
    let file = rustix::fs::openat(CWD, full, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()).unwrap();
    let bits = rustix::fs::ioctl_getflags(&file).unwrap_or(IFlags::empty());
    let known =
        [(flags::IMMUTABLE, IFlags::IMMUTABLE), (flags::APPEND, IFlags::APPEND), (flags::NODUMP, IFlags::NODUMP)];
    known.into_iter().filter(|(_, bit)| bits.contains(*bit)).map(|(flag, _)| flag).sum()
}
