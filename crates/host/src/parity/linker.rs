//! Which file a program gets for the name of a library: the search of ld.so(8), in a tree that does not run.
//!
//! The order is that of glibc: `DT_RPATH` of the one that asks and of those that loaded it (where there is no `DT_RUNPATH`),
//! `LD_LIBRARY_PATH` of the service, `DT_RUNPATH`, the directories of /etc/ld.so.conf, the usual ones. The cache is not
//! asked: it says the same unless somebody forgot ldconfig(8). What a program opens by name while it runs (plugins,
//! modules of an interpreter) is in no table, and not found.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::Read as _;

use greenroom_core::{ContentHash, TreePath};
use md5::Digest as _;

use super::elf::{Tables, tables};
use super::inside::Inside;

/// No program loads more.
const MOST: usize = 2000;

/// No search goes through more directories.
const DIRS: usize = 100;

/// A file that is loaded.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) path: TreePath,
    pub(super) content: Option<ContentHash>,
    /// As dpkg keeps it.
    pub(super) md5: Option<crate::dpkg::Md5>,
    pub(super) size: u64,
    pub(super) tables: Option<Tables>,
    /// The interpreter that its first line names.
    pub(super) script: Option<String>,
}

/// The linker of one tree.
pub(super) struct Linker<'i> {
    inside: &'i Inside,
    dirs: Vec<String>,
    files: HashMap<TreePath, Option<Loaded>>,
}

impl<'i> Linker<'i> {
    pub(super) fn new(inside: &'i Inside) -> Self {
        let mut dirs = Vec::new();
        configured(inside, "/etc/ld.so.conf", &mut HashSet::new(), &mut dirs);
        let triplets = inside.names(&"/usr/lib".into()).into_iter().filter_map(|name| String::from_utf8(name).ok());
        for triplet in triplets.filter(|name| name.contains("-linux-")) {
            dirs.extend([format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")]);
        }
        dirs.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(str::to_owned));
        Self { inside, dirs, files: HashMap::new() }
    }

    /// The file that `path` leads to.
    pub(super) fn file(&mut self, path: &TreePath) -> Option<Loaded> {
        let real = self.inside.resolve(path)?;
        let inside = self.inside;
        self.files.entry(real.clone()).or_insert_with(|| load(inside, real)).clone()
    }

    /// Everything that is loaded when `program` starts: itself, what its first line names, the linker, libraries.
    pub(super) fn closure(&mut self, program: &str, library_path: &[String]) -> BTreeMap<TreePath, Loaded> {
        let mut out = BTreeMap::new();
        let mut wanted: VecDeque<(Loaded, Vec<String>)> = VecDeque::new();
        let mut next = Some(program.to_owned());
        // A script that names a script that names a script: more is nothing that the kernel would follow.
        for _ in 0..5 {
            let Some(loaded) = next.take().and_then(|path| self.file(&path.as_str().into())) else { break };
            next.clone_from(&loaded.script);
            wanted.push_back((loaded, Vec::new()));
        }
        let preload = self.inside.text(&"/etc/ld.so.preload".into()).map(|(text, _)| text).unwrap_or_default();
        for path in preload.split(|c: char| c.is_whitespace() || c == ':').filter(|path| path.starts_with('/')) {
            wanted.extend(self.file(&path.into()).map(|loaded| (loaded, Vec::new())));
        }
        let mut asked: HashSet<String> = HashSet::new();
        while let Some((loaded, above)) = wanted.pop_front() {
            if out.len() >= MOST || out.contains_key(&loaded.path) {
                continue;
            }
            let tables = loaded.tables.clone().unwrap_or_default();
            out.insert(loaded.path.clone(), loaded.clone());
            let own = |dirs: &[String]| dirs.iter().map(|dir| origin(dir, &loaded.path)).collect::<Vec<_>>();
            let mut rpath = if tables.runpath.is_empty() { own(&tables.rpath) } else { Vec::new() };
            rpath.extend(above);
            rpath.truncate(DIRS);
            let direct =
                tables.interpreter.iter().filter_map(|path| self.file(&path.as_str().into())).collect::<Vec<_>>();
            wanted.extend(direct.into_iter().map(|found| (found, Vec::new())));
            for name in &tables.needed {
                if asked.len() >= MOST || !asked.insert(name.clone()) {
                    continue;
                }
                let before = if tables.runpath.is_empty() { rpath.clone() } else { Vec::new() };
                let order = [&before[..], library_path, &own(&tables.runpath), &self.dirs].concat();
                if let Some(found) = self.library(name, &order, tables.machine) {
                    wanted.push_back((found, rpath.clone()));
                }
            }
        }
        out
    }

    fn library(&mut self, name: &str, dirs: &[String], machine: (u8, u16)) -> Option<Loaded> {
        if name.contains('/') {
            return self.file(&name.into());
        }
        let fits = |loaded: &Loaded| loaded.tables.as_ref().is_some_and(|tables| tables.machine == machine);
        dirs.iter().find_map(|dir| self.file(&TreePath::from(dir.as_str()).join(name.as_bytes())).filter(fits))
    }
}

fn origin(dir: &str, path: &TreePath) -> String {
    let parent = path.parent().map(|parent| parent.to_string()).unwrap_or_default();
    dir.replace("${ORIGIN}", &parent).replace("$ORIGIN", &parent)
}

/// Each file once, however often it is included.
fn configured(inside: &Inside, path: &str, read: &mut HashSet<String>, out: &mut Vec<String>) {
    if read.len() >= MOST || !read.insert(path.to_owned()) {
        return;
    }
    let Some((text, _)) = inside.text(&path.into()) else { return };
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        match line.strip_prefix("include ").map(str::trim).and_then(|pattern| pattern.rsplit_once('/')) {
            Some((dir, pattern)) => {
                let Ok(glob) = greenroom_core::policy::glob(pattern) else { continue };
                let glob = glob.compile_matcher();
                let names = inside.names(&dir.into()).into_iter().filter_map(|name| String::from_utf8(name).ok());
                for name in names.filter(|name| glob.is_match(name)) {
                    configured(inside, &format!("{dir}/{name}"), read, out);
                }
            }
            None if line.starts_with('/') && out.len() < DIRS => out.push(line.to_owned()),
            None => {}
        }
    }
}

