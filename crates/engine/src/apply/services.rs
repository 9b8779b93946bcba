//! What happens to services around the files: stops before, everything else after, and whether all is well then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use greenroom_core::change::ApplyOptions;
use greenroom_core::plan::{self, UnitAction, UnitVerb};
use greenroom_core::{Changeset, Node, TreePath};
use greenroom_host::facts::Target;
use greenroom_host::facts::maps::units_with_stale_maps;
use greenroom_host::services::{Manager, Units};

use super::Place;
use crate::EngineError;

/// A changeset that was gone through in one of its directions.
pub(super) struct Changed<'a> {
    pub(super) changeset: &'a Changeset,
    pub(super) forward: bool,
}

impl Changed<'_> {
    /// Path, what was there, what is there now.
    fn sides(&self) -> impl Iterator<Item = (&TreePath, Option<&Node>, Option<&Node>)> {
        self.changeset.entries().iter().map(|entry| {
            let (before, after) = (entry.before.as_deref(), entry.after.as_deref());
            if self.forward { (&entry.path, before, after) } else { (&entry.path, after, before) }
        })
    }
}

/// The services of one place during one change.
pub(super) struct Services<'a> {
    place: &'a Place<'a>,
    failed_before: BTreeSet<String>,
    /// What was up at the beginning.
    up: BTreeSet<String>,
    /// What was done, in order.
    pub(super) done: Vec<UnitAction>,
}

/// How long after the last restart a unit must still be up.
const SETTLE: Duration = Duration::from_millis(700);

/// The limit for a call of systemctl that starts and stops nothing.
const SHORT: Duration = Duration::from_secs(20);

impl<'a> Services<'a> {
    pub(super) fn look(place: &'a Place<'a>) -> Result<Self, EngineError> {
        let units = place.manager.units()?;
        let up = units.iter().filter(|(_, unit)| unit.is_up()).map(|(name, _)| name.clone()).collect();
        Ok(Self { place, failed_before: failed(&units), up, done: Vec::new() })
    }

    /// Whether a unit was up that is to be started, or down that is to be stopped. A copy may have it otherwise: there a unit
    /// can be kept from starting by a condition.
    pub(super) fn is_so(&self, action: &UnitAction) -> bool {
        match action.verb {
            UnitVerb::Start => self.up.contains(&action.unit),
            UnitVerb::Stop => !matches!(self.place.manager, Manager::None) && !self.up.contains(&action.unit),
            UnitVerb::Restart | UnitVerb::Reload => false,
        }
    }

    /// Stops what the change stops: of declared units the last one first, as nobody is to miss what it needs.
    pub(super) fn before(&mut self, jobs: &[UnitAction], options: &ApplyOptions) -> Result<(), String> {
        if matches!(self.place.manager, Manager::None) {
            return Ok(());
        }
        let mut stops = plan::actions(jobs, &[], options);
        stops.retain(|action| action.verb == UnitVerb::Stop);
        let last_first: Vec<String> = self.place.units.iter().rev().cloned().collect();
        plan::in_order(&mut stops, &last_first);
        stops.iter().try_for_each(|action| self.act(action))
    }

