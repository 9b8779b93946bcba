//! The hosts and the stage are played here. What has to be left is judged by the test's own list of what it put on record.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod model;
mod storm;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use greenroom_core::api::{HeldAt, NewChange, NewImages, NewRebuild, NewRehearsal, OnImage};
use greenroom_core::changeset::codec::encoded;
use greenroom_core::image::{Manifest, between, contents, manifest};
use greenroom_core::plan::Part;
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::system::Rights;
use greenroom_core::wire::{Answer, Class, Failed, ImageOf, Rehearse, Sent, Staged};
use greenroom_core::{Kind, Mtime, Node};
use greenroom_store::blobs::pack::Packer;
use greenroom_store::blobs::{BlobError, DirBlobs, Hashes, Intake, Listing, Openings, S3Address, S3Blobs};
use greenroom_store::control::Control;
use greenroom_store::ledger::{Filter, Ledger as _, SqlLedger};
use greenroom_testkit::postgres::Postgres;
use greenroom_testkit::s3::{KEY, S3, SECRET};

use super::super::Asker;
use super::*;

const ANNA: Asker<'_> = Asker { name: "anna", rights: Rights::Operator };

/// A clock, and what is added to it, in milliseconds.
type Clock = fn() -> jiff::Timestamp;

static AHEAD: AtomicI64 = AtomicI64::new(0);
static AHEAD_OF_DUE: AtomicI64 = AtomicI64::new(0);

fn shifted() -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_millis(AHEAD.load(Ordering::Relaxed))
}

fn shifted_for_due() -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_millis(AHEAD_OF_DUE.load(Ordering::Relaxed))
}

/// A store in which removing takes a while.
struct Slow {
    store: Box<dyn BlobStore>,
    removing: AtomicUsize,
    wait_us: AtomicU64,
}

impl BlobStore for Slow {
    fn remove(&self, hash: ContentHash) -> Result<bool, BlobError> {
        self.removing.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(self.wait_us.load(Ordering::Relaxed)));
        let removed = self.store.remove(hash);
        self.removing.fetch_sub(1, Ordering::SeqCst);
        removed
    }

    fn put_bytes(&self, bytes: &[u8]) -> Result<ContentHash, BlobError> {
        self.store.put_bytes(bytes)
    }

    fn put_reader(&self, reader: &mut dyn Read) -> Result<ContentHash, BlobError> {
        self.store.put_reader(reader)
    }

    fn adopt_link(&self, dir: BorrowedFd<'_>, source: &Path, hash: ContentHash) -> Result<(), BlobError> {
        self.store.adopt_link(dir, source, hash)
    }

    fn open(&self, hash: ContentHash) -> Result<File, BlobError> {
        self.store.open(hash)
    }

    fn open_verified(&self, hash: ContentHash) -> Result<File, BlobError> {
        self.store.open_verified(hash)
    }

    fn copy_out(&self, hash: ContentHash, writer: &mut dyn Write) -> Result<u64, BlobError> {
        self.store.copy_out(hash, writer)
    }

    fn read_range(&self, hash: ContentHash, from: u64, length: u64) -> Result<Vec<u8>, BlobError> {
        self.store.read_range(hash, from, length)
    }

    fn put_promised(&self, reader: &mut dyn Read, promised: ContentHash) -> Result<bool, BlobError> {
        self.store.put_promised(reader, promised)
    }

    fn length(&self, hash: ContentHash) -> Result<Option<u64>, BlobError> {
        self.store.length(hash)
    }

    fn lengths(&self, hashes: &[ContentHash]) -> Result<Vec<Option<u64>>, BlobError> {
        self.store.lengths(hashes)
    }

    fn open_all<'a>(&'a self, hashes: &'a [ContentHash]) -> Openings<'a> {
        self.store.open_all(hashes)
    }

    fn intake(&self) -> Box<dyn Intake + '_> {
        self.store.intake()
    }

    fn iter(&self) -> Hashes<'_> {
        self.store.iter()
    }

    fn listing(&self) -> Listing<'_> {
        self.store.listing()
    }

    fn verify(&self, hash: ContentHash) -> Result<(), BlobError> {
        self.store.verify(hash)
    }

    fn sync(&self) -> Result<(), BlobError> {
        self.store.sync()
    }
}

/// Numbers that are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    /// Some of the contents that there are.
    fn some(&mut self, of: u64) -> BTreeSet<String> {
        (0..of).filter(|_| self.below(3) == 0).map(|n| format!("content {n}")).collect()
    }
}

