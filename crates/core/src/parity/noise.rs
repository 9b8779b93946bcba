//! What only names one machine: its name, its keys, its addresses, its file systems' UUIDs. Such a difference is recognised,
//! counted and set aside; it is never the reason why something works on one system and not on the other.
//!
//! Two ways: by place ([`Rules`]: a host key is a host key, whatever it says) and by value ([`Identity::normalise`]: two values
//! that are equal once each system's own name is taken out of them).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::TreePath;
use crate::policy::glob;

/// What names one system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its host name, without a domain.
    pub hostname: String,
    /// Its machine id.
    #[serde(default)]
    pub machine_id: String,
    /// Its own addresses.
    #[serde(default)]
    pub addresses: Vec<String>,
}

impl Identity {
    /// `text` with all that names a machine replaced by what it is: `<host>`, `<machine-id>`, `<address>`, `<uuid>`, `<mac>`.
    #[must_use]
    pub fn normalise(&self, text: &str) -> String {
        let mut out = text.to_owned();
        if self.machine_id.len() >= 16 {
            out = bounded(&out, &self.machine_id, "<machine-id>");
        }
        for address in self.addresses.iter().filter(|a| !is_everywhere(a)) {
            out = bounded(&out, address, "<address>");
        }
        let short = self.hostname.split('.').next().unwrap_or_default();
        if short.len() > 1 && !matches!(short, "localhost" | "debian" | "ubuntu") {
            out = bounded(&out, &self.hostname, "<host>");
            out = bounded(&out, short, "<host>");
        }
        numbers(&out)
    }
}

/// Addresses that every machine has.
fn is_everywhere(address: &str) -> bool {
    matches!(address, "" | "::" | "::1" | "0.0.0.0") || address.starts_with("127.")
}

/// Replaces `needle` where no letter or digit stands beside it, in any case of letters.
fn bounded(text: &str, needle: &str, with: &str) -> String {
    let (low, find) = (text.to_ascii_lowercase(), needle.to_ascii_lowercase());
    if find.is_empty() || !low.contains(&find) {
        return text.to_owned();
    }
    let solid = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in low.match_indices(&find) {
        let end = at + find.len();
        if !solid(text[..at].chars().next_back()) && !solid(text[end..].chars().next()) {
            out.push_str(&text[done..at]);
            out.push_str(with);
            done = end;
        }
    }
    out.push_str(&text[done..]);
    out
}

/// Replaces UUIDs and hardware addresses, which no two machines share.
fn numbers(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, '-' | ':');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        if word == 0 {
            let end = rest.find(is_part).unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let (token, tail) = rest.split_at(word);
        out.push_str(named(token).unwrap_or(token));
        rest = tail;
    }
    out
}

fn named(token: &str) -> Option<&'static str> {
    let groups = |by: char| token.split(by).map(str::len).collect::<Vec<_>>();
    match token.len() {
        36 if groups('-') == [8, 4, 4, 4, 12] => Some("<uuid>"),
        17 if groups(':') == [2; 6] => Some("<mac>"),
        // A FAT file system's.
        9 if groups('-') == [4, 4] && token.chars().any(|c| c.is_ascii_uppercase()) => Some("<uuid>"),
        _ => None,
    }
}

/// What a path's place says about its difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Compare it.
    Compare,
    /// It names the machine or is a key of it: set aside, with the word for it.
    Machine(&'static str),
    /// It is made from something that is compared itself: set aside.
    Derived,
    /// It is compared in another form: packages, users.
    Elsewhere,
}

