//! Who drives a change; and locks, events and documents.

use greenroom_store::control::{Control, ControlError, Fence, Lease, NewCommand, Step};

use super::Home;

fn fenced<T: std::fmt::Debug>(outcome: Result<T, ControlError>) -> bool {
    match outcome {
        Err(ControlError::Fenced { .. }) => true,
        Ok(_) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// The lease of a saga as it is now.
async fn lease(control: &Control, saga: &str) -> Lease {
    control.open_leases().await.unwrap().into_iter().find(|lease| lease.saga == saga).unwrap()
}

pub(super) fn step(state: &str) -> Step<'_> {
    Step { state, ..Step::default() }
}

pub(super) async fn leases(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    let nothing = Lease { saga: "s1".into(), holder: None, until: 0, fence: 0 };
    assert_eq!(one.acquire(&nothing, "one", 0, 100).await.unwrap(), None);
    assert!(one.add_saga("s1", r#"{"step":0}"#, 0).await.unwrap());
    assert!(!two.add_saga("s1", r#"{"step":9}"#, 0).await.unwrap());
    let new = lease(&two, "s1").await;
    assert_eq!(new, nothing);
    let first = one.acquire(&new, "one", 0, 100).await.unwrap().unwrap();
    assert_eq!(two.acquire(&new, "two", 0, 100).await.unwrap(), None, "it is not as it was seen");
    let seen = lease(&two, "s1").await;
    assert_eq!((seen.holder.as_deref(), seen.until, seen.fence), (Some("one"), 100, first.number));
    one.renew(&first, 50, 100).await.unwrap();
    assert_eq!(two.acquire(&seen, "two", 99_999, 100).await.unwrap(), None, "it was renewed");
    one.write_saga(&first, step(r#"{"step":1}"#), 160).await.unwrap();
    let second = two.acquire(&lease(&two, "s1").await, "two", 170, 100).await.unwrap().unwrap();
    assert!(second.number > first.number);
    two.release(&second).await.unwrap();
    assert!(fenced(two.write_saga(&second, step("{}"), 171).await), "given back is given back");
    assert!(fenced(two.release(&second).await));
    assert_eq!(lease(&one, "s1").await.holder, None);
    let third = one.acquire(&lease(&one, "s1").await, "one", 171, 100).await.unwrap().unwrap();
    let last = lease(&one, "s1").await;
    one.finish_saga(&third, step(r#"{"step":"end"}"#), 180).await.unwrap();
    assert!(fenced(one.finish_saga(&third, step("{}"), 181).await));
    assert_eq!(two.acquire(&last, "two", 9999, 100).await.unwrap(), None);
    let saga = two.saga("s1").await.unwrap().unwrap();
    assert_eq!((saga.state.as_str(), saga.finished, saga.holder), (r#"{"step":"end"}"#, Some(180), None));
    assert!(one.open_sagas().await.unwrap().iter().all(|saga| saga.id != "s1"));
    assert!(one.open_leases().await.unwrap().iter().all(|lease| lease.saga != "s1"));
    assert_eq!(one.saga("nothing").await.unwrap(), None);
}

pub(super) async fn fences(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    one.add_saga("s2", "{}", 0).await.unwrap();
    // Of all who try at once, by both control planes, one gets it; round after round.
    let mut old: Option<Fence> = None;
    for round in 0..5i64 {
        let seen = lease(&one, "s2").await;
        let tries: Vec<_> = (0..8)
            .map(|number| {
                let control = if number % 2 == 0 { one.clone() } else { two.clone() };
                let seen = seen.clone();
                tokio::spawn(
                    async move { control.acquire(&seen, &format!("p{number}"), round * 100, 100).await.unwrap() },
                )
            })
            .collect();
        let mut got = Vec::new();
        for each in tries {
            got.extend(each.await.unwrap());
        }
        assert_eq!(got.len(), 1, "round {round}");
        let fence = got.remove(0);
        two.write_saga(&fence, step(&format!("{round}")), round).await.unwrap();
        if let Some(old) = old.replace(fence.clone()) {
            assert!(fence.number > old.number);
            // Whoever had it before can do nothing any more, by any way.
            let command = NewCommand { id: format!("late {round}"), host: "h".into(), fence: 1, body: "{}".into() };
            let late = std::slice::from_ref(&command);
            let told = Step { state: "late", commands: late, events: &["late"] };
            assert!(fenced(one.write_saga(&old, told, round).await));
            assert!(fenced(one.enqueue(late, Some(&old), round).await));
            assert!(fenced(one.renew(&old, 0, 1_000_000).await));
            assert!(fenced(one.release(&old).await));
            assert!(fenced(one.finish_saga(&old, told, round).await));
            assert_eq!(one.command(&command.id).await.unwrap(), None);
            assert_eq!(one.enqueue(late, Some(&fence), round).await.unwrap(), 1);
        }
        assert_eq!(one.saga("s2").await.unwrap().unwrap().state, format!("{round}"));
    }
    // A step is its state, its commands and what is told of it together.
    let fence = old.unwrap();
    let commands: Vec<_> = (0..600)
        .map(|n| NewCommand { id: format!("step {n}"), host: "h".into(), fence: fence.number, body: "{}".into() })
        .collect();
    let events: Vec<String> = (0..600).map(|n| n.to_string()).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    one.write_saga(&fence, Step { state: "step", commands: &commands, events: &events }, 1000).await.unwrap();
    one.write_saga(&fence, Step { state: "step", commands: &commands, events: &[] }, 1).await.unwrap();
    let due = one.commands_due("h").await.unwrap();
    assert_eq!(due.iter().filter(|command| command.id.starts_with("step")).count(), 600);
    let told = one.events_of("s2", 0, 1000).await.unwrap();
    assert!(told.iter().map(|event| event.body.as_str()).eq(events.iter().copied()));
}

/// A saga begins with its hosts or not at all, and at its end it has none.
pub(super) async fn beginnings_and_ends(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    assert!(one.begin_saga("b1", "{}", &["web1", "web2"], 1).await.unwrap());
    let error = two.begin_saga("b2", "{}", &["db1", "web2"], 2).await.unwrap_err();
    assert!(matches!(&error, ControlError::Locked { host, change } if host == "web2" && change == "b1"), "{error}");
    assert_eq!(two.saga("b2").await.unwrap(), None);
    assert_eq!(two.host_locks().await.unwrap().len(), 2);
    assert!(!two.begin_saga("b1", "other", &["db1"], 3).await.unwrap());
    assert_eq!(two.host_locks().await.unwrap().len(), 2, "the second of that name took nothing");
    let fence = two.acquire(&lease(&two, "b1").await, "two", 4, 100).await.unwrap().unwrap();
    two.finish_saga(&fence, Step { state: "end", commands: &[], events: &["over"] }, 1000).await.unwrap();
    assert_eq!(one.host_locks().await.unwrap(), []);
    assert_eq!(one.events_of("b1", 0, 9).await.unwrap().len(), 1);
}

pub(super) async fn locks(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    one.lock_hosts(&["web2", "web1", "web2"], "c1", 5).await.unwrap();
    one.lock_hosts(&["web1", "db1"], "c1", 6).await.unwrap();
    let error = two.lock_hosts(&["zzz", "web2", "aaa", "db1"], "c2", 7).await.unwrap_err();
    assert!(matches!(&error, ControlError::Locked { host, change } if host == "db1" && change == "c1"), "{error}");
    let held = |locks: Vec<greenroom_store::control::HostLock>| -> Vec<_> {
        locks.into_iter().map(|lock| (lock.host, lock.change, lock.since)).collect()
    };
    let lock = |host: &str, since| (host.to_owned(), "c1".to_owned(), since);
    assert_eq!(held(two.host_locks().await.unwrap()), [lock("db1", 6), lock("web1", 5), lock("web2", 5)]);
    assert!(!one.unlock_host("db1", "c2").await.unwrap());
    assert!(one.unlock_host("db1", "c1").await.unwrap());
    two.lock_hosts(&["db1"], "c2", 8).await.unwrap();
    assert_eq!(one.unlock_hosts("c1").await.unwrap(), 2);
    assert_eq!(two.unlock_hosts("c2").await.unwrap(), 1);

    // Many changes that want overlapping hosts, in any order, until each had them: no deadlock, and never two at once.
    let tries: Vec<_> = (0..8usize)
        .map(|number| {
            let control = if number % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move {
                let mut hosts: Vec<String> = (0..6).map(|n| format!("h{}", (number * 3 + n * 5) % 9)).collect();
                if number % 3 == 0 {
                    hosts.reverse();
                }
                let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
                let change = format!("race {number}");
                loop {
                    match control.lock_hosts(&hosts, &change, 1).await {
                        Ok(()) => break,
                        Err(ControlError::Locked { change: holder, .. }) => assert_ne!(holder, change),
                        Err(error) => panic!("{error:?}"),
                    }
                    tokio::task::yield_now().await;
                }
                let all = control.host_locks().await.unwrap();
                assert!(hosts.iter().all(|host| all.iter().any(|l| l.host == **host && l.change == change)));
                control.unlock_hosts(&change).await.unwrap();
            })
        })
        .collect();
    for each in tries {
        each.await.unwrap();
    }
    assert_eq!(one.host_locks().await.unwrap(), []);
}

pub(super) async fn events_and_documents(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    let earlier = one.events_since(0, 10_000).await.unwrap().last().map_or(0, |event| event.place);
    assert_eq!(one.append_events("c7", &["{\"a\":1}", "b"], 1).await.unwrap(), 2);
    assert_eq!(two.append_events("r7", &["other"], 2).await.unwrap(), 1);
    assert_eq!(two.append_events("c7", &["c"], 3).await.unwrap(), 3);
    let some = one.events_of("c7", 1, 10).await.unwrap();
    let seen: Vec<_> = some.iter().map(|event| (event.seq, event.body.as_str(), event.at)).collect();
    assert_eq!(seen, [(2, "b", 1), (3, "c", 3)]);
    assert_eq!(one.events_of("c7", 0, 1).await.unwrap().len(), 1);
    let all = one.events_since(earlier, 100).await.unwrap();
    assert_eq!(all.iter().map(|event| event.subject.as_str()).collect::<Vec<_>>(), ["c7", "c7", "r7", "c7"]);
    assert_eq!(one.events_since(all[2].place, 100).await.unwrap(), all[3..]);
    assert_eq!(one.forget_events(9).await.unwrap(), 2);
    assert_eq!(one.append_events("c7", &["d"], 9).await.unwrap(), 4);

    one.append_events_of(&[("c7", "e"), ("r7", "x"), ("c7", "f")], 10).await.unwrap();
    let seen = two.events_of("c7", 4, 9).await.unwrap();
    assert_eq!(seen.iter().map(|event| event.body.as_str()).collect::<Vec<_>>(), ["e", "f"]);

    // Of all who offer at once, all have the same afterwards.
    let offers = (0..8).map(|number| {
        let control = if number % 2 == 0 { one.clone() } else { two.clone() };
        tokio::spawn(async move { control.offer_document("authority", "a", &number.to_string(), 1).await.unwrap() })
    });
    let offers = futures_util::future::join_all(offers.collect::<Vec<_>>()).await;
    let there = one.document("authority", "a").await.unwrap().unwrap();
    assert!(offers.into_iter().all(|offer| offer.unwrap() == there));

    let text = "{\"long\": \"ä💥\", \"quote\": \"'\\\"\"}".repeat(20_000);
    assert_eq!(one.document("report", "r1").await.unwrap(), None);
    one.put_document("report", "r1", "old", 1).await.unwrap();
    one.put_document("report", "r1", &text, 2).await.unwrap();
    one.put_document("report", "R2", "b", 2).await.unwrap();
    one.put_document("kind", "r1", "other", 2).await.unwrap();
    assert_eq!(two.document("report", "r1").await.unwrap().as_deref(), Some(text.as_str()));
    assert_eq!(two.documents("report").await.unwrap(), ["R2", "r1"]);
    let all = [("R2".to_owned(), "b".to_owned()), ("r1".to_owned(), text)];
    assert_eq!(two.documents_of("report").await.unwrap(), all);
    assert_eq!(two.documents_of("nothing").await.unwrap(), []);
    assert!(two.drop_document("report", "r1").await.unwrap());
    assert!(!two.drop_document("report", "r1").await.unwrap());
    assert_eq!(two.documents("report").await.unwrap(), ["R2"]);
}
