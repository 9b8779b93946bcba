//! apt's sources: sources.list(5) in both formats, apt-transport-mirror(1), and the proxies in front of them.

use super::apt_conf::{self, Settings};
use super::uri::{self, Uri};
use super::{AptProxy, Found, ProxyAddress};

const LIST: &str = "/etc/apt/sources.list";
const PARTS: &str = "/etc/apt/sources.list.d";

/// Adds what apt would use, and gives its proxies.
pub(super) fn find(found: &mut Found<'_>) -> Option<AptProxy> {
    let settings = apt_conf::read(found);
    let proxy = proxies(found, &settings);
    let names = found.tree.list(PARTS).unwrap_or_else(|problem| {
        found.problems.push(problem);
        Vec::new()
    });
    let mut sources: Vec<(String, String)> = Vec::new();
    if let Some(text) = found.read(LIST) {
        one_line(&text, LIST, &mut sources);
    }
    for name in names.iter().filter(|n| n.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')))
    {
        let file = format!("{PARTS}/{name}");
        let format = match name.rsplit_once('.') {
            Some((_, "list")) => one_line,
            Some((_, "sources")) => deb822,
            _ => continue,
        };
        if let Some(text) = found.read(&file) {
            format(&text, &file, &mut sources);
        }
    }
    for (url, why) in sources {
        add(found, proxy.as_ref(), &url, &why, false);
    }
    proxy
}

/// `deb [option=value …] uri suite component…`
fn one_line(text: &str, file: &str, sources: &mut Vec<(String, String)>) {
    for (index, line) in text.lines().enumerate() {
        let line = uncommented(line).trim();
        let Some((kind, rest)) = line.split_once(char::is_whitespace) else { continue };
        if kind != "deb" && kind != "deb-src" {
            continue;
        }
        let rest = rest.trim_start();
        let rest = rest.strip_prefix('[').map_or(rest, |r| r.split_once(']').map_or("", |(_, r)| r));
        if let Some(url) = rest.split_whitespace().next() {
            sources.push((url.trim_matches('"').to_owned(), format!("{file}:{}", index + 1)));
        }
    }
}

/// The line up to a `#` that is not in brackets (a name of a CD may have one).
fn uncommented(line: &str) -> &str {
    let mut depth = 0_i32;
    for (at, c) in line.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            '#' if depth <= 0 => return &line[..at],
            _ => {}
        }
    }
    line
}

/// Stanzas of fields, as in `Types: deb` / `URIs: …` / `Enabled: no`.
fn deb822(text: &str, file: &str, sources: &mut Vec<(String, String)>) {
    let mut stanza = Stanza::default();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            std::mem::take(&mut stanza).end(sources);
            continue;
        }
        let value = if line.starts_with([' ', '\t']) {
            line
        } else {
            let Some((name, value)) = line.split_once(':') else { continue };
            stanza.field = name.trim().to_ascii_lowercase();
            value
        };
        let why = format!("{file}:{}", index + 1);
        let words = value.split_whitespace();
        match stanza.field.as_str() {
            "uris" => stanza.urls.extend(words.map(|w| (w.to_owned(), why.clone()))),
            "enabled" => stanza.disabled = is_no(value.trim()),
            _ => {}
        }
    }
    stanza.end(sources);
}

#[derive(Default)]
struct Stanza {
    /// The field that a continuation line belongs to.
    field: String,
    urls: Vec<(String, String)>,
    disabled: bool,
}

impl Stanza {
    fn end(self, sources: &mut Vec<(String, String)>) {
        if !self.disabled {
            sources.extend(self.urls);
        }
    }
}

/// What apt's `StringToBool` takes for no.
fn is_no(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "no" | "false" | "without" | "off" | "disable" | "0")
}

/// Adds one source. `listed`: it comes from a mirror list, where another list is not looked into.
fn add(found: &mut Found<'_>, proxy: Option<&AptProxy>, url: &str, why: &str, listed: bool) {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "http" | "https" => web(found, proxy, url, why),
        "file" | "copy" | "cdrom" => {
            found.problem(why, format!("{scheme}: is a source on the host itself and needs no network"))
        }
        "mirror" | "mirror+http" | "mirror+https" => {
            let list = if scheme == "mirror+https" { "https" } else { "http" };
            web(found, proxy, &format!("{list}:{rest}"), why);
            found.problem(why, "the mirrors on this list are known only when it is fetched; allow them by name");
        }
        "mirror+file" if !listed => {
            // mirror+file:/path and mirror+file:///path are the same.
            let path = format!("/{}", rest.trim_start_matches('/'));
            match found.read(&path) {
                Some(text) => mirrors(found, proxy, &text, &path),
                None => found.problem(why, format!("the mirror list {path} could not be read")),
            }
        }
        _ => found.problem(why, format!("{} cannot be reached from a copy: only http and https can", uri::shown(url))),
    }
}

/// A mirror list: an address and, behind a tab, what it is good for, on each line.
fn mirrors(found: &mut Found<'_>, proxy: Option<&AptProxy>, text: &str, file: &str) {
    for (index, line) in text.lines().enumerate() {
        if let Some(url) = line.split_whitespace().next().filter(|w| !w.starts_with('#')) {
            add(found, proxy, url, &format!("{file}:{}", index + 1), true);
        }
    }
}

fn web(found: &mut Found<'_>, proxy: Option<&AptProxy>, url: &str, why: &str) {
    let via = Uri::parse(url).ok().and_then(|uri| proxy.and_then(|p| p.in_front_of(&uri)).cloned());
    found.add_url(url, why, via.as_ref());
}

impl AptProxy {
    /// The proxy that apt would use for this address.
    fn in_front_of(&self, uri: &Uri) -> Option<&ProxyAddress> {
        match self.per_host.get(&uri.host) {
            Some(own) => own.as_ref(),
            None if uri.scheme == "https" => self.https.as_ref(),
            None => self.http.as_ref(),
        }
    }
}

fn proxies(found: &mut Found<'_>, settings: &Settings) -> Option<AptProxy> {
    for method in ["http", "https"] {
        for name in ["proxy-auto-detect", "proxyautodetect"] {
            if let Some(value) = settings.get(&format!("acquire::{method}::{name}")) {
                found.problem(&value.why, "a program chooses the proxy; what it chooses is not known here");
            }
        }
    }
    let mut proxy = AptProxy::default();
    let mut https_set = false;
    // http first: apt's https method takes what is set for http where nothing is set for https.
    for method in ["http", "https"] {
        let general = format!("acquire::{method}::proxy");
        let single = format!("{general}::");
        for (key, value) in settings.range(general.clone()..).take_while(|(k, _)| k.starts_with(&general)) {
            let own = key.strip_prefix(&single);
            if (own.is_none() && *key != general) || value.text.is_empty() {
                continue;
            }
            let direct = value.text.eq_ignore_ascii_case("direct") || value.text.eq_ignore_ascii_case("false");
            let address = if direct { None } else { found.proxy(&value.text, &value.why) };
            proxy.why.push(value.why.clone());
            match own {
                Some(host) => {
                    proxy.per_host.insert(host.to_owned(), address);
                }
                None if method == "http" => proxy.http = address,
                None => {
                    https_set = true;
                    proxy.https = address;
                }
            }
        }
    }
    if !https_set {
        proxy.https.clone_from(&proxy.http);
    }
    proxy.why.sort();
    proxy.why.dedup();
    (!proxy.why.is_empty()).then_some(proxy)
}
