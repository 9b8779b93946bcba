//! The log's reading side: who did what to which path, and where the log is not complete.
//!
//! Reading needs no watch that runs and takes no lock: a last line that is not whole yet is left for the next time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
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
    running: bool,
}

/// Of one path no more than this many events are kept, the newest.
const EACH: usize = 16;

impl Log {
    /// Reads the log of the tree at `root`, from `since` on where that is given. Without a log it is empty.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(root: &Path, since: Option<Timestamp>) -> io::Result<Self> {
        Self::read_dir(&super::dir(root), since)
    }

    pub(super) fn read_dir(dir: &Path, since: Option<Timestamp>) -> io::Result<Self> {
        let mut out = Self { running: super::state::runs(dir), ..Self::default() };
        let files = journal::files(dir)?;
        for (index, (_, path)) in files.iter().enumerate() {
            if index == 0 {
                out.horizon = first(path)?.max(since);
            }
            // What a file holds is older than the first line of the next.
            let next = files.get(index + 1);
            if let (Some(since), Some((_, next))) = (since, next)
                && first(next)?.is_some_and(|at| at < since)
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
                    self.next = self.next.max(mark.seq + 1);
                    if since.is_none_or(|since| mark.at >= since) {
                        self.marks.push(mark);
                    }
                }
                Ok(Line::Event(event)) => {
                    self.next = self.next.max(event.seq + 1);
                    if since.is_none_or(|since| event.at >= since) {
                        let actor = event.by.and_then(|by| actors.get(&by).cloned());
                        self.keep(Event { actor, ..event });
                    }
                }
                // Half a line of a power cut, with the rest of the file behind it: what is whole counts.
                Err(_) => {}
            }
        }
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

    /// The last event that explains how `path` is now: one of its own, one of a directory above it that was moved, or one under
    /// another name of its inode. Events of Greenroom's own processes are left out.
    #[must_use]
    pub fn explains(&self, path: &TreePath, inode: Option<(u32, u32, u64)>) -> Option<&Event> {
        let own = self.of(path).iter();
        let other = inode.map_or(&[][..], |inode| self.of_inode(inode)).iter();
        let found = own.chain(other).filter(|event| !event.own).max_by_key(|event| event.seq);
        if found.is_some() {
            return found;
        }
        let mut above = path.parent();
        while let Some(dir) = above {
            let moved = |event: &&Event| !event.own && event.what.contains(&What::Moved);
            if let Some(event) = self.of(&dir).iter().rev().find(moved) {
                return Some(event);
            }
            above = dir.parent();
        }
        None
    }

    /// All paths with events.
    pub fn paths(&self) -> impl Iterator<Item = &TreePath> {
        self.events.keys()
    }

    /// The marks, oldest first.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Since when the log has every change; `None` while no watch runs.
    #[must_use]
    pub fn complete_since(&self) -> Option<Timestamp> {
        let gap = |mark: &&Mark| !matches!(mark.mark, MarkKind::Rotated | MarkKind::ActorsLost);
        let last = self.marks.iter().rev().find(gap).map(|mark| mark.at);
        // Without any the watch has run since before the oldest line that is kept, or that was asked for.
        self.running.then(|| last.or(self.horizon)).flatten()
    }

    /// The number that the next line would get.
    pub(super) fn next_seq(&self) -> u64 {
        self.next
    }
}

fn push(list: &mut Vec<Event>, event: Event) {
    if list.len() >= EACH {
        list.remove(0);
    }
    list.push(event);
}

/// The time of the first line of a file.
fn first(path: &Path) -> io::Result<Option<Timestamp>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(0))?;
    for line in BufReader::new(file).lines() {
        match serde_json::from_str(&line?) {
            Ok(Line::Event(event)) => return Ok(Some(event.at)),
            Ok(Line::Mark(mark)) => return Ok(Some(mark.at)),
            Ok(Line::Actor { .. }) | Err(_) => {}
        }
    }
    Ok(None)
}
