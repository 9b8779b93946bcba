//! The watch as a service of a real host: set up, killed, kept from what it needs, removed.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::Path;
use std::time::{Duration, Instant};

use greenroom_core::drift::Actor;
use greenroom_host::watch::{Attribution, Event, Log, MarkKind, State};
use greenroom_testkit::lab::{Boot, Lab, LabHost};

const UNIT: &str = "greenroom-watch.service";

fn sh(host: &LabHost, script: &str) -> String {
    let done = host.exec(&["bash", "-c", script]).unwrap();
    assert_eq!(done.code(), 0, "{script}\n{}\n{}", done.out(), done.err());
    done.out()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The last event of a path, as a reader of the tree sees it.
fn event(host: &LabHost, path: &str) -> Event {
    wait_for(path, || Log::read(host.root(), None).unwrap().of(&path.into()).last().cloned())
}

fn actor(host: &LabHost, path: &str) -> Actor {
    event(host, path).actor.unwrap()
}

fn marks(host: &LabHost) -> Vec<MarkKind> {
    Log::read(host.root(), None).unwrap().marks().iter().map(|mark| mark.mark).collect()
}

#[test]
fn the_services_are_set_up_survive_and_leave_nothing() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("watched").unwrap();
    host.install_greenroom(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let listing = || sh(&host, "find /etc -not -name '*.lock' | sort");
    let before = listing();

    // Set up, twice.
    let first = sh(&host, "greenroom install");
    assert_eq!(first.lines().filter(|line| line.starts_with("written")).count(), 5, "{first}");
    assert_eq!(first.lines().filter(|line| line.starts_with("started")).count(), 2, "{first}");
    let again = sh(&host, "greenroom install");
    assert!(again.lines().all(|line| line.starts_with("unchanged")), "{again}");
    sh(&host, &format!("systemctl is-active {UNIT} greenroom-scrub.timer && systemctl is-enabled {UNIT}"));
    sh(&host, "systemd-analyze verify --man=no /etc/systemd/system/greenroom-*");

    // What it says it can do, it does: also for who is gone at once.
    let state = State::read(host.root()).unwrap().unwrap();
    assert_eq!(
        (state.attribution, &state.places[..], &state.limits[..]),
        (Attribution::Traced, &["/".to_owned()][..], &[][..])
    );
    sh(&host, "sed -i s/lab/lab/ /etc/hostname; runuser -u nobody -- touch /var/opt/x 2>/dev/null || touch /var/opt/x");
    assert_eq!(actor(&host, "/etc/hostname").command.as_deref(), Some("sed -i s/lab/lab/ /etc/hostname"));
    assert!(actor(&host, "/etc/hostname").unit.unwrap().starts_with("lab-command-"));
    let refused = host.exec(&["greenroom", "watch"]).unwrap();
    assert_eq!(refused.code(), 3, "{}", refused.err());
    assert!(refused.err().contains("runs already"), "{}", refused.err());

    // Killed, it starts again and says that it was away; stopped, it ends in order.
    sh(&host, &format!("systemctl kill -s KILL {UNIT}; touch /etc/unseen"));
    wait_for("the restart", || (marks(&host) == [MarkKind::Started; 2]).then_some(()));
    sh(&host, "touch /etc/seen; :");
    assert!(actor(&host, "/etc/seen").command.unwrap().starts_with("touch"));
    assert!(Log::read(host.root(), None).unwrap().of(&"/etc/unseen".into()).is_empty());
    sh(&host, &format!("systemctl stop {UNIT}; systemctl show -P Result {UNIT} | grep -x success"));
    assert_eq!(marks(&host), [MarkKind::Started, MarkKind::Started, MarkKind::Stopped]);
    sh(&host, &format!("systemctl start {UNIT}"));

    // A rehearsal is of the host's own services, not of Greenroom's.
    let rehearsed = host.exec(&["greenroom", "rehearse", "--json", "--", "touch", "/etc/new"]).unwrap();
    assert_eq!(rehearsed.code(), 0, "{}\n{}", rehearsed.out(), rehearsed.err());
    assert!(!rehearsed.out().contains("greenroom-watch"), "{}", rehearsed.out());

    let removed = sh(&host, "rm /etc/unseen /etc/seen; greenroom uninstall");
    assert_eq!(removed.lines().filter(|line| line.starts_with("removed")).count(), 5, "{removed}");
    assert_eq!(sh(&host, "greenroom uninstall"), "nothing was installed");
    assert_eq!(listing(), before);
    assert_eq!(State::read(host.root()).unwrap(), None);
}

#[test]
fn what_a_container_forbids_is_said_and_the_rest_still_works() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("forbids").unwrap();
    host.install_greenroom(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let start = |unit: &str, filter: &str| {
        let run = format!("systemd-run -q --unit {unit} -p Type=notify -p SystemCallErrorNumber=EPERM -p {filter}");
        host.exec(&["bash", "-c", &format!("{run} greenroom watch")]).unwrap()
    };

    // Without eBPF: who is still there is known.
    assert_eq!(start("no-bpf", "SystemCallFilter=~bpf").code(), 0);
    let state = State::read(host.root()).unwrap().unwrap();
    assert_eq!(state.attribution, Attribution::Looked);
    assert!(state.limits[0].contains("no eBPF here"), "{:?}", state.limits);
    sh(&host, "echo x > /etc/lives; sleep 0.5; :");
    assert!(actor(&host, "/etc/lives").command.unwrap().contains("sleep 0.5"));
    sh(&host, "for n in $(seq 50); do touch /etc/gone$n; done");
    for number in 1..=50 {
        // Whoever is named did it; nobody else is.
        let named = event(&host, &format!("/etc/gone{number}")).actor.and_then(|actor| actor.command);
        let fits = |command: &String| command == &format!("touch /etc/gone{number}") || command.starts_with("bash -c");
        assert!(named.as_ref().is_none_or(fits), "{named:?}");
    }
    sh(&host, "systemctl stop no-bpf");

    // Without fanotify, or its file handles: nothing, and it says so.
    for (unit, filter) in [
        ("no-fan", "SystemCallFilter=~fanotify_init"),
        ("no-cap", "CapabilityBoundingSet=~CAP_SYS_ADMIN"),
        ("no-names", "SystemCallFilter=~open_by_handle_at"),
    ] {
        assert_ne!(start(unit, filter).code(), 0, "{filter}");
        let told = sh(&host, &format!("journalctl -q --no-pager -u {unit}"));
        assert!(told.contains("error: the host cannot be watched") && told.contains("hint: "), "{filter}: {told}");
    }
    assert_eq!(State::read(host.root()).unwrap(), None);
}
