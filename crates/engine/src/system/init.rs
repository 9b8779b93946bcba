//! The first system file of a directory, from what this host says of itself.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use greenroom_core::path::Shown;
use greenroom_core::system::FILE_NAME;
use greenroom_core::system::draft::{Found, services, ssh_hosts};
use greenroom_host::facts;
use serde::Serialize;

use super::{Declared, git};
use crate::EngineError;

/// What to write, and where.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The host's tree.
    pub root: &'a Path,
    /// Where the file goes.
    pub dir: &'a Path,
    /// The person's ssh_config(5), where there is one.
    pub ssh_config: Option<&'a Path>,
    /// Whether a file that is there is replaced.
    pub force: bool,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// The file.
    pub file: PathBuf,
    /// The name of the system.
    pub system: String,
    /// The host.
    pub host: String,
    /// Its address, as written.
    pub address: String,
    /// The units that are declared.
    pub units: Vec<String>,
    /// Hosts of the ssh configuration that stand there as comments.
    pub suggested: Vec<String>,
    /// The top of the git repository that the file is in.
    pub repository: Option<PathBuf>,
    /// What could not be found out.
    pub gaps: Vec<String>,
}

/// Where administrators write units.
const OWN_UNITS: &str = "etc/systemd/system";

/// Looks at the host and writes the file.
///
/// # Errors
/// There is one already and `force` is not set (nothing is changed then); the host can't be looked at; the file can't be
/// written.
pub fn init(request: &Request<'_>) -> Result<Written, EngineError> {
    let file = request.dir.join(FILE_NAME);
    if !request.force && file.symlink_metadata().is_ok() {
        return Err(exists(&file));
    }
    let repository = git::top(request.dir);
    let (found, gaps) = look(request, repository.as_deref())?;
    write(&file, &found.text(), request.force)?;
    // As it is read by everybody later: the file, not what was meant to be in it.
    let declared = Declared::load(&file, None)
        .map_err(|error| EngineError::Damaged { path: file.clone(), source: Box::new(error) })?;
    let host = declared.system.hosts.first();
    Ok(Written {
        system: declared.system.name.clone(),
        host: host.map(|host| host.name.clone()).unwrap_or_default(),
        address: host.map(|host| host.address.clone()).unwrap_or_default(),
        units: declared.system.services.iter().map(|service| service.unit.clone()).collect(),
        suggested: found.ssh.iter().map(|host| host.alias.clone()).collect(),
        repository,
        file,
        gaps,
    })
}

fn exists(file: &Path) -> EngineError {
    EngineError::refused(
        format!("{} is there already", file.display()),
        "look at it with `greenroom check`; --force replaces it",
    )
}

fn look(request: &Request<'_>, repository: Option<&Path>) -> Result<(Found, Vec<String>), EngineError> {
    let seen = facts::look(request.root).map_err(EngineError::system("look at this host"))?;
    let is_live = facts::is_live(request.root);
    let host = match is_live {
        true => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        false => first_line(&request.root.join("etc/hostname")),
    };
    let addresses = if is_live { facts::addresses() } else { Vec::new() };
    let ssh = request.ssh_config.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let dir = repository.or_else(|| request.dir.canonicalize().is_ok().then_some(request.dir));
    let name =
        |dir: &Path| dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let found = Found {
        names: dir.and_then(name).into_iter().chain([host.clone()]).collect(),
        services: services(&seen, &own_units(request.root)),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        ssh: ssh_hosts(&ssh).into_iter().filter(|other| other.alias != host).collect(),
        host,
    };
    // What has nothing to do with services is no news here.
    let about = |gap: &String| gap.contains("units") || gap.contains("ports");
    let gaps = seen.running.into_iter().flat_map(|running| running.gaps).filter(about).collect();
    Ok((found, gaps))
}

/// Units whose file somebody wrote: a regular file where packages put links.
fn own_units(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join(OWN_UNITS)) else { return Vec::new() };
    let regular = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    regular.map(|entry| Shown(entry.file_name().as_encoded_bytes()).to_string()).collect()
}

fn first_line(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
}

/// Beside the file and then in its place; without `force` only where nothing is. Root may do this in a directory of somebody
/// else's: no link is followed, and what is made is given to whom the directory belongs.
fn write(file: &Path, text: &str, force: bool) -> Result<(), EngineError> {
    let at = if force { file.with_extension("toml.new") } else { file.to_owned() };
    if force {
        // What an earlier attempt left.
        let _ = fs::remove_file(&at);
    }
    let made = OpenOptions::new().write(true).create_new(true).open(&at).and_then(|mut out| {
        out.write_all(text.as_bytes())?;
        if let Some(owner) = file.parent().and_then(|dir| fs::metadata(dir).ok()) {
            // Where it can't be given away, the file is still right.
            let _ = fchown(&out, Some(owner.uid()), Some(owner.gid()));
        }
        Ok(())
    });
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !force => return Err(exists(file)),
        other => other.map_err(EngineError::file("write", &at))?,
    }
    if force { fs::rename(&at, file).map_err(EngineError::file("replace", file)) } else { Ok(()) }
}
