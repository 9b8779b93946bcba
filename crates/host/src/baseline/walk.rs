//! Directories, taken by as many threads as there are processors.
//!
//! What is still to be done is a stack of lists of names; who takes a directory pushes the list of its subdirectories. So what is
//! held is the lists along one way down, a few of them, and nothing is recursive. Who comes last turns out the light.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use greenroom_core::TreePath;

use super::names::Names;
use super::types::BaselineError;

/// A directory that is to be looked at.
pub(super) struct Job {
    /// `None`: above the root, where the only name is that of the root itself.
    pub(super) dir: Option<TreePath>,
    /// What the owner of the list marked it with.
    pub(super) mark: u8,
    /// Only these names in it.
    pub(super) only: Option<Vec<Box<[u8]>>>,
}

/// How many threads there are to be; 0: one for each processor.
pub(super) fn threads(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        given => given,
    }
}

struct List {
    dir: Option<TreePath>,
    names: Names,
    next: usize,
}

#[derive(Default)]
struct Todo {
    first: Vec<Job>,
    stack: Vec<List>,
    working: usize,
    failed: Option<BaselineError>,
}

/// The stack, shared.
pub(super) struct Queue {
    todo: Mutex<Todo>,
    more: Condvar,
}

impl Queue {
    pub(super) fn new(first: Vec<Job>) -> Self {
        Self { todo: Mutex::new(Todo { first, ..Todo::default() }), more: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Todo> {
        // Nothing in here can be half done when a thread panics.
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subdirectories of `dir` that are to be looked at, each with its mark.
    pub(super) fn push(&self, dir: Option<&TreePath>, names: Names) {
        if names.is_empty() {
            return;
        }
        let several = names.len() > 1;
        self.lock().stack.push(List { dir: dir.cloned(), names, next: 0 });
        if several {
            self.more.notify_all();
        }
    }

    /// What can be taken without waiting.
    fn now(&self) -> Option<Job> {
        let mut todo = self.lock();
        let job = if todo.failed.is_none() { next(&mut todo) } else { None };
        todo.working += usize::from(job.is_some());
        job
    }

    fn take(&self) -> Option<Job> {
        let mut todo = self.lock();
        loop {
            if todo.failed.is_some() {
                return None;
            }
            if let Some(job) = next(&mut todo) {
                todo.working += 1;
                return Some(job);
            }
            if todo.working == 0 {
                self.more.notify_all();
                return None;
            }
            todo = self.more.wait(todo).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, result: Result<(), BaselineError>) {
        let mut todo = self.lock();
        todo.working -= 1;
        if let Err(error) = result {
            todo.failed.get_or_insert(error);
        }
        if todo.working == 0 || todo.failed.is_some() {
            self.more.notify_all();
        }
    }

    /// Works until nothing is left; `worker` is made once for each thread, and what is made of them comes back. `rest` is called
    /// whenever a thread finds nothing to take, and does what it has put off.
    pub(super) fn run<W: Send>(
        self,
        threads: usize,
        worker: impl Fn() -> Result<W, BaselineError> + Sync,
        work: impl Fn(&mut W, &Self, &Job) -> Result<(), BaselineError> + Sync,
        rest: impl Fn(&mut W) -> Result<(), BaselineError> + Sync,
    ) -> Result<Vec<W>, BaselineError> {
        let one = || -> Result<W, BaselineError> {
            let mut own = worker()?;
            loop {
                let job = match self.now() {
                    Some(job) => job,
                    None => {
                        rest(&mut own)?;
                        let Some(job) = self.take() else { return Ok(own) };
                        job
                    }
                };
                // A panic must not leave the others waiting.
                let finish = Finish { queue: &self, result: Some(Ok(())) };
                finish.with(work(&mut own, &self, &job));
            }
        };
        let workers = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            running.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        if let Some(error) = self.lock().failed.take() {
            return Err(error);
        }
        let ended = |joined: std::thread::Result<Result<W, BaselineError>>| match joined {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(ended).collect()
    }
}

struct Finish<'a> {
    queue: &'a Queue,
    result: Option<Result<(), BaselineError>>,
}

impl Finish<'_> {
    fn with(mut self, result: Result<(), BaselineError>) {
        self.result = Some(result);
    }
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if let Some(result) = self.result.take() {
            self.queue.done(result);
        }
    }
}

fn next(todo: &mut Todo) -> Option<Job> {
    if let Some(list) = todo.stack.last_mut() {
        let (name, mark) = list.names.get(list.next);
        let dir = match &list.dir {
            None => TreePath::root(),
            Some(dir) => dir.join(name),
        };
        list.next += 1;
        if list.next == list.names.len() {
            todo.stack.pop();
        }
        return Some(Job { dir: Some(dir), mark, only: None });
    }
    todo.first.pop()
}
