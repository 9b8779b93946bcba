//! Which path of the tree a line of a package's list means: merged directories, diversions; and the lists themselves.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use greenroom_core::TreePath;

use super::index::{Index, has_list};
use super::status::{Package, hex};
use super::{DPKG, read, shown};
use crate::scan::Tree;
use crate::sys::fs::{self, types};

/// Directories at the top that can be links into /usr.
const TOPS: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];

/// Which of them are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Aliases(Vec<String>);

impl Aliases {
    pub(super) fn read(tree: &mut Tree) -> Self {
        let merged = |top: &&&str| {
            let path = TreePath::from(**top);
            let is_link = matches!(tree.status(&path), Ok(Some(s)) if s.file_type() == types::SYMLINK);
            let to =
                is_link.then(|| tree.place(&path).ok().flatten().and_then(|(dir, name)| fs::read_link(dir, name).ok()));
            let to = to.flatten().unwrap_or_default();
            to.strip_prefix(b"/").unwrap_or(&to) == format!("usr/{top}").as_bytes()
        };
        Self(TOPS.iter().filter(merged).map(|top| (*top).to_owned()).collect())
    }

    /// The path as the tree has it.
    pub(super) fn merged<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        let top = path.get(1..).unwrap_or_default().split(|b| *b == b'/').next().unwrap_or_default();
        // The link itself is the tree's own.
        let below = path.len() > top.len() + 1;
        if below && self.0.iter().any(|alias| alias.as_bytes() == top) {
            Cow::Owned([b"/usr", path].concat())
        } else {
            Cow::Borrowed(path)
        }
    }

    pub(super) fn text(&self) -> String {
        self.0.join(" ")
    }

    pub(super) fn from_text(text: &str) -> Self {
        Self(text.split_whitespace().map(str::to_owned).collect())
    }
}

/// Files that were given way to: dpkg-divert(1).
#[derive(Debug, Default)]
pub(super) struct Diversions(HashMap<Vec<u8>, (Vec<u8>, String)>);

impl Diversions {
    /// Three lines for each: what, where to, by which package; `:` for the administrator.
    pub(super) fn parse(text: &[u8], aliases: &Aliases) -> Self {
        let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
        let one = |three: &[&[u8]]| {
            let [from, to, by] = three else { return None };
            Some((aliases.merged(from).into_owned(), (aliases.merged(to).into_owned(), shown(by))))
        };
        Self(lines.chunks(3).filter_map(one).collect())
    }

    /// Where a package's file lies.
    fn place<'a>(&'a self, path: Cow<'a, [u8]>, package: &str) -> Cow<'a, [u8]> {
        match self.0.get(&*path) {
            Some((to, by)) if by != package => Cow::Borrowed(to),
            _ => path,
        }
    }
}

/// The administrator's owner and mode for a path: dpkg-statoverride(1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatOverride {
    /// Where.
    pub path: TreePath,
    /// A name, or `#` and a number.
    pub user: String,
    /// A name, or `#` and a number.
    pub group: String,
    /// The low twelve bits.
    pub mode: u16,
}

impl StatOverride {
    pub(super) fn parse(text: &[u8], aliases: &Aliases) -> Vec<Self> {
        let one = |line: &[u8]| {
            let mut words = line.splitn(4, |b| *b == b' ');
            let (user, group, mode, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
            let mode = u16::from_str_radix(std::str::from_utf8(mode).ok()?, 8).ok()? & 0o7777;
            Some(Self { path: TreePath::new(&aliases.merged(path)), user: shown(user), group: shown(group), mode })
        };
        text.split(|b| *b == b'\n').filter_map(one).collect()
    }
}

/// Calls `each` with every path in the lists of the packages that are there, as it is written, and the package's number.
pub(super) fn each_name(
    tree: &mut Tree,
    packages: &[Package],
    gaps: &mut Vec<String>,
    each: &mut dyn FnMut(usize, &[u8]),
) {
    let info = TreePath::from(DPKG).join(b"info");
    for (id, package) in packages.iter().enumerate().filter(|(_, package)| package.is_there()) {
        let own = info.join(format!("{}:{}.list", package.name, package.arch).as_bytes());
        let path = match tree.status(&own) {
            Ok(Some(_)) => own,
            _ => info.join(format!("{}.list", package.name).as_bytes()),
        };
        let text = read(tree, &path, gaps);
        for line in text.split(|b| *b == b'\n').filter(|line| line.len() > 1 && *line != b"/.") {
            each(id, line);
        }
    }
}

/// Reads the lists and checksums of all packages.
pub(super) fn index(
    tree: &mut Tree,
    packages: &[Package],
    aliases: &Aliases,
    diversions: &Diversions,
    gaps: &mut Vec<String>,
) -> Index {
    let info = TreePath::from(DPKG).join(b"info");
    let names: BTreeSet<Box<[u8]>> = tree.names(&info).unwrap_or_default().into_iter().collect();
    let file = |package: &Package, what: &str| {
        let both = [format!("{}:{}.{what}", package.name, package.arch), format!("{}.{what}", package.name)];
        both.into_iter().find(|name| names.contains(name.as_bytes())).map(|name| info.join(name.as_bytes()))
    };
    let mut out = Index::default();
    for (id, package) in packages.iter().enumerate().filter(|(_, p)| has_list(p)) {
        let Some(path) = file(package, "list") else {
            gaps.push(format!("dpkg has no list of the files of {}", package.name));
            continue;
        };
        let text = read(tree, &path, gaps);
        for line in text.split(|b| *b == b'\n').filter(|line| line.len() > 1 && *line != b"/.") {
            out.add(&diversions.place(aliases.merged(line), &package.name), id);
        }
    }
    out.settle();
    for (id, package) in packages.iter().enumerate() {
        for (path, md5) in &package.conffiles {
            let path = diversions.place(aliases.merged(path.as_bytes()), &package.name);
            out.expect(&path, id, *md5, true);
        }
        let Some(path) = file(package, "md5sums").filter(|_| package.is_there()) else { continue };
        for line in read(tree, &path, gaps).split(|b| *b == b'\n') {
            // `0123…  usr/bin/x`, without the first slash.
            let Some((md5, name)) = line.split_at_checked(34).filter(|(sum, _)| sum.ends_with(b"  ")) else { continue };
            let full = [b"/", name].concat();
            out.expect(&diversions.place(aliases.merged(&full), &package.name), id, hex(&md5[..32]), false);
        }
    }
    out
}
