//! Real programs through the proxy: curl and apt. A machine without one of them skips that test and says so.

use std::path::Path;
use std::process::{Command, Output};

use greenroom_net::egress::Egress;

use crate::world::{Origin, big, proxy_to};

fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").output() {
        Ok(output) => Some(output),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {program} is not installed");
            None
        }
        Err(e) => panic!("{program}: {e}"),
    }
}

fn curl(egress: &Egress, arguments: &[&str]) -> Option<(bool, String, String)> {
    let proxy = format!("http://{}", egress.address());
    let output = run("curl", &[&["-sS", "-m", "10", "-x", &proxy], arguments].concat())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn curl_gets_posts_and_tunnels() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let Some(got) = curl(&egress, &[&origin.url("/hello"), &origin.url("/chunked"), &origin.url("/until-close")])
    else {
        return;
    };
    assert_eq!(got, (true, "hello\nhello\nhello\n".into(), String::new()));
    assert_eq!(curl(&egress, &["-p", &origin.url("/hello")]).unwrap(), (true, "hello\n".into(), String::new()));
    assert_eq!(curl(&egress, &["--http1.0", &origin.url("/chunked")]).unwrap().1, "hello\n");
    assert!(curl(&egress, &["-I", &origin.url("/hello")]).unwrap().1.contains("Content-Length: 6"));

    // More than a megabyte makes curl ask for permission (Expect: 100-continue) first.
    let file = std::env::temp_dir().join(format!("greenroom-egress-{}", std::process::id()));
    std::fs::write(&file, big()).unwrap();
    let data = format!("@{}", file.display());
    let timing = ["--data-binary", &data, "-o", "/dev/null", "-w", "%{size_download}"];
    let echoed = curl(&egress, &[&timing[..], &[&origin.url("/echo")]].concat()).unwrap();
    let chunked =
        curl(&egress, &[&timing[..], &["-H", "Transfer-Encoding: chunked", &origin.url("/echo")]].concat()).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(echoed, (true, big().len().to_string(), String::new()));
    assert_eq!(chunked, (true, big().len().to_string(), String::new()));
}

#[test]
fn curl_shows_why_it_was_refused() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let Some((_, stdout, _)) = curl(&egress, &["http://registry.example:8080/x"]) else { return };
    assert!(stdout.contains("--allow registry.example:8080"), "{stdout}");
    let (ok, _, stderr) = curl(&egress, &["-v", "https://registry.example/"]).unwrap();
    assert!(!ok && stderr.contains("403") && stderr.contains("--allow registry.example:443"), "{stderr}");
    let report = egress.finish();
    assert_eq!(report.refused.iter().map(|u| u.port).collect::<Vec<_>>(), [443, 8080]);
}

/// apt with a configuration of its own, away from the machine's.
fn apt(directory: &Path, egress: &Egress, source: &str, arguments: &[&str]) -> Option<Output> {
    for sub in ["state/lists/partial", "cache/archives/partial", "parts"] {
        std::fs::create_dir_all(directory.join(sub)).unwrap();
    }
    std::fs::write(directory.join("status"), "").unwrap();
    std::fs::write(directory.join("sources.list"), format!("deb [trusted=yes] {source} ./\n")).unwrap();
    let set = |key: &str, value: &str| format!("-o{key}={value}");
    let at = |sub: &str| directory.join(sub).display().to_string();
    let options = [
        set("Dir::Etc::sourcelist", &at("sources.list")),
        set("Dir::Etc::sourceparts", &at("parts")),
        set("Dir::Etc::trustedparts", &at("parts")),
        set("Dir::State", &at("state")),
        set("Dir::State::status", &at("status")),
        set("Dir::Cache", &at("cache")),
        set("APT::Sandbox::User", "root"),
        set("Acquire::Languages", "none"),
        set("Acquire::Retries", "0"),
        set("Acquire::http::Proxy", &format!("http://{}", egress.address())),
        set("Acquire::https::Proxy", &format!("http://{}", egress.address())),
        set("Debug::NoLocking", "true"),
        set("APT::Update::Error-Mode", "any"),
    ];
    let all: Vec<&str> = options.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
    run("apt-get", &all)
}

#[test]
fn apt_updates_from_an_allowed_source_and_says_why_another_is_refused() {
    let packages = "Package: demo\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@example.org>\n\
                    Filename: ./demo_1.0_all.deb\nSize: 1\nDescription: demo\n";
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("GET /debian/./Packages ") {
                peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{packages}", packages.len()));
            } else {
                peer.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    let egress = proxy_to(&origin);
    let directory = std::env::temp_dir().join(format!("greenroom-egress-apt-{}", std::process::id()));
    let allowed = apt(&directory, &egress, &origin.url("/debian"), &["update"]);
    let refused = apt(&directory, &egress, "http://mirror.example/debian", &["update"]);
    std::fs::remove_dir_all(&directory).unwrap();
    let (Some(allowed), Some(refused)) = (allowed, refused) else { return };
    let text = |o: &Output| format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    assert!(allowed.status.success() && text(&allowed).contains("Packages"), "{}", text(&allowed));
    assert!(!refused.status.success() && text(&refused).contains("--allow mirror.example:80"), "{}", text(&refused));
    let report = egress.finish();
    assert_eq!(report.allowed[0].failures, 0, "{report:?}");
    assert_eq!(report.refused[0].host, "mirror.example");
}
