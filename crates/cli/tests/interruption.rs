//! kill -9 at random moments of apply, undo and recover: the host is wholly before or wholly after, and the ledger agrees.
//!
//! The short form of `cargo xtask soak interruption`; see docs/soak.md for the long one and its results.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::Path;

use greenroom_testkit::crash::{Change, Random, Scratch, Verb, kills};
use greenroom_testkit::need_root;

const BINARY: &str = env!("CARGO_BIN_EXE_greenroom");

fn campaign(change: Change, verb: Verb, count: u32) {
    // On the disk: a tmpfs has no fsync to wait for, and so other moments.
    let dir = Scratch::new().unwrap();
    let tally = match kills(Path::new(BINARY), dir.path(), change, verb, count, Random::from_clock()) {
        Ok(tally) => tally,
        Err(violation) => panic!("{violation}\nthe world is in {}", dir.keep().display()),
    };
    println!("{tally}");
    // Of so few, some more may come late by chance than the 85 % that the long form has to reach.
    assert!(tally.share() >= 75, "too few kills came before the end: {tally}");
}

#[test]
fn kills_of_apply() {
    need_root!();
    campaign(Change::Command, Verb::Apply, 40);
}

#[test]
fn kills_of_undo() {
    need_root!();
    campaign(Change::Command, Verb::Undo, 40);
}

#[test]
fn kills_of_apply_with_a_live_step() {
    need_root!();
    campaign(Change::WithLiveStep, Verb::Apply, 20);
}

#[test]
fn kills_of_undo_with_a_live_step() {
    need_root!();
    campaign(Change::WithLiveStep, Verb::Undo, 20);
}
