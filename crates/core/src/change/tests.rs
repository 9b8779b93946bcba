//! The change file against tables of documents, against its schema, and against arbitrary text.

use proptest::prelude::*;

use super::read::{APPLY_KEYS, COPY_KEYS, ROOT_KEYS, STEP_KEYS, TEST_KEYS};
use super::*;
use crate::document::testing::{assert_keys, json, mutated, refusal};

const FULL: &str = r#"name = "Shop 2.4"
why = "Ticket 4711"

[[step]]
run = "apt-get install -y nginx"
timeout = "1h30m"

[[step]]
copy = { from = "files/shop.conf", to = "/etc/nginx/conf.d/shop.conf", mode = "0644", owner = "root:www-data" }

[[step]]
name = "migrate"
live = "/srv/shop/migrate up"
undo = "/srv/shop/migrate down"
once = true

[[test]]
name = "front page"
run = "curl -fsS http://127.0.0.1/"
timeout = "10s"

[apply]
restart = ["php8.2-fpm"]
reload = ["nginx.service"]
never_restart = ["postgresql@15-main", "docker.socket"]
health = ["curl -fsS http://127.0.0.1/health"]
"#;

/// Documents that both the reader and the schema refuse: text, line, column, message, hint ("" for none).
const REFUSED: &[(&str, usize, usize, &str, &str)] = &[
    ("nmae = 'x'\n[[step]]\nrun = 'a'", 1, 1, "unknown key `nmae` in the change file", "did you mean `name`?"),
    ("name = 1\n[[step]]\nrun = 'a'", 1, 8, "`name` must be a string, this is a whole number", "put it in quotes"),
    ("why = ''\n[[step]]\nrun = 'a'", 1, 7, "`why` is empty", ""),
    ("name = 'x'\n", 1, 1, "there is no step", "add a [[step]] with run, copy or live"),
    ("", 1, 1, "there is no step", "add a [[step]] with run, copy or live"),
    ("step = []\n", 1, 1, "there is no step", "add a [[step]] with run, copy or live"),
    ("[[steps]]\nrun = 'a'", 1, 3, "unknown key `steps` in the change file", "did you mean `step`?"),
    ("[step]\nrun = 'a'", 1, 2, "`step` must be a list of tables, this is a table", "begin each step with [[step]]"),
    ("step = [1]", 1, 9, "`step` must be a table, this is a whole number", ""),
    ("[[step]]\n", 1, 1, "this step does nothing", "give it one of run, copy, live"),
    ("[[step]]\nrnu = 'a'", 2, 1, "unknown key `rnu` in a step", "did you mean `run`?"),
    ("[[step]]\ncommand = 'a'", 1, 1, "this step does nothing", "give it one of run, copy, live"),
    (
        "[[step]]\nrun = 'a'\nlive = 'b'",
        3,
        1,
        "a step does one thing, this one has `run` and `live`",
        "begin another [[step]]",
    ),
    (
        "[[step]]\nrun = 'a'\nonce = true",
        3,
        1,
        "`once` without `live`",
        "what `run` and `copy` did goes to every host; `once` is for a `live` command",
    ),
    (
        "[[step]]\nrun = 'a'\nundo = 'b'",
        3,
        1,
        "`undo` without `live`",
        "what `run` and `copy` did is undone by itself; `undo` takes back a `live` command",
    ),
    ("[[step]]\nrun = ['a']", 2, 7, "`run` must be a string, this is a list", "put it in quotes"),
    (
        "[[step]]\nrun = 'a'\ntimeout = 30",
        3,
        11,
        "`timeout` must be a duration in quotes, this is a whole number",
        "write \"30s\" for seconds",
    ),
    (
        "[[step]]\nrun = 'a'\ntimeout = '30'",
        3,
        11,
        "`timeout`: a duration needs a unit: h, m, s or ms, such as 30s",
        "",
    ),
    ("[[step]]\ncopy = 'a'", 2, 8, "`copy` must be a table, this is a string", ""),
    ("[[step]]\ncopy = { to = '/b' }", 2, 8, "`from` is missing in `copy`", ""),
    ("[[step]]\ncopy = { from = 'a' }", 2, 8, "`to` is missing in `copy`", ""),
    ("[[step]]\ncopy = { from = 'a', to = 'etc/b' }", 2, 27, "`to` must be an absolute path", "write \"/etc/b\""),
    (
        "[[step]]\ncopy = { from = 'ä', to = '/b', mode = '0999' }",
        2,
        40,
        "`mode` must be octal digits in quotes, such as \"0644\"",
        "",
    ),
    (
        "[[step]]\n[step.copy]\nfrom = 'a'\nto = '/b'\nmode = 644",
        5,
        8,
        "`mode` must be a string, this is a whole number",
        "put it in quotes",
    ),
    (
        "[[step]]\ncopy = { from = 'a', to = '/b', owner = 'a:b:c' }",
        2,
        41,
        "`owner` must be user or user:group, by name or number",
        "",
    ),
    (
        "[[step]]\ncopy = { from = 'a', to = '/b', own = 'a' }",
        2,
        33,
        "unknown key `own` in `copy`",
        "known here: from, to, mode, owner",
    ),
    ("[[step]]\nrun = 'a'\n[[test]]\nname = 't'", 3, 1, "`run` is missing in a test", ""),
    (
        "[[step]]\nrun = 'a'\n[[test]]\nrun = 't'\nundo = 'x'",
        5,
        1,
        "unknown key `undo` in a test",
        "known here: name, run, timeout",
    ),
    (
        "[[step]]\nrun = 'a'\n[test]\nrun = 't'",
        3,
        2,
        "`test` must be a list of tables, this is a table",
        "begin each test with [[test]]",
    ),
    ("[[step]]\nrun = 'a'\n[[apply]]\nrestart = []", 3, 1, "`apply` must be a table, this is a list", ""),
    (
        "[[step]]\nrun = 'a'\n[apply]\nrestart = 'nginx'",
        4,
        1,
        "`restart` must be a list of strings, this is a string",
        "write [\"…\"]",
    ),
    (
        "[[step]]\nrun = 'a'\n[apply]\nreload = ['a b']",
        4,
        11,
        "`reload`: not the name of a systemd unit: 1 to 255 letters, digits and : _ . \\ @ - are expected",
        "",
    ),
    (
        "[[step]]\nrun = 'a'\n[apply]\nnever-restart = []",
        4,
        1,
        "unknown key `never-restart` in [apply]",
        "did you mean `never_restart`?",
    ),
    ("[[step]]\nrun = 'a'\n[apply]\nhealth = ['']", 4, 11, "`health` is empty", ""),
];

