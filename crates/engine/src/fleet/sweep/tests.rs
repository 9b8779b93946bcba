//! The hosts and the stage are played here. What has to be left is judged by the test's own list of what it put on record.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

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
use greenroom_store::blobs::{BlobError, DirBlobs, Hashes, Listing, S3Address, S3Blobs};
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
    Answer::Failed(Failed { class: Class::Refused, what: String::new(), causes: Vec::new(), hints: Vec::new() })
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

/// What the test put on record.
#[derive(Default)]
struct Model {
    /// By host, oldest first: the update, and what the host had.
    images: BTreeMap<String, Vec<(String, BTreeSet<String>)>>,
    /// Commands that are not done, and what they need.
    open: BTreeMap<String, Open>,
    /// Rehearsals, and whether they are old.
    rehearsals: Vec<Rehearsed>,
}

enum Open {
    /// An image was asked for after this one; what was offered.
    Image(Option<BTreeSet<String>>, Option<BTreeSet<String>>),
    Rebuild(BTreeSet<String>),
    /// One of so many rehearsals, in `rehearsals`.
    Rehearsal(usize),
}

struct Rehearsed {
    id: String,
    old: bool,
    files: BTreeSet<String>,
    /// Held on a stage: on an image of this, with this record.
    staged: Option<(BTreeSet<String>, Rehearsal, BTreeSet<ContentHash>)>,
    applied: bool,
}

impl Model {
    fn newest(&self, host: &str) -> Option<&BTreeSet<String>> {
        self.images.get(host)?.last().map(|(_, has)| has)
    }

    /// Takes old images off the record.
    fn drop_images(&mut self) -> BTreeMap<String, Vec<String>> {
        let named: Vec<BTreeSet<String>> = self
            .open
            .values()
            .filter_map(|open| match open {
                Open::Image(since, _) => since.clone(),
                Open::Rebuild(of) => Some(of.clone()),
                Open::Rehearsal(_) => None,
            })
            .collect();
        let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (host, images) in &mut self.images {
            let beyond = images.len().saturating_sub(3);
            let mut at = 0;
            images.retain(|(id, has)| {
                at += 1;
                let goes = at <= beyond && !named.contains(has);
                if goes {
                    out.entry(host.clone()).or_default().push(id.clone());
                }
                !goes
            });
        }
        out
    }

    fn needed(&self) -> BTreeSet<ContentHash> {
        let mut out = BTreeSet::new();
        let mut host = |has: &BTreeSet<String>| {
            out.insert(host_with(has).id());
            out.extend(has.iter().map(|text| hash(text)));
        };
        self.images.values().flatten().for_each(|(_, has)| host(has));
        for open in self.open.values() {
            match open {
                Open::Image(_, Some(offered)) => host(offered),
                Open::Rebuild(of) => host(of),
                Open::Image(_, None) | Open::Rehearsal(_) => {}
            }
        }
        for (at, held) in self.rehearsals.iter().enumerate() {
            let open = self.open.values().any(|open| matches!(open, Open::Rehearsal(of) if *of == at));
            if open || !held.old {
                out.extend(held.files.iter().map(|text| hash(text)));
            }
            let Some((on, record, brings)) = &held.staged else { continue };
            if !held.old {
                out.insert(host_with(on).id());
            }
            if !held.old || held.applied {
                out.extend(brings);
            }
            if held.applied {
                out.insert(staged_as(record).0);
            }
        }
        out
    }
}

fn staged_as(record: &Rehearsal) -> (ContentHash, Vec<u8>) {
    let text = serde_json::to_vec(&Staged { record: record.clone(), declared: None }).unwrap();
    (ContentHash::of(&text), text)
}

const HOSTS: [&str; 3] = ["web1", "web2", "stage1"];
const DAY: i64 = 24 * 3600 * 1000;

