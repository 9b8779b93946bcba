//! The JSON Schema of the system file, for editors (taplo, Even Better TOML) and for people who generate such files.
//!
//! The structs here are the document as it is written, not as it is used; only schemars reads them. What the reader
//! (`read`) accepts is written there; a test compares both, key by key and on a table of documents. That a name which
//! is referred to is declared, a schema can't say.
#![expect(dead_code, reason = "the structs are read by their JsonSchema derive alone")]

use std::collections::BTreeMap;

use schemars::JsonSchema;

use crate::document::schema::{DurationText, UnitName};

/// The JSON Schema of the system file (draft 2020-12).
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

/// A system: its hosts, what runs on them, who answers for it, and what a change to it needs.
#[derive(JsonSchema)]
#[schemars(title = "Greenroom system file", deny_unknown_fields)]
struct Document {
    /// Files that are part of this one, relative to it. The last part may have `*`, `?`, `[…]` and `{…}`.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    include: Vec<String>,
    /// The system as a whole.
    system: Option<SystemTable>,
    /// Its hosts, by name.
    #[serde(default)]
    host: Named<HostTable>,
    /// What is the same on all hosts of a role, by the role's name.
    #[serde(default)]
    role: Named<RoleTable>,
    /// What runs on the hosts, by name.
    #[serde(default)]
    service: Named<ServiceTable>,
    /// What must hold on a host once a change is in place.
    #[serde(default)]
    test: Vec<TestTable>,
    /// Who answers for services, by name.
    #[serde(default)]
    team: Named<TeamTable>,
    /// The people, by name.
    #[serde(default)]
    person: Named<PersonTable>,
    /// What a change needs, and what is done when it fails.
    policy: Option<PolicyTable>,
    /// Volatile and data paths of every host.
    paths: Option<PathsTable>,
    /// What is different in an environment, by its name: the tables here are put over those outside, key by key; hosts
    /// are not inherited.
    #[serde(default)]
    environment: Named<EnvironmentTable>,
}

/// What is different in an environment.
#[derive(JsonSchema)]
#[schemars(rename = "Environment", deny_unknown_fields)]
struct EnvironmentTable {
    /// Files that are part of this table, relative to the file that it stands in.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    include: Vec<String>,
    /// The system as a whole.
    system: Option<SystemTable>,
    /// The hosts of the environment, by name: all of them.
    #[serde(default)]
    host: Named<HostTable>,
    /// What is the same on all hosts of a role, by the role's name.
    #[serde(default)]
    role: Named<RoleTable>,
    /// What runs on the hosts, by name. What stands here is put over the service outside.
    #[serde(default)]
    service: Named<ServiceTable>,
    /// What must hold on a host once a change is in place, in place of the tests outside.
    #[serde(default)]
    test: Vec<TestTable>,
    /// Who answers for services, by name.
    #[serde(default)]
    team: Named<TeamTable>,
    /// The people, by name.
    #[serde(default)]
    person: Named<PersonTable>,
    /// What a change needs, and what is done when it fails.
    policy: Option<PolicyTable>,
    /// Volatile and data paths of every host.
    paths: Option<PathsTable>,
}

/// Tables with names.
type Named<T> = BTreeMap<Name, T>;

