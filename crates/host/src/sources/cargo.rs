//! cargo: <https://doc.rust-lang.org/cargo/reference/config.html> and <https://doc.rust-lang.org/cargo/reference/source-replacement.html>.

use toml::de::{DeTable, DeValue};

use super::Found;

/// cargo takes the name without extension when both are there.
const FILES: [&str; 2] = ["/root/.cargo/config", "/root/.cargo/config.toml"];
const PROGRAMS: [&str; 3] = ["/root/.cargo/bin/cargo", "/usr/bin/cargo", "/usr/local/bin/cargo"];
const DEFAULTS: [&str; 3] = ["index.crates.io", "static.crates.io", "crates.io"];
/// Where the index is with `protocol = "git"`.
const GIT_INDEX: &str = "github.com";

/// Adds what cargo would use.
pub(super) fn find(found: &mut Found<'_>) {
    let mut replaced = false;
    let mut via = None;
    for file in FILES {
        let Some(text) = found.read(file) else { continue };
        match DeTable::parse(&text) {
            Ok(table) => {
                let config = Config { file, text: &text, root: table.get_ref() };
                (replaced, via) = config.find(found);
            }
            Err(e) => {
                let line = e.span().map_or(1, |s| line_of(&text, s.start));
                found.problem(&format!("{file}:{line}"), e.message());
            }
        }
        break;
    }
    if let Some(program) = found.present(&PROGRAMS).filter(|_| !replaced) {
        for host in DEFAULTS {
            found.add(host.into(), 443, &format!("default of cargo ({program})"), via.clone());
        }
    }
}

struct Config<'a> {
    file: &'a str,
    text: &'a str,
    root: &'a DeTable<'a>,
}

impl Config<'_> {
    /// Adds all registries; gives whether crates.io is replaced, and the proxy.
    fn find(&self, found: &mut Found<'_>) -> (bool, Option<super::ProxyAddress>) {
        let proxy = self.root.get("http").and_then(|t| self.string(t.get_ref(), "proxy"));
        let via = proxy.filter(|(text, _)| !text.is_empty()).and_then(|(text, why)| found.proxy(text, &why));
        let mut replaced = false;
        for (name, source) in self.tables("source") {
            replaced |= name == "crates-io" && self.string(source, "replace-with").is_some();
            for key in ["registry", "git"] {
                // That of crates-io itself says only what is replaced.
                if name != "crates-io"
                    && let Some((url, why)) = self.string(source, key)
                {
                    add(found, url, &why, via.as_ref());
                }
            }
        }
        for (name, registry) in self.tables("registries") {
            if let Some((url, why)) = self.string(registry, "index") {
                add(found, url, &why, via.as_ref());
            }
            if name == "crates-io"
                && let Some(("git", why)) = self.string(registry, "protocol")
            {
                found.add(GIT_INDEX.into(), 443, &why, via.clone());
            }
        }
        (replaced, via)
    }

    /// The tables below a table.
    fn tables(&self, name: &str) -> impl Iterator<Item = (&str, &DeValue<'_>)> {
        let table = self.root.get(name).and_then(|t| t.get_ref().as_table());
        table.into_iter().flat_map(|t| t.iter()).map(|(k, v)| (k.get_ref().as_ref(), v.get_ref()))
    }

    /// A string in a table, and where it is.
    fn string<'t>(&self, table: &'t DeValue<'_>, key: &str) -> Option<(&'t str, String)> {
        let value = table.get(key)?;
        let line = line_of(self.text, value.span().start);
        Some((value.get_ref().as_str()?, format!("{}:{line}", self.file)))
    }
}

fn add(found: &mut Found<'_>, url: &str, why: &str, via: Option<&super::ProxyAddress>) {
    let url = url.strip_prefix("sparse+").or_else(|| url.strip_prefix("registry+")).unwrap_or(url);
    if !url.starts_with("file:") {
        found.add_url(url, why, via);
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}
