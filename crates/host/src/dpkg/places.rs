//! Which path of the tree a line of a package's list means: merged directories, diversions; and the lists themselves.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use greenroom_core::TreePath;
use rayon::prelude::*;

use super::index::{Index, Row, has_list, key};
use super::status::{Package, hex};
use super::{DPKG, read, shown};
use crate::scan::{ScanError, Tree};
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

/// How many packages a thread takes at once.
const SEVERAL: usize = 32;

/// Calls `each` for every package with its number, on all processors; what it gives is in the order of the packages.
fn of_all<T: Send>(
    tree: &Tree,
    packages: &[Package],
    gaps: &mut Vec<String>,
    each: impl Fn(&mut Tree, usize, &Package, &mut Vec<String>) -> Vec<T> + Sync,
) -> Result<Vec<T>, ScanError> {
    let parts = packages.par_chunks(SEVERAL).enumerate().map(|(part, several)| {
        let (mut tree, mut out, mut gaps) = (tree.again()?, Vec::new(), Vec::new());
        for (at, package) in several.iter().enumerate() {
            out.append(&mut each(&mut tree, part * SEVERAL + at, package, &mut gaps));
        }
        Ok((out, gaps))
    });
    let mut all = Vec::new();
    for (mut part, mut more) in parts.collect::<Result<Vec<_>, ScanError>>()? {
        all.append(&mut part);
        gaps.append(&mut more);
    }
    Ok(all)
}

/// The paths in a list's text.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n').filter(|line| line.len() > 1 && *line != b"/.")
}

/// What `take` makes of the paths in the lists of the packages that are there, given each path as it is written and the package's
/// number.
pub(super) fn of_names<T: Send>(
    tree: &Tree,
    packages: &[Package],
    gaps: &mut Vec<String>,
    take: impl Fn(usize, &[u8]) -> Option<T> + Sync,
) -> Result<Vec<T>, ScanError> {
    let info = TreePath::from(DPKG).join(b"info");
    of_all(tree, packages, gaps, |tree, id, package, gaps| {
        if !package.is_there() {
            return Vec::new();
        }
        let own = info.join(format!("{}:{}.list", package.name, package.arch).as_bytes());
        let path = match tree.status(&own) {
            Ok(Some(_)) => own,
            _ => info.join(format!("{}.list", package.name).as_bytes()),
        };
        lines(&read(tree, &path, gaps)).filter_map(|line| take(id, line)).collect()
    })
}

/// Reads the lists and checksums of all packages.
pub(super) fn index(
    tree: &mut Tree,
    packages: &[Package],
    aliases: &Aliases,
    diversions: &Diversions,
    gaps: &mut Vec<String>,
) -> Result<Index, ScanError> {
    let info = TreePath::from(DPKG).join(b"info");
    let names: BTreeSet<Box<[u8]>> = tree.names(&info).unwrap_or_default().into_iter().collect();
    let file = |package: &Package, what: &str| {
        let both = [format!("{}:{}.{what}", package.name, package.arch), format!("{}.{what}", package.name)];
        both.into_iter().find(|name| names.contains(name.as_bytes())).map(|name| info.join(name.as_bytes()))
    };
    let key = |path: &[u8], package: &Package| key(&diversions.place(aliases.merged(path), &package.name));
    let rows = of_all(tree, packages, gaps, |tree, id, package, gaps| {
        if !has_list(package) {
            return Vec::new();
        }
        let Some(path) = file(package, "list") else {
            gaps.push(format!("dpkg has no list of the files of {}", package.name));
            return Vec::new();
        };
        lines(&read(tree, &path, gaps)).map(|line| Row::new(key(line, package), id)).collect()
    })?;
    let mut out = Index::of(rows);
    let expected = of_all(tree, packages, gaps, |tree, id, package, gaps| {
        let conffiles = package.conffiles.iter();
        let mut out: Vec<_> = conffiles.map(|(path, md5)| (key(path.as_bytes(), package), id, *md5, true)).collect();
        let Some(path) = file(package, "md5sums").filter(|_| package.is_there()) else { return out };
        for line in read(tree, &path, gaps).split(|b| *b == b'\n') {
            // `0123…  usr/bin/x`, without the first slash.
            let Some((md5, name)) = line.split_at_checked(34).filter(|(sum, _)| sum.ends_with(b"  ")) else { continue };
            out.push((key(&[b"/", name].concat(), package), id, hex(&md5[..32]), false));
        }
        out
    })?;
    for (key, package, md5, conffile) in expected {
        out.expect(key, package, md5, conffile);
    }
    Ok(out)
}
