//! The tables, by versions.
//!
//! A version is never changed once it was released; what changes the tables is a version after it. `NUMBER` stands for
//! SQLite's `INTEGER` and PostgreSQL's `BIGINT`, `TABLE_END` for SQLite's `) STRICT` and PostgreSQL's `)`. All times are
//! milliseconds since 1970, UTC.

use crate::db::{Pool, Work, format, set_format, values};

/// The versions, oldest first: the format of a database is how many of them it has.
const VERSIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3];

/// Marks the SQLite file as ours, in its application_id: "GRCP".
const APPLICATION: i64 = 0x4752_4350;

/// The key of PostgreSQL's advisory lock while tables are made or changed.
const LOCK: i64 = APPLICATION;

/// `place` is a number that orders all rows of a table by when they were committed; see `take_numbers`.
const VERSION_1: &str = "
CREATE TABLE numbering (name TEXT PRIMARY KEY, last NUMBER NOT NULL TABLE_END;
INSERT INTO numbering (name, last) VALUES ('command', 0), ('report', 0), ('event', 0);

CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created NUMBER NOT NULL,
    expires NUMBER,
    revoked NUMBER,
    last_used NUMBER
TABLE_END;

CREATE TABLE enrolment (
    hash TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    created NUMBER NOT NULL,
    expires NUMBER NOT NULL,
    used NUMBER
TABLE_END;

CREATE TABLE agent (
    host TEXT PRIMARY KEY,
    revoked NUMBER,
    last_seen NUMBER,
    version TEXT,
    holder TEXT,
    epoch NUMBER NOT NULL,
    status TEXT NOT NULL
TABLE_END;

CREATE TABLE certificate (
    fingerprint TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    not_after NUMBER NOT NULL,
    revoked NUMBER
TABLE_END;
CREATE INDEX certificate_host ON certificate (host);

CREATE TABLE command (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    fence NUMBER NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    progress TEXT,
    result TEXT,
    queued_at NUMBER NOT NULL,
    sent_at NUMBER,
    done_at NUMBER,
    place NUMBER NOT NULL UNIQUE,
    changed NUMBER NOT NULL
TABLE_END;
CREATE INDEX command_due ON command (host, place) WHERE state <> 'done';
CREATE INDEX command_changed ON command (changed);

CREATE TABLE report (
    host TEXT NOT NULL,
    seq NUMBER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    at NUMBER NOT NULL,
    place NUMBER NOT NULL UNIQUE,
    PRIMARY KEY (host, seq)
TABLE_END;
CREATE TABLE reported (host TEXT PRIMARY KEY, upto NUMBER NOT NULL TABLE_END;

CREATE TABLE saga (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    holder TEXT,
    lease_until NUMBER NOT NULL,
    fence NUMBER NOT NULL,
    made NUMBER NOT NULL,
    written NUMBER NOT NULL,
    finished NUMBER
TABLE_END;
CREATE INDEX saga_open ON saga (lease_until) WHERE finished IS NULL;

CREATE TABLE host_lock (host TEXT PRIMARY KEY, change TEXT NOT NULL, since NUMBER NOT NULL TABLE_END;
CREATE INDEX host_lock_change ON host_lock (change);

CREATE TABLE event (
    place NUMBER PRIMARY KEY,
    subject TEXT NOT NULL,
    seq NUMBER NOT NULL,
    body TEXT NOT NULL,
    at NUMBER NOT NULL,
    UNIQUE (subject, seq)
TABLE_END;

CREATE TABLE document (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    at NUMBER NOT NULL,
    PRIMARY KEY (kind, id)
TABLE_END;
";

/// Whoever was in touch before this was kept spoke the first version of the agents' language.
const VERSION_2: &str = "
ALTER TABLE agent ADD COLUMN protocol NUMBER;
UPDATE agent SET protocol = 1 WHERE version IS NOT NULL;
";

/// When and why a host's agent was not served; both are there or none.
const VERSION_3: &str = "
ALTER TABLE agent ADD COLUMN refused NUMBER;
ALTER TABLE agent ADD COLUMN refusal TEXT;
";

/// What a database was found to be.
pub(super) enum Found {
    /// It has all tables, now at least.
    Ready,
    /// It has tables that this program doesn't know.
    Newer { found: i64, known: i64 },
    /// It is something else.
    Foreign,
}

/// Brings the tables to this program's version. Several processes may try at once.
pub(super) async fn migrate(pool: &Pool) -> sqlx::Result<Found> {
    let known = i64::try_from(VERSIONS.len()).unwrap_or(i64::MAX);
    // A writer's transaction keeps SQLite's other processes out.
    let mut work = pool.begin().await?;
    let postgres = matches!(pool, Pool::Postgres(_));
    let found = if postgres {
        work.row("SELECT pg_advisory_xact_lock($1)", values![LOCK]).await?;
        Some(format(&mut work, "control").await?)
    } else {
        sqlite_format(&mut work).await?
    };
    let Some(found) = found else { return Ok(Found::Foreign) };
    if found > known {
        return Ok(Found::Newer { found, known });
    }
    if found < known {
        for version in VERSIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
            let (number, end) = if postgres { ("BIGINT", ")") } else { ("INTEGER", ") STRICT") };
            let text = version.replace("NUMBER", number).replace("TABLE_END", end);
            work.script(sqlx::AssertSqlSafe(text)).await?;
        }
        if postgres {
            set_format(&mut work, "control", known).await?;
        } else {
            let note = format!("PRAGMA application_id={APPLICATION}; PRAGMA user_version={known};");
            work.script(sqlx::AssertSqlSafe(note)).await?;
        }
    }
    work.commit().await?;
    Ok(Found::Ready)
}

/// The format of an SQLite database; nothing when it isn't ours.
async fn sqlite_format(work: &mut Work<'_>) -> sqlx::Result<Option<i64>> {
    let sql = "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
               FROM pragma_user_version, pragma_application_id";
    let row = work.row(sql, &[]).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok(match (row.int(0)?, row.int(1)?, row.int(2)?) {
        (0, 0, 0) => Some(0),
        (format, APPLICATION, _) if format > 0 => Some(format),
        _ => None,
    })
}