/// What only the reader can refuse: a schema knows no sums, and no TOML syntax.
const REFUSED_BY_THE_READER: &[(&str, usize, usize, &str)] = &[
    ("[[step]]\nrun = 'a'\ntimeout = '0s'", 3, 11, "`timeout`: the duration is zero"),
    ("[[step]]\nrun = 'a'\ntimeout = '999h'", 3, 11, "`timeout`: the duration is longer than a week"),
    ("[[step]]\nrun = '  '", 2, 7, "`run` is empty"),
    ("[[step]]\nrun = \"a\\u0000\"", 2, 7, "`run` contains a NUL character"),
    ("[[step]]\ncopy = { from = 'a', to = '/etc/../b' }", 2, 27, "`to` must not contain `.` or `..`"),
    ("[[step]]\ncopy = { from = 'a', to = '/etc/' }", 2, 27, "`to` must end with the file's name"),
    ("[[step]]\nrun = 'a'\nrun = 'b'", 3, 1, "duplicate key"),
    ("[[step]]\nrun = apt-get update", 2, 7, "string values must be quoted, expected literal string"),
];

/// Documents that both accept.
const ACCEPTED: &[&str] = &[
    FULL,
    "[[step]]\nrun = 'true'\n",
    "step = [{ run = 'a' }, { live = 'b' }]\ntest = []\napply = {}\n",
    "[[step]]\ncopy.from = 'a'\ncopy.to = '/b'\ncopy.mode = '755'\ncopy.owner = '0:0'\n",
    "[[step]]\r\nlive = '''\r\na\r\nb'''\r\nundo = 'c'\r\ntimeout = '1m1ms'\r\n[apply]\r\n",
];

