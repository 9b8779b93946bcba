//! What the watch costs: nothing while nothing happens, little while much does, and how soon an edit is in `status`.
//!
//! The idle watch has a file system of its own, in an image: a watch hears of all that happens on a file system, and the rest of the
//! machine is not to be measured. What much costs is measured on a booted host with the service as it is installed. The same work is done in turn with and without the watch; what is compared is the time that it takes, and
//! separately the processor time of the work and the watch together, which other programs on the machine change less.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use greenroom_testkit::lab::{Boot, Lab, LabHost};

use super::measure::{Measured, Target, millis};
use super::world::{World, must};

/// The difference is small, and unpacking takes now a tenth more, now a tenth less.
const ROUNDS: usize = 7;

/// An ext4 file system of its own.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn new(world: &World, name: &str) -> Result<Self> {
        let (image, at) = (world.dir.join(format!("{name}.img")), world.dir.join(name));
        fs::create_dir_all(&at).context("cannot make a directory")?;
        fs::File::create(&image)?.set_len(4 << 30)?;
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
        processor_time(&format!("/proc/{}/stat", self.0.id()))
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

/// User and system time in a `stat` of proc(5), in clock ticks of which all Linux machines have 100 a second.
pub(super) fn processor_time(stat: &str) -> Result<Duration> {
    let text = fs::read_to_string(stat).with_context(|| format!("cannot read {stat}"))?;
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Some work on a booted host, measured in turn with the service and without it.
fn both(host: &LabHost, what: [&'static str; 2], work: &str, clean: &str) -> Result<Vec<Measured>> {
    let row = |what, targets| {
        let (ours, theirs) = (Vec::new(), Vec::new());
        Measured { what, peer: "the same without a watch", unit: "ms", ours, theirs, targets }
    };
    let mut rows = [row(what[0], vec![Target::Times(1.05)]), row(what[1], Vec::new())];
    for number in 0..=ROUNDS {
        // What comes second finds other caches: each is second every other time.
        let first = number % 2 == 0;
        for watched in [first, !first] {
            let took = round(host, watched, work)?;
            shell(host, &format!("{clean}; sync"))?;
            for (row, value) in rows.iter_mut().zip(took).filter(|_| number > 0) {
                if watched { &mut row.ours } else { &mut row.theirs }.push(value * 1000.0);
            }
        }
    }
    Ok(rows.into())
}

/// Seconds on the clock, and seconds of the processors for the work and the watch.
fn round(host: &LabHost, watched: bool, work: &str) -> Result<[f64; 2]> {
    shell(host, if watched { "systemctl start greenroom-watch" } else { "systemctl stop greenroom-watch" })?;
    let times = shell(host, &format!("TIMEFORMAT='%R %U %S'; {{ time {{ {work}; }} > /dev/null 2>&1; }} 2>&1"))?;
    let times: Vec<f64> = times.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    ensure!(times.len() == 3, "no times: {times:?}");
    let mut own = 0.0;
    if watched {
        // Until it has worked off what there was.
        let used = "sleep 1; greenroom --root / log > /dev/null; cut -d' ' -f14,15 /proc/$(systemctl show -P MainPID greenroom-watch)/stat";
        own = shell(host, used)?.split_whitespace().filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0;
    }
    Ok([times[0], times[1] + times[2] + own])
}

pub(super) fn all(world: &World) -> Result<Vec<Measured>> {
    let mut out = idle(world)?;
    let lab = Lab::new()?;
    let mut host = lab.host("watching")?;
    host.install_greenroom(&world.binary)?;
    host.boot(&Boot::with_packages())?;
    shell(&host, "greenroom install --no-start >&2")?;
    let get = "cd /var/tmp; apt-get -qq download linux-source-6.1 && dpkg -x linux-source*.deb src && mv src/usr/src/*.xz k.tar.xz; \
        apt-get -qq install -y xz-utils; apt-get -qq install -y --download-only g++; sync";
    shell(&host, &format!("({get}) >&2"))?;
    out.extend(both(
        &host,
        ["unpacking the kernel's source (.tar.xz) in a managed path", "the same: processor time, the watch's included"],
        "mkdir /srv/k && tar -xf /var/tmp/k.tar.xz -C /srv/k",
        "rm -r /srv/k",
    )?);
    out.extend(both(
        &host,
        ["`apt-get install` of g++, already downloaded", "the same install: processor time, the watch's included"],
        "apt-get -qq install -y --no-download g++",
        "apt-get -qq purge -y --autoremove g++ > /dev/null 2>&1; apt-get -qq install -y xz-utils > /dev/null 2>&1",
    )?);
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

fn shell(host: &LabHost, script: &str) -> Result<String> {
    Ok(host.exec_ok(&["bash", "-c", script])?.out())
}
