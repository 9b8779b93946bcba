//! Values that nobody should read over somebody's shoulder: shown as a hash, so that *other* is seen and *what* is not.
//!
//! Recognised by the name of the key, and by what a URL holds before its `@`. The hash has no salt: it says equal or not,
//! and a short password could be guessed from it.

use crate::ContentHash;

/// Parts of key names, in lower case without `-`, `_` and `.`.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "authkey",
    "privatekey",
    "encryptionkey",
    "signingkey",
    "credential",
    "userpwd",
    "dbpass",
    "smtppass",
    "psk",
    "salt",
    "authorization",
    "bearer",
    "requirepass",
    "masterauth",
];

/// Whether a value under `key` is most likely secret.
#[must_use]
pub fn is_secret(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    // What says *whether* or *where* is no secret: PasswordAuthentication, PASSWORD_FILE.
    let about = [
        "authentication",
        "file",
        "path",
        "policy",
        "expire",
        "minlen",
        "timeout",
        "count",
        "type",
        "tokens",
        "enabled",
    ];
    NAMES.iter().any(|name| plain.contains(name)) && !about.iter().any(|end| plain.ends_with(end))
}

/// `value` as it may be shown under `key`.
#[must_use]
pub fn masked(key: &str, value: &str) -> String {
    let secret = is_secret(key) && !value.is_empty() && !value.starts_with("hash:");
    if secret { hashed(value) } else { without_credentials(value) }
}

/// A short hash in place of a value.
#[must_use]
pub fn hashed(value: &str) -> String {
    format!("hash:{}", &ContentHash::of(value.as_bytes()).to_string()[..16])
}

/// `postgres://user:hash:…@host/` for a URL with a password.
fn without_credentials(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let end = tail.find(|c: char| c == '/' || c.is_whitespace() || c == '"' || c == '\'').unwrap_or(tail.len());
        let authority = &tail[..end];
        match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?, host))) {
            Some(((user, password), host)) if !password.is_empty() => {
                out.push_str(&format!("{user}:{}@{host}", hashed(password)));
            }
            _ => out.push_str(authority),
        }
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

/// A line of text as it may be shown: what follows a word that names a secret is hashed, whatever the format.
#[must_use]
pub fn masked_line(line: &str) -> String {
    match secret_rest(line) {
        Some(at) => format!("{}{}", &line[..at], hashed(&line[at..])),
        None => without_credentials(line),
    }
}

/// Whether a line would be shown otherwise than it is.
#[must_use]
pub fn is_masked(line: &str) -> bool {
    secret_rest(line).is_some() || without_credentials(line) != line
}

/// Where the secret of a line begins.
fn secret_rest(line: &str) -> Option<usize> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut at = 0;
    while let Some(start) = line[at..].find(is_word).map(|found| at + found) {
        let end = line[start..].find(|c| !is_word(c)).map_or(line.len(), |length| start + length);
        if is_secret(&line[start..end]) {
            let value = line[end..].find(|c: char| !c.is_whitespace() && !matches!(c, '=' | ':' | '"' | '\'' | '>'));
            // What was hashed already stays as it is.
            return value.map(|v| end + v).filter(|v| !line[*v..].starts_with("hash:"));
        }
        at = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret() {
        let table = [
            ("DB_PASSWORD", true),
            ("api-key", true),
            ("AWS_SECRET_ACCESS_KEY", true),
            ("db.password", true),
            ("GITHUB_TOKEN", true),
            ("PasswordAuthentication", false),
            ("ssl_password_file", false),
            ("PermitRootLogin", false),
            ("keyboard", false),
            ("LANG", false),
        ];
        for (key, secret) in table {
            assert_eq!(is_secret(key), secret, "{key}");
        }
    }

    #[test]
    fn no_secret_value_comes_out() {
        for (key, value) in [
            ("DB_PASSWORD", "hunter2"),
            ("DATABASE_URL", "postgres://app:hunter2@db/x"),
            ("urls", "a redis://:hunter2@h b http://u:hunter2@x/"),
        ] {
            let shown = masked(key, value);
            assert!(!shown.contains("hunter2"), "{shown}");
            assert_ne!(shown, masked(key, &value.replace("hunter2", "other")));
        }
        assert_eq!(masked("url", "http://host:80/a@b"), "http://host:80/a@b");
        for line in [
            "  password = hunter2",
            "password: hunter2",
            "requirepass hunter2",
            "<Password>hunter2</Password>",
            "# the old password was hunter2",
            "proxy_set_header Authorization \"Basic hunter2\";",
            "mysql --password=hunter2 -u x",
        ] {
            assert!(!masked_line(line).contains("hunter2") && masked_line(line).len() > line.len(), "{line}");
        }
        for line in ["worker_connections 512;", "server_tokens off;", "PasswordAuthentication no"] {
            assert_eq!(masked_line(line), line);
        }
        let once = masked_line("password: hunter2");
        assert_eq!(masked_line(&once), once);
    }
}
