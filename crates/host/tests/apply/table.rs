//! Every kind before × every kind after, and every kind of metadata change.

use greenroom_core::manifest::flags;

use super::support::{Item, Lab, Shape, Spec, dir, file, spec};

/// What can be at a path. `ALL` is proven complete by the match in `next`: a new variant does not compile without a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Absent,
    File,
    Empty,
    EmptyDir,
    FullDir,
    Symlink,
    Fifo,
    Char,
    Block,
}

fn next(case: Case) -> Option<Case> {
    Some(match case {
        Case::Absent => Case::File,
        Case::File => Case::Empty,
        Case::Empty => Case::EmptyDir,
        Case::EmptyDir => Case::FullDir,
        Case::FullDir => Case::Symlink,
        Case::Symlink => Case::Fifo,
        Case::Fifo => Case::Char,
        Case::Char => Case::Block,
        Case::Block => return None,
    })
}

fn all() -> Vec<Case> {
    std::iter::successors(Some(Case::Absent), |case| next(*case)).collect()
}

/// The tree below `at` that is the case; `variant` makes two trees of one case differ.
fn put(tree: &mut Spec, at: &str, case: Case, variant: u8) {
    let mut add = |below: &str, item: Item| tree.insert(format!("{at}{below}").into_bytes(), item);
    let v = u32::from(variant);
    match case {
        Case::Absent => None,
        Case::File => add("", file(&format!("content {variant}"))),
        Case::Empty => add("", Item { mtime: 7 + i64::from(variant), ..file("") }),
        Case::EmptyDir => add("", Item { mode: 0o700 + u16::from(variant), ..dir() }),
        Case::FullDir => {
            add("/sub/file", file(&format!("inside {variant}")));
            add("/sub", dir());
            add("/link", Item::new(Shape::Symlink("sub")));
            add(&format!("/only-{variant}"), file("only here"));
            add("", dir())
        }
        Case::Symlink => add("", Item::new(Shape::Symlink(if variant == 0 { "/nowhere" } else { "sub/file" }))),
        Case::Fifo => add("", Item { mtime: 9 + i64::from(variant), ..Item::new(Shape::Fifo) }),
        Case::Char => add("", Item::new(Shape::Char(3 + v))),
        Case::Block => add("", Item::new(Shape::Block(v))),
    };
}

#[test]
fn every_kind_becomes_every_kind_and_back() {
    greenroom_testkit::need_root!();
    let mut seen = Vec::new();
    for from in all() {
        for to in all() {
            let (mut before, mut after) = (spec([("/d", dir())]), spec([("/d", dir())]));
            put(&mut before, "/d/x", from, 0);
            put(&mut after, "/d/x", to, 1);
            println!("{from:?} -> {to:?}");
            Lab::new(&before, &after).round_trip();
            seen.push((from, to));
        }
    }
    assert_eq!(seen.len(), all().len().pow(2));
}

#[test]
fn all_pairs_at_once() {
    greenroom_testkit::need_root!();
    let (mut before, mut after) = (Spec::new(), Spec::new());
    for (i, from) in all().into_iter().enumerate() {
        for (j, to) in all().into_iter().enumerate() {
            put(&mut before, &format!("/p{i}{j}"), from, 0);
            put(&mut after, &format!("/p{i}{j}"), to, 1);
        }
    }
    Lab::new(&before, &after).round_trip();
}

/// `user::rw- user:1:r-- group::r-- mask::r-- other::---` as the kernel keeps it.
fn acl() -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [(1u16, 6u16, u32::MAX), (2, 4, 1), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)] {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}

/// `cap_net_bind_service=ep`, version 2.
fn capability() -> Vec<u8> {
    [0x0200_0001u32, 1 << 10, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn metadata_alone() {
    greenroom_testkit::need_root!();
    type Edit = (&'static str, fn(&mut Item));
    let for_all: &[Edit] = &[
        ("owner", |i| i.uid = 12),
        ("trusted attribute", |i| i.xattrs.push(("trusted.t", b"value".to_vec()))),
        ("time", |i| i.mtime = -3),
    ];
    let not_links: &[Edit] = &[("mode", |i| i.mode = 0o4711), ("sticky", |i| i.mode = 0o1777)];
    let files: &[Edit] = &[
        ("capability", |i| i.xattrs.push(("security.capability", capability()))),
        ("owner and capability", |i| {
            i.uid = 3;
            i.mode = 0o6755;
            i.xattrs.push(("security.capability", capability()));
        }),
    ];
    let files_and_dirs: &[Edit] = &[
        ("user attribute", |i| i.xattrs.push(("user.u", vec![0, 255, 10]))),
        ("access list", |i| {
            i.mode = 0o640;
            i.xattrs.push(("system.posix_acl_access", acl()));
        }),
        ("immutable", |i| i.flags = flags::IMMUTABLE),
        ("append-only", |i| i.flags = flags::APPEND),
        ("no dump", |i| i.flags = flags::NODUMP),
        ("immutable and mode", |i| {
            i.mode = 0o600;
            i.flags = flags::IMMUTABLE;
        }),
    ];
    let kinds = [file("x"), dir(), Item::new(Shape::Symlink("t")), Item::new(Shape::Fifo), Item::new(Shape::Char(3))];
    for item in kinds {
        let is_link = matches!(item.kind, Shape::Symlink(_));
        let is_file = matches!(item.kind, Shape::File(_));
        let edits = for_all.iter().chain(not_links.iter().filter(|_| !is_link)).chain(files.iter().filter(|_| is_file));
        let more = files_and_dirs.iter().filter(|_| is_file || item.kind == Shape::Dir);
        for (what, edit) in edits.chain(more) {
            let mut edited = item.clone();
            edit(&mut edited);
            println!("{:?}: {what}", item.kind);
            let (plain, edited) =
                (spec([("/d", dir()), ("/d/x", item.clone())]), spec([("/d", dir()), ("/d/x", edited)]));
            Lab::new(&plain, &edited).round_trip();
            Lab::new(&edited, &plain).round_trip();
        }
    }
}
