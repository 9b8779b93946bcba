//! What people do to a host behind everybody's back, each found as what it is, with who did it, and nothing besides.
//!
//! The judge is `greenroom status --json` on a booted host with the watch as its service: what it says more after an edit than before
//! it has to be what the table says.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

#[path = "corpus/table.rs"]
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use greenroom_testkit::lab::{Boot, Lab, LabHost};
use serde_json::Value;
use table::{By, ROWS, Row};

/// One thing that a report lists: what it is, and the object that says so.
type Listed = BTreeMap<String, Value>;

fn sh(host: &LabHost, script: &str) -> String {
    let done = host.exec(&["bash", "-c", script]).unwrap();
    assert_eq!(done.code(), 0, "{script}\n{}\n{}", done.out(), done.err());
    done.out()
}

/// A path of the table in full.
fn full(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/srv/c/{path}") }
}

/// Runs scripts one after another, each in a shell of its own, and looks after each list of them. What a shell runs last it
/// becomes, unless it has something of its own to do after it.
fn looks(host: &LabHost, lists: &[Vec<&str>]) -> Vec<(Listed, Listed)> {
    let shell = |script: &&str| {
        let quoted = script.replace('\'', "'\\''");
        format!("bash -ec 'cd /srv/c; {quoted}; :' >&2 || {{ echo '{quoted}' >&2; exit 9; }}\n")
    };
    let all = lists.iter().enumerate().map(|(at, list)| {
        let scripts: String = list.iter().map(shell).collect();
        format!("{scripts}greenroom status --json > /var/tmp/look.{at} || exit 8\n")
    });
    sh(host, &all.collect::<String>());
    let read = |at| std::fs::read_to_string(host.path(&format!("var/tmp/look.{at}"))).unwrap();
    (0..lists.len()).map(|at| listed(&read(at))).collect()
}

fn look(host: &LabHost, script: &str) -> (Listed, Listed) {
    looks(host, &[vec![script]]).remove(0)
}

/// Rows that can be looked at together: no two of them are about the same thing.
fn batches() -> Vec<Vec<&'static Row>> {
    let mut out: Vec<Vec<&Row>> = Vec::new();
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for row in ROWS {
        let things = || row.drift.iter().map(|(path, ..)| *path).chain(row.beyond.iter().map(|(_, item)| *item));
        if out.last().is_none_or(|batch| batch.len() >= 8) || things().any(|thing| taken.contains(thing)) {
            out.push(Vec::new());
            taken.clear();
        }
        taken.extend(things());
        out.last_mut().unwrap().push(row);
    }
    out
}

fn listed(report: &str) -> (Listed, Listed) {
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["problems"], serde_json::json!([]), "{report:#}");
    let list = |name: &str| report[name].as_array().unwrap().clone();
    let titles: BTreeMap<String, Value> =
        list("groups").into_iter().map(|one| (one["id"].as_str().unwrap().to_owned(), one["title"].clone())).collect();
    let file = |mut one: Value| {
        one["title"] = titles[one["group"].as_str().unwrap()].clone();
        (one["path"].as_str().unwrap().to_owned(), one)
    };
    let key = |one: &Value| format!("{} {}", one["kind"].as_str().unwrap(), one["item"].as_str().unwrap());
    let beyond = list("runtime").into_iter().map(|one| (key(&one), one));
    // Those that are services of the test's own commands do not count, nor what comes when its minute comes.
    let beyond = beyond.filter(|(key, _)| !key.starts_with("unit lab-command-")).collect();
    (list("drift").into_iter().map(file).filter(|(path, _)| path != CRON).collect(), beyond)
}

/// What a job of cron makes.
const CRON: &str = "/srv/by-cron";

/// What the later report has more, or otherwise.
fn more(before: &Listed, after: &Listed) -> Listed {
    // A title may change with its group; the thing itself may not.
    let same = |a: &Value, b: &Value| ["op", "after", "actor", "at"].iter().all(|field| a[field] == b[field]);
    let new = after.iter().filter(|(key, one)| before.get(*key).is_none_or(|old| !same(old, one)));
    new.map(|(key, one)| (key.clone(), one.clone())).collect()
}

fn words(actor: &Value, field: &str) -> String {
    actor[field].as_str().unwrap_or_default().to_owned()
}

