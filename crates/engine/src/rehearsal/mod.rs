//! Rehearse: run a change for real on a copy of the host, capture what it did, and prove in a second copy that putting just
//! that in place works, passes the tests, and can be taken back.
//!
//! ```text
//! request ─► noise (a copy in which nothing is done; once per state of the host)
//!         ─► copy 1: boot, run the steps (run.rs), what happened to services ─► stop ─► capture, in parts around live steps
//!         ─► copy 2: tests, apply the parts with production's code, tests, undo, compare (proof.rs)
//!         ─► verdict, record, ledger
//! ```
//! The host itself is only read. What a copy writes is thrown away, but for the contents of changed files.

mod effects;
pub mod hotfix;
mod keep;
mod network;
mod noise;
mod proof;
mod request;
mod run;
mod stagehand;

use std::os::fd::AsFd as _;
use std::time::Instant;

use greenroom_core::rehearsal::{Rehearsal, Verdict};
use greenroom_host::copy::{self, Limits};
use greenroom_host::sys::memory;
use greenroom_store::blobs::BlobStore as _;
use greenroom_store::ledger::{Draft, Ledger as _};

use self::network::Outside;
use self::noise::Noise;
use self::stagehand::{Common, Stagehand};
pub use request::{Boot, Request, What};

use crate::site::Site;
use crate::{Asked, EngineError, Progress, State};

/// Prepares this process for making copies. Call it before any thread is started.
///
/// # Errors
/// Not root, or a kernel without mount namespaces.
pub fn prepare() -> Result<(), EngineError> {
    greenroom_host::sys::ns::own_mounts().map_err(EngineError::system("get a mount namespace for the copies"))?;
    // The state is opened meanwhile.
    copy::expect_copy();
    Ok(())
}

/// Rehearses a change.
///
/// # Errors
/// What keeps the rehearsal from being held at all. That the change fails, or a test, is no error: see the verdict.
pub fn rehearse(
    state: &State,
    request: &Request,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<Rehearsal, EngineError> {
    let began = Instant::now();
    copy::sweep(&state.dir().join("copies")).map_err(EngineError::system("remove what killed rehearsals left"))?;
    let site = Site::look(&request.root, state.dir())?;
    let id = state.next_id("r")?;
    let common = common(&site, request)?;
    let mut record = blank(&id, request, asked, &site, common.boot);
    let (noise, gone) = std::thread::scope(|scope| {
        // The noise is needed only when the change has run; where it is not known yet it is found meanwhile.
        let (dir, shared) = (state.dir(), &common);
        let quiet = scope.spawn(move || Noise::of(dir, shared, &crate::Silent));
        let noise = noise::Awaited::new(quiet);
        let gone = run::first_copy(state, request, &common, &noise, &mut record, progress)?;
        Ok::<_, EngineError>((noise.into_inner()?, gone))
    })?;
    if record.verdict == Verdict::Ready {
        judge(&mut record);
    }
    if record.verdict == Verdict::Ready
        && (record.entries > 0 || !record.parts.is_empty() || !request.all_tests().is_empty())
    {
        progress.begin("proving it in a second copy");
        let proof_began = Instant::now();
        // The proof holds the changeset again and what is known of each path; nothing of the capture is needed any more.
        memory::give_back();
        proof::prove(state, request, &common, &noise, &mut record, progress)?;
        record.timings.proof_ms = millis(proof_began);
    } else if record.verdict == Verdict::Ready {
        record.undo_proven = true;
    }
    record.timings.total_ms = millis(began);
    save(state, &record, asked)?;
    // Whether it went well does not matter: what stays is swept by the next rehearsal.
    let _ = gone.join();
    Ok(record)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn common<'a>(site: &'a Site, request: &Request) -> Result<Common<'a>, EngineError> {
    let boot = match request.boot {
        Boot::No => false,
        Boot::Auto => site.can_boot(),
        Boot::Yes if site.can_boot() => true,
        Boot::Yes => {
            return Err(EngineError::usage(
                format!("{} cannot be booted: it has no systemd", site.root.display()),
                "leave --boot away, or say --boot no",
            ));
        }
    };
    let limits = greenroom_host::services::runs_systemd().then(|| limits(request.share));
    Ok(Common { site, boot, limits, env: request.env.clone() })
}

/// A share, in percent, of this machine's cores and memory.
fn limits(percent: u32) -> Limits {
    let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    let memory = rustix::system::sysinfo().totalram;
    Limits { cpu_percent: (cores * percent).max(20), memory: (memory / 100 * u64::from(percent)).max(256 << 20) }
}

fn blank(id: &str, request: &Request, asked: &Asked, site: &Site, booted: bool) -> Rehearsal {
    Rehearsal {
        name: request.title(),
        why: request.why.clone().or_else(|| match &request.what {
            What::File { file, .. } => file.why.clone(),
            What::Command { .. } | What::Shell => None,
        }),
        wishes: request.options(),
        stores: site.stores.iter().map(|store| format!("{} ({})", store.name, store.path)).collect(),
        booted,
        net: request.net,
        ..Rehearsal::blank(id, asked.stamp(), &asked.actor.user, site.root.display().to_string())
    }
}

/// What the effect itself forbids.
fn judge(record: &mut Rehearsal) {
    if record.boot.count > 0 {
        record.verdict = Verdict::WillNotTransplant;
        let examples: Vec<String> = record.boot.examples.iter().take(3).map(ToString::to_string).collect();
        record.reasons.push(format!(
            "it changes {} paths of kernel, initramfs or boot loader ({}): these fit only the machine they were made on. \
             Make that a `live` step of a change file",
            record.boot.count,
            examples.join(", ")
        ));
    }
}

fn save(state: &State, record: &Rehearsal, asked: &Asked) -> Result<(), EngineError> {
    state
        .blobs
        .sync()
        .map_err(|source| EngineError::Damaged { path: state.dir().join("blobs"), source: Box::new(source) })?;
    state.save_rehearsal(record)?;
    let detail = serde_json::json!({
        "name": record.name,
        "verdict": record.verdict,
        "exit_code": record.exit_code,
        "changeset": record.changeset,
        "entries": record.entries,
        "undo_proven": record.undo_proven,
        "duration_ms": record.timings.total_ms,
    });
    state.ledger.append(&Draft {
        at: asked.stamp(),
        kind: "rehearsal".to_owned(),
        actor: asked.actor.clone(),
        change: None,
        rehearsal: Some(record.rehearsal.clone()),
        root: record.root.clone(),
        why: record.why.clone(),
        detail,
    })?;
    Ok(())
}

/// A copy with the network that a request asks for.
fn hand<'n>(
    state: &State,
    common: &Common<'_>,
    name: &str,
    outside: &'n Outside,
) -> Result<Stagehand<'n>, EngineError> {
    let inside = outside.network.as_ref().map(|network| network.namespace.as_fd());
    let hand = Stagehand::new(common, &state.copy_dir(name), inside, outside.env())?;
    outside.configure_apt(&hand.copy.root())?;
    Ok(hand)
}
