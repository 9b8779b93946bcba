//! Two systems, compared: random trees against an independent walk, and manifest files that are not what they should be.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufReader, Cursor, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use greenroom_core::parity::{FactKind, Record, Report};
use greenroom_core::policy::Policy;
use greenroom_core::{ContentHash, TreePath};
use greenroom_host::parity::{Look, Looked, ManifestError, Reader, Side, compare, look, write};
use greenroom_testkit::tree::{Tree, mutations_from_seed};
use tempfile::TempDir;

fn seen(root: &Path) -> Looked {
    let policy = Policy::new("", vec![], vec![]).unwrap();
    let at = "2026-01-01T00:00:00Z".to_owned();
    look(Look { root, policy: &policy, running: false, source: "test", at, program: "0", mounts: None }).unwrap()
}

fn side(root: &Path) -> Side {
    Side::Tree(Box::new(seen(root)))
}

fn manifest(root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    write(seen(root), &mut out).unwrap();
    out
}

fn reader(bytes: Vec<u8>) -> Result<Reader, ManifestError> {
    Reader::open(Box::new(BufReader::new(Cursor::new(bytes))))
}

fn saved(bytes: Vec<u8>) -> Side {
    Side::Manifest(Box::new(reader(bytes).unwrap()), "saved".to_owned())
}

/// All that counts of a path, as std and getxattr(2) say it.
type Look2 = (u32, u32, u32, Vec<u8>, u64, BTreeMap<Vec<u8>, Vec<u8>>);

fn walk(root: &Path) -> BTreeMap<TreePath, Look2> {
    fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut names = vec![0; 4096];
        let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
        let mut out = BTreeMap::new();
        for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(length);
            out.insert(name.to_vec(), value);
        }
        out
    }
    fn go(at: &Path, path: &TreePath, out: &mut BTreeMap<TreePath, Look2>) {
        let meta = at.symlink_metadata().unwrap();
        let content = if meta.is_file() {
            fs::read(at).unwrap()
        } else if meta.is_symlink() {
            fs::read_link(at).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            Vec::new()
        };
        out.insert(path.clone(), (meta.mode(), meta.uid(), meta.gid(), content, meta.rdev(), xattrs(at)));
        if meta.is_dir() {
            for entry in fs::read_dir(at).unwrap() {
                let entry = entry.unwrap();
                go(&entry.path(), &path.join(entry.file_name().as_bytes()), out);
            }
        }
    }
    let mut out = BTreeMap::new();
    go(root, &TreePath::root(), &mut out);
    out
}

/// The paths that differ; of a tree that one side has alone the top.
fn expected(a: &Path, b: &Path) -> BTreeSet<String> {
    let (a, b) = (walk(a), walk(b));
    let alone = |path: &TreePath| (a.contains_key(path) != b.contains_key(path)).then(|| a.contains_key(path));
    let all: BTreeSet<&TreePath> = a.keys().chain(b.keys()).collect();
    let differs = all.into_iter().filter(|path| a.get(path) != b.get(path));
    let top = |path: &&TreePath| {
        let mut above = path.parent();
        while let Some(dir) = above {
            if alone(path).is_some() && alone(&dir) == alone(path) {
                return false;
            }
            above = dir.parent();
        }
        true
    };
    differs.filter(top).map(ToString::to_string).collect()
}

fn items(report: &Report) -> BTreeSet<String> {
    assert!(report.gaps.is_empty() && report.set_aside == 0, "{report:?}");
    report.differences.iter().map(|difference| difference.item.clone()).collect()
}

#[test]
fn a_random_tree_equals_itself_and_differs_exactly_where_it_was_changed() {
    greenroom_testkit::need_root!();
    let mut found = 0;
    for seed in 0..40 {
        let dir = TempDir::new().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let tree = Tree::from_seed(seed);
        for root in [&a, &b] {
            fs::create_dir(root).unwrap();
            tree.write(root).unwrap();
        }
        let kept = manifest(&a);
        for report in [compare(side(&a), side(&a)), compare(side(&a), side(&b)), compare(side(&b), saved(kept.clone()))]
        {
            assert!(items(&report.unwrap()).is_empty(), "seed {seed}");
        }
        for mutation in mutations_from_seed(seed, 8) {
            mutation.apply(&b).unwrap();
        }
        let wanted = expected(&a, &b);
        found += wanted.len();
        assert_eq!(items(&compare(side(&a), side(&b)).unwrap()), wanted, "seed {seed}");
        assert_eq!(items(&compare(saved(kept), side(&b)).unwrap()), wanted, "seed {seed}, from a manifest");
        assert_eq!(
            items(&compare(saved(manifest(&a)), saved(manifest(&b))).unwrap()),
            wanted,
            "seed {seed}, manifests"
        );
    }
    assert!(found > 100, "{found} differences are no test");
}

