//! Where lab hosts get their packages: the machine's own plain Debian sources, or Debian's default mirror.
//!
//! Only sources that Debian itself publishes are taken over: an archive path that ends in `debian` or
//! `debian-security`, one of the three suites of the release, component `main`. Everything else on the machine
//! (a vendor's repository, a backport) would make lab hosts differ from one machine to the next.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// The release that lab hosts run: Debian 12, or what `GREENROOM_LAB_SUITE` says.
pub(crate) fn suite() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("GREENROOM_LAB_SUITE").unwrap_or_else(|_| "bookworm".to_owned()))
}

/// One archive and suite, as on one line of a `sources.list`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    /// `http` or `https`.
    pub(crate) scheme: String,
    /// Host, with the port where one is named.
    pub(crate) authority: String,
    /// The archive's path, with no slash at its end.
    pub(crate) path: String,
    /// Such as `bookworm-updates`.
    pub(crate) suite: String,
}

impl Source {
    fn parse(uri: &str, suite: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        if scheme != "http" && scheme != "https" {
            return None;
        }
        let (authority, path) = rest.split_once('/')?;
        let path = path.trim_end_matches('/');
        let last = path.rsplit('/').next()?;
        let release = self::suite();
        let wanted = match last {
            "debian" => suite == release || suite == format!("{release}-updates"),
            "debian-security" => suite == format!("{release}-security"),
            _ => false,
        };
        // A name and password in the address are the machine's secret.
        if !wanted || authority.contains('@') {
            return None;
        }
        Some(Self {
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: format!("/{path}"),
            suite: suite.to_owned(),
        })
    }

    /// The address of the archive, as the machine reaches it.
    pub(crate) fn uri(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path)
    }

    /// The host without its port.
    pub(crate) fn host(&self) -> &str {
        self.authority.split(':').next().unwrap_or(&self.authority)
    }

    /// The port that a lab host connects to; it always speaks plain http, to the relay.
    pub(crate) fn port(&self) -> u16 {
        self.authority.split_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80)
    }
}

/// The sources that the machine under `root` has, or Debian's defaults when it has no usable one.
pub(crate) fn of_machine(root: &Path) -> Vec<Source> {
    let mut found = BTreeSet::new();
    let mut files = vec![root.join("etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir(root.join("etc/apt/sources.list.d")) {
        files.extend(dir.flatten().map(|entry| entry.path()));
    }
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if file.extension().is_some_and(|ext| ext == "sources") {
            found.extend(parse_deb822(&text));
        } else if file.extension().is_some_and(|ext| ext == "list") {
            found.extend(parse_list(&text));
        }
    }
    if found.iter().any(|source: &Source| source.suite == suite()) {
        return found.into_iter().collect();
    }
    defaults()
}

/// Debian's own mirror, all three suites.
fn defaults() -> Vec<Source> {
    let main = "http://deb.debian.org/debian";
    let security = "http://deb.debian.org/debian-security";
    let release = suite();
    let updates = format!("{release}-updates");
    let fixes = format!("{release}-security");
    [(main, release), (main, &updates), (security, &fixes)]
        .into_iter()
        .filter_map(|(uri, suite)| Source::parse(uri, suite))
        .collect()
}

/// The one-line format: `deb [options] URI SUITE COMPONENT…`.
fn parse_list(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("");
        let Some(rest) = line.trim().strip_prefix("deb ") else { continue };
        let rest = match rest.trim().strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => rest,
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [uri, suite, components @ ..] = words.as_slice()
            && components.contains(&"main")
        {
            sources.extend(Source::parse(uri, suite));
        }
    }
    sources
}

/// The paragraph format of `*.sources` files, with continuation lines.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut paragraph: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(of_paragraph(&paragraph));
            paragraph.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = paragraph.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            paragraph.push((key.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn of_paragraph(paragraph: &[(String, String)]) -> Vec<Source> {
    let words = |key: &str| -> Vec<&str> {
        let found = paragraph.iter().find(|(name, _)| name == key);
        found.map_or_else(Vec::new, |(_, value)| value.split_whitespace().collect())
    };
    let off = words("enabled").iter().any(|word| *word == "no" || *word == "false");
    if off || !words("types").contains(&"deb") || !words("components").contains(&"main") {
        return Vec::new();
    }
    let suites = words("suites");
    let pairs = words("uris").into_iter().flat_map(|uri| suites.iter().map(move |suite| (uri, *suite)));
    pairs.filter_map(|(uri, suite)| Source::parse(uri, suite)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(sources: &[Source]) -> Vec<String> {
        sources.iter().map(|source| format!("{} {}", source.uri(), source.suite)).collect()
    }

    #[test]
    fn a_one_line_list_gives_only_debians_own_suites() {
        let list = "deb http://m.example/debian bookworm main contrib\n\
                    # deb http://m.example/debian bookworm-updates main\n\
                    deb-src http://m.example/debian bookworm-updates main\n\
                    deb [arch=amd64 signed-by=/k] https://m.example:8443/x/debian-security/ bookworm-security main\n\
                    deb https://vendor.example/linux/debian bookworm stable\n\
                    deb https://vendor.example/apt vendor main\n\
                    deb http://user:secret@m.example/debian bookworm main\n\
                    deb file:///srv/debian bookworm main\n";
        let found = parse_list(list);
        assert_eq!(
            uris(&found),
            ["http://m.example/debian bookworm", "https://m.example:8443/x/debian-security bookworm-security"]
        );
        assert_eq!((found[1].host(), found[1].port()), ("m.example", 8443));
        assert_eq!((found[0].host(), found[0].port()), ("m.example", 80));
    }

    #[test]
    fn a_paragraph_file_gives_every_pair_of_address_and_suite() {
        let text = "Types: deb deb-src\nURIs: http://m.example/debian\nSuites: bookworm\n bookworm-updates\n\
                    # a comment\nComponents: main\n\nTypes: deb\nURIs: http://m.example/debian\n\
                    Suites: bookworm\nComponents: main\nEnabled: no\n";
        assert_eq!(
            uris(&parse_deb822(text)),
            ["http://m.example/debian bookworm", "http://m.example/debian bookworm-updates"]
        );
    }

    #[test]
    fn a_machine_without_debian_sources_gets_debians_own() {
        let empty = tempfile::tempdir().unwrap();
        let found = uris(&of_machine(empty.path()));
        assert_eq!(found.len(), 3);
        assert!(found.contains(&"http://deb.debian.org/debian bookworm".to_owned()));
    }
}
