//! Connections and servers that die in the middle.

use std::time::Duration;

use greenroom_store::control::{Control, ControlError, NewCommand, Outcome, Step, Subject};
use greenroom_testkit::postgres::Postgres;
use sqlx::Connection as _;

use super::{expect, run};

fn commands(count: usize) -> Vec<NewCommand> {
    let command = |n| NewCommand { id: format!("k{n}"), host: format!("h{n}"), fence: 1, body: "{}".into() };
    (0..count).map(command).collect()
}

fn after(commands: &[NewCommand]) -> Step<'_> {
    Step { state: "after", commands, events: &[] }
}

#[test]
fn a_transaction_that_is_cut_off_did_nothing_and_can_be_done_again() {
    greenroom_testkit::need_root!();
    let server = Postgres::start();
    run(async {
        let url = server.database("control");
        let control = Control::connect(&url).await.unwrap();
        control.add_saga("s", "before", 0).await.unwrap();
        let new = control.open_leases().await.unwrap().remove(0);
        let fence = control.acquire(&new, "p", 0, 100).await.unwrap().unwrap();
        // Somebody holds what the step needs half-way: it has written its state and waits to queue its commands.
        let mut other = sqlx::postgres::PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("BEGIN; UPDATE greenroom.numbering SET last = last WHERE name = 'command'")
            .execute(&mut other)
            .await
            .unwrap();
        let (writer, under, new) = (control.clone(), fence.clone(), commands(1000));
        let step = tokio::spawn(async move { writer.write_saga(&under, after(&new), 1).await });
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'control' AND wait_event_type = 'Lock'";
        while server.psql("postgres", waits) != "1" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.cut("control");
        assert!(matches!(step.await.unwrap(), Err(ControlError::Database { .. })));
        drop(other);
        assert_eq!(control.saga("s").await.unwrap().unwrap().state, "before");
        assert!(control.commands_changed_since(0, 10).await.unwrap().is_empty());
        control.write_saga(&fence, after(&commands(1000)), 2).await.unwrap();
        assert_eq!(control.commands_changed_since(0, 2000).await.unwrap().len(), 1000);
    });
}

#[test]
fn a_future_that_is_dropped_half_way_did_everything_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let control = Control::open(dir.path()).await.unwrap();
        for microseconds in (0..20_000).step_by(700) {
            let limit = Duration::from_micros(microseconds);
            let _ = tokio::time::timeout(limit, control.enqueue(&commands(600), None, 1)).await;
            // This waits until whatever is left of it has ended: it is there as a whole, when it was committing, or not.
            let done: Vec<_> = commands(600)
                .into_iter()
                .map(|command| Outcome { id: command.id, host: command.host, result: "{}".into() })
                .collect();
            let there = control.complete(&done, 1).await.unwrap();
            assert!(there == 0 || there == 600, "{there}");
            assert_eq!(control.forget_commands(2).await.unwrap(), there);
        }
    });
}

#[test]
fn control_planes_go_on_and_hear_each_other_after_postgres_was_killed() {
    greenroom_testkit::need_root!();
    let mut server = Postgres::start();
    run(async {
        let url = server.database("control");
        let (one, two) = (Control::connect(&url).await.unwrap(), Control::connect(&url).await.unwrap());
        let mut watch = two.watch().await.unwrap();
        one.enqueue(&commands(3), None, 1).await.unwrap();
        for host in ["h0", "h1", "h2"] {
            expect(&mut watch, Subject::Mailbox, host).await;
        }
        server.cut("control");
        // Some were perhaps lost, and it says so.
        expect(&mut watch, Subject::Anything, "").await;
        for round in 0..2 {
            server.kill();
            let writer = one.clone();
            // It waits for the server.
            let waits = tokio::spawn(async move { writer.put_document("k", &format!("d{round}"), "{}", 1).await });
            server.restart();
            waits.await.unwrap().unwrap();
            expect(&mut watch, Subject::Anything, "").await;
            assert_eq!(two.document("k", &format!("d{round}")).await.unwrap().as_deref(), Some("{}"));
            assert_eq!(two.commands_changed_since(0, 10).await.unwrap().len(), 3);
            two.append_events("c1", &["{}"], 1).await.unwrap();
            expect(&mut watch, Subject::Event, "c1").await;
        }
    });
}
