//! Every environment variable that the program reads. Nothing else in the house reads the environment.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use greenroom_store::ledger::Actor;

/// A variable and what it does, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// All of them; `cargo xtask gen` puts them into docs/reference.md.
pub const VARIABLES: &[Variable] = &[
    Variable { name: "AWS_ACCESS_KEY_ID", help: "lets `serve --blobs s3://…` into the bucket" },
    Variable { name: "AWS_SECRET_ACCESS_KEY", help: "its secret" },
    Variable {
        name: "GREENROOM_AUTHORITY",
        help: "the file of the authority of the control plane that GREENROOM_SERVER names",
    },
    Variable {
        name: "GREENROOM_PERSON",
        help: "who asks, as the agent was told by the control plane: goes into the ledger",
    },
    Variable { name: "GREENROOM_SERVER", help: "the control plane, before what `greenroom login` wrote" },
    Variable {
        name: "GREENROOM_STATE",
        help: "where rehearsals, contents and the ledger are kept, unless --state says so",
    },
    Variable { name: "GREENROOM_TOKEN", help: "who asks the control plane that GREENROOM_SERVER names" },
    Variable {
        name: "HOME",
        help: "whose ssh configuration `init` reads, where SUDO_USER does not say; below it is what `login` wrote",
    },
    Variable { name: "NOTIFY_SOCKET", help: "where systemd is told that `watch`, `agent` or `serve` has begun" },
    Variable { name: "NO_COLOR", help: "when set and not empty: no colours" },
    Variable { name: "PAGER", help: "shows what is longer than the terminal in `hotfix`; `less` when it is not set" },
    Variable { name: "SSH_CONNECTION", help: "where the person's session comes from: goes into the ledger" },
    Variable {
        name: "SUDO_USER",
        help: "who the person is, where the kernel does not say: goes into the ledger; whose ssh configuration `init` reads",
    },
    Variable {
        name: "TERM",
        help: "handed on to the change, so that `--shell` knows its terminal; `dumb`: nothing is drawn in place",
    },
    Variable { name: "XDG_CONFIG_HOME", help: "where `greenroom login` writes, instead of ~/.config" },
];

/// What the agent says to the commands that it runs for people: who asks.
pub(crate) const PERSON: &str = "GREENROOM_PERSON";

/// The control plane that the environment names: its address, the token, the file of its authority.
pub(crate) fn server() -> Option<(String, String, std::path::PathBuf)> {
    let server = env::var("GREENROOM_SERVER").ok().filter(|url| !url.is_empty())?;
    let token = env::var("GREENROOM_TOKEN").unwrap_or_default();
    Some((server, token, env::var_os("GREENROOM_AUTHORITY").unwrap_or_default().into()))
}

/// What lets the control plane into a bucket; without it the machine's own role does.
pub(crate) fn s3_credentials() -> Option<(String, String)> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    Some((set("AWS_ACCESS_KEY_ID")?, set("AWS_SECRET_ACCESS_KEY")?))
}

/// Where this user's configuration is.
pub(crate) fn config_dir() -> Option<std::path::PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(std::path::PathBuf::from);
    Some(set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?.join("greenroom"))
}

/// The words of this command without what is about this machine: `--on`, `--state` and `--progress` with their values.
pub(crate) fn words_for_elsewhere() -> Vec<String> {
    const HERE: [&str; 3] = ["--on", "--state", "--progress"];
    let mut out = Vec::new();
    let mut words = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        if HERE.contains(&word.as_str()) {
            words.next();
        } else if !word.split_once('=').is_some_and(|(name, _)| HERE.contains(&name)) {
            out.push(word);
        }
    }
    out
}

/// Whether colours are unwanted.
pub(crate) fn no_color() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Whether the terminal can only write one line after the other.
pub(crate) fn dumb_terminal() -> bool {
    env::var("TERM").is_ok_and(|term| term == "dumb")
}

/// Tells the service manager that started this process something (sd_notify(3)). Without one, nobody is told.
pub(crate) fn tell_manager(text: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
}

/// The command that shows long texts.
pub(crate) fn pager() -> String {
    env::var("PAGER").ok().filter(|pager| !pager.trim().is_empty()).unwrap_or_else(|| "less".to_owned())
}

/// What a change finds in its environment, besides the proxy.
pub(crate) fn for_change() -> Vec<(String, String)> {
    let fixed = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("GREENROOM", "copy"),
    ];
    let mut out: Vec<_> = fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    out.push(("TERM".to_owned(), env::var("TERM").unwrap_or_else(|_| "dumb".to_owned())));
    out
}

/// Who runs this process: the effective user, and the person behind it as far as the system knows.
pub(crate) fn actor() -> Actor {
    let uid = rustix::process::geteuid().as_raw();
    let login = std::fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse::<u32>().ok());
    let login_user = match login {
        Some(login) if login != u32::MAX && login != uid => Some(user_name(login)),
        _ => env::var("SUDO_USER").ok(),
    };
    let tty = std::fs::read_link("/proc/self/fd/0").ok().map(|path| path.display().to_string());
    let from = env::var("SSH_CONNECTION").ok().and_then(|text| text.split(' ').next().map(str::to_owned));
    let words: Vec<String> = env::args_os().map(|word: OsString| word.to_string_lossy().into_owned()).collect();
    if let Some(person) = env::var(PERSON).ok().filter(|person| !person.is_empty()) {
        let from = Some("control plane".to_owned());
        return Actor { user: person, uid, from, command: Some(words.join(" ")), ..Actor::default() };
    }
    Actor {
        user: user_name(uid),
        uid,
        login_user,
        tty: tty.filter(|tty| tty.starts_with("/dev/") && tty != "/dev/null"),
        from: from.filter(|from| !from.is_empty()),
        command: Some(words.join(" ")),
    }
}

/// The home of the person who runs this process, also behind sudo(8).
pub(crate) fn home() -> Option<PathBuf> {
    let of_sudo = env::var("SUDO_USER").ok().and_then(|user| {
        let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let line = table.lines().find(|line| line.split(':').next() == Some(user.as_str()))?;
        line.split(':').nth(5).map(PathBuf::from)
    });
    of_sudo.or_else(|| env::var_os("HOME").map(PathBuf::from)).filter(|home| home.is_absolute())
}

fn user_name(uid: u32) -> String {
    let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}
