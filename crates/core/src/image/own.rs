//! What a host keeps of its own when it becomes what another one was: its names, its keys, its addresses, its file systems.
//!
//! By place ([`Own::of`]), and by value ([`Own::same`]): two texts that are equal once each host's own name and addresses are
//! taken out of them. Unlike a comparison of two systems, a rebuild takes passwords and private keys of services along: they are
//! why the lost server could serve.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobSet, GlobSetBuilder};

use crate::TreePath;
use crate::parity::Identity;
use crate::parity::noise::{Rule, Rules};
use crate::policy::glob;

/// Of what names a machine by its place, what a rebuilt host keeps.
const KEPT: &[&str] = &["host name", "machine id", "addresses", "file systems", "first boot"];

/// Besides those.
const MORE: &[&str] = &[
    "/etc/ssh/ssh_host_*",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/**",
    "/etc/netplan/**",
    "/etc/systemd/network/**",
    "/etc/NetworkManager/system-connections/**",
    "/etc/resolv.conf",
    "/etc/{fstab,crypttab}",
    "/etc/lvm/**",
    "/etc/default/grub",
];

/// The places and values that are a host's own.
#[derive(Debug)]
pub struct Own {
    rules: Rules,
    more: GlobSet,
}

impl Default for Own {
    fn default() -> Self {
        let mut builder = GlobSetBuilder::new();
        MORE.iter().filter_map(|pattern| glob(pattern).ok()).for_each(|pattern| {
            builder.add(pattern);
        });
        Self { rules: Rules::default(), more: builder.build().unwrap_or_default() }
    }
}

impl Own {
    /// Whether what is at `path` is the host's own, whatever it says.
    #[must_use]
    pub fn of(&self, path: &TreePath) -> bool {
        self.more.is_match(OsStr::from_bytes(path.as_bytes()))
            || matches!(self.rules.of(path), Rule::Machine(word) if KEPT.contains(&word))
    }

    /// Whether two texts of two hosts say the same of each.
    #[must_use]
    pub fn same(one: (&str, &Identity), other: (&str, &Identity)) -> bool {
        one.1.normalise(one.0) == other.1.normalise(other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keys_and_addresses_stay_and_what_makes_the_server_comes_along() {
        let own = Own::default();
        let table = [
            ("/etc/hostname", true),
            ("/etc/machine-id", true),
            ("/etc/ssh/ssh_host_ed25519_key", true),
            ("/etc/ssh/sshd_config", false),
            ("/etc/network/interfaces.d/eth0", true),
            ("/etc/systemd/network/10-lan.network", true),
            ("/etc/fstab", true),
            ("/etc/shadow", false),
            ("/etc/ssl/private/shop.key", false),
            ("/root/.ssh/known_hosts", false),
            ("/etc/nginx/nginx.conf", false),
        ];
        for (path, is) in table {
            assert_eq!(own.of(&path.into()), is, "{path}");
        }
        let of = |name: &str, address: &str| Identity {
            hostname: name.to_owned(),
            machine_id: String::new(),
            addresses: vec![address.to_owned()],
        };
        let (web1, web9) = (of("web1", "10.0.0.1"), of("web9", "10.0.0.9"));
        assert!(Own::same(("127.0.1.1 web1\n10.0.0.1 web1", &web1), ("127.0.1.1 web9\n10.0.0.9 web9", &web9)));
        assert!(!Own::same(("10.0.0.1 web1\n10.0.0.3 db", &web1), ("10.0.0.9 web9", &web9)));
    }
}
