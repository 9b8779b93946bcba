//! What a control plane, whoever has it, can make an agent do: nothing outside its state, nothing beyond the list.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use greenroom_core::wire::{Answer, Class, Command, FromAgent, Rehearse, Verb, What};
use greenroom_engine::agent::{Agent, Options, Ran};

/// Names that lead elsewhere, or are none.
fn names() -> Vec<String> {
    let mut out: Vec<String> =
        ["", ".", "..", "../x", "../../outside/r1", "/etc/x", "a/b", "a\0b", "x\n", "é", ".x", "c1/../x"]
            .map(str::to_owned)
            .to_vec();
    out.push("a".repeat(300));
    out
}

/// What the agent ran.
static RAN: Mutex<Vec<Vec<String>>> = Mutex::new(Vec::new());

fn run(argv: &[String], _: &str) -> std::io::Result<Ran> {
    RAN.lock().unwrap().push(argv.to_vec());
    Ok(Ran { code: 0, stdout: String::new(), stderr: String::new() })
}

struct World {
    dir: tempfile::TempDir,
    agent: Agent,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["root/etc", "outside"] {
            std::fs::create_dir_all(dir.path().join(part)).unwrap();
        }
        // Whoever reads these says that they are damaged.
        for trap in ["outside/r1.json", "outside/c1.json", "x.json"] {
            std::fs::write(dir.path().join(trap), "a trap").unwrap();
        }
        let options = Options {
            root: dir.path().join("root"),
            state: dir.path().join("state"),
            env: Vec::new(),
            now: jiff::Timestamp::now,
            run,
            idle: |argv| run(argv, ""),
            program: "/nowhere/greenroom".into(),
            fetch: std::sync::Arc::new(|_, _| Err(std::io::ErrorKind::NotFound.into())),
            servers: std::sync::Arc::new(|| Ok(Vec::new())),
        };
        let agent = Agent::open(options).unwrap();
        Self { dir, agent }
    }

    fn told(&self, id: &str, verb: Verb) -> Answer {
        let (say, said) = channel();
        let command = Command { id: id.to_owned(), fence: 0, person: "mallory".to_owned(), verb };
        self.agent.handle(&command, &move |message| say.send(message).unwrap());
        match said.iter().last().unwrap() {
            FromAgent::Done { answer, .. } => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Every file but those of the state, with its content; and of the state, which names there are outside the agent's own.
    fn seen(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut out = BTreeMap::new();
        walk(self.dir.path(), &mut |path| {
            let shown = path.strip_prefix(self.dir.path()).unwrap().to_owned();
            let content = if shown.starts_with("state") { Vec::new() } else { std::fs::read(path).unwrap() };
            // The host's own ledger may be written: names are what matters there.
            if !shown.starts_with("state/agent") {
                out.insert(shown, content);
            }
        });
        out
    }
}

fn walk(dir: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), each);
        } else {
            each(&entry.path());
        }
    }
}

fn class(answer: &Answer) -> Option<Class> {
    if let Answer::Failed(failed) = answer { Some(failed.class) } else { None }
}

#[test]
fn names_from_a_control_plane_lead_nowhere() {
    let world = World::new();
    let before = world.seen();
    let apply = |rehearsal: &str| What::Apply {
        rehearsal: rehearsal.to_owned(),
        force_verdict: Some("now".to_owned()),
        once_elsewhere: false,
        staged: None,
    };
    let prepare = |change: &str, what| Verb::Prepare { change: change.to_owned(), what, why: None, hold_s: u64::MAX };
    for (n, name) in names().iter().enumerate() {
        let unwind = Verb::Unwind { change: name.clone(), why: String::new() };
        let verbs = [
            prepare(name, apply("r1")),
            prepare(&format!("c{n}-a"), apply(name)),
            prepare(&format!("c{n}-b"), What::Undo { local: name.clone() }),
            Verb::Commit { change: name.clone() },
            unwind,
        ];
        for (m, verb) in verbs.into_iter().enumerate() {
            let answer = world.told(&format!("x{n}-{m}"), verb.clone());
            assert_eq!(class(&answer), Some(Class::Usage), "{verb:?}: {answer:?}");
        }
        // As the name of the command itself: it is not begun at all.
        for verb in [Verb::Run { argv: vec!["status".to_owned()] }, prepare("c1", apply("r1"))] {
            let answer = world.told(name, verb);
            assert_eq!(class(&answer), Some(Class::Usage), "{name:?}: {answer:?}");
        }
        assert!(world.agent.recorded(name).is_err(), "{name:?}");
    }
    assert_eq!(world.seen(), before);
    walk(&world.dir.path().join("state/agent"), &mut |path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with('x') || name.starts_with('c'), "{}", path.display());
    });
}

#[test]
fn an_agent_runs_what_is_on_the_list_whatever_the_control_plane_says() {
    let world = World::new();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (n, line) in [
        "rehearse -- sh -c id",
        "hotfix",
        "apply r1",
        "serve",
        "login https://elsewhere",
        "token create mallory --role admin",
        "status --on all",
        "--root=/ status",
        "status --state /tmp",
        "--progress status install",
        "diff this /etc/shadow",
        "check /etc/shadow",
    ]
    .iter()
    .enumerate()
    {
        let answer = world.told(&format!("x{n}"), Verb::Run { argv: words(line) });
        assert_eq!(class(&answer), Some(Class::Usage), "{line}: {answer:?}");
    }
    assert_eq!(*RAN.lock().unwrap(), Vec::<Vec<String>>::new());
    world.told("y1", Verb::Run { argv: words("--json status --full") });
    let ran = RAN.lock().unwrap().pop().unwrap();
    let at = |part: &str| world.dir.path().join(part).to_str().unwrap().to_owned();
    let expected = ["--local", "--root", &at("root"), "--state", &at("state"), "--json", "status", "--full"];
    assert_eq!(ran, expected, "on the agent's own host and state");
}

#[test]
fn what_is_no_order_is_refused() {
    let world = World::new();
    let before = world.seen();
    for (n, order) in [
        Rehearse::default(),
        Rehearse { file: Some("\0".to_owned()), ..Rehearse::default() },
        Rehearse { file: Some("[[".to_owned()), ..Rehearse::default() },
        Rehearse { argv: vec!["true".to_owned()], allow: vec!["../..:x".to_owned()], ..Rehearse::default() },
    ]
    .into_iter()
    .enumerate()
    {
        let answer = world.told(&format!("r{n}"), Verb::Rehearse(Box::new(order.clone())));
        assert_eq!(class(&answer), Some(Class::Usage), "{order:?}: {answer:?}");
    }
    assert_eq!(world.seen(), before);
}
