//! `init` on a real host: what runs there is what is written.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::Path;

use greenroom_testkit::lab::{Boot, Lab};
use serde_json::Value;

#[test]
fn what_runs_on_a_host_is_declared() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("declared").unwrap();
    host.install_greenroom(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
    host.boot(&Boot::with_packages()).unwrap();
    host.exec_ok(&["apt-get", "install", "-y", "nginx-light", "redis-server"]).unwrap();
    let unit = "[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n";
    let own =
        format!("printf '{unit}' > /etc/systemd/system/shop-worker.service && systemctl enable --now shop-worker");
    host.exec_ok(&["sh", "-c", &own]).unwrap();
    let ssh = "mkdir -p /root/.ssh /srv/shop && printf 'Host web2\\n  HostName 10.9.9.9\\n' > /root/.ssh/config";
    host.exec_ok(&["sh", "-c", ssh]).unwrap();
    let addresses = host.exec_ok(&["hostname", "-I"]).unwrap().out();

    let written = host.exec_ok(&["sh", "-c", "cd /srv/shop && HOME=/root greenroom init --json"]).unwrap();
    let written: Value = serde_json::from_str(&written.out()).unwrap();
    let units = ["nginx.service", "redis-server.service", "shop-worker.service"];
    assert_eq!(written["units"], serde_json::json!(units), "{written}");
    assert_eq!(written["suggested"], serde_json::json!(["web2"]));
    assert_eq!((&written["system"], &written["gaps"]), (&"shop".into(), &serde_json::json!([])));
    let address = written["address"].as_str().unwrap();
    assert!(addresses.split_whitespace().any(|own| own == address), "{address} is not among {addresses}");

    let check = "cd /srv/shop && greenroom check --json";
    let checked: Value = serde_json::from_str(&host.exec_ok(&["sh", "-c", check]).unwrap().out()).unwrap();
    assert_eq!(checked["unversioned"], "git is not installed");
    let services = checked["system"]["services"].as_array().unwrap();
    let probe = |at: usize| services[at]["health"][0]["probe"].clone();
    assert_eq!(probe(0), serde_json::json!({ "tcp": { "host": "127.0.0.1", "port": 80 } }));
    assert_eq!(probe(1), serde_json::json!({ "tcp": { "host": "127.0.0.1", "port": 6379 } }));
    assert_eq!(probe(2), serde_json::json!({ "unit": { "unit": "shop-worker.service" } }));
}
