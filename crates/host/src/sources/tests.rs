//! Trees with files as they are on real hosts, and what is found in them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{SourcesFound, package_sources};

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        write(root.path(), path, text);
    }
    root
}

fn write(root: &Path, path: &str, text: &str) {
    let at = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, text).unwrap();
}

/// `host:port why [via host:port]` of everything that is found.
fn lines(found: &SourcesFound) -> Vec<String> {
    let one = |d: &super::SourceDestination| {
        let via = d.via.as_ref().map(|v| format!(" via {}:{}", v.host, v.port)).unwrap_or_default();
        format!("{}:{} {}{via}", d.host, d.port, d.why)
    };
    found.destinations.iter().map(one).collect()
}

fn check(name: &str, files: &[(&str, &str)], expected: &[&str], problems: &[&str]) -> SourcesFound {
    let root = tree(files);
    let found = package_sources(root.path());
    assert_eq!(lines(&found), expected, "{name}");
    assert_eq!(found.problems.len(), problems.len(), "{name}: {:?}", found.problems);
    for (got, part) in found.problems.iter().zip(problems) {
        assert!(got.contains(part), "{name}: {got:?} should speak of {part:?}");
    }
    found
}

#[test]
fn apt_in_one_line() {
    check("nothing at all", &[], &[], &[]);
    check(
        "Debian 11, as the installer leaves it",
        &[(
            "/etc/apt/sources.list",
            "#deb cdrom:[Debian GNU/Linux 11.6.0 _Bullseye_ - Official]/ bullseye main\n\n\
             deb http://deb.debian.org/debian/ bullseye main # contrib\n\
             deb-src http://deb.debian.org/debian/ bullseye main\n\
             deb http://Security.Debian.org/debian-security bullseye-security main\n\
             deb cdrom:[Debian GNU/Linux 11 #1]/ bullseye main\n",
        )],
        &["deb.debian.org:80 /etc/apt/sources.list:3", "security.debian.org:80 /etc/apt/sources.list:5"],
        &["/etc/apt/sources.list:6: cdrom: is a source on the host itself"],
    );
    check(
        "third parties, options, ports, other schemes",
        &[
            (
                "/etc/apt/sources.list.d/docker.list",
                "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.gpg] https://download.docker.com/linux/debian bookworm stable\n\
                 deb [ arch=amd64  trusted=yes ]   http://user:hunter2@repo.corp.example:8081/apt ./\n\
                 deb [trusted=yes] file:/srv/local ./\n\
                 deb ftp://joe:hunter2@ftp.example/debian sid main\n\
                 deb http://[2001:db8::7]:3142/debian sid main\n\
                 rpm http://no.example/ x\ndeb\n",
            ),
            ("/etc/apt/sources.list.d/old.list.save", "deb http://saved.example/ x main\n"),
            ("/etc/apt/sources.list.d/odd name.list", "deb http://odd.example/ x main\n"),
            ("/etc/apt/sources.list.d/README", "deb http://readme.example/ x main\n"),
        ],
        &[
            "2001:db8::7:3142 /etc/apt/sources.list.d/docker.list:5",
            "download.docker.com:443 /etc/apt/sources.list.d/docker.list:1",
            "repo.corp.example:8081 /etc/apt/sources.list.d/docker.list:2",
        ],
        &["file: is a source on the host itself", "ftp://ftp.example/debian cannot be reached"],
    );
}

#[test]
fn apt_in_deb822() {
    check(
        "Debian 12 and Ubuntu 24.04",
        &[(
            "/etc/apt/sources.list.d/ubuntu.sources",
            "# Ubuntu\nTypes: deb deb-src\nURIs: http://archive.ubuntu.com/ubuntu/\n  https://mirror.example/ubuntu\n\
             # a comment inside\n\thttp://third.example:8080/ubuntu\nSuites: noble noble-updates\nComponents: main\n\
             Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n URIs: http://key.example/\n -----END PGP PUBLIC KEY BLOCK-----\n\
             \n\ntypes: deb\nuris: http://security.ubuntu.com/ubuntu\nsuites: noble-security\n\
             \nEnabled: no\nTypes: deb\nURIs: http://off.example/\nSuites: x\n\
             \nTypes: deb\nURIs: http://also-off.example/\nEnabled: False\n\
             \nTypes: deb\nEnabled: yes\nURIs: http://on.example/\n",
        )],
        &[
            "archive.ubuntu.com:80 /etc/apt/sources.list.d/ubuntu.sources:3",
            "mirror.example:443 /etc/apt/sources.list.d/ubuntu.sources:4",
            "on.example:80 /etc/apt/sources.list.d/ubuntu.sources:31",
            "security.ubuntu.com:80 /etc/apt/sources.list.d/ubuntu.sources:17",
            "third.example:8080 /etc/apt/sources.list.d/ubuntu.sources:6",
        ],
        &[],
    );
    check(
        "the Debian cloud image, and mirrors by a list on the network",
        &[
            (
                "/etc/apt/sources.list.d/debian.sources",
                "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: bookworm\n\n\
                 Types: deb\nURIs: mirror+https://lists.example/m.txt mirror://old.example/m.txt\nSuites: x\n\n\
                 Types: deb\nURIs: mirror+file:/etc/apt/mirrors/none.list tor+http://onion.example/\n",
            ),
            (
                "/etc/apt/mirrors/debian.list",
                "# first\nhttps://deb.debian.org/debian\tpriority:1\n\nmirror+file:/etc/apt/mirrors/debian.list\n",
            ),
        ],
        &[
            "deb.debian.org:443 /etc/apt/mirrors/debian.list:2",
            "lists.example:443 /etc/apt/sources.list.d/debian.sources:6",
            "old.example:80 /etc/apt/sources.list.d/debian.sources:6",
        ],
        &[
            "mirror+file",
            "only when it is fetched",
            "only when it is fetched",
            "none.list could not be read",
            "tor+http",
        ],
    );
}

