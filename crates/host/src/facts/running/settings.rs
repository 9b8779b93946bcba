//! What the host's files set kernel parameters to, for those that can be set here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use greenroom_core::drift::runtime::Setting;
use greenroom_core::effect::{Side, Sources, SysctlFiles};
use rustix::fs::{Access, access};

use super::shown;

/// What boot makes the host's name, which is a parameter too.
const HOSTNAME: &str = "/etc/hostname";

/// For each parameter of `now` that a file sets, what it sets. A container's files may set what only its host can.
pub(super) fn read(sources: &dyn Sources, now: &BTreeMap<String, String>) -> BTreeMap<String, Setting> {
    let files = SysctlFiles::read(sources);
    let mut out = BTreeMap::new();
    for key in now.keys() {
        let Some((value, file)) = files.of(key) else { continue };
        // As sysctl(8) writes names: a dot in an interface's name is a slash.
        let swap = |c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        };
        let path = PathBuf::from("/proc/sys").join(key.chars().map(swap).collect::<String>());
        if access(&path, Access::WRITE_OK).is_ok() {
            out.insert(key.clone(), Setting { value: shown(&value), file });
        }
    }
    let name = sources.content(&HOSTNAME.into(), Side::After).unwrap_or_default();
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    // Without a name of its own, a host takes what the network gives it.
    if !matches!(name.as_str(), "" | "localhost") && now.contains_key("kernel.hostname") {
        out.insert("kernel.hostname".to_owned(), Setting { value: shown(&name), file: HOSTNAME.to_owned() });
    }
    out
}
