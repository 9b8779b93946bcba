//! A station: an address on the lab's network for processes of this machine, such as the operator's shell or a server.
//!
//! It is no host: it has this machine's files and users, other than `/etc/hosts` (the fleet's names),
//! `/etc/ssh/ssh_config` (the fleet's keys and hosts) and root's own `.ssh`, which is empty. It is a network and a mount namespace, held by a small process
//! that reads a pipe of ours. When the pipe closes, because the station was dropped or this process ended in any way,
//! that process kills all that still runs in the network namespace, and the namespaces are gone with it.

use super::super::network::{Network, within};
use super::super::process::{self, Output, must_succeed, run, start};
use super::super::{LabError, SHORT};
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a command may take unless the test says otherwise.
const COMMAND: Duration = Duration::from_secs(300);

/// Mounts the two files, waits for the end of the pipe, and ends what is left. A process is looked at once more right
/// before it is killed: the list has `find` in it, which is gone, and whose number may be another's.
const HOLD: &str = r#"
ip link set lo up
mount --bind "$1" /etc/hosts
mount --bind "$2" /etc/ssh/ssh_config
if [ -d ~root/.ssh ]; then mount -t tmpfs -o mode=700 none ~root/.ssh; fi
echo ready
exec >/dev/null
cat
own=$(stat -L -c %i /proc/self/ns/net)
for round in 1 2 3 4 5 6 7 8 9 10; do
    left=
    for net in $(find /proc/[0-9]*/ns/net -maxdepth 0 -lname "*$own*" 2>/dev/null); do
        pid=${net#/proc/}
        pid=${pid%%/*}
        if [ "$pid" != $$ ] && [ "$(stat -L -c %i "$net" 2>/dev/null)" = "$own" ]; then
            kill -KILL "$pid" && left=1
        fi
    done
    [ -n "$left" ] || exit 0
    sleep 0.02
done
"#;

/// A place on the lab's network for processes of this machine; dropping it kills them.
#[derive(Debug)]
pub struct Station {
    name: String,
    address: Ipv4Addr,
    holder: Child,
    /// Its `/etc/hosts`.
    pub(crate) hosts: PathBuf,
}

impl Station {
    pub(crate) fn start(
        network: &Network,
        name: &str,
        address: Ipv4Addr,
        hosts: PathBuf,
        ssh_config: &Path,
    ) -> Result<Self, LabError> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "slave", "--", "sh", "-euc", HOLD, "sh"]);
        // A signal from the terminal ends us, and then the holder ends by itself.
        command.process_group(0);
        let holder = start(command.arg(&hosts).arg(ssh_config).stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut station = Self { name: name.to_owned(), address, holder, hosts };
        let mut line = String::new();
        let ready = station.holder.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        if !matches!(ready, Some(Ok(1..))) {
            let command = format!("the namespaces of station {name}");
            return Err(LabError::Failed { command, status: "no word".into(), output: line });
        }
        network.attach(station.holder.id(), address)?;
        Ok(station)
    }

    /// Its name in every `/etc/hosts` of the fleet.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the lab's network.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A command line that becomes `program` in the station, in this process's working directory. What is started from
    /// it is `program` itself, with no process in between: killing the child kills it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let process = self.holder.id();
        command.arg(format!("--net=/proc/{process}/ns/net")).arg(format!("--mount=/proc/{process}/ns/mnt"));
        if let Ok(here) = std::env::current_dir() {
            command.arg(format!("--wdns={}", here.display()));
        }
        command.arg("--").arg(program);
        command
    }

    /// Runs a command in the station for at most 5 minutes.
    ///
    /// # Errors
    /// [`LabError::Start`], [`LabError::TimedOut`]. Its exit status is no error.
    pub fn exec(&self, command: &[&str]) -> Result<Output, LabError> {
        let (program, arguments) = command.split_first().unwrap_or((&"true", &[]));
        run(self.command(program).args(arguments), b"", COMMAND)
    }

    /// Like [`Station::exec`], and a status other than 0 is an error that shows the output.
    ///
    /// # Errors
    /// As [`Station::exec`], and [`LabError::Failed`].
    pub fn exec_ok(&self, command: &[&str]) -> Result<Output, LabError> {
        must_succeed(format!("{} at {}", command.join(" "), self.name), self.exec(command)?)
    }

    /// A connection from the station, for this process to use.
    ///
    /// # Errors
    /// What the system says, [`io::ErrorKind::TimedOut`] at the limit.
    pub fn connect(&self, to: impl Into<SocketAddr>, limit: Duration) -> io::Result<TcpStream> {
        let to = to.into();
        within(&self.namespace(), move || TcpStream::connect_timeout(&to, limit))
    }

    /// Listens at an address of the station, for this process to accept.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&self, at: impl Into<SocketAddr>) -> io::Result<TcpListener> {
        let at = at.into();
        within(&self.namespace(), move || TcpListener::bind(at))
    }

    /// Its network namespace, as a file that is there as long as the station.
    #[must_use]
    pub fn namespace(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder.id()))
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        if process::wait(&mut self.holder, SHORT).is_none() {
            let _ = self.holder.kill();
            let _ = self.holder.wait();
        }
    }
}
