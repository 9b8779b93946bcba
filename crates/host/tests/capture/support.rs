//! A host's tree, a copy of it to change, and a twin of it to apply to.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use greenroom_core::policy::{Class, Policy};
use greenroom_core::{Changeset, ContentHash, TreePath};
use greenroom_host::apply::{Contents, HostState, NoFaults};
use greenroom_host::baseline::{Baseline, Options};
use greenroom_host::capture::{Captured, Keep, Rules, Source, capture};
use greenroom_host::copy::Copy;
use greenroom_testkit::oracle::Comparison;
use tempfile::TempDir;

/// Greenroom's own state, which the twin gets and the copy does not.
const OWN: &[&str] = &["/var/lib/greenroom", "/.greenroom"];

pub(crate) struct World {
    pub(crate) dir: TempDir,
    blobs: Blobs,
}

/// Keeps contents as files by their hash, and trees that it takes over.
struct Blobs {
    dir: PathBuf,
    number: Mutex<u64>,
    in_trees: Mutex<HashMap<ContentHash, PathBuf>>,
}

impl Blobs {
    fn number(&self) -> u64 {
        let mut number = self.number.lock().unwrap();
        *number += 1;
        *number
    }
}

impl Keep for Blobs {
    fn keep(&self, hash: &ContentHash, source: &Source<'_>) -> io::Result<()> {
        let temporary = self.dir.join(format!("new{}", self.number()));
        io::copy(&mut (source.open)()?, &mut File::create(&temporary)?)?;
        std::fs::rename(temporary, self.dir.join(hash.to_string()))
    }

    fn keep_tree(&self, tree: &Path, files: Vec<(ContentHash, &[u8])>) -> io::Result<bool> {
        if files.is_empty() {
            return Ok(false);
        }
        let own = self.dir.join(format!("tree{}", self.number()));
        std::fs::rename(tree, &own)?;
        let place = |path: &[u8]| own.join(std::ffi::OsStr::from_bytes(path));
        self.in_trees.lock().unwrap().extend(files.iter().map(|(hash, path)| (*hash, place(path))));
        Ok(true)
    }

    fn keep_before(&self, _hash: &ContentHash, _source: &Source<'_>) -> io::Result<()> {
        Ok(())
    }
}

impl Contents for Blobs {
    fn open(&self, hash: &ContentHash) -> io::Result<File> {
        match self.in_trees.lock().unwrap().get(hash) {
            Some(path) => File::open(path),
            None => File::open(self.dir.join(hash.to_string())),
        }
    }
}

impl World {
    /// A host with `var/lib` and what `fill` makes.
    pub(crate) fn new(fill: impl FnOnce(&Path)) -> Self {
        greenroom_host::sys::ns::own_mounts().unwrap();
        let dir = tempfile::Builder::new().prefix("capture").tempdir_in("/var/tmp").unwrap();
        let host = dir.path().join("host");
        std::fs::create_dir_all(host.join("var/lib")).unwrap();
        fill(&host);
        let blobs = Blobs { dir: dir.path().join("blobs"), number: Mutex::default(), in_trees: Mutex::default() };
        std::fs::create_dir(&blobs.dir).unwrap();
        Self { dir, blobs }
    }

    pub(crate) fn host(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    /// Makes the record of the host, as one that was made long ago.
    pub(crate) fn record(&self) {
        let policy = Policy::new("", Vec::new(), Vec::new()).unwrap();
        let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let recorded = Baseline::record(&self.host(), &Options::new(&policy, later)).unwrap();
        assert_eq!(recorded.problems, []);
        // Longer than a file system's clock ticks.
        std::thread::sleep(std::time::Duration::from_millis(12));
    }

    /// What was kept so far is kept no more.
    pub(crate) fn forget_contents(&self) {
        std::fs::remove_dir_all(&self.blobs.dir).unwrap();
        std::fs::create_dir(&self.blobs.dir).unwrap();
    }

    /// The same tree again, to apply to.
    pub(crate) fn twin(&self, name: &str) -> PathBuf {
        let twin = self.dir.path().join(name);
        let done = Command::new("cp").arg("-a").arg(self.host()).arg(&twin).status().unwrap();
        assert!(done.success());
        twin
    }

    pub(crate) fn copy(&self) -> Copy {
        Copy::make(&self.host(), &self.dir.path().join("copy"), &[]).unwrap()
    }

    pub(crate) fn capture(&self, copy: &Copy) -> Captured {
        self.capture_as(copy, false)
    }

    /// Nothing happens in the copy any more, so that what it wrote may be taken over. It cannot be captured again then.
    pub(crate) fn capture_at_rest(&self, copy: &Copy) -> Captured {
        self.capture_as(copy, true)
    }

    fn capture_as(&self, copy: &Copy, at_rest: bool) -> Captured {
        let class = |path: &TreePath, _: bool| {
            if OWN.iter().any(|own| path.starts_with(&TreePath::from(*own))) { Class::Own } else { Class::Managed }
        };
        capture(copy, &Rules { class: &class, noise: &|_| false, at_rest }, &self.blobs).unwrap()
    }

    /// Puts `changeset` onto the host itself, looks, takes it back.
    pub(crate) fn apply_here(&self, changeset: &Changeset, look: impl FnOnce()) {
        let host = HostState::open(&self.host()).unwrap();
        let guard = host.lock("test").unwrap();
        let staged = guard.stage("c1", changeset, &self.blobs, &NoFaults).unwrap();
        staged.commit(serde_json::Value::Null, &NoFaults).unwrap();
        guard.close("c1").unwrap();
        look();
        guard.undo("c1", "c2", serde_json::Value::Null, &NoFaults).unwrap();
        guard.close("c2").unwrap();
    }

    /// Puts `changeset` onto a twin, compares it with the copy; takes it back, compares it with the host.
    pub(crate) fn there_and_back(&self, copy: &Copy, changeset: &Changeset, label: &str) {
        let twin = self.twin("twin");
        let host = HostState::open(&twin).unwrap();
        let guard = host.lock("test").unwrap();
        let tree = greenroom_host::scan::Tree::open(&twin).unwrap();
        assert_eq!(greenroom_host::apply::check(&tree, changeset, None).unwrap(), [], "{label}");
        let staged = guard.stage("c1", changeset, &self.blobs, &NoFaults).unwrap();
        staged.commit(serde_json::Value::Null, &NoFaults).unwrap();
        guard.close("c1").unwrap();
        same(&copy.root(), &twin, &format!("{label}: after apply"));
        guard.undo("c1", "c2", serde_json::Value::Null, &NoFaults).unwrap();
        guard.close("c2").unwrap();
        same(&self.host(), &twin, &format!("{label}: after undo"));
        greenroom_host::copy::remove_tree(&twin).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // TempDir cannot delete what is immutable.
        let _ = greenroom_host::copy::remove_tree(self.dir.path());
    }
}

pub(crate) fn same(a: &Path, b: &Path, label: &str) {
    let found = Comparison::new(a, b).exclude(OWN).any_time(&["/var/lib"]).differences();
    assert!(found.is_empty(), "{label}:\n{}", found.join("\n"));
}

/// Runs a shell script in a directory.
pub(crate) fn sh(dir: &Path, script: &str) {
    let done = Command::new("sh").args(["-euc", script]).current_dir(dir).status().unwrap();
    assert!(done.success(), "{script}");
}
