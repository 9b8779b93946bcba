//! Hosts: how they are let in, and that each speaks for itself alone.

use greenroom_core::api::Enrolled;
use greenroom_core::wire::PROTOCOL;
use greenroom_net::tls::{self, Authority};
use greenroom_server::hash_of_secret;
use greenroom_store::control::{CommandState, NewCommand, Role, Standing};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use crate::world::{Answer, Client, DAY, World, hear, run, say, short, with};

const UPGRADE: &str = "GET /v1/agent/stream HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn enrol(client: &Client, secret: &str, request: &str) -> Answer {
    client.ask("POST", "/v1/enrol", &[], &json!({ "token": secret, "request": request }).to_string()).await
}

fn fingerprint(pem: &str) -> String {
    tls::fingerprint(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
}

#[test]
fn no_certificate_but_a_good_one_opens_the_stream() {
    with(short(), async |world| {
        let good = world.enrol("web1").await;
        let other = Authority::create("test", world.now() / 1000).unwrap();
        // Of our authority, but nobody gave it out.
        let (unknown, _) = world.forged(&world.authority, "web1", 3600);
        // On record, and its time is over: for TLS, or only for the record.
        let (expired, print) = world.forged(&world.authority, "web1", -3600);
        world.control().add_certificate("web1", &print, world.now() + DAY).await.unwrap();
        let (over, print) = world.forged(&world.authority, "web1", 3600);
        world.control().add_certificate("web1", &print, world.now() - 1).await.unwrap();
        let (revoked, print) = world.forged(&world.authority, "web1", 3600);
        world.control().add_certificate("web1", &print, world.now() + DAY).await.unwrap();
        assert!(world.control().revoke_certificate(&print, world.now()).await.unwrap());
        // The server's own kind of certificate is no client's.
        let server = world.authority.server(&["web1".to_owned()], world.now() / 1000, 3600).unwrap();
        for (what, identity, status) in [
            ("none", None, 401),
            ("unknown", Some(unknown), 401),
            ("over on record", Some(over), 401),
            ("revoked", Some(revoked), 401),
            ("expired", Some(expired), 401),
            // These don't get through TLS.
            ("of another authority", Some(world.forged(&other, "web1", 3600).0), 0),
            ("of another authority, and expired", Some(world.forged(&other, "web1", -3600).0), 0),
            ("a server's", Some(server), 0),
        ] {
            let client = world.client(identity.as_ref());
            let answer = client.raw(UPGRADE.as_bytes()).await;
            assert_eq!(answer.status, status, "{what}: {}", answer.body);
            let renewal = json!({ "request": tls::request("web1").unwrap().request }).to_string();
            let answer = client.ask("POST", "/v1/agent/renew", &[], &renewal).await;
            assert_eq!(answer.status, status, "{what}: {}", answer.body);
            if let Some(identity) = &identity {
                assert!(world.stream(identity).await.is_err(), "{what}");
            }
        }
        world.agent(&good).await;
    });
}

#[test]
fn the_program_is_for_whoever_is_invited_and_for_its_kind_of_processor() {
    run(async |world| {
        let client = world.client(None);
        let get = async |secret: &str, machine: &str| {
            client
                .ask("POST", "/v1/enrol/program", &[], &json!({ "token": secret, "machine": machine }).to_string())
                .await
        };
        let (secret, late) = (world.invitation("web1", DAY).await, world.invitation("web1", -1).await);
        for refused in ["", &hash_of_secret(&secret), &late] {
            assert_eq!(get(refused, std::env::consts::ARCH).await.status, 403, "{refused}");
        }
        let other = get(&secret, "s390x").await;
        assert!(other.status == 400 && other.body.contains("not for s390x"), "{}", other.body);
        // It does not use the invitation up; that does.
        let wanted = tls::request("whatever it says").unwrap();
        assert_eq!(enrol(&client, &secret, &wanted.request).await.status, 200);
        assert_eq!(get(&secret, std::env::consts::ARCH).await.status, 403);
    });
}

#[test]
fn an_invitation_lets_one_host_in_once() {
    run(async |world| {
        let client = world.client(None);
        let wanted = tls::request("whatever it says").unwrap();
        let secret = world.invitation("web1", DAY).await;
        // What is no request does not use it up; nor does one that somebody else's key would have to sign.
        for request in ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "\0"] {
            assert_eq!(enrol(&client, &secret, request).await.status, 400, "{request:?}");
        }
        let forged = wanted.request.replacen('M', "N", 3);
        assert_eq!(enrol(&client, &secret, &forged).await.status, 400);
        // Two at the same moment: one of them.
        let (one, two) =
            tokio::join!(enrol(&client, &secret, &wanted.request), enrol(&client, &secret, &wanted.request));
        let mut both = [one.status, two.status];
        both.sort_unstable();
        assert_eq!(both, [200, 403], "{} {}", one.body, two.body);
        let made: Enrolled = serde_json::from_str(if one.status == 200 { &one.body } else { &two.body }).unwrap();
        // Its name is the invitation's.
        assert_eq!(made.host, "web1");
        let standing = world.control().standing(&fingerprint(&made.certificate), world.now()).await.unwrap();
        assert_eq!(standing, Standing::Good("web1".to_owned()));
        let replayed = enrol(&client, &secret, &wanted.request).await;
        assert!(replayed.status == 403 && replayed.body.contains("used before"), "{}", replayed.body);
        let late = world.invitation("web1", -1).await;
        let late = enrol(&client, &late, &wanted.request).await;
        assert!(late.status == 403 && late.body.contains("too old"), "{}", late.body);
        let never = enrol(&client, &hash_of_secret(&secret), &wanted.request).await;
        assert!(never.status == 403 && never.body.contains("not known"), "{}", never.body);
    });
}

