//! The suite that every `Ledger` passes, run on SQLite and on PostgreSQL, and what concerns one of them alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use futures_executor::block_on;
use greenroom_store::ledger::{Actor, Draft, Entry, Filter, Ledger, LedgerError, NO_HASH, SqlLedger, Verdict};
use proptest::prelude::*;
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

fn draft(number: u64) -> Draft {
    Draft {
        at: format!("2026-01-31T20:15:{:02}.{:03}Z", number / 1000 % 60, number % 1000),
        kind: ["applied", "undone"][number as usize % 2].into(),
        actor: Actor {
            user: "root".into(),
            uid: 0,
            login_user: Some("ada".into()),
            tty: Some("pts/3".into()),
            from: Some("192.0.2.7".into()),
            command: Some("greenroom apply r1 -- 'ä\u{1b}'".into()),
        },
        change: Some(format!("c{}", number % 3)),
        rehearsal: Some(format!("r{}", number % 2)),
        root: "/".into(),
        why: Some("because".into()),
        detail: json!({ "number": number, "list": [1.5, null, "x"], "b": {"z": 1, "a": 2} }),
    }
}

fn all(ledger: &impl Ledger) -> Vec<Entry> {
    let listing = ledger.entries(&Filter::default()).unwrap();
    assert_eq!(listing.unreadable, []);
    listing.entries
}

fn seqs(ledger: &impl Ledger, filter: &Filter) -> Vec<u64> {
    ledger.entries(filter).unwrap().entries.iter().map(|entry| entry.seq).collect()
}

/// What every ledger does. `open` opens one and the same, which is empty at first, as often as it is called.
fn conformance<L: Ledger>(open: impl Fn() -> L + Sync) {
    let ledger = open();
    assert_eq!(ledger.verify().unwrap(), Verdict::Verified { entries: 0 });
    assert_eq!(all(&ledger), []);

    let first = ledger.append(&draft(0)).unwrap();
    assert_eq!((first.seq, first.id.as_str(), first.prev.as_str()), (1, "e1", NO_HASH));
    assert_eq!((&first.actor, &first.detail), (&draft(0).actor, &draft(0).detail));
    let bare = Draft { at: draft(0).at, kind: "found".into(), ..Draft::default() };
    let second = ledger.append(&bare).unwrap();
    assert_eq!((second.seq, &second.prev), (2, &first.hash));

    let once = ledger.append_once("undo c1", &draft(2)).unwrap();
    assert_eq!(open().append_once("undo c1", &draft(99)).unwrap(), once);
    assert_eq!(once.once.as_deref(), Some("undo c1"));
    assert_eq!(ledger.append_once("undo c2", &draft(3)).unwrap().seq, 4);
    assert_eq!(all(&open())[..3], [first, second, once]);

    refuses_bad_drafts(&ledger);
    lists_by_filter(&ledger);
    counts(&open);
    appends_concurrently(&open);
}

fn refuses_bad_drafts(ledger: &impl Ledger) {
    let times = ["", "yesterday", "2026-01-31T20:15:00Z", "2026-01-31T20:15:00.000+01:00", "2026-01-31 20:15:00.000Z"];
    for at in times {
        let refused = ledger.append(&Draft { at: at.into(), ..draft(0) });
        assert!(matches!(refused, Err(LedgerError::BadDraft { field: "at", .. })), "{at}");
    }
    let refused = ledger.append_once("k", &Draft { kind: String::new(), ..draft(0) });
    assert!(matches!(refused, Err(LedgerError::BadDraft { field: "kind", .. })));
    assert_eq!(all(ledger).len(), 4);
}

fn lists_by_filter(ledger: &impl Ledger) {
    let all = Filter::default();
    assert_eq!(seqs(ledger, &all), [1, 2, 3, 4]);
    assert_eq!(seqs(ledger, &Filter { since: 2, ..all.clone() }), [3, 4]);
    assert_eq!(seqs(ledger, &Filter { since: 1, limit: Some(2), ..all.clone() }), [2, 3]);
    assert_eq!(seqs(ledger, &Filter { limit: Some(0), ..all.clone() }), [0u64; 0]);
    assert_eq!(seqs(ledger, &Filter { since: u64::MAX, ..all.clone() }), [0u64; 0]);
    assert_eq!(seqs(ledger, &Filter { change: Some("c0".into()), ..all.clone() }), [1, 4]);
    assert_eq!(seqs(ledger, &Filter { rehearsal: Some("r0".into()), ..all.clone() }), [1, 3]);
    assert_eq!(seqs(ledger, &Filter { kind: Some("found".into()), ..all.clone() }), [2]);
    let both = Filter { change: Some("c0".into()), rehearsal: Some("r0".into()), ..all };
    assert_eq!(seqs(ledger, &both), [1]);
}

