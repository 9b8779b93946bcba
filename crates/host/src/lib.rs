//! The only crate that touches the kernel or a real file tree.
//!
//! * [`sys`]: every raw kernel call.
//! * [`apply`]: changes a live tree by a changeset, all of it or nothing, and takes it back.
//! * [`scan`]: reads the state of single paths.
pub mod apply;
pub mod capture;
pub mod copy;
pub mod scan;
pub mod services;
pub mod sources;
pub mod sys;
