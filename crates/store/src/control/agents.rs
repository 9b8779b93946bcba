//! Hosts: their certificates, who holds their stream, and what they said of themselves last.
//!
//! A host has one stream. Whoever opens one takes the next *epoch* ([`Control::hold_agent`]); whoever had it before learns
//! from the epoch that it has no longer, and what it still writes changes nothing.
//!
//! An agent that is not served leaves one note, why ([`Control::refuse_agent`]). It is there only while nobody has the host's
//! stream: whoever takes that over next takes the note away.

use super::{BATCH, Control, ControlError, Hint, Millis, Subject, rows};
use crate::db::{Row, values};

/// What is known of a host's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The host's name.
    pub host: String,
    /// When it was shut out.
    pub revoked: Option<Millis>,
    /// When it was last heard of.
    pub last_seen: Option<Millis>,
    /// The version that it runs.
    pub version: Option<String>,
    /// The version of the agents' language that it speaks.
    pub protocol: Option<u32>,
    /// The control plane that holds its stream; absent when nobody does.
    pub holder: Option<String>,
    /// Of the stream: grows with every one.
    pub epoch: u64,
    /// What it said of itself last, JSON.
    pub status: String,
    /// Why it was not served when it came last; absent when it was.
    pub refused: Option<Refused>,
}

/// An agent that was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When.
    pub at: Millis,
    /// Why, JSON.
    pub why: String,
}

/// A certificate of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its fingerprint, in the caller's spelling.
    pub fingerprint: String,
    /// The host it is for.
    pub host: String,
    /// When it ends to be good.
    pub not_after: Millis,
    /// When it was revoked, by itself or with its host.
    pub revoked: Option<Millis>,
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStatus {
    /// The host.
    pub host: String,
    /// Of the stream on which it says so.
    pub epoch: u64,
    /// How it is, JSON.
    pub status: String,
}

/// Whether a certificate opens the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It does, for this host.
    Good(String),
    /// It was revoked, or its host was.
    Revoked,
    /// Its time is over.
    Expired,
    /// Nobody noted it.
    Unknown,
}

/// How often the same is noted of a host that comes again and again, in milliseconds.
const NOTE_EVERY: Millis = 10_000;

/// Reads what [`agent`] takes.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT host, revoked, last_seen, version, holder, epoch, status, protocol, refused, refusal FROM agent ",
            $which
        )
    };
}

impl Control {
    /// Notes a certificate; others of the same host stay good. A host that is not known yet becomes known, and one that
    /// was revoked is let in again with this certificate alone: whoever may enrol it has decided so. Why its agent was not served
    /// until now is no matter any more.
    ///
    /// # Errors
    /// [`ControlError::Exists`] when the fingerprint is another host's; the database's.
    pub async fn add_certificate(&self, host: &str, fingerprint: &str, not_after: Millis) -> Result<(), ControlError> {
        const WHAT: &str = "note a certificate";
        let mut work = self.begin(WHAT).await?;
        let sql = "INSERT INTO agent (host, epoch, status) VALUES ($1, 0, '{}')
                   ON CONFLICT (host) DO UPDATE SET revoked = NULL, refused = NULL, refusal = NULL";
        self.wrap(WHAT, work.execute(sql, values![host]).await)?;
        let sql = "INSERT INTO certificate (fingerprint, host, not_after) VALUES ($1, $2, $3)
                   ON CONFLICT (fingerprint) DO UPDATE SET not_after = excluded.not_after
                   WHERE certificate.host = excluded.host";
        if self.wrap(WHAT, work.execute(sql, values![fingerprint, host, not_after]).await)? == 0 {
            return Err(ControlError::Exists { what: "certificate", id: fingerprint.to_owned() });
        }
        self.commit(WHAT, work, &[Hint::new(Subject::Agent, host)]).await
    }

    /// Which host a certificate is for, and whether it is good.
    ///
    /// # Errors
    /// The database's.
    pub async fn standing(&self, fingerprint: &str, now: Millis) -> Result<Standing, ControlError> {
        let sql = "SELECT certificate.host, not_after, certificate.revoked, agent.revoked
                   FROM certificate JOIN agent ON agent.host = certificate.host WHERE fingerprint = $1";
        let read = |row: &Row| {
            Ok(if row.maybe_int(2)?.is_some() || row.maybe_int(3)?.is_some() {
                Standing::Revoked
            } else if row.int(1)? <= now {
                Standing::Expired
            } else {
                Standing::Good(row.text(0)?)
            })
        };
        let found = self.list("look up a certificate", sql, values![fingerprint], read).await?.pop();
        Ok(found.unwrap_or(Standing::Unknown))
    }

