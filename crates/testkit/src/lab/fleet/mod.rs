//! A fleet: several hosts of one lab that know each other by name, are reached by SSH, and can be cut off from each
//! other, and the operator's place on their network.
//!
//! ```no_run
//! use greenroom_testkit::lab::{Boot, Cut, Fleet, Lab};
//! # fn main() -> Result<(), greenroom_testkit::lab::LabError> {
//! let lab = Lab::new()?;
//! let mut fleet = Fleet::new(&lab)?;
//! for name in ["web1", "web2", "db1"] {
//!     fleet.add(name)?.install_greenroom("target/debug/greenroom".as_ref())?;
//! }
//! fleet.boot(&Boot::networked())?; // all at once
//! let mut control = fleet.operator().command("target/debug/greenroom").arg("serve").spawn().unwrap();
//! fleet.operator().exec_ok(&["ssh", "web1", "hostname"])?;
//! fleet.cut("web1", "operator", Cut::Drop)?;
//! fleet.host_mut("db1")?.kill();
//! fleet.heal("web1", "operator")?;
//! fleet.host_mut("db1")?.boot(&Boot::networked())?; // same tree, same address
//! # control.kill().unwrap(); control.wait().unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! A host that was added has the names of all others in its `/etc/hosts`, and the others have its: their file grows by a
//! line when one is added later. [`Fleet::station`] makes
//! more places for processes of this machine, each with an address of its own: two control planes and a database that
//! can be cut off from each other need no boot.

pub(crate) mod ssh;
pub(crate) mod station;

pub use station::Station;

use super::machine::WireKind;
use super::{Boot, Cut, Lab, LabError, LabHost, Wires, cuts, disk, network};
use ssh::{Ssh, append};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// The name of the station that every fleet has.
const OPERATOR: &str = "operator";

/// Hosts with their network; dropping it ends them all.
#[derive(Debug)]
pub struct Fleet {
    // Dropped in this order: what runs at the stations may talk to hosts.
    stations: Vec<Station>,
    hosts: Vec<LabHost>,
    /// The addresses of hosts that no station can call.
    behind: Vec<Ipv4Addr>,
    ssh: Ssh,
    lab: Lab,
    wires: Arc<Wires>,
}

impl Fleet {
    /// A fleet of no hosts, with the station "operator". A lab has at most one fleet.
    ///
    /// # Errors
    /// When the network or the operator's key cannot be made.
    pub fn new(lab: &Lab) -> Result<Self, LabError> {
        let wires = lab.inner.wires(WireKind::Plain)?;
        let ssh = Ssh::new(lab.dir().join("ssh"))?;
        let (stations, hosts, behind) = (Vec::new(), Vec::new(), Vec::new());
        let mut fleet = Self { stations, hosts, behind, ssh, lab: lab.clone(), wires };
        fleet.station(OPERATOR)?;
        Ok(fleet)
    }

    /// Hosts `web1` … `webN` and `db1`, with the program where one is given, booted.
    ///
    /// # Errors
    /// When one cannot be made or does not come up.
    pub fn webs_and_db(lab: &Lab, webs: u32, greenroom: Option<&Path>, boot: &Boot) -> Result<Self, LabError> {
        let mut fleet = Self::new(lab)?;
        let names = (1..=webs).map(|number| format!("web{number}")).chain(["db1".to_owned()]);
        for name in names {
            let host = fleet.add(&name)?;
            if let Some(binary) = greenroom {
                host.install_greenroom(binary)?;
            }
        }
        fleet.boot(boot)?;
        Ok(fleet)
    }

