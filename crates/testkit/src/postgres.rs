//! A real PostgreSQL server, Debian's, for one test: on a loopback port or at a station of a lab, with its data in a
//! temporary directory.
//!
//! Each [`Postgres`] is a cluster of its own, made by initdb and run as the user `postgres` (it refuses to be root). It
//! is stopped and removed when it is dropped. It doesn't sync to the disk: a test may kill it, but not the machine.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::lab::Station;

const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "not a secret";
const USER: &str = "postgres";

/// A server. Dropping it stops it.
pub struct Postgres {
    dir: TempDir,
    programs: PathBuf,
    /// User and group to run as.
    owner: (u32, u32),
    port: u16,
    /// Where it listens, besides loopback, and the network namespace with that address.
    place: Option<(Ipv4Addr, PathBuf)>,
    server: Option<Child>,
}

/// The port of a server at a station, which has all ports to itself.
const STATION_PORT: u16 = 5432;

impl Postgres {
    /// Makes a cluster and starts it. Needs root, and Debian's package `postgresql`, which `make setup` installs.
    ///
    /// # Panics
    /// It can't be started: the message has the server's own.
    #[must_use]
    pub fn start() -> Self {
        Self::begin(free_port(), None)
    }

    /// As [`Postgres::start`], at a station of a lab, where everybody on its network reaches it. It is ended before the
    /// station, or with it.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    #[must_use]
    pub fn start_at(station: &Station) -> Self {
        Self::begin(STATION_PORT, Some((station.address(), station.namespace())))
    }

    fn begin(port: u16, place: Option<(Ipv4Addr, PathBuf)>) -> Self {
        let dir = tempfile::tempdir().expect("make a directory for PostgreSQL");
        let owner = owner();
        std::os::unix::fs::chown(dir.path(), Some(owner.0), Some(owner.1)).expect("give PostgreSQL its directory");
        let mut postgres = Self { dir, programs: programs(), owner, port, place, server: None };
        postgres.init();
        postgres.launch();
        postgres
    }

