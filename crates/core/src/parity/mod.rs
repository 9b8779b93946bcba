//! Parity: why does it work on one system and not on the other?
//!
//! ```text
//! records of A ─► Facts ─┐                     ┌─► differences, ranked
//!                        ├─► Comparison ──────►├─► what is set aside: machine-specific, or follows from something else
//! records of B ─► Facts ─┘   ▲                 └─► Report
//!     paths of A and B, merged in one order, pair by pair
//! ```
//! * [`model`]: what is known of a system, as a stream of records: first facts, packages and libraries, then its paths in
//!   the order of [`model::tree_order`].
//! * [`compare`]: the comparison. Facts are held, paths go by: its memory is that of what differs.
//! * [`config`]: configuration by its meaning: keys and values of INI, JSON, YAML, TOML and the like; lines of the rest.
//! * [`noise`]: what only names this machine. [`secret`]: values that are shown as a hash.
//! * [`weight`]: how likely a difference matters. [`report`]: the result.
//!
//! Pure: who reads trees, /proc and manifest files hands records in.

pub mod compare;
pub mod config;
pub mod model;
pub mod noise;
pub mod report;
pub mod secret;
pub mod weight;

pub use compare::{Comparison, Finding, Need, is_config};
pub use model::{
    Config, End, Fact, FactKind, Facts, Header, Library, Package, PathKind, PathState, Record, VERSION, tree_order,
};
pub use noise::Identity;
pub use report::{Difference, Report, SideInfo};
