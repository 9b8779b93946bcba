//! The only crate that touches the kernel or a real file tree.
//!
//! * [`sys`]: every raw kernel call.
//! * [`apply`]: changes a live tree by a changeset, all of it or nothing, and takes it back.
//! * [`scan`]: reads the state of single paths.
//! * [`copy`]: clones of a tree, run or not; [`capture`]: what changed in one.
//! * [`apply`]: puts a changeset onto a tree, all or nothing, and takes it back.
//! * [`baseline`]: the record of a tree's state, and what the tree differs in from it.
//! * [`services`]: units of a host or of a copy; [`facts`]: what else is to be known of a running system.
//! * [`dpkg`]: who owns a path, what it ought to contain, what the package manager logged.
//! * `lanes`: MD5 of many contents at once.
//! * [`parity`]: what is to be known of a system to compare it with another; manifest files.
//! * [`program`]: the program of a service, put in place of the one that runs.
//! * [`sources`]: which package sources a host is configured to use.
//!
//! Not here: what is durable, what may go out on a socket, which of this happens when.
pub mod apply;
pub mod baseline;
pub mod capture;
pub mod copy;
pub mod dpkg;
pub mod facts;
mod lanes;
pub mod parity;
pub mod program;
pub mod scan;
pub mod services;
pub mod sources;
pub mod sys;
pub mod watch;
