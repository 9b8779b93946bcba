//! Formats of lines: INI, `KEY=value`, `Key value`. They have no standard; this reads what systemd, MySQL, PHP, sysctl, OpenSSH
//! and their like have in common: a value goes to the end of the line, quotes around all of it are dropped, a
//! backslash at the end goes on in the next line, a key may come more than once.

use super::{LONGEST_KEY, Settings, significant};

/// The name in `[name]`.
pub(super) fn section(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('[')?.strip_suffix(']')?.trim();
    (!inner.is_empty() && !inner.contains(['[', ']', '{', '"'])).then_some(inner)
}

/// `key = value`; the key is one word.
pub(super) fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim().strip_prefix("export ").unwrap_or(key.trim()).trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':' | '*' | '@');
    let whole = !key.is_empty() && key.chars().all(fits);
    whole.then(|| (key, unquoted(value.trim())))
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote))
            && !inner.contains(quote)
        {
            return inner;
        }
    }
    value
}

/// Joins lines that end in a backslash.
fn joined(text: &str) -> String {
    text.replace("\\\r\n", " ").replace("\\\n", " ")
}

/// `None`: a line is neither section, pair nor a bare word.
pub(super) fn ini(text: &str) -> Option<Settings> {
    let mut out = Settings::new();
    let mut prefix = String::new();
    for line in significant(&joined(text)) {
        if let Some(name) = section(line) {
            if name.len() > LONGEST_KEY {
                return None;
            }
            prefix = format!("{name}.");
        } else if let Some((key, value)) = line.split_once('=') {
            out.entry(format!("{prefix}{}", key.trim())).or_default().push(unquoted(value.trim()).to_owned());
        } else if line.split_whitespace().count() == 1 || line.starts_with('!') {
            // `skip-networking` of MySQL has no value; `!includedir` is a directive.
            out.entry(format!("{prefix}{line}")).or_default().push(String::new());
        } else {
            return None;
        }
    }
    Some(out)
}

pub(super) fn pairs(text: &str) -> Option<Settings> {
    let mut out = Settings::new();
    for line in significant(&joined(text)) {
        let (key, value) = pair(line)?;
        out.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    Some(out)
}

/// `Match` and `Host` of OpenSSH begin a section.
pub(super) fn directives(text: &str) -> Settings {
    let mut out = Settings::new();
    let mut prefix = String::new();
    for line in significant(text) {
        let end = line.find(|c: char| c.is_whitespace() || matches!(c, '=' | ':')).unwrap_or(line.len());
        let (key, rest) = line.split_at(end);
        let value = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '=' | ':')).trim();
        if matches!(key, "Match" | "Host") && value.len() < LONGEST_KEY {
            prefix = format!("{key} {value}.");
        } else {
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            out.entry(format!("{prefix}{key}")).or_default().push(unquoted(&value).to_owned());
        }
    }
    out
}