fn parse(text: &str) -> Result<ChangeFile, Vec<Problem>> {
    ChangeFile::parse(text, "change.toml")
}

#[test]
fn reads_every_part() {
    let change = parse(FULL).unwrap();
    assert_eq!(change.name.as_deref(), Some("Shop 2.4"));
    assert_eq!(change.why.as_deref(), Some("Ticket 4711"));
    let labels: Vec<_> = change.steps.iter().map(Step::label).collect();
    assert_eq!(labels, ["apt-get install -y nginx", "copy files/shop.conf to /etc/nginx/conf.d/shop.conf", "migrate"]);
    assert_eq!(change.steps[0].timeout, Some(Duration::from_secs(5400)));
    let Action::Copy(copy) = &change.steps[1].action else { panic!("not a copy") };
    assert_eq!((copy.mode, copy.to.clone()), (Some(0o644), TreePath::from("/etc/nginx/conf.d/shop.conf")));
    assert_eq!(copy.owner, Some(Owner { user: "root".into(), group: Some("www-data".into()) }));
    assert_eq!(
        change.steps[2].action,
        Action::Live {
            command: "/srv/shop/migrate up".into(),
            undo: Some("/srv/shop/migrate down".into()),
            once: true
        }
    );
    assert_eq!(change.tests[0].label(), "front page");
    assert_eq!(change.apply.restart, ["php8.2-fpm.service"]);
    assert_eq!(change.apply.never_restart, ["postgresql@15-main.service", "docker.socket"]);
    let needed = &change.files_needed()[0];
    assert_eq!(needed.path, "files/shop.conf");
    let problem = change.problem_at(&needed.span, "no such file", Some("look"));
    assert_eq!((problem.line, problem.column), (9, 17));
    assert!(problem.render().contains("                ^^^^^^^^^^^^^^^^^\n"), "{}", problem.render());
}

#[test]
fn steps_tests_and_options_survive_json() {
    let change = parse(FULL).unwrap();
    let json = serde_json::to_string(&(&change.steps, &change.tests, &change.apply)).unwrap();
    assert!(json.contains("\"timeout\":\"1h30m\""), "{json}");
    let back: (Vec<Step>, Vec<Test>, ApplyOptions) = serde_json::from_str(&json).unwrap();
    assert_eq!(back, (change.steps, change.tests, change.apply));
}

#[test]
fn refuses_with_place_and_hint() {
    for (text, line, column, message, hint) in REFUSED {
        let problems = parse(text).expect_err(text);
        let found = problems.iter().find(|problem| problem.message == *message);
        let problem = found.unwrap_or_else(|| panic!("{text}\n{problems:#?}"));
        assert_eq!((problem.line, problem.column), (*line, *column), "{text}");
        assert_eq!(problem.hint.as_deref().unwrap_or_default(), *hint, "{text}");
        assert_eq!(problem.to_string(), format!("change.toml:{line}:{column}: {message}"));
    }
    for (text, line, column, message) in REFUSED_BY_THE_READER {
        let problems = parse(text).expect_err(text);
        let places: Vec<_> = problems.iter().map(|p| (p.line, p.column, p.message.as_str())).collect();
        assert_eq!(places, [(*line, *column, *message)], "{text}");
    }
}

#[test]
fn one_mistake_is_one_problem() {
    for (text, _, _, message, _) in REFUSED {
        // An unknown key in place of the action leaves two things to mend.
        let expected = if text.contains("command") { 2 } else { 1 };
        let problems = parse(text).expect_err(text);
        assert_eq!(problems.len(), expected, "{message}: {problems:#?}");
    }
}

