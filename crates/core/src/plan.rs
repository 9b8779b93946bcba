//! What apply does with a rehearsal: its parts in their order, and what happens to services around them.

use serde::{Deserialize, Serialize};

use crate::ContentHash;
use crate::change::ApplyOptions;

/// One part of a rehearsed change, in the order in which it goes live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Part {
    /// Files are put in place, byte for byte.
    Files {
        /// Identity of the changeset.
        changeset: ContentHash,
        /// Number of its entries.
        entries: usize,
    },
    /// A command that cannot be transplanted and runs on production itself.
    Live {
        /// Number of the step in the change file, from 1.
        step: usize,
        /// The shell command.
        run: String,
        /// The shell command that takes it back; `None`: nothing can.
        undo: Option<String>,
        /// Seconds after which it is killed and counts as failed; `None`: no limit.
        timeout_s: Option<u64>,
        /// Where many hosts change as one it runs on the first of them only.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        once: bool,
    },
}

/// What is done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitVerb {
    /// It runs and shall not.
    Stop,
    /// It shall run.
    Start,
    /// Stopped and started, if it runs.
    Restart,
    /// Told to read its configuration again, if it runs.
    Reload,
}

impl UnitVerb {
    /// The word for it, as given to systemctl.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }

    /// What takes it back.
    #[must_use]
    pub fn inverse(self) -> Self {
        match self {
            Self::Stop => Self::Start,
            Self::Start => Self::Stop,
            same => same,
        }
    }
}

/// Why a unit is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The change itself did so in the copy.
    Job,
    /// Its processes still map a file that was replaced.
    Maps,
    /// The change file names it.
    Named,
}

/// One thing that happens to one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitAction {
    /// The full unit name, with its suffix.
    pub unit: String,
    /// What.
    pub verb: UnitVerb,
    /// Why.
    pub reason: Reason,
}

/// Units that are never restarted on their own account: doing so ends sessions, containers or Greenroom itself.
/// The idea and most names are needrestart's; a prefix that ends in `*` stands for all that begin so.
pub const NEVER_RESTART: &[&str] = &[
    "auditd.service",
    "console-getty.service",
    "containerd.service",
    "cri-o.service",
    "crio.service",
    "dbus-broker.service",
    "dbus.service",
    "dbus.socket",
    "display-manager.service",
    "docker.service",
    "gdm.service",
    "gdm3.service",
    "getty@*",
    "greenroom*",
    "init.scope",
    "initrd-*",
    "libvirtd.service",
    "lightdm.service",
    "lxc*",
    "lxd*",
    "machine-*",
    "NetworkManager.service",
    "networking.service",
    "run-*",
    "serial-getty@*",
    "session-*",
    "systemd-journald.service",
    "systemd-logind.service",
    "systemd-machined.service",
    "systemd-networkd.service",
    "systemd-nspawn@*",
    "systemd-udevd.service",
    "user-*",
    "user@*",
    "wpa_supplicant.service",
];

/// Whether `unit` is on the list of those that are never restarted, or in `more`.
#[must_use]
pub fn is_never_restarted(unit: &str, more: &[String]) -> bool {
    let hits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(prefix) => unit.starts_with(prefix),
        None => unit == full_name(pattern),
    };
    NEVER_RESTART.iter().any(|p| hits(p)) || more.iter().any(|p| hits(p))
}

/// `nginx` → `nginx.service`; a name with a suffix stays.
#[must_use]
pub fn full_name(unit: &str) -> String {
    const SUFFIXES: &[&str] = &[
        ".service",
        ".socket",
        ".timer",
        ".target",
        ".path",
        ".mount",
        ".automount",
        ".slice",
        ".scope",
        ".swap",
        ".device",
    ];
    if SUFFIXES.iter().any(|suffix| unit.ends_with(suffix)) { unit.to_owned() } else { format!("{unit}.service") }
}

/// Brings what is done to these units into their order. What is done to others stays where it is.
pub fn in_order(actions: &mut [UnitAction], units: &[String]) {
    let place = |action: &UnitAction| units.iter().position(|unit| *unit == action.unit);
    let at: Vec<usize> = (0..actions.len()).filter(|at| place(&actions[*at]).is_some()).collect();
    let mut named: Vec<UnitAction> = at.iter().map(|at| actions[*at].clone()).collect();
    named.sort_by_key(place);
    at.into_iter().zip(named).for_each(|(at, action)| actions[at] = action);
}