/// Plays until something is on record that was not.
async fn something(world: &World, model: &mut Model, dice: &mut Dice) {
    let fleet = &world.fleets[usize::from(dice.below(2) == 0)];
    let host = HOSTS[usize::from(dice.below(2) == 0)];
    let now = dice.some(14);
    match dice.below(10) {
        0..=3 => {
            let since = model.newest(host).cloned();
            let run = fleet.image(&NewImages { on: vec![host.to_owned()], limit_rate: None }, "anna").await.unwrap();
            let command = format!("{}.{host}", run.id);
            let mut open = Open::Image(since.clone(), None);
            let far = dice.below(6);
            if far > 0 {
                let last = since.as_ref().map(host_with);
                offer(fleet, host, &command, &now, last.as_ref().filter(|_| far.is_multiple_of(2))).await.unwrap();
                open = Open::Image(since, Some(now.clone()));
            }
            model.open.insert(format!("{command} {host}"), open);
            if far > 1 {
                let answer = imaged(host_with(&now).id());
                fleet.answered(&[(host.to_owned(), command.clone(), answer)]).await.unwrap();
                model.open.remove(&format!("{command} {host}"));
                model.images.entry(host.to_owned()).or_default().push((run.id, now));
            }
        }
        4 => {
            let other = HOSTS[usize::from(host == HOSTS[0])];
            let Some(of) = model.newest(other).cloned() else { return };
            let wanted = NewRebuild { host: host.to_owned(), of: other.to_owned(), why: None };
            // Refused where a change has the host.
            let Ok(begun) = fleet.rebuild(&wanted, ANNA).await else { return };
            model.open.insert(format!("{}.{host} {host}", begun.id), Open::Rebuild(of));
        }
        5 => {
            world.blobs.put_bytes(format!("of nobody {}", dice.below(1000)).as_bytes()).unwrap();
        }
        6 => {
            let Some(name) = model.open.keys().nth(usize::try_from(dice.below(8)).unwrap()).cloned() else { return };
            let (command, of) = name.split_once(' ').unwrap();
            fleet.answered(&[(of.to_owned(), command.to_owned(), failed())]).await.unwrap();
            model.open.remove(&name);
        }
        7 => rehearsed(fleet, model, dice, host).await,
        _ => staged(fleet, model, dice, host).await,
    }
}

fn sent(text: &str) -> Sent {
    Sent { name: text.to_owned(), content: hash(text), mode: 0o644 }
}

