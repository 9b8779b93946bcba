//! The proptest strategies: names, contents, metadata, trees and mutations.

use super::Tree;
use super::disk::Time;
use super::mutation::{Action, Mutation};
use super::node::{Content, Meta, Node, What};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::prop_oneof;
use proptest::sample::{Index, select};
use proptest::strategy::{Just, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Trees of up to 40 files of every kind.
pub fn trees() -> impl Strategy<Value = Tree> {
    vec((any::<Index>(), any::<Index>(), names(), nodes()), 0..40).prop_map(|recipes| {
        let mut tree = Tree::default();
        for (parent, other, name, node) in recipes {
            add(&mut tree, &parent, &other, &name, node);
        }
        tree
    })
}

/// Lists of up to `most` mutations, for any tree.
pub fn mutations(most: usize) -> impl Strategy<Value = Vec<Mutation>> {
    let mutation = (actions(), times()).prop_map(|(action, when)| Mutation { action, when });
    vec(mutation, 0..=most)
}

/// The list of mutations that belongs to `seed`.
#[must_use]
pub fn mutations_from_seed(seed: u64, most: usize) -> Vec<Mutation> {
    sample(&mutations(most), seed)
}

/// The value of a strategy that belongs to `seed`.
///
/// # Panics
/// Never with the strategies of this module: none of them rejects a value.
pub(crate) fn sample<S: Strategy>(strategy: &S, seed: u64) -> S::Value {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    match strategy.new_tree(&mut runner) {
        Ok(tree) => tree.current(),
        Err(reason) => panic!("a strategy without filters rejected a value: {reason}"),
    }
}

/// Puts a node into a directory of the tree, unless the name is taken. A hard link gets a file to be a name of.
fn add(tree: &mut Tree, parent: &Index, other: &Index, name: &PathBuf, mut node: Node) {
    let directories = tree.directories();
    let path = directories[parent.index(directories.len())].join(name);
    if let What::HardLink(target) = &mut node.what {
        let regular = |(path, node): (&PathBuf, &Node)| matches!(node.what, What::Regular(_)).then(|| path.clone());
        let files: Vec<PathBuf> = tree.nodes.iter().filter_map(regular).collect();
        if files.is_empty() {
            return;
        }
        files[other.index(files.len())].clone_into(target);
    }
    tree.nodes.entry(path).or_insert(node);
}

/// File names, the awkward ones often.
fn names() -> impl Strategy<Value = PathBuf> {
    let long = |seed: u8| std::iter::repeat_n(b'a' + seed % 26, 255).collect::<Vec<u8>>();
    let bytes = prop_oneof![
        6 => "[a-e]{1,2}".prop_map(String::into_bytes),
        1 => "[a-z]{1,3} [a-z]{1,3}".prop_map(String::into_bytes),
        1 => "[a-z]{0,2}\n[a-z]{0,2}".prop_map(String::into_bytes),
        1 => vec(0x80_u8..=0xff, 1..5),
        1 => any::<u8>().prop_map(long),
        1 => select(vec!["-rf", ".hidden", ".wh.a", "...", "*", "a\\012", "\u{e9}", "\u{1b}[31m", "%s"])
            .prop_map(|name| name.as_bytes().to_vec()),
    ];
    bytes.prop_map(|bytes| OsString::from_vec(bytes).into())
}

fn nodes() -> impl Strategy<Value = Node> {
    (whats(), metas()).prop_map(|(what, meta)| Node { what, meta })
}

fn whats() -> impl Strategy<Value = What> {
    let targets = prop_oneof![
        Just(PathBuf::from(".")),
        Just(PathBuf::from("/etc/hostname")),
        Just(PathBuf::from("nowhere/at all")),
        names(),
    ];
    prop_oneof![
        5 => contents().prop_map(What::Regular),
        4 => Just(What::Directory),
        2 => targets.prop_map(What::Symlink),
        2 => Just(What::HardLink(PathBuf::new())),
        1 => Just(What::Fifo),
        // Not 0:0, which is how overlayfs writes down that a file is gone.
        1 => (1_u32..20, 0_u32..300).prop_map(|(major, minor)| What::Character(major, minor)),
        1 => (7_u32..9, 200_u32..300).prop_map(|(major, minor)| What::Block(major, minor)),
    ]
}

fn contents() -> impl Strategy<Value = Content> {
    let sizes = prop_oneof![
        1 => Just((0, 0)),
        6 => (1_usize..6000, Just(0)),
        1 => (1_usize..300_000, Just(0)),
        1 => (0_usize..9000, 1_u64..3_000_000),
    ];
    (any::<u64>(), sizes).prop_map(|(seed, (length, hole))| Content { seed, length, hole })
}

fn metas() -> impl Strategy<Value = Meta> {
    let xattrs = vec(xattr(), 0..3).prop_map(|found| found.into_iter().collect());
    (modes(), ids(), ids(), times(), xattrs).prop_map(|(mode, uid, gid, mtime, xattrs)| Meta {
        mode,
        uid,
        gid,
        mtime,
        xattrs,
    })
}

fn modes() -> impl Strategy<Value = u32> {
    prop_oneof![select(vec![0o644, 0o600, 0o755, 0o000, 0o4755, 0o2755, 0o6711, 0o1777, 0o3775]), 0_u32..=0o7777,]
}

fn ids() -> impl Strategy<Value = u32> {
    select(vec![0_u32, 0, 0, 33, 1000, 65_534, 70_000])
}

/// From 1970 to 2038, which every file system can keep, to the nanosecond.
fn times() -> impl Strategy<Value = Time> {
    (0_i64..i64::from(i32::MAX), 0_u32..1_000_000_000)
}

fn xattr() -> impl Strategy<Value = (String, Vec<u8>)> {
    let plain = |prefix: &'static str| {
        ("[a-z]{1,6}", vec(any::<u8>(), 0..60)).prop_map(move |(name, value)| (format!("{prefix}.{name}"), value))
    };
    let acls = |name: &'static str| {
        (0_u16..8, 0_u16..8, 1_u32..3000).prop_map(move |(group, mask, user)| (name.to_owned(), acl(group, mask, user)))
    };
    prop_oneof![
        plain("user"),
        plain("trusted"),
        (1_u32..0x4000_0000).prop_map(|set| ("security.capability".to_owned(), capabilities(set))),
        acls("system.posix_acl_access"),
        acls("system.posix_acl_default"),
    ]
}

