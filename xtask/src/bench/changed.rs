//! Many changed files: capturing 10,000, taking 10,000 back, the memory for 200,000.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;
use rustix::fs::{RenameFlags, renameat_with, syncfs};

use super::measure::{Measured, Target, in_turn, timed};
use super::world::{Host, World, text};

const FILES: usize = 10_000;

/// What a rehearsal runs: a line more in each file.
const EDIT: &str = "cd /srv/many && for file in */*; do echo changed >> $file; done";

/// `capture_ms` of a rehearsal that appends a line to each file, on a host with a record of its state and on one without, against
/// reading and hashing the files as they are after it.
pub(super) fn capture(world: &World) -> Result<Vec<Measured>> {
    let host = world.host("capture")?;
    let files = many(&host)?;
    let mut number = 0;
    let mut ours = || {
        number += 1;
        // Another line each time: the contents must not be in the store already.
        let ran = host.rehearse(&EDIT.replace("changed", &format!("change {number}")))?;
        ensure!(ran.answer["entries"].as_u64() >= Some(FILES as u64), "{} entries", ran.answer["entries"]);
        let took = ran.answer["timings"]["capture_ms"].as_u64().context("the answer has no capture_ms")?;
        Ok(Duration::from_millis(took))
    };
    let theirs = || Ok(timed(|| files.par_iter().try_for_each(|path| hash(path)))?.0);
    let without = in_turn(5, &mut ours, theirs)?;
    // Files as young as these are read again by every scan: a host in use has few of them.
    std::thread::sleep(OLD);
    host.run(&["status", "--json"])?;
    let with = in_turn(5, &mut ours, theirs)?;
    let measured = |what, (ours, theirs), targets| Measured {
        what,
        peer: "reading and BLAKE3-hashing them with all cores",
        unit: "ms",
        ours,
        theirs,
        targets,
    };
    Ok(vec![
        measured("capture of 10,000 changed files, on a host whose state is on record", with, vec![Target::Times(2.0)]),
        measured("the same, on a host without a record", without, Vec::new()),
    ])
}

/// After this time a scan believes what it read.
const OLD: Duration = Duration::from_secs(61);

fn hash(path: &Path) -> Result<()> {
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    std::hint::black_box(blake3::hash(&content));
    Ok(())
}

/// The whole `greenroom undo`, again and again (undoing an undo goes the same way), against 10,000 exchanges of names and
/// one syncfs(2).
pub(super) fn undo(world: &World) -> Result<Vec<Measured>> {
    let host = world.host("undo")?;
    let files = many(&host)?;
    let rehearsal = text(&host.rehearse(EDIT)?.answer, "rehearsal")?;
    let mut last = text(&host.run(&["apply", &rehearsal, "--json"])?.answer, "change")?;
    let aside = host.dir.join("aside");
    let pairs: Vec<(PathBuf, PathBuf)> =
        files.iter().enumerate().map(|(n, file)| (file.clone(), aside.join(n.to_string()))).collect();
    fs::create_dir(&aside).context("cannot make a directory")?;
    for (file, other) in &pairs {
        fs::copy(file, other).context("cannot copy a file")?;
    }
    settle(&host.dir)?;
    let ours = || {
        let ran = host.run(&["undo", &last, "--json"])?;
        last = text(&ran.answer, "change")?;
        settle(&host.dir)?;
        Ok(ran.took)
    };
    let theirs = || {
        // Twice, so that the files are as Greenroom left them.
        let took = exchange(&pairs, &host.dir)?;
        exchange(&pairs, &host.dir)?;
        Ok(took)
    };
    let (ours, theirs) = in_turn(7, ours, theirs)?;
    Ok(vec![Measured {
        what: "undo of 10,000 changed files, journalled and durable, whole command",
        peer: "10,000 renameat2(2) and syncfs(2)",
        unit: "ms",
        ours,
        theirs,
        targets: vec![Target::Times(3.0), Target::AtMost(1000.0)],
    }])
}

fn exchange(pairs: &[(PathBuf, PathBuf)], dir: &Path) -> Result<Duration> {
    let work = || {
        let at = rustix::fs::CWD;
        for (one, other) in pairs {
            renameat_with(at, one, at, other, RenameFlags::EXCHANGE).context("cannot exchange two names")?;
        }
        settle(dir)
    };
    Ok(timed(work)?.0)
}

fn settle(dir: &Path) -> Result<()> {
    let dir = fs::File::open(dir).context("cannot open a directory")?;
    syncfs(dir.as_fd()).context("cannot flush the file system")
}

/// The largest resident set of a whole rehearsal, its JSON report included, that makes 200,000 files.
pub(super) fn memory(world: &World) -> Result<Vec<Measured>> {
    const SCRIPT: &str = "mkdir /srv/new && cd /srv/new && i=0; while [ $i -lt 200 ]; do mkdir $i; j=0; \
        while [ $j -lt 1000 ]; do echo $i.$j > $i/$j; j=$((j+1)); done; i=$((i+1)); done";
    let mut ours = Vec::new();
    for _ in 0..2 {
        let host = world.host("memory")?;
        let mut command = host.command(&["rehearse", "--boot", "no", "--json", "--", "sh", "-c", SCRIPT]);
        let mut child = command.stdout(Stdio::null()).spawn().context("cannot start greenroom")?;
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let mut peak = 0;
        let ended = loop {
            peak = peak.max(high_water(&status));
            if let Some(ended) = child.try_wait().context("cannot wait for greenroom")? {
                break ended;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        ensure!(ended.success(), "the rehearsal ended with {ended}");
        ours.push(peak as f64 / 1024.0);
    }
    Ok(vec![Measured {
        what: "memory while rehearsing a change that makes 200,000 files",
        peer: "–",
        unit: "MiB",
        ours,
        theirs: Vec::new(),
        targets: vec![Target::AtMost(150.0)],
    }])
}

/// VmHWM in KiB.
pub(super) fn high_water(status: &Path) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// 10,000 files of 1 to 32 KiB, 165 MB in all, in 100 directories below `/srv/many`.
fn many(host: &Host<'_>) -> Result<Vec<PathBuf>> {
    let mut out = Vec::with_capacity(FILES);
    for number in 0..FILES {
        let dir = host.root.join(format!("srv/many/{:02}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&dir).context("cannot make a directory")?;
        }
        let path = dir.join(number.to_string());
        let line = format!("line {number} of a file that is like no other\n");
        fs::write(&path, line.repeat((number % 32 + 1) * 1024 / line.len())).context("cannot write a file")?;
        out.push(path);
    }
    settle(&host.dir)?;
    Ok(out)
}
