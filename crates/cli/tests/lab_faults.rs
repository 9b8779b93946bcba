//! Faults while many hosts change as one: all of them or none, and the record says which.
//!
//! The short form of `cargo xtask soak fleet`; see docs/soak.md for the long one and its results.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::Path;

use greenroom_testkit::crash::{Random, Scratch};
use greenroom_testkit::faults::schedules;
use greenroom_testkit::need_root;

#[test]
fn all_hosts_or_none_whatever_goes_wrong() {
    need_root!();
    let dir = Scratch::new().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_greenroom"));
    match schedules(binary, dir.path(), 3, 4, Random::from_clock(), |line| println!("{line}")) {
        Ok(tally) => println!("{tally}"),
        Err(violation) => panic!("{violation}\nthe world is in {}", dir.keep().display()),
    }
}
