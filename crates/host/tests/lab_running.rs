//! Looks at a real host from inside, as `greenroom status` takes them: what was done is told exactly, with what keeps it, and
//! nothing else is.
#![allow(clippy::unwrap_used, reason = "a test ends with what was unexpected")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use greenroom_core::drift::runtime::{Facts, RuntimeDrift, compare, deviations};
use greenroom_host::facts::look;
use greenroom_testkit::lab::{Boot, Lab, LabHost};

/// Where a look is left, when this program runs in a lab host.
const LEAVE: &str = "LOOK_LEFT_AT";

/// Taken on whatever runs the tests; in a lab host by [`look_in`].
#[test]
fn a_look_at_this_machine() {
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let facts = look(Path::new("/")).unwrap();
        quickest = quickest.min(start.elapsed());
        let running = facts.running.as_ref().unwrap();
        assert!(!running.boot.is_empty() && !running.kernel.release.is_empty() && !running.sysctl.is_empty());
        if let Ok(path) = std::env::var(LEAVE) {
            fs::write(path, serde_json::to_vec(&facts).unwrap()).unwrap();
        }
    }
    println!("a look took {quickest:?}");
    // Half a machine that runs other tests too.
    assert!(quickest < Duration::from_secs(2), "{quickest:?}");
    assert!(look(&std::env::temp_dir()).unwrap().running.is_none());
}