#[test]
fn a_manifest_reads_back_as_it_was_written() {
    greenroom_testkit::need_root!();
    let dir = TempDir::new().unwrap();
    Tree::from_seed(7).write(dir.path()).unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/hostname"), "web1\n").unwrap();
    fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    let bytes = manifest(dir.path());
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let records: Vec<Record> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    let mut read = reader(bytes.clone()).unwrap();
    assert_eq!(read.facts().header.name, "web1");
    assert!(read.facts().facts.contains_key(&(FactKind::User, "root".to_owned())));
    let mut again: Vec<Record> = read.facts().records().collect();
    while let Some(state) = read.next_path().unwrap() {
        again.push(Record::Path(Box::new(state)));
    }
    assert_eq!(again, records[..records.len() - 1]);
    assert_eq!(again.iter().filter(|record| matches!(record, Record::Path(_))).count(), walk(dir.path()).len());
}

/// Reads it all; the error it ends with.
fn fault(bytes: Vec<u8>) -> String {
    let read = || -> Result<(), ManifestError> {
        let mut reader = reader(bytes)?;
        while reader.next_path()?.is_some() {}
        Ok(())
    };
    read().map_or_else(|error| error.to_string(), |()| String::new())
}

/// Replaces the end so that it fits what is before it.
fn sealed(body: &str) -> Vec<u8> {
    let records = body.lines().count();
    let hash = ContentHash::of(body.as_bytes());
    format!("{body}{{\"end\":{{\"records\":{records},\"hash\":\"{hash}\"}}}}\n").into_bytes()
}

#[test]
fn a_manifest_that_is_not_what_it_should_be_is_not_compared() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("etc/x")).unwrap();
    fs::write(dir.path().join("etc/a"), "1\n").unwrap();
    let good = String::from_utf8(manifest(dir.path())).unwrap();
    assert_eq!(fault(good.clone().into_bytes()), "");
    let body: String =
        good.lines().filter(|line| !line.starts_with("{\"end\"")).map(|line| format!("{line}\n")).collect();
    assert_eq!(fault(sealed(&body)), "", "the test's own end");
    let lines: Vec<&str> = body.lines().collect();
    let path = lines.iter().position(|line| line.contains("\"path\":\"/etc/a\"")).unwrap();
    let with = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut own: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        edit(&mut own);
        sealed(&own.iter().map(|line| format!("{line}\n")).collect::<String>())
    };
    let fact = r#"{"fact":{"kind":"user","item":"x","value":"1"}}"#;
    let package = r#"{"package":{"name":"x:all","version":"1"}}"#;
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "it is no manifest"),
        ("a text", b"hello\n".to_vec(), "it is no manifest"),
        ("a program", fs::read("/bin/sh").unwrap(), "it is no manifest"),
        ("other JSON", b"{\"a\":1}\n".to_vec(), "it is no manifest"),
        (
            "a later version",
            good.replacen("\"greenroom_manifest\":1", "\"greenroom_manifest\":2", 1).into_bytes(),
            "version 2",
        ),
        ("cut in a line", good.as_bytes()[..good.len() / 2].to_vec(), "it was cut off"),
        ("without its end", body.clone().into_bytes(), "it was cut off"),
        ("a changed byte", good.replacen("\"size\":2", "\"size\":3", 1).into_bytes(), "it is damaged"),
        ("a missing line", good.replacen(&format!("{}\n", lines[path]), "", 1).into_bytes(), "it is damaged"),
        ("a line after the end", format!("{good}{fact}\n").into_bytes(), "something follows the end"),
        (
            "the same path twice",
            with(&|l| l.insert(path, l[path].clone())),
            "/etc/a is not in order, or is there twice",
        ),
        ("paths in another order", with(&|l| l.swap(path, path + 1)), "is not in order"),
        ("a path that leads out", with(&|l| l[path] = l[path].replace("/etc/a", "/etc/../a")), "is not in order"),
        ("a fact twice", with(&|l| l.splice(1..1, [fact.to_owned(), fact.to_owned()]).for_each(drop)), "said twice"),
        (
            "a package twice",
            with(&|l| l.splice(1..1, [package.to_owned(), package.to_owned()]).for_each(drop)),
            "there twice",
        ),
        ("a fact among paths", with(&|l| l.insert(path, fact.to_owned())), "a fact among the paths"),
        ("two headers", with(&|l| l.insert(1, l[0].clone())), "a second header"),
        ("a line of another kind", with(&|l| l.insert(1, "{\"x\":1}".to_owned())), "line 2: it is no record"),
        ("deep nesting", with(&|l| l.insert(1, "[".repeat(100_000))), "it is no record"),
        ("a long line", with(&|l| l.insert(1, "x".repeat(3 << 20))), "line 2: it is longer than any record"),
    ];
    for (name, bytes, wanted) in table {
        let found = fault(bytes);
        assert!(found.contains(wanted), "{name}: {found:?}");
    }
}

