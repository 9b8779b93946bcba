//! Every socket that is open, so that the end can reach threads that wait on them; and how many threads there still are.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    next: u64,
    streams: HashMap<u64, Arc<TcpStream>>,
    threads: usize,
}

/// The registry. Shared by the accept thread, the connections and [`super::Egress`].
#[derive(Debug, Default)]
pub(super) struct Sockets {
    state: Mutex<State>,
    changed: Condvar,
}

/// A socket on the registry; it leaves it when dropped.
#[derive(Debug)]
pub(super) struct OpenSocket {
    stream: Arc<TcpStream>,
    id: u64,
    sockets: Arc<Sockets>,
}

impl OpenSocket {
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.sockets.lock().streams.remove(&self.id);
    }
}

/// A place among the threads that may run at the same time; free again when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Sockets>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
        self.0.changed.notify_all();
    }
}

impl Sockets {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain data and whole between any two statements: a thread that died cannot have left it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a socket; `None` (and the socket is closed) when everything is being stopped.
    pub(super) fn open(self: &Arc<Self>, stream: TcpStream) -> Option<OpenSocket> {
        let mut state = self.lock();
        if state.stopping {
            return None;
        }
        let id = state.next;
        state.next += 1;
        let stream = Arc::new(stream);
        state.streams.insert(id, Arc::clone(&stream));
        Some(OpenSocket { stream, id, sockets: Arc::clone(self) })
    }

    /// Takes one of `max` places; `None` when all are taken.
    pub(super) fn place(self: &Arc<Self>, max: usize) -> Option<Place> {
        let mut state = self.lock();
        if state.threads >= max {
            return None;
        }
        state.threads += 1;
        Some(Place(Arc::clone(self)))
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Waits a moment, or less when something changes.
    pub(super) fn pause(&self, time: Duration) {
        let state = self.lock();
        drop(self.changed.wait_timeout(state, time));
    }

    /// Closes every socket and lets no new one in.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        for stream in state.streams.values() {
            // A socket whose peer is gone is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }

    /// Waits until all threads have ended, at most `time`; whether they have.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut state = self.lock();
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
