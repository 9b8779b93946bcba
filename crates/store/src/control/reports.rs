//! What hosts tell.
//!
//! A host numbers what it tells: 1, 2, 3, … and keeps each thing until it is acknowledged, so after a cut it may send
//! again what is here already, and streams of two control planes may bring things out of order. Each number is taken
//! once, the first text stays, and everybody reads only up to the first gap.

use std::collections::BTreeMap;

use super::{BATCH, Control, ControlError, Hint, Millis, Subject, places, rows, take_numbers};
use crate::db::{Row, Value, Work, values};

/// Something that a host tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReport {
    /// The host's number of it, from 1.
    pub seq: u64,
    /// What kind of thing, one word of the caller's vocabulary.
    pub kind: String,
    /// The thing, JSON.
    pub body: String,
}

/// Something that a host told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The host.
    pub host: String,
    /// The host's number of it.
    pub seq: u64,
    /// What kind of thing.
    pub kind: String,
    /// The thing, JSON.
    pub body: String,
    /// When it came.
    pub at: Millis,
    /// Its number among all hosts' reports, in the order in which they came.
    pub place: u64,
}

impl Control {
    /// Keeps what a host tells, all or none; what is here already stays as it is. Gives the number up to which nothing is
    /// missing: what the host may forget.
    ///
    /// # Errors
    /// The database's.
    pub async fn add_reports(&self, host: &str, reports: &[NewReport], now: Millis) -> Result<u64, ControlError> {
        let upto = self.add_reports_of(&BTreeMap::from([(host, reports)]), now).await?;
        Ok(upto.get(host).copied().unwrap_or(0))
    }

    /// As [`Control::add_reports`], of many hosts, all or none.
    ///
    /// # Errors
    /// The database's.
    pub async fn add_reports_of(
        &self,
        reports: &BTreeMap<&str, &[NewReport]>,
        now: Millis,
    ) -> Result<BTreeMap<String, u64>, ControlError> {
        const WHAT: &str = "keep reports";
        let mut work = self.begin(WHAT).await?;
        let upto = self.wrap(WHAT, add(&mut work, reports, now).await)?;
        let hints: Vec<Hint> = reports.keys().map(|host| Hint::new(Subject::Report, host)).collect();
        self.commit(WHAT, work, &hints).await?;
        Ok(upto)
    }

    /// The number up to which nothing is missing of what a host told, 0 at first. A host that connects goes on after it.
    ///
    /// # Errors
    /// The database's.
    pub async fn reported(&self, host: &str) -> Result<u64, ControlError> {
        let sql = "SELECT upto FROM reported WHERE host = $1";
        let found = self.list("look up reports", sql, values![host], |row| row.number(0)).await?;
        Ok(found.first().copied().unwrap_or(0))
    }

    /// What a host told after its number `after`, in its order and without a gap, at most `limit`.
    ///
    /// # Errors
    /// The database's.
    pub async fn reports_of(&self, host: &str, after: u64, limit: u32) -> Result<Vec<Report>, ControlError> {
        let sql = "SELECT report.host, seq, kind, body, at, place
                   FROM report JOIN reported ON reported.host = report.host
                   WHERE report.host = $1 AND seq > $2 AND seq <= upto ORDER BY seq LIMIT $3";
        self.list("read reports", sql, values![host, after, limit], report).await
    }

    /// What all hosts told, in the order in which it came here, after the number `place`, at most `limit`. One host's may
    /// be out of its order, where it came so.
    ///
    /// # Errors
    /// The database's.
    pub async fn reports_since(&self, place: u64, limit: u32) -> Result<Vec<Report>, ControlError> {
        let sql = "SELECT host, seq, kind, body, at, place FROM report WHERE place > $1 ORDER BY place LIMIT $2";
        self.list("read reports", sql, values![place, limit], report).await
    }

