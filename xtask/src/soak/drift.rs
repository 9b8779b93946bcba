//! A day of a host in minutes: edits by many short processes, packages that come and go, a watch that is killed and a queue that
//! overflows. Then `status` is held against what rsync finds and against what this driver wrote down of who did what.
//!
//! Nothing may be lost: each path that differs is reported and nothing else is. Nobody may be named who did not do it: an edit has
//! its own author, or none where the watch did not run, was stopped or had lost events.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use greenroom_host::watch::{Log, MarkKind, State};
use greenroom_testkit::crash::Random;
use greenroom_testkit::lab::Lab;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Edits of one hour.
const EDITS: u64 = 60;
/// More than the kernel's queue holds (`fs.fanotify.max_queued_events`).
const FLOOD: usize = 20_000;

/// What happens within a tick of the clock of files before a gap may be of the gap.
const TICK: Duration = Duration::from_millis(20);

/// What was done last to a path: the word on the command line of who did it, and whether the watch must know it.
struct Done {
    word: String,
    seen: bool,
}

struct Day {
    dir: tempfile::TempDir,
    binary: PathBuf,
    random: Random,
    watch: Option<Child>,
    done: BTreeMap<String, Done>,
    number: u64,
    tally: BTreeMap<&'static str, u64>,
}

/// Runs `hours` of it.
///
/// # Errors
/// Something was lost, invented or blamed on the wrong one.
pub(super) fn run(binary: &Path, hours: u64, random: Random) -> Result<()> {
    let lab = Lab::new().context("make a lab")?;
    let dir = tempfile::tempdir_in("/var/tmp").context("make a directory below /var/tmp")?;
    let mut day = Day {
        dir,
        binary: binary.to_owned(),
        random,
        watch: None,
        done: BTreeMap::new(),
        number: 0,
        tally: BTreeMap::new(),
    };
    day.prepare(lab.host("soak")?.root())?;
    for hour in 0..hours {
        day.hour(hour)?;
    }
    let report = day.report()?;
    day.end_watch(Signal::TERM)?;
    day.judge(&report)?;
    let words: Vec<String> = day.tally.iter().map(|(what, count)| format!("{count} {what}")).collect();
    println!("{hours} hours of drift: {}", words.join(", "));
    Ok(())
}

impl Day {
    fn root(&self) -> PathBuf {
        self.dir.path().join("disk/root")
    }

    fn count(&mut self, what: &'static str, more: u64) {
        *self.tally.entry(what).or_default() += more;
    }

    /// A host on a file system of its own, its record, and a copy of it for rsync.
    fn prepare(&mut self, base: &Path) -> Result<()> {
        let (image, disk) = (self.dir.path().join("image"), self.dir.path().join("disk"));
        fs::create_dir(&disk)?;
        fs::File::create(&image)?.set_len(4 << 30)?;
        must(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        must(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&disk))?;
        must(Command::new("cp").arg("-a").arg(base).arg(self.root()))?;
        for number in 0..200 {
            fs::create_dir_all(self.root().join(format!("srv/{}", number % 10)))?;
            fs::write(self.root().join(format!("srv/{}/f{number}", number % 10)), "one\ntwo\n")?;
        }
        for number in 0..3 {
            self.package(number)?;
        }
        self.start_watch()?;
        self.report()?;
        must(Command::new("cp").arg("-a").arg(self.root()).arg(disk.join("before")))
    }

    /// A package of twenty files.
    fn package(&self, number: u64) -> Result<()> {
        let tree = self.dir.path().join(format!("soak{number}"));
        fs::create_dir_all(tree.join("DEBIAN"))?;
        fs::create_dir_all(tree.join(format!("usr/share/soak{number}")))?;
        let control =
            format!("Package: soak{number}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n");
        fs::write(tree.join("DEBIAN/control"), control)?;
        for file in 0..20 {
            fs::write(tree.join(format!("usr/share/soak{number}/{file}")), format!("{number} {file}\n"))?;
        }
        let to = self.root().join(format!("var/tmp/soak{number}.deb"));
        must(Command::new("dpkg-deb").arg("-b").arg(&tree).arg(to))
    }

