//! Certificates, streams, mailboxes and reports of hosts.

use greenroom_store::control::{
    Command, CommandState, Control, ControlError, NewCommand, NewReport, Outcome, Standing, Underway,
};

use super::{Home, timed};

pub(super) async fn certificates(control: &Control) {
    assert_eq!(control.standing("a", 1).await.unwrap(), Standing::Unknown);
    control.add_certificate("cert1", "a", 100).await.unwrap();
    // A renewed one is good beside the old one.
    control.add_certificate("cert1", "b", 200).await.unwrap();
    let good = Standing::Good("cert1".into());
    for (fingerprint, now, standing) in
        [("a", 99, &good), ("a", 100, &Standing::Expired), ("b", 100, &good), ("b", 200, &Standing::Expired)]
    {
        assert_eq!(control.standing(fingerprint, now).await.unwrap(), *standing, "{fingerprint} {now}");
    }
    // Nobody gets another one's.
    assert!(matches!(control.add_certificate("cert2", "a", 900).await, Err(ControlError::Exists { .. })));
    assert_eq!(control.agent("cert2").await.unwrap(), None);
    assert!(control.revoke_certificate("a", 50).await.unwrap());
    assert_eq!(control.standing("a", 60).await.unwrap(), Standing::Revoked);
    assert_eq!(control.standing("b", 60).await.unwrap(), good);

    assert!(control.revoke_agent("cert1", 70).await.unwrap());
    assert!(!control.revoke_agent("cert1", 71).await.unwrap());
    assert!(!control.revoke_agent("nobody", 71).await.unwrap());
    assert_eq!(control.standing("b", 80).await.unwrap(), Standing::Revoked);
    assert_eq!(control.hold_agent("cert1", "plane", ("1", 1), 80).await.unwrap(), None);
    // Enrolled anew, with its old certificates still no good.
    control.add_certificate("cert1", "c", 300).await.unwrap();
    let standings: Vec<_> = control.certificates("cert1").await.unwrap();
    let seen: Vec<_> = standings.iter().map(|c| (c.fingerprint.as_str(), c.revoked)).collect();
    assert_eq!(seen, [("c", None), ("b", Some(70)), ("a", Some(50))]);
    assert_eq!(control.standing("c", 80).await.unwrap(), good);
    assert_eq!(control.standing("b", 80).await.unwrap(), Standing::Revoked);
}

