//! The one error of the command line: what happened, why, what to do next, and the exit status.

use std::path::Path;

use greenroom_core::document::Problem;
use greenroom_engine::apply::Conflicts;
use greenroom_engine::system::SystemError;
use greenroom_engine::{EngineError, sources};
use greenroom_host::apply::Error as HostError;
use greenroom_host::baseline::BaselineError;
use greenroom_host::parity::ParityError;
use greenroom_store::blobs::BlobError;

/// Exit statuses. See docs/reference.md.
pub(crate) mod status {
    /// Done.
    pub(crate) const DONE: u8 = 0;
    /// The change itself failed: in the copy, or on the host and was taken back.
    pub(crate) const FAILED: u8 = 1;
    /// Wrong usage or configuration.
    pub(crate) const USAGE: u8 = 2;
    /// Refused, nothing was touched.
    pub(crate) const REFUSED: u8 = 3;
    /// A fault of the environment or of Greenroom.
    pub(crate) const FAULT: u8 = 4;
    /// The person stopped looking (Ctrl-C): what was looked at goes on.
    pub(crate) const DETACHED: u8 = 130;
}

/// A failure as a person sees it.
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    pub(crate) hints: Vec<String>,
    pub(crate) conflicts: Option<Box<Conflicts>>,
    /// What is wrong with a file, place by place.
    pub(crate) problems: Vec<Problem>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            conflicts: None,
            problems: Vec::new(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(status::USAGE, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// A fault with its causes, and nothing to be done about it that is known here.
    pub(crate) fn fault(error: impl std::error::Error) -> Self {
        Self::new(status::FAULT, error.to_string()).causes_of(&error)
    }

    pub(crate) fn causes_of(mut self, error: &dyn std::error::Error) -> Self {
        for inner in sources(error) {
            let text = inner.to_string();
            // An error that stands for another says the same.
            if self.causes.last().unwrap_or(&self.message) != &text {
                self.causes.push(text);
            }
        }
        self
    }
}

/// What to do when a file of the state cannot be used.
fn for_the_state(source: &std::io::Error) -> Option<&'static str> {
    match source.kind() {
        std::io::ErrorKind::StorageFull => {
            Some("make room there (greenroom gc), or keep the state elsewhere: --state DIR")
        }
        std::io::ErrorKind::ReadOnlyFilesystem => {
            Some("keep the state on a file system that can be written: --state DIR")
        }
        std::io::ErrorKind::PermissionDenied => Some("Greenroom's state belongs to root: run it with sudo"),
        _ => None,
    }
}

/// What to do about a record that is not whole.
fn anew(path: &Path) -> String {
    let dir = path.parent().unwrap_or(path).display();
    format!(
        "bring {dir} back from a backup; or remove it, and `greenroom status` records this host anew, as it is then"
    )
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let base = |code| Self::new(code, error.to_string()).causes_of(&error);
        match &error {
            EngineError::Usage { hint, .. } => Self { hints: hint.iter().cloned().collect(), ..base(status::USAGE) },
            EngineError::Refused { hint, .. } => {
                Self { hints: hint.iter().cloned().collect(), ..base(status::REFUSED) }
            }
            EngineError::Conflicts(conflicts) => {
                let hint = match conflicts.touched_by.as_slice() {
                    [] => "look at what changed there; then rehearse again on the host as it is now".to_owned(),
                    list => format!("changed since by {}: undo that first", list.join(", ")),
                };
                Self { conflicts: Some(Box::new(conflicts.clone())), ..base(status::REFUSED) }.hint(hint)
            }
            EngineError::System { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                base(status::FAULT).hint("Greenroom needs root: run it with sudo")
            }
            EngineError::File { source, .. } if for_the_state(source).is_some() => {
                base(status::FAULT).hint(for_the_state(source).unwrap_or_default())
            }
            EngineError::Watch(_) => base(status::FAULT).hint(
                "in a container fanotify must be allowed: CAP_SYS_ADMIN, and fanotify_init in its system call filter",
            ),
            EngineError::Baseline(BaselineError::Damaged { path, .. }) => base(status::FAULT).hint(anew(path)),
            EngineError::Parity(ParityError::Manifest { .. }) => {
                base(status::USAGE).hint("write it anew, with `greenroom manifest > FILE`")
            }
            EngineError::Copy(_) => {
                base(status::FAULT).hint("`greenroom doctor` says what of the environment is missing")
            }
            EngineError::File { path, source, .. }
                if source.kind() == std::io::ErrorKind::NotFound && is_of_a_rehearsal(path) =>
            {
                base(status::FAULT).hint(REHEARSE_AGAIN)
            }
            EngineError::Damaged { path, .. } if is_of_a_rehearsal(path) => {
                base(status::FAULT).hint(REHEARSE_AGAIN).hint(format!("then delete {}", path.display()))
            }
            EngineError::Damaged { .. } => {
                base(status::FAULT).hint("restore that file from a backup; until then what it is about is not touched")
            }
            EngineError::Ledger(_) => base(status::FAULT)
                .hint("if its disk is full, make room there; if it is locked, wait")
                .hint("if it is damaged, move the ledger's directory aside: a new one is begun, and the host's own records stay"),
            EngineError::Apply { source, .. } if damaged_change(source.as_ref()).is_some() => {
                let change = damaged_change(source.as_ref()).unwrap_or_default();
                base(status::FAULT)
                    .hint(format!("restore var/lib/greenroom/changes/{change} of the host from a backup"))
                    .hint(format!("or move that directory aside, and {change} cannot be undone any more"))
            }
            _ if misses_content(&error) => base(status::FAULT).hint(REHEARSE_AGAIN),
            _ => base(status::FAULT),
        }
    }
}

impl From<SystemError> for Failure {
    fn from(error: SystemError) -> Self {
        let base = Self::usage(error.to_string()).causes_of(&error);
        match &error {
            SystemError::Absent { .. } => base.hint("write one with `greenroom init`, or name the file"),
            SystemError::Unreadable { .. } => base,
            SystemError::Environment(none) => base.hint(none.hint.clone()),
            SystemError::Unsound { problems, .. } => Self { problems: problems.clone(), ..base },
        }
    }
}

/// Of what belongs to a rehearsal alone, nothing is lost that another rehearsal does not bring back.
const REHEARSE_AGAIN: &str = "rehearse it again: everything is captured anew";

fn is_of_a_rehearsal(path: &Path) -> bool {
    let parent = path.parent().and_then(Path::file_name);
    parent.is_some_and(|name| ["changesets", "rehearsals", "noise"].iter().any(|known| name == *known))
}

/// The change whose record on the host cannot be read.
fn damaged_change<'e>(error: &'e (dyn std::error::Error + Send + Sync + 'static)) -> Option<&'e str> {
    match error.downcast_ref() {
        Some(HostError::Damaged { change, .. }) => Some(change),
        _ => None,
    }
}

/// Whether a content is not in the store, which stands behind an I/O error of the file engine.
fn misses_content(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::once(error).chain(sources(error)).any(|inner| {
        let io = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        io.is_some_and(|io| matches!(io.downcast_ref(), Some(BlobError::Absent(_))))
    })
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(status::FAULT, format!("cannot write JSON: {error}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(status::FAULT, format!("cannot write the output: {error}"))
    }
}