#[test]
fn apt_behind_a_proxy() {
    let found = check(
        "apt-cacher-ng, with exceptions",
        &[
            ("/etc/apt/apt.conf.d/01proxy", "Acquire::http::Proxy \"http://Cache.example:3142\";\n"),
            (
                "/etc/apt/apt.conf.d/02own",
                "Acquire::http { Proxy::direct.example \"DIRECT\"; Proxy::other.example \"http://p2.example\"; };\n",
            ),
            ("/etc/apt/apt.conf.d/ignored.bak", "Acquire::http::Proxy \"http://wrong.example:1\";\n"),
            (
                "/etc/apt/sources.list",
                "deb http://deb.debian.org/debian x main\ndeb https://tls.example/debian x main\n\
                 deb http://direct.example/ x main\ndeb http://other.example/ x main\n",
            ),
        ],
        &[
            "deb.debian.org:80 /etc/apt/sources.list:1 via cache.example:3142",
            "direct.example:80 /etc/apt/sources.list:3",
            "other.example:80 /etc/apt/sources.list:4 via p2.example:80",
            "tls.example:443 /etc/apt/sources.list:2 via cache.example:3142",
        ],
        &[],
    );
    let proxy = found.apt_proxy.unwrap();
    assert_eq!(proxy.per_host.len(), 2);
    assert_eq!(proxy.why, ["/etc/apt/apt.conf.d/01proxy:1", "/etc/apt/apt.conf.d/02own:1"]);
}