/// What is wrong with one line of a report.
fn wrong(one: &Value, op: &str, by: By, script: &str) -> Option<String> {
    let actor = &one["actor"];
    let command = words(actor, "command");
    let unit = words(actor, "unit");
    let named = match by {
        By::Scan => one["found_by"] == "scan" && actor.is_null(),
        By::Cmd(begin) => command.starts_with(begin) && unit.starts_with("lab-command-"),
        By::Shell => command.starts_with("bash -ec") && command.contains(&script[..script.len().min(5)]),
        By::Systemd => actor["pid"] == 1,
    };
    let seen = matches!(by, By::Scan) || one["found_by"] == "watch" && actor["user"] == "root";
    (one["op"] != op || !named || !seen).then(|| format!("{} {op}: {one:#}", one["path"]))
}

fn judge(rows: &[&Row], files: &Listed, beyond: &Listed) -> Vec<String> {
    let mut out = Vec::new();
    let (mut paths, mut items) = (BTreeSet::new(), BTreeSet::new());
    for row in rows {
        for (path, op, by) in row.drift {
            match files.get(&full(path)) {
                Some(one) => out.extend(wrong(one, op, *by, row.script).map(|what| format!("{}: {what}", row.name))),
                None => out.push(format!("{}: {path} was not found", row.name)),
            }
            paths.insert(full(path));
        }
        items.extend(row.beyond.iter().map(|(kind, item)| format!("{kind} {item}")));
    }
    out.extend(files.keys().filter(|path| !paths.contains(*path)).map(|path| format!("invented: {:#}", files[path])));
    let found: BTreeSet<String> = beyond.keys().cloned().collect();
    out.extend(items.difference(&found).map(|item| format!("{item} was not found")));
    out.extend(found.difference(&items).map(|item| format!("invented: {:#}", beyond[item])));
    out
}

const PREPARE: &str = "set -e; systemctl mask --now apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer; \
    apt-get -qq install -y --no-install-recommends vim-tiny ed python3 sudo > /dev/null; useradd -m -s /bin/bash anna; \
    echo 'anna ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/anna; mkdir -p ~/.ssh ~anna/.ssh; ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519; \
    cp ~/.ssh/id_ed25519.pub ~anna/.ssh/authorized_keys; chown -R anna: ~anna/.ssh; mkdir -p /srv/c; cd /srv/c; \
    printf '* * * * * root test ! -e /run/cron-go || (rm /run/cron-go; echo x > /srv/by-cron)\\n' > /etc/cron.d/corpus; \
    text() { for f; do printf 'one\\ntwo\\nthree\\n' > /srv/c/$f; done; }; ";

fn prepared(lab: &Lab) -> LabHost {
    let mut host = lab.host("corpus").unwrap();
    host.install_greenroom(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
    host.boot(&Boot::with_packages()).unwrap();
    let before: String =
        ROWS.iter().filter(|row| !row.before.is_empty()).map(|row| format!("{}; ", row.before)).collect();
    sh(&host, &format!("{PREPARE}{before} true"));
    sh(&host, "greenroom install && greenroom status && touch /run/cron-go");
    host
}

#[test]
fn each_untracked_edit_is_found_with_who_made_it_and_nothing_is_invented() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let host = prepared(&lab);
    let batches = batches();
    let scripts = batches.iter().map(|batch| batch.iter().map(|row| row.script).collect());
    let looks = looks(&host, &[vec![":"]].into_iter().chain(scripts).collect::<Vec<_>>());
    assert_eq!((looks[0].0.len(), looks[0].1.len()), (0, 0), "{:#?}", looks[0]);
    let mut problems = Vec::new();
    for (rows, (before, now)) in batches.iter().zip(looks.iter().zip(&looks[1..])) {
        problems.extend(judge(rows, &more(&before.0, &now.0), &more(&before.1, &now.1)));
    }
    problems.extend(packages(&host));
    problems.extend(people(&host));
    problems.extend(cron(&host));
    assert!(problems.is_empty(), "{} of {} rows:\n{}", problems.len(), ROWS.len(), problems.join("\n"));
}

/// A name, a script, and how the fields of its actor begin.
type Login = (&'static str, String, &'static [(&'static str, &'static str)]);

