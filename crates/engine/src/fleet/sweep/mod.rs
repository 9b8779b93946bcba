//! Drops images of hosts that newer ones stand for, and contents that nothing on record needs any more.
//!
//! ```text
//! lease ─► old images off the record ─► contents that are old and that nothing needs (`needed`) ─► bunch by bunch:
//!     condemned, on record ─► what is on record by now is looked at again, and spared ─► the rest removed
//! ─► ledger ─► lease given back
//! ```
//! Nobody waits for it, and it waits for nobody. Whoever makes a record that needs contents puts that on record first, and asks then what is
//! [`missing`](Fleet::missing): absent, or condemned. Either the sweep finds the record, or whoever made it finds the contents
//! condemned or gone, and takes it away again: see decision 0032.
//!
//! Who has the lease removes only as long as it was renewed a moment ago ([`Held`]); a lease that nobody renews is taken over after so long
//! ([`ABANDONED`]) that nothing of its holder is on its way any more, and until then what was condemned stays so.

mod needed;
mod pin;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use greenroom_core::{ContentHash, api};
use greenroom_store::blobs::BlobStore;
use greenroom_store::control::{ControlError, Fence, Lease, Millis, Step};
use greenroom_store::ledger::Draft;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use self::needed::Mark;
use super::images::IMAGE;
use super::{Fleet, FleetError};

/// The saga that sweeps are: it has no hosts and no end; only its lease and its state count.
pub(super) const SAGA: &str = "sweep";

/// Images of a host that are kept in any case, the newest: one to rebuild it from, and two more should that turn out to be of a host that was
/// broken already.
const KEEP: usize = 3;

/// Contents that came within this time stay: somebody may be about to put on record what needs them.
const YOUNG: Duration = Duration::from_secs(24 * 3600);

/// A sweep is due when the last one ended so long ago, in milliseconds.
const DUE_MS: Millis = 24 * 3600 * 1000;

/// No sweep is due so soon after a control plane's start.
const START: Duration = Duration::from_secs(600);

/// How often it is asked whether one is due.
const LOOK: Duration = Duration::from_secs(60);

/// How often the lease is renewed.
const RENEW: Duration = Duration::from_secs(3);

/// Nothing is removed when the lease was not renewed within this time, in milliseconds.
const HELD_MS: i64 = 20_000;

/// A lease that was seen unchanged for so long is taken over: what its holder may have begun to remove is removed, also from a bucket that
/// was out of reach and is tried again, which a client does for some minutes.
const ABANDONED: Duration = Duration::from_secs(600);

/// What a lease's end is beyond now, in milliseconds. Nobody goes by it.
const LEASE_MS: Millis = 20_000;

/// Contents that are condemned at a time.
const BUNCH: usize = 5000;

/// Who does what nobody asked for.
const ITSELF: &str = "the control plane";

/// The state of the saga.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Doc {
    /// When the last sweep ended.
    #[serde(default)]
    ended_at: Option<Millis>,
    /// What may be removed this moment, by whoever has the lease.
    #[serde(default)]
    condemned: BTreeSet<ContentHash>,
    /// What went and is not in the ledger yet.
    #[serde(default)]
    gone: api::Swept,
}

/// Whether the lease is held: when it was renewed last.
struct Held(AtomicI64);

impl Held {
    const NOT: i64 = i64::MIN;

    /// Milliseconds of a clock that counts on while the machine sleeps.
    fn clock() -> i64 {
        let time = clock_gettime(ClockId::Boottime);
        time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
    }

    /// The lease was renewed, by a request that began at `at`.
    fn renewed(&self, at: i64) {
        self.0.store(at, Ordering::Relaxed);
    }

    fn still(&self) -> bool {
        let at = self.0.load(Ordering::Relaxed);
        at != Self::NOT && Self::clock().saturating_sub(at) < HELD_MS
    }
}

/// Ends it, however the sweep ends.
struct Ends(Arc<Held>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.renewed(Held::NOT);
    }
}

impl Fleet {
    /// Drops old images, and contents that nothing needs, or says what would go.
    ///
    /// # Errors
    /// Another one is under way; the state's, the contents'.
    pub async fn sweep(&self, wanted: &api::NewSweep, person: &str) -> Result<api::Swept, FleetError> {
        let young = wanted.older_than_ms.map_or(YOUNG, Duration::from_millis);
        if wanted.dry_run {
            return self.would_go(young).await;
        }
        let lease = self.sweep_lease().await?;
        match &lease.holder {
            None => self.sweep_under(&lease, young, Some(person)).await,
            Some(holder) => Err(under_way(holder)),
        }
    }

