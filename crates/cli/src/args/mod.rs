//! The command line, declared; what is about many hosts, in [`fleet`].

mod fleet;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use greenroom_core::change::parse_duration;

pub use fleet::{
    Agent, AgentWhat, Approve, Image, ImageWhat, Join, Login, Named, Rebuild, Serve, System, SystemWhat, Token,
    TokenWhat, Upgrade,
};

/// Rehearse every production change on a copy of production, put it live, and take it back.
#[derive(Debug, Parser)]
#[command(
    name = "greenroom",
    version,
    max_term_width = 100,
    after_help = "First minute:  greenroom rehearse -- apt-get -y upgrade"
)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Debug, Args)]
pub struct Global {
    /// The root of the host's tree: `/`, or that of a container or a chroot
    #[arg(long, global = true, help_heading = "Options of all commands", value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Where rehearsals, contents and the ledger are kept
    #[arg(
        long,
        global = true,
        help_heading = "Options of all commands",
        value_name = "DIR",
        env = "GREENROOM_STATE",
        default_value = "/var/lib/greenroom"
    )]
    pub state: PathBuf,
    /// Print one JSON object on standard output
    #[arg(long, global = true, help_heading = "Options of all commands")]
    pub json: bool,
    /// Nothing on standard error but errors
    #[arg(long, short, global = true, help_heading = "Options of all commands")]
    pub quiet: bool,
    /// Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop,
    /// and ! in front takes out. Without a control plane, or with --local, everything is about this host
    #[arg(long, global = true, help_heading = "Options of all commands", value_name = "HOST", value_delimiter = ',')]
    pub on: Vec<String>,
    /// Do it on this host although a control plane is known
    #[arg(long, global = true, help_heading = "Options of all commands", conflicts_with = "on")]
    pub local: bool,
    /// How to tell what goes on across hosts
    #[arg(long, global = true, help_heading = "Options of all commands", value_enum, default_value = "text")]
    pub progress: Progress,
}

/// How progress is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Lines for people, on standard error
    Text,
    /// One JSON object a line, on standard output
    Json,
    /// Not at all
    None,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a change for real on a copy of this host and see what it does
    Rehearse(Rehearse),
    /// Work at a shell on a copy of this host, see what you did, then apply it or drop it
    Hotfix(Hotfix),
    /// Show what a rehearsal or a change does, path by path
    Show(Show),
    /// Put a rehearsed change live: exactly what was captured, only where the host is as rehearsed
    Apply(Apply),
    /// Take a change back
    Undo(Undo),
    /// The ledger: everything that happened, oldest first
    Log(Log),
    /// Say in how many places this host differs from its record: what, since when, by whom
    Status(Status),
    /// Show the differences from the record; the exit status is 1 when there are any
    Drift(Drift),
    /// Make differences part of the record: a change like any other, with its undo
    Adopt(Adopt),
    /// Take differences back: what is on record comes back to the host
    Revert(Revert),
    /// What differs between two systems, what most likely matters first
    Diff(Diff),
    /// All that `diff` needs to know of this host, on standard output: compare it elsewhere, or later
    Manifest,
    /// Finish what a crash interrupted
    Recover,
    /// Drop what nothing needs any more; never what an undo may need, unless you give that up
    Gc(Gc),
    /// Watch this host's files and note every change with who made it; `greenroom install` runs it as a service
    Watch(Watch),
    /// Write a commented greenroom.toml into this directory, from what this host says of itself
    Init(Init),
    /// Say what is wrong with a system file, or what it means
    Check(Check),
    /// Set up the services on this host: the watch, and a daily scrub
    Install(Install),
    /// Remove the services that `install` set up; records and the ledger stay
    Uninstall,
    /// Say what of the environment is missing, with the command that mends it
    Doctor,
    /// Run the control plane of many hosts on this machine
    Serve(Serve),
    /// Let a host in, over your own SSH; afterwards no SSH is needed
    Join(Join),
    /// Let this host in, with an invitation on standard input; `join` does it
    Enrol,
    /// Do on this host what the control plane sends; `greenroom install --agent` runs it as a service
    Agent(Agent),
    /// Follow a rehearsal or a change across hosts until it is over
    Follow(Named),
    /// Go on with a change across hosts that is paused
    Continue(Named),
    /// Take back a change across hosts that is under way
    Abort(Named),
    /// Say as a second person that a rehearsal across hosts may be applied
    Approve(Approve),
    /// The system file of the control plane
    System(System),
    /// Images of hosts at the control plane: all that a host is, but for data and what is volatile
    Image(Image),
    /// Make a fresh host what another one is on record, with its own name, keys and addresses
    Rebuild(Rebuild),
    /// People of the control plane
    Token(Token),
    /// Send commands to a control plane from now on; the token comes on standard input
    Login(Login),
    /// Print the completions for a shell
    Completions(Completions),
}

