//! Laws of the algebra, over random changesets.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Kind;

fn node() -> impl Strategy<Value = Box<Node>> {
    let kind = prop_oneof![
        (0u64..9, any::<u8>()).prop_map(|(size, b)| Kind::File { size, content: ContentHash::of(&[b]) }),
        Just(Kind::Dir),
        proptest::collection::vec(any::<u8>(), 1..9).prop_map(|t| Kind::Symlink(t.into())),
        Just(Kind::Fifo),
        (0u32..9, 0u32..9).prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        (0u32..9, 0u32..9).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
    ];
    let xattrs = proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..4), any::<u8>()), 0..3);
    (kind, 0u16..0o7777, 0u8..8, 0u32..3, any::<i64>(), xattrs, proptest::option::of(0u8..4)).prop_map(
        |(kind, mode, flags, uid, sec, xattrs, link)| {
            Box::new(Node {
                kind,
                mode,
                flags,
                uid,
                gid: uid,
                mtime: Mtime { sec, nsec: 7 },
                xattrs: xattrs.into_iter().map(|(n, v)| (n.into(), Box::from([v]))).collect(),
                link: link.map(|l| TreePath::from(format!("/l{l}").as_str())),
            })
        },
    )
}

type State = BTreeMap<u8, Box<Node>>;

fn state() -> impl Strategy<Value = State> {
    proptest::collection::btree_map(0u8..12, node(), 0..12)
}

fn between(a: &State, b: &State) -> Changeset {
    let entries = (0u8..12)
        .map(|k| Entry {
            path: TreePath::from(format!("/p{k}").as_str()),
            before: a.get(&k).cloned(),
            after: b.get(&k).cloned(),
        })
        .filter(|e| e.before != e.after)
        .collect();
    let times = vec![DirTime { path: "/d".into(), before: Mtime::default(), after: Mtime { sec: 1, nsec: 0 } }];
    Changeset::new(entries, times).unwrap()
}

proptest! {
    #[test]
    fn encoding_round_trips_and_identifies(a in state(), b in state()) {
        let changeset = between(&a, &b);
        let bytes = codec::encoded(&changeset);
        prop_assert_eq!(ContentHash::of(&bytes), changeset.id());
        prop_assert_eq!(&changeset.inverse().inverse(), &changeset);
        prop_assert_eq!(codec::decode(&bytes).unwrap(), changeset);
    }

    #[test]
    fn damage_is_an_error_never_a_panic(a in state(), b in state(), cut in any::<prop::sample::Index>(), flip in any::<u8>()) {
        let mut bytes = codec::encoded(&between(&a, &b));
        let at = cut.index(bytes.len());
        prop_assert!(codec::decode(&bytes[..at]).is_err());
        bytes[at] ^= flip;
        let _ = codec::decode(&bytes);
    }

    #[test]
    fn parts_compose_to_the_whole(a in state(), b in state(), c in state()) {
        let (ab, ac, bc) = (between(&a, &b), between(&a, &c), between(&b, &c));
        let rest = ab.until(&ac);
        prop_assert_eq!(rest.entries(), bc.entries());
        let whole = ab.then(&bc);
        prop_assert_eq!(whole.entries(), ac.entries());
        let nothing = ab.then(&ab.inverse());
        prop_assert!(nothing.entries().is_empty());
    }
}

#[test]
fn what_is_no_changeset_is_refused() {
    let dir = |mode| Some(Box::new(Node { mode, ..root_node() }));
    let entry = |path: &str, before, after| Entry { path: path.into(), before, after };
    assert!(Changeset::new(vec![entry("/", dir(0o755), dir(0o700))], vec![]).is_ok());
    assert_eq!(Changeset::new(vec![entry("/", dir(0o755), None)], vec![]), Err(Invalid::Path("/".into())));
    assert_eq!(Changeset::new(vec![entry("/a/../b", None, dir(1))], vec![]), Err(Invalid::Path("/a/../b".into())));
    assert_eq!(Changeset::new(vec![entry("/a", dir(1), dir(1))], vec![]), Err(Invalid::Nothing("/a".into())));
    let twice = vec![entry("/a", None, dir(1)), entry("/a", dir(1), None)];
    assert_eq!(Changeset::new(twice, vec![]), Err(Invalid::Twice("/a".into())));
}

fn root_node() -> Node {
    Node {
        kind: Kind::Dir,
        mode: 0o755,
        flags: 0,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: Box::default(),
        link: None,
    }
}
