//! `greenroom serve`: the control plane.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use greenroom_engine::fleet::{Fleet, FleetError};
use greenroom_net::client::Url;
use greenroom_net::tls::Authority;
use greenroom_server::{Limits, Shared, hash_of_secret, new_token};
use greenroom_store::blobs::{BlobStore, DirBlobs, S3Address, S3Blobs};
use greenroom_store::control::{Control, ControlError, Role};
use greenroom_store::ledger::SqlLedger;
use tokio::net::TcpListener;

use crate::args::{Global, Serve};
use crate::error::{Failure, status};
use crate::remote::Access;
use crate::ui::Ui;

/// How long the first token is good for, in milliseconds.
const FIRST_TOKEN: i64 = 90 * 24 * 3600 * 1000;

pub(in crate::commands) fn run(global: &Global, args: &Serve, ui: &Ui) -> Result<u8, Failure> {
    let urls = args.urls.iter().map(|url| Url::parse(url)).collect::<Result<Vec<_>, _>>().map_err(Failure::usage)?;
    room_for_files(Limits::default().connections.connections, ui);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let dir = global.state.join("control");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    // Both have a runtime of their own kind: the ledger waits where it is called.
    let ledger = Arc::new(ledger(&args.ledger, &dir)?);
    let blobs = blobs(args.blobs.as_deref(), &dir)?;
    runtime.block_on(serve(global, args, &urls, (ledger, blobs), &dir, ui))?;
    Ok(status::DONE)
}

/// Open files besides connections: databases, contents that are read or written, sockets to PostgreSQL and S3.
const BESIDES: u64 = 512;

/// As many open files as the machine allows this process: each connection is one. Fewer than connections may come is no error:
/// who comes then waits until others have gone.
fn room_for_files(connections: usize, ui: &Ui) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Refused where a hard limit is beyond the kernel's own: what there is stays.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    let wanted = connections as u64 + BESIDES;
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < wanted) {
        ui.say(&format!(
            "this process may open {limit} files: that is room for {} connections, and not for {connections}; \
             LimitNOFILE=65536 in the unit, or `ulimit -Hn 65536` before it is started, makes room",
            limit.saturating_sub(BESIDES),
        ));
    }
}

/// Where the state is: `sqlite:DIR` or `postgres://…`.
enum Place<'a> {
    Sqlite(std::path::PathBuf),
    Postgres(&'a str),
}

fn place<'a>(text: &'a str, dir: &Path) -> Result<Place<'a>, Failure> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Ok(Place::Postgres(text));
    }
    match text.strip_prefix("sqlite:") {
        Some("") => Ok(Place::Sqlite(dir.to_owned())),
        Some(path) => Ok(Place::Sqlite(path.into())),
        None => Err(Failure::usage(format!("`{text}` is no place for the ledger"))
            .hint("sqlite:DIRECTORY, or postgres://USER@HOST/DATABASE")),
    }
}

fn ledger(text: &str, dir: &Path) -> Result<SqlLedger, Failure> {
    let opened = match place(text, dir)? {
        Place::Sqlite(dir) => SqlLedger::open(&dir.join("ledger")),
        Place::Postgres(url) => SqlLedger::connect(url),
    };
    opened.map_err(Failure::fault)
}

/// Where the contents are: `dir:PATH`, or `s3://…`.
fn blobs(text: Option<&str>, dir: &Path) -> Result<Arc<dyn BlobStore>, Failure> {
    let own = format!("dir:{}", dir.join("blobs").display());
    let text = text.unwrap_or(&own);
    if let Some(path) = text.strip_prefix("dir:").filter(|path| !path.is_empty()) {
        return Ok(Arc::new(DirBlobs::open(Path::new(path)).map_err(Failure::fault)?));
    }
    if !text.starts_with("s3://") {
        return Err(Failure::usage(format!("`{text}` is no place for contents"))
            .hint("dir:DIRECTORY, or s3://BUCKET[/PREFIX][?endpoint=URL]"));
    }
    let mut address = S3Address::parse(text).map_err(|why| Failure::usage(format!("{text}: {why}")))?;
    address.credentials = crate::env::s3_credentials();
    let scratch = dir.join("scratch");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&scratch)?;
    Ok(Arc::new(S3Blobs::open(&address, &scratch).map_err(Failure::fault)?))
}

