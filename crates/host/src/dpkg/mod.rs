//! The package database of a tree, read without running dpkg: who owns a path, what it ought to contain, which versions are
//! installed, what the logs say, and files out of the package cache.
//!
//! Everything goes through [`crate::scan::Tree`]: no link is followed and nothing outside the root is reached, so another
//! host's tree can be read as well as the machine's own. Formats: dpkg(1), deb-control(5), dpkg-divert(1), deb-conffiles(5).
//!
//! [`Database`] is compact: a path is a hash of 64 bits with its owner and its checksum, 32 bytes for each, and
//! [`Database::encode`] keeps one beside the baseline, so that the owner of a file is known also when the package that
//! had it is gone. Paths count in the merged form: where the tree's `/lib` is a link to `usr/lib`, the lists' `/lib/x` and the
//! tree's `/usr/lib/x` are one.
//!
//! Not here: what belongs together ([`greenroom_core::drift::packages`]), and whether a checksum is looked at.

mod deb;
mod excluded;
mod index;
mod logs;
mod places;
mod status;

use greenroom_core::TreePath;
use greenroom_core::drift::packages::{Owner, PackageChange, package_changes};
use greenroom_core::path::Shown;
use md5::{Digest as _, Md5 as Md5Hasher};

use crate::scan::{ScanError, Tree};

pub use deb::{DebError, deb_content, deb_contents};
pub use excluded::Excluded;
pub use index::PackageId;
pub use logs::history;
pub use places::StatOverride;
pub use status::{Package, State};

use index::{Index, Row};
use places::{Aliases, Diversions};

/// An MD5 checksum, as dpkg keeps them.
pub type Md5 = [u8; 16];

/// What a package says of a path's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The content's checksum; for a configuration file that of the version that the package brought last.
    pub md5: Md5,
    /// People may edit it.
    pub conffile: bool,
    /// Whose it is.
    pub package: PackageId,
    /// The number of the path's row: see [`Database::len`].
    pub(crate) row: usize,
}

/// Where dpkg keeps its database.
const DPKG: &str = "/var/lib/dpkg";

/// No file of the database is larger.
const LARGEST: u64 = 256 << 20;

/// The package database of a tree at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    packages: Vec<Package>,
    index: Index,
    aliases: Aliases,
    overrides: Vec<StatOverride>,
    gaps: Vec<String>,
}

impl Database {
    /// Reads the database; `None`: the tree has none. What can't be read is in [`Database::gaps`].
    ///
    /// # Errors
    /// [`ScanError`]: the status file is there and can't be read.
    pub fn read(tree: &mut Tree) -> Result<Option<Self>, ScanError> {
        let dpkg = TreePath::from(DPKG);
        let Some(text) = tree.content(&dpkg.join(b"status"), LARGEST)? else { return Ok(None) };
        let mut packages = status::parse(&text);
        let mut gaps = Vec::new();
        status::pending(tree, &mut packages, &mut gaps);
        let aliases = Aliases::read(tree);
        let diversions = Diversions::parse(&read(tree, &dpkg.join(b"diversions"), &mut gaps), &aliases);
        let overrides = StatOverride::parse(&read(tree, &dpkg.join(b"statoverride"), &mut gaps), &aliases);
        let index = places::index(tree, &packages, &aliases, &diversions, &mut gaps)?;
        Ok(Some(Self { packages, index, aliases, overrides, gaps }))
    }

    /// All packages, also those of which only the configuration is left.
    #[must_use]
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// The package with this id.
    ///
    /// # Panics
    /// The id is of another database.
    #[must_use]
    pub fn package(&self, id: PackageId) -> &Package {
        &self.packages[id.index()]
    }

    /// Who owns a path. Of a directory that several packages have, one of them; see [`Database::is_shared`].
    #[must_use]
    pub fn owner(&self, path: &TreePath) -> Option<PackageId> {
        self.row(path).map(Row::package)
    }

    /// Whether several packages have the path: a directory, or a file that the architectures of a package share.
    #[must_use]
    pub fn is_shared(&self, path: &TreePath) -> bool {
        self.row(path).is_some_and(Row::is_shared)
    }

    /// What the content of a path ought to be, where a package says.
    #[must_use]
    pub fn expected(&self, path: &TreePath) -> Option<Expected> {
        let (number, row) = self.index.get(&self.aliases.merged(path.as_bytes()))?;
        Some(Expected { md5: row.md5()?, conffile: row.is_conffile(), package: row.package(), row: number })
    }

    /// How many paths have an owner: their rows are numbered.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The checksum of a path, and whether it is a configuration file.
    #[must_use]
    pub fn md5(&self, path: &TreePath) -> Option<(Md5, bool)> {
        self.expected(path).map(|e| (e.md5, e.conffile))
    }

