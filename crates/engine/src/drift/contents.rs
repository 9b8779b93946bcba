//! Contents from before: which are kept when the record is made, where they are found when one is needed, and what of the blob
//! store the records of all hosts need.
//!
//! Kept are small files where people edit by hand, and the package manager's records. All else is found again only where the package cache has the package, or
//! where the host has the same content at another path; each by its hash. `kept/KEY` in the state directory lists what a host's
//! record needs, so that collecting garbage leaves it alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use greenroom_core::path::Shown;
use greenroom_core::{ContentHash, Node, TreePath};
use greenroom_host::dpkg::{Database, Package, deb_contents};
use greenroom_host::scan::Tree;
use greenroom_store::blobs::{BlobError, BlobStore as _};

use crate::state::write_durably;
use crate::{EngineError, State};

/// Where people edit by hand.
pub const PLACES: &[&str] = &[
    "/etc",
    "/usr/local",
    "/root",
    "/opt",
    "/srv",
    "/var/spool/cron",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The largest content that is kept of those, in bytes.
pub const LARGEST: u64 = 1 << 20;

/// The package manager's own records: without them no change of packages can be taken back.
pub const RECORDS: &[&str] = &[
    "/var/lib/dpkg",
    "/var/cache/debconf",
    "/var/lib/pam",
    "/var/lib/systemd/deb-systemd-helper-enabled",
    "/var/lib/systemd/deb-systemd-helper-masked",
    "/var/lib/ucf",
];

/// The largest record that is kept, in bytes.
pub const LARGEST_RECORD: u64 = 64 << 20;

/// All that is kept of one host when its record is made, in bytes.
pub const TOTAL: u64 = 256 << 20;

/// Whether a small file at `path` is kept.
#[must_use]
pub fn is_kept(path: &TreePath, size: u64) -> bool {
    let within = |places: &[&str]| places.iter().any(|place| path.starts_with(&TreePath::from(*place)));
    (size <= LARGEST && within(PLACES)) || (size <= LARGEST_RECORD && within(RECORDS))
}

fn damaged(state: &State) -> impl FnOnce(BlobError) -> EngineError + use<> {
    let path = state.dir().join("blobs");
    move |error| EngineError::Damaged { path, source: Box::new(error) }
}

/// Keeps the contents of `nodes` where they are to be kept and the host still has them.
pub(super) fn keep<'a>(
    state: &State,
    tree: &mut Tree,
    nodes: impl Iterator<Item = (&'a TreePath, &'a Node)>,
) -> Result<BTreeSet<ContentHash>, EngineError> {
    let mut kept = BTreeSet::new();
    state.keeps()?;
    for (path, node) in nodes {
        let Some(hash) = node.content().filter(|_| is_kept(path, node.size())) else { continue };
        if !state.blobs.contains(hash).map_err(damaged(state))? {
            let Some(content) = tree.content(path, node.size() + 1)? else { continue };
            if ContentHash::of(&content) != hash {
                continue;
            }
            state.blobs.put_bytes(&content).map_err(damaged(state))?;
        }
        kept.insert(hash);
    }
    Ok(kept)
}

/// One content that is needed.
pub(super) struct Need<'a> {
    pub(super) path: &'a TreePath,
    pub(super) hash: ContentHash,
}

/// Where else than in the store a content may be.
pub(super) struct Elsewhere<'a> {
    /// Paths of the host that have a content now.
    pub(super) live: HashMap<ContentHash, &'a TreePath>,
    /// The packages of the record, and of the host.
    pub(super) databases: [Option<&'a Database>; 2],
}

