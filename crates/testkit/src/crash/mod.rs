//! Interrupting Greenroom from outside: kill -9 and power cuts at random moments of `apply`, `undo` and `recover`, and
//! the judgement of what is left.
//!
//! * [`World`]: a small host whose tree has every kind of file, a change that turns each kind into each other, and
//!   two references: what the tree is before the change and after it. The references are made without Greenroom.
//! * [`Driver`]: runs the built `greenroom`, kills it after a random delay, lets it recover, and judges.
//! * [`Disk`]: a file system in an image, for power cuts.
//! * [`kills`] and [`cuts`]: campaigns, used by `make test` in a short form and by `cargo xtask soak` in a long one.
//!
//! The judgement knows nothing of Greenroom's own types: the tree is compared by [`crate::oracle`], what Greenroom
//! says is read from `log --json`. A violation is an error with what was found; the campaign stops there and the
//! world stays on the disk.

mod campaign;
mod disk;
mod driver;
mod random;
mod scratch;
mod world;

pub use campaign::{Tally, cuts, kills};
pub use disk::{Disk, FileSystem};
pub use driver::{Driver, State, Verb};
pub use random::Random;
pub use scratch::Scratch;
pub use world::{Change, World};

/// An invariant that does not hold, or a tool that does not work; in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

impl From<std::io::Error> for Violation {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<crate::lab::LabError> for Violation {
    fn from(error: crate::lab::LabError) -> Self {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        Self(format!("{error}{cause}"))
    }
}
