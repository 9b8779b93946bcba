//! What dpkg was told not to unpack: `path-exclude` and `path-include` of dpkg.cfg(5). The last rule that fits a path counts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobBuilder, GlobMatcher};
use greenroom_core::TreePath;

use crate::scan::Tree;

/// No file of the configuration is larger.
const LARGEST: u64 = 1 << 20;

/// The rules of a tree's dpkg, in order: whether each excludes, and what.
#[derive(Debug, Default)]
pub struct Excluded(Vec<(bool, GlobMatcher)>);

impl Excluded {
    /// Reads them. What cannot be read excludes nothing.
    #[must_use]
    pub fn read(tree: &mut Tree) -> Self {
        let dir = TreePath::from("/etc/dpkg/dpkg.cfg.d");
        // run-parts(8): dpkg takes these names only, in this order, and its own file after them.
        let plain = |name: &[u8]| name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let names = tree.names(&dir).unwrap_or_default();
        let mut files: Vec<TreePath> = names.iter().filter(|name| plain(name)).map(|name| dir.join(name)).collect();
        files.push("/etc/dpkg/dpkg.cfg".into());
        let mut out = Self::default();
        for file in files {
            let text = tree.content(&file, LARGEST).ok().flatten().unwrap_or_default();
            out.add(&String::from_utf8_lossy(&text));
        }
        out
    }

    fn add(&mut self, text: &str) {
        for line in text.lines().map(|line| line.trim().trim_start_matches("--")) {
            let Some((key, pattern)) = line.split_once(['=', ' ', '\t']) else { continue };
            let excludes = match key.trim() {
                "path-exclude" => true,
                "path-include" => false,
                _ => continue,
            };
            // fnmatch(3) as dpkg calls it: `*` takes slashes too.
            let pattern = pattern.trim().trim_start_matches('=').trim().trim_matches('"');
            if let Ok(glob) = GlobBuilder::new(pattern).literal_separator(false).build() {
                self.0.push((excludes, glob.compile_matcher()));
            }
        }
    }

    /// Whether dpkg does not unpack this path.
    #[must_use]
    pub fn covers(&self, path: &TreePath) -> bool {
        let path = OsStr::from_bytes(path.as_bytes());
        self.0.iter().rev().find(|(_, glob)| glob.is_match(path)).is_some_and(|(excludes, _)| *excludes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_counts() {
        let mut rules = Excluded::default();
        rules.add("force-unsafe-io\npath-exclude=/usr/share/doc/*\n--path-include = /usr/share/doc/*/copyright\n# x\n");
        for (path, covered) in [
            ("/usr/share/doc/a/b/README", true),
            ("/usr/share/doc/a/copyright", false),
            ("/usr/share/docs", false),
            ("/etc/passwd", false),
        ] {
            assert_eq!(rules.covers(&path.into()), covered, "{path}");
        }
    }
}