/// The places.
const PLACES: &[(&str, Rule)] = &[
    ("/etc/{hostname,hostid,mailname,machine-info}", Rule::Machine("host name")),
    ("/etc/machine-id", Rule::Machine("machine id")),
    ("/var/lib/dbus/machine-id", Rule::Machine("machine id")),
    ("/etc/ssh/ssh_host_*", Rule::Machine("ssh host keys")),
    ("/**/.ssh/{known_hosts,known_hosts.old}", Rule::Machine("ssh host keys")),
    ("/etc/ssl/private/**", Rule::Machine("private keys")),
    ("/etc/ssl/certs/ssl-cert-snakeoil.pem", Rule::Machine("private keys")),
    ("/etc/{letsencrypt,dehydrated}/{live,archive,keys,accounts,csr}/**", Rule::Machine("private keys")),
    ("/etc/krb5.keytab", Rule::Machine("private keys")),
    ("/etc/wireguard/*.key", Rule::Machine("private keys")),
    ("/etc/{shadow,gshadow}", Rule::Machine("passwords")),
    ("/var/lib/dhcp/**", Rule::Machine("addresses")),
    ("/var/lib/dhcpcd/**", Rule::Machine("addresses")),
    ("/var/lib/NetworkManager/**", Rule::Machine("addresses")),
    ("/var/lib/systemd/network/**", Rule::Machine("addresses")),
    ("/etc/udev/rules.d/70-persistent-*.rules", Rule::Machine("addresses")),
    ("/etc/iscsi/initiatorname.iscsi", Rule::Machine("addresses")),
    ("/etc/nvme/{hostid,hostnqn}", Rule::Machine("machine id")),
    ("/etc/lvm/{archive,backup}/**", Rule::Machine("file systems")),
    ("/etc/{blkid.tab,multipath/*}", Rule::Machine("file systems")),
    ("/etc/initramfs-tools/conf.d/resume", Rule::Machine("file systems")),
    ("/var/lib/cloud/**", Rule::Machine("first boot")),
    ("/var/lib/{misc,initramfs-tools,os-prober,grub}/**", Rule::Derived),
    ("/boot/grub/**", Rule::Derived),
    ("/boot/initrd.img-*", Rule::Derived),
    ("/etc/ld.so.cache", Rule::Derived),
    ("/usr/lib/udev/hwdb.bin", Rule::Derived),
    ("/etc/udev/hwdb.bin", Rule::Derived),
    ("/usr/lib/locale/locale-archive", Rule::Derived),
    ("/usr/lib/modules/*/modules.*", Rule::Derived),
    ("/usr/lib/**/{loaders,giomodule,immodules}.cache", Rule::Derived),
    ("/usr/share/{applications/mimeinfo.cache,glib-2.0/schemas/gschemas.compiled}", Rule::Derived),
    ("/usr/share/icons/*/icon-theme.cache", Rule::Derived),
    ("/usr/share/mime/**", Rule::Derived),
    ("/usr/share/info/dir*", Rule::Derived),
    ("/var/lib/systemd/**", Rule::Derived),
    ("/var/lib/{apt,aptitude,ucf,pam,polkit-1,PackageKit,man-db,emacsen-common}/**", Rule::Derived),
    ("/var/cache/**", Rule::Derived),
    ("/{dev,proc,run,sys}", Rule::Elsewhere),
    ("/var/lib/dpkg/**", Rule::Elsewhere),
    ("/etc/{passwd,group}", Rule::Elsewhere),
    ("/etc/{localtime,timezone,locale.conf,default/locale}", Rule::Elsewhere),
];

/// The places, ready to be asked.
#[derive(Debug)]
pub struct Rules(GlobSet);

impl Default for Rules {
    fn default() -> Self {
        let mut builder = GlobSetBuilder::new();
        for (pattern, _) in PLACES {
            // All of them are patterns, by the test below; one that was none would match nothing.
            let never = || globset::Glob::new("").unwrap_or_else(|_| unreachable!("the empty pattern is one"));
            builder.add(glob(pattern).unwrap_or_else(|_| never()));
        }
        Self(builder.build().unwrap_or_default())
    }
}

impl Rules {
    /// What the place of `path` says.
    #[must_use]
    pub fn of(&self, path: &TreePath) -> Rule {
        let first = self.0.matches(OsStr::from_bytes(path.as_bytes())).into_iter().min();
        first.map_or(Rule::Compare, |at| PLACES[at].1)
    }
}

/// Variables of a running service that its manager makes up.
const MADE_UP: &[&str] = &[
    "CREDENTIALS_DIRECTORY",
    "HOSTNAME",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "MAINPID",
    "MANAGERPID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "OLDPWD",
    "PWD",
    "SHLVL",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SYSTEMD_EXEC_PID",
    "TERM",
    "WATCHDOG_PID",
    "_",
];

/// Whether a variable of a running service differs from start to start.
#[must_use]
pub fn is_made_up(variable: &str) -> bool {
    MADE_UP.contains(&variable)
}

/// Kernel parameters that name the machine, or count.
const SYSCTL: &[&str] = &[
    "dev.cdrom.",
    "fs.nfs.",
    "kernel.domainname",
    "kernel.hostname",
    "kernel.hung_task_detect_count",
    "kernel.hung_task_warnings",
    // Facts about the kernel have these.
    "kernel.osrelease",
    "kernel.perf_cpu_time_max_percent",
    "kernel.perf_event_max_sample_rate",
    "kernel.random.",
    "kernel.version",
    "net.ipv4.tcp_fastopen_key",
    "sunrpc.",
    "vm.numa_stat",
];

/// Kernel parameters that the kernel computes from memory and processors, unless somebody sets them.
const SIZED: &[&str] = &[
    "fs.epoll.max_user_watches",
    "fs.fanotify.max_user_marks",
    "fs.file-max",
    "fs.inotify.max_user_watches",
    "kernel.pid_max",
    "kernel.sched_",
    "kernel.threads-max",
    "net.core.bpf_jit_limit",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.udp_mem",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_expect_max",
    "net.netfilter.nf_conntrack_max",
    "user.max_",
    "vm.lowmem_reserve_ratio",
    "vm.min_free_kbytes",
    "vm.user_reserve_kbytes",
    "vm.admin_reserve_kbytes",
];