fn hash(text: &str) -> ContentHash {
    ContentHash::of(text.as_bytes())
}

/// The manifest of a host that has these contents.
fn host_with(texts: &BTreeSet<String>) -> Manifest {
    let node = |text: &String| {
        let kind = Kind::File { size: text.len() as u64, content: hash(text) };
        let (mode, flags, uid, gid, mtime) = (0o644, 0, 0, 0, Mtime::default());
        Box::new(Node { kind, mode, flags, uid, gid, mtime, xattrs: Box::default(), link: None })
    };
    manifest(texts.iter().map(|text| (format!("/{text}").as_str().into(), node(text))).collect(), Vec::new()).unwrap()
}

fn packed<'a>(contents: impl IntoIterator<Item = &'a [u8]>) -> std::io::Cursor<Vec<u8>> {
    let mut packer = Packer::new(Vec::new()).unwrap();
    for content in contents {
        packer.put(ContentHash::of(content), content.len() as u64, &mut &*content).unwrap();
    }
    std::io::Cursor::new(packer.end().unwrap())
}

fn imaged(manifest: ContentHash) -> Answer {
    Answer::Imaged { manifest, paths: 1, bytes: 1, sent: 1, left_out: Vec::new(), system: ImageOf::default() }
}

fn failed() -> Answer {
    Answer::Failed(Failed::new(Class::Refused, ""))
}

/// Two control planes on one state.
struct World {
    fleets: [Fleet; 2],
    blobs: Arc<Slow>,
    ledger: Arc<SqlLedger>,
    dir: tempfile::TempDir,
}

impl World {
    /// On SQLite and in a directory.
    async fn new(hosts: &[&str], clock: Clock) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Box::new(DirBlobs::open(&dir.path().join("blobs")).unwrap());
        let (one, two) = (Control::open(dir.path()).await.unwrap(), Control::open(dir.path()).await.unwrap());
        Self::of(dir, [one, two], store, (hosts, clock)).await
    }

    async fn of(
        dir: tempfile::TempDir,
        controls: [Control; 2],
        store: Box<dyn BlobStore>,
        (hosts, clock): (&[&str], Clock),
    ) -> Self {
        let at = dir.path().join("ledger");
        let ledger = Arc::new(tokio::task::spawn_blocking(move || SqlLedger::open(&at).unwrap()).await.unwrap());
        let blobs = Arc::new(Slow { store, removing: AtomicUsize::new(0), wait_us: AtomicU64::new(0) });
        for host in hosts {
            controls[0].add_certificate(host, host, i64::MAX).await.unwrap();
            controls[0].hold_agent(host, "test", ("1", greenroom_core::wire::PROTOCOL), 0).await.unwrap();
        }
        let [one, two] = controls;
        let fleet = |control, name| Fleet::new(control, ledger.clone(), blobs.clone(), name, clock);
        Self { fleets: [fleet(one, "one"), fleet(two, "two")], blobs: blobs.clone(), ledger: ledger.clone(), dir }
    }

    fn there(&self) -> BTreeSet<ContentHash> {
        self.blobs.iter().map(Result::unwrap).collect()
    }

    async fn has(&self, text: &str) -> bool {
        let (blobs, hash) = (self.blobs.clone(), hash(text));
        tokio::task::spawn_blocking(move || blobs.contains(hash).unwrap()).await.unwrap()
    }

    async fn sweep(&self, at: usize) -> api::Swept {
        let all = api::NewSweep { older_than_ms: Some(0), dry_run: false };
        self.fleets[at].sweep(&all, "anna").await.unwrap()
    }
}

/// Says what the image is to be, and sends what is missing, as an agent does: what leads on from `since`, and the whole where that is refused.
async fn offer(
    fleet: &Fleet,
    host: &str,
    command: &str,
    now: &BTreeSet<String>,
    since: Option<&Manifest>,
) -> Result<(), FleetError> {
    let whole = host_with(now);
    let (id, all) = (whole.id(), packed([encoded(&whole).as_slice()]));
    let missing = match since {
        None => fleet.offered(host, command, id, None, all).await?,
        Some(last) => {
            let delta = packed([encoded(&between(last, &whole)).as_slice()]);
            match fleet.offered(host, command, id, Some(last.id()), delta).await {
                Err(FleetError::Refused { .. }) => fleet.offered(host, command, id, None, all).await?,
                other => other?,
            }
        }
    };
    let missing: Vec<&[u8]> = now.iter().filter(|t| missing.contains(&hash(t))).map(|t| t.as_bytes()).collect();
    let received = fleet.receive(host, command, packed(missing)).await?;
    assert_eq!(received.changed, []);
    Ok(())
}

