//! The JSON Schema of the change file, for editors (taplo, Even Better TOML) and for people who generate such files.
//!
//! The structs here are the document as it is written, not as it is used; only schemars reads them. What the reader
//! (`read.rs`) accepts is written there; a test compares both, key by key and on a table of documents.
#![expect(dead_code, reason = "the structs are read by their JsonSchema derive alone")]

use schemars::JsonSchema;

use crate::document::schema::{DurationText, UnitName};

/// The JSON Schema of the change file (draft 2020-12).
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

/// A change: what to do, how to test it, and what to do with services when it goes live.
#[derive(JsonSchema)]
#[schemars(title = "Greenroom change file", deny_unknown_fields)]
struct Document {
    /// A short title.
    #[schemars(length(min = 1))]
    name: Option<String>,
    /// Why it is done. Goes to the ledger.
    #[schemars(length(min = 1))]
    why: Option<String>,
    /// What is done, in this order.
    #[schemars(length(min = 1))]
    step: Vec<StepTable>,
    /// What must hold once the change is in place.
    #[serde(default)]
    test: Vec<TestTable>,
    /// What apply does besides putting the changeset in place.
    #[serde(default)]
    apply: ApplyTable,
}

/// One step: exactly one of `run`, `copy` and `live`.
#[derive(JsonSchema)]
#[schemars(
    rename = "Step",
    deny_unknown_fields,
    extend("oneOf" = [{"required": ["run"]}, {"required": ["copy"]}, {"required": ["live"]}]),
    extend("dependentRequired" = {"undo": ["live"], "once": ["live"]})
)]
struct StepTable {
    /// What to call it in reports.
    #[schemars(length(min = 1))]
    name: Option<String>,
    /// How long it may take.
    timeout: Option<DurationText>,
    /// A command for `sh -c`, run in the copy. What it changes is captured and goes live without running it again.
    #[schemars(length(min = 1))]
    run: Option<String>,
    /// A file to put in place.
    copy: Option<CopyTable>,
    /// A command for `sh -c` that is rehearsed in the copy and also run on production, at its place in the order: for
    /// a database migration or a cache purge.
    #[schemars(length(min = 1))]
    live: Option<String>,
    /// The command that takes `live` back. Without it the step cannot be undone.
    #[schemars(length(min = 1))]
    undo: Option<String>,
    /// Whether `live` runs once for the whole system instead of once on each host: then it runs on the first host of the
    /// order, before any other host is touched.
    once: Option<bool>,
}

/// A file to put in place. Without `mode` and `owner` a file that is there keeps its own; a new one gets the mode of
/// `from` and belongs to root.
#[derive(JsonSchema)]
#[schemars(rename = "Copy", deny_unknown_fields)]
struct CopyTable {
    /// The file to copy, relative to the directory of the change file.
    #[schemars(length(min = 1))]
    from: String,
    /// Where it goes: an absolute path on the host, with the file's name.
    #[schemars(regex(pattern = r"^/"))]
    to: String,
    /// Permission bits in octal, in quotes.
    #[schemars(regex(pattern = r"^[0-7]{3,4}$"), example = "0644")]
    mode: Option<String>,
    /// `user` or `user:group`, by name or number.
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.$@+-]*(:[A-Za-z0-9_][A-Za-z0-9_.$@+-]*)?$"),
        example = "www-data:www-data"
    )]
    owner: Option<String>,
}

/// A command that must succeed once the change is in place.
#[derive(JsonSchema)]
#[schemars(rename = "Test", deny_unknown_fields)]
struct TestTable {
    /// What to call it in reports.
    #[schemars(length(min = 1))]
    name: Option<String>,
    /// A command for `sh -c`. Exit status 0 is success.
    #[schemars(length(min = 1))]
    run: String,
    /// How long it may take.
    timeout: Option<DurationText>,
}

/// What apply does besides putting the changeset in place.
#[derive(JsonSchema, Default)]
#[schemars(rename = "Apply", deny_unknown_fields)]
struct ApplyTable {
    /// Units to restart besides those that were measured in the rehearsal.
    #[serde(default)]
    restart: Vec<UnitName>,
    /// Units to reload instead of restarting them.
    #[serde(default)]
    reload: Vec<UnitName>,
    /// Units that are left alone whatever was measured.
    #[serde(default)]
    never_restart: Vec<UnitName>,
    /// Commands for `sh -c` that must succeed after the restarts. When one fails, the change is taken back.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    health: Vec<String>,
}
