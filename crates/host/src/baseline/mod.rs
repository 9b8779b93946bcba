//! The record of a tree's state, and what the tree differs in from it.
//!
//! What it is: [`Baseline::record`] walks the managed tree and writes down the [`Node`] of every path. [`Baseline::scan`] finds what is not
//! as recorded any more. [`Baseline::advance`] puts other states on record, when a change was made or is accepted.
//! [`Baseline::node`] and [`Baseline::records`] read it; [`Baseline::recall`] tells of files that are as recorded, so that they need not be read.
//!
//! What it is not: it decides nothing. Who changed what, what belongs together, whether a difference is kept or taken back is said
//! elsewhere; the watch's log lies beside it and is [`crate::watch`]'s. It keeps no contents, but shows them ([`Keep`]) while it reads.
//!
//! On disk, in `var/lib/greenroom/baseline` of the tree ([`home`]), root only:
//!
//! | file | what | when it is damaged |
//! |---|---|---|
//! | `manifest` | the states ([`file`], [`page`], [`row`]); replaced as a whole, durably | an error, never a report |
//! | `keys` | by what a scan knows the unchanged ([`keys`]); may lag behind | the paths are read again |
//! | `packages` | who owned what at the first record ([`crate::dpkg`]) | an error of [`Baseline::packages`] alone |
//!
//! How a path is known to be unchanged: its inode number and change time are those at which it was read last, and the change time
//! was old enough then ([`Options::YOUNG`]). Whoever edits a file and puts its modification time back cannot put the change time
//! back. Whatever else is changed (a restored backup, another inode, a clock that was set) only makes the scan read, and what it
//! reads decides. The exception is root setting the clock to the very nanosecond, or writing to the disk past the file system:
//! that is for the scrub ([`Depth::Slice`]) and [`Depth::Full`].
//!
//! How it stays small: a directory is the unit of work ([`walk`]), pages are read and written one at a time, but for those of a first
//! record that wait for one of the sixteen contents which a thread has under way ([`streams`]), and what is held for long is 56 bytes for each page of up to 256 names, new keys (20 bytes for each path that had to be read), linked files' groups
//! ([`links`]), and the differences.

mod advance;
mod file;
mod held;
mod home;
mod keys;
mod links;
mod lookup;
mod names;
mod output;
mod packages;
mod page;
mod places;
mod read;
mod recall;
mod record;
mod refresh;
mod row;
mod scan;
mod settle;
mod streams;
mod types;
mod walk;

use std::path::{Path, PathBuf};

use greenroom_core::{Node, TreePath};

use crate::dpkg::Database;
use crate::scan::Tree;
use file::{Pages, Writer, no_id};
use home::{Home, PACKAGES};
use lookup::Records;

pub use recall::{Asking, Recall};
pub use refresh::Refresh;
pub use types::{BaselineError, Counts, Depth, Difference, Inode, Keep, Meta, Modified, Options, Problem, Trouble};

/// Where the record of a tree is.
#[must_use]
pub fn dir(root: &Path) -> PathBuf {
    root.join("var/lib/greenroom/baseline")
}

/// A record on disk, open. It stays readable when it is moved meanwhile, and is then what it was.
pub struct Baseline {
    root: PathBuf,
    home: Home,
    pages: Pages,
    meta: Meta,
}

/// A record that was just made.
pub struct Recorded {
    /// It.
    pub baseline: Baseline,
    /// What could not be read, sorted by path. These paths are not on record.
    pub problems: Vec<Problem>,
    /// Files that are not as their packages brought them, sorted by path.
    pub modified: Vec<Modified>,
    /// Parts of the package database that could not be read, in sentences.
    pub gaps: Vec<String>,
    /// How much was looked at.
    pub counts: Counts,
}

/// What a tree differs in from its record.
pub struct Scanned {
    /// The differences, sorted by path.
    pub differences: Vec<Difference>,
    /// Of what nothing can be said, sorted by path. None of these is among the differences, but for what vanished.
    pub problems: Vec<Problem>,
    /// How much was looked at.
    pub counts: Counts,
    /// What the next scan need not read again.
    pub refresh: Refresh,
}

impl Baseline {
    /// Opens the record of the tree at `root`; `None`: there is none.
    ///
    /// # Errors
    /// [`BaselineError`]: it is there and cannot be used.
    pub fn open(root: &Path) -> Result<Option<Self>, BaselineError> {
        let Some(home) = Home::find(root)? else { return Ok(None) };
        let Some((pages, meta)) = Pages::open(&home)? else { return Ok(None) };
        Ok(Some(Self { root: root.to_owned(), home, pages, meta }))
    }

