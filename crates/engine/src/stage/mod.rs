//! The trees of other hosts, on the machine that is the stage: kept as overlay layers, made from images.
//!
//! ```text
//! stage/lock              held while trees are made, shown or dropped
//! stage/layers/N/         a layer, never written to again; `new` is one that is being made
//! stage/trees/HASH.json   which layers are the tree of the manifest of this name, the topmost first; locked while it is in use
//! stage/trees/HASH        that manifest
//! stage/fetched/          contents for a layer, until it is durable
//! stage/noise/HOST/       what a boot of this host's copies changes
//! stage/work/COMMAND/     a rehearsal: its tree, mounted (`root`), its own state (`state`)
//! ```
//! A tree is named by its manifest, so hosts and generations share what is the same. A new tree is a layer over whichever tree it
//! differs least from; over [`DEEPEST`] layers it is made anew, as one.
//!
//! Not here: what is rehearsed ([`crate::rehearsal`]), for whom, and where contents come from (`agent`).

mod shelf;
mod work;

pub(crate) use shelf::{Shelf, Source};
pub(crate) use work::Work;
