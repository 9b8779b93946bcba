//! Which paths are nobody's intent (volatile), which belong to a store (data), which are never transplanted (boot), and
//! which are Greenroom's own.
//!
//! Volatile patterns hide files, never directories: the directory that a package makes for its logs has an owner and a
//! mode that its service needs. `/etc/greenroom/volatile` of a host adds patterns, one a line, `!` takes one out again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::{ContentHash, TreePath};

/// What a path is to Greenroom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Part of the host's state: captured, compared, transplanted.
    Managed,
    /// Logs, caches, locks, seeds: counted, never part of a changeset.
    Volatile,
    /// Below the data directory of a store.
    Data,
    /// Kernel, modules, initramfs, boot loader: a change to it is not transplanted.
    Boot,
    /// Greenroom's own state.
    Own,
}

/// The built-in volatile patterns. Those that begin with `!` are managed although an earlier one matches.
pub const VOLATILE: &[&str] = &[
    "/dev/**",
    "/proc/**",
    "/run/**",
    "/sys/**",
    "/tmp/**",
    "/var/tmp/**",
    "/var/log/**",
    "/var/cache/**",
    "!/var/cache/debconf/{config,templates,passwords}.dat",
    "/var/crash/**",
    "/var/lib/apt/lists/**",
    "/var/lib/apt/periodic/**",
    "/var/lib/apt/daily_lock",
    "/var/lib/dpkg/{lock,lock-frontend,status-old,diversions-old,statoverride-old,available,available-old}",
    "/var/lib/dpkg/triggers/Lock",
    "/var/lib/dpkg/updates/**",
    "/var/lib/dhcp/*.leases*",
    "/var/lib/NetworkManager/{timestamps,*.lease,seen-bssids}",
    "/var/lib/chrony/{drift,*.dat}",
    "/var/lib/command-not-found/**",
    "/var/lib/logrotate/status",
    "/var/lib/logrotate.status",
    "/var/lib/man-db/auto-update",
    "/var/lib/mlocate/**",
    "/var/lib/plocate/**",
    "/var/lib/ntp/ntp.drift",
    "/var/lib/ntpsec/ntp.drift",
    "/var/lib/private/systemd/**",
    "/var/lib/snapd/{state.json,system-key}",
    "/var/lib/sudo/{lectured,ts}/**",
    "/var/lib/systemd/{random-seed,credential.secret}",
    "/var/lib/systemd/timers/**",
    "/var/lib/systemd/timesync/**",
    "/var/lib/systemd/{backlight,coredump,ephemeral-trees,linger,rfkill}/**",
    "/var/lib/systemd/catalog/database",
    "/var/lib/ubuntu-advantage/**",
    "/var/lib/ubuntu-release-upgrader/**",
    "/var/lib/unattended-upgrades/**",
    "/var/lib/update-notifier/**",
    "/var/lib/urandom/**",
    "/var/lib/ucf/cache/**",
    "/var/spool/cron/atspool/**",
    "/var/spool/exim4/{db,input,msglog}/**",
    "/var/spool/postfix/{active,bounce,corrupt,defer,deferred,flush,hold,incoming,maildrop,pid,saved,trace}/**",
    "/var/lib/postfix/master.lock",
    "/var/**/*.pid",
    "/var/spool/mail/**",
    "/var/mail/**",
    "/etc/.pwd.lock",
    "/etc/.updated",
    "/var/.updated",
    "/etc/mtab",
    "/etc/adjtime",
    "/etc/{passwd,group,shadow,gshadow,subuid,subgid}-",
    "/etc/ld.so.cache~",
    "/{root,home/*}/.{bash_history,lesshst,viminfo,wget-hsts,python_history,mysql_history,psql_history}",
    "/**/__pycache__/**",
    "/**/.*.sw[po]",
];

