//! Running a program with a limit on its time, its output collected.
//!
//! Both pipes are read by a thread each while the caller waits, so a talkative program never blocks on a full
//! pipe. At the limit the program (not what it started) is killed by its pid and reaped.

use super::LabError;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How a program ended and what it wrote.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit status, or the signal that ended it.
    pub status: ExitStatus,
    /// All it wrote on its standard output.
    pub stdout: Vec<u8>,
    /// All it wrote on its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// The exit code; 128 + the signal's number when a signal ended the program, as a shell tells it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// True for exit status 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.status.success()
    }

    /// The standard output as text, without the line ends at its end.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// The standard error as text, without the line ends at its end.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end().to_owned()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}\nstdout: {}\nstderr: {}", self.code(), self.out(), self.err())
    }
}

/// Runs `command` with `input` on its standard input.
///
/// # Errors
/// [`LabError::Start`] when it cannot be started, [`LabError::TimedOut`] when it ran into `limit`.
pub(crate) fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output, LabError> {
    let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let stdin = child.stdin.take();
    let input = input.to_vec();
    // Not joined: a program that never reads its input must not hold us up.
    thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            // A program may end without reading all of its input.
            let _ = stdin.write_all(&input);
        }
    });
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let Some(status) = wait(&mut child, limit) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(LabError::TimedOut { command: show(command), limit });
    };
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    Ok(Output { status, stdout, stderr })
}

/// Like [`run`] without input, and a status other than 0 is an error too.
///
/// # Errors
/// As [`run`], and [`LabError::Failed`].
pub(crate) fn run_ok(command: &mut Command, limit: Duration) -> Result<Output, LabError> {
    let output = run(command, b"", limit)?;
    must_succeed(show(command), output)
}

/// Turns a status other than 0 into [`LabError::Failed`].
pub(crate) fn must_succeed(command: String, output: Output) -> Result<Output, LabError> {
    if output.ok() {
        return Ok(output);
    }
    let text = format!("{}\n{}", output.out(), output.err());
    Err(LabError::Failed { command, status: format!("status {}", output.code()), output: tail(&text, 4000).to_owned() })
}

/// Starts a program.
///
/// # Errors
/// [`LabError::Start`].
pub(crate) fn start(command: &mut Command) -> Result<Child, LabError> {
    command
        .spawn()
        .map_err(|source| LabError::Start { program: command.get_program().to_string_lossy().into_owned(), source })
}

/// Waits at most `limit` for the end of `child`; `None` when it still runs.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// The last `bytes` of `text`, cut at a character.
pub(crate) fn tail(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// A command line for a message.
pub(crate) fn show(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

fn collect<R: Read + Send + 'static>(pipe: Option<R>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What arrived before a read error is still worth showing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}
