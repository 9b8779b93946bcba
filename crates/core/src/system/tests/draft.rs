//! What `init` writes reads back, whatever was found.

use proptest::prelude::*;

use super::*;
use crate::drift::runtime::{Facts, Port, Running, UnitFile, UnitFileState, UnitState};
use crate::system::draft::{Found, FoundService, SshHost, services, ssh_hosts};

fn service(unit: &str, tcp: &[(&str, u16)]) -> FoundService {
    FoundService { unit: unit.to_owned(), tcp: tcp.iter().map(|(a, p)| ((*a).to_owned(), *p)).collect() }
}

fn port(address: &str, port: u16, unit: &str) -> Port {
    Port { proto: "tcp".into(), address: address.into(), port, unit: Some(unit.into()), ..Port::default() }
}

#[test]
fn services_are_what_listens_what_is_known_and_what_somebody_wrote() {
    let mut facts = Facts::default();
    for (name, state, once) in [
        ("nginx.service", UnitFileState::Enabled, false),
        ("shop-worker.service", UnitFileState::Enabled, false),
        ("backup.service", UnitFileState::Enabled, true),
        ("cron.service", UnitFileState::Enabled, false),
        ("redis-server.service", UnitFileState::Disabled, false),
        ("php8.2-fpm.service", UnitFileState::Enabled, false),
    ] {
        facts.units.insert(name.into(), UnitFile { state, once, ..UnitFile::default() });
    }
    let mut running = Running::default();
    let up = UnitState { active: "active".into(), sub: "running".into(), unmet: false };
    running.units.insert("postgresql@15-main.service".into(), up);
    running.ports.extend([
        port("0.0.0.0", 80, "nginx.service"),
        port("::", 80, "nginx.service"),
        port("::1", 5432, "postgresql@15-main.service"),
        port("127.0.0.1", 5432, "postgresql@15-main.service"),
        port("10.0.0.1", 6000, "app.service"),
        port("0.0.0.0", 22, "ssh.service"),
        Port { ephemeral: true, ..port("0.0.0.0", 40000, "chat.service") },
        Port { unit: None, ..port("0.0.0.0", 99, "") },
    ]);
    facts.running = Some(running);
    let written = ["shop-worker.service", "backup.service"].map(str::to_owned);
    assert_eq!(
        services(&facts, &written),
        [
            service("app.service", &[("10.0.0.1", 6000)]),
            service("nginx.service", &[("127.0.0.1", 80)]),
            service("php8.2-fpm.service", &[]),
            service("postgresql@15-main.service", &[("127.0.0.1", 5432)]),
            service("shop-worker.service", &[]),
        ]
    );
}

#[test]
fn hosts_of_an_ssh_configuration() {
    let text = "# mine\nUser anna\nHost web1 web2\n  HostName=10.0.0.11\nhost \"db\"\n\tHostName db.example.org\n\
                Host *.lan !x\n HostName y\nHost github.com\n  User git\nMatch user x\n HostName z\nHost web1\nHost -oX\n";
    let host =
        |alias: &str, address: Option<&str>| SshHost { alias: alias.into(), address: address.map(str::to_owned) };
    assert_eq!(
        ssh_hosts(text),
        [host("web1", Some("10.0.0.11")), host("web2", Some("10.0.0.11")), host("db", Some("db.example.org"))]
    );
}