/// Brings what is needed into the store, from wherever it is. Gives the paths whose content is nowhere.
pub(super) fn gather(
    state: &State,
    tree: &mut Tree,
    needs: &[Need<'_>],
    elsewhere: &Elsewhere<'_>,
) -> Result<Vec<TreePath>, EngineError> {
    let mut missing: Vec<&Need<'_>> = Vec::new();
    state.keeps()?;
    for need in needs {
        if state.blobs.verify(need.hash).is_err() && !from_live(state, tree, need, elsewhere)? {
            missing.push(need);
        }
    }
    from_packages(state, tree, &missing, elsewhere);
    let gone = missing.into_iter().filter(|need| state.blobs.verify(need.hash).is_err());
    let out = gone.map(|need| need.path.clone()).collect();
    state.blobs.sync().map_err(damaged(state))?;
    Ok(out)
}

fn from_live(state: &State, tree: &mut Tree, need: &Need<'_>, from: &Elsewhere<'_>) -> Result<bool, EngineError> {
    let Some(path) = from.live.get(&need.hash) else { return Ok(false) };
    let Some(mut file) = open(tree, path)? else { return Ok(false) };
    Ok(state.blobs.put_reader(&mut file).map_err(damaged(state))? == need.hash)
}

/// Opens a regular file of the tree.
fn open(tree: &mut Tree, path: &TreePath) -> Result<Option<fs::File>, EngineError> {
    tree.open_file(path).map_err(Into::into)
}

/// Takes out of each package of the cache what it may have. One that cannot be read has nothing; whether a content is the one that
/// is needed its hash says, in the store.
fn from_packages(state: &State, tree: &mut Tree, needs: &[&Need<'_>], from: &Elsewhere<'_>) {
    let mut of: BTreeMap<(&str, &str), (&Package, Vec<TreePath>)> = BTreeMap::new();
    for need in needs {
        for database in from.databases.iter().flatten() {
            let Some(package) = database.owner(need.path).map(|id| database.package(id)) else { continue };
            let (_, paths) = of.entry((&package.name, &package.version)).or_insert((package, Vec::new()));
            paths.push(need.path.clone());
        }
    }
    for (package, paths) in of.values() {
        let mut take =
            |_: &TreePath, reader: &mut dyn Read| state.blobs.put_reader(reader).map(drop).map_err(io::Error::other);
        let _ = deb_contents(tree, package, paths, &mut take);
    }
}

/// The file that lists what the record of the host at `root` needs.
fn list(state: &State, root: &Path) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    state.dir().join("kept").join(ContentHash::of(root.as_os_str().as_bytes()).to_string())
}

/// Adds to what the record of the host at `root` needs; `anew` forgets what it needed before.
pub(super) fn remember(
    state: &State,
    root: &Path,
    hashes: &BTreeSet<ContentHash>,
    anew: bool,
) -> Result<(), EngineError> {
    state.blobs.sync().map_err(damaged(state))?;
    let path = list(state, root);
    let mut all = if anew { BTreeSet::new() } else { read(&path)? };
    let count = all.len();
    all.extend(hashes);
    if all.len() == count && !anew {
        return Ok(());
    }
    let dir = state.dir().join("kept");
    fs::create_dir_all(&dir).map_err(EngineError::file("make the directory", dir))?;
    let mut text = format!("{}\n", Shown(std::os::unix::ffi::OsStrExt::as_bytes(root.as_os_str())));
    all.iter().for_each(|hash| text.push_str(&format!("{hash}\n")));
    write_durably(&path, text.as_bytes()).map_err(EngineError::file("write", path))
}

fn read(path: &Path) -> Result<BTreeSet<ContentHash>, EngineError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(source) => return Err(EngineError::File { doing: "read", path: path.to_owned(), source }),
    };
    // The first line says whose it is.
    let hashes: Result<BTreeSet<ContentHash>, _> = text.lines().skip(1).map(str::parse).collect();
    hashes.map_err(|error| EngineError::Damaged { path: path.to_owned(), source: Box::new(error) })
}

/// What the records of all hosts need of the store.
///
/// # Errors
/// A list cannot be read: then nothing may be dropped.
pub fn needed(state: &State) -> Result<BTreeSet<ContentHash>, EngineError> {
    let dir = state.dir().join("kept");
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(source) => return Err(EngineError::File { doing: "read", path: dir, source }),
    };
    let mut out = BTreeSet::new();
    for entry in entries {
        let path = entry.map_err(EngineError::file("read", &dir))?.path();
        if path.extension().is_none() {
            out.extend(read(&path)?);
        }
    }
    Ok(out)
}
