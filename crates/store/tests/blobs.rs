//! The suite that every `BlobStore` passes, run on a directory and on S3, and what concerns one of them alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use greenroom_core::ContentHash;
use greenroom_store::blobs::{BlobError, BlobStore, DirBlobs, S3Address, S3Blobs};
use greenroom_testkit::s3::{KEY, S3, SECRET};
use proptest::prelude::*;

fn content(store: &dyn BlobStore, hash: ContentHash) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open_verified(hash).unwrap().read_to_end(&mut bytes).unwrap();
    let mut copied = Vec::new();
    assert_eq!(store.copy_out(hash, &mut copied).unwrap(), bytes.len() as u64);
    assert_eq!(copied, bytes);
    bytes
}

fn hashes(store: &dyn BlobStore) -> BTreeSet<ContentHash> {
    store.iter().map(Result::unwrap).collect()
}

/// Gives some bytes, then fails.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.min(buffer.len());
        self.0 -= length;
        if length == 0 { Err(io::Error::other("the reader failed")) } else { Ok(length) }
    }
}

/// Many at once are the same as one after the other, also around strange ones.
fn many_at_once(store: &dyn BlobStore, strange: &[ContentHash], absent: ContentHash) {
    let many: Vec<_> = (0..40u32).map(|n| store.put_bytes(&n.to_le_bytes()).unwrap()).collect();
    let names = [&many[..20], strange, &many[..1], &many[20..]].concat();
    assert_eq!(
        store.lengths(&names).unwrap(),
        names.iter().map(|hash| store.length(*hash).unwrap()).collect::<Vec<_>>()
    );
    let all: Vec<_> = store.open_all(&names).collect();
    assert_eq!(all.len(), names.len());
    for (name, one) in names.iter().zip(all) {
        if *name == absent {
            assert!(matches!(one, Err(BlobError::Absent(hash)) if hash == absent));
            continue;
        }
        let (mut opened, mut bytes) = (one.unwrap(), Vec::new());
        opened.content.read_to_end(&mut bytes).unwrap();
        assert_eq!((opened.length, ContentHash::of(&bytes)), (bytes.len() as u64, *name));
    }
    let mut intake = store.intake();
    for bytes in [&b"first"[..], &vec![7; 5_000_000], b"last", b"last"] {
        assert!(intake.put(&mut &*bytes, ContentHash::of(bytes)).unwrap());
        assert!(!intake.put(&mut &*bytes, absent).unwrap());
    }
    assert!(matches!(intake.put(&mut Failing(300_000), absent), Err(BlobError::Stream { .. })));
    intake.end().unwrap();
    for bytes in [&b"first"[..], &vec![7; 5_000_000], b"last"] {
        assert_eq!(content(store, ContentHash::of(bytes)), bytes);
    }
}