    /// The certificates of a host, the one that lasts longest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn certificates(&self, host: &str) -> Result<Vec<Certificate>, ControlError> {
        let sql = "SELECT fingerprint, host, not_after, revoked FROM certificate WHERE host = $1
                   ORDER BY not_after DESC, fingerprint";
        let read = |row: &Row| {
            Ok(Certificate {
                fingerprint: row.text(0)?,
                host: row.text(1)?,
                not_after: row.int(2)?,
                revoked: row.maybe_int(3)?,
            })
        };
        self.list("list certificates", sql, values![host], read).await
    }

    /// Shuts a host out, with all its certificates; false when it isn't known or was shut out before.
    ///
    /// # Errors
    /// The database's.
    pub async fn revoke_agent(&self, host: &str, now: Millis) -> Result<bool, ControlError> {
        const WHAT: &str = "revoke an agent";
        let mut work = self.begin(WHAT).await?;
        let sql = "UPDATE agent SET revoked = $2, holder = NULL, epoch = epoch + 1
                   WHERE host = $1 AND revoked IS NULL";
        let revoked = self.wrap(WHAT, work.execute(sql, values![host, now]).await)? > 0;
        let sql = "UPDATE certificate SET revoked = $2 WHERE host = $1 AND revoked IS NULL";
        self.wrap(WHAT, work.execute(sql, values![host, now]).await)?;
        self.commit(WHAT, work, &[Hint::new(Subject::Agent, host)]).await?;
        Ok(revoked)
    }

    /// Revokes all certificates of a host but one: whoever had its name before is out.
    ///
    /// # Errors
    /// The database's.
    pub async fn revoke_other_certificates(&self, host: &str, but: &str, now: Millis) -> Result<u64, ControlError> {
        let sql = "UPDATE certificate SET revoked = $3 WHERE host = $1 AND fingerprint <> $2 AND revoked IS NULL";
        self.change("revoke certificates", sql, values![host, but, now], &[]).await
    }

    /// Revokes one certificate, after a newer one has taken its place.
    ///
    /// # Errors
    /// The database's.
    pub async fn revoke_certificate(&self, fingerprint: &str, now: Millis) -> Result<bool, ControlError> {
        let sql = "UPDATE certificate SET revoked = $2 WHERE fingerprint = $1 AND revoked IS NULL";
        Ok(self.change("revoke a certificate", sql, values![fingerprint, now], &[]).await? > 0)
    }

    /// Takes over the stream of a host, whose agent is of that version and speaks that version of the language; gives the
    /// stream's epoch. Nothing when the host isn't known or is revoked.
    ///
    /// # Errors
    /// The database's.
    pub async fn hold_agent(
        &self,
        host: &str,
        holder: &str,
        (version, protocol): (&str, u32),
        now: Millis,
    ) -> Result<Option<u64>, ControlError> {
        const WHAT: &str = "take over a stream";
        let mut work = self.begin(WHAT).await?;
        let sql = "UPDATE agent SET holder = $2, epoch = epoch + 1, version = $3, protocol = $4, last_seen = $5,
                          refused = NULL, refusal = NULL
                   WHERE host = $1 AND revoked IS NULL RETURNING epoch";
        let row = work.row(sql, values![host, holder, version, protocol, now]).await;
        let epoch = self.wrap(WHAT, row.and_then(|row| row.map(|row| row.number(0)).transpose()))?;
        self.commit(WHAT, work, &[Hint::new(Subject::Agent, host)]).await?;
        Ok(epoch)
    }

    /// Notes why the agent that shows this certificate is not served, in the place of what was noted of its host before; its
    /// stream, when it had one, is nobody's any more. False when nothing was noted: the certificate is not known; it is not good,
    /// and its host has a good one, or a stream; the host has another stream than that of `epoch`, where one is given; or the same
    /// was noted a moment ago.
    ///
    /// # Errors
    /// The database's.
    pub async fn refuse_agent(
        &self,
        fingerprint: &str,
        epoch: Option<u64>,
        why: &str,
        now: Millis,
    ) -> Result<bool, ControlError> {
        const WHAT: &str = "note why an agent is not served";
        let mut work = self.begin(WHAT).await?;
        // Who has a certificate from before says nothing of whoever has the name now.
        let sql = "WITH shown AS (SELECT host FROM certificate WHERE fingerprint = $1),
                        good AS (SELECT fingerprint FROM certificate WHERE host = (SELECT host FROM shown)
                                 AND revoked IS NULL AND not_after > $3)
                   UPDATE agent SET refused = $3, refusal = $4, holder = NULL, epoch = epoch + 1
                   WHERE host = (SELECT host FROM shown) AND epoch = COALESCE($2, epoch)
                   AND (holder IS NOT NULL OR refusal IS NULL OR refusal <> $4 OR abs(refused - $3) >= $5)
                   AND ($1 IN (SELECT fingerprint FROM good) OR holder IS NULL AND NOT EXISTS (SELECT 1 FROM good))
                   RETURNING host";
        let row = work.row(sql, values![fingerprint, epoch.map(u64::cast_signed), now, why, NOTE_EVERY]).await;
        let host = self.wrap(WHAT, row.and_then(|row| row.map(|row| row.text(0)).transpose()))?;
        let hints: Vec<Hint> = host.iter().map(|host| Hint::new(Subject::Agent, host)).collect();
        self.commit(WHAT, work, &hints).await?;
        Ok(host.is_some())
    }

    /// Notes that a stream has ended; false when it had been taken over.
    ///
    /// # Errors
    /// The database's.
    pub async fn let_go_of_agent(&self, host: &str, epoch: u64) -> Result<bool, ControlError> {
        let sql = "UPDATE agent SET holder = NULL WHERE host = $1 AND epoch = $2 AND holder IS NOT NULL";
        let hints = [Hint::new(Subject::Agent, host)];
        Ok(self.change("let go of a stream", sql, values![host, epoch], &hints).await? > 0)
    }

    /// Notes that these hosts were heard of, each in the epoch of its stream; gives those whose stream is still the
    /// current one. The others' streams are to be closed.
    ///
    /// # Errors
    /// The database's.
    pub async fn agents_seen(&self, hosts: &[(&str, u64)], now: Millis) -> Result<Vec<String>, ControlError> {
        const WHAT: &str = "note who was heard of";
        let mut hosts = hosts.to_vec();
        // Always in the same order: two control planes can't wait for each other.
        hosts.sort_unstable();
        let mut work = self.begin(WHAT).await?;
        let mut current = Vec::new();
        for batch in hosts.chunks(BATCH) {
            let mut values = values![now].to_vec();
            for (host, epoch) in batch {
                values.extend_from_slice(values![*host, *epoch]);
            }
            let sql = format!(
                "UPDATE agent SET last_seen = $1 FROM (VALUES {}) AS given
                 WHERE host = given.column1 AND epoch = given.column2 RETURNING host",
                rows(batch.len(), 2, 2)
            );
            let seen = work.list(sqlx::AssertSqlSafe(sql), &values, |row| row.text(0)).await;
            current.extend(self.wrap(WHAT, seen)?);
        }
        current.sort_unstable();
        self.commit(WHAT, work, &[]).await?;
        Ok(current)
    }

    /// Keeps what a host said of itself; false when the epoch is not that of its stream.
    ///
    /// # Errors
    /// The database's.
    pub async fn set_agent_status(
        &self,
        host: &str,
        epoch: u64,
        status: &str,
        now: Millis,
    ) -> Result<bool, ControlError> {
        let status = NewStatus { host: host.to_owned(), epoch, status: status.to_owned() };
        Ok(self.set_agent_statuses(&[status], now).await? > 0)
    }

    /// As [`Control::set_agent_status`], of many hosts, all or none; gives how many were kept.
    ///
    /// # Errors
    /// The database's.
    pub async fn set_agent_statuses(&self, statuses: &[NewStatus], now: Millis) -> Result<u64, ControlError> {
        const WHAT: &str = "keep a status";
        let mut statuses: Vec<&NewStatus> = statuses.iter().collect();
        // Always in the same order: two control planes can't wait for each other.
        statuses.sort_unstable_by(|a, b| (&a.host, a.epoch).cmp(&(&b.host, b.epoch)));
        let mut work = self.begin(WHAT).await?;
        let mut kept = 0;
        for batch in statuses.chunks(BATCH) {
            let mut values = values![now].to_vec();
            for NewStatus { host, epoch, status } in batch {
                values.extend_from_slice(values![host, *epoch, status]);
            }
            let sql = format!(
                "UPDATE agent SET status = given.column3, last_seen = $1 FROM (VALUES {}) AS given
                 WHERE host = given.column1 AND epoch = given.column2",
                rows(batch.len(), 3, 2)
            );
            kept += self.wrap(WHAT, work.execute(sqlx::AssertSqlSafe(sql), &values).await)?;
        }
        let hints: Vec<Hint> = statuses.iter().map(|status| Hint::new(Subject::Agent, &status.host)).collect();
        self.commit(WHAT, work, if kept == 0 { &[] } else { &hints }).await?;
        Ok(kept)
    }

    /// All hosts, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn agents(&self) -> Result<Vec<Agent>, ControlError> {
        let sql = select!("ORDER BY host");
        self.list("list agents", sql, &[], agent).await
    }

    /// One host.
    ///
    /// # Errors
    /// The database's.
    pub async fn agent(&self, host: &str) -> Result<Option<Agent>, ControlError> {
        let sql = select!("WHERE host = $1");
        Ok(self.list("look up an agent", sql, values![host], agent).await?.pop())
    }
}

fn agent(row: &Row) -> sqlx::Result<Agent> {
    Ok(Agent {
        host: row.text(0)?,
        revoked: row.maybe_int(1)?,
        last_seen: row.maybe_int(2)?,
        version: row.maybe_text(3)?,
        holder: row.maybe_text(4)?,
        epoch: row.number(5)?,
        status: row.text(6)?,
        protocol: row.maybe_int(7)?.and_then(|protocol| u32::try_from(protocol).ok()),
        refused: match (row.maybe_int(8)?, row.maybe_text(9)?) {
            (Some(at), Some(why)) => Some(Refused { at, why }),
            _ => None,
        },
    })
}
