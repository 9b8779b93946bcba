//! What of this program may be run on a host from afar.
//!
//! Control plane and agent both ask [`from_afar`]: an agent does not run what a control plane, whoever has it by then, sends
//! beyond this list. The list is by verbs, and no word may lead a command away from its host, its state and its tree, or let
//! it name a file of the host's.

/// What a command does to its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afar {
    /// It only looks.
    Looks,
    /// It changes something: the host, its records, or what can be undone.
    Changes,
}

/// Why a command is not run from afar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFromAfar {
    /// The verb is not one of them.
    #[error("`greenroom {0}` is not run from afar")]
    Verb(String),
    /// An option that is for who is on the host.
    #[error("{0} is not taken from afar")]
    Option(String),
    /// Something else than the host and its rehearsals.
    #[error("`{0}` is not compared from afar: only `this` and rehearsals are")]
    Operand(String),
}

/// Options of all commands that say how to show.
const SHOWING: [&str; 3] = ["--json", "--quiet", "-q"];

/// Options of all commands that lead elsewhere.
const LEADING: [&str; 5] = ["--on", "--root", "--state", "--local", "--images"];

/// Whether the words after `greenroom` may be run on a host from afar, and what they do there.
///
/// # Errors
/// They may not; says why.
pub fn from_afar(argv: &[String]) -> Result<Afar, NotFromAfar> {
    if argv == ["--version"] {
        return Ok(Afar::Looks);
    }
    let name = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
    if let Some(word) = argv.iter().find(|word| LEADING.contains(&name(word).as_str())) {
        return Err(NotFromAfar::Option(name(word)));
    }
    let mut words = argv.iter().map(String::as_str).skip_while(|word| SHOWING.contains(word));
    let verb = words.next().unwrap_or_default();
    match verb {
        "status" | "drift" | "log" | "show" | "manifest" | "doctor" => Ok(Afar::Looks),
        "diff" => compared(words).map(|()| Afar::Looks),
        "adopt" | "revert" | "recover" | "gc" | "undo" => Ok(Afar::Changes),
        other => Err(NotFromAfar::Verb(other.to_owned())),
    }
}

/// `diff` takes directories and files of the host where it runs, as root: from afar it takes none.
fn compared<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<(), NotFromAfar> {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    while let Some(word) = words.next() {
        let fits = match word {
            "--limit" => words.next().is_none_or(number),
            "--all" | "this" => true,
            word => {
                SHOWING.contains(&word)
                    || word.strip_prefix("--limit=").or_else(|| word.strip_prefix('r')).is_some_and(number)
            }
        };
        if !fits {
            return Err(NotFromAfar::Operand(word.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Afar, from_afar};

    fn may(line: &str) -> Option<Afar> {
        from_afar(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).ok()
    }

    #[test]
    fn the_list_and_nothing_else() {
        for line in [
            "status",
            "--json status --full",
            "-q drift /etc --diff",
            "log -n 5",
            "show r1 --diff",
            "manifest",
            "doctor",
            "--version",
            "diff this r7 --limit 5",
            "diff r1 r2 --all --json",
        ] {
            assert_eq!(may(line), Some(Afar::Looks), "{line}");
        }
        for line in ["adopt --all -m why", "revert /etc/hosts", "recover", "gc --dry-run", "--json undo c1"] {
            assert_eq!(may(line), Some(Afar::Changes), "{line}");
        }
        for line in [
            "",
            "--json",
            "rehearse -- sh",
            "hotfix",
            "apply r1",
            "install",
            "uninstall",
            "watch",
            "serve",
            "join root@x",
            "enrol",
            "agent",
            "login https://x",
            "token list",
            "init",
            "check /etc/shadow",
            "completions bash",
            "Status",
            "status\0",
            "./status",
            // What stands before the verb is not skipped: it may take the verb for its value.
            "--progress status apply r1",
            "--version status",
            "-v status",
            // What leads away from the host.
            "status --on all",
            "status --on=all",
            "status --root /mnt",
            "--root=/mnt status",
            "--state /tmp/x log",
            "log --state=/tmp/x",
            "undo c1 --local",
            "gc --images",
            // What reads files of the host.
            "diff this /etc/shadow",
            "diff . this",
            "diff this ../r7",
            "diff this r7x",
            "diff this -- /etc",
            "diff this --limit=/etc",
        ] {
            assert_eq!(may(line), None, "{line:?}");
        }
    }
}
