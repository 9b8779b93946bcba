//! A few cases of `cargo xtask fidelity` (docs/fidelity.md): real hosts, a direct run against rehearse and apply, then undo.
//!
//! The code is that of the task, so the test judges by the same rule.

#[allow(dead_code, reason = "the task tells more of it than the test")]
#[path = "../../../xtask/src/fidelity/cases.rs"]
mod cases;
#[allow(dead_code, reason = "the task tells more of it than the test")]
#[path = "../../../xtask/src/fidelity/judge.rs"]
mod judge;
#[path = "../../../xtask/src/fidelity/tree.rs"]
mod tree;
#[allow(dead_code, reason = "the task tells more of it than the test")]
#[path = "../../../xtask/src/fidelity/trial.rs"]
mod trial;

use greenroom_testkit::need_root;
use std::path::Path;

/// Cases that need little of the mirror, each with another kind of difficulty.
const FEW: [&str; 4] = ["config", "conffiles", "purge", "ping"];

#[test]
fn what_goes_live_is_what_the_command_would_have_done() {
    need_root!();
    let mut bench = trial::Bench::new(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
    for case in cases::CASES.iter().filter(|case| FEW.contains(&case.name)) {
        let outcome = bench.run(case).unwrap_or_else(|why| panic!("{}: {why}", case.name));
        assert!(outcome.entries > 0, "{} changes nothing", case.name);
        let groups = [("applied", &outcome.applied), ("rehearsed", &outcome.untouched), ("undone", &outcome.undone)];
        for (when, verdict) in groups {
            assert!(verdict.wrong.is_empty(), "{}, {when}: {:#?}", case.name, verdict.wrong);
        }
        assert!(outcome.units.is_empty(), "{}: {:?}", case.name, outcome.units);
    }
}
