//! Who drives a change; and locks, events and documents.

use greenroom_store::control::{ControlError, Fence, NewCommand};

use super::Home;

fn fenced<T: std::fmt::Debug>(outcome: Result<T, ControlError>) -> bool {
    match outcome {
        Err(ControlError::Fenced { .. }) => true,
        Ok(_) => false,
        Err(error) => panic!("{error:?}"),
    }
}

pub(super) async fn leases(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    assert_eq!(one.acquire("s1", "one", 0, 100).await.unwrap(), None);
    assert!(one.add_saga("s1", r#"{"step":0}"#, 0).await.unwrap());
    assert!(!two.add_saga("s1", r#"{"step":9}"#, 0).await.unwrap());
    let first = one.acquire("s1", "one", 0, 100).await.unwrap().unwrap();
    assert_eq!(two.acquire("s1", "two", 99, 100).await.unwrap(), None);
    assert_eq!(one.acquire("s1", "one", 99, 100).await.unwrap(), None, "not even to its holder");
    one.renew(&first, 50, 100).await.unwrap();
    assert_eq!(two.acquire("s1", "two", 149, 100).await.unwrap(), None);
    assert!(one.abandoned_sagas(149).await.unwrap().iter().all(|saga| saga.id != "s1"));
    assert!(one.abandoned_sagas(150).await.unwrap().iter().any(|saga| saga.id == "s1"));
    // Nobody took it meanwhile, so it goes on.
    one.write_saga(&first, r#"{"step":1}"#, &[], 160).await.unwrap();
    let second = two.acquire("s1", "two", 170, 100).await.unwrap().unwrap();
    assert!(second.number > first.number);
    two.release(&second).await.unwrap();
    assert!(fenced(two.write_saga(&second, "{}", &[], 171).await), "given back is given back");
    assert!(fenced(two.release(&second).await));
    let third = one.acquire("s1", "one", 171, 100).await.unwrap().unwrap();
    one.finish_saga(&third, r#"{"step":"end"}"#, 180).await.unwrap();
    assert!(fenced(one.finish_saga(&third, "{}", 181).await));
    assert_eq!(two.acquire("s1", "two", 9999, 100).await.unwrap(), None);
    let saga = two.saga("s1").await.unwrap().unwrap();
    assert_eq!((saga.state.as_str(), saga.finished, saga.holder), (r#"{"step":"end"}"#, Some(180), None));
    assert!(one.open_sagas().await.unwrap().iter().all(|saga| saga.id != "s1"));
    assert_eq!(one.saga("nothing").await.unwrap(), None);
}

pub(super) async fn fences(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    one.add_saga("s2", "{}", 0).await.unwrap();
    // Of all who try at once, by both control planes, one gets it; round after round.
    let mut old: Option<Fence> = None;
    for round in 0..5i64 {
        let tries: Vec<_> = (0..8)
            .map(|number| {
                let control = if number % 2 == 0 { one.clone() } else { two.clone() };
                tokio::spawn(
                    async move { control.acquire("s2", &format!("p{number}"), round * 100, 100).await.unwrap() },
                )
            })
            .collect();
        let mut got = Vec::new();
        for each in tries {
            got.extend(each.await.unwrap());
        }
        assert_eq!(got.len(), 1, "round {round}");
        let fence = got.remove(0);
        two.write_saga(&fence, &format!("{round}"), &[], round).await.unwrap();
        if let Some(old) = old.replace(fence.clone()) {
            assert!(fence.number > old.number);
            // Whoever had it before can do nothing any more, by any way.
            let command = NewCommand { id: format!("late {round}"), host: "h".into(), fence: 1, body: "{}".into() };
            let late = std::slice::from_ref(&command);
            assert!(fenced(one.write_saga(&old, "late", late, round).await));
            assert!(fenced(one.enqueue(late, Some(&old), round).await));
            assert!(fenced(one.renew(&old, 0, 1_000_000).await));
            assert!(fenced(one.release(&old).await));
            assert!(fenced(one.finish_saga(&old, "late", round).await));
            assert_eq!(one.command(&command.id).await.unwrap(), None);
            assert_eq!(one.enqueue(late, Some(&fence), round).await.unwrap(), 1);
        }
        assert_eq!(one.saga("s2").await.unwrap().unwrap().state, format!("{round}"));
    }
    // A step is its state and its commands together.
    let fence = old.unwrap();
    let commands: Vec<_> = (0..600)
        .map(|n| NewCommand { id: format!("step {n}"), host: "h".into(), fence: fence.number, body: "{}".into() })
        .collect();
    one.write_saga(&fence, "step", &commands, 1).await.unwrap();
    one.write_saga(&fence, "step", &commands, 1).await.unwrap();
    let due = one.commands_due("h").await.unwrap();
    assert_eq!(due.iter().filter(|command| command.id.starts_with("step")).count(), 600);
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
    assert_eq!(one.append_events("c7", &["{\"a\":1}", "b"], 1).await.unwrap(), 2);
    assert_eq!(two.append_events("r7", &["other"], 2).await.unwrap(), 1);
    assert_eq!(two.append_events("c7", &["c"], 3).await.unwrap(), 3);
    let some = one.events_of("c7", 1, 10).await.unwrap();
    let seen: Vec<_> = some.iter().map(|event| (event.seq, event.body.as_str(), event.at)).collect();
    assert_eq!(seen, [(2, "b", 1), (3, "c", 3)]);
    assert_eq!(one.events_of("c7", 0, 1).await.unwrap().len(), 1);
    let all = one.events_since(0, 100).await.unwrap();
    assert_eq!(all.iter().map(|event| event.subject.as_str()).collect::<Vec<_>>(), ["c7", "c7", "r7", "c7"]);
    assert_eq!(one.events_since(all[2].place, 100).await.unwrap(), all[3..]);
    assert_eq!(one.forget_events(9).await.unwrap(), 2);
    assert_eq!(one.append_events("c7", &["d"], 9).await.unwrap(), 4);

    let text = "{\"long\": \"ä💥\", \"quote\": \"'\\\"\"}".repeat(20_000);
    assert_eq!(one.document("report", "r1").await.unwrap(), None);
    one.put_document("report", "r1", "old", 1).await.unwrap();
    one.put_document("report", "r1", &text, 2).await.unwrap();
    one.put_document("report", "R2", "b", 2).await.unwrap();
    one.put_document("kind", "r1", "other", 2).await.unwrap();
    assert_eq!(two.document("report", "r1").await.unwrap().as_deref(), Some(text.as_str()));
    assert_eq!(two.documents("report").await.unwrap(), ["R2", "r1"]);
    assert!(two.drop_document("report", "r1").await.unwrap());
    assert!(!two.drop_document("report", "r1").await.unwrap());
    assert_eq!(two.documents("report").await.unwrap(), ["R2"]);
}
