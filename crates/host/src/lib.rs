//! The only crate that touches the kernel or a real file tree.
//!
//! * [`sys`]: every raw kernel call.
//! * [`scan`]: reads the state of single paths.
pub mod capture;
pub mod copy;
pub mod scan;
pub mod services;
pub mod sys;
