//! Manifest files: one JSON record a line, see [`greenroom_core::parity::model`].
//!
//! A file may come from anywhere. A reader holds no more than the facts and one line, and bounds both; order, version and the
//! hash at the end are checked, so that what is damaged, cut off or put together by hand is not compared.

use std::io::{self, BufRead, Write};

use greenroom_core::parity::{End, Facts, Header, PathState, Record, VERSION, tree_order};
use greenroom_core::{ContentHash, TreePath};

/// Bytes of the longest line: the largest text of configuration, every character of it escaped.
const LONGEST: usize = 2 << 20;

/// Bytes of all records that are held.
const MOST: usize = 64 << 20;

/// Why a file is no manifest that can be compared.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is something else.
    #[error("it is no manifest: its first line is not the one that `greenroom manifest` writes")]
    NotOne,
    /// Another version.
    #[error("it is a manifest of version {found}, and this program reads version {VERSION}")]
    Version {
        /// Its version.
        found: u64,
    },
    /// A line is not what it should be.
    #[error("line {line}: {what}")]
    Line {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// It has no end.
    #[error("it ends after line {line} without the record that ends a manifest: it was cut off")]
    Cut {
        /// The last line.
        line: u64,
    },
    /// It was changed.
    #[error("it is damaged: its content does not have the hash that its last line gives")]
    Damaged,
    /// It can't be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
}

/// Writes a manifest.
pub struct Writer<W> {
    out: W,
    hasher: blake3::Hasher,
    records: u64,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Nothing is written yet.
    pub fn new(out: W) -> Self {
        Self { out, hasher: blake3::Hasher::new(), records: 0, line: Vec::new() }
    }

    /// Writes a record.
    ///
    /// # Errors
    /// The writer's.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)?;
        self.line.push(b'\n');
        self.hasher.update(&self.line);
        self.records += 1;
        self.out.write_all(&self.line)
    }

    /// Writes the end.
    ///
    /// # Errors
    /// The writer's.
    pub fn end(mut self, gaps: Vec<String>) -> io::Result<()> {
        let hash: ContentHash = self.hasher.finalize().into();
        let end = Record::End(End { records: self.records, hash, gaps });
        serde_json::to_writer(&mut self.out, &end)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

/// Reads a manifest: the facts at once, then path by path.
pub struct Reader {
    lines: Lines,
    facts: Facts,
    ahead: Option<Box<PathState>>,
    last: Option<TreePath>,
    end: Option<End>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("header", &self.facts.header).field("line", &self.lines.number).finish()
    }
}

