//! A CONNECT tunnel: bytes in both directions, unread, until both sides are done or nothing moved for the idle time.

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::report::Meter;
use super::wire::{Wire, write_metered};

const PUMP_BUFFER: usize = 32 * 1024;
const PUMP_STACK: usize = 128 * 1024;

/// When something last moved, in milliseconds since the start. One clock for both directions: a long download is silent upwards.
struct Activity {
    start: Instant,
    last: AtomicU64,
    idle: Duration,
}

impl Activity {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn touch(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let silent = self.now().saturating_sub(self.last.load(Ordering::Relaxed));
        u128::from(silent) >= self.idle.as_millis()
    }
}

/// Runs the tunnel to its end. Whatever either side had already sent behind its head goes first.
pub(super) fn run(client: &mut Wire, upstream: &mut Wire, idle: Duration) -> io::Result<()> {
    let early = client.buffered().to_vec();
    upstream.write_all(&early)?;
    client.consume(early.len());
    let early = upstream.buffered().to_vec();
    client.write_all(&early)?;
    upstream.consume(early.len());

    let activity = Activity { start: Instant::now(), last: AtomicU64::new(0), idle };
    let meter = upstream.meter().cloned().unwrap_or_default();
    let (near, far) = (client.stream(), upstream.stream());
    thread::scope(|scope| {
        let up = thread::Builder::new().stack_size(PUMP_STACK);
        up.spawn_scoped(scope, || pump(near, far, &activity, Count::Up(&meter)))?;
        pump(far, near, &activity, Count::Down(&meter));
        Ok(())
    })
}

#[derive(Clone, Copy)]
enum Count<'a> {
    Up(&'a Meter),
    Down(&'a Meter),
}

/// Moves bytes one way. At their end only this direction is closed; on an error or silence both are, so that the other pump ends too.
fn pump(mut from: &TcpStream, to: &TcpStream, activity: &Activity, count: Count<'_>) {
    let mut buffer = vec![0; PUMP_BUFFER];
    let wait = activity.idle.max(Duration::from_millis(1));
    let clean = from.set_read_timeout(Some(wait)).is_ok()
        && loop {
            match from.read(&mut buffer) {
                Ok(0) => break to.shutdown(Shutdown::Write).is_ok(),
                Ok(n) => {
                    activity.touch();
                    let up = match count {
                        Count::Up(meter) => Some(meter),
                        Count::Down(meter) => {
                            meter.add_down(n);
                            None
                        }
                    };
                    if write_metered(to, &buffer[..n], up).is_err() {
                        break false;
                    }
                    activity.touch();
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && !activity.is_over() => {}
                Err(_) => break false,
            }
        };
    if !clean {
        // Both may be closed already; then there is nothing left to end.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
