//! Mounted file systems and swap spaces, held against /etc/fstab (fstab(5)) and the mount units (systemd.mount(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use greenroom_core::TreePath;
use greenroom_core::drift::runtime::{Mount, Running, UnitFile, UnitFileState};
use greenroom_core::effect::{Side, Sources, declared_mount};

use super::shown;
use crate::facts::mounts::{Line, is_below, parse, unescape};

/// The options that say what may be done on a file system.
const OPTIONS: &[&str] = &["ro", "noexec", "nosuid", "nodev"];

const FSTAB: &str = "/etc/fstab";

/// What zram swap spaces are made by.
const ZRAM: &[&str] =
    &["/etc/systemd/zram-generator.conf", "/usr/lib/systemd/zram-generator.conf", "/etc/default/zramswap"];

/// A line of fstab.
struct Entry {
    what: String,
    at: String,
    swap: bool,
    /// Boot mounts it, and at once: not only when somebody looks.
    at_boot: bool,
}

/// Fills in what is mounted and what is not.
pub(super) fn read(sources: &dyn Sources, units: &BTreeMap<String, UnitFile>, out: &mut Running) {
    // The first process sees the host's mounts; this one may have some of its own.
    let text = fs::read("/proc/1/mountinfo").or_else(|_| fs::read("/proc/self/mountinfo")).unwrap_or_default();
    if text.is_empty() {
        out.gaps.push("mounts were not compared: /proc/self/mountinfo can't be read".to_owned());
        return;
    }
    let lines = parse(&text);
    let entries = fstab(&sources.content(&FSTAB.into(), Side::After).unwrap_or_default());
    let names = Names::read();
    mounts(&lines, &entries, &names, (sources, units), out);
    unmounted(&lines, &entries, units, out);
    if !out.container {
        swaps(&entries, &names, (sources, units), out);
    }
}

