//! What a running host does now: kernel, processor, kernel parameters, ports, units, mounts, and of its services what they
//! map, their environment and their limits.

use std::collections::BTreeSet;
use std::fs;

use greenroom_core::parity::{FactKind, Facts};
use greenroom_core::path::Shown;

use super::Gaps;
use super::live;
use crate::facts::maps::{UnitMaps, mapped_by_services};
use crate::facts::{Runtime, Target};

/// Adds what runs; what services map.
pub(super) fn read(facts: &mut Facts, gaps: &mut Gaps) -> Vec<UnitMaps> {
    kernel(facts);
    let transient = match Runtime::read(&Target::Host) {
        Ok(runtime) => take(runtime, facts, gaps),
        Err(error) => {
            gaps.add(format!("what runs was not looked at: {error}"));
            BTreeSet::new()
        }
    };
    match mapped_by_services() {
        Ok((mut maps, oldest)) => {
            let manager = live::limits(1);
            for (unit, pid) in
                oldest.iter().filter(|(unit, _)| unit.ends_with(".service") && !transient.contains(*unit))
            {
                live::read(unit, *pid, &manager, facts);
            }
            maps.iter_mut().for_each(|map| map.units.retain(|unit| !transient.contains(unit)));
            maps.retain(|map| !map.units.is_empty());
            maps
        }
        Err(error) => {
            gaps.add(format!("what services map was not looked at: {error}"));
            Vec::new()
        }
    }
}

/// Units that somebody started by hand, as systemd-run(1) does, are in no other system's files: their names.
fn take(runtime: Runtime, facts: &mut Facts, gaps: &mut Gaps) -> BTreeSet<String> {
    // Firewall tools that are missing concern nobody here.
    gaps.extend(runtime.gaps.into_iter().filter(|gap| gap.starts_with("units")));
    for (name, value) in runtime.sysctl {
        facts.add(FactKind::Sysctl, name, value);
    }
    let mut ports: BTreeSet<(String, String)> = BTreeSet::new();
    for port in runtime.ports {
        let who = port.unit.or(port.process).unwrap_or_else(|| "nobody known".to_owned());
        let address = if port.address.contains(':') { format!("[{}]", port.address) } else { port.address };
        ports.insert((format!("{} {address}:{}", port.proto, port.port), who));
    }
    for (item, who) in ports {
        let all = facts.facts.remove(&(FactKind::Port, item.clone()));
        facts.add(FactKind::Port, item, all.map_or(who.clone(), |before| format!("{before}, {who}")));
    }
    let mut transient = BTreeSet::new();
    for (unit, state) in runtime.units {
        let lasting = [".service", ".socket", ".timer", ".path"].iter().any(|kind| unit.ends_with(kind));
        if state.file_state == "transient" {
            transient.insert(unit);
            continue;
        }
        let passing = unit.starts_with("user@") || unit.starts_with("user-runtime-dir@");
        if lasting && !passing {
            let active = match state.active.as_str() {
                "activating" | "reloading" | "refreshing" => "active",
                "deactivating" => "inactive",
                other => other,
            };
            facts.add(FactKind::UnitState, unit, active);
        }
    }
    for (at, mount) in runtime.mounts {
        // Which disk it lies on only names the machine; which share of which server does not.
        let remote = mount.source.contains(':') || mount.source.starts_with("//");
        let value = if remote { format!("{} {}", mount.fstype, mount.source) } else { mount.fstype };
        facts.add(FactKind::Mount, at, value);
    }
    transient
}

fn kernel(facts: &mut Facts) {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    facts.add(FactKind::Kernel, "release", text(uname.release()));
    facts.add(FactKind::Kernel, "version", text(uname.version()));
    facts.add(FactKind::Kernel, "machine", text(uname.machine()));
    let line = Shown(&fs::read("/proc/cmdline").unwrap_or_default()).to_string();
    for word in line.trim_end_matches("\\n").split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, "set"));
        facts.add(FactKind::BootParameter, key, value);
    }
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |names: &[&str]| {
        cpu.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            names.contains(&key.trim()).then(|| value.trim().to_owned())
        })
    };
    let model = field(&["model name", "CPU part", "cpu"]).unwrap_or_default();
    let mut features: Vec<String> =
        field(&["flags", "Features"]).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    features.sort();
    features.dedup();
    facts.add(FactKind::Cpu, "model", model);
    facts.add(FactKind::Cpu, "features", features.join(" "));
    let count = cpu.lines().filter(|line| line.starts_with("processor")).count();
    facts.add(FactKind::Cpu, "processors", count.to_string());
}
