//! Tokens and roles.

use greenroom_core::api;
use greenroom_server::api::openapi;
use greenroom_server::hash_of_secret;
use greenroom_store::control::Role;

use crate::world::{DAY, World, run};

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    /// A person with at least this role.
    Person(Role),
    /// An agent, with its certificate.
    Agent,
    /// Whoever was invited: the token is in the body.
    Invited,
}

const VIEWER: Who = Who::Person(Role::Viewer);
const DEVELOPER: Who = Who::Person(Role::Developer);
const OPERATOR: Who = Who::Person(Role::Operator);
const ADMIN: Who = Who::Person(Role::Admin);

/// Who may call what: a line for each call of the API. Whether a developer may change hosts is then for the system file to say,
/// or takes an operator: see the tests of the engine. A new call fails the tests until it has its line.
const CALLS: &[(&str, &str, Who)] = &[
    ("get", "/v1/hosts", VIEWER),
    ("delete", "/v1/hosts/{host}", ADMIN),
    ("post", "/v1/hosts/{host}/run", VIEWER),
    ("post", "/v1/rehearsals", DEVELOPER),
    ("get", "/v1/rehearsals/{id}", VIEWER),
    ("get", "/v1/rehearsals/{id}/events", VIEWER),
    ("post", "/v1/changes", DEVELOPER),
    ("get", "/v1/changes/{id}", VIEWER),
    ("get", "/v1/changes/{id}/events", VIEWER),
    ("post", "/v1/changes/{id}/undo", DEVELOPER),
    ("post", "/v1/changes/{id}/continue", DEVELOPER),
    ("post", "/v1/changes/{id}/abort", DEVELOPER),
    ("get", "/v1/log", VIEWER),
    ("get", "/v1/log/verify", VIEWER),
    ("get", "/v1/system", VIEWER),
    ("post", "/v1/system", ADMIN),
    ("post", "/v1/rehearsals/{id}/approve", DEVELOPER),
    ("post", "/v1/programs/{hash}/{number}", OPERATOR),
    ("post", "/v1/upgrades", OPERATOR),
    ("post", "/v1/contents/missing", DEVELOPER),
    ("post", "/v1/contents", DEVELOPER),
    ("get", "/v1/images", VIEWER),
    ("post", "/v1/images", OPERATOR),
    ("get", "/v1/images/{id}", VIEWER),
    ("post", "/v1/gc", OPERATOR),
    ("post", "/v1/rebuilds", DEVELOPER),
    ("get", "/v1/rebuilds/{id}", VIEWER),
    ("post", "/v1/enrolments", ADMIN),
    ("post", "/v1/tokens", ADMIN),
    ("get", "/v1/tokens", ADMIN),
    ("delete", "/v1/tokens/{id}", ADMIN),
    ("post", "/v1/enrol", Who::Invited),
    ("post", "/v1/enrol/program", Who::Invited),
    ("post", "/v1/agent/renew", Who::Agent),
    ("get", "/v1/agent/stream", Who::Agent),
    ("get", "/v1/agent/programs/{hash}/{number}", Who::Agent),
    ("post", "/v1/agent/commands/{id}/manifest", Who::Agent),
    ("post", "/v1/agent/commands/{id}/contents", Who::Agent),
    ("post", "/v1/agent/commands/{id}/fetch", Who::Agent),
];

