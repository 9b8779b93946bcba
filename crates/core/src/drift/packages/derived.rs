//! Paths that no package owns and that packages' scripts and triggers write: records of the package manager, caches derived
//! from what is installed, links that say what is enabled.

/// A directory with all below it, or one file.
const PLACES: &[&str] = &[
    "/boot",
    "/etc/alternatives",
    "/etc/apparmor.d/cache",
    "/etc/cups/ppd",
    "/etc/dictionaries-common",
    "/etc/emacs",
    "/etc/environment.d",
    "/etc/ld.so.cache",
    "/etc/mailcap",
    "/etc/pam.d",
    "/etc/php",
    "/etc/python3",
    "/etc/sgml",
    "/etc/shells",
    "/etc/ssl/certs",
    "/etc/systemd/system",
    "/etc/systemd/user",
    "/etc/udev/hwdb.bin",
    "/etc/xml",
    "/usr/lib/gconv/gconv-modules.cache",
    "/usr/lib/locale",
    "/usr/lib/modules",
    "/usr/lib/udev/hwdb.bin",
    "/usr/share/applications/mimeinfo.cache",
    "/usr/share/glib-2.0/schemas/gschemas.compiled",
    "/usr/share/info/dir",
    "/usr/share/info/dir.old",
    "/usr/share/mime",
    "/usr/share/vim",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/aspell",
    "/var/lib/ca-certificates",
    "/var/lib/dbus",
    "/var/lib/dictionaries-common",
    "/var/lib/dkms",
    "/var/lib/dpkg",
    "/var/lib/fontconfig",
    "/var/lib/ghostscript",
    "/var/lib/initramfs-tools",
    "/var/lib/initscripts",
    "/var/lib/ispell",
    "/var/lib/man-db",
    "/var/lib/pam",
    "/var/lib/python",
    "/var/lib/sgml-base",
    "/var/lib/shells.state",
    "/var/lib/shim-signed",
    "/var/lib/systemd/catalog",
    "/var/lib/systemd/deb-systemd-helper-enabled",
    "/var/lib/systemd/deb-systemd-helper-masked",
    "/var/lib/systemd/deb-systemd-user-helper-enabled",
    "/var/lib/ucf",
    "/var/lib/update-rc.d",
    "/var/lib/usbutils",
    "/var/lib/xml-core",
    "/vmlinuz",
    "/vmlinuz.old",
    "/initrd.img",
    "/initrd.img.old",
];

/// Names that are derived wherever they lie.
const NAMES: &[&[u8]] =
    &[b"icon-theme.cache", b"giomodule.cache", b"gconv-modules.cache", b"fonts.dir", b"fonts.scale"];

/// Records of dpkg and apt: with a change of packages they always change, whatever the clock says.
const RECORDS: &[&str] = &["/var/lib/dpkg", "/var/lib/apt", "/var/cache/apt", "/var/cache/debconf", "/var/lib/ucf"];

/// Who there is: written when a package makes an account, and by people.
const ACCOUNTS: &[&str] =
    &["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid", "/etc/passwd-"];

/// Whether the path is written by packages' scripts and triggers. `/etc/systemd/system` only as far as links for enabling go.
pub(super) fn is_derived(path: &[u8], is_link: bool) -> bool {
    let place = PLACES.iter().find(|place| within(path, place.as_bytes()));
    let enabling = path.starts_with(b"/etc/systemd/");
    let named = NAMES.contains(&path.rsplit(|b| *b == b'/').next().unwrap_or(path));
    let compiled = path.ends_with(b".pyc") || path.windows(13).any(|w| w == b"/__pycache__/");
    (place.is_some() && (!enabling || is_link || path.ends_with(b".wants"))) || rc_link(path) || named || compiled
}

/// Whether it is one of the package manager's own records.
pub(super) fn is_record(path: &[u8]) -> bool {
    RECORDS.iter().any(|place| within(path, place.as_bytes()))
}

/// The package that one of dpkg's files about a single package is about: `bc` of `/var/lib/dpkg/info/bc.list`.
pub(super) fn about(path: &[u8]) -> Option<&str> {
    let file = std::str::from_utf8(path.strip_prefix(b"/var/lib/dpkg/info/")?).ok()?;
    let (name, _) = file.rsplit_once('.')?;
    Some(name.split_once(':').map_or(name, |(package, _)| package))
}

/// Whether it says which accounts there are.
pub(super) fn is_account(path: &[u8]) -> bool {
    ACCOUNTS.iter().any(|place| within(path, place.as_bytes()))
}

/// `/etc/rc2.d/S01cron`
fn rc_link(path: &[u8]) -> bool {
    path.strip_prefix(b"/etc/rc").and_then(|rest| rest.get(1..)).is_some_and(|rest| rest.starts_with(b".d/"))
}

fn within(path: &[u8], place: &[u8]) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn files_about_one_package_name_it() {
        let table: [(&[u8], Option<&str>); 5] = [
            (b"/var/lib/dpkg/info/bc.list", Some("bc")),
            (b"/var/lib/dpkg/info/libc6:amd64.md5sums", Some("libc6")),
            (b"/var/lib/dpkg/info/python3.11.postinst", Some("python3.11")),
            (b"/var/lib/dpkg/info/format", None),
            (b"/var/lib/dpkg/status", None),
        ];
        for (path, package) in table {
            assert_eq!(about(path), package, "{}", String::from_utf8_lossy(path));
        }
    }
}
