//! Which machine this is: whether a tree is that of the machine itself, its kernel, its boot.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use greenroom_core::drift::runtime::Kernel;

use super::shown;

/// Whether `root` is the tree in which the machine's first process runs: then what runs belongs to it. In a chroot it does not.
#[must_use]
pub fn is_live(root: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let (here, ours) = (identity(root), identity(Path::new("/")));
    // Unreadable without root: then nothing says otherwise.
    let first = identity(Path::new("/proc/1/root")).or(ours);
    here.is_some() && here == ours && here == first
}

/// Whether the kernel is another host's.
pub(super) fn is_container() -> bool {
    let marks = ["/run/systemd/container", "/run/host/container-manager", "/.dockerenv", "/run/.containerenv"];
    let told = || {
        let environment = fs::read("/proc/1/environ").unwrap_or_default();
        environment.split(|b| *b == 0).any(|entry| entry.starts_with(b"container="))
    };
    marks.iter().any(|mark| Path::new(mark).exists()) || told()
}

/// The kernel's name for this boot.
pub(super) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

pub(super) fn kernel() -> Kernel {
    let name = rustix::system::uname();
    let line = fs::read("/proc/cmdline").unwrap_or_default();
    Kernel {
        release: shown(&name.release().to_string_lossy()),
        build: shown(&name.version().to_string_lossy()),
        parameters: String::from_utf8_lossy(&line).split_whitespace().map(shown).collect(),
    }
}
