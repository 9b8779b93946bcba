//! The table, printed and in `docs/benchmarks.md`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::measure::{Measured, Target, median};
use super::world::World;
use crate::program::workspace;

const BEGIN: &str = "<!-- generated: benchmarks -->\n";
const END: &str = "<!-- end of benchmarks -->";
const HEAD: &str = "| what | Greenroom | peer | | ratio | target | |\n|---|---|---|---|---|---|---|\n";

/// One line of the table.
pub(super) fn line(measured: &Measured) -> String {
    let (peer, ratio) = match measured.ratio() {
        Some(ratio) if ratio < 0.1 => (value(&measured.theirs, measured.unit), format!("{:.0} × faster", 1.0 / ratio)),
        Some(ratio) => (value(&measured.theirs, measured.unit), format!("{ratio:.2} ×")),
        None => (String::new(), String::new()),
    };
    let targets: Vec<String> = measured.targets.iter().map(|target| words(*target, measured.unit)).collect();
    format!(
        "| {} | {} | {} | {peer} | {ratio} | {} | {} |",
        measured.what,
        value(&measured.ours, measured.unit),
        measured.peer,
        targets.join(", "),
        match (measured.targets.is_empty(), measured.passes()) {
            (true, _) => "",
            (_, true) => "met",
            (_, false) => "**falls short**",
        },
    )
}

/// All single values, for the terminal.
pub(super) fn runs(measured: &Measured) -> String {
    let list = |values: &[f64]| values.iter().map(|v| format!("{v:.1}")).collect::<Vec<_>>().join(" ");
    format!("runs: {}; peer: {}", list(&measured.ours), list(&measured.theirs))
}

fn value(values: &[f64], unit: &str) -> String {
    let middle = median(values);
    if middle < 10.0 { format!("{middle:.1} {unit}") } else { format!("{middle:.0} {unit}") }
}

fn words(target: Target, unit: &str) -> String {
    match target {
        Target::AtMost(limit) => format!("≤ {limit} {unit}"),
        Target::Times(times) => format!("≤ {times} ×"),
        Target::Faster(times) => format!("≥ {times} × faster"),
    }
}

/// Puts these lines in the place of those of the same name; the others stay.
pub(super) fn write(world: &World, measured: &[Measured]) -> Result<()> {
    let path = workspace().join("docs/benchmarks.md");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (before, rest) = text.split_once(BEGIN).context("docs/benchmarks.md has lost its marker")?;
    let (old, after) = rest.split_once(END).context("docs/benchmarks.md has lost its marker")?;
    let name = |line: &str| line.split('|').nth(1).map(|cell| cell.trim().to_owned());
    let mut lines: Vec<String> =
        old.lines().filter(|l| l.starts_with("| ") && !HEAD.contains(*l)).map(str::to_owned).collect();
    for one in measured {
        let new = line(one);
        match lines.iter_mut().find(|line| name(line).as_deref() == Some(one.what)) {
            Some(line) => *line = new,
            None => lines.push(new),
        }
    }
    let table = lines.join("\n");
    let machine = machine(&world.dir);
    let text = format!("{before}{BEGIN}{HEAD}{table}\n\n{machine}\n{END}{after}");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What it was measured on, without names or places.
fn machine(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let info = rustix::system::sysinfo();
    let memory = info.totalram / (1 << 30);
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let number: String = kernel.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let systemd = if Path::new("/run/systemd/system").exists() { "systemd" } else { "not systemd" };
    let day = std::process::Command::new("date").arg("+%Y-%m-%d").output().map(|o| o.stdout).unwrap_or_default();
    format!(
        "Last measured on {} on a virtual machine with {cores} cores and {memory} GiB of memory, Linux {number}, {} on a \
         virtual disk, PID 1 is {systemd}; load of the last five minutes {:.1}.",
        String::from_utf8_lossy(&day).trim(),
        file_system(dir),
        load(),
    )
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

fn file_system(dir: &Path) -> String {
    let output = std::process::Command::new("stat").args(["-f", "-c", "%T"]).arg(dir).output();
    let name = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    if name == "ext2/ext3" { "ext4".to_owned() } else { name }
}
