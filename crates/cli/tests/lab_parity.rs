//! Parity on real hosts: production has a patched libssl, and QA does not.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use greenroom_testkit::lab::{Boot, Lab, LabHost};
use serde_json::Value;

const LIBSSL: &str = "usr/lib/x86_64-linux-gnu/libssl.so.3";

/// Runs the program on this machine.
fn greenroom(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.arg("--state").arg(dir.join("state")).args(args).current_dir(dir).output().unwrap()
}

fn diff(dir: &Path, a: &str, b: &str) -> Value {
    let output = greenroom(dir, &["diff", "--json", a, b]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The manifest that a running host writes of itself.
fn manifest(host: &LabHost, dir: &Path, name: &str) -> PathBuf {
    host.exec_ok(&["sh", "-c", "greenroom manifest > /root/own.manifest"]).unwrap();
    let to = dir.join(format!("{name}.manifest"));
    std::fs::rename(host.path("/root/own.manifest"), &to).unwrap();
    to
}

/// What a manifest says of a library.
fn library(manifest: &Path, name: &str) -> Value {
    let text = std::fs::read_to_string(manifest).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.into_iter().find(|record| record["library"]["name"] == name).unwrap()["library"].clone()
}

/// What is listed.
fn lines(report: &Value) -> Vec<String> {
    let one = |d: &Value| format!("{} {} {}", d["weight"], d["kind"].as_str().unwrap(), d["item"].as_str().unwrap());
    report["differences"].as_array().unwrap().iter().map(one).collect()
}

fn assert_libssl_is_first(report: &Value, weight: u64, note: &str) {
    let first = &report["differences"][0];
    assert_eq!((&first["kind"], &first["item"]), (&"library".into(), &"libssl.so.3".into()), "{:#?}", lines(report));
    assert_eq!(first["weight"], weight);
    let services = first["services"].to_string();
    assert!(services.contains("nginx.service"), "{services}");
    assert!(first["note"].as_str().unwrap().contains(note), "{first}");
}

#[test]
fn production_has_a_patched_libssl_that_qa_does_not() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let mut prod = lab.host("prod").unwrap();
    prod.install_greenroom(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
    prod.boot(&Boot::with_packages()).unwrap();
    prod.exec_ok(&["apt-get", "install", "-y", "nginx-light"]).unwrap();
    let unit = "[Service]\\nEnvironment=MODE=fast\\nEnvironmentFile=/etc/nginx/secret.env\\n";
    let prepare = format!(
        "mkdir -p /etc/systemd/system/nginx.service.d && printf '{unit}' > /etc/systemd/system/nginx.service.d/x.conf && \
         umask 077 && echo PHRASE=hunter2 > /etc/nginx/secret.env && printf '[db]\\npassword=hunter2\\n' > /etc/app.ini"
    );
    prod.exec_ok(&["sh", "-c", &prepare]).unwrap();
    prod.poweroff().unwrap();
    let mut qa = lab.copy_of(&prod).unwrap();
    std::fs::write(qa.path("/etc/hostname"), "qa\n").unwrap();
    std::fs::write(qa.path("/etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();

    // One byte more at the end: it works as before, and no version number tells.
    let mut patched = std::fs::read(prod.root().join(LIBSSL)).unwrap();
    patched.push(0);
    std::fs::write(prod.root().join(LIBSSL), &patched).unwrap();
    let roots = [prod.root().to_str().unwrap().to_owned(), qa.root().to_str().unwrap().to_owned()];
    let dir = tempfile::tempdir_in(lab.dir()).unwrap();
    let trees = diff(dir.path(), &roots[0], &roots[1]);
    assert_libssl_is_first(&trees, 100, "a's is not what the package brought");
    assert_eq!(lines(&trees), ["100 library libssl.so.3"], "a copy of a host differs in nothing else");
    assert!(trees["set_aside_by"].to_string().contains("machine id"), "{}", trees["set_aside_by"]);

    // The same on hosts that run, each of which writes its manifest; nginx is restarted on neither.
    prod.boot(&Boot::isolated()).unwrap();
    qa.boot(&Boot::isolated()).unwrap();
    qa.exec_ok(&["sh", "-c", "echo MODE=slow >> /etc/nginx/secret.env; systemctl restart nginx"]).unwrap();
    let files = [manifest(&prod, dir.path(), "prod"), manifest(&qa, dir.path(), "qa")];
    let [a, b] = files.each_ref().map(|file| file.to_str().unwrap().to_owned());
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("\"running\":true") && !text.contains("hunter2"), "a secret in the manifest");
    }
    for (file, intact) in files.iter().zip([false, true]) {
        let library = library(file, "libssl.so.3");
        for how in ["running", "linked"] {
            assert_eq!(library[how], serde_json::json!(["nginx.service"]), "{library}");
        }
        assert_eq!(library["intact"], intact, "{library}");
    }
    let running = diff(dir.path(), &a, &b);
    assert_libssl_is_first(&running, 100, "same version, other content");
    let found = lines(&running);
    assert!(found.contains(&"78 service_environment nginx.service MODE".to_owned()), "{found:#?}");
    assert!(found.contains(&"72 configuration /etc/nginx/secret.env MODE".to_owned()), "{found:#?}");
    assert!(found.len() <= 8, "noise: {found:#?}");
    // A manifest of a running host against a tree.
    assert_libssl_is_first(&diff(dir.path(), &a, &roots[1]), 100, "same version, other content");
    assert!(lines(&diff(dir.path(), &a, &a)).is_empty());

    // Another version is said as such.
    let status = std::fs::read_to_string(qa.path("/var/lib/dpkg/status")).unwrap();
    let (head, tail) = status.split_once("\nPackage: libssl3").unwrap();
    let version = tail.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap().to_owned();
    let tail = tail.replacen(&format!("Version: {version}"), "Version: 9.9.9", 1);
    std::fs::write(qa.path("/var/lib/dpkg/status"), format!("{head}\nPackage: libssl3{tail}")).unwrap();
    assert_libssl_is_first(&diff(dir.path(), &roots[0], &roots[1]), 95, &format!("other version: {version} / 9.9.9"));
}