fn load(inside: &Inside, path: TreePath) -> Option<Loaded> {
    let mut file = inside.file(&path)?;
    let mut out = Loaded { path, content: None, md5: None, size: 0, tables: None, script: None };
    let (mut content, mut md5) = (blake3::Hasher::new(), md5::Md5::new());
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if out.size == 0 {
                    out.script = buffer[..count].strip_prefix(b"#!").and_then(interpreter);
                }
                out.size += count as u64;
                content.update(&buffer[..count]);
                md5.update(&buffer[..count]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // It is there, and that is all that can be said.
            Err(_) => return Some(out),
        }
    }
    (out.content, out.md5, out.tables) = (Some(content.finalize().into()), Some(md5.finalize().into()), tables(file));
    Some(out)
}

/// `/usr/bin/env name` is the name's place in the usual search path.
fn interpreter(rest: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(rest.get(..rest.len().min(256))?.split(|b| *b == b'\n').next()?).ok()?;
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if !first.ends_with("/env") {
        return Some(first.to_owned());
    }
    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(|name| format!("/usr/bin/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn finds_what_ldd_finds() {
        let inside = Inside::open(Path::new("/")).unwrap();
        let mut linker = Linker::new(&inside);
        for program in ["/usr/bin/apt-get", "/bin/bash", "/usr/bin/tar"] {
            let Ok(output) = std::process::Command::new("ldd").arg(program).output() else { return };
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let expected: Vec<&str> =
                text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))).collect();
            let found = linker.closure(program, &[]);
            for path in &expected {
                let real = inside.resolve(&(*path).into()).unwrap();
                assert!(found.contains_key(&real), "{program}: {path}\n{:?}", found.keys());
            }
            assert_eq!(found.len(), expected.len() + 1, "{program}: {:?}\n{text}", found.keys());
        }
    }

    #[test]
    fn first_lines() {
        let table = [
            ("/bin/sh -e\nx", Some("/bin/sh")),
            (" /usr/bin/env python3\n", Some("/usr/bin/python3")),
            ("/usr/bin/env -S A=1 node --x\n", Some("/usr/bin/node")),
            ("\n", None),
        ];
        for (line, expected) in table {
            assert_eq!(interpreter(line.as_bytes()).as_deref(), expected, "{line}");
        }
    }
}