    /// Records the state of the tree at `root`, instead of what is on record.
    ///
    /// # Errors
    /// [`BaselineError`]; what was on record is then as it was.
    pub fn record(root: &Path, options: &Options<'_>) -> Result<Recorded, BaselineError> {
        let home = Home::make(root)?;
        let lock = home.lock()?;
        let database = Database::read(&mut Tree::open(root)?)?;
        let writer = Writer::new(&home)?;
        let seen = packages::Seen::new(database.as_ref());
        let (writer, walked) = record::walk(root, &home, writer, (database.as_ref(), &seen), options)?;
        let (mut modified, mut gaps) = (walked.modified, Vec::new());
        match &database {
            Some(database) => {
                gaps.extend_from_slice(database.gaps());
                let (missing, more) = packages::missing(root, database, &seen, &options.within)?;
                modified.extend(missing);
                gaps.extend(more);
                home.write(PACKAGES, &database.encode())?;
            }
            None => home.remove(PACKAGES)?,
        }
        modified.sort();
        modified.dedup();
        let mut meta = Meta {
            at: options.now,
            since: options.now,
            id: no_id(),
            paths: 0,
            within: options.within.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy: options.policy.fingerprint(),
        };
        writer.finish(&home, &mut meta)?;
        drop(lock);
        let baseline = Self::again(root, home)?;
        Ok(Recorded { baseline, problems: walked.problems, modified, gaps, counts: walked.counts })
    }

    /// The record that was just put in place.
    fn again(root: &Path, home: Home) -> Result<Self, BaselineError> {
        let missing = || BaselineError::Damaged { path: home.path(home::MANIFEST), what: "it is gone".to_owned() };
        let (pages, meta) = Pages::open(&home)?.ok_or_else(missing)?;
        Ok(Self { root: root.to_owned(), home, pages, meta })
    }

    /// Compares the tree with the record, in the places of `options`, or of the record where these name none.
    ///
    /// # Errors
    /// [`BaselineError`]. What cannot be read of the tree is no error but a [`Problem`].
    pub fn scan(&self, options: &Options<'_>) -> Result<Scanned, BaselineError> {
        let found = settle::scan(&self.root, &self.home, &self.pages, &self.meta, options)?;
        let refresh = Refresh::new(found.new_keys, found.rekeyed);
        Ok(Scanned { differences: found.differences, problems: found.problems, counts: found.counts, refresh })
    }

    /// Keeps what a scan of this record learned: paths that were found to be as recorded are not read again by the next one. The
    /// record itself is not moved. `false`: the record was moved meanwhile, and nothing is kept.
    ///
    /// # Errors
    /// [`BaselineError::System`]; nothing but time is lost then.
    pub fn refresh(&self, refresh: Refresh) -> Result<bool, BaselineError> {
        refresh.save(&self.home, &self.pages)
    }

    /// Puts other states of some paths on record: a node for each, or that there is nothing. What is below a path that is no
    /// directory any more leaves the record too. Paths that the policy of `options` does not manage, or outside the record's
    /// places, are left out.
    ///
    /// # Errors
    /// [`BaselineError`]; the record is then as it was. [`BaselineError::Moved`]: it is not this one any more.
    pub fn advance(&self, changes: &[(TreePath, Option<Node>)], options: &Options<'_>) -> Result<Self, BaselineError> {
        let home = Home::make(&self.root)?;
        let lock = home.lock()?;
        if !self.pages.is_in_place(&home)? {
            return Err(BaselineError::Moved);
        }
        let mut writer = Writer::new(&home)?;
        let policy = options.policy.fingerprint();
        let sift = policy != self.meta.policy;
        advance::rewrite(&self.pages, &mut writer, changes, &self.meta.within, options.policy, sift)?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let mut meta = Meta { at: options.now, policy, version, ..self.meta.clone() };
        writer.finish(&home, &mut meta)?;
        drop(lock);
        Self::again(&self.root, home)
    }

    /// The recorded state of a path; `None`: nothing is on record there.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn node(&self, path: &TreePath) -> Result<Option<Node>, BaselineError> {
        lookup::node(&self.pages, path)
    }

    /// All recorded states, each directory before what is in it, names in byte order.
    pub fn records(&self) -> impl Iterator<Item = Result<(TreePath, Node), BaselineError>> + '_ {
        Records::new(&self.pages, &self.meta.within)
    }

    /// Who owned which path when the record was made; `None`: the tree had no packages.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn packages(&self) -> Result<Option<Database>, BaselineError> {
        let Some(bytes) = self.home.read(PACKAGES)? else { return Ok(None) };
        let damaged = || BaselineError::Damaged {
            path: self.home.path(PACKAGES),
            what: "it is not what was written, or of another version".to_owned(),
        };
        Database::decode(&bytes).map(Some).ok_or_else(damaged)
    }

    /// What is known of the record as a whole.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The tree.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}
