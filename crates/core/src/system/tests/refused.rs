//! Documents with one thing wrong, where it is said, and how to mend it.

use super::*;

/// Sound documents that use what [`FULL`] does not.
pub(super) const ACCEPTED: &[&str] = &[
    "[system]\nname = 's'\n[host.a]\n",
    "[system]\nname = 's'\n[host.a]\n[host.b]\nssh = 'b'\n[[test]]\nrun = 'a'\nhosts = ['b']\n",
    "[system]\nname = 's'\nenvironment = 'x'\n[environment.x.host.a]\n",
    "[system]\nname = 's'\n[host]\na.roles = ['r']\n[policy.may_apply]\nrights = ['viewer', 'developer']\n[role.r]\n",
];

/// Documents that both the reader and the schema refuse: text, line, column, message, hint ("" for none).
pub(super) const REFUSED: &[(&str, usize, usize, &str, &str)] = &[
    (
        "[sytem]\nname = 's'\n[system]\nname = 's'\n[host.a]",
        1,
        2,
        "unknown key `sytem` in the system file",
        "did you mean `system`?",
    ),
    ("[system]\nname = 's'\nnmae = 's'\n[host.a]", 3, 1, "unknown key `nmae` in [system]", "did you mean `name`?"),
    ("[system]\nname = 's p'\n[host.a]", 2, 8, NO_SYSTEM_NAME, ""),
    ("[system]\nname = 's'\n[host.'a b']\naddress = 'a'", 3, 7, NO_HOST_NAME, ""),
    (
        "[system]\nname = 's'\n[host.a]\naddress = 1",
        4,
        11,
        "`address` must be a string, this is a whole number",
        "put it in quotes",
    ),
    (
        "[system]\nname = 's'\n[host.a]\nadress = 'b'",
        4,
        1,
        "unknown key `adress` in host `a`",
        "did you mean `address`?",
    ),
    (
        "[system]\nname = 's'\n[[host]]\nname = 'a'",
        3,
        3,
        "`host` must be tables with names, this is a list",
        "begin each with [host.NAME]",
    ),
    ("[system]\nname = 's'\n[host]\na = 'b'", 4, 1, "`a` must be a table, this is a string", "write [host.a]"),
    (
        "[system]\nname = 's'\n[host.a]\nroles = 'web'",
        4,
        1,
        "`roles` must be a list of strings, this is a string",
        "write [\"…\"]",
    ),
    ("[system]\nname = 's'\n[host.a]\nroles = ['a b']", 4, 10, NO_ROLE_NAME, ""),
    ("[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = []", 5, 9, "`hosts` is empty", ""),
    ("[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nunit = 'a b'", 6, 8, NO_UNIT, ""),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nbatch = 1",
        6,
        1,
        "`batch` must be a list of sizes, this is a whole number",
        "write [1, \"rest\"]",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nbatch = []",
        6,
        9,
        "`batch` is empty",
        "write [1, \"rest\"]",
    ),
    ("[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nbatch = [0]", 6, 10, NO_BATCH, ""),
    ("[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nbatch = [1, -1]", 6, 13, NO_BATCH, ""),
    ("[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nbatch = ['101%']", 6, 10, NO_BATCH, ""),
    ("[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nbatch = ['half']", 6, 10, NO_BATCH, ""),
    ("[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nbatch = [1.5]", 6, 10, NO_BATCH, ""),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\n[[service.x.health]]",
        6,
        1,
        "this check looks at nothing",
        "give it one of http, tcp, command, unit",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\n[service.x.health]\ntcp = 1",
        6,
        12,
        "`health` must be a list of tables, this is a table",
        "begin each check with [[service.NAME.health]]",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nhealth = [{ htpp = 'http://a/' }]",
        6,
        13,
        "unknown key `htpp` in a health check",
        "did you mean `http`?",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nhealth = [{ tcp = 1, unit = 'a' }]",
        6,
        22,
        "a check looks at one thing, this one has `tcp` and `unit`",
        "begin another [[service.NAME.health]]",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nhealth = [{ tcp = 1, status = [200] }]",
        6,
        22,
        "`status` without `http`",
        "",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nhealth = [{ http = '/health' }]",
        6,
        20,
        "`/health` is not an http or https URL",
        "write \"http://127.0.0.1/health\"",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nhealth = [{ http = 'http://a', status = [20] }]",
        6,
        42,
        "a status of HTTP is a number from 100 to 599",
        "",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nhealth = [{ tcp = 'db' }]",
        6,
        19,
        "`db` is not host:port",
        "write \"127.0.0.1:5432\", or 5432 for a port of the host itself",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nhealth = [{ tcp = 70000 }]",
        6,
        19,
        "a port is a number from 1 to 65535",
        "",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nhealth = [{ tcp = 1, failures = 0 }]",
        6,
        33,
        "`failures` must be from 1 to 1000",
        "",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nhealth = [{ tcp = 1, interval = 5 }]",
        6,
        33,
        "`interval` must be a duration in quotes, this is a whole number",
        "write \"5s\" for seconds",
    ),
    ("[system]\nname = 's'\n[host.a]\n[[test]]\nname = 'x'", 4, 1, "`run` is missing in a test", ""),
    (
        "[system]\nname = 's'\n[host.a]\n[test.x]\nrun = 'x'",
        4,
        2,
        "`test` must be a list of tables, this is a table",
        "begin each test with [[test]]",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[person.p]",
        4,
        9,
        "nobody can reach person `p`",
        "give it one of email, phone, webhook",
    ),
    ("[system]\nname = 's'\n[host.a]\n[person.p]\nemail = 'p'", 5, 9, "`p` is not a mail address", ""),
    ("[system]\nname = 's'\n[host.a]\n[person.p]\nphone = 'call me'", 5, 9, "`call me` is not a telephone number", ""),
    ("[system]\nname = 's'\n[host.a]\n[person.p]\nwebhook = 'chat'", 5, 11, "`chat` is not an http or https URL", ""),
    (
        "[system]\nname = 's'\n[host.a]\n[team.t]",
        4,
        7,
        "nobody can reach team `t`",
        "give it people, or one of email, phone, webhook",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[policy]\non_failure = 'udno'",
        5,
        14,
        "`on_failure` cannot be `udno`",
        "did you mean `undo`?",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[policy]\nsecond_person = 'yes'",
        5,
        17,
        "`second_person` must be true or false, this is a string",
        "",
    ),
    ("[system]\nname = 's'\n[host.a]\n[policy]\nrehearsal_within = '1d'", 5, 20, NO_DURATION, ""),
    (
        "[system]\nname = 's'\n[host.a]\n[policy]\nmay_apply = {}",
        5,
        13,
        "with this nobody may apply",
        "name rights, teams or people; without `may_apply` every operator may",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[policy]\nmay_apply = { rights = ['oprator'] }",
        5,
        25,
        "there are no rights `oprator`",
        "did you mean `operator`?",
    ),
    ("[system]\nname = 's'\n[host.a]\n[paths]\ndata = ['srv']", 5, 9, "`data`: `srv`: it must begin with /", ""),
    (
        "[system]\nname = 's'\n[host.a]\n[paths]\nvolatile = ['!srv']",
        5,
        13,
        "`volatile`: `!srv`: it must begin with /",
        "",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[environment.x]\nhosts = 1\n[environment.x.host.b]",
        5,
        1,
        "unknown key `hosts` in environment `x`",
        "did you mean `host`?",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[environment.x.environment.y]\n[environment.x.host.b]",
        4,
        16,
        "unknown key `environment` in environment `x`",
        ENVIRONMENT_KEYS_HINT,
    ),
];

