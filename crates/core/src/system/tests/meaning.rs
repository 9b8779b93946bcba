//! What a sound file means: its systems, its policies, its batches, and selections of hosts.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn names<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> Vec<&'a str> {
    hosts.into_iter().map(|host| host.name.as_str()).collect()
}

#[test]
fn a_full_file_is_read() {
    let declaration = full();
    let system = declaration.system(None).unwrap();
    assert_eq!((system.name.as_str(), system.environment.as_deref()), ("shop", Some("production")));
    assert_eq!(names(&system.hosts), ["web1", "web2", "db1", "stage1"]);
    assert_eq!(
        system.hosts.iter().map(Host::ssh_target).collect::<Vec<_>>(),
        ["10.0.0.11", "ssh://root@bastion:2222", "db1.example.org", "stage1"]
    );
    assert_eq!(names(system.hosts.iter().filter(|host| host.is_stage())), ["stage1"]);
    let shop = system.service("shop").unwrap();
    assert_eq!((shop.unit.as_str(), shop.owner.as_deref()), ("php8.2-fpm.service", Some("web")));
    assert_eq!(shop.hosts, ["web1", "web2"]);
    assert_eq!(shop.batch.sizes(), [Batch::Hosts(1), Batch::Percent(25), Batch::Rest]);
    let url = HttpUrl { tls: false, host: "127.0.0.1".into(), port: 8080, path: "/health?full".into() };
    assert_eq!(
        shop.health[0],
        Check {
            probe: Probe::Http { url, status: vec![200, 204] },
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            failures: 5,
            successes: 1,
            grace: Duration::from_secs(30),
            settle: Duration::ZERO,
        }
    );
    let probes: Vec<String> =
        system.services.iter().flat_map(|s| &s.health).map(|check| check.probe.to_string()).collect();
    assert_eq!(
        probes,
        [
            "http://127.0.0.1:8080/health?full",
            "tcp 127.0.0.1:9000",
            "pg_isready",
            "postgresql.service is active",
            "tcp [::1]:5432",
            "nginx.service is active",
        ]
    );
    assert_eq!(system.service("nginx").unwrap().hosts, ["web1", "web2"], "in the order of the hosts");
    assert_eq!(
        system.tests.iter().map(|t| (t.name.as_str(), t.hosts.len())).collect::<Vec<_>>(),
        [("front page", 2), ("true", 4)]
    );
    let order: Vec<&str> = system.restart_order().iter().map(|service| service.name.as_str()).collect();
    assert_eq!(order, ["database", "shop", "nginx"]);
    assert_eq!(system.services_on("web1").len(), 2);
    assert_eq!(system.tests_on("db1").len(), 1);
    let paths = system.paths_on(system.host("web1").unwrap());
    assert_eq!(paths.volatile, ["/srv/spool/**", "/srv/shop/cache/**", "!/srv/shop/cache/keep"]);
    assert_eq!(paths.data, ["/srv/uploads"]);
}

#[test]
fn an_environment_has_its_own_hosts_and_what_it_says_besides() {
    let declaration = full();
    assert_eq!(declaration.environments().collect::<Vec<_>>(), ["production", "staging"]);
    let staging = declaration.system(Some("staging")).unwrap();
    assert_eq!(names(&staging.hosts), ["web1"]);
    assert_eq!(staging.hosts[0].address, "10.0.9.11");
    let shop = staging.service("shop").unwrap();
    assert_eq!((shop.batch.sizes(), shop.unit.as_str()), (&[Batch::Percent(100)][..], "php8.2-fpm.service"));
    assert_eq!(shop.health.len(), 2, "what the environment does not name stays");
    assert!(staging.service("database").is_none() && shop.after.is_empty(), "no host of this environment has it");
    assert_eq!(staging.policy.rehearsal_within, Some(Duration::from_secs(24 * 3600)));
    assert_eq!(staging.policy.on_failure, OnFailure::Undo);
    assert_ne!(staging.hash(), declaration.system(None).unwrap().hash());
    let error = declaration.system(Some("stagign")).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.hint.as_str()),
        ("there is no environment `stagign`", "did you mean `staging`?")
    );
}

#[test]
fn where_every_host_belongs_to_an_environment_one_must_be_named() {
    let text = "[system]\nname = 's'\n[environment.a.host.x]\n[environment.b.host.y]\n";
    let declaration = read(text).unwrap();
    let error = declaration.system(None).unwrap_err();
    assert_eq!(error.hint, "say which one is meant, with --environment: a, b");
    assert_eq!(names(&declaration.system(Some("b")).unwrap().hosts), ["y"]);
}

#[test]
fn the_strictest_policy_holds_for_several_hosts() {
    let declaration = full();
    let system = declaration.system(None).unwrap();
    let (web, db) = (system.host("web1").unwrap(), system.host("db1").unwrap());
    assert_eq!(system.policy_for([web]), system.policy);
    let of_db = system.policy_for([db]);
    assert!(of_db.second_person && of_db.rehearsal_within == system.policy.rehearsal_within);
    assert_eq!(system.policy_for([web, db]), of_db);
    assert!(system.may_apply(&of_db, "ben", Rights::Operator), "of the team");
    assert!(system.may_apply(&of_db, "carl", Rights::Admin));
    assert!(!system.may_apply(&of_db, "anna", Rights::Operator));
    assert_eq!(
        of_db.words(),
        [
            "may apply: admins, team database",
            "the rehearsal must be younger than 24h",
            "a second person must approve",
            "when a host fails, or is lost for 5m, the change pauses and asks",
        ]
    );
}

