//! dpkg's status file: deb822 stanzas, see deb-control(5); the words of `Status` are those of dpkg(1).

use std::fmt::Write as _;

use greenroom_core::TreePath;

use super::{DPKG, LARGEST, Md5, shown};
use crate::scan::Tree;

/// A package as dpkg knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its architecture; `all` for none.
    pub arch: String,
    /// Its version; of one whose configuration is left, that of the last time it was installed.
    pub version: String,
    /// What is there of it.
    pub state: State,
    /// It is held at its version.
    pub held: bool,
    /// Its configuration files, and the checksum of what it brought; `None` while that is not known.
    pub conffiles: Vec<(TreePath, Option<Md5>)>,
}

/// What is there of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// All, properly configured.
    #[default]
    Installed,
    /// Its configuration alone.
    ConfigFiles,
    /// Nothing.
    NotInstalled,
    /// An installation or removal did not get to its end; dpkg's word for where it is.
    Broken(String),
}

impl Package {
    /// Whether its files are there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        matches!(self.state, State::Installed | State::Broken(_))
    }
}

pub(super) fn parse(text: &[u8]) -> Vec<Package> {
    let mut out = Vec::with_capacity(text.len() / 900);
    let (mut package, mut in_conffiles, mut has_status) = (Package::default(), false, false);
    for line in text.split(|b| *b == b'\n').chain([&b""[..]]) {
        if line.is_empty() {
            if !package.name.is_empty() && has_status {
                out.push(std::mem::take(&mut package));
            }
            (package, in_conffiles, has_status) = (Package::default(), false, false);
            continue;
        }
        if line[0] == b' ' || line[0] == b'\t' {
            if in_conffiles {
                package.conffiles.extend(conffile(line.trim_ascii()));
            }
            continue;
        }
        in_conffiles = line.starts_with(b"Conffiles:");
        let field = |key: &[u8]| line.strip_prefix(key).map(|value| shown(value.trim_ascii()));
        if let Some(value) = field(b"Package:") {
            package.name = value;
        } else if let Some(value) = field(b"Architecture:") {
            package.arch = value;
        } else if let Some(value) = field(b"Version:") {
            package.version = value;
        } else if let Some(words) = field(b"Status:") {
            has_status = true;
            package.held = words.starts_with("hold ");
            package.state = match words.rsplit(' ').next().unwrap_or("") {
                // The files are in place and configured.
                "installed" | "triggers-awaited" | "triggers-pending" => State::Installed,
                "config-files" => State::ConfigFiles,
                "not-installed" => State::NotInstalled,
                other => State::Broken(other.to_owned()),
            };
        }
    }
    out
}

/// ` /etc/x 0123…`, ` /etc/x newconffile`, ` /etc/x 0123… obsolete`: the name can hold spaces, the rest cannot.
fn conffile(line: &[u8]) -> Option<(TreePath, Option<Md5>)> {
    let mut rest = line;
    for word in [&b" obsolete"[..], b" remove-on-upgrade"] {
        rest = rest.strip_suffix(word).unwrap_or(rest);
    }
    let at = rest.iter().rposition(|b| *b == b' ')?;
    Some((TreePath::new(&rest[..at]), hex(&rest[at + 1..])))
}

/// A checksum in hexadecimal.
pub(super) fn hex(digits: &[u8]) -> Option<Md5> {
    if digits.len() != 32 {
        return None;
    }
    let mut out = [0; 16];
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(std::str::from_utf8(&digits[at * 2..at * 2 + 2]).ok()?, 16).ok()?;
    }
    Some(out)
}

/// What dpkg has noted and not yet put into the status file: it was interrupted, or runs at this moment.
pub(super) fn pending(tree: &mut Tree, packages: &mut Vec<Package>, gaps: &mut Vec<String>) {
    let dir = TreePath::from(DPKG).join(b"updates");
    let Ok(mut names) = tree.names(&dir) else { return };
    names.retain(|name| name.iter().all(u8::is_ascii_digit));
    names.sort();
    for name in names {
        let text = match tree.content(&dir.join(&name), LARGEST) {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => {
                gaps.push(format!("{error}: what dpkg was about to do is not known"));
                continue;
            }
        };
        for package in parse(&text) {
            match packages.iter_mut().find(|p| p.name == package.name && p.arch == package.arch) {
                Some(same) => *same = package,
                None => packages.push(package),
            }
        }
    }
}

/// As little of a status file as a comparison reads.
pub(super) fn text(packages: &[Package]) -> Vec<u8> {
    let mut out = String::new();
    for package in packages {
        let state = match &package.state {
            State::Installed => "installed",
            State::ConfigFiles => "config-files",
            State::NotInstalled => "not-installed",
            State::Broken(word) => word,
        };
        let Package { name, arch, version, .. } = package;
        // Writing to a string can't fail.
        _ = writeln!(out, "Package: {name}\nStatus: install ok {state}\nArchitecture: {arch}\nVersion: {version}\n");
    }
    out.into_bytes()
}
