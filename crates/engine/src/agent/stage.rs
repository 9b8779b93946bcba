//! A rehearsal for another host, on the tree of its image; and, on that host, such a rehearsal put on record.
//!
//! ```text
//! stage: tree of the image ─► rehearsal in a state of its own ─► changesets and contents to the control plane ─► answer: the record
//! host:  prepare ─► record, changesets, contents from the control plane ─► its own rehearsal rN ─► checked and applied as any other
//! ```
//! So many rehearsals run beside each other as this machine has processors and memory for ([`Seats`]); the others wait.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::sync::{Condvar, Mutex, PoisonError};

use greenroom_core::api::Received;
use greenroom_core::image::{Manifest, fresh};
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::wire::{self, Answer, Command, What};
use greenroom_core::{ContentHash, changeset};
use greenroom_store::blobs::BlobStore as _;
use greenroom_store::blobs::pack::Packer;

use super::contents::{Exchange, broken, of_blobs};
use super::{Agent, Say, Told, order};
use crate::stage::{Shelf, Source, Work};
use crate::{EngineError, Progress as _, State, lock};

/// The longest record of a rehearsal and the longest changeset, in bytes.
const LONGEST: u64 = 512 << 20;

/// Memory for one rehearsal, in bytes: two copies that are booted.
const MEMORY: u64 = 2 << 30;

impl Agent {
    pub(super) fn rehearse_for(
        &self,
        command: &Command,
        wanted: &wire::Stage,
        say: &Say,
    ) -> Result<Answer, EngineError> {
        let told = Told { id: &command.id, say };
        let system = crate::image::system(self.root())?;
        fits(&system, wanted)?;
        let exchange = Exchange::new(&*self.options.servers, &command.id)?;
        let _seat = self.seats.take(|| told.begin("waiting for room on the stage"));
        greenroom_host::copy::expect_copy();
        told.begin("making a tree of the image");
        let shelf = Shelf::open(&self.options.state)?;
        let work = Work::new(&shelf, &command.id, &wanted.of)?;
        let shown = shelf.show(wanted.manifest, &work.root(), &Fetched(&exchange))?;
        let state = work.state()?;
        let declared = wanted.rehearse.declared.as_ref();
        crate::site::declare_image(shown.root(), state.dir(), declared, &wanted.system.stores)?;
        let files = order::Files::fetch(&wanted.rehearse, &state, &*self.options.servers, &command.id)?;
        let mut request = order::request(&wanted.rehearse, shown.root(), &self.options.env, files.dir())?;
        request.share = self.seats.share(request.share);
        let asked = self.asked(&command.person, &format!("rehearse for {} ({})", wanted.of, command.id));
        let mut record = crate::rehearsal::rehearse(&state, &request, &asked, &told)?;
        record.root = format!("{} ({})", wanted.image, wanted.of);
        record.notes.splice(..0, notes(wanted, &system));
        let effect = order::effect(&state, &record)?;
        told.begin("sending what it did");
        send(&exchange, &state, &record, &work)?;
        drop((files, state, shown, work));
        // What stays takes room and does no harm; the next one tries again.
        let _ = shelf.drop_others(&wanted.keep.iter().copied().chain([wanted.manifest]).collect());
        Ok(Answer::Rehearsed { record: Box::new(record), effect })
    }

    /// What is to be prepared, by a name that this host knows.
    pub(super) fn on_record(&self, command: &Command, what: &What) -> Result<What, EngineError> {
        let What::Apply { staged: Some(staged), force_verdict, once_elsewhere, .. } = what else {
            return Ok(what.clone());
        };
        let rehearsal = self.take_over(command, *staged)?;
        let (force_verdict, once_elsewhere) = (force_verdict.clone(), *once_elsewhere);
        Ok(What::Apply { rehearsal, force_verdict, once_elsewhere, staged: None })
    }

