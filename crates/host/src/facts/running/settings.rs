//! What the host's files set kernel parameters to, for those that can be set here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use greenroom_core::drift::runtime::Setting;
use greenroom_core::effect::{Sources, SysctlFiles};
use rustix::fs::{Access, access};

use super::shown;

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
    out
}