fn counts<L: Ledger>(open: &(impl Fn() -> L + Sync)) {
    let ledger = open();
    assert_eq!(ledger.next_id("r").unwrap(), 1);
    assert_eq!(open().next_id("r").unwrap(), 2);
    assert_eq!(ledger.next_id("c").unwrap(), 1);
    assert_eq!(ledger.next_id("r").unwrap(), 3);
    // The two ways of counting are one count.
    assert_eq!(ledger.next_id_unsynced("r").unwrap(), 4);
    assert_eq!(open().next_id_unsynced("r").unwrap(), 5);
    assert_eq!(open().next_id_unsynced("with space").unwrap(), 1);
    assert_eq!(open().next_id("r").unwrap(), 6);
}

fn appends_concurrently<L: Ledger>(open: &(impl Fn() -> L + Sync)) {
    let before = all(&open()).len();
    let mut ids = BTreeSet::new();
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            move || {
                let ledger = open();
                let each = (0..8).map(|n| {
                    ledger.append(&draft(thread * 100 + n)).unwrap();
                    ledger.append_once(&format!("shared {n}"), &draft(n)).unwrap();
                    if n % 2 == 0 { ledger.next_id("x") } else { ledger.next_id_unsynced("x") }.unwrap()
                });
                each.collect::<Vec<_>>()
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(work(thread))).collect();
        for thread in threads {
            ids.extend(thread.join().unwrap());
        }
    });
    assert_eq!(ids, (1..=32).collect());
    let after = before as u64 + 4 * 8 + 8;
    assert_eq!(open().verify().unwrap(), Verdict::Verified { entries: after });
    assert_eq!(seqs(&open(), &Filter::default()), (1..=after).collect::<Vec<_>>());
}

#[test]
fn sqlite_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance(|| SqlLedger::open(&dir.path().join("ledger")).unwrap());
}

/// A ledger with `count` entries, closed.
fn filled(dir: &Path, count: u64) {
    fill(&SqlLedger::open(dir).unwrap(), count);
}

fn fill(ledger: &SqlLedger, count: u64) {
    for number in 0..count {
        if number % 2 == 0 {
            ledger.append(&draft(number)).unwrap();
        } else {
            ledger.append_once(&format!("key {number}"), &draft(number)).unwrap();
        }
    }
}

/// The database behind the ledger's back.
struct Sqlite(SqliteConnection);

impl Sqlite {
    fn open(dir: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(dir.join("ledger.db")).create_if_missing(true);
        Self(block_on(options.connect()).unwrap())
    }

    fn run(&mut self, statements: &str) {
        block_on(sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.0)).unwrap();
    }

    fn close(self) {
        block_on(self.0.close()).unwrap();
    }
}

fn sql(dir: &Path, statements: &str) {
    let mut db = Sqlite::open(dir);
    db.run(statements);
    db.close();
}

fn verdict(dir: &Path) -> Verdict {
    SqlLedger::open_read_only(dir).unwrap().verify().unwrap()
}

fn broken_at(dir: &Path) -> u64 {
    match verdict(dir) {
        Verdict::Broken { seq, id, reason } => {
            assert_eq!(id, format!("e{seq}"));
            assert!(!reason.is_empty());
            seq
        }
        verdict @ Verdict::Verified { .. } => panic!("{verdict:?}"),
    }
}

