//! What a control plane makes of a system file: who may apply what, when, and how it goes through the hosts. The hosts are
//! played here; those of the lab are in the tests of the command line.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use greenroom_core::ContentHash;
use greenroom_core::api::{Begun, HeldAt, InForce, NewChange, NewRebuild, NewRehearsal, NewSystem, Undo};
use greenroom_core::plan::Part;
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::rollout::Word;
use greenroom_core::system::{Bundle, Declaration, Rights};
use greenroom_core::wire::{Answer, Command, Rehearse, Verb, What};
use greenroom_engine::fleet::{Asker, Fleet, FleetError};
use greenroom_store::control::Control;
use greenroom_store::ledger::{Filter, Ledger as _, SqlLedger};

const SYSTEM: &str = r#"
[system]
name = "shop"
[person.anna]
email = "anna@example.org"
[person.ben]
email = "ben@example.org"
[person.dan]
email = "dan@example.org"
[team.dba]
people = ["ben"]
[host.web1]
address = "10.0.0.1"
roles = ["web"]
[host.web2]
address = "10.0.0.2"
roles = ["web"]
[host.db1]
address = "10.0.0.3"
roles = ["db"]
[service.shop]
roles = ["web"]
after = ["database"]
batch = ["100%"]
[service.database]
roles = ["db"]
health = [{ tcp = 5432 }]
[[test]]
name = "it listens"
run = "true"
roles = ["db"]
[paths]
volatile = ["/srv/cache/**"]
[role.db]
data = ["/srv/db"]
[policy]
rehearsal_within = "1h"
host_lost_after = "30s"
[role.db.policy]
may_apply = { teams = ["dba"] }
second_person = true
on_failure = "pause"
"#;

/// Milliseconds since 1970. nextest runs a process for each test.
static NOW: AtomicI64 = AtomicI64::new(1_800_000_000_000);

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(NOW.load(Ordering::Relaxed)).unwrap()
}

struct World {
    fleet: Fleet,
    ledger: Arc<SqlLedger>,
    _dir: tempfile::TempDir,
}

const ANNA: Asker<'_> = Asker { name: "anna", rights: Rights::Operator };
const BEN: Asker<'_> = Asker { name: "ben", rights: Rights::Developer };
const DAN: Asker<'_> = Asker { name: "dan", rights: Rights::Developer };

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let control = Control::open(dir.path()).await.unwrap();
        let at = dir.path().join("ledger");
        let ledger = Arc::new(tokio::task::spawn_blocking(move || SqlLedger::open(&at).unwrap()).await.unwrap());
        for (n, host) in ["web1", "web2", "db1", "new1"].into_iter().enumerate() {
            control.add_certificate(host, &format!("f{n}"), i64::MAX).await.unwrap();
        }
        let blobs = Arc::new(greenroom_store::blobs::DirBlobs::open(&dir.path().join("blobs")).unwrap());
        Self { fleet: Fleet::new(control, ledger.clone(), blobs, "here", now), ledger, _dir: dir }
    }

    async fn push(&self, text: &str) -> Result<(), FleetError> {
        let files = BTreeMap::from([("greenroom.toml".to_owned(), text.to_owned())]);
        let read = Declaration::read("greenroom.toml", &Bundle(files.clone()));
        let hash = read.ok().and_then(|read| read.system(None).ok().map(|s| s.hash().to_string())).unwrap_or_default();
        let file = "greenroom.toml".to_owned();
        let pushed = NewSystem { file, files, environment: None, revision: Some("abc".to_owned()), dirty: true, hash };
        self.fleet.push_system(&pushed, "root").await.map(drop)
    }

    /// Rehearses, and answers for the hosts.
    async fn rehearsed(&self, on: &str, once: bool) -> Begun {
        let rehearse = Rehearse { argv: vec!["true".to_owned()], ..Rehearse::default() };
        let begun = self
            .fleet
            .rehearse(&NewRehearsal { on: vec![on.to_owned()], rehearse, held: HeldAt::Hosts }, "anna")
            .await
            .unwrap();
        let answer = |host: &String| {
            let record = Box::new(record(once));
            (host.clone(), format!("{}.{host}", begun.id), Answer::Rehearsed { record, effect: String::new() })
        };
        self.fleet.answered(&begun.hosts.iter().map(answer).collect::<Vec<_>>()).await.unwrap();
        begun
    }

    async fn apply(&self, id: &str, who: Asker<'_>) -> Result<Begun, FleetError> {
        self.fleet.apply(&NewChange { rehearsal: id.to_owned(), ..NewChange::default() }, who).await
    }

    /// What a host was told.
    async fn told(&self, host: &str) -> Vec<Verb> {
        let due = self.fleet.control().commands_due(host).await.unwrap();
        due.iter().map(|command| serde_json::from_str::<Command>(&command.body).unwrap().verb).collect()
    }
}