pub(super) async fn streams(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    assert_eq!(one.hold_agent("stream1", "one", ("0.1", 1), 1).await.unwrap(), None);
    for host in ["stream1", "stream2"] {
        one.add_certificate(host, host, 100).await.unwrap();
    }
    let first = one.hold_agent("stream1", "one", ("0.1", 1), 1).await.unwrap().unwrap();
    assert!(one.set_agent_status("stream1", first, r#"{"drift":1}"#, 2).await.unwrap());
    let second = two.hold_agent("stream1", "two", ("0.2", 2), 3).await.unwrap().unwrap();
    assert!(second > first);
    // The stream before it is over: nothing that it brings counts.
    assert!(!one.set_agent_status("stream1", first, r#"{"drift":2}"#, 4).await.unwrap());
    assert!(!one.let_go_of_agent("stream1", first).await.unwrap());
    let other = one.hold_agent("stream2", "one", ("0.1", 1), 4).await.unwrap().unwrap();
    assert_eq!(one.agents_seen(&[("stream2", other), ("stream1", first)], 9).await.unwrap(), ["stream2"]);
    let agent = one.agent("stream1").await.unwrap().unwrap();
    assert_eq!((agent.holder.as_deref(), agent.epoch, agent.last_seen), (Some("two"), second, Some(3)));
    assert_eq!((agent.version.as_deref(), agent.protocol), (Some("0.2"), Some(2)));
    assert_eq!(agent.status, r#"{"drift":1}"#);
    assert!(two.let_go_of_agent("stream1", second).await.unwrap());
    assert!(!two.let_go_of_agent("stream1", second).await.unwrap());
    let all = one.agents().await.unwrap();
    let here: Vec<_> = all.iter().filter(|agent| agent.host.starts_with("stream")).collect();
    assert_eq!((here[0].holder.as_deref(), here[1].holder.as_deref()), (None, Some("one")));
    assert_eq!(here[1].last_seen, Some(9));
}

pub(super) async fn refusals(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    let noted = async || one.agent("box").await.unwrap().unwrap();
    let why = async || noted().await.refused.map(|refused| (refused.at, refused.why));
    assert!(!one.refuse_agent("good", None, "x", 1).await.unwrap(), "nobody knows it");
    for (host, fingerprint) in [("box", "before"), ("box", "good"), ("neighbour", "other")] {
        one.add_certificate(host, fingerprint, 1_000_000).await.unwrap();
    }
    one.revoke_certificate("before", 1).await.unwrap();
    // It is seen through the other handle, overwritten, and not written again for the same.
    assert!(two.refuse_agent("good", None, "newer", 5).await.unwrap());
    assert_eq!(why().await, Some((5, "newer".into())));
    assert!(!two.refuse_agent("good", None, "newer", 9_000).await.unwrap());
    assert!(two.refuse_agent("good", None, "older", 9_000).await.unwrap());
    assert!(one.refuse_agent("good", None, "older", 19_000).await.unwrap());
    // A clock that is behind is no reason to keep an old note.
    assert!(two.refuse_agent("good", None, "older", 2).await.unwrap());
    assert_eq!(why().await, Some((2, "older".into())));
    assert_eq!(one.agent("neighbour").await.unwrap().unwrap().refused, None);
    // Whoever takes the stream takes the note away. One that is not served after that has no stream any more.
    let first = one.hold_agent("box", "one", ("1", 1), 3).await.unwrap().unwrap();
    assert_eq!(why().await, None);
    assert!(two.refuse_agent("good", None, "older", 3).await.unwrap());
    assert_eq!((noted().await.holder, one.agents_seen(&[("box", first)], 4).await.unwrap()), (None, vec![]));
    // On a stream that is over nothing is said.
    let second = one.hold_agent("box", "one", ("1", 1), 3).await.unwrap().unwrap();
    assert!(!one.refuse_agent("good", Some(first), "rude", 4).await.unwrap());
    assert_eq!((why().await, noted().await.holder.as_deref()), (None, Some("one")));
    assert!(one.refuse_agent("good", Some(second), "rude", 4).await.unwrap());
    // A certificate from before says nothing of who has the name now; but of a host that has no other.
    assert!(!one.refuse_agent("before", None, "revoked", 5).await.unwrap());
    assert_eq!(why().await, Some((4, "rude".into())));
    assert!(one.revoke_agent("box", 6).await.unwrap());
    assert!(one.refuse_agent("before", None, "revoked", 7).await.unwrap());
    assert_eq!(why().await, Some((7, "revoked".into())));
    assert!(!one.refuse_agent("other", Some(9), "revoked", 7).await.unwrap());
    // Let in again it has a new beginning.
    one.add_certificate("box", "anew", 1_000_000).await.unwrap();
    assert_eq!(why().await, None);
    // A certificate whose time is over does not end a stream that goes on.
    one.hold_agent("neighbour", "one", ("1", 1), 8).await.unwrap().unwrap();
    assert!(!one.refuse_agent("other", None, "expired", 1_000_000).await.unwrap());
    assert_eq!(one.agent("neighbour").await.unwrap().unwrap().holder.as_deref(), Some("one"));
}

fn command(id: &str, host: &str) -> NewCommand {
    NewCommand { id: id.into(), host: host.into(), fence: 3, body: format!(r#"{{ "do": "{id}" }}"#) }
}

fn outcome(id: &str, host: &str, result: &str) -> Outcome {
    Outcome { id: id.into(), host: host.into(), result: result.into() }
}

fn ids(commands: &[Command]) -> Vec<&str> {
    commands.iter().map(|command| command.id.as_str()).collect()
}

pub(super) async fn commands(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    // The order is that of queueing, not that of names.
    let new = [command("z", "box1"), command("a", "box1"), command("m", "box2")];
    assert_eq!(one.enqueue(&new, None, 10).await.unwrap(), 3);
    assert_eq!(two.enqueue(&[command("a", "box1"), command("b", "box1")], None, 11).await.unwrap(), 1);
    assert_eq!(one.enqueue(&[], None, 11).await.unwrap(), 0);
    let due = two.commands_due("box1").await.unwrap();
    assert_eq!(ids(&due), ["z", "a", "b"]);
    assert_eq!((due[0].fence, due[0].body.as_str(), due[0].queued_at), (3, r#"{ "do": "z" }"#, 10));
    assert!(due.iter().all(|command| command.state == CommandState::Queued && command.sent_at.is_none()));

    let before = one.commands_changed_since(0, 1000).await.unwrap().last().unwrap().changed;
    one.add_certificate("box1", "box1", 1000).await.unwrap();
    let left = one.hold_agent("box1", "one", ("1", 1), 11).await.unwrap().unwrap();
    let stream = two.hold_agent("box1", "two", ("1", 1), 11).await.unwrap().unwrap();
    // What goes into a stream that the host has left is still to be sent.
    one.commands_sent(&[("z", left), ("m", left)], 12).await.unwrap();
    assert_eq!(ids(&two.commands_queued_since(0, 1000).await.unwrap()), ["z", "a", "m", "b"]);
    two.commands_sent(&[("z", stream), ("a", stream)], 12).await.unwrap();
    let said = [underway("box2", "z", r#"{"at":2}"#), underway("box1", "z", r#"{"at":1}"#)];
    assert_eq!(two.commands_running(&said).await.unwrap(), 1, "what another host says is not noted");
    // After a reconnect it is sent again, and is where it was.
    two.commands_sent(&[("z", stream)], 13).await.unwrap();
    let z = one.command("z").await.unwrap().unwrap();
    assert_eq!((z.state, z.sent_at, z.progress.as_deref()), (CommandState::Running, Some(13), Some(r#"{"at":1}"#)));

    // The first result stays, whoever says another one and however often; and it is its own host's to say.
    assert_eq!(one.complete(&[outcome("z", "box2", "stolen")], 14).await.unwrap(), 0);
    let twice = [outcome("z", "box1", "first"), outcome("z", "box1", "second"), outcome("nothing", "box1", "x")];
    assert_eq!(one.complete(&twice, 15).await.unwrap(), 1);
    assert_eq!(two.complete(&[outcome("z", "box1", "third")], 16).await.unwrap(), 0);
    assert_eq!(two.commands_running(&[underway("box1", "z", "{}")]).await.unwrap(), 0);
    two.commands_sent(&[("z", stream)], 17).await.unwrap();
    let z = two.command("z").await.unwrap().unwrap();
    assert_eq!((z.state, z.result.as_deref(), z.done_at), (CommandState::Done, Some("first"), Some(15)));
    assert_eq!(z.sent_at, Some(13));
    assert_eq!(ids(&two.commands_due("box1").await.unwrap()), ["a", "b"]);
    assert_eq!(ids(&one.open_commands().await.unwrap()), ["a", "m", "b"]);

    // Whoever polls sees each command that moved, once for each look.
    let moved = two.commands_changed_since(before, 1000).await.unwrap();
    assert_eq!(ids(&moved), ["a", "z"]);
    assert!(moved.is_sorted_by_key(|command| command.changed));
    assert_eq!(ids(&two.commands_changed_since(before, 1).await.unwrap()), ["a"]);
    assert!(two.commands_changed_since(moved[1].changed, 1000).await.unwrap().is_empty());

    assert_eq!(ids(&two.commands_queued_since(0, 1000).await.unwrap()), ["m", "b"], "what nobody sent");
    let results = two.results_of(&["a", "z", "nothing"]).await.unwrap();
    assert_eq!(
        results.iter().map(|done| (done.id.as_str(), done.result.as_str())).collect::<Vec<_>>(),
        [("z", "first")]
    );
    assert_eq!(two.results_since(before, "z", 9).await.unwrap(), results);
    assert!(two.results_since(before, "a", 9).await.unwrap().is_empty());
    assert_eq!(two.last_change().await.unwrap(), one.last_change().await.unwrap());
    assert!(two.results_since(two.last_change().await.unwrap(), "z", 9).await.unwrap().is_empty());

    assert_eq!(one.forget_commands(15).await.unwrap(), 0);
    assert_eq!(one.forget_commands(16).await.unwrap(), 1);
    assert_eq!(one.command("z").await.unwrap(), None);
    polling_misses_nothing(&one, &two).await;
}

fn underway(host: &str, id: &str, progress: &str) -> Underway {
    Underway { id: id.into(), host: host.into(), progress: progress.into() }
}

/// While many write, a reader that polls by number sees all.
async fn polling_misses_nothing(one: &Control, two: &Control) {
    let start = one.commands_changed_since(0, u32::MAX).await.unwrap().last().unwrap().changed;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let control = if writer % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move {
                for number in 0..10 {
                    let id = format!("polled {writer} {number}");
                    control.enqueue(&[command(&id, "polled")], None, 1).await.unwrap();
                }
            })
        })
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    let mut since = start;
    while seen.len() < 80 {
        // The last look comes after the last write has ended.
        let over = writers.iter().all(tokio::task::JoinHandle::is_finished);
        for command in two.commands_changed_since(since, 1000).await.unwrap() {
            since = command.changed;
            assert!(seen.insert(command.id), "seen twice");
        }
        assert!(!over || seen.len() == 80, "missed {}", 80 - seen.len());
    }
}

pub(super) async fn reports(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    let report = |seq: u64, text: &str| NewReport { seq, kind: "drift".into(), body: text.into() };
    assert_eq!(one.reported("teller").await.unwrap(), 0);
    assert_eq!(one.add_reports("teller", &[], 1).await.unwrap(), 0);
    // Out of order, through both, with things sent again: nothing is lost, doubled or replaced.
    assert_eq!(one.add_reports("teller", &[report(3, "c"), report(2, "b")], 1).await.unwrap(), 0);
    assert!(one.reports_of("teller", 0, 10).await.unwrap().is_empty());
    assert_eq!(two.add_reports("teller", &[report(1, "a"), report(2, "other"), report(6, "f")], 2).await.unwrap(), 3);
    let bodies = async |control: &Control, after, limit| -> Vec<String> {
        control.reports_of("teller", after, limit).await.unwrap().into_iter().map(|report| report.body).collect()
    };
    assert_eq!(bodies(&one, 0, 10).await, ["a", "b", "c"]);
    assert_eq!(bodies(&one, 1, 1).await, ["b"]);
    assert_eq!(one.add_reports("teller", &[report(5, "e"), report(4, "d"), report(4, "x")], 3).await.unwrap(), 6);
    assert_eq!(bodies(&two, 0, 10).await, ["a", "b", "c", "d", "e", "f"]);
    let (own, more) = ([report(1, "its own")], [report(7, "g"), report(9, "i")]);
    let many = std::collections::BTreeMap::from([("another", own.as_slice()), ("quiet", &[]), ("third", &more)]);
    let upto = one.add_reports_of(&many, 3).await.unwrap();
    assert_eq!(upto.into_iter().collect::<Vec<_>>(), [("another".into(), 1), ("quiet".into(), 0), ("third".into(), 0)]);
    let all = two.reports_since(0, 100).await.unwrap();
    let came: String = all.iter().filter(|report| report.host == "teller").map(|report| report.body.as_str()).collect();
    assert_eq!(came, "cbafed");
    assert!(two.reports_since(all.last().unwrap().place, 100).await.unwrap().is_empty());

    // What was forgotten stays told.
    assert_eq!(one.forget_reports(3).await.unwrap(), 4);
    assert_eq!(one.add_reports("teller", &[report(1, "again"), report(7, "g")], 9).await.unwrap(), 7);
    assert_eq!(bodies(&one, 0, 10).await, ["d", "e", "g"]);

    // The same stretch by many at once.
    let tries: Vec<_> = (0..6u64)
        .map(|number| {
            let control = if number % 2 == 0 { one.clone() } else { two.clone() };
            let stretch: Vec<_> = (1 + number * 5..=20 + number * 5).rev().map(|seq| report(seq, "s")).collect();
            tokio::spawn(async move { control.add_reports("busy", &stretch, 1).await.unwrap() })
        })
        .collect();
    for each in tries {
        each.await.unwrap();
    }
    assert_eq!(one.reported("busy").await.unwrap(), 45);
    let numbers: Vec<u64> = one.reports_of("busy", 0, 100).await.unwrap().iter().map(|report| report.seq).collect();
    assert_eq!(numbers, (1..=45).collect::<Vec<_>>());
}

/// A change to a thousand hosts, as far as it is here.
pub(super) async fn a_thousand(control: &Control) {
    let body = "x".repeat(4000);
    let new: Vec<_> = (0..1000)
        .map(|n| NewCommand { body: body.clone(), ..command(&format!("k{n}"), &format!("many{n}")) })
        .collect();
    let mut sent = Vec::new();
    for command in &new {
        control.add_certificate(&command.host, &command.host, 1000).await.unwrap();
        let epoch = control.hold_agent(&command.host, "plane", ("1", 1), 1).await.unwrap().unwrap();
        sent.push((command.id.as_str(), epoch));
    }
    let outcomes: Vec<_> = new.iter().map(|command| outcome(&command.id, &command.host, r#"{"ok":true}"#)).collect();
    assert_eq!(timed("queue 1,000 commands", control.enqueue(&new, None, 1)).await.unwrap(), 1000);
    timed("note that they were sent", control.commands_sent(&sent, 2)).await.unwrap();
    let due = async {
        for command in &new {
            assert_eq!(control.commands_due(&command.host).await.unwrap().len(), 1);
        }
    };
    timed("read 1,000 mailboxes", due).await;
    assert_eq!(timed("note 1,000 results", control.complete(&outcomes, 3)).await.unwrap(), 1000);
    let one_by_one = async {
        for number in 0..100 {
            let report = NewReport { seq: 1, kind: "k".into(), body: "{}".into() };
            control.add_reports(&format!("many{number}"), &[report], 1).await.unwrap();
        }
    };
    timed("keep 100 reports, one by one", one_by_one).await;
}
