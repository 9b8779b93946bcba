//! Interpreters and runtimes: which file a command's name leads to, and whose it is.

use greenroom_core::TreePath;
use greenroom_core::parity::{FactKind, Facts};

use super::libraries::owner;
use super::linker::Linker;
use crate::dpkg::Database;

/// The commands that programs of others are run by.
const COMMANDS: &[&str] = &[
    "bash", "docker", "dotnet", "elixir", "erl", "gcc", "git", "go", "java", "lua", "node", "nodejs", "npm", "openssl",
    "perl", "php", "pip", "pip3", "podman", "psql", "python", "python3", "ruby", "runc", "sh",
];

/// The order in which a shell of root looks.
const DIRS: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

pub(super) fn read(linker: &mut Linker<'_>, packages: Option<&Database>, facts: &mut Facts) {
    for command in COMMANDS {
        let places = DIRS.iter().map(|dir| TreePath::from(*dir).join(command.as_bytes()));
        let Some(loaded) = places.into_iter().find_map(|path| linker.file(&path)) else { continue };
        let value = match packages.and_then(|db| owner(db, &loaded.path)) {
            Some(package) => {
                let version = facts.packages.get(&package).cloned().unwrap_or_default();
                format!("{} ({} {version})", loaded.path, package.split(':').next().unwrap_or_default())
            }
            None => {
                let content =
                    loaded.content.map_or_else(|| "unreadable".to_owned(), |hash| hash.to_string()[..12].to_owned());
                format!("{} (no package, {content})", loaded.path)
            }
        };
        facts.add(FactKind::Runtime, *command, value);
    }
}
