//! The last moment at which a change can be called off: everything fits, is checked and staged, and nothing is touched.
//! One host's change goes straight through. Where many hosts change as one, each waits here until all are ready.

use crate::EngineError;

/// Asked once, right before the first touch, by the thread that then goes on.
pub trait Gate: Sync {
    /// Returns when the change may touch the host.
    ///
    /// # Errors
    /// It may not. What was staged is dropped, and the error is what the caller gets.
    fn pass(&self) -> Result<(), EngineError>;

    /// Whether time goes by in [`Gate::pass`], so that the host has to be looked at again.
    fn waits(&self) -> bool {
        true
    }
}

/// Open to all.
pub struct Open;

impl Gate for Open {
    fn pass(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn waits(&self) -> bool {
        false
    }
}

/// A gate behind which the host is checked again.
pub(super) struct Again<'a, F: Fn() -> Result<(), EngineError> + Sync> {
    pub(super) gate: &'a dyn Gate,
    pub(super) check: &'a F,
}

impl<F: Fn() -> Result<(), EngineError> + Sync> Gate for Again<'_, F> {
    fn pass(&self) -> Result<(), EngineError> {
        self.gate.pass()?;
        if self.gate.waits() { (self.check)() } else { Ok(()) }
    }

    fn waits(&self) -> bool {
        self.gate.waits()
    }
}
