//! The terminal of a person who is asked something: lines that are typed, texts that are longer than it, signals meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The terminal that standard input is, and the signals that ask this program to end.
pub(crate) struct Terminal {
    file: File,
    /// Can be read when the connection was lost or this program was told to end.
    end: UnixStream,
    /// Can be read when Ctrl-C was typed outside the shell.
    interrupt: UnixStream,
}

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A line, without its end and the blanks around it.
    Line(String),
    /// No answer: Ctrl-C, Ctrl-D, a signal, no terminal any more.
    None,
}

impl Terminal {
    /// Takes over the terminal; from now on its loss and the usual signals no longer end this program.
    pub(crate) fn take() -> io::Result<Self> {
        let no_controlling = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).write(true).custom_flags(no_controlling).open("/proc/self/fd/0")?;
        let (end, told) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGHUP, told.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGTERM, told)?;
        let (interrupt, told) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGINT, told)?;
        end.set_nonblocking(true)?;
        interrupt.set_nonblocking(true)?;
        Ok(Self { file, end, interrupt })
    }

    /// It, open for reading and writing.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// What can be read as soon as this program is to end.
    pub(crate) fn signals(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.end.as_fd(), self.interrupt.as_fd()]
    }

    /// Asks. What was typed before the question is no answer to it.
    pub(crate) fn ask(&self, question: &str) -> Answer {
        let _ = rustix::termios::tcflush(&self.file, rustix::termios::QueueSelector::IFlush);
        self.forget_interrupts();
        if (&self.file).write_all(question.as_bytes()).is_err() {
            return Answer::None;
        }
        let mut line = Vec::new();
        loop {
            let mut list = vec![PollFd::new(&self.file, PollFlags::IN)];
            list.extend(self.signals().into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut list, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Answer::None,
            }
            if list[1..].iter().any(|fd| !fd.revents().is_empty()) {
                let _ = (&self.file).write_all(b"\r\n");
                return Answer::None;
            }
            if list[0].revents().is_empty() {
                continue;
            }
            let mut buffer = [0u8; 1024];
            match (&self.file).read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return Answer::None,
                Ok(count) => line.extend_from_slice(&buffer[..count]),
            }
            if line.contains(&b'\n') {
                return Answer::Line(String::from_utf8_lossy(&line).trim().to_owned());
            }
        }
    }

    /// Says something at the terminal itself.
    pub(crate) fn tell(&self, text: &str) {
        // A terminal that is gone is noticed where it is read.
        let _ = (&self.file).write_all(text.as_bytes());
    }

    /// Shows a text on standard output: through the pager when it is longer than the terminal.
    pub(crate) fn show(&self, text: &str) {
        let rows = rustix::termios::tcgetwinsize(&self.file).map_or(24, |size| usize::from(size.ws_row));
        let long = rows > 0 && text.lines().count() + 2 > rows;
        let paged = long && io::IsTerminal::is_terminal(&io::stdout()) && self.page(text).is_ok();
        if !paged {
            // A terminal that is gone is noticed where it is read.
            let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
        }
    }

    fn page(&self, text: &str) -> io::Result<()> {
        let pager = crate::env::pager();
        // A pager that is not there must not swallow the text.
        let program = pager.split_whitespace().next().unwrap_or("less");
        let found =
            Command::new("/bin/sh").args(["-c", "command -v -- \"$1\"", "sh", program]).stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut command = Command::new("/bin/sh");
        // As git does: colours, no alternate screen, so that the text stays to be read at the question. The prompt says how to
        // get there.
        let line = format!(": \"${{LESS:=-RX -Psspace shows more, q ends the list$}}\"; export LESS; exec {pager}");
        command.args(["-c", &line]).stdin(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // The person may leave the pager before its end.
                input.map(|mut pipe| pipe.write_all(text.as_bytes()))
            });
            loop {
                if child.try_wait()?.is_some() {
                    return Ok(());
                }
                if readable(&self.end, Duration::from_millis(30)) {
                    let _ = child.kill();
                }
            }
        })
    }

    /// Ctrl-C in a pager was meant for the pager.
    fn forget_interrupts(&self) {
        let mut buffer = [0u8; 64];
        while (&self.interrupt).read(&mut buffer).is_ok_and(|count| count > 0) {}
    }
}

fn readable(stream: &UnixStream, wait: Duration) -> bool {
    let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
    poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&wait)).is_ok_and(|count| count > 0)
}
