//! Paths and their owners, 32 bytes for each.
//!
//! A path is known by the first 64 bits of its BLAKE3 hash. Two among a million share them with a probability of one in
//! thirty million, and then one of them is said to belong to the other's package: nothing that is decided here.

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
}

fn key(path: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(path).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

impl Index {
    /// Notes that a package has a path, in any order; [`Index::settle`] ends it.
    pub(super) fn add(&mut self, path: &[u8], package: usize) {
        let package = u32::try_from(package).unwrap_or(u32::MAX);
        self.rows.push(Row { key: key(path), package, flags: 0, md5: [0; 16] });
    }

    /// Puts the paths in order, each once.
    pub(super) fn settle(&mut self) {
        self.rows.sort_unstable_by_key(|row| (row.key, row.package));
        let mut shared = Vec::new();
        self.rows.dedup_by(|later, first| {
            let same = later.key == first.key;
            if same && later.package != first.package {
                shared.push(first.key);
            }
            same
        });
        for key in shared {
            if let Ok(at) = self.rows.binary_search_by_key(&key, |row| row.key) {
                self.rows[at].flags |= SHARED;
            }
        }
        self.rows.shrink_to_fit();
    }

    /// Notes the checksum of a path that was added by the same package.
    pub(super) fn expect(&mut self, path: &[u8], package: usize, md5: Option<Md5>, conffile: bool) {
        let Ok(at) = self.rows.binary_search_by_key(&key(path), |row| row.key) else { return };
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

    pub(super) fn get(&self, path: &[u8]) -> Option<&Row> {
        let at = self.rows.binary_search_by_key(&key(path), |row| row.key).ok()?;
        Some(&self.rows[at])
    }
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
    Some((packages, Index { rows }, aliases))
}

/// A package without any file has no list, and none is missed.
pub(super) fn has_list(package: &Package) -> bool {
    !matches!(package.state, State::NotInstalled)
}
