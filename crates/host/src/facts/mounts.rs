//! Mounted file systems, from /proc/PID/mountinfo (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::Target;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: String,
    /// The file system's type.
    pub fstype: String,
}

/// Below these mounts come and go with the machine and its services.
const PASSING: &[&str] =
    &["/proc", "/sys", "/dev", "/run", "/var/lib/docker", "/var/lib/containers", "/var/lib/kubelet"];

/// A line of mountinfo.
#[derive(Debug)]
pub(super) struct Line {
    /// Where.
    pub(super) at: String,
    /// Which part of the source is shown: `/` for all of it.
    root: String,
    /// What.
    pub(super) source: String,
    pub(super) fstype: String,
    /// Options of the mount, and `ro` also when the file system as a whole is.
    pub(super) options: BTreeSet<String>,
}

impl Line {
    /// It comes and goes with the machine and its services.
    pub(super) fn passes(&self) -> bool {
        PASSING.iter().any(|top| is_below(&self.at, top)) || matches!(self.fstype.as_str(), "autofs" | "rpc_pipefs")
    }

    /// `source`, and of a bind mount the part that it shows.
    pub(super) fn part_of(&self, source: &str) -> String {
        if self.root == "/" { source.to_owned() } else { format!("{source}[{}]", self.root) }
    }
}

pub(super) fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn read(target: Target) -> BTreeMap<String, Mount> {
    lasting(&fs::read(format!("{}/mountinfo", target.proc())).unwrap_or_default())
}

fn lasting(text: &[u8]) -> BTreeMap<String, Mount> {
    let lines = parse(text).into_iter().filter(|line| !line.passes());
    // The last one on a place hides those below.
    lines.map(|line| (line.at.clone(), Mount { source: line.part_of(&line.source), fstype: line.fstype })).collect()
}

/// All lines of a mountinfo.
pub(super) fn parse(text: &[u8]) -> Vec<Line> {
    String::from_utf8_lossy(text).lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let (head, tail) = text.split_once(" - ")?;
    let mut head = head.split(' ').skip(3);
    let (root, at, of_mount) = (head.next()?, head.next()?, head.next()?);
    let mut tail = tail.split(' ');
    let (fstype, source, of_whole) = (tail.next()?, tail.next()?, tail.next().unwrap_or(""));
    let mut options: BTreeSet<String> = of_mount.split(',').map(str::to_owned).collect();
    if of_whole.split(',').any(|option| option == "ro") {
        options.insert("ro".to_owned());
    }
    Some(Line { at: unescape(at), root: unescape(root), source: unescape(source), fstype: fstype.to_owned(), options })
}

/// `\040` for a space, and its like for tab, newline and backslash.
pub(super) fn unescape(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let text = b"104 83 0:41 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a\n\
            117 104 0:50 / /proc rw,nosuid - proc proc rw\n\
            62 110 0:53 / /run/lock rw - tmpfs tmpfs rw\n\
            70 104 8:17 / /srv/my\\040data rw shared:9 master:1 - ext4 /dev/sdb1 rw\n\
            71 104 8:1 /home/x /mnt rw - ext4 /dev/sda1 rw\n\
            72 104 0:99 / /runner rw - tmpfs none rw\n\
            broken line\n";
        let found: Vec<String> =
            lasting(text).iter().map(|(at, m)| format!("{at} {} {}", m.source, m.fstype)).collect();
        let expected =
            ["/ overlay overlay", "/mnt /dev/sda1[/home/x] ext4", "/runner none tmpfs", "/srv/my data /dev/sdb1 ext4"];
        assert_eq!(found, expected);
    }
}
