//! The independent comparison of two file trees, for judging what Greenroom did.
//!
//! It shares no code with Greenroom. Two witnesses look at the trees, and what either reports is a difference:
//!
//! * `rsync --dry-run` with checksums, in both senses (only the sense in which the *source* has a hard link notices
//!   that the other side has two files);
//! * a plain walk with the metadata that rsync rounds or leaves out: modification times of directories and to the
//!   nanosecond, every extended attribute as raw bytes, hard-link groups, the attributes of `chattr`.
//!
//! Not compared, because no program can set them: inode numbers, change times, the size and link count of
//! directories, and where holes are in a sparse file.

use rustix::fs::{CWD, FileType, IFlags, Mode, OFlags};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What differs between the trees `a` and `b`, one readable line each; empty when they are equal.
///
/// `exclude` names paths relative to the roots that are left out with all below them. A comparison that could not
/// be made is reported as a difference too, so that it is never mistaken for equality.
#[must_use]
pub fn differences(a: &Path, b: &Path, exclude: &[&str]) -> Vec<String> {
    Comparison::new(a, b).exclude(exclude).differences()
}

/// Fails the test with the differences when there are any.
///
/// # Panics
/// When the trees differ.
pub fn assert_same(a: &Path, b: &Path, exclude: &[&str]) {
    let found = differences(a, b, exclude);
    let shown: Vec<&str> = found.iter().take(40).map(String::as_str).collect();
    assert!(
        found.is_empty(),
        "{} and {} differ in {} ways:\n{}",
        a.display(),
        b.display(),
        found.len(),
        shown.join("\n")
    );
}

/// A comparison with more to say than [`differences`].
#[derive(Clone, Debug)]
pub struct Comparison {
    a: PathBuf,
    b: PathBuf,
    exclude: Vec<PathBuf>,
    any_time: Vec<PathBuf>,
}

impl Comparison {
    /// Of the trees below `a` and `b`.
    #[must_use]
    pub fn new(a: &Path, b: &Path) -> Self {
        Self { a: a.to_owned(), b: b.to_owned(), exclude: Vec::new(), any_time: Vec::new() }
    }

    /// Leaves these paths out, with all below them.
    #[must_use]
    pub fn exclude(mut self, paths: &[&str]) -> Self {
        self.exclude.extend(paths.iter().map(|path| relative(path)));
        self
    }

    /// Lets these directories (not what is in them) have any modification time. `""` is the root itself.
    #[must_use]
    pub fn any_time(mut self, directories: &[&str]) -> Self {
        self.any_time.extend(directories.iter().map(|path| relative(path)));
        self
    }

    /// One line for each difference.
    #[must_use]
    pub fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.walks(&mut found);
        self.rsync(&self.a, &self.b, "--checksum", &mut found);
        self.rsync(&self.b, &self.a, "--size-only", &mut found);
        found
    }

    fn rsync(&self, from: &Path, to: &Path, how: &str, found: &mut Vec<String>) {
        let mut command = Command::new("rsync");
        // Directory times are left to the walk, which can make an exception of one.
        command.args(["-aHAXn", "--omit-dir-times", "--modify-window=-1", "--delete"]);
        command.args(["--itemize-changes", how]);
        for path in &self.exclude {
            command.arg(exclude_option(path));
        }
        command.arg("--").arg(with_slash(from)).arg(with_slash(to));
        match command.output() {
            Err(error) => found.push(format!("the comparison failed: cannot start rsync: {error}")),
            Ok(output) => {
                let lines = String::from_utf8_lossy(&output.stdout);
                found.extend(lines.lines().map(|line| format!("rsync {how}: {line}")));
                if !output.status.success() {
                    let error = String::from_utf8_lossy(&output.stderr);
                    found.push(format!("the comparison failed: rsync: {error}"));
                }
            }
        }
    }

    fn walks(&self, found: &mut Vec<String>) {
        let seen = (self.walk(&self.a), self.walk(&self.b));
        let (a, b) = match seen {
            (Ok(a), Ok(b)) => (a, b),
            (Err(error), _) | (_, Err(error)) => {
                found.push(format!("the comparison failed: {error}"));
                return;
            }
        };
        for (path, mine) in &a {
            match b.get(path) {
                None => found.push(format!("only in a: {path:?}")),
                Some(theirs) if mine != theirs => {
                    found.push(format!("{path:?}: {}", tell(mine, theirs)));
                }
                Some(_) => {}
            }
        }
        found.extend(b.keys().filter(|path| !a.contains_key(*path)).map(|p| format!("only in b: {p:?}")));
    }

    fn walk(&self, root: &Path) -> Result<BTreeMap<PathBuf, Facts>, String> {
        let mut walk = Walk { comparison: self, root, facts: BTreeMap::new(), links: BTreeMap::new() };
        walk.look(PathBuf::new())?;
        for paths in walk.links.into_values() {
            let group = format!("{paths:?}");
            for path in paths {
                if let Some(facts) = walk.facts.get_mut(&path) {
                    facts.insert("names of this file".to_owned(), group.clone());
                }
            }
        }
        Ok(walk.facts)
    }
}

