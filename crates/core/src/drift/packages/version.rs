//! The order of Debian's versions, as deb-version(7) defines it.

use std::cmp::Ordering;

/// Which of two versions is the later one.
#[must_use]
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = split(one);
    let (epoch_b, upstream_b, revision_b) = split(other);
    epoch_a
        .cmp(&epoch_b)
        .then_with(|| part(upstream_a.as_bytes(), upstream_b.as_bytes()))
        .then_with(|| part(revision_a.as_bytes(), revision_b.as_bytes()))
}

fn split(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Text and numbers in turn. `~` sorts before the end of a part, letters before everything else.
fn part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) = (take(&mut a, |c| !c.is_ascii_digit()), take(&mut b, |c| !c.is_ascii_digit()));
        for at in 0..text_a.len().max(text_b.len()) {
            let order = weight(text_a.get(at)).cmp(&weight(text_b.get(at)));
            if order.is_ne() {
                return order;
            }
        }
        let number = |digits: &[u8]| digits.iter().skip_while(|c| **c == b'0').copied().collect::<Vec<u8>>();
        let (one, other) = (number(take(&mut a, |c| c.is_ascii_digit())), number(take(&mut b, |c| c.is_ascii_digit())));
        let order = one.len().cmp(&other.len()).then_with(|| one.cmp(&other));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn take<'a>(rest: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = rest.iter().position(|c| !wanted(c)).unwrap_or(rest.len());
    let (head, tail) = rest.split_at(end);
    *rest = tail;
    head
}

fn weight(c: Option<&u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_of_dpkg() {
        // Each with `dpkg --compare-versions`.
        let ascending = [
            "0",
            "1~~",
            "1~~a",
            "1~",
            "1",
            "1.0~rc1-1",
            "1.0-1",
            "1.0-1+deb12u1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a-1",
            "1.0+b-1",
            "1.0.1",
            "1.2",
            "1.10",
            "6.1.0-9-amd64",
            "6.1.0-25-amd64",
            "1:0.1",
            "2:0",
        ];
        for (at, one) in ascending.iter().enumerate() {
            for (other_at, other) in ascending.iter().enumerate() {
                assert_eq!(compare_versions(one, other), at.cmp(&other_at), "{one} and {other}");
            }
        }
        assert_eq!(compare_versions("1.01-0", "1.1"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn an_order(a in "[0-9a-c~+.:-]{0,8}", b in "[0-9a-c~+.:-]{0,8}", c in "[0-9a-c~+.:-]{0,8}") {
            prop_assert_eq!(compare_versions(&a, &b), compare_versions(&b, &a).reverse());
            prop_assert_eq!(compare_versions(&a, &a), Ordering::Equal);
            if compare_versions(&a, &b).is_le() && compare_versions(&b, &c).is_le() {
                prop_assert!(compare_versions(&a, &c).is_le());
            }
        }
    }
}
