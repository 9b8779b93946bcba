//! What one path of a tree is: its kind and all metadata that Greenroom promises to carry over and to bring back.
//!
//! Kept out on purpose: ctime and inode number (nobody can restore them), atime (reading is no change), and the
//! mtime of directories, which follows from what happens inside them and travels apart
//! ([`crate::Changeset::dir_times`]).

mod spelled;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::path::{Shown, bytes_json};
use crate::{ContentHash, TreePath};

/// A modification time: seconds since the Unix epoch (negative before it) and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mtime {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub sec: i64,
    /// 0 to 999,999,999.
    pub nsec: u32,
}

impl fmt::Display for Mtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i32::try_from(self.nsec).ok().and_then(|nsec| jiff::Timestamp::new(self.sec, nsec).ok()) {
            Some(stamp) => write!(f, "{stamp}"),
            None => write!(f, "@{}.{:09}", self.sec, self.nsec),
        }
    }
}

/// What a path is, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// BLAKE3 of the content.
        content: ContentHash,
    },
    /// A directory.
    Dir,
    /// A symbolic link and where it points, uninterpreted.
    Symlink(Box<[u8]>),
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl Kind {
    /// The word for it, as in JSON and in reports.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Dir => "directory",
            Self::Symlink(_) => "symlink",
            Self::Fifo => "fifo",
            Self::CharDevice { .. } => "char device",
            Self::BlockDevice { .. } => "block device",
        }
    }

    /// Whether both are of one kind, whatever they hold.
    #[must_use]
    pub fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Extended attributes, sorted by name. ACLs and file capabilities are among them, in the kernel's own encoding.
pub type Xattrs = Box<[(Box<[u8]>, Box<[u8]>)]>;

/// The inode attributes (`chattr`) that are part of a node's state.
pub mod flags {
    /// `chattr +i`.
    pub const IMMUTABLE: u8 = 1;
    /// `chattr +a`.
    pub const APPEND: u8 = 2;
    /// `chattr +d`.
    pub const NODUMP: u8 = 4;
}

/// The state of one path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Kind and content.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: the low twelve bits of `st_mode`. Always 0o777 for a symlink.
    pub mode: u16,
    /// [`flags`], or'ed.
    pub flags: u8,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time; zero for directories (see the module page).
    pub mtime: Mtime,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// The first name, in byte order, of this file's hard-link group in the same view; `None` when it has one name.
    pub link: Option<TreePath>,
}

/// One aspect in which two nodes differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs: `kind`, `content`, `mode`, `owner`, `group`, `mtime`, `target`, `device`, `attribute NAME`, `flags`, `links`.
    pub what: String,
    /// How it is on the first side.
    pub from: String,
    /// How it is on the second.
    pub to: String,
}

impl Node {
    /// In which aspects `self` and `other` differ; empty when they are the same.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut out = Vec::new();
        let mut push = |what: &str, from: String, to: String| out.push(Difference { what: what.to_owned(), from, to });
        match (&self.kind, &other.kind) {
            (a, b) if a == b => {}
            (Kind::File { size: a, content: ca }, Kind::File { size: b, content: cb }) => {
                push("content", describe_content(*a, ca), describe_content(*b, cb));
            }
            (Kind::Symlink(a), Kind::Symlink(b)) => push("target", Shown(a).to_string(), Shown(b).to_string()),
            (a, b) if a.same_kind(b) => push("device", device(a), device(b)),
            (a, b) => push("kind", a.word().to_owned(), b.word().to_owned()),
        }
        if self.mode != other.mode {
            push("mode", format!("{:04o}", self.mode), format!("{:04o}", other.mode));
        }
        if self.uid != other.uid {
            push("owner", self.uid.to_string(), other.uid.to_string());
        }
        if self.gid != other.gid {
            push("group", self.gid.to_string(), other.gid.to_string());
        }
        if self.mtime != other.mtime && self.kind.same_kind(&other.kind) {
            push("mtime", self.mtime.to_string(), other.mtime.to_string());
        }
        if self.flags != other.flags {
            push("flags", flag_words(self.flags), flag_words(other.flags));
        }
        if self.link != other.link {
            let show =
                |link: &Option<TreePath>| link.as_ref().map_or("one name".to_owned(), |l| format!("linked with {l}"));
            push("links", show(&self.link), show(&other.link));
        }
        xattr_differences(&self.xattrs, &other.xattrs, &mut push);
        out
    }

    /// Whether only the hard-link group differs, if anything does.
    #[must_use]
    pub fn same_but_for_link(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.mode == other.mode
            && self.flags == other.flags
            && self.uid == other.uid
            && self.gid == other.gid
            && self.mtime == other.mtime
            && self.xattrs == other.xattrs
    }

    /// The content's hash, of a regular file.
    #[must_use]
    pub fn content(&self) -> Option<ContentHash> {
        match &self.kind {
            Kind::File { content, .. } => Some(*content),
            _ => None,
        }
    }

    /// Length in bytes of a regular file, 0 of anything else.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }
}

