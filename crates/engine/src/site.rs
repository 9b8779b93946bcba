//! A tree with its policy: the host's own list of volatile paths, what a system file declares for it, the stores found on it,
//! its name.
//!
//! What a system file declares comes with a rehearsal through the agent ([`declare`]) and is kept in the state directory. It
//! holds for every command from then on, and only for the tree of that agent.

use std::io;
use std::path::{Path, PathBuf};

use greenroom_core::TreePath;
use greenroom_core::policy::{Policy, STORES, Store};
use greenroom_core::wire::Declared;
use greenroom_host::scan::Tree;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::state::write_durably;

/// A tree that changes are rehearsed for and applied to.
#[derive(Debug)]
pub struct Site {
    /// Where it is on this machine.
    pub root: PathBuf,
    /// What its paths are.
    pub policy: Policy,
    /// The stores whose data was found, or is known to be on the host whose image the tree is.
    pub stores: Vec<&'static Store>,
    /// Its host name.
    pub hostname: String,
    /// Directories that no copy shows.
    pub hidden: Vec<PathBuf>,
    /// The order in which these units are started and restarted.
    pub units: Vec<String>,
}

/// Where a host lists volatile paths of its own.
pub const VOLATILE_LIST: &str = "/etc/greenroom/volatile";

/// Where the state directory keeps what a system file declares for the host.
const DECLARED: &str = "declared.json";

/// What a system file declares for a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    root: PathBuf,
    volatile: Vec<String>,
    data: Vec<String>,
    #[serde(default)]
    units: Vec<String>,
    /// Directories of stores whose data is not here: the tree is an image's.
    #[serde(default)]
    stores: Vec<String>,
}

/// Keeps what a system file declares for the tree at `root`; `None`: there is no system file.
///
/// # Errors
/// The state cannot be written, or a pattern is none.
pub(crate) fn declare(root: &Path, state: &Path, declared: Option<&Declared>) -> Result<(), EngineError> {
    declare_image(root, state, declared, &[])
}

/// The same for the tree of an image, whose host has data in the directories `stores`.
///
/// # Errors
/// As [`declare`].
pub(crate) fn declare_image(
    root: &Path,
    state: &Path,
    declared: Option<&Declared>,
    stores: &[String],
) -> Result<(), EngineError> {
    let path = state.join(DECLARED);
    let root = std::fs::canonicalize(root).map_err(EngineError::file("look at", root))?;
    let declared = declared.cloned().unwrap_or_default();
    let (volatile, data, units) = (declared.volatile, declared.data, declared.units);
    let kept = Kept { root, volatile, data, units, stores: stores.to_vec() };
    if [&kept.volatile, &kept.data, &kept.units, &kept.stores].into_iter().all(Vec::is_empty) {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EngineError::file("delete", path)(error)),
            _ => Ok(()),
        };
    }
    // What can't be used is not kept: every command on this host would end there.
    kept.policy("", Vec::new(), Vec::new()).map_err(|bad| {
        EngineError::usage(format!("the system file: {bad}"), "control plane and agent may be of different versions")
    })?;
    let text = serde_json::to_vec(&kept)
        .map_err(|error| EngineError::Damaged { path: path.clone(), source: Box::new(error) })?;
    if std::fs::read(&path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    write_durably(&path, &text).map_err(EngineError::file("write", path))
}

impl Kept {
    fn read(root: &Path, state: &Path) -> Result<Self, EngineError> {
        let path = state.join(DECLARED);
        let kept: Self = match std::fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|error| EngineError::Damaged { path, source: Box::new(error) })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(EngineError::file("read", path)(error)),
        };
        Ok(if kept.root == root { kept } else { Self::default() })
    }

    /// The host's own list comes last: it can take out again what the system file says.
    fn policy(
        &self,
        list: &str,
        data: Vec<TreePath>,
        own: Vec<TreePath>,
    ) -> Result<Policy, greenroom_core::policy::BadPattern> {
        let mut text: String = self.volatile.iter().map(|pattern| format!("{pattern}\n")).collect();
        text.push_str(list);
        let policy = Policy::new(&text, data, own).map_err(|mut bad| {
            bad.line = bad.line.saturating_sub(self.volatile.len());
            bad
        })?;
        policy.with_data(&self.data)
    }
}

