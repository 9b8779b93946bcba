//! Running a tool whose output is a fact: bounded in time, in a clean environment, its process group ended with it.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

/// A tool that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no output.
#[derive(Debug)]
pub(super) enum Failed {
    /// There is no such tool.
    Missing,
    /// It failed, or took too long.
    Broken(String),
}

/// Runs `argv` in the namespaces of the calling thread; its standard output when it ends well.
pub(super) fn run(argv: &[&str]) -> Result<String, Failed> {
    let mut command = Command::new(argv[0]);
    command
        .args(&argv[1..])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .env("SYSTEMD_PAGER", "")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = command.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Failed::Missing,
        _ => Failed::Broken(format!("{} could not be started: {e}", argv[0])),
    })?;
    let read = drain(&mut child);
    if read.is_none() {
        end(&child);
    }
    let status = child.wait().map_err(|e| Failed::Broken(format!("{}: {e}", argv[0])))?;
    match read {
        None => Err(Failed::Broken(format!("{} did not answer within {} s", argv[0], PATIENCE.as_secs()))),
        // 127: nsenter(1) found no such tool inside.
        Some(_) if status.code() == Some(127) => Err(Failed::Missing),
        Some(_) if !status.success() => Err(Failed::Broken(format!("{} ended with {status}", argv.join(" ")))),
        Some(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// All it prints, `None` when time is up before it is done.
fn drain(child: &mut Child) -> Option<Vec<u8>> {
    let mut pipe = child.stdout.take()?;
    let until = Instant::now() + PATIENCE;
    let mut out = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let left = Timespec::try_from(until.checked_duration_since(Instant::now())?).ok()?;
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&left)) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
        }
        match pipe.read(&mut chunk) {
            Ok(0) => return Some(out),
            Ok(n) => out.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

fn end(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // It may have ended by itself in this moment; there is nothing to do about it then.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        assert_eq!(run(&["echo", "a b"]).unwrap(), "a b\n");
        assert!(matches!(run(&["no-such-tool-here"]), Err(Failed::Missing)));
        assert!(matches!(run(&["sh", "-c", "exit 127"]), Err(Failed::Missing)));
        assert!(matches!(run(&["false"]), Err(Failed::Broken(why)) if why.contains("false")));
    }
}
