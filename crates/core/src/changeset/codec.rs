//! The canonical encoding of a changeset: what its identity is the hash of, and how it is stored.
//!
//! All integers are little-endian; `bytes` is a u32 length and that many bytes.
//!
//! ```text
//! changeset = "greenroom changeset 1\n" u64(entries) entry* u64(times) time*
//! entry     = bytes(path) side side              sorted by path bytes
//! side      = 0 | 1 node
//! node      = kind u16(mode) u8(flags) u32(uid) u32(gid) i64(mtime s) u32(mtime ns)
//!             u32(xattrs) (bytes(name) bytes(value))*   link
//! kind      = 0 u64(size) hash[32] | 1 | 2 bytes(target) | 3 | 4 u32 u32 | 5 u32 u32
//! link      = 0 | 1 bytes(path)
//! time      = bytes(path) i64 u32 i64 u32
//! ```

use super::{Changeset, DirTime, Entry, Invalid};
use crate::{ContentHash, Kind, Mtime, Node, TreePath};

const MAGIC: &[u8] = b"greenroom changeset 1\n";

/// Bytes that are not a changeset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another format or version.
    #[error("this is not a changeset that this version knows")]
    Magic,
    /// It ends too early, or a field holds what none can hold.
    #[error("the changeset is damaged at byte {0}")]
    Damaged(usize),
    /// It decodes, to entries that do not belong together.
    #[error("the changeset is not valid")]
    Invalid(#[from] Invalid),
}

/// Writes the encoding piece by piece into `sink`.
pub fn encode(changeset: &Changeset, sink: &mut dyn FnMut(&[u8])) {
    let mut buffer = Vec::with_capacity(512);
    buffer.extend_from_slice(MAGIC);
    put_count(&mut buffer, changeset.entries.len());
    for entry in &changeset.entries {
        put_bytes(&mut buffer, entry.path.as_bytes());
        put_side(&mut buffer, entry.before.as_deref());
        put_side(&mut buffer, entry.after.as_deref());
        sink(&buffer);
        buffer.clear();
    }
    put_count(&mut buffer, changeset.dir_times.len());
    for time in &changeset.dir_times {
        put_bytes(&mut buffer, time.path.as_bytes());
        put_mtime(&mut buffer, time.before);
        put_mtime(&mut buffer, time.after);
    }
    sink(&buffer);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u64).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // Linux limits: a path has 4,096 bytes, an xattr value 65,536; the length always fits.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_mtime(out: &mut Vec<u8>, mtime: Mtime) {
    out.extend_from_slice(&mtime.sec.to_le_bytes());
    out.extend_from_slice(&mtime.nsec.to_le_bytes());
}

