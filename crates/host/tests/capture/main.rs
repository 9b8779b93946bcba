//! Capture against an independent comparison: whatever happens in a copy, putting the captured changeset onto a fresh tree
//! gives the copy's tree, and taking it back gives the host's.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod pairs;
mod random;
mod several;
mod special;
mod support;