    /// Lets systemd and the kernel take note of changed files, then starts, reloads and restarts.
    pub(super) fn after(
        &mut self,
        jobs: &[UnitAction],
        options: &ApplyOptions,
        changed: &[Changed<'_>],
    ) -> Result<(), String> {
        if matches!(self.place.manager, Manager::None) {
            return Ok(());
        }
        let touches = |tops: &[&str]| {
            let tops: Vec<TreePath> = tops.iter().map(|top| TreePath::from(*top)).collect();
            changed.iter().flat_map(Changed::sides).any(|(path, ..)| tops.iter().any(|top| path.starts_with(top)))
        };
        if touches(&[
            "/etc/systemd",
            "/usr/lib/systemd",
            "/lib/systemd",
            "/etc/init.d",
            "/etc/fstab",
            "/usr/local/lib/systemd",
        ]) {
            let answer = self.place.manager.reload_units().map_err(|e| e.to_string())?;
            if answer.code != 0 {
                return Err(format!("systemd could not read its units again: {}", answer.text.trim()));
            }
        }
        self.sysctl(changed)?;
        let maps = self.stale(changed);
        let mut actions = plan::actions(jobs, &maps, options);
        actions.retain(|action| action.verb != UnitVerb::Stop);
        plan::in_order(&mut actions, self.place.units);
        let parts = self.wholes_first(&mut actions)?;
        for action in actions {
            // Restarting what it is part of has restarted it.
            if parts
                .get(&action.unit)
                .is_some_and(|before| self.invocation(&action.unit).is_ok_and(|now| now != *before))
            {
                self.done.push(action);
                continue;
            }
            self.act(&action)?;
        }
        Ok(())
    }

    /// A unit that is part of another (`PartOf=`) restarts with it; twice would be once too often. So the others come first;
    /// of the parts the invocation is returned, which is another one after a restart.
    fn wholes_first(&self, actions: &mut [UnitAction]) -> Result<BTreeMap<String, String>, String> {
        let restarts: BTreeSet<String> =
            actions.iter().filter(|a| a.verb == UnitVerb::Restart).map(|a| a.unit.clone()).collect();
        let mut parts = BTreeMap::new();
        if restarts.len() < 2 {
            return Ok(parts);
        }
        for unit in &restarts {
            let wholes = self.property(unit, "PartOf")?;
            if wholes.split_whitespace().any(|whole| restarts.contains(whole)) {
                parts.insert(unit.clone(), self.invocation(unit)?);
            }
        }
        actions.sort_by_key(|action| parts.contains_key(&action.unit));
        Ok(parts)
    }

    fn invocation(&self, unit: &str) -> Result<String, String> {
        self.property(unit, "InvocationID")
    }

    fn property(&self, unit: &str, name: &str) -> Result<String, String> {
        let option = format!("--property={name}");
        let answer = self.place.manager.systemctl(&["show", "--value", &option, "--", unit], SHORT);
        answer.map(|answer| answer.text.trim().to_owned()).map_err(|e| e.to_string())
    }

    /// Units that still run replaced files.
    fn stale(&self, changed: &[Changed<'_>]) -> Vec<String> {
        let target = match &self.place.manager {
            Manager::Live => Target::Host,
            Manager::Copy(booted) => Target::Copy { leader: booted.leader() },
            Manager::None => return Vec::new(),
        };
        let paths: Vec<TreePath> = changed
            .iter()
            .flat_map(Changed::sides)
            .filter(|(_, before, _)| before.is_some_and(|node| node.content().is_some()))
            .map(|(path, ..)| path.clone())
            .collect();
        if paths.is_empty() {
            return Vec::new();
        }
        // A process table that cannot be read names nobody; the measured jobs remain.
        let stale = units_with_stale_maps(&target, &paths).unwrap_or_default();
        stale.into_iter().filter_map(|stale| stale.unit).collect()
    }

    /// Loads the sysctl files that are new or changed; values of files that went stay until something sets them.
    fn sysctl(&self, changed: &[Changed<'_>]) -> Result<(), String> {
        let is_sysctl = |path: &TreePath| {
            let dirs = ["/etc/sysctl.d", "/usr/lib/sysctl.d", "/usr/local/lib/sysctl.d"];
            path == &TreePath::from("/etc/sysctl.conf")
                || (path.name().ends_with(b".conf") && dirs.iter().any(|d| path.parent() == Some(TreePath::from(*d))))
        };
        let files = changed.iter().flat_map(Changed::sides).filter(|(path, _, now)| now.is_some() && is_sysctl(path));
        for (path, ..) in files {
            let quoted = format!("'{}'", path.to_string().replace('\'', "'\\''"));
            let answer = (self.place.shell)(&format!("sysctl -q -e -p {quoted}"), Some(Duration::from_secs(30)), None)
                .map_err(|e| e.to_string())?;
            // In a copy most parameters are the machine's and read-only: that is no failure of the change.
            if answer.0 != 0 && matches!(self.place.manager, Manager::Live) {
                return Err(format!("sysctl does not take {path}: {}", answer.1.trim()));
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &UnitAction) -> Result<(), String> {
        let answer = self.place.manager.act(action).map_err(|e| e.to_string())?;
        self.done.push(action.clone());
        let gone = action.verb == UnitVerb::Stop && answer.text.contains("not loaded");
        if answer.code == 0 || gone {
            return Ok(());
        }
        Err(format!("{} {} failed: {}", action.verb.word(), action.unit, answer.text.trim()))
    }

    /// A program that ends with a bad status when it is told to stop is down, as was wanted. Of a unit that is gone, systemd
    /// would keep the failure for ever.
    fn forgive_stopped(&self, units: &Units, fresh: &mut BTreeSet<String>) -> Result<(), String> {
        for unit in stopped(&self.done).into_iter().filter(|unit| fresh.remove(*unit)) {
            if units.get(unit).is_some_and(|unit| unit.file_state.is_empty()) {
                let reset = self.place.manager.systemctl(&["reset-failed", "--", unit], SHORT);
                reset.map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    /// Whether a unit failed since the beginning, or one of the health commands does.
    pub(super) fn healthy(&self, commands: &[String]) -> Result<(), String> {
        if self.done.iter().any(|action| action.verb != UnitVerb::Stop) {
            std::thread::sleep(SETTLE);
        }
        let units = self.place.manager.units().map_err(|e| e.to_string())?;
        let mut fresh = failed(&units);
        fresh.retain(|unit| !self.failed_before.contains(unit));
        self.forgive_stopped(&units, &mut fresh)?;
        if !fresh.is_empty() {
            return Err(format!("failed since: {}", fresh.into_iter().collect::<Vec<_>>().join(", ")));
        }
        for command in commands {
            let (code, text) =
                (self.place.shell)(command, Some(Duration::from_secs(60)), None).map_err(|e| e.to_string())?;
            if code != 0 {
                let end = text.lines().last().unwrap_or_default();
                return Err(format!("the health command `{command}` ended with exit status {code}: {end}"));
            }
        }
        Ok(())
    }
}

/// The units whose last action was to be stopped.
fn stopped(done: &[UnitAction]) -> BTreeSet<&str> {
    let mut out = BTreeSet::new();
    for action in done {
        if action.verb == UnitVerb::Stop {
            out.insert(action.unit.as_str())
        } else {
            out.remove(action.unit.as_str())
        };
    }
    out
}

fn failed(units: &Units) -> BTreeSet<String> {
    units
        .iter()
        .filter(|(name, unit)| unit.active == "failed" && !name.starts_with("run-"))
        .map(|(name, _)| name.clone())
        .collect()
}

/// What takes the measured actions back, in reverse order.
pub(super) fn inverse(jobs: &[UnitAction]) -> Vec<UnitAction> {
    jobs.iter().rev().map(|action| UnitAction { verb: action.verb.inverse(), ..action.clone() }).collect()
}
