//! What goes wrong on a host while it runs on: it hangs, it is slow, its disk is full, its clock is off.

use super::{Lab, LabError, LabHost, cgroup, disk};
use std::fs;
use std::path::{Path, PathBuf};

/// The variables that make a program load libfaketime at `library`. Monotonic time and the times of files stay right.
fn variables(library: &Path, seconds: i64) -> [(&'static str, String); 4] {
    [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME", format!("{seconds:+}")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]
}

/// Where libfaketime is in a host's root; its directory has the name of the architecture.
fn library(root: &Path) -> Result<PathBuf, LabError> {
    let all = root.join("usr/lib");
    let dirs = fs::read_dir(&all).map_err(LabError::io("read", &all))?.flatten();
    let mut inside = dirs.map(|dir| Path::new("usr/lib").join(dir.file_name()).join("faketime/libfaketime.so.1"));
    let found = inside.find(|file| root.join(file).exists());
    found.ok_or_else(|| LabError::io("find libfaketime below", &all)(std::io::ErrorKind::NotFound.into()))
}

impl Lab {
    /// The environment with which a process of this machine sees the time `seconds` later than it is (earlier, when
    /// negative), as [`LabHost::shift_clock`] does for a unit of a host.
    ///
    /// # Errors
    /// The base has no libfaketime.
    pub fn off_clock(&self, seconds: i64) -> Result<[(&'static str, String); 4], LabError> {
        let base = &self.inner.base.root;
        Ok(variables(&base.join(library(base)?), seconds))
    }
}

impl LabHost {
    /// Stops every process of the host where it is, as a hung machine does: connections stay open, and nobody answers.
    /// [`LabHost::exec`] waits for its limit. A paused host can be killed.
    ///
    /// # Errors
    /// [`LabError::NotBooted`], or that the kernel has no freezer in its unified hierarchy.
    pub fn pause(&self) -> Result<(), LabError> {
        cgroup::freeze(self.leader()?, true)
    }

    /// Lets a paused host go on.
    ///
    /// # Errors
    /// As [`LabHost::pause`].
    pub fn resume(&self) -> Result<(), LabError> {
        cgroup::freeze(self.leader()?, false)
    }

    /// Gives the host at most `percent` of one processor until it is killed or, with `None`, until now.
    ///
    /// # Errors
    /// [`LabError::NotBooted`], or that the machine's control groups do not let us.
    pub fn limit_cpu(&self, percent: Option<u32>) -> Result<(), LabError> {
        self.machine()?.group().limit_cpu(self.leader()?, percent)
    }

    /// Lets the processes of `unit` that start from now until the next boot see the time `seconds` later than it is
    /// (earlier, when negative). A host cannot have a clock of its own: this is a library (libfaketime) loaded before the C
    /// library, so it reaches programs that ask the C library for the time, as Rust's `SystemTime` does, and none that
    /// ask the kernel themselves. Monotonic time is as it is. `None` takes it back.
    ///
    /// # Errors
    /// [`LabError::NotBooted`], or systemd refuses.
    pub fn shift_clock(&self, unit: &str, seconds: Option<i64>) -> Result<(), LabError> {
        let dir = format!("/run/systemd/system/{unit}.d");
        let script = match seconds {
            Some(seconds) => {
                let inside = Path::new("/").join(library(self.root())?);
                let lines = variables(&inside, seconds).map(|(name, value)| format!("Environment={name}={value}\n"));
                format!("mkdir -p '{dir}'; printf '[Service]\n{}' >'{dir}/lab-clock.conf'", lines.concat())
            }
            None => format!("rm -f '{dir}/lab-clock.conf'"),
        };
        self.exec_ok(&["sh", "-euc", &format!("{script}; systemctl daemon-reload")]).map(|_| ())
    }

    /// Takes every free block of the host's disk. What fills it is not in the host's tree.
    ///
    /// # Errors
    /// [`LabError::SharedDisk`] when the host was not made by [`Lab::host_on_disk`](super::Lab::host_on_disk).
    pub fn fill_disk(&self) -> Result<(), LabError> {
        disk::fill(&self.filler()?)
    }

    /// Gives the blocks back.
    ///
    /// # Errors
    /// As [`LabHost::fill_disk`].
    pub fn free_disk(&self) -> Result<(), LabError> {
        let filler = self.filler()?;
        fs::remove_file(&filler).map_err(LabError::io("remove", &filler))
    }

    fn filler(&self) -> Result<PathBuf, LabError> {
        let disk = self.own_disk.as_ref().ok_or_else(|| LabError::SharedDisk(self.name().to_owned()))?;
        Ok(disk.join("filler"))
    }
}
