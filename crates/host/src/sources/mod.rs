//! Which package sources a host is configured to use: apt, pip, npm and cargo, as their files below the root say.
//!
//! What it is not: a resolver (no name is looked up), and no judge of what is reachable. It reads files and nothing else: not
//! the environment, no command's output, no redirect that a mirror may answer with. Only configured names are found.
//!
//! ```text
//! root ─► tree (bounded reads that cannot leave the root)
//!           ├─ apt_conf ─► proxies ─┐
//!           ├─ apt (one-line, deb822, mirror lists) ─┤
//!           ├─ pip, npm (ini) ──────┤─► Found ─► SourcesFound, sorted, each with the file and line that asks for it
//!           └─ cargo (TOML) ────────┘
//! ```
//!
//! A tool's defaults count only when that tool is in the tree and its files do not replace them. User names and passwords in
//! addresses are dropped, also from what is reported.

mod apt;
mod apt_conf;
mod cargo;
mod ini;
mod npm;
mod pip;
#[cfg(test)]
mod tests;
mod tree;
mod uri;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use tree::Tree;
use uri::Uri;

/// An HTTP proxy that the host uses itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ProxyAddress {
    /// Name in lower case, or address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// One place that packages come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceDestination {
    /// Name in lower case, or address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `/path/in/the/root:line` that asks for it, or the tool that has it as a default.
    pub why: String,
    /// The proxy through which the host reaches it. The proxy is not a destination of its own: whoever could talk to it directly could
    /// reach everything that it can.
    pub via: Option<ProxyAddress>,
}

/// The proxies in apt's configuration. In a copy they have to give way to the copy's own proxy, and so have the entries for single hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AptProxy {
    /// `Acquire::http::Proxy`.
    pub http: Option<ProxyAddress>,
    /// `Acquire::https::Proxy`; without it, apt takes the one of http.
    pub https: Option<ProxyAddress>,
    /// Hosts with an entry of their own, `None` for `DIRECT`; of two for one host, the one of https.
    pub per_host: BTreeMap<String, Option<ProxyAddress>>,
    /// Where each of them is set, `/path/in/the/root:line`, sorted.
    pub why: Vec<String>,
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourcesFound {
    /// Sorted by host and port, each once.
    pub destinations: Vec<SourceDestination>,
    /// apt's proxies, when it has any.
    pub apt_proxy: Option<AptProxy>,
    /// What could not be read or cannot be used in a copy, in a sentence each.
    pub problems: Vec<String>,
}

/// Reads the configuration of all tools below `root`.
#[must_use]
pub fn package_sources(root: &Path) -> SourcesFound {
    let tree = match Tree::open(root) {
        Ok(tree) => tree,
        Err(e) => {
            let problem = format!("{} cannot be read: {e}", root.display());
            return SourcesFound { problems: vec![problem], ..SourcesFound::default() };
        }
    };
    let mut found = Found { tree: &tree, destinations: BTreeMap::new(), problems: Vec::new() };
    let apt_proxy = apt::find(&mut found);
    pip::find(&mut found);
    npm::find(&mut found);
    cargo::find(&mut found);
    SourcesFound { destinations: found.destinations.into_values().collect(), apt_proxy, problems: found.problems }
}

/// What is being gathered.
struct Found<'t> {
    tree: &'t Tree,
    destinations: BTreeMap<(String, u16), SourceDestination>,
    problems: Vec<String>,
}

impl Found<'_> {
    /// A file's text; what is wrong with it becomes a problem.
    fn read(&mut self, path: &str) -> Option<String> {
        self.tree.read(path).unwrap_or_else(|problem| {
            self.problems.push(problem);
            None
        })
    }

    fn problem(&mut self, why: &str, what: impl AsRef<str>) {
        self.problems.push(format!("{why}: {}", what.as_ref()));
    }

    /// The first to ask for a destination is remembered as the reason.
    fn add(&mut self, host: String, port: u16, why: &str, via: Option<ProxyAddress>) {
        let one = SourceDestination { host: host.clone(), port, why: why.to_owned(), via };
        self.destinations.entry((host, port)).or_insert(one);
    }

    /// Adds what an `http` or `https` address names; anything else becomes a problem.
    fn add_url(&mut self, url: &str, why: &str, via: Option<&ProxyAddress>) -> Option<Uri> {
        match Uri::parse(url) {
            Ok(uri) => match uri.web_port() {
                Some(port) => {
                    self.add(uri.host.clone(), port, why, via.cloned());
                    Some(uri)
                }
                None => {
                    self.problem(
                        why,
                        format!("{} cannot be reached from a copy: only http and https can", uri::shown(url)),
                    );
                    None
                }
            },
            Err(e) => {
                self.problem(why, e);
                None
            }
        }
    }

    /// Reads the address of a proxy. One that cannot be used becomes a problem.
    fn proxy(&mut self, text: &str, why: &str) -> Option<ProxyAddress> {
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let problem = match Uri::parse(&full) {
            Ok(uri) if uri.scheme != "http" => {
                format!("a proxy of kind {} is not supported in a copy", uri.scheme)
            }
            Ok(uri) if uri.credentials => "a proxy that asks for a password is not supported in a copy".to_owned(),
            Ok(uri) => {
                return Some(ProxyAddress { port: uri.web_port().unwrap_or(80), host: uri.host });
            }
            Err(e) => e,
        };
        self.problem(why, problem);
        None
    }

    /// The first of `paths` that is in the tree.
    fn present(&self, paths: &[&'static str]) -> Option<&'static str> {
        paths.iter().copied().find(|p| self.tree.exists(p))
    }
}
