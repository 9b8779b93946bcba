//! Configuration in each format, by its keys and values.

use super::*;

fn settings(name: &str, text: &str) -> Vec<String> {
    let found = parse(&name.into(), text).unwrap_or_else(|| panic!("{name} was not understood"));
    found.into_iter().map(|(key, values)| format!("{key}={}", values.join("|"))).collect()
}

#[test]
fn formats_are_read() {
    let table: &[(&str, &str, &[&str])] = &[
        (
            "/etc/a.json",
            r#"{"a":{"b":1,"c":[1,2]},"d":[{"e":null}],"f":{}}"#,
            &["a.b=1", "a.c[]=1|2", "d[0].e=null", "f={}"],
        ),
        (
            "/etc/a.yaml",
            "# x\na:\n  b: 1\n  c: [1, two]\nd:\n- e: yes\n- f\ng: {}\nh: &x 5\ni: *x\n",
            &["a.b=1", "a.c[]=1|two", "d[0].e=yes", "d[]=f", "g={}", "h=5", "i=*1"],
        ),
        ("/etc/b.yml", "a: 1\n---\na: 2\n", &["#2.a=2", "a=1"]),
        (
            "/etc/a.toml",
            "a = 1\n[b.c]\nd = [\"x\", \"y\"]\nwhen = 2024-01-01\n",
            &["a=1", "b.c.d[]=x|y", "b.c.when=2024-01-01"],
        ),
        (
            "/etc/systemd/system/x.service",
            "[Service]\nExecStart=\nExecStart=/bin/x --a \\\n  --b\n; no\nEnvironment=\"A=1\"\n",
            &["Service.Environment=A=1", "Service.ExecStart=|/bin/x --a    --b"],
        ),
        (
            "/etc/mysql/my.cnf",
            "# c\n[mysqld]\nskip-networking\nport = 3306\n!includedir /etc/x\n",
            &["mysqld.!includedir /etc/x=", "mysqld.port=3306", "mysqld.skip-networking="],
        ),
        ("/etc/default/x", "export A='b c'\nB=\"d\"\nC=\n", &["A=b c", "B=d", "C="]),
        (
            "/etc/sysctl.d/9.conf",
            "net.ipv4.ip_forward = 1\nvm.swappiness=10\n",
            &["net.ipv4.ip_forward=1", "vm.swappiness=10"],
        ),
        (
            "/etc/ssh/sshd_config",
            "Port 22\nPermitRootLogin   no\nAcceptEnv LANG\nAcceptEnv LC_*\nMatch User git\n  X11Forwarding no\n",
            &["AcceptEnv=LANG|LC_*", "Match User git.X11Forwarding=no", "PermitRootLogin=no", "Port=22"],
        ),
        ("/etc/nsswitch.conf", "passwd:   files  systemd\n", &["passwd=files systemd"]),
    ];
    for (name, text, expected) in table {
        assert_eq!(settings(name, text), *expected, "{name}");
    }
}

#[test]
fn what_has_no_keys_is_lines() {
    let table = [
        ("/etc/nginx/nginx.conf", "worker_processes 1;\nevents {\n}\n"),
        ("/etc/hosts", "127.0.0.1 localhost\n"),
        ("/etc/fstab", "UUID=x / ext4 defaults 0 1\n"),
        ("/etc/cron.d/x", "PATH=/bin\n* * * * * root true\n"),
        ("/etc/broken.json", "{\"a\": "),
        ("/etc/broken.yaml", "a: [1\nb: }"),
        ("/etc/empty.conf", "# nothing\n"),
        ("/etc/krb5.conf", "[libdefaults]\nx = {\n}\n"),
        ("/etc/prose", "[not really]\nthis is a text of words\n"),
    ];
    for (name, text) in table {
        assert_eq!(parse(&name.into(), text), None, "{name}");
    }
}

#[test]
fn a_deep_or_recursive_file_does_no_harm() {
    assert_eq!(parse(&"/etc/x.yaml".into(), &"[".repeat(60_000)), None);
    assert_eq!(parse(&"/etc/x.json".into(), &"[".repeat(60_000)), None);
    let laughs = "a: &a [x,x,x,x,x,x,x,x]\n".to_owned()
        + &(b'b'..b'z')
            .map(|c| {
                let (c, p) = (c as char, (c - 1) as char);
                format!("{c}: &{c} [*{p},*{p},*{p},*{p},*{p}]\n")
            })
            .collect::<String>();
    assert_eq!(parse(&"/etc/x.yaml".into(), &laughs).unwrap().len(), 25);
}

