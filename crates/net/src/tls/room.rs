//! How many connections there are, in all and from each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::Limits;

/// Who counts as one: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place(IpAddr);

impl Place {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Self(IpAddr::V6(Ipv6Addr::from(network)))
            }
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

/// The connections of one place.
struct Party {
    connections: usize,
    /// Its turns to shake hands.
    turns: Arc<Semaphore>,
}

#[derive(Default)]
struct Taken {
    connections: usize,
    parties: HashMap<Place, Party>,
}

/// All connections of a server.
#[derive(Clone)]
pub(super) struct Room {
    taken: Arc<Mutex<Taken>>,
    connections: usize,
    each: usize,
    handshakes_each: usize,
}

impl Room {
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits { connections, connections_each: each, handshakes_each, .. } = *limits;
        Self { taken: Arc::default(), connections, each, handshakes_each }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more from this address; none when there is none.
    pub(super) fn take(&self, address: IpAddr) -> Option<Seat> {
        let place = Place::of(address);
        let mut taken = self.lock();
        let used = taken.parties.get(&place).map_or(0, |party| party.connections);
        if taken.connections >= self.connections || used >= self.each {
            return None;
        }
        taken.connections += 1;
        let new = || Party { connections: 0, turns: Arc::new(Semaphore::new(self.handshakes_each)) };
        let party = taken.parties.entry(place).or_insert_with(new);
        party.connections += 1;
        Some(Seat { room: self.clone(), place, turns: party.turns.clone() })
    }
}

/// Room for one connection, until it is dropped.
pub(super) struct Seat {
    room: Room,
    place: Place,
    turns: Arc<Semaphore>,
}

impl Seat {
    /// The turns of its address to shake hands.
    pub(super) fn turn(&self) -> Arc<Semaphore> {
        self.turns.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.connections = taken.connections.saturating_sub(1);
        if let Some(party) = taken.parties.get_mut(&self.place) {
            party.connections = party.connections.saturating_sub(1);
            if party.connections == 0 {
                taken.parties.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Room;
    use crate::tls::Limits;

    #[test]
    fn room_in_all_and_for_each() {
        let room = Room::new(&Limits { connections: 4, connections_each: 2, ..Limits::default() });
        let take = |address: &str| room.take(address.parse().unwrap());
        let first = take("192.0.2.1");
        let _second = take("::ffff:192.0.2.1").unwrap();
        assert!(first.is_some() && take("192.0.2.1").is_none(), "two of one address, however it is spelled");
        let _third = take("2001:db8:0:1::1").unwrap();
        let fourth = take("2001:db8:0:1:ffff::2");
        assert!(fourth.is_some() && take("192.0.2.9").is_none(), "four in all");
        drop(fourth);
        drop(first);
        assert!(take("2001:db8:0:1::3").is_some() && take("192.0.2.1").is_some());
        drop((_second, _third));
        assert!(room.lock().parties.is_empty() && room.lock().connections == 0, "nothing is kept of who is gone");
    }
}