/// What every store does; `store` is empty at first, `files` a directory for files to adopt.
fn conformance(store: &dyn BlobStore, files: &Path) {
    let empty = store.put_bytes(b"").unwrap();
    let hello = store.put_bytes(b"hello").unwrap();
    assert_eq!(hello, ContentHash::of(b"hello"));
    assert_eq!(store.put_bytes(b"hello").unwrap(), hello);
    let big: Vec<u8> = (0..1_000_003u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(store.put_reader(&mut &big[..]).unwrap(), ContentHash::of(&big));

    let source = files.join("adopted");
    std::fs::write(&source, b"adopted").unwrap();
    let adopted = ContentHash::of(b"adopted");
    store.adopt_link(rustix::fs::CWD, &source, adopted).unwrap();
    store.adopt_link(rustix::fs::CWD, &source, adopted).unwrap();
    std::fs::remove_file(&source).unwrap();

    assert_eq!(hashes(store), [empty, hello, adopted, ContentHash::of(&big)].into());
    for (hash, bytes) in [(empty, &b""[..]), (hello, b"hello"), (adopted, b"adopted"), (ContentHash::of(&big), &big)] {
        assert_eq!(content(store, hash), bytes);
        assert!(store.contains(hash).unwrap());
        store.verify(hash).unwrap();
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let listed: Vec<_> = store.listing().map(Result::unwrap).collect();
    assert_eq!(listed.iter().map(|(hash, _)| *hash).collect::<BTreeSet<_>>(), hashes(store));
    for (hash, stored) in listed {
        assert_eq!(stored.bytes, store.open(hash).unwrap().metadata().unwrap().len());
        assert!((now - 600..=now + 1).contains(&stored.since), "{} {now}", stored.since);
    }
    store.sync().unwrap();
    let range = |from, length| store.read_range(ContentHash::of(&big), from, length).unwrap();
    for (from, length) in [(0, 10), (5, 0), (900_000, 50), (999_999, 50), (1_000_003, 1), (u64::MAX, 1), (7, u64::MAX)]
    {
        let start = usize::try_from(from).unwrap().min(big.len());
        let end = usize::try_from(length).unwrap().saturating_add(start).min(big.len());
        assert!(range(from, length) == big[start..end], "{from} {length}");
    }

    let absent = ContentHash::of(b"absent");
    assert!(matches!(store.open(absent), Err(BlobError::Absent(hash)) if hash == absent));
    assert!(matches!(store.verify(absent), Err(BlobError::Absent(_))));
    assert!(matches!(store.read_range(absent, 0, 1), Err(BlobError::Absent(_))));
    assert!(matches!(store.copy_out(absent, &mut io::sink()), Err(BlobError::Absent(_))));
    assert!(!store.contains(absent).unwrap() && !store.remove(absent).unwrap());
    assert!(store.remove(hello).unwrap() && !store.contains(hello).unwrap());
    assert_eq!(store.put_bytes(b"hello").unwrap(), hello);

    let promised = ContentHash::of(b"promised");
    assert!(!store.put_promised(&mut &b"other"[..], promised).unwrap() && !store.contains(promised).unwrap());
    assert!(!store.contains(ContentHash::of(b"other")).unwrap());
    for _ in 0..2 {
        assert!(store.put_promised(&mut &b"promised"[..], promised).unwrap());
    }
    assert_eq!(content(store, promised), b"promised");
    let lengths = [empty, promised, ContentHash::of(&big), absent].map(|hash| store.length(hash).unwrap());
    assert_eq!(lengths, [Some(0), Some(8), Some(1_000_003), None]);

    many_at_once(store, &[empty, absent, ContentHash::of(&big)], absent);

    let before = hashes(store);
    assert!(matches!(store.put_promised(&mut Failing(300_000), absent), Err(BlobError::Stream { .. })));
    assert!(matches!(store.put_reader(&mut Failing(300_000)), Err(BlobError::Stream { .. })));
    assert_eq!(hashes(store), before);
}

fn store() -> (tempfile::TempDir, DirBlobs) {
    let dir = tempfile::tempdir().unwrap();
    let store = DirBlobs::open(&dir.path().join("blobs")).unwrap();
    (dir, store)
}

/// All regular files below `dir`.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn a_directory_conforms() {
    let (dir, store) = store();
    conformance(&store, dir.path());
    // No half-written file is left, of the failed put neither.
    assert_eq!(files_below(&dir.path().join("blobs")).len(), hashes(&store).len());
    drop(store);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/tmp")).unwrap().count(), 0);
}

fn s3(server: &S3, bucket: &str, prefix: &str) -> S3Address {
    let text = format!("s3://{bucket}/{prefix}?endpoint={}&region=eu-central-1", server.endpoint());
    S3Address { credentials: Some((KEY.into(), SECRET.into())), ..S3Address::parse(&text).unwrap() }
}

#[test]
fn s3_conforms() {
    let server = S3::start();
    let bucket = server.bucket("blobs");
    let dir = tempfile::tempdir().unwrap();
    for prefix in ["", "deep/er"] {
        conformance(&S3Blobs::open(&s3(&server, "blobs", prefix), dir.path()).unwrap(), dir.path());
        std::fs::write(bucket.join("strange"), b"no blob").unwrap();
    }
    // The names are those of files in a directory.
    let hello = ContentHash::of(b"hello").to_string();
    assert_eq!(std::fs::read(bucket.join("deep/er").join(&hello[..2]).join(&hello[2..])).unwrap(), b"hello");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something is left in the scratch directory");
}

#[test]
fn s3_takes_large_contents_in_parts_and_never_gives_a_damaged_one() {
    let server = S3::start();
    let bucket = server.bucket("blobs");
    let dir = tempfile::tempdir().unwrap();
    let store = S3Blobs::open(&s3(&server, "blobs", "p"), dir.path()).unwrap();
    let large: Vec<u8> = (0..20_000_000u32).map(|n| (n % 253) as u8).collect();
    let hash = store.put_reader(&mut &large[..]).unwrap();
    assert!(content(&store, hash) == large);
    assert!(store.read_range(hash, 8_388_600, 16).unwrap() == large[8_388_600..8_388_616]);

    let path = bucket.join("p").join(&hash.to_string()[..2]).join(&hash.to_string()[2..]);
    for wrong in [&large[..100], &large[1..], b""] {
        std::fs::write(&path, wrong).unwrap();
        assert!(matches!(store.open_verified(hash), Err(BlobError::Damaged { .. })));
        assert!(matches!(store.copy_out(hash, &mut io::sink()), Err(BlobError::Damaged { .. })));
        assert!(matches!(store.verify(hash), Err(BlobError::Damaged { .. })));
        // Its length shows it, so it is sent again.
        store.put_reader(&mut &large[..]).unwrap();
        store.verify(hash).unwrap();
    }
}

#[test]
fn s3_says_what_is_wrong() {
    let server = S3::start();
    let _ = server.bucket("blobs");
    let dir = tempfile::tempdir().unwrap();
    let right = s3(&server, "blobs", "p");
    let stranger = S3Address { credentials: Some((KEY.into(), "guessed".into())), ..right };
    let error = S3Blobs::open(&stranger, dir.path()).unwrap().put_bytes(b"x").unwrap_err();
    assert!(error.to_string().contains("s3://blobs/p/"), "{error}");
    assert!(!format!("{error:?}").contains("guessed"), "{error:?}");
    let store = S3Blobs::open(&stranger, dir.path()).unwrap();
    let mut intake = store.intake();
    assert!(intake.put(&mut &b"x"[..], ContentHash::of(b"x")).unwrap());
    let later = intake.end().unwrap_err();
    assert_eq!(later.to_string(), error.to_string());
    for wrong in ["s3:bucket", "s3://", "s3:///prefix", "s3://b?secret=x", "https://b"] {
        assert!(S3Address::parse(wrong).is_err(), "{wrong}");
    }
    let bare = S3Address::parse("s3://b").unwrap();
    assert_eq!((bare.bucket.as_str(), bare.prefix.as_str(), bare.endpoint), ("b", "", None));
}

#[test]
fn blobs_are_private() {
    let (dir, store) = store();
    let hash = store.put_bytes(b"secret").unwrap();
    let source = dir.path().join("setuid");
    std::fs::write(&source, b"setuid").unwrap();
    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o4755)).unwrap();
    store.adopt_link(rustix::fs::CWD, &source, ContentHash::of(b"setuid")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&store.path(hash)), 0o400);
    assert_eq!(mode(&store.path(ContentHash::of(b"setuid"))), 0o400);
    assert_eq!(mode(store.path(hash).parent().unwrap()), 0o700);
    assert_eq!(mode(&dir.path().join("blobs")), 0o700);
    let text = hash.to_string();
    assert_eq!(store.path(hash), dir.path().join("blobs").join(&text[..2]).join(&text[2..]));
}

