//! The nearest valid name to what somebody typed: the `hint:` line of errors about unknown keys and names.

/// The candidate that `typed` most likely meant, or `None` when nothing is near.
///
/// Near means: at most one edit (insertion, deletion, substitution, swap of neighbours) for every three characters of
/// the longer name, and at least one edit allowed; upper and lower case count as the same. Of equally near candidates
/// the first wins.
#[must_use]
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let length = typed.chars().count();
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let allowed = (length.max(candidate.chars().count()) / 3).max(1);
        // A name far longer than every candidate can't be near, and the distance would cost its square.
        if length.abs_diff(candidate.chars().count()) > allowed {
            continue;
        }
        let edits = strsim::damerau_levenshtein(&typed, &candidate.to_lowercase());
        if edits <= allowed && best.is_none_or(|(fewest, _)| edits < fewest) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A hint for an unknown name: the nearest one when there is one, else all of them.
#[must_use]
pub fn for_unknown(typed: &str, candidates: &[&str]) -> String {
    match nearest(typed, candidates.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["name", "why", "step", "test", "apply", "never_restart", "restart", "run"];
        let cases = [
            ("nmae", Some("name")),
            ("Name", Some("name")),
            ("steps", Some("step")),
            ("rn", Some("run")),
            ("never-restart", Some("never_restart")),
            ("restrat", Some("restart")),
            ("aply", Some("apply")),
            ("timeout", None),
            ("", None),
            ("x", None),
        ];
        for (typed, meant) in cases {
            assert_eq!(nearest(typed, keys), meant, "{typed}");
        }
    }

    #[test]
    fn says_all_names_when_none_is_near() {
        assert_eq!(for_unknown("colour", &["run", "copy"]), "known here: run, copy");
        assert_eq!(for_unknown("cpoy", &["run", "copy"]), "did you mean `copy`?");
    }
}
