//! How a change goes through the hosts of a system: in which batches, and what has to be well after each.

use std::collections::{BTreeMap, BTreeSet};

use super::{Batch, Batches, Service, System};
use crate::wire::{Declared, DeclaredTest, Watched};

/// The batches of some hosts as one service wants them.
struct Wanted<'s> {
    hosts: BTreeSet<&'s str>,
    sizes: &'s Batches,
    /// Of how many hosts a share is meant.
    all: usize,
    /// How many batches had one of its hosts.
    gone: usize,
}

impl Wanted<'_> {
    /// How many of its hosts the next batch may have; at least 1.
    fn room(&self) -> usize {
        let sizes = self.sizes.sizes();
        match sizes.get(self.gone.min(sizes.len().saturating_sub(1))) {
            Some(Batch::Hosts(hosts)) => *hosts as usize,
            Some(Batch::Percent(share)) => (self.all * *share as usize).div_ceil(100),
            Some(Batch::Rest) | None => self.hosts.len(),
        }
        .max(1)
    }
}

impl System {
    /// The order in which a change goes through `hosts`: service after service as they are restarted, each in the batches that it
    /// declares; hosts without a service last, one and then the rest. A host with several services is in the batch of the first
    /// of them, and no batch has more hosts of any service than that one allows. Every host is in exactly one batch.
    #[must_use]
    pub fn batches(&self, hosts: &[&str]) -> Vec<Vec<String>> {
        let usual = Batches::default();
        let order = self.in_order(hosts);
        let of =
            |service: &'_ &Service| order.iter().copied().filter(|h| service.hosts.iter().any(|s| s == h)).collect();
        let services = self.restart_order();
        let mut wanted: Vec<Wanted<'_>> = services
            .iter()
            .map(|service| Wanted { hosts: of(service), sizes: &service.batch, all: service.hosts.len(), gone: 0 })
            .collect();
        let served: BTreeSet<&str> = wanted.iter().flat_map(|one| one.hosts.iter().copied()).collect();
        let rest: BTreeSet<&str> = order.iter().copied().filter(|host| !served.contains(host)).collect();
        wanted.push(Wanted { all: rest.len(), hosts: rest, sizes: &usual, gone: 0 });
        let mut left = order;
        let mut out = Vec::new();
        for at in 0..wanted.len() {
            while left.iter().any(|host| wanted[at].hosts.contains(host)) {
                let mut room: Vec<usize> = wanted.iter().map(Wanted::room).collect();
                let mut batch: Vec<&str> = Vec::new();
                for host in left.iter().copied().filter(|host| wanted[at].hosts.contains(host)) {
                    let own: Vec<usize> = (0..wanted.len()).filter(|n| wanted[*n].hosts.contains(host)).collect();
                    if own.iter().all(|n| room[*n] > 0) {
                        own.iter().for_each(|n| room[*n] -= 1);
                        batch.push(host);
                    }
                }
                left.retain(|host| !batch.contains(host));
                let went = |one: &&mut Wanted<'_>| batch.iter().any(|host| one.hosts.contains(host));
                wanted.iter_mut().filter(went).for_each(|one| one.gone += 1);
                out.push(batch.into_iter().map(str::to_owned).collect());
            }
        }
        out
    }

