//! Which value a kernel parameter gets at boot, and from which file: sysctl.d(5) and sysctl.conf(5).

use std::collections::BTreeMap;

use crate::TreePath;
use crate::effect::{Side, Sources};
use crate::policy::glob;

/// By descending rank: a file hides one of the same name further down. `/run/sysctl.d` does not outlive a boot.
const DIRS: &[&str] = &["/etc/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

/// What the files after the change set, in the order in which they are read.
pub(super) struct Settings(Vec<Line>);

struct Line {
    /// With slashes between the parts, so that a name with dots (`eth0.100`) stays one part.
    pattern: String,
    /// `None`: this key is left out of what a pattern sets (`-net.ipv4.conf.all.rp_filter`).
    value: Option<String>,
    file: String,
}

impl Settings {
    pub(super) fn read(sources: &dyn Sources) -> Self {
        let mut files: BTreeMap<Vec<u8>, TreePath> = BTreeMap::new();
        for dir in DIRS.iter().map(|dir| TreePath::from(*dir)) {
            for name in sources.names(&dir, Side::After).into_iter().filter(|name| name.ends_with(b".conf")) {
                files.entry(name.clone()).or_insert_with(|| dir.join(&name));
            }
        }
        let mut lines = Vec::new();
        for path in files.into_values().chain([TreePath::from("/etc/sysctl.conf")]) {
            let text = sources.content(&path, Side::After).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            lines.extend(text.lines().filter_map(|line| parse(line, &path)));
        }
        Self(lines)
    }

    /// The value that `key` gets, and the file that says so. The last line wins; one that names the key wins over patterns.
    pub(super) fn of(&self, key: &str) -> Option<(String, String)> {
        let key = slashed(key);
        let named = self.0.iter().rev().find(|line| line.pattern == key);
        let matches = |line: &&Line| glob(&line.pattern).is_ok_and(|g| g.compile_matcher().is_match(&key));
        let line =
            named.or_else(|| self.0.iter().rev().filter(|l| l.pattern.contains(['*', '?', '['])).find(matches))?;
        Some((line.value.clone()?, line.file.clone()))
    }
}

fn parse(line: &str, file: &TreePath) -> Option<Line> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return None;
    }
    let file = file.to_string();
    match line.split_once('=') {
        Some((key, value)) => {
            // A minus in front: a failure to set it is no error.
            let key = key.trim().trim_start_matches('-');
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            Some(Line { pattern: slashed(key.trim()), value: Some(value), file })
        }
        None => line.strip_prefix('-').map(|key| Line { pattern: slashed(key.trim()), value: None, file }),
    }
}

/// `net.ipv4.conf.eth0/100.rp_filter` and `net/ipv4/conf/eth0.100/rp_filter` are one: the first separator decides.
fn slashed(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'.' => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_owned(),
    }
}
