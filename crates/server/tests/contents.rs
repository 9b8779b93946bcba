//! Who may read and write which contents: over real TLS, with real certificates.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::sync::Arc;

use greenroom_core::api::{
    Begun, Contents, Enrol, Enrolled, HeldAt, Images, Missing, NewChange, NewImages, NewRehearsal, OnHost, Received,
    Rehearsal,
};
use greenroom_core::changeset::codec::encoded;
use greenroom_core::image::manifest;
use greenroom_core::wire::{Answer, Command, PROTOCOL, Rehearse, Sent, Staged, Verb, What};
use greenroom_core::{ContentHash, Kind, Mtime, Node};
use greenroom_engine::fleet::Fleet;
use greenroom_net::client::{Http, HttpError, Url};
use greenroom_net::tls::{Authority, Identity, request};
use greenroom_server::{Limits, Shared, hash_of_secret, new_token};
use greenroom_store::blobs::pack::{Packer, unpack};
use greenroom_store::blobs::{BlobStore, DirBlobs};
use greenroom_store::control::{Control, NewCommand, Role};
use greenroom_store::ledger::SqlLedger;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

struct World {
    runtime: Runtime,
    fleet: Fleet,
    blobs: Arc<DirBlobs>,
    authority: String,
    url: Url,
    person: Http,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let ledger = Arc::new(SqlLedger::open(&dir.path().join("ledger")).unwrap());
        let blobs = Arc::new(DirBlobs::open(&dir.path().join("blobs")).unwrap());
        let store: Arc<dyn BlobStore> = blobs.clone();
        let control = runtime.block_on(Control::open(dir.path())).unwrap();
        let fleet = Fleet::new(control, ledger, store, "test", jiff::Timestamp::now);
        let authority = Authority::create("test", fleet.now() / 1000).unwrap();
        let pem = authority.certificate().to_owned();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = Url::parse(&format!("https://localhost:{}", listener.local_addr().unwrap().port())).unwrap();
        let (token, secret) = new_token("anna", Role::Operator, fleet.now() + 1_000_000).unwrap();
        runtime.block_on(fleet.control().add_token(&token, fleet.now())).unwrap();
        let shared = Shared::new(fleet.clone(), authority, vec![url.to_string()]);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        runtime.spawn(async move {
            let _keep = stop;
            greenroom_server::serve(shared, listener, vec!["localhost".to_owned()], Limits::default(), stopped)
                .await
                .unwrap();
        });
        let person = Http::new(url.clone(), &pem, None, Some(secret)).unwrap();
        Self { runtime, fleet, blobs, authority: pem, url, person, dir }
    }

    fn agent(&self, host: &str) -> Http {
        let (now, token) = (self.fleet.now(), format!("token of {host}"));
        let hash = hash_of_secret(&token);
        let added = self.fleet.control().add_enrolment(&hash, host, now, now + 100_000);
        self.runtime.block_on(added).unwrap();
        let wanted = request(host).unwrap();
        let nobody = Http::new(self.url.clone(), &self.authority, None, None).unwrap();
        let enrolled: Enrolled = nobody
            .post("/v1/enrol", &Enrol { token: greenroom_core::api::Secret(token), request: wanted.request })
            .unwrap();
        let identity = Identity { certificate: enrolled.certificate, key: wanted.key };
        Http::new(self.url.clone(), &self.authority, Some(&identity), None).unwrap()
    }

    fn answered(&self, host: &str, id: &str, answer: Answer) {
        self.runtime.block_on(self.fleet.answered(&[(host.to_owned(), id.to_owned(), answer)])).unwrap();
    }
}

fn packed(contents: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new()).unwrap();
    for (promised, content) in contents {
        packer.put(ContentHash::of(promised), content.len() as u64, &mut &**content).unwrap();
    }
    packer.end().unwrap()
}

fn status<T>(outcome: Result<T, HttpError>) -> u16 {
    match outcome {
        Ok(_) => 200,
        Err(HttpError::Status { status, .. }) => status,
        Err(other) => panic!("{other}: {other:?}"),
    }
}

fn file(content: &[u8]) -> Box<Node> {
    let kind = Kind::File { size: content.len() as u64, content: ContentHash::of(content) };
    let (mode, flags, uid, gid, mtime) = (0o644, 0, 0, 0, Mtime::default());
    Box::new(Node { kind, mode, flags, uid, gid, mtime, xattrs: Box::default(), link: None })
}

