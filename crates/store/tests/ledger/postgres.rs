//! The suite on PostgreSQL, and what concerns it alone.

use greenroom_store::ledger::{Draft, Ledger as _, LedgerError, SqlLedger, Verdict};
use greenroom_testkit::postgres::Postgres;

use super::{all, conformance, draft, fill};

#[test]
fn postgres_conforms() {
    greenroom_testkit::need_root!();
    let server = Postgres::start();
    let url = server.database("ledger");
    conformance(|| SqlLedger::connect(&url).unwrap());
    // Entries have the same hashes wherever they are.
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (SqlLedger::open(dir.path()).unwrap(), SqlLedger::connect(&server.database("same")).unwrap());
    fill(&here, 3);
    fill(&there, 3);
    assert_eq!(all(&here), all(&there));

    let nul = Draft { why: Some("a\0b".into()), ..draft(0) };
    assert!(matches!(there.append(&nul), Err(LedgerError::BadDraft { field: "why", .. })));
    server.psql("same", "UPDATE greenroom.format SET version = 2");
    let error = SqlLedger::connect(&server.url("same")).unwrap_err();
    assert!(matches!(error, LedgerError::Newer { found: 2, known: 1, .. }), "{error}");
    let password = server.url("x").split(':').nth(2).unwrap().split('@').next().unwrap().to_owned();
    assert!(!format!("{error}").contains(&password));
}

#[test]
fn what_is_altered_in_postgres_is_named() {
    greenroom_testkit::need_root!();
    let server = Postgres::start();
    let cases = [
        ("UPDATE entry SET why = 'no' WHERE seq = 4", 4),
        ("UPDATE entry SET tty = NULL WHERE seq = 2", 2),
        ("DELETE FROM entry WHERE seq = 3", 3),
        ("DELETE FROM entry WHERE seq = 6", 6),
        ("DELETE FROM entry", 1),
        ("DELETE FROM head", 6),
        ("UPDATE head SET hash = 'x'", 6),
        ("DELETE FROM entry WHERE seq = 6; UPDATE head SET seq = 9", 6),
    ];
    for (number, (statements, broken)) in cases.into_iter().enumerate() {
        let name = format!("case{number}");
        let ledger = SqlLedger::connect(&server.database(&name)).unwrap();
        fill(&ledger, 6);
        assert_eq!(ledger.verify().unwrap(), Verdict::Verified { entries: 6 });
        server.psql(&name, &format!("SET search_path = greenroom; {statements}"));
        let named = |verdict| matches!(verdict, Verdict::Broken { seq, .. } if seq == broken);
        assert!(named(ledger.verify().unwrap()), "{statements}: {:?}", ledger.verify());
        // Going on doesn't wipe the evidence.
        ledger.append(&draft(7)).unwrap();
        assert!(matches!(ledger.verify().unwrap(), Verdict::Broken { .. }), "{statements}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_postgres_is_killed() {
    greenroom_testkit::need_root!();
    let mut server = Postgres::start();
    let ledger = SqlLedger::connect(&server.database("ledger")).unwrap();
    let mut last = ledger.append_once("0", &draft(0)).unwrap();
    for round in 1..4 {
        // The connection is gone; whoever does it again has it once.
        server.cut("ledger");
        let again = (0..3).find_map(|_| ledger.append_once(&format!("{round}"), &draft(round)).ok()).unwrap();
        assert_eq!((again.seq, &again.prev), (2 * round, &last.hash));
        // The server is gone: who asks meanwhile waits for it.
        server.kill();
        last = std::thread::scope(|scope| {
            let waits = scope.spawn(|| ledger.append(&draft(round)));
            server.restart();
            waits.join().unwrap().unwrap()
        });
        assert_eq!((last.seq, &last.prev), (2 * round + 1, &again.hash));
    }
    assert_eq!(ledger.verify().unwrap(), Verdict::Verified { entries: last.seq });
}