#[test]
fn apt_proxies_in_all_their_forms() {
    let source = ("/etc/apt/sources.list", "deb http://a.example/ x main\ndeb https://b.example/ x main\n");
    let [plain_a, plain_b] = ["a.example:80 /etc/apt/sources.list:1", "b.example:443 /etc/apt/sources.list:2"];
    for (conf, expected, problems) in [
        (
            "Acquire::https::Proxy \"DIRECT\";\nAcquire::http::Proxy \"http://p:1/\";",
            [&format!("{plain_a} via p:1"), plain_b],
            &[][..],
        ),
        ("Acquire::https::Proxy \"http://p:1/\";", [plain_a, &format!("{plain_b} via p:1")], &[]),
        ("Acquire::http::Proxy \"http://p:1/\";\n#clear Acquire::http::Proxy;", [plain_a, plain_b], &[]),
        ("Acquire::http::Proxy \"http://joe:hunter2@p:1/\";", [plain_a, plain_b], &["asks for a password"]),
        ("Acquire::http::Proxy \"socks5h://p:1/\";", [plain_a, plain_b], &["socks5h"]),
        ("Acquire::http::Proxy-Auto-Detect \"/usr/bin/auto-apt-proxy\";", [plain_a, plain_b], &["a program chooses"]),
    ] {
        let found = check(conf, &[("/etc/apt/apt.conf", conf), source], &expected, problems);
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}

#[test]
fn pip() {
    let present = ("/usr/bin/pip3", "");
    let [pypi, files] =
        ["pypi.org:443 default of pip (/usr/bin/pip3)", "files.pythonhosted.org:443 default of pip (/usr/bin/pip3)"];
    check("no configuration", &[present], &[files, pypi], &[]);
    check(
        "another index, a weaker and a stronger file",
        &[
            present,
            (
                "/etc/pip.conf",
                "[global]\nindex-url = https://weak.example/simple\ntimeout = 60\ntrusted-host = t.example\n",
            ),
            (
                "/root/.config/pip/pip.conf",
                "[global]\n; comment\nIndex_URL: https://joe:hunter2@pip.corp.example:8443/simple\n\
                 extra-index-url =\n    https://one.example/simple\n    # not this\n    http://two.example/simple\n\
                 [install]\nfind-links =\n  /srv/wheels\n  https://links.example/wheels\n",
            ),
        ],
        &[
            "links.example:443 /root/.config/pip/pip.conf:11",
            "one.example:443 /root/.config/pip/pip.conf:5",
            "pip.corp.example:8443 /root/.config/pip/pip.conf:3",
            "two.example:80 /root/.config/pip/pip.conf:7",
        ],
        &[],
    );
    check(
        "one more index beside the default",
        &[present, ("/etc/pip.conf", "[global]\nextra-index-url=https://www.piwheels.org/simple\n")],
        &[files, pypi, "www.piwheels.org:443 /etc/pip.conf:2"],
        &[],
    );
    check("no index", &[present, ("/etc/pip.conf", "[install]\nno-index = true\n")], &[], &[]);
    check(
        "a proxy, and the default written out",
        &[("/etc/pip.conf", "[global]\nproxy = proxy.example:3128\nindex-url = https://pypi.org/simple\n")],
        &[
            "files.pythonhosted.org:443 /etc/pip.conf:3 via proxy.example:3128",
            "pypi.org:443 /etc/pip.conf:3 via proxy.example:3128",
        ],
        &[],
    );
}

#[test]
fn npm() {
    let present = ("/usr/bin/npm", "");
    let default = "registry.npmjs.org:443 default of npm (/usr/bin/npm)";
    check("no configuration", &[present], &[default], &[]);
    check(
        "scopes beside the default",
        &[
            present,
            (
                "/root/.npmrc",
                "; mine\n@corp:registry=https://npm.corp.example/repo/\n//npm.corp.example/repo/:_authToken=hunter2\n\
                 @env:registry=https://${HOST}/\nfund=false\n",
            ),
        ],
        &["npm.corp.example:443 /root/.npmrc:2", default],
        &["environment variable"],
    );
    check(
        "replaced, the user's file being the stronger one",
        &[
            present,
            ("/etc/npmrc", "registry=http://weak.example/\nhttps-proxy = http://proxy.example:3128\n"),
            ("/root/.npmrc", "registry = \"http://localhost:4873/\"\n"),
        ],
        &["localhost:4873 /root/.npmrc:1 via proxy.example:3128"],
        &[],
    );
}

#[test]
fn cargo() {
    let present = ("/root/.cargo/bin/cargo", "");
    let default = ["crates.io", "index.crates.io", "static.crates.io"]
        .map(|h| format!("{h}:443 default of cargo (/root/.cargo/bin/cargo)"));
    let default = default.each_ref().map(String::as_str);
    check("no configuration", &[present], &default, &[]);
    check(
        "one more registry",
        &[
            present,
            (
                "/root/.cargo/config.toml",
                "[build]\njobs = 2\n\n[registries.corp]\nindex = \"sparse+https://cargo.corp.example/index/\"\ntoken = \"hunter2\"\n\
                 [registries]\nold = { index = \"ssh://git@git.corp.example/index.git\" }\n",
            ),
        ],
        &[&["cargo.corp.example:443 /root/.cargo/config.toml:5"], &default[..]].concat(),
        &["ssh://git.corp.example/index.git cannot be reached"],
    );
    check(
        "crates.io replaced",
        &[
            present,
            (
                "/root/.cargo/config.toml",
                "[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\nregistry = \"sparse+http://127.0.0.1:8080/index/\"\n\
                 [source.vendored]\ndirectory = \"vendor\"\n",
            ),
        ],
        &["127.0.0.1:8080 /root/.cargo/config.toml:4"],
        &[],
    );
    check("not TOML", &[("/root/.cargo/config.toml", "[http]\nproxy = \n")], &[], &["/root/.cargo/config.toml:2: "]);
}

#[test]
fn nothing_outside_the_root_is_read() {
    let outside = tree(&[("secret.list", "deb http://outside.example/ x main\n")]);
    let root = tree(&[
        ("/etc/apt/real/inside.list", "deb http://inside.example/ x main\n"),
        ("/etc/apt/sources.list.d/big.list", &"#".repeat(2 * 1024 * 1024)),
    ]);
    let parts = root.path().join("etc/apt/sources.list.d");
    symlink("/etc/apt/real/inside.list", parts.join("absolute.list")).unwrap();
    symlink("../../../../../../../etc/apt/real/inside.list", parts.join("dots.list")).unwrap();
    symlink(outside.path().join("secret.list"), parts.join("escape.list")).unwrap();
    symlink("loop.list", parts.join("loop.list")).unwrap();
    fs::create_dir(parts.join("directory.list")).unwrap();
    let fifo = parts.join("fifo.list");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let found = package_sources(root.path());
    assert_eq!(lines(&found), ["inside.example:80 /etc/apt/sources.list.d/absolute.list:1"]);
    for part in [
        "big.list is larger",
        "directory.list is not a regular file",
        "fifo.list is not a regular file",
        "loop.list cannot be opened",
    ] {
        assert!(found.problems.iter().any(|p| p.contains(part)), "{part}: {:?}", found.problems);
    }
    assert_eq!(found.problems.len(), 4);
    assert_eq!(package_sources(&root.path().join("none")).problems.len(), 1);
}
