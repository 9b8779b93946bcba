//! What changes on every boot of a copy although nobody changed anything: found by booting one and doing nothing.
//!
//! Once for each state of the host, kept in the state directory.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::ScopedJoinHandle;

use greenroom_core::TreePath;

use super::keep::Nowhere;
use super::stagehand::{Common, Stagehand};
use crate::state::write_durably;
use crate::{EngineError, Progress};

/// Paths that are noise.
#[derive(Debug, Default)]
pub(super) struct Noise(BTreeSet<TreePath>);

impl Noise {
    pub(super) fn contains(&self, path: &TreePath) -> bool {
        self.0.contains(path)
    }

    /// The noise of this host in the state that it is in, from the record or from a boot.
    pub(super) fn of(dir: &Path, common: &Common<'_>, progress: &dyn Progress) -> Result<Self, EngineError> {
        if !common.boot {
            return Ok(Self::default());
        }
        let key = greenroom_host::facts::host_state_key(&common.site.root)
            .map_err(EngineError::system("tell which state the host is in"))?;
        let path = dir.join("noise").join(format!("{key}.json"));
        if let Ok(text) = fs::read(&path)
            && let Ok(paths) = serde_json::from_slice(&text)
        {
            return Ok(Self(paths));
        }
        let found = Self::measure(dir, common, progress)?;
        let text = serde_json::to_vec(&found.0).unwrap_or_default();
        write_durably(&path, &text).map_err(EngineError::file("write", &path))?;
        Ok(found)
    }

    fn measure(dir: &Path, common: &Common<'_>, progress: &dyn Progress) -> Result<Self, EngineError> {
        let network =
            greenroom_host::sys::ns::Network::new(9).map_err(EngineError::system("make a network namespace"))?;
        let inside = std::os::fd::AsFd::as_fd(&network.namespace);
        let dir = dir.join("copies").join(format!("noise-{}", std::process::id()));
        let mut hand = Stagehand::new(common, &dir, Some(inside), Vec::new())?;
        hand.boot(common, progress)?;
        hand.stop(false);
        let captured = hand.capture(common.site, &Self::default(), &Nowhere, true)?;
        let changed = captured.changeset.entries().iter().map(|entry| entry.path.clone());
        let logs = captured.logs.into_iter().map(|log| log.path);
        Ok(Self(changed.chain(logs).collect()))
    }
}

type Handle<'scope> = ScopedJoinHandle<'scope, Result<Noise, EngineError>>;

/// Noise that is being found in another thread.
pub(super) struct Awaited<'scope> {
    handle: RefCell<Option<Handle<'scope>>>,
    found: OnceCell<Noise>,
}

impl<'scope> Awaited<'scope> {
    pub(super) fn new(handle: Handle<'scope>) -> Self {
        Self { handle: RefCell::new(Some(handle)), found: OnceCell::new() }
    }

    /// Waits for it.
    pub(super) fn get(&self) -> Result<&Noise, EngineError> {
        if let Some(handle) = self.handle.borrow_mut().take() {
            let failed =
                || EngineError::system("find out what a boot changes")(std::io::Error::other("the thread failed"));
            let noise = handle.join().map_err(|_| failed())??;
            return Ok(self.found.get_or_init(|| noise));
        }
        Ok(self.found.get_or_init(Noise::default))
    }

    pub(super) fn into_inner(self) -> Result<Noise, EngineError> {
        self.get()?;
        Ok(self.found.into_inner().unwrap_or_default())
    }
}