/// Facts without end.
struct Endless(u64, Vec<u8>);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.1.is_empty() {
            self.0 += 1;
            let value = "x".repeat(1 << 20);
            self.1 = format!("{{\"fact\":{{\"kind\":\"user\",\"item\":\"{}\",\"value\":\"{value}\"}}}}\n", self.0)
                .into_bytes();
        }
        let count = buffer.len().min(self.1.len());
        buffer[..count].copy_from_slice(&self.1[..count]);
        self.1.drain(..count);
        Ok(count)
    }
}

#[test]
fn facts_without_end_are_not_held() {
    let dir = TempDir::new().unwrap();
    let good = manifest(dir.path());
    let header: Vec<u8> = good.split_inclusive(|b| *b == b'\n').next().unwrap().to_vec();
    let file = BufReader::with_capacity(1 << 20, Cursor::new(header).chain(Endless(0, Vec::new())));
    let error = Reader::open(Box::new(file)).unwrap_err().to_string();
    assert!(error.contains("more than any system has"), "{error}");
}

#[test]
fn secrets_and_forged_names_do_not_come_through() {
    greenroom_testkit::need_root!();
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    // Path, content, mode of the file and of its directory: none of these shows its secret.
    let table: &[(&str, &str, u32, u32)] = &[
        ("etc/app/one.ini", "[db]\nphrase = hunter2\n", 0o600, 0o755),
        ("etc/deep/two.ini", "[db]\nphrase = hunter2\n", 0o644, 0o700),
        ("etc/open/three.json", "{\"db\": {\"password\": \"hunter2\"}}", 0o644, 0o755),
        ("etc/open/four.conf", "server {\n  requirepass hunter2;\n}\n", 0o644, 0o755),
        ("etc/open/five.env", "URL=postgres://app:hunter2@db/x\n", 0o644, 0o755),
        ("etc/open/six.pem", "-----BEGIN PRIVATE KEY-----\nhunter2\n", 0o644, 0o755),
        ("etc/open/seven.yaml", "users:\n- token: hunter2\n", 0o644, 0o755),
    ];
    for root in [&a, &b] {
        for (path, content, mode, dir_mode) in table {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let content = if root == &b { content.replace("hunter2", "hunter22") } else { (*content).to_owned() };
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(*dir_mode)).unwrap();
        }
    }
    let kept = manifest(&a);
    assert!(!String::from_utf8_lossy(&kept).contains("hunter2"), "a secret in a manifest");
    for report in [compare(side(&a), side(&b)).unwrap(), compare(saved(kept), side(&b)).unwrap()] {
        assert_eq!(report.differences.len(), table.len(), "{report:#?}");
        assert!(!serde_json::to_string(&report).unwrap().contains("hunter2"), "{report:#?}");
    }
    // A name that would be a line of its own.
    fs::write(a.join("etc/x\n  100 library libssl.so.3"), "").unwrap();
    let report = compare(side(&a), side(&b)).unwrap();
    assert!(report.differences.iter().any(|d| d.item == "/etc/x\\n  100 library libssl.so.3"));
    // What can't be compared is no reason to wait: a FIFO, a device.
    for root in [&a, &b] {
        let path = root.join("etc/fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    }
    assert_eq!(compare(side(&a), side(&b)).unwrap().differences.len(), table.len() + 1);
}
