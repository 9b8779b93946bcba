//! Contents in a bucket of which several are on their way at once: how many, how much of them, in which order, and what is said of
//! one that fails.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use greenroom_core::ContentHash;
use greenroom_store::blobs::pack::{PackError, Packer, unpack};
use greenroom_store::blobs::{BlobError, BlobStore as _, S3Address, S3Blobs};
use greenroom_testkit::s3::{KEY, S3, SECRET};

/// Requests of one caller, its places, all callers' places, and the bytes in one.
const EACH: usize = 32;
const OWN: u64 = 64;
const PLACES: usize = 256;
const PLACE: u64 = 128 * 1024;

struct World {
    store: S3Blobs,
    server: S3,
    bucket: PathBuf,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let (server, dir) = (S3::start(), tempfile::tempdir().unwrap());
        let bucket = server.bucket("blobs");
        let mut address = S3Address::parse(&format!("s3://blobs?endpoint={}", server.endpoint())).unwrap();
        address.credentials = Some((KEY.into(), SECRET.into()));
        let store = S3Blobs::open(&address, dir.path()).unwrap();
        Self { store, server, bucket, _dir: dir }
    }

    fn file(&self, hash: ContentHash) -> PathBuf {
        let text = hash.to_string();
        self.bucket.join(&text[..2]).join(&text[2..])
    }

    /// Does `work`, whose requests wait until there are so many, as there have to be.
    fn held<T>(&self, asked: usize, work: impl FnOnce() -> T) -> T {
        self.server.hold(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let began = Instant::now();
                while self.server.asked() < asked && began.elapsed() < Duration::from_secs(60) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let there = self.server.asked();
                self.server.hold(false);
                assert!(there >= asked, "{there} requests at once, not {asked}");
            });
            work()
        })
    }

    /// Waits until every request is answered.
    fn settled(&self) {
        while self.server.asked() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Contents of these lengths, none like another, that cannot be compressed.
fn contents(lengths: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    let content = |(n, length): (usize, usize)| {
        let words = (0..).map(|at: u64| ((n as u64) << 32 | at).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        words.flat_map(|word| (word ^ word >> 29).to_le_bytes()).take(length).collect()
    };
    lengths.into_iter().enumerate().map(content).collect()
}

fn names(contents: &[Vec<u8>]) -> Vec<ContentHash> {
    contents.iter().map(|content| ContentHash::of(content)).collect()
}

fn packed(contents: &[Vec<u8>]) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new()).unwrap();
    for content in contents {
        packer.put(ContentHash::of(content), content.len() as u64, &mut &**content).unwrap();
    }
    packer.end().unwrap()
}

#[test]
fn what_is_read_ahead_has_bounds_and_comes_in_order() {
    let world = World::new();
    let long = usize::try_from(PLACE).unwrap();
    let lengths = (0..120).map(|n| [8, 4096, long, long + 1, 300_000, 2_000_000][n % 6]).chain([5_000_000, 0, 9]);
    let contents = contents(lengths);
    for content in &contents {
        world.store.put_bytes(content).unwrap();
    }
    let (names, before) = (names(&contents), world.server.sent());
    assert_eq!(world.server.most(), 1, "nothing was ahead until now");
    let mut all = world.store.open_all(&names);
    let (mut used, mut most) = (0, 0);
    for (at, content) in contents.iter().enumerate() {
        let next = if at == 0 { world.held(EACH, || all.next()) } else { all.next() };
        let (mut opened, mut bytes) = (next.unwrap().unwrap(), Vec::new());
        world.settled();
        used += opened.length;
        let ahead = (world.server.sent() - before).saturating_sub(used);
        assert!(ahead <= OWN * PLACE, "{ahead} bytes ahead at {at}");
        most = most.max(ahead);
        opened.content.read_to_end(&mut bytes).unwrap();
        assert!(&bytes == content && opened.length == content.len() as u64, "{at}");
    }
    assert!(all.next().is_none());
    assert_eq!(world.server.most(), EACH);
    assert!(most > OWN * PLACE / 2, "it reads ahead: {most}");
}