#[test]
fn a_host_writes_what_it_is_asked_for_and_nothing_else() {
    let world = World::new();
    let (web1, web2) = (world.agent("web1"), world.agent("web2"));
    let run: Begun =
        world.person.post("/v1/images", &NewImages { on: vec!["web1".to_owned()], limit_rate: None }).unwrap();
    let command = format!("{}.web1", run.id);
    let path = |what: &str| format!("/v1/agent/commands/{command}/{what}");
    let image = manifest(vec![("/a".into(), file(b"one")), ("/b".into(), file(b"two"))], Vec::new()).unwrap();
    let encoded = encoded(&image);
    let offer = path(&format!("manifest?manifest={}", image.id()));
    let body = packed(&[(&encoded, &encoded)]);

    // Contents before a manifest; another host; a person; nobody.
    assert_eq!(status(web1.send::<Received>(&path("contents"), &*packed(&[(b"one", b"one")]))), 404);
    assert_eq!(status(web2.send::<Missing>(&offer, &*body)), 404);
    assert_eq!(status(world.person.send::<Missing>(&offer, &*body)), 401);
    assert_eq!(
        status(web1.send::<Missing>(&path(&format!("manifest?manifest={}", ContentHash::of(b"x"))), &*body)),
        400
    );
    let missing: Missing = web1.send(&offer, &*body).unwrap();
    assert_eq!(missing.missing.len(), 2);

    // What was not asked for, what is not what it says, what is cut off, and what is no stream at all.
    assert_eq!(status(web1.send::<Received>(&path("contents"), &*packed(&[(b"evil", b"evil")]))), 403);
    assert!(!world.blobs.contains(ContentHash::of(b"evil")).unwrap());
    let received: Received = web1.send(&path("contents"), &*packed(&[(b"one", b"two?"), (b"two", b"two")])).unwrap();
    assert_eq!((received.stored, received.changed), (1, vec![ContentHash::of(b"one")]));
    assert!(!world.blobs.contains(ContentHash::of(b"two?")).unwrap());
    assert_eq!(status(web1.send::<Received>(&path("contents"), &packed(&[(b"one", b"one")])[..20])), 400);
    assert_eq!(status(web1.send::<Received>(&path("contents"), &b"not zstd at all"[..])), 400);
    assert_eq!(status(web2.send::<Received>(&path("contents"), &*packed(&[(b"one", b"one")]))), 404);

    // An image that is not whole is none, whoever says so.
    let imaged = Answer::Imaged {
        manifest: image.id(),
        paths: 2,
        bytes: 6,
        sent: 6,
        left_out: Vec::new(),
        system: greenroom_core::wire::ImageOf::default(),
    };
    let listed = || world.person.get::<Images>("/v1/images").unwrap().images.len();
    let runtime = &world.runtime;
    runtime.block_on(world.fleet.answered(&[("web2".to_owned(), command.clone(), imaged.clone())])).unwrap();
    assert_eq!(listed(), 0);
    // What has arrived is not asked for again.
    let missing: Missing = web1.send(&offer, &*body).unwrap();
    assert_eq!(missing.missing, [ContentHash::of(b"one")]);
    // Of which a power cut left less than there was is.
    let two = world.blobs.path(ContentHash::of(b"two"));
    std::fs::set_permissions(&two, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&two, b"tw").unwrap();
    assert_eq!(web1.send::<Missing>(&offer, &*body).unwrap().missing.len(), 2);
    web1.send::<Received>(&path("contents"), &*packed(&[(b"one", b"one"), (b"two", b"two")])).unwrap();
    world.answered("web1", &command, imaged);
    assert_eq!(listed(), 1);
    world.blobs.verify(ContentHash::of(b"two")).unwrap();
    // The command is over.
    assert_eq!(status(web1.send::<Missing>(&offer, &*body)), 404);
    // The directory lives as long as the world.
    assert!(world.dir.path().join("blobs").is_dir());
}

