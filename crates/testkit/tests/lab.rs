//! The lab itself: hosts are real, private, killable, and leave nothing behind.

use greenroom_testkit::lab::{Boot, Lab, LabError};
use greenroom_testkit::need_root;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_host_boots_runs_commands_and_is_gone_when_dropped() {
    need_root!();
    let start = Instant::now();
    let lab = Lab::new().unwrap();
    println!("lab after {:?}", start.elapsed());
    let start = Instant::now();
    let mut host = lab.host("web1").unwrap();
    println!("copied after {:?}", start.elapsed());
    host.boot(&Boot::isolated()).unwrap();
    println!("booted after {:?}", start.elapsed());
    assert_eq!(host.state().unwrap(), "running", "{}", host.console().unwrap());

    let name = host.exec_ok(&["hostname"]).unwrap();
    assert_eq!(name.out(), "web1");
    let both = host.exec(&["sh", "-c", "cat; echo error >&2; exit 7"]).unwrap();
    assert_eq!((both.code(), both.err().as_str()), (7, "error"));
    let echo = host.exec_with(&["cat"], b"a\0b", Duration::from_secs(20)).unwrap();
    assert_eq!(echo.stdout, b"a\0b");
    let group = host.exec_ok(&["cat", "/proc/self/cgroup"]).unwrap().out();
    assert!(group.contains("/system.slice/lab-command-"), "{group}");

    let (leader, dir) = (host.leader().unwrap(), lab.dir().to_owned());
    drop(host);
    assert!(!Path::new(&format!("/proc/{leader}")).exists());
    drop(lab);
    assert!(!dir.exists());
}

#[test]
fn two_hosts_at_once_do_not_share_services() {
    need_root!();
    let lab = Lab::new().unwrap();
    let (mut one, mut two) = (lab.host("one").unwrap(), lab.host("two").unwrap());
    one.boot(&Boot::isolated()).unwrap();
    two.boot(&Boot::isolated()).unwrap();
    one.exec_ok(&["systemctl", "stop", "cron.service"]).unwrap();
    assert_eq!(two.exec(&["systemctl", "is-active", "cron.service"]).unwrap().out(), "active");
    assert_eq!(one.exec(&["systemctl", "is-active", "cron.service"]).unwrap().out(), "inactive");
}

#[test]
fn a_command_over_its_limit_is_killed_with_all_it_started() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("slow").unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let limit = Duration::from_millis(700);
    let result = host.exec_with(&["sh", "-c", "sleep 4321 & sleep 4321"], b"", limit);
    assert!(matches!(result, Err(LabError::TimedOut { .. })), "{result:?}");
    let left = host.exec(&["pgrep", "-f", "^sleep 4321"]).unwrap();
    assert_eq!(left.code(), 1, "still there: {left}");
}

#[test]
fn a_killed_host_boots_again_with_its_files() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("phoenix").unwrap();
    host.boot(&Boot::isolated()).unwrap();
    host.exec_ok(&["sh", "-c", "echo kept >/etc/kept"]).unwrap();
    let leader = host.leader().unwrap();
    host.kill();
    assert!(!Path::new(&format!("/proc/{leader}")).exists());
    assert!(matches!(host.exec(&["true"]), Err(LabError::NotBooted(_))));
    host.boot(&Boot::isolated()).unwrap();
    assert_eq!(host.exec_ok(&["cat", "/etc/kept"]).unwrap().out(), "kept");
    host.poweroff().unwrap();
    assert_eq!(fs::read_to_string(host.path("/etc/kept")).unwrap(), "kept\n");
}

#[test]
fn copies_nest_inside_a_host() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("nest").unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let script = "mkdir -p /var/lib/copy/u /var/lib/copy/w /var/lib/copy/m && cd /var/lib/copy && \
                  mount -t overlay overlay -o lowerdir=/,upperdir=u,workdir=w,index=on,redirect_dir=on m && \
                  systemd-nspawn -q -D m --register=no --keep-unit --pipe sh -c 'echo in >/etc/in; hostname'; \
                  s=$?; umount m; exit $s";
    host.exec_ok(&["sh", "-c", script]).unwrap();
    assert!(host.path("/var/lib/copy/u/etc/in").exists());
    assert!(!host.path("/etc/in").exists());
}

