//! One file out of a package in apt's cache: deb(5), an ar archive with a compressed tar inside.
//!
//! The content of a file before somebody changed it, where only the package has it. Whether it is the one that is wanted, its
//! hash says; a package in the cache is not trusted for anything else.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

use flate2::read::GzDecoder;
use greenroom_core::TreePath;

use super::{Package, open};
use crate::scan::{ScanError, Tree};

/// A package in the cache that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// The tree.
    #[error(transparent)]
    Tree(#[from] ScanError),
    /// The package.
    #[error("cannot read the package {path}")]
    Package {
        /// Where it lies.
        path: TreePath,
        /// What is wrong with it.
        source: io::Error,
    },
}

/// The cache of apt.
const ARCHIVES: &str = "/var/cache/apt/archives";

/// No single file of a package is larger.
const LARGEST: u64 = 4 << 30;

/// What `path` contains in `package`, by apt's cache; `None`: the package is not there, or has no such file. `take` gets the
/// content as it is unpacked.
///
/// # Errors
/// [`DebError`]: the package is there and can't be read. Whatever `take` says is passed on as such.
pub fn deb_content(
    tree: &mut Tree,
    package: &Package,
    path: &TreePath,
    take: &mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
) -> Result<bool, DebError> {
    let mut found = false;
    deb_contents(tree, package, std::slice::from_ref(path), &mut |_, content| {
        found = true;
        take(content)
    })?;
    Ok(found)
}

/// The same for several paths in one pass. Of names that are one file in the package, one at least is given.
///
/// # Errors
/// As [`deb_content`].
pub fn deb_contents(
    tree: &mut Tree,
    package: &Package,
    paths: &[TreePath],
    take: &mut dyn FnMut(&TreePath, &mut dyn Read) -> io::Result<()>,
) -> Result<(), DebError> {
    // apt writes `1:2.0` as `1%3a2.0`.
    let name = format!("{}_{}_{}.deb", package.name, package.version.replace(':', "%3a"), package.arch);
    let at = TreePath::from(ARCHIVES).join(name.as_bytes());
    let Some(file) = open(tree, &at)? else { return Ok(()) };
    contents(file, paths, take).map_err(|source| DebError::Package { path: at, source })
}

/// Names in the package, and for each the path that was asked for.
type Wanted = HashMap<TreePath, TreePath>;

fn contents(
    mut file: File,
    paths: &[TreePath],
    take: &mut dyn FnMut(&TreePath, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    // Packages from before the merge of /usr have the old name, the tree has the new one, or the other way round.
    let names = paths.iter().flat_map(|path| [(path.clone(), path.clone()), (other_name(path), path.clone())]);
    let links = search(file.try_clone()?, &names.collect(), take)?;
    if links.is_empty() {
        return Ok(());
    }
    // The content of a link stands under the name that came first.
    file.rewind()?;
    search(file, &links, take).map(drop)
}

/// Gives the contents that are wanted; of links the names that have them.
fn search(
    file: File,
    wanted: &Wanted,
    take: &mut dyn FnMut(&TreePath, &mut dyn Read) -> io::Result<()>,
) -> io::Result<Wanted> {
    let Some((name, data)) = member(file, "data.tar")? else { return Err(bad("it holds no data.tar")) };
    let unpacked: Box<dyn Read> = match name.rsplit('.').next() {
        Some("tar") => Box::new(data),
        Some("gz") => Box::new(GzDecoder::new(data)),
        Some("xz") => Box::new(lzma_rust2::XzReader::new(data, true)),
        Some("zst") => {
            Box::new(ruzstd::decoding::StreamingDecoder::new(data).map_err(|error| bad(&error.to_string()))?)
        }
        _ => return Err(bad(&format!("{name} is compressed in a way that is not known here"))),
    };
    let mut tar = tar::Archive::new(unpacked);
    let mut links = Wanted::new();
    let mut left = wanted.values().collect::<HashSet<_>>().len();
    for entry in tar.entries()? {
        if left == 0 {
            break;
        }
        let mut entry = entry?;
        let Some(path) = wanted.get(&inside(&entry.path_bytes())) else { continue };
        let kind = entry.header().entry_type();
        if kind.is_hard_link() {
            let first = entry.link_name_bytes().map(|to| inside(&to));
            links.insert(first.ok_or_else(|| bad("a link in it leads nowhere"))?, path.clone());
            left -= 1;
        } else if kind.is_file() {
            if entry.size() > LARGEST {
                return Err(bad("the file in it is too large"));
            }
            take(path, &mut entry)?;
            left -= 1;
        }
    }
    Ok(links)
}

/// `./usr/bin/x` as a path of the tree.
fn inside(name: &[u8]) -> TreePath {
    TreePath::new(name.strip_prefix(b".").unwrap_or(name))
}

/// `/lib/x` for `/usr/lib/x`, and back.
fn other_name(path: &TreePath) -> TreePath {
    match path.as_bytes().strip_prefix(b"/usr") {
        Some(rest) if rest.starts_with(b"/") => TreePath::new(rest),
        _ => TreePath::new(&[b"/usr", path.as_bytes()].concat()),
    }
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// The first member of an ar archive whose name begins so, with that name.
fn member(mut file: File, wanted: &str) -> io::Result<Option<(String, io::Take<File>)>> {
    let mut magic = [0; 8];
    file.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(bad("it is no ar archive"));
    }
    loop {
        // Name (16), time (12), owner (6), group (6), mode (8), size (10), two bytes that end it.
        let mut head = [0; 60];
        match file.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&head[range]).unwrap_or("").trim().to_owned();
        let name = text(0..16).trim_end_matches('/').to_owned();
        let size: u64 = text(48..58).parse().map_err(|_| bad("a member of it has no size"))?;
        if name.starts_with(wanted) {
            return Ok(Some((name, file.take(size))));
        }
        // Members begin at even places.
        let skip = i64::try_from(size + size % 2).map_err(|_| bad("a member of it is too large"))?;
        file.seek(SeekFrom::Current(skip))?;
    }
}
