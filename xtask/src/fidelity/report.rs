//! What people read: a line for each case while it runs, and the page with the table.

use super::Row;
use super::judge::{Difference, places};
use super::trial::Outcome;
use std::fmt::Write as _;
use std::time::Duration;

const ABOUT: &str = include_str!("about.md");

/// Whether all is as the direct run left it, and undo brought back what was.
pub(crate) fn faithful(row: &Row) -> bool {
    row.outcome.as_ref().is_ok_and(|o| {
        o.applied.wrong.is_empty() && o.untouched.wrong.is_empty() && o.undone.wrong.is_empty() && o.units.is_empty()
    })
}

/// What undo leaves, for a reason that the page gives: shown in the table like everything else, but no failure of the task.
const EXPLAINED: &[(&str, &str)] = &[("chrony", "/var/log/chrony"), ("cron-replaced", "/var/spool/cron/crontabs")];

/// Whether something is wrong that the page does not explain.
pub(crate) fn unexplained(row: &Row) -> bool {
    let Ok(outcome) = &row.outcome else { return true };
    let known = |difference: &Difference| EXPLAINED.contains(&(row.case.name, &*difference.path.to_string_lossy()));
    let others_wrong = !outcome.applied.wrong.is_empty() || !outcome.untouched.wrong.is_empty();
    others_wrong || !outcome.units.is_empty() || !outcome.undone.wrong.iter().all(known)
}

/// One case on the terminal; `all`: also what the policy left out.
pub(crate) fn told(row: &Row, all: bool) -> String {
    let name = row.case.name;
    let outcome = match &row.outcome {
        Err(why) => return format!("{name:<20} NOT MEASURED: {why}\n"),
        Ok(outcome) => outcome,
    };
    let mut out = format!(
        "{name:<20} {} paths, {} by chance, {} infidelities, {} left out, undo {}, host {} by the rehearsal, {} units differ; {}\n",
        outcome.entries,
        outcome.applied.chance,
        outcome.applied.wrong.len(),
        outcome.applied.left_out.len(),
        if outcome.undone.wrong.is_empty() { "equal" } else { "NOT EQUAL" },
        if outcome.untouched.wrong.is_empty() { "untouched" } else { "CHANGED" },
        outcome.units.len(),
        seconds(outcome),
    );
    let mut list = |title: &str, differences: &[Difference]| {
        for difference in differences.iter().take(40) {
            let _ = writeln!(out, "    {title}: {}: {}", difference.path.display(), difference.what);
        }
        if differences.len() > 40 {
            let _ = writeln!(out, "    {title}: and {} more", differences.len() - 40);
        }
    };
    list("infidelity", &outcome.applied.wrong);
    list("changed by the rehearsal", &outcome.untouched.wrong);
    list("not as before", &outcome.undone.wrong);
    if all {
        list("left out", &outcome.applied.left_out);
        list("left out of undo", &outcome.undone.left_out);
    }
    for unit in &outcome.units {
        let _ = writeln!(out, "    unit: {unit}");
    }
    out
}

fn seconds(outcome: &Outcome) -> String {
    outcome.took.map(|took| format!("{:.1}", took.as_secs_f64())).join(" / ")
}

/// The page.
pub(crate) fn page(rows: &[Row], took: Duration) -> String {
    let good = rows.iter().filter(|row| faithful(row)).count();
    let mut out = ABOUT.to_owned();
    let _ = write!(
        out,
        "\n## The table\n\n{} cases, {good} of them with nothing but zeros, in {} minutes.\n\n\
         | case | kind | paths changed | differ by chance | infidelities | left out by policy | rehearsal touched the host | undo equal | units differ | seconds: direct / rehearse / apply / undo |\n\
         |---|---|---:|---:|---:|---:|---|---|---:|---|\n",
        rows.len(),
        took.as_secs().div_ceil(60),
    );
    for row in rows {
        let (name, kind) = (row.case.name, row.case.kind);
        let _ = match &row.outcome {
            Err(why) => writeln!(out, "| {name} | {kind} | not measured: {} |||||||||", why.replace('|', "/")),
            Ok(o) => writeln!(
                out,
                "| {name} | {kind} | {} | {} | {} | {} | {} | {} | {} | {} |",
                o.entries,
                o.applied.chance,
                o.applied.wrong.len(),
                o.applied.left_out.len(),
                if o.untouched.wrong.is_empty() {
                    "no".to_owned()
                } else {
                    format!("{} paths", o.untouched.wrong.len())
                },
                if o.undone.wrong.is_empty() { "yes".to_owned() } else { format!("all but {}", o.undone.wrong.len()) },
                o.units.len(),
                seconds(o),
            ),
        };
    }
    out.push_str(&exceptions(rows));
    out.push_str(&left_out(rows));
    out
}

/// Everything that is not zero, in full.
fn exceptions(rows: &[Row]) -> String {
    let mut out = String::from("\n## Everything that is not as it should be\n\n");
    let mut none = true;
    for row in rows {
        let Ok(o) = &row.outcome else { continue };
        let groups = [("applied", &o.applied.wrong), ("rehearsal", &o.untouched.wrong), ("undo", &o.undone.wrong)];
        for (when, differences) in groups {
            for difference in differences.iter().take(20) {
                none = false;
                let _ =
                    writeln!(out, "* {} ({when}): `{}`: {}", row.case.name, difference.path.display(), difference.what);
            }
        }
        for unit in &o.units {
            none = false;
            let _ = writeln!(out, "* {} (units): {unit}", row.case.name);
        }
    }
    if none {
        out.push_str("Nothing.\n");
    }
    out
}

fn left_out(rows: &[Row]) -> String {
    let outcomes = || rows.iter().filter_map(|row| row.outcome.as_ref().ok());
    let all: Vec<Difference> = outcomes().flat_map(|o| o.applied.left_out.iter().cloned()).collect();
    let undone: Vec<Difference> = outcomes().flat_map(|o| o.undone.left_out.iter().cloned()).collect();
    let mut out = format!(
        "\n## What the policy left out\n\nIn {} places of all cases together a direct run leaves a volatile path that the applied change does not \
         have, or has otherwise. By directory:\n\n| where | paths |\n|---|---:|\n",
        all.len()
    );
    for (place, count) in places(&all) {
        let _ = writeln!(out, "| {place} | {count} |");
    }
    let _ = write!(
        out,
        "\nAfter undo, {} volatile paths are not as they were before the change:\n\n| where | paths |\n|---|---:|\n",
        undone.len()
    );
    for (place, count) in places(&undone) {
        let _ = writeln!(out, "| {place} | {count} |");
    }
    out
}
