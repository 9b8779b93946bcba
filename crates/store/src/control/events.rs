//! What people are told, in order; and documents by name.
//!
//! Events of one subject (a change, a rehearsal) are numbered 1, 2, 3, …: a reader that was cut off goes on after the last
//! one that it has. Over all subjects they are in the order of [`Event::place`].

use super::{BATCH, Control, ControlError, Hint, Millis, Subject, rows, take_numbers};
use crate::db::{Row, Value, Work, values};

/// Something that happened in a change or a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The change or rehearsal.
    pub subject: String,
    /// Its number there, from 1.
    pub seq: u64,
    /// What happened, JSON.
    pub body: String,
    /// When.
    pub at: Millis,
    /// Its number among all events.
    pub place: u64,
}

impl Control {
    /// Appends events to a subject, all or none; gives the number of the last one.
    ///
    /// Called again after a lost connection it may append twice: events are for eyes, what is decided is in sagas.
    ///
    /// # Errors
    /// The database's.
    pub async fn append_events(&self, subject: &str, bodies: &[&str], now: Millis) -> Result<u64, ControlError> {
        const WHAT: &str = "append events";
        let mut work = self.begin(WHAT).await?;
        let last = self.wrap(WHAT, append(&mut work, subject, bodies, now).await)?;
        self.commit(WHAT, work, &[Hint::new(Subject::Event, subject)]).await?;
        Ok(last)
    }

    /// Appends events to subjects, `(subject, body)`, all or none; those of one subject in the order given.
    ///
    /// # Errors
    /// The database's.
    pub async fn append_events_of(&self, events: &[(&str, &str)], now: Millis) -> Result<(), ControlError> {
        const WHAT: &str = "append events";
        let mut subjects: Vec<&str> = events.iter().map(|(subject, _)| *subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        let mut work = self.begin(WHAT).await?;
        for subject in &subjects {
            let bodies: Vec<&str> = events.iter().filter(|(of, _)| of == subject).map(|(_, body)| *body).collect();
            self.wrap(WHAT, append(&mut work, subject, &bodies, now).await)?;
        }
        let hints: Vec<Hint> = subjects.iter().map(|subject| Hint::new(Subject::Event, subject)).collect();
        self.commit(WHAT, work, &hints).await
    }

    /// The events of a subject after its number `after`, at most `limit`.
    ///
    /// # Errors
    /// The database's.
    pub async fn events_of(&self, subject: &str, after: u64, limit: u32) -> Result<Vec<Event>, ControlError> {
        let sql = "SELECT subject, seq, body, at, place FROM event WHERE subject = $1 AND seq > $2
                   ORDER BY seq LIMIT $3";
        self.list("read events", sql, values![subject, after, limit], event).await
    }

    /// The events of all subjects after the place `after`, at most `limit`.
    ///
    /// # Errors
    /// The database's.
    pub async fn events_since(&self, after: u64, limit: u32) -> Result<Vec<Event>, ControlError> {
        let sql = "SELECT subject, seq, body, at, place FROM event WHERE place > $1 ORDER BY place LIMIT $2";
        self.list("read events", sql, values![after, limit], event).await
    }

    /// Forgets events from before `before`, but for the last one of each subject, so that numbers go on; gives how many.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_events(&self, before: Millis) -> Result<u64, ControlError> {
        let sql = "DELETE FROM event WHERE at < $1
                   AND seq < (SELECT max(seq) FROM event AS other WHERE other.subject = event.subject)";
        self.change("forget events", sql, values![before], &[]).await
    }

    /// Keeps a document under its kind and name, in place of what is there.
    ///
    /// # Errors
    /// The database's.
    pub async fn put_document(&self, kind: &str, id: &str, body: &str, now: Millis) -> Result<(), ControlError> {
        let sql = "INSERT INTO document (kind, id, body, at) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, at = excluded.at";
        let hints = [Hint::new(Subject::Document, id)];
        self.change("keep a document", sql, values![kind, id, body, now], &hints).await.map(|_| ())
    }

