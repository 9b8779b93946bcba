//! What the change did, in the terms of a person: packages, users, services, run-time state.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::JoinHandle;

use greenroom_core::Changeset;
use greenroom_core::effect::{Effects, RuntimeDiff};
use greenroom_core::rehearsal::Rehearsal;
use greenroom_host::copy::Booted;
use greenroom_host::facts::{Runtime, Target, Trees};
use greenroom_host::sys::ns::Network;

use super::network::Outside;
use super::stagehand::Stagehand;
use crate::EngineError;
use crate::site::Site;

/// Looks at a copy's run-time state before and after the change.
///
/// Of a copy that is not booted only its network namespace outlives a command, and every new one is like the next. So
/// what it was before is read from another one, while the change runs; and what it is afterwards while files are compared.
pub(super) struct Watch {
    before: Look,
}

/// One look, taken or being taken.
enum Look {
    Taken(Option<Runtime>),
    UnderWay(JoinHandle<Option<Runtime>>),
}

impl Look {
    /// A look into a namespace; making one takes the kernel milliseconds, for which nobody else has to wait.
    fn begin(namespace: impl FnOnce() -> io::Result<OwnedFd> + Send + 'static) -> Self {
        Self::UnderWay(std::thread::spawn(move || Some(Runtime::read_netns(namespace().ok()?.as_fd()))))
    }

    fn of(booted: &Booted) -> Self {
        Self::Taken(Runtime::read(&Target::Copy { leader: booted.leader() }).ok())
    }

    fn wait(self) -> Option<Runtime> {
        match self {
            Self::Taken(runtime) => runtime,
            Self::UnderWay(thread) => thread.join().ok().flatten(),
        }
    }
}

impl Watch {
    pub(super) fn start(hand: &Stagehand<'_>, outside: &Outside) -> Self {
        let before = match (hand.booted(), &outside.network) {
            (Some(booted), _) => Look::of(booted),
            (None, Some(_)) => Look::begin(Network::untouched),
            (None, None) => Look::Taken(None),
        };
        Self { before }
    }

    /// Waits for the first look, to be compared with several later ones.
    pub(super) fn ready(self) -> Self {
        Self { before: Look::Taken(self.before.wait()) }
    }

    /// The change may go on; this is how it is now.
    pub(super) fn so_far(&self, hand: &Stagehand<'_>, outside: &Outside) -> Watched {
        let before = match &self.before {
            Look::Taken(runtime) => runtime.clone(),
            Look::UnderWay(_) => None,
        };
        Self { before: Look::Taken(before) }.finish(hand, outside)
    }

    /// The change is over. Nothing of the copy need run any more to wait for the answer.
    pub(super) fn finish(self, hand: &Stagehand<'_>, outside: &Outside) -> Watched {
        let after = match (hand.booted(), &outside.network) {
            (Some(booted), _) => Look::of(booted),
            (None, Some(network)) => {
                let namespace = network.namespace.try_clone();
                Look::begin(move || namespace)
            }
            (None, None) => Look::Taken(None),
        };
        Watched { before: self.before, after }
    }
}

/// Two looks.
pub(super) struct Watched {
    before: Look,
    after: Look,
}

impl Watched {
    /// What differs.
    pub(super) fn difference(self, record: &mut Rehearsal) -> Option<RuntimeDiff> {
        let (before, after) = (self.before.wait(), self.after.wait()?);
        record.notes.extend(after.gaps.iter().map(|gap| format!("not compared: {gap}")));
        Some(Runtime::diff(&before?, &after))
    }
}

/// Writes the effects into the record.
pub(super) fn describe(
    site: &Site,
    hand: &Stagehand<'_>,
    runtime: Option<RuntimeDiff>,
    changeset: &Changeset,
    record: &mut Rehearsal,
) -> Result<(), EngineError> {
    let trees = Trees::open(&site.root, &hand.copy.root()).map_err(EngineError::system("read the copy"))?;
    record.effects = Effects::of(changeset, &trees);
    if let Some(diff) = runtime {
        record.runtime_only = record.effects.add_runtime(diff, changeset, &trees);
    }
    Ok(())
}
