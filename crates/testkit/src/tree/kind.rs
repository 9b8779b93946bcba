//! The kinds of file as a table, for tests over every pair (kind before × kind after).

use super::disk;
use super::node::{Content, Meta, Node, What};
use std::io;
use std::path::{Path, PathBuf};

/// A kind of file, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Nothing there.
    Absent,
    /// A regular file with content.
    Regular,
    /// A regular file without content.
    Empty,
    /// A regular file with a hole.
    Sparse,
    /// A symlink to something that is there.
    Symlink,
    /// A symlink to nothing.
    Dangling,
    /// One of two names of a file; the other is [`Kind::other_name`].
    HardLink,
    /// A named pipe.
    Fifo,
    /// A character device node.
    Character,
    /// A block device node.
    Block,
    /// A directory with nothing in it.
    EmptyDirectory,
    /// A directory with a file, a symlink and a directory in it.
    Directory,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Absent,
        Self::Regular,
        Self::Empty,
        Self::Sparse,
        Self::Symlink,
        Self::Dangling,
        Self::HardLink,
        Self::Fifo,
        Self::Character,
        Self::Block,
        Self::EmptyDirectory,
        Self::Directory,
    ];

    /// Every ordered pair of kinds, a kind with itself included (same kind, other content), without
    /// (absent, absent).
    pub fn pairs() -> impl Iterator<Item = (Self, Self)> {
        let all = Self::ALL.into_iter();
        all.flat_map(|before| Self::ALL.into_iter().map(move |after| (before, after)))
            .filter(|pair| *pair != (Self::Absent, Self::Absent))
    }

    /// Where the second name of a [`Kind::HardLink`] at `path` is: beside it.
    #[must_use]
    pub fn other_name(path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".other");
        path.with_file_name(name)
    }

    /// Puts a file of this kind at `path`, instead of what is there. Everything about it comes from `seed`: another
    /// seed makes another content, target, device number, mode and time.
    ///
    /// # Errors
    /// The first operation that the file system refused.
    pub fn put(self, path: &Path, seed: u32) -> io::Result<()> {
        if disk::exists(path) {
            disk::remove(path)?;
        }
        let (Some(root), Some(name)) = (path.parent(), path.file_name().map(Path::new)) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let mode = [0o644, 0o600, 0o755, 0o4755][seed as usize % 4];
        let meta = Meta::plain(mode, (1_700_000_000 + i64::from(seed), seed));
        let make = |name: &Path, what: What| -> io::Result<()> { Node { what, meta: meta.clone() }.create(root, name) };
        let content = |length, hole| What::Regular(Content { seed: seed.into(), length, hole });
        match self {
            Self::Absent => {}
            Self::Regular => make(name, content(5_000, 0))?,
            Self::Empty => make(name, content(0, 0))?,
            Self::Sparse => make(name, content(8_192, 1 << 20))?,
            Self::Symlink => make(name, What::Symlink(["/", ".", "..", "/proc"][seed as usize % 4].into()))?,
            Self::Dangling => make(name, What::Symlink(format!("nowhere/{seed}").into()))?,
            Self::HardLink => {
                let other = Self::other_name(name);
                if disk::exists(&root.join(&other)) {
                    disk::remove(&root.join(&other))?;
                }
                make(&other, content(700, 0))?;
                make(name, What::HardLink(other))?;
            }
            Self::Fifo => make(name, What::Fifo)?,
            Self::Character => make(name, What::Character(1, 3 + seed % 5))?,
            Self::Block => make(name, What::Block(7, 200 + seed % 50))?,
            Self::EmptyDirectory | Self::Directory => {
                make(name, What::Directory)?;
                if self == Self::Directory {
                    make(&name.join("file"), content(300, 0))?;
                    make(&name.join("link"), What::Symlink("file".into()))?;
                    make(&name.join("inner"), What::Directory)?;
                    make(&name.join("inner/deep"), content(0, 0))?;
                    meta.set(&path.join("inner"), &What::Directory)?;
                }
                meta.set(path, &What::Directory)?;
            }
        }
        Ok(())
    }
}
