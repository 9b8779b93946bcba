//! Durations as a person writes them: `30s`, `5m`, `1h30m`, `500ms`.

use std::time::Duration;

/// The longest duration that is accepted: a week. Longer is taken for a slip of the keyboard.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The units, largest first: their text, and their length in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A text that is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDuration {
    /// Not numbers with units.
    #[error("not a duration: numbers with the units h, m, s, ms in this order are expected, such as 30s, 5m, 1h30m")]
    Form,
    /// A number without its unit.
    #[error("a duration needs a unit: h, m, s or ms, such as 30s")]
    NoUnit,
    /// Nothing at all.
    #[error("the duration is zero")]
    Zero,
    /// More than [`LONGEST`].
    #[error("the duration is longer than a week")]
    TooLong,
}

/// Reads a duration: one or more whole numbers of one to seven digits with the units `h`, `m`, `s`, `ms`, each at
/// most once and in this order.
///
/// # Errors
/// See [`BadDuration`]. Zero is refused: what it would mean for a time limit is anybody's guess.
pub fn parse(text: &str) -> Result<Duration, BadDuration> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadDuration::NoUnit);
    }
    let mut rest = text;
    let mut next_unit = 0;
    let mut millis = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        if digits == 0 || digits > 7 {
            return Err(if digits == 0 { BadDuration::Form } else { BadDuration::TooLong });
        }
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or(BadDuration::Form)?;
        if at < next_unit {
            return Err(BadDuration::Form);
        }
        next_unit = at + 1;
        // At most seven digits, so neither the parse nor the sum of four products can overflow.
        millis += number.parse::<u64>().map_err(|_| BadDuration::Form)? * UNITS[at].1;
        rest = &rest[digits + letters..];
    }
    match Duration::from_millis(millis) {
        _ if text.is_empty() => Err(BadDuration::Form),
        Duration::ZERO => Err(BadDuration::Zero),
        long if long > LONGEST => Err(BadDuration::TooLong),
        duration => Ok(duration),
    }
}

/// The same, where zero means something: not to wait at all.
///
/// # Errors
/// See [`BadDuration`].
pub fn parse_or_zero(text: &str) -> Result<Duration, BadDuration> {
    match parse(text) {
        Err(BadDuration::Zero) => Ok(Duration::ZERO),
        other => other,
    }
}

/// Writes `duration` the way [`parse`] reads it, rounded down to milliseconds; `0s` for less than one.
#[must_use]
pub fn show(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, length) in UNITS {
        if left / length > 0 {
            text.push_str(&format!("{}{unit}", left / length));
            left %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// `Option<Duration>` as such a text, for serde's `with`.
pub(crate) mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the text of [`super::show`], or none.
    ///
    /// # Errors
    /// The serializer's own.
    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&super::show(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads what [`serialize`] wrote.
    ///
    /// # Errors
    /// Neither absent nor a duration.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| super::parse(&text)).transpose().map_err(serde::de::Error::custom)
    }
}

/// `Duration` as such a text, for serde's `with`; also `0s`, which [`parse`] refuses.
pub(crate) mod text_or_zero {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the text of [`super::show`].
    ///
    /// # Errors
    /// The serializer's own.
    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::show(*duration))
    }

    /// Reads what [`serialize`] wrote.
    ///
    /// # Errors
    /// Not a duration.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_or_zero(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        let good = [("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("500ms", 500), ("1m1ms", 60_001)];
        for (text, millis) in good {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        let bad = [
            ("", BadDuration::Form),
            ("30", BadDuration::NoUnit),
            ("0s", BadDuration::Zero),
            ("30 s", BadDuration::Form),
            ("-5s", BadDuration::Form),
            ("1.5h", BadDuration::Form),
            ("5s1m", BadDuration::Form),
            ("1s1s", BadDuration::Form),
            ("5d", BadDuration::Form),
            ("h", BadDuration::Form),
            ("1h30", BadDuration::Form),
            ("169h", BadDuration::TooLong),
            ("99999999999999999999s", BadDuration::TooLong),
            ("٣s", BadDuration::Form),
        ];
        for (text, error) in bad {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn shown_durations_read_back(millis in 1u64..=604_800_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9hms. -]{0,12}|\\PC{0,12}") {
            if let Ok(duration) = parse(&text) {
                prop_assert!(duration > Duration::ZERO && duration <= LONGEST);
            }
        }
    }
}
