//! Keeps what a scan learned of paths that are as recorded although something happened to them: their new keys.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use super::file::Pages;
use super::home::{Home, KEYS};
use super::keys::{self, fill};
use super::scan::NewKeys;
use super::types::BaselineError;

/// What a scan learned of paths that are as recorded although their keys are not. Dropped, it is forgotten, and the next scan
/// reads them again.
#[derive(Default)]
pub struct Refresh {
    pages: Vec<NewKeys>,
    paths: u64,
}

impl Refresh {
    pub(super) fn new(mut pages: Vec<NewKeys>, paths: u64) -> Self {
        pages.sort_unstable_by_key(|(slot, _)| slot.key_at);
        Self { pages, paths }
    }

    /// How many paths got another key.
    #[must_use]
    pub fn paths(&self) -> u64 {
        self.paths
    }

    /// Writes all keys anew, beside the old ones. Not synced: what a power cut leaves of it does not fit its checksums, and the
    /// paths are read.
    pub(super) fn save(self, home: &Home, pages: &Pages) -> Result<bool, BaselineError> {
        if self.pages.is_empty() {
            return Ok(true);
        }
        let _lock = home.lock()?;
        if !pages.is_in_place(home)? {
            return Ok(false);
        }
        let file = home.replacement(KEYS)?;
        self.write(&file, pages).map_err(BaselineError::system(format!("write {}", home.path(KEYS).display())))?;
        home.replace(KEYS)?;
        Ok(true)
    }

    fn write(&self, file: &File, pages: &Pages) -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 18, file);
        out.write_all(keys::MAGIC)?;
        let mut slots: Vec<_> = pages.all().iter().collect();
        slots.sort_unstable_by_key(|slot| slot.key_at);
        let mut new = self.pages.iter().peekable();
        let mut old = Vec::new();
        for slot in slots {
            let fresh = new.next_if(|(one, _)| one.key_at == slot.key_at);
            let keys = match fresh {
                Some((_, keys)) => &keys[..],
                None => {
                    pages.keys(slot, &mut old);
                    fill(&mut old, slot.count);
                    &old[..]
                }
            };
            out.write_all(keys)?;
            out.write_all(&keys::sum(slot, keys))?;
        }
        out.flush()
    }
}
