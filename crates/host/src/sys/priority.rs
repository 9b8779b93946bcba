//! How much a thread matters to the machine.

use std::io;

/// Lets the calling thread, and those that it starts from now on, read the disk only when nobody else wants it (`ioprio_set(2)`,
/// class *idle*) and compute only with what others leave (`nice` 19). An I/O scheduler that knows no priorities ignores the first.
///
/// # Errors
/// The kernel's.
pub fn idle() -> io::Result<()> {
    const WHO_THREAD: libc::c_int = 1;
    const IDLE: libc::c_int = 3 << 13;
    // SAFETY: ioprio_set takes three integers and touches no memory; 0 is the calling thread.
    let done = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_THREAD, 0, IDLE) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19)?)
}
