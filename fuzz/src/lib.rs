//! Every parser that reads the network or foreign files, each as a function of bytes that must not panic, hang or take much
//! memory, and whose answer must be sound.
//!
//! `cargo fuzz` drives them with libFuzzer (`make fuzz`); `tests/short.rs` replays the corpus and tries some changes of it with
//! every run of the tests, on any toolchain. A new parser gets a function here, its row in [`TARGETS`], a file in
//! `fuzz_targets` and some inputs in `corpus`.
#![forbid(unsafe_code)]

use std::io::Cursor;
use std::path::Path;
use std::sync::OnceLock;

use greenroom_core::change::ChangeFile;
use greenroom_core::changeset::{Changeset, codec};
use greenroom_core::system::{Declaration, Files, Unsound};
use greenroom_core::wire::{FromAgent, Heard, ToAgent, Verb, from_afar};
use greenroom_core::{TreePath, api};
use greenroom_net::egress;
use greenroom_net::tls::Authority;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Something that takes bytes from elsewhere.
pub type Target = fn(&[u8]);

/// All of them, with the names of their corpora.
pub const TARGETS: [(&str, Target); 9] = [
    ("wire", wire),
    ("api", api),
    ("enrolment", enrolment),
    ("egress", egress),
    ("changeset", changeset),
    ("manifest", manifest),
    ("sources", sources),
    ("system_file", system_file),
    ("change_file", change_file),
];

/// What is read is written as something that is read as the same.
fn stays<T: Serialize + DeserializeOwned + PartialEq>(data: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(data).ok()?;
    let text = serde_json::to_vec(&read).expect("what was JSON is JSON");
    let again: T = serde_json::from_slice(&text).expect("what was written is read");
    let twice = serde_json::to_vec(&again).expect("what was JSON is JSON");
    assert!(text == twice, "it is another one when it is read again");
    Some(read)
}

/// What control plane and agents say, and which commands a control plane may send.
pub fn wire(data: &[u8]) {
    stays::<FromAgent>(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let read = Heard::read(text);
        assert_eq!(matches!(read, Ok(Heard::All(_))), serde_json::from_slice::<ToAgent>(data).is_ok());
    }
    if let Some(ToAgent::Do(command)) = stays::<ToAgent>(data)
        && let Verb::Run { argv } = &command.verb
        && from_afar(argv).is_ok()
    {
        let leads =
            |word: &String| ["--on", "--root", "--state"].iter().any(|name| word.split('=').next() == Some(name));
        assert!(!argv.iter().any(leads), "{argv:?}");
    }
}

/// The bodies of requests.
pub fn api(data: &[u8]) {
    stays::<api::NewEnrolment>(data);
    stays::<api::Enrol>(data);
    stays::<api::Renew>(data);
    stays::<api::NewToken>(data);
    stays::<api::NewRehearsal>(data);
    stays::<api::NewChange>(data);
    stays::<api::Undo>(data);
    stays::<api::Run>(data);
    // What a control plane answers to people's programs.
    stays::<api::Problem>(data);
    stays::<api::Change>(data);
    stays::<api::Rehearsal>(data);
    stays::<api::Event>(data);
}

/// A signing request: as it came, and as DER that is put into PEM.
pub fn enrolment(data: &[u8]) {
    use base64::Engine as _;

    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let authority = AUTHORITY.get_or_init(|| Authority::create("fuzz", 1_700_000_000).expect("an authority"));
    let sign = |text: &str| authority.sign(text, "web1", 1_700_000_000, 3600);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = sign(text);
    }
    let der = base64::engine::general_purpose::STANDARD.encode(data);
    let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{der}\n-----END CERTIFICATE REQUEST-----\n");
    if let Ok(signed) = sign(&pem) {
        assert_eq!(signed.not_after, 1_700_003_600);
    }
}

