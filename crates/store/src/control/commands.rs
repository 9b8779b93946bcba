//! The mailbox to hosts.
//!
//! ```text
//! queued ──► sent ──► running ──► done
//! ```
//!
//! A command has an id, which its caller makes up, and a host. It is sent until it is done: again after every reconnect,
//! by whichever control plane holds the host's stream. That it is carried out at most once is the agent's doing, by the id;
//! that it has one result is this room's: the first one stays. `fence` is for the agent: it refuses what is older than
//! what it has seen.

use std::collections::BTreeMap;

use super::sagas::check_fence;
use super::{BATCH, Control, ControlError, Fence, Hint, Millis, Subject, places, rows, take_numbers, unreadable};
use crate::db::{Row, Value, Work, values};

/// A command to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommand {
    /// Its name, unique for all time.
    pub id: String,
    /// The host that it is for.
    pub host: String,
    /// The fence under which it was given, 0 without one.
    pub fence: u64,
    /// What to do, JSON.
    pub body: String,
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommandState {
    /// Nobody has sent it.
    Queued,
    /// It was sent at least once.
    Sent,
    /// The agent has said that it is at it.
    Running,
    /// It has a result.
    Done,
}

impl CommandState {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Running => "running",
            Self::Done => "done",
        }
    }

    fn parse(word: &str) -> sqlx::Result<Self> {
        let all = [Self::Queued, Self::Sent, Self::Running, Self::Done];
        all.into_iter().find(|state| state.as_str() == word).ok_or_else(|| unreadable("state of a command", word))
    }
}

/// A command in the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its name.
    pub id: String,
    /// The host that it is for.
    pub host: String,
    /// The fence under which it was given.
    pub fence: u64,
    /// What to do, JSON.
    pub body: String,
    /// How far it is.
    pub state: CommandState,
    /// What the agent said of it last, JSON.
    pub progress: Option<String>,
    /// What came of it, JSON; present when done.
    pub result: Option<String>,
    /// When it was queued.
    pub queued_at: Millis,
    /// When it was last sent.
    pub sent_at: Option<Millis>,
    /// When its result came.
    pub done_at: Option<Millis>,
    /// The number of its last change: see [`Control::commands_changed_since`].
    pub changed: u64,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The command.
    pub id: String,
    /// The host that says so: it has to be the command's.
    pub host: String,
    /// What came of it, JSON.
    pub result: String,
}

/// How far a command is, as the agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underway {
    /// The command.
    pub id: String,
    /// The host that says so: it has to be the command's.
    pub host: String,
    /// How far, JSON.
    pub progress: String,
}

/// A command that has a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The command.
    pub id: String,
    /// Its host.
    pub host: String,
    /// What came of it, JSON.
    pub result: String,
    /// The number of its last change.
    pub changed: u64,
}

/// Reads what [`command`] takes.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT id, host, fence, body, state, progress, result, queued_at, sent_at, done_at, changed FROM command ",
            $which
        )
    };
}

impl Control {
    /// Puts commands into the mailboxes, all or none; those whose id is there already are left as they are. Gives how many
    /// are new. With a fence, only while that is the current one.
    ///
    /// # Errors
    /// [`ControlError::Fenced`]; the database's.
    pub async fn enqueue(
        &self,
        commands: &[NewCommand],
        under: Option<&Fence>,
        now: Millis,
    ) -> Result<u64, ControlError> {
        const WHAT: &str = "queue commands";
        let mut work = self.begin(WHAT).await?;
        if let Some(fence) = under
            && !self.wrap(WHAT, check_fence(&mut work, fence).await)?
        {
            return Err(fence.refused());
        }
        let added = self.wrap(WHAT, put(&mut work, commands, now).await)?;
        self.commit(WHAT, work, &hints(commands)).await?;
        Ok(added)
    }

    /// What a host has to be sent: all that is not done, in the order in which it was queued.
    ///
    /// # Errors
    /// The database's.
    pub async fn commands_due(&self, host: &str) -> Result<Vec<Command>, ControlError> {
        let sql = select!("WHERE host = $1 AND state <> 'done' ORDER BY place");
        self.list("read a mailbox", sql, values![host], command).await
    }