    /// Sweeps once a day, whichever control plane comes to it first, until the future is dropped.
    pub async fn sweep_daily(&self) {
        let (started, mut seen) = (Instant::now(), None);
        loop {
            tokio::time::sleep(LOOK).await;
            // The state may be out of reach for a while: it is asked again.
            let Ok(lease) = self.sweep_lease().await else { continue };
            let since = match seen.take() {
                Some((known, since)) if known == lease => since,
                _ => Instant::now(),
            };
            seen = Some((lease.clone(), since));
            let go = match lease.holder {
                Some(_) => since.elapsed() >= ABANDONED,
                None => started.elapsed() >= START && self.is_due().await.unwrap_or(false),
            };
            if go {
                // What went wrong is in the ledger, where that can be reached.
                let _ = self.sweep_under(&lease, YOUNG, None).await;
            }
        }
    }

    /// By whatever clock the last one noted its end.
    async fn is_due(&self) -> Result<bool, FleetError> {
        let ended = self.sweep_doc().await?.1.ended_at;
        Ok(ended.is_none_or(|at| self.now().saturating_sub(at).saturating_abs() >= DUE_MS))
    }

    /// The lease as it is; before the first sweep there is none, and nobody has it.
    async fn sweep_lease(&self) -> Result<Lease, FleetError> {
        let known = self.control.open_leases().await?.into_iter().find(|lease| lease.saga == SAGA);
        Ok(known.unwrap_or_else(|| Lease { saga: SAGA.to_owned(), holder: None, until: 0, fence: 0 }))
    }

    /// Whether somebody has the lease, and the state.
    async fn sweep_doc(&self) -> Result<(bool, Doc), FleetError> {
        let Some(saga) = self.control.saga(SAGA).await? else { return Ok((false, Doc::default())) };
        let doc = serde_json::from_str(&saga.state).map_err(FleetError::damaged("the state of the sweep"))?;
        Ok((saga.holder.is_some(), doc))
    }

    /// What may go this moment.
    pub(super) async fn condemned(&self) -> Result<BTreeSet<ContentHash>, FleetError> {
        let (held, doc) = self.sweep_doc().await?;
        // Who gave the lease back had nothing on its way any more.
        Ok(if held { doc.condemned } else { BTreeSet::new() })
    }

    async fn write_sweep(&self, fence: &Fence, doc: &Doc) -> Result<(), FleetError> {
        let state = serde_json::to_string(doc).map_err(FleetError::damaged("the state of the sweep"))?;
        Ok(self.control.write_saga(fence, Step { state: &state, ..Step::default() }, self.now()).await?)
    }

    /// Takes the lease as it was seen, and sweeps.
    async fn sweep_under(
        &self,
        lease: &Lease,
        young: Duration,
        person: Option<&str>,
    ) -> Result<api::Swept, FleetError> {
        let held = Arc::new(Held(AtomicI64::new(Held::clock())));
        let _ends = Ends(held.clone());
        self.control.add_saga(SAGA, "{}", self.now()).await?;
        let Some(fence) = self.control.acquire(lease, &self.name, self.now(), LEASE_MS).await? else {
            return Err(under_way("another control plane"));
        };
        let mut doc = self.sweep_doc().await?.1;
        // What a former holder condemned is gone, or stays: see ABANDONED.
        doc.condemned.clear();
        let outcome = self.renewing(&fence, &held, self.sweep_all(&fence, &mut doc, young, &held)).await?;
        let gone = doc.gone.clone();
        self.renewing(&fence, &held, self.sweep_over(&fence, &mut doc, outcome.as_ref().err(), person)).await??;
        if doc.condemned.is_empty() {
            self.control.release(&fence).await?;
        }
        outcome.map(|()| gone)
    }

    async fn sweep_all(
        &self,
        fence: &Fence,
        doc: &mut Doc,
        young: Duration,
        held: &Arc<Held>,
    ) -> Result<(), FleetError> {
        let old = self.on_record().await?.old_images();
        for (host, id) in old.values() {
            doc.gone.images.entry(host.clone()).or_default().push(id.clone());
        }
        self.write_sweep(fence, doc).await?;
        for name in old.keys() {
            self.control.drop_document(IMAGE, name).await?;
        }
        self.drop_old_pins().await?;
        let (mut mark, found) = self.unneeded(Mark::default(), &BTreeSet::new(), young).await?;
        for bunch in found.chunks(BUNCH) {
            doc.condemned = bunch.iter().map(|(name, _)| *name).collect();
            self.write_sweep(fence, doc).await?;
            // Where that fails nothing of it was begun.
            mark = self.marked(mark, &BTreeSet::new()).await.inspect_err(|_| doc.condemned.clear())?;
            let bunch: Vec<_> = bunch.iter().filter(|(name, _)| !mark.needs(name)).copied().collect();
            let held = held.clone();
            let (contents, bytes) = self.with_blobs(move |blobs| removed(blobs, &bunch, &held)).await?;
            doc.gone.contents += contents;
            doc.gone.bytes += bytes;
            doc.condemned.clear();
        }
        Ok(())
    }

