//! A stream of contents: what comes out is what went in, and a damaged one gives nothing that is not what its hash says.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::collections::BTreeSet;

use greenroom_core::ContentHash;
use greenroom_store::blobs::pack::{PackError, Packer, unpack};
use greenroom_store::blobs::{BlobStore as _, DirBlobs};
use proptest::prelude::*;

fn packed(contents: &[Vec<u8>]) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new()).unwrap();
    for content in contents {
        packer.put(ContentHash::of(content), content.len() as u64, &mut &**content).unwrap();
    }
    packer.end().unwrap()
}

fn stored(store: &DirBlobs) -> BTreeSet<ContentHash> {
    store.iter().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_comes_out_is_what_went_in(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..8),
        damage in any::<(prop::sample::Index, u8)>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let stream = packed(&contents);
        let all: BTreeSet<ContentHash> = contents.iter().map(|content| ContentHash::of(content)).collect();
        let dir = tempfile::tempdir().unwrap();
        let whole = DirBlobs::open(&dir.path().join("whole")).unwrap();
        let got = unpack(&*stream, &whole, |name, _| all.contains(&name)).unwrap();
        prop_assert_eq!(got.stored, contents.len() as u64);
        prop_assert!(stored(&whole) == all);

        // Cut off, or with a byte that is another one: whatever is stored is one of the contents, and is whole.
        let mut wrong = stream.clone();
        if !wrong.is_empty() {
            wrong[damage.0.index(stream.len())] ^= damage.1;
        }
        for (name, bytes) in [("cut", &stream[..cut.index(stream.len() + 1)]), ("wrong", &*wrong)] {
            let store = DirBlobs::open(&dir.path().join(name)).unwrap();
            let _ = unpack(bytes, &store, |name, length| all.contains(&name) && length <= 2000);
            for hash in stored(&store) {
                prop_assert!(all.contains(&hash) && store.verify(hash).is_ok());
            }
        }
    }
}

#[test]
fn what_grew_or_shrank_while_it_was_packed_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirBlobs::open(dir.path()).unwrap();
    let (grew, shrank, last) = (ContentHash::of(b"abc"), ContentHash::of(b"abcdef"), ContentHash::of(b"last"));
    let mut packer = Packer::new(Vec::new()).unwrap();
    packer.put(grew, 2, &mut &b"abc"[..]).unwrap();
    packer.put(shrank, 6, &mut &b"abc"[..]).unwrap();
    packer.put(last, 4, &mut &b"last"[..]).unwrap();
    let stream = packer.end().unwrap();
    let got = unpack(&*stream, &store, |_, _| true).unwrap();
    assert_eq!((got.stored, got.changed), (1, vec![grew, shrank]));
    assert_eq!(stored(&store), [last].into());
    assert!(matches!(unpack(&*stream, &store, |_, _| false), Err(PackError::Unasked(hash)) if hash == grew));
}
