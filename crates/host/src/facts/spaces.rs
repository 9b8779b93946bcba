//! Joining the namespaces of a copy, in a thread made for it.
//!
//! A joined namespace belongs to the calling thread alone and to the processes that it starts.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The namespaces that kernel parameters and rules depend on. None: stay where we are.
#[derive(Default)]
pub(super) struct Spaces(Vec<(LinkNameSpaceType, File)>);

impl Spaces {
    /// Those of process `leader`. Opened at once, so that they stay the same while threads start.
    pub(super) fn of(leader: u32) -> io::Result<Self> {
        let kinds = [
            ("net", LinkNameSpaceType::Network),
            ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
            ("ipc", LinkNameSpaceType::InterProcessCommunication),
        ];
        let open = |(name, kind)| File::open(format!("/proc/{leader}/ns/{name}")).map(|file| (kind, file));
        kinds.into_iter().map(open).collect::<io::Result<_>>().map(Self)
    }

    /// Moves the calling thread into them, for good.
    pub(super) fn enter(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|(kind, file)| Ok(move_into_link_name_space(file.as_fd(), Some(*kind))?))
    }
}

/// Moves the calling thread into a network namespace, for good.
pub(super) fn enter_net(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}
