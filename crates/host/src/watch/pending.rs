//! Events between the kernel's queue and the log: those of one process on one path become one line, and a path that is written
//! to again and again by the same process becomes a line every ten seconds, not one for each write.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::TreePath;
use jiff::Timestamp;

use super::bunch::{Bunch, Bunches};
use super::line::What;
use super::processes::Image;

/// How long the same thing is held back once it is on record.
const HOLD: Duration = Duration::from_secs(10);
/// More are not remembered: then all are forgotten, and some lines are written twice.
const MANY: usize = 50_000;
/// How often what is remembered is gone through for what is too old.
const SWEEP: Duration = Duration::from_secs(1);

/// One line to be.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Its place in the order of all, and the time, of the last of what is in it.
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) path: TreePath,
    pub(super) pid: u32,
    pub(super) image: Option<Arc<Image>>,
    pub(super) what: Vec<What>,
    pub(super) dir: bool,
    pub(super) from: Option<TreePath>,
    pub(super) to: Option<TreePath>,
    /// It needs a line of its own: something has to be looked at, or done, for this path.
    pub(super) alone: bool,
}

type Key = (TreePath, u32, usize);

/// Changes that wait.
#[derive(Default)]
pub(super) struct Pending {
    order: Vec<Change>,
    index: HashMap<Key, usize>,
    logged: HashMap<Key, (Instant, Vec<What>)>,
    held: HashMap<Key, Change>,
    bunches: Bunches,
    swept: Option<Instant>,
}

fn key(change: &Change) -> Key {
    (change.path.clone(), change.pid, change.image.as_ref().map_or(0, |image| Arc::as_ptr(image) as usize))
}

impl Pending {
    /// Adds a change to those of this turn.
    pub(super) fn add(&mut self, change: Change) {
        let goes_on = !self.index.is_empty() && self.index.contains_key(&key(&change));
        let single = if goes_on { Some(change) } else { self.bunches.add(change) };
        let Some(change) = single else { return };
        let moved = change.from.is_some() || change.to.is_some();
        let key = key(&change);
        if !moved && let Some(known) = self.index.get(&key).and_then(|at| self.order.get_mut(*at)) {
            // What makes the last of a path's names come or go must stay in its order.
            let ends = |list: &[What]| list.iter().any(|w| matches!(w, What::Deleted | What::Moved));
            if !ends(&known.what) {
                (known.seq, known.at) = (change.seq, change.at);
                known.what.extend(change.what.iter().filter(|w| !known.what.contains(w)).copied().collect::<Vec<_>>());
                return;
            }
        }
        self.index.insert(key, self.order.len());
        self.order.push(change);
    }

