//! To which of the things a person thinks in a changed path belongs.
//!
//! dpkg's own file lists say what a package owns. Only the lists of packages that changed are read, so the cost follows the
//! change. Debian has merged `/lib` into `/usr/lib` without changing the lists: both names count as one.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::units::below_unit_dir;
use super::{PackageChange, Side, Sources};
use crate::{Changeset, Entry, Op, TreePath};

const INFO: &str = "/var/lib/dpkg/info";

/// What a path belongs to, in the order in which a report shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// A package that changed, or the package manager's own records.
    Packages,
    /// What somebody set: `/etc`.
    Configuration,
    /// Unit files, what is enabled, init scripts.
    Services,
    /// Who there is.
    Users,
    /// Everything else.
    Other,
}

impl Group {
    /// In words, for a heading.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Configuration => "configuration",
            Self::Services => "services",
            Self::Users => "users",
            Self::Other => "other files",
        }
    }
}

/// Places that packages' scripts and triggers write: records of the package manager and caches derived from what is
/// installed.
const OF_PACKAGES: &[&str] = &[
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/lib/ucf",
    "/var/lib/pam",
    "/var/lib/systemd/deb-systemd-helper-enabled",
    "/var/lib/systemd/deb-systemd-helper-masked",
    "/var/lib/systemd/deb-systemd-user-helper-enabled",
    "/var/lib/systemd/catalog",
    "/var/cache/debconf",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/usr/share/info/dir",
    "/usr/share/mime",
    "/usr/share/applications/mimeinfo.cache",
    "/usr/lib/udev/hwdb.bin",
];

const OF_USERS: &[&str] = &["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid"];

/// Which changed paths belong to packages that changed.
#[derive(Clone, Debug, Default)]
pub struct Ownership {
    /// In the merged form, only paths of the changeset.
    owned: HashSet<Box<[u8]>>,
    any: bool,
}

impl Ownership {
    /// Reads the file lists, before and after, of `packages` and of every package whose list itself changed (a package
    /// installed again in the same version).
    #[must_use]
    pub fn of(changeset: &Changeset, sources: &dyn Sources, packages: &[PackageChange]) -> Self {
        let info = TreePath::from(INFO);
        let mut lists: BTreeSet<TreePath> = BTreeSet::new();
        for entry in changeset.entries() {
            if entry.path.as_bytes().starts_with(INFO.as_bytes()) && entry.path.name().ends_with(b".list") {
                lists.insert(entry.path.clone());
            }
        }
        for package in packages {
            lists.insert(info.join(format!("{}.list", package.name).as_bytes()));
            lists.insert(info.join(format!("{}:{}.list", package.name, package.arch).as_bytes()));
        }
        let wanted: HashSet<Cow<'_, [u8]>> = changeset.entries().iter().map(|e| merged(e.path.as_bytes())).collect();
        let mut owned = HashSet::new();
        for list in &lists {
            for side in [Side::Before, Side::After] {
                let text = sources.content(list, side).unwrap_or_default();
                for path in text.split(|b| *b == b'\n').map(merged) {
                    if wanted.contains(&path) {
                        owned.insert(Box::from(&*path));
                    }
                }
            }
        }
        Self { owned, any: !lists.is_empty() }
    }

    /// What `entry` belongs to.
    #[must_use]
    pub fn group(&self, entry: &Entry) -> Group {
        let bytes = entry.path.as_bytes();
        let below = |places: &[&str]| places.iter().any(|place| within(bytes, place.as_bytes()));
        let is_etc = bytes.starts_with(b"/etc/");
        let came_or_went = matches!(entry.op(), Op::Create | Op::Delete);
        if below(OF_USERS) {
            Group::Users
        } else if self.owned.contains(&*merged(bytes)) && (!is_etc || came_or_went) {
            // A configuration file that was there before and is another now is something to look at, whoever owns it.
            Group::Packages
        } else if below_unit_dir(&entry.path).is_some() || is_init(bytes) {
            Group::Services
        } else if self.any && below(OF_PACKAGES) {
            Group::Packages
        } else if is_etc || bytes == b"/etc" {
            Group::Configuration
        } else {
            Group::Other
        }
    }
}