#[test]
fn what_was_found_is_declared() {
    let found = Found {
        names: vec!["...".into(), "My Shop".into()],
        host: "web1.example.org".into(),
        addresses: vec!["10.0.0.11".into(), "fd00::1".into()],
        services: vec![
            service("nginx.service", &[("127.0.0.1", 80), ("127.0.0.1", 443)]),
            service("postgresql@15-main.service", &[("fd00::1", 5432)]),
            service("postgresql@16-main.service", &[]),
            service("php8.2-fpm.service", &[]),
        ],
        ssh: ssh_hosts("Host web2\nHostName 10.0.0.12\nHost db.example.org\n"),
    };
    let text = found.text();
    let declaration = read(&text).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
    let system = declaration.system(None).unwrap();
    assert_eq!((system.name.as_str(), system.hosts.len()), ("My-Shop", 1));
    assert_eq!((system.hosts[0].name.as_str(), system.hosts[0].address.as_str()), ("web1", "10.0.0.11"));
    let services: Vec<String> = system
        .services
        .iter()
        .map(|s| {
            format!(
                "{} {} {}",
                s.name,
                s.unit,
                s.health.iter().map(|c| c.probe.to_string()).collect::<Vec<_>>().join(", ")
            )
        })
        .collect();
    assert_eq!(
        services,
        [
            "nginx nginx.service tcp 127.0.0.1:80, tcp 127.0.0.1:443",
            "postgresql postgresql@15-main.service tcp [fd00::1]:5432",
            "postgresql-16-main postgresql@16-main.service postgresql@16-main.service is active",
            "php8.2-fpm php8.2-fpm.service php8.2-fpm.service is active",
        ]
    );
    assert_eq!(system.policy, Policy::default());
    assert!(text.contains("# [host.web2]\n# address = \"10.0.0.12\"\n# ssh = \"web2\"\n"), "{text}");
}

/// A person who takes all suggestions that the file makes has a file that is read, too.
#[test]
fn what_stands_in_comments_can_be_uncommented() {
    let text = Found { host: "web1".into(), ..Found::default() }.text();
    let mut uncommented = String::new();
    for line in text.lines() {
        let bare = line.strip_prefix("# ").filter(|bare| !bare.starts_with(' ')).unwrap_or(line);
        let is_toml = toml::from_str::<toml::Table>(bare).is_ok() && !bare.starts_with("include");
        uncommented.push_str(if is_toml { bare } else { line });
        uncommented.push('\n');
    }
    let problems = read(&uncommented.replace("[service.web]\n", "[service.web]\nowner = 'operations'\n"));
    let declaration = problems.unwrap_or_else(|problems| panic!("{uncommented}\n{problems:#?}"));
    let system = declaration.system(None).unwrap();
    assert!(system.policy.second_person && !system.teams.is_empty() && !system.tests.is_empty());
    assert_eq!(declaration.environments().collect::<Vec<_>>(), ["staging"]);
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,12}",
        "[a-z0-9@._\\\\-]{0,80}(\\.service)?",
        Just("all".to_owned()),
        Just("10.0.0.1".to_owned())
    ]
}

proptest! {
    #[test]
    fn whatever_was_found_the_file_is_read(
        names in proptest::collection::vec(word(), 0..3),
        host in word(),
        addresses in proptest::collection::vec(word(), 0..3),
        units in proptest::collection::vec((word(), proptest::collection::vec((word(), 1u16..), 0..3)), 0..6),
        ssh in "(Host(name)?[ =][\\PC\n]{0,12}\n){0,4}",
    ) {
        // Units and addresses come from systemd and the kernel.
        let is_unit = |unit: &str| unit_name(unit).is_ok_and(|name| name == unit && name.ends_with(".service"));
        let places = |tcp: Vec<(String, u16)>| tcp.into_iter().filter(|(a, _)| a.parse::<std::net::IpAddr>().is_ok());
        let services = units.into_iter().filter(|(unit, _)| is_unit(unit));
        let services: Vec<FoundService> =
            services.map(|(unit, tcp)| FoundService { unit, tcp: places(tcp).collect() }).collect();
        let count = services.len();
        let text = Found { names, host, addresses, services, ssh: ssh_hosts(&ssh) }.text();
        let declaration = read(&text);
        prop_assert!(declaration.is_ok(), "{}\n{:#?}", text, declaration.err());
        prop_assert_eq!(declaration.unwrap().system(None).unwrap().services.len(), count);
    }
}
