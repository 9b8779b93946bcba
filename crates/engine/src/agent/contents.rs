//! Contents between this host and the control plane, over its HTTPS API: what a command lets this host read is fetched, what it
//! asks this host for is sent. Either way in packs, of which each that has arrived is not sent again.
//!
//! A control plane that is away is waited for, at each of its addresses in turn: what is asked may be asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use greenroom_core::api::{Contents, Missing, Problem, Received};
use greenroom_core::{Changeset, ContentHash, TreePath, changeset};
use greenroom_host::scan::Tree;
use greenroom_net::client::{Http, HttpError};
use greenroom_store::blobs::pack::{PackError, Packer, unpack};
use greenroom_store::blobs::{BlobError, BlobStore as _};

use crate::{EngineError, State, lock};

/// Gives the control plane, at each of its addresses, as it can be asked now: the agent's certificate is renewed while it runs.
pub type Servers = dyn Fn() -> io::Result<Vec<Http>> + Send + Sync;

/// Bytes of contents in one pack.
const PACK: u64 = 128 << 20;

/// How much of one is written at once.
const CHUNK: usize = 64 << 10;

/// Contents in one pack that is fetched: their names are in one request.
const NAMES: usize = 20_000;

/// For so long a control plane that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often it is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// What breaks off so often is given up.
const BREAKS: u32 = 5;

/// What is sent or fetched for one command.
pub(super) struct Exchange {
    servers: Vec<Http>,
    command: String,
}

/// A content of this host, and where it is.
pub(super) struct Here {
    pub(super) content: ContentHash,
    pub(super) path: TreePath,
    pub(super) size: u64,
}

impl Exchange {
    pub(super) fn new(servers: &Servers, command: &str) -> Result<Self, EngineError> {
        let servers = servers().map_err(EngineError::system("read what the control plane knows this host by"))?;
        Ok(Self { servers, command: command.to_owned() })
    }

    /// Asks at one address after the other until one can be reached. It may ask more than once: what a broken connection was asked
    /// may have been done.
    pub(super) fn ask<T>(&self, mut ask: impl FnMut(&Http, &str) -> Result<T, HttpError>) -> Result<T, EngineError> {
        let path = format!("/v1/agent/commands/{}", self.command);
        let (began, mut breaks) = (Instant::now(), 0);
        loop {
            let mut last = None;
            for http in &self.servers {
                match ask(http, &path) {
                    Err(error) if error.is_away() => last = Some(error),
                    Err(error @ HttpError::Reach { .. }) if breaks < BREAKS => {
                        breaks += 1;
                        last = Some(error);
                    }
                    other => return other.map_err(failed),
                }
            }
            match last {
                None => return Err(EngineError::refused("the control plane has no address", "greenroom join")),
                Some(error) if began.elapsed() >= PATIENCE => return Err(failed(error)),
                Some(_) => std::thread::sleep(AGAIN),
            }
        }
    }

    /// Fetches what of these contents the store does not have; how many bytes that was.
    pub(super) fn fetch(&self, state: &State, wanted: &BTreeMap<ContentHash, u64>) -> Result<u64, EngineError> {
        let wanted: Vec<(ContentHash, u64)> = wanted.iter().map(|(content, size)| (*content, *size)).collect();
        let missing = lacking(state, &wanted)?;
        let mut bytes = 0;
        for pack in packs(&missing, |one| one.1) {
            bytes += self.fetch_pack(state, pack)?;
        }
        state.blobs.sync().map_err(of_blobs(state))?;
        Ok(bytes)
    }

    /// Fetches these contents; where the connection breaks, what has not arrived by then.
    fn fetch_pack(&self, state: &State, pack: &[(ContentHash, u64)]) -> Result<u64, EngineError> {
        let (mut names, mut breaks): (BTreeSet<ContentHash>, _) = (pack.iter().map(|one| one.0).collect(), 0);
        while !names.is_empty() {
            let body = Contents { contents: names.iter().copied().collect() };
            let stream = self.ask(|http, path| http.fetch(&format!("{path}/fetch"), &body))?;
            match unpack(BufReader::new(stream), &state.blobs, |content, _| names.contains(&content)) {
                Ok(got) if got.stored < names.len() as u64 => {
                    let what = format!("{} of {} contents did not come", names.len() as u64 - got.stored, names.len());
                    return Err(EngineError::refused(what, "try again: what has arrived is not sent again"));
                }
                Ok(got) => return Ok(got.bytes),
                Err(PackError::Stream(_)) if breaks < BREAKS => breaks += 1,
                Err(error) => return Err(broken("fetch contents from the control plane", error)),
            }
            std::thread::sleep(AGAIN);
            names = lacking(state, pack)?.into_iter().map(|one| one.0).collect();
        }
        Ok(0)
    }

    /// Sends a manifest, or what leads to it from the one that the control plane has; what of its contents is missing there.
    pub(super) fn manifest(
        &self,
        manifest: &Changeset,
        since: Option<(ContentHash, &Changeset)>,
    ) -> Result<Vec<ContentHash>, EngineError> {
        let encoded = changeset::codec::encoded(since.map_or(manifest, |(_, delta)| delta));
        let packed = (|| {
            let mut packer = Packer::new(Vec::new())?;
            packer.put(ContentHash::of(&encoded), encoded.len() as u64, &mut &*encoded)?;
            packer.end()
        })();
        let packed: Vec<u8> = packed.map_err(EngineError::system("pack the manifest"))?;
        let since = since.map_or_else(String::new, |(base, _)| format!("&since={base}"));
        let query = format!("manifest?manifest={}{since}", manifest.id());
        let answer: Missing = self.ask(|http, path| http.send(&format!("{path}/{query}"), &*packed))?;
        Ok(answer.missing)
    }