impl Site {
    /// Looks at the tree at `root`; `state` is the state directory, which a copy must not show.
    ///
    /// # Errors
    /// The root cannot be read, or its list of volatile paths has a line that is no pattern.
    pub fn look(root: &Path, state: &Path) -> Result<Self, EngineError> {
        let root = std::fs::canonicalize(root).map_err(|error| EngineError::Usage {
            what: format!("{} is not a tree: {error}", root.display()),
            hint: Some("--root takes the directory that is the root of a host, a container or a chroot".to_owned()),
        })?;
        let mut tree = Tree::open(&root)?;
        let list = tree.content(&VOLATILE_LIST.into(), 1 << 20)?.unwrap_or_default();
        let list = String::from_utf8_lossy(&list).into_owned();
        // Behind a link too: a copy must neither show it nor hold it for something of the host's.
        let state = std::fs::canonicalize(state).unwrap_or_else(|_| state.to_owned());
        let declared = Kept::read(&root, &state)?;
        let here = stores(&mut tree)?;
        let known = |store: &&'static Store| {
            here.iter().any(|found| found.path == store.path) || declared.stores.iter().any(|path| path == store.path)
        };
        let stores: Vec<&'static Store> = STORES.iter().filter(known).collect();
        let mut hidden = vec![PathBuf::from("/var/lib/greenroom")];
        let mut own = Vec::new();
        if let Ok(inside) = state.strip_prefix(&root) {
            let inside = Path::new("/").join(inside);
            own.push(TreePath::new(std::os::unix::ffi::OsStrExt::as_bytes(inside.as_os_str())));
            if !hidden.contains(&inside) {
                hidden.push(inside);
            }
        }
        let data = stores.iter().map(|store| TreePath::from(store.path)).collect();
        let policy = declared.policy(&list, data, own).map_err(|bad| EngineError::Usage {
            what: format!("{}{VOLATILE_LIST}: {bad}", root.display()),
            hint: Some("one pattern a line, with * and **, from /; ! in front takes one out".to_owned()),
        })?;
        let hostname = hostname(&mut tree, &root)?;
        Ok(Self { root, policy, stores, hostname, hidden, units: declared.units })
    }

    /// Whether the tree has a systemd that can boot it.
    #[must_use]
    pub fn can_boot(&self) -> bool {
        let has = |path: &str| self.root.join(path).symlink_metadata().is_ok();
        (has("usr/lib/systemd/systemd") || has("lib/systemd/systemd")) && (has("sbin/init") || has("usr/sbin/init"))
    }

    /// Units whose programs must not run in a copy: those that own a store's data, a template for its instances, and Greenroom's
    /// own.
    #[must_use]
    pub fn stood_in(&self) -> Vec<String> {
        let stores = self.stores.iter().flat_map(|store| store.units).map(|unit| unit.replace("@*.", "@."));
        stores.chain(crate::install::STARTED.map(str::to_owned)).collect()
    }
}

/// The stores whose data is in a tree.
pub(crate) fn stores(tree: &mut Tree) -> Result<Vec<&'static Store>, EngineError> {
    let mut out = Vec::new();
    for store in STORES {
        if !tree.names(&store.path.into())?.is_empty() {
            out.push(store);
        }
    }
    Ok(out)
}

fn hostname(tree: &mut Tree, root: &Path) -> Result<String, EngineError> {
    if root == Path::new("/") {
        return Ok(rustix::system::uname().nodename().to_string_lossy().into_owned());
    }
    let text = tree.content(&"/etc/hostname".into(), 300)?.unwrap_or_default();
    let name = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned();
    Ok(if name.is_empty() { "copy".to_owned() } else { name })
}