const NO_SYSTEM_NAME: &str = "`s p` cannot be the name of a system: 1 to 63 letters, digits and - _ . are expected, the first a letter or a digit";
const NO_HOST_NAME: &str =
    "`a b` cannot be the name of a host: 1 to 63 letters, digits and - _ . are expected, the first a letter or a digit";
const NO_ROLE_NAME: &str =
    "`a b` cannot be the name of a role: 1 to 63 letters, digits and - _ . are expected, the first a letter or a digit";
const NO_UNIT: &str = "`unit`: not the name of a systemd unit: 1 to 255 letters, digits and : _ . \\ @ - are expected";
const NO_BATCH: &str = "a batch is a number of hosts from 1, a share from \"1%\" to \"100%\", or \"rest\"";
const NO_DURATION: &str = "`rehearsal_within`: not a duration: numbers with the units h, m, s, ms in this order are expected, such as 30s, 5m, 1h30m";
const ENVIRONMENT_KEYS_HINT: &str =
    "known here: include, system, host, role, service, test, team, person, policy, paths";

/// Documents whose fault a schema can't see.
const REFUSED_BY_THE_READER: &[(&str, usize, usize, &str, &str)] = &[
    ("", 1, 1, "there is no [system]", "begin with [system] and its name = \"…\""),
    ("[system]\n[host.a]", 1, 1, "`name` is missing in [system]", ""),
    ("[system]\nname = 's'", 1, 1, "there is no host", "add one with [host.NAME] and its address = \"…\""),
    ("[system]\nname = 's'\n[host.all]", 3, 7, "a host cannot be called `all`", "`--on all` means every host"),
    (
        "[system]\nname = 's'\n[host.a]\naddress = '10.0.0.300'",
        4,
        11,
        "`10.0.0.300` is not an IP address or a DNS name",
        "",
    ),
    (
        "[system]\nname = 's'\n[host.a]\naddress = '10.0.0.3:22'",
        4,
        11,
        "`10.0.0.3:22` is not an IP address or a DNS name",
        "the port of SSH goes to `ssh`: ssh = \"ssh://10.0.0.3:22\"",
    ),
    (
        "[system]\nname = 's'\n[host.a]\nssh = 'root@a:2222'",
        4,
        7,
        "`root@a:2222` is not a destination for ssh",
        "with a port: \"ssh://root@a:2222\"",
    ),
    (
        "[system]\nname = 's'\n[host.a]\nssh = '-oProxyCommand=id'",
        4,
        7,
        "`-oProxyCommand=id` is not a destination for ssh",
        "write user@host, a Host of your ssh_config, or ssh://user@host:port",
    ),
    ("[system]\nname = 's'\n[host.1]", 3, 7, "host `1` needs an `address`: its name is not a DNS name", ""),
    (
        "[system]\nname = 's'\n[host.a]\naddress = '1.2.3.4'\n[host.b]\naddress = '1.2.3.4'",
        6,
        11,
        "host `a` has the same address",
        "",
    ),
    ("[system]\nname = 's'\n[host.a]\nroles = ['r', 'r']", 4, 15, "role `r` is named twice", ""),
    (
        "[system]\nname = 's'\n[host.a]\nroles = ['web']\n[role.wbe]",
        5,
        7,
        "no host has the role `wbe`",
        "did you mean `web`?",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nroles = ['web']",
        5,
        10,
        "no host has the role `web`",
        "no host has a role: give it one with roles = [\"…\"]",
    ),
    (
        "[system]\nname = 's'\n[host.web1]\n[service.x]\nhosts = ['wbe1']",
        5,
        10,
        "there is no host `wbe1`",
        "did you mean `web1`?",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]",
        4,
        10,
        "service `x` runs nowhere",
        "give it roles = [\"…\"] or hosts = [\"…\"]",
    ),
    ("[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a', 'a']", 5, 15, "host `a` is named twice", ""),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nowner = 'web'",
        6,
        9,
        "there is no team `web`",
        "declare it with [team.NAME]",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nafter = ['y']",
        6,
        10,
        "there is no service `y`",
        "did you mean `x`?",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nafter = ['x']",
        6,
        1,
        "service `x` is restarted after itself",
        "",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service]\nx = { hosts = ['a'], after = ['y'] }\ny = { hosts = ['a'], after = ['x'] }",
        5,
        22,
        "service `x` is restarted after itself",
        "it waits for y",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[service.x]\nhosts = ['a']\nbatch = ['rest', 1]",
        6,
        10,
        "nothing can come after the rest",
        "put \"rest\" at the end",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[[test]]\nrun = 'x'\n[[test]]\nrun = 'x'",
        6,
        1,
        "test `x` is declared twice",
        "give it a name of its own",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[person.anna]\nemail = 'a@b'\n[team.t]\npeople = ['ana']",
        7,
        11,
        "there is no person `ana`",
        "did you mean `anna`?",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[policy.may_apply]\nteams = ['web']",
        5,
        10,
        "there is no team `web`",
        "declare it with [team.NAME]",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[policy.may_apply]\nteams = []",
        4,
        1,
        "with this nobody may apply",
        "name rights, teams or people; without `may_apply` every operator may",
    ),
    ("[system]\nname = 's'\n[host.a]\n[paths]\ndata = ['/']", 5, 9, "`data`: `/`: not everything can be data", ""),
    (
        "[system]\nname = 's'\n[host.a]\n[paths]\nvolatile = ['/a/../b']",
        5,
        13,
        "`volatile`: `/a/../b`: it must not contain `.` or `..`",
        "",
    ),
    (
        "[system]\nname = 's'\n[host.a]\n[environment.x.policy]\nsecond_person = true",
        4,
        14,
        "environment `x` has no host",
        "hosts are not inherited: name those of x with [environment.x.host.NAME]",
    ),
    (
        "[system]\nname = 's'\nenvironment = 'prod'\n[environment.production.host.a]",
        3,
        15,
        "there is no environment `prod`",
        "known here: production",
    ),
    ("[system]\nname = 's'\n[host.a]\n[host.a]", 4, 7, "duplicate key", ""),
    ("[system]\nname = 's\n", 2, 10, "invalid literal string, expected `'`", ""),
];

