//! Tokens: those of people, which are used again and again, and those with which a host enrols itself once.
//!
//! Only hashes of secrets are here.

use std::fmt;

use super::{Control, ControlError, Millis, unreadable};
use crate::db::{Row, values};

/// What a person may do. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    Viewer,
    /// Rehearse.
    Developer,
    /// Apply and undo.
    Operator,
    /// Everything: hosts, people.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Developer, Self::Operator, Self::Admin];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its name in the record, unique.
    pub id: String,
    /// The person's name.
    pub name: String,
    /// What the person may do.
    pub role: Role,
    /// The BLAKE3 hash of the secret, hexadecimal, unique.
    pub hash: String,
    /// When it ends to be good; never if absent.
    pub expires: Option<Millis>,
}

/// A token of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name in the record.
    pub id: String,
    /// The person's name.
    pub name: String,
    /// What the person may do.
    pub role: Role,
    /// When it was made.
    pub created: Millis,
    /// When it ends to be good; never if absent.
    pub expires: Option<Millis>,
    /// When it was revoked.
    pub revoked: Option<Millis>,
    /// When it was last used, as far as that was noted.
    pub last_used: Option<Millis>,
}

impl Token {
    /// Whether it is neither revoked nor expired.
    #[must_use]
    pub fn good_at(&self, now: Millis) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| now < end)
    }
}

/// Why an enrolment token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolmentRefusal {
    /// There never was one like it.
    Unknown,
    /// It was used: this is a replay, or the same host once more.
    Used,
    /// Its time is over.
    Expired,
}

impl fmt::Display for EnrolmentRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "is not known",
            Self::Used => "was used before",
            Self::Expired => "is too old",
        })
    }
}

impl Control {
    /// Makes a token. The same one again changes nothing.
    ///
    /// # Errors
    /// [`ControlError::Exists`] for an `id` or a `hash` that another one has; the database's.
    pub async fn add_token(&self, token: &NewToken, now: Millis) -> Result<(), ControlError> {
        const WHAT: &str = "make a token";
        let mut work = self.begin(WHAT).await?;
        let sql = "INSERT INTO token (id, name, role, hash, created, expires) VALUES ($1, $2, $3, $4, $5, $6)
                   ON CONFLICT DO NOTHING";
        let values = values![&token.id, &token.name, token.role.as_str(), &token.hash, now, token.expires];
        if self.wrap(WHAT, work.execute(sql, values).await)? == 0 {
            let sql = "SELECT count(*) FROM token WHERE id = $1 AND hash = $2 AND name = $3 AND role = $4";
            let same = work.row(sql, values![&token.id, &token.hash, &token.name, token.role.as_str()]).await;
            let same = self.wrap(WHAT, same.and_then(|row| row.ok_or(sqlx::Error::RowNotFound)?.int(0)))?;
            if same == 0 {
                return Err(ControlError::Exists { what: "token", id: token.id.clone() });
            }
        }
        self.commit(WHAT, work, &[]).await
    }

    /// The token with this hash, good or not: see [`Token::good_at`].
    ///
    /// # Errors
    /// The database's.
    pub async fn token_by_hash(&self, hash: &str) -> Result<Option<Token>, ControlError> {
        let sql = "SELECT id, name, role, created, expires, revoked, last_used FROM token WHERE hash = $1";
        Ok(self.list("look up a token", sql, values![hash], token).await?.pop())
    }

    /// All tokens, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn tokens(&self) -> Result<Vec<Token>, ControlError> {
        let sql = "SELECT id, name, role, created, expires, revoked, last_used FROM token ORDER BY name, id";
        self.list("list tokens", sql, &[], token).await
    }

    /// Makes a token useless from now on; false when there is none or it was revoked before.
    ///
    /// # Errors
    /// The database's.
    pub async fn revoke_token(&self, id: &str, now: Millis) -> Result<bool, ControlError> {
        let sql = "UPDATE token SET revoked = $2 WHERE id = $1 AND revoked IS NULL";
        Ok(self.change("revoke a token", sql, values![id, now], &[]).await? > 0)
    }

    /// Notes that a token was used, unless a later use is noted. Not needed for every single use.
    ///
    /// # Errors
    /// The database's.
    pub async fn token_used(&self, id: &str, now: Millis) -> Result<(), ControlError> {
        let sql = "UPDATE token SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)";
        self.change("note the use of a token", sql, values![id, now], &[]).await.map(|_| ())
    }

    /// Makes a one-time token for `host`, good until `expires`. The same one again changes nothing.
    ///
    /// # Errors
    /// The database's.
    pub async fn add_enrolment(
        &self,
        hash: &str,
        host: &str,
        now: Millis,
        expires: Millis,
    ) -> Result<(), ControlError> {
        let sql = "INSERT INTO enrolment (hash, host, created, expires) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (hash) DO NOTHING";
        self.change("make an enrolment token", sql, values![hash, host, now, expires], &[]).await.map(|_| ())
    }

    /// Uses a one-time token up and gives the host that it is for. Of all who try, one succeeds.
    ///
    /// # Errors
    /// [`ControlError::Enrolment`]; the database's.
    pub async fn use_enrolment(&self, hash: &str, now: Millis) -> Result<String, ControlError> {
        const WHAT: &str = "use an enrolment token";
        let mut work = self.begin(WHAT).await?;
        let sql = "UPDATE enrolment SET used = $2 WHERE hash = $1 AND used IS NULL AND expires > $2 RETURNING host";
        let used = work.row(sql, values![hash, now]).await;
        if let Some(host) = self.wrap(WHAT, used.and_then(|row| row.map(|row| row.text(0)).transpose()))? {
            self.commit(WHAT, work, &[]).await?;
            return Ok(host);
        }
        drop(work);
        // It was no good a moment ago.
        self.enrolment(hash, Millis::MAX).await
    }

    /// The host that a one-time token is for, which stays as good as it is.
    ///
    /// # Errors
    /// As for [`use_enrolment`](Self::use_enrolment).
    pub async fn enrolment(&self, hash: &str, now: Millis) -> Result<String, ControlError> {
        let sql = "SELECT host, used, expires FROM enrolment WHERE hash = $1";
        let read = |row: &Row| Ok((row.text(0)?, row.maybe_int(1)?, row.int(2)?));
        let found = self.list("look for an enrolment token", sql, values![hash], read).await?.pop();
        let reason = match found {
            None => EnrolmentRefusal::Unknown,
            Some((_, Some(_), _)) => EnrolmentRefusal::Used,
            Some((_, None, expires)) if expires <= now => EnrolmentRefusal::Expired,
            Some((host, None, _)) => return Ok(host),
        };
        Err(ControlError::Enrolment { reason })
    }
}

fn token(row: &Row) -> sqlx::Result<Token> {
    let role = row.text(2)?;
    Ok(Token {
        id: row.text(0)?,
        name: row.text(1)?,
        role: Role::parse(&role).ok_or_else(|| unreadable("role", &role))?,
        created: row.int(3)?,
        expires: row.maybe_int(4)?,
        revoked: row.maybe_int(5)?,
        last_used: row.maybe_int(6)?,
    })
}
