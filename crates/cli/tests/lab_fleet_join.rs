//! The ways in for hosts that the operator does not reach directly: through another host, and by themselves on their first boot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fleet;

use fleet::World;
use greenroom_testkit::lab::{Boot, Fleet, Lab};
use greenroom_testkit::need_root;

/// The stages of cloud-init, as its units run them at the first boot.
const CLOUD_INIT: &str = "set -e
    cloud-init init --local
    cloud-init init
    cloud-init modules --mode=config
    cloud-init modules --mode=final";

#[test]
fn hosts_come_in_through_a_jump_host_and_by_cloud_init() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut fleet = Fleet::new(&lab).unwrap();
    fleet.add("gate").unwrap();
    fleet.add_behind("inner", "gate").unwrap();
    fleet.add("fresh").unwrap();
    fleet.boot(&Boot::with_packages()).unwrap();
    let world = World::with_one(&lab, fleet);

    let joined = world.done(&["join", "root@inner"]);
    assert!(joined.out().contains("inner is in touch"), "{joined}");
    assert!(world.done(&["join", "root@inner"]).out().contains("in touch already"));

    // What a cloud's machine image has, and what the cloud gives to a machine at its first boot.
    let fresh = world.fleet.host("fresh").unwrap();
    let install = "apt-get -qq update && apt-get -qq -y --no-install-recommends install cloud-init >/dev/null";
    fresh.exec_ok(&["sh", "-c", install]).unwrap();
    let data = world.done(&["join", "root@fresh", "--cloud-init"]).out();
    let seed = fresh.path("var/lib/cloud/seed/nocloud");
    std::fs::create_dir_all(&seed).unwrap();
    std::fs::write(seed.join("user-data"), &data).unwrap();
    std::fs::write(seed.join("meta-data"), "instance-id: one\nlocal-hostname: fresh\n").unwrap();
    let only = "datasource_list: [NoCloud]\nnetwork: {config: disabled}\npreserve_hostname: true\nlocale: false\n";
    std::fs::write(fresh.path("etc/cloud/cloud.cfg.d/99-lab.cfg"), only).unwrap();
    let began = fresh.exec(&["sh", "-c", CLOUD_INIT]).unwrap();
    assert!(began.ok(), "{began}");
    world.until("fresh has let itself in", |world| {
        let hosts = world.hosts(0);
        hosts.iter().filter(|host| host["in_touch"] == true).count() == 2
    });
    // The program is the control plane's own, and the invitation is gone.
    assert_eq!(std::fs::read(fresh.path("usr/local/bin/greenroom")).unwrap(), std::fs::read(fleet::GREENROOM).unwrap());
    assert!(!fresh.exec(&["test", "-e", "/run/greenroom-join"]).unwrap().ok());
    let status = world.json(&["status", "--on", "fresh", "--json"]);
    assert!(status["watch"]["running"] == true && status["paths"].as_u64() > Some(1000), "{status}");
}
