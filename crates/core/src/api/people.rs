//! Who is let in: hosts by an enrolment, people by a token.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// `POST /v1/enrolments`: let a host in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewEnrolment {
    /// The name that it will have.
    pub host: String,
    /// How long its token is good for, in seconds; an hour where nothing is said.
    #[serde(default)]
    pub valid_s: Option<u64>,
}

/// All that a host needs to enrol itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The name that it will have.
    pub host: String,
    /// Where the control plane is.
    pub urls: Vec<String>,
    /// Its authority, in PEM.
    pub authority: String,
    /// Good for one enrolment.
    pub token: Secret,
}

/// `POST /v1/enrol`, without a token in the header: the invitation's is in the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Enrol {
    /// The invitation's.
    pub token: Secret,
    /// A signing request, in PEM.
    pub request: String,
}

/// `POST /v1/enrol/program`, without a token in the header: a host that has been invited gets the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewProgram {
    /// The invitation's. It is not used up.
    pub token: Secret,
    /// The host's kind of processor, as uname(1) says it.
    pub machine: String,
}

/// `POST /v1/agent/renew`, with the certificate that is still good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Renew {
    /// A signing request, in PEM.
    pub request: String,
}

/// A host is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Enrolled {
    /// Its name.
    pub host: String,
    /// Its certificate, in PEM.
    pub certificate: String,
    /// When that ends, in seconds since 1970.
    pub not_after: i64,
}

/// `POST /v1/tokens`: let a person in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// The person.
    pub name: String,
    /// `viewer`, `developer`, `operator` or `admin`.
    pub role: String,
    /// How long it is good for, in seconds; 90 days where nothing is said.
    #[serde(default)]
    pub valid_s: Option<u64>,
}

/// A new token. It is shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MadeToken {
    /// Its name, to revoke it by.
    pub id: String,
    /// The secret.
    pub token: Secret,
}

/// A token as it is on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// Its name.
    pub id: String,
    /// The person.
    pub name: String,
    /// What it allows.
    pub role: String,
    /// Milliseconds since 1970.
    pub created: i64,
    /// When it ends.
    pub expires: Option<i64>,
    /// When it was revoked.
    pub revoked: Option<i64>,
    /// When it was used last.
    pub last_used: Option<i64>,
}