/// A rehearsal on the host, with files, begun now or long ago.
async fn rehearsed(fleet: &Fleet, model: &mut Model, dice: &mut Dice, host: &str) {
    let (files, old) = (dice.some(14), dice.below(2) == 0);
    fleet.bring(packed(files.iter().map(|text| text.as_bytes()))).await.unwrap();
    AHEAD.store(if old { -31 * DAY } else { 0 }, Ordering::Relaxed);
    let files_sent = files.iter().map(|text| sent(text)).collect();
    let rehearse = Rehearse { argv: vec!["true".to_owned()], files: files_sent, ..Rehearse::default() };
    let wanted = NewRehearsal { on: vec![host.to_owned()], rehearse, held: HeldAt::Hosts };
    let begun = fleet.rehearse(&wanted, "anna").await.unwrap();
    AHEAD.store(0, Ordering::Relaxed);
    let at = model.rehearsals.len();
    model.open.insert(format!("{}.{host} {host}", begun.id), Open::Rehearsal(at));
    model.rehearsals.push(Rehearsed { id: begun.id, old, files, staged: None, applied: false });
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

/// A rehearsal on the stage, which is over; applied or not.
async fn staged(fleet: &Fleet, model: &mut Model, dice: &mut Dice, host: &str) {
    let (on, after, old) = (dice.some(14), dice.some(14), dice.below(2) == 0);
    AHEAD.store(if old { -31 * DAY } else { 0 }, Ordering::Relaxed);
    let rehearse = Rehearse { argv: vec!["true".to_owned()], ..Rehearse::default() };
    let held = HeldAt::Stage(Some("stage1".to_owned()));
    let begun = fleet.rehearse(&NewRehearsal { on: vec![host.to_owned()], rehearse, held }, "anna").await.unwrap();
    let images = fleet.rehearsal(&begun.id).await.unwrap().stage.unwrap().images;
    let imaging = format!("{images}.{host}");
    offer(fleet, host, &imaging, &on, None).await.unwrap();
    fleet.answered(&[(host.to_owned(), imaging, imaged(host_with(&on).id()))]).await.unwrap();
    model.images.entry(host.to_owned()).or_default().push((images, on.clone()));

    let (record, brings) = on_stage(fleet, &begun.id, host, (&on, &after)).await;
    let change = NewChange { rehearsal: begun.id.clone(), ..NewChange::default() };
    let applied = dice.below(3) == 0 && fleet.apply(&change, ANNA).await.is_ok();
    AHEAD.store(0, Ordering::Relaxed);
    let files = BTreeSet::new();
    model.rehearsals.push(Rehearsed { id: begun.id, old, files, staged: Some((on, record, brings)), applied });
}

#[test]
fn what_is_needed_stays_and_nothing_else() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for seed in 1..=3 {
        runtime.block_on(async {
            let (world, mut model, mut dice) = (World::new(&HOSTS, shifted).await, Model::default(), Dice(seed * 7919));
            for round in 0..4 {
                for _ in 0..12 {
                    something(&world, &mut model, &mut dice).await;
                }
                let before = world.there();
                let tried = api::NewSweep { older_than_ms: Some(0), dry_run: true };
                let would = world.fleets[0].sweep(&tried, "anna").await.unwrap();
                assert_eq!(world.there(), before);
                let gone = world.sweep(round % 2).await;
                assert_eq!(gone, would, "seed {seed} round {round}");
                assert_eq!(gone.images, model.drop_images(), "seed {seed} round {round}");
                assert_eq!(world.there(), model.needed(), "seed {seed} round {round}");
                assert_eq!(gone.contents, (before.len() - world.there().len()) as u64);
                for host in HOSTS {
                    let there = world.fleets[1].images(Some(host)).await.unwrap().images;
                    let there: Vec<&str> = there.iter().rev().map(|image| image.id.as_str()).collect();
                    let left = model.images.get(host).map_or(&[][..], Vec::as_slice);
                    assert_eq!(there, left.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>());
                }
            }
            // What was rehearsed long ago says so, unless all of it happens to be here still.
            for held in model.rehearsals.iter().filter(|held| !held.applied) {
                let Some((_, _, brings)) = &held.staged else { continue };
                let whole = world.there().is_superset(brings);
                let change = NewChange { rehearsal: held.id.clone(), ..NewChange::default() };
                match world.fleets[0].apply(&change, ANNA).await {
                    Err(FleetError::Refused { what, .. }) if what.contains("are gone") => assert!(!whole, "{what}"),
                    // Another change has the host.
                    Ok(_) | Err(FleetError::Refused { .. }) => assert!(whole || !held.old),
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
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

/// How a storm went.
#[derive(Default)]
struct Storm {
    ended: AtomicU64,
    killed: AtomicU64,
    images: AtomicU64,
    refused: AtomicU64,
    changes: AtomicU64,
    /// The lease with this fence was that of a sweep that was killed.
    dead: AtomicU64,
    /// Somebody found something wrong.
    broken: AtomicU64,
}

/// Who panics ends it for all.
struct Alarm<'s>(&'s Storm);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.broken.fetch_add(u64::from(std::thread::panicking()), Ordering::Relaxed);
    }
}

impl Storm {
    fn is_over(&self) -> bool {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        count(&self.broken) > 0
            || count(&self.ended) >= 15
                && count(&self.killed) >= 10
                && count(&self.images) >= 150
                && count(&self.changes) >= 10
    }
}

/// A control plane that sweeps again and again, and is killed now and then.
async fn sweeps(world: &World, at: usize, storm: &Storm) {
    let (mut dice, _alarm) = (Dice(31 + at as u64), Alarm(storm));
    while !storm.is_over() {
        let fleet = world.fleets[at].clone();
        let lease = fleet.sweep_lease().await.unwrap();
        if lease.holder.is_some() && lease.fence != storm.dead.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let task = tokio::spawn(async move { fleet.sweep_under(&lease, Duration::ZERO, None).await });
        if dice.below(2) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
            task.abort();
        }
        match task.await {
            Ok(Ok(_)) => drop(storm.ended.fetch_add(1, Ordering::Relaxed)),
            Ok(Err(FleetError::Refused { .. })) => {}
            Ok(Err(error)) => panic!("{error:?}"),
            Err(_) => {
                storm.killed.fetch_add(1, Ordering::Relaxed);
                // What it was just removing is removed.
                tokio::time::sleep(Duration::from_millis(50)).await;
                while world.blobs.removing.load(Ordering::SeqCst) > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let lease = world.fleets[at].sweep_lease().await.unwrap();
                if lease.holder.as_deref() == Some(world.fleets[at].name()) {
                    storm.dead.store(lease.fence, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A host whose image is brought up to date again and again, and a person who rehearses there now and then; the files of that.
async fn goes_on(world: &World, host: &str, seed: u64, storm: &Storm) -> BTreeSet<String> {
    let _alarm = Alarm(storm);
    let (mut dice, mut files, mut last) = (Dice(seed), BTreeSet::new(), None);
    while !storm.is_over() {
        let fleet = &world.fleets[usize::from(dice.below(2) == 0)];
        let now = dice.some(12);
        let since = last.as_ref().map(host_with).filter(|_| dice.below(2) == 0);
        let recorded = image(fleet, host, &now, since.as_ref()).await;
        if recorded.is_some() {
            storm.images.fetch_add(1, Ordering::Relaxed);
            let lacks: Vec<&String> = now.iter().filter(|t| !world.blobs.contains(hash(t)).unwrap()).collect();
            assert!(lacks.is_empty(), "{host} lacks {lacks:?}");
            last = Some(now);
        } else {
            storm.refused.fetch_add(1, Ordering::Relaxed);
        }
        if dice.below(8) == 0 {
            let file = format!("file {}", dice.below(400));
            if !fleet.missing(vec![hash(&file)]).await.unwrap().is_empty() {
                fleet.bring(packed([file.as_bytes()])).await.unwrap();
            }
            let rehearse = Rehearse { argv: vec!["true".to_owned()], files: vec![sent(&file)], ..Rehearse::default() };
            let wanted = NewRehearsal { on: vec![host.to_owned()], rehearse, held: HeldAt::Hosts };
            match fleet.rehearse(&wanted, "anna").await {
                Ok(_) => drop(files.insert(file)),
                Err(FleetError::Refused { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        } else if dice.below(5) == 0 {
            changes(world, host, &mut dice, storm).await;
        } else if dice.below(8) == 0 {
            // Somebody brought it and did nothing with it.
            fleet.bring(packed([format!("file {}", dice.below(400)).as_bytes()])).await.unwrap();
        }
    }
    files
}

/// A rehearsal on the stage that at once is as old as one whose contents may go, and is applied all the same.
async fn changes(world: &World, host: &str, dice: &mut Dice, storm: &Storm) {
    let fleet = &world.fleets[usize::from(dice.below(2) == 0)];
    let (on, after) = (dice.some(12), dice.some(12));
    let rehearse = Rehearse { argv: vec!["true".to_owned()], ..Rehearse::default() };
    let held = HeldAt::Stage(Some("stage1".to_owned()));
    let begun = fleet.rehearse(&NewRehearsal { on: vec![host.to_owned()], rehearse, held }, "anna").await.unwrap();
    let imaging = format!("{}.{host}", fleet.rehearsal(&begun.id).await.unwrap().stage.unwrap().images);
    let answer = match offer(fleet, host, &imaging, &on, None).await {
        Ok(()) => imaged(host_with(&on).id()),
        Err(_) => failed(),
    };
    fleet.answered(&[(host.to_owned(), imaging, answer)]).await.unwrap();
    if fleet.rehearsal(&begun.id).await.unwrap().over {
        // There is no image.
        return;
    }
    let (record, brings) = on_stage(fleet, &begun.id, host, (&on, &after)).await;
    let mut order = fleet.order(&begun.id).await.unwrap();
    order.at -= 31 * DAY;
    fleet.write_order(&begun.id, &order).await.unwrap();
    tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
    let change = NewChange { rehearsal: begun.id.clone(), ..NewChange::default() };
    let change = match fleet.apply(&change, ANNA).await {
        Ok(begun) => begun.id,
        Err(FleetError::Refused { what, .. }) if what.contains("are gone") => return,
        Err(error) => panic!("{error:?}"),
    };
    storm.changes.fetch_add(1, Ordering::Relaxed);
    for _ in 0..5 {
        assert!(world.there().is_superset(&brings) && world.there().contains(&staged_as(&record).0), "{change}");
        tokio::time::sleep(Duration::from_millis(dice.below(20))).await;
    }
    let leases = fleet.control.open_leases().await.unwrap();
    let lease = leases.iter().find(|lease| lease.saga == change).unwrap();
    let fence = fleet.control.acquire(lease, "test", 0, 1).await.unwrap().unwrap();
    let state = fleet.control.saga(&change).await.unwrap().unwrap().state;
    fleet.control.finish_saga(&fence, Step { state: &state, ..Step::default() }, 0).await.unwrap();
}

const WEBS: [&str; 3] = ["web1", "web2", "web3"];
const WITH_STAGE: [&str; 4] = ["web1", "web2", "web3", "stage1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_on_record_ever_lacks_anything_whoever_sweeps_and_dies_meanwhile() {
    a_storm(World::new(&WITH_STAGE, jiff::Timestamp::now).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_on_postgresql() {
    greenroom_testkit::need_root!();
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = Box::new(DirBlobs::open(&dir.path().join("blobs")).unwrap());
    let url = server.database("control");
    let controls = [Control::connect(&url).await.unwrap(), Control::connect(&url).await.unwrap()];
    a_storm(World::of(dir, controls, store, (&WITH_STAGE, jiff::Timestamp::now)).await).await;
}

async fn a_storm(world: World) {
    let world = Arc::new(world);
    world.blobs.wait_us.store(500, Ordering::Relaxed);
    let storm = Arc::new(Storm::default());
    let sweepers: Vec<_> = (0..2)
        .map(|at| {
            let (world, storm) = (world.clone(), storm.clone());
            tokio::spawn(async move { sweeps(&world, at, &storm).await })
        })
        .collect();
    let hosts: Vec<_> = WEBS
        .into_iter()
        .zip(1..)
        .map(|(host, seed)| {
            let (world, storm) = (world.clone(), storm.clone());
            tokio::spawn(async move { goes_on(&world, host, seed * 104_729, &storm).await })
        })
        .collect();
    let mut needed = BTreeSet::new();
    for host in hosts {
        needed.extend(host.await.unwrap().iter().map(|text| hash(text)));
    }
    for sweeper in sweepers {
        sweeper.await.unwrap();
    }
    let lease = world.fleets[0].sweep_lease().await.unwrap();
    world.fleets[0].sweep_under(&lease, Duration::ZERO, None).await.unwrap();
    for host in WEBS {
        let images = world.fleets[0].images(Some(host)).await.unwrap().images;
        assert_eq!(images.len(), 3);
        for image in images {
            needed.insert(image.manifest);
            let manifest = world.fleets[0].manifest(image.manifest).await.unwrap();
            needed.extend(contents(&manifest).into_keys());
        }
    }
    assert_eq!(world.there(), needed);
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
