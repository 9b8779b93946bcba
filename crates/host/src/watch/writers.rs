//! Whose closing it is.
//!
//! That a file was closed after it was open for writing is told of whoever lets go of it last. Mostly that is who wrote to it. But
//! whoever looks through `/proc/*/fd`, as lsof and monitoring do, holds each file for a moment, and a shell holds what it opened for
//! its commands: such a closing is the doing of the one who wrote.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Event, mask};
use super::processes::Image;

/// For how long at least it is remembered who wrote to a file that stays open. Of what is made without being opened no closing comes.
const MEMORY: Duration = Duration::from_secs(60);
/// More are not remembered: then a closing is of whoever the kernel names.
const MANY: usize = 20_000;

/// A process, and what it was.
pub(super) type Writer = (u32, Option<Arc<Image>>);

/// Who wrote last to each file whose closing has not been told yet.
pub(super) struct Writers {
    recent: HashMap<Box<[u8]>, Writer>,
    before: HashMap<Box<[u8]>, Writer>,
    since: Instant,
}

impl Writers {
    pub(super) fn new(now: Instant) -> Self {
        Self { recent: HashMap::new(), before: HashMap::new(), since: now }
    }

    /// Once in each turn.
    pub(super) fn turn(&mut self, now: Instant) {
        if now.duration_since(self.since) >= MEMORY {
            self.since = now;
            self.before = std::mem::take(&mut self.recent);
        }
    }

    /// The kernel dropped events.
    pub(super) fn lost(&mut self) {
        self.recent.clear();
        self.before.clear();
    }

    /// Whose doing an event is, of which the kernel names `told`. `linked`: it may be a further name of a file, which opens nothing.
    pub(super) fn author(&mut self, raw: &Event<'_>, linked: bool, told: Writer) -> Writer {
        let has = |bits| raw.mask & bits != 0;
        if has(mask::ONDIR) {
            return told;
        }
        let wrote = has(mask::MODIFY) || has(mask::CREATE) && !linked;
        if has(mask::CLOSE_WRITE) {
            let known = self.closed(raw);
            return known.filter(|_| !wrote).unwrap_or(told);
        }
        if wrote && self.recent.len() < MANY {
            self.recent.extend(key(raw).map(|key| (key, told.clone())));
        }
        told
    }

    fn closed(&mut self, raw: &Event<'_>) -> Option<Writer> {
        if self.recent.is_empty() && self.before.is_empty() {
            return None;
        }
        let key = key(raw)?;
        let before = self.before.remove(&key);
        self.recent.remove(&key).or(before)
    }
}

/// The file, or where its handle is not told, its name.
fn key(raw: &Event<'_>) -> Option<Box<[u8]>> {
    raw.object.map(Box::from).or_else(|| raw.at.map(|at| [at.dir, b"/", at.name].concat().into()))
}

#[cfg(test)]
mod tests {
    use super::super::event::Place;
    use super::*;

    const FILE: Option<&[u8]> = Some(b"file");

    fn author(all: &mut Writers, bits: u64, pid: u32, object: Option<&[u8]>) -> u32 {
        let at = Some(Place { dir: b"dir", name: b"name" });
        all.author(&Event { mask: bits, pid, at, object, ..Event::default() }, false, (pid, None)).0
    }

    #[test]
    fn a_closing_is_of_who_wrote() {
        let mut all = Writers::new(Instant::now());
        for object in [FILE, None] {
            for wrote in [mask::CREATE, mask::MODIFY, mask::CREATE | mask::MODIFY] {
                assert_eq!(author(&mut all, wrote, 1, object), 1);
                assert_eq!(author(&mut all, mask::CLOSE_WRITE | mask::ATTRIB, 2, object), 1, "the first lets go of it");
                assert_eq!(author(&mut all, mask::CLOSE_WRITE, 2, object), 2, "by a mapping, for instance");
            }
        }
        // Who wrote and closed has done both, whoever has it open.
        assert_eq!(author(&mut all, mask::MODIFY, 1, FILE), 1);
        assert_eq!(author(&mut all, mask::MODIFY | mask::CLOSE_WRITE, 2, FILE), 2);
        assert_eq!(author(&mut all, mask::MODIFY, 1, FILE), 1);
        assert_eq!(author(&mut all, mask::CLOSE_WRITE, 2, Some(b"other")), 2);
        all.lost();
        assert_eq!(author(&mut all, mask::CLOSE_WRITE, 2, FILE), 2);
    }

    #[test]
    fn what_is_never_closed_is_forgotten() {
        let start = Instant::now();
        let mut all = Writers::new(start);
        for (seconds, whose) in [(59, 1), (60, 1), (119, 1), (120, 2)] {
            author(&mut all, mask::MODIFY, 1, FILE);
            let last = start + Duration::from_secs(seconds);
            (60..=seconds).step_by(60).for_each(|at| all.turn(start + Duration::from_secs(at)));
            all.turn(last);
            assert_eq!(author(&mut all, mask::CLOSE_WRITE, 2, FILE), whose, "{seconds}");
            all = Writers::new(start);
        }
        let event = Event { mask: mask::CREATE, pid: 1, object: FILE, ..Event::default() };
        all.author(&event, true, (1, None));
        assert_eq!(author(&mut all, mask::CLOSE_WRITE, 2, FILE), 2, "a further name opens nothing");
        for number in 0..=MANY {
            author(&mut all, mask::MODIFY, 1, Some(&number.to_ne_bytes()));
        }
        assert_eq!(all.recent.len(), MANY);
    }
}
