//! Every raw kernel call of the product, one module a subject. Nothing else in the house mounts, renames into place,
//! enters a namespace or reads an extended attribute by itself.
//!
//! The calls are those of `rustix`; what is added here is the way names are resolved: always from a directory that is held
//! open, never through a symbolic link, never out of the tree.

pub mod fs;
pub mod memory;
pub mod mount;
pub mod ns;
pub mod priority;
pub mod xattr;
