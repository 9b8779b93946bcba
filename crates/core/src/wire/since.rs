//! Since which version of the language a command is known.

use super::{Verb, What};

/// What an agent has to be, to know something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The version of the language; see [`PROTOCOL`](super::PROTOCOL).
    pub protocol: u32,
    /// What an agent of an older one cannot do.
    pub cannot: &'static str,
}

impl Since {
    /// Known from the beginning.
    const EVER: Self = Self { protocol: super::OLDEST, cannot: "do it" };

    /// To rehearse on a copy of another host.
    pub const STAGE: Self = Self { protocol: 2, cannot: "rehearse for other hosts" };

    /// To apply what was rehearsed elsewhere.
    pub const STAGED: Self = Self { protocol: 2, cannot: "apply what was rehearsed on a stage" };

    /// What is to be said of a host whose agent does not know it, and what to do about that.
    #[must_use]
    pub fn unknown_to(&self, host: &str, version: &str) -> (String, String) {
        let what = format!("{host}'s agent is of version {version} and cannot {}", self.cannot);
        (what, format!("greenroom agent upgrade --on {host}"))
    }
}

impl Verb {
    /// Since when it is known, with all that it says. Whoever adds a verb or a field raises [`PROTOCOL`](super::PROTOCOL), and
    /// says it here: an agent that is older is not sent it. *Commit*, *unwind* and *watch* stay as they are: a change that was
    /// begun has to come to its end.
    #[must_use]
    pub fn since(&self) -> Since {
        // All fields are named, so that this does not compile with another one.
        match self {
            Self::Prepare { change: _, what, why: _, hold_s: _ } => what.since(),
            Self::Stage(_) => Since::STAGE,
            Self::Rehearse(_)
            | Self::Commit { change: _ }
            | Self::Unwind { change: _, why: _ }
            | Self::Run { argv: _ }
            | Self::Watch { change: _, services: _ }
            | Self::Image(_)
            | Self::Rebuild(_) => Since::EVER,
        }
    }
}

impl What {
    /// See [`Verb::since`].
    #[must_use]
    pub fn since(&self) -> Since {
        match self {
            Self::Apply { rehearsal: _, force_verdict: _, once_elsewhere: _, staged: Some(_) } => Since::STAGED,
            Self::Apply { rehearsal: _, force_verdict: _, once_elsewhere: _, staged: None }
            | Self::Undo { local: _ }
            | Self::Upgrade { program: _ } => Since::EVER,
        }
    }
}