#[test]
fn a_changed_byte_of_any_column_is_found() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 5);
    let pristine = std::fs::read(dir.path().join("ledger.db")).unwrap();
    // The columns come from the database itself: one that is added later can't be forgotten here.
    let mut db = Sqlite::open(dir.path());
    let columns: Vec<(String, String)> =
        block_on(sqlx::query_as("SELECT name, type FROM pragma_table_info('entry')").fetch_all(&mut db.0)).unwrap();
    db.close();
    assert!(columns.len() >= 18, "{columns:?}");
    for (column, kind) in columns {
        // The fourth entry has a value in every column.
        let changes = match kind.as_str() {
            "INTEGER" => vec![format!("{column} + 100")],
            _ => vec![
                format!("char(unicode({column}) + 1) || substr({column}, 2)"),
                format!("substr({column}, 1, length({column}) - 1) || '~'"),
                format!("{column} || ' '"),
                format!("CAST({column} || x'ff' AS TEXT)"),
                "''".to_owned(),
            ],
        };
        for change in changes {
            sql(dir.path(), &format!("UPDATE entry SET {column} = {change} WHERE seq = 4"));
            assert_eq!(broken_at(dir.path()), 4, "{column} = {change}");
            std::fs::write(dir.path().join("ledger.db"), &pristine).unwrap();
        }
    }
    assert_eq!(verdict(dir.path()), Verdict::Verified { entries: 5 });
}

#[test]
fn a_value_set_to_nothing_is_found() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3);
    let pristine = std::fs::read(dir.path().join("ledger.db")).unwrap();
    for column in ["login_user", "tty", "origin", "command", "change", "rehearsal", "why", "once"] {
        sql(dir.path(), &format!("UPDATE entry SET {column} = NULL WHERE seq = 2"));
        assert_eq!(broken_at(dir.path()), 2, "{column}");
        std::fs::write(dir.path().join("ledger.db"), &pristine).unwrap();
    }
    // A text that slides from one field to the next.
    sql(dir.path(), "UPDATE entry SET tty = tty || origin, origin = '' WHERE seq = 2");
    assert_eq!(broken_at(dir.path()), 2);
}

#[test]
fn missing_swapped_and_cut_off_entries_are_named() {
    let cases = [
        ("DELETE FROM entry WHERE seq = 3", 3),
        ("DELETE FROM entry WHERE seq = 1", 1),
        ("DELETE FROM entry WHERE seq = 3; UPDATE entry SET seq = seq - 1 WHERE seq > 3", 3),
        (
            "UPDATE entry SET seq = 99 WHERE seq = 2; UPDATE entry SET seq = 2 WHERE seq = 4;
             UPDATE entry SET seq = 4 WHERE seq = 99",
            2,
        ),
        ("DELETE FROM entry WHERE seq = 6", 6),
        ("DELETE FROM entry WHERE seq > 2", 3),
        ("DELETE FROM entry", 1),
    ];
    for (statements, seq) in cases {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 6);
        sql(dir.path(), statements);
        assert_eq!(broken_at(dir.path()), seq, "{statements}");
    }
}

#[test]
fn an_older_copy_is_seen_and_stays_seen() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3);
    let db = dir.path().join("ledger.db");
    let old = std::fs::read(&db).unwrap();
    let ledger = SqlLedger::open(dir.path()).unwrap();
    ledger.append(&draft(3)).unwrap();
    ledger.append(&draft(4)).unwrap();
    drop(ledger);
    std::fs::write(&db, old).unwrap();
    assert_eq!(broken_at(dir.path()), 4);
    // Going on from the older copy doesn't wipe the evidence, not even past the old end.
    let ledger = SqlLedger::open(dir.path()).unwrap();
    for number in 0..4 {
        ledger.append(&draft(50 + number)).unwrap();
        assert_eq!(broken_at(dir.path()), 5);
    }
    assert_eq!(seqs(&ledger, &Filter::default()), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_missing_database_or_anchor_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3);
    let (db, head) = (dir.path().join("ledger.db"), dir.path().join("ledger.head"));
    let anchor = std::fs::read(&head).unwrap();
    std::fs::remove_file(&head).unwrap();
    assert_eq!(broken_at(dir.path()), 3);
    for garbled in ["", "greenroom-ledger-head 1 3", "greenroom-ledger-head 1 03 x\n", "greenroom-ledger-head 1 0 \n"] {
        std::fs::write(&head, garbled).unwrap();
        assert_eq!(broken_at(dir.path()), 3, "{garbled}");
    }
    std::fs::write(&head, anchor).unwrap();
    assert_eq!(verdict(dir.path()), Verdict::Verified { entries: 3 });
    std::fs::remove_file(&db).unwrap();
    assert_eq!(broken_at(dir.path()), 1);
    SqlLedger::open(dir.path()).unwrap().append(&draft(0)).unwrap();
    assert_eq!(broken_at(dir.path()), 2);
}