#[test]
fn collects_all_problems_in_order() {
    let text = "nam = 'x'\n[[step]]\nrun = 1\n[[step]]\ncopy = { from = 'a', to = 'b', mode = '9' }\n\
                [[test]]\ntimeout = 'x'\n[apply]\nrestart = [1, 'a b']\n";
    let problems = parse(text).unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(1, 1), (3, 7), (5, 27), (5, 39), (6, 1), (7, 11), (9, 12), (9, 15)]);
}

#[test]
fn nothing_from_the_file_acts_on_the_terminal() {
    for text in ["\"\\u001b[2J\" = 1\n", "a = \"\u{1b}[2J\n", "\"\\u202e\" = 1\nx = \u{202e}\n"] {
        for problem in ChangeFile::parse(text, "\u{1b}.toml").unwrap_err() {
            let shown = format!("{}{}", problem.render(), problem);
            assert!(shown.chars().all(|c| c == '\n' || !crate::textdiff::acts_on_terminal(c)), "{shown:?}");
        }
    }
}

#[test]
fn the_schema_has_the_readers_keys() {
    let schema = json_schema();
    let tables = [
        (&schema, ROOT_KEYS),
        (&schema["$defs"]["Step"], STEP_KEYS),
        (&schema["$defs"]["Copy"], COPY_KEYS),
        (&schema["$defs"]["Test"], TEST_KEYS),
        (&schema["$defs"]["Apply"], APPLY_KEYS),
    ];
    assert_keys(&tables);
}

#[test]
fn the_schema_agrees_with_the_reader() {
    let schema = json_schema();
    for text in ACCEPTED {
        parse(text).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
        assert_eq!(refusal(&schema, &schema, &json(text)), None, "{text}");
    }
    for (text, ..) in REFUSED {
        assert!(refusal(&schema, &schema, &json(text)).is_some(), "the schema accepts: {text}");
    }
}

/// What is put into a sound file.
const BITS: &[&str] =
    &["[[", "\"", "'''", " = ", "\u{1b}\u{202e}ü\t", "\r\n", "undo = 1\n", "copy = {from='',to='x'}\n"];

proptest! {
    #[test]
    fn every_problem_lies_in_the_file(text in prop_oneof![mutated(FULL, BITS), "\\PC{0,60}", "[\\[\\]a-z='\"{}.,\\n\\r# ]{0,60}"]) {
        if let Err(problems) = parse(&text) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                let line = text.split('\n').nth(problem.line - 1);
                prop_assert!(line.is_some(), "line {} of {:?}", problem.line, text);
                prop_assert!(problem.column >= 1 && problem.column <= line.unwrap().chars().count() + 1);
                prop_assert!(problem.render().contains('^'));
            }
        }
    }
}

#[test]
fn a_list_of_tests_has_tests_and_nothing_else() {
    let text =
        "[[test]]\nname = 'front page'\nrun = 'curl -fsS http://127.0.0.1/'\ntimeout = '10s'\n[[test]]\nrun = 'true'\n";
    let tests = parse_tests(text, "web.toml").unwrap();
    assert_eq!(tests.iter().map(Test::label).collect::<Vec<_>>(), ["front page", "true"]);
    assert_eq!(tests[0].timeout, Some(Duration::from_secs(10)));
    assert_eq!(parse_tests("", "empty.toml").unwrap(), []);
    for (text, line, message) in [
        ("[[test]]\nrun = 'a'\n[[step]]\nrun = 'b'", 3, "unknown key `step` in a list of tests"),
        ("[[test]]\nname = 'a'", 1, "`run` is missing in a test"),
        ("[[test]\n", 1, ""),
    ] {
        let problems = parse_tests(text, "web.toml").unwrap_err();
        assert_eq!((problems[0].line, problems[0].file.as_str()), (line, "web.toml"), "{text}");
        assert!(problems[0].message.contains(message), "{text}: {}", problems[0].message);
    }
}
