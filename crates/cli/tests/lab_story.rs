//! The story on a real host: a booted Debian with its own systemd, Greenroom installed in it.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::Path;

use greenroom_testkit::lab::{Boot, Lab, LabHost, Output};
use serde_json::Value;

fn greenroom(host: &LabHost, args: &[&str]) -> Output {
    let mut command = vec!["greenroom"];
    command.extend(args);
    host.exec(&command).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.out()).unwrap_or_else(|_| panic!("no JSON:\n{}\n{}", output.out(), output.err()))
}

fn host_with_greenroom(lab: &Lab, name: &str) -> LabHost {
    let mut host = lab.host(name).unwrap();
    host.install_greenroom(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
    host.boot(&Boot::with_packages()).unwrap();
    host
}

fn is_active(host: &LabHost, unit: &str) -> bool {
    host.exec(&["systemctl", "is-active", unit]).unwrap().out().trim() == "active"
}

#[test]
fn a_package_is_rehearsed_applied_used_undone_and_redone() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let host = host_with_greenroom(&lab, "story");
    let tree = || host.exec_ok(&["ls", "/usr/sbin", "/etc"]).unwrap().out();
    let before = tree();

    let change = ["rehearse", "--json", "--test", "nginx -t", "--", "apt-get", "install", "-y", "nginx-light"];
    let rehearsed = greenroom(&host, &change);
    assert_eq!(rehearsed.code(), 0, "{}\n{}", rehearsed.out(), rehearsed.err());
    let record = json(&rehearsed);
    assert_eq!(record["verdict"], "ready");
    assert_eq!(record["undo_proven"], true);
    assert_eq!(record["booted"], true);
    assert!(record["entries"].as_u64().unwrap() > 50);
    assert_eq!(record["tests"][0]["before"], false);
    assert_eq!(record["tests"][0]["after"], true);
    let actions = record["actions"].to_string();
    assert!(actions.contains("nginx.service") && actions.contains("start"), "{actions}");
    assert_eq!(tree(), before, "the host was touched");

    let applied = greenroom(&host, &["apply", "--json", "r1"]);
    assert_eq!(applied.code(), 0, "{}\n{}", applied.out(), applied.err());
    assert_eq!(json(&applied)["outcome"], "applied");
    assert!(is_active(&host, "nginx"));
    assert_eq!(host.exec(&["systemctl", "is-enabled", "nginx"]).unwrap().out().trim(), "enabled");
    assert!(host.exec(&["dpkg", "--audit"]).unwrap().out().is_empty());

    let undone = greenroom(&host, &["undo", "--json", "c1"]);
    assert_eq!(undone.code(), 0, "{}\n{}", undone.out(), undone.err());
    assert!(!is_active(&host, "nginx"));
    assert_eq!(tree(), before);

    let redone = greenroom(&host, &["undo", "c2"]);
    assert_eq!(redone.code(), 0, "{}\n{}", redone.out(), redone.err());
    assert!(is_active(&host, "nginx"));
    let log = json(&greenroom(&host, &["log", "--json"]));
    let kinds: Vec<&str> = log["entries"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["rehearsal", "apply", "undo", "undo"]);
}

/// Works in a copy and fails on the host: it looks for what only the host has.
const PROBE: &str = "[Service]\\nType=oneshot\\nRemainAfterExit=yes\\n\
    ExecStart=/bin/sh -c \"test ! -e /run/only-on-the-host\"\\n[Install]\\nWantedBy=multi-user.target\\n";

#[test]
fn a_service_that_fails_after_apply_leads_to_undo() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let host = host_with_greenroom(&lab, "breaks");
    let prepare = format!("printf '{PROBE}' > /root/probe.service; touch /run/only-on-the-host");
    host.exec_ok(&["sh", "-c", &prepare]).unwrap();
    let change =
        "cp /root/probe.service /etc/systemd/system/ && systemctl daemon-reload && systemctl enable --now probe";
    let rehearsed = greenroom(&host, &["rehearse", "--json", "--", "sh", "-c", change]);
    assert_eq!(json(&rehearsed)["verdict"], "ready", "{}", rehearsed.out());
    let applied = greenroom(&host, &["apply", "--json", "r1"]);
    assert_eq!(applied.code(), 1, "{}\n{}", applied.out(), applied.err());
    assert_eq!(json(&applied)["outcome"], "taken back");
    assert!(!host.exec(&["test", "-e", "/etc/systemd/system/probe.service"]).unwrap().ok());

    let marker = greenroom(&host, &["rehearse", "--json", "--", "sh", "-c", "echo x > /etc/marker"]);
    assert_eq!(json(&marker)["verdict"], "ready");
    let applied = greenroom(&host, &["apply", "--json", "--health", "test ! -e /etc/marker", "r2"]);
    assert_eq!(applied.code(), 1);
    assert!(!host.exec(&["test", "-e", "/etc/marker"]).unwrap().ok());
}

#[test]
fn an_edit_in_between_is_refused_by_name() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let host = host_with_greenroom(&lab, "edit");
    let change = "echo 'PermitRootLogin no' >> /etc/ssh/sshd_config; systemctl reload ssh";
    let rehearsed = greenroom(&host, &["rehearse", "--json", "--", "sh", "-c", change]);
    assert_eq!(rehearsed.code(), 0, "{}\n{}", rehearsed.out(), rehearsed.err());
    assert!(json(&rehearsed)["actions"].to_string().contains("reload"), "{}", rehearsed.out());
    // The same size, the same time, other content.
    let edit = "cd /etc/ssh; touch -r sshd_config /root/t; sed -i 's/^#Port 22/#Port 23/' sshd_config; touch -r /root/t sshd_config";
    host.exec_ok(&["sh", "-c", edit]).unwrap();
    let applied = greenroom(&host, &["apply", "--json", "r1"]);
    assert_eq!(applied.code(), 3, "{}", applied.err());
    assert_eq!(json(&applied)["conflicts"][0]["path"], "/etc/ssh/sshd_config");
    assert!(!host.exec_ok(&["cat", "/etc/ssh/sshd_config"]).unwrap().out().contains("\nPermitRootLogin no\n"));
}
