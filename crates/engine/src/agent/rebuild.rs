//! This host becomes what another one is on record, but for what names it.

use greenroom_core::image::{between, contents, is_manifest};
use greenroom_core::wire::{self, Answer, Command};
use greenroom_core::{ContentHash, changeset};
use greenroom_host::apply::NoFaults;
use greenroom_store::blobs::BlobStore as _;

use super::contents::{Exchange, of_blobs};
use super::{Agent, Say, Told};
use crate::apply::{self, Open, Wanted};
use crate::image::{plan, present, put_on_record, system};
use crate::site::Site;
use crate::{EngineError, Outcome, Progress as _, State};

/// The longest manifest, in bytes.
const MANIFEST: u64 = 512 << 20;

impl Agent {
    pub(super) fn rebuild(&self, command: &Command, wanted: &wire::Rebuild, say: &Say) -> Result<Answer, EngineError> {
        let state = State::open(&self.options.state)?;
        let told = Told { id: &command.id, say };
        let asked = self.asked(&command.person, &format!("rebuild ({})", command.id));
        let here = system(self.root())?;
        fits(&here, wanted)?;
        told.begin("comparing this host with the image");
        let exchange = Exchange::new(&*self.options.servers, &command.id)?;
        let there = fetch_manifest(&state, &exchange, wanted.manifest)?;
        let now = present(&state, self.root(), &asked, &told)?;
        told.begin("fetching what is missing");
        let fetched = exchange.fetch(&state, &contents(&between(&now.manifest, &there)))?;
        let site = Site::look(self.root(), state.dir())?;
        let plan = plan(&state, &site, (&now.manifest, &here.identity), (&there, &wanted.system.identity))?;
        let rehearsal = put_on_record(&state, &site, &plan, &wanted.of, wanted.why.clone(), &asked)?;
        let report = apply::apply(
            &state,
            &Wanted {
                root: self.root(),
                id: &rehearsal,
                why: wanted.why.clone(),
                force_verdict: None,
                health: Vec::new(),
                gate: &Open,
                rollout: None,
                once_elsewhere: false,
                faults: &NoFaults,
            },
            &asked,
            &told,
        )?;
        if report.outcome() == Outcome::Failed {
            return Ok(Answer::TakenBack { why: report.notes.join("; "), local: Some(report.change) });
        }
        Ok(Answer::Rebuilt {
            local: report.change,
            entries: report.entries as u64,
            fetched,
            services: report.restarted,
            own: plan.own.iter().map(ToString::to_string).collect(),
            notes: plan.notes.into_iter().chain(report.notes).collect(),
        })
    }
}

/// Only the same distribution on the same kind of processor can become it.
fn fits(here: &wire::ImageOf, wanted: &wire::Rebuild) -> Result<(), EngineError> {
    let there = &wanted.system;
    if here.distribution == there.distribution && here.architecture == there.architecture {
        return Ok(());
    }
    let what = format!(
        "this host is {} on {}, {} is {} on {}",
        here.distribution, here.architecture, wanted.of, there.distribution, there.architecture
    );
    Err(EngineError::refused(what, "take a fresh machine of the same distribution and version"))
}

pub(super) fn fetch_manifest(
    state: &State,
    exchange: &Exchange,
    id: ContentHash,
) -> Result<greenroom_core::image::Manifest, EngineError> {
    exchange.fetch(state, &[(id, 0)].into())?;
    let bytes = state.blobs.read_range(id, 0, MANIFEST).map_err(of_blobs(state))?;
    let damaged = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Damaged {
        path: state.dir().join("blobs"),
        source,
    };
    let manifest = changeset::codec::decode(&bytes).map_err(|error| damaged(Box::new(error)))?;
    if ContentHash::of(&bytes) != id || !is_manifest(&manifest) {
        return Err(damaged("what was fetched is no manifest".into()));
    }
    Ok(manifest)
}
