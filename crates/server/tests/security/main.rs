//! What the control plane lets nobody do: its real router behind its real TLS on loopback, asked by clients that do not keep
//! to the rules.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod hostile;
mod people;
mod slow;
mod versions;
mod world;
