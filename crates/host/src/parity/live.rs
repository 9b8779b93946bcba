//! What the processes of running services have: their environment and their limits, from /proc/PID.

use std::collections::BTreeMap;
use std::fs;

use greenroom_core::parity::secret::{hashed, masked};
use greenroom_core::parity::{FactKind, Facts};
use greenroom_core::path::Shown;

/// Variables whose values anybody may see: what steers a program and is no secret of anybody. /proc/PID/environ itself is for
/// its owner alone, so that every other value is hashed.
const OPEN: &[&str] = &[
    "GODEBUG",
    "GOGC",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "HOME",
    "JAVA_HOME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "NODE_ENV",
    "NODE_OPTIONS",
    "OPENSSL_CONF",
    "PATH",
    "RAILS_ENV",
    "SHELL",
    "TMPDIR",
    "TZ",
    "USER",
];

/// Beginnings of such names.
const OPEN_STARTS: &[&str] = &["LC_", "LD_", "MALLOC_", "OMP_", "PYTHON", "SSL_CERT"];

/// Adds the facts of one service, by its oldest process. `manager`: the limits of the first process of all.
pub(super) fn read(unit: &str, pid: u32, manager: &BTreeMap<String, String>, facts: &mut Facts) {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    for entry in environment.split(|b| *b == 0) {
        let text = Shown(entry).to_string();
        let Some((key, value)) = text.split_once('=') else { continue };
        let open = OPEN.contains(&key) || OPEN_STARTS.iter().any(|start| key.starts_with(start));
        let value = if open { masked(key, value) } else { hashed(value) };
        facts.add(FactKind::RunningEnvironment, format!("{unit} {key}"), value);
    }
    for (name, value) in limits(pid) {
        // The kernel computes these from its memory, for whoever sets nothing.
        let computed = matches!(name.as_str(), "Max processes" | "Max pending signals");
        let value = if computed && manager.get(&name) == Some(&value) { "default".to_owned() } else { value };
        facts.add(FactKind::Limit, format!("{unit} {name}"), value);
    }
}

/// The limits of a process, see proc(5): a name of several words, then soft and hard.
pub(super) fn limits(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    text.lines().skip(1).filter_map(limit).collect()
}

fn limit(line: &str) -> Option<(String, String)> {
    // The columns have fixed widths.
    let (name, rest) = line.split_at_checked(25)?;
    let mut words = rest.split_whitespace();
    let (soft, hard) = (words.next()?, words.next()?);
    Some((name.trim().to_owned(), if soft == hard { soft.to_owned() } else { format!("{soft} (hard {hard})") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_limits() {
        let table = [
            (
                "Max open files            1024                 524288               files     ",
                "Max open files",
                "1024 (hard 524288)",
            ),
            (
                "Max cpu time              unlimited            unlimited            seconds   ",
                "Max cpu time",
                "unlimited",
            ),
            ("Max nice priority         0                    0                    ", "Max nice priority", "0"),
        ];
        for (line, name, value) in table {
            assert_eq!(limit(line), Some((name.to_owned(), value.to_owned())));
        }
        assert_eq!(limit("short"), None);
        assert!(limits(std::process::id()).contains_key("Max open files"));
    }
}
