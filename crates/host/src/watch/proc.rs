//! What `/proc` says of a process that is still there.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use super::people;
use super::processes::Image;

/// The numbers of all processes.
pub(super) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether it is there.
pub(super) fn lives(pid: u32) -> bool {
    fs::symlink_metadata(format!("/proc/{pid}")).is_ok()
}

/// A process and the one it comes from. `None` when it is gone.
pub(super) fn read(pid: u32) -> Option<(Image, u32)> {
    let file = |name: &str| fs::read(format!("/proc/{pid}/{name}"));
    let status = String::from_utf8_lossy(&file("status").ok()?).into_owned();
    let field = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let number = |name: &str, index: usize| field(name)?.get(index)?.parse::<u32>().ok();
    let stat = String::from_utf8_lossy(&file("stat").ok()?).into_owned();
    // The name in parentheses may hold anything, also parentheses.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let terminal = after.split_whitespace().nth(4).and_then(|n| n.parse::<i32>().ok());
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let login = file("loginuid").ok().and_then(|text| String::from_utf8_lossy(&text).trim().parse().ok());
    let image = Image {
        comm: trimmed(file("comm").unwrap_or_default()),
        program: exe.map(|path| path.as_os_str().as_bytes().to_vec()).unwrap_or_default(),
        args: file("cmdline").unwrap_or_default(),
        uid: number("Uid:", 1),
        login: login.filter(|login| *login != u32::MAX),
        terminal: terminal.and_then(|n| people::terminal_of_number(n.cast_unsigned())),
        from: file("environ").ok().and_then(|env| people::ssh_source(&env)),
        unit: unit(pid),
    };
    Some((image, number("PPid:", 0).unwrap_or(0)))
}

/// The user it runs as by now.
pub(super) fn user(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The systemd unit of a process.
pub(super) fn unit(pid: u32) -> Option<String> {
    let text = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    // `0::/path` is the unified hierarchy, `n:name=systemd:/path` that of older machines.
    let mut found = None;
    for line in text.split(|b| *b == b'\n') {
        let mut fields = line.splitn(3, |b| *b == b':');
        let (Some(_), Some(name), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if name.is_empty() || name == b"name=systemd" {
            found = found.or_else(|| people::unit(path.rsplit(|b| *b == b'/')));
        }
    }
    found
}

fn trimmed(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let (image, parent) = read(std::process::id()).unwrap();
        assert_eq!(parent, rustix::process::getppid().unwrap().as_raw_nonzero().get().cast_unsigned());
        assert_eq!(image.uid, Some(rustix::process::geteuid().as_raw()));
        assert_eq!(user(std::process::id()), image.uid);
        assert!(image.args.starts_with(std::env::args().next().unwrap().as_bytes()));
        assert!(all().contains(&std::process::id()) && lives(std::process::id()));
        assert_eq!(read(u32::MAX), None);
    }
}