/// Letters, digits and - _ . , the first a letter or a digit; at most 63.
#[derive(JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[schemars(rename = "Name")]
struct Name(#[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"))] String);

/// The system as a whole.
#[derive(JsonSchema)]
#[schemars(rename = "System", deny_unknown_fields)]
struct SystemTable {
    /// Its name.
    name: Option<Name>,
    /// The environment that is meant when none is asked for.
    environment: Option<Name>,
}

/// A Linux machine of the system.
#[derive(JsonSchema)]
#[schemars(rename = "Host", deny_unknown_fields)]
struct HostTable {
    /// Its IP address or DNS name. Without it, its name is its address.
    #[schemars(length(min = 1), example = "10.0.0.11")]
    address: Option<String>,
    /// What ssh connects to, when it is not the address: `user@host`, a Host of your ssh_config, or a URI with a port.
    #[schemars(length(min = 1), example = "ssh://root@web1.example.org:2222")]
    ssh: Option<String>,
    /// What it is. Hosts with the role `stage` keep the images of the others and run their copies.
    #[serde(default)]
    roles: Vec<Name>,
}

/// What is the same on all hosts of a role.
#[derive(JsonSchema)]
#[schemars(rename = "Role", deny_unknown_fields)]
struct RoleTable {
    /// Patterns of paths that are nobody's intent: logs, caches. `!` in front takes out again.
    #[serde(default)]
    volatile: Vec<VolatilePattern>,
    /// Directories of a store's data, as patterns.
    #[serde(default)]
    data: Vec<DataPattern>,
    /// What a change to these hosts needs, where it differs from `[policy]`.
    policy: Option<PolicyTable>,
}

/// Volatile and data paths.
#[derive(JsonSchema)]
#[schemars(rename = "Paths", deny_unknown_fields)]
struct PathsTable {
    /// Patterns of paths that are nobody's intent: logs, caches. `!` in front takes out again.
    #[serde(default)]
    volatile: Vec<VolatilePattern>,
    /// Directories of a store's data, as patterns.
    #[serde(default)]
    data: Vec<DataPattern>,
}

/// A pattern over whole paths: `*` stays within a name, `**` does not.
#[derive(JsonSchema)]
#[schemars(rename = "VolatilePattern")]
struct VolatilePattern(#[schemars(regex(pattern = r"^!?/"))] String);

/// A pattern over whole paths: `*` stays within a name, `**` does not.
#[derive(JsonSchema)]
#[schemars(rename = "DataPattern")]
struct DataPattern(#[schemars(regex(pattern = r"^/"))] String);

/// A unit on some hosts that people know by a name.
#[derive(JsonSchema)]
#[schemars(rename = "Service", deny_unknown_fields)]
struct ServiceTable {
    /// The hosts where it runs, besides those of `roles`.
    #[schemars(length(min = 1))]
    hosts: Option<Vec<Name>>,
    /// It runs on every host that has one of these roles.
    #[schemars(length(min = 1))]
    roles: Option<Vec<Name>>,
    /// Its systemd unit. Without it, the unit of its own name.
    unit: Option<UnitName>,
    /// The team that answers for it.
    owner: Option<Name>,
    /// Services that are restarted before it.
    #[serde(default)]
    after: Vec<Name>,
    /// How many hosts at a time: numbers, shares of all its hosts, and the rest. The last size is used until none is
    /// left. Without it, one host and then the rest.
    #[schemars(length(min = 1))]
    batch: Option<Vec<BatchSize>>,
    /// Whether it is well on a host. Without any, whether its unit is active.
    #[serde(default)]
    health: Vec<CheckTable>,
}

/// A number of hosts, a share, or `rest`.
#[derive(JsonSchema)]
#[schemars(rename = "Batch", untagged)]
#[serde(untagged)]
enum BatchSize {
    /// So many hosts.
    Hosts(#[schemars(range(min = 1, max = 4_294_967_295u32))] u32),
    /// A share of all its hosts, rounded up, or all that are left.
    Share(#[schemars(regex(pattern = r"^(0*([1-9][0-9]?|100)%|rest)$"))] String),
}

/// A health check: exactly one of `http`, `tcp`, `command` and `unit`. Addresses are as seen from the host.
#[derive(JsonSchema)]
#[schemars(
    rename = "Check",
    deny_unknown_fields,
    extend("oneOf" = [
        {"required": ["http"]}, {"required": ["tcp"]}, {"required": ["command"]}, {"required": ["unit"]}
    ]),
    extend("dependentRequired" = {"status": ["http"]})
)]
struct CheckTable {
    /// A URL to ask for with GET.
    #[schemars(regex(pattern = r"^https?://[^/?]"), example = "http://127.0.0.1/health")]
    http: Option<String>,
    /// The statuses of HTTP that are good. Without it, 200 to 399.
    #[serde(default)]
    status: Vec<HttpStatus>,
    /// A port to connect to: `host:port`, or a port of the host itself.
    tcp: Option<TcpPlace>,
    /// A command for `sh -c`. Exit status 0 is good.
    #[schemars(length(min = 1))]
    command: Option<String>,
    /// A unit that must be active.
    unit: Option<UnitName>,
    /// From one look to the next; 5s unless given.
    interval: Option<DurationText>,
    /// A look that takes longer has failed; 5s unless given.
    timeout: Option<DurationText>,
    /// The service is unwell after so many failed looks in a row; 3 unless given.
    #[schemars(range(min = 1, max = 1000))]
    failures: Option<u32>,
    /// It is well after so many good looks in a row; 2 unless given.
    #[schemars(range(min = 1, max = 1000))]
    successes: Option<u32>,
    /// After a restart, for so long, failed looks do not count; 0s unless given.
    grace: Option<DurationText>,
    /// Once well after a change, it must stay so for this long before the next batch; 10s unless given.
    settle: Option<DurationText>,
}

/// A status of HTTP.
#[derive(JsonSchema)]
#[schemars(rename = "Status")]
struct HttpStatus(#[schemars(range(min = 100, max = 599))] u16);

/// Where to connect to.
#[derive(JsonSchema)]
#[schemars(rename = "Tcp", untagged)]
#[serde(untagged)]
enum TcpPlace {
    /// A port of the host itself.
    Port(#[schemars(range(min = 1, max = 65535))] u16),
    /// `host:port`, with an IPv6 address in brackets.
    Place(#[schemars(regex(pattern = r"^[^:]+:[0-9]+$|^\[[0-9A-Fa-f:.]+\]:[0-9]+$"))] String),
}

/// A command that must succeed on a host once a change is in place.
#[derive(JsonSchema)]
#[schemars(rename = "Test", deny_unknown_fields)]
struct TestTable {
    /// What to call it in reports. Without it, its command.
    #[schemars(length(min = 1))]
    name: Option<String>,
    /// A command for `sh -c`. Exit status 0 is success.
    #[schemars(length(min = 1))]
    run: String,
    /// How long it may take; 2m unless given.
    timeout: Option<DurationText>,
    /// The hosts that it is for, besides those of `roles`. Without both, it is for all.
    #[schemars(length(min = 1))]
    hosts: Option<Vec<Name>>,
    /// It is for every host that has one of these roles.
    #[schemars(length(min = 1))]
    roles: Option<Vec<Name>>,
}

/// People who answer for services together.
#[derive(JsonSchema)]
#[schemars(
    rename = "Team",
    deny_unknown_fields,
    extend("anyOf" = [
        {"required": ["people"]}, {"required": ["email"]}, {"required": ["phone"]}, {"required": ["webhook"]}
    ])
)]
struct TeamTable {
    /// Who is in it.
    #[serde(default)]
    people: Vec<Name>,
    /// A mail address of the team.
    email: Option<Email>,
    /// A telephone number of the team.
    phone: Option<Phone>,
    /// A URL that takes messages for the team: of a chat room, or a pager.
    webhook: Option<Webhook>,
}

/// A person.
#[derive(JsonSchema)]
#[schemars(
    rename = "Person",
    deny_unknown_fields,
    extend("anyOf" = [{"required": ["email"]}, {"required": ["phone"]}, {"required": ["webhook"]}])
)]
struct PersonTable {
    /// What they are called.
    #[schemars(length(min = 1))]
    name: Option<String>,
    /// Their mail address.
    email: Option<Email>,
    /// Their telephone number.
    phone: Option<Phone>,
    /// A URL that takes messages for them.
    webhook: Option<Webhook>,
}

/// A mail address.
#[derive(JsonSchema)]
#[schemars(rename = "Email")]
struct Email(#[schemars(regex(pattern = r"^[^@\s]+@[^@\s]+$"))] String);

/// A telephone number.
#[derive(JsonSchema)]
#[schemars(rename = "Phone")]
struct Phone(#[schemars(regex(pattern = r"^\+?[0-9 ()/.-]+$"))] String);

/// An http or https URL.
#[derive(JsonSchema)]
#[schemars(rename = "Webhook")]
struct Webhook(
    #[schemars(regex(pattern = r"^https?://[^/?]"))]
    String,
);

/// What a change needs, and what is done when it fails.
#[derive(JsonSchema)]
#[schemars(rename = "Policy", deny_unknown_fields)]
struct PolicyTable {
    /// Who may apply and undo. Without it, every operator.
    may_apply: Option<MayApplyTable>,
    /// The rehearsal must be younger. Without it, any age will do.
    rehearsal_within: Option<DurationText>,
    /// Somebody other than the one who applies must have approved.
    second_person: Option<bool>,
    /// When a host fails: the hosts that are done are taken back, or the change stops and asks; undo unless given.
    on_failure: Option<OnFailureWord>,
    /// A host that has not been heard of for so long counts as failed; 2m unless given.
    host_lost_after: Option<DurationText>,
}

/// Who may apply: any of these.
#[derive(JsonSchema)]
#[schemars(
    rename = "MayApply",
    deny_unknown_fields,
    extend("anyOf" = [{"required": ["rights"]}, {"required": ["teams"]}, {"required": ["people"]}])
)]
struct MayApplyTable {
    /// Whoever has one of these rights, or more.
    #[serde(default)]
    rights: Vec<RightsWord>,
    /// Whoever is in one of these teams.
    #[serde(default)]
    teams: Vec<Name>,
    /// These people.
    #[serde(default)]
    people: Vec<Name>,
}

/// What a person may do: look, rehearse, apply and undo, everything.
#[derive(JsonSchema)]
#[schemars(rename = "Rights", rename_all = "snake_case")]
enum RightsWord {
    Viewer,
    Developer,
    Operator,
    Admin,
}

/// What is done when a host fails.
#[derive(JsonSchema)]
#[schemars(rename = "OnFailure", rename_all = "snake_case")]
enum OnFailureWord {
    Undo,
    Pause,
}
