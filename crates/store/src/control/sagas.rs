//! Changes across hosts: who drives one, and that nobody else does.
//!
//! A saga is driven by whoever has its lease. The lease has an end, so that a driver that died doesn't keep it, and a
//! *fence*, a number that grows with every lease. A driver that was only slow may believe that it still has the lease:
//! whatever it writes shows its fence, and is refused when that is not the current one. The same number goes along with
//! every command, so that an agent refuses what an older driver sent.
//!
//! Clocks of control planes may differ, so nobody compares its own with another's: a lease that is renewed changes
//! ([`Lease::until`]), and who has seen one unchanged for as long as leases last may take it over, as it was seen. That only
//! one drives follows from the fence, not from any time.

use super::commands::{self, NewCommand};
use super::{Control, ControlError, Hint, Millis, Subject, events};
use crate::db::{Row, Work, values};

/// The right to drive a saga, until somebody else has taken it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The saga.
    pub saga: String,
    /// The number of the lease.
    pub number: u64,
}

/// Who drives a saga, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The saga.
    pub saga: String,
    /// Who drives it; absent when nobody does.
    pub holder: Option<String>,
    /// When the lease ends, by the holder's clock: another value with every renewal.
    pub until: Millis,
    /// The number of the last lease, 0 before the first.
    pub fence: u64,
}

/// A step of a saga.
#[derive(Debug, Clone, Copy, Default)]
pub struct Step<'a> {
    /// The state after it, JSON.
    pub state: &'a str,
    /// The commands that belong to it. Those whose id is there already are left as they are.
    pub commands: &'a [NewCommand],
    /// What is told of it, JSON.
    pub events: &'a [&'a str],
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

    /// Makes a saga that nobody drives yet, and takes all of `hosts` for it, or does nothing at all. Nothing is made, and
    /// false is given, when there is one of that name.
    ///
    /// # Errors
    /// [`ControlError::Locked`] with the first host that another change has; the database's.
    pub async fn begin_saga(&self, id: &str, state: &str, hosts: &[&str], now: Millis) -> Result<bool, ControlError> {
        const WHAT: &str = "make a saga";
        let mut work = self.lock(WHAT, hosts, id, now).await?;
        let sql = "INSERT INTO saga (id, state, lease_until, fence, made, written) VALUES ($1, $2, 0, 0, $3, $3)
                   ON CONFLICT (id) DO NOTHING";
        if self.wrap(WHAT, work.execute(sql, values![id, state, now]).await)? == 0 {
            self.wrap(WHAT, work.roll_back().await)?;
            return Ok(false);
        }
        self.commit(WHAT, work, &[Hint::new(Subject::Saga, id)]).await?;
        Ok(true)
    }

    /// Takes the lease of a saga for `ttl` milliseconds, if it still is as it was seen. Of all who try, one gets it.
    /// Whether nobody has it or it is over is for the caller to know.
    ///
    /// # Errors
    /// The database's.
    pub async fn acquire(
        &self,
        seen: &Lease,
        holder: &str,
        now: Millis,
        ttl: Millis,
    ) -> Result<Option<Fence>, ControlError> {
        const WHAT: &str = "take a lease";
        let mut work = self.begin(WHAT).await?;
        let sql = "UPDATE saga SET holder = $2, lease_until = $3, fence = fence + 1
                   WHERE id = $1 AND finished IS NULL AND fence = $4 AND lease_until = $5 RETURNING fence";
        let values = values![&seen.saga, holder, now.saturating_add(ttl), seen.fence, seen.until];
        let row = work.row(sql, values).await;
        let number = self.wrap(WHAT, row.and_then(|row| row.map(|row| row.number(0)).transpose()))?;
        let hint = [Hint::new(Subject::Saga, &seen.saga)];
        self.commit(WHAT, work, if number.is_some() { &hint } else { &[] }).await?;
        Ok(number.map(|number| Fence { saga: seen.saga.clone(), number }))
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

    /// A step of a saga, in one transaction.
    ///
    /// # Errors
    /// [`ControlError::Fenced`], and nothing was written; the database's.
    pub async fn write_saga(&self, fence: &Fence, step: Step<'_>, now: Millis) -> Result<(), ControlError> {
        const WHAT: &str = "write a saga";
        let mut work = self.begin(WHAT).await?;
        let sql = "UPDATE saga SET state = $3, written = $4
                   WHERE id = $1 AND fence = $2 AND holder IS NOT NULL AND finished IS NULL";
        let written = work.execute(sql, values![&fence.saga, fence.number, step.state, now]).await;
        self.fenced(fence, self.wrap(WHAT, written)?)?;
        let mut hints = self.wrap(WHAT, belongs(&mut work, fence, &step, now).await)?;
        hints.push(Hint::new(Subject::Saga, &fence.saga));
        self.commit(WHAT, work, &hints).await
    }

    /// The last step: the lease is given back, nobody can take it again, and the saga has no host any more.
    ///
    /// # Errors
    /// [`ControlError::Fenced`], also when it is finished already; the database's.
    pub async fn finish_saga(&self, fence: &Fence, step: Step<'_>, now: Millis) -> Result<(), ControlError> {
        const WHAT: &str = "finish a saga";
        let mut work = self.begin(WHAT).await?;
        let sql = "UPDATE saga SET state = $3, written = $4, finished = $4, holder = NULL
                   WHERE id = $1 AND fence = $2 AND holder IS NOT NULL AND finished IS NULL";
        let written = work.execute(sql, values![&fence.saga, fence.number, step.state, now]).await;
        self.fenced(fence, self.wrap(WHAT, written)?)?;
        let mut hints = self.wrap(WHAT, belongs(&mut work, fence, &step, now).await)?;
        let sql = "DELETE FROM host_lock WHERE change = $1";
        self.wrap(WHAT, work.execute(sql, values![&fence.saga]).await)?;
        hints.extend([Hint::new(Subject::Saga, &fence.saga), Hint::new(Subject::Locks, &fence.saga)]);
        self.commit(WHAT, work, &hints).await
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

    /// The leases of all sagas that are not finished, oldest saga first.
    ///
    /// # Errors
    /// The database's.
    pub async fn open_leases(&self) -> Result<Vec<Lease>, ControlError> {
        let sql = "SELECT id, holder, lease_until, fence FROM saga WHERE finished IS NULL ORDER BY made, id";
        let read = |row: &Row| {
            Ok(Lease { saga: row.text(0)?, holder: row.maybe_text(1)?, until: row.int(2)?, fence: row.number(3)? })
        };
        self.list("list leases", sql, &[], read).await
    }
}

/// Writes what belongs to a step; gives the hints of it.
async fn belongs(work: &mut Work<'_>, fence: &Fence, step: &Step<'_>, now: Millis) -> sqlx::Result<Vec<Hint>> {
    commands::put(work, step.commands, now).await?;
    let mut hints = commands::hints(step.commands);
    if !step.events.is_empty() {
        events::append(work, &fence.saga, step.events, now).await?;
        hints.push(Hint::new(Subject::Event, &fence.saga));
    }
    Ok(hints)
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
