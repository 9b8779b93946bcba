//! What the agent has on record of its own: which commands it began and what came of them, which fences it has seen, which
//! changes it was told to leave.
//!
//! ```text
//! agent/commands/NAME.json   {"begun": true} or {"answer": …}, durable
//! agent/changes/NAME.json    {"fence": N, "left": bool}, durable
//! ```
//! An answer is kept until the control plane has it on record.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use greenroom_core::wire::Answer;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::state::write_durably;

pub(super) struct Journal {
    dir: PathBuf,
    /// Held while a change's file is read and written anew.
    changes: Mutex<()>,
}

/// What is on record of a command.
pub(super) enum Known {
    /// It began.
    Begun,
    /// It is over.
    Done(Box<Answer>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Begun(bool),
    Answer(Box<Answer>),
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Change {
    fence: u64,
    left: bool,
}

impl Journal {
    pub(super) fn open(dir: &Path) -> Result<Self, EngineError> {
        for part in ["commands", "changes"] {
            let path = dir.join(part);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(EngineError::file("make the directory", path))?;
        }
        Ok(Self { dir: dir.to_owned(), changes: Mutex::default() })
    }

    fn path(&self, part: &str, name: &str) -> Result<PathBuf, EngineError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.chars().all(fits) {
            let what = format!("{name:?} is no name that a command or a change can have");
            return Err(EngineError::usage(what, "control plane and agent may be of different versions: upgrade both"));
        }
        Ok(self.dir.join(part).join(format!("{name}.json")))
    }

    pub(super) fn known(&self, id: &str) -> Result<Option<Known>, EngineError> {
        let line = read::<Line>(&self.path("commands", id)?)?;
        Ok(line.map(|line| match line {
            Line::Begun(_) => Known::Begun,
            Line::Answer(answer) => Known::Done(answer),
        }))
    }

    /// All answers that are here, by the names of their commands. One that cannot be read is left out: its command is asked for
    /// again by whoever misses it.
    pub(super) fn answers(&self) -> Vec<(String, Answer)> {
        let names = fs::read_dir(self.dir.join("commands")).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()));
        names.filter_map(|id| Some((id.clone(), self.answer(&id)?))).collect()
    }

    /// What came of a command, where that is here and can be read.
    pub(super) fn answer(&self, id: &str) -> Option<Answer> {
        match self.known(id) {
            Ok(Some(Known::Done(answer))) => Some(*answer),
            _ => None,
        }
    }

    pub(super) fn begin(&self, id: &str) -> Result<(), EngineError> {
        write(&self.path("commands", id)?, &Line::Begun(true))
    }

    pub(super) fn done(&self, id: &str, answer: &Answer) -> Result<(), EngineError> {
        write(&self.path("commands", id)?, &Line::Answer(Box::new(answer.clone())))
    }

    pub(super) fn forget(&self, id: &str) -> Result<(), EngineError> {
        let path = self.path("commands", id)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EngineError::file("delete", path)(error)),
            _ => Ok(()),
        }
    }

    /// Notes the fence of who drives a change.
    ///
    /// # Errors
    /// A higher one was seen: somebody else drives it by now.
    pub(super) fn fence(&self, change: &str, fence: u64) -> Result<(), EngineError> {
        self.of_change(change, |known| {
            if fence < known.fence {
                return Err(EngineError::refused(
                    format!("{change} is driven by somebody else by now (fence {} after {fence})", known.fence),
                    format!("greenroom follow {change}"),
                ));
            }
            Ok(Change { fence, ..known })
        })
    }

    /// From now on this change is never begun here.
    pub(super) fn leave(&self, change: &str) -> Result<(), EngineError> {
        self.of_change(change, |known| Ok(Change { left: true, ..known }))
    }

    pub(super) fn has_left(&self, change: &str) -> Result<bool, EngineError> {
        Ok(read::<Change>(&self.path("changes", change)?)?.is_some_and(|known| known.left))
    }

    fn of_change(
        &self,
        change: &str,
        next: impl FnOnce(Change) -> Result<Change, EngineError>,
    ) -> Result<(), EngineError> {
        let _one = crate::lock(&self.changes);
        let path = self.path("changes", change)?;
        let known = read::<Change>(&path)?;
        let before = known.unwrap_or_default();
        let after = next(before)?;
        if known.is_some() && (before.fence, before.left) == (after.fence, after.left) {
            return Ok(());
        }
        write(&path, &after)
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, EngineError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| EngineError::Damaged { path: path.to_owned(), source: Box::new(error) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EngineError::file("read", path)(error)),
    }
}

fn write(path: &Path, line: &impl Serialize) -> Result<(), EngineError> {
    let text = serde_json::to_vec(line)
        .map_err(|error| EngineError::Damaged { path: path.to_owned(), source: Box::new(error) })?;
    write_durably(path, &text).map_err(EngineError::file("write", path))
}