    /// All that is not done, of whatever host, in the order in which it was queued.
    ///
    /// # Errors
    /// The database's.
    pub async fn open_commands(&self) -> Result<Vec<Command>, ControlError> {
        let sql = select!("WHERE state <> 'done' ORDER BY place");
        self.list("read all mailboxes", sql, &[], command).await
    }

    /// Notes that commands were sent, each on its host's stream of an epoch; done ones stay done. What went into a stream that is not
    /// the host's current one stays as it was, for whoever has that: the host may have left the other without a word.
    ///
    /// # Errors
    /// The database's.
    pub async fn commands_sent(&self, commands: &[(&str, u64)], now: Millis) -> Result<(), ControlError> {
        const WHAT: &str = "note what was sent";
        let mut work = self.begin(WHAT).await?;
        self.wrap(WHAT, sent(&mut work, commands, now).await)?;
        self.commit(WHAT, work, &[]).await
    }

    /// Notes how far commands are, all or none; nothing of one that is done, or not the host's. Gives how many were noted.
    ///
    /// # Errors
    /// The database's.
    pub async fn commands_running(&self, commands: &[Underway]) -> Result<u64, ControlError> {
        const WHAT: &str = "note progress";
        let mut work = self.begin(WHAT).await?;
        let noted = self.wrap(WHAT, running(&mut work, commands).await)?;
        let hints: Vec<_> = commands.iter().map(|command| Hint::new(Subject::Command, &command.id)).collect();
        self.commit(WHAT, work, &hints).await?;
        Ok(noted)
    }

    /// Notes results, all or none. A command that has a result keeps it, and what another host says of it changes nothing.
    /// Gives how many were the first.
    ///
    /// # Errors
    /// The database's.
    pub async fn complete(&self, outcomes: &[Outcome], now: Millis) -> Result<u64, ControlError> {
        const WHAT: &str = "note results";
        let mut work = self.begin(WHAT).await?;
        let first = self.wrap(WHAT, done(&mut work, outcomes, now).await)?;
        let hints: Vec<_> = outcomes.iter().map(|outcome| Hint::new(Subject::Command, &outcome.id)).collect();
        self.commit(WHAT, work, &hints).await?;
        Ok(first)
    }

    /// The commands that changed after the number `since`, in the order of their last change, at most `limit`. Polling
    /// with the last one's [`Command::changed`] misses no final state.
    ///
    /// # Errors
    /// The database's.
    pub async fn commands_changed_since(&self, since: u64, limit: u32) -> Result<Vec<Command>, ControlError> {
        let sql = select!("WHERE changed > $1 ORDER BY changed LIMIT $2");
        self.list("read commands", sql, values![since, limit], command).await
    }

    /// The commands that nobody has sent and that changed after the number `since`, in that order, at most `limit`.
    ///
    /// # Errors
    /// The database's.
    pub async fn commands_queued_since(&self, since: u64, limit: u32) -> Result<Vec<Command>, ControlError> {
        let sql = select!("WHERE changed > $1 AND state = 'queued' ORDER BY changed LIMIT $2");
        self.list("read commands", sql, values![since, limit], command).await
    }

    /// The number of the last change of any command: whoever reads this, then looks at what is wanted once, and then asks
    /// for what came after it, misses nothing.
    ///
    /// # Errors
    /// The database's.
    pub async fn last_change(&self) -> Result<u64, ControlError> {
        let sql = "SELECT last FROM numbering WHERE name = 'command'";
        let last = self.list("look up the last change", sql, &[], |row| row.number(0)).await?;
        Ok(last.first().copied().unwrap_or(0))
    }

