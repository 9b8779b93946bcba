//! The list of destinations that a copy may reach, each with where it came from. Exact: no wildcards, no suffixes.

use std::collections::BTreeMap;

use super::destination::{Destination, DestinationError};

/// The ports that an entry without a port stands for.
const WEB_PORTS: [u16; 2] = [80, 443];

/// Who put an entry on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The host's own configuration names it as a package source.
    Configured,
    /// The person who rehearses named it.
    Allowed,
}

/// A destination that may be reached, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowEntry {
    destination: Destination,
    origin: Origin,
    permit_local: bool,
    via: Option<Destination>,
}

impl AllowEntry {
    /// A package source of the host. When its name is plainly a local one (`localhost`, or a name without a dot such as
    /// `aptcache`), it may resolve to this very host.
    #[must_use]
    pub fn configured(destination: Destination) -> Self {
        let permit_local = is_loopback_name(destination.host()) || !destination.host().contains('.');
        Self { destination, origin: Origin::Configured, permit_local, via: None }
    }

    /// A destination that somebody allowed by name. Only the name `localhost` may resolve to this very host.
    #[must_use]
    pub fn allowed(destination: Destination) -> Self {
        let permit_local = is_loopback_name(destination.host());
        Self { destination, origin: Origin::Allowed, permit_local, via: None }
    }

    /// Reads `HOST[:PORT]` (`--allow`); without a port it stands for 80 and 443.
    ///
    /// # Errors
    /// When the text is not a host with an optional port.
    pub fn parse_allowed(text: &str) -> Result<Vec<Self>, DestinationError> {
        let (host, port) = Destination::split(text)?;
        let one = |port| Destination::new(&host, port).map(Self::allowed);
        port.map_or_else(|| WEB_PORTS.into_iter().map(one).collect(), |port| Ok(vec![one(port)?]))
    }

    /// The name may resolve to loopback, link-local or an address of this host: somebody decided so.
    #[must_use]
    pub fn permit_local(mut self) -> Self {
        self.permit_local = true;
        self
    }

    /// Reach the destination through another HTTP proxy. The proxy itself does not become a destination: whoever could talk to
    /// it directly could reach everything that it can.
    #[must_use]
    pub fn through(mut self, proxy: Destination) -> Self {
        self.via = Some(proxy);
        self
    }

    /// Where it leads.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Who put it on the list.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The proxy that leads there, if any.
    #[must_use]
    pub fn via(&self) -> Option<&Destination> {
        self.via.as_ref()
    }

    /// Whether an address of this machine, or one that only means something next to it, is what was asked for. An address that
    /// was written out as such always is.
    pub(super) fn permits_local(&self) -> bool {
        self.permit_local || self.destination.ip().is_some()
    }
}

/// `localhost` and names below it always mean loopback (RFC 6761, section 6.3), so there is nobody to be deceived.
fn is_loopback_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Everything that a copy may reach.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    entries: BTreeMap<Destination, AllowEntry>,
}

impl AllowList {
    /// Of two entries for one destination the first decides how it is reached; local addresses are permitted if either permits.
    #[must_use]
    pub fn new(entries: Vec<AllowEntry>) -> Self {
        let mut list = Self::default();
        for entry in entries {
            let permit = entry.permit_local;
            let kept = list.entries.entry(entry.destination.clone()).or_insert(entry);
            kept.permit_local |= permit;
        }
        list
    }

    /// The entry for exactly this host and port.
    #[must_use]
    pub fn find(&self, destination: &Destination) -> Option<&AllowEntry> {
        self.entries.get(destination)
    }

    /// All entries, sorted by destination.
    pub fn iter(&self) -> impl Iterator<Item = &AllowEntry> {
        self.entries.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> Destination {
        Destination::with_port(text).unwrap()
    }

    #[test]
    fn no_port_means_the_two_of_the_web() {
        let list = AllowList::new(AllowEntry::parse_allowed("Example.org").unwrap());
        for (target, found) in [
            ("example.org:80", true),
            ("EXAMPLE.ORG.:443", true),
            ("example.org:22", false),
            ("www.example.org:80", false),
            ("example.org.evil.test:80", false),
        ] {
            assert_eq!(list.find(&to(target)).is_some(), found, "{target}");
        }
        assert_eq!(AllowEntry::parse_allowed("[::1]:8080").unwrap().len(), 1);
    }

    #[test]
    fn who_may_be_local() {
        for (entry, local) in [
            (AllowEntry::configured(to("localhost:3142")), true),
            (AllowEntry::configured(to("aptcache:3142")), true),
            (AllowEntry::configured(to("apt.example.org:80")), false),
            (AllowEntry::allowed(to("localhost:3142")), true),
            (AllowEntry::allowed(to("aptcache:3142")), false),
            (AllowEntry::allowed(to("127.0.0.1:80")), true),
            (AllowEntry::allowed(to("apt.example.org:80")), false),
            (AllowEntry::allowed(to("apt.example.org:80")).permit_local(), true),
        ] {
            assert_eq!(entry.permits_local(), local, "{entry:?}");
        }
    }

    #[test]
    fn the_first_entry_decides_the_way() {
        let first = AllowEntry::configured(to("a.example:80")).through(to("proxy.example:3128"));
        let list = AllowList::new(vec![first, AllowEntry::allowed(to("a.example:80")).permit_local()]);
        let found = list.find(&to("a.example:80")).unwrap();
        assert_eq!(found.via(), Some(&to("proxy.example:3128")));
        assert!(found.permits_local());
        assert_eq!(list.iter().count(), 1);
    }
}