#[test]
fn whoever_had_the_name_before_is_out() {
    run(async |world| {
        let before = world.enrol("web1").await;
        let mut stream = world.agent(&before).await;
        let other = world.enrol("web2").await;
        let after = world.enrol("web1").await;
        assert!(hear(&mut stream).await.is_err(), "its stream is over");
        assert!(world.stream(&before).await.is_err());
        world.agent(&after).await;
        world.agent(&other).await;
    });
}

#[test]
fn a_host_gets_a_certificate_for_itself_and_no_other() {
    run(async |world| {
        let (web1, web2) = (world.enrol("web1").await, world.enrol("web2").await);
        let wanted = tls::request("web1").unwrap();
        let body = json!({ "request": wanted.request, "host": "web1" }).to_string();
        let answer = world.client(Some(&web2)).ask("POST", "/v1/agent/renew", &[], &body).await;
        let made: Enrolled = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(made.host, "web2");
        let standing = world.control().standing(&fingerprint(&made.certificate), world.now()).await.unwrap();
        assert_eq!(standing, Standing::Good("web2".to_owned()));
        // The old one is good until its end: the new one may have been lost on its way.
        world.agent(&web2).await;
        world.agent(&web1).await;
    });
}

#[test]
fn who_is_shut_out_is_out_at_once() {
    run(async |world| {
        let admin = world.token(Role::Admin, DAY).await;
        let (web1, web2) = (world.enrol("web1").await, world.enrol("web2").await);
        let (mut out, _stays) = (world.agent(&web1).await, world.agent(&web2).await);
        let answer = world.client(None).with(&admin, "DELETE", "/v1/hosts/web1", "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(hear(&mut out).await.is_err());
        assert!(world.stream(&web1).await.is_err());
        let renewal = json!({ "request": tls::request("web1").unwrap().request }).to_string();
        assert_eq!(world.client(Some(&web1)).ask("POST", "/v1/agent/renew", &[], &renewal).await.status, 401);
        assert!(world.control().agent("web2").await.unwrap().unwrap().holder.is_some());
    });
}

#[test]
fn an_order_in_a_stream_that_its_host_has_left_is_still_to_be_sent() {
    run(async |world| {
        let (web1, web2) = (world.enrol("web1").await, world.enrol("web2").await);
        let (mut left, mut stays) = (world.agent(&web1).await, world.agent(&web2).await);
        // web1 comes in touch with another control plane; here its stream is like one whose packets vanish.
        world.control().hold_agent("web1", "another", ("0.9", PROTOCOL), world.now()).await.unwrap().unwrap();
        for (id, host, stream) in [("x1.web1", "web1", &mut left), ("x1.web2", "web2", &mut stays)] {
            let command = json!({ "id": id, "person": "anna", "verb": { "verb": "run", "argv": ["status"] } });
            let new = NewCommand { id: id.to_owned(), host: host.to_owned(), fence: 0, body: command.to_string() };
            world.control().enqueue(&[new], None, world.now()).await.unwrap();
            assert_eq!(hear(stream).await.unwrap()["id"], id);
        }
        while world.control().command("x1.web2").await.unwrap().unwrap().state != CommandState::Sent {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.control().command("x1.web1").await.unwrap().unwrap().state, CommandState::Queued);
    });
}

/// Everything that web2 could say of what is web1's.
fn lies(id: &str) -> Vec<serde_json::Value> {
    let ran = json!({ "answer": "ran", "code": 0, "stdout": "", "stderr": "" });
    vec![
        json!({ "say": "begun", "id": id }),
        json!({ "say": "progress", "id": id, "note": "all is well" }),
        json!({ "say": "done", "id": id, "answer": ran }),
    ]
}

/// How a host is where nothing is the matter.
fn quiet() -> serde_json::Value {
    json!({
        "looked_at": "2026-11-28T10:00:00Z", "baseline_at": null, "paths": 0, "beyond_files": 0, "latest": [], "not_known": 0,
        "watch": true, "under_way": null, "failed": [], "failed_units": 0
    })
}

#[test]
fn a_host_answers_for_itself_alone() {
    run(async |world| {
        let (web1, web2) = (world.enrol("web1").await, world.enrol("web2").await);
        for (id, host) in [("x1.web1", "web1"), ("r1.web1", "web1"), ("c1-commit.web1", "web1"), ("x2.web2", "web2")] {
            let command = json!({ "id": id, "person": "anna", "verb": { "verb": "run", "argv": ["status"] } });
            let new = NewCommand { id: id.to_owned(), host: host.to_owned(), fence: 0, body: command.to_string() };
            world.control().enqueue(&[new], None, world.now()).await.unwrap();
        }
        let mut liar = world.agent(&web2).await;
        let sent = hear(&mut liar).await.unwrap();
        assert_eq!(sent["id"], "x2.web2", "it is sent what is its own: {sent}");
        let others = ["x1.web1", "r1.web1", "c1-commit.web1", "nothing", "", "../x", "r1.web2", "c1.web2", "@c1"];
        for lie in others.iter().flat_map(|id| lies(id)) {
            say(&mut liar, lie).await;
        }
        say(&mut liar, json!({ "say": "status", "status": quiet() })).await;
        let entry = json!({ "host": "web1" });
        say(&mut liar, json!({ "say": "report", "seq": 1, "kind": "apply", "entry": entry })).await;
        // What was said before is heard when this is.
        let mut replies = Vec::new();
        while replies.last().is_none_or(|reply: &serde_json::Value| reply["say"] != "reported") {
            replies.push(hear(&mut liar).await.unwrap());
        }
        assert_eq!(replies.last().unwrap()["upto"], 1);
        for id in ["x1.web1", "r1.web1", "c1-commit.web1"] {
            let command = world.control().command(id).await.unwrap().unwrap();
            assert_eq!((command.result, command.progress), (None, None), "{id}");
        }
        for subject in ["x1", "r1", "c1", "c1-commit", "@c1", "nothing", ""] {
            let told = world.control().events_of(subject, 0, 100).await.unwrap();
            assert!(told.is_empty(), "{subject}: {told:?}");
        }
        assert!(world.control().reports_of("web1", 0, 9).await.unwrap().is_empty());
        assert_eq!(world.control().reports_of("web2", 0, 9).await.unwrap().len(), 1);
        assert_eq!(world.control().agent("web1").await.unwrap().unwrap().status, "{}");
        // The truth is heard after all the lies.
        let mut honest = world.agent(&web1).await;
        for lie in lies("x1.web1") {
            say(&mut honest, lie).await;
        }
        while hear(&mut honest).await.unwrap()["say"] != "recorded" {}
        assert!(world.control().command("x1.web1").await.unwrap().unwrap().result.is_some());
        assert_eq!(world.control().events_of("x1", 0, 9).await.unwrap().len(), 1);
    });
}

/// A frame of a client (RFC 6455, section 5.2), its length as said.
fn frame(first: u8, said: u64, mask: bool, payload: &[u8]) -> Vec<u8> {
    let masked = if mask { 0x80 } else { 0 };
    let mut out = vec![first, masked | 127];
    out.extend_from_slice(&said.to_be_bytes());
    if mask {
        // A mask of zeroes leaves the payload as it is.
        out.extend_from_slice(&[0; 4]);
    }
    out.extend_from_slice(payload);
    out
}

fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload.len() as u64, true, payload.as_bytes())
}

