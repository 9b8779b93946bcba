//! Layers against an independent comparison: whatever happens to a tree, the stack of its generations is the tree, and older stacks
//! that are mounted stay what they were.

use std::process::Command;

use greenroom_store::ledger::Actor;
use greenroom_testkit::need_root;
use greenroom_testkit::oracle::Comparison;
use greenroom_testkit::tree::{Tree as Random, mutations_from_seed};

use super::*;
use crate::{Asked, Silent};

/// A host, images of it, and a shelf.
struct World {
    dir: tempfile::TempDir,
    state: State,
    shelf: Shelf,
}

/// A generation: a copy of the tree that it is of, and its manifest.
struct Generation {
    tree: PathBuf,
    manifest: Manifest,
}

/// Contents of a tree. What is fetched is counted.
struct FromTree<'a> {
    generation: &'a Generation,
    fetched: Mutex<Vec<ContentHash>>,
}

impl Source for FromTree<'_> {
    fn manifest(&self, _: &State, id: ContentHash) -> Result<Manifest, EngineError> {
        assert_eq!(self.generation.manifest.id(), id);
        Ok(self.generation.manifest.clone())
    }

    fn contents(&self, state: &State, wanted: &BTreeMap<ContentHash, u64>) -> Result<(), EngineError> {
        let places = places(&self.generation.manifest);
        let mut tree = Tree::open(&self.generation.tree).unwrap();
        for content in wanted.keys() {
            let mut file = tree.open_file(&places[content].0).unwrap().unwrap();
            assert_eq!(state.blobs.put_reader(&mut file).unwrap(), *content);
        }
        lock(&self.fetched).extend(wanted.keys());
        Ok(())
    }
}

impl World {
    fn new() -> Self {
        greenroom_host::sys::ns::own_mounts().unwrap();
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::create_dir_all(dir.path().join("host/srv/tree")).unwrap();
        fs::create_dir_all(dir.path().join("host/var/lib/greenroom")).unwrap();
        let state = State::open(&dir.path().join("state")).unwrap();
        let shelf = Shelf::open(&dir.path().join("stage")).unwrap();
        Self { dir, state, shelf }
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("host/srv/tree")
    }

    fn sh(&self, script: &str) {
        assert!(
            Command::new("sh").args(["-ec", script]).current_dir(self.tree()).status().unwrap().success(),
            "{script}"
        );
    }

    /// The host as it is now.
    fn generation(&self, number: usize) -> Generation {
        let tree = self.dir.path().join(format!("as-of-{number}"));
        let copied = Command::new("cp").arg("-a").arg(self.dir.path().join("host")).arg(&tree).status().unwrap();
        assert!(copied.success());
        let asked = Asked { actor: Actor::default(), now: jiff::Timestamp::now };
        let present = crate::image::present(&self.state, &self.dir.path().join("host"), &asked, &Silent).unwrap();
        assert!(present.left_out.is_empty());
        Generation { tree, manifest: present.manifest }
    }

    /// Shows it; which contents were fetched for it.
    fn show(&self, number: usize, generation: &Generation) -> (Shown, Vec<ContentHash>) {
        let at = self.dir.path().join(format!("shown-{number}"));
        fs::create_dir(&at).unwrap();
        let source = FromTree { generation, fetched: Mutex::default() };
        let shown = self.shelf.show(generation.manifest.id(), &at, &source).unwrap();
        (shown, source.fetched.into_inner().unwrap())
    }

    fn layers(&self) -> usize {
        self.shelf.layers().unwrap().len()
    }
}

fn assert_same(generation: &Generation, shown: &Shown, label: &str) {
    // Greenroom's own state on a host is part of no image.
    let own = ["var/lib/greenroom", ".greenroom"];
    let compared = Comparison::new(&generation.tree, shown.root()).exclude(&own).any_time(&["", "var", "var/lib"]);
    let found = compared.differences();
    assert!(found.is_empty(), "{label}:\n{}", found.join("\n"));
}

#[test]
fn each_generation_is_its_tree_and_stays_it() {
    need_root!();
    for seed in 0..8 {
        let world = World::new();
        Random::from_seed(seed).write(&world.tree()).unwrap();
        let mut all = Vec::new();
        for number in 0..4 {
            let label = format!("seed {seed}, generation {number}");
            if number > 0 {
                for mutation in mutations_from_seed(seed * 100 + number as u64, 12) {
                    mutation.apply(&world.tree()).unwrap();
                }
            }
            let generation = world.generation(number);
            let (shown, _) = world.show(number, &generation);
            assert_same(&generation, &shown, &label);
            all.push((generation, shown));
        }
        for (number, (generation, shown)) in all.iter().enumerate() {
            assert_same(generation, shown, &format!("seed {seed}, generation {number} at the end"));
        }
    }
}

