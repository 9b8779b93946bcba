//! Drift through the binary: what `status` and `drift` say, and that adopt, revert, undo and redo lead where they should. The
//! judge of trees is rsync with a walk of its own ([`greenroom_testkit::oracle`]).
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod contract;
mod support;
mod ways;
