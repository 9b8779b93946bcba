//! The effect in a few lines that a tired person takes in at a glance. Plain text, one subject a line.

use super::accounts::{GroupChange, UserChange};
use super::lasting::host_port;
use super::{Direction, Effects, PackageChange, UnitActivity};

/// As many are named; the rest is counted.
const NAMED: usize = 4;

/// Short lines for the terminal, one for each subject that changed; without colours, empty when nothing is known.
#[must_use]
pub fn summary_lines(effects: &Effects) -> Vec<String> {
    let mut out = Vec::new();
    let mut line = |subject: &str, items: Vec<String>| {
        if !items.is_empty() {
            out.push(format!("{subject}: {}", few(&items)));
        }
    };
    line("packages", packages(&effects.packages));
    line("users", effects.users.iter().map(user).collect());
    line("groups", effects.groups.iter().map(group).collect());
    line("services", effects.units.iter().map(|u| format!("{} {}", u.unit, u.op.word())).collect());
    line("running", effects.units_active.iter().map(activity).collect());
    line("ports", ports(effects));
    line("cron", effects.cron.iter().map(|c| format!("{} {}", c.path, c.op.word())).collect());
    line("settings", effects.settings.iter().map(|s| format!("{} ({})", s.path, s.op.word())).collect());
    line("sysctl", effects.sysctl.iter().map(|s| format!("{} {} → {}", s.key, s.from, s.to)).collect());
    line("firewall", firewall(effects));
    let mounts = effects.mounts.iter().map(|m| match m.op {
        Direction::Added => format!("{} mounted on {}", m.source, m.target),
        Direction::Removed => format!("{} unmounted", m.target),
    });
    line("mounts", mounts.collect());
    line("left running", effects.strays.iter().map(|s| s.name.clone()).collect());
    let paths: Vec<String> = effects.paths.iter().map(|(group, count)| format!("{count} {}", group.words())).collect();
    if !paths.is_empty() {
        out.push(format!("paths: {}", paths.join(", ")));
    }
    out
}

fn few(items: &[String]) -> String {
    // "and 1 more" takes the place that the one would have taken.
    let named = if items.len() == NAMED + 1 { NAMED + 1 } else { NAMED.min(items.len()) };
    let rest = items.len() - named;
    let text = items[..named].join(", ");
    if rest == 0 { text } else { format!("{text} and {rest} more") }
}

fn packages(changes: &[PackageChange]) -> Vec<String> {
    let mut sorted: Vec<&PackageChange> = changes.iter().collect();
    // What a person asked for is rarely a library or a package that only carries another's files.
    let minor =
        |name: &str| name.starts_with("lib") || [":i386", "-common", "-data", "-doc"].iter().any(|s| name.ends_with(s));
    sorted.sort_by_key(|p| (minor(&p.name), p.name.clone(), p.arch.clone()));
    sorted.into_iter().map(package).collect()
}

fn package(p: &PackageChange) -> String {
    let name = &p.name;
    let note = p.note.as_ref().map(|n| format!(", {n}")).unwrap_or_default();
    match (&p.from, &p.to) {
        (None, Some(to)) => format!("{name} {to} (new{note})"),
        (Some(from), Some(to)) if from == to => format!("{name} {to} (changed{note})"),
        (Some(from), Some(to)) => format!("{name} {from} → {to}"),
        (Some(from), None) => format!("{name} {from} (removed{note})"),
        (None, None) => format!("{name} ({})", p.note.as_deref().unwrap_or("purged")),
    }
}

fn user(u: &UserChange) -> String {
    let name = &u.name;
    let mut what = Vec::new();
    match (&u.from, &u.to) {
        (None, Some(to)) => return format!("{name} (new, uid {})", to.uid),
        (Some(_), None) => return format!("{name} (removed)"),
        (Some(from), Some(to)) => {
            let mut differs = |what_: &str, a: String, b: String| {
                if a != b {
                    what.push(format!("{what_} {a} → {b}"));
                }
            };
            differs("uid", from.uid.to_string(), to.uid.to_string());
            differs("gid", from.gid.to_string(), to.gid.to_string());
            differs("home", from.home.clone(), to.home.clone());
            differs("shell", from.shell.clone(), to.shell.clone());
        }
        (None, None) => {}
    }
    if u.password {
        what.push("password changed".to_owned());
    }
    format!("{name} ({})", what.join(", "))
}

