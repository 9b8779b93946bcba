//! The record of the machine's own /usr and /etc, and the scan, against find and AIDE; memory for a million paths.
//!
//! Each walk is a process of its own ([`walk`], a hidden command of this program), because that is what a person waits for and
//! what memory is counted of. The machine's directories are shown below a root of their own, so that the record does not lie in the
//! machine's state. AIDE reads the same files with the same attributes and a hash of the content.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use greenroom_core::TreePath;
use greenroom_core::policy::Policy;
use greenroom_host::baseline::{Baseline, Options};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::measure::{Measured, Target, in_turn};
use super::world::{World, must};

const PLACES: [&str; 2] = ["/usr", "/etc"];

/// What a walk does.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Walk {
    /// A first record.
    Record,
    /// A scan, with what it learned kept for the next.
    Scan,
}

/// Records or scans the tree at `root`, and prints the largest resident set of this process in KiB.
///
/// # Errors
/// The tree cannot be recorded or scanned.
pub(crate) fn walk(what: Walk, root: &Path, within: &[String]) -> Result<()> {
    let policy = Policy::new("", Vec::new(), Vec::new())?;
    let mut options = Options::new(&policy, jiff::Timestamp::now());
    options.within = within.iter().map(|place| TreePath::from(place.as_str())).collect();
    match what {
        Walk::Record => {
            let recorded = Baseline::record(root, &options)?;
            eprintln!("{:?}, {} problems", recorded.counts, recorded.problems.len());
        }
        Walk::Scan => {
            let baseline = Baseline::open(root)?.context("there is no record")?;
            let scanned = baseline.scan(&options)?;
            eprintln!("{:?}, {} differences", scanned.counts, scanned.differences.len());
            baseline.refresh(scanned.refresh)?;
        }
    }
    let status = fs::read_to_string("/proc/self/status").context("cannot read the memory of this process")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("{}", line.and_then(|rest| rest.split_whitespace().next()).context("no VmHWM")?);
    Ok(())
}

/// A walk in a process of its own: how long it took, and the largest resident set in MiB.
fn run(what: &str, root: &Path, within: &[&str]) -> Result<(Duration, f64)> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let began = Instant::now();
    let output = Command::new(own).args(["walk", what]).arg(root).args(within).output().context("cannot start")?;
    let took = began.elapsed();
    ensure!(output.status.success(), "walk {what}: {}", String::from_utf8_lossy(&output.stderr));
    let kib: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("walk printed no number")?;
    Ok((took, kib / 1024.0))
}

/// The machine's directories below a root of the benchmark's own, in its mount namespace.
struct Shown {
    root: PathBuf,
}

impl Shown {
    fn new(world: &World) -> Result<Self> {
        let out = Self { root: world.dir.join("machine") };
        for place in PLACES.iter().chain(&["/var/lib/dpkg"]) {
            let at = out.root.join(&place[1..]);
            fs::create_dir_all(&at).context("cannot make a directory")?;
            mount_bind(*place, &at).with_context(|| format!("cannot show {place}"))?;
        }
        Ok(out)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        for place in PLACES.iter().chain(&["/var/lib/dpkg"]) {
            if let Err(error) = unmount(self.root.join(&place[1..]), UnmountFlags::DETACH) {
                eprintln!("bench: cannot unmount {place}: {error}");
            }
        }
    }
}

/// The warm scan against the find(1) that prints what the scan looks at.
pub(super) fn warm(world: &World) -> Result<Vec<Measured>> {
    let shown = Shown::new(world)?;
    run("record", &shown.root, &PLACES)?;
    let ours = || Ok(run("scan", &shown.root, &PLACES)?.0);
    let theirs = || {
        let began = Instant::now();
        let mut find = Command::new("find");
        find.args(PLACES).args(["-xdev", "-printf", "%p %s %T@ %C@ %m %U %G\n"]).stdout(Stdio::null());
        must(&mut find)?;
        Ok(began.elapsed())
    };
    let (ours, theirs) = in_turn(11, ours, theirs)?;
    Ok(vec![Measured {
        what: "scan of /usr and /etc against the record, warm, whole process",
        peer: "`find -printf` of size, times, mode, owner",
        unit: "ms",
        ours,
        theirs,
        targets: vec![Target::Times(1.3)],
    }])
}