fn fstab(text: &[u8]) -> Vec<Entry> {
    let text = String::from_utf8_lossy(text);
    let entry = |line: &str| {
        let mut fields = line.split_whitespace();
        let (what, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        let options = fields.next().unwrap_or("");
        let waits = |option: &str| matches!(option, "noauto" | "x-systemd.automount");
        let at = unescape(at);
        let at = if at.len() > 1 { at.trim_end_matches('/').to_owned() } else { at };
        Some(Entry { what: unescape(what), at, swap: kind == "swap", at_boot: !options.split(',').any(waits) })
    };
    text.lines().map(str::trim).filter(|line| !line.starts_with('#')).filter_map(entry).collect()
}

fn mounts(
    lines: &[Line],
    entries: &[Entry],
    names: &Names,
    (sources, units): (&dyn Sources, &BTreeMap<String, UnitFile>),
    out: &mut Running,
) {
    // What comes when somebody looks, and goes again.
    let on_demand: BTreeSet<&str> = lines.iter().filter(|l| l.fstype == "autofs").map(|l| l.at.as_str()).collect();
    for line in lines.iter().filter(|line| !line.passes() && !on_demand.iter().any(|top| is_below(&line.at, top))) {
        if out.container && of_the_container(line) {
            continue;
        }
        let of_fstab = entries.iter().find(|entry| entry.at == line.at);
        let declared = match of_fstab {
            Some(entry) => entry.at_boot.then(|| FSTAB.to_owned()),
            None if line.fstype == "zfs" => Some("zfs-mount.service".to_owned()),
            None => declared_mount(&line.at, sources).filter(|file| {
                let unit = file.rsplit('/').next().and_then(|name| units.get(name));
                unit.is_some_and(|u| u.at_boot || matches!(u.state, UnitFileState::Enabled | UnitFileState::Static))
            }),
        };
        let mount = Mount {
            source: shown(&line.part_of(&names.of(&line.source))),
            fstype: shown(&line.fstype),
            options: line.options.iter().filter(|o| OPTIONS.contains(&o.as_str())).cloned().collect(),
            declared,
        };
        // The last one on a place hides those below.
        out.mounts.insert(shown(&line.at), mount);
    }
}

/// What whoever starts a container mounts for it each time.
fn of_the_container(line: &Line) -> bool {
    matches!(line.at.as_str(), "/etc/resolv.conf" | "/etc/hostname" | "/etc/hosts")
        || (line.at == "/tmp" && line.fstype == "tmpfs")
}

fn unmounted(lines: &[Line], entries: &[Entry], units: &BTreeMap<String, UnitFile>, out: &mut Running) {
    let there: BTreeSet<&str> = lines.iter().map(|line| line.at.as_str()).collect();
    let device = |what: &str| what.starts_with("/dev/") || what.contains("UUID=") || what.contains("LABEL=");
    for entry in entries.iter().filter(|e| !e.swap && e.at_boot && e.at.starts_with('/')) {
        // A container has no devices, and systemd leaves out the lines that name some.
        if there.contains(entry.at.as_str()) || (out.container && device(&entry.what)) {
            continue;
        }
        let real = fs::canonicalize(&entry.at).ok();
        if real.as_deref().and_then(Path::to_str).is_none_or(|real| !there.contains(real)) {
            out.unmounted.insert(shown(&entry.at), FSTAB.to_owned());
        }
    }
    let enabled = |u: &UnitFile| u.at_boot && u.state == UnitFileState::Enabled;
    for (name, _) in units.iter().filter(|(name, u)| name.ends_with(".mount") && enabled(u)) {
        let state = out.units.get(name);
        if state.is_some_and(|s| s.active == "inactive" && !s.unmet || s.active == "failed")
            && let Some(at) = place_of(name)
            && !there.contains(at.as_str())
        {
            out.unmounted.insert(shown(&at), name.clone());
        }
    }
}

/// Where the mount unit of this name mounts (systemd-escape(1)).
fn place_of(unit: &str) -> Option<String> {
    let mut bytes = vec![b'/'];
    let mut rest = unit.strip_suffix(".mount")?.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'-' => bytes.push(b'/'),
            b'\\' => {
                let digits = std::str::from_utf8(tail.strip_prefix(b"x")?.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = tail.get(3..)?;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn swaps(
    entries: &[Entry],
    names: &Names,
    (sources, units): (&dyn Sources, &BTreeMap<String, UnitFile>),
    out: &mut Running,
) {
    let text = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let in_use: Vec<String> = text.lines().skip(1).filter_map(|l| l.split_whitespace().next()).map(unescape).collect();
    let wanted: Vec<(String, &Entry)> =
        entries.iter().filter(|e| e.swap && e.at_boot).map(|e| (names.device(&e.what), e)).collect();
    let has_unit = units.iter().any(|(name, u)| name.ends_with(".swap") && u.state == UnitFileState::Enabled);
    for what in &in_use {
        let device = names.device(what);
        let zram = || ZRAM.iter().find(|file| sources.content(&TreePath::from(**file), Side::After).is_some());
        let declared = if wanted.iter().any(|(other, _)| *other == device) {
            Some(FSTAB.to_owned())
        } else if what.starts_with("/dev/zram") {
            zram().map(|file| (*file).to_owned())
        } else {
            has_unit.then(|| "a swap unit".to_owned())
        };
        let source = shown(&names.of(what));
        let mount = Mount { source: source.clone(), fstype: "swap".to_owned(), options: BTreeSet::new(), declared };
        out.mounts.insert(source, mount);
    }
    for (device, _) in wanted.iter().filter(|(device, _)| !in_use.iter().any(|what| names.device(what) == *device)) {
        out.unmounted.insert(shown(&names.of(device)), FSTAB.to_owned());
    }
}

/// Names of devices that stay the same when a disk comes up in another place.
struct Names(BTreeMap<String, String>);

impl Names {
    fn read() -> Self {
        let mut out = BTreeMap::new();
        for entry in fs::read_dir("/dev/disk/by-uuid").into_iter().flatten().flatten() {
            let device = fs::canonicalize(entry.path()).ok().and_then(|path| path.to_str().map(str::to_owned));
            if let (Some(device), Some(uuid)) = (device, entry.file_name().to_str()) {
                out.insert(device, format!("UUID={uuid}"));
            }
        }
        Self(out)
    }

    /// The lasting name of a source; of a loop device, the file behind it.
    fn of(&self, source: &str) -> String {
        if !source.starts_with("/dev/") {
            return source.to_owned();
        }
        let device = self.device(source);
        let loops = device.strip_prefix("/dev/").filter(|name| name.starts_with("loop"));
        let file = loops.and_then(|n| fs::read_to_string(format!("/sys/class/block/{n}/loop/backing_file")).ok());
        match (self.0.get(&device), file) {
            (_, Some(file)) => file.trim_end().to_owned(),
            (Some(uuid), None) => uuid.clone(),
            (None, None) => source.to_owned(),
        }
    }

    /// The device or file that a field of fstab or the kernel names.
    fn device(&self, what: &str) -> String {
        let path = match what.split_once('=') {
            Some((kind @ ("UUID" | "LABEL" | "PARTUUID" | "PARTLABEL"), value)) => {
                format!("/dev/disk/by-{}/{}", kind.to_lowercase(), value.trim_matches('"'))
            }
            _ => what.to_owned(),
        };
        fs::canonicalize(&path).ok().and_then(|path| path.to_str().map(str::to_owned)).unwrap_or(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_fstab_and_names_of_units() {
        let text = b"# /etc/fstab\nUUID=a / ext4 errors=remount-ro 0 1\n/dev/b /srv/my\\040data/ xfs defaults,noauto\n\
            //nas/c /c cifs x-systemd.automount,ro 0 0\n /dev/d none swap sw 0 0\nshort line\n";
        let found: Vec<_> = fstab(text).iter().map(|e| (e.at.clone(), e.swap, e.at_boot)).collect();
        let expected = [("/", false, true), ("/srv/my data", false, false), ("/c", false, false), ("none", true, true)];
        assert_eq!(found, expected.map(|(at, swap, boot)| (at.to_owned(), swap, boot)));
        let table = [
            ("srv-data.mount", Some("/srv/data")),
            ("-.mount", Some("//")),
            ("srv-my\\x2ddata.mount", Some("/srv/my-data")),
            ("srv-a\\xzz.mount", None),
            ("srv.service", None),
        ];
        for (unit, place) in table {
            assert_eq!(place_of(unit).as_deref(), place, "{unit}");
        }
    }
}
