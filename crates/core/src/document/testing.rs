//! A JSON Schema against its reader's keys and against a value, and broken documents: for the tests of each kind of file.

use proptest::prelude::*;
use serde_json::Value;

/// Each table of a schema has just the keys that the reader knows, all of them described.
pub(crate) fn assert_keys(tables: &[(&Value, &[&str])]) {
    for (table, keys) in tables {
        let mut known: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        known.sort();
        let mut described: Vec<String> = table["properties"].as_object().unwrap().keys().cloned().collect();
        described.sort();
        assert_eq!(described, known);
        assert_eq!(table["additionalProperties"], false);
        for (key, property) in table["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{key} is not described: {property}");
        }
    }
}

/// A document as JSON, for its schema.
pub(crate) fn json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

/// Mutations of a sound document: pieces cut out, doubled and put in, `bits` among them.
pub(crate) fn mutated(sound: &'static str, bits: &[&'static str]) -> impl Strategy<Value = String> {
    let bits = prop::sample::select(bits.to_vec()).prop_map(str::to_owned).boxed();
    let edit = (any::<prop::sample::Index>(), 0usize..12, prop_oneof![9 => bits, 1 => "\\PC{0,6}"]);
    proptest::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut chars: Vec<char> = sound.chars().collect();
        for (at, cut, bit) in edits {
            let at = at.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, bit.chars());
        }
        chars.into_iter().collect()
    })
}

/// Why a JSON Schema refuses `value`: the keywords that our schema uses, and a panic for any other.
pub(crate) fn refusal(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    if schema == &Value::Bool(true) {
        return None;
    }
    let rules = schema.as_object().unwrap();
    rules.iter().find_map(|(keyword, rule)| breaks(root, schema, keyword, rule, value))
}

/// Why one keyword refuses `value`; one that is not about its type refuses nothing.
fn breaks(root: &Value, schema: &Value, keyword: &str, rule: &Value, value: &Value) -> Option<String> {
    let unless = |fits: bool| if fits { None } else { Some(format!("{value}: {keyword} {rule}")) };
    match keyword {
        "$schema" | "$defs" | "title" | "format" | "description" | "default" | "examples" => None,
        "$ref" => {
            let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
            refusal(root, &root["$defs"][name], value)
        }
        "type" => {
            let own = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_f64() => "number",
                Value::Number(_) => "integer",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            unless(rule == own || rule.as_array().is_some_and(|types| types.iter().any(|name| name == own)))
        }
        "anyOf" | "oneOf" => {
            let fitting = rule.as_array().unwrap().iter().filter(|rule| refusal(root, rule, value).is_none()).count();
            unless(fitting == 1 || (fitting > 1 && keyword == "anyOf"))
        }
        "properties" => {
            let fields = value.as_object()?;
            fields.iter().find_map(|(key, value)| rule.get(key).and_then(|rule| refusal(root, rule, value)))
        }
        "required" => missing(rule, value.as_object()?),
        "additionalProperties" => {
            assert_eq!(rule, &Value::Bool(false));
            let known = |key: &String| schema["properties"].get(key).is_some() || pattern_for(schema, key).is_some();
            unless(value.as_object()?.keys().all(known))
        }
        "dependentRequired" => {
            let fields = value.as_object()?;
            rule.as_object().unwrap().iter().find_map(|(key, needs)| fields.get(key).and(missing(needs, fields)))
        }
        "enum" => unless(rule.as_array().unwrap().contains(value)),
        "const" => unless(rule == value),
        "minimum" => unless(value.as_i64()? >= rule.as_i64().unwrap()),
        "maximum" => unless(value.as_i64()? <= rule.as_i64().unwrap()),
        "patternProperties" => {
            let fields = value.as_object()?;
            fields.iter().find_map(|(key, value)| refusal(root, pattern_for(schema, key)?, value))
        }
        "items" => value.as_array()?.iter().find_map(|item| refusal(root, rule, item)),
        "minItems" => unless(value.as_array()?.len() as u64 >= rule.as_u64().unwrap()),
        "minLength" => unless(value.as_str()?.len() as u64 >= rule.as_u64().unwrap()),
        "pattern" => unless(regex::Regex::new(rule.as_str().unwrap()).unwrap().is_match(value.as_str()?)),
        other => panic!("the test does not know the keyword {other}"),
    }
}

/// What a schema asks of a property whose name matches a pattern.
fn pattern_for<'s>(schema: &'s Value, key: &str) -> Option<&'s Value> {
    let patterns = schema.get("patternProperties")?.as_object().unwrap();
    patterns.iter().find(|(pattern, _)| regex::Regex::new(pattern).unwrap().is_match(key)).map(|(_, rule)| rule)
}

fn missing(needs: &Value, fields: &serde_json::Map<String, Value>) -> Option<String> {
    needs.as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).find(|key| !fields.contains_key(key))
}