/// `greenroom rehearse`
#[derive(Debug, Args)]
pub struct Rehearse {
    /// A change file (see docs/change-file.md)
    #[arg(value_name = "CHANGE.toml", conflicts_with_all = ["command", "shell"])]
    pub change: Option<PathBuf>,
    /// Whether the copy is booted, so that its own services run in it
    #[arg(long, value_enum, default_value = "auto")]
    pub boot: BootArg,
    /// What the copy can reach: the host's package sources, nothing, or all that the host can (not isolated)
    #[arg(long, value_enum, default_value = "packages")]
    pub net: NetArg,
    /// Let the copy reach this destination too; without a port 80 and 443
    #[arg(long, value_name = "HOST[:PORT]")]
    pub allow: Vec<String>,
    /// A shell command that must succeed once the change is in place
    #[arg(long = "test", value_name = "CMD")]
    pub tests: Vec<String>,
    /// Leave out the host's standing tests, in /etc/greenroom/tests.d
    #[arg(long)]
    pub no_standing_tests: bool,
    /// Kill a command or step after this time (30s, 5m, 1h30m)
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// What to call it
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Why it is done: goes to the ledger
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// A shell on the copy instead of a command
    #[arg(long, conflicts_with = "command")]
    pub shell: bool,
    /// Leave what the copy wrote where it is, until you delete it
    #[arg(long)]
    pub keep: bool,
    /// Share of this machine's cores and memory that a copy may take (where systemd runs the machine)
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(5..=100))]
    pub share: u32,
    /// With --on: on copies of the hosts' images, on the host that is the stage, instead of on the hosts themselves. HOST where the
    /// system file says of none that it is one; `no`: on the hosts although there is one
    #[arg(long, value_name = "HOST|no", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub stage: Option<String>,
    /// The command to run in the copy, as root; its standard input is empty
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `greenroom hotfix`
#[derive(Debug, Args)]
pub struct Hotfix {
    /// A shell command that must succeed once the change is in place
    #[arg(long = "test", value_name = "CMD")]
    pub tests: Vec<String>,
    /// Leave out the host's standing tests, in /etc/greenroom/tests.d
    #[arg(long)]
    pub no_standing_tests: bool,
    /// Take the tests and the [apply] table of this change file; its steps are not run
    #[arg(long, value_name = "CHANGE.toml")]
    pub change: Option<PathBuf>,
    /// Do not boot the copy: its services do not run
    #[arg(long)]
    pub no_boot: bool,
    /// Why it is done: goes to the ledger. Otherwise it is asked before applying
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// Apply without asking when all tests hold and the way back is proven
    #[arg(long, requires = "why")]
    pub yes_if_ready: bool,
}

/// Whether to boot.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BootArg {
    /// When the tree has systemd
    Auto,
    /// Always
    Yes,
    /// Never
    No,
}

/// What to reach.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NetArg {
    /// The package sources that the host is configured to use
    Packages,
    /// Nothing
    None,
    /// Everything the host can: the copy is not isolated
    Host,
}

/// `greenroom show`
#[derive(Debug, Args)]
pub struct Show {
    /// A rehearsal (r1) or a change (c1)
    pub id: String,
    /// Unified diffs of text files: of all, or of the paths that match PATH (globs work)
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "/**")]
    pub diff: Option<String>,
}

/// `greenroom apply`
#[derive(Debug, Args)]
pub struct Apply {
    /// The rehearsal
    pub rehearsal: String,
    /// Why: goes to the ledger
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// Apply although the verdict is not `ready`; the reason goes to the ledger
    #[arg(long, value_name = "WHY")]
    pub force_verdict: Option<String>,
    /// A shell command that must succeed afterwards, or all is taken back
    #[arg(long, value_name = "CMD")]
    pub health: Vec<String>,
    /// Across hosts: stop and ask after so many batches
    #[arg(long, value_name = "N")]
    pub pause_after: Option<usize>,
}

