//! The units that have to read their configuration again when it comes back: those whose unit files or drop-ins are among the
//! paths, and those that the packages of the configuration files bring.

use std::collections::BTreeSet;

use greenroom_core::plan::{Reason, UnitAction, UnitVerb, is_never_restarted};
use greenroom_core::{Changeset, TreePath};
use greenroom_host::dpkg::Database;
use greenroom_host::scan::Tree;

use crate::EngineError;
use crate::site::Site;

const UNIT_DIRS: &[&str] = &["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// What is done to units after `changeset`.
pub(super) fn of(
    site: &Site,
    changeset: &Changeset,
    database: Option<&Database>,
) -> Result<Vec<UnitAction>, EngineError> {
    let mut restart: BTreeSet<String> = BTreeSet::new();
    let mut packages: BTreeSet<(String, String)> = BTreeSet::new();
    for entry in changeset.entries() {
        if let Some(unit) = unit_of(&entry.path) {
            restart.insert(unit);
        } else if let Some(database) = database.filter(|_| entry.path.starts_with(&"/etc".into())) {
            packages.extend(package_of(&entry.path, database));
        }
    }
    let mut tree = Tree::open(&site.root)?;
    let mut reload: BTreeSet<String> = BTreeSet::new();
    for (name, arch) in packages {
        for list in [format!("{name}.list"), format!("{name}:{arch}.list")] {
            let path = TreePath::from("/var/lib/dpkg/info").join(list.as_bytes());
            let text = tree.content(&path, 16 << 20)?.unwrap_or_default();
            reload.extend(text.split(|b| *b == b'\n').filter_map(|line| unit_of(&TreePath::new(line))));
        }
    }
    // Nobody named them: what is never restarted on its own account is not restarted here.
    let is_service =
        |unit: &String| unit.ends_with(".service") && !unit.contains("@.") && !is_never_restarted(unit, &[]);
    let action = |verb| move |unit| UnitAction { unit, verb, reason: Reason::Named };
    let reload = reload.into_iter().filter(|unit| is_service(unit) && !restart.contains(unit));
    let reload: Vec<UnitAction> = reload.map(action(UnitVerb::Reload)).collect();
    Ok(restart.into_iter().filter(is_service).map(action(UnitVerb::Restart)).chain(reload).collect())
}

/// The unit that a path describes, itself or as a drop-in.
fn unit_of(path: &TreePath) -> Option<String> {
    let dir = UNIT_DIRS.iter().map(|dir| TreePath::from(*dir)).find(|dir| path.starts_with(dir))?;
    let parent = path.parent()?;
    let name = if parent == dir {
        path.name().to_vec()
    } else {
        let drop_in = parent.parent()? == dir && path.name().ends_with(b".conf");
        parent.name().strip_suffix(b".d").filter(|_| drop_in)?.to_vec()
    };
    String::from_utf8(name).ok().filter(|name| name.contains('.'))
}

/// The package whose configuration a path is: its owner, or that of the directory below `/etc` that it is in.
fn package_of(path: &TreePath, database: &Database) -> Option<(String, String)> {
    let above = std::iter::successors(Some(path.clone()), TreePath::parent);
    let mut own = above.take_while(|path| path.depth() > 1);
    let owner = own.find_map(|path| database.owner(&path).filter(|_| !database.is_shared(&path)))?;
    let package = database.package(owner);
    Some((package.name.clone(), package.arch.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_files_and_drop_ins_name_their_unit() {
        let table = [
            ("/etc/systemd/system/shop.service", Some("shop.service")),
            ("/usr/lib/systemd/system/nginx.service", Some("nginx.service")),
            ("/etc/systemd/system/nginx.service.d/limits.conf", Some("nginx.service")),
            ("/etc/systemd/system/nginx.service.d/notes.txt", None),
            ("/etc/systemd/system/multi-user.target.wants/nginx.service", None),
            ("/etc/nginx/nginx.conf", None),
        ];
        for (path, unit) in table {
            assert_eq!(unit_of(&path.into()).as_deref(), unit, "{path}");
        }
    }
}
