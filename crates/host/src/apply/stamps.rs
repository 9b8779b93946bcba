//! Stamps by entry. Of most entries at most one side has a stamp, and a change may have hundreds of thousands: what is absent
//! takes four bytes and not the place of a stamp.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::facts::Stamp;

/// One stamp or none for each entry.
#[derive(Clone, Default)]
pub(super) struct Stamps {
    /// By entry, where in `known` its stamp is.
    places: Vec<u32>,
    known: Vec<Stamp>,
}

const ABSENT: u32 = u32::MAX;

impl Stamps {
    /// No stamp for each of `count` entries.
    pub(super) fn none(count: usize) -> Self {
        Self { places: vec![ABSENT; count], known: Vec::new() }
    }

    pub(super) fn push(&mut self, stamp: Option<Stamp>) {
        self.places.push(ABSENT);
        self.set(self.places.len() - 1, stamp);
    }

    /// Stamps are added and replaced; one that becomes absent leaves its place unused.
    pub(super) fn set(&mut self, index: usize, stamp: Option<Stamp>) {
        self.places[index] = match (stamp, self.places[index]) {
            (None, _) => ABSENT,
            (Some(stamp), ABSENT) => {
                self.known.push(stamp);
                // Fewer than 2^32 entries: their number is written down in as many bits.
                u32::try_from(self.known.len() - 1).unwrap_or(ABSENT)
            }
            (Some(stamp), place) => {
                self.known[place as usize] = stamp;
                place
            }
        };
    }

    pub(super) fn get(&self, index: usize) -> Option<&Stamp> {
        match self.places[index] {
            ABSENT => None,
            place => self.known.get(place as usize),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&Stamp>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// In whatever order they were set.
impl PartialEq for Stamps {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Stamps {}

impl std::fmt::Debug for Stamps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Stamps that many threads find.
pub(super) struct Shared(Mutex<Stamps>);

impl Shared {
    pub(super) fn new(stamps: Stamps) -> Self {
        Self(Mutex::new(stamps))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Stamps> {
        // A stamp is set as a whole or not at all, whatever became of a thread.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn into_inner(self) -> Stamps {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use greenroom_core::Mtime;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_set_last_is_there(sets in proptest::collection::vec((0usize..8, proptest::option::of(any::<u64>())), 0..40)) {
            let stamp = |ino| Stamp { ino, size: 1, mtime: Mtime::default(), ctime: Mtime::default() };
            let (mut stamps, mut plain) = (Stamps::none(8), vec![None; 8]);
            for (index, ino) in sets {
                stamps.set(index, ino.map(stamp));
                plain[index] = ino.map(stamp);
            }
            prop_assert!(stamps.iter().eq(plain.iter().map(Option::as_ref)));
            let mut pushed = Stamps::default();
            plain.into_iter().for_each(|stamp| pushed.push(stamp));
            prop_assert_eq!(pushed, stamps);
        }
    }
}
