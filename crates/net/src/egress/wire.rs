//! A socket with a bounded read buffer and deadlines. All reading of heads goes through here, so no peer can make it wait or
//! remember without end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::report::Meter;
use super::sockets::OpenSocket;

const READ_SIZE: usize = 32 * 1024;

/// Why no complete head came.
#[derive(Debug)]
pub(super) enum HeadError {
    /// The peer closed before the first byte of it.
    Closed,
    /// It is longer than allowed.
    TooLarge,
    /// It did not come in time.
    TimedOut,
    /// It ended in the middle, or the socket broke.
    Broken,
}

/// One side of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    socket: OpenSocket,
    buffer: Vec<u8>,
    start: usize,
    idle: Duration,
    meter: Option<Arc<Meter>>,
}

impl Wire {
    /// `idle` bounds every single read and write.
    pub(super) fn new(socket: OpenSocket, idle: Duration) -> io::Result<Self> {
        socket.stream().set_nodelay(true)?;
        socket.stream().set_write_timeout(Some(idle))?;
        Ok(Self { socket, buffer: Vec::new(), start: 0, idle, meter: None })
    }

    /// Counts from now on what is read (down) and written (up).
    pub(super) fn metered(mut self, meter: Arc<Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    pub(super) fn meter(&self) -> Option<&Arc<Meter>> {
        self.meter.as_ref()
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.socket.stream()
    }

    /// What was read and not yet consumed.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.buffer.len());
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
    }

    /// Reads once, at most [`READ_SIZE`] bytes, into the buffer. 0 means that the peer has closed its side.
    pub(super) fn fill(&mut self, deadline: Option<Instant>) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let wait = deadline.map_or(self.idle, |at| at.saturating_duration_since(Instant::now()).min(self.idle));
        if wait.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream().set_read_timeout(Some(wait))?;
        let held = self.buffer.len();
        self.buffer.resize(held + READ_SIZE, 0);
        let read = loop {
            match self.socket.stream().read(&mut self.buffer[held..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let count = read.as_ref().map_or(0, |n| *n);
        self.buffer.truncate(held + count);
        if let Some(meter) = &self.meter {
            meter.add_down(count);
        }
        read.map_err(timed_out)
    }

    /// Waits, at most the idle time, for a first byte. `false`: the peer closed or stayed silent.
    pub(super) fn wait_for_data(&mut self) -> bool {
        !self.buffered().is_empty() || self.fill(None).is_ok_and(|n| n > 0)
    }

    /// Reads until the buffer holds a whole head; gives its length with the empty line. The head stays buffered.
    pub(super) fn read_head(&mut self, max: usize, deadline: Instant) -> Result<usize, HeadError> {
        let mut searched = 0;
        loop {
            if let Some(end) = head_end(self.buffered(), searched) {
                return if end <= max { Ok(end) } else { Err(HeadError::TooLarge) };
            }
            let held = self.buffered().len();
            if held > max {
                return Err(HeadError::TooLarge);
            }
            searched = held.saturating_sub(3);
            match self.fill(Some(deadline)) {
                Ok(0) if held == 0 => return Err(HeadError::Closed),
                Ok(0) => return Err(HeadError::Broken),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::TimedOut => return Err(HeadError::TimedOut),
                Err(e) if held == 0 && e.kind() == ErrorKind::ConnectionReset => {
                    return Err(HeadError::Closed);
                }
                Err(_) => return Err(HeadError::Broken),
            }
        }
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_metered(self.socket.stream(), bytes, self.meter.as_deref())
    }

    /// Whether a connection that should be silent still is: nothing to read, not closed.
    pub(super) fn is_quiet(&self) -> bool {
        let stream = self.stream();
        if !self.buffered().is_empty() || stream.set_nonblocking(true).is_err() {
            return false;
        }
        let quiet = matches!(stream.peek(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock);
        stream.set_nonblocking(false).is_ok() && quiet
    }

    /// Says goodbye and reads a little of what is still under way: closing with unread data would send a reset, and that can
    /// destroy the answer before the peer has read it.
    pub(super) fn linger(mut self) {
        const MOST: usize = 256 * 1024;
        let deadline = Instant::now() + Duration::from_millis(500);
        if self.stream().shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        let mut seen = 0;
        while seen < MOST {
            let held = self.buffered().len();
            self.consume(held);
            match self.fill(Some(deadline)) {
                Ok(n) if n > 0 => seen += n,
                _ => return,
            }
        }
    }
}

/// Writes all of `bytes`, counting them as sent as they leave.
pub(super) fn write_metered(mut stream: &TcpStream, mut bytes: &[u8], meter: Option<&Meter>) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                if let Some(meter) = meter {
                    meter.add_up(n);
                }
                bytes = &bytes[n..];
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(timed_out(e)),
        }
    }
    Ok(())
}

/// A socket's time-out shows as `WouldBlock`.
fn timed_out(e: io::Error) -> io::Error {
    if e.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { e }
}

/// The end of the head: behind the first empty line. A bare LF ends a line as well (RFC 9112, section 2.2), and must here, because
/// the parser that reads the head takes it so.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(offset) = bytes[at..].iter().position(|&b| b == b'\n') {
        let lf = at + offset;
        match &bytes[lf + 1..] {
            [b'\n', ..] => return Some(lf + 2),
            [b'\r', b'\n', ..] => return Some(lf + 3),
            _ => at = lf + 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::head_end;

    #[test]
    fn where_a_head_ends() {
        for (bytes, end) in [
            ("GET / HTTP/1.1\r\nA: b\r\n\r\nbody", Some(24)),
            ("GET / HTTP/1.1\nA: b\n\nbody", Some(21)),
            ("GET / HTTP/1.1\r\nA: b\n\r\nbody", Some(23)),
            ("GET / HTTP/1.1\r\nA: b\r\n\r", None),
            ("\r\n", None),
            ("", None),
        ] {
            assert_eq!(head_end(bytes.as_bytes(), 0), end, "{bytes:?}");
            // However it arrives: what was searched before need not be searched again.
            for held in 0..bytes.len() {
                if head_end(&bytes.as_bytes()[..held], 0).is_none() {
                    assert_eq!(head_end(bytes.as_bytes(), held.saturating_sub(3)), end, "{bytes:?} at {held}");
                }
            }
        }
    }
}
