//! What one process does to name after name in one directory, put together before it is a line.
//!
//! Unpacking an archive or removing a tree is ten thousand changes a second that differ in nothing but the name. They become one
//! line that lists the names: who did it is written, and looked up, once. Nothing is left out and nothing is concluded from it: each name
//! keeps its own place in the order of all changes, and one change by anybody else in between ends the bunch.

use std::sync::Arc;

use greenroom_core::TreePath;
use jiff::Timestamp;

use super::line::{Name, What};
use super::pending::Change;
use super::processes::Image;

/// So many bytes of names are one line at most: a reader has it in memory as a whole.
const LONG: usize = 4096;

/// One line to be.
#[derive(Debug)]
pub(super) struct Bunch {
    /// Of the first name; each that follows has the next.
    pub(super) seq: u64,
    /// Of the last.
    pub(super) at: Timestamp,
    pub(super) within: TreePath,
    pub(super) names: Vec<Name>,
    pub(super) pid: u32,
    pub(super) image: Option<Arc<Image>>,
    pub(super) what: Vec<What>,
    bytes: usize,
}

/// The bunches of a turn.
#[derive(Debug, Default)]
pub(super) struct Bunches(Vec<Bunch>);

impl Bunches {
    /// Takes a change that may share a line: a file made and written, or removed. Gives back any other.
    ///
    /// Only these: what is written to again and again is held back by path, and a name that is made without being written to may be a
    /// further name of something, which needs its inode.
    pub(super) fn add(&mut self, change: Change) -> Option<Change> {
        let has = |what| change.what.contains(&what);
        let made = has(What::Created) && has(What::Modified) && !has(What::Deleted);
        let plain = !change.alone && !change.dir && change.from.is_none() && change.to.is_none();
        if !plain || !(made || change.what == [What::Deleted]) {
            return Some(change);
        }
        if let Some(last) = self.0.last_mut().filter(|last| last.takes(&change)) {
            last.push(&change);
            return None;
        }
        let Some(within) = change.path.parent() else { return Some(change) };
        let mut bunch = Bunch {
            seq: change.seq,
            at: change.at,
            within,
            names: Vec::new(),
            pid: change.pid,
            image: change.image.clone(),
            what: change.what.clone(),
            bytes: 0,
        };
        bunch.push(&change);
        self.0.push(bunch);
        None
    }

    /// All of them, in order.
    pub(super) fn take(&mut self) -> Vec<Bunch> {
        std::mem::take(&mut self.0)
    }
}

impl Bunch {
    fn takes(&self, change: &Change) -> bool {
        let same = match (&self.image, &change.image) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same && self.pid == change.pid
            && self.seq + self.names.len() as u64 == change.seq
            && self.bytes < LONG
            && self.what == change.what
            && self.within.is_parent_of(&change.path)
    }

    fn push(&mut self, change: &Change) {
        let name = change.path.name();
        self.at = change.at;
        self.bytes += name.len();
        self.names.push(Name(name.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(all: &mut Bunches, seq: u64, pid: u32, path: &str, what: &[What]) -> bool {
        let (at, path, what) = (Timestamp::UNIX_EPOCH, path.into(), what.to_vec());
        let change = Change { seq, at, path, pid, image: None, what, dir: false, from: None, to: None, alone: false };
        all.add(change).is_none()
    }

    const MADE: &[What] = &[What::Created, What::Modified];

    #[test]
    fn only_what_differs_in_nothing_but_the_name_shares_a_line() {
        let mut all = Bunches::default();
        for (seq, pid, path, what) in [
            (1, 7, "/srv/a", MADE),
            (2, 7, "/srv/b", MADE),
            // Another process, and the first again after it.
            (3, 8, "/srv/c", MADE),
            (4, 7, "/srv/d", MADE),
            // Another directory, whose name begins like the one before.
            (5, 7, "/srv2/e", MADE),
            (6, 7, "/f", MADE),
            (7, 7, "/g", &[What::Deleted]),
            (8, 7, "/h", &[What::Deleted]),
            // Something happened in between.
            (10, 7, "/i", &[What::Deleted]),
        ] {
            assert!(add(&mut all, seq, pid, path, what), "{path}");
        }
        let lines: Vec<_> = all
            .take()
            .iter()
            .map(|b| {
                let names: Vec<_> = b.names.iter().map(|name| String::from_utf8_lossy(&name.0).into_owned()).collect();
                format!("{} {} {} {}", b.seq, b.pid, b.within, names.join(","))
            })
            .collect();
        assert_eq!(
            lines,
            ["1 7 /srv a,b", "3 8 /srv c", "4 7 /srv d", "5 7 /srv2 e", "6 7 / f", "7 7 / g,h", "10 7 / i"]
        );
        assert!(all.take().is_empty());
    }

    #[test]
    fn what_needs_a_line_of_its_own_is_given_back() {
        let mut all = Bunches::default();
        for what in [
            &[What::Created][..],
            &[What::Modified],
            &[What::Metadata],
            &[What::Moved],
            &[What::Created, What::Modified, What::Deleted],
        ] {
            assert!(!add(&mut all, 1, 7, "/srv/a", what), "{what:?}");
        }
        assert!(!add(&mut all, 1, 7, "/", MADE));
        assert!(all.take().is_empty());
    }

    #[test]
    fn a_line_has_an_end() {
        let mut all = Bunches::default();
        for seq in 0..1000 {
            assert!(add(&mut all, seq, 7, &format!("/srv/{seq:0100}"), MADE));
        }
        let lines = all.take();
        assert_eq!(lines.iter().map(|bunch| bunch.names.len()).sum::<usize>(), 1000);
        assert!(lines.iter().all(|bunch| bunch.bytes < LONG + 256));
    }
}