/// Edits by somebody who logged in.
fn people(host: &LabHost) -> Vec<String> {
    let ssh = "ssh -tt -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null anna@127.0.0.1";
    let table: [Login; 3] = [
        (
            "sudo over ssh",
            format!("{ssh} 'sudo sed -i s/one/1/ /srv/c/touch'"),
            &[
                ("command", "sed -i s/one/1/ /srv/c/touch"),
                ("user", "root"),
                ("login", "anna"),
                ("from", "127.0.0.1"),
                ("terminal", "pts/"),
            ],
        ),
        (
            "as oneself over ssh",
            format!("{ssh} 'echo x > ~/mine'"),
            &[("command", "bash -c"), ("user", "anna"), ("login", "anna"), ("from", "127.0.0.1"), ("terminal", "pts/")],
        ),
        ("su -", "su - anna -c 'touch ~/other; :'".to_owned(), &[("command", "touch"), ("user", "anna")]),
    ];
    let paths = ["/srv/c/touch", "/home/anna/mine", "/home/anna/other"];
    let mut out = Vec::new();
    for ((name, script, wanted), path) in table.iter().zip(paths) {
        let (files, _) = look(host, script);
        let actor = &files.get(path).unwrap_or_else(|| panic!("{name}: {path} was not found"))["actor"];
        if wanted.iter().any(|(field, begin)| !words(actor, field).starts_with(begin)) {
            out.push(format!("{name}: {actor:#}"));
        }
    }
    out
}

/// A package is one thing, whoever brings it and takes it away. The package manager's logs know seconds and no less: two runs within
/// a moment may get each other's files of dpkg's database, so one here waits.
fn packages(host: &LabHost) -> Vec<String> {
    let unattended = "sleep 3; mkdir -p /run/systemd/system/apt-daily-upgrade.service.d; cd /run/systemd/system/apt-daily-upgrade.service.d; \
        printf '[Service]\\nExecStartPre=\\nExecStart=\\nExecStart=apt-get -qq install -y dc\\n' > x.conf; systemctl daemon-reload; \
        systemctl start apt-daily-upgrade";
    let table = [
        ("apt-get -qq install -y tree", "tree", "apt-get", "lab-command-", "installed"),
        (unattended, "dc", "apt-get", "apt-daily-upgrade.service", "installed"),
        ("sleep 3; cd /var/tmp; apt-get -qq download bc; dpkg -i bc_*.deb", "bc", "dpkg", "lab-command-", "installed"),
        ("sleep 3; apt-get -qq purge -y ed", "ed", "apt-get", "lab-command-", "removed"),
    ];
    let scripts: Vec<Vec<&str>> = [":"].into_iter().chain(table.iter().map(|row| row.0)).map(|one| vec![one]).collect();
    let looks = looks(host, &scripts);
    let mut out = Vec::new();
    for ((script, package, by, unit, done), (before, now)) in table.iter().zip(looks.iter().zip(&looks[1..])) {
        let (files, beyond) = (more(&before.0, &now.0), more(&before.1, &now.1));
        let title = format!("{package} ");
        let all = |field: &str, begin: &str| files.values().all(|one| words(one, field).starts_with(begin));
        let named =
            files.values().all(|one| words(&one["actor"], "unit").starts_with(unit) && one["found_by"] == "watch");
        let titled = all("title", &title)
            && files.values().all(|one| words(one, "title").contains(by) && words(one, "title").contains(done));
        if files.len() < 5
            || !named
            || !titled
            || !beyond.keys().any(|key| key.starts_with(&format!("package {package}:")))
        {
            let brief = |one: &Value| format!("{} {} {}", one["path"], one["title"], one["actor"]);
            out.push(format!("{script}: {:#?} {:?}", files.values().map(brief).collect::<Vec<_>>(), beyond.keys()));
        }
    }
    out
}

fn cron(host: &LabHost) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(70);
    while !host.path(CRON).exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(300));
    }
    let report: Value = serde_json::from_str(&sh(host, "greenroom status --json")).unwrap();
    let one = report["drift"].as_array().unwrap().iter().find(|one| one["path"] == CRON).unwrap();
    let right =
        words(&one["actor"], "unit") == "cron.service" && words(&one["actor"], "command").contains("/bin/sh -c");
    if right { Vec::new() } else { vec![format!("cron: {one:#}")] }
}
