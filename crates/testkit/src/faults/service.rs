//! A process of the world: killed, started anew, slowed down.

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process that is started again and again.
pub(super) struct Service {
    pub(super) name: String,
    pub(super) process: Option<Child>,
    /// How far its clock is off, in seconds.
    pub(super) off: i64,
    /// Stops it again and again, while it is slow.
    drag: Option<Drag>,
}

/// Lets a process have a fiftieth of the time.
struct Drag {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Drag {
    fn on(process: &Child) -> std::io::Result<Self> {
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidInput)?;
        // Another process may have its number one day.
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                // One that has ended is slow no more.
                let _ = pidfd_send_signal(&process, Signal::STOP);
                std::thread::sleep(Duration::from_millis(98));
                let _ = pidfd_send_signal(&process, Signal::CONT);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Ok(Self { over, thread })
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

impl Service {
    pub(super) fn new(name: String) -> Self {
        Self { name, process: None, off: 0, drag: None }
    }

    pub(super) fn kill(&mut self) -> std::io::Result<()> {
        self.quick();
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        process.wait().map(drop)
    }

    /// Until it is [quick](Self::quick) again, or killed.
    pub(super) fn slow(&mut self) -> std::io::Result<()> {
        self.quick();
        self.drag = self.process.as_ref().map(Drag::on).transpose()?;
        Ok(())
    }

    pub(super) fn quick(&mut self) {
        self.drag.take().into_iter().for_each(Drag::end);
    }
}