    /// Adds a host, not booted, that SSH reaches from the operator.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add(&mut self, name: &str) -> Result<&mut LabHost, LabError> {
        let host = self.lab.host(name)?;
        self.enrol(host, None)
    }

    /// Adds a host on a disk of its own; see [`Lab::host_on_disk`].
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add_on_disk(&mut self, name: &str, mib: u32) -> Result<&mut LabHost, LabError> {
        let host = self.lab.host_on_disk(name, mib)?;
        self.enrol(host, None)
    }

    /// Adds a host that the operator can reach only by SSH through the host `jump`: it opens connections to anybody, but
    /// no station can open one to it. `ssh_config` says `ProxyJump`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add_behind(&mut self, name: &str, jump: &str) -> Result<&mut LabHost, LabError> {
        self.host(jump)?;
        let host = self.lab.host(name)?;
        for station in &self.stations {
            cuts::close_inward(self.wires.network(), station.address(), host.address())?;
        }
        self.behind.push(host.address());
        self.enrol(host, Some(jump))
    }

    fn enrol(&mut self, host: LabHost, jump: Option<&str>) -> Result<&mut LabHost, LabError> {
        append(&host.path("etc/hosts"), &self.names())?;
        self.announce(host.name(), host.address())?;
        self.ssh.admit(host.root(), host.name(), host.address(), jump)?;
        self.hosts.push(host);
        self.hosts.last_mut().ok_or_else(|| LabError::Unknown("host".to_owned()))
    }

    /// Adds a station: a place on the network for processes of this machine.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn station(&mut self, name: &str) -> Result<&Station, LabError> {
        let address = network::address(self.lab.inner.number());
        let hosts = self.lab.dir().join("stations").join(name);
        disk::write(&hosts, &format!("127.0.0.1 localhost\n::1 localhost\n{}", self.names()))?;
        let station = Station::start(self.wires.network(), name, address, hosts, &self.ssh.config())?;
        for host in &self.behind {
            cuts::close_inward(self.wires.network(), address, *host)?;
        }
        self.stations.push(station);
        self.announce(name, address)?;
        self.at(name)
    }

    /// The lines of all members for `/etc/hosts`.
    fn names(&self) -> String {
        let hosts = self.hosts.iter().map(|host| (host.address(), host.name()));
        let stations = self.stations.iter().map(|station| (station.address(), station.name()));
        hosts.chain(stations).map(|(address, name)| format!("{address} {name}\n")).collect()
    }

    /// Tells all members the name of a new one.
    fn announce(&self, name: &str, address: Ipv4Addr) -> Result<(), LabError> {
        let line = format!("{address} {name}\n");
        for host in &self.hosts {
            append(&host.path("etc/hosts"), &line)?;
        }
        self.stations.iter().try_for_each(|station| append(&station.hosts, &line))
    }

    /// Boots all hosts at once and waits until the last has settled. Those that were booted are killed first.
    ///
    /// # Errors
    /// That of a host which did not come up.
    pub fn boot(&mut self, boot: &Boot) -> Result<(), LabError> {
        thread::scope(|scope| {
            let boots: Vec<_> = self.hosts.iter_mut().map(|host| scope.spawn(move || host.boot(boot))).collect();
            let results = boots.into_iter().map(|boot| boot.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// The host of this name.
    ///
    /// # Errors
    /// [`LabError::Unknown`].
    pub fn host(&self, name: &str) -> Result<&LabHost, LabError> {
        self.hosts.iter().find(|host| host.name() == name).ok_or_else(|| LabError::Unknown(name.to_owned()))
    }

    /// The host of this name, to boot or kill it.
    ///
    /// # Errors
    /// [`LabError::Unknown`].
    pub fn host_mut(&mut self, name: &str) -> Result<&mut LabHost, LabError> {
        self.hosts.iter_mut().find(|host| host.name() == name).ok_or_else(|| LabError::Unknown(name.to_owned()))
    }

    /// All hosts, in the order in which they were added.
    #[must_use]
    pub fn hosts(&self) -> &[LabHost] {
        &self.hosts
    }

    /// The station of this name.
    ///
    /// # Errors
    /// [`LabError::Unknown`].
    pub fn at(&self, name: &str) -> Result<&Station, LabError> {
        self.stations.iter().find(|station| station.name() == name).ok_or_else(|| LabError::Unknown(name.to_owned()))
    }

    /// The station where the operator works. `ssh NAME` there needs no option.
    #[must_use]
    pub fn operator(&self) -> &Station {
        // Made by `new` before all others, and never removed.
        &self.stations[0]
    }

    /// The configuration of ssh(1) that knows every host: its address, the key that opens it, its own key, and the way
    /// to it. At a station it is `/etc/ssh/ssh_config`. It allows `ControlMaster`, and does not ask for it.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        self.ssh.config()
    }

    /// The address of a host or station.
    ///
    /// # Errors
    /// [`LabError::Unknown`].
    pub fn address(&self, name: &str) -> Result<Ipv4Addr, LabError> {
        self.host(name).map(LabHost::address).or_else(|_| self.at(name).map(Station::address))
    }

    /// Separates two members, hosts or stations, from now on, open connections included. A cut of the other sort that
    /// was there is replaced. It stays over a boot.
    ///
    /// # Errors
    /// [`LabError::Unknown`], or nftables refuses.
    pub fn cut(&self, one: &str, other: &str, how: Cut) -> Result<(), LabError> {
        cuts::cut(self.wires.network(), (self.address(one)?, self.address(other)?), how)
    }

    /// Takes the cut between two back; nothing when there is none.
    ///
    /// # Errors
    /// As [`Fleet::cut`].
    pub fn heal(&self, one: &str, other: &str) -> Result<(), LabError> {
        cuts::heal(self.wires.network(), (self.address(one)?, self.address(other)?))
    }

    /// Takes all cuts back. A host that was added behind another stays behind it.
    ///
    /// # Errors
    /// As [`Fleet::cut`].
    pub fn heal_all(&self) -> Result<(), LabError> {
        cuts::heal_all(self.wires.network())
    }
}
