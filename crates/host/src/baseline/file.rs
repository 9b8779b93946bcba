//! The file of a record.
//!
//! ```text
//! manifest = MAGIC page* footer trailer
//! footer   = bytes(meta, JSON) number(pages) slot*          slots sorted by (directory, part)
//! slot     = directory(u64) part(u32) names(u32) at(u64) length(u32) key_at(u64) sum[16]
//! trailer  = footer_at(u64) footer_length(u64) BLAKE3 of (both numbers, footer) [32] END
//! ```
//! A directory is known by the first 64 bits of the BLAKE3 of its path; each page begins with the path itself. Pages stand in
//! the order in which their directories were read, so many threads can write at once; the slots, which are held in memory
//! (56 bytes for up to 256 names), find them. Every byte is covered: a page by the sum in its slot, slots by the trailer.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use greenroom_core::ContentHash;

use super::home::{Home, KEYS, MANIFEST};
use super::keys;
use super::row::{Cursor, put_bytes, put_number};
use super::types::{BaselineError, Meta};

const MAGIC: &[u8] = b"greenroom baseline 1\n";
/// What every version begins with.
const FAMILY: &[u8] = b"greenroom baseline ";
const END: &[u8; 8] = b"\nthe end";
const TRAILER: usize = 8 + 8 + 32 + END.len();
const SLOT: usize = 52;

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Of the directory's path.
    pub(super) dir: u64,
    /// Which of the directory's pages, from 0.
    pub(super) part: u32,
    /// How many names are in it.
    pub(super) count: u32,
    at: u64,
    length: u32,
    pub(super) key_at: u64,
    pub(super) sum: [u8; 16],
}

/// By what a directory is known.
pub(super) fn number(dir: &[u8]) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&blake3::hash(dir).as_bytes()[..8]);
    u64::from_le_bytes(out)
}

fn page_sum(page: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&blake3::hash(page).as_bytes()[..16]);
    out
}

/// Writes a record beside the one that is in place.
pub(super) struct Writer {
    manifest: File,
    keys: File,
    pages: Vec<u8>,
    page_keys: Vec<u8>,
    at: u64,
    key_at: u64,
    slots: Vec<Slot>,
}

const BUFFER: usize = 1 << 20;

impl Writer {
    /// The caller has the lock of `home`.
    pub(super) fn new(home: &Home) -> Result<Self, BaselineError> {
        Ok(Self {
            manifest: home.replacement(MANIFEST)?,
            keys: home.replacement(KEYS)?,
            pages: MAGIC.to_vec(),
            page_keys: keys::MAGIC.to_vec(),
            at: MAGIC.len() as u64,
            key_at: keys::MAGIC.len() as u64,
            slots: Vec::new(),
        })
    }

