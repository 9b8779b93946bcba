//! Who made a difference, and when: out of the watch's log where that explains it.
//!
//! An event explains a difference when it is the last thing that happened to the path: not older than the inode's change time,
//! and a deletion where the path is gone. What no event explains was found by the scan, and nobody is named for it.

use greenroom_core::Entry;
use greenroom_core::drift::{Actor, FoundBy};
use greenroom_host::watch::{Event, Log, What};
use jiff::{SignedDuration, Timestamp};

/// A difference as the scan found it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    /// The change time of what is there; of what is gone, that of the directory it was in.
    pub(super) ctime: Option<Timestamp>,
    /// Device and inode of what is there.
    pub(super) inode: Option<(u32, u32, u64)>,
}

/// Who and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribution {
    pub(super) found_by: FoundBy,
    pub(super) actor: Option<Actor>,
    pub(super) at: Timestamp,
}

/// Events have the time at which they were read, shortly after the fact, and the kernel's clock for files is coarse.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

/// Who made `found`; `since` is when the path was last known to be as on record, `now` the time of the scan.
pub(super) fn attribute(found: &Found, log: &Log, since: Timestamp, now: Timestamp) -> Attribution {
    let event = log.explains(&found.entry.path, found.inode).filter(|event| explains(event, found, since));
    // The last thing that happened to what is there may be one that nobody saw. Of what is gone no time is known.
    let event = event.filter(|_| found.entry.after.is_none() || !found.ctime.is_some_and(|at| log.unsure(at)));
    match event {
        Some(event) => Attribution { found_by: FoundBy::Watch, actor: event.actor.clone(), at: event.at },
        None => Attribution { found_by: FoundBy::Scan, actor: None, at: found.ctime.unwrap_or(now).min(now) },
    }
}

fn explains(event: &Event, found: &Found, since: Timestamp) -> bool {
    let elsewhere = event.path != found.entry.path;
    let gone = event.what.iter().any(|what| matches!(what, What::Deleted | What::Moved));
    let fits = match (&found.entry.after, found.ctime) {
        // A directory above that was moved leaves the inodes inside as they were.
        (Some(_), Some(ctime)) => elsewhere || event.at + SLACK >= ctime,
        (Some(_), None) => true,
        (None, _) => gone,
    };
    fits && event.at + SLACK >= since
}
