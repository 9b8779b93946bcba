//! The state of units: one `systemctl show '*'` for all that systemd has loaded.
//!
//! `list-unit-files` would say the rest, but costs the manager a third of a second on a small host; units that are not loaded
//! do not run, and what is enabled is in the changeset.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Target;
use super::tool::{self, Failed};

/// A unit as systemd has it loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitState {
    /// ActiveState: `active`, `inactive`, `failed`, …
    pub active: String,
    /// SubState: `running`, `exited`, `dead`, …
    pub sub: String,
    /// Changes with every start; empty when it was never started.
    pub invocation: String,
    /// UnitFileState: `enabled`, `disabled`, `static`, `transient`, …
    pub file_state: String,
    /// A service's type; empty for other units.
    pub kind: String,
    /// It stays active when its process has ended.
    pub remains: bool,
    /// Restarts by systemd itself since the last start.
    pub restarts: u32,
    /// When its state last changed, microseconds of the monotonic clock.
    pub changed_us: u64,
    /// When its main process started, microseconds of the monotonic clock; 0: never.
    pub started_us: u64,
    /// It was not started because a condition of its file did not hold.
    pub unmet: bool,
    /// Units that pull it in or trigger it.
    pub pulled_by: Vec<String>,
}

const PROPERTIES: &str = "--property=Id,ActiveState,SubState,InvocationID,UnitFileState,Type,RemainAfterExit,NRestarts,\
    StateChangeTimestampMonotonic,ExecMainStartTimestampMonotonic,ConditionResult,\
    ConditionTimestampMonotonic,WantedBy,RequiredBy,UpheldBy,TriggeredBy";

/// All loaded units by name, none without systemd; or a sentence why they can't be read.
pub(super) fn read(target: Target) -> Result<BTreeMap<String, UnitState>, String> {
    let answer = match target {
        Target::Copy { leader } => {
            let is_systemd = fs::read_to_string(format!("/proc/{leader}/comm")).is_ok_and(|c| c.trim() == "systemd");
            if !is_systemd {
                return Ok(BTreeMap::new());
            }
            let leader = leader.to_string();
            tool::run(&["nsenter", "-t", &leader, "-a", "--", "systemctl", "show", "*", PROPERTIES])
        }
        // As sd_booted(3) does it.
        Target::Host if !Path::new("/run/systemd/system").is_dir() => return Ok(BTreeMap::new()),
        Target::Host => tool::run(&["systemctl", "show", "*", PROPERTIES]),
    };
    match answer {
        Ok(text) => Ok(parse(&text)),
        Err(Failed::Missing) => Err("units were not compared: there is no systemctl(1) or no nsenter(1)".to_owned()),
        Err(Failed::Broken(why)) => Err(format!("units were not compared: {why}")),
    }
}

fn parse(text: &str) -> BTreeMap<String, UnitState> {
    let mut out = BTreeMap::new();
    for block in text.split("\n\n") {
        let (mut id, mut unit, mut asked) = ("", UnitState::default(), false);
        for (name, value) in block.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "Id" => id = value,
                "ActiveState" => value.clone_into(&mut unit.active),
                "SubState" => value.clone_into(&mut unit.sub),
                "InvocationID" => value.clone_into(&mut unit.invocation),
                "UnitFileState" => value.clone_into(&mut unit.file_state),
                "Type" => value.clone_into(&mut unit.kind),
                "RemainAfterExit" => unit.remains = value == "yes",
                "NRestarts" => unit.restarts = value.parse().unwrap_or(0),
                "StateChangeTimestampMonotonic" => unit.changed_us = value.parse().unwrap_or(0),
                "ExecMainStartTimestampMonotonic" => unit.started_us = value.parse().unwrap_or(0),
                "ConditionResult" => unit.unmet = value == "no",
                // A unit that nobody tried to start has no condition that held either.
                "ConditionTimestampMonotonic" => asked = value != "0",
                "WantedBy" | "RequiredBy" | "UpheldBy" | "TriggeredBy" => {
                    unit.pulled_by.extend(value.split_whitespace().map(str::to_owned));
                }
                _ => {}
            }
        }
        unit.unmet &= asked;
        if !id.is_empty() {
            out.insert(id.to_owned(), unit);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_systemctl() {
        let text = "Type=notify\nExecMainStartTimestampMonotonic=1688700000\nRemainAfterExit=no\nId=ssh.service\nNRestarts=2\n\
            RequiredBy=\nWantedBy=multi-user.target x.target\nTriggeredBy=ssh.socket\nActiveState=active\nSubState=running\n\
            ConditionResult=no\nConditionTimestampMonotonic=7\nUnitFileState=enabled\nStateChangeTimestampMonotonic=5\nInvocationID=cd9a\n\nId=-.slice\nConditionResult=no\n\
            ConditionTimestampMonotonic=0\nActiveState=active\n\n";
        let units = parse(text);
        assert_eq!(units.keys().collect::<Vec<_>>(), ["-.slice", "ssh.service"]);
        let ssh = UnitState {
            active: "active".into(),
            sub: "running".into(),
            invocation: "cd9a".into(),
            file_state: "enabled".into(),
            kind: "notify".into(),
            remains: false,
            restarts: 2,
            changed_us: 5,
            started_us: 1_688_700_000,
            unmet: true,
            pulled_by: vec!["multi-user.target".into(), "x.target".into(), "ssh.socket".into()],
        };
        assert_eq!(units["ssh.service"], ssh);
        assert!(!units["-.slice"].unmet);
    }
}
