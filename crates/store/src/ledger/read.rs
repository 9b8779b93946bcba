//! Reading the ledger: listing what can be read, and checking all of it.
//!
//! Listing is for people in trouble too: a row that makes no sense is left out and named; where a page of the database
//! is damaged, the entries before it are read forwards and those after it backwards.

use rusqlite::types::Value;
use rusqlite::{Row as SqlRow, ToSql};

use super::chain::Row;
use super::head::{self, Anchor};
use super::sqlite::{SqliteLedger, wrap};
use super::{Actor, Entry, Filter, LedgerError, Listing, NO_HASH, Unreadable, Verdict};

/// The columns in the order of [`row`].
pub(super) const COLUMNS: &str = "seq, id, at, kind, user, uid, login_user, tty, origin, command, \
     change, rehearsal, root, why, detail, once, prev, hash";

/// A stored row, with all types checked.
pub(super) fn row(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        seq: row.get::<_, i64>(0)?.cast_unsigned(),
        id: row.get(1)?,
        at: row.get(2)?,
        kind: row.get(3)?,
        actor: Actor {
            user: row.get(4)?,
            uid: row.get(5)?,
            login_user: row.get(6)?,
            tty: row.get(7)?,
            from: row.get(8)?,
            command: row.get(9)?,
        },
        change: row.get(10)?,
        rehearsal: row.get(11)?,
        root: row.get(12)?,
        why: row.get(13)?,
        detail: row.get(14)?,
        once: row.get(15)?,
        prev: row.get(16)?,
        hash: row.get(17)?,
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
    stopped: Option<rusqlite::Error>,
}

impl SqliteLedger {
    pub(super) fn list(&self, filter: &Filter) -> Result<Listing, LedgerError> {
        let mut front = self.stretch(filter, Order::Forwards);
        let Some(error) = front.stopped.take() else {
            return Ok(Listing { entries: front.entries, unreadable: front.unreadable });
        };
        let reached = front.reached.unwrap_or(filter.since);
        let mut back = self.stretch(&Filter { since: reached, limit: None, ..filter.clone() }, Order::Backwards);
        if front.reached.is_none() && back.reached.is_none() {
            return wrap("read", &self.dir, Err(error));
        }
        front.unreadable.push(Unreadable { seq: reached + 1, reason: error.to_string() });
        front.entries.extend(back.entries.drain(..).rev());
        front.unreadable.extend(back.unreadable.drain(..).rev());
        let limit = filter.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        front.entries.truncate(limit);
        Ok(Listing { entries: front.entries, unreadable: front.unreadable })
    }

    fn stretch(&self, filter: &Filter, order: Order) -> Stretch {
        let mut stretch = Stretch { entries: Vec::new(), unreadable: Vec::new(), reached: None, stopped: None };
        let outcome = self.query(filter, order).and_then(|(sql, values)| {
            let mut statement = self.db.prepare(&sql)?;
            let values: Vec<&dyn ToSql> = values.iter().map(|value| value as &dyn ToSql).collect();
            let mut rows = statement.query(values.as_slice())?;
            while let Some(found) = rows.next()? {
                let seq = found.get::<_, i64>(0)?.cast_unsigned();
                stretch.reached = Some(seq);
                let entry = row(found).map_err(|error| error.to_string());
                match entry.and_then(|row| row.into_entry().map_err(|error| error.to_string())) {
                    Ok(entry) => stretch.entries.push(entry),
                    Err(reason) => stretch.unreadable.push(Unreadable { seq, reason }),
                }
            }
            Ok(())
        });
        stretch.stopped = outcome.err();
        stretch
    }

    fn query(&self, filter: &Filter, order: Order) -> rusqlite::Result<(String, Vec<Value>)> {
        let since = i64::try_from(filter.since).unwrap_or(i64::MAX);
        let mut sql = format!("SELECT {COLUMNS} FROM entry WHERE seq > ?");
        let mut values = vec![Value::Integer(since)];
        let fields = [("kind", &filter.kind), ("change", &filter.change), ("rehearsal", &filter.rehearsal)];
        for (column, wanted) in fields {
            if let Some(wanted) = wanted {
                sql.push_str(&format!(" AND {column} = ?"));
                values.push(Value::Text(wanted.clone()));
            }
        }
        sql.push_str(if order == Order::Forwards { " ORDER BY seq" } else { " ORDER BY seq DESC" });
        if let Some(limit) = filter.limit {
            sql.push_str(" LIMIT ?");
            values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        }
        Ok((sql, values))
    }

    pub(super) fn check(&self) -> Result<Verdict, LedgerError> {
        // The anchor first: the table may grow meanwhile, and then is only further ahead of it.
        let anchor = head::read(&self.dir)?;
        let mut walk = Walk { last: 0, hash: NO_HASH.to_owned(), at_anchor: None };
        if let Err(broken) = self.walk(&mut walk, &anchor)? {
            return Ok(broken);
        }
        // Without an anchor at first, the first entries may have come since: then there is one now.
        let came = anchor == Anchor::Absent && head::read(&self.dir)? != Anchor::Absent;
        if let Some(broken) = walk.against(&anchor).filter(|_| !came) {
            return Ok(broken);
        }
        match self.damage() {
            Some(reason) => Ok(broken(walk.last, &format!("the database file is damaged: {reason}"))),
            None => Ok(Verdict::Verified { entries: walk.last }),
        }
    }

    /// Goes through the chain; the inner error is the first broken entry.
    fn walk(&self, walk: &mut Walk, anchor: &Anchor) -> Result<Result<(), Verdict>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM entry ORDER BY seq");
        let mut statement = match self.db.prepare(&sql) {
            Ok(statement) => statement,
            Err(error) => return Ok(Err(broken(1, &error.to_string()))),
        };
        let mut rows = wrap("read", &self.dir, statement.query([]))?;
        loop {
            let next = match rows.next() {
                Ok(Some(found)) => row(found),
                Ok(None) => return Ok(Ok(())),
                Err(error) => Err(error),
            };
            let step = match next {
                Ok(row) => walk.step(row, anchor),
                Err(error) => Err(broken(walk.last + 1, &format!("it cannot be read: {error}"))),
            };
            if step.is_err() {
                return Ok(step);
            }
        }
    }

    /// What SQLite itself finds wrong with its file, the index of the keys included.
    fn damage(&self) -> Option<String> {
        let answer: rusqlite::Result<String> = self.db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
        match answer {
            Ok(answer) if answer == "ok" => None,
            Ok(answer) => Some(answer),
            Err(error) => Some(error.to_string()),
        }
    }
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
            Anchor::Garbled => Some(broken(self.last, "the anchor ledger.head is damaged")),
            Anchor::Absent if self.last > 1 => Some(broken(self.last, "the anchor ledger.head is missing")),
            Anchor::Absent => None,
            Anchor::Sound(head) if head.seq > self.last => {
                let reason = format!("it is missing: there were {} entries", head.seq);
                Some(broken(self.last + 1, &reason))
            }
            Anchor::Sound(head) if self.at_anchor.as_ref().is_some_and(|hash| *hash != head.hash) => {
                Some(broken(head.seq, "it is not the entry that the anchor ledger.head names"))
            }
            Anchor::Sound(_) => None,
        }
    }
}

fn broken(seq: u64, reason: &str) -> Verdict {
    Verdict::Broken { seq, id: format!("e{seq}"), reason: reason.to_owned() }
}
