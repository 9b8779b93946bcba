//! Changes a live tree by a changeset, all of it or nothing, and takes it back again.
//!
//! Not here: where contents come from ([`Contents`]), what a changeset should hold, services, the ledger, asking anybody
//! anything. The same code serves production, the proof in a second copy, and undo.
//!
//! How a change goes through:
//!
//! 1. [`HostState::lock`]: one change at a time, per root.
//! 2. [`check`]: every *before* is compared by content; all conflicts are listed, none is guessed away.
//! 3. [`Guard::stage`]: everything new is made beside the tree, on the file system where it will live. Whatever
//!    ends here (an error, a full disk, a crash) leaves the tree untouched.
//! 4. [`Staged::commit`]: the staging is synced, then the journal says `committed`, durably: from here on the outcome is decided. Then each path is put
//!    in place with one rename (`slot`, `exec`), directory times and inode attributes follow, all is synced, the journal
//!    says `done`. An I/O error half-way takes everything back.
//! 5. [`Guard::close`] when the caller is content; [`Guard::undo`] when not, or a year later.
//!
//! **Slots.** Entry *i* of the changeset has slot *i*, a name in a directory of Greenroom's own on the same file system. It
//! always holds the other side: the new object before, the old one afterwards, untouched, with its inode. Undo is the same
//! exchanges again, so nothing is copied and a process that runs from the old file needs no restart. Undo of undo is redo, with
//! the same slots: a chain of records shares those of its first, its *owner*.
//!
//! **Order.** Forward: what goes away without a successor, children before parents; then all the rest, parents before
//! children. Backward: exactly the reverse. A directory that goes takes along what nobody knew to be in it; it is reported.
//!
//! **Hard links.** See `plan`.
//!
//! On disk, below `<root>/var/lib/greenroom` (root only):
//!
//! ```text
//! lock                      held while a change is under way; names the holder
//! changes/<id>/journal      JSON, replaced atomically: what this record is and how far it has come
//! changes/<id>/changeset    canonical encoding (owner only)
//! changes/<id>/facts        inodes on both sides, times of directories: what makes every step recognisable (`facts`)
//! changes/<id>/images       state of the objects in the slots after the change: proof that nobody wrote to them
//! changes/<id>/slots/<i>    (owner only)
//! ```
//!
//! Entries on another file system have their slots in `.greenroom/<id>` at its top.

mod adopt;
mod check;
mod content;
mod error;
mod exec;
mod facts;
mod fault;
mod filesystems;
mod finish;
mod forget;
mod host;
mod metadata;
mod plan;
mod record;
mod recover;
mod slots;
mod stage;
mod stamps;
mod undo;

pub use check::{Conflict, Reason, Volatile, check, check_after};
pub use content::Contents;
pub(crate) use content::{BUFFER, copy};
pub use error::{Error, Refusal};
pub use exec::Applied;
pub use fault::{Faults, NoFaults, POINTS};
pub use forget::Keep;
pub use host::{Guard, HostState};
pub(crate) use metadata::{LOCKS, set as set_metadata};
pub use record::{Direction, Phase, Record, RecordKind};
pub use recover::Recovered;
pub use stage::Staged;
