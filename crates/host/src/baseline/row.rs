//! One path's recorded state as bytes.
//!
//! ```text
//! row   = tag(u8) …
//!         tag & 7: 0 file, 1 directory, 2 symlink, 3 FIFO, 4 character device, 5 block device, 6 left out
//!         tag & 8: has attributes, 16: has a hard-link group, 32: has flags
//! left out: reason(u8)
//! else:   mode(u16) [flags(u8)] uid gid [not a directory: mtime s (zigzag), mtime ns]
//!         file: size hash[32] | symlink: bytes | device: major minor
//!         [bytes(count (bytes(name) bytes(value))*)] [bytes(first name of the group)]
//! ```
//! Numbers are LEB128 unless a width is given; `bytes` is a number and that many bytes. A state has one encoding: records of
//! equal trees are equal bytes.

use greenroom_core::manifest::Xattrs;
use greenroom_core::{ContentHash, Kind, Mtime, Node, TreePath};

use crate::sys::fs::types;

pub(super) const FILE: u8 = 0;
pub(super) const DIR: u8 = 1;
pub(super) const SYMLINK: u8 = 2;
const FIFO: u8 = 3;
pub(super) const CHAR: u8 = 4;
pub(super) const BLOCK: u8 = 5;
const LEFT_OUT: u8 = 6;

const HAS_XATTRS: u8 = 8;
const HAS_LINK: u8 = 16;
const HAS_FLAGS: u8 = 32;

/// Why a path that was there has no state on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// It could not be read.
    Unread,
    /// Something that is not the host's own was mounted there.
    Mount,
}

/// A row, as it lies in a page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    State(State<'a>),
    LeftOut(LeftOut),
}

/// A recorded state, as it lies in a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct State<'a> {
    pub(super) kind: u8,
    pub(super) mode: u16,
    pub(super) flags: u8,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Mtime,
    pub(super) size: u64,
    pub(super) hash: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) device: (u32, u32),
    xattrs: &'a [u8],
    pub(super) link: Option<&'a [u8]>,
}

impl State<'_> {
    pub(super) fn is_dir(&self) -> bool {
        self.kind == DIR
    }

    /// The file type bits of such an inode.
    pub(super) fn file_type(&self) -> u32 {
        match self.kind {
            FILE => types::FILE,
            DIR => types::DIR,
            SYMLINK => types::SYMLINK,
            FIFO => types::FIFO,
            CHAR => types::CHAR,
            _ => types::BLOCK,
        }
    }

    /// The whole state; `None`: it is damaged.
    pub(super) fn node(&self) -> Option<Node> {
        let (major, minor) = self.device;
        let kind = match self.kind {
            FILE => Kind::File { size: self.size, content: ContentHash(self.hash.try_into().ok()?) },
            DIR => Kind::Dir,
            SYMLINK => Kind::Symlink(self.target.into()),
            FIFO => Kind::Fifo,
            CHAR => Kind::CharDevice { major, minor },
            _ => Kind::BlockDevice { major, minor },
        };
        Some(Node {
            kind,
            mode: self.mode,
            flags: self.flags,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: self.attributes()?,
            link: self.link.map(TreePath::new),
        })
    }

    fn attributes(&self) -> Option<Xattrs> {
        if self.xattrs.is_empty() {
            return Some(Box::default());
        }
        let mut cursor = Cursor::new(self.xattrs);
        let count = cursor.number()?;
        let mut out = Vec::new();
        for _ in 0..count {
            out.push((cursor.bytes()?.into(), cursor.bytes()?.into()));
        }
        Some(out.into_boxed_slice())
    }
}