#[test]
fn an_anchor_that_a_crash_left_behind_is_fine_and_is_mended() {
    for with_key in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 3);
        let head = dir.path().join("ledger.head");
        let old = std::fs::read(&head).unwrap();
        let ledger = SqlLedger::open(dir.path()).unwrap();
        ledger.append_once("the last", &draft(3)).unwrap();
        std::fs::write(&head, &old).unwrap();
        assert_eq!(verdict(dir.path()), Verdict::Verified { entries: 4 });
        let last = if with_key {
            ledger.append_once("the last", &draft(3)).unwrap()
        } else {
            ledger.append(&draft(4)).unwrap()
        };
        let anchor = std::fs::read_to_string(&head).unwrap();
        assert_eq!(anchor, format!("greenroom-ledger-head 1 {} {}\n", last.seq, last.hash));
    }
}

#[test]
fn the_log_stays_readable_where_it_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 400);
    sql(dir.path(), "UPDATE entry SET detail = '{' WHERE seq = 7");
    let db = dir.path().join("ledger.db");
    let mut bytes = std::fs::read(&db).unwrap();
    // A leaf page of the table, found by the text of an entry in its middle.
    let text = b"\"number\":200}";
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    let page = at / 4096 * 4096;
    bytes[page..page + 4096].fill(0xaa);
    std::fs::write(&db, bytes).unwrap();
    let ledger = SqlLedger::open_read_only(dir.path()).unwrap();
    let listing = ledger.entries(&Filter::default()).unwrap();
    let read: BTreeSet<u64> = listing.entries.iter().map(|entry| entry.seq).collect();
    assert!(read.len() > 380, "{}", read.len());
    assert!(read.contains(&1) && read.contains(&400) && !read.contains(&201) && !read.contains(&7));
    assert!(listing.entries.is_sorted_by_key(|entry| entry.seq));
    let holes: Vec<u64> = listing.unreadable.iter().map(|hole| hole.seq).collect();
    assert_eq!(holes.len(), 2);
    assert!(holes[0] == 7 && holes[1] <= 201 && !read.contains(&holes[1]), "{holes:?}");
    let some = ledger.entries(&Filter { since: 150, limit: Some(100), ..Filter::default() }).unwrap();
    assert_eq!(some.entries.len(), 100);
    assert_eq!(broken_at(dir.path()), 7);
}

#[test]
fn numbers_that_a_power_cut_may_take_back_are_kept_by_the_next_append() {
    let dir = tempfile::tempdir().unwrap();
    let ids = dir.path().join("ledger.ids");
    let ledger = SqlLedger::open(dir.path()).unwrap();
    assert_eq!(ledger.next_id_unsynced("r").unwrap(), 1);
    ledger.append(&draft(0)).unwrap();
    assert_eq!(ledger.next_id_unsynced("r").unwrap(), 2);
    // What a power cut leaves: nothing, or a file without its content.
    std::fs::remove_file(&ids).unwrap();
    assert_eq!(ledger.next_id_unsynced("r").unwrap(), 2);
    for garbled in ["", "greenroom-ledger-ids 1 r 7", "greenroom-ledger-ids 1 r x\n\0\0"] {
        std::fs::write(&ids, garbled).unwrap();
        assert_eq!(ledger.next_id_unsynced("r").unwrap(), 2, "{garbled}");
    }
    assert_eq!(ledger.next_id("r").unwrap(), 3);
}

#[test]
fn files_are_private_and_reading_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger_dir = dir.path().join("deep/ledger");
    let nothing = SqlLedger::open_read_only(&ledger_dir).unwrap();
    assert_eq!((all(&nothing), ledger_dir.exists()), (vec![], false));
    assert!(matches!(nothing.append(&draft(0)), Err(LedgerError::ReadOnly { .. })));
    assert!(matches!(nothing.next_id("r"), Err(LedgerError::ReadOnly { .. })));
    filled(&ledger_dir, 2);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&ledger_dir), 0o700);
    let list = || {
        let entries = std::fs::read_dir(&ledger_dir).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap())).collect::<BTreeSet<_>>()
    };
    let before = list();
    let names: Vec<_> = before.iter().map(|(name, _)| name.to_str().unwrap()).collect();
    assert_eq!(names, ["ledger.db", "ledger.head", "ledger.lock"]);
    for name in names {
        assert_eq!(mode(&ledger_dir.join(name)), 0o600, "{name}");
    }
    let reader = SqlLedger::open_read_only(&ledger_dir).unwrap();
    assert_eq!(all(&reader).len(), 2);
    assert_eq!(reader.verify().unwrap(), Verdict::Verified { entries: 2 });
    assert!(matches!(reader.append(&draft(0)), Err(LedgerError::ReadOnly { .. })));
    assert_eq!(list(), before);
}

