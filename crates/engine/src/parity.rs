//! Two systems against each other: this host, a tree, a rehearsal, a manifest file.
//!
//! A rehearsal is what the host would be: its changes are put into an unbooted copy of the host, with the code that puts them
//! live, and the copy's tree is read like any other. Nothing runs in it, so it is compared by what files say.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use greenroom_core::parity::Report;
use greenroom_core::plan::Part;
use greenroom_core::rehearsal::Rehearsal;
use greenroom_host::apply::{Guard, HostState, NoFaults};
use greenroom_host::copy::{self, Copy};
use greenroom_host::parity::{Look, Looked, ParityError, Reader, Side, look};
use greenroom_host::scan::Tree;

use crate::apply::{FromBlobs, host_error, load};
use crate::site::Site;
use crate::{Asked, EngineError, State};

/// A system that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum System {
    /// The machine that this program runs on, with what runs on it.
    Host,
    /// A tree that does not run.
    Dir(PathBuf),
    /// A file that `greenroom manifest` wrote.
    Manifest(PathBuf),
    /// The tree as it would be with a rehearsal's changes.
    Rehearsal(String),
}

impl System {
    /// The system whose tree is at `root`: the host itself, or a tree. In a chroot `/` is a tree.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        if greenroom_host::facts::is_live(root) { Self::Host } else { Self::Dir(root.to_owned()) }
    }
}

/// Where rehearsals are kept, and the tree that they are of.
pub struct Rehearsals<'a> {
    /// The state.
    pub state: &'a State,
    /// The host's tree.
    pub root: &'a Path,
}

/// A side with what it is read from.
struct Opened {
    side: Side,
    /// Mounted as long as it is read.
    _copy: Option<Copy>,
}

/// What all looks share.
pub struct Looker<'a> {
    /// The clock.
    pub asked: &'a Asked,
    /// This program's version.
    pub program: &'a str,
    /// The state directory, which is no part of any tree.
    pub state_dir: &'a Path,
    /// Needed for [`System::Rehearsal`] alone; call [`crate::rehearsal::prepare`] first.
    pub rehearsals: Option<Rehearsals<'a>>,
}

impl Looker<'_> {
    /// Compares two systems.
    ///
    /// # Errors
    /// One of them can't be read, or a rehearsal's changes do not fit the host any more.
    pub fn diff(&self, a: &System, b: &System) -> Result<Report, EngineError> {
        let (a, b) = (self.open(a, "a")?, self.open(b, "b")?);
        Ok(greenroom_host::parity::compare(a.side, b.side)?)
    }

    /// Writes the manifest of a system.
    ///
    /// # Errors
    /// It can't be read, or `out` can't be written to.
    pub fn manifest(&self, of: &System, out: impl Write) -> Result<(), EngineError> {
        match self.open(of, "m")?.side {
            Side::Tree(looked) => Ok(greenroom_host::parity::write(*looked, out)?),
            Side::Manifest(..) => Err(EngineError::usage("it is a manifest already", "name a host or a tree")),
        }
    }

    /// `letter` tells the copies of one comparison apart.
    fn open(&self, system: &System, letter: &str) -> Result<Opened, EngineError> {
        let tree = |looked: Looked| Opened { side: Side::Tree(Box::new(looked)), _copy: None };
        match system {
            System::Host => Ok(tree(self.look(Path::new("/"), "this host", true, None)?)),
            System::Dir(dir) => {
                let dir = std::fs::canonicalize(dir).map_err(EngineError::file("find", dir))?;
                Ok(tree(self.look(&dir, &dir.display().to_string(), false, None)?))
            }
            System::Manifest(path) => {
                let file = File::open(path).map_err(EngineError::file("open", path))?;
                let name = path.display().to_string();
                match Reader::open(Box::new(BufReader::with_capacity(1 << 18, file))) {
                    Ok(reader) => Ok(Opened { side: Side::Manifest(Box::new(reader), name), _copy: None }),
                    Err(source) => Err(ParityError::Manifest { name, source }.into()),
                }
            }
            System::Rehearsal(id) => self.rehearsal(id, letter),
        }
    }

    fn look(
        &self,
        root: &Path,
        source: &str,
        running: bool,
        mounts: Option<BTreeSet<greenroom_core::TreePath>>,
    ) -> Result<Looked, EngineError> {
        let site = Site::look(root, self.state_dir)?;
        let at = self.asked.stamp();
        let policy = &site.policy;
        Ok(look(Look { root: &site.root, policy, running, source, at, program: self.program, mounts })?)
    }

    fn rehearsal(&self, id: &str, letter: &str) -> Result<Opened, EngineError> {
        let Some(Rehearsals { state, root }) = &self.rehearsals else {
            return Err(EngineError::usage(format!("{id} cannot be looked at here"), "name a directory or a manifest"));
        };
        let record = state.rehearsal(id)?;
        copy::sweep(&state.dir().join("copies")).map_err(EngineError::system("remove what killed rehearsals left"))?;
        let site = Site::look(root, state.dir())?;
        let hidden: Vec<_> = site.hidden.iter().map(|h| site.root.join(h.strip_prefix("/").unwrap_or(h))).collect();
        let name = format!("parity-{id}-{}-{letter}", std::process::id());
        let copy = Copy::make(&site.root, &state.copy_dir(&name), &hidden)?;
        put(state, &record, &copy.root())?;
        let mounts = copy.layers().iter().map(|layer| layer.at.clone()).collect();
        let looked =
            self.look(&copy.root(), &format!("rehearsal {id} on {}", site.root.display()), false, Some(mounts))?;
        Ok(Opened { side: Side::Tree(Box::new(looked)), _copy: Some(copy) })
    }
}

/// Puts what a rehearsal does to files into the tree at `root`, unless it is there already.
fn put(state: &State, record: &Rehearsal, root: &Path) -> Result<(), EngineError> {
    let host = HostState::open(root).map_err(host_error)?;
    let guard = host.lock("diff").map_err(host_error)?;
    let tree = Tree::open(root)?;
    if let Some(id) = &record.changeset {
        let whole = state.changeset(id)?;
        if greenroom_host::apply::check_after(&tree, &whole).map_err(host_error)?.is_empty() {
            return Ok(());
        }
    }
    for (at, changeset) in load(state, &record.parts)?.into_iter().enumerate() {
        if let (Some(changeset), Some(Part::Files { .. })) = (changeset, record.parts.get(at)) {
            put_part(state, &guard, &format!("{}-{at}", record.rehearsal), &changeset)?;
        }
    }
    Ok(())
}

fn put_part(
    state: &State,
    guard: &Guard<'_>,
    name: &str,
    changeset: &greenroom_core::Changeset,
) -> Result<(), EngineError> {
    let tree = Tree::open(guard.host().root())?;
    let conflicts = greenroom_host::apply::check(&tree, changeset, None).map_err(host_error)?;
    if !conflicts.is_empty() {
        let paths: Vec<String> = conflicts.iter().take(5).map(|conflict| conflict.path.to_string()).collect();
        let what = format!(
            "the host is no longer as it was rehearsed: {} differ, such as {}",
            conflicts.len(),
            paths.join(", ")
        );
        return Err(EngineError::refused(what, "rehearse again on the host as it is now"));
    }
    let contents = FromBlobs(&state.blobs);
    let staged = guard.stage(name, changeset, &contents, &NoFaults).map_err(host_error)?;
    staged.commit(serde_json::Value::Null, &NoFaults).map_err(host_error)?;
    guard.close(name).map_err(host_error)
}