    /// Puts a rehearsal that was held on a stage on record here; its name here.
    fn take_over(&self, command: &Command, staged: ContentHash) -> Result<String, EngineError> {
        let state = State::open(&self.options.state)?;
        let exchange = Exchange::new(&*self.options.servers, &command.id)?;
        state.keeps()?;
        exchange.fetch(&state, &[(staged, 0)].into())?;
        let text = fetched(&state, staged)?;
        let staged: wire::Staged = serde_json::from_slice(&text).map_err(|error| damaged(&state, error))?;
        let mut record = staged.record;
        let named = record.changesets();
        exchange.fetch(&state, &named.iter().map(|id| (*id, 0)).collect())?;
        let mut wanted = BTreeMap::new();
        for id in named {
            let bytes = fetched(&state, id)?;
            let changeset = changeset::codec::decode(&bytes).map_err(|error| damaged(&state, error))?;
            state.save_changeset(&changeset)?;
            wanted.extend(fresh(&changeset));
        }
        exchange.fetch(&state, &wanted)?;
        record.rehearsal = state.next_id("r")?;
        let root = std::fs::canonicalize(self.root()).map_err(EngineError::file("look at", self.root()))?;
        record.root = root.display().to_string();
        // As with a rehearsal on the host itself.
        crate::site::declare(self.root(), &self.options.state, staged.declared.as_ref())?;
        state.save_rehearsal(&record)?;
        Ok(record.rehearsal)
    }
}

/// A content that was fetched, in memory.
fn fetched(state: &State, id: ContentHash) -> Result<Vec<u8>, EngineError> {
    let bytes = state.blobs.read_range(id, 0, LONGEST).map_err(of_blobs(state))?;
    if ContentHash::of(&bytes) == id { Ok(bytes) } else { Err(damaged(state, "what was fetched is something else")) }
}

fn damaged(state: &State, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
    EngineError::Damaged { path: state.dir().join("blobs"), source: source.into() }
}

/// A tree runs only on its own kind of processor; another distribution is fine, as everything but the kernel is its own.
fn fits(here: &wire::ImageOf, wanted: &wire::Stage) -> Result<(), EngineError> {
    let there = &wanted.system;
    if here.architecture == there.architecture {
        return Ok(());
    }
    let what = format!("this stage is {}, {} is {}", here.architecture, wanted.of, there.architecture);
    Err(EngineError::refused(what, "rehearse on the host itself: --stage=no"))
}

/// What is different on an image.
fn notes(wanted: &wire::Stage, here: &wire::ImageOf) -> Vec<String> {
    let mut out = vec![format!(
        "held on a copy of image {} of {}: without the files of volatile paths (logs, caches, package lists: apt-get update comes \
         first)",
        wanted.image, wanted.of
    )];
    if !wanted.system.stores.is_empty() {
        out.push(format!("{} had no data in the copy, and their servers did not run", wanted.system.stores.join(", ")));
    }
    if here.distribution != wanted.system.distribution {
        out.push(format!("{} ran on the kernel of {}", wanted.system.distribution, here.distribution));
    }
    out
}

/// Contents of the control plane, for trees.
struct Fetched<'a>(&'a Exchange);

impl Source for Fetched<'_> {
    fn manifest(&self, state: &State, id: ContentHash) -> Result<Manifest, EngineError> {
        super::rebuild::fetch_manifest(state, self.0, id)
    }

    fn contents(&self, state: &State, wanted: &BTreeMap<ContentHash, u64>) -> Result<(), EngineError> {
        self.0.fetch(state, wanted).map(drop)
    }
}

