//! A person at a shell in a copy: a pseudo terminal of our own between the person's terminal and what runs in the copy.
//!
//! ```text
//! the person's terminal (raw) ─► this loop ─► pseudo terminal ─► nsenter / systemd-nspawn ─► the copy's own terminal ─► shell
//!                             ◄─ tap ◄────────────────────────◄
//! ```
//! The shell is in a session of its own. So a connection that drops, or a signal that ends this program, does not kill it
//! behind our back: the loop sees that the person is gone, hangs up, and the caller still has the copy with all that was
//! done in it. What is shown goes through a tap, which may keep and take out pieces. Not here: what the pieces mean.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::nspawn::kill_tree;

/// Sees what is shown, and writes what is to reach the person.
pub type Tap<'a> = dyn FnMut(&[u8], &mut Vec<u8>) + 'a;

/// A person's terminal, lent to a shell in a copy.
pub struct Seat<'a> {
    /// The terminal, open for reading and writing.
    pub terminal: BorrowedFd<'a>,
    /// As soon as one of these can be read, the shell is hung up on.
    pub stop: Vec<BorrowedFd<'a>>,
    /// Everything that is shown goes through it.
    pub tap: &'a mut Tap<'a>,
    /// Afterwards: the shell did not end by itself; the terminal went away, or a stop was asked for.
    pub lost: bool,
}

/// How often the size of the window is looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// So long what a shell said last may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// So long a shell that was hung up on may take to end: it writes its history.
const FAREWELL: Duration = Duration::from_secs(3);

/// So much of what is typed or pasted waits, in bytes, until the shell takes it.
const WAITING: usize = 64 * 1024;

/// What may have happened, as of the last wait.
struct Events {
    ended: bool,
    stop: bool,
    typed: bool,
    shown: bool,
    room: bool,
}