fn put_side(out: &mut Vec<u8>, node: Option<&Node>) {
    let Some(node) = node else {
        out.push(0);
        return;
    };
    out.push(1);
    match &node.kind {
        Kind::File { size, content } => {
            out.push(0);
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(&content.0);
        }
        Kind::Dir => out.push(1),
        Kind::Symlink(target) => {
            out.push(2);
            put_bytes(out, target);
        }
        Kind::Fifo => out.push(3),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            out.push(if matches!(node.kind, Kind::CharDevice { .. }) { 4 } else { 5 });
            out.extend_from_slice(&major.to_le_bytes());
            out.extend_from_slice(&minor.to_le_bytes());
        }
    }
    out.extend_from_slice(&node.mode.to_le_bytes());
    out.push(node.flags);
    out.extend_from_slice(&node.uid.to_le_bytes());
    out.extend_from_slice(&node.gid.to_le_bytes());
    put_mtime(out, node.mtime);
    out.extend_from_slice(&u32::try_from(node.xattrs.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (name, value) in &node.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    match &node.link {
        None => out.push(0),
        Some(link) => {
            out.push(1);
            put_bytes(out, link.as_bytes());
        }
    }
}

/// The encoding as a whole.
#[must_use]
pub fn encoded(changeset: &Changeset) -> Vec<u8> {
    let mut out = Vec::new();
    encode(changeset, &mut |piece| out.extend_from_slice(piece));
    out
}

/// The changeset of this identity; `None`: the bytes are another one, or none.
#[must_use]
pub fn decode_named(bytes: &[u8], id: ContentHash) -> Option<Changeset> {
    if ContentHash::of(bytes) == id { decode(bytes).ok() } else { None }
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`DecodeError`] when the bytes are not a whole and valid changeset; nothing is guessed.
pub fn decode(bytes: &[u8]) -> Result<Changeset, DecodeError> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.take(MAGIC.len()).map_err(|_| DecodeError::Magic)? != MAGIC {
        return Err(DecodeError::Magic);
    }
    let mut entries = Vec::new();
    for _ in 0..reader.u64()? {
        let path = reader.after(entries.last().map(|entry: &Entry| &entry.path))?;
        let (before, after) = (reader.side()?, reader.side()?);
        entries.push(Entry { path, before, after });
    }
    let mut dir_times = Vec::new();
    for _ in 0..reader.u64()? {
        let path = reader.after(dir_times.last().map(|time: &DirTime| &time.path))?;
        dir_times.push(DirTime { path, before: reader.mtime()?, after: reader.mtime()? });
    }
    if reader.at != bytes.len() {
        return Err(DecodeError::Damaged(reader.at));
    }
    Ok(Changeset::new(entries, dir_times)?)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn damaged(&self) -> DecodeError {
        DecodeError::Damaged(self.at)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len()).ok_or_else(|| self.damaged())?;
        let out = &self.bytes[self.at..end];
        self.at = end;
        Ok(out)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| DecodeError::Damaged(at))
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|b| b[0])
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn vec(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn path(&mut self) -> Result<TreePath, DecodeError> {
        let raw = self.vec()?;
        let path = TreePath::new(raw);
        if path.as_bytes() == raw { Ok(path) } else { Err(self.damaged()) }
    }

    /// A path that comes after `last` in the order of paths: of one changeset there is one encoding.
    fn after(&mut self, last: Option<&TreePath>) -> Result<TreePath, DecodeError> {
        let path = self.path()?;
        if last.is_none_or(|last| *last < path) { Ok(path) } else { Err(self.damaged()) }
    }

    fn mtime(&mut self) -> Result<Mtime, DecodeError> {
        let sec = self.array().map(i64::from_le_bytes)?;
        Ok(Mtime { sec, nsec: self.u32()? })
    }

    fn side(&mut self) -> Result<Option<Box<Node>>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.node().map(|node| Some(Box::new(node))),
            _ => Err(self.damaged()),
        }
    }

    fn node(&mut self) -> Result<Node, DecodeError> {
        let kind = match self.u8()? {
            0 => Kind::File { size: self.u64()?, content: ContentHash(self.array()?) },
            1 => Kind::Dir,
            2 => Kind::Symlink(self.vec()?.into()),
            3 => Kind::Fifo,
            4 => Kind::CharDevice { major: self.u32()?, minor: self.u32()? },
            5 => Kind::BlockDevice { major: self.u32()?, minor: self.u32()? },
            _ => return Err(self.damaged()),
        };
        let mode = self.array().map(u16::from_le_bytes)?;
        let flags = self.u8()?;
        let (uid, gid) = (self.u32()?, self.u32()?);
        let mtime = self.mtime()?;
        let mut xattrs = Vec::new();
        for _ in 0..self.u32()? {
            xattrs.push((self.vec()?.into(), self.vec()?.into()));
        }
        let link = match self.u8()? {
            0 => None,
            1 => Some(self.path()?),
            _ => return Err(self.damaged()),
        };
        Ok(Node { kind, mode, flags, uid, gid, mtime, xattrs: xattrs.into_boxed_slice(), link })
    }
}
