//! The services of Greenroom on a host: the watch, the daily scrub, and the agent where the host belongs to a control plane.
//!
//! [`install`] writes the units into the tree, enables them as `systemctl enable` does and, on the machine's own root, starts them;
//! [`uninstall`] takes all of it away again. Both can be repeated. What lies there belongs to Greenroom's own paths
//! ([`greenroom_core::policy`]): it is no drift, and a copy of the host does not start it ([`Site::masked`](crate::site::Site)).

pub(crate) mod guard;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_host::services::Manager;
use serde::Serialize;

use crate::EngineError;

/// Where an administrator's units are, in the tree.
const UNITS: &str = "etc/systemd/system";

/// What the timer runs.
const SCRUB: &str = "status --quiet --scrub";

/// A unit, its text, and the target that wants it.
struct Unit {
    name: &'static str,
    text: &'static str,
    wanted_by: Option<&'static str>,
}

const ALL: [Unit; 4] = [
    Unit {
        name: "greenroom-watch.service",
        text: include_str!("greenroom-watch.service"),
        wanted_by: Some("multi-user.target"),
    },
    Unit { name: "greenroom-scrub.service", text: include_str!("greenroom-scrub.service"), wanted_by: None },
    Unit {
        name: "greenroom-scrub.timer",
        text: include_str!("greenroom-scrub.timer"),
        wanted_by: Some("timers.target"),
    },
    Unit { name: AGENT, text: include_str!("greenroom-agent.service"), wanted_by: Some("multi-user.target") },
];

/// The unit of the agent.
pub(crate) const AGENT: &str = "greenroom-agent.service";

/// The unit of the control plane. Only the package brings it: nobody needs it twice on a machine.
const SERVE: (&str, &str) = ("greenroom-serve.service", include_str!("greenroom-serve.service"));

/// Where a package's units are, in the tree.
const PACKAGED: &str = "usr/lib/systemd/system";

/// What a copy of the host must not start, and what is started here.
pub const STARTED: [&str; 3] = ["greenroom-watch.service", "greenroom-scrub.timer", AGENT];

/// Where the program is looked for in a tree that is not the machine's own.
const PROGRAMS: [&str; 2] = ["usr/bin/greenroom", "usr/local/bin/greenroom"];

const PATIENCE: Duration = Duration::from_secs(90);

/// How to install.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The tree.
    pub root: &'a Path,
    /// The state directory as it was given, where it is not the usual one.
    pub state: Option<&'a Path>,
    /// The program that runs now: the one that the machine's own units start.
    pub program: &'a Path,
    /// Start the units, where systemd runs the tree.
    pub start: bool,
    /// The agent too, or still.
    pub agent: bool,
}

/// What was done to one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// `written`, `unchanged`, `removed`, `started`, `restarted`, `stopped`.
    pub done: &'static str,
    /// A path in the tree, or the name of a unit.
    pub what: String,
}

fn done(done: &'static str, what: impl Into<String>) -> Done {
    Done { done, what: what.into() }
}

/// The units as the package brings them, by name: nothing starts them until [`install`] enables those of a host.
#[must_use]
pub fn packaged(program: &str) -> Vec<(&'static str, String)> {
    let mut out: Vec<(&str, String)> =
        ALL.iter().map(|unit| (unit.name, of_package(unit.name, &unit.filled(program)))).collect();
    out.push((SERVE.0, SERVE.1.replace("@PROGRAM@", program)));
    out
}

/// A unit's text with a first line that says whose it is.
fn of_package(name: &str, text: &str) -> String {
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    let name = name.trim_end_matches(".service");
    format!("# Part of the package of Greenroom. Your own settings: systemctl edit {name}\n{rest}")
}

impl Unit {
    /// Its text, with what it starts.
    fn filled(&self, program: &str) -> String {
        self.text.replace("@PROGRAM@", program).replace("@SCRUB@", SCRUB)
    }
}

/// Sets the services up. Units that a package brought, and that say what would be written, are enabled as they are.
///
/// # Errors
/// The tree has no systemd or no program to start, a file cannot be written, or systemd does not start a unit.
pub fn install(wanted: &Wanted<'_>) -> Result<Vec<Done>, EngineError> {
    let root = tree(wanted.root)?;
    if !["usr/lib/systemd/systemd", "lib/systemd/systemd"].iter().any(|path| root.join(path).exists()) {
        let hint = "`greenroom watch` runs under any other supervisor as well; it stays in the foreground";
        return Err(EngineError::refused(format!("{} has no systemd", root.display()), hint));
    }
    let program = program(&root, wanted.program)?;
    let state = wanted.state.map_or_else(String::new, |state| format!("--state {} ", quoted(state)));
    let mut out = Vec::new();
    let wants = |name: &str| {
        let enabled = root.join(UNITS).join("multi-user.target.wants").join(name);
        name != AGENT || wanted.agent || fs::symlink_metadata(enabled).is_ok()
    };
    let units: Vec<&Unit> = ALL.iter().filter(|unit| wants(unit.name)).collect();
    for unit in &units {
        let text = unit.filled(format!("{program} {state}").trim_end());
        let brought = format!("{PACKAGED}/{}", unit.name);
        let is_brought = fs::read(root.join(&brought)).is_ok_and(|b| b == of_package(unit.name, &text).as_bytes());
        let own = format!("{UNITS}/{}", unit.name);
        if !is_brought {
            out.push(write(&root, &own, &text)?);
        } else if remove(&root, &own)? {
            out.push(done("removed", format!("/{own}")));
        }
        if let Some(target) = unit.wanted_by {
            let place = if is_brought { &brought } else { &own };
            out.push(link(&root, &format!("{UNITS}/{target}.wants/{}", unit.name), &format!("/{place}"))?);
        }
    }
    let manager = Manager::of(&root);
    if wanted.start && matches!(manager, Manager::Live) {
        let changed = out.iter().any(|one| one.done != "unchanged");
        systemctl(&manager, &["daemon-reload"])?;
        for unit in STARTED.into_iter().filter(|name| units.iter().any(|unit| unit.name == *name)) {
            let runs = manager.systemctl(&["is-active", "--quiet", unit], PATIENCE)?.code == 0;
            if runs && !changed {
                continue;
            }
            systemctl(&manager, &["restart", unit])?;
            out.push(done(if runs { "restarted" } else { "started" }, unit));
        }
    }
    Ok(out)
}