    /// The results of those of these commands that have one.
    ///
    /// # Errors
    /// The database's.
    pub async fn results_of(&self, ids: &[&str]) -> Result<Vec<Done>, ControlError> {
        const WHAT: &str = "look up results";
        let mut work = self.wrap(WHAT, self.pool.read().await)?;
        let mut out = Vec::new();
        for batch in ids.chunks(BATCH) {
            let values: Vec<Value> = batch.iter().map(|id| Value::from(*id)).collect();
            let sql = format!(
                "SELECT id, host, result, changed FROM command WHERE state = 'done' AND id IN ({})",
                places(batch.len())
            );
            out.extend(self.wrap(WHAT, work.list(sqlx::AssertSqlSafe(sql), &values, result).await)?);
        }
        Ok(out)
    }

    /// The hosts of those of these commands that have no result, by command.
    ///
    /// # Errors
    /// The database's.
    pub async fn hosts_of_open(&self, ids: &[&str]) -> Result<BTreeMap<String, String>, ControlError> {
        const WHAT: &str = "look up commands";
        let mut work = self.wrap(WHAT, self.pool.read().await)?;
        let mut out = BTreeMap::new();
        for batch in ids.chunks(BATCH) {
            let values: Vec<Value> = batch.iter().map(|id| Value::from(*id)).collect();
            let sql = format!("SELECT id, host FROM command WHERE state <> 'done' AND id IN ({})", places(batch.len()));
            let read = |row: &Row| Ok((row.text(0)?, row.text(1)?));
            out.extend(self.wrap(WHAT, work.list(sqlx::AssertSqlSafe(sql), &values, read).await)?);
        }
        Ok(out)
    }

    /// The results that came after the number `since` of commands whose id begins with `prefix`, in the order in which they
    /// came, at most `limit`.
    ///
    /// # Errors
    /// The database's.
    pub async fn results_since(&self, since: u64, prefix: &str, limit: u32) -> Result<Vec<Done>, ControlError> {
        let sql = "SELECT id, host, result, changed FROM command
                   WHERE changed > $1 AND state = 'done' AND substr(id, 1, length($2)) = $2
                   ORDER BY changed LIMIT $3";
        self.list("read results", sql, values![since, prefix, limit], result).await
    }

    /// One command.
    ///
    /// # Errors
    /// The database's.
    pub async fn command(&self, id: &str) -> Result<Option<Command>, ControlError> {
        let sql = select!("WHERE id = $1");
        Ok(self.list("look up a command", sql, values![id], command).await?.pop())
    }

    /// Forgets commands that were done before `before`; gives how many.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_commands(&self, before: Millis) -> Result<u64, ControlError> {
        let sql = "DELETE FROM command WHERE state = 'done' AND done_at < $1";
        self.change("forget commands", sql, values![before], &[]).await
    }
}

