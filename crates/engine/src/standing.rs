//! A host's standing tests: what must hold after whatever change, in `/etc/greenroom/tests.d` of its tree.
//!
//! ```text
//! 10-web          an executable file, or a link to one (a Nagios plugin): exit status 0 means that it holds
//! 20-shop.toml    [[test]] tables as in a change file
//! ```
//! They are read in the order of their names and run in the copies of a rehearsal like the tests given with it. Not read:
//! names that begin with a dot, that end as editors and dpkg name their leftovers, and `README…`. Everything else that is no
//! test is named in a note: a test that silently does not run is worse than none. Nothing here runs anything.

use std::os::fd::AsFd as _;
use std::path::Path;

use greenroom_core::TreePath;
use greenroom_core::change::{Test, parse_tests};
use greenroom_core::path::Shown;
use greenroom_host::scan::Tree;
use greenroom_host::sys::fs::{status_in_root, types};

use crate::EngineError;

/// Where a host has them.
pub const DIR: &str = "/etc/greenroom/tests.d";

/// A list of tests is never larger, in bytes.
const LARGEST: u64 = 1 << 20;

/// Endings of files that editors and package managers leave.
const LEFTOVERS: &[&str] =
    &["~", ".bak", ".orig", ".rej", ".swp", ".dpkg-old", ".dpkg-new", ".dpkg-dist", ".dpkg-tmp", ".ucf-dist"];

/// The standing tests of one host.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// In the order in which they run.
    pub tests: Vec<Test>,
    /// What lies there and is no test, in sentences.
    pub notes: Vec<String>,
}

/// Reads the standing tests of the tree at `root`; a host may have none.
///
/// # Errors
/// The tree cannot be read, or a list of tests has mistakes: all of them are named.
pub fn read(root: &Path) -> Result<Standing, EngineError> {
    let mut tree = Tree::open(root)?;
    let mut names = tree.names(&DIR.into())?;
    names.sort();
    let mut out = Standing::default();
    let mut problems = Vec::new();
    for name in names.iter().filter(|name| !is_leftover(name)) {
        let Some(text) = std::str::from_utf8(name).ok().filter(|text| is_plain(text)) else {
            out.notes.push(format!("{DIR}/{} is not run: use letters, digits, . _ + -", Shown(name)));
            continue;
        };
        let path = format!("{DIR}/{text}");
        if text.ends_with(".toml") {
            match list(&mut tree, &path)? {
                Ok(tests) => out.tests.extend(tests),
                Err(mut found) => problems.append(&mut found),
            }
            continue;
        }
        match runs(&tree, &path) {
            Ok(()) => out.tests.push(Test { name: Some(format!("tests.d/{text}")), run: path, timeout: None }),
            Err(why) => out.notes.push(format!("{path} is not run: {why}")),
        }
    }
    if problems.is_empty() {
        return Ok(out);
    }
    let shown = problems.join("\n");
    Err(EngineError::usage(
        format!("the standing tests of this host cannot be read\n{shown}"),
        "mend them, or leave them out with --no-standing-tests",
    ))
}

/// The tests of one file, or what is wrong with it.
fn list(tree: &mut Tree, path: &str) -> Result<Result<Vec<Test>, Vec<String>>, EngineError> {
    let at = TreePath::from(path);
    let Some(content) = tree.content(&at, LARGEST)? else {
        return Ok(Err(vec![format!("{path}: it is not a regular file")]));
    };
    let Ok(text) = String::from_utf8(content) else {
        return Ok(Err(vec![format!("{path}: it is not UTF-8")]));
    };
    let render = |problems: Vec<greenroom_core::change::Problem>| problems.iter().map(|p| p.render()).collect();
    Ok(parse_tests(&text, path).map_err(render))
}

/// Whether this is something that can be run, as the tree itself sees it.
fn runs(tree: &Tree, path: &str) -> Result<(), &'static str> {
    let Ok(status) = status_in_root(tree.fd().as_fd(), path.as_bytes()) else {
        return Err("what it leads to is not there");
    };
    if status.file_type() != types::FILE {
        return Err("it is no file");
    }
    if status.mode & 0o111 == 0 {
        return Err("it is not executable, and its name does not end in .toml");
    }
    Ok(())
}

fn is_leftover(name: &[u8]) -> bool {
    name.starts_with(b".") || name.starts_with(b"README") || LEFTOVERS.iter().any(|end| name.ends_with(end.as_bytes()))
}

/// Whether a shell takes the name as it is.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn host(files: &[(&str, u32, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("etc/greenroom/tests.d");
        fs::create_dir_all(&dir).unwrap();
        for (name, mode, text) in files {
            fs::write(dir.join(name), text).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(*mode)).unwrap();
        }
        root
    }

    fn runs(standing: &Standing) -> Vec<(&str, &str)> {
        standing.tests.iter().map(|t| (t.name.as_deref().unwrap_or(""), t.run.as_str())).collect()
    }

    #[test]
    fn a_host_may_have_none() {
        let root = tempfile::tempdir().unwrap();
        let standing = read(root.path()).unwrap();
        assert!(standing.tests.is_empty() && standing.notes.is_empty(), "{standing:?}");
    }

    #[test]
    fn programs_and_lists_in_the_order_of_their_names() {
        let list = "[[test]]\nname = 'front page'\nrun = 'curl x'\ntimeout = '5s'\n[[test]]\nrun = 'true'\n";
        let root = host(&[
            ("20-b", 0o755, "#!/bin/sh\n"),
            ("10-a.toml", 0o644, list),
            (".hidden", 0o755, ""),
            ("20-b~", 0o755, ""),
            ("x.dpkg-old", 0o755, ""),
            ("README.txt", 0o644, ""),
            ("forgotten", 0o644, ""),
            ("a b", 0o755, ""),
        ]);
        let dir = root.path().join("etc/greenroom/tests.d");
        fs::create_dir_all(root.path().join("usr/lib/nagios/plugins")).unwrap();
        let plugin = root.path().join("usr/lib/nagios/plugins/check_disk");
        fs::write(&plugin, "").unwrap();
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
        // Both are links as the host sees them: absolute, and one that leads nowhere in its tree but somewhere in ours.
        symlink("/usr/lib/nagios/plugins/check_disk", dir.join("30-disk")).unwrap();
        symlink(root.path().join("usr/lib/nagios/plugins/check_disk"), dir.join("40-outside")).unwrap();
        fs::create_dir(dir.join("sub")).unwrap();

        let standing = read(root.path()).unwrap();
        assert_eq!(
            runs(&standing),
            [
                ("front page", "curl x"),
                ("", "true"),
                ("tests.d/20-b", "/etc/greenroom/tests.d/20-b"),
                ("tests.d/30-disk", "/etc/greenroom/tests.d/30-disk"),
            ]
        );
        let notes = standing.notes.join("\n");
        assert_eq!(standing.notes.len(), 4, "{notes}");
        for word in ["a b", "40-outside", "forgotten", "sub"] {
            assert!(notes.contains(word), "{word}: {notes}");
        }
    }

    #[test]
    fn every_mistake_in_every_list_is_named_and_nothing_runs() {
        let root = host(&[("a.toml", 0o644, "[[test]]\nrn = 'x'\n"), ("b.toml", 0o644, "[[test]\n"), ("c", 0o755, "")]);
        symlink("/etc/shadow", root.path().join("etc/greenroom/tests.d/d.toml")).unwrap();
        let error = read(root.path()).unwrap_err().to_string();
        for word in ["a.toml:2:1", "did you mean `run`", "b.toml:1", "d.toml: it is not a regular file"] {
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