    /// Sends contents of the tree at `root`; those that were something else when they were read come back. `limit` is in bytes
    /// a second, as they go over the network.
    pub(super) fn send(
        &self,
        root: &Path,
        contents: &[Here],
        limit: Option<u64>,
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<BTreeSet<ContentHash>, EngineError> {
        let left = Mutex::new(packs(contents, |one| one.size).into_iter());
        let done = Mutex::new((BTreeSet::new(), 0));
        let lane = || -> Result<(), EngineError> {
            while let Some(pack) = { lock(&left).next() } {
                // Where one cannot be sent, none is.
                let none = |_: &EngineError| *lock(&left) = Vec::new().into_iter();
                let received = self.send_pack(root, pack, limit).inspect_err(none)?;
                let mut done = lock(&done);
                done.0.extend(received.changed);
                done.1 += pack.iter().map(|one| one.size).sum::<u64>();
                told(done.1);
            }
            Ok(())
        };
        // While the other end makes one durable, the next one is on its way; a limit is that of one.
        std::thread::scope(|scope| {
            let other = limit.is_none().then(|| scope.spawn(lane));
            let outcome = lane();
            let other = other.map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            outcome.and(other.unwrap_or(Ok(())))
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner).0)
    }

    fn send_pack(&self, root: &Path, pack: &[Here], limit: Option<u64>) -> Result<Received, EngineError> {
        self.ask(|http, path| {
            std::thread::scope(|scope| {
                let (reader, writer) = io::pipe().map_err(|error| local(http, error))?;
                let packing = scope.spawn(move || pack_of(root, pack, io::BufWriter::with_capacity(CHUNK, writer)));
                let answer = http.send(&format!("{path}/contents"), Slow::new(reader, limit));
                match packing.join() {
                    // The other end's word comes first: that it hung up is why the packing failed.
                    Ok(Err(error)) if answer.is_ok() => Err(local(http, error)),
                    _ => answer,
                }
            })
        })
    }
}

/// What of these contents the store does not have.
fn lacking(state: &State, wanted: &[(ContentHash, u64)]) -> Result<Vec<(ContentHash, u64)>, EngineError> {
    let mut missing = Vec::new();
    for one in wanted {
        if !state.blobs.contains(one.0).map_err(of_blobs(state))? {
            missing.push(*one);
        }
    }
    Ok(missing)
}

/// Something failed on this host.
pub(super) fn local(http: &Http, error: io::Error) -> HttpError {
    HttpError::Answer { url: http.url().clone(), source: Box::new(error) }
}

/// Divides what goes over the network.
fn packs<T>(all: &[T], size: impl Fn(&T) -> u64) -> Vec<&[T]> {
    let (mut out, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, one) in all.iter().enumerate() {
        if at > begin && (bytes + size(one) > PACK || at - begin >= NAMES) {
            out.push(&all[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += size(one);
    }
    if begin < all.len() {
        out.push(&all[begin..]);
    }
    out
}

/// Packs contents. One whose file cannot be opened any more goes as nothing: the other end sees that it is something else.
fn pack_of(root: &Path, contents: &[Here], out: impl Write) -> io::Result<()> {
    let mut tree = Tree::open(root).map_err(io::Error::other)?;
    let mut packer = Packer::new(out)?;
    for one in contents {
        match tree.open_file(&one.path) {
            Ok(Some(mut file)) => packer.put(one.content, one.size, &mut file)?,
            Ok(None) | Err(_) => packer.put(one.content, 0, &mut io::empty())?,
        }
    }
    packer.end()?.flush()
}

/// A reader that gives no more than so many bytes a second.
struct Slow<R> {
    from: R,
    limit: Option<u64>,
    began: Instant,
    given: u64,
}

impl<R> Slow<R> {
    fn new(from: R, limit: Option<u64>) -> Self {
        Self { from, limit: limit.filter(|limit| *limit > 0), began: Instant::now(), given: 0 }
    }
}

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(limit) = self.limit else { return self.from.read(buffer) };
        let due = Duration::from_secs_f64(self.given as f64 / limit as f64);
        std::thread::sleep(due.saturating_sub(self.began.elapsed()));
        let some = buffer.len().min(usize::try_from(limit / 10 + 1).unwrap_or(buffer.len()));
        let got = self.from.read(&mut buffer[..some])?;
        self.given += got as u64;
        Ok(got)
    }
}

/// What the store of this state says.
pub(crate) fn of_blobs(state: &State) -> impl FnOnce(BlobError) -> EngineError + use<> {
    let path = state.dir().join("blobs");
    move |source| EngineError::Damaged { path, source: Box::new(source) }
}

pub(super) fn broken(doing: &str, error: impl std::error::Error + Send + Sync + 'static) -> EngineError {
    EngineError::System { doing: doing.to_owned(), source: io::Error::other(error) }
}

/// What the control plane says to a request.
fn failed(error: HttpError) -> EngineError {
    if let HttpError::Status { body, .. } = &error
        && let Ok(problem) = serde_json::from_str::<Problem>(body)
    {
        let hint = problem.hints.into_iter().next();
        return EngineError::Refused { what: format!("the control plane says: {}", problem.error), hint };
    }
    broken("exchange contents with the control plane", error)
}
