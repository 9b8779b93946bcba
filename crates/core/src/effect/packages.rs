//! Packages, from dpkg's status file: `/var/lib/dpkg/status`, and a file for each package in `status.d` (images without
//! dpkg). Format: deb822 stanzas, see deb-control(5) and dpkg(1) for the words of `Status`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{Side, Sources, shown};
use crate::{Changeset, TreePath};

const STATUS: &str = "/var/lib/dpkg/status";
const STATUS_D: &str = "/var/lib/dpkg/status.d";

/// A package that came, went or has another version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// Its architecture, `all` for none.
    pub arch: String,
    /// The version before; `None`: it was not installed.
    pub from: Option<String>,
    /// The version after; `None`: it is not installed.
    pub to: Option<String>,
    /// What else there is to say: `configuration kept`, or dpkg's word for a package that is not properly installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stanza<'a> {
    version: &'a [u8],
    /// The third word of `Status`.
    state: &'a [u8],
}

impl Stanza<'_> {
    /// Waiting for triggers is installed: the files are in place and configured.
    fn installed(&self) -> bool {
        matches!(self.state, b"installed" | b"triggers-awaited" | b"triggers-pending")
    }

    fn note(&self) -> Option<String> {
        match self.state {
            b"config-files" => Some("configuration kept".to_owned()),
            b"not-installed" | b"" => None,
            _ if self.installed() => None,
            state => Some(shown(state)),
        }
    }
}

/// By name and architecture: the same name can be installed for several.
type Status<'a> = HashMap<(&'a [u8], &'a [u8]), Stanza<'a>>;

pub(super) fn changes(changeset: &Changeset, sources: &dyn Sources) -> Vec<PackageChange> {
    let mut files: BTreeSet<TreePath> = BTreeSet::new();
    let status_d = TreePath::from(STATUS_D);
    for entry in changeset.entries() {
        let below = entry.path.parent().is_some_and(|p| p == status_d) && !entry.path.name().ends_with(b".md5sums");
        if below || entry.path.as_bytes() == STATUS.as_bytes() {
            files.insert(entry.path.clone());
        }
    }
    let mut out = BTreeMap::new();
    for file in files {
        let before = sources.content(&file, Side::Before).unwrap_or_default();
        let after = sources.content(&file, Side::After).unwrap_or_default();
        diff(&parse(&before), &parse(&after), &mut out);
    }
    out.into_values().collect()
}

/// What differs between two texts of dpkg's status file, by name and architecture.
#[must_use]
pub fn package_changes(before: &[u8], after: &[u8]) -> Vec<PackageChange> {
    let mut out = BTreeMap::new();
    diff(&parse(before), &parse(after), &mut out);
    out.into_values().collect()
}

fn diff(before: &Status<'_>, after: &Status<'_>, out: &mut BTreeMap<(String, String), PackageChange>) {
    let version = |s: Option<&Stanza<'_>>| s.filter(|s| s.installed()).map(|s| shown(s.version));
    let mut look = |key: &(&[u8], &[u8])| {
        let (was, is) = (before.get(key), after.get(key));
        if was == is {
            return;
        }
        let (from, to) = (version(was), version(is));
        let note = is.and_then(Stanza::note);
        if from == to && note == was.and_then(Stanza::note) {
            return;
        }
        let (name, arch) = (shown(key.0), shown(key.1));
        out.insert((name.clone(), arch.clone()), PackageChange { name, arch, from, to, note });
    };
    after.keys().for_each(&mut look);
    before.keys().filter(|key| !after.contains_key(*key)).for_each(&mut look);
}

