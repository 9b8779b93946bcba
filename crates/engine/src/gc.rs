//! Drops what nothing needs any more.
