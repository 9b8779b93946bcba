//! The log's reading side: who did what to which path, and where the log is not complete.
//!
//! Reading needs no watch that runs and takes no lock; one that runs is waited for until it has written what happened so far. A last line that is not whole yet is left for the next time. What counts is
//! the order of the lines; their times only where the clock was not set back in between.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use greenroom_core::TreePath;
use greenroom_core::drift::Actor;
use jiff::Timestamp;

use super::journal;
use super::line::{Event, Line, Mark, MarkKind, What};

/// What the watch wrote down.
#[derive(Debug, Default)]
pub struct Log {
    events: HashMap<TreePath, Vec<Event>>,
    inodes: HashMap<(u32, u32, u64), Vec<Event>>,
    marks: Vec<Mark>,
    next: u64,
    horizon: Option<Timestamp>,
    /// The latest time of any line that was read.
    latest: Option<Timestamp>,
    /// The same of those that are written when the queue has been read.
    seen: Option<Timestamp>,
    /// It ends where the watch did not keep up: since when that was.
    behind: Option<Timestamp>,
    /// What is asked for has begun.
    begun: bool,
    running: bool,
}

/// Of one path no more than this many events are kept, the newest.
const EACH: usize = 16;

/// A file's times may be so much older than what gave them: the tick of the coarsest clock that kernels use for them (100 Hz).
pub(super) const TICK: jiff::SignedDuration = jiff::SignedDuration::from_millis(10);

impl Log {
    /// Reads the log of the tree at `root`, from `since` on where that is given. Without a log it is empty.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(root: &Path, since: Option<Timestamp>) -> io::Result<Self> {
        let dir = super::dir(root);
        super::ask::ask(&dir);
        Self::read_dir(&dir, since)
    }

    fn read_dir(dir: &Path, since: Option<Timestamp>) -> io::Result<Self> {
        let mut out = Self { running: super::state::runs(dir), begun: since.is_none(), ..Self::default() };
        let files = journal::files(dir)?;
        let mut firsts = Vec::with_capacity(files.len());
        for (_, path) in &files {
            firsts.push(first(path)?);
        }
        out.horizon = firsts.first().and_then(|first| first.map(|(at, _)| at)).max(since);
        for (index, (_, path)) in files.iter().enumerate() {
            if firsts[index].is_some_and(|(_, back)| back) {
                out.begun = true;
                // All that follows is later than what is asked for, whatever its clock says.
                let moment = jiff::SignedDuration::from_nanos(1);
                out.latest = out.latest.max(since.and_then(|since| since.checked_add(moment).ok()));
            }
            // What a file holds is older than the first line of the next, unless the clock was set back there.
            let next = firsts.get(index + 1).and_then(Option::as_ref);
            if let (Some(since), Some((at, false))) = (since, next)
                && *at < since
                && !out.begun
            {
                continue;
            }
            match File::open(path) {
                Ok(file) => out.take(file, since)?,
                // Dropped by the watch just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(out)
    }

    fn take(&mut self, file: File, since: Option<Timestamp>) -> io::Result<()> {
        let mut actors: HashMap<u64, Actor> = HashMap::new();
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
            match serde_json::from_slice(&line) {
                Ok(Line::Actor { id, actor }) => drop(actors.insert(id, actor)),
                Ok(Line::Mark(mark)) => {
                    if !matches!(mark.mark, MarkKind::Ground | MarkKind::ActorsLost) {
                        self.seen = self.seen.max(Some(mark.at));
                    }
                    let at = self.at(mark.seq, mark.at, since);
                    match (mark.mark, at) {
                        // Of the log's end only, and there are many.
                        (MarkKind::Behind, _) => self.behind = mark.since,
                        (MarkKind::CaughtUp, _) => self.behind = None,
                        (_, Some(at)) => self.marks.push(Mark { at, ..mark }),
                        _ => {}
                    }
                }
                Ok(Line::Event(event)) => {
                    self.seen = self.seen.max(Some(event.at));
                    if self.at(event.seq, event.at, since).is_some() {
                        let actor = event.by.and_then(|by| actors.get(&by).cloned());
                        self.keep(Event { actor, ..event });
                    }
                }
                Ok(Line::Series(series)) => {
                    self.seen = self.seen.max(Some(series.at));
                    if self.at(series.last(), series.at, since).is_some() {
                        let actor = series.by.and_then(|by| actors.get(&by));
                        series.events(actor).for_each(|event| self.keep(event));
                    }
                }
                // Half a line of a power cut, with the rest of the file behind it: what is whole counts.
                Err(_) => {}
            }
        }
    }

    /// Takes note of a line. `None`: it is older than what is asked for; otherwise the latest time until here, which is the line's own
    /// as long as the clock only goes forward.
    fn at(&mut self, seq: u64, at: Timestamp, since: Option<Timestamp>) -> Option<Timestamp> {
        self.next = self.next.max(seq + 1);
        self.latest = self.latest.max(Some(at));
        self.begun |= since.is_none_or(|since| at >= since);
        self.begun.then(|| self.latest.unwrap_or(at))
    }

    fn keep(&mut self, event: Event) {
        if let Some(inode) = event.inode {
            push(self.inodes.entry(inode).or_default(), event.clone());
        }
        push(self.events.entry(event.path.clone()).or_default(), event);
    }

    /// What happened to exactly this path, oldest first.
    #[must_use]
    pub fn of(&self, path: &TreePath) -> &[Event] {
        self.events.get(path).map_or(&[], Vec::as_slice)
    }

    /// What happened to a file with several names, under any of them, oldest first.
    #[must_use]
    pub fn of_inode(&self, inode: (u32, u32, u64)) -> &[Event] {
        self.inodes.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// The last event that explains how `path` is now: one of its own, one of a directory above it that was moved or deleted, or one
    /// under another name of its inode. Events of Greenroom's own processes are left out.
    #[must_use]
    pub fn explains(&self, path: &TreePath, inode: Option<(u32, u32, u64)>) -> Option<&Event> {
        let own = last(self.of(path), |_| true);
        let other = inode.and_then(|inode| last(self.of_inode(inode), |_| true));
        // Whoever removed a file did it, not who removed its directory afterwards.
        let gone = own.is_some_and(|event| event.what.contains(&What::Deleted) || event.to.is_some());
        let mut best = own.into_iter().chain(other).max_by_key(|event| event.seq);
        let mut above = path.parent();
        while let Some(dir) = above {
            let brings = |event: &Event| event.from.is_some() && event.what.contains(&What::Moved);
            let takes = |event: &Event| event.what.contains(&What::Deleted) || event.what.contains(&What::Moved);
            let found = last(self.of(&dir), |event| brings(event) || !gone && takes(event));
            best = best.into_iter().chain(found).max_by_key(|event| event.seq);
            above = dir.parent();
        }
        best
    }

    /// All paths with events.
    pub fn paths(&self) -> impl Iterator<Item = &TreePath> {
        self.events.keys()
    }

    /// The marks of where it is not complete, or begins anew, oldest first.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Whether a change at this time may have gone unseen: the kernel dropped events then, or nobody watched. Who is named for a
    /// change before may not be who made the last.
    #[must_use]
    pub fn unsure(&self, at: Timestamp) -> bool {
        let tick = at.saturating_add(TICK).unwrap_or(at);
        self.marks.iter().any(|mark| mark.since.is_some_and(|since| since < tick && at <= mark.at))
    }

    /// Since when the log has every change; `None` while no watch runs.
    #[must_use]
    pub fn complete_since(&self) -> Option<Timestamp> {
        use MarkKind::{Ground, Overflow, Started, Stopped};
        let gap = |mark: &&Mark| matches!(mark.mark, Started | Stopped | Overflow | Ground);
        let last = self.marks.iter().rev().find(gap).map(|mark| mark.at);
        // Without any the watch has run since before the oldest line that is kept, or that was asked for.
        self.running.then(|| last.or(self.horizon)).flatten()
    }
}

/// Where a log ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The number that the next line would get.
    pub(super) next: u64,
    /// The latest time in the last file, since the last line may be one that was held back. A file begins where the clock was set
    /// back, so the times in one can be compared.
    pub(super) latest: Option<Timestamp>,
    /// Until when everything was read.
    pub(super) seen: Option<Timestamp>,
}

