//! Which value a kernel parameter gets at boot, and from which file: sysctl.d(5) and sysctl.conf(5).

use std::collections::BTreeMap;

use globset::GlobMatcher;

use crate::TreePath;
use crate::effect::{Side, Sources};
use crate::policy::glob;

/// By descending rank: a file hides one of the same name further down. `/run/sysctl.d` does not outlive a boot.
const DIRS: &[&str] = &["/etc/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

/// What the files after the change set, in the order in which they are read.
pub struct Settings(Vec<Line>);

struct Line {
    /// With slashes between the parts, so that a name with dots (`eth0.100`) stays one part.
    pattern: String,
    /// `None`: this key is left out of what a pattern sets (`-net.ipv4.conf.all.rp_filter`).
    value: Option<String>,
    file: String,
    /// Where the pattern is one for several keys.
    several: Option<GlobMatcher>,
}

impl Settings {
    /// Reads them. `/etc/sysctl.conf` counts where something reads it at boot: systemd-sysctl(8) does not, unless a link in
    /// `/etc/sysctl.d` leads there.
    #[must_use]
    pub fn read(sources: &dyn Sources) -> Self {
        let mut files: BTreeMap<Vec<u8>, TreePath> = BTreeMap::new();
        for dir in DIRS.iter().map(|dir| TreePath::from(*dir)) {
            for name in sources.names(&dir, Side::After).into_iter().filter(|name| name.ends_with(b".conf")) {
                files.entry(name.clone()).or_insert_with(|| dir.join(&name));
            }
        }
        let by_systemd = ["/usr/lib/systemd", "/lib/systemd"]
            .iter()
            .any(|dir| sources.names(&TreePath::from(*dir), Side::After).iter().any(|name| name == b"systemd-sysctl"));
        let last = (!by_systemd).then(|| TreePath::from("/etc/sysctl.conf"));
        let mut lines = Vec::new();
        for path in files.into_values().chain(last) {
            let text = sources.content(&path, Side::After).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            lines.extend(text.lines().filter_map(|line| parse(line, &path)));
        }
        Self(lines)
    }

    /// The value that `key` gets, and the file that says so. The last line wins; one that names the key wins over patterns.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<(String, String)> {
        let key = slashed(key);
        let named = self.0.iter().rev().find(|line| line.pattern == key);
        let matches = |line: &&Line| line.several.as_ref().is_some_and(|g| g.is_match(&key));
        let line = named.or_else(|| self.0.iter().rev().find(matches))?;
        Some((line.value.clone()?, line.file.clone()))
    }
}

fn parse(line: &str, file: &TreePath) -> Option<Line> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return None;
    }
    let set = |key: &str, value: Option<String>| {
        let pattern = slashed(key.trim());
        let several =
            pattern.contains(['*', '?', '[']).then(|| glob(&pattern).ok().map(|g| g.compile_matcher())).flatten();
        Line { pattern, value, file: file.to_string(), several }
    };
    match line.split_once('=') {
        Some((key, value)) => {
            // A minus in front: a failure to set it is no error.
            let key = key.trim().trim_start_matches('-');
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            Some(set(key, Some(value)))
        }
        None => line.strip_prefix('-').map(|key| set(key, None)),
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

/// Whether a change of `key` to `to` follows from another one in `changed` (key → new value): setting a parameter for `all`
/// interfaces sets it for each, and forwarding switches others with it (ip-sysctl.rst).
#[must_use]
pub fn follows(key: &str, to: &str, changed: &BTreeMap<&str, &str>) -> bool {
    let also = |other: &str| changed.get(other).is_some_and(|value| *value == to);
    for family in ["net.ipv4", "net.ipv6"] {
        let conf = format!("{family}.conf.");
        let Some((interface, name)) = key.strip_prefix(&conf).and_then(|rest| rest.rsplit_once('.')) else { continue };
        if interface != "all" && also(&format!("{conf}all.{name}")) {
            return true;
        }
        let forwards = name == "forwarding" && family == "net.ipv4" && also("net.ipv4.ip_forward");
        let redirects = name == "accept_redirects" && changed.contains_key("net.ipv4.ip_forward");
        if forwards || redirects {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_another() {
        let changed = BTreeMap::from([("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.disable_ipv6", "1")]);
        let table = [
            ("net.ipv4.ip_forward", "1", false),
            ("net.ipv4.conf.all.forwarding", "1", true),
            ("net.ipv4.conf.lo.forwarding", "1", true),
            ("net.ipv4.conf.lo.forwarding", "0", false),
            ("net.ipv4.conf.all.accept_redirects", "0", true),
            ("net.ipv6.conf.all.disable_ipv6", "1", false),
            ("net.ipv6.conf.lo.disable_ipv6", "1", true),
            ("net.ipv6.conf.lo.forwarding", "1", false),
            ("net.core.somaxconn", "1", false),
        ];
        for (key, to, expected) in table {
            assert_eq!(follows(key, to, &changed), expected, "{key}");
        }
    }
}