#[test]
fn both_rules_must_agree_where_two_hold() {
    let rule = |team: &str| MayApply { teams: vec![team.to_owned()], ..MayApply::default() };
    let policy = |team: &str| Policy { may_apply: vec![rule(team)], ..Policy::default() };
    let both = Policy::strictest([&policy("web"), &policy("database"), &policy("web")]).unwrap();
    assert_eq!(both.may_apply.len(), 2);
    let declaration = full();
    let system = declaration.system(None).unwrap();
    assert!(system.may_apply(&both, "ben", Rights::Operator));
    assert!(!system.may_apply(&both, "anna", Rights::Operator), "she is in one of the teams");
}

#[test]
fn a_system_survives_json() {
    for name in ["production", "staging"] {
        let declaration = full();
        let system = declaration.system(Some(name)).unwrap();
        let json = serde_json::to_string(system).unwrap();
        assert!(json.contains("\"settle\":\"0s\""), "{json}");
        let back: System = serde_json::from_str(&json).unwrap();
        assert_eq!((&back, back.hash()), (system, system.hash()));
    }
}

#[test]
fn batches_are_as_declared() {
    use Batch::{Hosts, Percent, Rest};
    for (sizes, hosts, expected, words) in [
        (vec![Hosts(1), Rest], 5, vec![1, 4], "1, then the rest"),
        (vec![Hosts(1), Rest], 1, vec![1], "1, then the rest"),
        (vec![Hosts(2)], 5, vec![2, 2, 1], "2 at a time"),
        (vec![Hosts(1), Percent(25)], 8, vec![1, 2, 2, 2, 1], "1, then 25% at a time"),
        (vec![Percent(10)], 3, vec![1, 1, 1], "10% at a time"),
        (vec![Rest], 3, vec![3], "the rest"),
        (vec![Hosts(1), Rest], 0, vec![], "1, then the rest"),
    ] {
        let batches = Batches::new(sizes).unwrap();
        assert_eq!((batches.split(hosts), batches.words().as_str()), (expected, words));
    }
    for sizes in [vec![], vec![Hosts(0)], vec![Percent(101)], vec![Rest, Hosts(1)]] {
        assert_eq!(Batches::new(sizes), None);
    }
}

#[test]
fn selectors() {
    let declaration = full();
    let system = declaration.system(None).unwrap();
    let select = |texts: &[&str]| -> Result<Vec<&str>, (String, String)> {
        let bad = |error: BadSelector| (error.to_string(), error.hint);
        let selector = Selector::parse(texts.iter().copied()).map_err(bad)?;
        selector.hosts(system).map(names).map_err(bad)
    };
    for (texts, hosts) in [
        (&["web1"][..], &["web1"][..]),
        (&["web2,web1"], &["web1", "web2"]),
        (&["role:web"], &["web1", "web2"]),
        (&["service:database", "host:web2"], &["web2", "db1"]),
        (&["all"], &["web1", "web2", "db1", "stage1"]),
        (&["all, !role:web", "!stage1"], &["db1"]),
        (&["!role:web"], &["db1", "stage1"]),
        (&["web1", "!web2"], &["web1"]),
    ] {
        assert_eq!(select(texts), Ok(hosts.to_vec()), "{texts:?}");
    }
    for (texts, message, hint) in [
        (&["wbe1"][..], "there is no host `wbe1` in environment production", "did you mean `web1`?"),
        (&["web"], "there is no host `web` in environment production", "did you mean `role:web`?"),
        (&["nginx"], "there is no host `nginx` in environment production", "did you mean `service:nginx`?"),
        (&["role:wbe"], "there is no role `wbe` in environment production", "did you mean `web`?"),
        (&["role:cache"], "there is no role `cache` in environment production", "roles: web, db, stage"),
        (&["web1", "!rolle:web"], "`rolle` is no kind of thing to select hosts by", "did you mean `role`?"),
        (&["all,!all"], "`all,!all` leaves no host", "hosts: web1, web2, db1, stage1"),
        (
            &["web1,"],
            "`web1,` does not say which hosts are meant",
            "name hosts, role:NAME, service:NAME or all, with commas between; ! in front takes out",
        ),
    ] {
        assert_eq!(select(texts), Err((message.to_owned(), hint.to_owned())), "{texts:?}");
    }
    assert!(select(&[]).is_err());
}

proptest! {
    #[test]
    fn batches_are_all_the_hosts_once(
        sizes in proptest::collection::vec(prop_oneof![(1u32..9).prop_map(Batch::Hosts), (1u32..=100).prop_map(Batch::Percent)], 1..5),
        rest in any::<bool>(),
        hosts in 0usize..300,
    ) {
        let sizes: Vec<Batch> = sizes.into_iter().chain(rest.then_some(Batch::Rest)).collect();
        let split = Batches::new(sizes).unwrap().split(hosts);
        prop_assert_eq!(split.iter().sum::<usize>(), hosts);
        prop_assert!(split.iter().all(|size| *size > 0));
    }

    #[test]
    fn a_selector_shows_as_what_reads_the_same(text in "(!?(all|web1|role:web|service:shop|host:db1))(,!?(all|web2|role:db)){0,3}") {
        let selector = Selector::parse([text.as_str()]).unwrap();
        prop_assert_eq!(Selector::parse([selector.to_string().as_str()]).unwrap(), selector);
    }

    #[test]
    fn no_selector_makes_it_panic(text in "\\PC{0,20}|[a-z:!, ]{0,20}") {
        let declaration = full();
        let system = declaration.system(None).unwrap();
        if let Ok(hosts) = Selector::parse([text.as_str()]).and_then(|selector| selector.hosts(system)) {
            prop_assert!(!hosts.is_empty());
        }
    }
}
