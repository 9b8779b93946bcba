//! Greenroom's pure types and algebra.
//!
//! What is absent here: no file, clock, environment, thread or socket is touched; whatever a function needs is a
//! parameter. The rooms:
//!
//! * [`path`]: a path in a host's tree, as bytes, and how it is shown.
//! * [`hash`]: the name of a content.
//! * [`manifest`]: what one path is: kind, owner, mode, times, attributes, content.
//! * [`changeset`]: what a change did: (path, before, after), its identity, its inverse, its encoding.
//! * [`plan`]: what apply does with a rehearsal: parts in order, services to stop, start and restart.
//! * [`policy`]: which paths are volatile, data or never transplanted.
//! * [`document`]: a TOML text with the places of all that is in it; [`change`]: the change file that a person writes.
//! * [`system`]: the system file: hosts, services, people, policies; and which hosts somebody means.
//! * [`api`]: the bodies of the HTTPS API.
//! * [`rehearsal`]: the record of a rehearsal and its verdict.
//! * [`rollout`]: a change of many hosts as one. [`wire`]: what control plane and agents say to each other.
//! * [`image`]: a host as one value: its manifest, and what follows from two of them.
//! * [`drift`]: how a host differs from its record, and who did it.
//! * [`parity`]: how two systems differ, by what it means.
//! * [`textdiff`], [`hint`]: unified diffs; the nearest valid name.
#![forbid(unsafe_code)]

pub mod api;
pub mod change;
pub mod changeset;
pub mod document;
pub mod drift;
pub mod effect;
pub mod hash;
pub mod hint;
pub mod image;
pub mod manifest;
pub mod parity;
pub mod path;
pub mod plan;
pub mod policy;
pub mod rehearsal;
pub mod rollout;
pub mod system;
pub mod textdiff;
pub mod wire;

pub use changeset::{Changeset, Entry, Op};
pub use hash::ContentHash;
pub use manifest::{Kind, Mtime, Node};
pub use path::TreePath;
