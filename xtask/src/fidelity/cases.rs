//! The cases: one awkward kind of package or change each.
//!
//! `prepare` runs once, on a host from which all hosts of the case are then copied; `change` is what is rehearsed and, on
//! the other two hosts, run directly. Both are run by `sh -ec` as root.

/// One case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What is awkward about it.
    pub(crate) kind: &'static str,
    /// What the hosts look like before; empty: the base as it is.
    pub(crate) prepare: &'static str,
    /// The change.
    pub(crate) change: &'static str,
}

const fn case(name: &'static str, kind: &'static str, prepare: &'static str, change: &'static str) -> Case {
    Case { name, kind, prepare, change }
}

const RELEASED_NGINX: &str = "apt-get install -y -t bookworm nginx-light";

/// All cases, in the order of the table.
pub(crate) const CASES: &[Case] = &[
    case("nginx", "installs and starts a unit", "", "apt-get install -y nginx-light"),
    case("redis", "a database server: user, unit, data directory", "", "apt-get install -y redis-server"),
    case(
        "postfix",
        "users, groups, setgid programs, a chroot, preseeded debconf",
        "",
        "echo 'postfix postfix/main_mailer_type select Local only' | debconf-set-selections; apt-get install -y postfix",
    ),
    case("exim", "a user, generated configuration, keys, debconf, cron", "", "apt-get install -y exim4-daemon-light"),
    case("chrony", "a user, a daemon with state of its own", "", "apt-get install -y chrony"),
    case("openvpn", "a systemd generator, unit templates", "", "apt-get install -y --no-install-recommends openvpn"),
    case("polkit", "users by sysusers.d, a D-Bus service, setuid helpers", "", "apt-get install -y polkitd"),
    case("vim", "alternatives", "", "apt-get install -y vim-tiny"),
    case(
        "gawk",
        "an alternative taken over, then set back by hand",
        "",
        "apt-get install -y gawk; update-alternatives --set awk /usr/bin/mawk",
    ),
    case("molly-guard", "diversions of programs that the host has", "", "apt-get install -y molly-guard"),
    case(
        "tzdata",
        "dpkg-reconfigure, debconf, a link outside /usr",
        "",
        "printf '%s\\n' 'tzdata tzdata/Areas select Europe' 'tzdata tzdata/Zones/Europe select Berlin' | debconf-set-selections; \
         rm -f /etc/localtime /etc/timezone; dpkg-reconfigure -f noninteractive tzdata",
    ),
    case(
        "sshd-reconfigure",
        "dpkg-reconfigure that makes random keys, ucf",
        "",
        "rm -f /etc/ssh/ssh_host_*; dpkg-reconfigure -f noninteractive openssh-server",
    ),
    case(
        "locale",
        "a large generated archive",
        "",
        "apt-get install -y locales; sed -i 's/^# de_DE.UTF-8/de_DE.UTF-8/' /etc/locale.gen; locale-gen; update-locale LANG=de_DE.UTF-8",
    ),
    case("purge", "a purge with its unit and configuration", "", "apt-get purge -y cron"),
    case("remove", "removed, configuration kept", RELEASED_NGINX, "apt-get remove -y nginx-light"),
    case(
        "purge-tree",
        "a purge with dependencies, users stay",
        RELEASED_NGINX,
        "apt-get purge -y --autoremove nginx-light nginx-common",
    ),
    case(
        "upgrade",
        "an upgrade of a running service from the release to its security fix",
        RELEASED_NGINX,
        "apt-get install -y nginx-light",
    ),
    case(
        "dist-upgrade",
        "all pending upgrades, no kernel: libssl, apt, ca-certificates",
        "",
        "apt-get dist-upgrade -y",
    ),
    case("hold", "a package held back from an upgrade", "", "apt-mark hold openssl libssl3; apt-get upgrade -y"),
    case(
        "multi-arch",
        "a second architecture, with its lists",
        // Security's lists for another architecture are not always in step with its index on a mirror.
        "sed -i /security/d /etc/apt/sources.list; apt-get update -q",
        "dpkg --add-architecture i386; apt-get update -q; apt-get install -y --no-install-recommends zlib1g:i386",
    ),
    case(
        "ldconfig",
        "a library, a linker path, the linker's cache",
        "",
        "apt-get install -y libjemalloc2; mkdir -p /opt/lib; cp /usr/lib/x86_64-linux-gnu/libjemalloc.so.2 /opt/lib/libours.so.2; \
         echo /opt/lib > /etc/ld.so.conf.d/opt.conf; ldconfig",
    ),
    case("man-db", "triggers, a cache with an owner, a timer", "", "apt-get install -y man-db"),
    case("python", "modules compiled by triggers", "", "apt-get install -y --no-install-recommends python3-yaml"),
    case(
        "pip",
        "a package manager of its own, below /usr/local",
        include_str!("prepare-pip.sh"),
        "pip install --no-index --break-system-packages --find-links /root/wheels ours",
    ),
    case(
        "ca-certificates",
        "generated bundles and hashed links",
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ours -days 3650 -keyout /root/ca.key -out /root/ca.crt",
        "cp /root/ca.crt /usr/local/share/ca-certificates/ours.crt; update-ca-certificates",
    ),
    case("ssl-cert", "a random key with a group of its own", "", "apt-get install -y ssl-cert"),
    case("logrotate", "a timer and a state file", "", "apt-get install -y logrotate"),
    case("rsyslog", "starts to write logs at once, syslog.socket alias", "", "apt-get install -y rsyslog"),
    case(
        "timesyncd",
        "a user by sysusers, a unit enabled through an alias",
        "",
        "apt-get install -y systemd-timesyncd",
    ),
    case("ping", "a file capability", "", "apt-get install -y iputils-ping"),
    case("sudo", "setuid programs, a directory with mode 0440 files", "", "apt-get install -y sudo"),
    case(
        "unattended-upgrades",
        "configuration managed by ucf, debconf, Python",
        "",
        "apt-get install -y --no-install-recommends unattended-upgrades",
    ),
    case("git", "a big tree with many hard links", "", "apt-get install -y --no-install-recommends git"),
    case("mime", "a database generated by triggers", "", "apt-get install -y shared-mime-info"),
    case(
        "users",
        "users, groups, passwords, a home directory",
        "",
        "groupadd --gid 4000 deploy; useradd -m -s /bin/bash -G deploy,sudo alice; echo alice:secret | chpasswd; \
         usermod -aG deploy www-data; userdel games; install -d -o alice -g deploy -m 2750 /srv/app",
    ),
    case(
        "units",
        "enable, disable, mask, an override, a unit of one's own",
        "",
        "systemctl disable --now cron; systemctl mask systemd-pstore; mkdir -p /etc/systemd/system/ssh.service.d; \
         printf '[Service]\\nNice=5\\n' > /etc/systemd/system/ssh.service.d/nice.conf; \
         printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/ours.service; \
         systemctl daemon-reload; systemctl enable --now ours; systemctl restart ssh",
    ),
    case(
        "config",
        "sed -i, an ACL, a capability, owners and modes alone",
        "",
        "sed -i 's/^#Port 22/Port 2222/' /etc/ssh/sshd_config; systemctl reload ssh; setfacl -m u:daemon:rw /etc/motd; \
         cp /bin/cat /usr/local/bin/ourcat; setcap cap_dac_read_search+ep /usr/local/bin/ourcat; chmod 0600 /etc/issue; \
         chown daemon:daemon /usr/bin/clear; setfattr -n user.note -v hello /etc/hosts; ln /etc/profile /etc/profile.link",
    ),
    case("rm", "a package's tree removed by hand", "", "rm -r /usr/share/zoneinfo /usr/share/doc /etc/cron.d"),
    case(
        "reinstall",
        "a damaged package mended",
        "rm /usr/bin/sort; chmod 0 /usr/bin/cut",
        "apt-get install -y --reinstall coreutils",
    ),
    case(
        "cron-replaced",
        "one daemon replaced by another, conffiles of both",
        "",
        "apt-get install -y --no-install-recommends bcron",
    ),
    case(
        "conffiles",
        "version 1 to 2: conffile removed, one renamed, directory to link, new user, trigger",
        include_str!("prepare-debs.sh"),
        "dpkg -i /root/debs/ours_2_all.deb",
    ),
];