#[test]
fn a_generation_costs_what_has_changed() {
    need_root!();
    let world = World::new();
    world.sh(
        "mkdir d old; head -c 100000 /dev/urandom > d/big; ln d/big d/same; echo 1 > d/a; echo 2 > old/b; mkfifo f",
    );
    let first = world.generation(0);
    let (shown, fetched) = world.show(0, &first);
    assert_eq!(fetched.len(), 3);
    // One file changes; a name goes from a file that has two; a directory is another one; a big file is renamed.
    world.sh(
        "echo 3 > d/a; rm d/same; rm -r old; mkdir old; echo 4 > old/c; cp -a d/big d/copy; mv d/big e; chmod 700 d",
    );
    let second = world.generation(1);
    let (later, fetched) = world.show(1, &second);
    assert_same(&second, &later, "second");
    assert_eq!(fetched.len(), 2, "what a path below has is taken from there");
    assert_same(&first, &shown, "first");
    assert_eq!(world.layers(), 2);
    // The same again costs nothing; what is shown is kept, and what a tree that stays needs.
    let (again, fetched) = world.show(2, &second);
    assert!(fetched.is_empty());
    drop(again);
    let keep = BTreeSet::from([second.manifest.id()]);
    world.shelf.drop_others(&keep).unwrap();
    assert_same(&first, &shown, "first, which is in use");
    drop(shown);
    world.shelf.drop_others(&keep).unwrap();
    assert_eq!((world.shelf.trees().unwrap().len(), world.layers()), (1, 2));
    assert_same(&second, &later, "second, over a layer of a tree that went");
    world.shelf.drop_others(&BTreeSet::new()).unwrap();
    assert_same(&second, &later, "second, which is in use");
    drop(later);
    world.shelf.drop_others(&BTreeSet::new()).unwrap();
    assert_eq!((world.shelf.trees().unwrap().len(), world.layers()), (0, 0));
}

#[test]
fn a_deep_stack_is_made_anew_out_of_what_is_there() {
    need_root!();
    let world = World::new();
    world.sh("head -c 300000 /dev/urandom > big");
    for number in 0..=DEEPEST {
        world.sh(&format!("echo {number} > n; touch file{number}; rm -f file{}", number.saturating_sub(3)));
        let generation = world.generation(number);
        let (shown, fetched) = world.show(number, &generation);
        assert_same(&generation, &shown, &format!("generation {number}"));
        let depth = world.shelf.tree(generation.manifest.id()).unwrap().unwrap().layers.len();
        assert_eq!(depth, if number < DEEPEST { number + 1 } else { 1 });
        let big = generation.manifest.get(&"/srv/tree/big".into()).unwrap().after.as_ref().unwrap().content().unwrap();
        assert_eq!(fetched.contains(&big), number == 0);
    }
}

#[test]
fn what_was_left_half_made_is_no_tree() {
    need_root!();
    let world = World::new();
    world.sh("echo 1 > a");
    let generation = world.generation(0);
    fs::create_dir_all(world.shelf.layer(7)).unwrap();
    fs::create_dir_all(world.shelf.dir.join("layers/new/srv")).unwrap();
    let path = world.shelf.tree_path(generation.manifest.id());
    fs::write(&path, r#"{"layers":[9]}"#).unwrap();
    let (shown, fetched) = world.show(0, &generation);
    assert_same(&generation, &shown, "made anew");
    assert_eq!(fetched.len(), 1);
    world.shelf.drop_others(&BTreeSet::from([generation.manifest.id()])).unwrap();
    assert_eq!(world.layers(), 1);
}

#[test]
fn two_that_want_the_same_tree_make_it_once() {
    need_root!();
    let world = World::new();
    world.sh("head -c 200000 /dev/urandom > big; ln big same; echo 1 > a");
    let generation = world.generation(0);
    let at = [1, 2].map(|number| world.dir.path().join(format!("at-{number}")));
    let source = FromTree { generation: &generation, fetched: Mutex::default() };
    std::thread::scope(|threads| {
        let show = |at: &PathBuf| {
            fs::create_dir(at).unwrap();
            let shown = world.shelf.show(generation.manifest.id(), at, &source).unwrap();
            assert_same(&generation, &shown, "one of two");
            // What the other has is not dropped, and nobody waits for it.
            world.shelf.drop_others(&BTreeSet::new()).unwrap();
            assert_same(&generation, &shown, "one of two, tidied up");
            shown
        };
        let both = at.each_ref().map(|at| threads.spawn(move || show(at)));
        let shown = both.map(|one| one.join().unwrap());
        assert_eq!((world.layers(), lock(&source.fetched).len()), (1, 2));
        drop(shown);
    });
}
