//! What a scan knows the unchanged by: for each recorded path the inode and the change time at which its content and attributes
//! were found to be as recorded.
//!
//! Why no device number: it names a device, not a file system, and is another one after a boot. Who has this inode number and
//! this change time (nanoseconds, which nobody can set) with the recorded size, mode and modification time was the file that was
//! read, wherever its file system is attached. Where a file system does not keep change times itself, no key counts
//! ([`super::places`]).
//!
//! The file `keys` is not part of the record but what saves time: `MAGIC`, then for each page its keys and a checksum over the
//! page's own checksum and them. What does not fit (torn, lost, left from another record) is as if it were not there: then the
//! path is read.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use greenroom_core::Mtime;

use super::file::Slot;
use super::places::Known;
use crate::sys::fs::Status;

pub(super) const MAGIC: &[u8; 16] = b"greenroom keys 1";

/// Bytes of one key.
pub(super) const KEY: usize = 20;

/// Bytes of a page's checksum.
const SUM: usize = 8;

/// In the nanoseconds: the change time was too young to be sure.
const UNSURE: u32 = 1 << 31;

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    ino: u64,
    ctime: Mtime,
    unsure: bool,
}

impl Key {
    /// Fits nothing.
    pub(super) const NONE: Self = Self { ino: 0, ctime: Mtime { sec: 0, nsec: 0 }, unsure: true };

    /// Of an inode that was read; change times from `limit` on are not old enough to be trusted.
    pub(super) fn of(status: &Status, known: Known, limit: Mtime) -> Self {
        Self { ino: number(status, known), ctime: status.ctime, unsure: status.ctime >= limit }
    }

    /// Whether nothing can have happened to this inode since.
    pub(super) fn fits(&self, status: &Status, known: Known) -> bool {
        known != Known::Reading && !self.unsure && self.ino == number(status, known) && self.ctime == status.ctime
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ino.to_le_bytes());
        out.extend_from_slice(&self.ctime.sec.to_le_bytes());
        let mark = if self.unsure { UNSURE } else { 0 };
        out.extend_from_slice(&(self.ctime.nsec | mark).to_le_bytes());
    }

    /// The key number `at` among the keys of a page.
    pub(super) fn get(keys: &[u8], at: usize) -> Self {
        let Some(bytes) = keys.get(at * KEY..(at + 1) * KEY) else { return Self::NONE };
        let (mut ino, mut sec, mut nsec) = ([0; 8], [0; 8], [0; 4]);
        ino.copy_from_slice(&bytes[..8]);
        sec.copy_from_slice(&bytes[8..16]);
        nsec.copy_from_slice(&bytes[16..]);
        let nsec = u32::from_le_bytes(nsec);
        let ctime = Mtime { sec: i64::from_le_bytes(sec), nsec: nsec & !UNSURE };
        Self { ino: u64::from_le_bytes(ino), ctime, unsure: nsec & UNSURE != 0 }
    }
}

/// The inode number; in an image mixed with the image's.
fn number(status: &Status, known: Known) -> u64 {
    match known {
        Known::Image(image) => status.ino ^ image,
        Known::Time | Known::Reading => status.ino,
    }
}

/// Gives a page whose keys are not known keys that fit nothing.
pub(super) fn fill(keys: &mut Vec<u8>, names: u32) {
    if keys.is_empty() {
        (0..names).for_each(|_| Key::NONE.put(keys));
    }
}

/// Bytes that a page with so many names has in the file.
pub(super) fn room(names: u32) -> u64 {
    u64::from(names) * KEY as u64 + SUM as u64
}

/// The checksum that follows the keys of a page.
pub(super) fn sum(slot: &Slot, keys: &[u8]) -> [u8; SUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&slot.sum);
    hasher.update(keys);
    let mut out = [0; SUM];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..SUM]);
    out
}

/// The keys of a page, into `out`; left empty when they do not fit.
pub(super) fn read(file: Option<&File>, slot: &Slot, out: &mut Vec<u8>) {
    out.clear();
    let Some(file) = file else { return };
    out.resize(room(slot.count) as usize, 0);
    let whole = file.read_exact_at(out, slot.key_at).is_ok();
    let keys = out.len() - SUM;
    if whole && sum(slot, &out[..keys]) == out[keys..] {
        out.truncate(keys);
    } else {
        out.clear();
    }
}