const HELLO: &str = r#"{"say": "hello", "protocol": 1, "version": "0"}"#;

#[test]
fn what_is_no_message_ends_the_stream() {
    run(async |world: World| {
        let identity = world.enrol("web1").await;
        let client = world.client(Some(&identity));
        let deep = "[".repeat(100_000);
        let big = format!(r#"{{"say": "status", "status": "{}"}}"#, "x".repeat(2 << 20));
        let seq = r#"{"say": "report", "seq": -1, "kind": "x", "entry": {}}"#;
        for (what, frames) in [
            ("no frame", b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
            ("a request", UPGRADE.as_bytes().to_vec()),
            ("not masked", frame(0x81, 2, false, b"{}")),
            ("reserved bits", frame(0xf1, 2, true, b"{}")),
            ("an unknown kind", frame(0x83, 2, true, b"{}")),
            ("a binary message", frame(0x82, 2, true, b"{}")),
            ("a piece of nothing", frame(0x80, 2, true, b"{}")),
            ("a large ping", frame(0x89, 126, true, &[0; 126])),
            ("a large message", frame(0x81, 1 << 40, true, b"{}")),
            ("more than there can be", frame(0x81, u64::MAX, true, b"{}")),
            ("no UTF-8", frame(0x81, 2, true, b"\xff\xfe")),
            ("no JSON", text("{")),
            ("no message", text("{}")),
            ("what only the other says", text(r#"{"say": "welcome", "host": "web1", "reported": 0}"#)),
            ("much too deep", text(&deep)),
            ("no hello first", text(r#"{"say": "begun", "id": "x1.web1"}"#)),
            ("another language", text(r#"{"say": "hello", "protocol": 99, "version": "0"}"#)),
            ("hello twice", [text(HELLO), text(HELLO)].concat()),
            ("a large status", [text(HELLO), text(&big)].concat()),
            ("a number below zero", [text(HELLO), text(seq)].concat()),
        ] {
            // It is closed by the other end: that ends this.
            let answer = client.raw(&[UPGRADE.as_bytes(), &frames].concat()).await;
            assert_eq!(answer.status, 101, "{what}: {}", answer.body);
        }
        world.agent(&identity).await;
    });
}
