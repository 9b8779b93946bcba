//! The record of what is beyond files, after a change by Greenroom.
//!
//! Two looks are taken, before the change and after it. Where they are the same the record stays as it is, so that a drift which
//! was there before is still one; where they differ the change did it, and the record takes the later look. Packages, units,
//! ports and settings are keyed, so each is judged by itself.

use greenroom_core::drift::runtime::Facts;
use serde_json::Value;

/// The record after a change that led from `before` to `after`.
pub(super) fn merge(record: &Facts, before: &Facts, after: &Facts) -> Result<Facts, serde_json::Error> {
    let value = |facts: &Facts| serde_json::to_value(facts);
    serde_json::from_value(three(value(record)?, &value(before)?, value(after)?))
}

fn three(record: Value, before: &Value, after: Value) -> Value {
    if *before == after {
        return record;
    }
    if record == *before {
        return after;
    }
    match (record, before, after) {
        (Value::Object(mut record), Value::Object(before), Value::Object(after)) => {
            for key in before.keys().filter(|key| !after.contains_key(*key)) {
                record.remove(key);
            }
            for (key, now) in after {
                match (record.remove(&key), before.get(&key)) {
                    (Some(on_record), Some(was)) => drop(record.insert(key, three(on_record, was, now))),
                    // Not on record, and the change left it as it was: it stays a drift.
                    (None, Some(was)) if *was == now => {}
                    (_, _) => drop(record.insert(key, now)),
                }
            }
            Value::Object(record)
        }
        (Value::Array(mut record), Value::Array(before), Value::Array(after)) => {
            record.retain(|one| after.contains(one) || !before.contains(one));
            let fresh = after.into_iter().filter(|one| !before.contains(one));
            for one in fresh {
                if !record.contains(&one) {
                    record.push(one);
                }
            }
            Value::Array(record)
        }
        (_, _, after) => after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_change_moves_the_record_and_older_drift_stays() {
        let table = [
            // Nothing happened: whatever differs from the record goes on doing so.
            (json!({"a": 1}), json!({"a": 2}), json!({"a": 2}), json!({"a": 1})),
            // The change did it.
            (json!({"a": 1}), json!({"a": 1}), json!({"a": 2}), json!({"a": 2})),
            (json!({}), json!({}), json!({"b": 1}), json!({"b": 1})),
            (json!({"a": 1, "b": 1}), json!({"a": 1, "b": 1}), json!({"b": 1}), json!({"b": 1})),
            // One key was drift before, the change made another.
            (json!({}), json!({"old": 1}), json!({"old": 1, "new": 2}), json!({"new": 2})),
            (json!({"l": [1, 2]}), json!({"l": [1, 3]}), json!({"l": [3, 4]}), json!({"l": [2, 4]})),
            (
                json!({"m": {"x": 1}}),
                json!({"m": {"x": 9}}),
                json!({"m": {"x": 9, "y": 2}}),
                json!({"m": {"x": 1, "y": 2}}),
            ),
        ];
        for (record, before, after, expected) in table {
            assert_eq!(three(record.clone(), &before, after.clone()), expected, "{record} {before} {after}");
        }
    }
}
