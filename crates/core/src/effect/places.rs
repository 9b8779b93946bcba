//! Files that set something of the whole system, recognised by where they lie.

use serde::{Deserialize, Serialize};

use super::{Change, Touched};
use crate::{Changeset, TreePath};

/// What a file sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingKind {
    /// Kernel parameters.
    Sysctl,
    /// nftables, iptables, ufw or firewalld rules.
    Firewall,
    /// What is mounted at boot.
    Fstab,
    /// Where packages come from and which may.
    PackageSources,
    /// Interfaces, routes, names of hosts.
    Network,
    /// Who may log in and become root: sshd, sudo, PAM, polkit.
    Access,
    /// Kernel modules loaded or barred at boot.
    Modules,
    /// The host's name or time zone.
    Identity,
}

impl SettingKind {
    /// In words, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Sysctl => "kernel parameters",
            Self::Firewall => "firewall",
            Self::Fstab => "fstab",
            Self::PackageSources => "package sources",
            Self::Network => "network",
            Self::Access => "access",
            Self::Modules => "kernel modules",
            Self::Identity => "host identity",
        }
    }
}

/// A file that sets something of the whole system, and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// What it sets.
    pub kind: SettingKind,
    /// The file.
    pub path: TreePath,
    /// What happened to it.
    pub op: Change,
}

/// Files and directories (with a slash at the end) and what they set. A longer match is no better than a shorter one:
/// none lies inside another.
const SETTINGS: &[(&str, SettingKind)] = &[
    ("/etc/sysctl.conf", SettingKind::Sysctl),
    ("/etc/sysctl.d/", SettingKind::Sysctl),
    ("/usr/lib/sysctl.d/", SettingKind::Sysctl),
    ("/usr/local/lib/sysctl.d/", SettingKind::Sysctl),
    ("/etc/nftables.conf", SettingKind::Firewall),
    ("/etc/nftables/", SettingKind::Firewall),
    ("/etc/nftables.d/", SettingKind::Firewall),
    ("/etc/iptables/", SettingKind::Firewall),
    ("/etc/sysconfig/iptables", SettingKind::Firewall),
    ("/etc/sysconfig/nftables.conf", SettingKind::Firewall),
    ("/etc/ufw/", SettingKind::Firewall),
    ("/etc/firewalld/", SettingKind::Firewall),
    ("/etc/ferm/", SettingKind::Firewall),
    ("/etc/shorewall/", SettingKind::Firewall),
    ("/etc/fail2ban/", SettingKind::Firewall),
    ("/etc/fstab", SettingKind::Fstab),
    ("/etc/crypttab", SettingKind::Fstab),
    ("/etc/apt/", SettingKind::PackageSources),
    ("/usr/share/keyrings/", SettingKind::PackageSources),
    ("/etc/network/", SettingKind::Network),
    ("/etc/netplan/", SettingKind::Network),
    ("/etc/systemd/network/", SettingKind::Network),
    ("/etc/NetworkManager/", SettingKind::Network),
    ("/etc/hosts", SettingKind::Network),
    ("/etc/resolv.conf", SettingKind::Network),
    ("/etc/nsswitch.conf", SettingKind::Network),
    ("/etc/ssh/", SettingKind::Access),
    ("/etc/sudoers", SettingKind::Access),
    ("/etc/sudoers.d/", SettingKind::Access),
    ("/etc/pam.d/", SettingKind::Access),
    ("/etc/security/", SettingKind::Access),
    ("/etc/polkit-1/", SettingKind::Access),
    ("/root/.ssh/", SettingKind::Access),
    ("/etc/modules", SettingKind::Modules),
    ("/etc/modules-load.d/", SettingKind::Modules),
    ("/etc/modprobe.d/", SettingKind::Modules),
    ("/etc/hostname", SettingKind::Identity),
    ("/etc/machine-id", SettingKind::Identity),
    ("/etc/localtime", SettingKind::Identity),
    ("/etc/timezone", SettingKind::Identity),
];

const CRON: &[&str] = &[
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/cron.d/",
    "/etc/cron.hourly/",
    "/etc/cron.daily/",
    "/etc/cron.weekly/",
    "/etc/cron.monthly/",
    "/etc/cron.yearly/",
    "/var/spool/cron/crontabs/",
];

pub(super) fn changes(changeset: &Changeset) -> (Vec<Touched>, Vec<Setting>) {
    let (mut cron, mut settings) = (Vec::new(), Vec::new());
    for entry in changeset.entries() {
        let is_dir = [&entry.before, &entry.after].into_iter().flatten().all(|node| node.is_dir());
        if is_dir || entry.path.name() == b".placeholder" {
            continue;
        }
        let op = Change::from(entry.op());
        if let Some(kind) = setting(&entry.path) {
            settings.push(Setting { kind, path: entry.path.clone(), op });
        } else if CRON.iter().any(|place| lies(&entry.path, place)) {
            cron.push(Touched { path: entry.path.clone(), op });
        }
    }
    settings.sort_by_key(|s| s.kind);
    (cron, settings)
}

/// What the file at `path` sets for the whole system.
pub(super) fn setting(path: &TreePath) -> Option<SettingKind> {
    let place = SETTINGS.iter().find(|(place, _)| lies(path, place)).map(|(_, kind)| *kind);
    place.or_else(|| path.as_bytes().ends_with(b"/.ssh/authorized_keys").then_some(SettingKind::Access))
}

fn lies(path: &TreePath, place: &str) -> bool {
    let bytes = path.as_bytes();
    if place.ends_with('/') { bytes.starts_with(place.as_bytes()) } else { bytes == place.as_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::testing::World;

    #[test]
    fn places() {
        let world = World::default()
            .file("/etc/cron.d/backup", None, Some("0 3 * * * root secret-token\n"))
            .file("/etc/cron.d/.placeholder", None, Some(""))
            .file("/var/spool/cron/crontabs/bob", Some("a"), Some("b"))
            .file("/etc/sysctl.d/99-x.conf", None, Some("a=1"))
            .file("/etc/hosts", Some("a"), Some("b"))
            .file("/etc/hosts.allow", Some("a"), Some("b"))
            .file("/home/bob/.ssh/authorized_keys", Some("a"), None)
            .file("/etc/apt/sources.list", Some("a"), Some("b"))
            .file("/etc/nftables.conf", Some("a"), Some("b"));
        let (cron, settings) = changes(&world.changeset());
        let cron: Vec<String> = cron.iter().map(|c| format!("{} {}", c.path, c.op.word())).collect();
        assert_eq!(cron, ["/etc/cron.d/backup new", "/var/spool/cron/crontabs/bob changed"]);
        let settings: Vec<String> =
            settings.iter().map(|s| format!("{:?} {} {}", s.kind, s.path, s.op.word())).collect();
        let expected = [
            "Sysctl /etc/sysctl.d/99-x.conf new",
            "Firewall /etc/nftables.conf changed",
            "PackageSources /etc/apt/sources.list changed",
            "Network /etc/hosts changed",
            "Access /home/bob/.ssh/authorized_keys removed",
        ];
        assert_eq!(settings, expected);
    }

    #[test]
    fn no_place_hides_another() {
        for (at, (place, _)) in SETTINGS.iter().enumerate() {
            let hidden = SETTINGS[..at].iter().find(|(earlier, _)| lies(&TreePath::from(*place), earlier));
            assert_eq!(hidden.map(|(p, _)| p), None, "{place}");
        }
    }
}
