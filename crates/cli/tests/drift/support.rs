//! A small tree that is a host, with its state beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use greenroom_testkit::oracle::Comparison;
use serde_json::Value;
use tempfile::TempDir;

/// What the tree is made of: everything that `EDITS` touches.
const MAKE: &str = r#"
mkdir -p etc/app etc/systemd/system etc/gone.d/deep usr/bin usr/lib srv/data var/lib var/log root home
printf 'one\ntwo\nthree\n' > etc/app/app.conf; printf 'key = 1\n' > etc/app/other.conf
printf '127.0.0.1 localhost\n' > etc/hosts; printf 'x' > etc/gone.d/deep/file; printf 'keep\n' > etc/gone.d/keep
printf 'a\n' > etc/linked-a; ln etc/linked-a etc/linked-b; ln -s app etc/link
printf 'dir becomes link\n' > srv/data/x; mkfifo srv/pipe
head -c 3000000 /dev/urandom > usr/lib/large.bin; printf 'small\n' > usr/bin/tool; chmod 755 usr/bin/tool
printf 'private\n' > etc/secret; chmod 600 etc/secret
find . -exec touch -h -d '2024-01-02 03:04:05.678901234' {} +
"#;

/// Every kind of edit whose old content is kept.
pub(crate) const EDITS: &str = r#"
sed -i s/two/TWO/ etc/app/app.conf
chmod 640 etc/app/other.conf; chown 7:8 etc/hosts; setfattr -n user.who -v me etc/hosts
rm -r etc/gone.d/deep
printf 'b\n' > etc/linked-a
rm etc/link; mkdir etc/link; printf 'in\n' > etc/link/in
rm -r srv/data; ln -s /nowhere srv/data
mkdir -p opt/new/tree; printf 'new\n' > opt/new/tree/file; cp -a /dev/null opt/new/null
printf 'tampered\n' > etc/secret
rm srv/pipe; printf 'no pipe\n' > srv/pipe
mv etc/gone.d/keep etc/gone.d/moved
: > "etc/$(printf 'new\nline')"; : > "etc/$(printf '\377')"
"#;

pub(crate) struct World {
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("drift").tempdir_in("/var/tmp").unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        let world = Self { dir };
        world.edit(MAKE);
        world
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Runs a script in the tree, as somebody who does not know of Greenroom.
    pub(crate) fn edit(&self, script: &str) {
        let mut shell = Command::new("sh");
        let output = shell.args(["-euc", script]).current_dir(self.root()).output().unwrap();
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("--root").arg(self.root()).arg("--state").arg(self.dir.path().join("state"));
        command.args(args).current_dir(self.dir.path()).output().unwrap()
    }

    pub(crate) fn json(&self, args: &[&str], code: i32) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        let output = self.run(&all);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}\n{errors}"))
    }

    pub(crate) fn text(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The paths that `status` names, those that are no UTF-8 as base64.
    pub(crate) fn drift(&self) -> Vec<String> {
        let status = self.json(&["status"], 0);
        let path = |one: &Value| match &one["path"] {
            Value::String(path) => path.clone(),
            other => format!("base64 {}", other["base64"].as_str().unwrap()),
        };
        status["drift"].as_array().unwrap().iter().map(path).collect()
    }

    /// A copy of the tree as it is, to compare with later.
    pub(crate) fn reference(&self, name: &str) -> PathBuf {
        let to = self.dir.path().join(name);
        let copied = Command::new("cp").arg("-a").arg(self.root()).arg(&to).status().unwrap();
        assert!(copied.success());
        to
    }

    /// The tree is as the reference but for the times of directories, which no record has.
    pub(crate) fn assert_like(&self, reference: &Path) {
        let mut any = vec![String::new()];
        for tree in [&self.root(), reference] {
            directories(tree, tree, &mut any);
        }
        let any: Vec<&str> = any.iter().map(String::as_str).collect();
        let comparison = Comparison::new(&self.root(), reference).exclude(&["var/lib/greenroom"]).any_time(&any);
        let found = comparison.differences();
        assert!(found.is_empty(), "{found:#?}");
    }
}

fn directories(top: &Path, dir: &Path, out: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            out.push(entry.path().strip_prefix(top).unwrap().to_str().unwrap().to_owned());
            directories(top, &entry.path(), out);
        }
    }
}
