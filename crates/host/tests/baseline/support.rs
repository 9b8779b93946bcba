//! A tree with a record.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use greenroom_core::policy::Policy;
use greenroom_core::{Entry, Node, TreePath};
use greenroom_host::baseline::{Baseline, Options, Recorded, Scanned};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::judge::{View, view};

pub(crate) struct World {
    dir: TempDir,
    pub(crate) policy: Policy,
}

impl World {
    pub(crate) fn new(fill: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::Builder::new().prefix("baseline").tempdir_in("/var/tmp").unwrap();
        let out = Self { dir, policy: Policy::new("", Vec::new(), Vec::new()).unwrap() };
        std::fs::create_dir_all(out.root().join("var/lib/greenroom")).unwrap();
        std::fs::create_dir_all(out.srv()).unwrap();
        fill(&out.srv());
        out
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Where tests put their files.
    pub(crate) fn srv(&self) -> PathBuf {
        self.root().join("srv")
    }

    /// In an hour: then every change time is old enough to be trusted.
    pub(crate) fn later(&self) -> Options<'_> {
        Options::new(&self.policy, Timestamp::now() + SignedDuration::from_hours(1))
    }

    /// At once: then no change time of a test is.
    pub(crate) fn now(&self) -> Options<'_> {
        Options::new(&self.policy, Timestamp::now())
    }

    pub(crate) fn record(&self) -> Recorded {
        let recorded = Baseline::record(&self.root(), &self.later()).unwrap();
        assert_eq!(recorded.problems, []);
        recorded
    }

    pub(crate) fn open(&self) -> Baseline {
        Baseline::open(&self.root()).unwrap().unwrap()
    }

    /// Scans, and keeps what was learned.
    pub(crate) fn scan(&self, options: &Options<'_>) -> Scanned {
        let baseline = self.open();
        let mut scanned = baseline.scan(options).unwrap();
        assert!(baseline.refresh(std::mem::take(&mut scanned.refresh)).unwrap());
        scanned
    }

    /// What a scan finds, which must be without problems.
    pub(crate) fn found(&self, options: &Options<'_>) -> Vec<Entry> {
        let scanned = self.scan(options);
        assert_eq!(scanned.problems, []);
        scanned.differences.into_iter().map(|found| found.entry).collect()
    }

    pub(crate) fn view(&self) -> View {
        view(&self.root())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // TempDir cannot delete what is immutable.
        let _ = greenroom_host::copy::remove_tree(self.dir.path());
    }
}

/// What lies between two views.
pub(crate) fn between(before: &View, after: &View) -> Vec<Entry> {
    let mut paths: Vec<&TreePath> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    let boxed = |view: &View, path: &TreePath| view.get(path).cloned().map(Box::new);
    let entry = |path: &TreePath| Entry { path: path.clone(), before: boxed(before, path), after: boxed(after, path) };
    paths.into_iter().map(entry).filter(|entry| entry.before != entry.after).collect()
}

/// What a record holds.
pub(crate) fn on_record(baseline: &Baseline) -> View {
    baseline.records().map(Result::unwrap).collect()
}

pub(crate) fn changes(entries: &[Entry]) -> Vec<(TreePath, Option<Node>)> {
    entries.iter().map(|entry| (entry.path.clone(), entry.after.as_deref().cloned())).collect()
}

/// `op path` of each.
pub(crate) fn words(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| format!("{:?} {}", entry.op(), entry.path)).collect()
}

/// Longer than a file system's clock ticks.
pub(crate) fn tick() {
    std::thread::sleep(Duration::from_millis(12));
}

/// Runs a shell script in a directory.
pub(crate) fn sh(dir: &Path, script: &str) {
    let done = Command::new("sh").args(["-euc", script]).current_dir(dir).status().unwrap();
    assert!(done.success(), "{script}");
}
