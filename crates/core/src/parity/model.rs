//! What is known of one system, record by record. The JSON of a record is a line of a manifest file.
//!
//! A manifest begins with [`Record::Manifest`], goes on with facts, packages and libraries in any order, then has all
//! paths in [`tree_order`], and ends with [`Record::End`]. The version in the header changes when a reader of before
//! would misunderstand; readers ignore fields that they do not know.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::noise::Identity;
use crate::path::bytes_json;
use crate::{ContentHash, TreePath};

/// The version of the records that this program writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// One line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// What it is of. The first.
    Manifest(Header),
    /// One thing that is true there.
    Fact(Fact),
    /// An installed package.
    Package(Package),
    /// A program or library that services load.
    Library(Library),
    /// One path of the managed tree.
    Path(Box<PathState>),
    /// The last: what the whole stream is.
    End(End),
}

/// Of which system, when and how it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub greenroom_manifest: u32,
    /// The version of the program that looked.
    pub program: String,
    /// When, RFC 3339.
    pub at: String,
    /// What to call it: its host name.
    pub name: String,
    /// What was looked at: `this host`, a directory, a rehearsal.
    pub source: String,
    /// Whether the running system was looked at, not only its files.
    pub running: bool,
    /// What only names this machine.
    pub identity: Identity,
}

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// An interpreter or runtime that a command name leads to.
    Runtime,
    /// A variable that unit files set for a service: `nginx.service LANG`.
    ServiceEnvironment,
    /// A variable that a running service has.
    RunningEnvironment,
    /// A limit that a running service has.
    Limit,
    /// A kernel parameter, as it is now.
    Sysctl,
    /// A variable of the locale.
    Locale,
    /// The time zone.
    TimeZone,
    /// The running kernel.
    Kernel,
    /// A parameter that the kernel was booted with.
    BootParameter,
    /// What the processor is and can.
    Cpu,
    /// A user.
    User,
    /// A group.
    Group,
    /// A port that somebody listens on.
    Port,
    /// Whether a unit is enabled or masked, by its files.
    Unit,
    /// Whether a unit is active or failed, now.
    UnitState,
    /// A mounted file system.
    Mount,
}

impl FactKind {
    /// Whether it can be known only of a running system.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(
            self,
            Self::RunningEnvironment
                | Self::Limit
                | Self::Sysctl
                | Self::Kernel
                | Self::BootParameter
                | Self::Cpu
                | Self::Port
                | Self::UnitState
                | Self::Mount
        )
    }
}

/// One thing that is true of a system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is about.
    pub kind: FactKind,
    /// Which one.
    pub item: String,
    /// How it is.
    pub value: String,
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name and architecture: `libssl3:amd64`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A program or shared library that services load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// By what it is asked for: the soname of a library, the path of a program.
    pub name: String,
    /// The file.
    pub path: TreePath,
    /// Its content; `None` when it could not be read.
    pub content: Option<ContentHash>,
    /// Bytes.
    pub size: u64,
    /// The package that it belongs to, as in [`Package::name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Whether it is what its package brought; `None`: no package says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intact: Option<bool>,
    /// Whether it is a program and no library.
    #[serde(default)]
    pub program: bool,
    /// Services that map it now.
    #[serde(default)]
    pub running: BTreeSet<String>,
    /// Services that will load it when they start, by the tables of their programs.
    #[serde(default)]
    pub linked: BTreeSet<String>,
    /// A service still has another file in memory that was at this path before.
    #[serde(default)]
    pub replaced: bool,
}

/// What kind of file a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// One path. Times are left out: they differ between any two systems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathState {
    /// Where.
    pub path: TreePath,
    /// What kind of file.
    pub kind: PathKind,
    /// Permission bits.
    pub mode: u16,
    /// The owner's name there, or `#` and the number.
    pub owner: Box<str>,
    /// The group's name there, or `#` and the number.
    pub group: Box<str>,
    /// Bytes, of a regular file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Its content. `None` of a file: not looked at, or it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentHash>,
    /// Where a symbolic link points; major and minor of a device.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "bytes_json")]
    pub target: Vec<u8>,
    /// Extended attributes and inode flags in words, `security.capability=cap_net_raw=ep`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// The package that it belongs to, as in [`Package::name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Box<str>>,
    /// What it says, when it is configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What a file of configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Config {
    /// The text: everybody on that host may read it, and nothing in it looks secret.
    Text(String),
    /// Everybody may read it, and something in it looks secret: keys and values, with a hash in place of what is.
    Values(BTreeMap<String, Vec<String>>),
    /// It is not for everybody: for each key a hash of its values, no value. Empty when its format is not known.
    Keys(BTreeMap<String, String>),
}

/// The end of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Records before this one.
    pub records: u64,
    /// BLAKE3 of all bytes before this record.
    pub hash: ContentHash,
    /// What could not be read, in sentences.
    #[serde(default)]
    pub gaps: Vec<String>,
}

/// The order of paths: a directory, then all below it, names by their bytes. As if `/` were the smallest of all bytes.
#[must_use]
pub fn tree_order(a: &TreePath, b: &TreePath) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    below(a).iter().map(key).cmp(below(b).iter().map(key))
}

/// Without the leading slash; nothing for the root.
fn below(path: &TreePath) -> &[u8] {
    &path.as_bytes()[1..]
}

/// What is held of a system while its paths go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Of which.
    pub header: Header,
    /// What is true there.
    pub facts: BTreeMap<(FactKind, String), String>,
    /// Versions by name and architecture.
    pub packages: BTreeMap<String, String>,
    /// What services load.
    pub libraries: Vec<Library>,
}

impl Facts {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self { header, facts: BTreeMap::new(), packages: BTreeMap::new(), libraries: Vec::new() }
    }

    /// Adds a fact.
    pub fn add(&mut self, kind: FactKind, item: impl Into<String>, value: impl Into<String>) {
        self.facts.insert((kind, item.into()), value.into());
    }

    /// All of it as records, the header first.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let facts = self
            .facts
            .iter()
            .map(|((kind, item), value)| Record::Fact(Fact { kind: *kind, item: item.clone(), value: value.clone() }));
        let packages = self
            .packages
            .iter()
            .map(|(name, version)| Record::Package(Package { name: name.clone(), version: version.clone() }));
        let libraries = self.libraries.iter().cloned().map(Record::Library);
        std::iter::once(Record::Manifest(self.header.clone())).chain(facts).chain(packages).chain(libraries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_directory_comes_right_before_what_is_in_it() {
        let mut paths: Vec<TreePath> = ["/a-b", "/a/b", "/a", "/", "/a/b/c", "/a.d", "/b"].map(TreePath::from).to_vec();
        paths.sort_by(tree_order);
        let shown: Vec<String> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["/", "/a", "/a/b", "/a/b/c", "/a-b", "/a.d", "/b"]);
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_names(a in names(), b in names()) {
            let path = |names: &[Vec<u8>]| names.iter().fold(TreePath::root(), |at, name| at.join(name));
            prop_assert_eq!(tree_order(&path(&a), &path(&b)), a.cmp(&b));
        }
    }

    fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = (1u8..=255).prop_filter("no slash", |b| *b != b'/');
        proptest::collection::vec(proptest::collection::vec(byte, 1..3), 0..4)
    }
}