/// The same scan and the first record against AIDE.
pub(super) fn aide(world: &World) -> Result<Vec<Measured>> {
    ensure!(Path::new("/usr/bin/aide").exists(), "apt-get install aide");
    let shown = Shown::new(world)?;
    let (database, config) = (world.dir.join("aide.db"), world.dir.join("aide.conf"));
    let new = world.dir.join("aide.db.new");
    let text = format!(
        "database_in=file:{}\ndatabase_out=file:{}\ngzip_dbout=no\nreport_url=stdout\n\
         Checked = p+u+g+s+m+c+acl+xattrs+sha256\n/usr Checked\n/etc Checked\n",
        database.display(),
        new.display()
    );
    fs::write(&config, text).context("cannot write the configuration of AIDE")?;
    let run_aide = |what: &str| {
        let began = Instant::now();
        let out = File::create(world.dir.join("aide.log")).context("cannot make a file")?;
        let mut command = Command::new("aide");
        command.arg("--config").arg(&config).arg(what).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let status = command.status().context("cannot start aide")?;
        // Up to 7 it says what has changed meanwhile; above, that it could not look.
        match status.code() {
            Some(code) if code < 14 => Ok(began.elapsed()),
            _ => bail!("aide {what} ended with {status}: see its log"),
        }
    };
    let first = in_turn(2, || Ok(run("record", &shown.root, &PLACES)?.0), || run_aide("--init"))?;
    fs::rename(&new, &database).context("AIDE has written no database")?;
    let warm = in_turn(2, || Ok(run("scan", &shown.root, &PLACES)?.0), || run_aide("--check"))?;
    let measured = |what, peer, (ours, theirs), times| Measured {
        what,
        peer,
        unit: "ms",
        ours,
        theirs,
        targets: vec![Target::Faster(times)],
    };
    Ok(vec![
        measured("the same scan", "`aide --check` (p+u+g+s+m+c+acl+xattrs+sha256)", warm, 60.0),
        measured("first record of /usr and /etc, content hashes and packages' checksums", "`aide --init`", first, 8.0),
    ])
}

/// The largest resident set of a first record, of a scan that reads everything again, and of a warm one.
pub(super) fn million(world: &World) -> Result<Vec<Measured>> {
    let root = world.dir.join("million");
    fill(&root)?;
    let mut ours = Vec::new();
    let walks: [(&str, &[&str]); 3] = [("record", &[]), ("scan", &[]), ("scan", &[])];
    for (what, within) in walks {
        ours.push(run(what, &root, within)?.1);
    }
    // What counts is the worst of them.
    let worst = ours.iter().copied().fold(0.0, f64::max);
    Ok(vec![Measured {
        what: "memory of record and scan at 1,000,000 paths, the most of three walks",
        peer: "–",
        unit: "MiB",
        ours: vec![worst],
        theirs: Vec::new(),
        targets: vec![Target::AtMost(100.0)],
    }])
}

/// A million paths: many directories of a few, some of many, one of very many; every hundredth file has a second name.
fn fill(root: &Path) -> Result<()> {
    for (directories, files) in [(40_000, 4), (700, 1000), (1, 100_000)] {
        for number in 0..directories {
            let dir = root.join(format!("srv/{files}/{:03}/{number}", number % 200));
            fs::create_dir_all(&dir).context("cannot make a directory")?;
            for file in 0..files {
                let path = dir.join(format!("a-file-with-a-name-{file}.conf"));
                File::create(&path).context("cannot make a file")?;
                if file % 100 == 99 {
                    fs::hard_link(&path, dir.join(format!("a-link-{file}"))).context("cannot link a file")?;
                }
            }
        }
    }
    Ok(())
}
