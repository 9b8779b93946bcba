//! Two sides against each other: their paths in one order, pair by pair. A batch of pairs is read and judged on all cores,
//! and what was found is added in order.

use std::cmp::Ordering;
use std::io::Write;

use greenroom_core::parity::{
    Comparison, Facts, Finding, Need, PathKind, PathState, Record, Report, is_config, tree_order,
};
use rayon::prelude::*;

use super::facts::Looked;
use super::file::{Reader, Writer};
use super::walk::Item;
use super::{Gaps, ParityError};
use crate::scan::Tree;

/// Pairs that are held at once.
const BATCH: usize = 512;

/// One of the two.
#[derive(Debug)]
pub enum Side {
    /// A tree, running or not.
    Tree(Box<Looked>),
    /// A manifest, and its name for errors.
    Manifest(Box<Reader>, String),
}

/// A path of a side.
#[derive(Debug)]
enum Seen {
    /// Of a tree: more can be read.
    Item(Box<Item>),
    /// Of a manifest: all is known.
    State(Box<PathState>),
}

impl Seen {
    fn state(&self) -> &PathState {
        match self {
            Self::Item(item) => &item.state,
            Self::State(state) => state,
        }
    }
}

impl Side {
    fn facts(&self) -> &Facts {
        match self {
            Self::Tree(looked) => &looked.facts,
            Self::Manifest(reader, _) => reader.facts(),
        }
    }

    fn next(&mut self) -> Result<Option<Seen>, ParityError> {
        match self {
            Self::Tree(looked) => Ok(looked.walk.next(&mut looked.gaps).map(|item| Seen::Item(Box::new(item)))),
            Self::Manifest(reader, name) => match reader.next_path() {
                Ok(state) => Ok(state.map(|state| Seen::State(Box::new(state)))),
                Err(source) => Err(ParityError::Manifest { name: name.clone(), source }),
            },
        }
    }

    /// Whether this side would not have told of a path that it does not have.
    fn hides(&self, state: &PathState) -> bool {
        match self {
            Self::Tree(looked) => looked.walk.place().hides(&state.path, state.kind == PathKind::Dir),
            Self::Manifest(..) => false,
        }
    }

    /// Handles on the tree for one thread.
    fn tree(&self) -> Option<Tree> {
        match self {
            Self::Tree(looked) => looked.walk.tree().ok(),
            Self::Manifest(..) => None,
        }
    }

    fn into_gaps(self) -> Vec<String> {
        let name = self.facts().header.name.clone();
        let gaps = match self {
            Self::Tree(looked) => looked.gaps.into_sentences(),
            Self::Manifest(reader, _) => reader.gaps().to_vec(),
        };
        gaps.into_iter().map(|gap| format!("{name}: {gap}")).collect()
    }
}

/// What is at one path on both sides.
type Pair = (Option<Seen>, Option<Seen>);

/// Compares two systems.
///
/// # Errors
/// A manifest turns out to be damaged, or a tree can't be read any more.
pub fn compare(mut a: Side, mut b: Side) -> Result<Report, ParityError> {
    let facts = (a.facts().clone(), b.facts().clone());
    let mut comparison = Comparison::new(&facts.0, &facts.1);
    let mut ahead: Pair = (a.next()?, b.next()?);
    let mut gaps = Gaps::default();
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            let Some(pair) = pair(&mut ahead, &mut a, &mut b)? else { break };
            batch.push(pair);
        }
        if batch.is_empty() {
            break;
        }
        let judged: Vec<(Vec<Finding>, Vec<String>)> = batch
            .par_iter_mut()
            .map_init(|| (a.tree(), b.tree()), |trees, pair| judge(&comparison, pair, trees))
            .collect();
        for ((a, b), (findings, sentences)) in batch.iter().zip(judged) {
            gaps.extend(sentences);
            comparison.add(a.as_ref().map(Seen::state), b.as_ref().map(Seen::state), findings);
        }
    }
    let mut all = a.into_gaps();
    all.extend(b.into_gaps());
    all.extend(gaps.into_sentences());
    Ok(comparison.finish(all))
}