    /// Adds a page with its keys.
    pub(super) fn page(
        &mut self,
        dir: u64,
        part: u32,
        count: u32,
        page: &[u8],
        keys: &[u8],
    ) -> Result<(), BaselineError> {
        let length = u32::try_from(page.len())
            .map_err(|_| BaselineError::system("write a page")(std::io::ErrorKind::FileTooLarge.into()))?;
        let slot = Slot { dir, part, count, at: self.at, length, key_at: self.key_at, sum: page_sum(page) };
        self.pages.extend_from_slice(page);
        self.page_keys.extend_from_slice(keys);
        self.page_keys.extend_from_slice(&keys::sum(&slot, keys));
        self.at += page.len() as u64;
        self.key_at += keys::room(count);
        self.slots.push(slot);
        if self.pages.len() + self.page_keys.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BaselineError> {
        let written = self.manifest.write_all(&self.pages).and_then(|()| self.keys.write_all(&self.page_keys));
        self.pages.clear();
        self.page_keys.clear();
        written.map_err(BaselineError::system("write the record"))
    }

    /// Puts the record in place, durably. Its id and the number of paths are written into `meta`.
    pub(super) fn finish(mut self, home: &Home, meta: &mut Meta) -> Result<(), BaselineError> {
        self.slots.sort_unstable_by_key(|slot| (slot.dir, slot.part));
        let mut hasher = blake3::Hasher::new();
        meta.paths = 0;
        for slot in &self.slots {
            hasher.update(&slot.dir.to_le_bytes());
            hasher.update(&slot.part.to_le_bytes());
            hasher.update(&slot.sum);
            meta.paths += u64::from(slot.count);
        }
        meta.id = hasher.finalize().into();
        let footer = footer(&self.slots, meta);
        let (at, length) = (self.at.to_le_bytes(), (footer.len() as u64).to_le_bytes());
        self.pages.extend_from_slice(&footer);
        self.pages.extend_from_slice(&at);
        self.pages.extend_from_slice(&length);
        self.pages.extend_from_slice(&seal(at, length, &footer));
        self.pages.extend_from_slice(END);
        self.flush()?;
        let synced = self.manifest.sync_all().and_then(|()| self.keys.sync_all());
        synced.map_err(BaselineError::system("make the record durable"))?;
        // Keys that go with no record are harmless: the paths are read again.
        home.replace(KEYS)?;
        home.replace(MANIFEST)?;
        home.sync()
    }
}

fn seal(at: [u8; 8], length: [u8; 8], footer: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&at);
    hasher.update(&length);
    hasher.update(footer);
    *hasher.finalize().as_bytes()
}

fn footer(slots: &[Slot], meta: &Meta) -> Vec<u8> {
    let mut out = Vec::with_capacity(slots.len() * SLOT + 512);
    // Strings and numbers: it cannot fail.
    put_bytes(&mut out, &serde_json::to_vec(meta).unwrap_or_default());
    put_number(&mut out, slots.len() as u64);
    for slot in slots {
        out.extend_from_slice(&slot.dir.to_le_bytes());
        out.extend_from_slice(&slot.part.to_le_bytes());
        out.extend_from_slice(&slot.count.to_le_bytes());
        out.extend_from_slice(&slot.at.to_le_bytes());
        out.extend_from_slice(&slot.length.to_le_bytes());
        out.extend_from_slice(&slot.key_at.to_le_bytes());
        out.extend_from_slice(&slot.sum);
    }
    out
}

fn slot(cursor: &mut Cursor<'_>) -> Option<Slot> {
    let mut wide = || Some(u64::from_le_bytes(cursor.take(8)?.try_into().ok()?));
    let dir = wide()?;
    let part_and_count = wide()?;
    let at = wide()?;
    let length = u32::from_le_bytes(cursor.take(4)?.try_into().ok()?);
    let key_at = u64::from_le_bytes(cursor.take(8)?.try_into().ok()?);
    let sum = cursor.take(16)?.try_into().ok()?;
    Some(Slot { dir, part: part_and_count as u32, count: (part_and_count >> 32) as u32, at, length, key_at, sum })
}

/// A record, open for reading.
pub(super) struct Pages {
    path: PathBuf,
    file: File,
    keys: Option<File>,
    slots: Vec<Slot>,
}

impl Pages {
    /// `None`: there is no record.
    pub(super) fn open(home: &Home) -> Result<Option<(Self, Meta)>, BaselineError> {
        let Some(file) = home.open(MANIFEST)? else { return Ok(None) };
        let path = home.path(MANIFEST);
        let (slots, meta) = contents(&file, &path)?;
        Ok(Some((Self { path, file, keys: home.open(KEYS)?, slots }, meta)))
    }

    /// The pages of a directory, by its path.
    pub(super) fn of(&self, dir: &[u8]) -> &[Slot] {
        let number = number(dir);
        let from = self.slots.partition_point(|slot| slot.dir < number);
        let length = self.slots[from..].partition_point(|slot| slot.dir == number);
        &self.slots[from..from + length]
    }

    /// All pages.
    pub(super) fn all(&self) -> &[Slot] {
        &self.slots
    }

