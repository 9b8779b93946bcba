//! The record of a change on its host: `<root>/var/lib/greenroom/records/cN.json`, and `open`, which names the one that is
//! under way. What files are where is known by the file engine's own journal; this says what else belongs to the change.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use greenroom_core::change::ApplyOptions;
use greenroom_core::plan::{Part, UnitAction};
use greenroom_core::{ContentHash, TreePath};
use greenroom_host::sys::fs::resolve_in_root;
use greenroom_store::ledger::Actor;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::state::write_durably;

/// What was done to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A rehearsal was put in place.
    Apply,
    /// A change was taken back.
    Undo,
    /// What was found on the host was taken as wanted.
    Adopt,
    /// What was found on the host was replaced by what is on record.
    Revert,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Undo => "undo",
            Self::Adopt => "adopt",
            Self::Revert => "revert",
        }
    }
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Under way, or interrupted.
    Open,
    /// It failed, and what it did is being taken back, or that was interrupted.
    TakingBack,
    /// In place.
    Done,
    /// It failed and the host is as before.
    TakenBack,
}

/// How far a live step has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Not begun. Parts of files are always this: their own journal knows.
    #[default]
    Waiting,
    /// Begun; after a crash nobody knows how much of it happened.
    Begun,
    /// It succeeded.
    Done,
    /// Taken back by its undo command.
    TakenBack,
    /// It is run once for the whole system, on another host: here it counts as done, in both directions.
    Elsewhere,
}

/// One part of a change with the file engine's name for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// What it is.
    pub part: Part,
    /// The file engine's record; empty for a live step.
    pub host_id: String,
    /// How far a live step has come.
    #[serde(default)]
    pub step: Step,
    /// The control group of its command that is under way, or was when it failed or Greenroom was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pen: Option<String>,
}

/// What one person or program had changed by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Who, in words; `None`: not known.
    pub by: Option<String>,
    /// How many paths.
    pub paths: usize,
    /// The last of them.
    pub at: String,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// `c1`, `c2`, …
    pub change: String,
    /// What was done.
    pub kind: Kind,
    /// The change that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The rehearsal that it comes from; empty when it comes from none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rehearsal: String,
    /// The change of the fleet that this is this host's part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// What the person calls it.
    pub name: String,
    /// Why.
    pub why: Option<String>,
    /// When it began.
    pub at: String,
    /// Who did it.
    pub actor: Actor,
    /// The whole effect, in the direction of the rehearsal.
    pub changeset: Option<ContentHash>,
    /// Number of paths.
    pub entries: usize,
    /// Whether the parts go in the direction of the rehearsal or back.
    pub forward: bool,
    /// The parts, in the order of the rehearsal.
    pub parts: Vec<PartRecord>,
    /// What the change did to services in the copy, in the direction of the rehearsal.
    pub jobs: Vec<UnitAction>,
    /// The `[apply]` table.
    pub options: ApplyOptions,
    /// How it stands.
    pub standing: Standing,
    /// What was done to services on this host.
    #[serde(default)]
    pub services: Vec<UnitAction>,
    /// Why it was taken back, or what could not be.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Paths whose old content was nowhere to be had: the change cannot be taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_way_back: Vec<TreePath>,
    /// Who had made what was adopted or reverted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// What was no part of the change and went aside with a directory that it removed: only the images have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<TreePath>,
    /// When its before-images were dropped: it cannot be undone any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<String>,
}

/// Where a tree keeps what was done to it. Where a link leads there, it is followed within the tree: a copy has records of its
/// own.
pub(crate) fn place(root: &Path) -> PathBuf {
    let below = |path: &str| resolve_in_root(root, Path::new(path)).ok();
    let dir = below("var/lib/greenroom").or_else(|| Some(below("var/lib")?.join("greenroom")));
    dir.unwrap_or_else(|| root.join("var/lib/greenroom"))
}

/// The records of one host.
pub struct Records {
    root: PathBuf,
    dir: PathBuf,
}

impl Records {
    /// The records of the host whose tree is at `root`.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(root: &Path) -> Result<Self, EngineError> {
        let dir = place(root);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join("records"));
        made.map_err(EngineError::file("make the directory", dir.join("records")))?;
        Ok(Self { root: root.to_owned(), dir })
    }

    /// The same for reading, without making anything. A host on which nothing was ever done has no records.
    #[must_use]
    pub fn look(root: &Path) -> Self {
        Self { root: root.to_owned(), dir: place(root) }
    }

    /// The host's tree.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, change: &str) -> PathBuf {
        self.dir.join("records").join(format!("{change}.json"))
    }

    /// Whether there is a record of this name.
    #[must_use]
    pub fn has(&self, change: &str) -> bool {
        self.path(change).exists()
    }

    /// Writes a record, durably.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, record: &ChangeRecord) -> Result<(), EngineError> {
        let path = self.path(&record.change);
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| EngineError::Damaged { path: path.clone(), source: Box::new(error) })?;
        write_durably(&path, &text).map_err(EngineError::file("write", path))
    }

    /// Reads a record.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn read(&self, change: &str) -> Result<ChangeRecord, EngineError> {
        let path = self.path(change);
        let valid = change.strip_prefix('c').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        if !valid || !path.exists() {
            let what = format!("there is no change {change} on this host");
            return Err(EngineError::usage(what, "`greenroom log` lists them"));
        }
        let text = fs::read(&path).map_err(EngineError::file("read", &path))?;
        serde_json::from_slice(&text).map_err(|error| EngineError::Damaged { path, source: Box::new(error) })
    }

    /// All records, in the order of their numbers.
    ///
    /// # Errors
    /// One is damaged.
    pub fn all(&self) -> Result<Vec<ChangeRecord>, EngineError> {
        let Ok(entries) = fs::read_dir(self.dir.join("records")) else { return Ok(Vec::new()) };
        let mut numbers: Vec<u64> = entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.strip_prefix('c')?.strip_suffix(".json")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|n| self.read(&format!("c{n}"))).collect()
    }

    /// Says which change is under way.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(&self, record: &ChangeRecord) -> Result<(), EngineError> {
        self.write(record)?;
        let path = self.dir.join("open");
        write_durably(&path, record.change.as_bytes()).map_err(EngineError::file("write", path))
    }

    /// Says that none is any more.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end(&self, record: &ChangeRecord) -> Result<(), EngineError> {
        self.write(record)?;
        let path = self.dir.join("open");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(EngineError::File { doing: "delete", path, source: error })
            }
            _ => Ok(()),
        }
    }

    /// The change that is under way, or was interrupted.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn under_way(&self) -> Result<Option<ChangeRecord>, EngineError> {
        match fs::read_to_string(self.dir.join("open")) {
            Ok(change) => self.read(change.trim()).map(Some),
            Err(_) => Ok(None),
        }
    }
}