    /// Keeps a document under its kind and name when there is none yet; gives the one that is there now. Of several who offer
    /// one at the same time all are given the same.
    ///
    /// # Errors
    /// The database's.
    pub async fn offer_document(&self, kind: &str, id: &str, body: &str, now: Millis) -> Result<String, ControlError> {
        const WHAT: &str = "keep a document";
        let mut work = self.begin(WHAT).await?;
        // An update that changes nothing gives the row that is there, on both databases.
        let sql = "INSERT INTO document (kind, id, body, at) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (kind, id) DO UPDATE SET body = document.body RETURNING body";
        let row = work.row(sql, values![kind, id, body, now]).await;
        let there = self.wrap(WHAT, row.and_then(|row| row.ok_or(sqlx::Error::RowNotFound)?.text(0)))?;
        self.commit(WHAT, work, &[Hint::new(Subject::Document, id)]).await?;
        Ok(there)
    }

    /// The document of that kind and name.
    ///
    /// # Errors
    /// The database's.
    pub async fn document(&self, kind: &str, id: &str) -> Result<Option<String>, ControlError> {
        let sql = "SELECT body FROM document WHERE kind = $1 AND id = $2";
        Ok(self.list("read a document", sql, values![kind, id], |row| row.text(0)).await?.pop())
    }

    /// The names of all documents of a kind, in the order of the letters.
    ///
    /// # Errors
    /// The database's.
    pub async fn documents(&self, kind: &str) -> Result<Vec<String>, ControlError> {
        let sql = "SELECT id FROM document WHERE kind = $1";
        let mut names = self.list("list documents", sql, values![kind], |row| row.text(0)).await?;
        // Databases differ in what the order of letters is.
        names.sort_unstable();
        Ok(names)
    }

    /// All documents of a kind with their names, in the order of the letters.
    ///
    /// # Errors
    /// The database's.
    pub async fn documents_of(&self, kind: &str) -> Result<Vec<(String, String)>, ControlError> {
        let sql = "SELECT id, body FROM document WHERE kind = $1";
        let read = |row: &Row| Ok((row.text(0)?, row.text(1)?));
        let mut documents = self.list("read documents", sql, values![kind], read).await?;
        documents.sort_unstable();
        Ok(documents)
    }

    /// Forgets a document; false when there is none.
    ///
    /// # Errors
    /// The database's.
    pub async fn drop_document(&self, kind: &str, id: &str) -> Result<bool, ControlError> {
        let sql = "DELETE FROM document WHERE kind = $1 AND id = $2";
        Ok(self.change("forget a document", sql, values![kind, id], &[]).await? > 0)
    }
}

/// Appends events to a subject; gives the number of the last one.
pub(super) async fn append(work: &mut Work<'_>, subject: &str, bodies: &[&str], now: Millis) -> sqlx::Result<u64> {
    // Keeps others out until this ends, so that nobody else takes the next number of the subject.
    let last = take_numbers(work, "event", bodies.len()).await?;
    let mut place = last - i64::try_from(bodies.len()).unwrap_or(0);
    let found = work.row("SELECT max(seq) FROM event WHERE subject = $1", values![subject]).await?;
    let mut seq = found.map_or(Ok(None), |row| row.maybe_int(0))?.unwrap_or(0).cast_unsigned();
    for batch in bodies.chunks(BATCH) {
        let mut values: Vec<Value> = Vec::with_capacity(batch.len() * 5);
        for body in batch {
            (place, seq) = (place + 1, seq + 1);
            values.extend_from_slice(values![place, subject, seq, *body, now]);
        }
        let sql = format!("INSERT INTO event (place, subject, seq, body, at) VALUES {}", rows(batch.len(), 5, 1));
        work.execute(sqlx::AssertSqlSafe(sql), &values).await?;
    }
    Ok(seq)
}

fn event(row: &Row) -> sqlx::Result<Event> {
    Ok(Event { subject: row.text(0)?, seq: row.number(1)?, body: row.text(2)?, at: row.int(3)?, place: row.number(4)? })
}