/// `greenroom undo`
#[derive(Debug, Args)]
pub struct Undo {
    /// The change; undoing an undo brings it back
    pub change: String,
    /// Why: goes to the ledger
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// `greenroom log`
#[derive(Debug, Args)]
pub struct Log {
    /// Check the hash chain
    #[arg(long)]
    pub verify: bool,
    /// Only the last N entries
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<usize>,
}

/// `greenroom status`
#[derive(Debug, Args)]
pub struct Status {
    /// Read every file again, also those whose change time says that nothing happened to them
    #[arg(long)]
    pub full: bool,
    /// Read one part of these files, another each day: in 30 days all of them
    #[arg(long, conflicts_with = "full")]
    pub scrub: bool,
}

/// `greenroom drift`
#[derive(Debug, Args)]
pub struct Drift {
    /// Only these paths with all below them; globs work
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,
    /// Unified diffs of text files
    #[arg(long)]
    pub diff: bool,
    /// Every path of what belongs together
    #[arg(long)]
    pub expand: bool,
    /// Read every file again, also those whose change time says that nothing happened to them
    #[arg(long)]
    pub full: bool,
}

/// What of the drift is meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, id = "which")]
pub struct Which {
    /// These paths with all below them; globs work
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,
    /// What belongs together, by its name in `greenroom status`
    #[arg(long, value_name = "ID")]
    pub group: Vec<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["paths", "group"])]
    pub all: bool,
}

/// `greenroom adopt`
#[derive(Debug, Args)]
pub struct Adopt {
    /// What
    #[command(flatten)]
    pub which: Which,
    /// Why: goes to the ledger
    #[arg(long, short, visible_alias = "why", value_name = "WHY")]
    pub message: String,
}

/// `greenroom revert`
#[derive(Debug, Args)]
pub struct Revert {
    /// What
    #[command(flatten)]
    pub which: Which,
    /// Why: goes to the ledger
    #[arg(long, short = 'm', visible_alias = "message", value_name = "WHY")]
    pub why: Option<String>,
}

/// `greenroom diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// `this` (this host), a directory (the root of a tree), a manifest file, or a rehearsal (r7)
    pub a: OsString,
    /// What to compare it with
    pub b: OsString,
    /// Show all differences, and those that are set aside
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Show this many differences of each kind
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub limit: usize,
}

/// `greenroom gc`
#[derive(Debug, Args)]
pub struct Gc {
    /// Rehearsals that were never applied are kept when they are among the last N
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub keep: usize,
    /// Give up the way back of changes to this host that are older than D (90d, 12w): their before-images go, and they cannot
    /// be undone any more
    #[arg(long, value_name = "D", value_parser = parse_age)]
    pub undo_older_than: Option<Duration>,
    /// Ask the control plane to drop images of hosts beyond the last three of each, and contents that nothing needs. It does so
    /// by itself once a day
    #[arg(long, conflicts_with_all = ["keep", "undo_older_than"])]
    pub images: bool,
    /// With --images: contents that came within the last D stay (1d)
    #[arg(long, value_name = "D", value_parser = parse_age, requires = "images")]
    pub older_than: Option<Duration>,
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
}

/// `greenroom watch`
#[derive(Debug, Args)]
pub struct Watch {
    /// Do not follow processes in the kernel: who ends within moments stays unknown
    #[arg(long)]
    pub no_trace: bool,
    /// Keep the kernel's queue to `fs.fanotify.max_queued_events`; what does not fit is found by a scan
    #[arg(long)]
    pub bounded_queue: bool,
}

/// `greenroom init`
#[derive(Debug, Args)]
pub struct Init {
    /// Replace the file that is there
    #[arg(long)]
    pub force: bool,
}

/// `greenroom check`
#[derive(Debug, Args)]
pub struct Check {
    /// The system file (see docs/system-file.md); else greenroom.toml in this directory, or the nearest one above it
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What it means in this environment
    #[arg(long, short, value_name = "NAME")]
    pub environment: Option<String>,
}

/// `greenroom install`
#[derive(Debug, Args)]
pub struct Install {
    /// Only write the files: enable and start nothing
    #[arg(long)]
    pub no_start: bool,
    /// Set up the agent too
    #[arg(long)]
    pub agent: bool,
}

/// `greenroom completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell
    pub shell: clap_complete::Shell,
}

/// An age: `90d`, `12w`, or a duration as elsewhere.
fn parse_age(text: &str) -> Result<Duration, String> {
    let days = |number: &str, each: u64| {
        let days = number.parse::<u64>().ok().filter(|n| (1..=36_500).contains(n));
        days.map(|n| Duration::from_secs(n * each * 24 * 3600))
            .ok_or_else(|| "an age is a number of days or weeks, such as 90d or 12w".to_owned())
    };
    match (text.strip_suffix('d'), text.strip_suffix('w')) {
        (Some(number), _) => days(number, 1),
        (_, Some(number)) => days(number, 7),
        _ => parse_duration(text).map_err(|error| format!("{error}; or days and weeks: 90d, 12w")),
    }
}
