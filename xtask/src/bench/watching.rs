//! What the watch costs: nothing while nothing happens, little while much does, and how soon an edit is in `status`.
//!
//! Each has a file system of its own, in an image: a watch hears of all that happens on a file system, and the rest of the machine
//! is not to be measured. The same work is done in turn with and without the watch; what is compared is the time that it takes, and
//! separately the processor time of the work and the watch together, which other programs on the machine change less.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use greenroom_testkit::lab::{Boot, Lab, LabHost};

use super::measure::{Measured, Target, millis};
use super::world::{World, must};

const PACKAGE: &str = "g++";
const ROUNDS: usize = 5;

/// An ext4 file system of its own.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn new(world: &World, name: &str) -> Result<Self> {
        let (image, at) = (world.dir.join(format!("{name}.img")), world.dir.join(name));
        fs::create_dir_all(&at).context("cannot make a directory")?;
        fs::File::create(&image)?.set_len(8 << 30)?;
        must(Command::new("mkfs.ext4").args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(&image))?;
        must(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at))?;
        world.copy_base(&at.join("root"))?;
        Ok(Self { at })
    }

    fn root(&self) -> PathBuf {
        self.at.join("root")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).status();
    }
}

/// A watch that runs.
struct Watch(Child);

impl Watch {
    fn start(world: &World, root: &Path) -> Result<Self> {
        let child = Command::new(&world.binary).arg("--root").arg(root).arg("watch").stderr(Stdio::null()).spawn();
        let out = Self(child.context("cannot start the watch")?);
        let until = Instant::now() + Duration::from_secs(10);
        while greenroom_host::watch::State::read(root)?.is_none_or(|state| state.pid != out.0.id()) {
            ensure!(Instant::now() < until, "the watch does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(out)
    }

    /// Its processor time until now.
    fn used(&self) -> Result<Duration> {
        ticks(&format!("/proc/{}/stat", self.0.id()), 14)
    }

    /// The same once it has worked off what there was.
    fn settled(&self) -> Result<Duration> {
        let mut last = self.used()?;
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.used()?;
            if now == last {
                return Ok(now);
            }
            last = now;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// User and system time in a `stat` of proc(5), from field `first` on, in clock ticks of which all Linux machines have 100 a second.
fn ticks(stat: &str, first: usize) -> Result<Duration> {
    let text = fs::read_to_string(stat).with_context(|| format!("cannot read {stat}"))?;
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(first - 3).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// What one round took: on the clock, and of the processors.
#[derive(Clone, Copy)]
struct Took {
    clock: Duration,
    processor: Duration,
}

/// The rows of one piece of work, measured in turn with and without a watch.
fn both(what: [&'static str; 2], mut round: impl FnMut(bool) -> Result<Took>) -> Result<Vec<Measured>> {
    let mut rows = what.map(|what| Measured {
        what,
        peer: "the same without a watch",
        unit: "ms",
        ours: Vec::new(),
        theirs: Vec::new(),
        targets: vec![Target::Times(1.05)],
    });
    for number in 0..=ROUNDS {
        // What comes second finds other caches: each is second every other time.
        let (first, second) = (number % 2 == 0, number % 2 == 1);
        for watched in [first, second] {
            let took = round(watched)?;
            if number > 0 {
                for (row, value) in rows.iter_mut().zip([took.clock, took.processor]) {
                    if watched { &mut row.ours } else { &mut row.theirs }.push(millis(value));
                }
            }
        }
    }
    Ok(rows.into())
}

pub(super) fn all(world: &World) -> Result<Vec<Measured>> {
    let mut out = idle(world)?;
    out.extend(untar(world)?);
    out.extend(packages()?);
    Ok(out)
}

/// A watch of a Debian root on which nothing happens but an edit now and then.
fn idle(world: &World) -> Result<Vec<Measured>> {
    let disk = Disk::new(world, "idle")?;
    let host = world.at(&disk.at);
    let watch = Watch::start(world, &disk.root())?;
    host.run(&["status", "--json"])?;
    let (mut share, mut soon) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = watch.used()?;
        std::thread::sleep(Duration::from_secs(5));
        share.push((watch.used()? - before).as_secs_f64() / 5.0 * 100.0);
    }
    for number in 0..ROUNDS {
        let began = Instant::now();
        must(Command::new("touch").arg(disk.root().join(format!("srv/{number}"))))?;
        let answer = host.run(&["status", "--json"])?.answer;
        soon.push(millis(began.elapsed()));
        let last = answer["drift"].as_array().and_then(|list| list.last()).context("the edit is not in `status`")?;
        ensure!(last["actor"]["process"] == "touch", "not attributed: {last}");
    }
    let row = |what, unit, ours, limit| Measured {
        what,
        peer: "",
        unit,
        ours,
        theirs: Vec::new(),
        targets: vec![Target::AtMost(limit)],
    };
    Ok(vec![
        row("an idle watch, of one core", "%", share, 1.0),
        row("an edit, then `status` with its author, whole command", "ms", soon, 1000.0),
    ])
}

/// As many files and bytes as the source of a kernel has, out of an archive.
fn untar(world: &World) -> Result<Vec<Measured>> {
    let disk = Disk::new(world, "untar")?;
    let archive = world.dir.join("source.tar");
    make_archive(&world.dir.join("source"), &archive)?;
    let to = disk.root().join("srv/source");
    both(["unpacking 70,000 files", "the same, processor time with the watch's own"], |watched| {
        let watch = watched.then(|| Watch::start(world, &disk.root())).transpose()?;
        fs::create_dir_all(&to)?;
        let children = ticks("/proc/self/stat", 16)?;
        let began = Instant::now();
        must(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&to))?;
        let clock = began.elapsed();
        let processor = ticks("/proc/self/stat", 16)? - children;
        let own = watch.as_ref().map_or(Ok(Duration::ZERO), Watch::settled)?;
        drop(watch);
        must(Command::new("rm").arg("-r").arg(&to))?;
        must(&mut Command::new("sync"))?;
        Ok(Took { clock, processor: processor + own })
    })
}

/// 70,000 files of 16 KB on average in 4,600 directories.
fn make_archive(dir: &Path, archive: &Path) -> Result<()> {
    let text: Vec<u8> = (0..40_000u32).map(|at| b' ' + (at.wrapping_mul(2_654_435_761) >> 27) as u8 * 2).collect();
    for number in 0..4_600 {
        let dir = dir.join(format!("{}/{number}", number % 40));
        fs::create_dir_all(&dir)?;
        for file in 0..15 {
            let len = (number * 15 + file) * 7_919 % 32_000;
            fs::write(dir.join(format!("file{file}.c")), &text[..len])?;
        }
    }
    must(Command::new("tar").arg("-cf").arg(archive).arg("-C").arg(dir).arg("."))?;
    must(Command::new("rm").arg("-r").arg(dir))
}

/// A large package with all that it needs, downloaded before, on a booted host with the service.
fn packages() -> Result<Vec<Measured>> {
    let lab = Lab::new()?;
    let mut host = lab.host("watching")?;
    let own = std::env::current_exe().context("cannot find this program")?;
    host.install_greenroom(&own.with_file_name("greenroom"))?;
    host.boot(&Boot::with_packages())?;
    shell(&host, "greenroom install --no-start >&2")?;
    shell(&host, &format!("apt-get -qq install -y --download-only {PACKAGE} >&2; sync"))?;
    both(
        ["`apt-get install` of g++ (already downloaded)", "the same, processor time with the watch's own"],
        |watched| {
            let install = format!(
                "{}; TIMEFORMAT='%R %U %S'; time apt-get -qq install -y --no-download {PACKAGE} > /dev/null 2>&1",
                if watched {
                    "systemctl start greenroom-watch"
                } else {
                    "systemctl stop greenroom-watch 2>/dev/null; :"
                },
            );
            let times = shell(&host, &format!("({install}) 2>&1"))?;
            let mut times = times.split_whitespace().filter_map(|n| n.parse().ok()).map(Duration::from_secs_f64);
            let (clock, user, system) = (times.next(), times.next(), times.next());
            let used = "sleep 1; cut -d' ' -f14,15 /proc/$(systemctl show -P MainPID greenroom-watch)/stat";
            let own = if watched { shell(&host, used)? } else { String::new() };
            let own: u64 = own.split_whitespace().filter_map(|n| n.parse::<u64>().ok()).sum();
            shell(&host, &format!("apt-get -qq purge -y --autoremove {PACKAGE} > /dev/null 2>&1; sync"))?;
            let processor = user.context("no times")? + system.context("no times")? + Duration::from_millis(own * 10);
            Ok(Took { clock: clock.context("no times")?, processor })
        },
    )
}

fn shell(host: &LabHost, script: &str) -> Result<String> {
    Ok(host.exec_ok(&["bash", "-c", script])?.out())
}