/// Joins what the copy showed, what still maps replaced files and what the change file wishes, one action a unit.
///
/// A measured job wins over a map, a wish to reload wins over a restart, a unit that is never restarted may still be
/// started or stopped when the change did so. Order: stops as measured, then the others as measured, then maps, then wishes.
#[must_use]
pub fn actions(jobs: &[UnitAction], maps: &[String], wishes: &ApplyOptions) -> Vec<UnitAction> {
    let mut out: Vec<UnitAction> = Vec::new();
    let mut push = |unit: String, verb: UnitVerb, reason: Reason| {
        let never = is_never_restarted(&unit, &wishes.never_restart);
        if never && (reason != Reason::Named || wishes.never_restart.iter().any(|n| full_name(n) == unit)) {
            let measured = reason == Reason::Job && matches!(verb, UnitVerb::Start | UnitVerb::Stop);
            if !measured || wishes.never_restart.iter().any(|n| full_name(n) == unit) {
                return;
            }
        }
        match out.iter_mut().find(|a| a.unit == unit) {
            Some(known) if reason == Reason::Named && known.verb == UnitVerb::Restart => known.verb = verb,
            Some(_) => {}
            None => out.push(UnitAction { unit, verb, reason }),
        }
    };
    let (stops, others): (Vec<_>, Vec<_>) = jobs.iter().partition(|a| a.verb == UnitVerb::Stop);
    for action in stops.into_iter().chain(others) {
        push(action.unit.clone(), action.verb, action.reason);
    }
    for unit in maps {
        push(unit.clone(), UnitVerb::Restart, Reason::Maps);
    }
    for unit in &wishes.restart {
        push(full_name(unit), UnitVerb::Restart, Reason::Named);
    }
    for unit in &wishes.reload {
        push(full_name(unit), UnitVerb::Reload, Reason::Named);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(unit: &str, verb: UnitVerb) -> UnitAction {
        UnitAction { unit: unit.to_owned(), verb, reason: Reason::Job }
    }

    fn lines(actions: &[UnitAction]) -> Vec<String> {
        actions.iter().map(|a| format!("{} {}", a.verb.word(), a.unit)).collect()
    }

    #[test]
    fn measured_first_then_maps_then_wishes_one_action_a_unit() {
        let jobs = [job("nginx.service", UnitVerb::Start), job("apache2.service", UnitVerb::Stop)];
        let maps = [
            "ssh.service".to_owned(),
            "nginx.service".to_owned(),
            "dbus.service".to_owned(),
            "user@0.service".to_owned(),
        ];
        let wishes =
            ApplyOptions { restart: vec!["shop".into()], reload: vec!["ssh".into()], ..ApplyOptions::default() };
        let found = lines(&actions(&jobs, &maps, &wishes));
        assert_eq!(
            found,
            ["stop apache2.service", "start nginx.service", "reload ssh.service", "restart shop.service"]
        );
    }

    #[test]
    fn named_units_take_their_order_and_others_keep_their_place() {
        let named = |units: &[&str]| units.iter().map(|unit| (*unit).to_owned()).collect::<Vec<_>>();
        let mut jobs = ["web", "other", "cache", "db"].map(|unit| job(unit, UnitVerb::Restart));
        in_order(&mut jobs, &named(&["db", "gone", "cache", "web"]));
        assert_eq!(lines(&jobs), ["restart db", "restart other", "restart cache", "restart web"]);
        in_order(&mut jobs, &[]);
        assert_eq!(lines(&jobs), ["restart db", "restart other", "restart cache", "restart web"]);
    }

    #[test]
    fn never_restart_is_kept_but_a_measured_start_goes_live() {
        let jobs = [job("docker.service", UnitVerb::Start), job("dbus.service", UnitVerb::Restart)];
        assert_eq!(lines(&actions(&jobs, &[], &ApplyOptions::default())), ["start docker.service"]);
        let wishes = ApplyOptions { never_restart: vec!["docker".into(), "ssh".into()], ..ApplyOptions::default() };
        assert!(actions(&jobs, &["ssh.service".into()], &wishes).is_empty());
        let wishes = ApplyOptions { restart: vec!["dbus".into()], ..ApplyOptions::default() };
        assert_eq!(lines(&actions(&[], &[], &wishes)), ["restart dbus.service"], "a person who names it means it");
    }
}