#[test]
fn a_host_reads_what_its_command_needs_and_nothing_else() {
    let world = World::new();
    let (web1, web2) = (world.agent("web1"), world.agent("web2"));
    let (mine, secret) = (ContentHash::of(b"shop.conf"), world.blobs.put_bytes(b"a secret of web2").unwrap());
    let received: Received = world.person.send("/v1/contents", &*packed(&[(b"shop.conf", b"shop.conf")])).unwrap();
    assert_eq!(received.stored, 1);
    let sent = Sent { name: "shop.conf".to_owned(), content: mine, mode: 0o644 };
    let rehearse = Rehearse { argv: vec!["true".to_owned()], files: vec![sent], ..Rehearse::default() };
    let run: Begun = world
        .person
        .post("/v1/rehearsals", &NewRehearsal { on: vec!["web1".to_owned()], rehearse, held: HeldAt::Hosts })
        .unwrap();
    let fetch = |agent: &Http, content| {
        let body = Contents { contents: vec![content] };
        agent.fetch(&format!("/v1/agent/commands/{}.web1/fetch", run.id), &body)
    };
    let here = DirBlobs::open(&world.dir.path().join("here")).unwrap();
    unpack(fetch(&web1, mine).unwrap(), &here, |_, _| true).unwrap();
    assert!(here.verify(mine).is_ok());
    assert_eq!(status(fetch(&web1, secret)), 403);
    assert_eq!(status(fetch(&web2, mine)), 404);
    assert_eq!(status(fetch(&world.person, mine)), 401);
    world.answered(
        "web1",
        &format!("{}.web1", run.id),
        Answer::Ran { code: 0, stdout: String::new(), stderr: String::new() },
    );
    assert_eq!(status(fetch(&web1, mine)), 404);
}

#[test]
fn a_stage_has_an_image_for_its_command_and_the_host_what_the_rehearsal_did() {
    let world = World::new();
    let [web1, web2, stage1] = ["web1", "web2", "stage1"].map(|host| {
        let agent = world.agent(host);
        world
            .runtime
            .block_on(world.fleet.control().hold_agent(host, "test", ("1", PROTOCOL), world.fleet.now()))
            .unwrap();
        agent
    });
    let secret = world.blobs.put_bytes(b"a secret of web2").unwrap();
    let held = HeldAt::Stage(Some("stage1".to_owned()));
    let rehearse = Rehearse { argv: vec!["true".to_owned()], ..Rehearse::default() };
    let on = vec!["web1".to_owned()];
    let run: Begun = world.person.post("/v1/rehearsals", &NewRehearsal { on, rehearse, held }).unwrap();
    let now: Rehearsal = world.person.get(&format!("/v1/rehearsals/{}", run.id)).unwrap();
    let images = now.stage.unwrap().images;
    let command = format!("{}.web1.stage1", run.id);
    let path = |what: &str| format!("/v1/agent/commands/{command}/{what}");
    let fetch = |agent: &Http, id: &str, content| {
        agent.fetch(&format!("/v1/agent/commands/{id}/fetch"), &Contents { contents: vec![content] })
    };
    // Before the image is there the stage has nothing to do.
    assert_eq!(status(fetch(&stage1, &command, secret)), 404);
    let image = manifest(vec![("/a".into(), file(b"one"))], Vec::new()).unwrap();
    let body = packed(&[(&encoded(&image), &encoded(&image))]);
    let imaging = format!("{images}.web1");
    let of_image = |what: &str| format!("/v1/agent/commands/{imaging}/{what}");
    web1.send::<Missing>(&of_image(&format!("manifest?manifest={}", image.id())), &*body).unwrap();
    web1.send::<Received>(&of_image("contents"), &*packed(&[(b"one", b"one")])).unwrap();
    let system = greenroom_core::wire::ImageOf::default();
    let imaged = Answer::Imaged { manifest: image.id(), paths: 1, bytes: 3, sent: 3, left_out: Vec::new(), system };
    killed_before_anything_follows(&world, &images, || world.answered("web1", &imaging, imaged.clone()));
    assert_eq!(status(fetch(&stage1, &command, image.id())), 404);
    world.answered("web1", &imaging, imaged);

    for content in [image.id(), ContentHash::of(b"one")] {
        assert_eq!(status(fetch(&stage1, &command, content)), 200);
        assert_eq!(status(fetch(&web1, &command, content)), 404);
        assert_eq!(status(fetch(&web2, &command, content)), 404);
    }
    assert_eq!(status(fetch(&stage1, &command, secret)), 403);
    // It brings what the rehearsal did, and nobody else does.
    let after = manifest(vec![("/a".into(), file(b"two"))], Vec::new()).unwrap();
    let did = greenroom_core::image::between(&image, &after);
    let brings = packed(&[(&encoded(&did), &encoded(&did)), (b"two", b"two")]);
    assert_eq!(status(web2.send::<Received>(&path("contents"), &*brings)), 404);
    assert_eq!(stage1.send::<Received>(&path("contents"), &*brings).unwrap().stored, 2);
    let mut record = greenroom_core::rehearsal::Rehearsal::blank("r1", String::new(), "anna", "/".to_owned());
    (record.changeset, record.entries) = (Some(did.id()), 1);
    record.parts = vec![greenroom_core::plan::Part::Files { changeset: did.id(), entries: 1 }];
    let answer = Answer::Rehearsed { record: Box::new(record.clone()), effect: String::new() };
    // Whose command it is not is not believed.
    world.answered("web2", &format!("{}.web1.web2", run.id), answer.clone());
    let now = || world.person.get::<Rehearsal>(&format!("/v1/rehearsals/{}", run.id)).unwrap();
    assert!(!now().over);
    world.answered("stage1", &command, answer);
    assert!(now().over && matches!(now().hosts["web1"], OnHost::Held { .. }));
    assert_eq!(status(fetch(&stage1, &command, image.id())), 404);
    assert_eq!(status(stage1.send::<Received>(&path("contents"), &*brings)), 404);
    the_host_reads_it(&world, &web1, &web2, &record, &[secret, image.id(), ContentHash::of(b"one")]);
    an_older_agent_is_not_told(&world, &run.id);
}

