//! The privilege tiers of tests, and the printed reason when a test of a higher tier cannot run.
//!
//! * `unit`: runs as anybody, touches only its own temporary directory;
//! * `privileged`: needs root on the machine (mounts, device nodes, owners);
//! * `lab`: needs root and makes [lab hosts](crate::lab).
//!
//! As root nothing is ever skipped: a missing tool then is a failure with the name of the tool, because
//! `make setup` installs all of them. Only a user without root gets a skip, with its reason on stderr.

/// Why tests that need root cannot run here; `None` when they can.
#[must_use]
pub fn why_not_privileged() -> Option<&'static str> {
    if rustix::process::geteuid().is_root() { None } else { Some("needs root: run `sudo make test`") }
}

/// Returns from the test, after printing the reason, when the test does not run as root.
///
/// ```
/// # fn main() {
/// greenroom_testkit::need_root!();
/// // from here on the test is root
/// # }
/// ```
#[macro_export]
macro_rules! need_root {
    () => {
        if let Some(reason) = $crate::tier::why_not_privileged() {
            eprintln!("SKIPPED {}: {reason}", module_path!());
            return;
        }
    };
}
