//! Hard-link groups: known only when every name was seen, with little memory.
//!
//! A group is the names of one inode within one of the tree's file systems. While the tree is walked, [`Groups`] keeps the first
//! name of each inode that has several and how many were seen; whatever has to wait for that lies in a [`Spool`]. In most trees a
//! few hundred files are linked; a tree of backups may consist of them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, Write as _};

use super::home::Home;
use super::row::{put_bytes, put_number};
use super::types::BaselineError;
use crate::sys::fs::{Status, types};

/// An inode that has several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shared {
    place: u32,
    dev: (u32, u32),
    ino: u64,
}

impl Shared {
    /// `None`: it has one name. Directories have many links and one name.
    pub(super) fn of(status: &Status, place: u32) -> Option<Self> {
        let several = status.nlink > 1 && status.file_type() != types::DIR;
        several.then_some(Self { place, dev: status.dev, ino: status.ino })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for value in [u64::from(self.place), self.dev.0.into(), self.dev.1.into(), self.ino] {
            put_number(out, value);
        }
    }

    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut small = || u32::try_from(number(from)?).map_err(io::Error::other);
        let (place, dev) = (small()?, (small()?, small()?));
        Ok(Self { place, dev, ino: number(from)? })
    }
}

/// The names that were seen of each.
#[derive(Default)]
pub(super) struct Groups(HashMap<Shared, (Box<[u8]>, u32)>);

impl Groups {
    pub(super) fn add(&mut self, shared: Shared, path: &[u8]) {
        let (first, count) = self.0.entry(shared).or_insert_with(|| (path.into(), 0));
        *count += 1;
        if path < &**first {
            *first = path.into();
        }
    }

    /// The first name of a group of several.
    pub(super) fn first(&self, shared: &Shared) -> Option<&[u8]> {
        self.0.get(shared).filter(|(_, count)| *count > 1).map(|(first, _)| &**first)
    }
}

/// Bytes that are written once and read once: in memory as long as they are few, in a file without a name otherwise.
#[derive(Default)]
pub(super) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
}

const MEMORY: usize = 4 << 20;

/// The name that the file has for a moment.
const NAME: &str = "spool";

impl Spool {
    pub(super) fn write(&mut self, home: &Home, bytes: &[u8]) -> Result<(), BaselineError> {
        self.memory.extend_from_slice(bytes);
        if self.memory.len() < MEMORY {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(home.nameless(NAME)?),
        };
        let written = file.write_all(&self.memory);
        self.memory.clear();
        written.map_err(BaselineError::system("write down linked files"))
    }

    /// What was written, from the start. Nothing can be written after it.
    pub(super) fn read(&mut self) -> Result<Box<dyn Read + '_>, BaselineError> {
        let memory = io::Cursor::new(&self.memory);
        match &mut self.file {
            None => Ok(Box::new(memory)),
            Some(file) => {
                file.rewind().map_err(BaselineError::system("read linked files"))?;
                Ok(Box::new(BufReader::new(file).chain(memory)))
            }
        }
    }
}

/// A byte; `None`: the end.
pub(super) fn byte(from: &mut impl Read) -> io::Result<Option<u8>> {
    let mut out = [0];
    match from.read_exact(&mut out) {
        Ok(()) => Ok(Some(out[0])),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// What [`put_number`] wrote.
pub(super) fn number(from: &mut impl Read) -> io::Result<u64> {
    let (mut out, mut shift) = (0u64, 0);
    loop {
        let byte = byte(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        out |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(out);
        }
        shift += 7;
    }
}

/// What [`put_bytes`] wrote.
pub(super) fn bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = number(from)?;
    let mut out = Vec::new();
    from.take(length).read_to_end(&mut out)?;
    if out.len() as u64 == length { Ok(out) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A path that waits for its group: what a scan has to know of it then.
pub(super) struct Waiting {
    pub(super) path: Vec<u8>,
    /// The inode that is there; `None`: nothing, or something with one name.
    pub(super) shared: Option<Shared>,
    /// The first name of its group on record.
    pub(super) recorded: Option<Vec<u8>>,
    /// Whether it is on record.
    pub(super) on_record: bool,
    /// Whether something is there.
    pub(super) is_there: bool,
}

impl Waiting {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let bit = |bit: u8, set: bool| if set { bit } else { 0 };
        out.push(
            bit(1, self.shared.is_some())
                | bit(2, self.recorded.is_some())
                | bit(4, self.on_record)
                | bit(8, self.is_there),
        );
        put_bytes(out, &self.path);
        if let Some(shared) = &self.shared {
            shared.put(out);
        }
        if let Some(recorded) = &self.recorded {
            put_bytes(out, recorded);
        }
    }

    /// The next one; `None`: there is none.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some(bits) = byte(from)? else { return Ok(None) };
        Ok(Some(Self {
            path: bytes(from)?,
            shared: if bits & 1 != 0 { Some(Shared::read(from)?) } else { None },
            recorded: if bits & 2 != 0 { Some(bytes(from)?) } else { None },
            on_record: bits & 4 != 0,
            is_there: bits & 8 != 0,
        }))
    }
}
