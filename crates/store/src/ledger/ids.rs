//! Numbers that were given without waiting for the disk: `ledger.ids`.
//!
//! A line for each kind, `greenroom-ledger-ids 1 KIND LAST`. Replaced as a whole by a rename and never flushed: kill -9 loses
//! nothing, a power cut may. The next append writes what is here into the table of counters, in its own transaction, so
//! that it becomes durable at no cost. The higher number of the two counts, so a file that is lost, old or garbled does
//! no harm beyond what [`Ledger::next_id_unsynced`](super::Ledger::next_id_unsynced) warns of. Only the holder of the
//! ledger's lock writes it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::LedgerError;

const NAME: &str = "ledger.ids";
const NEW_NAME: &str = "ledger.ids.new";
const MAGIC: &str = "greenroom-ledger-ids 1 ";

/// The last number of each kind.
pub(super) fn read(dir: &Path) -> Result<BTreeMap<String, u64>, LedgerError> {
    let path = dir.join(NAME);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).split_inclusive('\n').filter_map(parse).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(LedgerError::Io { what: "read", path, source }),
    }
}

fn parse(line: &str) -> Option<(String, u64)> {
    let (kind, last) = line.strip_suffix('\n')?.strip_prefix(MAGIC)?.rsplit_once(' ')?;
    Some((kind.to_owned(), last.parse().ok()?))
}

/// Notes that `last` was given.
pub(super) fn write(dir: &Path, kind: &str, last: u64) -> Result<(), LedgerError> {
    let mut counts = read(dir)?;
    counts.insert(kind.to_owned(), last);
    let (path, new) = (dir.join(NAME), dir.join(NEW_NAME));
    let written = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let text: String = counts.iter().map(|(kind, last)| format!("{MAGIC}{kind} {last}\n")).collect();
        file.write_all(text.as_bytes())?;
        std::fs::rename(&new, &path)
    };
    written().map_err(|source| LedgerError::Io { what: "write", path: path.clone(), source })
}
