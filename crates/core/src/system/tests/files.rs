//! Includes: what they find, how they are merged, and what is said when they can't be.

use super::*;

const HEAD: &str = "[system]\nname = 's'\n[host.a]\nroles = ['web']\n";

fn places(files: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
    let problems = read_all(files).expect_err("it is sound");
    problems.iter().map(|problem| (problem.to_string(), problem.hint.clone())).collect()
}

#[test]
fn included_files_are_part_of_the_whole() {
    let declaration = read_all(&[
        (
            "conf/greenroom.toml",
            "include = ['hosts.toml', 'services/*.toml', '../people.toml']\n[system]\nname = 's'\n[[test]]\nrun = 'a'",
        ),
        ("conf/hosts.toml", "[host.b]\nroles = ['web']\n[host.a]\n[environment.lab.host.x]\nroles = ['web']"),
        ("conf/services/shop.toml", "include = 'none'\n"),
        (
            "conf/services/web.toml",
            "include = ['more/x.toml']\n[service.web]\nroles = ['web']\nowner = 'ops'\n[[test]]\nrun = 'b'",
        ),
        (
            "conf/services/more/x.toml",
            "[service.x]\nhosts = ['a']\nafter = ['web']\n[environment.lab.policy]\nsecond_person = true",
        ),
        ("conf/services/.hidden.toml", "nonsense"),
        ("people.toml", "[team.ops]\nemail = 'ops@example.org'"),
    ]);
    let problems = declaration.unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(
        problems[0].to_string(),
        "conf/services/shop.toml:1:1: `include` must be a list of strings, this is a string"
    );
}

#[test]
fn what_is_included_is_as_if_it_stood_there() {
    let declaration = read_all(&[
        ("conf/greenroom.toml", "include = ['hosts.toml', 's/*.toml', '../people.toml', 'hosts.toml', '*.toml']\n[system]\nname = 's'\n[[test]]\nrun = 'a'"),
        ("conf/hosts.toml", "[host.b]\nroles = ['web']\n[host.a]\n[environment.lab.host.x]\nroles = ['web']"),
        ("conf/s/web.toml", "include = ['more/x.toml']\n[service.web]\nroles = ['web']\nowner = 'ops'\n[[test]]\nrun = 'b'"),
        ("conf/s/more/x.toml", "[service.x]\nhosts = ['a']\nafter = ['web']\n[environment.lab.policy]\nsecond_person = true"),
        ("people.toml", "[team.ops]\nemail = 'ops@example.org'"),
    ])
    .unwrap_or_else(|problems| panic!("{problems:#?}"));
    let files = ["conf/greenroom.toml", "conf/hosts.toml", "conf/s/web.toml", "conf/s/more/x.toml", "people.toml"];
    assert_eq!(declaration.files(), files);
    let system = declaration.system(None).unwrap();
    assert_eq!(system.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(system.tests.iter().map(|test| test.run.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(system.services.len(), 2);
    let lab = declaration.system(Some("lab")).unwrap();
    assert!(lab.policy.second_person && !system.policy.second_person);
    assert_eq!(lab.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(), ["web"]);
}

#[test]
fn an_environment_can_be_a_file() {
    let declaration = read_all(&[
        ("greenroom.toml", &format!("{HEAD}[policy]\nsecond_person = true\n[environment.lab]\ninclude = ['lab.toml']")),
        ("lab.toml", "[host.x]\n[policy]\nsecond_person = false"),
    ]);
    let declaration = declaration.unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(!declaration.system(Some("lab")).unwrap().policy.second_person);
    assert!(declaration.system(None).unwrap().policy.second_person);
}

#[test]
fn the_same_name_in_two_files_is_said_with_both_places() {
    let main = format!("include = ['b.toml']\n{HEAD}[policy]\nsecond_person = true\n");
    let twice = "[policy]\n[host.a]\n[environment.x.host.y]\n[environment.x.host.z]\n";
    let problems = places(&[("greenroom.toml", &main), ("b.toml", twice)]);
    assert_eq!(
        problems,
        [
            ("b.toml:1:2: `policy` is declared twice".to_owned(), Some("first at greenroom.toml:6:2".to_owned())),
            ("b.toml:2:7: host `a` is declared twice".to_owned(), Some("first at greenroom.toml:4:7".to_owned())),
        ]
    );
}

#[test]
fn files_that_are_missing_or_go_in_circles() {
    let relative = "paths are relative to the file that includes";
    for (files, problem, hint) in [
        (
            &[("greenroom.toml", "include = ['host.toml']"), ("hosts.toml", "")][..],
            "greenroom.toml:1:12: host.toml cannot be read: No such file or directory",
            Some("did you mean `hosts.toml`?"),
        ),
        (
            &[("greenroom.toml", "include = ['x/y/z.toml']")],
            "greenroom.toml:1:12: x/y/z.toml cannot be read: No such file or directory",
            Some(relative),
        ),
        (
            &[("greenroom.toml", "include = ['x/*.toml']")],
            "greenroom.toml:1:12: x cannot be read: No such file or directory",
            Some(relative),
        ),
        (
            &[("greenroom.toml", "include = ['./greenroom.toml']")],
            "greenroom.toml:1:12: greenroom.toml includes itself",
            None,
        ),
        (
            &[
                ("greenroom.toml", "include = ['a.toml']"),
                ("a.toml", "include = ['b/b.toml']"),
                ("b/b.toml", "include = ['../a.toml']"),
            ],
            "b/b.toml:1:12: a.toml includes itself",
            Some("by way of b/b.toml"),
        ),
        (
            &[("greenroom.toml", "include = ['*/x.toml']")],
            "greenroom.toml:1:12: a pattern may only be in the last part of the path",
            Some("write one entry for each directory: include = [\"a/*.toml\", \"b/*.toml\"]"),
        ),
        (
            &[("greenroom.toml", "include = ['a{b']")],
            "greenroom.toml:1:12: `include`: not a pattern: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)",
            None,
        ),
        (
            &[("greenroom.toml", "include = ['a.toml']\n[service.x]\nroles = ['of a']"), ("a.toml", "[host")],
            "a.toml:1:6: unclosed table, expected `]`",
            None,
        ),
    ] {
        assert_eq!(places(files), [(problem.to_owned(), hint.map(str::to_owned))]);
    }
}

#[test]
fn the_first_file_must_be_there() {
    let error = Declaration::read("greenroom.toml", &Texts(BTreeMap::new())).unwrap_err();
    assert_eq!(error, Unsound::Unreadable("No such file or directory".to_owned()));
}
