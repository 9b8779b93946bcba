//! Points at which a test may interrupt the engine. In production nothing listens.

use std::io;

/// Told each time the engine passes a point where being interrupted must do no harm.
pub trait Faults: Sync {
    /// Called at `point`, one of [`POINTS`]. May end the process.
    ///
    /// # Errors
    /// An error is treated like one of the kernel at this place.
    fn hit(&self, point: &str) -> io::Result<()> {
        let _ = point;
        Ok(())
    }
}

/// Interrupts nothing.
pub struct NoFaults;

impl Faults for NoFaults {}

/// All points, in the order in which a change passes them first.
pub const POINTS: &[&str] = &[
    "stage.begun",
    "stage.object",
    "commit.before",
    "commit.synced",
    "commit.decided",
    "unlock",
    "step.linked",
    "step.metadata",
    "step.moved",
    "finish.time",
    "finish.dropped",
    "finish.flags",
    "finish.synced",
    "commit.done",
];