    /// As the system names them; those that it does not know last.
    fn in_order<'h>(&self, hosts: &[&'h str]) -> Vec<&'h str> {
        let mut out = hosts.to_vec();
        let place = |host: &str| self.hosts.iter().position(|own| own.name == host).unwrap_or(usize::MAX);
        out.sort_by_key(|host| (place(host), *host));
        out.dedup();
        out
    }

    /// What has to be well on each of `hosts` once a change is in place there, in the order of the restarts.
    #[must_use]
    pub fn watched(&self, hosts: &[&str]) -> BTreeMap<String, Vec<Watched>> {
        let of = |service: &Service| Watched { service: service.name.clone(), health: service.health.clone() };
        hosts.iter().map(|host| ((*host).to_owned(), self.services_on(host).into_iter().map(of).collect())).collect()
    }

    /// What the system says for one host: its tests, its volatile and data paths, the order of its units.
    #[must_use]
    pub fn declared_for(&self, host: &str) -> Declared {
        let test = |test: &&super::HostTest| DeclaredTest {
            name: test.name.clone(),
            run: test.run.clone(),
            timeout_ms: u64::try_from(test.timeout.as_millis()).unwrap_or(u64::MAX),
        };
        let paths = self.host(host).map_or_else(|| self.paths.clone(), |host| self.paths_on(host));
        Declared {
            tests: self.tests_on(host).iter().map(test).collect(),
            volatile: paths.volatile,
            data: paths.data,
            units: self.services_on(host).into_iter().map(|service| service.unit.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Declaration;
    use super::*;

    struct One(String);

    impl super::super::Files for One {
        fn read(&self, _: &str) -> Result<String, String> {
            Ok(self.0.clone())
        }
        fn names(&self, _: &str) -> Result<Vec<String>, String> {
            Ok(Vec::new())
        }
    }

    fn system(text: &str) -> System {
        let declaration = Declaration::read("greenroom.toml", &One(text.to_owned())).unwrap();
        declaration.system(None).unwrap().clone()
    }

    const SHOP: &str = r#"
        [system]
        name = "shop"
        [host.web1]
        address = "10.0.0.1"
        roles = ["web"]
        [host.web2]
        address = "10.0.0.2"
        roles = ["web", "cache"]
        [host.web3]
        address = "10.0.0.3"
        roles = ["web", "cache"]
        [host.db1]
        address = "10.0.0.4"
        roles = ["db"]
        [host.tools]
        address = "10.0.0.5"
        [service.shop]
        roles = ["web"]
        after = ["database"]
        batch = ["100%"]
        [service.cache]
        roles = ["cache"]
        after = ["shop"]
        batch = [1]
        [service.database]
        roles = ["db"]
    "#;

    #[test]
    fn services_go_one_after_the_other_and_no_batch_is_too_large_for_any() {
        let system = system(SHOP);
        let batches = system.batches(&["tools", "web3", "web2", "web1", "db1", "new"]);
        let expected: [&[&str]; 5] = [&["db1"], &["web1", "web2"], &["web3"], &["tools"], &["new"]];
        assert_eq!(batches, expected);
        let watched = system.watched(&["web2"]);
        let names: Vec<&str> = watched["web2"].iter().map(|one| one.service.as_str()).collect();
        assert_eq!(names, ["shop", "cache"]);
    }

    proptest! {
        #[test]
        fn every_host_is_in_one_batch_and_every_service_has_its_sizes(
            on in prop::collection::vec(prop::collection::vec(any::<bool>(), 3), 1..9),
            sizes in prop::collection::vec(prop::collection::vec(prop_oneof![1_u32..4, 101_u32..200], 1..4), 3),
        ) {
            let hosts: Vec<String> = (0..on.len()).map(|n| format!("h{n}")).collect();
            let mut text = "[system]\nname = 'x'\n".to_owned();
            for (host, roles) in hosts.iter().zip(&on) {
                let roles: Vec<String> = (0..3).filter(|n| roles[*n]).map(|n| format!("'r{n}'")).collect();
                text += &format!("[host.{host}]\naddress = '{host}'\nroles = [{}]\n", roles.join(", "));
            }
            for (n, sizes) in sizes.iter().enumerate().filter(|(n, _)| on.iter().any(|roles| roles[*n])) {
                let size = |size: &u32| if *size > 100 { format!("'{}%'", size - 100) } else { size.to_string() };
                let sizes: Vec<String> = sizes.iter().map(size).collect();
                text += &format!("[service.s{n}]\nroles = ['r{n}']\nbatch = [{}]\n", sizes.join(", "));
            }
            let system = system(&text);
            let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
            let batches = system.batches(&names);
            let mut all: Vec<&str> = batches.iter().flatten().map(String::as_str).collect();
            all.sort_unstable();
            prop_assert_eq!(all, names);
            for service in &system.services {
                let counts = batches.iter().map(|b| b.iter().filter(|h| service.hosts.contains(h)).count());
                let counts: Vec<usize> = counts.filter(|count| *count > 0).collect();
                let sizes = service.batch.sizes();
                for (at, count) in counts.iter().enumerate() {
                    let most = match sizes[at.min(sizes.len() - 1)] {
                        Batch::Hosts(n) => n as usize,
                        Batch::Percent(p) => (service.hosts.len() * p as usize).div_ceil(100),
                        Batch::Rest => hosts.len(),
                    };
                    prop_assert!(*count <= most, "{:?} of {:?}", batches, service);
                }
            }
        }
    }
}
