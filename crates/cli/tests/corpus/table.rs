//! What people and programs do to a host outside of Greenroom: one row each, with what has to be reported of it.
//!
//! Paths without a slash are below `/srv/c`, where each row has files of its own. `%` in a command is the row's script as the
//! shell that runs it has it.

/// One edit.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What is there before, on record.
    pub(crate) before: &'static str,
    pub(crate) script: &'static str,
    /// All paths that differ by it: path, operation, beginning of the command that did it.
    pub(crate) drift: &'static [(&'static str, &'static str, By)],
    /// All that differs beyond files: kind and item.
    pub(crate) beyond: &'static [(&'static str, &'static str)],
}

/// Who is named.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// A command that begins so.
    Cmd(&'static str),
    /// The row's own shell.
    Shell,
    /// The host's first process, which was asked over its bus.
    Systemd,
    /// Nobody: the kernel tells of this to no one, and the scan found it.
    Scan,
}

use By::{Cmd, Scan, Shell, Systemd};

const fn row(
    name: &'static str,
    before: &'static str,
    script: &'static str,
    drift: &'static [(&'static str, &'static str, By)],
) -> Row {
    Row { name, before, script, drift, beyond: &[] }
}

const fn beyond(one: Row, beyond: &'static [(&'static str, &'static str)]) -> Row {
    Row { beyond, ..one }
}

