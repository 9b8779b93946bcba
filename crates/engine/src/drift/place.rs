//! How far the record has come: which of the host's changes are in it, and what was not as its package brought it when the
//! record was made. A file beside the record, `moved.json`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use greenroom_core::TreePath;
use greenroom_host::baseline::Modified;
use greenroom_host::sys::fs::resolve_in_root;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::state::write_durably;

/// A file beside the record. Links on the way stay in the tree.
pub(super) fn beside(root: &Path, name: &str) -> PathBuf {
    let dir = resolve_in_root(root, Path::new("var/lib/greenroom/baseline"));
    let dir = dir.unwrap_or_else(|_| crate::apply::home(root).join("baseline"));
    if name.is_empty() { dir } else { dir.join(name) }
}

/// A file from before there was a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    pub(super) path: TreePath,
    pub(super) package: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) conffile: bool,
    /// The package brought it and it is not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) missing: bool,
}

impl From<&Modified> for Before {
    fn from(one: &Modified) -> Self {
        Self {
            path: one.path.clone(),
            package: one.package.clone(),
            conffile: one.conffile,
            missing: one.found.is_none(),
        }
    }
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The record was made to its end.
    pub(super) whole: bool,
    /// The host's changes that are in it, of those that the file engine still has.
    pub(super) changes: BTreeSet<String>,
    /// What was not as its package brought it, and nobody has decided about.
    #[serde(default)]
    pub(super) modified: Vec<Before>,
}

impl Place {
    fn path(root: &Path) -> PathBuf {
        beside(root, "moved.json")
    }

    /// Reads it; `None`: there is none.
    pub(super) fn read(root: &Path) -> Result<Option<Self>, EngineError> {
        let path = Self::path(root);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| EngineError::Damaged { path, source: Box::new(error) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EngineError::File { doing: "read", path, source }),
        }
    }

    pub(super) fn write(&self, root: &Path) -> Result<(), EngineError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = Self::path(root);
        let dir = beside(root, "");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(EngineError::file("make the directory", dir))?;
        let text = serde_json::to_vec(self)
            .map_err(|error| EngineError::Damaged { path: path.clone(), source: Box::new(error) })?;
        write_durably(&path, &text).map_err(EngineError::file("write", path))
    }
}