fn within(path: &[u8], place: &[u8]) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn is_init(path: &[u8]) -> bool {
    let rc = path.strip_prefix(b"/etc/rc").and_then(|rest| rest.get(1..));
    path.starts_with(b"/etc/init.d/") || rc.is_some_and(|rest| rest.starts_with(b".d/"))
}

/// `/lib/x` as `/usr/lib/x`, and so on for the directories that usrmerge(1) moved.
fn merged(path: &[u8]) -> Cow<'_, [u8]> {
    let moved = [&b"/lib/"[..], b"/bin/", b"/sbin/", b"/lib64/", b"/lib32/", b"/libx32/"];
    if moved.iter().any(|top| path.starts_with(top)) {
        Cow::Owned([b"/usr", path].concat())
    } else {
        Cow::Borrowed(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::testing::World;

    fn package(name: &str, from: Option<&str>, to: Option<&str>) -> PackageChange {
        let own = |v: Option<&str>| v.map(str::to_owned);
        PackageChange { name: name.into(), arch: "amd64".into(), from: own(from), to: own(to), note: None }
    }

    #[test]
    fn every_path_has_its_group() {
        let table = [
            ("/etc/passwd", Some("a"), Group::Users),
            ("/etc/gshadow", Some("a"), Group::Users),
            ("/usr/sbin/nginx", None, Group::Packages),
            ("/usr/lib/systemd/system/nginx.service", None, Group::Packages),
            ("/usr/lib/x86_64-linux-gnu/libgd.so.3", None, Group::Packages),
            ("/etc/nginx/nginx.conf", None, Group::Packages),
            ("/etc/nginx/mime.types", Some("old"), Group::Configuration),
            ("/etc/nginx/conf.d/mine.conf", None, Group::Configuration),
            ("/etc/alternatives/editor", None, Group::Packages),
            ("/var/lib/dpkg/status", Some("a"), Group::Packages),
            ("/etc/systemd/system/multi-user.target.wants/nginx.service", None, Group::Services),
            ("/etc/rc3.d/S01nginx", None, Group::Services),
            ("/etc/init.d/mine", None, Group::Services),
            ("/usr/bin/someone-elses", Some("a"), Group::Other),
            ("/srv/www/index.html", None, Group::Other),
            ("/usr/bin/gone", Some("a"), Group::Packages),
        ];
        let nginx = "/.\n/usr\n/usr/sbin/nginx\n/lib/systemd/system/nginx.service\n/etc/nginx/nginx.conf\n/etc/nginx/mime.types\n";
        let mut world = World::default()
            .file("/var/lib/dpkg/info/nginx.list", None, Some(nginx))
            .file("/var/lib/dpkg/info/libgd3:amd64.list", None, Some("/usr/lib/x86_64-linux-gnu/libgd.so.3\n"))
            .file("/var/lib/dpkg/info/old.list", Some("/bin/gone\n"), None)
            .unchanged("/var/lib/dpkg/info/other.list", "/usr/bin/someone-elses\n");
        for (path, before, _) in &table {
            world = world.file(path, *before, (*path != "/usr/bin/gone").then_some("new"));
        }
        let changeset = world.changeset();
        let packages =
            [package("nginx", None, Some("1")), package("libgd3", None, Some("2")), package("old", Some("1"), None)];
        let ownership = Ownership::of(&changeset, &world, &packages);
        for (path, _, group) in table {
            assert_eq!(ownership.group(changeset.get(&path.into()).unwrap()), group, "{path}");
        }
    }

    #[test]
    fn without_packages_a_link_in_alternatives_is_configuration() {
        let world = World::default().link("/etc/alternatives/editor", Some("/bin/nano"), Some("/usr/bin/vim"));
        let changeset = world.changeset();
        let ownership = Ownership::of(&changeset, &world, &[]);
        assert_eq!(ownership.group(&changeset.entries()[0]), Group::Configuration);
    }
}
