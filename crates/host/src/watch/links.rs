//! Which files may have several names.
//!
//! The log says of such a file which inode it is, for which each file would have to be looked at. But whoever gives a file a further
//! name makes the kernel tell first that the inode's number of names has changed: an event without a name. A file that was made
//! without that has the name it was made with, and no other.

use std::collections::HashSet;
use std::time::{Duration, Instant};

/// For how long at least it is remembered: whoever links may be interrupted between the two events.
const MEMORY: Duration = Duration::from_secs(10);
/// More are not remembered: then it may be any file. Removing a tree tells of each file in it.
const MANY: usize = 100_000;

/// Inodes by their handle.
pub(super) struct Links {
    recent: HashSet<Box<[u8]>>,
    before: HashSet<Box<[u8]>>,
    since: Instant,
    /// When events were dropped, and with them perhaps what is to be known here.
    lost: Option<Instant>,
}

impl Links {
    pub(super) fn new(now: Instant) -> Self {
        Self { recent: HashSet::new(), before: HashSet::new(), since: now, lost: None }
    }

    /// Once in each turn.
    pub(super) fn turn(&mut self, now: Instant) {
        if now.duration_since(self.since) >= MEMORY {
            self.since = now;
            self.before = std::mem::take(&mut self.recent);
        }
        self.lost = self.lost.filter(|at| now.duration_since(*at) < MEMORY);
    }

    /// The number of names of this inode has changed.
    pub(super) fn changed(&mut self, inode: &[u8]) {
        if self.recent.len() < MANY {
            self.recent.insert(inode.into());
        }
    }

    /// The kernel dropped events.
    pub(super) fn lost(&mut self, now: Instant) {
        self.lost = Some(now);
    }

    /// Whether a file that was just made may have another name.
    pub(super) fn may(&self, inode: Option<&[u8]>) -> bool {
        let full = self.recent.len() >= MANY || self.before.len() >= MANY;
        full || self.lost.is_some()
            || inode.is_none_or(|inode| self.recent.contains(inode) || self.before.contains(inode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_have_one_name_may_have_several() {
        let start = Instant::now();
        let mut links = Links::new(start);
        assert!(links.may(None) && !links.may(Some(b"a")));
        links.changed(b"a");
        for (seconds, may) in [(0, true), (9, true), (10, true), (19, true), (20, false)] {
            links.turn(start + Duration::from_secs(seconds));
            assert_eq!(links.may(Some(b"a")), may, "{seconds}");
        }
        links.lost(start + Duration::from_secs(20));
        for (seconds, may) in [(29, true), (30, false)] {
            links.turn(start + Duration::from_secs(seconds));
            assert_eq!(links.may(Some(b"b")), may, "{seconds}");
        }
        for number in 0..MANY {
            links.changed(&number.to_ne_bytes());
        }
        assert!(links.may(Some(b"b")));
    }
}
