//! Pages: up to 256 names of one directory with their rows, in byte order.
//!
//! ```text
//! page = bytes(directory) number(names) (shared(u8) length(u8) suffix row)*
//! ```
//! A name is what it shares with the one before it and a suffix. The directory is a path; the root has no directory, so it is
//! the empty name in a page whose directory is empty ([`ABOVE`]).

use super::row::{Cursor, Row, put_bytes, put_number};

/// The directory in which the root is, under an empty name.
pub(super) const ABOVE: &[u8] = b"";

/// A page has no more names than this. Where it ends follows from the names alone, so that equal directories have equal pages.
pub(super) const NAMES: u32 = 256;

/// A page that is being filled.
#[derive(Default)]
pub(super) struct Filling {
    rows: Vec<u8>,
    last: Vec<u8>,
    count: u32,
}

impl Filling {
    /// Adds a name that comes after those that are there; `row` writes its row.
    pub(super) fn add(&mut self, name: &[u8], row: impl FnOnce(&mut Vec<u8>)) {
        let shared = if self.count == 0 { 0 } else { common(&self.last, name) };
        let suffix = &name[shared..];
        // Names have at most 255 bytes on every file system.
        self.rows.extend_from_slice(&[shared as u8, suffix.len() as u8]);
        self.rows.extend_from_slice(suffix);
        row(&mut self.rows);
        self.last.clear();
        self.last.extend_from_slice(name);
        self.count += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= NAMES
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The page, into `out`; it is empty then.
    pub(super) fn finish(&mut self, dir: &[u8], out: &mut Vec<u8>) {
        out.clear();
        put_bytes(out, dir);
        put_number(out, self.count.into());
        out.extend_from_slice(&self.rows);
        self.rows.clear();
        self.count = 0;
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// A page that is being read.
pub(super) struct Reading<'a> {
    cursor: Cursor<'a>,
    left: u32,
}

impl<'a> Reading<'a> {
    /// The directory of a page, and its rows; `None`: damaged.
    pub(super) fn new(page: &'a [u8]) -> Option<(&'a [u8], Self)> {
        let mut cursor = Cursor::new(page);
        let dir = cursor.bytes()?;
        let left = cursor.u32()?;
        Some((dir, Self { cursor, left }))
    }

    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// The next row; its name replaces the one before it in `name`. `None`: damaged, or none is left.
    pub(super) fn next(&mut self, name: &mut Vec<u8>) -> Option<Row<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (shared, length) = (usize::from(self.cursor.u8()?), usize::from(self.cursor.u8()?));
        if shared > name.len() {
            return None;
        }
        name.truncate(shared);
        name.extend_from_slice(self.cursor.take(length)?);
        self.cursor.row()
    }
}
