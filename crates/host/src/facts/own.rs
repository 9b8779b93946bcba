//! The units that this very process runs in. A command that somebody starts through systemd-run, or that a timer starts, is no
//! state of the host.

use std::collections::BTreeSet;

/// Services and scopes on the way to this process's control group, by name.
#[must_use]
pub fn own_units() -> BTreeSet<String> {
    // Without control groups there are no units.
    units(&std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
}

fn units(cgroup: &str) -> BTreeSet<String> {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let names = paths.flat_map(|path| path.split('/'));
    names.filter(|name| name.ends_with(".service") || name.ends_with(".scope")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn units_of_both_hierarchies() {
        let text = "1:name=systemd:/system.slice/lab-3.service\n0::/user.slice/user-0.slice/session-2.scope\n";
        assert_eq!(super::units(text).into_iter().collect::<Vec<_>>(), ["lab-3.service", "session-2.scope"]);
        assert!(super::units("0::/\n").is_empty());
    }
}