/// The next pair; each side's next path stands in `ahead`.
fn pair(ahead: &mut Pair, a: &mut Side, b: &mut Side) -> Result<Option<Pair>, ParityError> {
    loop {
        let order = match (&ahead.0, &ahead.1) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(x), Some(y)) => tree_order(&x.state().path, &y.state().path),
        };
        let mut out = (None, None);
        if order.is_le() {
            out.0 = std::mem::replace(&mut ahead.0, a.next()?);
        }
        if order.is_ge() {
            out.1 = std::mem::replace(&mut ahead.1, b.next()?);
        }
        let hidden = match (&out.0, &out.1) {
            (Some(x), None) => b.hides(x.state()),
            (None, Some(y)) => a.hides(y.state()),
            _ => false,
        };
        if !hidden {
            return Ok(Some(out));
        }
    }
}

/// Reads what is needed of a pair, and judges it.
fn judge(
    comparison: &Comparison<'_>,
    pair: &mut Pair,
    trees: &mut (Option<Tree>, Option<Tree>),
) -> (Vec<Finding>, Vec<String>) {
    let mut gaps = Vec::new();
    let state = |seen: &Option<Seen>| seen.as_ref().map(|seen| seen.state().clone());
    let same_inode = match (&pair.0, &pair.1) {
        (Some(Seen::Item(x)), Some(Seen::Item(y))) => x.inode == y.inode,
        _ => false,
    };
    let need = comparison.need(state(&pair.0).as_ref(), state(&pair.1).as_ref());
    if need != Need::Nothing && !same_inode {
        let mut fill = |seen: &mut Option<Seen>, tree: &mut Option<Tree>| {
            if let (Some(Seen::Item(item)), Some(tree)) = (seen, tree) {
                gaps.extend(item.fill(tree, need == Need::Content).err());
            }
        };
        fill(&mut pair.0, &mut trees.0);
        fill(&mut pair.1, &mut trees.1);
    }
    if let (Some(x), Some(y)) = (&pair.0, &pair.1) {
        let (x, y) = (x.state(), y.state());
        let differ = x.kind == PathKind::File && y.kind == PathKind::File && x.content != y.content;
        if differ && need == Need::Content && !same_inode && is_config(&x.path) {
            let mut fill = |seen: &mut Option<Seen>, tree: &mut Option<Tree>| {
                if let (Some(Seen::Item(item)), Some(tree)) = (seen, tree) {
                    gaps.extend(item.fill_config(tree).err());
                }
            };
            fill(&mut pair.0, &mut trees.0);
            fill(&mut pair.1, &mut trees.1);
        }
    }
    let found = comparison.judge(pair.0.as_ref().map(Seen::state), pair.1.as_ref().map(Seen::state));
    (found, gaps)
}

/// Writes the manifest of a tree.
///
/// # Errors
/// `out` can't be written to.
pub fn write(mut looked: Looked, out: impl Write) -> Result<(), ParityError> {
    let fail = |source| ParityError::System { doing: "write the manifest".to_owned(), source };
    let mut writer = Writer::new(out);
    for record in looked.facts.records() {
        writer.record(&record).map_err(fail)?;
    }
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(item) = if batch.len() < BATCH { looked.walk.next(&mut looked.gaps) } else { None } {
            batch.push(item);
        }
        if batch.is_empty() {
            break;
        }
        let walk = &looked.walk;
        let gaps: Vec<Vec<String>> =
            batch.par_iter_mut().map_init(|| walk.tree().ok(), |tree, item| whole(item, tree.as_mut())).collect();
        looked.gaps.extend(gaps.into_iter().flatten());
        for item in batch {
            writer.record(&Record::Path(Box::new(item.state))).map_err(fail)?;
        }
    }
    writer.end(looked.gaps.into_sentences()).map_err(fail)
}

/// Reads all that a manifest says of a path.
fn whole(item: &mut Item, tree: Option<&mut Tree>) -> Vec<String> {
    let Some(tree) = tree else {
        return vec![format!("{} was not read: no more files can be opened", item.state.path)];
    };
    let mut gaps: Vec<String> = item.fill(tree, true).err().into_iter().collect();
    if is_config(&item.state.path) {
        gaps.extend(item.fill_config(tree).err());
    }
    gaps
}
