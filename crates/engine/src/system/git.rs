//! What git(1) says of a directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version of some files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The commit, in hexadecimal.
    pub revision: Option<String>,
    /// Something is not as in that commit.
    pub dirty: bool,
    /// Why there is no commit.
    pub why: Option<String>,
}

impl Version {
    /// The version of the directory of `file`, and of `files` outside of it.
    #[must_use]
    pub fn of(file: &Path, files: &[PathBuf]) -> Self {
        let dir = match file.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let revision = match git(dir, &["rev-parse", "--verify", "HEAD^{commit}"]) {
            Ok(text) => text.trim().to_owned(),
            Err(why) => return Self { why: Some(why), ..Self::default() },
        };
        let mut args: Vec<String> =
            ["status", "--porcelain", "--untracked-files=normal", "--", "."].map(str::to_owned).to_vec();
        args.extend(files.iter().filter_map(|file| std::path::absolute(file).ok()?.to_str().map(str::to_owned)));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        // A file outside of the repository can't be as in a commit of it.
        let dirty = git(dir, &args).map_or(true, |text| !text.trim().is_empty());
        Self { revision: Some(revision), dirty, why: None }
    }
}

/// The top of the repository that a directory is in.
pub(super) fn top(dir: &Path) -> Option<PathBuf> {
    git(dir, &["rev-parse", "--show-toplevel"]).ok().map(|text| PathBuf::from(text.trim_end_matches('\n')))
}

/// Asks git. Its own rules of whose repositories it trusts hold: a hook or a file system monitor of somebody else must not
/// run as root.
fn git(dir: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(args).stdin(Stdio::null()).env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
    // Set in hooks, for the repository of the hook.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"] {
        command.env_remove(name);
    }
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "git is not installed".to_owned(),
        _ => format!("git cannot be run: {error}"),
    })?;
    if output.status.success() {
        return String::from_utf8(output.stdout).map_err(|_| "git's answer is not UTF-8".to_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(match errors.as_ref() {
        text if text.contains("not a git repository") => "it is not in a git repository".to_owned(),
        text if text.contains("dubious ownership") => {
            "git does not trust this repository: it belongs to somebody else".to_owned()
        }
        text if text.contains("Needed a single revision") => "its git repository has no commit yet".to_owned(),
        text => format!("git says: {}", greenroom_core::path::Shown(text.trim().as_bytes())),
    })
}
