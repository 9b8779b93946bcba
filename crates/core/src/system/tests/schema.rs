//! The reader and the schema, key by key and on the documents of the other tests.

use proptest::prelude::*;

use super::refused::{ACCEPTED, REFUSED};
use super::*;
use crate::document::testing::{assert_keys, json, mutated, refusal};
use crate::system::read as keys;

#[test]
fn the_schema_has_the_readers_keys() {
    let schema = json_schema();
    let tables = [
        (&schema, keys::ROOT_KEYS),
        (&schema["$defs"]["Environment"], keys::ENVIRONMENT_KEYS),
        (&schema["$defs"]["System"], keys::SYSTEM_KEYS),
        (&schema["$defs"]["Host"], keys::HOST_KEYS),
        (&schema["$defs"]["Role"], keys::ROLE_KEYS),
        (&schema["$defs"]["Paths"], keys::PATHS_KEYS),
        (&schema["$defs"]["Service"], keys::SERVICE_KEYS),
        (&schema["$defs"]["Check"], keys::CHECK_KEYS),
        (&schema["$defs"]["Test"], keys::TEST_KEYS),
        (&schema["$defs"]["Team"], keys::TEAM_KEYS),
        (&schema["$defs"]["Person"], keys::PERSON_KEYS),
        (&schema["$defs"]["Policy"], keys::POLICY_KEYS),
        (&schema["$defs"]["MayApply"], keys::MAY_APPLY_KEYS),
    ];
    assert_keys(&tables);
    let described = |def: &serde_json::Value| def["properties"].is_object();
    let with_keys = schema["$defs"].as_object().unwrap().values().filter(|def| described(def)).count();
    assert_eq!(with_keys + 1, tables.len(), "a table is not compared here");
}

#[test]
fn the_schema_agrees_with_the_reader() {
    let schema = json_schema();
    for text in ACCEPTED.iter().chain([&FULL]) {
        read(text).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
        assert_eq!(refusal(&schema, &schema, &json(text)), None, "{text}");
    }
    for (text, ..) in REFUSED {
        assert!(refusal(&schema, &schema, &json(text)).is_some(), "the schema accepts: {text}");
    }
}

/// What is put into a sound file.
const BITS: &[&str] = &[
    "[[",
    "\"",
    " = ",
    "\u{1b}\u{202e}ü\t",
    "\r\n",
    "environment",
    "[host]\n",
    "include = ['greenroom.toml', '*', '../x/..']\n",
    "x = {a = {a = {a = [[[1]]]}}}\n",
];

proptest! {
    #[test]
    fn every_problem_lies_in_a_file(text in prop_oneof![mutated(FULL, BITS), "\\PC{0,60}", "[\\[\\]a-z='\"{}.,\\n\\r# ]{0,60}"]) {
        let more = "[host.z]\n";
        match read_all(&[("greenroom.toml", &text), ("z.toml", more)]) {
            Ok(declaration) => {
                let names: Vec<Option<&str>> = declaration.environments().map(Some).chain([None]).collect();
                for name in names {
                    if let Ok(system) = declaration.system(name) {
                        prop_assert!(!system.hosts.is_empty());
                        prop_assert_eq!(system.restart_order().len(), system.services.len());
                        prop_assert!(system.services.iter().all(|s| !s.hosts.is_empty() && !s.health.is_empty()));
                    }
                }
            }
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    let text = if problem.file == "z.toml" { more } else { &text };
                    let line = text.split('\n').nth(problem.line - 1);
                    prop_assert!(line.is_some(), "line {} of {:?}", problem.line, text);
                    prop_assert!(problem.column >= 1 && problem.column <= line.unwrap().chars().count() + 1);
                    let shown = problem.render();
                    prop_assert!(shown.contains('^'));
                    prop_assert!(shown.chars().all(|c| c == '\n' || !crate::textdiff::acts_on_terminal(c)), "{:?}", shown);
                }
            }
        }
    }
}