fn staged_as(record: &Rehearsal) -> (ContentHash, Vec<u8>) {
    let text = serde_json::to_vec(&Staged { record: record.clone(), declared: None }).unwrap();
    (ContentHash::of(&text), text)
}

const HOSTS: [&str; 3] = ["web1", "web2", "stage1"];
const DAY: i64 = 24 * 3600 * 1000;

fn sent(text: &str) -> Sent {
    Sent { name: text.to_owned(), content: hash(text), mode: 0o644 }
}

/// The stage's part: the change led from one to the other. Its record, and what that brings.
async fn on_stage(
    fleet: &Fleet,
    id: &str,
    host: &str,
    (on, after): (&BTreeSet<String>, &BTreeSet<String>),
) -> (Rehearsal, BTreeSet<ContentHash>) {
    let did = between(&host_with(on), &host_with(after));
    let (bytes, fresh) = (encoded(&did), contents(&did));
    let new = after.iter().filter(|text| fresh.contains_key(&hash(text))).map(|text| text.as_bytes());
    let command = format!("{id}.{host}.stage1");
    fleet.receive("stage1", &command, packed(new.chain([bytes.as_slice()]))).await.unwrap();
    let mut record = Rehearsal::blank("r1", String::new(), "anna", "/".to_owned());
    (record.changeset, record.entries, record.undo_proven) = (Some(did.id()), 1, true);
    record.parts = vec![Part::Files { changeset: did.id(), entries: 1 }];
    let answer = Answer::Rehearsed { record: Box::new(record.clone()), effect: String::new() };
    fleet.answered(&[("stage1".to_owned(), command, answer)]).await.unwrap();
    (record, fresh.into_keys().chain([did.id()]).collect())
}

/// Brings the image of a host up to date; whether it is on record.
async fn image(fleet: &Fleet, host: &str, now: &BTreeSet<String>, since: Option<&Manifest>) -> Option<api::Image> {
    let run = fleet.image(&NewImages { on: vec![host.to_owned()], limit_rate: None }, "anna").await.unwrap();
    let command = format!("{}.{host}", run.id);
    let answer = match offer(fleet, host, &command, now, since).await {
        Ok(()) => imaged(host_with(now).id()),
        Err(FleetError::Refused { .. }) => failed(),
        Err(error) => panic!("{error:?}"),
    };
    fleet.answered(&[(host.to_owned(), command, answer)]).await.unwrap();
    match fleet.image_run(&run.id).await.unwrap().hosts.remove(host).unwrap() {
        OnImage::Done { image } => Some(*image),
        OnImage::Failed { .. } => None,
        OnImage::Running => panic!("it was answered"),
    }
}

fn of(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_goes_on_from_an_image_that_was_dropped() {
    goes_on_from_a_dropped_image(World::new(&["web1"], jiff::Timestamp::now).await).await;
}

#[test]
fn so_does_one_whose_contents_are_in_a_bucket() {
    let (server, dir) = (S3::start(), tempfile::tempdir().unwrap());
    let _ = server.bucket("blobs");
    let mut address = S3Address::parse(&format!("s3://blobs/x?endpoint={}", server.endpoint())).unwrap();
    address.credentials = Some((KEY.into(), SECRET.into()));
    let store = Box::new(S3Blobs::open(&address, dir.path()).unwrap());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let controls = [Control::open(dir.path()).await.unwrap(), Control::open(dir.path()).await.unwrap()];
        goes_on_from_a_dropped_image(World::of(dir, controls, store, (&["web1"], jiff::Timestamp::now)).await).await;
    });
}