#[test]
fn a_small_file_does_not_make_large_keys() {
    let leaves = (0..12_000).map(|n| format!("\"{n}\":1")).collect::<Vec<_>>().join(",");
    let deep = format!("{{\"{}\":", "k".repeat(400)).repeat(90) + "{" + &leaves + "}" + &"}".repeat(90);
    assert_eq!(parse(&"/etc/x.json".into(), &deep), None);
    assert_eq!(parse(&"/etc/x.yaml".into(), &deep), None);
    let section = format!("[{}]\n", "s".repeat(50_000)) + &"a=1\n".repeat(10_000);
    assert!(parse(&"/etc/x.ini".into(), &section).is_none_or(|found| found.keys().all(|key| key.len() < 2000)));
}

fn change(name: &str, a: &str, b: &str) -> Change {
    let names = (
        Identity { hostname: "web1".into(), ..Identity::default() },
        Identity { hostname: "qa1".into(), ..Identity::default() },
    );
    let path = name.into();
    diff(&path, &kept(&path, a, true), &kept(&path, b, true), (&names.0, &names.1))
}

fn shown(change: &Change) -> Vec<String> {
    let Change::Keys(keys) = change else { panic!("{change:?}") };
    let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    keys.iter()
        .map(|k| format!("{} {} {}{}", k.key, side(&k.a), side(&k.b), if k.machine { " machine" } else { "" }))
        .collect()
}

#[test]
fn keys_that_differ() {
    let a = "Port 22\nPermitRootLogin no\nUseDNS no\n";
    let b = "# c\nPermitRootLogin yes\nPort 22\nMaxAuthTries 3\n";
    assert_eq!(
        shown(&change("/etc/ssh/sshd_config", a, b)),
        ["MaxAuthTries - 3", "PermitRootLogin no yes", "UseDNS no -"]
    );
    let found =
        change("/etc/app/x.ini", "[db]\nhost = web1\npassword = hunter2\n", "[db]\nhost = qa1\npassword = hunter3\n");
    let lines = shown(&found);
    assert_eq!(lines[0], "db.host web1 qa1 machine");
    assert!(lines[1].starts_with("db.password hash:") && !lines[1].contains("hunter"), "{lines:?}");
    assert_eq!(change("/etc/x.json", "{\"a\":1,\"b\":2}", "{ \"b\": 2, \"a\": 1 }"), Change::Comments);
}

#[test]
fn lines_that_differ() {
    let a = "# one\nworker_processes 4;\nserver_name web1;\nlisten 80;\n";
    let b = "server_name qa1;\nlisten 80;\nworker_processes 1;\nkeepalive 5;\n";
    let Change::Lines { a, b, diff } = change("/etc/nginx/nginx.conf", a, b) else { panic!() };
    assert_eq!(
        (a, b),
        (vec!["worker_processes 4;".to_owned()], vec!["worker_processes 1;".to_owned(), "keepalive 5;".to_owned()])
    );
    assert!(diff.contains("+keepalive 5;"), "{diff}");
    assert_eq!(change("/etc/nginx/x", "a 1;\n", "# c\n\n  a 1;\n"), Change::Comments);
    assert_eq!(
        change("/etc/hosts", "10.0.0.1 web1.x web1\n10.9.9.9 db\n", "10.7.0.1 qa1.x qa1\n10.9.9.9 db\n"),
        Change::Machine
    );
    // A host that is called as what it runs.
    let (a, b) = ("run qa1;\nx 1;\n", "run qa1;\nx 2;\n");
    let Change::Lines { a, b, .. } = change("/etc/nginx/x", a, b) else { panic!() };
    assert_eq!((a, b), (vec!["x 1;".to_owned()], vec!["x 2;".to_owned()]));
    assert!(matches!(change("/etc/hosts", "10.9.9.9 db\n", "10.9.9.8 db\n"), Change::Lines { .. }));
}

#[test]
fn what_not_everybody_may_read_stays_hidden() {
    let path: TreePath = "/etc/app/secret.ini".into();
    let (a, b) = ("[db]\nuser = u\nphrase = hunter2\n", "[db]\nuser = u\nphrase = other\n");
    let (ka, kb) = (kept(&path, a, false), kept(&path, b, false));
    let id = Identity::default();
    for (a, b) in [(&ka, &kb), (&kept(&path, a, true), &kb)] {
        let found = diff(&path, a, b, (&id, &id));
        let lines = shown(&found);
        assert!(
            lines.len() == 1 && lines[0].starts_with("db.phrase hash:") && !lines[0].contains("hunter2"),
            "{lines:?}"
        );
    }
    let unknown: TreePath = "/etc/app/blob".into();
    let (a, b) = (kept(&unknown, "a { }\n", false), kept(&unknown, "b { }\n", false));
    assert_eq!(diff(&unknown, &a, &b, (&id, &id)), Change::Hidden);
}
