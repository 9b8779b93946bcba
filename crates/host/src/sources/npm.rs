//! npm: <https://docs.npmjs.com/cli/configuring-npm/npmrc>.

use std::collections::BTreeMap;

use super::Found;
use super::ini;

/// From the weakest to the strongest.
const FILES: [&str; 4] = ["/usr/etc/npmrc", "/usr/local/etc/npmrc", "/etc/npmrc", "/root/.npmrc"];
const PROGRAMS: [&str; 4] = ["/usr/bin/npm", "/usr/local/bin/npm", "/usr/bin/pnpm", "/usr/local/bin/pnpm"];
const DEFAULT: &str = "registry.npmjs.org";

/// Adds what npm would use.
pub(super) fn find(found: &mut Found<'_>) {
    let mut settings: BTreeMap<String, (String, String)> = BTreeMap::new();
    for file in FILES {
        let Some(text) = found.read(file) else { continue };
        for setting in ini::parse(&text, &['='], false) {
            for (line, value) in setting.lines {
                let value = value.trim_matches(['"', '\'']).to_owned();
                settings.insert(setting.key.clone(), (format!("{file}:{line}"), value));
            }
        }
    }
    let mut via = None;
    for key in ["proxy", "https-proxy"] {
        if let Some((why, value)) = settings.get(key).filter(|(_, v)| !matches!(v.as_str(), "" | "null" | "false")) {
            via = found.proxy(value, why);
        }
    }
    let mut replaced = false;
    for (key, (why, value)) in &settings {
        if key != "registry" && !(key.starts_with('@') && key.ends_with(":registry")) {
            continue;
        }
        replaced |= key == "registry";
        if value.contains("${") {
            found.problem(why, "the registry depends on an environment variable, which is not known here");
        } else {
            found.add_url(value, why, via.as_ref());
        }
    }
    if let Some(program) = found.present(&PROGRAMS).filter(|_| !replaced) {
        found.add(DEFAULT.into(), 443, &format!("default of npm ({program})"), via);
    }
}