/// The agent was put back to an older one since the rehearsal.
fn an_older_agent_is_not_told(world: &World, id: &str) {
    let apply = |protocol| {
        let (control, now) = (world.fleet.control(), world.fleet.now());
        world.runtime.block_on(control.hold_agent("web1", "test", ("0.9", protocol), now)).unwrap();
        let wanted = NewChange { rehearsal: id.to_owned(), ..NewChange::default() };
        world.person.post::<Begun>("/v1/changes", &wanted)
    };
    match apply(1) {
        Err(HttpError::Status { status: 409, body, .. }) => {
            assert!(
                body.contains("web1's agent is of version 0.9 and cannot apply what was rehearsed on a stage"),
                "{body}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(world.runtime.block_on(world.fleet.control().host_locks()).unwrap().is_empty());
    assert_eq!(apply(PROTOCOL).unwrap().hosts, ["web1"]);
}

/// The control plane has the answer, and nothing of what follows from it: the host says it again.
fn killed_before_anything_follows(world: &World, images: &str, answered: impl FnOnce()) {
    let control = world.fleet.control();
    let waiting = world.runtime.block_on(control.document("staging", images)).unwrap().unwrap();
    assert!(world.runtime.block_on(control.drop_document("staging", images)).unwrap());
    answered();
    world.runtime.block_on(control.put_document("staging", images, &waiting, world.fleet.now())).unwrap();
}

/// The host that it is for reads the record and what it brings, for its part of a change, and none of `others`.
fn the_host_reads_it(
    world: &World,
    web1: &Http,
    web2: &Http,
    record: &greenroom_core::rehearsal::Rehearsal,
    others: &[ContentHash],
) {
    let fetch = |agent: &Http, id: &str, content| {
        agent.fetch(&format!("/v1/agent/commands/{id}/fetch"), &Contents { contents: vec![content] })
    };
    let did = record.changeset.unwrap();
    let staged = world
        .blobs
        .put_bytes(&serde_json::to_vec(&Staged { record: record.clone(), declared: None }).unwrap())
        .unwrap();
    let (force_verdict, once_elsewhere) = (None, false);
    let what = What::Apply { rehearsal: "r1".to_owned(), force_verdict, once_elsewhere, staged: Some(staged) };
    let verb = Verb::Prepare { change: "c1".to_owned(), what, why: None, hold_s: 1 };
    let order = Command { id: "c1-prepare.web1".to_owned(), fence: 1, person: "anna".to_owned(), verb };
    let body = serde_json::to_string(&order).unwrap();
    let new = NewCommand { id: order.id.clone(), host: "web1".to_owned(), fence: 1, body };
    world.runtime.block_on(world.fleet.control().enqueue(&[new], None, world.fleet.now())).unwrap();
    for content in [staged, did, ContentHash::of(b"two")] {
        assert_eq!(status(fetch(web1, &order.id, content)), 200);
        assert_eq!(status(fetch(web2, &order.id, content)), 404);
    }
    for content in others.iter().copied() {
        assert_eq!(status(fetch(web1, &order.id, content)), 403);
    }
    assert_eq!(
        status(
            web1.send::<Received>(&format!("/v1/agent/commands/{}/contents", order.id), &*packed(&[(b"two", b"two")]))
        ),
        404
    );
}
