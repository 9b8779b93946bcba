//! A change goes through fifty of the agents with which it is measured, and back.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use greenroom_core::api::{Begun, Change, Hosts, Log, Undo};
use greenroom_core::rollout::Step;
use greenroom_engine::fleet::Fleet;
use greenroom_net::client::Url;
use greenroom_net::tls::Authority;
use greenroom_server::{Limits, Shared, new_token, serve};
use greenroom_store::blobs::DirBlobs;
use greenroom_store::control::{Control, Role};
use greenroom_store::ledger::{Ledger as _, SqlLedger, Verdict};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::agents::{Agents, Door, enrol};
use super::{apply, followed, in_place, rehearse};

const HOSTS: usize = 50;

/// A control plane in this process, and how root comes in.
fn plane(dir: &std::path::Path, ledger: Arc<SqlLedger>, runtime: &Runtime) -> Door {
    runtime.block_on(async {
        let control = Control::open(dir).await.unwrap();
        let blobs = Arc::new(DirBlobs::open(&dir.join("blobs")).unwrap());
        let fleet = Fleet::new(control, ledger, blobs, "cp", jiff::Timestamp::now);
        let (token, secret) = new_token("root", Role::Admin, fleet.now() + 3_600_000).unwrap();
        fleet.control().add_token(&token, fleet.now()).await.unwrap();
        let authority = Authority::create("test", fleet.now() / 1000).unwrap();
        let pem = authority.certificate().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let shared = Shared::new(fleet, authority, vec![url.clone()]);
        tokio::spawn(async move {
            // It serves as long as the runtime does.
            let (_stop, stopped) = tokio::sync::watch::channel(false);
            serve(shared, listener, vec!["127.0.0.1".to_owned()], Limits::default(), stopped).await.unwrap();
        });
        Door { url: Url::parse(&url).unwrap(), authority: pem, token: secret }
    })
}

#[test]
fn a_change_goes_through_fifty_agents_and_back_each_of_them_once() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(SqlLedger::open(&dir.path().join("ledger")).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let door = plane(dir.path(), ledger.clone(), &runtime);
    let agents = Agents::connect(&door, enrol(&door, HOSTS).unwrap()).unwrap();
    let person = door.person().unwrap();

    let rehearsal = rehearse(&person, HOSTS).unwrap();
    let id = apply(&person, &rehearsal).unwrap();
    in_place(&person, &id, HOSTS).unwrap();
    assert_eq!(agents.tally.changed.load(Ordering::Relaxed), HOSTS);

    let back: Begun = person.post(&format!("/v1/changes/{id}/undo"), &Undo::default()).unwrap();
    assert_eq!(followed(&person, &format!("/v1/changes/{}/events", back.id)).unwrap(), "done");
    let change: Change = person.get(&format!("/v1/changes/{}", back.id)).unwrap();
    assert!(change.hosts.values().all(|part| part.step == Step::Well && part.local.as_deref() == Some("c2")));
    assert_eq!(agents.tally.changed.load(Ordering::Relaxed), 2 * HOSTS);

    agents.settled().unwrap();
    agents.unbroken().unwrap();
    let hosts: Hosts = person.get("/v1/hosts").unwrap();
    let good = |host: &greenroom_core::api::Host| host.in_touch && host.held_by.is_none() && host.status.is_some();
    assert!(hosts.hosts.len() == HOSTS && hosts.hosts.iter().all(good));
    let log: Log = person.get("/v1/log").unwrap();
    let count = |kind: &str| log.entries.iter().filter(|entry| entry["kind"] == kind).count();
    assert_eq!((count("enrol"), count("rehearsal"), count("apply"), count("undo")), (HOSTS, 1, 1, 1));
    assert!(matches!(ledger.verify().unwrap(), Verdict::Verified { .. }));
}