fn parse(text: &[u8]) -> Status<'_> {
    let mut out = Status::with_capacity(text.len() / 900);
    let (mut name, mut arch, mut stanza) = (&b""[..], &b""[..], Stanza { version: b"", state: b"installed" });
    for line in text.split(|b| *b == b'\n').chain([&b""[..]]) {
        match line.first() {
            None if !name.is_empty() => {
                out.insert((name, arch), stanza);
                (name, arch, stanza) = (b"", b"", Stanza { version: b"", state: b"installed" });
            }
            Some(b'P') => name = field(line, b"Package:").unwrap_or(name),
            Some(b'A') => arch = field(line, b"Architecture:").unwrap_or(arch),
            Some(b'V') => stanza.version = field(line, b"Version:").unwrap_or(stanza.version),
            Some(b'S') => {
                if let Some(words) = field(line, b"Status:") {
                    stanza.state = words.rsplit(|b| *b == b' ').next().unwrap_or(words);
                }
            }
            _ => {}
        }
    }
    out
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(name).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::testing::World;

    fn stanza(name: &str, arch: &str, version: &str, status: &str) -> String {
        format!(
            "Package: {name}\nStatus: {status}\nPriority: optional\nSection: httpd\nInstalled-Size: 1354\nMaintainer: Debian\n\
             Architecture: {arch}\nVersion: {version}\nDepends: libc6 (>= 2.34)\nConffiles:\n /etc/{name}.conf 0123456789abcdef\n\
             Description: small\n Package: not a field\n .\n Version: neither\n\n"
        )
    }

    const OK: &str = "install ok installed";

    #[test]
    fn what_came_went_and_moved() {
        let kept = "deinstall ok config-files";
        let before = [
            stanza("same", "amd64", "1", OK),
            stanza("libc6", "amd64", "2.36-9+deb12u4", OK),
            stanza("libc6", "i386", "2.36-9+deb12u4", OK),
            stanza("gone", "all", "1:2.0", OK),
            stanza("removed", "all", "3", OK),
            stanza("leftover", "all", "4", kept),
            stanza("trig", "amd64", "5", OK),
            stanza("held", "amd64", "6", OK),
        ];
        let after = [
            stanza("same", "amd64", "1", OK),
            stanza("libc6", "amd64", "2.36-9+deb12u9", OK),
            stanza("libc6", "i386", "2.36-9+deb12u4", OK),
            stanza("removed", "all", "3", kept),
            stanza("nginx", "amd64", "1.22.1-9+deb12u3", OK),
            stanza("trig", "amd64", "5", "install ok triggers-pending"),
            stanza("held", "amd64", "6", "hold ok installed"),
            stanza("broken", "amd64", "7", "install ok half-configured"),
        ];
        let world = World::default().file(STATUS, Some(&before.concat()), Some(&after.concat()));
        let found = changes(&world.changeset(), &world);
        let lines: Vec<String> = found
            .iter()
            .map(|p| {
                format!("{}:{} {:?} {:?} {:?}", p.name, p.arch, p.from.as_deref(), p.to.as_deref(), p.note.as_deref())
            })
            .collect();
        let expected = [
            "broken:amd64 None None Some(\"half-configured\")",
            "gone:all Some(\"1:2.0\") None None",
            "leftover:all None None None",
            "libc6:amd64 Some(\"2.36-9+deb12u4\") Some(\"2.36-9+deb12u9\") None",
            "nginx:amd64 None Some(\"1.22.1-9+deb12u3\") None",
            "removed:all Some(\"3\") None Some(\"configuration kept\")",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_status_file_that_did_not_change_is_not_read() {
        let world =
            World::default().file("/etc/motd", Some("a"), Some("b")).unchanged(STATUS, &stanza("a", "all", "1", OK));
        assert_eq!(changes(&world.changeset(), &world), []);
        assert_eq!(world.reads(), 0);
    }

    #[test]
    fn a_file_for_each_package() {
        let world = World::default()
            .file("/var/lib/dpkg/status.d/tzdata", None, Some("Package: tzdata\nVersion: 2024a\nArchitecture: all"))
            .file("/var/lib/dpkg/status.d/tzdata.md5sums", None, Some("Package: x\nVersion: 1\n"));
        let found = changes(&world.changeset(), &world);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].to.as_deref()), ("tzdata", Some("2024a")));
    }
}
