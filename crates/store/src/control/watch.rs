//! Hints that something is new, so that nobody has to poll often.
//!
//! They are hints and nothing more: one may come twice, late, or never (a connection was cut, a reader was slow), and what it
//! speaks of may be no news by the time one looks. So whoever watches also looks every few seconds without one, and
//! [`Subject::Anything`] says that some were lost: look at everything now.
//!
//! On PostgreSQL they are `NOTIFY` on the channel `greenroom`, sent with the commit, and reach all control planes. One
//! connection of a process listens, and one task passes on what it hears to all who watch there. On SQLite they reach all
//! handles of the same `Control` in this process.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Control, ControlError};
use crate::db::{Pool, Work, values};

const CHANNEL: &str = "greenroom";

/// So many hints may wait for a slow reader.
const ROOM: usize = 4096;

/// Hints within this time are taken for one.
const TOGETHER: Duration = Duration::from_millis(3);

/// How long to wait after a lost connection before the next try.
const PAUSE: Duration = Duration::from_millis(200);

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
    Server {
        heard: broadcast::Sender<Hint>,
        /// Whether somebody listens already; its end ends the listening.
        listening: Arc<Mutex<Option<watch::Sender<()>>>>,
    },
}

impl Hints {
    pub(super) fn here() -> Self {
        Self::Here(broadcast::channel(ROOM).0)
    }

    pub(super) fn from_server() -> Self {
        Self::Server { heard: broadcast::channel(ROOM).0, listening: Arc::default() }
    }

    /// The server gives them out when the transaction is committed.
    pub(super) async fn before_commit(&self, work: &mut Work<'_>, hints: &[Hint]) -> sqlx::Result<()> {
        if let Self::Server { .. } = self {
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
pub struct Watch(broadcast::Receiver<Hint>);

impl Control {
    /// Hints from now on. Look at everything once after this call: it tells only of what comes later.
    ///
    /// # Errors
    /// The database's.
    pub async fn watch(&self) -> Result<Watch, ControlError> {
        match (&self.hints, &self.pool) {
            (Hints::Server { heard, listening }, Pool::Postgres(pool)) => {
                let mut listening = listening.lock().await;
                if listening.is_none() {
                    let listener = self.wrap("listen", listen(pool).await)?;
                    let (life, end) = watch::channel(());
                    tokio::spawn(pass_on(listener, pool.clone(), heard.clone(), end));
                    *listening = Some(life);
                }
                Ok(Watch(heard.subscribe()))
            }
            (Hints::Here(heard) | Hints::Server { heard, .. }, _) => Ok(Watch(heard.subscribe())),
        }
    }
}

/// A connection of its own that listens: the others are for who writes and reads.
async fn listen(pool: &PgPool) -> sqlx::Result<PgListener> {
    let options = (*pool.connect_options()).clone();
    let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&own).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Passes on what the server says, until the state is closed or nobody has it any more.
async fn pass_on(mut listener: PgListener, pool: PgPool, heard: broadcast::Sender<Hint>, mut end: watch::Receiver<()>) {
    loop {
        let said = tokio::select! {
            said = listener.try_recv() => said,
            _ = end.changed() => return,
            () = pool.close_event() => return,
        };
        let lost = !matches!(said, Ok(Some(_)));
        let hint = match said {
            Ok(Some(notification)) => Hint::parse(notification.payload()).unwrap_or_else(Hint::anything),
            Ok(None) | Err(_) => Hint::anything(),
        };
        // Nobody watches: then nobody needs to know.
        let _ = heard.send(hint);
        if lost {
            sleep(PAUSE).await;
        }
    }
}

impl Watch {
    /// The next hint. Nothing when there will be no more: the state was closed. It may be dropped while it waits, and
    /// called again.
    ///
    /// After a lost connection it connects again by itself and gives [`Subject::Anything`], again and again while the server
    /// is away.
    pub async fn next(&mut self) -> Option<Hint> {
        match self.0.recv().await {
            Ok(hint) => Some(hint),
            Err(RecvError::Lagged(_)) => Some(Hint::anything()),
            Err(RecvError::Closed) => None,
        }
    }

    /// Waits for a hint that `concerns`, at most for `limit`, and then takes those that come with it: hints that come
    /// together are one look. [`Subject::Anything`] concerns everybody.
    pub async fn wait(&mut self, limit: Duration, concerns: impl Fn(&Hint) -> bool) {
        let end = Instant::now() + limit;
        loop {
            match timeout_at(end, self.next()).await {
                Ok(Some(hint)) if hint.subject != Subject::Anything && !concerns(&hint) => {}
                Ok(Some(_)) => break,
                // There will be no more: time is all there is.
                Ok(None) => return tokio::time::sleep_until(end).await,
                Err(_) => return,
            }
        }
        sleep(TOGETHER).await;
        while self.0.try_recv().is_ok() {}
    }
}
