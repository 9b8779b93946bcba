//! Mounted file systems, from /proc/PID/mountinfo (proc(5)).

use std::collections::BTreeMap;
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
const PASSING: &[&str] = &["/proc", "/sys", "/dev", "/run", "/var/lib/docker", "/var/lib/containers"];

pub(super) fn read(target: Target) -> BTreeMap<String, Mount> {
    parse(&fs::read(format!("{}/mountinfo", target.proc())).unwrap_or_default())
}

fn parse(text: &[u8]) -> BTreeMap<String, Mount> {
    let text = String::from_utf8_lossy(text);
    let mut out = BTreeMap::new();
    for line in text.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let (Some(root), Some(at)) = (head.split(' ').nth(3), head.split(' ').nth(4)) else { continue };
        let mut tail = tail.split(' ');
        let (Some(fstype), Some(source)) = (tail.next(), tail.next()) else { continue };
        let at = unescape(at);
        let passing = |top: &str| at.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if PASSING.iter().any(|top| passing(top)) || fstype == "autofs" {
            continue;
        }
        // A bind mount says which part of its source it shows.
        let source = if root == "/" { unescape(source) } else { format!("{}[{}]", unescape(source), unescape(root)) };
        // The last one on a place hides those below.
        out.insert(at, Mount { source, fstype: fstype.to_owned() });
    }
    out
}

/// `\040` for a space, and its like for tab, newline and backslash.
fn unescape(field: &str) -> String {
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
        let found: Vec<String> = parse(text).iter().map(|(at, m)| format!("{at} {} {}", m.source, m.fstype)).collect();
        let expected =
            ["/ overlay overlay", "/mnt /dev/sda1[/home/x] ext4", "/runner none tmpfs", "/srv/my data /dev/sdb1 ext4"];
        assert_eq!(found, expected);
    }
}
