//! An agent as it is, and a control plane of a later version, which is played: what the agent does not know it says, on the same
//! stream; and what it said without having heard that it is on record, it says again.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use greenroom_core::wire::PROTOCOL;
use greenroom_engine::agent::{Agent, Link, Options, Ran, serve};
use greenroom_net::client::Url;
use greenroom_net::tls::{self, Acceptor, Authority, Certificates, Identity, Limits};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Longer than anything here takes.
const FOREVER: Duration = Duration::from_secs(60);

/// The control plane: streams as they are opened.
struct Played {
    streams: mpsc::UnboundedReceiver<WebSocket>,
    authority: Authority,
    url: Url,
}

impl Played {
    async fn new() -> Self {
        let now = jiff::Timestamp::now().as_second();
        let authority = Authority::create("test", now).unwrap();
        let own = authority.server(&["localhost".to_owned()], now, 3600).unwrap();
        let config = tls::server(Certificates::new(&own).unwrap(), authority.certificate()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut acceptor = Acceptor::new(listener, config, Limits::default()).unwrap();
        let url = Url::parse(&format!("https://localhost:{}", acceptor.address().port())).unwrap();
        let (opened, streams) = mpsc::unbounded_channel();
        let take = move |upgrade: WebSocketUpgrade| {
            let opened = opened.clone();
            async move { upgrade.on_upgrade(move |socket| async move { opened.send(socket).unwrap() }) }
        };
        let app = Router::new().route("/v1/agent/stream", get(take));
        tokio::spawn(async move {
            while let Some(accepted) = acceptor.next().await {
                let service = TowerToHyperService::new(app.clone());
                let io = TokioIo::new(accepted.stream);
                tokio::spawn(async move { http1::Builder::new().serve_connection(io, service).with_upgrades().await });
            }
        });
        Self { streams, authority, url }
    }

    fn identity(&self) -> Identity {
        let wanted = tls::request("web1").unwrap();
        let signed = self.authority.sign(&wanted.request, "web1", jiff::Timestamp::now().as_second(), 3600).unwrap();
        Identity { certificate: signed.certificate, key: wanted.key }
    }

    /// The next stream, welcomed.
    async fn welcomed(&mut self) -> WebSocket {
        let mut stream = self.streams.recv().await.unwrap();
        let hello = hear(&mut stream).await;
        assert_eq!((&hello["say"], &hello["protocol"]), (&"hello".into(), &PROTOCOL.into()));
        say(&mut stream, json!({ "say": "welcome", "host": "web1", "reported": 0, "song": "a field of tomorrow" }))
            .await;
        stream
    }
}

async fn say(stream: &mut WebSocket, message: Value) {
    stream.send(Message::Text(message.to_string().into())).await.unwrap();
}

async fn hear(stream: &mut WebSocket) -> Value {
    loop {
        if let Message::Text(text) = stream.recv().await.unwrap().unwrap() {
            return serde_json::from_str(text.as_str()).unwrap();
        }
    }
}

fn order(id: &str, verb: &Value) -> Value {
    json!({ "say": "do", "id": id, "fence": 0, "person": "anna", "verb": verb })
}

fn status(id: &str) -> Value {
    order(id, &json!({ "verb": "run", "argv": ["status"] }))
}

fn ran(_: &[String], _: &str) -> std::io::Result<Ran> {
    Ok(Ran { code: 0, stdout: "all is well".to_owned(), stderr: String::new() })
}

/// An agent of a host that is a directory.
fn agent(dir: &std::path::Path) -> Arc<Agent> {
    std::fs::create_dir(dir.join("root")).unwrap();
    let options = Options {
        root: dir.join("root"),
        state: dir.join("state"),
        env: Vec::new(),
        now: jiff::Timestamp::now,
        run: ran,
        idle: |_| Err(std::io::ErrorKind::NotFound.into()),
        program: "/nowhere/greenroom".into(),
        fetch: Arc::new(|_, _| Err(std::io::ErrorKind::NotFound.into())),
        servers: Arc::new(|| Ok(Vec::new())),
    };
    Arc::new(Agent::open(options).unwrap())
}

#[test]
fn what_an_agent_does_not_know_it_says_and_what_is_not_on_record_it_says_again() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(dir.path());
    let noted: Arc<Mutex<Vec<String>>> = Arc::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut played = Played::new().await;
        let (identity, notes) = (played.identity(), noted.clone());
        let link = Link {
            urls: vec![played.url.clone()],
            authority: played.authority.certificate().to_owned(),
            identity: Box::new(move || {
                Ok(Identity { certificate: identity.certificate.clone(), key: identity.key.clone() })
            }),
            version: "0.9".to_owned(),
            note: Box::new(move |note| notes.lock().unwrap().push(note.to_owned())),
        };
        let serving = tokio::spawn(serve(agent, link));
        tokio::time::timeout(FOREVER, conversation(&mut played)).await.expect("the test hangs");
        serving.abort();
    });
    let noted = noted.lock().unwrap();
    assert!(noted.iter().any(|note| note.contains("`sing`")), "{noted:?}");
}

async fn conversation(played: &mut Played) {
    let mut stream = played.welcomed().await;
    let fly = order("x1.web1", &json!({ "verb": "fly", "to": "the moon" }));
    // Known, and to be done in a way that is not.
    let loudly = order("c1-commit.web1", &json!({ "verb": "commit", "change": "c1", "loudly": true }));
    for (command, id, verb) in [(fly, "x1.web1", "`fly`"), (loudly, "c1-commit.web1", "`commit`")] {
        say(&mut stream, json!({ "say": "sing" })).await;
        say(&mut stream, command).await;
        let done = hear(&mut stream).await;
        assert_eq!((&done["say"], &done["id"]), (&"done".into(), &id.into()), "{done}");
        let answer = &done["answer"];
        assert_eq!((&answer["answer"], &answer["class"]), (&"failed".into(), &"refused".into()));
        let what = answer["what"].as_str().unwrap();
        assert!(what.starts_with("web1's agent is of version 0.9") && what.contains(verb), "{what}");
        assert_eq!(answer["hints"], json!(["greenroom agent upgrade --on web1"]));
    }
    // The stream is as it was, and what is known is done.
    say(&mut stream, status("x2.web1")).await;
    assert_eq!(hear(&mut stream).await, json!({ "say": "begun", "id": "x2.web1" }));
    let done = hear(&mut stream).await;
    assert_eq!((&done["id"], &done["answer"]["stdout"]), (&"x2.web1".into(), &"all is well".into()));
    drop(stream);
    // Nobody said that it is on record. What was not known was not begun, and has no answer of its own.
    let mut stream = played.welcomed().await;
    assert_eq!(hear(&mut stream).await, done);
    say(&mut stream, json!({ "say": "recorded", "id": "x2.web1" })).await;
    say(&mut stream, status("x3.web1")).await;
    for what in ["begun", "done"] {
        let heard = hear(&mut stream).await;
        assert_eq!((&heard["say"], &heard["id"]), (&what.into(), &"x3.web1".into()));
    }
    say(&mut stream, json!({ "say": "recorded", "id": "x3.web1" })).await;
    // What was said before is done when this is.
    say(&mut stream, order("x4.web1", &json!({ "verb": "fly" }))).await;
    assert_eq!(hear(&mut stream).await["id"], "x4.web1");
    drop(stream);
    let mut stream = played.welcomed().await;
    say(&mut stream, order("x5.web1", &json!({ "verb": "fly" }))).await;
    assert_eq!(hear(&mut stream).await["id"], "x5.web1", "all else is forgotten");
}