#[test]
fn all_callers_together_have_bounds_and_none_waits_for_a_slow_one() {
    let world = World::new();
    let contents = contents(vec![100; EACH + 8]);
    for content in &contents {
        world.store.put_bytes(content).unwrap();
    }
    let names = names(&contents);
    let callers = PLACES / EACH;
    let mut slow = Vec::new();
    for _ in 0..callers {
        let mut all = world.store.open_all(&names);
        // It holds what it got, and asks for nothing more.
        slow.push((world.held(EACH, || all.next().unwrap().unwrap()), all));
        world.settled();
    }
    assert_eq!(world.server.most(), EACH);
    for (one, content) in world.store.open_all(&names).zip(&contents) {
        let mut bytes = Vec::new();
        one.unwrap().content.read_to_end(&mut bytes).unwrap();
        assert_eq!(&bytes, content);
        assert_eq!(world.server.asked(), 0, "one after the other");
    }
    assert_eq!(world.store.lengths(&names).unwrap(), vec![Some(100); names.len()]);
    assert_eq!(unpack(&*packed(&contents), &world.store, |_, _| true).unwrap().stored, names.len() as u64);
    slow.pop();
    assert_eq!(world.held(EACH, || world.store.lengths(&names)).unwrap(), vec![Some(100); names.len()]);
    for (_, all) in slow {
        assert_eq!(all.filter(Result::is_ok).count(), names.len() - 1);
    }
    assert_eq!(world.server.most(), EACH);
}

#[test]
fn one_that_fails_is_reported_in_its_turn() {
    let world = World::new();
    let contents = contents(vec![5000; 60]);
    for content in &contents {
        world.store.put_bytes(content).unwrap();
    }
    let names = names(&contents);
    let (gone, damaged, emptied) = (20, 30, 40);
    assert!(world.store.remove(names[gone]).unwrap());
    std::fs::write(world.file(names[damaged]), b"something else").unwrap();
    std::fs::write(world.file(names[emptied]), b"").unwrap();
    for (at, (ahead, name)) in world.store.open_all(&names).zip(&names).enumerate() {
        let alone = world.store.open(*name);
        if at == gone {
            assert!(matches!(&ahead, Err(BlobError::Absent(hash)) if hash == name));
            assert_eq!(ahead.err().unwrap().to_string(), alone.unwrap_err().to_string());
            continue;
        }
        let (mut one, mut other) = (Vec::new(), Vec::new());
        ahead.unwrap().content.read_to_end(&mut one).unwrap();
        alone.unwrap().read_to_end(&mut other).unwrap();
        assert_eq!(one, other, "{at}");
        assert_eq!(ContentHash::of(&one) == *name, ![damaged, emptied].contains(&at));
    }
}

#[test]
fn what_is_brought_is_sent_at_once_within_bounds_and_is_there_at_the_end() {
    let world = World::new();
    let contents = contents(
        (0..150).map(|n| [0, 70, 90_000, 200_000, 3_000_000, 5_000_000][if n < 140 { n % 4 } else { 4 + n % 2 }] + n),
    );
    let stream = packed(&contents);
    let took = world.held(EACH, || unpack(&*stream, &world.store, |_, _| true)).unwrap();
    assert_eq!((took.stored, took.changed), (150, Vec::new()));
    assert_eq!(world.server.most(), EACH);
    for (name, content) in names(&contents).iter().zip(&contents) {
        assert!(&std::fs::read(world.file(*name)).unwrap() == content);
    }

    // Where the stream breaks, what came before is there.
    let world = World::new();
    let broken = unpack(&stream[..stream.len() / 2], &world.store, |_, _| true);
    assert!(matches!(broken, Err(PackError::Stream(_))));
    let there = world.store.iter().map(Result::unwrap).count();
    assert!(0 < there && there < contents.len(), "{there}");
    assert_eq!(world.server.asked(), 0);
    // So is what came before one that nobody wants.
    let world = World::new();
    let unwanted = names(&contents)[100];
    let refused = unpack(&*stream, &world.store, |name, _| name != unwanted);
    assert!(matches!(refused, Err(PackError::Unasked(name)) if name == unwanted));
    assert_eq!(world.store.iter().map(Result::unwrap).count(), 100);
}