    /// The owner in words, with what the present content is: [`Some`] checksum, or not looked at.
    #[must_use]
    pub fn owner_words(&self, path: &TreePath, content: Option<&Md5>) -> Option<Owner> {
        let row = self.row(path)?;
        let intact = row.md5().and_then(|expected| content.map(|content| *content == expected));
        Some(Owner { package: self.package(row.package()).name.clone(), conffile: row.is_conffile(), intact })
    }

    /// The administrator's owner and mode for a path (dpkg-statoverride(1)).
    #[must_use]
    pub fn stat_override(&self, path: &TreePath) -> Option<&StatOverride> {
        let path = self.aliases.merged(path.as_bytes());
        self.overrides.iter().find(|one| one.path.as_bytes() == &*path)
    }

    /// The paths that the packages which are there say a checksum of, as far as `wanted`. The lists are read again from `tree`,
    /// because a database has no paths; what can't be read goes to `gaps` in sentences.
    ///
    /// # Errors
    /// [`ScanError`]: the tree itself can't be read.
    pub fn paths(
        &self,
        tree: &Tree,
        gaps: &mut Vec<String>,
        wanted: impl Fn(&TreePath, &Expected) -> bool + Sync,
    ) -> Result<Vec<(TreePath, Expected)>, ScanError> {
        places::of_names(tree, &self.packages, gaps, |package, path| {
            // A list may name what was diverted away from there: then the path is another package's, or nobody's.
            let path = TreePath::new(&self.aliases.merged(path));
            let expected = self.expected(&path).filter(|expected| expected.package.index() == package)?;
            wanted(&path, &expected).then_some((path, expected))
        })
    }

    /// What could not be read, in sentences.
    #[must_use]
    pub fn gaps(&self) -> &[String] {
        &self.gaps
    }

    fn row(&self, path: &TreePath) -> Option<&Row> {
        self.index.get(&self.aliases.merged(path.as_bytes())).map(|(_, row)| row)
    }

    /// What differs from `old` to `new`.
    #[must_use]
    pub fn compare(old: &Self, new: &Self) -> Vec<PackageChange> {
        package_changes(&status::text(&old.packages), &status::text(&new.packages))
    }

    /// As bytes, to be kept; the gaps are not among them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        index::encode(&self.packages, &self.index, &self.aliases)
    }

    /// What [`Database::encode`] made; `None` when it is damaged or of another version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (packages, index, aliases) = index::decode(bytes)?;
        Some(Self { packages, index, aliases, overrides: Vec::new(), gaps: Vec::new() })
    }
}

/// The packages in a status file's text, for one that was kept from an earlier time.
#[must_use]
pub fn packages_of(status: &[u8]) -> Vec<Package> {
    status::parse(status)
}

/// What differs between two texts of dpkg's status file.
#[must_use]
pub fn compare(old: &[u8], new: &[u8]) -> Vec<PackageChange> {
    package_changes(old, new)
}

/// The checksum of a content, as dpkg takes it.
#[must_use]
pub fn md5(content: &[u8]) -> Md5 {
    Md5Hasher::digest(content).into()
}

/// The checksum of a regular file, as dpkg would take it; `None`: there is no regular file.
///
/// # Errors
/// [`ScanError`].
pub fn md5_of(tree: &mut Tree, path: &TreePath) -> Result<Option<Md5>, ScanError> {
    let fail = |source| ScanError::Path { path: path.clone(), source };
    let Some(mut file) = open(tree, path)? else { return Ok(None) };
    let mut hasher = Md5Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match std::io::Read::read(&mut file, &mut buffer) {
            Ok(0) => return Ok(Some(hasher.finalize().into())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fail(error)),
        }
    }
}

/// Opens a regular file; `None`: there is none.
fn open(tree: &mut Tree, path: &TreePath) -> Result<Option<std::fs::File>, ScanError> {
    let is_file = tree.status(path)?.is_some_and(|s| s.file_type() == crate::sys::fs::types::FILE);
    let fail = |source| ScanError::Path { path: path.clone(), source };
    match tree.place(path)? {
        Some((dir, name)) if is_file => crate::sys::fs::open_file(dir, name).map(Some).map_err(fail),
        _ => Ok(None),
    }
}

/// A file of the database; empty where there is none, and a sentence where it can't be read.
fn read(tree: &mut Tree, path: &TreePath, gaps: &mut Vec<String>) -> Vec<u8> {
    match tree.content(path, LARGEST) {
        Ok(content) => content.unwrap_or_default(),
        Err(error) => {
            gaps.push(format!("{error}: what it says of packages is not known"));
            Vec::new()
        }
    }
}

/// What bytes of a host's file say, safe to show.
fn shown(bytes: &[u8]) -> String {
    Shown(bytes).to_string()
}
