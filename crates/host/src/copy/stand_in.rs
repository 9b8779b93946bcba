//! Units of the host whose programs must not run in a copy, and what stands in for them.
//!
//! A mask would make every `systemctl restart` of such a unit fail, and with it the change. So a drop-in in the copy's
//! `/run/systemd/system` replaces what a service would execute by nothing: it starts, reloads, restarts and stops as the real
//! one does, and what the change does to it is measured as for any other unit. Sockets, timers and paths would wake something
//! up: they get a condition that never holds, with which a start succeeds and does nothing.
//!
//! Not here: which units own a store's data; that is said by who makes the copy.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Units of the host that have no sense in a copy or would only delay it; and why.
pub(super) const UNITS: &[&str] = &[
    // They wait for a network that is not there.
    "systemd-networkd-wait-online.service",
    "NetworkManager-wait-online.service",
    "ifupdown-wait-online.service",
    // They ask the machine's cloud who it is.
    "cloud-init.service",
    "cloud-init-local.service",
    "cloud-config.service",
    "cloud-final.service",
    // They take dpkg's lock at times of their own.
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "apt-daily.service",
    "apt-daily-upgrade.service",
    // They act on the machine itself.
    "greenroom-agent.service",
    "greenroom-watch.service",
    "systemd-remount-fs.service",
];

/// Where systemd looks for it inside.
const INSIDE: &str = "/run/systemd/system";

/// The last of a unit's drop-ins, as they are read in the order of their names.
const NAME: &str = "zzzz-greenroom-copy.conf";

/// `+`: in no file system and as no user of the unit's own, which may not be there yet. Directories are not made: their owner
/// would be given what is data in them.
const SERVICE: &str = "\
[Service]
Type=oneshot
RemainAfterExit=yes
Restart=no
PIDFile=
ExecCondition=
ExecStartPre=
ExecStart=
ExecStart=+/bin/true
ExecStartPost=
ExecReload=
ExecReload=+/bin/true
ExecStop=
ExecStopPost=
StateDirectory=
CacheDirectory=
LogsDirectory=
ConfigurationDirectory=
";

const OTHER: &str = "[Unit]\nConditionPathExists=!/\n";

/// Writes the drop-ins of these units and of [`UNITS`] into a directory, which is returned. A copy that is booted again gets a
/// new one, as it gets a new `/run`: whoever was in it could have left links there that lead out.
pub(super) fn write(at: PathBuf, more: &[String]) -> io::Result<PathBuf> {
    match fs::remove_dir_all(&at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir(&at)?,
    }
    for unit in UNITS.iter().copied().chain(more.iter().map(String::as_str)) {
        let dir = at.join(format!("{unit}.d"));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(NAME), if is_service(unit) { SERVICE } else { OTHER })?;
    }
    Ok(at)
}

/// The option of nspawn that shows the directory to the copy, which may write there as it may in its own.
pub(super) fn bind(units: &Path) -> OsString {
    let mut option = b"--bind=".to_vec();
    for byte in units.as_os_str().as_bytes() {
        option.extend(matches!(byte, b':' | b'\\').then_some(b'\\'));
        option.push(*byte);
    }
    option.extend(format!(":{INSIDE}").bytes());
    OsString::from_vec(option)
}

fn is_service(unit: &str) -> bool {
    Path::new(unit).extension().is_some_and(|kind| kind == "service")
}

/// Whether a stand-in takes the place of `unit`; `more` as it was given to [`super::Booted::start`].
#[must_use]
pub fn is_stood_in(unit: &str, more: &[String]) -> bool {
    let template = unit.split_once('@').and_then(|(name, rest)| Some(format!("{name}@.{}", rest.rsplit_once('.')?.1)));
    let names = |known: &str| known == unit || template.as_deref() == Some(known);
    UNITS.iter().any(|known| names(known)) || more.iter().any(|known| names(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_follow_their_template() {
        let more = ["postgresql@.service".to_owned(), "docker.socket".to_owned()];
        let table = [
            ("postgresql@15-main.service", true),
            ("postgresql@15.2-main.service", true),
            ("postgresql.service", false),
            ("docker.socket", true),
            ("apt-daily.timer", true),
            ("nginx.service", false),
        ];
        for (unit, wanted) in table {
            assert_eq!(is_stood_in(unit, &more), wanted, "{unit}");
        }
    }
}