impl Seat<'_> {
    /// Runs a command at this terminal, and gives the terminal back as it was.
    ///
    /// # Errors
    /// It is no terminal, or the command cannot be started. That the person went away is none: see [`Seat::lost`].
    pub fn run(&mut self, mut command: Command) -> io::Result<ExitStatus> {
        let settings = tcgetattr(self.terminal)?;
        let (ours, theirs) = pair(&settings)?;
        self.fit(&ours);
        command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
        let take_seat = || {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        };
        // SAFETY: between fork and exec only setsid(2) and ioctl(2) are called, on the child's own standard input.
        unsafe { command.pre_exec(take_seat) };
        let raw = Raw::enter(self.terminal, settings)?;
        let mut child = command.spawn()?;
        // The command holds the other side open; only the child shall.
        drop(command);
        let mut ours = Some(std::fs::File::from(ours));
        let outcome = self.serve(&child, &mut ours);
        drop(raw);
        // Closing our side is what hangs up.
        drop(ours);
        self.lost |= outcome.is_err();
        end(&mut child)
    }

    /// Passes on what is typed and shown until the child ends or the person is gone.
    fn serve(&mut self, child: &Child, ours: &mut Option<std::fs::File>) -> io::Result<()> {
        let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let Some(master) = ours.as_mut() else { return Ok(()) };
        rustix::io::ioctl_fionbio(&*master, true)?;
        let mut terminal = std::fs::File::from(self.terminal.try_clone_to_owned()?);
        let (mut waiting, mut open) = (Vec::new(), true);
        loop {
            self.fit(&*master);
            let events = self.wait(&pidfd, master, waiting.len(), open)?;
            if events.stop {
                self.lost = true;
                return Ok(());
            }
            if events.shown {
                open = self.show(master, &mut terminal)?;
            }
            if events.typed && !type_into(&mut terminal, &mut waiting)? {
                self.lost = true;
                return Ok(());
            }
            if (events.room || events.typed) && !waiting.is_empty() {
                push(master, &mut waiting)?;
            }
            if events.ended {
                return self.rest(master, &mut terminal);
            }
        }
    }

    fn wait(&self, pidfd: &OwnedFd, master: &std::fs::File, waiting: usize, open: bool) -> io::Result<Events> {
        let typing = if waiting < WAITING { PollFlags::IN } else { PollFlags::empty() };
        let room = if waiting > 0 { PollFlags::OUT } else { PollFlags::empty() };
        let mut list = vec![PollFd::new(pidfd, PollFlags::IN), PollFd::from_borrowed_fd(self.terminal, typing)];
        list.extend(self.stop.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        if open {
            list.push(PollFd::new(master, PollFlags::IN | room));
        }
        match poll(&mut list, Some(&TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let any = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let stops = &list[2..2 + self.stop.len()];
        let master = if open { list[list.len() - 1].revents() } else { PollFlags::empty() };
        Ok(Events {
            ended: any(&list[0]),
            stop: stops.iter().any(any),
            typed: any(&list[1]),
            shown: master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            room: master.contains(PollFlags::OUT),
        })
    }

    /// Shows what the shell said last. It may arrive a moment after the shell has ended: until nobody has the other side open any
    /// more, or for a moment where somebody in the background keeps it.
    fn rest(&mut self, master: &mut std::fs::File, terminal: &mut std::fs::File) -> io::Result<()> {
        let until = Instant::now() + LAST_WORDS;
        while self.show(master, terminal)? && Instant::now() < until {
            match poll(&mut [PollFd::new(&*master, PollFlags::IN)], Some(&TICK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Shows what is there now. Returns whether more may come.
    fn show(&mut self, master: &mut std::fs::File, terminal: &mut std::fs::File) -> io::Result<bool> {
        let (mut buffer, mut out) = ([0u8; 16 * 1024], Vec::new());
        loop {
            let more = match master.read(&mut buffer) {
                Ok(0) => Some(false),
                Ok(count) => {
                    (self.tap)(&buffer[..count], &mut out);
                    None
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                // Nobody has the other side open any more.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Some(false),
                Err(error) => return Err(error),
            };
            // Piece by piece: somebody who prints without end must not keep us from hearing that we are to stop.
            if more.is_some() || out.len() >= buffer.len() {
                terminal.write_all(&out)?;
                return Ok(more.unwrap_or(true));
            }
        }
    }

    /// Gives the shell's terminal the size of the person's.
    fn fit(&self, master: impl std::os::fd::AsFd) {
        if let Ok(size) = tcgetwinsize(self.terminal)
            && tcgetwinsize(&master).is_ok_and(|now| (now.ws_row, now.ws_col) != (size.ws_row, size.ws_col))
        {
            let _ = tcsetwinsize(&master, size);
        }
    }
}

/// A new pseudo terminal with these settings: our side and the other.
fn pair(settings: &Termios) -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::fs::{Mode, OFlags};
    let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&ours)?;
    rustix::pty::unlockpt(&ours)?;
    let name = rustix::pty::ptsname(&ours, Vec::new())?;
    let theirs = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    tcsetattr(theirs.as_fd(), OptionalActions::Now, settings)?;
    Ok((ours, theirs))
}

/// Takes what was typed. `false`: the terminal is gone.
fn type_into(terminal: &mut std::fs::File, waiting: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0u8; 4096];
    match terminal.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(count) => {
            waiting.extend_from_slice(&buffer[..count]);
            Ok(true)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => Ok(true),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Hands on as much as the shell takes now.
fn push(master: &mut std::fs::File, waiting: &mut Vec<u8>) -> io::Result<()> {
    match master.write(waiting) {
        Ok(count) => {
            waiting.drain(..count);
            Ok(())
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
        // Nobody reads any more: the child is about to end.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            waiting.clear();
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Waits for a child that is ending, and ends it when it does not.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let until = Instant::now() + FAREWELL;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    kill_tree(child);
    child.wait()
}

/// The terminal hands on every key as it is; on drop it is as before.
struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn enter(terminal: BorrowedFd<'a>, before: Termios) -> io::Result<Self> {
        let mut raw = before.clone();
        raw.make_raw();
        // What was typed ahead stays.
        tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
