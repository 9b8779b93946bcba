//! The log's writing side: files of JSON lines (`line`), `log.N` with the highest number in use, bounded in size and number.
//!
//! A line is with the kernel when [`Journal::flush`] returns: a reader sees it, and so does the next start if this process is
//! killed. After a power cut the last lines may be missing; the next `started` mark says that nothing before it is complete.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use greenroom_core::drift::Actor;
use jiff::Timestamp;

use super::line::{Event, Line, Mark, MarkKind, Series};

/// How large a file may become, and how much there may be in all. Each start begins a file: many small ones count for no more than
/// they hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of one file.
    pub size: u64,
    /// Full files' worth of bytes, the one in use included.
    pub files: usize,
}

/// However small they are, so many files are enough.
const MOST_FILES: usize = 1000;

impl Default for Bounds {
    fn default() -> Self {
        Self { size: 8 << 20, files: 8 }
    }
}

/// An open log.
pub(super) struct Journal {
    dir: PathBuf,
    bounds: Bounds,
    file: File,
    number: u64,
    written: u64,
    seq: u64,
    /// The time of the last line.
    last: Option<Timestamp>,
    /// Lines that are not yet written.
    buffer: Vec<u8>,
    actors: HashMap<Actor, u64>,
}

/// The files of a log, oldest first.
pub(super) fn files(dir: &Path) -> io::Result<VecDeque<(u64, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(|name| name.strip_prefix("log.")?.parse().ok()) {
            found.push((number, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found.into())
}

impl Journal {
    /// Goes on with the log in `dir`, in a new file, with the numbers of lines from `seq`; `last` is the time of the last line.
    pub(super) fn open(dir: &Path, bounds: Bounds, seq: u64, last: Option<Timestamp>) -> io::Result<Self> {
        let number = files(dir)?.back().map_or(0, |(number, _)| *number) + 1;
        let file = create(dir, number)?;
        let mut out = Self {
            dir: dir.to_owned(),
            bounds,
            file,
            number,
            written: 0,
            seq,
            last,
            buffer: Vec::new(),
            actors: HashMap::new(),
        };
        out.drop_old()?;
        Ok(out)
    }

    /// Adds an event.
    pub(super) fn event(&mut self, mut event: Event) -> io::Result<()> {
        self.room(0, event.at)?;
        event.by = event.actor.take().map(|actor| self.actor(actor)).transpose()?;
        self.line(&Line::Event(event))
    }

    /// Adds a series, by `actor` where that is known.
    pub(super) fn series(&mut self, mut series: Series, actor: Option<Actor>) -> io::Result<()> {
        // What names need in JSON, roughly.
        self.room(series.names.iter().map(|name| name.0.len() as u64 + 3).sum(), series.at)?;
        series.by = actor.map(|actor| self.actor(actor)).transpose()?;
        self.line(&Line::Series(series))
    }

    /// Begins a new file when this one has no room for so many bytes more.
    fn room(&mut self, bytes: u64, at: Timestamp) -> io::Result<()> {
        let used = self.written + self.buffer.len() as u64;
        if used > 0 && used + bytes >= self.bounds.size { self.begin_file(at, MarkKind::Rotated) } else { Ok(()) }
    }

    /// Adds a mark.
    pub(super) fn mark(&mut self, at: Timestamp, mark: MarkKind, since: Option<Timestamp>) -> io::Result<()> {
        self.clock(at)?;
        let mark = Mark { seq: self.next(), at, mark, since };
        self.line(&Line::Mark(mark))
    }

    /// Writes what was added.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_all(&self.buffer)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Writes and waits for the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_data()
    }

    /// The next number in the order of things.
    pub(super) fn next(&mut self) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        seq
    }

    /// The number of the file in use.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The time of the last line.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last
    }

    fn actor(&mut self, actor: Actor) -> io::Result<u64> {
        if let Some(id) = self.actors.get(&actor) {
            return Ok(*id);
        }
        let id = self.actors.len() as u64;
        self.actors.insert(actor.clone(), id);
        self.line(&Line::Actor { id, actor })?;
        Ok(id)
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        Ok(())
    }

    /// Takes note of the time before anything that happened at it is added. A clock that goes back by less than a second is being
    /// adjusted.
    pub(super) fn clock(&mut self, at: Timestamp) -> io::Result<()> {
        let last = self.last.replace(at);
        let slack = jiff::SignedDuration::from_secs(1);
        if last.is_some_and(|last| last.duration_since(at) > slack) {
            self.begin_file(at, MarkKind::ClockBack)?;
        }
        Ok(())
    }

    fn begin_file(&mut self, at: Timestamp, why: MarkKind) -> io::Result<()> {
        self.sync()?;
        self.number += 1;
        self.file = create(&self.dir, self.number)?;
        self.written = 0;
        self.actors.clear();
        let mark = Mark { seq: self.next(), at, mark: why, since: None };
        self.line(&Line::Mark(mark))?;
        self.drop_old()
    }

    fn drop_old(&mut self) -> io::Result<()> {
        let mut all = files(&self.dir)?;
        // The one in use may become full.
        let newest = all.pop_back();
        let mut room = self.bounds.size.saturating_mul(self.bounds.files.max(1) as u64 - 1);
        let mut kept = usize::from(newest.is_some());
        let mut enough = false;
        for (_, path) in all.into_iter().rev() {
            let size = fs::metadata(&path)?.len().min(self.bounds.size);
            // What is older than one that goes, goes: the log has no holes.
            enough |= size > room || kept >= MOST_FILES;
            if enough {
                fs::remove_file(path)?;
            } else {
                room -= size;
                kept += 1;
            }
        }
        Ok(())
    }
}

fn create(dir: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().create_new(true).append(true).mode(0o600).open(dir.join(format!("log.{number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_starts_forget_nothing_and_full_files_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let open = || drop(Journal::open(dir.path(), Bounds { size: 1000, files: 3 }, 1, None).unwrap());
        let numbers = || files(dir.path()).unwrap().into_iter().map(|(number, _)| number).collect::<Vec<_>>();
        (0..20).for_each(|_| open());
        assert_eq!(numbers(), (1..=20).collect::<Vec<_>>());
        [21, 30, 31].iter().for_each(|n| fs::write(dir.path().join(format!("log.{n}")), [b'x'; 1000]).unwrap());
        open();
        assert_eq!(numbers(), [30, 31, 32]);
    }
}
