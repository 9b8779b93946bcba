//! What Greenroom keeps, and the only place that decides when something is durable.
//!
//! * [`ledger`]: the append-only, hash-chained record of all that happened to production.
//! * [`control`]: the state of a control plane, so that another one goes on where it died.
//! * [`blobs`]: contents of files, each under the hash of what it holds.
//!
//! What is absent here: no clock (times are parameters), no environment, no rule of what a change is. A file of this
//! crate is only ever written as a whole under another name and then put in place, or by SQLite.
#![forbid(unsafe_code)]

pub mod blobs;
pub mod control;
mod db;
pub mod ledger;
