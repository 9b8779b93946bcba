//! One line of the log, as JSON.
//!
//! A file of the log is whole by itself: an actor stands in it once, in front of its first event, and events name it by its number.

use greenroom_core::TreePath;
use greenroom_core::drift::Actor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A name was made.
    Created,
    /// Its content was written.
    Modified,
    /// Owner, mode, times, attributes or the number of names.
    Metadata,
    /// The name is gone.
    Deleted,
    /// It has another name: [`Event::from`] or [`Event::to`] says which.
    Moved,
}

/// What one process did to one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the order of events and marks: lines that were held back stand later in the file.
    pub seq: u64,
    /// No earlier than it happened, and no later than what was not read together with it.
    pub at: Timestamp,
    /// Where.
    pub path: TreePath,
    /// All that happened, each once.
    pub what: Vec<What>,
    /// It is a directory.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dir: bool,
    /// The name it had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<TreePath>,
    /// The name it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<TreePath>,
    /// For a file with several names: device (major, minor) and inode number. A change under one name is one under all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<(u32, u32, u64)>,
    /// The number of its actor in this file of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<u64>,
    /// Who did it, where that is known.
    #[serde(skip)]
    pub actor: Option<Actor>,
    /// A process of Greenroom did it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub own: bool,
}

/// The same, done by one process to name after name in one directory: what unpacking and removing are. It reads as an [`Event`] for
/// each name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Series {
    /// Of the first name; each that follows has the next.
    pub(super) seq: u64,
    /// As of events.
    pub(super) at: Timestamp,
    /// The directory.
    pub(super) within: TreePath,
    pub(super) names: Vec<Name>,
    pub(super) what: Vec<What>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) own: bool,
}

/// A name in a directory, in JSON like a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name(#[serde(with = "greenroom_core::path::bytes_json")] pub(super) Vec<u8>);

impl Series {
    /// The number of its last name.
    pub(super) fn last(&self) -> u64 {
        self.seq + (self.names.len() as u64).saturating_sub(1)
    }

    /// What happened to each name.
    pub(super) fn events(&self, actor: Option<&Actor>) -> impl Iterator<Item = Event> {
        self.names.iter().zip(self.seq..).map(move |(name, seq)| Event {
            seq,
            at: self.at,
            path: self.within.join(&name.0),
            what: self.what.clone(),
            dir: false,
            from: None,
            to: None,
            inode: None,
            by: self.by,
            actor: actor.cloned(),
            own: self.own,
        })
    }
}

/// Something that the log says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// As of events.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub mark: MarkKind,
    /// Since when changes may have gone unseen, or for `Behind` not been read, where that is known: the last moment at which nothing
    /// was waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// The kinds of marks. Before `Started`, `Stopped`, `Overflow`, `Ground` and `ClockBack` there may be changes that no event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// The watch began: nothing before is known of.
    Started,
    /// The watch ended as it should.
    Stopped,
    /// The kernel dropped events.
    Overflow,
    /// Which process did something was lost for a moment; the changes were not.
    ActorsLost,
    /// More happens than is read at once: lines from here on may be later than changes that are not on record yet.
    Behind,
    /// All that happened until here is on record.
    CaughtUp,
    /// A new file of the log began.
    Rotated,
    /// Other file systems are mounted than before, or other paths are managed: what is there now was not watched until here.
    Ground,
    /// The clock was set back: times before and after this cannot be compared. It begins a new file of the log.
    ClockBack,
}

/// Any line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    Event(Event),
    Series(Series),
    Mark(Mark),
    Actor { id: u64, actor: Actor },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_as_they_were_written() {
        let event = Event {
            seq: 3,
            at: "2026-11-24T10:00:00.5Z".parse().unwrap(),
            path: TreePath::new(b"/etc/\xff\n"),
            what: vec![What::Created, What::Moved],
            dir: false,
            from: Some("/etc/y".into()),
            to: None,
            inode: Some((8, 1, 77)),
            by: Some(4),
            actor: None,
            own: true,
        };
        let text = serde_json::to_string(&Line::Event(event.clone())).unwrap();
        assert!(!text.contains('\n'));
        let Line::Event(again) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(again, event);
        let names = vec![Name(b"a".to_vec()), Name(b"\xff\n".to_vec())];
        let (within, what) = ("/etc".into(), vec![What::Deleted]);
        let series = Series { seq: 7, at: event.at, within, names, what, by: Some(4), own: false };
        let text = serde_json::to_string(&Line::Series(series.clone())).unwrap();
        let Line::Series(again) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(again, series);
        let each: Vec<_> = again.events(None).map(|event| (event.seq, event.path)).collect();
        assert_eq!((again.last(), each), (8, vec![(7, "/etc/a".into()), (8, TreePath::new(b"/etc/\xff\n"))]));
        let mark = Mark { seq: 1, at: event.at, mark: MarkKind::ActorsLost, since: None };
        let text = serde_json::to_string(&Line::Mark(mark.clone())).unwrap();
        let Line::Mark(again) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(again, mark);
    }
}
