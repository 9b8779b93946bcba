//! What can go wrong, sorted by what a script needs to know: was anything touched, and whose turn is it.

use std::path::PathBuf;

/// How a verb ended, for the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// The change itself failed; on a host it was taken back.
    Failed,
}

/// Why a verb could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What was asked for makes no sense.
    #[error("{what}")]
    Usage {
        /// The sentence.
        what: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// A precondition does not hold; nothing was touched.
    #[error("{what}")]
    Refused {
        /// The sentence, with the paths.
        what: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// Paths of the host are not as the change expects; nothing was touched.
    #[error(transparent)]
    Conflicts(#[from] crate::apply::Conflicts),
    /// A file of Greenroom's own cannot be used.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file of Greenroom's own is damaged.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In which way.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The copy could not be made or run.
    #[error("the copy failed")]
    Copy(#[from] greenroom_host::copy::CopyError),
    /// The copy could not be compared.
    #[error("the capture failed")]
    Capture(#[from] greenroom_host::capture::CaptureError),
    /// The ledger.
    #[error("the ledger failed")]
    Ledger(#[from] greenroom_store::ledger::LedgerError),
    /// A path of the host cannot be read.
    #[error("the host's tree cannot be read")]
    Scan(#[from] greenroom_host::scan::ScanError),
    /// The record of the host, or the comparison with it.
    #[error("the host cannot be compared with its record")]
    Baseline(#[from] greenroom_host::baseline::BaselineError),
    /// The host cannot be watched.
    #[error("the host cannot be watched")]
    Watch(#[source] greenroom_host::watch::WatchError),
    /// A system can't be compared with another.
    #[error(transparent)]
    Parity(#[from] greenroom_host::parity::ParityError),
    /// Something on this machine failed.
    #[error("cannot {doing}")]
    System {
        /// What was tried.
        doing: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The host's file engine failed.
    #[error("{what}")]
    Apply {
        /// In which state the host is.
        what: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What stands behind an error, the nearest first.
pub fn sources(error: &dyn std::error::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |inner| inner.source())
}

impl EngineError {
    /// A refusal.
    pub fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), hint: Some(hint.into()) }
    }

    /// A mistake of the caller.
    pub fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), hint: Some(hint.into()) }
    }

    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    pub(crate) fn system(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}
