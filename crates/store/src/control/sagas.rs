//! Changes across hosts: who drives one, and that nobody else does.
//!
//! A saga is driven by whoever has its lease. The lease has an end, so that a driver that died doesn't keep it, and a
//! *fence*, a number that grows with every lease. A driver that was only slow may believe that it still has the lease:
//! whatever it writes shows its fence, and is refused when that is not the current one. The same number goes along with
//! every command, so that an agent refuses what an older driver sent.
//!
//! Clocks of control planes may differ: a clock that is fast ends another's lease early, which costs a change of drivers and
//! nothing else. That only one drives follows from the fence, not from the time.

use super::commands::{self, NewCommand};
use super::{Control, ControlError, Hint, Millis, Subject};
use crate::db::{Row, Work, values};

/// The right to drive a saga, until somebody else has taken it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The saga.
    pub saga: String,
    /// The number of the lease.
    pub number: u64,
}

/// A change across hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saga {
    /// Its name.
    pub id: String,
    /// How far it is, JSON.
    pub state: String,
    /// Who drives it; absent when nobody does.
    pub holder: Option<String>,
    /// When the lease ends.
    pub lease_until: Millis,
    /// The number of the last lease, 0 before the first.
    pub fence: u64,
    /// When it was made.
    pub made: Millis,
    /// When its state was written.
    pub written: Millis,
    /// When it came to its end.
    pub finished: Option<Millis>,
}

impl Fence {
    pub(super) fn refused(&self) -> ControlError {
        ControlError::Fenced { saga: self.saga.clone(), fence: self.number }
    }
}

impl Control {
    /// Makes a saga that nobody drives yet; false when there is one of that name, which is left as it is.
    ///
    /// # Errors
    /// The database's.
    pub async fn add_saga(&self, id: &str, state: &str, now: Millis) -> Result<bool, ControlError> {
        let sql = "INSERT INTO saga (id, state, lease_until, fence, made, written) VALUES ($1, $2, 0, 0, $3, $3)
                   ON CONFLICT (id) DO NOTHING";
        let hints = [Hint::new(Subject::Saga, id)];
        Ok(self.change("make a saga", sql, values![id, state, now], &hints).await? > 0)
    }

    /// Takes the lease of a saga for `ttl` milliseconds, when nobody has it: nobody took it, it was given back, or it ended
    /// by `now`. Of all who try, one gets it. Nothing otherwise, and when the saga is finished or there is none.
    ///
    /// # Errors
    /// The database's.
    pub async fn acquire(
        &self,
        id: &str,
        holder: &str,
        now: Millis,
        ttl: Millis,
    ) -> Result<Option<Fence>, ControlError> {
        const WHAT: &str = "take a lease";
        let mut work = self.begin(WHAT).await?;
        let sql = "UPDATE saga SET holder = $2, lease_until = $4, fence = fence + 1
                   WHERE id = $1 AND finished IS NULL AND (holder IS NULL OR lease_until <= $3) RETURNING fence";
        let row = work.row(sql, values![id, holder, now, now.saturating_add(ttl)]).await;
        let number = self.wrap(WHAT, row.and_then(|row| row.map(|row| row.number(0)).transpose()))?;
        let hint = [Hint::new(Subject::Saga, id)];
        self.commit(WHAT, work, if number.is_some() { &hint } else { &[] }).await?;
        Ok(number.map(|number| Fence { saga: id.to_owned(), number }))
    }

    /// Makes the lease last until `now + ttl`. A lease that ended and that nobody took meanwhile goes on.
    ///
    /// # Errors
    /// [`ControlError::Fenced`]; the database's.
    pub async fn renew(&self, fence: &Fence, now: Millis, ttl: Millis) -> Result<(), ControlError> {
        let sql = "UPDATE saga SET lease_until = $3
                   WHERE id = $1 AND fence = $2 AND holder IS NOT NULL AND finished IS NULL";
        let values = values![&fence.saga, fence.number, now.saturating_add(ttl)];
        self.fenced(fence, self.change("renew a lease", sql, values, &[]).await?)
    }

    /// Gives the lease back: whoever wants may take it at once.
    ///
    /// # Errors
    /// [`ControlError::Fenced`]; the database's.
    pub async fn release(&self, fence: &Fence) -> Result<(), ControlError> {
        let sql = "UPDATE saga SET holder = NULL WHERE id = $1 AND fence = $2 AND holder IS NOT NULL";
        let hints = [Hint::new(Subject::Saga, &fence.saga)];
        let values = values![&fence.saga, fence.number];
        self.fenced(fence, self.change("give a lease back", sql, values, &hints).await?)
    }

