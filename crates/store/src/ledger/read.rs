//! Reading the ledger: listing what can be read, and checking all of it.
//!
//! Listing is for people in trouble too: a row that makes no sense is left out and named; where a page of the database
//! is damaged, the entries before it are read forwards and those after it backwards.

use std::ops::ControlFlow;

use super::chain::Row;
use super::head::Anchor;
use super::sql::{Home, SqlLedger};
use super::{Actor, Entry, Filter, LedgerError, Listing, NO_HASH, Unreadable, Verdict};
use crate::db::{Row as SqlRow, Value, Work, values};

/// The columns in the order of [`row`].
pub(super) const COLUMNS: &str = "seq, id, at, kind, \"user\", uid, login_user, tty, origin, command, \
     change, rehearsal, root, why, detail, once, prev, hash";

/// A stored row, with all types checked.
pub(super) fn row(row: &SqlRow) -> sqlx::Result<Row> {
    Ok(Row {
        seq: row.number(0)?,
        id: row.text(1)?,
        at: row.text(2)?,
        kind: row.text(3)?,
        actor: Actor {
            user: row.text(4)?,
            uid: u32::try_from(row.int(5)?).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            login_user: row.maybe_text(6)?,
            tty: row.maybe_text(7)?,
            from: row.maybe_text(8)?,
            command: row.maybe_text(9)?,
        },
        change: row.maybe_text(10)?,
        rehearsal: row.maybe_text(11)?,
        root: row.text(12)?,
        why: row.maybe_text(13)?,
        detail: row.text(14)?,
        once: row.maybe_text(15)?,
        prev: row.text(16)?,
        hash: row.text(17)?,
    })
}

/// In which direction to read.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Forwards,
    Backwards,
}

/// How far reading came.
struct Stretch {
    entries: Vec<Entry>,
    unreadable: Vec<Unreadable>,
    /// The last number that was read, readable or not.
    reached: Option<u64>,
    /// What stopped it, when the database itself did.
    stopped: Option<sqlx::Error>,
}

impl SqlLedger {
    pub(super) async fn list(&self, filter: &Filter) -> Result<Listing, LedgerError> {
        let mut door = self.door();
        let mut work = self.wrap("read", door.read().await)?;
        let mut front = stretch(&mut work, filter, Order::Forwards).await;
        let Some(error) = front.stopped.take() else {
            return Ok(Listing { entries: front.entries, unreadable: front.unreadable });
        };
        // A server that stops in the middle is away; only a file is damaged in one place and sound in the next.
        if matches!(self.home, Home::Server(_)) {
            return self.wrap("read", Err(error));
        }
        let reached = front.reached.unwrap_or(filter.since);
        let rest = Filter { since: reached, limit: None, ..filter.clone() };
        let mut back = stretch(&mut work, &rest, Order::Backwards).await;
        if front.reached.is_none() && back.reached.is_none() {
            return self.wrap("read", Err(error));
        }
        front.unreadable.push(Unreadable { seq: reached + 1, reason: error.to_string() });
        front.entries.extend(back.entries.drain(..).rev());
        front.unreadable.extend(back.unreadable.drain(..).rev());
        let limit = filter.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        front.entries.truncate(limit);
        Ok(Listing { entries: front.entries, unreadable: front.unreadable })
    }

    pub(super) async fn check(&self) -> Result<Verdict, LedgerError> {
        let mut door = self.door();
        let mut work = self.wrap("read", door.read().await)?;
        // The anchor first: the table may grow meanwhile, and then is only further ahead of it.
        let anchor = self.anchor(&mut work).await?;
        let mut walk = Walk { last: 0, hash: NO_HASH.to_owned(), at_anchor: None };
        if let Some(broken) = self.walk(&mut work, &mut walk, &anchor).await? {
            return Ok(broken);
        }
        // Without an anchor at first, the first entries may have come since: then there is one now.
        let came = anchor == Anchor::Absent && self.anchor(&mut work).await? != Anchor::Absent;
        if let Some(broken) = walk.against(&anchor).filter(|_| !came) {
            return Ok(broken);
        }
        match self.damage(&mut work).await {
            Some(reason) => Ok(broken(walk.last, &format!("the database file is damaged: {reason}"))),
            None => Ok(Verdict::Verified { entries: walk.last }),
        }
    }

