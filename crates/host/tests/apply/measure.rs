//! Times, against the bare system calls. Run with `--release --ignored --nocapture measure`.

use std::path::Path;
use std::time::{Duration, Instant};

use greenroom_host::apply::NoFaults;
use greenroom_host::sys::fs;

use super::support::{Lab, Spec, dir, file};

fn trees(files: usize) -> (Spec, Spec) {
    let make = |fill: char| {
        let mut spec = Spec::new();
        for i in 0..files {
            spec.insert(format!("/d{}", i / 100).into_bytes(), dir());
            let content = format!("{i} {}", fill.to_string().repeat(4090));
            spec.insert(format!("/d{}/f{i}", i / 100).into_bytes(), file(&content));
        }
        spec
    };
    (make('a'), make('b'))
}

/// 10,000 exchanges and a sync, nothing else.
fn bare(before: &Path, after: &Path, files: usize) -> Duration {
    use std::os::fd::AsFd as _;
    let (before, after) = (fs::open_root(before).unwrap(), fs::open_root(after).unwrap());
    let start = Instant::now();
    for i in 0..files {
        let path = format!("d{}/f{i}", i / 100);
        fs::exchange((before.as_fd(), path.as_bytes()), (after.as_fd(), path.as_bytes())).unwrap();
    }
    fs::sync_file_system(fs::open_dir(before.as_fd(), b"").unwrap().as_fd()).unwrap();
    start.elapsed()
}

#[test]
#[ignore = "a measurement"]
fn measure() {
    for files in [200, 10_000] {
        let (before, after) = trees(files);
        let lab = Lab::new(&before, &after);
        rustix::fs::sync();
        let start = Instant::now();
        lab.apply_with("c0", &NoFaults).unwrap();
        println!("{files} files: apply {:?}", start.elapsed());
        for round in 0..3 {
            let start = Instant::now();
            lab.undo_with(&format!("c{round}"), &format!("c{}", round + 1), &NoFaults).unwrap();
            let undo = start.elapsed();
            let bare = bare(&lab.path("before"), &lab.path("after"), files);
            println!(
                "{files} files: undo {undo:?}, bare {bare:?}, {:.2} times",
                undo.as_secs_f64() / bare.as_secs_f64()
            );
        }
    }
}