#[test]
fn adopting_links_and_copies_only_where_it_must() {
    let (dir, store) = store();
    let source = dir.path().join("source");
    std::fs::write(&source, b"same inode").unwrap();
    let hash = ContentHash::of(b"same inode");
    store.adopt_link(rustix::fs::CWD, &source, hash).unwrap();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&store.path(hash)), inode(&source));
    // /dev/shm is another file system: there the content is copied, and checked.
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let far = elsewhere.path().join("far");
    std::fs::write(&far, b"far away").unwrap();
    assert_ne!(std::fs::metadata(&far).unwrap().dev(), std::fs::metadata(&source).unwrap().dev());
    store.adopt_link(rustix::fs::CWD, &far, ContentHash::of(b"far away")).unwrap();
    assert_eq!(content(&store, ContentHash::of(b"far away")), b"far away");
    let refused = store.adopt_link(rustix::fs::CWD, &far, ContentHash::of(b"something else"));
    assert!(matches!(refused, Err(BlobError::Changed { .. })));
    assert!(!store.contains(ContentHash::of(b"something else")).unwrap());
}

#[test]
fn only_regular_files_are_adopted() {
    let (dir, store) = store();
    let hash = ContentHash::of(b"");
    let target = dir.path().join("target");
    std::fs::write(&target, b"").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for path in [&link, &fifo, &dir.path().to_path_buf()] {
        assert!(
            matches!(store.adopt_link(rustix::fs::CWD, path, hash), Err(BlobError::NotAFile(_))),
            "{}",
            path.display()
        );
    }
    assert_eq!(hashes(&store), BTreeSet::new());
}

