//! Namespaces: a mount namespace of our own, and network namespaces with nothing in them but loopback.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use rustix::ioctl::{Setter, opcode};
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::UnshareFlags;

use super::mount;

/// Gives the calling thread, and every thread and process it starts from now on, a mount namespace of its own.
///
/// Call it before anything starts threads: a thread that exists already keeps the old one.
///
/// # Errors
/// Not permitted.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: the call changes which mounts this thread sees and unshares its working directory from other threads; no
    // memory or descriptor of the process is affected.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    mount::receive_only()
}

/// A network namespace with a loopback interface and nothing else: no route, no neighbour, no name.
#[derive(Debug)]
pub struct Network {
    /// Keeps the namespace alive, and names it in `/proc/self/fd`.
    pub namespace: OwnedFd,
    /// Listens on loopback *inside*; whoever accepts from it does so outside.
    pub listener: TcpListener,
}

impl Network {
    /// Makes one, with a listener at 127.0.0.1:`port` inside.
    ///
    /// # Errors
    /// Not permitted, or no such thing in this kernel.
    pub fn new(port: u16) -> io::Result<Self> {
        let made = std::thread::spawn(move || -> io::Result<Self> {
            // SAFETY: only the network namespace of this short-lived thread changes.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
            loopback_up()?;
            let namespace = File::open("/proc/thread-self/ns/net")?.into();
            Ok(Self { namespace, listener: TcpListener::bind(("127.0.0.1", port))? })
        });
        made.join().map_err(|_| io::Error::other("the thread that makes the network namespace failed"))?
    }

    /// A namespace as [`Network::new`] makes them, in which nothing will ever happen: to see how such a one begins.
    ///
    /// # Errors
    /// As for [`Network::new`].
    pub fn untouched() -> io::Result<OwnedFd> {
        Self::new(0).map(|network| network.namespace)
    }
}

/// `struct ifreq` of linux/if.h, with the flags in its union.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

fn loopback_up() -> io::Result<()> {
    const SIOCSIFFLAGS: rustix::ioctl::Opcode = opcode::from_components(rustix::ioctl::Direction::None, 0x89, 0x14, 0);
    const UP: i16 = 1;
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut request = InterfaceFlags { name: [0; 16], flags: UP, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    // SAFETY: the opcode is SIOCSIFFLAGS, which reads a `struct ifreq`; the type above has its size and layout.
    unsafe { rustix::ioctl::ioctl(&socket, Setter::<SIOCSIFFLAGS, InterfaceFlags>::new(request))? };
    Ok(())
}