    /// Forgets what came before `before`, where nothing before it is missing; gives how many. The numbers stay taken.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_reports(&self, before: Millis) -> Result<u64, ControlError> {
        let sql = "DELETE FROM report WHERE at < $1
                   AND seq <= (SELECT upto FROM reported WHERE reported.host = report.host)";
        self.change("forget reports", sql, values![before], &[]).await
    }
}

async fn add(
    work: &mut Work<'_>,
    reports: &BTreeMap<&str, &[NewReport]>,
    now: Millis,
) -> sqlx::Result<BTreeMap<String, u64>> {
    // Keeps others out until this ends, so that nobody moves `upto` meanwhile.
    let count = reports.values().map(|reports| reports.len()).sum();
    let mut place = take_numbers(work, "report", count).await? - i64::try_from(count).unwrap_or(0);
    let hosts: Vec<&str> = reports.keys().copied().collect();
    let mut upto: BTreeMap<String, u64> = hosts.iter().map(|host| ((*host).to_owned(), 0)).collect();
    for batch in hosts.chunks(BATCH) {
        let sql = format!("SELECT host, upto FROM reported WHERE host IN ({})", places(batch.len()));
        let found =
            work.list(sqlx::AssertSqlSafe(sql), &texts(batch), |row| Ok((row.text(0)?, row.number(1)?))).await?;
        upto.extend(found);
    }
    let before = upto.clone();
    let new: Vec<(&str, &NewReport)> = reports
        .iter()
        .flat_map(|(host, reports)| reports.iter().map(|report| (*host, report)))
        .filter(|(host, report)| report.seq > before.get(*host).copied().unwrap_or(0))
        .collect();
    for batch in new.chunks(BATCH) {
        let mut values: Vec<Value> = Vec::with_capacity(batch.len() * 6);
        for (host, report) in batch {
            place += 1;
            values.extend_from_slice(values![*host, report.seq, &report.kind, &report.body, now, place]);
        }
        let sql = format!(
            "INSERT INTO report (host, seq, kind, body, at, place) VALUES {} ON CONFLICT (host, seq) DO NOTHING",
            rows(batch.len(), 6, 1)
        );
        work.execute(sqlx::AssertSqlSafe(sql), &values).await?;
    }
    for batch in hosts.chunks(BATCH) {
        follow(work, batch, &mut upto).await?;
    }
    let moved: Vec<(&String, &u64)> = upto.iter().filter(|(host, upto)| before.get(*host) != Some(upto)).collect();
    for batch in moved.chunks(BATCH) {
        let values: Vec<Value> = batch.iter().flat_map(|(host, upto)| values![*host, **upto].to_vec()).collect();
        let sql = format!(
            "INSERT INTO reported (host, upto) VALUES {} ON CONFLICT (host) DO UPDATE SET upto = excluded.upto",
            rows(batch.len(), 2, 1)
        );
        work.execute(sqlx::AssertSqlSafe(sql), &values).await?;
    }
    Ok(upto)
}

/// Moves `upto` of these hosts as far as nothing is missing.
async fn follow(work: &mut Work<'_>, hosts: &[&str], upto: &mut BTreeMap<String, u64>) -> sqlx::Result<()> {
    let sql = format!(
        "SELECT report.host, seq FROM report LEFT JOIN reported ON reported.host = report.host
         WHERE report.host IN ({}) AND seq > coalesce(upto, 0) ORDER BY report.host, seq",
        places(hosts.len())
    );
    let next = |row: &Row| {
        let (host, seq) = (row.text(0)?, row.number(1)?);
        if let Some(upto) = upto.get_mut(&host).filter(|upto| **upto + 1 == seq) {
            *upto = seq;
        }
        Ok(std::ops::ControlFlow::Continue(()))
    };
    work.each(sqlx::AssertSqlSafe(sql), &texts(hosts), next).await
}

fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::from(*text)).collect()
}

fn report(row: &Row) -> sqlx::Result<Report> {
    Ok(Report {
        host: row.text(0)?,
        seq: row.number(1)?,
        kind: row.text(2)?,
        body: row.text(3)?,
        at: row.int(4)?,
        place: row.number(5)?,
    })
}