    /// The address of a database, for a client: `postgres://postgres:…@ADDRESS:PORT/NAME`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = PASSWORD.replace(' ', "%20");
        let address = self.place.as_ref().map_or(Ipv4Addr::LOCALHOST, |(address, _)| *address);
        format!("postgres://{USER}:{password}@{address}:{}/{database}", self.port)
    }

    /// Makes a database and gives its address.
    ///
    /// # Panics
    /// As [`Postgres::psql`].
    #[must_use]
    pub fn database(&self, name: &str) -> String {
        self.psql("postgres", &format!("CREATE DATABASE \"{name}\""));
        self.url(name)
    }

    /// The loopback port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Carries out statements with psql; gives the rows, values apart by `|`, without headings.
    ///
    /// # Panics
    /// The server refuses one.
    pub fn psql(&self, database: &str, statements: &str) -> String {
        let output = self
            .command("psql")
            .args(["--no-psqlrc", "-qtA", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", USER, "-d", database])
            .args(["-p", &self.port.to_string(), "-c", statements])
            .env("PGPASSWORD", PASSWORD)
            .env("PGOPTIONS", "-c client_min_messages=error")
            .output()
            .expect("start psql");
        assert!(output.status.success(), "psql: {statements}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("psql prints UTF-8").trim_end().to_owned()
    }

    /// Ends every connection to `database`, in the middle of whatever it does.
    ///
    /// # Panics
    /// As [`Postgres::psql`].
    pub fn cut(&self, database: &str) {
        let others = format!("datname = '{database}' AND pid <> pg_backend_pid()");
        self.psql("postgres", &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"));
    }

    /// Kills the server and all its processes: kill -9.
    ///
    /// # Panics
    /// It isn't running, or it can't be killed.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("PostgreSQL is running");
        // The postmaster first, so that it starts no new ones; its processes are told by the kernel of its end.
        let children = children(server.id());
        server.kill().expect("kill PostgreSQL");
        server.wait().expect("wait for PostgreSQL");
        for child in &children {
            let _ = Pid::from_raw(*child).map(|child| kill_process(child, Signal::KILL));
        }
        let gone = || children.iter().all(|child| !Path::new(&format!("/proc/{child}")).exists());
        wait_until(gone, || "processes of PostgreSQL outlive kill -9".into());
    }

    /// Starts it again after [`Postgres::kill`], on the same port with the same data.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub fn restart(&mut self) {
        assert!(self.server.is_none(), "PostgreSQL is running");
        self.launch();
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let (user, group) = self.owner;
        let mut command = match &self.place {
            None => {
                let mut command = Command::new(program);
                command.uid(user).gid(group);
                command
            }
            Some((_, namespace)) => {
                let mut command = Command::new("/usr/bin/nsenter");
                command.arg(format!("--net={}", namespace.display()));
                command.args([format!("--setgid={group}"), format!("--setuid={user}"), "--".to_owned()]).arg(program);
                command
            }
        };
        command.current_dir(self.dir.path()).env_clear().env("LC_ALL", "C.UTF-8");
        command
    }

    fn init(&self) {
        let password = self.dir.path().join("password");
        fs::write(&password, PASSWORD).expect("write PostgreSQL's password");
        let output = self
            .command("initdb")
            .args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "-U", USER])
            .arg(format!("--pwfile={}", password.display()))
            .arg(self.data())
            .output()
            .expect("start initdb");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let mut settings = String::new();
        for (name, value) in [
            ("listen_addresses", if self.place.is_some() { "*" } else { "127.0.0.1" }),
            ("port", &self.port.to_string()),
            ("unix_socket_directories", ""),
            ("fsync", "off"),
            ("max_connections", "100"),
            ("dynamic_shared_memory_type", "mmap"),
        ] {
            let _ = writeln!(settings, "{name} = '{value}'");
        }
        fs::write(self.data().join("postgresql.auto.conf"), settings).expect("configure PostgreSQL");
        let hosts = self.data().join("pg_hba.conf");
        fs::write(hosts, "host all all 0.0.0.0/0 scram-sha-256\n").expect("configure PostgreSQL");
    }

    fn launch(&mut self) {
        let log = self.dir.path().join("log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("open PostgreSQL's log");
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("start postgres");
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let server = self.server.insert(child);
        let ready = || {
            let ended = server.try_wait().expect("look at postgres");
            assert!(ended.is_none(), "postgres ended with {ended:?}: {}", said());
            // The eighth line of this file is the server's state.
            let state = fs::read_to_string(self.dir.path().join("data/postmaster.pid")).unwrap_or_default();
            state.starts_with(&format!("{}\n", server.id()))
                && state.lines().nth(7).is_some_and(|s| s.trim() == "ready")
        };
        wait_until(ready, || format!("PostgreSQL doesn't become ready: {}", said()));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // Quit at once: its data is thrown away.
        let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
        if pid.is_none_or(|pid| kill_process(pid, Signal::QUIT).is_err()) {
            let _ = server.kill();
        }
        let _ = server.wait();
    }
}

fn wait_until(mut what: impl FnMut() -> bool, otherwise: impl Fn() -> String) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < PATIENCE, "{}", otherwise());
        sleep(Duration::from_millis(10));
    }
}

/// Number of the user and of the group `postgres`.
fn owner() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.expect("Debian's package postgresql makes the user postgres: make setup").split(':').skip(2);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).expect("/etc/passwd has numbers");
    (number(), number())
}

/// The directory of the newest version's programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not installed: make setup");
    let mut versions: Vec<(u32, PathBuf)> = versions
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().parse().unwrap_or(0), entry.path().join("bin")))
        .filter(|(_, programs)| programs.join("postgres").exists())
        .collect();
    versions.sort();
    versions.pop().expect("PostgreSQL is not installed: make setup").1
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("find a free port");
    listener.local_addr().expect("a listener has an address").port()
}

fn children(of: u32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}
