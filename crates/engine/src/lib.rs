//! The product's verbs: rehearse, apply, undo, recover, show, collect garbage.
//!
//! * [`state`]: where rehearsals, changesets, contents and the ledger are, and the host they are about.
//! * [`site`]: a tree with its policy: what is volatile, what is data, what must not start in a copy.
//! * [`rehearsal`]: a change run on a copy, captured, and proven in a second copy; in [`rehearsal::hotfix`] by a person at a
//!   shell. [`standing`]: the tests that a host has for whatever change.
//! * [`apply`]: a rehearsed change put onto the host, taken back, finished after a crash.
//! * [`drift`]: what differs on a host from its record, who did it; adopt it or take it back.
//! * [`watch`]: the changes of a host as they happen. [`install`]: the services that do so, and the daily scrub.
//! * [`system`]: the system file and its version; the first one.
//! * [`fleet`]: many hosts as one. [`agent`]: the host's side of it.
//! * [`image`]: all that a host is, and what it has to change to be another one. `stage`: the trees of other hosts' images.
//! * [`parity`]: two systems against each other.
//! * [`gc`]: what nothing needs any more. [`doctor`]: what of the environment is missing.
//!
//! Nothing here prints or reads the environment: progress goes to a [`Progress`], time and actor come in with the request.

pub mod agent;
pub mod apply;
pub mod doctor;
pub mod drift;
pub mod error;
pub mod fleet;
pub mod gc;
pub mod image;
pub mod install;
pub mod parity;
pub mod rehearsal;
pub mod site;
mod stage;
pub mod standing;
pub mod state;
pub mod system;
pub mod watch;

pub use error::{EngineError, Outcome, sources};
pub use state::State;

/// Locks; a thread that panicked with the lock in its hand had changed nothing by half.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Who asks, and when. The engine reads neither clock nor environment.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The person.
    pub actor: greenroom_store::ledger::Actor,
    /// The clock.
    pub now: fn() -> jiff::Timestamp,
}

impl Asked {
    /// The time now, as the ledger has it.
    #[must_use]
    pub fn stamp(&self) -> String {
        format!("{:.3}", (self.now)())
    }
}

/// Told what goes on, for a person who waits.
pub trait Progress: Sync {
    /// Something begins.
    fn begin(&self, what: &str);
    /// Output of the change itself.
    fn output(&self, bytes: &[u8]);
    /// Something worth a line of its own.
    fn note(&self, text: &str);
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str) {}
    fn output(&self, _bytes: &[u8]) {}
    fn note(&self, _text: &str) {}
}