/// Runs this very program in the host, outside its units: a unit for it would be a change.
fn look_in(host: &LabHost) -> Facts {
    let leader = host.leader().unwrap().to_string();
    let program = host.path("/usr/local/bin/look");
    if !program.exists() {
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    }
    let mut command = Command::new("nsenter");
    command.args(["-t", &leader, "-a", "--", "env", "-i", &format!("{LEAVE}=/run/look"), "PATH=/usr/sbin:/usr/bin"]);
    let output =
        command.args(["/usr/local/bin/look", "--exact", "a_look_at_this_machine", "--nocapture"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", String::from_utf8_lossy(&output.stdout).lines().find(|l| l.starts_with("a look")).unwrap());
    serde_json::from_slice(&fs::read(format!("/proc/{leader}/root/run/look")).unwrap()).unwrap()
}

/// Looks until two looks are the same: a service that was just started may still be starting.
fn settled(host: &LabHost) -> Facts {
    let until = Instant::now() + Duration::from_secs(20);
    let mut last = look_in(host);
    loop {
        thread::sleep(Duration::from_millis(200));
        let now = look_in(host);
        if compare(&last, &now).is_empty() || Instant::now() > until {
            return now;
        }
        last = now;
    }
}

fn sh(host: &LabHost, script: &str) {
    let leader = host.leader().unwrap().to_string();
    let output = Command::new("nsenter").args(["-t", &leader, "-a", "--", "sh", "-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn told(drift: &[RuntimeDrift]) -> Vec<String> {
    let lasts = |d: &RuntimeDrift| if d.lasting { "lasts" } else { "passes" };
    let one = |d: &RuntimeDrift| format!("{} {}: {}", d.kind.words(), lasts(d), d.detail);
    drift.iter().map(|d| one(d).replace("/usr/lib/x86_64-linux-gnu/", "LIB/")).collect()
}

#[test]
fn an_idle_host_is_the_same_also_after_a_boot() {
    greenroom_testkit::need_root!();
    let mut host = Lab::new().unwrap().host("idle").unwrap();
    let before_boot = look(host.root()).unwrap();
    assert!(before_boot.running.is_none());
    host.boot(&Boot::isolated()).unwrap();
    let first = settled(&host);
    let running = first.running.as_ref().unwrap();
    assert_eq!(running.gaps, Vec::<String>::new());
    assert!(running.units["cron.service"].active == "active" && running.container);
    assert!(
        running.ports.iter().any(|p| p.port == 22 && p.unit.as_deref() == Some("ssh.service")),
        "{:?}",
        running.ports
    );
    assert_eq!(told(&deviations(&first)), Vec::<String>::new());
    thread::sleep(Duration::from_secs(3));
    assert_eq!(told(&compare(&first, &look_in(&host))), Vec::<String>::new());
    host.poweroff().unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let later = settled(&host);
    assert_ne!(later.running.as_ref().unwrap().boot, running.boot);
    assert_eq!(told(&compare(&first, &later)), Vec::<String>::new());
}

/// Each deed with what must be told of it against the look before, and nothing else.
const DEEDS: &[(&str, &[&str])] = &[
    (
        "nft add table inet t; nft 'add chain inet t c'; nft add rule inet t c tcp dport 81 drop",
        &[
            "firewall passes: `chain c` in table inet t is new and no file loads it: boot takes it back",
            "firewall passes: `tcp dport 81 drop` in table inet t, chain c is new and no file loads it: boot takes it back",
            "firewall passes: `table inet t` in the nftables rules is new and no file loads it: boot takes it back",
        ],
    ),
    (
        "printf 'flush ruleset\ntable inet t { chain c { tcp dport 81 drop; }; }\n' >/etc/nftables.conf; systemctl enable -q nftables",
        &["units lasts: nftables.service was enabled: boot starts it"],
    ),
    (
        "nft add rule inet t c tcp dport 82 drop",
        &[
            "firewall passes: `tcp dport 82 drop` in table inet t, chain c is new; /etc/nftables.conf says otherwise, and boot loads that",
        ],
    ),
    (
        "sysctl -qw net.ipv4.ip_forward=1",
        &["kernel parameters passes: net.ipv4.ip_forward is 1, it was 0; no file sets it: boot takes it back"],
    ),
    ("echo 'net.ipv4.ip_forward = 1' >/etc/sysctl.d/90-fw.conf", &[]),
    (
        "sysctl -qw net.ipv4.conf.all.log_martians=1",
        &[
            "kernel parameters passes: net.ipv4.conf.all.log_martians is 1, it was 0; no file sets it: boot takes it back",
        ],
    ),
    (
        "echo 'net.ipv4.conf.all.log_martians = 0' >>/etc/sysctl.d/90-fw.conf",
        &[
            "kernel parameters passes: net.ipv4.conf.all.log_martians is 1, but /etc/sysctl.d/90-fw.conf says 0 and sets that at boot",
        ],
    ),
    (
        "hostname other",
        &[
            "kernel parameters passes: kernel.hostname is other, it was deeds; /etc/hostname says deeds and sets that at boot",
        ],
    ),
    ("systemctl stop cron", &["units passes: cron.service does not run but is enabled: the next boot starts it"]),
    (
        "systemctl start cron; systemctl disable -q cron",
        &[
            "units lasts: cron.service was disabled: boot does not start it any more",
            "units passes: cron.service runs but is disabled: nothing starts it at boot",
        ],
    ),
    (
        "systemctl mask -q systemd-timesyncd",
        &["units lasts: systemd-timesyncd.service was masked: it can't be started"],
    ),
    (
        "useradd -m -s /bin/bash mallory",
        &["users lasts: the user mallory (uid 1000) was added", "groups lasts: the group mallory (gid 1000) was added"],
    ),
    (
        "usermod -aG sudo mallory; echo mallory:x | chpasswd",
        &["users lasts: the user mallory has another password", "groups lasts: mallory joined the group sudo"],
    ),
    (
        "systemd-run -q --unit=listener /usr/bin/perl -MIO::Socket -e \
         '$$s=IO::Socket::INET->new(LocalAddr=>\"127.0.0.1:8099\",Listen=>1); sleep 1e6'; sleep 1",
        &[
            "units passes: listener.service runs and no file describes it: it does not outlive this boot",
            "ports passes: perl (listener.service) listens on tcp 127.0.0.1:8099; nothing starts it at boot",
        ],
    ),
    (
        "mount -t tmpfs -o noexec none /mnt",
        &["mounts passes: none (tmpfs, noexec) is on /mnt and no file mounts it: boot takes it back"],
    ),
    (
        "echo 'none /srv tmpfs nosuid 0 0' >>/etc/fstab",
        &["mounts passes: /etc/fstab mounts /srv at boot, and it is not mounted"],
    ),
    ("mount /srv", &["mounts lasts: none (tmpfs, nosuid) is on /srv; /etc/fstab mounts it at boot"]),
    (
        "echo '*/5 * * * * /usr/local/bin/sync --token=hunter2' | crontab -",
        &["cron lasts: `*/5 * * * * /usr/local/bin/sync …` was added to /var/spool/cron/crontabs/root"],
    ),
    (
        "echo 'GRUB_CMDLINE_LINUX=\"mitigations=off\"' >/etc/default/grub",
        &["kernel lasts: /etc/default/grub gives the kernel other parameters at boot"],
    ),
    // Written over in place: the inode is the same, and so is the path.
    (
        "f=$(ls /usr/lib/*/libcrypto.so.3); cat $f >/root/x; cp /root/x $f",
        &[
            "processes passes: systemd still runs the old LIB/libcrypto.so.3 (libssl3), which was replaced: \
             `systemctl daemon-reexec` starts it again",
            "processes passes: sshd in ssh.service still runs the old LIB/libcrypto.so.3 (libssl3), which was replaced: \
             `systemctl restart ssh.service`",
            "processes passes: systemd-journal in systemd-journald.service still runs the old LIB/libcrypto.so.3 (libssl3), which \
             was replaced: `systemctl restart systemd-journald.service`",
            "processes passes: systemd-logind in systemd-logind.service still runs the old LIB/libcrypto.so.3 (libssl3), which \
             was replaced: `systemctl restart systemd-logind.service`",
        ],
    ),
    ("systemctl restart ssh; sleep 1", &[]),
    (
        "cp -p /usr/sbin/cron /usr/sbin/cron.new; mv /usr/sbin/cron.new /usr/sbin/cron",
        &["processes passes: cron in cron.service still runs the old /usr/sbin/cron (cron), which was replaced: \
           `systemctl restart cron.service`"],
    ),
    (
        "systemctl stop ssh.socket ssh.service 2>/dev/null || systemctl stop ssh",
        &[
            "units passes: ssh.service does not run but is enabled: the next boot starts it",
            "ports passes: nobody listens on tcp 0.0.0.0:22 any more; sshd (ssh.service) did",
            "ports passes: nobody listens on tcp [::]:22 any more; sshd (ssh.service) did",
        ],
    ),
];

#[test]
fn each_deed_is_told_and_nothing_else_and_boot_takes_back_what_it_was_said_to() {
    greenroom_testkit::need_root!();
    let mut host = Lab::new().unwrap().host("deeds").unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let base = settled(&host);
    let mut last = base.clone();
    let mut wrong = Vec::new();
    for (deed, expected) in DEEDS {
        sh(&host, deed);
        let now = look_in(&host);
        let found = told(&compare(&last, &now));
        if found != *expected {
            wrong.push(format!("{deed}\n    {}", found.join("\n    ")));
        }
        last = now;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The judge of "lasts" and "passes" is a boot.
    let key = |d: &RuntimeDrift| (d.kind, d.item.clone(), d.after.clone());
    let lasting: Vec<_> = compare(&base, &last).iter().filter(|d| d.lasting).map(key).collect();
    host.poweroff().unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let left = compare(&base, &settled(&host));
    let found: Vec<_> = left.iter().map(key).collect();
    let gone: Vec<_> = lasting.iter().filter(|item| !found.contains(item)).collect();
    // That a unit does not run follows from that it was disabled, which was said.
    let said = |d: &&RuntimeDrift| lasting.iter().any(|(kind, item, _)| (*kind, item) == (d.kind, &d.item));
    let stayed: Vec<_> = left.iter().filter(|d| !said(d)).collect();
    assert!(
        gone.is_empty() && stayed.is_empty(),
        "said to last, and gone: {gone:#?}\nsaid to pass, and there: {stayed:#?}"
    );
}
