//! Processes that run code which is no longer that of its files, and the package that brought the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use greenroom_core::TreePath;
use greenroom_core::drift::runtime::StaleCode;
use greenroom_core::effect::{Side, Sources};
use greenroom_core::path::Shown;

use super::shown;
use crate::facts::maps;
use crate::facts::processes::Processes;

pub(super) fn read(processes: &Processes, sources: &dyn Sources) -> io::Result<BTreeSet<StaleCode>> {
    let mut found: Vec<(StaleCode, TreePath)> = Vec::new();
    maps::replaced(processes, |process, path| {
        let unit = processes.unit(process.pid).filter(|unit| unit != "init.scope" || process.pid == 1);
        let code = StaleCode { unit, process: shown(&process.name), file: path.to_string(), package: None };
        found.push((code, path));
    })?;
    let owners = owners(found.iter().map(|(_, path)| path).collect(), sources);
    let named = found.into_iter().map(|(code, path)| StaleCode { package: owners.get(&path).cloned(), ..code });
    Ok(named.collect())
}

/// Whose the files are, by dpkg's lists. Read only when something is stale: there are thousands of lists on some hosts.
fn owners(mut wanted: BTreeSet<&TreePath>, sources: &dyn Sources) -> BTreeMap<TreePath, String> {
    let mut out = BTreeMap::new();
    let dir = TreePath::from("/var/lib/dpkg/info");
    let lists = if wanted.is_empty() { Vec::new() } else { sources.names(&dir, Side::After) };
    for name in lists {
        let Some(package) = name.strip_suffix(b".list") else { continue };
        let text = sources.content(&dir.join(&name), Side::After).unwrap_or_default();
        let lines: BTreeSet<&[u8]> = text.split(|b| *b == b'\n').collect();
        wanted.retain(|path| {
            // The lists of older packages have `/lib/x` for what is at `/usr/lib/x` today.
            let bytes = path.as_bytes();
            let owns = lines.contains(bytes) || bytes.strip_prefix(b"/usr").is_some_and(|short| lines.contains(short));
            if owns {
                out.insert((*path).clone(), Shown(package.split(|b| *b == b':').next().unwrap_or(package)).to_string());
            }
            !owns
        });
        if wanted.is_empty() {
            break;
        }
    }
    out
}