/// The head of a request to the proxy of a copy: what leaves is one head, and no second reading of it is possible.
pub fn egress(data: &[u8]) {
    let Ok(out) = egress::rewritten(data) else { return };
    let ends = out.windows(4).filter(|four| four == b"\r\n\r\n").count();
    assert!(ends == 1 && out.ends_with(b"\r\n\r\n"), "{:?}", String::from_utf8_lossy(&out));
    let lower = out.to_ascii_lowercase();
    let fields = |name: &[u8]| lower.split(|b| *b == b'\n').filter(|line| line.starts_with(name)).count();
    assert!(fields(b"host:") == 1, "{:?}", String::from_utf8_lossy(&out));
    assert!(fields(b"content-length:") + fields(b"transfer-encoding:") <= 1, "{:?}", String::from_utf8_lossy(&out));
    assert!(
        !lower.contains(&0)
            && out.iter().filter(|b| **b == b'\n').count() == out.iter().filter(|b| **b == b'\r').count()
    );
}

/// A changeset from a store or another host.
pub fn changeset(data: &[u8]) {
    let Ok(read) = codec::decode(data) else { return };
    let mut again = Vec::new();
    codec::encode(&read, &mut |piece| again.extend_from_slice(piece));
    assert!(again == data, "the encoding is not the only one");
    assert!(read.entries().iter().all(|entry| entry.path.is_plain()), "a path leads elsewhere");
    assert!(read.inverse().inverse() == read, "the inverse of its inverse is another one");
    let both: Result<Changeset, _> = Changeset::new(read.entries().to_vec(), Vec::new());
    assert!(both.is_ok());
}

/// A manifest file.
pub fn manifest(data: &[u8]) {
    let Ok(mut reader) = greenroom_host::parity::Reader::open(Box::new(Cursor::new(data.to_vec()))) else { return };
    while let Ok(Some(state)) = reader.next_path() {
        assert!(state.path.is_plain(), "{}", state.path);
        assert!(TreePath::new(state.path.as_bytes()) == state.path);
    }
}

/// Configured package sources: the first byte says whose file it is.
pub fn sources(data: &[u8]) {
    const FILES: [&str; 8] = [
        "etc/apt/sources.list",
        "etc/apt/sources.list.d/x.sources",
        "etc/apt/apt.conf",
        "etc/pip.conf",
        "etc/npmrc",
        "root/.cargo/config.toml",
        "etc/apt/apt.conf.d/50x",
        "root/.npmrc",
    ];
    thread_local! {
        static ROOT: tempfile::TempDir = root();
    }
    fn root() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for file in FILES {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
        }
        dir
    }
    let Some((first, text)) = data.split_first() else { return };
    let file = FILES[usize::from(*first) % FILES.len()];
    ROOT.with(|dir| {
        let path = dir.path().join(file);
        std::fs::write(&path, text).expect("a file");
        let found = greenroom_host::sources::package_sources(dir.path());
        std::fs::remove_file(&path).expect("a file");
        for one in found.destinations {
            let strange = |c: char| c.is_control() || c.is_whitespace() || "/@#?".contains(c);
            assert!(one.port != 0 && !one.host.is_empty() && !one.host.contains(strange), "{one:?}");
        }
    });
}

/// One file, which may include itself.
struct One<'a>(&'a str);

impl Files for One<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        if path.len() < 30 { Ok(self.0.to_owned()) } else { Err("there is none".to_owned()) }
    }

    fn names(&self, _dir: &str) -> Result<Vec<String>, String> {
        Ok(vec!["a.toml".to_owned(), "b.toml".to_owned()])
    }
}

/// A system file; what is wrong with it can be shown.
pub fn system_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Declaration::read("greenroom.toml", &One(text)) {
        Ok(declaration) => {
            for name in declaration.environments() {
                assert!(declaration.system(Some(name)).is_ok(), "{name}");
            }
        }
        Err(Unsound::Problems(problems)) => {
            assert!(!problems.is_empty());
            problems.iter().for_each(|problem| drop(problem.render()));
        }
        Err(Unsound::Unreadable(_)) => {}
    }
}

/// A change file; what is wrong with it can be shown.
pub fn change_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ChangeFile::parse(text, "change.toml") {
        Ok(file) => drop(file.files_needed().len()),
        Err(problems) => {
            assert!(!problems.is_empty());
            problems.iter().for_each(|problem| drop(problem.render()));
        }
    }
}