/// Takes the services away. What they recorded stays.
///
/// # Errors
/// A file cannot be removed, or systemd does not stop a unit.
pub fn uninstall(root: &Path) -> Result<Vec<Done>, EngineError> {
    let root = tree(root)?;
    let manager = Manager::of(&root);
    let mut out = Vec::new();
    let live = matches!(manager, Manager::Live);
    for unit in STARTED.iter().filter(|_| live) {
        if manager.systemctl(&["is-active", "--quiet", unit], PATIENCE)?.code == 0 {
            systemctl(&manager, &["stop", unit])?;
            out.push(done("stopped", *unit));
        }
    }
    for unit in &ALL {
        let wants = unit.wanted_by.map(|target| format!("{UNITS}/{target}.wants/{}", unit.name));
        for path in wants.into_iter().chain([format!("{UNITS}/{}", unit.name)]) {
            if remove(&root, &path)? {
                out.push(done("removed", format!("/{path}")));
            }
        }
    }
    guard::remove(&root)?;
    if live && !out.is_empty() {
        systemctl(&manager, &["daemon-reload"])?;
        // A watch that failed would be listed for ever.
        let _ = manager.systemctl(&["reset-failed", STARTED[0]], PATIENCE)?;
    }
    Ok(out)
}

/// Whether there was something to remove.
fn remove(root: &Path, path: &str) -> Result<bool, EngineError> {
    match fs::remove_file(root.join(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(EngineError::file("remove", root.join(path))(error)),
    }
}

fn tree(root: &Path) -> Result<PathBuf, EngineError> {
    let root = fs::canonicalize(root).map_err(EngineError::file("find", root))?;
    // In a tree that somebody else made a link could lead the units anywhere.
    let real = fs::canonicalize(root.join(UNITS));
    match real {
        Ok(real) if real != root.join(UNITS) => Err(EngineError::refused(
            format!("{} is not a directory of its own", root.join(UNITS).display()),
            "a link there leads somewhere else: put the directory itself in its place",
        )),
        _ => Ok(root),
    }
}

/// The program as the units name it: a path in the tree.
fn program(root: &Path, running: &Path) -> Result<String, EngineError> {
    if root == Path::new("/") {
        return Ok(quoted(running));
    }
    let found = PROGRAMS.iter().find(|path| root.join(path).is_file());
    found.map(|path| format!("/{path}")).ok_or_else(|| {
        EngineError::refused(
            format!("there is no greenroom in {}", root.display()),
            format!("copy it to {} first", root.join(PROGRAMS[0]).display()),
        )
    })
}

/// A path in a unit file: systemd.syntax(7), and `%` stands for something there.
fn quoted(path: &Path) -> String {
    let text =
        path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if text.contains([' ', '"', '\'', '\\', ';']) { format!("\"{text}\"") } else { text }
}

fn systemctl(manager: &Manager<'_>, args: &[&str]) -> Result<(), EngineError> {
    let answer = manager.systemctl(args, PATIENCE)?;
    if answer.code == 0 {
        return Ok(());
    }
    let doing = format!("run `systemctl {}`", args.join(" "));
    Err(EngineError::System { doing, source: io::Error::other(answer.text.trim().to_owned()) })
}

fn write(root: &Path, path: &str, text: &str) -> Result<Done, EngineError> {
    let at = root.join(path);
    if fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_file())
        && fs::read(&at).is_ok_and(|old| old == text.as_bytes())
    {
        return Ok(done("unchanged", format!("/{path}")));
    }
    // A name of Greenroom's own, should it stay behind.
    let new = at.with_file_name(".greenroom");
    let put = || {
        if let Some(dir) = at.parent() {
            fs::create_dir_all(dir)?;
        }
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o644).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &at)
    };
    put().map_err(EngineError::file("write", at.clone()))?;
    Ok(done("written", format!("/{path}")))
}

fn link(root: &Path, path: &str, target: &str) -> Result<Done, EngineError> {
    let at = root.join(path);
    if fs::read_link(&at).is_ok_and(|old| old == Path::new(target)) {
        return Ok(done("unchanged", format!("/{path}")));
    }
    let put = || {
        if let Some(dir) = at.parent() {
            fs::create_dir_all(dir)?;
        }
        match fs::remove_file(&at) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => symlink(target, &at),
        }
    };
    put().map_err(EngineError::file("write", at.clone()))?;
    Ok(done("written", format!("/{path}")))
}