    fn hour(&mut self, hour: u64) -> Result<()> {
        for _ in 0..EDITS {
            self.edit(true)?;
        }
        match self.below(4) {
            0 => self.killed()?,
            1 => self.overflow()?,
            2 => {
                let number = self.below(3);
                let done = if self.root().join(format!("usr/share/soak{number}")).exists() { "-P" } else { "-i" };
                let what = if done == "-i" { format!("/var/tmp/soak{number}.deb") } else { format!("soak{number}") };
                must(Command::new("chroot").arg(self.root()).args(["dpkg", done, &what]))?;
                self.count("package runs", 1);
            }
            _ => {
                self.pass()?;
                self.end_watch(Signal::TERM)?;
                self.start_watch()?;
                self.count("restarts", 1);
            }
        }
        if hour % 6 == 5 {
            self.report()?;
        }
        Ok(())
    }

    /// The watch dies in the middle of edits, and others follow until it runs again.
    fn killed(&mut self) -> Result<()> {
        self.pass()?;
        let last = self.below(5);
        for _ in 0..last {
            self.edit(false)?;
        }
        self.end_watch(Signal::KILL)?;
        for _ in 0..10 {
            self.edit(false)?;
        }
        self.start_watch()?;
        self.count("kills", 1);
        Ok(())
    }

    /// The watch does not get to read while more happens than the kernel keeps.
    fn overflow(&mut self) -> Result<()> {
        // The log drops its oldest file now and then, and marks with it.
        let last = |root: &Path| -> Result<Option<u64>> {
            Ok(Log::read(root, None)?.marks().iter().rfind(|mark| mark.mark == MarkKind::Overflow).map(|mark| mark.seq))
        };
        self.pass()?;
        let before = last(&self.root())?;
        self.signal(Signal::STOP)?;
        for _ in 0..3 {
            self.edit(false)?;
        }
        let dir = self.root().join("tmp/flood");
        fs::create_dir_all(&dir)?;
        for number in 0..FLOOD {
            fs::write(dir.join(number.to_string()), "")?;
        }
        for _ in 0..10 {
            self.edit(false)?;
        }
        self.signal(Signal::CONT)?;
        let until = Instant::now() + Duration::from_secs(60);
        while last(&self.root())? <= before {
            ensure!(Instant::now() < until, "the overflow left no mark");
        }
        fs::remove_dir_all(dir)?;
        self.count("overflows", 1);
        Ok(())
    }