fn describe_content(size: u64, content: &ContentHash) -> String {
    format!("{size} bytes, {}", &content.to_string()[..12])
}

fn device(kind: &Kind) -> String {
    match kind {
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            format!("{major}:{minor}")
        }
        other => other.word().to_owned(),
    }
}

/// The inode attributes in words, `none` for none.
#[must_use]
pub fn flag_words(bits: u8) -> String {
    let words: Vec<&str> =
        [(flags::IMMUTABLE, "immutable"), (flags::APPEND, "append-only"), (flags::NODUMP, "no-dump")]
            .into_iter()
            .filter(|(bit, _)| bits & bit != 0)
            .map(|(_, word)| word)
            .collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// Extended attributes and inode attributes in words: `security.capability=cap_net_raw=ep`, `flags=immutable`.
#[must_use]
pub fn attribute_words(xattrs: &Xattrs, bits: u8) -> Vec<String> {
    let word = |(name, value): &(Box<[u8]>, Box<[u8]>)| format!("{}={}", Shown(name), spelled::value(name, value));
    let mut out: Vec<String> = xattrs.iter().map(word).collect();
    if bits != 0 {
        out.push(format!("flags={}", flag_words(bits)));
    }
    out
}

fn xattr_differences(a: &Xattrs, b: &Xattrs, push: &mut impl FnMut(&str, String, String)) {
    let value = |set: &Xattrs, name: &[u8]| set.iter().find(|(n, _)| **n == *name).map(|(_, v)| v.clone());
    let mut names: Vec<&[u8]> = a.iter().chain(b.iter()).map(|(name, _)| &**name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (from, to) = (value(a, name), value(b, name));
        if from != to {
            let show = |v: Option<Box<[u8]>>| v.map_or("absent".to_owned(), |v| spelled::value(name, &v));
            push(&format!("attribute {}", Shown(name)), show(from), show(to));
        }
    }
}

/// A node as it stands in JSON: flat, absent fields left out.
#[derive(Serialize, Deserialize)]
struct NodeJson {
    kind: String,
    mode: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<ContentHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<BytesJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<(i64, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<(BytesJson, BytesJson)>,
    #[serde(default, skip_serializing_if = "is_zero")]
    flags: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<TreePath>,
}

#[derive(Serialize, Deserialize)]
struct BytesJson(#[serde(with = "bytes_json")] Vec<u8>);

fn is_zero(value: &u8) -> bool {
    *value == 0
}

impl Serialize for Node {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (size, content) = match &self.kind {
            Kind::File { size, content } => (Some(*size), Some(*content)),
            _ => (None, None),
        };
        NodeJson {
            kind: self.kind.word().to_owned(),
            mode: format!("{:04o}", self.mode),
            uid: self.uid,
            gid: self.gid,
            size,
            content,
            target: match &self.kind {
                Kind::Symlink(target) => Some(BytesJson(target.to_vec())),
                _ => None,
            },
            device: match &self.kind {
                Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => Some((*major, *minor)),
                _ => None,
            },
            mtime: (!self.is_dir()).then_some((self.mtime.sec, self.mtime.nsec)),
            xattrs: self.xattrs.iter().map(|(n, v)| (BytesJson(n.to_vec()), BytesJson(v.to_vec()))).collect(),
            flags: self.flags,
            link: self.link.clone(),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            kind: Kind::File { size: 3, content: ContentHash::of(b"abc") },
            mode: 0o644,
            flags: 0,
            uid: 0,
            gid: 0,
            mtime: Mtime { sec: 1, nsec: 2 },
            xattrs: Box::default(),
            link: None,
        }
    }

    #[test]
    fn every_aspect_that_differs_is_named() {
        type Edit = fn(&mut Node);
        let edits: &[(&str, Edit)] = &[
            ("content", |n| n.kind = Kind::File { size: 3, content: ContentHash::of(b"abd") }),
            ("kind", |n| n.kind = Kind::Fifo),
            ("mode", |n| n.mode = 0o600),
            ("owner", |n| n.uid = 1),
            ("group", |n| n.gid = 1),
            ("mtime", |n| n.mtime.nsec = 3),
            ("flags", |n| n.flags = flags::IMMUTABLE),
            ("links", |n| n.link = Some(TreePath::from("/a"))),
            ("attribute user.x", |n| n.xattrs = Box::new([(b"user.x"[..].into(), b"1"[..].into())])),
        ];
        assert!(node().differences(&node()).is_empty());
        for (what, edit) in edits {
            let mut other = node();
            edit(&mut other);
            let found: Vec<String> = node().differences(&other).into_iter().map(|d| d.what).collect();
            assert_eq!(found, [*what]);
        }
    }
}