impl Reader {
    /// Reads all but paths.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn open(file: Box<dyn BufRead + Send + Sync>) -> Result<Self, ManifestError> {
        let mut lines = Lines { file, number: 0, line: Vec::new(), hasher: blake3::Hasher::new() };
        let header = header(&mut lines)?;
        let mut out = Self { lines, facts: Facts::new(header), ahead: None, last: None, end: None };
        let mut held = 0;
        while let Some(record) = out.record()? {
            held += out.lines.line.len();
            if held > MOST {
                return Err(out.lines.wrong("facts, packages and libraries are more than any system has"));
            }
            out.take(record)?;
            if out.ahead.is_some() || out.end.is_some() {
                break;
            }
        }
        Ok(out)
    }

    /// All but paths.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What could not be read when it was made; known when all paths were read.
    pub(super) fn gaps(&self) -> &[String] {
        self.end.as_ref().map(|end| end.gaps.as_slice()).unwrap_or_default()
    }

    /// The next path; `None`: there are no more, and the whole file is as it was written.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn next_path(&mut self) -> Result<Option<PathState>, ManifestError> {
        if let Some(state) = self.ahead.take() {
            return Ok(Some(*state));
        }
        if self.end.is_some() {
            return Ok(None);
        }
        if let Some(record) = self.record()? {
            match record {
                Record::Path(_) | Record::End(_) => self.take(record)?,
                _ => return Err(self.lines.wrong("a fact among the paths: the records are not in order")),
            }
        }
        Ok(self.ahead.take().map(|state| *state))
    }

    fn take(&mut self, record: Record) -> Result<(), ManifestError> {
        match record {
            Record::Manifest(_) => return Err(self.lines.wrong("a second header")),
            Record::Fact(fact) => {
                let item = fact.item.clone();
                if self.facts.facts.insert((fact.kind, fact.item), fact.value).is_some() {
                    return Err(self.lines.wrong(&format!("{item:?} is said twice")));
                }
            }
            Record::Package(package) => {
                let name = package.name.clone();
                if self.facts.packages.insert(package.name, package.version).is_some() {
                    return Err(self.lines.wrong(&format!("the package {name:?} is there twice")));
                }
            }
            Record::Library(library) => self.facts.libraries.push(library),
            Record::Path(state) => {
                let in_order = self.last.as_ref().is_none_or(|last| tree_order(last, &state.path).is_lt());
                if !in_order || !state.path.is_plain() {
                    return Err(self.lines.wrong(&format!("{} is not in order, or is there twice", state.path)));
                }
                self.last = Some(state.path.clone());
                self.ahead = Some(state);
            }
            Record::End(end) => self.end = Some(end),
        }
        Ok(())
    }

    /// The next record. The end is checked before it is given.
    fn record(&mut self) -> Result<Option<Record>, ManifestError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let (before, number) = (self.lines.hasher.clone(), self.lines.number);
        if !self.lines.next()? {
            return Err(ManifestError::Cut { line: number });
        }
        let record = serde_json::from_slice(&self.lines.line)
            .map_err(|error| self.lines.wrong(&format!("it is no record of a manifest ({error})")))?;
        if let Record::End(end) = &record {
            let hash: ContentHash = before.finalize().into();
            if end.hash != hash || end.records != number {
                return Err(ManifestError::Damaged);
            }
            if self.lines.next()? {
                return Err(self.lines.wrong("something follows the end of the manifest"));
            }
        }
        Ok(Some(record))
    }
}

fn header(lines: &mut Lines) -> Result<Header, ManifestError> {
    if !lines.next()? {
        return Err(ManifestError::NotOne);
    }
    let value: serde_json::Value = serde_json::from_slice(&lines.line).map_err(|_| ManifestError::NotOne)?;
    let version = value.get("manifest").and_then(|header| header.get("greenroom_manifest"));
    let found = version.and_then(serde_json::Value::as_u64).ok_or(ManifestError::NotOne)?;
    if found != u64::from(VERSION) {
        return Err(ManifestError::Version { found });
    }
    match serde_json::from_value(value) {
        Ok(Record::Manifest(header)) => Ok(header),
        Ok(_) => Err(ManifestError::NotOne),
        Err(error) => Err(lines.wrong(&error.to_string())),
    }
}

struct Lines {
    file: Box<dyn BufRead + Send + Sync>,
    number: u64,
    /// Without its end.
    line: Vec<u8>,
    hasher: blake3::Hasher,
}

impl Lines {
    /// Reads a line; `false`: there is none.
    fn next(&mut self) -> Result<bool, ManifestError> {
        self.line.clear();
        let mut limited = io::Read::take(&mut self.file, LONGEST as u64);
        let count = limited.read_until(b'\n', &mut self.line).map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory => ManifestError::NotOne,
            _ => ManifestError::Read(error),
        })?;
        if count == 0 {
            return Ok(false);
        }
        self.hasher.update(&self.line);
        if self.line.last() != Some(&b'\n') {
            if self.number == 0 {
                return Err(ManifestError::NotOne);
            }
            let whole = self.line.len() < LONGEST;
            self.number += 1;
            return Err(if whole {
                ManifestError::Cut { line: self.number }
            } else {
                self.wrong("it is longer than any record")
            });
        }
        self.number += 1;
        self.line.pop();
        Ok(true)
    }

    fn wrong(&self, what: &str) -> ManifestError {
        ManifestError::Line { line: self.number, what: what.to_owned() }
    }
}
