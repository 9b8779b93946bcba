//! Drift on a real host: a booted Debian on which packages are upgraded, by hand and by unattended-upgrades, without Greenroom.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::Path;

use greenroom_testkit::lab::{Boot, Lab, LabHost, Output};
use serde_json::Value;

fn greenroom(host: &LabHost, args: &[&str]) -> Output {
    let mut command = vec!["greenroom"];
    command.extend(args);
    host.exec(&command).unwrap()
}

fn json(host: &LabHost, args: &[&str], code: i32) -> Value {
    let output = greenroom(host, args);
    assert_eq!(output.code(), code, "{args:?}\n{}\n{}", output.out(), output.err());
    serde_json::from_str(&output.out()).unwrap_or_else(|_| panic!("no JSON:\n{}\n{}", output.out(), output.err()))
}

fn sh(host: &LabHost, script: &str) -> String {
    host.exec_ok(&["sh", "-c", script]).unwrap().out()
}

/// The title of the one group that there is.
fn only_group(status: &Value) -> (String, String) {
    let groups = status["groups"].as_array().unwrap();
    let [group] = groups.as_slice() else {
        let loose: Vec<String> =
            groups.iter().map(|g| format!("{} ({})", g["title"].as_str().unwrap(), g["paths"])).collect();
        panic!("{} groups: {loose:#?}", groups.len());
    };
    (group["id"].as_str().unwrap().to_owned(), group["title"].as_str().unwrap().to_owned())
}

fn version(host: &LabHost) -> String {
    sh(host, "dpkg-query -W nginx-light").trim().to_owned()
}

/// What the files are, of all places that packages write.
fn picture(host: &LabHost) -> String {
    sh(
        host,
        "find /usr /etc /var/lib/dpkg -xdev \\( -type f -o -type l \\) ! -name '*-old' ! -name lock ! -name lock-frontend \
        ! -path '/var/lib/dpkg/updates/*' ! -path '/var/lib/dpkg/triggers/Lock' -printf '%p %y %m %U %G %s %T@ %l\\n' | sort",
    )
}

const UNATTENDED: &str = r#"cat > /etc/apt/apt.conf.d/52ours <<'END'
Unattended-Upgrade::Package-Whitelist { "nginx"; "libnginx"; };
Unattended-Upgrade::Package-Whitelist-Strict "true";
Unattended-Upgrade::MinimalSteps "false";
Unattended-Upgrade::Origins-Pattern { "origin=Debian"; };
END"#;

#[test]
fn an_upgrade_of_packages_is_one_drift_adopted_or_reverted_as_one() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("drift").unwrap();
    host.install_greenroom(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
    host.boot(&Boot::with_packages()).unwrap();
    sh(
        &host,
        "apt-get install -y -t bookworm nginx-light; apt-get install -y --no-install-recommends unattended-upgrades",
    );
    sh(&host, UNATTENDED);
    let old = version(&host);
    let first = json(&host, &["status", "--json"], 0);
    assert_eq!((&first["drift"], &first["runtime"]), (&serde_json::json!([]), &serde_json::json!([])), "{first:#}");
    let released = picture(&host);

    // By a person.
    sh(&host, "apt-get install -y nginx-light");
    let new = version(&host);
    assert_ne!(old, new, "the mirror has one version only");
    let status = json(&host, &["status", "--json"], 0);
    let (id, title) = only_group(&status);
    assert!(title.contains("nginx-light") && title.contains("by apt-get"), "{title}");
    assert!(status["drift"].as_array().unwrap().len() > 10);
    let upgraded = picture(&host);
    let reverted = json(&host, &["revert", "--json", "--group", &id], 0);
    assert_eq!(reverted["outcome"], "reverted");
    assert!(reverted["restarted"].to_string().contains("nginx.service"), "{reverted:#}");
    assert_eq!(version(&host), old);
    assert_eq!(picture(&host), released);
    assert!(sh(&host, "dpkg --audit; dpkg -V nginx-light nginx-common").is_empty());
    let status = json(&host, &["status", "--json"], 0);
    assert_eq!((&status["drift"], &status["runtime"]), (&serde_json::json!([]), &serde_json::json!([])), "{status:#}");
    json(&host, &["undo", "--json", "c1"], 0);
    assert_eq!((version(&host), picture(&host)), (new.clone(), upgraded));
    json(&host, &["undo", "--json", "c2"], 0);

    // By the timer's program.
    sh(&host, "unattended-upgrade -v");
    assert_eq!(version(&host), new);
    sh(&host, "echo '# by hand' >> /etc/nginx/nginx.conf");
    let status = json(&host, &["status", "--json"], 0);
    let groups: Vec<&str> = status["groups"].as_array().unwrap().iter().map(|g| g["title"].as_str().unwrap()).collect();
    assert_eq!(groups.len(), 2, "{groups:#?}");
    let upgrade = groups.iter().find(|title| title.contains("nginx-light")).unwrap();
    assert!(upgrade.contains("by unattended-upgrades"), "{upgrade}");
    assert!(groups.iter().any(|title| title.starts_with("/etc/nginx/nginx.conf modified")), "{groups:#?}");
    let adopted = json(&host, &["adopt", "--json", "--all", "-m", "security"], 0);
    assert_eq!(adopted["no_way_back"], Value::Null, "{adopted:#}");
    let status = json(&host, &["status", "--json"], 0);
    assert_eq!((&status["drift"], &status["runtime"]), (&serde_json::json!([]), &serde_json::json!([])), "{status:#}");
    json(&host, &["undo", "--json", "c4"], 0);
    assert_eq!((version(&host), picture(&host)), (old, released));
}
