//! The comparison of two systems.
//!
//! [`Comparison::new`] compares facts, packages and libraries at once. Then the caller merges both lists of paths and, for each
//! pair: asks [`Comparison::need`] whether contents have to be read at all, has it judged ([`Comparison::judge`], from any
//! thread), and adds the findings in order ([`Comparison::add`]), where trees that one side has alone become one line.
//! [`Comparison::finish`] ranks.

mod facts;
mod libraries;
mod paths;
#[cfg(test)]
mod tests;

pub use paths::is_config;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::model::{Facts, PathState};
use super::noise::Rules;
use super::report::{Difference, Report};
use crate::TreePath;

/// What has to be read of a pair of paths before it can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing more.
    Nothing,
    /// Attributes, but no content.
    Attributes,
    /// Content, and the text of configuration.
    Content,
}

/// What a judge found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It differs.
    Difference(Box<Difference>),
    /// It differs, and does not matter.
    Aside {
        /// Why not.
        why: &'static str,
        /// What.
        item: String,
    },
}

/// A tree that one side has alone.
#[derive(Debug)]
struct Alone {
    path: TreePath,
    first: bool,
    difference: Box<Difference>,
    below: usize,
}

/// A comparison at work.
#[derive(Debug)]
pub struct Comparison<'a> {
    a: &'a Facts,
    b: &'a Facts,
    rules: Rules,
    /// Files of libraries and programs that were compared already.
    covered: HashSet<TreePath>,
    /// Files that services load, with who does, where the other side does not know of them.
    loaded: HashMap<TreePath, BTreeSet<String>>,
    /// Services of each side whose programs are known.
    services: [BTreeSet<String>; 2],
    /// Names that services go by in /etc: `nginx`.
    stems: BTreeSet<String>,
    differences: Vec<Difference>,
    aside: BTreeMap<String, Vec<String>>,
    alone: Option<Alone>,
}

impl<'a> Comparison<'a> {
    /// Compares what is known of both besides their paths.
    #[must_use]
    pub fn new(a: &'a Facts, b: &'a Facts) -> Self {
        let mut out = Self {
            a,
            b,
            rules: Rules::default(),
            covered: HashSet::new(),
            loaded: HashMap::new(),
            services: [BTreeSet::new(), BTreeSet::new()],
            stems: BTreeSet::new(),
            differences: Vec::new(),
            aside: BTreeMap::new(),
            alone: None,
        };
        let shown = out.compare_libraries();
        out.compare_packages(&shown);
        out.compare_facts();
        out
    }

    fn put(&mut self, finding: Finding) {
        match finding {
            Finding::Difference(difference) => self.differences.push(*difference),
            Finding::Aside { why, item } => self.aside.entry(why.to_owned()).or_default().push(item),
        }
    }

    /// Adds what was found at a path. Pairs come in the order of [`super::model::tree_order`].
    pub fn add(&mut self, a: Option<&PathState>, b: Option<&PathState>, findings: Vec<Finding>) {
        let Some(state) = a.or(b) else { return };
        let one_sided = a.is_none() || b.is_none();
        if let Some(alone) = &mut self.alone {
            if state.path.starts_with(&alone.path) && one_sided && alone.first == a.is_some() {
                alone.below += 1;
                return;
            }
            self.close();
        }
        for finding in findings {
            match finding {
                Finding::Difference(difference) if one_sided && state.kind == super::PathKind::Dir => {
                    let path = state.path.clone();
                    self.alone = Some(Alone { path, first: a.is_some(), difference, below: 0 });
                }
                other => self.put(other),
            }
        }
    }

    /// Ends the tree that one side has alone.
    fn close(&mut self) {
        let Some(mut alone) = self.alone.take() else { return };
        if alone.below > 0 {
            let side = if alone.first { &mut alone.difference.a } else { &mut alone.difference.b };
            if let Some(text) = side {
                text.push_str(&format!(", with {} paths in it", alone.below));
            }
        }
        self.differences.push(*alone.difference);
    }

    /// The report, heaviest first; equal weights by the number of services, then by name.
    #[must_use]
    pub fn finish(mut self, gaps: Vec<String>) -> Report {
        self.close();
        let mut differences = paths::versions_joined(self.differences);
        differences.sort_by(|x, y| {
            let key = |d: &Difference| (std::cmp::Reverse(d.weight), std::cmp::Reverse(d.services.len()));
            key(x).cmp(&key(y)).then_with(|| (x.kind, &x.item).cmp(&(y.kind, &y.item)))
        });
        let set_aside_by: BTreeMap<String, usize> =
            self.aside.iter().map(|(why, items)| (why.clone(), items.len())).collect();
        Report {
            a: (&self.a.header).into(),
            b: (&self.b.header).into(),
            differences,
            set_aside: set_aside_by.values().sum(),
            set_aside_by,
            aside: self.aside,
            gaps,
        }
    }

    /// A package's name without the machine's own architecture.
    fn package_name<'n>(&self, name: &'n str) -> &'n str {
        let Some((bare, arch)) = name.split_once(':') else { return name };
        let own = |facts: &Facts| facts.packages.contains_key(&format!("dpkg:{arch}"));
        if arch == "all" || own(self.a) || own(self.b) { bare } else { name }
    }
}
