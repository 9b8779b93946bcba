//! What is said to the control plane and the agents, declared.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse_age;

/// `greenroom serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7443")]
    pub listen: String,
    /// Where hosts and people reach it: https://HOST:7443; several times when there are several
    #[arg(long = "url", value_name = "URL")]
    pub urls: Vec<String>,
    /// Where the ledger and the state are: sqlite:DIRECTORY, or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "PLACE", default_value = "sqlite:")]
    pub ledger: String,
    /// Where the contents are: dir:DIRECTORY, or s3://BUCKET[/PREFIX][?endpoint=URL]; below the state directory where nothing is
    /// said
    #[arg(long, value_name = "PLACE")]
    pub blobs: Option<String>,
}

/// `greenroom join`
#[derive(Debug, Args)]
pub struct Join {
    /// The host as ssh knows it: root@web1
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Its name in the system, where that is another one
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    /// The file of ssh's configuration
    #[arg(long, value_name = "FILE")]
    pub ssh_config: Option<PathBuf>,
    /// An option for ssh, as after its -o
    #[arg(long, value_name = "OPTION")]
    pub ssh_option: Vec<String>,
    /// The program to bring there, where this one does not run there
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Enrol it again although it is in touch
    #[arg(long)]
    pub again: bool,
    /// Only print an invitation, for `greenroom enrol` on that host
    #[arg(long, conflicts_with = "cloud_init")]
    pub invite: bool,
    /// Only print user data with which a fresh machine of any cloud enrols itself
    #[arg(long)]
    pub cloud_init: bool,
}

impl Join {
    /// The name that the host gets.
    #[must_use]
    pub fn host_name(&self) -> String {
        let target = self.target.rsplit('@').next().unwrap_or(&self.target);
        self.name.clone().unwrap_or_else(|| target.to_owned())
    }
}

/// `greenroom agent`
#[derive(Debug, Args)]
pub struct Agent {
    /// What else than being the agent
    #[command(subcommand)]
    pub what: Option<AgentWhat>,
}

/// What to do with agents.
#[derive(Debug, Subcommand)]
pub enum AgentWhat {
    /// Print how this host is, in short, as its agent tells it
    #[command(hide = true)]
    Look,
    /// Put the program from before back, unless the new one is in touch; the guard of an upgrade runs it
    #[command(hide = true)]
    Back,
    /// Run another program as the agent of hosts (all, or those of --on): one host first, then the rest
    Upgrade(Upgrade),
}

/// `greenroom agent upgrade`
#[derive(Debug, Args)]
pub struct Upgrade {
    /// The program; without one, this program itself
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// The program in this Debian package
    #[arg(long, value_name = "FILE", conflicts_with = "binary")]
    pub deb: Option<PathBuf>,
    /// Why: goes to the ledger
    #[arg(long, short = 'm', visible_alias = "message", value_name = "WHY")]
    pub why: Option<String>,
    /// Stop and ask after so many batches
    #[arg(long, value_name = "N")]
    pub pause_after: Option<usize>,
}

/// A command about one rehearsal or change.
#[derive(Debug, Args)]
pub struct Named {
    /// The rehearsal (r7) or the change (c5)
    pub id: String,
}

/// `greenroom token`
#[derive(Debug, Args)]
pub struct Token {
    /// What
    #[command(subcommand)]
    pub what: TokenWhat,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenWhat {
    /// Let a person in: prints the token, this once
    Create {
        /// The person
        name: String,
        /// viewer (look), developer (rehearse), operator (apply, undo) or admin
        #[arg(long, default_value = "viewer")]
        role: String,
        /// How long it is good for (30d, 12w); 90 days where nothing is said
        #[arg(long, value_name = "D", value_parser = parse_age)]
        valid: Option<Duration>,
    },
    /// All of them, without their secrets
    List,
    /// Shut one out
    Revoke {
        /// Its name in the list
        id: String,
    },
}

/// `greenroom login`
#[derive(Debug, Args)]
pub struct Login {
    /// https://HOST:7443
    pub url: String,
    /// The control plane's authority: control/authority.pem in its state directory
    #[arg(long, value_name = "FILE")]
    pub authority: PathBuf,
}

/// `greenroom approve`
#[derive(Debug, Args)]
pub struct Approve {
    /// The rehearsal (r7)
    pub id: String,
    /// Why: goes to the ledger
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// `greenroom image`
#[derive(Debug, Args)]
pub struct Image {
    /// What
    #[command(subcommand)]
    pub what: ImageWhat,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageWhat {
    /// Bring the images of the hosts that --on names up to date: what differs from the last one is sent
    Update {
        /// At most so much in a second from each host (500K, 10M)
        #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
        limit_rate: Option<u64>,
    },
    /// The newest image of each host
    List,
    /// All images of a host
    Show {
        /// The host
        host: String,
    },
}

/// `greenroom rebuild`
#[derive(Debug, Args)]
pub struct Rebuild {
    /// The host that changes: joined, of the same distribution
    pub host: String,
    /// The host that it becomes, but for what names it
    #[arg(long = "as", value_name = "HOST")]
    pub of: String,
    /// Why: goes to the ledger
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// `greenroom system`
#[derive(Debug, Args)]
pub struct System {
    /// What
    #[command(subcommand)]
    pub what: SystemWhat,
}

/// What to do with the control plane's system file.
#[derive(Debug, Subcommand)]
pub enum SystemWhat {
    /// Check a system file as `greenroom check` does, and put it in force
    Push {
        /// The system file; else greenroom.toml in this directory, or the nearest one above it
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// The environment that the control plane is for
        #[arg(long, short, value_name = "NAME")]
        environment: Option<String>,
    },
    /// What is in force: its revision, its hash, by whom and since when
    Show,
}

/// Bytes, with K, M or G behind the number for powers of 1024.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = number.parse().ok().filter(|n| *n > 0).ok_or("it is a number, such as 500K or 10M")?;
    number.checked_mul(1 << shift).ok_or_else(|| "it is too large".to_owned())
}