    /// Puts on record that it is over, and what went.
    async fn sweep_over(
        &self,
        fence: &Fence,
        doc: &mut Doc,
        failed: Option<&FleetError>,
        person: Option<&str>,
    ) -> Result<(), FleetError> {
        doc.ended_at = Some(self.now());
        if let Some(failed) = failed {
            self.write_sweep(fence, doc).await?;
            let why: Vec<String> =
                std::iter::once(failed.to_string()).chain(crate::sources(failed).map(ToString::to_string)).collect();
            let detail = serde_json::json!({ "outcome": "failed", "why": why.join(": ") });
            let draft = Draft { kind: "gc".to_owned(), detail, ..Draft::default() };
            // Once a day is enough.
            return self.note(format!("gc failed {}", self.now() / DUE_MS), person.unwrap_or(ITSELF), draft).await;
        }
        let gone = std::mem::take(&mut doc.gone);
        if person.is_some() || gone != api::Swept::default() {
            let detail = serde_json::json!({
                "outcome": "done", "hosts": gone.images.keys().collect::<Vec<_>>(), "images": gone.images,
                "contents": gone.contents, "bytes": gone.bytes,
            });
            let draft = Draft { kind: "gc".to_owned(), detail, ..Draft::default() };
            self.note(format!("gc {}", fence.number), person.unwrap_or(ITSELF), draft).await?;
        }
        self.write_sweep(fence, doc).await
    }

    async fn would_go(&self, young: Duration) -> Result<api::Swept, FleetError> {
        let old = self.on_record().await?.old_images();
        let (_, found) = self.unneeded(Mark::default(), &old.keys().cloned().collect(), young).await?;
        let mut out = api::Swept { bytes: found.iter().map(|(_, bytes)| bytes).sum(), ..api::Swept::default() };
        out.contents = found.len() as u64;
        for (host, id) in old.into_values() {
            out.images.entry(host).or_default().push(id);
        }
        Ok(out)
    }

    /// What nothing needs and did not come just now, with its size; `without` are images that are as good as dropped.
    async fn unneeded(
        &self,
        mark: Mark,
        without: &BTreeSet<String>,
        young: Duration,
    ) -> Result<(Mark, Vec<(ContentHash, u64)>), FleetError> {
        let mark = self.marked(mark, without).await?;
        let until = self.now() / 1000 - i64::try_from(young.as_secs()).unwrap_or(i64::MAX);
        self.with_blobs(move |blobs| {
            let mut found = BTreeMap::new();
            for one in blobs.listing() {
                let (name, stored) = one?;
                if stored.since <= until && !mark.needs(&name) {
                    found.insert(name, stored.bytes);
                }
            }
            Ok((mark, found.into_iter().collect()))
        })
        .await
    }

    /// Renews the lease until the work is done.
    async fn renewing<T>(&self, fence: &Fence, held: &Held, work: impl Future<Output = T>) -> Result<T, FleetError> {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(RENEW, &mut work).await {
                return Ok(done);
            }
            let at = Held::clock();
            match self.control.renew(fence, self.now(), LEASE_MS).await {
                Ok(()) => held.renewed(at),
                Err(error @ ControlError::Fenced { .. }) => return Err(error.into()),
                Err(error) if !held.still() => return Err(error.into()),
                Err(_) => {}
            }
        }
    }
}

fn under_way(who: &str) -> FleetError {
    FleetError::refused(format!("{who} is sweeping the contents"), "greenroom gc --images once that is over")
}

/// Removes contents as long as the lease is held; how many, and their bytes.
fn removed(blobs: &dyn BlobStore, bunch: &[(ContentHash, u64)], held: &Held) -> Result<(u64, u64), FleetError> {
    let mut gone = (0, 0);
    for (name, bytes) in bunch {
        if !held.still() {
            return Err(under_way("another control plane"));
        }
        if blobs.remove(*name)? {
            gone = (gone.0 + 1, gone.1 + bytes);
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests;
