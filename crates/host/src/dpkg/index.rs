//! Paths and their owners, 32 bytes for each.
//!
//! A path is known by the first 64 bits of its BLAKE3 hash. Two among a million share them with a probability of one in
//! thirty million, and then one of them is said to belong to the other's package: nothing that is decided here.

use rayon::prelude::*;

use super::places::Aliases;
use super::status::{Package, State};
use super::{Md5, status};

/// A package of one [`super::Database`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(pub(super) u32);

impl PackageId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

const HAS_MD5: u32 = 1;
const CONFFILE: u32 = 2;
const SHARED: u32 = 4;

/// One path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    key: u64,
    package: u32,
    flags: u32,
    md5: Md5,
}

impl Row {
    /// That a package has the path with this key.
    pub(super) fn new(key: u64, package: usize) -> Self {
        Self { key, package: u32::try_from(package).unwrap_or(u32::MAX), flags: 0, md5: [0; 16] }
    }

    pub(super) fn package(&self) -> PackageId {
        PackageId(self.package)
    }

    pub(super) fn md5(&self) -> Option<Md5> {
        (self.flags & HAS_MD5 != 0).then_some(self.md5)
    }

    pub(super) fn is_conffile(&self) -> bool {
        self.flags & CONFFILE != 0
    }

    pub(super) fn is_shared(&self) -> bool {
        self.flags & SHARED != 0
    }
}

/// All paths, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    rows: Vec<Row>,
    /// Where the rows begin whose keys begin with each number: a binary search over all of them misses the caches each time.
    starts: Vec<u32>,
}

/// By what a path is known.
pub(super) fn key(path: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(path).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

impl Index {
    /// Of rows in any order: each path once.
    pub(super) fn of(mut rows: Vec<Row>) -> Self {
        rows.par_sort_unstable_by_key(|row| (row.key, row.package));
        let mut shared = Vec::new();
        rows.dedup_by(|later, first| {
            let same = later.key == first.key;
            if same && later.package != first.package {
                shared.push(first.key);
            }
            same
        });
        rows.shrink_to_fit();
        let mut out = Self { starts: starts(&rows), rows };
        for key in shared {
            if let Some(at) = out.find(key) {
                out.rows[at].flags |= SHARED;
            }
        }
        out
    }

    fn find(&self, key: u64) -> Option<usize> {
        let first = prefix(key, self.starts.len());
        let (from, to) = (*self.starts.get(first)? as usize, *self.starts.get(first + 1)? as usize);
        Some(from + self.rows[from..to].iter().position(|row| row.key == key)?)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Notes the checksum of a path, by its key, where the same package has it.
    pub(super) fn expect(&mut self, key: u64, package: usize, md5: Option<Md5>, conffile: bool) {
        let Some(at) = self.find(key) else { return };
        let row = &mut self.rows[at];
        if row.package as usize != package {
            return;
        }
        if let Some(md5) = md5 {
            row.md5 = md5;
            row.flags |= HAS_MD5;
        }
        if conffile {
            row.flags |= CONFFILE;
        }
    }

    /// The row of a path, and its number.
    pub(super) fn get(&self, path: &[u8]) -> Option<(usize, &Row)> {
        let at = self.find(key(path))?;
        Some((at, &self.rows[at]))
    }
}

/// With so many starts, the last of which is an end: which one a key belongs to.
fn prefix(key: u64, starts: usize) -> usize {
    // Two to the power of something, from 2 on.
    let bits = starts.saturating_sub(1).max(2).ilog2();
    (key >> (64 - bits)) as usize
}

/// For rows in order: about one for each four.
fn starts(rows: &[Row]) -> Vec<u32> {
    let count = (rows.len() / 4).max(2).next_power_of_two();
    let mut out = Vec::with_capacity(count + 1);
    for (at, row) in rows.iter().enumerate() {
        let first = prefix(row.key, count + 1);
        out.resize((first + 1).max(out.len()), u32::try_from(at).unwrap_or(u32::MAX));
    }
    out.resize(count + 1, u32::try_from(rows.len()).unwrap_or(u32::MAX));
    out
}

/// What the encoding begins with; the digit is its version.
const MAGIC: &[u8] = b"greenroom packages 1\n";

pub(super) fn encode(packages: &[Package], index: &Index, aliases: &Aliases) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAGIC.len() + index.rows.len() * 32 + packages.len() * 64);
    out.extend_from_slice(MAGIC);
    let mut put = |bytes: &[u8]| {
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    // Packages that are not there at all have a number too: rows count them.
    put(&status::text(packages));
    put(aliases.text().as_bytes());
    for row in &index.rows {
        out.extend_from_slice(&row.key.to_le_bytes());
        out.extend_from_slice(&row.package.to_le_bytes());
        out.extend_from_slice(&row.flags.to_le_bytes());
        out.extend_from_slice(&row.md5);
    }
    let sum = *blake3::hash(&out).as_bytes();
    out.extend_from_slice(&sum);
    out
}

pub(super) fn decode(bytes: &[u8]) -> Option<(Vec<Package>, Index, Aliases)> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    let mut rest = body.strip_prefix(MAGIC)?;
    if blake3::hash(body).as_bytes() != sum {
        return None;
    }
    let mut take = || {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (field, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = tail;
        Some(field)
    };
    let (text, aliases) = (take()?, take()?);
    let packages = status::parse(text);
    let row = |bytes: &[u8]| {
        let (key, tail) = bytes.split_first_chunk::<8>()?;
        let (package, tail) = tail.split_first_chunk::<4>()?;
        let (flags, md5) = tail.split_first_chunk::<4>()?;
        let package = u32::from_le_bytes(*package);
        let known = (package as usize) < packages.len();
        let (key, flags) = (u64::from_le_bytes(*key), u32::from_le_bytes(*flags));
        known.then(|| Some(Row { key, package, flags, md5: md5.try_into().ok()? }))?
    };
    let rows: Option<Vec<Row>> = rest.chunks(32).map(row).collect();
    let rows = rows.filter(|rows| rows.is_sorted_by_key(|row| row.key))?;
    let aliases = Aliases::from_text(std::str::from_utf8(aliases).ok()?);
    let starts = starts(&rows);
    Some((packages, Index { rows, starts }, aliases))
}

/// A package without any file has no list, and none is missed.
pub(super) fn has_list(package: &Package) -> bool {
    !matches!(package.state, State::NotInstalled)
}
