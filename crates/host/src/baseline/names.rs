//! The names in a directory, packed: a directory can have a million of them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::RawDir;
use rustix::io::Errno;

/// Names, each with a byte of the owner's.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each begins; its length and its mark are the two bytes before that.
    starts: Vec<u32>,
}

impl Names {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub(super) fn push(&mut self, name: &[u8], mark: u8) {
        // No file system has names of more than 255 bytes, or four gigabytes of them in one directory.
        self.bytes.extend_from_slice(&[name.len() as u8, mark]);
        self.starts.push(self.bytes.len() as u32);
        self.bytes.extend_from_slice(name);
    }

    pub(super) fn get(&self, at: usize) -> (&[u8], u8) {
        let start = self.starts[at] as usize;
        let length = usize::from(self.bytes[start - 2]);
        (&self.bytes[start..start + length], self.bytes[start - 1])
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |start: u32| {
            let start = start as usize;
            &bytes[start..start + usize::from(bytes[start - 2])]
        };
        self.starts.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
        // A directory that is written to while it is read can name an entry twice.
        self.starts.dedup_by(|a, b| name(*a) == name(*b));
    }

    /// Fills it with the names in `dir`, in byte order.
    pub(super) fn list(&mut self, dir: BorrowedFd<'_>, buffer: &mut [MaybeUninit<u8>]) -> io::Result<()> {
        self.clear();
        let mut entries = RawDir::new(dir, buffer);
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => {
                    let name = entry.file_name().to_bytes();
                    if name != b"." && name != b".." {
                        self.push(name, 0);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.sort();
        Ok(())
    }
}
