//! Putting 200 files of 4 KiB on a host, against Ansible.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::measure::{Measured, Target, in_turn};
use super::world::{World, must, text};

/// The peer, as its package registry has it; runs on the Python of Debian 12.
pub(super) const ANSIBLE: &str = "ansible-core==2.19.14";

/// The whole `greenroom apply` of a rehearsal that made the files, against `ansible -m copy` of the directory over the
/// local connection. Both begin without the files.
pub(super) fn apply(world: &World) -> Result<Vec<Measured>> {
    let ansible = install(&world.cache, ANSIBLE, "ansible")?;
    let host = world.host("apply")?;
    let source = host.dir.join("source");
    fs::create_dir(&source).context("cannot make a directory")?;
    for number in 0..200 {
        let line = format!("a line of file {number}\n");
        let mut content = line.repeat(4096 / line.len() + 1).into_bytes();
        content.truncate(4096);
        fs::write(source.join(format!("file-{number}.conf")), content).context("cannot write a file")?;
    }
    // The change file brings the same files as the directory has.
    let change = host.dir.join("change.toml");
    let steps: String = (0..200)
        .map(|n| format!("[[step]]\ncopy = {{ from = \"source/file-{n}.conf\", to = \"/srv/app/file-{n}.conf\" }}\n"))
        .collect();
    fs::write(&change, format!("name = \"200 files\"\n[[step]]\nrun = \"mkdir -p /srv/app\"\n{steps}"))
        .context("cannot write a file")?;
    let change = change.display().to_string();
    let ours = || {
        let rehearsal = text(&host.run(&["rehearse", "--boot", "no", "--json", &change])?.answer, "rehearsal")?;
        let ran = host.run(&["apply", &rehearsal, "--json"])?;
        host.run(&["undo", &text(&ran.answer, "change")?, "--json"])?;
        Ok(ran.took)
    };
    let target = host.dir.join("target");
    let theirs = || {
        let _ = fs::remove_dir_all(&target);
        let began = Instant::now();
        must(
            Command::new(&ansible)
                .args(["localhost", "--connection", "local", "--inventory", "localhost,", "-m", "copy", "-a"])
                .arg(format!("src={}/ dest={}/", source.display(), target.display()))
                .env("ANSIBLE_LOCALHOST_WARNING", "False")
                // Its own Python: what it finds on the search path may be a wrapper that does not run here.
                .env("ANSIBLE_PYTHON_INTERPRETER", ansible.with_file_name("python"))
                .env("HOME", &host.dir)
                .stdin(Stdio::null()),
        )?;
        Ok(began.elapsed())
    };
    let (ours, theirs) = in_turn(3, ours, theirs)?;
    Ok(vec![Measured {
        what: "apply of 200 files of 4 KiB, whole command",
        peer: "Ansible `copy` of the directory, local connection",
        unit: "ms",
        ours,
        theirs,
        targets: vec![Target::Faster(30.0)],
    }])
}

/// A program of a Python package, in an environment of its own, outside the checkout.
pub(super) fn install(cache: &Path, package: &str, program: &str) -> Result<PathBuf> {
    let venv = cache.join(package.replace("==", "-"));
    let program = venv.join("bin").join(program);
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv)).context("apt-get install python3-venv")?;
    must(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", package]))?;
    Ok(program)
}