fn record(once: bool) -> Rehearsal {
    let files = Part::Files { changeset: ContentHash::of(b""), entries: 1 };
    let live = Part::Live { step: 2, run: "true".to_owned(), undo: None, timeout_s: None, once: true };
    Rehearsal {
        entries: 1,
        undo_proven: true,
        parts: if once { vec![files, live] } else { vec![files] },
        ..Rehearsal::blank("r9", String::new(), "", "/".to_owned())
    }
}

fn forbidden<T: std::fmt::Debug>(outcome: Result<T, FleetError>, said: &str) {
    match outcome {
        Err(FleetError::Forbidden { what, hint }) => {
            assert!(format!("{what}; {hint}").contains(said), "{what}; {hint}")
        }
        other => panic!("{other:?}"),
    }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, FleetError>, said: &str) {
    match outcome {
        Err(FleetError::Refused { what, hint }) => assert!(format!("{what}; {hint}").contains(said), "{what}; {hint}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_a_system_file_operators_apply_one_host_and_then_the_rest() {
    let world = World::new().await;
    let rehearsal = world.rehearsed("all", false).await;
    forbidden(world.apply(&rehearsal.id, BEN).await, "needs operator");
    let change = world.apply(&rehearsal.id, ANNA).await.unwrap();
    let shown = world.fleet.change(&change.id).await.unwrap();
    assert_eq!(shown.batches, [vec!["db1"], vec!["new1", "web1", "web2"]]);
    assert_eq!((shown.system, shown.person.as_str()), (None, "anna"));
    let on = NewRehearsal { on: vec!["role:web".to_owned()], rehearse: Rehearse::default(), held: HeldAt::Hosts };
    match world.fleet.rehearse(&on, "anna").await {
        Err(FleetError::Usage { hint, .. }) => assert_eq!(hint, "greenroom system push"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_strictest_policy_of_the_hosts_holds() {
    let world = World::new().await;
    world.push(SYSTEM).await.unwrap();
    // What is meant by all is what is declared; each host hears what is declared for it.
    let all = world.rehearsed("all", false).await;
    assert_eq!(all.hosts, ["db1", "web1", "web2"]);
    let id = all.id.as_str();
    forbidden(world.apply(id, ANNA).await, "the system file says who: may apply: team dba");
    refused(world.apply(id, BEN).await, "needs a second person, and nobody has approved it");
    forbidden(world.fleet.approve(id, ANNA, None).await, "anna may not approve");
    world.fleet.approve(id, BEN, None).await.unwrap();
    refused(world.apply(id, BEN).await, "only ben has approved it");
    // Where only web servers are meant, an operator is enough, and nobody has to approve.
    let webs = world.rehearsed("service:shop", false).await;
    forbidden(world.apply(&webs.id, BEN).await, "needs operator");
    // Whoever approved and was taken off the team since has no say.
    world.push(&SYSTEM.replace("people = [\"ben\"]", "people = [\"dan\"]")).await.unwrap();
    refused(world.apply(id, DAN).await, "nobody who has approved it may apply it any more");
    world.push(&SYSTEM.replace("people = [\"ben\"]", "people = [\"ben\", \"dan\"]")).await.unwrap();
    // Too old is too old, to the second.
    NOW.fetch_add(3_600_001, Ordering::Relaxed);
    refused(world.apply(id, DAN).await, "a rehearsal must be younger than 1h");
    NOW.fetch_sub(1, Ordering::Relaxed);
    let change = world.apply(id, DAN).await.unwrap();
    let shown = world.fleet.change(&change.id).await.unwrap();
    assert_eq!(shown.batches, [vec!["db1"], vec!["web1", "web2"]]);
    assert!(matches!(shown.system, Some(InForce { revision: Some(revision), dirty: true, .. }) if revision == "abc"));
    // The word of somebody who may not goes nowhere.
    forbidden(world.fleet.word(&change.id, Word::Abort, EVE).await, "eve may not abort");
    refused(world.fleet.undo(&change.id, &Undo::default(), DAN).await, "is not in place");
}

const EVE: Asker<'_> = Asker { name: "eve", rights: Rights::Developer };

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn each_host_hears_what_is_declared_for_it() {
    let world = World::new().await;
    world.push(SYSTEM).await.unwrap();
    let mut rehearse = Rehearse { argv: vec!["true".to_owned()], ..Rehearse::default() };
    // What a person's program says of it is dropped.
    rehearse.declared = Some(greenroom_core::wire::Declared { volatile: vec!["/**".to_owned()], ..Default::default() });
    let on = vec!["db1,web1".to_owned(), "new1".to_owned()];
    world.fleet.rehearse(&NewRehearsal { on, rehearse, held: HeldAt::Hosts }, "anna").await.unwrap();
    for (host, tests, data, units) in [
        ("db1", 1, vec!["/srv/db"], vec!["database.service"]),
        ("web1", 0, vec![], vec!["shop.service"]),
        ("new1", 0, vec![], vec![]),
    ] {
        let told = world.told(host).await;
        let [Verb::Rehearse(order)] = told.as_slice() else { panic!("{told:?}") };
        let declared = order.declared.as_ref().unwrap();
        assert_eq!(
            (declared.tests.len(), &declared.volatile[..]),
            (tests, &["/srv/cache/**".to_owned()][..]),
            "{host}"
        );
        assert_eq!((&declared.data[..], &declared.units[..]), (&owned(&data)[..], &owned(&units)[..]), "{host}");
    }
}

#[tokio::test]
async fn what_runs_once_runs_on_the_first_host_alone() {
    let world = World::new().await;
    world.push(SYSTEM).await.unwrap();
    let webs = world.rehearsed("role:web", true).await;
    let change = world.apply(&webs.id, ANNA).await.unwrap();
    let shown = world.fleet.change(&change.id).await.unwrap();
    assert_eq!(shown.batches, [vec!["web1"], vec!["web2"]], "declared as one batch");
    let fleet = world.fleet.clone();
    let drive = tokio::spawn(async move { fleet.drive().await });
    for (host, elsewhere) in [("web1", false), ("web2", true)] {
        let what = loop {
            if let [Verb::Prepare { what, .. }] = world.told(host).await.as_slice() {
                break what.clone();
            }
            tokio::task::yield_now().await;
        };
        assert!(matches!(what, What::Apply { once_elsewhere, .. } if once_elsewhere == elsewhere), "{host}: {what:?}");
    }
    drive.abort();
}

#[tokio::test]
async fn hosts_are_looked_at_by_what_they_are_for() {
    let world = World::new().await;
    world.push(SYSTEM).await.unwrap();
    for (on, wanted) in [("role:web", vec!["web1", "web2"]), ("all,!web1", vec!["db1", "web2"]), ("new1", vec!["new1"])]
    {
        let found: Vec<String> =
            world.fleet.hosts_on(on).await.unwrap().hosts.into_iter().map(|host| host.host).collect();
        assert_eq!(found, wanted, "{on}");
    }
    assert!(matches!(world.fleet.hosts_on("role:wbe").await, Err(FleetError::Usage { .. })));
}

#[tokio::test]
async fn a_rebuild_takes_who_may_apply_on_both_hosts() {
    let world = World::new().await;
    world.push(SYSTEM).await.unwrap();
    let rebuild = |host: &str, of: &str| NewRebuild { host: host.to_owned(), of: of.to_owned(), why: None };
    forbidden(world.fleet.rebuild(&rebuild("new1", "db1"), ANNA).await, "dba");
    forbidden(world.fleet.rebuild(&rebuild("db1", "web1"), ANNA).await, "dba");
    forbidden(world.fleet.rebuild(&rebuild("new1", "web1"), DAN).await, "dan");
    // Whoever may is told what is missing.
    for (wanted, who) in [(rebuild("new1", "db1"), BEN), (rebuild("new1", "web1"), ANNA)] {
        assert!(matches!(world.fleet.rebuild(&wanted, who).await, Err(FleetError::Usage { .. })));
    }
}

#[tokio::test]
async fn a_host_that_is_not_in_touch_is_asked_nothing() {
    let world = World::new().await;
    let asked = ["status".to_owned()];
    refused(world.fleet.run("web1", &asked, "anna").await, "not in touch");
    assert!(world.told("web1").await.is_empty());
}

#[tokio::test]
async fn what_is_not_sound_is_not_in_force() {
    let world = World::new().await;
    world.push(SYSTEM).await.unwrap();
    let before = world.fleet.declared_system().await.unwrap();
    let broken = SYSTEM.replace("teams = [\"dba\"]", "teams = [\"dbb\"]");
    assert!(matches!(world.push(&broken).await, Err(FleetError::Usage { what, .. }) if what.contains("`dbb`")));
    let file = BTreeMap::from([("greenroom.toml".to_owned(), SYSTEM.to_owned())]);
    let other = NewSystem {
        file: "greenroom.toml".to_owned(),
        files: file,
        environment: None,
        revision: None,
        dirty: false,
        hash: "0".to_owned(),
    };
    assert!(matches!(world.fleet.push_system(&other, "root").await, Err(FleetError::Usage { .. })));
    assert_eq!(world.fleet.declared_system().await.unwrap(), before);
    let ledger = world.ledger.clone();
    let listing = tokio::task::spawn_blocking(move || ledger.entries(&Filter::default()).unwrap()).await.unwrap();
    let kinds: Vec<&str> = listing.entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["system"]);
}
