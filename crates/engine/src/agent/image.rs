//! The image of this host goes to the control plane: its manifest, and what of its contents is not there.
//!
//! It is read on a thread that waits for everybody else's disk and processor. A file that is written to meanwhile is looked at again, and
//! again; one that never holds still is left out and named. Of the last image's manifest a copy stays here, so that the next one is
//! sent as a difference.

use std::collections::BTreeSet;
use std::fs;

use greenroom_core::image::{Manifest, between, contents};
use greenroom_core::wire::{self, Answer, Command};
use greenroom_core::{ContentHash, changeset};
use greenroom_host::sys::priority;

use super::contents::{Exchange, Here};
use super::{Agent, Say, Told};
use crate::image::{Present, again, places, present, system};
use crate::state::write_durably;
use crate::{EngineError, Progress as _, State};

/// How often files that change are looked at again.
const TRIES: u32 = 3;

impl Agent {
    pub(super) fn image(&self, command: &Command, wanted: &wire::Image, say: &Say) -> Result<Answer, EngineError> {
        std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                // Without it the image is as good, and the host a little slower.
                let _ = priority::idle();
                self.send_image(command, wanted, say)
            });
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn send_image(&self, command: &Command, wanted: &wire::Image, say: &Say) -> Result<Answer, EngineError> {
        let state = State::open(&self.options.state)?;
        let exchange = Exchange::new(&*self.options.servers, &command.id)?;
        let told = Told { id: &command.id, say };
        let asked = self.asked(&command.person, &format!("image ({})", command.id));
        let mut now = present(&state, self.root(), &asked, &told)?;
        let last = self.last_manifest(wanted.since.as_ref());
        let mut sent = 0;
        for _ in 0..TRIES {
            let missing = offer(&exchange, &now.manifest, last.as_ref())?;
            let (changed, bytes) = self.send_missing(&exchange, &now, &missing, wanted.limit_rate, &told)?;
            sent += bytes;
            if changed.is_empty() {
                return self.keep_image(&now, sent);
            }
            now = again(&now, self.root(), &paths_of(&now, &changed))?;
        }
        // What still changes is left out.
        let missing: BTreeSet<ContentHash> = offer(&exchange, &now.manifest, last.as_ref())?.into_iter().collect();
        let busy = paths_of(&now, &missing);
        now.left_out.extend(busy.iter().cloned());
        now.manifest = now.manifest.filtered(|path| !busy.contains(path));
        offer(&exchange, &now.manifest, last.as_ref())?;
        self.keep_image(&now, sent)
    }

    /// What was something else when it was read, and how many bytes of the others went.
    fn send_missing(
        &self,
        exchange: &Exchange,
        now: &Present,
        missing: &[ContentHash],
        limit: Option<u64>,
        told: &Told<'_>,
    ) -> Result<(BTreeSet<ContentHash>, u64), EngineError> {
        let mut places = places(&now.manifest);
        let mut here: Vec<Here> = missing
            .iter()
            .filter_map(|content| {
                let (path, size) = places.remove(content)?;
                Some(Here { content: *content, path, size })
            })
            .collect();
        here.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let all: u64 = here.iter().map(|one| one.size).sum();
        if all > 0 {
            told.begin(&format!("sending {} contents, {} MiB", here.len(), all >> 20));
        }
        let say = |done: u64| {
            if done < all {
                told.begin(&format!("{} of {} MiB", done >> 20, all >> 20));
            }
        };
        let changed = exchange.send(self.root(), &here, limit, &say)?;
        let sent = here.iter().filter(|one| !changed.contains(&one.content)).map(|one| one.size).sum();
        Ok((changed, sent))
    }

    /// The manifest that was sent last, when it is the one that the control plane has.
    fn last_manifest(&self, since: Option<&ContentHash>) -> Option<Manifest> {
        let bytes = fs::read(self.manifest_path()).ok()?;
        // One that is damaged is as good as none.
        changeset::codec::decode_named(&bytes, *since?)
    }

    fn manifest_path(&self) -> std::path::PathBuf {
        self.options.state.join("agent/image")
    }

    fn keep_image(&self, now: &Present, sent: u64) -> Result<Answer, EngineError> {
        let encoded = changeset::codec::encoded(&now.manifest);
        let path = self.manifest_path();
        write_durably(&path, &encoded).map_err(EngineError::file("write", path))?;
        Ok(Answer::Imaged {
            manifest: ContentHash::of(&encoded),
            paths: now.manifest.entries().len() as u64,
            bytes: contents(&now.manifest).into_values().sum(),
            sent,
            left_out: now.left_out.iter().map(ToString::to_string).collect(),
            system: system(self.root())?,
        })
    }
}

/// Says what the image is to be; what of its contents the control plane does not have.
fn offer(exchange: &Exchange, now: &Manifest, last: Option<&Manifest>) -> Result<Vec<ContentHash>, EngineError> {
    let Some(last) = last else { return exchange.manifest(now, None) };
    let delta = between(last, now);
    match exchange.manifest(now, Some((last.id(), &delta))) {
        // It may have lost its own.
        Err(EngineError::Refused { .. }) => exchange.manifest(now, None),
        other => other,
    }
}

fn paths_of(now: &Present, contents: &BTreeSet<ContentHash>) -> BTreeSet<greenroom_core::TreePath> {
    let entries = now.manifest.entries().iter();
    let is = |node: &greenroom_core::Node| node.content().is_some_and(|content| contents.contains(&content));
    entries.filter(|e| e.after.as_deref().is_some_and(is)).map(|e| e.path.clone()).collect()
}
