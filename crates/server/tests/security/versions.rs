//! Agents of other versions than the control plane: an older one is told what it knows, a newer one is not served.

use greenroom_core::ContentHash;
use greenroom_core::api::{HeldAt, NewRehearsal};
use greenroom_core::wire::{Command, ImageOf, OLDEST, PROTOCOL, Rehearse, Stage, Verb};
use greenroom_net::client::Stream;
use greenroom_store::control::{NewCommand, Role};
use serde_json::json;

use crate::world::{DAY, World, hear, run, say};

fn rehearsal(stage: &str) -> String {
    let rehearse = Rehearse { argv: vec!["true".to_owned()], ..Rehearse::default() };
    let held = HeldAt::Stage(Some(stage.to_owned()));
    serde_json::to_string(&NewRehearsal { on: vec!["web1".to_owned()], rehearse, held }).unwrap()
}

#[test]
fn nothing_begins_that_an_older_agent_does_not_know() {
    run(async |world| {
        let person = world.token(Role::Operator, DAY).await;
        let (web1, stage1) = (world.enrol("web1").await, world.enrol("stage1").await);
        for (web, stage, said) in [
            (PROTOCOL, 1, Some(("stage1", "rehearse for other hosts"))),
            (1, PROTOCOL, Some(("web1", "apply what was rehearsed on a stage"))),
            (PROTOCOL, PROTOCOL, None),
        ] {
            let (_web1, _stage1) = (world.agent_of(&web1, web).await, world.agent_of(&stage1, stage).await);
            let answer = world.client(None).with(&person, "POST", "/v1/rehearsals", &rehearsal("stage1")).await;
            let begun = world.control().command("g1.web1").await.unwrap();
            let Some((host, cannot)) = said else {
                assert!(answer.status == 200 && begun.is_some(), "{}", answer.body);
                continue;
            };
            assert_eq!((answer.status, begun), (409, None), "{}", answer.body);
            let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(problem["error"], format!("{host}'s agent is of version 0.9 and cannot {cannot}"));
            assert_eq!(problem["hints"], json!([format!("greenroom agent upgrade --on {host}")]));
        }
    });
}

/// Puts commands into the mailbox of stage1: two that an agent of the first version does not know, or nobody does, and one that
/// all do.
async fn fill(world: &World, round: u32) -> [String; 3] {
    let stage = Stage {
        of: "web1".to_owned(),
        image: "g1".to_owned(),
        manifest: ContentHash::of(b""),
        system: ImageOf::default(),
        rehearse: Rehearse::default(),
        keep: Vec::new(),
    };
    let ids = [format!("r{round}.web1.stage1"), format!("y{round}.stage1"), format!("x{round}.stage1")];
    let text = |id: &String, verb| {
        let command = Command { id: id.clone(), fence: 0, person: "anna".to_owned(), verb };
        serde_json::to_string(&command).unwrap()
    };
    let run = Verb::Run { argv: vec!["status".to_owned()] };
    let bodies = [
        text(&ids[0], Verb::Stage(Box::new(stage))),
        json!({ "id": ids[1], "person": "anna", "verb": { "verb": "fly" } }).to_string(),
        text(&ids[2], run),
    ];
    let new = |(id, body): (&String, String)| NewCommand { id: id.clone(), host: "stage1".to_owned(), fence: 0, body };
    let commands: Vec<NewCommand> = ids.iter().zip(bodies).map(new).collect();
    world.control().enqueue(&commands, None, world.now()).await.unwrap();
    ids
}

/// What an agent is told until it is told this; it may be told something twice.
async fn told(stream: &mut Stream, until: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    while out.last().is_none_or(|last| last != until) {
        out.push(hear(stream).await.unwrap()["id"].as_str().unwrap().to_owned());
    }
    out
}

#[test]
fn what_an_older_agent_does_not_know_is_answered_in_its_place() {
    run(async |world| {
        let identity = world.enrol("stage1").await;
        // What is there when it connects, and what comes then.
        let before = fill(&world, 1).await;
        let mut stream = world.agent_of(&identity, 1).await;
        let mut all = told(&mut stream, &before[2]).await;
        let after = fill(&world, 2).await;
        all.extend(told(&mut stream, &after[2]).await);
        assert!(all.iter().all(|id| id.starts_with('x')), "{all:?}");
        for [stage, fly, known] in [before, after] {
            for (id, said, hint) in [
                (
                    stage,
                    "stage1's agent is of version 0.9 and cannot rehearse for other hosts",
                    "greenroom agent upgrade --on",
                ),
                (fly, "the control plane that stage1 is connected to does not know", "upgrade both"),
            ] {
                let result = world.control().command(&id).await.unwrap().unwrap().result.expect("it has its answer");
                let answer: serde_json::Value = serde_json::from_str(&result).unwrap();
                assert_eq!((&answer["answer"], &answer["class"]), (&"failed".into(), &"refused".into()));
                assert!(result.contains(said) && result.contains(hint), "{result}");
            }
            assert_eq!(world.control().command(&known).await.unwrap().unwrap().result, None);
        }
        // One that knows it is told; what nobody knows nobody is told.
        let mut stream = world.agent_of(&identity, PROTOCOL).await;
        let last = fill(&world, 3).await;
        let all = told(&mut stream, &last[2]).await;
        assert!(all.contains(&last[0]) && all.iter().all(|id| !id.starts_with('y')), "{all:?}");
    });
}

