//! The record of a tree and the scan, judged by a naive walk of the same tree.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod cases;
mod disk;
mod judge;
mod keys;
mod mounts;
mod packages;
mod races;
mod random;
mod support;
