//! What services load: the programs that their unit files start, with the libraries in their tables, and on a running host the
//! files that their processes map.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_core::TreePath;
use greenroom_core::parity::Library;

use super::linker::{Linker, Loaded};
use super::units::Service;
use crate::dpkg::Database;
use crate::facts::maps::UnitMaps;

/// Adds up what is known, by file.
pub(super) struct Libraries<'a, 'i> {
    linker: &'a mut Linker<'i>,
    packages: Option<&'a Database>,
    found: BTreeMap<TreePath, Library>,
}

impl<'a, 'i> Libraries<'a, 'i> {
    pub(super) fn new(linker: &'a mut Linker<'i>, packages: Option<&'a Database>) -> Self {
        Self { linker, packages, found: BTreeMap::new() }
    }

    /// What a service will load when it starts.
    pub(super) fn linked(&mut self, unit: &str, service: &Service) {
        for program in &service.programs {
            for loaded in self.linker.closure(program, &service.library_path).into_values() {
                self.entry(loaded).linked.insert(unit.to_owned());
            }
        }
    }

    /// What a service has in memory.
    pub(super) fn running(&mut self, maps: &[UnitMaps]) {
        for map in maps {
            // A file that is gone, or that is not there where the host's root is, is no file that can be compared.
            let Some(loaded) = self.linker.file(&map.path) else { continue };
            let library = self.entry(loaded);
            library.running.extend(map.units.iter().cloned());
            library.replaced |= map.replaced;
        }
    }

    pub(super) fn into_list(self) -> Vec<Library> {
        self.found.into_values().collect()
    }

    fn entry(&mut self, loaded: Loaded) -> &mut Library {
        let packages = self.packages;
        self.found.entry(loaded.path.clone()).or_insert_with(|| {
            let tables = loaded.tables.unwrap_or_default();
            let file_name = String::from_utf8_lossy(loaded.path.name()).into_owned();
            let is_library = tables.soname.is_some() || file_name.contains(".so");
            // A plugin has no name by which it is asked for but its path.
            let name = tables.soname.unwrap_or_else(|| loaded.path.to_string());
            Library {
                name,
                path: loaded.path.clone(),
                content: loaded.content,
                size: loaded.size,
                package: packages.and_then(|db| owner(db, &loaded.path)),
                intact: packages.and_then(|db| db.expected(&loaded.path)).and_then(|e| Some(loaded.md5? == e.md5)),
                program: !is_library,
                running: BTreeSet::new(),
                linked: BTreeSet::new(),
                replaced: false,
            }
        })
    }
}

/// The package of a file, `libssl3:amd64`.
pub(super) fn owner(packages: &Database, path: &TreePath) -> Option<String> {
    let package = packages.package(packages.owner(path)?);
    Some(format!("{}:{}", package.name, package.arch))
}
