//! One look at a host for the record: what its files say, and where the host is the machine that this program runs on, what
//! is true of it right now.
//!
//! What it reads is compared by [`greenroom_core::drift::runtime`], which also knows what changes by itself. It reads with
//! what the looks of a rehearsal read with ([`super::units`], [`super::ports`], …) and adds what only the record needs: what
//! the files would make of parameters ([`settings`]), mounts ([`places`]) and the firewall ([`expected`]), and who runs code
//! that was replaced ([`stale`]).
//!
//! Nothing on the host changes by it. The host's rule files are loaded, to see what they make, into a network namespace
//! made for that, in which nothing else ever happens.

mod expected;
mod machine;
mod places;
mod settings;
mod stale;

pub use machine::is_live;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::thread;

use greenroom_core::drift::runtime::{Facts, Port, Rules, Running, UnitState};
use greenroom_core::path::Shown;

use super::processes::Processes;
use super::sysctl::{self, Scope};
use super::{Target, Trees, ports, rules, units};

/// Takes a look at the host whose tree is at `root`. [`Facts::running`] is there when that is the machine, or the container,
/// that this program runs in; what could not be read of it is in [`Running::gaps`].
///
/// # Errors
/// `root` can't be opened as a directory, or it is the machine and its /proc can't be read.
pub fn look(root: &Path) -> io::Result<Facts> {
    let trees = Trees::open(root, root)?;
    if !is_live(root) {
        return Ok(Facts::of_files(&trees));
    }
    running(&trees)
}

/// The slow ones side by side: systemd answers while the files are read.
fn running(trees: &Trees) -> io::Result<Facts> {
    let container = machine::is_container();
    thread::scope(|threads| {
        let units = threads.spawn(|| units::read(Target::Host));
        let rules = threads.spawn(|| rules::read(Some(Target::Host)));
        let scope = if container { Scope::Namespaced } else { Scope::All };
        let kernel = threads.spawn(move || sysctl::read(scope));
        let mut facts = Facts::of_files(trees);
        let mut out = Running { container, boot: machine::boot(), kernel: machine::kernel(), ..Running::default() };
        let expected = expected::find(trees, &facts, &mut out.gaps);
        let processes = Processes::of(Target::Host)?;
        out.ports = listening(&processes);
        out.stale = stale::read(&processes, trees)?;
        let gone = |_| Err("units were not compared: the look at them failed".to_owned());
        match units.join().unwrap_or_else(gone) {
            Ok(units) => out.units = states(units),
            Err(gap) => out.gaps.push(gap),
        }
        match rules.join() {
            Ok(rules) => {
                out.gaps.extend(rules.gaps);
                out.rules = Rules { nftables: rules.nftables, iptables: rules.iptables, ..expected };
            }
            Err(_) => out.gaps.push("firewall rules were not compared: the look at them failed".to_owned()),
        }
        match kernel.join() {
            Ok(sysctl) => out.sysctl = safe(sysctl),
            Err(_) => out.gaps.push("kernel parameters were not compared: the look at them failed".to_owned()),
        }
        out.sysctl_files = settings::read(trees, &out.sysctl);
        places::read(trees, &facts.units, &mut out);
        if !rustix::process::geteuid().is_root() {
            let gap =
                "who listens on ports and who runs replaced code was not found out for all: this program is not root";
            out.gaps.push(gap.to_owned());
        }
        facts.running = Some(out);
        Ok(facts)
    })
}

/// Text that processes of the host chose, so that it can't act on a terminal.
fn shown(text: &str) -> String {
    Shown(text.as_bytes()).to_string()
}

fn safe(map: BTreeMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().map(|(key, value)| (shown(&key), shown(&value))).collect()
}

fn states(units: BTreeMap<String, units::UnitState>) -> BTreeMap<String, UnitState> {
    let state = |u: units::UnitState| UnitState { active: u.active, sub: u.sub, unmet: u.unmet };
    units.into_iter().map(|(name, unit)| (shown(&name), state(unit))).collect()
}

fn listening(processes: &Processes) -> BTreeSet<Port> {
    let (first, last) = ports::ephemeral();
    let port = |p: ports::Port| Port {
        proto: p.proto.to_owned(),
        address: p.address,
        port: p.port,
        ephemeral: (first..=last).contains(&p.port),
        process: p.process.as_deref().map(shown),
        unit: p.unit,
    };
    ports::read(Target::Host, processes).into_iter().map(port).collect()
}