    /// A page, into `out`.
    pub(super) fn read(&self, slot: &Slot, out: &mut Vec<u8>) -> Result<(), BaselineError> {
        out.clear();
        out.resize(slot.length as usize, 0);
        let read = self.file.read_exact_at(out, slot.at);
        read.map_err(BaselineError::system(format!("read {}", self.path.display())))?;
        if page_sum(out) == slot.sum { Ok(()) } else { Err(self.damaged("the checksum of a page is wrong")) }
    }

    /// The keys of a page, into `out`; empty when they are not known.
    pub(super) fn keys(&self, slot: &Slot, out: &mut Vec<u8>) {
        keys::read(self.keys.as_ref(), slot, out);
    }

    pub(super) fn damaged(&self, what: &str) -> BaselineError {
        BaselineError::Damaged { path: self.path.clone(), what: what.to_owned() }
    }

    /// Whether the file that is in place now is this one.
    pub(super) fn is_in_place(&self, home: &Home) -> Result<bool, BaselineError> {
        use std::os::unix::fs::MetadataExt as _;
        let Some(now) = home.open(MANIFEST)? else { return Ok(false) };
        let fail = |source| BaselineError::system(format!("read {}", self.path.display()))(source);
        let (mine, there) = (self.file.metadata().map_err(fail)?, now.metadata().map_err(fail)?);
        Ok((mine.dev(), mine.ino()) == (there.dev(), there.ino()))
    }
}

fn contents(file: &File, path: &std::path::Path) -> Result<(Vec<Slot>, Meta), BaselineError> {
    let damaged = |what: &str| BaselineError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let fail = |source| BaselineError::system(format!("read {}", path.display()))(source);
    let length = file.metadata().map_err(fail)?.len();
    let mut magic = [0; MAGIC.len()];
    if length < (MAGIC.len() + TRAILER) as u64 {
        return Err(damaged("it is cut short"));
    }
    file.read_exact_at(&mut magic, 0).map_err(fail)?;
    if magic != MAGIC {
        let known = magic.starts_with(FAMILY) && magic.ends_with(b"\n");
        return Err(if known {
            BaselineError::Format(path.to_owned())
        } else {
            damaged("it does not begin as a record")
        });
    }
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, length - TRAILER as u64).map_err(fail)?;
    let mut cursor = Cursor::new(&trailer);
    let mut wide = || cursor.take(8).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 8]);
    let (at, footer_length) = (wide(), wide());
    if !trailer.ends_with(END) {
        return Err(damaged("it is cut short"));
    }
    let (from, size) = (u64::from_le_bytes(at), u64::from_le_bytes(footer_length));
    if from.checked_add(size).and_then(|end| end.checked_add(TRAILER as u64)) != Some(length) {
        return Err(damaged("its end does not fit its length"));
    }
    let mut footer = vec![0; usize::try_from(size).map_err(|_| damaged("its end does not fit its length"))?];
    file.read_exact_at(&mut footer, from).map_err(fail)?;
    if seal(at, footer_length, &footer) != trailer[16..48] {
        return Err(damaged("the checksum of its list of pages is wrong"));
    }
    parse(&footer).ok_or_else(|| damaged("its list of pages cannot be read"))
}

fn parse(footer: &[u8]) -> Option<(Vec<Slot>, Meta)> {
    let mut cursor = Cursor::new(footer);
    let meta: Meta = serde_json::from_slice(cursor.bytes()?).ok()?;
    let count = usize::try_from(cursor.number()?).ok().filter(|count| *count <= footer.len() / SLOT)?;
    let mut slots = Vec::with_capacity(count);
    for _ in 0..count {
        slots.push(slot(&mut cursor)?);
    }
    cursor.is_at_end().then_some((slots, meta))
}

/// Before a record is there to name: the id of nothing.
pub(super) fn no_id() -> ContentHash {
    ContentHash([0; 32])
}
