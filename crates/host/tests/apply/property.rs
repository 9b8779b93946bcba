//! Random trees: apply makes a copy of before equal to after, undo makes it before again, redo after again.

use greenroom_core::manifest::flags;
use proptest::prelude::*;

use super::support::{Item, Lab, Shape, Spec, dir};

const NAMES: [&[u8]; 5] = [b"a", b"b", b"a-", b"new\nline", b"\xff\xfe"];

fn path() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..NAMES.len(), 1..4)
        .prop_map(|names| names.into_iter().flat_map(|name| [b"/", NAMES[name]].concat()).collect())
}

fn item() -> impl Strategy<Value = Item> {
    let shape = prop_oneof![
        4 => (0u8..4).prop_map(|c| Shape::File(vec![b'a' + c; usize::from(c) * 3000])),
        5 => Just(Shape::Dir),
        2 => (0usize..2).prop_map(|t| Shape::Symlink(["a", "/b"][t])),
        1 => Just(Shape::Fifo),
        1 => (0u32..2).prop_map(Shape::Char),
        1 => (0u32..2).prop_map(Shape::Block),
    ];
    let locks = prop_oneof![8 => Just(0u8), 1 => Just(flags::IMMUTABLE), 1 => Just(flags::APPEND)];
    (shape, 0usize..4, 0u32..2, 0i64..3, 0usize..3, locks, proptest::option::weighted(0.5, 0u8..3)).prop_map(
        |(kind, mode, uid, mtime, xattr, locks, group)| {
            let is_file = matches!(kind, Shape::File(_));
            let flags = if is_file || kind == Shape::Dir { locks } else { 0 };
            let xattrs = match xattr {
                0 => Vec::new(),
                n => vec![("trusted.t", vec![n as u8; n * 40])],
            };
            Item {
                kind,
                mode: [0o644, 0o755, 0o4750, 0o2711][mode],
                uid,
                mtime,
                xattrs,
                flags,
                group: group.filter(|_| is_file),
            }
        },
    )
}

fn tree() -> impl Strategy<Value = Spec> {
    proptest::collection::btree_map(path(), item(), 0..14).prop_map(|mut spec| {
        // Most paths get their directories, so that trees are deep and not only what the first level allows.
        for path in spec.keys().cloned().collect::<Vec<_>>() {
            for (at, _) in path.iter().enumerate().skip(1).filter(|(_, b)| **b == b'/') {
                spec.entry(path[..at].to_vec()).or_insert_with(dir);
            }
        }
        spec
    })
}

/// Two trees of which the second has much of the first.
pub(crate) fn pair() -> impl Strategy<Value = (Spec, Spec)> {
    (tree(), tree(), any::<u64>()).prop_map(|(before, mut after, keep)| {
        for (i, (path, item)) in before.iter().enumerate() {
            match (keep >> (2 * (i % 32))) & 3 {
                0 => {}
                1 => drop(after.insert(path.clone(), Item { uid: 3, ..item.clone() })),
                _ => drop(after.insert(path.clone(), item.clone())),
            }
        }
        (before, after)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_and_back_again((before, after) in pair()) {
        if greenroom_testkit::tier::why_not_privileged().is_some() {
            return Ok(());
        }
        Lab::new(&before, &after).round_trip();
    }
}
