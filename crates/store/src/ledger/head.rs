//! The anchor: number and hash of the last entry in a file of their own, so that a cut-off end is seen.
//!
//! One line of text, `greenroom-ledger-head 1 SEQ HASH`. Always replaced as a whole: written under another name, fsync,
//! rename. That the rename is not flushed leaves the anchor one behind after a power cut, which the next append mends. Only the
//! holder of the ledger's lock writes it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::LedgerError;

const NAME: &str = "ledger.head";
const NEW_NAME: &str = "ledger.head.new";
const MAGIC: &str = "greenroom-ledger-head 1";

/// The last entry's number and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) hash: String,
}

/// What is in the anchor's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Anchor {
    Absent,
    Sound(Head),
    /// A file with something else in it.
    Garbled,
}

/// Reads the anchor of the ledger in `dir`.
pub(super) fn read(dir: &Path) -> Result<Anchor, LedgerError> {
    let path = dir.join(NAME);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(parse(&bytes).map_or(Anchor::Garbled, Anchor::Sound)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Anchor::Absent),
        Err(source) => Err(LedgerError::Io { what: "read", path, source }),
    }
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let line = std::str::from_utf8(bytes).ok()?;
    let (seq, hash) = line.strip_suffix('\n')?.strip_prefix(MAGIC)?.strip_prefix(' ')?.split_once(' ')?;
    let head = Head { seq: seq.parse().ok()?, hash: hash.to_owned() };
    // Reading back what would be written refuses every other spelling of the same numbers.
    (head.seq > 0 && text(&head) == line).then_some(head)
}

fn text(head: &Head) -> String {
    format!("{MAGIC} {} {}\n", head.seq, head.hash)
}

/// Puts the anchor in place.
pub(super) fn write(dir: &Path, head: &Head) -> Result<(), LedgerError> {
    let (path, new) = (dir.join(NAME), dir.join(NEW_NAME));
    let written = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text(head).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)
    };
    written().map_err(|source| LedgerError::Io { what: "write", path: path.clone(), source })
}