/// Data directories of known stores, each with the unit patterns that own it.
pub const STORES: &[Store] = &[
    Store { name: "PostgreSQL", path: "/var/lib/postgresql", units: &["postgresql.service", "postgresql@*.service"] },
    Store {
        name: "MySQL/MariaDB",
        path: "/var/lib/mysql",
        units: &["mysql.service", "mysqld.service", "mariadb.service", "mariadb@*.service"],
    },
    Store {
        name: "Redis",
        path: "/var/lib/redis",
        units: &["redis.service", "redis-server.service", "redis-server@*.service", "redis@*.service"],
    },
    Store {
        name: "Valkey",
        path: "/var/lib/valkey",
        units: &["valkey.service", "valkey-server.service", "valkey-server@*.service"],
    },
    Store { name: "MongoDB", path: "/var/lib/mongodb", units: &["mongod.service", "mongodb.service"] },
    Store { name: "Elasticsearch", path: "/var/lib/elasticsearch", units: &["elasticsearch.service"] },
    Store { name: "InfluxDB", path: "/var/lib/influxdb", units: &["influxdb.service"] },
    Store { name: "Docker", path: "/var/lib/docker", units: &["docker.service", "docker.socket"] },
    Store { name: "containerd", path: "/var/lib/containerd", units: &["containerd.service"] },
    Store {
        name: "Podman",
        path: "/var/lib/containers/storage",
        units: &["podman.service", "podman.socket", "podman-restart.service"],
    },
];

/// A kind of store whose files Greenroom knows.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    /// Its name for people.
    pub name: &'static str,
    /// Where its data lies.
    pub path: &'static str,
    /// Units that own the data, `*` standing for an instance.
    pub units: &'static [&'static str],
}

/// What is never transplanted: [`Class::Boot`].
const BOOT: &[&str] = &["/boot/**", "/efi/**", "/lib/modules/**", "/usr/lib/modules/**", "/lib/firmware/*ucode/**"];