fn damage(path: &Path, bytes: &[u8]) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn damage_is_reported_never_used_and_mended_by_putting_again() {
    let (dir, store) = store();
    let right = b"the right content".as_slice();
    let hash = store.put_bytes(right).unwrap();
    let source = dir.path().join("source");
    let puts: [&dyn Fn() -> ContentHash; 3] =
        [&|| store.put_bytes(right).unwrap(), &|| store.put_reader(&mut &*right).unwrap(), &|| {
            let _ = std::fs::remove_file(&source);
            std::fs::write(&source, right).unwrap();
            store.adopt_link(rustix::fs::CWD, &source, hash).unwrap();
            hash
        }];
    for put in puts {
        for wrong in [&b""[..], b"the right c", b"the wrong content", b"the right content "] {
            damage(&store.path(hash), wrong);
            let is_damaged =
                |error: BlobError| matches!(error, BlobError::Damaged { found, .. } if found == ContentHash::of(wrong));
            assert!(is_damaged(store.open_verified(hash).unwrap_err()));
            assert!(is_damaged(store.copy_out(hash, &mut io::sink()).unwrap_err()));
            assert!(is_damaged(store.verify(hash).unwrap_err()));
            assert_eq!(put(), hash);
            assert_eq!(content(&store, hash), right);
        }
    }
}

#[test]
fn strange_files_in_the_store_are_no_blobs() {
    let (dir, store) = store();
    let hash = store.put_bytes(b"x").unwrap();
    let fan = store.path(hash).parent().unwrap().to_path_buf();
    std::fs::write(fan.join("README"), b"x").unwrap();
    std::fs::write(fan.join(format!("{}.bak", &hash.to_string()[2..])), b"x").unwrap();
    std::fs::create_dir(dir.path().join("blobs/lost+found")).unwrap();
    assert_eq!(hashes(&store), [hash].into());
}

#[test]
fn many_come_and_go_at_once() {
    let (dir, _) = store();
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let path = dir.path().join("blobs");
            scope.spawn(move || {
                for round in 0..60u8 {
                    // Each makes its own scratch directory while others clear debris away.
                    DirBlobs::open(&path).unwrap().put_reader(&mut &[thread, round][..]).unwrap();
                }
            });
        }
    });
    let store = DirBlobs::open(&dir.path().join("blobs")).unwrap();
    assert_eq!(hashes(&store).len(), 8 * 60);
}

#[test]
fn many_put_the_same_at_once() {
    let (dir, _) = store();
    let contents: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; 70_000]).collect();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let store = DirBlobs::open(&dir.path().join("blobs")).unwrap();
                for content in &contents {
                    assert_eq!(store.put_reader(&mut &content[..]).unwrap(), ContentHash::of(content));
                }
            });
        }
    });
    let store = DirBlobs::open(&dir.path().join("blobs")).unwrap();
    assert_eq!(hashes(&store).len(), 20);
    for content in &contents {
        store.verify(ContentHash::of(content)).unwrap();
    }
    assert_eq!(files_below(&dir.path().join("blobs")).len(), 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_goes_in_comes_out(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..12)) {
        let (dir, store) = store();
        for (at, bytes) in contents.iter().enumerate() {
            let hash = ContentHash::of(bytes);
            match at % 3 {
                0 => prop_assert_eq!(store.put_bytes(bytes).unwrap(), hash),
                1 => prop_assert_eq!(store.put_reader(&mut &bytes[..]).unwrap(), hash),
                _ => {
                    let source = dir.path().join(at.to_string());
                    std::fs::write(&source, bytes).unwrap();
                    store.adopt_link(rustix::fs::CWD, &source, hash).unwrap();
                }
            }
        }
        for bytes in &contents {
            prop_assert_eq!(&content(&store, ContentHash::of(bytes)), bytes);
        }
        prop_assert_eq!(hashes(&store), contents.iter().map(|bytes| ContentHash::of(bytes)).collect());
    }
}
