//! The result of a comparison. This is also the object that `greenroom diff --json` prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::Header;
use super::weight::Rank;

/// One of the two systems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SideInfo {
    /// Its host name.
    pub name: String,
    /// What was looked at.
    pub source: String,
    /// When.
    pub at: String,
    /// Whether the running system was looked at.
    pub running: bool,
}

impl From<&Header> for SideInfo {
    fn from(header: &Header) -> Self {
        Self {
            name: header.name.clone(),
            source: header.source.clone(),
            at: header.at.clone(),
            running: header.running,
        }
    }
}

/// One difference. All texts are as they may be shown, but not escaped for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is about, see [`super::weight::TABLE`].
    pub kind: &'static str,
    /// Which one.
    pub item: String,
    /// How it is on the first side; `None`: it is not there.
    pub a: Option<String>,
    /// How it is on the second side.
    pub b: Option<String>,
    /// 0 to 100.
    pub weight: u8,
    /// What is to be said of both sides together: `same version, other content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Services that it concerns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The unified diff of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// Values are cut after this many characters.
const LONGEST: usize = 400;

impl Difference {
    pub(super) fn new(rank: Rank, item: impl Into<String>, a: Option<String>, b: Option<String>) -> Self {
        let row = rank.row();
        Self {
            kind: row.kind,
            item: item.into(),
            a: a.map(cut),
            b: b.map(cut),
            weight: row.weight,
            note: None,
            services: Vec::new(),
            diff: None,
        }
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The first system.
    pub a: SideInfo,
    /// The second.
    pub b: SideInfo,
    /// What differs, heaviest first.
    pub differences: Vec<Difference>,
    /// Differences that are set aside.
    pub set_aside: usize,
    /// How many of them, by why.
    pub set_aside_by: BTreeMap<String, usize>,
    /// They themselves, by why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aside: BTreeMap<String, Vec<String>>,
    /// What could not be looked at, in sentences.
    pub gaps: Vec<String>,
}
