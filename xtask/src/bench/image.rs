//! The image of a host at the control plane, against rsync to the same disk: the first time, and after 100 files have changed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use greenroom_testkit::lab::{Boot, Fleet, Lab};

use super::measure::{Measured, Target, in_turn};
use super::world::World;

/// Files besides those of Debian, and their length in bytes: with them the host has about 1 GB.
const FILES: usize = 12_000;
const LENGTH: usize = 56 << 10;

/// What no image has, for rsync to leave out as well.
const LEFT_OUT: &[&str] =
    &["/dev", "/proc", "/sys", "/run", "/tmp", "/var/tmp", "/var/log", "/var/cache", "/var/lib/greenroom"];

/// `greenroom image update` of a host with 1 GB, against `rsync -aHAX` over SSH.
pub(super) fn image(world: &World) -> Result<Vec<Measured>> {
    let dir = world.dir.join("image");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let lab = Lab::new()?;
    let mut fleet = Fleet::new(&lab)?;
    let root = fleet.add("web1")?.root().to_owned();
    fill(&root.join("srv/app"))?;
    fleet.boot(&Boot::networked())?;
    let plane = Plane { fleet: &fleet, world, state: dir.join("state"), tree: dir.join("tree") };
    let mut serve = plane.serve()?;
    // Joined, the host has its record, as every host has that is watched.
    let joined = plane.greenroom(&["join", "root@web1", "--program", &world.binary.display().to_string()]);
    let known = joined.and_then(|()| plane.greenroom(&["status", "--on", "web1"]));
    let outcome = known.and_then(|()| measure(&plane, &root, &mut serve));
    end(&mut serve)?;
    outcome
}

fn measure(plane: &Plane<'_>, root: &Path, serve: &mut Child) -> Result<Vec<Measured>> {
    let first = in_turn(
        3,
        || {
            plane.forget(serve)?;
            plane.update()
        },
        || {
            let _ = fs::remove_dir_all(&plane.tree);
            plane.rsync()
        },
    )?;
    let mut round = 0;
    let mut change = || {
        round += 1;
        change(&root.join("srv/app"), round)
    };
    let mut later = (Vec::new(), Vec::new());
    for counted in [false, true, true, true] {
        change()?;
        let (ours, theirs) = (plane.update()?, plane.rsync()?);
        if counted {
            later.0.push(ours.as_secs_f64() * 1000.0);
            later.1.push(theirs.as_secs_f64() * 1000.0);
        }
    }
    let row = |what, (ours, theirs)| Measured {
        what,
        peer: "`rsync -aHAX` over SSH to the same disk",
        unit: "ms",
        ours,
        theirs,
        targets: vec![Target::Times(1.0)],
    };
    Ok(vec![row("first image of a host of 1 GB", first), row("its update after 100 changed files", later)])
}

/// A control plane, and where rsync keeps its tree.
struct Plane<'a> {
    fleet: &'a Fleet,
    world: &'a World,
    state: std::path::PathBuf,
    tree: std::path::PathBuf,
}

impl Plane<'_> {
    fn serve(&self) -> Result<Child> {
        let mut command = self.fleet.operator().command(&self.world.binary);
        command.arg("--state").arg(&self.state);
        command.args(["serve", "--url", &format!("https://{}:7443", self.fleet.operator().address())]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start serve")?;
        let began = Instant::now();
        while self.greenroom(&["status"]).is_err() {
            ensure!(began.elapsed() < Duration::from_secs(30), "the control plane does not serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(child)
    }

    fn run(&self, command: &mut Command) -> Result<Duration> {
        let began = Instant::now();
        let output = command.stdin(Stdio::null()).output().context("cannot start it")?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(began.elapsed())
    }

    fn greenroom(&self, args: &[&str]) -> Result<()> {
        let mut command = self.fleet.operator().command(&self.world.binary);
        self.run(command.arg("--state").arg(&self.state).args(args)).map(drop)
    }

    fn update(&self) -> Result<Duration> {
        let mut command = self.fleet.operator().command(&self.world.binary);
        self.run(command.arg("--state").arg(&self.state).args(["image", "update", "--on", "web1"]))
    }

    /// The control plane knows no image and no content.
    fn forget(&self, serve: &mut Child) -> Result<()> {
        end(serve)?;
        fs::remove_dir_all(self.state.join("control/blobs")).context("cannot remove the contents")?;
        must_sql(&self.state.join("control/control.db"))?;
        *serve = self.serve()?;
        let began = Instant::now();
        while self.greenroom(&["status", "--on", "web1"]).is_err() {
            ensure!(began.elapsed() < Duration::from_secs(60), "the agent does not come back");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn rsync(&self) -> Result<Duration> {
        fs::create_dir_all(&self.tree)?;
        let mut command = self.fleet.operator().command("rsync");
        command.args(["-aHAX", "--delete", "--numeric-ids", "-e"]);
        command.arg(format!("ssh -F {}", self.fleet.ssh_config().display()));
        command.args(LEFT_OUT.iter().map(|path| format!("--exclude={path}/*")));
        self.run(command.arg("root@web1:/").arg(&self.tree))
    }
}

/// Drops what is on record of images.
fn must_sql(database: &Path) -> Result<()> {
    let sql = "DELETE FROM document WHERE kind LIKE 'image%';";
    super::world::must(Command::new("sqlite3").arg(database).arg(sql).stdin(Stdio::null()))
        .context("apt-get install sqlite3")
}

fn end(serve: &mut Child) -> Result<()> {
    serve.kill().and_then(|()| serve.wait()).map(drop).context("cannot end the control plane")
}

/// Content that compresses about as well as programs do.
fn content(number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let mut out = Vec::with_capacity(LENGTH);
    while out.len() < LENGTH {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend((state >> 16).to_le_bytes());
        out.extend(b"the quick brown fox, ".iter().take(usize::try_from(state % 16).unwrap_or(0)));
    }
    out.truncate(LENGTH);
    out
}

fn fill(dir: &Path) -> Result<()> {
    for number in 0..FILES {
        let sub = dir.join(format!("{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&sub)?;
        }
        fs::write(sub.join(format!("file-{number}")), content(number)).context("cannot write a file")?;
    }
    Ok(())
}

fn change(dir: &Path, round: usize) -> Result<()> {
    for number in (0..FILES).step_by(FILES / 100) {
        let path = dir.join(format!("{:03}/file-{number}", number / 100));
        fs::write(path, content(number + round * FILES)).context("cannot write a file")?;
    }
    Ok(())
}