/// A path with names of nothing in it.
fn filled(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "nothing9".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// The document and the router are made from one table of the server: this one has the same calls.
#[test]
fn every_call_has_its_line() {
    let document = openapi();
    let mut served = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        served.extend(methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    let mut listed: Vec<(String, String)> = CALLS.iter().map(|(m, p, _)| ((*m).to_owned(), (*p).to_owned())).collect();
    served.sort();
    listed.sort();
    assert_eq!(served, listed, "what is served, and CALLS of this test");
}

#[test]
fn who_is_nobody_may_nothing() {
    run(async |world| {
        let (other, revoked) = (world.invitation("web9", DAY).await, world.token(Role::Admin, DAY).await);
        let id = world.control().token_by_hash(&hash_of_secret(&revoked)).await.unwrap().unwrap().id;
        assert!(world.control().revoke_token(&id, world.now()).await.unwrap());
        let expired = world.token(Role::Admin, -1).await;
        let good = world.token(Role::Admin, DAY).await;
        // As a token of another system is here.
        let foreign = greenroom_server::new_token("root", Role::Admin, world.now() + DAY).unwrap().1;
        let agent = world.enrol("web1").await;
        let (stranger, known) = (world.client(None), world.client(Some(&agent)));
        let headers = [
            None,
            Some(String::new()),
            Some("Bearer".to_owned()),
            Some("Bearer ".to_owned()),
            Some("Bearer gr_".to_owned()),
            Some(format!("Bearer {expired}")),
            Some(format!("Bearer {revoked}")),
            Some(format!("Bearer {foreign}")),
            Some(format!("Bearer {other}")),
            // What is kept of a token is none.
            Some(format!("Bearer {}", hash_of_secret(&good))),
            Some(format!("Bearer {}x", good)),
            Some(format!("Bearer {}", &good[..good.len() - 1])),
            Some(format!("Basic {good}")),
            Some(good.clone()),
        ];
        for (method, path, who) in CALLS {
            for header in &headers {
                let shown: Vec<(&str, &str)> = header.iter().map(|value| ("authorization", value.as_str())).collect();
                let answer = stranger.ask(&method.to_uppercase(), &filled(path), &shown, "{}").await;
                let expected = if *who == Who::Invited { 400 } else { refusal(path) };
                assert_eq!(answer.status, expected, "{method} {path} with {header:?}: {}", answer.body);
            }
            // A host's certificate is no person, and a person's token is no host.
            let answer = known.ask(&method.to_uppercase(), &filled(path), &[], "{}").await;
            match who {
                Who::Person(_) => assert_eq!(answer.status, 401, "{method} {path} as a host: {}", answer.body),
                Who::Agent | Who::Invited => assert_ne!(answer.status, 401, "{method} {path} as a host"),
            }
            if *who == Who::Agent {
                let answer = stranger.with(&good, &method.to_uppercase(), &filled(path), "{}").await;
                assert_eq!(answer.status, refusal(path), "{method} {path} as a person: {}", answer.body);
            }
        }
    });
}

/// What who may not call hears. The stream is no request that these clients make rightly: that is said first.
fn refusal(path: &str) -> u16 {
    if path == "/v1/agent/stream" { 400 } else { 401 }
}

#[test]
fn each_role_may_what_it_may_and_no_more() {
    run(async |world| {
        let client = world.client(None);
        for role in Role::ALL {
            let token = world.token(role, DAY).await;
            for (method, path, who) in CALLS {
                let Who::Person(least) = who else { continue };
                let answer = client.with(&token, &method.to_uppercase(), &filled(path), "{}").await;
                if role < *least {
                    assert_eq!(answer.status, 403, "{role}: {method} {path}: {}", answer.body);
                    assert!(answer.body.contains(least.as_str()), "{}", answer.body);
                } else {
                    assert!(
                        [200, 400, 404].contains(&answer.status),
                        "{role}: {method} {path}: {} {}",
                        answer.status,
                        answer.body
                    );
                }
            }
        }
    });
}

#[test]
fn what_is_run_on_a_host_is_on_the_list_and_what_changes_it_takes_an_operator() {
    run(async |world| {
        let client = world.client(None);
        let (viewer, developer) = (world.token(Role::Viewer, DAY).await, world.token(Role::Developer, DAY).await);
        let operator = world.token(Role::Operator, DAY).await;
        let run = async |token: &str, argv: &[&str]| {
            let body = serde_json::json!({ "argv": argv }).to_string();
            client.with(token, "POST", "/v1/hosts/nothing9/run", &body).await
        };
        for argv in [["undo", "c1"], ["gc", "--dry-run"], ["recover", "--json"]] {
            assert_eq!(run(&viewer, &argv).await.status, 403, "{argv:?}");
            assert_eq!(run(&developer, &argv).await.status, 403, "{argv:?}");
            // There is no such host: it was let through.
            assert!(run(&operator, &argv).await.body.contains("there is no host"), "{argv:?}");
        }
        assert!(run(&viewer, &["status", "--json"]).await.body.contains("there is no host"));
        for argv in [&["hotfix"][..], &["status", "--on", "all"], &["diff", "this", "/etc/shadow"], &[]] {
            let answer = run(&operator, argv).await;
            assert_eq!(answer.status, 400, "{argv:?}");
            assert!(!answer.body.contains("there is no host"), "{argv:?}: {}", answer.body);
        }
    });
}

#[test]
fn secrets_are_hashes_at_rest_and_nowhere_else() {
    run(async |world| {
        let admin = world.token(Role::Admin, DAY).await;
        let client = world.client(None);
        let made = client.with(&admin, "POST", "/v1/tokens", r#"{"name": "anna", "role": "viewer"}"#).await;
        let made: api::MadeToken = serde_json::from_str(&made.body).unwrap();
        let invited = client.with(&admin, "POST", "/v1/enrolments", r#"{"host": "web1"}"#).await;
        let invited: api::Invitation = serde_json::from_str(&invited.body).unwrap();
        let wanted = greenroom_net::tls::request("web1").unwrap();
        let body = serde_json::json!({ "token": invited.token, "request": wanted.request }).to_string();
        assert_eq!(client.ask("POST", "/v1/enrol", &[], &body).await.status, 200);
        assert_eq!(client.with(&made.token.0, "GET", "/v1/hosts", "").await.status, 200);
        // In what people are told, at rest, and in what is printed of the bodies.
        for path in ["/v1/log", "/v1/tokens", "/v1/hosts"] {
            none_of(&[&admin, &made.token.0, &invited.token.0], &client.with(&admin, "GET", path, "").await.body, path);
        }
        let shown = format!("{made:?} {invited:?} {:?}", serde_json::from_str::<api::Enrol>(&body).unwrap());
        none_of(&[&made.token.0, &invited.token.0], &shown, "Debug");
        at_rest(&world, &[&admin, &made.token.0, &invited.token.0]);
    });
}

fn none_of(secrets: &[&String], text: &str, place: &str) {
    for secret in secrets {
        assert!(!text.contains(secret.as_str()) && !text.contains(&secret["gr_".len()..]), "a secret is in {place}");
    }
}

fn at_rest(world: &World, secrets: &[&String]) {
    let mut all = Vec::new();
    let mut dirs = vec![world.dir.path().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else {
                all.extend(std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let text = String::from_utf8_lossy(&all);
    none_of(secrets, &text, "a file");
    // That it was looked for where it would be: the hash is there.
    for secret in secrets {
        assert!(text.contains(&hash_of_secret(secret)), "no hash is at rest");
    }
}