    /// What is to be written now, in order.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Change> {
        self.index.clear();
        if self.logged.len() > MANY {
            self.logged.clear();
        }
        let mut out: Vec<Change> = Vec::with_capacity(self.order.len());
        let due = |logged: &HashMap<Key, (Instant, Vec<What>)>, key: &Key| {
            logged.get(key).is_none_or(|(at, _)| now.duration_since(*at) >= HOLD)
        };
        let ready: Vec<Key> = self.held.keys().filter(|key| due(&self.logged, key)).cloned().collect();
        out.extend(ready.iter().filter_map(|key| self.held.remove(key)));
        let ready: HashMap<Key, usize> = ready.into_iter().zip(0..).collect();
        for change in std::mem::take(&mut self.order) {
            let key = key(&change);
            let repeats = change.from.is_none()
                && change.to.is_none()
                && change.what.iter().all(|w| matches!(w, What::Modified | What::Metadata))
                && self.logged.get(&key).is_some_and(|(_, what)| change.what.iter().all(|w| what.contains(w)));
            if repeats && let Some(at) = ready.get(&key) {
                // The line that was held back says it.
                (out[*at].seq, out[*at].at) = (change.seq, change.at);
            } else if repeats && !due(&self.logged, &key) {
                self.held.insert(key, change);
            } else {
                // What was held back happened before this.
                out.extend(self.held.remove(&key));
                out.push(change);
            }
        }
        for change in &out {
            self.logged.insert(key(change), (now, change.what.clone()));
        }
        // A path that is not written to any more is no repetition when it is again.
        if self.swept.is_none_or(|at| now.duration_since(at) >= SWEEP) {
            self.swept = Some(now);
            let held = &self.held;
            self.logged.retain(|key, (at, _)| now.duration_since(*at) < HOLD || held.contains_key(key));
        }
        out
    }

    /// Of this turn, what shares lines. It is never held back.
    pub(super) fn bunches(&mut self) -> Vec<Bunch> {
        self.bunches.take()
    }

    /// Everything that waits, when the watch ends or something is about to be read.
    pub(super) fn all(&mut self) -> Vec<Change> {
        self.index.clear();
        let mut out: Vec<Change> = self.held.drain().map(|(_, change)| change).collect();
        out.append(&mut self.order);
        out
    }

    /// Whether something waits for its time.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, pid: u32, what: What) -> Change {
        let (at, path) = (Timestamp::UNIX_EPOCH, path.into());
        Change { seq: 0, at, path, pid, image: None, what: vec![what], dir: false, from: None, to: None, alone: false }
    }

    fn paths(list: &[Change]) -> Vec<String> {
        list.iter().map(|c| format!("{} {} {:?}", c.path, c.pid, c.what)).collect()
    }

    #[test]
    fn what_one_process_does_to_a_path_in_a_turn_is_one_line() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        for (pid, what) in [(1, What::Created), (1, What::Modified), (2, What::Modified), (1, What::Modified)] {
            pending.add(change("/etc/a", pid, what));
        }
        assert_eq!(paths(&pending.take(now)), ["/etc/a 1 [Created, Modified]", "/etc/a 2 [Modified]"]);
        // Written to, deleted and made again: in this order.
        for what in [What::Modified, What::Deleted, What::Created, What::Modified] {
            pending.add(change("/etc/b", 1, what));
        }
        assert_eq!(paths(&pending.take(now)), ["/etc/b 1 [Modified, Deleted]", "/etc/b 1 [Created, Modified]"]);
        // What shares a line is not among those that have their own, and does not take from them what follows.
        for what in [What::Deleted, What::Created, What::Modified] {
            pending.add(change("/etc/c", 1, what));
        }
        assert_eq!(pending.bunches().len(), 1);
        assert_eq!(paths(&pending.take(now)), ["/etc/c 1 [Created, Modified]"]);
    }

    #[test]
    fn what_was_held_back_keeps_its_place_in_the_order() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let mut lines = Vec::new();
        for (seq, pid) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 1), (6, 2)] {
            pending.add(Change { seq, ..change("/etc/a", pid, What::Modified) });
            lines.extend(pending.take(now));
        }
        lines.extend(pending.take(now + HOLD));
        lines.sort_by_key(|change| change.seq);
        let order: Vec<_> = lines.iter().map(|change| (change.seq, change.pid)).collect();
        assert_eq!(order, [(1, 1), (3, 2), (5, 1), (6, 2)]);
    }

    #[test]
    fn repetitions_are_held_back_and_never_lost() {
        let (mut pending, start) = (Pending::default(), Instant::now());
        let mut lines = 0;
        for step in 0..100 {
            pending.add(change("/srv/state", 1, What::Modified));
            lines += pending.take(start + Duration::from_millis(step * 200)).len();
        }
        assert_eq!(lines, 2, "20 seconds of writing");
        assert!(pending.holds());
        pending.add(change("/srv/state", 1, What::Metadata));
        let now = pending.take(start + Duration::from_millis(19_900));
        assert_eq!(
            paths(&now),
            ["/srv/state 1 [Modified]", "/srv/state 1 [Metadata]"],
            "something new is no repetition"
        );
        pending.add(change("/srv/state", 1, What::Metadata));
        assert!(pending.take(start + Duration::from_secs(21)).is_empty());
        assert_eq!(pending.all().len(), 1);
    }
}