/// A file's capabilities as the kernel stores them: `struct vfs_cap_data`, revision 2, effective
/// (include/uapi/linux/capability.h).
fn capabilities(permitted: u32) -> Vec<u8> {
    [0x0200_0001, permitted, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes).collect()
}

/// An ACL as the kernel takes it: version 2, then (tag, permissions, id) for the owner, one named user, the group,
/// the mask and others (include/uapi/linux/posix_acl_xattr.h).
fn acl(group: u16, mask: u16, user: u32) -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    let entries = [(0x01, 6, NO_ID), (0x02, 4, user), (0x04, group, NO_ID), (0x10, mask, NO_ID), (0x20, 4, NO_ID)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(u16::to_le_bytes(tag));
        bytes.extend(u16::to_le_bytes(permissions));
        bytes.extend(u32::to_le_bytes(id));
    }
    bytes
}

fn actions() -> impl Strategy<Value = Action> {
    let at = any::<Index>;
    let create = || (at(), names(), nodes()).prop_map(|(at, name, node)| Action::Create(at, name, node));
    let xattrs = (at(), xattr()).prop_map(|(at, (name, value))| Action::SetXattr(at, name, value));
    let metadata = prop_oneof![
        (at(), modes()).prop_map(|(at, mode)| Action::Chmod(at, mode)),
        (at(), ids(), ids()).prop_map(|(at, uid, gid)| Action::Chown(at, uid, gid)),
        at().prop_map(Action::Touch),
        xattrs,
        at().prop_map(Action::ClearXattrs),
    ];
    let data = prop_oneof![
        (at(), any::<u64>()).prop_map(|(at, seed)| Action::EditUnseen(at, seed)),
        (at(), any::<u64>()).prop_map(|(at, seed)| Action::Edit(at, seed)),
        (at(), 0_u64..20_000).prop_map(|(at, length)| Action::Resize(at, length)),
        at().prop_map(Action::OpenOnly),
    ];
    let shape = prop_oneof![
        2 => create(),
        1 => at().prop_map(Action::Delete),
        2 => (at(), at(), names()).prop_map(|(from, to, name)| Action::Rename(from, to, name)),
        2 => (at(), nodes()).prop_map(|(at, node)| Action::Replace(at, node)),
        1 => (at(), at(), names()).prop_map(|(from, to, name)| Action::HardLink(from, to, name)),
        1 => at().prop_map(Action::Unlink),
        1 => at().prop_map(Action::Recreate),
    ];
    prop_oneof![2 => shape, 1 => metadata, 1 => data]
}
