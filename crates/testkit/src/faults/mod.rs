//! Schedules of faults over a fleet: two control planes on one PostgreSQL, agents of small hosts, a change, and what goes wrong
//! meanwhile; then the judgement.
//!
//! ```text
//! World: stations plane1, plane2, database, host1 …; each host a tree and a state on a small disk of its own
//! Schedule: apply or undo, told to one control plane ─► up to four faults at random moments ─► all is healed ─► it ends
//! judgement: committed: every host after; otherwise every host before; ledgers, locks and leases say the same
//! ```
//! The processes are the built `greenroom`, the network is the lab's, the hosts are those of [`crate::crash`]: no boot is
//! needed, so that hundreds of schedules are affordable. The judge knows nothing of Greenroom's types: trees are compared by
//! [`crate::oracle`], what is on record is asked with psql and `log --json`.

mod schedule;
mod service;
mod world;

pub use schedule::{Fault, Schedule, Station, Tally, schedules};
pub use world::{Member, World};