async fn goes_on_from_a_dropped_image(world: World) {
    let fleet = &world.fleets[0];
    let mut images = Vec::new();
    for own in ["a", "b", "c", "d"] {
        images.push(image(fleet, "web1", &of(&["shared", own]), None).await.unwrap());
    }
    let young = fleet.sweep(&api::NewSweep::default(), "anna").await.unwrap();
    assert_eq!((young.images["web1"].as_slice(), young.contents), (&[images[0].id.clone()][..], 0), "all is of today");
    let gone = world.sweep(1).await;
    assert_eq!((gone.images.len(), gone.contents), (0, 2), "its manifest, and what it alone had");
    assert!(!world.has("a").await && world.has("shared").await);
    let dropped = fleet.image_run(&images[0].id).await.unwrap();
    assert!(matches!(&dropped.hosts["web1"], OnImage::Failed { failed } if failed.what.contains("was dropped")));
    // Its agent has that one still, and says so.
    let back = image(fleet, "web1", &of(&["shared", "a"]), Some(&host_with(&of(&["shared", "a"])))).await;
    assert_eq!(back.unwrap().manifest, images[0].manifest);
    assert!(world.has("a").await);
    let ledger = world.ledger.clone();
    let entries =
        tokio::task::spawn_blocking(move || ledger.entries(&Filter::default()).unwrap().entries).await.unwrap();
    let sweeps: Vec<_> = entries.iter().filter(|entry| entry.kind == "gc").collect();
    assert_eq!(sweeps.len(), 2);
    assert_eq!(
        (sweeps[0].actor.user.as_str(), &sweeps[0].detail["images"]["web1"][0]),
        ("anna", &images[0].id.as_str().into())
    );
    assert_eq!(sweeps[1].detail["contents"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_while_it_is_not_known_what_is_needed() {
    let world = World::new(&["web1"], jiff::Timestamp::now).await;
    let last = image(&world.fleets[0], "web1", &of(&["a"]), None).await.unwrap();
    let name = last.manifest.to_string();
    let path = world.dir.path().join("blobs").join(&name[..2]).join(&name[2..]);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"something else").unwrap();
    world.blobs.put_bytes(b"of nobody").unwrap();
    let all = api::NewSweep { older_than_ms: Some(0), dry_run: false };
    for at in [0, 1] {
        match world.fleets[at].sweep(&all, "anna").await {
            Err(FleetError::Refused { what, .. }) => assert!(what.contains("damaged"), "{what}"),
            other => panic!("{other:?}"),
        }
        assert!(world.blobs.contains(hash("of nobody")).unwrap());
    }
    // The same again mends it.
    image(&world.fleets[0], "web1", &of(&["a"]), None).await.unwrap();
    assert_eq!(world.sweep(1).await.contents, 1);
    assert!(world.blobs.contains(hash("a")).unwrap());
}

#[test]
fn who_has_lost_the_lease_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = DirBlobs::open(dir.path()).unwrap();
    let (held, bunch) = (Held(AtomicI64::new(Held::clock())), [(blobs.put_bytes(b"x").unwrap(), 1)]);
    for lost in [Held::NOT, Held::clock() - HELD_MS] {
        held.renewed(lost);
        assert!(removed(&blobs, &bunch, &held).is_err() && blobs.contains(bunch[0].0).unwrap());
    }
    held.renewed(Held::clock());
    assert_eq!(removed(&blobs, &bunch, &held).unwrap(), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_due_once_a_day_whoever_did_it_last() {
    let world = World::new(&[], shifted_for_due).await;
    let due = async || (world.fleets[0].is_due().await.unwrap(), world.fleets[1].is_due().await.unwrap());
    assert_eq!(due().await, (true, true));
    world.sweep(1).await;
    // A clock that was a day ahead when it was noted keeps nobody from it.
    for (ahead, is) in [(0, false), (DAY - 60_000, false), (DAY, true), (-DAY - 60_000, true)] {
        AHEAD_OF_DUE.store(ahead, Ordering::Relaxed);
        assert_eq!(due().await, (is, is), "{ahead}");
    }
    AHEAD_OF_DUE.store(0, Ordering::Relaxed);
    // What another has begun is not begun beside it, and what it left behind not at once.
    let seen = world.fleets[0].sweep_lease().await.unwrap();
    world.fleets[0].control.acquire(&seen, "one", 0, 1).await.unwrap().unwrap();
    let all = api::NewSweep { older_than_ms: Some(0), dry_run: false };
    match world.fleets[1].sweep(&all, "anna").await {
        Err(FleetError::Refused { what, .. }) => assert!(what.contains("one is sweeping"), "{what}"),
        other => panic!("{other:?}"),
    }
    assert!(world.fleets[1].sweep_under(&seen, Duration::ZERO, None).await.is_err(), "it is not as it was seen");
}