/// What is known of one path: fact → value.
type Facts = BTreeMap<String, String>;

struct Walk<'a> {
    comparison: &'a Comparison,
    root: &'a Path,
    facts: BTreeMap<PathBuf, Facts>,
    /// Paths by device and inode, for files with more than one name.
    links: BTreeMap<(u64, u64), Vec<PathBuf>>,
}

impl Walk<'_> {
    fn look(&mut self, path: PathBuf) -> Result<(), String> {
        if self.comparison.exclude.contains(&path) {
            return Ok(());
        }
        let full = self.root.join(&path);
        let problem = |error: std::io::Error| format!("{}: {error}", full.display());
        let meta = fs::symlink_metadata(&full).map_err(problem)?;
        let mut facts = facts_of(&full, &meta).map_err(problem)?;
        if meta.is_dir() {
            if self.comparison.any_time.contains(&path) {
                facts.remove("mtime");
            }
            let mut names = Vec::new();
            for entry in fs::read_dir(&full).map_err(problem)? {
                names.push(entry.map_err(problem)?.file_name());
            }
            // In order, so that the first name of a file is the same on both sides.
            names.sort();
            for name in names {
                self.look(path.join(name))?;
            }
        } else if meta.nlink() > 1 {
            self.links.entry((meta.dev(), meta.ino())).or_default().push(path.clone());
        }
        self.facts.insert(path, facts);
        Ok(())
    }
}

fn facts_of(full: &Path, meta: &fs::Metadata) -> std::io::Result<Facts> {
    let mut facts = Facts::new();
    let mut add = |name: &str, value: String| facts.insert(name.to_owned(), value);
    let kind = FileType::from_raw_mode(meta.mode());
    add("kind", format!("{kind:?}"));
    add("mode", format!("{:04o}", meta.mode() & 0o7777));
    add("owner", format!("{}:{}", meta.uid(), meta.gid()));
    add("mtime", format!("{}.{:09}", meta.mtime(), meta.mtime_nsec()));
    match kind {
        FileType::RegularFile => drop(add("size", meta.len().to_string())),
        FileType::Symlink => drop(add("target", format!("{:?}", fs::read_link(full)?))),
        FileType::CharacterDevice | FileType::BlockDevice => {
            add("device", format!("{:#x}", meta.rdev()));
        }
        _ => {}
    }
    if matches!(kind, FileType::RegularFile | FileType::Directory) {
        add("attributes", attributes(full)?);
    }
    for (name, value) in xattrs(full)? {
        add(&format!("xattr {name}"), format!("{:?}", OsString::from_vec(value)));
    }
    Ok(facts)
}

/// The attributes of `chattr` that a user can set; those that the file system keeps for itself are left out.
fn attributes(full: &Path) -> std::io::Result<String> {
    let kept = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::NODUMP | IFlags::NOATIME;
    let file = rustix::fs::openat(
        CWD,
        full,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // A file system without such attributes has none set.
    Ok(rustix::fs::ioctl_getflags(&file).map_or_else(|_| String::new(), |f| format!("{:?}", f & kept)))
}

/// Every extended attribute with its raw value.
pub(crate) fn xattrs(full: &Path) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; 65_536];
    let length = match rustix::fs::llistxattr(full, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        other => other?,
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(full, name, &mut value[..])?;
        value.truncate(length);
        found.insert(name.to_string_lossy().into_owned(), value);
    }
    Ok(found)
}

fn tell(a: &Facts, b: &Facts) -> String {
    let mut text = String::new();
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    for name in names.into_iter().filter(|name| a.get(*name) != b.get(*name)) {
        let show = |facts: &Facts| facts.get(name).cloned().unwrap_or_else(|| "none".to_owned());
        // Writing into a String cannot fail.
        let _ = write!(text, "{name} {} / {}; ", show(a), show(b));
    }
    text.trim_end_matches("; ").to_owned()
}

fn relative(path: &str) -> PathBuf {
    Path::new(path.trim_matches('/')).components().collect()
}

/// rsync takes a pattern: it is anchored, and its wildcards are made plain.
fn exclude_option(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_bytes();
    let wild = bytes.iter().any(|byte| b"*?[".contains(byte));
    let mut pattern = b"--exclude=/".to_vec();
    for byte in bytes {
        if wild && b"*?[\\".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    OsString::from_vec(pattern)
}

fn with_slash(path: &Path) -> OsString {
    let mut path = path.as_os_str().to_owned();
    path.push("/");
    path
}
