//! `greenroom join`: lets a host in over the person's own SSH; afterwards no SSH is needed.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use greenroom_core::api::{Host, Hosts, Invitation, NewEnrolment};
use greenroom_net::client::Http;

use crate::args::{Global, Join};
use crate::error::{Failure, status};
use crate::ui::Ui;
use greenroom_engine::Progress as _;

/// Where the program goes on a host that has no package of it.
const PROGRAM: &str = "/usr/local/bin/greenroom";

/// Enrols the host with the invitation on standard input, and starts what belongs on it. An agent that runs already is of the program
/// and the membership from before.
const ENROL: &str = "PATH=/usr/local/bin:$PATH; greenroom enrol --quiet && \
    { systemctl stop greenroom-agent 2>/dev/null; greenroom install --agent --quiet; }";

/// How long the agent may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one that was not served is waited for.
const REFUSED: Duration = Duration::from_secs(5);

pub(in crate::commands) fn run(global: &Global, args: &Join, ui: &Ui) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    if args.invite || args.cloud_init {
        let invitation = invite(&http, &args.host_name())?;
        let text = serde_json::to_string(&invitation)?;
        ui.print(&if args.cloud_init { cloud_init(&invitation.host, &text) } else { text + "\n" })?;
        return Ok(status::DONE);
    }
    let host = args.host_name();
    if !args.again && known(&http, &host)?.as_ref().is_some_and(is_in_touch) {
        ui.print(&format!(
            "{host} is in touch already; another program comes with `greenroom agent upgrade --on {host}`\n"
        ))?;
        return Ok(status::DONE);
    }
    ui.begin(&format!("asking {} whether it has Greenroom", args.target));
    let version =
        ssh(args, &format!("{PROGRAM} --version 2>/dev/null || greenroom --version 2>/dev/null || true"), &[])?;
    let ours = format!("greenroom {}", env!("CARGO_PKG_VERSION"));
    if version.trim() != ours || args.program.is_some() {
        ui.begin("bringing the program there");
        let program = match &args.program {
            Some(path) => path.clone(),
            None => std::env::current_exe()?,
        };
        let bytes = std::fs::read(&program)
            .map_err(|error| Failure::usage(format!("cannot read the program {}: {error}", program.display())))?;
        ssh(
            args,
            &format!("umask 022; cat > {PROGRAM}.new && chmod 0755 {PROGRAM}.new && mv {PROGRAM}.new {PROGRAM}"),
            &bytes,
        )?;
    }
    ui.begin("enrolling it");
    let invitation = serde_json::to_vec(&invite(&http, &host)?)?;
    ssh(args, ENROL, &invitation)?;
    ui.begin("waiting until it is in touch");
    wait(&http, &host, args)?;
    ui.print(&format!("{host} is in touch\n"))?;
    Ok(status::DONE)
}

/// Waits until the host that was just enrolled is in touch.
fn wait(http: &Http, host: &str, args: &Join) -> Result<(), Failure> {
    let began = Instant::now();
    let mut refused = None;
    loop {
        let known = known(http, host)?;
        if known.as_ref().is_some_and(is_in_touch) {
            return Ok(());
        }
        // Since it was enrolled: what was noted before is gone.
        if let Some(refusal) = known.and_then(|known| known.refusal) {
            // Of two control planes one may serve it: it has the time to come there.
            if refused.get_or_insert_with(Instant::now).elapsed() > REFUSED {
                let what = format!("{host} is enrolled, but its agent is not served: {}", refusal.unserved.why);
                return Err(Failure::new(status::FAULT, what).hint(refusal.unserved.hint));
            }
        }
        if began.elapsed() > PATIENCE {
            return Err(Failure::new(status::FAULT, format!("{host} is enrolled, but its agent does not come"))
                .hint(format!("ssh {} journalctl -u greenroom-agent", args.target))
                .hint(
                    "can the host reach the control plane's address? `greenroom serve --url` says which one it is told",
                ));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn invite(http: &Http, host: &str) -> Result<Invitation, Failure> {
    Ok(http.post("/v1/enrolments", &NewEnrolment { host: host.to_owned(), valid_s: None })?)
}

fn known(http: &Http, host: &str) -> Result<Option<Host>, Failure> {
    let hosts: Hosts = http.get("/v1/hosts")?;
    Ok(hosts.hosts.into_iter().find(|one| one.host == host))
}

fn is_in_touch(host: &Host) -> bool {
    host.in_touch && !host.revoked
}

/// Runs a command there, with the person's own configuration of SSH, and `input` as its standard input.
fn ssh(args: &Join, command: &str, input: &[u8]) -> Result<String, Failure> {
    let mut ssh = Command::new("ssh");
    ssh.args(["-o", "BatchMode=yes"]);
    for option in &args.ssh_option {
        ssh.args(["-o", option]);
    }
    if let Some(file) = &args.ssh_config {
        ssh.arg("-F").arg(file);
    }
    ssh.arg("--").arg(&args.target).arg(command);
    let fault = |error: std::io::Error| {
        Failure::new(status::FAULT, format!("cannot run ssh: {error}")).hint("apt-get install openssh-client")
    };
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(fault)?;
    let sent = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let ran = child.wait_with_output().map_err(fault)?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        let what = format!("{} did not do it: {}", args.target, said.trim());
        return Err(
            Failure::new(status::FAULT, what).hint(format!("does `ssh {}` work without a question?", args.target))
        );
    }
    sent.transpose().map_err(fault)?;
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// Where a fresh machine has what it needs to let itself in, and no longer than that.
const FRESH: &str = "/run/greenroom-join";

/// What a fresh machine runs: the program comes from the control plane where there is no package of it. Python is there wherever
/// cloud-init is, which is written in it.
const LET_IN: &str = r#"import json, os, platform, shutil, ssl, subprocess, urllib.request
os.chdir(os.path.dirname(os.path.abspath(__file__)))
os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
with open("invitation.json") as file:
    invitation = json.load(file)
program = "/usr/local/bin/greenroom"
trust = ssl.create_default_context(cadata=invitation["authority"])
wanted = json.dumps({"token": invitation["token"], "machine": platform.machine()}).encode()
for url in [] if shutil.which("greenroom") else invitation["urls"]:
    request = urllib.request.Request(url + "/v1/enrol/program", wanted, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, context=trust, timeout=60) as answer, open(program + ".new", "wb") as file:
            shutil.copyfileobj(answer, file)
        if os.path.getsize(program + ".new") != int(answer.headers["content-length"]):
            raise OSError("the program did not come whole")
        os.chmod(program + ".new", 0o755)
        os.rename(program + ".new", program)
        break
    except OSError as error:
        print("greenroom: cannot get the program from", url, error, getattr(error, "read", bytes)()[:500])
with open("invitation.json") as file:
    subprocess.run(["greenroom", "enrol", "--quiet"], stdin=file, check=True)
subprocess.run(["greenroom", "install", "--agent", "--quiet"], check=True)
shutil.rmtree(os.getcwd())
"#;

/// User data with which a fresh machine enrols itself.
fn cloud_init(host: &str, invitation: &str) -> String {
    let file = |name: &str, text: &str| {
        let lines: String = text.lines().map(|line| format!("      {line}\n")).collect();
        format!("  - path: {FRESH}/{name}\n    permissions: '0600'\n    content: |\n{lines}")
    };
    format!(
        "#cloud-config\n# {host} lets itself in with this once; it is good for an hour.\nwrite_files:\n{}{}runcmd:\n  - [python3, \
         {FRESH}/let-in.py]\n",
        file("invitation.json", invitation),
        file("let-in.py", LET_IN),
    )
}