fn group(g: &GroupChange) -> String {
    let name = &g.name;
    match (g.from, g.to) {
        (None, Some(gid)) if g.joined.is_empty() => return format!("{name} (new, gid {gid})"),
        (Some(_), None) => return format!("{name} (removed)"),
        _ => {}
    }
    let mut what: Vec<String> =
        g.joined.iter().map(|m| format!("+{m}")).chain(g.left.iter().map(|m| format!("-{m}"))).collect();
    match (g.from, g.to) {
        (None, Some(gid)) => what.insert(0, format!("new, gid {gid}")),
        (Some(from), Some(to)) if from != to => what.insert(0, format!("gid {from} → {to}")),
        _ => {}
    }
    format!("{name} ({})", what.join(", "))
}

fn activity(u: &UnitActivity) -> String {
    let unit = &u.unit;
    match (u.from.as_str(), u.to.as_str()) {
        _ if u.restarted => format!("{unit} restarted"),
        (_, "active") => format!("{unit} started"),
        (_, "inactive") => format!("{unit} stopped"),
        (_, to) => format!("{unit} {to}"),
    }
}

fn ports(effects: &Effects) -> Vec<String> {
    let one = effects.ports.iter().map(|p| {
        let verb = if p.op == Direction::Added { "opened" } else { "closed" };
        let by = p.process.as_ref().map(|name| format!(" by {name}")).unwrap_or_default();
        format!("{} {} {verb}{by}", p.proto, host_port(&p.address, p.port))
    });
    one.collect()
}

fn firewall(effects: &Effects) -> Vec<String> {
    let mut out = Vec::new();
    for backend in ["nftables", "iptables"] {
        let count = |op| effects.firewall.iter().filter(|r| r.backend == backend && r.op == op).count();
        let (added, removed) = (count(Direction::Added), count(Direction::Removed));
        if added + removed > 0 {
            out.push(format!("{backend} +{added} -{removed} lines"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::effect::{Account, Group, PortChange, SysctlChange, UnitFileChange, UnitFileOp};

    fn package(name: &str, from: Option<&str>, to: Option<&str>) -> PackageChange {
        let own = |v: Option<&str>| v.map(str::to_owned);
        PackageChange { name: name.into(), arch: "amd64".into(), from: own(from), to: own(to), note: None }
    }

    fn port() -> PortChange {
        PortChange {
            proto: "tcp".into(),
            address: "::".into(),
            port: 80,
            process: Some("nginx".into()),
            unit: Some("nginx.service".into()),
            op: Direction::Added,
        }
    }

    #[test]
    fn one_line_for_each_subject() {
        let mut packages: Vec<PackageChange> = (0..6).map(|n| package(&format!("liba{n}"), None, Some("1"))).collect();
        packages.push(package("nginx", None, Some("1.22.1-9+deb12u3")));
        packages.push(package("openssl", Some("3.0.1"), Some("3.0.2")));
        let user =
            |name: &str, shell: &str| Account { uid: 33, gid: 33, home: format!("/home/{name}"), shell: shell.into() };
        let effects = Effects {
            packages,
            users: vec![
                crate::effect::UserChange {
                    name: "web".into(),
                    from: None,
                    to: Some(user("web", "/bin/false")),
                    password: false,
                },
                crate::effect::UserChange {
                    name: "bob".into(),
                    from: Some(user("bob", "/bin/sh")),
                    to: Some(user("bob", "/bin/bash")),
                    password: true,
                },
            ],
            units: vec![UnitFileChange { unit: "nginx.service".into(), op: UnitFileOp::Enabled, path: "/x".into() }],
            ports: vec![port()],
            sysctl: vec![SysctlChange {
                key: "net.ipv4.ip_forward".into(),
                from: "0".into(),
                to: "1".into(),
                kept_by: None,
            }],
            paths: BTreeMap::from([(Group::Packages, 143), (Group::Configuration, 1)]),
            ..Effects::default()
        };
        let expected = [
            "packages: nginx 1.22.1-9+deb12u3 (new), openssl 3.0.1 → 3.0.2, liba0 1 (new), liba1 1 (new) and 4 more",
            "users: web (new, uid 33), bob (shell /bin/sh → /bin/bash, password changed)",
            "services: nginx.service enabled",
            "ports: tcp [::]:80 opened by nginx",
            "sysctl: net.ipv4.ip_forward 0 → 1",
            "paths: 143 packages, 1 configuration",
        ];
        assert_eq!(summary_lines(&effects), expected);
        assert_eq!(summary_lines(&Effects::default()), Vec::<String>::new());
        let json = serde_json::to_string(&effects).unwrap();
        assert_eq!(serde_json::from_str::<Effects>(&json).unwrap(), effects);
        assert_eq!(serde_json::from_str::<Effects>("{}").unwrap(), Effects::default());
    }
}