async fn serve(
    global: &Global,
    args: &Serve,
    urls: &[Url],
    (ledger, blobs): (Arc<SqlLedger>, Arc<dyn BlobStore>),
    dir: &Path,
    ui: &Ui,
) -> Result<(), Failure> {
    let control = match place(&args.ledger, dir)? {
        Place::Sqlite(dir) => Control::open(&dir).await,
        Place::Postgres(url) => Control::connect(url).await,
    };
    let control = control.map_err(Failure::fault)?;
    let listener = TcpListener::bind(&args.listen).await.map_err(|error| {
        Failure::new(status::FAULT, format!("cannot listen on {}: {error}", args.listen)).hint("--listen ADDRESS:PORT")
    })?;
    let address = listener.local_addr()?;
    let name = name(address.port());
    let fleet = Fleet::new(control, ledger, blobs, &name, jiff::Timestamp::now);
    let authority = authority(&fleet, dir).await?;
    let own = Url::parse(&format!("https://localhost:{}", address.port())).map_err(Failure::usage)?;
    first_token(&fleet, &authority, &own, &Access::of_server(global)).await?;
    let mut names: Vec<String> = urls.iter().map(|url| url.host().to_owned()).collect();
    names.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let urls: Vec<String> =
        if urls.is_empty() { vec![own.to_string()] } else { urls.iter().map(ToString::to_string).collect() };
    let shared = Shared::new(fleet, authority, urls.clone());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        super::asked_to_end().await;
        let _ = stop.send(true);
    });
    ui.say(&format!("the control plane serves on {address}; hosts reach it at {}", urls.join(", ")));
    crate::env::tell_manager("READY=1")?;
    greenroom_server::serve(shared, listener, names, Limits::default(), stopped).await.map_err(Failure::fault)
}

/// A name that no other control plane has, also not one on another machine of the same name, nor an earlier life of this one.
fn name(port: u16) -> String {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let random = RandomState::new().build_hasher().finish();
    format!("{}:{port}-{random:016x}", rustix::system::uname().nodename().to_string_lossy())
}

fn of_state(error: ControlError) -> Failure {
    Failure::fault(FleetError::from(error))
}

/// The kind of document that the authority is: every control plane on one database has the same.
const AUTHORITY: &str = "authority";

/// The system's authority; made at the first start.
async fn authority(fleet: &Fleet, dir: &Path) -> Result<Authority, Failure> {
    let text = match fleet.control().document(AUTHORITY, "current").await.map_err(of_state)? {
        Some(text) => text,
        None => {
            let made = Authority::create("system", fleet.now() / 1000).map_err(Failure::fault)?;
            let text = serde_json::json!({ "certificate": made.certificate(), "key": made.key() }).to_string();
            // Of two control planes at their first start both may come to this; both get the same.
            let offered = fleet.control().offer_document(AUTHORITY, "current", &text, fleet.now()).await;
            offered.map_err(of_state)?
        }
    };
    let parsed: serde_json::Value = serde_json::from_str(&text)?;
    let field = |name: &str| parsed[name].as_str().unwrap_or_default().to_owned();
    let authority = Authority::load(field("certificate"), field("key")).map_err(Failure::fault)?;
    fs::write(dir.join("authority.pem"), authority.certificate())?;
    Ok(authority)
}

/// Where nobody has a token yet, root of this machine gets one.
async fn first_token(fleet: &Fleet, authority: &Authority, url: &Url, path: &Path) -> Result<(), Failure> {
    let url = url.to_string();
    if let Ok(text) = fs::read(path)
        && let Ok(known) = serde_json::from_slice::<Access>(&text)
        && fleet
            .control()
            .token_by_hash(&hash_of_secret(&known.token))
            .await
            .map_err(of_state)?
            .is_some_and(|t| t.good_at(fleet.now()))
    {
        if known.url != url {
            super::keep(path, &Access { url, ..known })?;
        }
        return Ok(());
    }
    let (token, secret) = new_token("root", Role::Admin, fleet.now() + FIRST_TOKEN)?;
    fleet.control().add_token(&token, fleet.now()).await.map_err(of_state)?;
    super::keep(path, &Access { url, token: secret, authority: authority.certificate().to_owned() })
}
