//! How much happens, and what is left out while it is much.
//!
//! Half of what the kernel spends on telling of a large archive that is unpacked goes into telling of each write. Who closes a file
//! after writing is told of anyway. So single writes are only asked for while little happens; what is missed meanwhile is a file that
//! somebody keeps open, until its next write.

use std::time::{Duration, Instant};

/// So many bytes of events in one turn are a flood: about a thousand changes in its twentieth of a second.
const MANY: usize = 100 << 10;
/// A flood is over when there was none for so long.
const CALM: Duration = Duration::from_secs(1);

/// Whether there is a flood.
#[derive(Default)]
pub(super) struct Rate {
    since: Option<Instant>,
}

impl Rate {
    /// Takes note of what was read in a turn. Gives whether single writes are wanted from here on, when that changed.
    pub(super) fn read(&mut self, bytes: usize, now: Instant) -> Option<bool> {
        if bytes >= MANY {
            return self.since.replace(now).is_none().then_some(false);
        }
        let over = self.since.is_some_and(|since| now.duration_since(since) >= CALM);
        over.then(|| {
            self.since = None;
            true
        })
    }

    /// Whether it has to be looked at again although nothing happens.
    pub(super) fn waits(&self) -> bool {
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_left_out_from_the_first_flood_until_it_is_calm_again() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let steps = [
            (0, 10, None),
            (1, MANY, Some(false)),
            (2, MANY, None),
            (900, 10, None),
            (1100, 0, Some(true)),
            (1200, 0, None),
        ];
        for (millis, bytes, want) in steps {
            assert_eq!(rate.read(bytes, start + Duration::from_millis(millis)), want, "{millis}");
        }
        assert!(!rate.waits());
    }
}