    /// Goes through the chain; gives the first broken entry.
    async fn walk(
        &self,
        work: &mut Work<'_>,
        walk: &mut Walk,
        anchor: &Anchor,
    ) -> Result<Option<Verdict>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM entry ORDER BY seq");
        let mut found = None;
        let each = work.each(sqlx::AssertSqlSafe(sql), &[], |next| {
            let step = match row(next) {
                Ok(row) => walk.step(row, anchor),
                Err(error) => Err(broken(walk.last + 1, &format!("it cannot be read: {error}"))),
            };
            found = step.err();
            Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        match each.await {
            Ok(()) => Ok(found),
            Err(error) if matches!(self.home, Home::Server(_)) => self.wrap("read", Err(error)),
            Err(error) => Ok(Some(broken(walk.last + 1, &format!("it cannot be read: {error}")))),
        }
    }

    /// What SQLite itself finds wrong with its file, the index of the keys included.
    async fn damage(&self, work: &mut Work<'_>) -> Option<String> {
        if matches!(self.home, Home::Server(_)) {
            return None;
        }
        let answer = work.list("PRAGMA integrity_check(1)", values![], |row| row.text(0)).await;
        match answer {
            Ok(answers) if answers == ["ok"] => None,
            Ok(answers) => Some(answers.concat()),
            Err(error) => Some(error.to_string()),
        }
    }
}

async fn stretch(work: &mut Work<'_>, filter: &Filter, order: Order) -> Stretch {
    let mut stretch = Stretch { entries: Vec::new(), unreadable: Vec::new(), reached: None, stopped: None };
    let (sql, values) = query(filter, order);
    let outcome = work.each(sqlx::AssertSqlSafe(sql), &values, |found| {
        let seq = found.number(0)?;
        stretch.reached = Some(seq);
        let entry = row(found).map_err(|error| error.to_string());
        match entry.and_then(|row| row.into_entry().map_err(|error| error.to_string())) {
            Ok(entry) => stretch.entries.push(entry),
            Err(reason) => stretch.unreadable.push(Unreadable { seq, reason }),
        }
        Ok(ControlFlow::Continue(()))
    });
    let outcome = outcome.await;
    stretch.stopped = outcome.err();
    stretch
}

fn query(filter: &Filter, order: Order) -> (String, Vec<Value>) {
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let mut sql = format!("SELECT {COLUMNS} FROM entry WHERE seq > $1");
    let mut values = vec![number(filter.since)];
    let fields = [("kind", &filter.kind), ("change", &filter.change), ("rehearsal", &filter.rehearsal)];
    for (column, wanted) in fields {
        if let Some(wanted) = wanted {
            values.push(wanted.into());
            sql.push_str(&format!(" AND {column} = ${}", values.len()));
        }
    }
    sql.push_str(if order == Order::Forwards { " ORDER BY seq" } else { " ORDER BY seq DESC" });
    if let Some(limit) = filter.limit {
        values.push(number(limit));
        sql.push_str(&format!(" LIMIT ${}", values.len()));
    }
    (sql, values)
}

/// How far the chain was followed.
struct Walk {
    last: u64,
    hash: String,
    /// The hash of the entry that the anchor names.
    at_anchor: Option<String>,
}

impl Walk {
    fn step(&mut self, row: Row, anchor: &Anchor) -> Result<(), Verdict> {
        let seq = self.last + 1;
        if row.seq != seq {
            return Err(broken(seq, "it is missing"));
        }
        if row.hash != row.hash() {
            return Err(broken(seq, "it was altered: its content does not have its hash"));
        }
        if row.prev != self.hash {
            return Err(broken(seq, "it does not follow the entry before it: one of the two was replaced"));
        }
        self.last = seq;
        self.hash = row.hash;
        if matches!(anchor, Anchor::Sound(head) if head.seq == seq) {
            self.at_anchor = Some(self.hash.clone());
        }
        Ok(())
    }

    /// What the anchor says against the table.
    fn against(&self, anchor: &Anchor) -> Option<Verdict> {
        match anchor {
            Anchor::Garbled => Some(broken(self.last, "the anchor is damaged")),
            Anchor::Absent if self.last > 1 => Some(broken(self.last, "the anchor is missing")),
            Anchor::Absent => None,
            Anchor::Sound(head) if head.seq > self.last => {
                let reason = format!("it is missing: there were {} entries", head.seq);
                Some(broken(self.last + 1, &reason))
            }
            Anchor::Sound(head) if self.at_anchor.as_ref().is_some_and(|hash| *hash != head.hash) => {
                Some(broken(head.seq, "it is not the entry that the anchor names"))
            }
            Anchor::Sound(_) => None,
        }
    }
}

fn broken(seq: u64, reason: &str) -> Verdict {
    Verdict::Broken { seq, id: format!("e{seq}"), reason: reason.to_owned() }
}
