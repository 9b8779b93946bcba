//! The suite that the state of a control plane passes, run on SQLite and on PostgreSQL, and what happens when connections
//! and servers die.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dying;
mod hosts;
mod people;
mod sagas;

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use greenroom_store::control::{Control, ControlError, Hint, Subject, Watch};
use greenroom_testkit::postgres::Postgres;

/// Where the state is.
enum Home {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Home {
    /// Another handle, with connections of its own, as another control plane has.
    async fn open(&self) -> Control {
        match self {
            Self::Sqlite(dir) => Control::open(dir).await.unwrap(),
            Self::Postgres(url) => Control::connect(url).await.unwrap(),
        }
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

/// What every home does; it is empty at first.
async fn conformance(home: &Home) {
    // Several at once make the tables.
    let (first, ..) = futures_util::future::join4(home.open(), home.open(), home.open(), home.open()).await;
    people::tokens(&first).await;
    people::enrolments(home).await;
    hosts::certificates(&first).await;
    hosts::streams(home).await;
    hosts::refusals(home).await;
    hosts::commands(home).await;
    hosts::reports(home).await;
    sagas::leases(home).await;
    sagas::fences(home).await;
    sagas::beginnings_and_ends(home).await;
    sagas::locks(home).await;
    sagas::events_and_documents(home).await;
    hints(&first).await;
    hosts::a_thousand(&first).await;
}

async fn expect(watch: &mut Watch, subject: Subject, name: &str) {
    let found = async {
        loop {
            let hint = watch.next().await.unwrap();
            if hint == (Hint { subject, name: name.into() }) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.unwrap();
}

/// Who watches through one handle hears what another does through the same.
async fn hints(control: &Control) {
    let mut watch = control.watch().await.unwrap();
    let other = control.clone();
    other.add_saga("hinted saga", "{}", 1).await.unwrap();
    expect(&mut watch, Subject::Saga, "hinted saga").await;
    other.append_events("c 1", &["{}"], 1).await.unwrap();
    expect(&mut watch, Subject::Event, "c 1").await;
    // What changes nothing tells nothing.
    assert!(!other.add_saga("hinted saga", "{}", 1).await.unwrap());
    other.put_document("report", "last", "{}", 1).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), Hint { subject: Subject::Document, name: "last".into() });
}

#[test]
fn sqlite_conforms() {
    let dir = tempfile::tempdir().unwrap();
    run(conformance(&Home::Sqlite(dir.path().join("deep/state"))));
}

/// The switch to WAL is nothing that SQLite waits for: whoever came second was told that the database is locked.
#[test]
fn many_who_make_one_state_at_once_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        for round in 0..40 {
            let home = dir.path().join(round.to_string());
            let opened: Vec<_> = (0..6)
                .map(|_| home.clone())
                .map(|home| tokio::spawn(async move { Control::open(&home).await }))
                .collect();
            for opened in opened {
                opened.await.unwrap().unwrap().close().await;
            }
        }
    });
}

#[test]
fn postgres_conforms() {
    greenroom_testkit::need_root!();
    let server = Postgres::start();
    run(conformance(&Home::Postgres(server.database("control"))));
}

#[test]
fn a_state_of_the_first_format_is_brought_to_this_one() {
    greenroom_testkit::need_root!();
    let dir = tempfile::tempdir().unwrap();
    let server = Postgres::start();
    run(async {
        use sqlx::{ConnectOptions as _, Connection as _};
        let known = async |control: &Control, protocol| {
            for (host, known) in [("old1", protocol), ("never1", None)] {
                assert_eq!(control.agent(host).await.unwrap().unwrap().protocol, known, "{host}");
            }
        };
        let fill = async |control: Control| {
            for host in ["old1", "never1"] {
                control.add_certificate(host, host, 100).await.unwrap();
            }
            control.hold_agent("old1", "plane", ("0.1", 7), 1).await.unwrap().unwrap();
            known(&control, Some(7)).await;
            control.close().await;
        };
        fill(Control::open(dir.path()).await.unwrap()).await;
        let path = dir.path().join("control.db");
        let mut db = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        let columns = ["protocol", "refused", "refusal"];
        let drop = |table: &str| columns.map(|column| format!("ALTER TABLE {table} DROP COLUMN {column};")).concat();
        let before = drop("agent") + "PRAGMA user_version = 1;";
        sqlx::raw_sql(sqlx::AssertSqlSafe(before)).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
        known(&Control::open(dir.path()).await.unwrap(), Some(1)).await;

        let url = server.database("older");
        fill(Control::connect(&url).await.unwrap()).await;
        server.psql("older", &drop("greenroom.agent"));
        server.psql("older", "UPDATE greenroom.format SET version = 1 WHERE room = 'control'");
        known(&Control::connect(&url).await.unwrap(), Some(1)).await;
    });
}

#[test]
fn newer_formats_and_other_databases_are_refused() {
    greenroom_testkit::need_root!();
    let dir = tempfile::tempdir().unwrap();
    let server = Postgres::start();
    run(async {
        use sqlx::{ConnectOptions as _, Connection as _};
        Control::open(dir.path()).await.unwrap().close().await;
        let path = dir.path().join("control.db");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o7777, 0o600);
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let sqlite = async |statement: &'static str| {
            let mut db = options.connect().await.unwrap();
            sqlx::raw_sql(statement).execute(&mut db).await.unwrap();
            db.close().await.unwrap();
        };
        sqlite("PRAGMA user_version = 99").await;
        let error = Control::open(dir.path()).await.unwrap_err();
        assert!(matches!(error, ControlError::Newer { found: 99, known: 3, .. }), "{error}");
        sqlite("PRAGMA application_id = 7").await;
        assert!(matches!(Control::open(dir.path()).await, Err(ControlError::Foreign { .. })));

        let url = server.database("newer");
        Control::connect(&url).await.unwrap();
        server.psql("newer", "UPDATE greenroom.format SET version = 99 WHERE room = 'control'");
        let error = Control::connect(&url).await.unwrap_err();
        assert!(matches!(error, ControlError::Newer { found: 99, known: 3, .. }), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    });
}

/// Says how long something took.
async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let outcome = work.await;
    println!("{what}: {:?}", start.elapsed());
    outcome
}