    /// One short process does one thing to one path, or to two.
    fn edit(&mut self, seen: bool) -> Result<()> {
        self.number += 1;
        let word = format!("edit-{}", self.number);
        let (from, to) = (self.path(), self.path());
        let script = match self.below(9) {
            0 | 1 => "open F, '>>', $f; print F qq($w\\n); close F",
            2 => "open F, '>', $f; print F qq($w\\n); close F",
            3 => "open F, '>', qq($f.new); print F qq($w\\n); close F; rename qq($f.new), $f",
            4 => "unlink $f",
            5 => "chmod 0600 + ($w =~ /(\\d)$/)[0], $f",
            6 => "utime 1, 1000000 + ($w =~ /(\\d+)/)[0], $f",
            7 => "rename $f, $t",
            _ => "unlink $f; symlink qq(nowhere/$w), $f",
        };
        let all = format!("my ($f, $t, $w) = @ARGV; {script}");
        let (f, t) = (self.root().join(&from), self.root().join(&to));
        let state =
            |path: &Path| path.symlink_metadata().ok().map(|meta| (meta.ino(), meta.ctime(), meta.ctime_nsec()));
        let before = [state(&f), state(&t)];
        // The clock of files is coarse: two edits of one tick look like one.
        std::thread::sleep(Duration::from_millis(5));
        must(Command::new("perl").args(["-e", &all]).arg(&f).arg(&t).arg(&word))?;
        self.count(if seen { "edits that were watched" } else { "edits that may have been missed" }, 1);
        for (path, before, now) in [(from, before[0], state(&f)), (to, before[1], state(&t))] {
            if before != now {
                self.done.insert(path, Done { word: word.clone(), seen });
            }
        }
        Ok(())
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.random.fraction() * limit as f64) as u64
    }

    fn path(&mut self) -> String {
        let number = self.below(200);
        format!("srv/{}/f{number}", number % 10)
    }

    fn start_watch(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(self.root()).args(["watch", "--bounded-queue"]).stderr(Stdio::null());
        let child = command.spawn().context("start the watch")?;
        let until = Instant::now() + Duration::from_secs(20);
        while State::read(&self.root())?.is_none_or(|state| state.pid != child.id()) {
            ensure!(Instant::now() < until, "the watch does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.watch = Some(child);
        Ok(())
    }

    /// What was done until now is before whatever gap follows.
    fn pass(&self) -> Result<()> {
        std::thread::sleep(TICK);
        Log::read(&self.root(), None)?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.watch.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed())).context("no watch")?;
        kill_process(pid, signal).context("signal the watch")
    }

    fn end_watch(&mut self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        if let Some(mut child) = self.watch.take() {
            child.wait()?;
        }
        Ok(())
    }

    fn report(&self) -> Result<Value> {
        let mut command = Command::new(&self.binary);
        command
            .arg("--root")
            .arg(self.root())
            .arg("--state")
            .arg(self.dir.path().join("state"))
            .args(["status", "--json"]);
        let output = command.output().context("start greenroom")?;
        ensure!(output.status.success(), "status: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("read the report")
    }

    fn judge(&mut self, report: &Value) -> Result<()> {
        let drift = report["drift"].as_array().context("no drift")?;
        let found: BTreeMap<&str, &Value> = drift.iter().filter_map(|one| Some((one["path"].as_str()?, one))).collect();
        let mine: BTreeSet<&str> = found.keys().copied().filter(|path| path.starts_with("/srv/")).collect();
        let want = self.differ()?;
        let lost: Vec<_> = want.iter().filter(|path| !mine.contains(path.as_str())).collect();
        let invented: Vec<_> = mine.iter().filter(|path| !want.contains(**path)).collect();
        ensure!(
            lost.is_empty() && invented.is_empty(),
            "lost: {lost:?}; invented: {:#?}",
            invented.iter().map(|path| found[**path]).collect::<Vec<_>>()
        );
        for path in &want {
            let (one, done) = (found[path.as_str()], &self.done[&path[1..]]);
            let command = one["actor"]["command"].as_str();
            let named = command.is_some_and(|command| command.ends_with(&format!(" {}", done.word)));
            match (one["found_by"].as_str(), named, done.seen) {
                (Some("watch"), true, _) => *self.tally.entry("differences with their author").or_default() += 1,
                (Some("scan"), false, false) if command.is_none() => {
                    *self.tally.entry("differences found by scan").or_default() += 1;
                }
                // A name that came and went unseen has left nothing that says so: who removed it before is named.
                (Some("watch"), false, false) if one["op"] == "delete" => {}
                _ => bail!("{} was to be named ({}): {one:#}\n{}", done.word, done.seen, self.told(path)?),
            }
        }
        Ok(())
    }

    /// What the log says of a path and of itself, for a violation.
    fn told(&self, path: &str) -> Result<String> {
        let log = Log::read(&self.root(), None)?;
        let changed = self.root().join(&path[1..]).symlink_metadata().map(|m| (m.ctime(), m.ctime_nsec()));
        let changed = changed.ok().and_then(|(s, n)| jiff::Timestamp::new(s, i32::try_from(n).ok()?).ok());
        Ok(format!("changed at {changed:?}\n{:#?}\n{:#?}", log.of(&path.into()), log.marks()))
    }

    /// What rsync says differs below `/srv`, both ways.
    fn differ(&self) -> Result<BTreeSet<String>> {
        let (now, before) = (self.root().join("srv/"), self.dir.path().join("disk/before/srv/"));
        let mut out = BTreeSet::new();
        for (from, to) in [(&now, &before), (&before, &now)] {
            let mut command = Command::new("rsync");
            command
                .args(["-nrlptgoDcHAX", "--modify-window=-1", "--omit-dir-times", "--out-format=%i %n"])
                .arg(from)
                .arg(to);
            let output = command.output().context("start rsync")?;
            ensure!(output.status.success(), "rsync failed");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let names = text.lines().filter_map(|line| line.split_once(' ')).filter(|(_, name)| !name.ends_with('/'));
            out.extend(names.map(|(_, name)| format!("/srv/{}", name.split(" -> ").next().unwrap_or(name))));
        }
        Ok(out)
    }
}

impl Drop for Day {
    fn drop(&mut self) {
        if let Some(mut child) = self.watch.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = Command::new("umount").arg(self.dir.path().join("disk")).status();
    }
}

fn must(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