#[test]
fn an_isolated_host_has_no_way_out_and_one_with_packages_only_the_mirror() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("apt").unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let update = host.exec(&["apt-get", "-q", "update", "-o", "APT::Update::Error-Mode=any"]).unwrap();
    assert_ne!(update.code(), 0, "{update}");

    host.boot(&Boot::with_packages()).unwrap();
    host.exec_ok(&["apt-get", "-q", "update", "-o", "APT::Update::Error-Mode=any"]).unwrap();
    host.exec_ok(&["apt-get", "-qy", "install", "tree"]).unwrap();
    assert!(host.exec_ok(&["tree", "/etc/apt"]).unwrap().out().contains("sources.list"));
    let routes = host.exec_ok(&["ip", "route"]).unwrap().out();
    assert!(!routes.contains("default"), "{routes}");
    let other =
        "exec 3<>/dev/tcp/192.0.2.1/80; printf 'GET /x HTTP/1.1\\r\\nHost: example.org\\r\\n\\r\\n' >&3; head -1 <&3";
    let answer = host.exec_ok(&["timeout", "20", "bash", "-c", other]).unwrap().out();
    assert!(answer.contains("403"), "{answer}");
    host.use_apt_proxy().unwrap();
    host.exec_ok(&["apt-get", "-q", "update", "-o", "APT::Update::Error-Mode=any"]).unwrap();
}

#[test]
fn mounts_and_immutable_files_do_not_keep_a_host_from_going() {
    need_root!();
    let lab = Lab::new().unwrap();
    let host = lab.host("sticky").unwrap();
    let fixed = host.path("/etc/fixed");
    fs::write(&fixed, "x").unwrap();
    let status = Command::new("chattr").arg("+i").arg(&fixed).status().unwrap();
    assert!(status.success());
    let point = host.path("/mnt");
    let status = Command::new("mount").args(["-t", "tmpfs", "x"]).arg(&point).status().unwrap();
    assert!(status.success());
    let root = host.root().to_owned();
    drop(host);
    assert!(!root.exists());
}

#[test]
fn a_killed_test_process_leaves_nothing_behind() {
    need_root!();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lab-host"))
        .arg("orphan")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let ready = lines.find(|line| line.starts_with("READY ")).unwrap();
    let words: Vec<&str> = ready.split(' ').collect();
    let operator = lines.next().unwrap();
    let (_, namespace) = operator.split_once(' ').unwrap();
    // A server of the operator's: it is no child of the killed process.
    let mut server = Command::new("nsenter").arg(format!("--net={namespace}")).args(["sleep", "4321"]).spawn().unwrap();
    while fs::read_link(namespace).unwrap() != fs::read_link(format!("/proc/{}/ns/net", server.id())).unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let end = Instant::now() + Duration::from_secs(20);
    let host = format!("/proc/{}", words[1]);
    while Path::new(&host).exists() || Path::new(namespace).exists() || server.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "something still runs: {host}, {namespace} or {server:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let _next = Lab::new().unwrap();
    assert!(!Path::new(words[2]).exists(), "the next lab did not sweep {}", words[2]);
}

/// Machines are of two sorts: systemd is PID 1, or it is not. Whichever this one is, a lab host is the first sort.
#[test]
fn a_lab_works_on_a_machine_that_systemd_runs() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("outer").unwrap();
    let bases = lab.dir().parent().unwrap().with_file_name("bases");
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(&bases).arg(host.path("/var/bases")).status();
    assert!(copied.unwrap().success());
    let binary = env!("CARGO_BIN_EXE_lab-host");
    fs::copy(binary, host.path("/usr/local/bin/lab-host")).unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let script = "mkdir /var/lab; mv /var/bases /var/lab/bases; export GREENROOM_LAB_DIR=/var/lab; \
                  lab-host inner </dev/null && systemctl list-units --all --no-legend 'greenroom-*'; ls -A /var/lab/labs";
    let output = host.exec_ok(&["sh", "-c", script]).unwrap();
    let lines: Vec<String> = output.out().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("READY ") && lines[1].starts_with("OPERATOR "), "{output}");
    assert_eq!(lines[2..], [".lock"], "something is left: {output}");
}
