//! The processes of a host or copy, and the unit each belongs to.
//!
//! A process belongs to the target when it is in the same pid namespace: containers on the host, and containers
//! inside a copy, are others. The unit is the first part of the control group's path that is not a slice, on cgroup
//! v1, hybrid and v2 alike; below the cgroup where the target itself lives.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use greenroom_core::effect::{Stray, is_unit_name};

use super::Target;

/// A process of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) name: String,
    /// Ticks since boot.
    pub(super) started: u64,
}

/// The processes of one target.
pub(super) struct Processes {
    target: Target,
    /// Path of the cgroup in which the target's own tree of units begins; empty for the whole hierarchy.
    base: String,
    all: BTreeMap<u32, Process>,
}

impl Processes {
    pub(super) fn of(target: Target) -> io::Result<Self> {
        let space = fs::read_link(format!("{}/ns/pid", target.proc()))?;
        let mut all = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // Whatever is gone by now is not among those that run.
            if fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|s: PathBuf| s == space) {
                all.extend(process(pid).map(|p| (pid, p)));
            }
        }
        let first = match target {
            Target::Copy { leader } => leader,
            Target::Host => 1,
        };
        let base = fs::read_to_string(format!("/proc/{first}/cgroup")).ok().and_then(|text| systemd_path(&text));
        let base = base.unwrap_or_default();
        let base = base.trim_end_matches("/init.scope").trim_end_matches('/').to_owned();
        Ok(Self { target, base, all })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.all.values()
    }

    /// The unit of process `pid`; `None`: it is in none, or gone.
    pub(super) fn unit(&self, pid: u32) -> Option<String> {
        self.cgroup(pid).and_then(|path| unit_below(&self.base, &path))
    }

    fn cgroup(&self, pid: u32) -> Option<String> {
        systemd_path(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
    }

    /// Processes in no unit and in no session, but for the first one and those that we started ourselves.
    pub(super) fn strays(&self) -> BTreeMap<(u32, u64), Stray> {
        let mut out = BTreeMap::new();
        for process in self.iter().filter(|p| !self.is_first(p.pid) && !self.is_ours(p)) {
            let Some(cgroup) = self.cgroup(process.pid) else { continue };
            let unit = unit_below(&self.base, &cgroup);
            if unit.as_ref().is_none_or(|u| u == "init.scope" || u.starts_with("session-")) {
                let stray = Stray { pid: process.pid, name: process.name.clone(), cgroup };
                out.insert((process.pid, process.started), stray);
            }
        }
        out
    }

    fn is_first(&self, pid: u32) -> bool {
        self.target == Target::Copy { leader: pid }
    }

    /// Whether this program started it: a tool that is looking at the copy at this moment. A process that outlives the
    /// one that started it becomes a child of the copy's first process, and is no longer ours.
    fn is_ours(&self, process: &Process) -> bool {
        let own = std::process::id();
        let mut at = process.parent;
        // Bounded, for a chain read while it changes could have a loop.
        for _ in 0..64 {
            if at == own {
                return true;
            }
            if at <= 1 || self.is_first(at) {
                return false;
            }
            match self.all.get(&at).map(|p| p.parent).or_else(|| self::process(at).map(|p| p.parent)) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    }
}

/// From /proc/PID/stat, see proc(5): the name stands in parentheses and may hold some itself.
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    // Field 22 of the line; the state is field 3, two more have been taken.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Process { pid, parent, name, started })
}

/// The path in the hierarchy that systemd manages: `name=systemd` on v1 and hybrid, the only one on v2.
fn systemd_path(text: &str) -> Option<String> {
    let parts = |line: &'static str| move |l: &str| l.split_once(line).map(|(_, path)| path.to_owned());
    let named = text.lines().find_map(parts(":name=systemd:"));
    named.or_else(|| text.lines().find_map(|l| l.strip_prefix("0::").map(str::to_owned)))
}

fn unit_below(base: &str, path: &str) -> Option<String> {
    let inside = path.strip_prefix(base)?;
    let unit = inside.strip_prefix('/')?.split('/').find(|part| !part.ends_with(".slice"))?;
    is_unit_name(unit.as_bytes()).then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_on_every_kind_of_cgroup_hierarchy() {
        let v1 = "9:name=systemd:/system.slice/cron.service\n8:pids:/\n0::/other\n";
        let v2 = "0::/system.slice/system-getty.slice/getty@tty1.service\n";
        let user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n";
        let copy = "1:name=systemd:/a/payload/system.slice/ssh.service\n";
        let nested = "0::/system.slice/docker.service/abc\n";
        let table = [
            (v1, "", Some("cron.service")),
            (v2, "", Some("getty@tty1.service")),
            (user, "", Some("user@1000.service")),
            (copy, "/a/payload", Some("ssh.service")),
            (copy, "/b/payload", None),
            (nested, "", Some("docker.service")),
            ("0::/\n", "", None),
            ("0::/machine.slice\n", "", None),
            ("0::/payload\n", "", None),
        ];
        for (text, base, unit) in table {
            assert_eq!(unit_below(base, &systemd_path(text).unwrap()).as_deref(), unit, "{text} below {base}");
        }
    }

    #[test]
    fn this_process_is_among_the_hosts() {
        let processes = Processes::of(Target::Host).unwrap();
        let me = processes.all.get(&std::process::id()).unwrap();
        assert!(me.started > 0 && me.parent > 0 && !me.name.is_empty());
    }
}