/// Greenroom's own places, at the root and at the top of other file systems, the units that `install` writes, and the program where
/// `join` brings it.
const OWN: &[&str] = &[
    "/var/lib/greenroom",
    "/var/lib/greenroom/**",
    "/**/.greenroom",
    "/**/.greenroom/**",
    "/.greenroom",
    "/etc/apt/apt.conf.d/zz99greenroom-copy",
    "/etc/systemd/system/greenroom-{agent.service,watch.service,scrub.service,scrub.timer,guard.service,guard.timer}",
    "/etc/systemd/system/*.wants/greenroom-{agent.service,watch.service,scrub.timer,guard.timer}",
    "/usr/local/bin/greenroom",
];

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{pattern}` is not a pattern: {reason}")]
pub struct BadPattern {
    /// 1-based line.
    pub line: usize,
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The classes of all paths of one host.
#[derive(Clone, Debug)]
pub struct Policy {
    volatile: GlobSet,
    /// For each pattern: whether it takes out again.
    negated: Vec<bool>,
    boot: GlobSet,
    own: GlobSet,
    data: Vec<TreePath>,
    /// Patterns of directories of data; none where only directories are known.
    data_patterns: GlobSet,
    more_own: Vec<TreePath>,
    fingerprint: ContentHash,
}

impl Policy {
    /// The policy of a host.
    ///
    /// `extra` is the text of the host's own list of volatile patterns, `data` are the data directories found on it and
    /// `own` are places of Greenroom's own besides the usual ones.
    ///
    /// # Errors
    /// [`BadPattern`] for the first line of `extra` that is not a pattern.
    pub fn new(extra: &str, data: Vec<TreePath>, own: Vec<TreePath>) -> Result<Self, BadPattern> {
        let mut builder = GlobSetBuilder::new();
        let mut negated = Vec::new();
        let lines = extra.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let written = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        for (line, pattern) in VOLATILE.iter().map(|p| (0, *p)).chain(written) {
            let (bare, negative) = pattern.strip_prefix('!').map_or((pattern, false), |rest| (rest, true));
            let bad = |reason: String| BadPattern { line, pattern: pattern.to_owned(), reason };
            if !bare.starts_with('/') {
                return Err(bad("it must begin with /".to_owned()));
            }
            builder.add(glob(bare).map_err(bad)?);
            negated.push(negative);
        }
        let set = |patterns: &[&str]| {
            let mut builder = GlobSetBuilder::new();
            for pattern in patterns {
                builder.add(glob(pattern)?);
            }
            builder.build().map_err(|e| e.to_string())
        };
        let fingerprint = fingerprint(extra, &data, &own);
        let builtin = |reason: String| BadPattern { line: 0, pattern: String::new(), reason };
        Ok(Self {
            volatile: builder.build().map_err(|e| builtin(e.to_string()))?,
            negated,
            boot: set(BOOT).map_err(builtin)?,
            own: set(OWN).map_err(builtin)?,
            data,
            data_patterns: GlobSet::empty(),
            more_own: own,
            fingerprint,
        })
    }

    /// The same with more directories of data, which may be patterns of them.
    ///
    /// # Errors
    /// [`BadPattern`] for the first that is none.
    pub fn with_data(mut self, patterns: &[String]) -> Result<Self, BadPattern> {
        if patterns.is_empty() {
            return Ok(self);
        }
        let mut builder = GlobSetBuilder::new();
        for (at, pattern) in patterns.iter().enumerate() {
            let bad = |reason: String| BadPattern { line: at + 1, pattern: pattern.clone(), reason };
            let dir = pattern.trim_end_matches('/');
            if !dir.starts_with('/') {
                return Err(bad("it must begin with /".to_owned()));
            }
            builder.add(glob(&format!("{dir}/**")).map_err(bad)?);
        }
        let bad = |error: globset::Error| BadPattern { line: 0, pattern: String::new(), reason: error.to_string() };
        self.data_patterns = builder.build().map_err(bad)?;
        let parts: Vec<String> = patterns.iter().map(|pattern| format!("{} {pattern}", pattern.len())).collect();
        self.fingerprint = ContentHash::of(format!("{} {}", self.fingerprint, parts.join("\n")).as_bytes());
        Ok(self)
    }

    /// What `path` is; `is_dir`: on all the sides where it exists it is a directory.
    #[must_use]
    pub fn class(&self, path: &TreePath, is_dir: bool) -> Class {
        let os = OsStr::from_bytes(path.as_bytes());
        if self.more_own.iter().any(|own| path.starts_with(own)) || self.own.is_match(os) {
            return Class::Own;
        }
        let in_data = self.data.iter().any(|data| path.starts_with(data) && path != data);
        if in_data || self.data_patterns.is_match(os) {
            return Class::Data;
        }
        if self.boot.is_match(os) {
            return Class::Boot;
        }
        let last = self.volatile.matches(os).into_iter().max();
        let volatile = last.is_some_and(|at| !self.negated[at]);
        if volatile && (!is_dir || is_machine_fs(path)) { Class::Volatile } else { Class::Managed }
    }

    /// The same for policies that divide every tree in the same way, whichever version of this program made them.
    #[must_use]
    pub fn fingerprint(&self) -> ContentHash {
        self.fingerprint
    }

    /// The data directories found on this host.
    #[must_use]
    pub fn data(&self) -> &[TreePath] {
        &self.data
    }
}

/// The hash of all that a policy is made of, each part with its length.
fn fingerprint(extra: &str, data: &[TreePath], own: &[TreePath]) -> ContentHash {
    let mut all = Vec::new();
    let mut part = |bytes: &[u8]| {
        all.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        all.extend_from_slice(bytes);
    };
    for list in [VOLATILE, BOOT, OWN, MACHINE] {
        list.iter().for_each(|pattern| part(pattern.as_bytes()));
        part(b"");
    }
    extra.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).for_each(|l| part(l.as_bytes()));
    for list in [data, own] {
        part(b"");
        list.iter().for_each(|path| part(path.as_bytes()));
    }
    ContentHash::of(&all)
}

/// Below these not even directories are anybody's intent: they do not outlive a boot.
const MACHINE: &[&str] = &[
    "/dev",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/var/tmp",
    "/var/lib/apt/lists",
    "/var/log/journal",
    "/var/lib/private/systemd",
];

fn is_machine_fs(path: &TreePath) -> bool {
    MACHINE.iter().any(|top| path.starts_with(&TreePath::from(*top))) || path.name() == b"__pycache__"
}

/// A pattern over whole paths: `*` stays within a name, `**` does not.
///
/// # Errors
/// A sentence saying what is wrong with it.
pub fn glob(pattern: &str) -> Result<globset::Glob, String> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build().map_err(|e| e.kind().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let extra = "# ours\n/srv/app/cache/**\n!/var/log/keep.me\n";
        let policy = Policy::new(extra, vec!["/var/lib/mysql".into()], vec!["/opt/state".into()]).unwrap();
        let table = [
            ("/etc/passwd", false, Class::Managed),
            ("/etc/passwd-", false, Class::Volatile),
            ("/var/log/syslog", false, Class::Volatile),
            ("/var/log/nginx", true, Class::Managed),
            ("/var/log/keep.me", false, Class::Managed),
            ("/run/x", true, Class::Volatile),
            ("/srv/app/cache/a/b", false, Class::Volatile),
            ("/var/cache/debconf/config.dat", false, Class::Managed),
            ("/var/cache/apt/pkgcache.bin", false, Class::Volatile),
            ("/var/lib/mysql", true, Class::Managed),
            ("/var/lib/mysql/ibdata1", false, Class::Data),
            ("/var/lib/mysqlx", false, Class::Managed),
            ("/boot/vmlinuz-6.1", false, Class::Boot),
            ("/usr/lib/modules/6.1/modules.dep", false, Class::Boot),
            ("/usr/lib/modules-load.d/x.conf", false, Class::Managed),
            ("/var/lib/greenroom/changes/c1", true, Class::Own),
            ("/srv/.greenroom", true, Class::Own),
            ("/opt/state/blobs", true, Class::Own),
            ("/etc/systemd/system/greenroom-watch.service", false, Class::Own),
            ("/etc/systemd/system/timers.target.wants/greenroom-scrub.timer", false, Class::Own),
            ("/etc/systemd/system/greenroom-watch.service.d/override.conf", false, Class::Managed),
            ("/etc/systemd/system/multi-user.target.wants/nginx.service", false, Class::Managed),
            ("/usr/lib/python3/__pycache__/a.pyc", false, Class::Volatile),
            ("/var/spool/postfix/pid/master.pid", false, Class::Volatile),
            ("/var/spool/postfix/pid", true, Class::Managed),
            ("/var/spool/postfix/etc/hosts", false, Class::Managed),
            ("/var/lib/daemon/daemon.pid", false, Class::Volatile),
        ];
        for (path, is_dir, class) in table {
            assert_eq!(policy.class(&path.into(), is_dir), class, "{path}");
        }
    }

    #[test]
    fn directories_of_data_may_be_patterns() {
        let plain = Policy::new("", vec!["/var/lib/mysql".into()], vec![]).unwrap();
        let policy = plain.clone().with_data(&["/srv/pg/*/main/".to_owned(), "/opt/queue".to_owned()]).unwrap();
        for (path, class) in [
            ("/srv/pg/15/main", Class::Managed),
            ("/srv/pg/15/main/base/1", Class::Data),
            ("/srv/pg/15/other/x", Class::Managed),
            ("/opt/queue/a", Class::Data),
            ("/opt/queue", Class::Managed),
            ("/var/lib/mysql/ibdata1", Class::Data),
        ] {
            assert_eq!(policy.class(&path.into(), false), class, "{path}");
        }
        assert_ne!(policy.fingerprint(), plain.fingerprint());
        assert_eq!(plain.clone().with_data(&[]).unwrap().fingerprint(), plain.fingerprint());
    }

    #[test]
    fn a_bad_pattern_is_named_with_its_line() {
        let bad = Policy::new("/ok/**\n/a{b\n", vec![], vec![]).unwrap_err();
        assert_eq!((bad.line, bad.pattern.as_str()), (2, "/a{b"));
        assert_eq!(Policy::new("etc/x", vec![], vec![]).unwrap_err().line, 1);
    }
}
