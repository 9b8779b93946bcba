//! Which change has which host.
//!
//! A change takes all its hosts or none, always in the order of their names: two changes can't wait for each other.

use super::{BATCH, Control, ControlError, Hint, Millis, Subject, rows};
use crate::db::{Row, Value, Work, values};

/// A host that a change has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLock {
    /// The host.
    pub host: String,
    /// The change.
    pub change: String,
    /// Since when.
    pub since: Millis,
}

impl Control {
    /// Takes all of `hosts` for `change`, or none. Those that it has already it keeps.
    ///
    /// # Errors
    /// [`ControlError::Locked`] with the first host that another change has; the database's.
    pub async fn lock_hosts(&self, hosts: &[&str], change: &str, now: Millis) -> Result<(), ControlError> {
        const WHAT: &str = "lock hosts";
        let work = self.lock(WHAT, hosts, change, now).await?;
        self.commit(WHAT, work, &[]).await
    }

    /// A transaction in which `change` has all of `hosts`.
    pub(super) async fn lock(
        &self,
        what: &'static str,
        hosts: &[&str],
        change: &str,
        now: Millis,
    ) -> Result<Work<'static>, ControlError> {
        let mut hosts = hosts.to_vec();
        hosts.sort_unstable();
        hosts.dedup();
        loop {
            let mut work = self.begin(what).await?;
            let all = self.wrap(what, take(&mut work, &hosts, change, now).await)?;
            if all {
                return Ok(work);
            }
            let sql = "SELECT host, change, since FROM host_lock WHERE change <> $1 ORDER BY host";
            let others = self.wrap(what, work.list(sql, values![change], lock).await)?;
            self.wrap(what, work.roll_back().await)?;
            if let Some(other) = others.into_iter().find(|lock| hosts.binary_search(&lock.host.as_str()).is_ok()) {
                return Err(ControlError::Locked { host: other.host, change: other.change });
            }
            // It was given back between the two statements: once more.
        }
    }

    /// Gives back all hosts of a change; gives how many it had.
    ///
    /// # Errors
    /// The database's.
    pub async fn unlock_hosts(&self, change: &str) -> Result<u64, ControlError> {
        let hints = [Hint::new(Subject::Locks, change)];
        self.change("unlock hosts", "DELETE FROM host_lock WHERE change = $1", values![change], &hints).await
    }

    /// Gives back one host of a change; false when the change doesn't have it.
    ///
    /// # Errors
    /// The database's.
    pub async fn unlock_host(&self, host: &str, change: &str) -> Result<bool, ControlError> {
        let sql = "DELETE FROM host_lock WHERE host = $1 AND change = $2";
        let hints = [Hint::new(Subject::Locks, change)];
        Ok(self.change("unlock a host", sql, values![host, change], &hints).await? > 0)
    }

    /// All hosts that a change has, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn host_locks(&self) -> Result<Vec<HostLock>, ControlError> {
        self.list("list locks", "SELECT host, change, since FROM host_lock ORDER BY host", &[], lock).await
    }
}

/// Takes what is free; whether that, and what the change had, is everything. On PostgreSQL a host that another
/// transaction is just taking is waited for.
async fn take(work: &mut Work<'_>, hosts: &[&str], change: &str, now: Millis) -> sqlx::Result<bool> {
    let mut taken = 0;
    for batch in hosts.chunks(BATCH) {
        let mut values: Vec<Value> = Vec::with_capacity(batch.len() * 3);
        for host in batch {
            values.extend_from_slice(values![*host, change, now]);
        }
        // Taking again what the change has counts, and changes nothing.
        let sql = format!(
            "INSERT INTO host_lock (host, change, since) VALUES {}
             ON CONFLICT (host) DO UPDATE SET since = host_lock.since WHERE host_lock.change = excluded.change",
            rows(batch.len(), 3, 1)
        );
        taken += work.execute(sqlx::AssertSqlSafe(sql), &values).await?;
    }
    Ok(taken == hosts.len() as u64)
}

fn lock(row: &Row) -> sqlx::Result<HostLock> {
    Ok(HostLock { host: row.text(0)?, change: row.text(1)?, since: row.int(2)? })
}