/// Whether a kernel parameter names the machine or one of its interfaces.
#[must_use]
pub fn is_machine_sysctl(key: &str) -> bool {
    let of_interface = ["net.ipv4.conf.", "net.ipv6.conf.", "net.ipv4.neigh.", "net.ipv6.neigh.", "net.mpls.conf."]
        .iter()
        .any(|start| {
            key.strip_prefix(start).is_some_and(|k| !["all.", "default.", "lo."].iter().any(|i| k.starts_with(i)))
        });
    of_interface || SYSCTL.iter().any(|start| key.starts_with(start))
}

/// Whether the kernel computes a parameter from what the machine has.
#[must_use]
pub fn is_sized_sysctl(key: &str) -> bool {
    SIZED.iter().any(|start| key.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(number: u8) -> Identity {
        Identity {
            hostname: format!("web{number}"),
            machine_id: format!("{number}").repeat(32),
            addresses: vec![format!("10.0.0.{number}"), "127.0.0.1".to_owned(), format!("2001:db8::{number}")],
        }
    }

    #[test]
    fn what_names_a_machine_is_no_difference() {
        let same = [
            ("web1", "web2"),
            ("ServerName web1.example.com", "ServerName web2.example.com"),
            ("client-id=node_web1-a", "client-id=node_web2-a"),
            ("id 11111111111111111111111111111111", "id 22222222222222222222222222222222"),
            ("listen 10.0.0.1:80;", "listen 10.0.0.2:80;"),
            ("address [2001:db8::1]:443", "address [2001:db8::2]:443"),
            ("UUID=0f3c1a2b-1111-4222-8333-abcdefabcdef / ext4", "UUID=9a8b7c6d-1111-4222-8333-0123456789ab / ext4"),
            ("UUID=1C2D-3E4F /boot/efi", "UUID=AA2D-3E41 /boot/efi"),
            ("hwaddress 52:54:00:aa:bb:01", "hwaddress 52:54:00:aa:bb:02"),
            ("WEB1 up", "web2 up"),
        ];
        for (a, b) in same {
            assert_eq!(web(1).normalise(a), web(2).normalise(b), "{a} / {b}");
        }
        let other = [
            ("web10", "web20"),
            ("10.0.0.10", "10.0.0.20"),
            ("db1", "db2"),
            ("upstream 10.0.0.7", "upstream 10.0.0.8"),
            ("0f3c1a2b", "9a8b7c6d"),
            ("3-4", "4-4"),
            ("127.0.0.1", "127.0.0.2"),
            ("größe ü1", "größe ü2"),
        ];
        for (a, b) in other {
            assert_ne!(web(1).normalise(a), web(2).normalise(b), "{a} / {b}");
        }
        let generic = Identity { hostname: "localhost".into(), ..Identity::default() };
        assert_eq!(generic.normalise("127.0.0.1 localhost"), "127.0.0.1 localhost");
    }

    #[test]
    fn places() {
        for (pattern, _) in PLACES {
            assert!(glob(pattern).is_ok(), "{pattern}");
        }
        let rules = Rules::default();
        let table = [
            ("/etc/hostname", Rule::Machine("host name")),
            ("/etc/ssh/ssh_host_ed25519_key.pub", Rule::Machine("ssh host keys")),
            ("/etc/ssh/sshd_config", Rule::Compare),
            ("/etc/machine-id", Rule::Machine("machine id")),
            ("/etc/ssl/private/site.key", Rule::Machine("private keys")),
            ("/etc/ssl/openssl.cnf", Rule::Compare),
            ("/root/.ssh/known_hosts", Rule::Machine("ssh host keys")),
            ("/root/.ssh/authorized_keys", Rule::Compare),
            ("/var/lib/dhcp/dhclient.eth0.leases", Rule::Machine("addresses")),
            ("/etc/ld.so.cache", Rule::Derived),
            ("/etc/ld.so.conf", Rule::Compare),
            ("/var/lib/dpkg/status", Rule::Elsewhere),
            ("/etc/passwd", Rule::Elsewhere),
            ("/usr/lib/x86_64-linux-gnu/libssl.so.3", Rule::Compare),
        ];
        for (path, rule) in table {
            assert_eq!(rules.of(&path.into()), rule, "{path}");
        }
    }

    #[test]
    fn kernel_parameters() {
        for key in ["kernel.hostname", "net.ipv4.conf.eth0.rp_filter", "net.ipv6.neigh.enp1s0.mcast_solicit"] {
            assert!(is_machine_sysctl(key), "{key}");
        }
        for key in ["net.ipv4.conf.all.rp_filter", "net.ipv4.ip_forward", "vm.swappiness"] {
            assert!(!is_machine_sysctl(key) && !is_sized_sysctl(key), "{key}");
        }
        assert!(is_sized_sysctl("kernel.threads-max"));
    }
}