/// `text NAME…` makes files of three lines.
pub(crate) const ROWS: &[Row] = &[
    // Contents.
    row("sed -i", "text sed", "sed -i s/two/2/ sed", &[("sed", "modify", Cmd("sed -i"))]),
    row(
        "vim",
        "text vim",
        "vim.tiny -u NONE -es -c '%s/two/2/' -c wq vim </dev/null",
        &[("vim", "modify", Cmd("vim.tiny"))],
    ),
    row("ed", "text ed", "printf '2d\\nw\\nq\\n' | ed -s ed", &[("ed", "modify", Cmd("ed -s"))]),
    row("perl -pi", "text perl", "perl -pi -e s/two/2/ perl", &[("perl", "modify", Cmd("perl -pi"))]),
    row("append", "text append", "echo more >> append", &[("append", "modify", Shell)]),
    row("truncate", "text cut", "truncate -s 3 cut", &[("cut", "modify", Cmd("truncate"))]),
    row(
        "dd in the middle",
        "text dd",
        "printf X | dd of=dd bs=1 seek=1 conv=notrunc status=none",
        &[("dd", "modify", Cmd("dd of"))],
    ),
    row(
        "written through a mapping",
        "text map",
        "python3 -c 'import mmap; f=open(\"map\",\"r+b\"); m=mmap.mmap(f.fileno(),0); f.close(); m[0:1]=b\"X\"'",
        &[("map", "modify", Cmd("python3 -c"))],
    ),
    row(
        "a database in place",
        "python3 -c 'import sqlite3; c=sqlite3.connect(\"/srv/c/db\"); c.execute(\"create table t(a)\"); c.commit()'",
        "python3 -c 'import sqlite3; c=sqlite3.connect(\"db\"); c.execute(\"insert into t values(1)\"); c.commit()'",
        &[("db", "modify", Cmd("python3 -c"))],
    ),
    row(
        "size and time put back",
        "text sly",
        "touch -r sly /run/t; printf X | dd of=sly bs=1 conv=notrunc status=none; touch -r /run/t sly",
        &[("sly", "modify", Cmd("touch -r"))],
    ),
    // The machine's own clock is not a test's to set. What an edit under a clock that was set back leaves in a file is this.
    row(
        "a time of long ago",
        "text old",
        "sed -i s/one/1/ old; touch -d 2001-01-01 old",
        &[("old", "modify", Cmd("touch -d"))],
    ),
    row("mv over it", "text mv", "echo new > /run/mv; mv /run/mv mv", &[("mv", "modify", Cmd("mv /run/mv"))]),
    row(
        "cp over it",
        "text over",
        "echo new > /run/over; cp /run/over over",
        &[("over", "modify", Cmd("cp /run/over"))],
    ),
    row("install", "text inst; chmod 644 inst", "install -m 600 sed inst", &[("inst", "modify", Cmd("install -m"))]),
    row(
        "rsync",
        "text rs; mkdir from; text from/rs; echo x >> from/rs",
        "rsync -a from/rs rs",
        &[("rs", "modify", Cmd("rsync -a"))],
    ),
    row(
        "one of two names",
        "text hard; ln hard hard2",
        "echo x >> hard2",
        &[("hard", "modify", Shell), ("hard2", "modify", Shell)],
    ),
    row(
        "copied and emptied",
        "text rot",
        "cp rot rot.1; : > rot",
        &[("rot", "modify", Shell), ("rot.1", "create", Cmd("cp rot"))],
    ),
    row(
        "two exchanged",
        "text x1 x2; echo x >> x2",
        "python3 -c 'import ctypes; ctypes.CDLL(None).renameat2(-100, b\"x1\", -100, b\"x2\", 2)'",
        &[("x1", "modify", Cmd("python3 -c")), ("x2", "modify", Cmd("python3 -c"))],
    ),
    // Metadata.
    row("chmod", "text mode", "chmod 600 mode", &[("mode", "metadata", Cmd("chmod"))]),
    row("chmod of a directory", "mkdir dmode", "chmod 700 dmode", &[("dmode", "metadata", Cmd("chmod"))]),
    row("chown", "text own", "chown nobody own", &[("own", "metadata", Cmd("chown"))]),
    row("setcap", "cp /bin/true cap", "setcap cap_net_raw+ep cap", &[("cap", "metadata", Cmd("setcap"))]),
    row("setfacl", "text acl", "setfacl -m u:nobody:r acl", &[("acl", "metadata", Cmd("setfacl"))]),
    row("setfattr", "text attr", "setfattr -n user.x -v y attr", &[("attr", "metadata", Cmd("setfattr"))]),
    row("chattr +i", "text fixed", "chattr +i fixed", &[("fixed", "metadata", Scan)]),
    row("touch", "text touch", "touch touch", &[("touch", "metadata", Cmd("touch touch"))]),
    // Names.
    row("cp -a", "text cp", "cp -a cp cp2", &[("cp2", "create", Cmd("cp -a"))]),
    row("cp --reflink", "text ref", "cp --reflink=auto ref ref2", &[("ref2", "create", Cmd("cp --reflink"))]),
    row("mkdir", "", "mkdir made", &[("made", "create", Cmd("mkdir"))]),
    row("mkfifo", "", "mkfifo pipe", &[("pipe", "create", Cmd("mkfifo"))]),
    row("rm", "text gone", "rm gone", &[("gone", "delete", Cmd("rm gone"))]),
    row("ln -sf", "ln -s one link", "ln -sfn two link", &[("link", "modify", Cmd("ln -sfn"))]),
    row("a file becomes a link", "text kind", "rm kind; ln -s mode kind", &[("kind", "replace", Cmd("ln -s"))]),
    row(
        "a directory emptied",
        "mkdir -p rd/sub; text rd/a rd/sub/b",
        "rm -r rd; mkdir rd",
        &[("rd/a", "delete", Cmd("rm -r")), ("rd/sub", "delete", Cmd("rm -r")), ("rd/sub/b", "delete", Cmd("rm -r"))],
    ),
    row(
        "a directory renamed",
        "mkdir ren; text ren/a",
        "mv ren ren2",
        &[
            ("ren", "delete", Cmd("mv ren")),
            ("ren/a", "delete", Cmd("mv ren")),
            ("ren2", "create", Cmd("mv ren")),
            ("ren2/a", "create", Cmd("mv ren")),
        ],
    ),
    row(
        "tar from a pipe",
        "mkdir -p t/d; text t/d/a t/b; tar -cf /srv/c.tar -C /srv/c/t .; rm -r t; mkdir t",
        "cat /srv/c.tar | tar -x -C t",
        &[("t/b", "create", Cmd("tar -x")), ("t/d", "create", Cmd("tar -x")), ("t/d/a", "create", Cmd("tar -x"))],
    ),
    row("a line end in a name", "", "touch $'a\\nb'", &[("a\nb", "create", Cmd("touch"))]),
    row("a process that is gone at once", "", "(: > bg &) ; sleep 0.01", &[("bg", "create", Shell)]),
    // The system.
    row(
        "a module among the system's",
        "",
        "echo 'x = 1' > /usr/lib/python3/dist-packages/mine.py",
        &[("/usr/lib/python3/dist-packages/mine.py", "create", Shell)],
    ),
    row("a package's file deleted", "", "rm /usr/bin/tac", &[("/usr/bin/tac", "delete", Cmd("rm /usr"))]),
    row(
        "a library overwritten",
        "cp -L /usr/lib/x86_64-linux-gnu/libsqlite3.so.0 /srv/lib.so",
        "cp /srv/lib.so /run/l; echo >> /run/l; mv /run/l $(readlink -f /usr/lib/x86_64-linux-gnu/libsqlite3.so.0)",
        &[("/usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6", "modify", Cmd("mv /run/l"))],
    ),
    row(
        "systemctl edit",
        "printf '#!/bin/sh\\nfor f; do :; done; printf \"[Service]\\\\nNice=3\\\\n\" > \"$f\"\\n' > editor; chmod 755 editor",
        "SYSTEMD_EDITOR=/srv/c/editor script -qec 'systemctl edit nftables.service' /dev/null",
        &[
            ("/etc/systemd/system/nftables.service.d", "create", Cmd("systemctl edit")),
            ("/etc/systemd/system/nftables.service.d/override.conf", "create", Cmd("systemctl edit")),
        ],
    ),
    beyond(
        row(
            "systemctl enable",
            "",
            "systemctl enable nftables.service",
            &[("/etc/systemd/system/sysinit.target.wants/nftables.service", "create", Systemd)],
        ),
        &[("unit", "nftables.service")],
    ),
    beyond(
        row(
            "systemctl mask",
            "",
            "systemctl mask e2scrub_reap.service",
            &[("/etc/systemd/system/e2scrub_reap.service", "create", Systemd)],
        ),
        &[("unit", "e2scrub_reap.service")],
    ),
    beyond(row("systemctl stop", "", "systemctl stop e2scrub_all.timer", &[]), &[("unit", "e2scrub_all.timer")]),
    beyond(
        row(
            "nft add",
            "",
            "nft add table inet mine; nft add chain inet mine c; nft add rule inet mine c tcp dport 81 drop",
            &[],
        ),
        &[
            ("firewall", "nftables: table inet mine"),
            ("firewall", "nftables: table inet mine, chain c"),
            ("firewall", "nftables: the nftables rules"),
        ],
    ),
    beyond(row("sysctl -w", "", "sysctl -qw net.ipv4.ip_forward=1", &[]), &[("sysctl", "net.ipv4.ip_forward")]),
    beyond(
        row(
            "crontab",
            "",
            "echo '0 5 * * * true' | crontab -",
            &[("/var/spool/cron/crontabs/root", "create", Cmd("crontab -"))],
        ),
        &[("cron", "/var/spool/cron/crontabs/root")],
    ),
    beyond(
        row("mount --bind", "mkdir bs bd; text bs/a", "mount --bind /srv/c/bs /srv/c/bd", &[("bd/a", "create", Scan)]),
        &[("mount", "/srv/c/bd")],
    ),
    beyond(
        row(
            "useradd",
            "",
            "useradd bob",
            &[
                ("/etc/group", "modify", Cmd("useradd")),
                ("/etc/gshadow", "modify", Cmd("useradd")),
                ("/etc/passwd", "modify", Cmd("useradd")),
                ("/etc/shadow", "modify", Cmd("useradd")),
                ("/etc/subgid", "modify", Cmd("useradd")),
                ("/etc/subuid", "modify", Cmd("useradd")),
            ],
        ),
        &[("user", "bob"), ("group", "bob")],
    ),
    beyond(
        row("chpasswd", "", "echo anna:secret | chpasswd", &[("/etc/shadow", "modify", Cmd("chpasswd"))]),
        &[("user", "anna")],
    ),
    beyond(
        row(
            "usermod -aG",
            "",
            "usermod -aG adm anna",
            &[
                ("/etc/group", "modify", Cmd("usermod")),
                ("/etc/gshadow", "modify", Cmd("usermod")),
                ("/etc/passwd", "modify", Cmd("usermod")),
                ("/etc/shadow", "modify", Cmd("usermod")),
            ],
        ),
        &[("group", "adm")],
    ),
    beyond(
        row(
            "groupadd",
            "",
            "groupadd ops",
            &[("/etc/group", "modify", Cmd("groupadd")), ("/etc/gshadow", "modify", Cmd("groupadd"))],
        ),
        &[("group", "ops")],
    ),
];
