//! What is true of a running host or copy right now that no file says: units, ports, kernel parameters, firewall rules,
//! mounts.
//!
//! [`Runtime::read`] takes one look, [`Runtime::diff`] compares two; what a difference means is found by
//! [`greenroom_core::effect`]. [`maps`] finds the units whose processes still map files that were replaced, [`key`] names
//! the state of a host, [`trees`] gives the contents before and after to the effects. [`look`] reads what is kept on record
//! of a host beyond its files: the same, and what the files say of it. [`addresses`] are how others reach it.
//!
//! It looks and changes nothing. A look joins the copy's namespaces in threads of its own, which end with it: one asks the
//! copy's systemd, one reads kernel parameters and rules, the caller's own reads /proc. What a look can't read
//! (a missing tool, no systemd) is a sentence in [`Runtime::gaps`], not an error: a rehearsal does not fail because
//! nft(8) is not installed.

mod addresses;
mod diff;
pub mod key;
pub mod maps;
mod mounts;
mod own;
mod ports;
mod processes;
mod rules;
mod running;
mod spaces;
mod sysctl;
mod tool;
pub mod trees;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::thread;

use greenroom_core::effect::Stray;

pub use addresses::addresses;
pub use key::host_state_key;
pub use mounts::Mount;
pub use own::own_units;
pub use ports::Port;
pub use rules::Rules;
pub use running::{is_live, look};
pub use trees::Trees;
pub use units::UnitState;

use processes::Processes;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A running copy, by its first process.
    Copy {
        /// Process id of the copy's first process, as seen from here.
        leader: u32,
    },
    /// The machine, or the container, that this program runs in.
    Host,
}

impl Target {
    /// Its directory in /proc.
    fn proc(self) -> String {
        match self {
            Self::Copy { leader } => format!("/proc/{leader}"),
            Self::Host => "/proc/self".to_owned(),
        }
    }
}

/// A look that could not be taken at all.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The copy has ended, or it may not be looked at.
    #[error("cannot look into the copy of process {leader}: it has ended, or this program is not root")]
    Gone {
        /// Its first process.
        leader: u32,
        /// Why.
        source: io::Error,
    },
    /// /proc is not there or not readable.
    #[error("cannot read /proc")]
    Proc(#[source] io::Error),
}

/// One look at a running host or copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// Units that systemd has loaded, by name; empty when it does not run there.
    pub units: BTreeMap<String, UnitState>,
    /// Ports that somebody listens on.
    pub ports: BTreeSet<Port>,
    /// Kernel parameters by name, without those that change by themselves. Of a copy: those it has for itself.
    pub sysctl: BTreeMap<String, String>,
    /// The firewall's rules.
    pub rules: Rules,
    /// Mounted file systems by where, without the kernel's own and those below /run.
    pub mounts: BTreeMap<String, Mount>,
    /// Processes of a copy outside every unit, by process id and start time. Not asked of a host: people are logged in.
    pub strays: BTreeMap<(u32, u64), Stray>,
    /// What could not be read, in sentences.
    pub gaps: Vec<String>,
}

impl Runtime {
    /// Takes a look.
    ///
    /// # Errors
    /// [`FactsError`] when there is nothing to look at; anything less is in [`Runtime::gaps`].
    pub fn read(target: &Target) -> Result<Self, FactsError> {
        let target = *target;
        let (processes, net) = match target {
            Target::Copy { leader } => {
                let gone = |source| FactsError::Gone { leader, source };
                (Processes::of(target).map_err(gone)?, spaces::Spaces::of(leader).map_err(gone)?)
            }
            Target::Host => (Processes::of(target).map_err(FactsError::Proc)?, spaces::Spaces::default()),
        };
        let scope = match target {
            Target::Copy { .. } => sysctl::Scope::Namespaced,
            Target::Host => sysctl::Scope::All,
        };
        thread::scope(|threads| {
            let units = threads.spawn(|| units::read(target));
            let kernel = threads.spawn(|| net.enter().map(|()| (sysctl::read(scope), rules::read(Some(target)))));
            let mut out = Self {
                mounts: mounts::read(target),
                ports: ports::read(target, &processes),
                strays: if target == Target::Host { BTreeMap::new() } else { processes.strays() },
                ..Self::default()
            };
            match units.join().unwrap_or_else(|_| Err("the look at the units failed".to_owned())) {
                Ok(units) => out.units = units,
                Err(gap) => out.gaps.push(gap),
            }
            out.take_kernel(kernel.join().unwrap_or_else(|_| Err(io::Error::other("the look at the kernel failed"))));
            Ok(out)
        })
    }

    /// Takes a look at a network namespace alone: rules and the network's kernel parameters. For a copy that is not
    /// booted, where nothing else of the run outlives its command.
    #[must_use]
    pub fn read_netns(namespace: BorrowedFd<'_>) -> Self {
        let mut out = Self::default();
        let looked = thread::scope(|threads| {
            let entered = || spaces::enter_net(namespace);
            let rules = threads.spawn(move || entered().map(|()| rules::read(None)));
            let sysctl = threads.spawn(move || entered().map(|()| sysctl::read(sysctl::Scope::Net)));
            let failed = |_| io::Error::other("the look at the kernel failed");
            Ok((sysctl.join().map_err(failed)??, rules.join().map_err(failed)??))
        });
        out.take_kernel(looked);
        out
    }

    fn take_kernel(&mut self, looked: io::Result<(BTreeMap<String, String>, Rules)>) {
        match looked {
            Ok((sysctl, rules)) => {
                self.sysctl = sysctl;
                self.gaps.extend(rules.gaps.iter().cloned());
                self.rules = rules;
            }
            Err(why) => self.gaps.push(format!("kernel parameters and firewall rules were not compared: {why}")),
        }
    }
}