/// Reads forward through bytes; `None`: they end too early or hold what none can hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(count)?;
        self.rest = tail;
        Some(head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let (first, tail) = self.rest.split_first()?;
        self.rest = tail;
        Some(*first)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let first = self.u8()?;
        let mut out = u64::from(first & 0x7f);
        let (mut byte, mut shift) = (first, 7);
        while byte & 0x80 != 0 {
            byte = self.u8()?;
            out |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
        }
        Some(out)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    pub(super) fn row(&mut self) -> Option<Row<'a>> {
        let tag = self.u8()?;
        let kind = tag & 7;
        if kind == LEFT_OUT {
            return match self.u8()? {
                0 => Some(Row::LeftOut(LeftOut::Unread)),
                1 => Some(Row::LeftOut(LeftOut::Mount)),
                _ => None,
            };
        }
        let mode = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
        let flags = if tag & HAS_FLAGS != 0 { self.u8()? } else { 0 };
        let (uid, gid) = (self.u32()?, self.u32()?);
        let mtime =
            if kind == DIR { Mtime::default() } else { Mtime { sec: unzigzag(self.number()?), nsec: self.u32()? } };
        let (mut size, mut hash, mut target, mut device) = (0, &[][..], &[][..], (0, 0));
        match kind {
            FILE => (size, hash) = (self.number()?, self.take(32)?),
            SYMLINK => target = self.bytes()?,
            CHAR | BLOCK => device = (self.u32()?, self.u32()?),
            DIR | FIFO => {}
            _ => return None,
        }
        let xattrs = if tag & HAS_XATTRS != 0 { self.bytes()? } else { &[] };
        let link = if tag & HAS_LINK != 0 { Some(self.bytes()?) } else { None };
        Some(Row::State(State { kind, mode, flags, uid, gid, mtime, size, hash, target, device, xattrs, link }))
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_left_out(out: &mut Vec<u8>, why: LeftOut) {
    out.extend_from_slice(&[LEFT_OUT, u8::from(why == LeftOut::Mount)]);
}

pub(super) fn put_node(out: &mut Vec<u8>, node: &Node) {
    let kind = match &node.kind {
        Kind::File { .. } => FILE,
        Kind::Dir => DIR,
        Kind::Symlink(_) => SYMLINK,
        Kind::Fifo => FIFO,
        Kind::CharDevice { .. } => CHAR,
        Kind::BlockDevice { .. } => BLOCK,
    };
    let has = |bit: u8, has: bool| if has { bit } else { 0 };
    out.push(
        kind | has(HAS_XATTRS, !node.xattrs.is_empty())
            | has(HAS_LINK, node.link.is_some())
            | has(HAS_FLAGS, node.flags != 0),
    );
    out.extend_from_slice(&node.mode.to_le_bytes());
    if node.flags != 0 {
        out.push(node.flags);
    }
    put_number(out, node.uid.into());
    put_number(out, node.gid.into());
    if kind != DIR {
        put_number(out, zigzag(node.mtime.sec));
        put_number(out, node.mtime.nsec.into());
    }
    match &node.kind {
        Kind::File { size, content } => {
            put_number(out, *size);
            out.extend_from_slice(&content.0);
        }
        Kind::Symlink(target) => put_bytes(out, target),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            put_number(out, (*major).into());
            put_number(out, (*minor).into());
        }
        Kind::Dir | Kind::Fifo => {}
    }
    if !node.xattrs.is_empty() {
        let mut inner = Vec::new();
        put_number(&mut inner, node.xattrs.len() as u64);
        for (name, value) in &node.xattrs {
            put_bytes(&mut inner, name);
            put_bytes(&mut inner, value);
        }
        put_bytes(out, &inner);
    }
    if let Some(link) = &node.link {
        put_bytes(out, link.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node() -> impl Strategy<Value = Node> {
        let kind = prop_oneof![
            (any::<u64>(), any::<[u8; 32]>()).prop_map(|(size, hash)| Kind::File { size, content: ContentHash(hash) }),
            Just(Kind::Dir),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(|t| Kind::Symlink(t.into())),
            Just(Kind::Fifo),
            (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
            (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        ];
        let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
        let xattrs = proptest::collection::vec((bytes(), bytes()), 0..3);
        let rest = (0u16..0o10000, 0u8..8, any::<u32>(), any::<u32>(), any::<i64>(), any::<u32>());
        (kind, rest, xattrs, proptest::option::of(bytes())).prop_map(
            |(kind, (mode, flags, uid, gid, sec, nsec), xattrs, link)| Node {
                mtime: if kind == Kind::Dir { Mtime::default() } else { Mtime { sec, nsec } },
                kind,
                mode,
                flags,
                uid,
                gid,
                xattrs: xattrs.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
                link: link.map(|l| TreePath::new(&l)),
            },
        )
    }

    proptest! {
        #[test]
        fn a_node_comes_back(node in node()) {
            let mut bytes = Vec::new();
            put_node(&mut bytes, &node);
            let mut cursor = Cursor::new(&bytes);
            let Some(Row::State(state)) = cursor.row() else { panic!("no state") };
            prop_assert!(cursor.is_at_end());
            prop_assert_eq!(state.node().unwrap(), node);
        }

        #[test]
        fn anything_else_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(Row::State(state)) = Cursor::new(&bytes).row() {
                let _ = state.node();
            }
        }
    }
}
