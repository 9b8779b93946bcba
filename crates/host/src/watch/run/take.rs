//! What becomes of one event: a change with who made it, held back for a moment, and a line of the log.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use greenroom_core::TreePath;
use greenroom_core::drift::Actor;
use greenroom_core::path::Shown;
use jiff::Timestamp;

use super::super::bunch::Bunch;
use super::super::event::{Event as Raw, mask};
use super::super::ground::Ground;
use super::super::line::{Event, MarkKind, Series, What};
use super::super::pending::Change;
use super::super::people;
use super::super::processes::{Image, Process};
use super::super::writers::Writer;
use super::Watch;

impl Watch {
    pub(super) fn take(&mut self, raw: &Raw<'_>, earlier: &HashMap<u32, Process>, at: Timestamp) -> io::Result<()> {
        if raw.mask & mask::OVERFLOW != 0 {
            self.dirs.forget();
            self.links.lost(Instant::now());
            self.writers.lost();
            return self.journal.mark(at, MarkKind::Overflow, Some(self.empty));
        }
        if raw.pid == self.state.pid {
            return Ok(());
        }
        let dir = raw.mask & mask::ONDIR != 0;
        let Some(place) = raw.at else {
            raw.object.into_iter().for_each(|inode| self.links.changed(inode));
            return Ok(());
        };
        let new = raw.mask & mask::CREATE != 0;
        let here = self.dirs.managed(place, dir, new);
        let there = raw.to.and_then(|to| self.dirs.managed(to, dir, new));
        let ends = if raw.mask & mask::RENAME != 0 && (here.is_some() || there.is_some()) {
            (raw.to.and_then(|to| self.dirs.path(to)), self.dirs.path(place))
        } else {
            (None, None)
        };
        if dir {
            self.directory(raw);
        }
        if here.is_none() && there.is_none() {
            return Ok(());
        }
        let image = self.image(raw.pid, earlier);
        // It may be one more name of a file.
        let further = raw.mask & mask::CREATE != 0 && self.links.may(raw.object);
        let author = self.writers.author(raw, further && raw.object.is_some(), (raw.pid, image));
        self.journal.clock(at)?;
        self.owes = true;
        let changes = [here.map(|path| (path, ends.0, None)), there.map(|path| (path, None, ends.1))];
        for (path, to, from) in changes.into_iter().flatten() {
            let change = Change { to, from, ..self.change(raw, path, author.clone(), further, at) };
            self.pending.add(change);
        }
        Ok(())
    }

    fn change(&mut self, raw: &Raw<'_>, path: TreePath, (pid, image): Writer, further: bool, at: Timestamp) -> Change {
        Change {
            seq: self.journal.next(),
            at,
            alone: further || Ground::depends(&path),
            path,
            pid,
            image,
            what: words(raw.mask),
            dir: raw.mask & mask::ONDIR != 0,
            from: None,
            to: None,
        }
    }

    /// Keeps the memory of directories true.
    fn directory(&mut self, raw: &Raw<'_>) {
        let (Some(place), object) = (raw.at, raw.object) else { return };
        if let Some(to) = raw.to {
            self.dirs.moved(place, to);
        } else if raw.mask & (mask::MOVED_FROM | mask::MOVED_TO) != 0 {
            self.dirs.forget();
        } else if raw.mask & mask::DELETE != 0 {
            self.dirs.removed(object);
        } else if raw.mask & mask::CREATE != 0
            && let Some(object) = object
        {
            self.dirs.made(object, place);
        }
    }

    fn image(&mut self, pid: u32, earlier: &HashMap<u32, Process>) -> Option<Arc<Image>> {
        if let Some(process) = earlier.get(&pid) {
            return Some(Arc::clone(&process.image));
        }
        if self.tracer.is_none() && self.looked.insert(pid) {
            // Nobody tells when it becomes another program: looked at anew in each turn.
            self.processes.again(pid);
        }
        self.processes.get(pid).map(|process| process.image)
    }

    pub(super) fn write(&mut self, change: Change) -> io::Result<()> {
        if self.ground.reads(&change.path, &mut self.dirs) {
            self.journal.mark((self.now)(), MarkKind::Ground, None)?;
        }
        let inode = if change.dir { None } else { inode(&self.root, &change.path) };
        let own = change.image.as_ref().is_some_and(|image| image.program == self.own);
        let actor = change.image.as_ref().map(|image| self.actor(change.pid, image));
        self.journal.event(Event {
            seq: change.seq,
            at: change.at,
            path: change.path,
            what: change.what,
            dir: change.dir,
            from: change.from,
            to: change.to,
            inode,
            by: None,
            actor,
            own,
        })
    }

    pub(super) fn write_bunch(&mut self, bunch: Bunch) -> io::Result<()> {
        let actor = bunch.image.as_ref().map(|image| self.actor(bunch.pid, image));
        let own = bunch.image.as_ref().is_some_and(|image| image.program == self.own);
        let Bunch { seq, at, within, names, what, .. } = bunch;
        self.journal.series(Series { seq, at, within, names, what, by: None, own }, actor)
    }

    fn actor(&mut self, pid: u32, image: &Arc<Image>) -> Actor {
        if let Some((_, _, actor)) = self.named.as_ref().filter(|(of, as_, _)| *of == pid && Arc::ptr_eq(as_, image)) {
            return actor.clone();
        }
        let actor = self.describe(pid, image);
        self.named = Some((pid, Arc::clone(image), actor.clone()));
        actor
    }

    fn describe(&mut self, pid: u32, image: &Image) -> Actor {
        let text = |bytes: &[u8]| (!bytes.is_empty()).then(|| Shown(bytes).to_string());
        Actor {
            pid: Some(pid),
            process: text(&image.comm),
            exe: text(&image.program),
            command: people::command(&image.args),
            user: image.uid.map(|uid| self.names.of(uid)),
            login: image.login.map(|uid| self.names.of(uid)),
            terminal: image.terminal.clone(),
            from: image.from.clone(),
            unit: image.unit.clone(),
        }
    }
}

fn words(bits: u64) -> Vec<What> {
    let table = [
        (mask::CREATE, What::Created),
        (mask::MODIFY | mask::CLOSE_WRITE, What::Modified),
        (mask::ATTRIB, What::Metadata),
        (mask::MOVED_FROM | mask::MOVED_TO | mask::RENAME, What::Moved),
        (mask::DELETE, What::Deleted),
    ];
    table.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, what)| *what).collect()
}

/// Of a file with several names.
fn inode(root: &Path, path: &TreePath) -> Option<(u32, u32, u64)> {
    use std::os::unix::ffi::OsStrExt as _;
    let at = root.join(std::ffi::OsStr::from_bytes(path.relative()));
    let stat = rustix::fs::lstat(&at).ok()?;
    let many = stat.st_nlink > 1 && rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    many.then(|| (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev), stat.st_ino))
}
