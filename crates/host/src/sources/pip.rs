//! pip: <https://pip.pypa.io/en/stable/topics/configuration/>.

use std::collections::BTreeMap;

use super::Found;
use super::ini;

/// From the weakest to the strongest.
const FILES: [&str; 4] =
    ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", "/root/.pip/pip.conf", "/root/.config/pip/pip.conf"];
const PROGRAMS: [&str; 6] = [
    "/usr/bin/pip3",
    "/usr/bin/pip",
    "/usr/local/bin/pip3",
    "/usr/local/bin/pip",
    "/usr/lib/python3/dist-packages/pip",
    "/usr/bin/pipx",
];
const DEFAULTS: [&str; 2] = ["pypi.org", "files.pythonhosted.org"];

/// Adds what pip would use.
pub(super) fn find(found: &mut Found<'_>) {
    // A stronger file replaces a setting as a whole, section by section.
    let mut settings: BTreeMap<(String, String), Vec<(String, String)>> = BTreeMap::new();
    for file in FILES {
        let Some(text) = found.read(file) else { continue };
        for setting in ini::parse(&text, &['=', ':'], true) {
            let key = setting.key.to_ascii_lowercase().replace('_', "-");
            let lines = setting.lines.into_iter().map(|(n, text)| (format!("{file}:{n}"), text)).collect();
            settings.insert((setting.section.to_ascii_lowercase(), key), lines);
        }
    }
    let proxy = settings.get(&("global".to_owned(), "proxy".to_owned())).and_then(|lines| lines.first()).cloned();
    let via = proxy.filter(|(_, text)| !text.is_empty()).and_then(|(why, text)| found.proxy(&text, &why));
    let mut replaced = false;
    for ((_, key), lines) in &settings {
        for (why, text) in lines {
            for word in text.split_whitespace() {
                match key.as_str() {
                    "index-url" | "extra-index-url" => {
                        replaced |= key == "index-url";
                        let uri = found.add_url(word, why, via.as_ref());
                        if uri.is_some_and(|u| u.host == DEFAULTS[0]) {
                            found.add(DEFAULTS[1].into(), 443, why, via.clone());
                        }
                    }
                    // A directory is as good as an address here.
                    "find-links" if word.contains("://") && !word.starts_with("file:") => {
                        found.add_url(word, why, via.as_ref());
                    }
                    "no-index" => replaced |= matches!(word.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"),
                    _ => {}
                }
            }
        }
    }
    if let Some(program) = found.present(&PROGRAMS).filter(|_| !replaced) {
        for host in DEFAULTS {
            found.add(host.into(), 443, &format!("default of pip ({program})"), via.clone());
        }
    }
}
