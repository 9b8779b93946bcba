//! The system file on disk: found, read with all that it includes, and with what version control says of it.
//!
//! [`Declared::load`] is what every verb that concerns more than one host begins with; what it returns goes on record with
//! the change. What the file means is [`greenroom_core::system`]'s. [`init`] writes the first one.
//!
//! git(1) is asked and does not write: neither its index nor its configuration is touched. Without git, or outside of a
//! repository, there is no revision, and that is no error.

mod git;
pub mod init;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use greenroom_core::ContentHash;
use greenroom_core::document::Problem;
use greenroom_core::system::{Declaration, FILE_NAME, Files, NoEnvironment, System, Unsound};
use serde::Serialize;

pub use git::Version;

/// No system file is larger.
const LARGEST: u64 = 4 << 20;

/// A system as declared, with what tells later which declaration it was.
#[derive(Clone, Debug, Serialize)]
pub struct Declared {
    /// What is declared, for the environment that was asked for.
    pub system: System,
    /// The file.
    pub file: PathBuf,
    /// All files that it was read from, the first one first.
    pub files: Vec<PathBuf>,
    /// The environments that it declares.
    pub environments: Vec<String>,
    /// The commit of the repository that the file is in; `None` outside of one, before its first commit, or where git
    /// can't be asked.
    pub revision: Option<String>,
    /// Something in the file's directory or below it, or one of its files, is not as in that commit.
    pub dirty: bool,
    /// Why there is no revision.
    pub unversioned: Option<String>,
    /// [`System::hash`].
    pub hash: ContentHash,
}

/// Why there is no system.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// There is no system file in the directory or above it.
    #[error("there is no {FILE_NAME} in {} or above it", dir.display())]
    Absent {
        /// Where the search began.
        dir: PathBuf,
    },
    /// The file can't be read.
    #[error("cannot read {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not sound.
    #[error("{} is not a sound system file", file.display())]
    Unsound {
        /// The file.
        file: PathBuf,
        /// All that is wrong with it.
        problems: Vec<Problem>,
    },
    /// There is no such environment, or one is needed.
    #[error(transparent)]
    Environment(#[from] NoEnvironment),
}

impl Declared {
    /// Reads a system file, for an environment; `None` is the one that the file names itself.
    ///
    /// # Errors
    /// [`SystemError`]; `Absent` is not among them.
    pub fn load(file: &Path, environment: Option<&str>) -> Result<Self, SystemError> {
        let declaration = read(file)?;
        let system = declaration.system(environment)?.clone();
        let files: Vec<PathBuf> = declaration.files().iter().map(PathBuf::from).collect();
        let Version { revision, dirty, why } = Version::of(file, &files);
        Ok(Self {
            hash: system.hash(),
            environments: declaration.environments().map(str::to_owned).collect(),
            file: file.to_owned(),
            unversioned: why,
            system,
            files,
            revision,
            dirty,
        })
    }
}

/// The system file of a directory: in it, or in the nearest one above that has one.
///
/// # Errors
/// [`SystemError::Absent`].
pub fn find(dir: &Path) -> Result<PathBuf, SystemError> {
    let all = dir.ancestors().map(|dir| dir.join(FILE_NAME));
    // In the directory itself its name is enough, for people.
    let shown = |file: PathBuf| if file.parent() == Some(dir) { PathBuf::from(FILE_NAME) } else { file };
    all.into_iter().find(|file| file.is_file()).map(shown).ok_or_else(|| SystemError::Absent { dir: dir.to_owned() })
}

fn read(file: &Path) -> Result<Declaration, SystemError> {
    let unreadable = |source| SystemError::Unreadable { file: file.to_owned(), source };
    let Some(name) = file.to_str() else {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidFilename, "its name is not UTF-8")));
    };
    Declaration::read(name, &Disk).map_err(|unsound| match unsound {
        // Asked again for the error itself: a person hears of one of them.
        Unsound::Unreadable(why) => unreadable(text(file).err().unwrap_or_else(|| io::Error::other(why))),
        Unsound::Problems(problems) => SystemError::Unsound { file: file.to_owned(), problems },
    })
}

/// The files of this machine.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<String, String> {
        text(Path::new(path)).map_err(|error| error.to_string())
    }

    fn names(&self, dir: &str) -> Result<Vec<String>, String> {
        let dir = if dir.is_empty() { "." } else { dir };
        let names = fs::read_dir(dir)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
        let names = names.map_err(|error| error.to_string())?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }
}

/// The text of a regular file: a pipe would never end.
fn text(path: &Path) -> io::Result<String> {
    let meta = fs::metadata(path)?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !meta.is_file() || meta.len() > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a file, or larger than 4 MiB"));
    }
    fs::read_to_string(path)
}
