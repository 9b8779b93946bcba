//! Where a running host is not what its own files say.

use super::facts::{Facts, StaleCode, UnitFileState};
use super::live::{Life, file_of, matters};
use super::{Against, FactKind, RuntimeDrift, firewall, kernel};

/// Where one look is not what its own files say; nothing for a tree that does not run.
#[must_use]
pub fn deviations(facts: &Facts) -> Vec<RuntimeDrift> {
    let mut out = Vec::new();
    let Some(running) = &facts.running else { return out };
    kernel::sysctl_against_files(running, &mut out);
    kernel::mounts_against_files(running, &mut out);
    kernel::kernel_against_files(&facts.boot, running, &mut out);
    firewall::against_files(&running.rules, &mut out);
    for (name, state) in running.units.iter().filter(|(name, _)| matters(name)) {
        let file = file_of(facts, name);
        let enabled = file.is_some_and(|f| f.state == UnitFileState::Enabled && f.at_boot);
        let stays = file.is_some_and(|f| (!f.once || f.remains) && !f.on_demand);
        let detail = match Life::of(Some(state)) {
            Life::Failed => format!("{name} has failed: see `systemctl status {name}`"),
            Life::Down if enabled && stays && !state.unmet => format!("{name} is enabled and does not run"),
            _ => continue,
        };
        let failed = Life::of(Some(state)) == Life::Failed;
        out.push(deviation(FactKind::Unit, name, "active", if failed { "failed" } else { "inactive" }, detail));
    }
    for StaleCode { unit, process, file, package } in &running.stale {
        let item = unit.as_ref().unwrap_or(process);
        let of = package.as_ref().map(|p| format!(" ({p})")).unwrap_or_default();
        let (who, cure) = match unit.as_deref() {
            Some("init.scope") => (process.clone(), "`systemctl daemon-reexec` starts it again".to_owned()),
            Some(unit) if unit.starts_with("session-") || unit.starts_with("user@") => {
                (format!("{process} in {unit}"), "log in again".to_owned())
            }
            Some(unit) if unit.ends_with(".service") => {
                (format!("{process} in {unit}"), format!("`systemctl restart {unit}`"))
            }
            _ => (format!("{process} in no unit"), "start it again".to_owned()),
        };
        let detail = format!("{who} still runs the old {file}{of}, which was replaced: {cure}");
        out.push(deviation(FactKind::Process, item, "the file as it is", &format!("replaced {file}{of}"), detail));
    }
    out
}

fn deviation(kind: FactKind, item: &str, before: &str, after: &str, detail: String) -> RuntimeDrift {
    RuntimeDrift {
        kind,
        item: item.to_owned(),
        before: Some(before.to_owned()),
        after: Some(after.to_owned()),
        detail,
        lasting: false,
        against: Against::Files,
        file: None,
    }
}