#[test]
fn refuses_with_place_and_hint() {
    for (text, line, column, message, hint) in REFUSED.iter().chain(REFUSED_BY_THE_READER) {
        let problems = read(text).expect_err(text);
        let places: Vec<_> = problems.iter().map(|p| (p.line, p.column, p.message.as_str())).collect();
        let expected = (*line, *column, *message);
        // A file of nothing lacks both of what every file has.
        assert!(
            places.contains(&expected) && (places.len() == 1 || text.is_empty()),
            "{text}\n{expected:?}\n{problems:#?}"
        );
        let problem = &problems[places.iter().position(|place| *place == expected).unwrap()];
        assert_eq!(problem.hint.as_deref().unwrap_or_default(), *hint, "{text}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_once() {
    let text = "include = [1]\n[system]\nnmae = 's'\n[host.a]\naddress = 'x y'\n[service.x]\nowner = 'web'\nbatch = [0]\n\
                [policy]\non_failure = 'no'\n[environment.x.host.b]\nrole = []\n[environment.y.host.b]\naddress = '.'\n";
    let problems = read(text).unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(
        places,
        [(1, 12), (2, 1), (3, 1), (5, 11), (6, 10), (7, 9), (8, 10), (10, 14), (12, 1), (14, 11)],
        "{problems:#?}"
    );
}
