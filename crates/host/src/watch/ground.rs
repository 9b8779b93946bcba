//! What is watched: the local file systems of the tree, as they are mounted by now, and the policy that says which paths count.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use greenroom_core::TreePath;
use greenroom_core::policy::{Policy, STORES};

use super::WatchError;
use super::dirs::Dirs;
use super::fan::Fan;

/// Reads the policy of the tree as it is by now; an error is a sentence.
pub type ReadPolicy = Box<dyn Fn() -> Result<Policy, String> + Send>;

/// Where a host lists volatile paths of its own.
const VOLATILE_LIST: &str = "/etc/greenroom/volatile";

/// The file systems of one tree.
pub(super) struct Ground {
    root: PathBuf,
    read: ReadPolicy,
    /// The kernel's table of mounts: has something to tell when it changes.
    table: File,
    /// The places that are watched, and those that cannot be, each with why.
    places: Vec<(TreePath, PathBuf)>,
    refused: Vec<(PathBuf, String)>,
}

impl Ground {
    /// Marks each local file system of the tree.
    pub(super) fn new(root: &Path, read: ReadPolicy, fan: &Fan, dirs: &mut Dirs) -> Result<Self, WatchError> {
        let table = File::open("/proc/self/mountinfo").map_err(WatchError::system("open the table of mounts"))?;
        let mut out = Self { root: root.to_owned(), read, table, places: Vec::new(), refused: Vec::new() };
        out.look(fan, dirs).map_err(WatchError::system("find the file systems of the tree"))?;
        if out.places.is_empty() {
            return Err(WatchError::Nothing(root.to_owned(), out.limits().pop().unwrap_or_default()));
        }
        Ok(out)
    }

    /// Marks what was mounted since, and forgets what is not there any more. True when something changed.
    pub(super) fn look(&mut self, fan: &Fan, dirs: &mut Dirs) -> io::Result<bool> {
        let found = crate::copy::places(&self.root).map_err(io::Error::other)?;
        let known = |list: &[(TreePath, PathBuf)], place: &PathBuf| list.iter().any(|(_, known)| known == place);
        let (before, refused) = (self.places.len(), self.refused.len());
        self.places.retain(|(_, place)| known(&found, place));
        self.refused.retain(|(place, _)| known(&found, place));
        let mut changed = self.places.len() != before || self.refused.len() != refused;
        if changed {
            dirs.keep(&self.places.iter().map(|(_, place)| place.clone()).collect::<Vec<_>>());
        }
        for (at, place) in found {
            // Something else may be mounted at a known place by now: marking a file system twice is marking it once.
            match fan.watch(&place).and_then(|()| dirs.add(&place)) {
                Ok(new) => {
                    changed |= new;
                    if !known(&self.places, &place) {
                        changed = true;
                        self.places.push((at, place));
                    }
                }
                Err(error) if self.refused.iter().all(|(known, _)| *known != place) => {
                    self.places.retain(|(_, known)| *known != place);
                    self.refused.push((place, format!("changes below {at} are only found by scan: {error}")));
                    changed = true;
                }
                Err(_) => {}
            }
        }
        Ok(changed)
    }

    /// Whether each write to a file that stays open is told. A place that is gone has nothing to tell.
    pub(super) fn writes(&self, fan: &Fan, told: bool) {
        for (_, place) in &self.places {
            let _ = fan.writes(place, told);
        }
    }

    /// Whether the policy depends on what is at `path`.
    pub(super) fn depends(path: &TreePath) -> bool {
        let path = path.as_bytes();
        path == VOLATILE_LIST.as_bytes() || STORES.iter().any(|store| path == store.path.as_bytes())
    }

    /// Reads the policy again when `path` is one that it depends on. True when it did.
    pub(super) fn reads(&self, path: &TreePath, dirs: &mut Dirs) -> bool {
        if !Self::depends(path) {
            return false;
        }
        // A list that cannot be read is everybody's error at their next command; until then what was known holds.
        (self.read)().is_ok_and(|policy| {
            dirs.rule(policy);
            true
        })
    }

    /// The places that are watched.
    pub(super) fn places(&self) -> Vec<String> {
        self.places.iter().map(|(at, _)| at.to_string()).collect()
    }

    /// What cannot be, in sentences.
    pub(super) fn limits(&self) -> Vec<String> {
        self.refused.iter().map(|(_, why)| why.clone()).collect()
    }
}

impl AsFd for Ground {
    /// Has an exceptional condition when something was mounted or unmounted.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.table.as_fd()
    }
}
