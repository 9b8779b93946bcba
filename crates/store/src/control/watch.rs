//! Hints that something is new, so that nobody has to poll often.
//!
//! They are hints and nothing more: one may come twice, late, or never (a connection was cut, a reader was slow), and what it
//! speaks of may be no news by the time one looks. So whoever watches also looks every few seconds without one, and
//! [`Subject::Anything`] says that some were lost: look at everything now.
//!
//! On PostgreSQL they are `NOTIFY` on the channel `greenroom`, sent with the commit, and reach all control planes. On SQLite
//! they reach all handles of the same `Control` in this process.

use sqlx::postgres::PgListener;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Control, ControlError};
use crate::db::{Pool, Work, values};

const CHANNEL: &str = "greenroom";

/// So many hints may wait for a slow reader.
const ROOM: usize = 4096;

/// What a hint is about, and so what its name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Something has to be sent to this host.
    Mailbox,
    /// This command has moved.
    Command,
    /// This host told something.
    Report,
    /// This saga has a new state, a new driver or none.
    Saga,
    /// This change gave hosts back.
    Locks,
    /// Something happened in this change or rehearsal.
    Event,
    /// What is known of this host's agent is new.
    Agent,
    /// This document is new.
    Document,
    /// Hints were lost: everything may be new. The name is empty.
    Anything,
}

const WORDS: [(Subject, &str); 8] = [
    (Subject::Mailbox, "mailbox"),
    (Subject::Command, "command"),
    (Subject::Report, "report"),
    (Subject::Saga, "saga"),
    (Subject::Locks, "locks"),
    (Subject::Event, "event"),
    (Subject::Agent, "agent"),
    (Subject::Document, "document"),
];

/// Something may be new.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hint {
    /// What it is about.
    pub subject: Subject,
    /// Which one: a host, a command, a saga, ….
    pub name: String,
}

impl Hint {
    pub(super) fn new(subject: Subject, name: &str) -> Self {
        Self { subject, name: name.to_owned() }
    }

    fn anything() -> Self {
        Self::new(Subject::Anything, "")
    }

    fn to_text(&self) -> Option<String> {
        let word = WORDS.iter().find(|(subject, _)| *subject == self.subject)?.1;
        Some(format!("{word} {}", self.name))
    }

    fn parse(text: &str) -> Option<Self> {
        let (word, name) = text.split_once(' ')?;
        let subject = WORDS.iter().find(|(_, other)| *other == word)?.0;
        Some(Self::new(subject, name))
    }
}

/// How hints get from who writes to who watches.
#[derive(Debug, Clone)]
pub(super) enum Hints {
    Here(broadcast::Sender<Hint>),
    Server,
}

impl Hints {
    pub(super) fn here() -> Self {
        Self::Here(broadcast::channel(ROOM).0)
    }

    pub(super) fn from_server() -> Self {
        Self::Server
    }

    /// The server gives them out when the transaction is committed.
    pub(super) async fn before_commit(&self, work: &mut Work<'_>, hints: &[Hint]) -> sqlx::Result<()> {
        if let Self::Server = self {
            let texts: Vec<_> = hints.iter().filter_map(Hint::to_text).collect();
            if !texts.is_empty() {
                // One statement, however many there are. A name with a line feed in it comes out as two that are none.
                let sql = "SELECT pg_notify($1, name) FROM unnest(string_to_array($2, chr(10))) AS name
                           WHERE octet_length(name) < 8000";
                work.each(sql, values![CHANNEL, texts.join("\n").as_str()], |_| {
                    Ok(std::ops::ControlFlow::Continue(()))
                })
                .await?;
            }
        }
        Ok(())
    }

    pub(super) fn after_commit(&self, hints: &[Hint]) {
        if let Self::Here(sender) = self {
            for hint in hints {
                // Nobody watches: then nobody needs to know.
                let _ = sender.send(hint.clone());
            }
        }
    }
}

/// Hints, as they come.
pub struct Watch(Source);

enum Source {
    Here(broadcast::Receiver<Hint>),
    Server(Box<PgListener>),
}

impl Control {
    /// Hints from now on. Look at everything once after this call: it tells only of what comes later.
    ///
    /// # Errors
    /// The database's.
    pub async fn watch(&self) -> Result<Watch, ControlError> {
        let source = match (&self.hints, &self.pool) {
            (Hints::Here(sender), _) => Source::Here(sender.subscribe()),
            (Hints::Server, Pool::Postgres(pool)) => {
                let listening = async {
                    let mut listener = PgListener::connect_with(pool).await?;
                    listener.listen(CHANNEL).await?;
                    Ok(listener)
                };
                Source::Server(Box::new(self.wrap("listen", listening.await)?))
            }
            (Hints::Server, Pool::Sqlite { .. }) => Source::Here(broadcast::channel(1).1),
        };
        Ok(Watch(source))
    }
}

impl Watch {
    /// The next hint. Nothing when there will be no more: the state was closed. It may be dropped while it waits, and
    /// called again.
    ///
    /// After a lost connection it connects again by itself and gives [`Subject::Anything`]. A server that is away for long is
    /// tried again at every call, so wait a little after that hint.
    pub async fn next(&mut self) -> Option<Hint> {
        match &mut self.0 {
            Source::Here(receiver) => match receiver.recv().await {
                Ok(hint) => Some(hint),
                Err(RecvError::Lagged(_)) => Some(Hint::anything()),
                Err(RecvError::Closed) => None,
            },
            Source::Server(listener) => match listener.try_recv().await {
                Ok(Some(notification)) => Some(Hint::parse(notification.payload()).unwrap_or_else(Hint::anything)),
                Err(sqlx::Error::PoolClosed) => None,
                Ok(None) | Err(_) => Some(Hint::anything()),
            },
        }
    }
}
