//! What the record knows of single files, for who would have to read them otherwise.
//!
//! A file whose key fits has the recorded content and attributes, as a scan would say ([`super::keys`]); all else of it is in its
//! status. Of anything else nothing is said, of a record that is damaged neither: then the file is read.

use std::collections::BTreeMap;

use greenroom_core::{Kind, Node, TreePath};

use super::Baseline;
use super::file::Pages;
use super::keys::Key;
use super::page::Reading;
use super::places::{Known, Places};
use super::row::{Row, State};
use super::types::BaselineError;
use crate::scan::node_of;
use crate::sys::fs::{Status, types};

/// A record that is asked for single files.
pub struct Recall {
    pages: Pages,
    places: Places,
}

/// Asks for files, neighbours after each other; one for each thread.
pub struct Asking<'a> {
    recall: &'a Recall,
    dir: Option<TreePath>,
    known: Known,
    mounts: Option<&'a BTreeMap<Box<[u8]>, bool>>,
    /// Which of the directory's pages is in `rows`.
    part: usize,
    rows: Vec<Recorded>,
    page: Vec<u8>,
    keys: Vec<u8>,
}

/// A file that is on record.
struct Recorded {
    name: Box<[u8]>,
    key: Key,
    node: Option<Node>,
}

impl Baseline {
    /// Makes it ready to be asked for single files.
    ///
    /// # Errors
    /// [`BaselineError`]: the table of mounts cannot be read.
    pub fn recall(self) -> Result<Recall, BaselineError> {
        let places = Places::look(&self.root)?;
        Ok(Recall { pages: self.pages, places })
    }
}

impl Recall {
    /// To ask in a thread.
    #[must_use]
    pub fn ask(&self) -> Asking<'_> {
        Asking {
            recall: self,
            dir: None,
            known: Known::Reading,
            mounts: None,
            part: 0,
            rows: Vec::new(),
            page: Vec::new(),
            keys: Vec::new(),
        }
    }
}

impl Asking<'_> {
    /// The state of the regular file `path`, whose status was just seen; `None`: it has to be read. `link` is empty.
    pub fn node(&mut self, path: &TreePath, status: &Status) -> Option<Box<Node>> {
        if status.file_type() != types::FILE {
            return None;
        }
        if self.dir.as_ref().is_none_or(|dir| !dir.is_parent_of(path)) {
            self.enter(path.parent()?);
        }
        let name = path.name();
        if self.known == Known::Reading || self.mounts.is_some_and(|mounts| mounts.contains_key(name)) {
            return None;
        }
        self.turn_to(name);
        let at = self.rows.binary_search_by(|row| (*row.name).cmp(name)).ok()?;
        let row = &self.rows[at];
        let node = row.node.as_ref().filter(|node| row.key.fits(status, self.known) && node.size() == status.size)?;
        let kind @ Kind::File { .. } = node.kind.clone() else { return None };
        Some(node_of(kind, node.xattrs.clone(), status))
    }

    fn enter(&mut self, dir: TreePath) {
        self.known = self.recall.places.of(&dir).known;
        self.mounts = self.recall.places.mounts(&dir);
        self.dir = Some(dir);
        self.rows.clear();
        self.load(0);
    }

    /// Loads the page of the directory in which `name` would be.
    fn turn_to(&mut self, name: &[u8]) {
        if self.part > 0 && self.rows.first().is_none_or(|first| *first.name > *name) {
            self.load(0);
        }
        while self.rows.last().is_none_or(|last| *last.name < *name) && self.load(self.part + 1) {}
    }

    /// Loads a page of the directory; false: it has no such page.
    fn load(&mut self, part: usize) -> bool {
        let dir = self.dir.as_ref().map_or(&b""[..], TreePath::as_bytes);
        let Some(slot) = self.recall.pages.of(dir).get(part) else {
            return false;
        };
        self.part = part;
        self.rows.clear();
        if self.recall.pages.read(slot, &mut self.page).is_err() {
            return true;
        }
        self.recall.pages.keys(slot, &mut self.keys);
        // A page of another directory with the same number, or without keys, says nothing.
        let page = Reading::new(&self.page).filter(|(own, _)| *own == dir && !self.keys.is_empty());
        if let Some((_, mut rows)) = page {
            let (mut name, mut at) = (Vec::new(), 0);
            while let Some(row) = (rows.left() > 0).then(|| rows.next(&mut name)).flatten() {
                let node = if let Row::State(state) = &row { file(state) } else { None };
                self.rows.push(Recorded { name: name.as_slice().into(), key: Key::get(&self.keys, at), node });
                at += 1;
            }
        }
        true
    }
}

fn file(state: &State<'_>) -> Option<Node> {
    if state.file_type() == types::FILE { state.node() } else { None }
}
