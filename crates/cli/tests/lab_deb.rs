//! The Debian package, made of the program under test: installed, used, removed and purged on a real host.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use greenroom_testkit::lab::{Boot, Lab};
use greenroom_testkit::need_root;

/// What is left of Greenroom on a host, by name; volatile places and the package itself aside.
const LEFT: &str = "find / -xdev -iname '*greenroom*' -not -path '/proc/*' -not -path '/var/log/*' -not -path '/tmp/*' \
     -not -path '/run/*' -not -path '/root/*'; systemctl list-units --all --no-legend 'greenroom*'";

/// Made of the program under test; or the one that is named, for a release whose libraries are older than those of this machine.
fn package(dir: &Path) -> std::path::PathBuf {
    if let Some(made) = std::env::var_os("GREENROOM_TEST_DEB") {
        return made.into();
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut xtask = Command::new(env!("CARGO"));
    xtask.args(["xtask", "deb", "--binary", env!("CARGO_BIN_EXE_greenroom"), "--out"]).arg(dir);
    // What cargo says to this test is not for another cargo: build scripts that look at it would all run again.
    let told = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("CARGO_"));
    for name in told.filter(|name| name != "CARGO_HOME" && name != "CARGO_TARGET_DIR") {
        xtask.env_remove(name);
    }
    assert!(xtask.current_dir(repository).status().unwrap().success());
    let mut found = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.extension().is_some_and(|ext| ext == "deb")).unwrap()
}

#[test]
fn the_package_is_installed_used_and_gone() {
    need_root!();
    let dir = tempfile::tempdir().unwrap();
    let deb = package(dir.path());
    let lab = Lab::new().unwrap();
    let mut host = lab.host("deb1").unwrap();
    host.boot(&Boot::with_packages()).unwrap();
    let sh = |script: &str| host.exec_ok(&["sh", "-euc", script]).unwrap().out();
    let before = sh(LEFT);
    fs::copy(&deb, host.path("/root/greenroom.deb")).unwrap();
    let install = "DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends /root/greenroom.deb 2>&1";
    sh(install);
    assert_eq!(sh("greenroom --version").trim(), concat!("greenroom ", env!("CARGO_PKG_VERSION")));
    assert!(host.exec(&["greenroom", "doctor"]).unwrap().ok(), "{}", host.exec(&["greenroom", "doctor"]).unwrap());
    assert_eq!(sh("dpkg --verify greenroom; dpkg -s greenroom | grep Conffiles || true"), "");
    // Its units are known to systemd, sound, and not started by the installation.
    for unit in ["agent", "watch", "serve", "scrub"].map(|name| format!("greenroom-{name}.service")) {
        let state = host.exec(&["systemctl", "is-enabled", &unit]).unwrap();
        let wanted = if unit.contains("scrub") { "static" } else { "disabled" };
        assert_eq!(state.out().trim(), wanted, "{unit}");
        assert_eq!(sh(&format!("systemd-analyze verify --man=no {unit} 2>&1 | grep {unit} || true")), "");
    }
    assert_eq!(sh("pgrep -x greenroom || true"), "");
    // The host's services are the package's own, not copies of them.
    sh("greenroom install && systemctl is-active greenroom-watch greenroom-scrub.timer");
    assert_eq!(sh("ls /etc/systemd/system | grep '^greenroom' || true"), "");
    assert!(sh("systemctl show -p FragmentPath greenroom-watch").contains("/lib/systemd/system/"));
    assert!(
        sh("man -w greenroom-apply 2>/dev/null || ls /usr/share/man/man1/greenroom-apply.1.gz")
            .contains("greenroom-apply")
    );
    // Once more over itself: what runs goes on with the new program.
    sh("dpkg -i /root/greenroom.deb && systemctl is-active greenroom-watch");
    sh("apt-get remove -qy greenroom 2>&1");
    assert_eq!(sh("pgrep -x greenroom || true; ls -A /etc/systemd/system/*.wants | grep greenroom || true"), "");
    assert!(host.path("/var/lib/greenroom/ledger").exists(), "the ledger stays until the purge");
    sh("apt-get purge -qy greenroom 2>&1");
    assert_eq!(sh(LEFT), before);
    assert!(!host.exec(&["dpkg", "-s", "greenroom"]).unwrap().ok());
}
