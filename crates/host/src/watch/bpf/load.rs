//! The bpf(2) calls: maps, programs, and the ring in shared memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

const MAP_CREATE: i32 = 0;
const PROG_LOAD: i32 = 5;
const RAW_TRACEPOINT_OPEN: i32 = 17;
const PERCPU_ARRAY: u32 = 6;
const RINGBUF: u32 = 27;
const RAW_TRACEPOINT: u32 = 17;
/// What the kernel must hear so that programs may read its memory. It is about the few instructions that are loaded.
const LICENCE: &[u8] = b"Dual MIT/GPL\0";

/// The argument of bpf(2), a union of structures: filled in by offset.
#[repr(C, align(8))]
struct Attr([u8; 128]);

impl Attr {
    fn new() -> Self {
        Self([0; 128])
    }

    fn word(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn address<T>(mut self, at: usize, value: &[T]) -> Self {
        self.0[at..at + 8].copy_from_slice(&(value.as_ptr() as u64).to_ne_bytes());
        self
    }

    /// # Safety
    /// Every address in it must be valid for what `command` does with it.
    unsafe fn call(&mut self, command: i32) -> io::Result<OwnedFd> {
        // SAFETY: the kernel reads as many bytes as are given, and writes only to buffers that the caller vouches for.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        let fd = i32::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the commands used here all give a new descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn map(kind: u32, key: u32, value: u32, entries: u32) -> io::Result<OwnedFd> {
    // SAFETY: no addresses.
    unsafe { Attr::new().word(0, kind).word(4, key).word(8, value).word(12, entries).call(MAP_CREATE) }
}

/// `entries` areas of `size` bytes for each core.
pub(super) fn scratch(size: u32, entries: u32) -> io::Result<OwnedFd> {
    map(PERCPU_ARRAY, 4, size, entries)
}

/// Loads a program and attaches it to a tracepoint; both are gone when the descriptors are closed.
pub(super) fn attach(code: &[[u8; 8]], tracepoint: &str) -> io::Result<[OwnedFd; 2]> {
    let count = u32::try_from(code.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut name: Vec<u8> = tracepoint.bytes().collect();
    name.push(0);
    let plain = || Attr::new().word(0, RAW_TRACEPOINT).word(4, count).address(8, code).address(16, LICENCE);
    // SAFETY: code and licence live until the call is over, and are only read.
    let program = match unsafe { plain().call(PROG_LOAD) } {
        Ok(program) => program,
        Err(error) => {
            let mut log = vec![0u8; 1 << 16];
            let logged = plain().word(24, 1).word(28, 1 << 16).address(32, &log);
            // SAFETY: as above; the log is written for as many bytes as it has.
            let _ = unsafe { { logged }.call(PROG_LOAD) };
            return Err(io::Error::new(error.kind(), format!("{error}: {}", last_lines(&mut log))));
        }
    };
    let number = u32::try_from(program.as_raw_fd()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the name ends with NUL and is only read.
    let link = unsafe { Attr::new().address(0, &name).word(8, number).call(RAW_TRACEPOINT_OPEN)? };
    Ok([program, link])
}

/// What the verifier said last.
fn last_lines(log: &mut Vec<u8>) -> String {
    log.truncate(log.iter().position(|b| *b == 0).unwrap_or(log.len()));
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("processed ")).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

/// A ring that programs write records to and this process reads.
pub(super) struct Ring {
    fd: OwnedFd,
    page: usize,
    /// Bytes of data; mapped twice in a row, so that no record is in two parts.
    size: usize,
    consumer: NonNull<u8>,
    producer: NonNull<u8>,
}

// SAFETY: the memory is this ring's own until it is dropped, and is read by one thread at a time (`&mut self`).
unsafe impl Send for Ring {}

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEAD: u64 = 8;

impl Ring {
    /// A ring of `size` bytes, a power of two.
    pub(super) fn new(size: u32) -> io::Result<Self> {
        let fd = map(RINGBUF, 0, 0, size)?;
        let (page, size) = (rustix::param::page_size(), size as usize);
        let at = |len: usize, access: ProtFlags, from: usize| {
            // SAFETY: a new mapping at an address of the kernel's choice.
            let found =
                unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, &fd, from as u64)? };
            NonNull::new(found.cast::<u8>()).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
        };
        let consumer = at(page, ProtFlags::READ | ProtFlags::WRITE, 0)?;
        let producer = at(page + 2 * size, ProtFlags::READ, page)?;
        Ok(Self { fd, page, size, consumer, producer })
    }

    /// Gives every record that is there to `take`.
    pub(super) fn read(&mut self, mut take: impl FnMut(&[u8])) {
        // SAFETY: both pages begin with a 64-bit position that the kernel reads and writes atomically.
        let (consumer, producer) = unsafe {
            (AtomicU64::from_ptr(self.consumer.as_ptr().cast()), AtomicU64::from_ptr(self.producer.as_ptr().cast()))
        };
        let mut position = consumer.load(Ordering::Relaxed);
        while position < producer.load(Ordering::Acquire) {
            let offset = usize::try_from(position & (self.size as u64 - 1)).unwrap_or(0);
            // SAFETY: the data begins after the producer's page; `offset` is below its size and a multiple of 8.
            let start = unsafe { self.producer.as_ptr().add(self.page + offset) };
            // SAFETY: as above: a record begins with its length, written atomically.
            let head = unsafe { AtomicU32::from_ptr(start.cast()) }.load(Ordering::Acquire);
            if head & BUSY != 0 {
                break;
            }
            let len = (head & !DISCARDED) as usize;
            if head & DISCARDED == 0 {
                // SAFETY: the kernel has handed these bytes over until the consumer's position moves past them, and the second
                // mapping of the data makes them one piece.
                take(unsafe { std::slice::from_raw_parts(start.add(8), len) });
            }
            position += (len as u64 + HEAD).next_multiple_of(8);
            consumer.store(position, Ordering::Release);
        }
    }

    pub(super) fn raw(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with these lengths, and nothing refers to them any more.
        unsafe {
            let _ = rustix::mm::munmap(self.consumer.as_ptr().cast(), self.page);
            let _ = rustix::mm::munmap(self.producer.as_ptr().cast(), self.page + 2 * self.size);
        }
    }
}