/// Sends the changesets of a rehearsal and the contents that they bring.
fn send(exchange: &Exchange, state: &State, record: &Rehearsal, work: &Work) -> Result<(), EngineError> {
    let (changesets, mut contents) = (record.changesets(), BTreeMap::new());
    if changesets.is_empty() {
        return Ok(());
    }
    let path = work.file("pack");
    let file = File::create(&path).map_err(EngineError::file("make", &path))?;
    let packing = EngineError::file("write", path.clone());
    let packed = (|| {
        let mut packer = Packer::new(BufWriter::new(file))?;
        for id in changesets {
            let changeset = state.changeset(&id).map_err(std::io::Error::other)?;
            let encoded = changeset::codec::encoded(&changeset);
            packer.put(id, encoded.len() as u64, &mut &*encoded)?;
            contents.extend(fresh(&changeset));
        }
        for content in contents.into_keys() {
            let mut from = state.blobs.open_verified(content).map_err(std::io::Error::other)?;
            let length = from.metadata()?.len();
            packer.put(content, length, &mut from)?;
        }
        packer.end()?.into_inner().map_err(std::io::IntoInnerError::into_error)
    })();
    packed.map_err(packing)?;
    let received: Received = exchange.ask(|http, at| {
        let file = File::open(&path).map_err(|error| super::contents::local(http, error))?;
        http.send(&format!("{at}/contents"), file)
    })?;
    match received.changed.first() {
        None => Ok(()),
        Some(content) => Err(broken(
            "send what the rehearsal did",
            std::io::Error::other(format!("{content} arrived as something else")),
        )),
    }
}

/// Room for so many rehearsals of other hosts at a time.
pub(super) struct Seats {
    count: u32,
    free: Mutex<u32>,
    freed: Condvar,
}

/// Room for one; it is free again when this is dropped.
pub(super) struct Seat<'a>(&'a Seats);

impl Seats {
    /// As many as this machine has processors and memory for.
    pub(super) fn of_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        Self::of(cores, rustix::system::sysinfo().totalram)
    }

    /// Two processors and [`MEMORY`] for each; one in any case.
    fn of(cores: u32, memory: u64) -> Self {
        let count = (cores / 2).min(u32::try_from(memory / MEMORY).unwrap_or(u32::MAX)).max(1);
        Self { count, free: Mutex::new(count), freed: Condvar::new() }
    }

    /// Waits for one; says so when it has to.
    pub(super) fn take(&self, waits: impl FnOnce()) -> Seat<'_> {
        let mut free = lock(&self.free);
        if *free == 0 {
            waits();
        }
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Seat(self)
    }

    /// The share of the machine, in percent, that each may take of what was asked for.
    pub(super) fn share(&self, asked: u32) -> u32 {
        asked.min(100 / self.count).max(5)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_host_with_another_processor_is_refused_before_anything_is_made() {
        let of = |architecture: &str, distribution: &str| wire::ImageOf {
            architecture: architecture.to_owned(),
            distribution: distribution.to_owned(),
            ..wire::ImageOf::default()
        };
        let wanted = |system| wire::Stage {
            of: "web1".to_owned(),
            image: "g1".to_owned(),
            manifest: ContentHash::of(b""),
            system,
            rehearse: wire::Rehearse::default(),
            keep: Vec::new(),
        };
        let here = of("x86_64", "debian 12");
        assert!(fits(&here, &wanted(of("x86_64", "ubuntu 22.04"))).is_ok());
        let failed = super::super::failed(&fits(&here, &wanted(of("aarch64", "debian 12"))).unwrap_err());
        assert_eq!(failed.class, wire::Class::Refused);
        assert_eq!(failed.what, "this stage is x86_64, web1 is aarch64");
        assert_eq!(failed.hints, ["rehearse on the host itself: --stage=no"]);
    }

    #[test]
    fn no_more_run_than_there_is_room_for() {
        let table = [(1, 64 << 30, 1), (2, 1 << 30, 1), (16, 64 << 30, 8), (16, 8 << 30, 4)];
        for (cores, memory, count) in table {
            assert_eq!(Seats::of(cores, memory).count, count, "{cores} {memory}");
        }
        let seats = Seats::of(6, 64 << 30);
        assert_eq!((seats.share(50), seats.share(10)), (33, 10));
        let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|threads| {
            for _ in 0..12 {
                threads.spawn(|| {
                    let seat = seats.take(|| ());
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(seat);
                });
            }
        });
        assert!(most.into_inner() <= 3 && *lock(&seats.free) == 3);
    }
}