/// The end of the log in `dir`.
pub(super) fn end(dir: &Path) -> io::Result<End> {
    let mut out = Log { begun: true, ..Log::default() };
    for (_, path) in journal::files(dir)?.iter().rev() {
        out.take(File::open(path)?, None)?;
        if out.latest.is_some() {
            break;
        }
    }
    Ok(End { next: out.next, latest: out.latest, seen: out.behind.or(out.seen) })
}

/// A line that was held back stands behind those that it came before.
fn push(list: &mut Vec<Event>, event: Event) {
    list.insert(list.partition_point(|known| known.seq < event.seq), event);
    if list.len() > EACH {
        list.remove(0);
    }
}

/// The last that is not Greenroom's own.
fn last(list: &[Event], wanted: impl Fn(&Event) -> bool) -> Option<&Event> {
    list.iter().rev().find(|event| !event.own && wanted(event))
}

/// The time of the first line of a file, and whether the clock was set back there.
fn first(path: &Path) -> io::Result<Option<(Timestamp, bool)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for line in BufReader::new(file).lines() {
        match serde_json::from_str(&line?) {
            Ok(Line::Event(event)) => return Ok(Some((event.at, false))),
            Ok(Line::Series(series)) => return Ok(Some((series.at, false))),
            Ok(Line::Mark(mark)) => return Ok(Some((mark.at, mark.mark == MarkKind::ClockBack))),
            Ok(Line::Actor { .. }) | Err(_) => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_held_back_is_not_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let line = |seq: u64, second: u64| {
            format!("{{\"seq\":{seq},\"at\":\"2026-11-27T10:00:0{second}Z\",\"path\":\"/a\",\"what\":[]}}\n")
        };
        std::fs::write(dir.path().join("log.1"), line(3, 9)).unwrap();
        std::fs::write(dir.path().join("log.2"), [line(5, 2), line(4, 1)].concat()).unwrap();
        let at = |second: u64| Some(format!("2026-11-27T10:00:0{second}Z").parse().unwrap());
        assert_eq!(end(dir.path()).unwrap(), End { next: 6, latest: at(2), seen: at(2) });
        // Killed while more waited than it had read.
        let behind =
            "{\"seq\":6,\"at\":\"2026-11-27T10:00:05Z\",\"mark\":\"behind\",\"since\":\"2026-11-27T10:00:03Z\"}\n";
        std::fs::write(dir.path().join("log.3"), [behind, &line(7, 6)].concat()).unwrap();
        assert_eq!(end(dir.path()).unwrap(), End { next: 8, latest: at(6), seen: at(3) });
        let ground = "{\"seq\":8,\"at\":\"2026-11-27T10:00:09Z\",\"mark\":\"ground\"}\n";
        std::fs::write(dir.path().join("log.3"), [&line(7, 6), ground].concat()).unwrap();
        assert_eq!(end(dir.path()).unwrap(), End { next: 9, latest: at(9), seen: at(6) });
    }
}