#[test]
fn an_interrupted_transaction_is_taken_back_or_read_around() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 5);
    let written = all(&SqlLedger::open_read_only(dir.path()).unwrap());
    // What a kill in the middle of a transaction leaves: a journal, and pages that were already written.
    let mut db = Sqlite::open(dir.path());
    db.run("PRAGMA cache_size = 1; BEGIN IMMEDIATE");
    for number in 6..400 {
        let columns = "'x', 'x', 'x', 'x', 0, '/', hex(zeroblob(400)), 'x', 'x'";
        let sql = format!(
            "INSERT INTO entry (seq, id, at, kind, user, uid, root, detail, prev, hash) VALUES ({number}, {columns})"
        );
        db.run(&sql);
    }
    let crashed = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-journal", "ledger.head"] {
        std::fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
    }
    db.close();
    let reader = SqlLedger::open_read_only(crashed.path()).unwrap();
    let listing = reader.entries(&Filter::default()).unwrap();
    assert_eq!(listing.entries[..5], written);
    assert!(crashed.path().join("ledger.db-journal").exists(), "reading wrote");
    let ledger = SqlLedger::open(crashed.path()).unwrap();
    assert_eq!(all(&ledger), written);
    assert_eq!(ledger.verify().unwrap(), Verdict::Verified { entries: 5 });
}

#[test]
fn other_formats_and_other_databases_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1);
    sql(dir.path(), "PRAGMA user_version = 2");
    for error in [SqlLedger::open(dir.path()).unwrap_err(), SqlLedger::open_read_only(dir.path()).unwrap_err()] {
        assert!(matches!(error, LedgerError::Newer { found: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().ends_with("upgrade Greenroom"), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    sql(dir.path(), "CREATE TABLE entry (x)");
    assert!(matches!(SqlLedger::open(dir.path()), Err(LedgerError::NotALedger { .. })));
    std::fs::write(dir.path().join("ledger.db"), "not a database at all, but long enough".repeat(40)).unwrap();
    assert!(matches!(SqlLedger::open(dir.path()), Err(LedgerError::Database { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn texts_of_every_kind_come_back(
        texts in proptest::collection::vec("[\\x00-\\x7fä💥]{0,20}|\\PC{0,20}", 8),
        some in any::<bool>(),
        number in any::<f64>().prop_filter("JSON has no NaN", |number| number.is_finite()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let text = |at: usize| texts[at].clone();
        let entry = Draft {
            at: draft(1).at,
            kind: format!("k{}", text(0)),
            actor: Actor { user: text(1), uid: u32::MAX, command: some.then(|| text(2)), ..Actor::default() },
            change: some.then(|| text(3)),
            rehearsal: None,
            root: text(4),
            why: Some(text(5)),
            detail: json!({ text(6): text(7), "number": number, "big": u64::MAX }),
        };
        let ledger = SqlLedger::open(dir.path()).unwrap();
        let written = ledger.append(&entry).unwrap();
        prop_assert_eq!((&written.actor, &written.why), (&entry.actor, &entry.why));
        prop_assert_eq!(all(&ledger), vec![written]);
        prop_assert_eq!(verdict(dir.path()), Verdict::Verified { entries: 1 });
    }

    /// Any byte of the database file: either verify sees it, or everything reads as it was written.
    #[test]
    fn a_flipped_byte_of_the_file_changes_nothing_unseen(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 6);
        let written = all(&SqlLedger::open_read_only(dir.path()).unwrap());
        let db = dir.path().join("ledger.db");
        let mut bytes = std::fs::read(&db).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        std::fs::write(&db, bytes).unwrap();
        let Ok(ledger) = SqlLedger::open_read_only(dir.path()) else { return Ok(()) };
        if let Ok(Verdict::Verified { .. }) = ledger.verify() {
            prop_assert_eq!(all(&ledger), written, "byte {}", at);
        }
    }
}