#[test]
fn a_control_plane_serves_no_agent_that_it_does_not_understand() {
    run(async |world| {
        let identity = world.enrol("web1").await;
        for (protocol, hint) in [(PROTOCOL + 1, "upgrade the control plane first"), (OLDEST - 1, "`greenroom join`")] {
            let (mut stream, heard) = world.hello(&identity, protocol).await;
            let why = heard["why"].as_str().unwrap();
            assert!(heard["say"] == "goodbye" && why.contains("of version 0.9") && why.contains(hint), "{why}");
            assert!(hear(&mut stream).await.is_err());
        }
        for protocol in OLDEST..=PROTOCOL {
            world.agent_of(&identity, protocol).await;
            assert_eq!(world.control().agent("web1").await.unwrap().unwrap().protocol, Some(protocol));
        }
    });
}

/// What is known of each host, by name.
async fn hosts(world: &World, person: &str) -> serde_json::Value {
    let answer = world.client(None).with(person, "GET", "/v1/hosts", "").await;
    let hosts: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let of = |host: &serde_json::Value| (host["host"].as_str().unwrap().to_owned(), host.clone());
    hosts["hosts"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn why_an_agent_is_not_served_is_known_of_its_host_alone_until_it_is_served() {
    run(async |world| {
        let person = world.token(Role::Admin, DAY).await;
        let (web1, web2) = (world.enrol("web1").await, world.enrol("web2").await);
        let _in_touch = world.agent(&web2).await;
        let refusal = async |host: &str| hosts(&world, &person).await[host]["refusal"].clone();
        // What was said to it, and not more than a bounded, harmless piece of what it said.
        for (protocol, hint) in [(PROTOCOL + 1, "upgrade the control plane first"), (0, "`greenroom join`")] {
            let (_stream, heard) = world.hello(&web1, protocol).await;
            let noted = refusal("web1").await;
            assert_eq!((&noted["version"], &noted["protocol"]), (&"0.9".into(), &protocol.into()), "{noted}");
            assert!((world.now() - 60_000..=world.now()).contains(&noted["at"].as_i64().unwrap()), "{noted}");
            let (why, what) = (noted["why"].as_str().unwrap(), noted["hint"].as_str().unwrap());
            assert!(what.contains(hint) && heard["why"] == format!("{why}: {what}"), "{noted}");
        }
        let mut rude = world.stream(&web1).await.unwrap();
        say(&mut rude, json!({ "say": format!("\x1b[2J\n{}", "x".repeat(1 << 20)), "host": "web2" })).await;
        assert_eq!(hear(&mut rude).await.unwrap()["say"], "goodbye");
        let noted = refusal("web1").await;
        let why = noted["why"].as_str().unwrap();
        assert!(why.contains("no message") && why.len() < 1000 && !why.contains(char::is_control), "{why}");
        assert!(noted["version"].is_null() && noted["protocol"].is_null(), "{noted}");
        // No other host has anything to do with it.
        let others = &hosts(&world, &person).await["web2"];
        assert!(others["refusal"].is_null() && others["in_touch"] == true, "{others}");
        // It is served: nothing is left. What it does wrong then ends its stream, and is known.
        let mut stream = world.agent(&web1).await;
        assert!(refusal("web1").await.is_null());
        say(&mut stream, json!({ "say": "hello", "protocol": PROTOCOL, "version": "0.9" })).await;
        assert_eq!(hear(&mut stream).await.unwrap()["say"], "goodbye");
        let known = &hosts(&world, &person).await["web1"];
        assert!(known["in_touch"] == false, "{known}");
        assert_eq!(
            (&known["refusal"]["why"], &known["refusal"]["version"]),
            (&"it said hello twice".into(), &"0.9".into())
        );
        // Who has the name now is not spoken for by who had it before.
        let after = world.enrol("web1").await;
        assert!(world.stream(&web1).await.is_err() && refusal("web1").await.is_null());
        let _in_touch = world.agent(&after).await;
        assert!(world.stream(&web1).await.is_err());
        let known = &hosts(&world, &person).await["web1"];
        assert!(known["in_touch"] == true && known["refusal"].is_null(), "{known}");
        // One that was away for longer than its certificate lasts.
        let (late, print) = world.forged(&world.authority, "web3", -3600);
        world.control().add_certificate("web3", &print, world.now() - 3_600_000).await.unwrap();
        assert!(world.stream(&late).await.is_err());
        assert_eq!(refusal("web3").await["why"], "the certificate has expired");
        // One that was shut out and comes all the same.
        world.client(None).with(&person, "DELETE", "/v1/hosts/web1", "").await;
        assert!(world.stream(&after).await.is_err());
        assert_eq!(refusal("web1").await["why"], "the certificate was revoked");
    });
}
