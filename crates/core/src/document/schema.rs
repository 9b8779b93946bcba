//! What the JSON Schemas of the files share. The structs are texts as they are written; only schemars reads them.
#![expect(dead_code, reason = "the structs are read by their JsonSchema derive alone")]

use schemars::JsonSchema;

/// Whole numbers with the units h, m, s, ms, in this order: `30s`, `5m`, `1h30m`. At most a week.
#[derive(JsonSchema)]
#[schemars(rename = "Duration", extend("examples" = ["30s", "5m", "1h30m"]))]
pub(crate) struct DurationText(
    #[schemars(regex(
        pattern = r"^([0-9]+h([0-9]+m)?([0-9]+s)?([0-9]+ms)?|[0-9]+m([0-9]+s)?([0-9]+ms)?|[0-9]+s([0-9]+ms)?|[0-9]+ms)$"
    ))]
    String,
);

/// A systemd unit; without a suffix, a service: `nginx` is `nginx.service`.
#[derive(JsonSchema)]
#[schemars(rename = "Unit")]
pub(crate) struct UnitName(#[schemars(regex(pattern = r"^[A-Za-z0-9:_.\\@-]{1,255}$"))] String);