    /// A step of a saga: its new state, and the commands that belong to it, in one transaction. Commands whose id is there
    /// already are left as they are.
    ///
    /// # Errors
    /// [`ControlError::Fenced`], and nothing was written; the database's.
    pub async fn write_saga(
        &self,
        fence: &Fence,
        state: &str,
        commands: &[NewCommand],
        now: Millis,
    ) -> Result<(), ControlError> {
        const WHAT: &str = "write a saga";
        let mut work = self.begin(WHAT).await?;
        let sql = "UPDATE saga SET state = $3, written = $4
                   WHERE id = $1 AND fence = $2 AND holder IS NOT NULL AND finished IS NULL";
        let written = work.execute(sql, values![&fence.saga, fence.number, state, now]).await;
        self.fenced(fence, self.wrap(WHAT, written)?)?;
        self.wrap(WHAT, commands::put(&mut work, commands, now).await)?;
        let mut hints = commands::hints(commands);
        hints.push(Hint::new(Subject::Saga, &fence.saga));
        self.commit(WHAT, work, &hints).await
    }

    /// The last step: the final state; the lease is given back, and nobody can take it again.
    ///
    /// # Errors
    /// [`ControlError::Fenced`], also when it is finished already; the database's.
    pub async fn finish_saga(&self, fence: &Fence, state: &str, now: Millis) -> Result<(), ControlError> {
        let sql = "UPDATE saga SET state = $3, written = $4, finished = $4, holder = NULL
                   WHERE id = $1 AND fence = $2 AND holder IS NOT NULL AND finished IS NULL";
        let hints = [Hint::new(Subject::Saga, &fence.saga)];
        let values = values![&fence.saga, fence.number, state, now];
        self.fenced(fence, self.change("finish a saga", sql, values, &hints).await?)
    }

    fn fenced(&self, fence: &Fence, changed: u64) -> Result<(), ControlError> {
        if changed == 0 { Err(fence.refused()) } else { Ok(()) }
    }

    /// One saga.
    ///
    /// # Errors
    /// The database's.
    pub async fn saga(&self, id: &str) -> Result<Option<Saga>, ControlError> {
        let sql = "SELECT id, state, holder, lease_until, fence, made, written, finished FROM saga WHERE id = $1";
        Ok(self.list("look up a saga", sql, values![id], saga).await?.pop())
    }

    /// All sagas that are not finished, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn open_sagas(&self) -> Result<Vec<Saga>, ControlError> {
        let sql = "SELECT id, state, holder, lease_until, fence, made, written, finished FROM saga
                   WHERE finished IS NULL ORDER BY made, id";
        self.list("list sagas", sql, &[], saga).await
    }

    /// The sagas that are not finished and that somebody should drive: their lease ended by `now`, or nobody has it.
    ///
    /// # Errors
    /// The database's.
    pub async fn abandoned_sagas(&self, now: Millis) -> Result<Vec<Saga>, ControlError> {
        let sql = "SELECT id, state, holder, lease_until, fence, made, written, finished FROM saga
                   WHERE finished IS NULL AND (holder IS NULL OR lease_until <= $1) ORDER BY made, id";
        self.list("list sagas", sql, values![now], saga).await
    }
}

/// Whether `fence` is the current one. It stays so until this transaction ends.
pub(super) async fn check_fence(work: &mut Work<'_>, fence: &Fence) -> sqlx::Result<bool> {
    // An update that changes nothing holds the row, on both databases.
    let sql = "UPDATE saga SET fence = fence WHERE id = $1 AND fence = $2 AND holder IS NOT NULL AND finished IS NULL";
    Ok(work.execute(sql, values![&fence.saga, fence.number]).await? > 0)
}

fn saga(row: &Row) -> sqlx::Result<Saga> {
    Ok(Saga {
        id: row.text(0)?,
        state: row.text(1)?,
        holder: row.maybe_text(2)?,
        lease_until: row.int(3)?,
        fence: row.number(4)?,
        made: row.int(5)?,
        written: row.int(6)?,
        finished: row.maybe_int(7)?,
    })
}
