//! Words for who did something: names of users, command lines, terminals, units. All of it is text that a process chose for
//! itself, so what could act on a terminal or forge a line is escaped here, once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use greenroom_core::path::Shown;

/// The longest command line that is kept, in bytes.
const COMMAND: usize = 1024;

/// The user names of a tree.
pub(super) struct Names {
    passwd: PathBuf,
    read: Option<SystemTime>,
    names: HashMap<u32, String>,
    /// The list was looked at since [`Names::again`].
    looked: bool,
}

impl Names {
    pub(super) fn new(passwd: PathBuf) -> Self {
        Self { passwd, read: None, names: HashMap::new(), looked: false }
    }

    /// The next name that is asked for may be a new one.
    pub(super) fn again(&mut self) {
        self.looked = false;
    }

    /// The name of a user, or its number.
    pub(super) fn of(&mut self, uid: u32) -> String {
        if !self.looked {
            self.looked = true;
            self.look();
        }
        self.names.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    fn look(&mut self) {
        let changed = fs::metadata(&self.passwd).and_then(|meta| meta.modified()).ok();
        if changed != self.read {
            self.read = changed;
            let text = fs::read(&self.passwd).unwrap_or_default();
            self.names = parse_passwd(&String::from_utf8_lossy(&text));
        }
    }
}

fn parse_passwd(text: &str) -> HashMap<u32, String> {
    let mut out = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok())) {
            // Of two names for one number the first is what getpwuid gives.
            out.entry(uid).or_insert_with(|| Shown(name.as_bytes()).to_string());
        }
    }
    out
}

/// A command line as a person would have typed it. `args` are ended by NUL each.
pub(super) fn command(args: &[u8]) -> Option<String> {
    let args = args.strip_suffix(b"\0").unwrap_or(args);
    if args.is_empty() {
        return None;
    }
    let mut out = String::new();
    for arg in args.split(|b| *b == 0) {
        if !out.is_empty() {
            out.push(' ');
        }
        if out.len() > COMMAND {
            out.push('…');
            break;
        }
        quote(arg, &mut out);
    }
    if out.len() > COMMAND + 200 {
        let cut = (0..=COMMAND).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        out.truncate(cut);
        out.push('…');
    }
    Some(out)
}

/// One argument, so that a shell would read it back.
fn quote(arg: &[u8], out: &mut String) {
    let shown = Shown(arg).to_string();
    let plain = |c: char| c.is_alphanumeric() || "_-./:=,+@%^~".contains(c);
    if !shown.is_empty() && shown.chars().all(plain) {
        out.push_str(&shown);
        return;
    }
    // What `Shown` only did to a backslash needs no other form of quoting.
    match std::str::from_utf8(arg) {
        Ok(text) if shown == text.replace('\\', "\\\\") => {
            let _ = write!(out, "'{}'", text.replace('\'', "'\\''"));
        }
        _ => {
            let _ = write!(out, "$'{}'", shown.replace('\'', "\\'"));
        }
    }
}

/// `pts/3`, from what the kernel calls `pts3`.
pub(super) fn terminal(kernel: &[u8]) -> Option<String> {
    if kernel.is_empty() {
        return None;
    }
    let name = Shown(kernel).to_string();
    Some(match name.strip_prefix("pts") {
        Some(number) if number.bytes().all(|b| b.is_ascii_digit()) => format!("pts/{number}"),
        _ => name,
    })
}

/// `pts/3`, from the number in `/proc/PID/stat`.
pub(super) fn terminal_of_number(number: u32) -> Option<String> {
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
    match (major, minor) {
        (0, 0) => None,
        (136..=143, _) => Some(format!("pts/{}", minor + (major - 136) * 256)),
        (4, 0..=63) => Some(format!("tty{minor}")),
        (4, _) => Some(format!("ttyS{}", minor - 64)),
        (5, 1) => Some("console".to_owned()),
        _ => Some(format!("{major}:{minor}")),
    }
}

/// The systemd unit among names of control groups, innermost first.
pub(super) fn unit<'a>(groups: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let kinds: [&[u8]; 5] = [b".service", b".scope", b".mount", b".socket", b".swap"];
    let found = groups.into_iter().find(|name| kinds.iter().any(|kind| name.ends_with(kind)))?;
    Some(Shown(found).to_string())
}

/// The client's address, from an environment.
pub(super) fn ssh_source(env: &[u8]) -> Option<String> {
    let value = env.split(|b| *b == 0).find_map(|one| one.strip_prefix(b"SSH_CONNECTION="))?;
    let address = std::str::from_utf8(value).ok()?.split(' ').next()?;
    // It is the process's own word: only what is an address gets through.
    address.split('%').next()?.parse::<std::net::IpAddr>().ok().map(|_| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_and_cannot_act_on_a_terminal() {
        let table: &[(&[u8], Option<&str>)] = &[
            (b"sed\0-i\0s/a/b/\0/etc/x\0", Some("sed -i s/a/b/ /etc/x")),
            (b"sh\0-c\0echo x > /etc/f\0", Some("sh -c 'echo x > /etc/f'")),
            (b"echo\0it's\0\0", Some("echo 'it'\\''s' ''")),
            (b"sed\0s/\\./x/\0", Some("sed 's/\\./x/'")),
            (b"x\0\x1b[2Jroot\n\0", Some("x $'\\u{1b}[2Jroot\\n'")),
            (b"x\0\xff\0", Some("x $'\\xff'")),
            (b"", None),
        ];
        for (args, want) in table {
            assert_eq!(command(args).as_deref(), *want);
        }
        let long = command(&[b"x".as_slice(); 5000].concat()).unwrap();
        assert!(long.len() < 1100 && long.ends_with('…'));
    }

    #[test]
    fn terminals_units_and_addresses() {
        assert_eq!(terminal(b"pts3").as_deref(), Some("pts/3"));
        assert_eq!(terminal(b"tty1").as_deref(), Some("tty1"));
        assert_eq!(terminal(b""), None);
        assert_eq!(terminal_of_number(0), None);
        assert_eq!(terminal_of_number(136 << 8 | 3).as_deref(), Some("pts/3"));
        assert_eq!(terminal_of_number(4 << 8 | 1).as_deref(), Some("tty1"));
        assert_eq!(terminal_of_number(4 << 8 | 64).as_deref(), Some("ttyS0"));
        let groups: [&[u8]; 3] = [b"payload", b"nginx.service", b"system.slice"];
        assert_eq!(unit(groups).as_deref(), Some("nginx.service"));
        assert_eq!(unit([&b"user.slice"[..]]), None);
        assert_eq!(ssh_source(b"A=1\0SSH_CONNECTION=10.0.0.7 22 1.2.3.4 5\0").as_deref(), Some("10.0.0.7"));
        assert_eq!(ssh_source(b"SSH_CONNECTION=fe80::1%eth0 22 x 5\0").as_deref(), Some("fe80::1%eth0"));
        assert_eq!(ssh_source(b"SSH_CONNECTION=\x1b[31m 22\0"), None);
    }

    #[test]
    fn the_first_of_two_names_counts() {
        let names = parse_passwd("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbad\nanna:x:1000:1000::/:/bin/sh");
        assert_eq!((names[&0].as_str(), names[&1000].as_str(), names.len()), ("root", "anna", 2));
    }
}