/// A hint for each host.
pub(super) fn hints(commands: &[NewCommand]) -> Vec<Hint> {
    let mut hosts: Vec<_> = commands.iter().map(|command| command.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts.into_iter().map(|host| Hint::new(Subject::Mailbox, host)).collect()
}

/// Queues commands; gives how many are new.
pub(super) async fn put(work: &mut Work<'_>, commands: &[NewCommand], now: Millis) -> sqlx::Result<u64> {
    if commands.is_empty() {
        return Ok(0);
    }
    let mut place = take_numbers(work, "command", commands.len()).await? - i64::try_from(commands.len()).unwrap_or(0);
    let mut added = 0;
    for batch in commands.chunks(BATCH) {
        let mut values: Vec<Value> = Vec::with_capacity(batch.len() * 8);
        for command in batch {
            place += 1;
            let NewCommand { id, host, fence, body } = command;
            values.extend_from_slice(values![id, host, *fence, body, "queued", now, place, place]);
        }
        let sql = format!(
            "INSERT INTO command (id, host, fence, body, state, queued_at, place, changed) VALUES {}
             ON CONFLICT (id) DO NOTHING",
            rows(batch.len(), 8, 1)
        );
        added += work.execute(sqlx::AssertSqlSafe(sql), &values).await?;
    }
    Ok(added)
}

async fn sent(work: &mut Work<'_>, commands: &[(&str, u64)], now: Millis) -> sqlx::Result<()> {
    if commands.is_empty() {
        return Ok(());
    }
    let mut changed = take_numbers(work, "command", commands.len()).await? - i64::try_from(commands.len()).unwrap_or(0);
    for batch in commands.chunks(BATCH) {
        let mut values = values![now].to_vec();
        for (id, epoch) in batch {
            changed += 1;
            values.extend_from_slice(values![*id, changed, *epoch]);
        }
        let sql = format!(
            "UPDATE command SET sent_at = $1, changed = given.column2,
                 state = CASE WHEN state = 'queued' THEN 'sent' ELSE state END
             FROM (VALUES {}) AS given WHERE command.id = given.column1 AND state <> 'done'
                 AND EXISTS (SELECT 1 FROM agent WHERE agent.host = command.host AND agent.epoch = given.column3)",
            rows(batch.len(), 3, 2)
        );
        work.execute(sqlx::AssertSqlSafe(sql), &values).await?;
    }
    Ok(())
}

async fn done(work: &mut Work<'_>, outcomes: &[Outcome], now: Millis) -> sqlx::Result<u64> {
    if outcomes.is_empty() {
        return Ok(0);
    }
    let mut changed = take_numbers(work, "command", outcomes.len()).await? - i64::try_from(outcomes.len()).unwrap_or(0);
    let mut first = 0;
    // One by one where two speak of the same command: the first one wins.
    let mut seen = std::collections::HashSet::new();
    let outcomes: Vec<_> = outcomes.iter().filter(|outcome| seen.insert((&outcome.id, &outcome.host))).collect();
    for batch in outcomes.chunks(BATCH) {
        let mut values = values![now].to_vec();
        for outcome in batch {
            changed += 1;
            values.extend_from_slice(values![&outcome.id, &outcome.host, &outcome.result, changed]);
        }
        let sql = format!(
            "UPDATE command SET state = 'done', result = given.column3, done_at = $1, changed = given.column4
             FROM (VALUES {}) AS given
             WHERE command.id = given.column1 AND host = given.column2 AND state <> 'done'",
            rows(batch.len(), 4, 2)
        );
        first += work.execute(sqlx::AssertSqlSafe(sql), &values).await?;
    }
    Ok(first)
}

async fn running(work: &mut Work<'_>, commands: &[Underway]) -> sqlx::Result<u64> {
    if commands.is_empty() {
        return Ok(0);
    }
    let mut changed = take_numbers(work, "command", commands.len()).await? - i64::try_from(commands.len()).unwrap_or(0);
    let mut noted = 0;
    // One by one where two speak of the same command: the first one wins.
    let mut seen = std::collections::HashSet::new();
    let commands: Vec<_> = commands.iter().filter(|command| seen.insert((&command.id, &command.host))).collect();
    for batch in commands.chunks(BATCH) {
        let mut values = Vec::with_capacity(batch.len() * 4);
        for command in batch {
            changed += 1;
            values.extend_from_slice(values![&command.id, &command.host, &command.progress, changed]);
        }
        let sql = format!(
            "UPDATE command SET state = 'running', progress = given.column3, changed = given.column4
             FROM (VALUES {}) AS given
             WHERE command.id = given.column1 AND host = given.column2 AND state <> 'done'",
            rows(batch.len(), 4, 1)
        );
        noted += work.execute(sqlx::AssertSqlSafe(sql), &values).await?;
    }
    Ok(noted)
}

fn result(row: &Row) -> sqlx::Result<Done> {
    Ok(Done { id: row.text(0)?, host: row.text(1)?, result: row.text(2)?, changed: row.number(3)? })
}

fn command(row: &Row) -> sqlx::Result<Command> {
    Ok(Command {
        id: row.text(0)?,
        host: row.text(1)?,
        fence: row.number(2)?,
        body: row.text(3)?,
        state: CommandState::parse(&row.text(4)?)?,
        progress: row.maybe_text(5)?,
        result: row.maybe_text(6)?,
        queued_at: row.int(7)?,
        sent_at: row.maybe_int(8)?,
        done_at: row.maybe_int(9)?,
        changed: row.number(10)?,
    })
}
