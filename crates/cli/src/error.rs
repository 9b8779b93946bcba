//! The one error of the command line: what happened, why, what to do next, and the exit status.

use greenroom_engine::EngineError;
use greenroom_engine::apply::Conflicts;
use greenroom_host::parity::ParityError;

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
}

/// A failure as a person sees it.
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    pub(crate) hints: Vec<String>,
    pub(crate) conflicts: Option<Box<Conflicts>>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), hints: Vec::new(), conflicts: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(status::USAGE, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn causes_of(mut self, error: &dyn std::error::Error) -> Self {
        let mut cause = error.source();
        while let Some(inner) = cause {
            self.causes.push(inner.to_string());
            cause = inner.source();
        }
        self
    }
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
            EngineError::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                base(status::FAULT).hint("Greenroom's state belongs to root: run it with sudo")
            }
            EngineError::Parity(ParityError::Manifest { .. }) => {
                base(status::USAGE).hint("write it anew, with `greenroom manifest > FILE`")
            }
            EngineError::Copy(_) => {
                base(status::FAULT).hint("`greenroom doctor` says what of the environment is missing")
            }
            _ => base(status::FAULT),
        }
    }
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
