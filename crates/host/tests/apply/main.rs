//! The transactional file engine on real trees: every kind of file, every pair of kinds, hard links, interruptions.
//!
//! Needs root, and a file system with attributes and inode flags below /var/tmp. What is compared is read by a full walk and,
//! independently of Greenroom's own code, by rsync.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod adopt;
mod faults;
mod links;
mod property;
mod refusals;
mod special;
mod support;
mod table;
