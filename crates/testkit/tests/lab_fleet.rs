//! A fleet: hosts that boot at once, reach each other by name and SSH, can be cut off, killed, hung, filled and slowed
//! down, and leave the machine as it was.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use greenroom_testkit::lab::{Boot, Cut, Fleet, Lab, LabError, LabHost};
use greenroom_testkit::need_root;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

const SSH: u16 = 22;
const SOON: Duration = Duration::from_secs(2);

/// What of this machine's network must be the same before and after.
fn machine() -> Vec<String> {
    let show = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let setting = |name: &str| fs::read_to_string(Path::new("/proc/sys/net/ipv4").join(name)).unwrap();
    vec![
        show("ip", &["-brief", "addr"]),
        show("ip", &["route"]),
        show("nft", &["list", "ruleset"]),
        show("ip", &["netns", "list"]),
        setting("ip_forward"),
        setting("conf/all/send_redirects"),
        fs::read_to_string("/etc/hosts").unwrap(),
        fs::read_to_string("/etc/ssh/ssh_config").unwrap(),
    ]
}

/// What a connection from one to the other meets: "open" or the kind of the error, within two seconds.
fn dial(from: &LabHost, to: &str) -> String {
    let script = format!("exec 3<>/dev/tcp/{to}/{SSH}");
    match from.exec(&["timeout", "2", "bash", "-c", &script]).unwrap() {
        output if output.ok() => "open".to_owned(),
        output if output.code() == 124 => "silence".to_owned(),
        output if output.err().contains("refused") => "refused".to_owned(),
        output => panic!("{output}"),
    }
}

/// The processes of which the network namespace has this number.
fn inside(namespace: u64) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let there = |path: &Path| fs::metadata(path.join("ns/net")).is_ok_and(|meta| meta.ino() == namespace);
    processes.filter(|path| there(path)).map(|path| path.display().to_string()).collect()
}

#[test]
fn four_hosts_boot_at_once_know_each_other_and_leave_nothing_of_themselves() {
    need_root!();
    let before = machine();
    let lab = Lab::new().unwrap();
    let start = Instant::now();
    let program = Path::new(env!("CARGO_BIN_EXE_lab-host"));
    let fleet = Fleet::webs_and_db(&lab, 3, Some(program), &Boot::networked()).unwrap();
    println!("four hosts after {:?}", start.elapsed());
    for host in fleet.hosts() {
        assert_eq!(host.state().unwrap(), "running", "{}", host.console().unwrap());
        assert!(host.path("/usr/local/bin/greenroom").exists());
        for other in fleet.hosts() {
            assert_eq!(dial(host, other.name()), "open", "{} to {}", host.name(), other.name());
        }
        let start = Instant::now();
        let name = fleet.operator().exec_ok(&["ssh", host.name(), "hostname; whoami"]).unwrap().out();
        println!("ssh after {:?}", start.elapsed());
        assert_eq!(name, format!("{}\nroot", host.name()));
    }
    // A host calls a server of the operator's by name.
    let server = fleet.operator().listen((fleet.operator().address(), 8443)).unwrap();
    fleet.host("db1").unwrap().exec_ok(&["timeout", "9", "bash", "-c", "exec 3<>/dev/tcp/operator/8443"]).unwrap();
    assert_eq!(server.accept().unwrap().1.ip(), fleet.address("db1").unwrap());
    drop(server);
    assert_eq!(machine(), before);

    // One that runs on in the operator's place, deaf to polite signals.
    let script = "trap '' HUP TERM; echo here; sleep 4321";
    let mut deaf = fleet
        .operator()
        .command("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    deaf.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    let mut namespaces: Vec<_> = fleet.hosts().iter().map(|host| host.leader().unwrap()).collect();
    namespaces.push(deaf.id());
    let namespaces: Vec<u64> =
        namespaces.iter().map(|pid| fs::metadata(format!("/proc/{pid}/ns/net")).unwrap().ino()).collect();
    assert!(namespaces.iter().all(|namespace| !inside(*namespace).is_empty()));
    let dir = lab.dir().to_owned();
    drop((fleet, lab));
    deaf.wait().unwrap();
    for namespace in namespaces {
        assert_eq!(inside(namespace), [""; 0]);
    }
    assert!(!dir.exists());
    assert_eq!(machine(), before);
}

#[test]
fn a_host_behind_another_is_reached_through_it_and_calls_out_itself() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut fleet = Fleet::new(&lab).unwrap();
    fleet.add("gate").unwrap();
    fleet.add_behind("inner", "gate").unwrap();
    fleet.boot(&Boot::networked()).unwrap();
    fleet.station("control").unwrap();
    let inner = fleet.host("inner").unwrap();
    for station in ["operator", "control"] {
        let direct = fleet.at(station).unwrap().connect((inner.address(), SSH), SOON);
        assert_eq!(direct.unwrap_err().kind(), ErrorKind::TimedOut, "{station}");
    }
    assert_eq!(fleet.operator().exec_ok(&["ssh", "root@inner", "hostname"]).unwrap().out(), "inner");
    let config = fleet.ssh_config();
    let config = config.to_str().unwrap();
    let master = ["ssh", "-F", config, "-o", "ControlMaster=auto", "-o", "ControlPersist=60", "inner", "hostname"];
    assert_eq!(fleet.operator().exec_ok(&master).unwrap().out(), "inner");
    fleet.operator().exec_ok(&["ssh", "-O", "check", "inner"]).unwrap();
    let server = fleet.operator().listen((fleet.operator().address(), 8443)).unwrap();
    inner.exec_ok(&["timeout", "9", "bash", "-c", "exec 3<>/dev/tcp/operator/8443"]).unwrap();
    drop(server);
}

#[test]
fn a_cut_is_silence_or_refusal_between_two_only_until_it_is_healed() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut fleet = Fleet::new(&lab).unwrap();
    fleet.station("control").unwrap();
    fleet.add("one").unwrap();
    fleet.add("two").unwrap();
    fleet.boot(&Boot::networked()).unwrap();
    let (one, two) = (fleet.host("one").unwrap(), fleet.host("two").unwrap());
    let from_control = || fleet.at("control").unwrap().connect((one.address(), SSH), SOON).map(drop);

    for (how, seen, kind) in
        [(Cut::Drop, "silence", ErrorKind::TimedOut), (Cut::Reject, "refused", ErrorKind::ConnectionRefused)]
    {
        fleet.cut("two", "one", how).unwrap();
        assert_eq!((dial(one, "two"), dial(two, "one")), (seen.to_owned(), seen.to_owned()));
        from_control().unwrap();
        fleet.cut("control", "one", how).unwrap();
        assert_eq!(from_control().unwrap_err().kind(), kind);
        fleet.heal("one", "two").unwrap();
        assert_eq!(dial(one, "two"), "open");
        assert_eq!(from_control().unwrap_err().kind(), kind);
        fleet.heal_all().unwrap();
        from_control().unwrap();
    }

    // An open connection is cut too, and with a drop goes on where it was when the cut is healed.
    let mut open = fleet
        .operator()
        .command("ssh")
        .args(["one", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut typed = open.stdin.take().unwrap();
    let mut echo = BufReader::new(open.stdout.take().unwrap());
    let mut say = |word: &str| {
        typed.write_all(word.as_bytes()).unwrap();
        let mut line = String::new();
        echo.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(say("first\n"), "first\n");
    fleet.cut("operator", "one", Cut::Drop).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| say("second\n"));
        std::thread::sleep(Duration::from_millis(500));
        assert!(!second.is_finished());
        fleet.heal("operator", "one").unwrap();
        assert_eq!(second.join().unwrap(), "second\n");
    });
    fleet.cut("operator", "one", Cut::Reject).unwrap();
    assert_eq!(say("third\n"), "");
    assert_eq!(open.wait().unwrap().code(), Some(255));
}

#[test]
fn a_killed_host_says_no_farewell_and_comes_back_at_its_address_with_its_cut() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut fleet = Fleet::webs_and_db(&lab, 1, None, &Boot::networked()).unwrap();
    fleet.cut("web1", "db1", Cut::Reject).unwrap();
    let web = (fleet.address("web1").unwrap(), SSH);
    let mut open = fleet.operator().connect(web, SOON).unwrap();
    open.read_exact(&mut [0; 4]).unwrap(); // "SSH-"
    fleet.operator().exec_ok(&["ssh", "web1", "echo kept >/etc/kept"]).unwrap();
    fleet.host_mut("web1").unwrap().kill();
    open.set_read_timeout(Some(SOON)).unwrap();
    let heard = std::iter::from_fn(|| Some(open.read(&mut [0; 64]))).find(|read| !matches!(read, Ok(1..)));
    assert_eq!(heard.unwrap().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(fleet.operator().connect(web, SOON).unwrap_err().kind(), ErrorKind::TimedOut);
    fleet.host_mut("web1").unwrap().boot(&Boot::networked()).unwrap();
    assert_eq!(fleet.operator().exec_ok(&["ssh", "web1", "cat /etc/kept"]).unwrap().out(), "kept");
    assert_eq!(dial(fleet.host("web1").unwrap(), "db1"), "refused");
}

#[test]
fn a_host_hangs_and_goes_on() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut fleet = Fleet::webs_and_db(&lab, 0, None, &Boot::networked()).unwrap();
    let ask = ["timeout", "3", "ssh", "db1", "hostname"];
    let db = fleet.host("db1").unwrap();
    db.pause().unwrap();
    // The kernel still takes the connection; nobody answers on it.
    fleet.operator().connect((db.address(), SSH), SOON).unwrap();
    assert_eq!(fleet.operator().exec(&ask).unwrap().code(), 124);
    db.resume().unwrap();
    assert_eq!(fleet.operator().exec_ok(&ask[2..]).unwrap().out(), "db1");
    db.pause().unwrap();
    let leader = db.leader().unwrap();
    let start = Instant::now();
    fleet.host_mut("db1").unwrap().kill();
    assert!(!Path::new(&format!("/proc/{leader}")).exists());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

/// The processor's time that a second of counting on `host` takes, in percent of a processor.
fn busy(host: &LabHost) -> u64 {
    let count = "s=$(date +%s%N); timeout 2 sh -c 'while :; do :; done'; e=$(date +%s%N); times; echo $((e - s))";
    let output = host.exec_ok(&["bash", "-c", count]).unwrap().out();
    // The second line of `times` is that of the children: "0m1.234s 0m0.001s".
    let user = output.lines().nth(1).unwrap().split(['m', 's']).nth(1).unwrap().parse::<f64>().unwrap();
    let nanoseconds = output.lines().nth(2).unwrap().parse::<f64>().unwrap();
    (user * 1e11 / nanoseconds) as u64
}

#[test]
fn a_host_is_slowed_down_and_its_clock_is_off() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("odd").unwrap();
    host.boot(&Boot::isolated()).unwrap();
    host.limit_cpu(Some(3)).unwrap();
    let limited = busy(&host);
    assert!(limited <= 6, "{limited}");
    host.limit_cpu(None).unwrap();
    // The machine may be busy with other tests: all of a processor is not to be had.
    let free = busy(&host);
    assert!(free > 6, "{free}");

    let unit = "[Service]\nType=oneshot\nExecStart=sh -c 'date +%%s >/run/said'\n";
    fs::write(host.path("/etc/systemd/system/say.service"), unit).unwrap();
    let said =
        || host.exec_ok(&["sh", "-ec", "systemctl start say; echo $(($(cat /run/said) - $(date +%s)))"]).unwrap().out();
    for (shift, range) in [(Some(3600), 3595..=3600), (Some(-3600), -3605..=-3600), (None, -5..=0)] {
        host.shift_clock("say.service", shift).unwrap();
        let off = said().parse::<i64>().unwrap();
        assert!(range.contains(&off), "{off} is not in {range:?}");
    }

    let show = Command::new("date").arg("+%s").envs(lab.off_clock(-3600).unwrap()).output().unwrap();
    let seen = Duration::from_secs(String::from_utf8(show.stdout).unwrap().trim().parse().unwrap());
    let off = UNIX_EPOCH.elapsed().unwrap() - seen;
    assert!((3600..3605).contains(&off.as_secs()), "{off:?}");
}

#[test]
fn a_disk_of_its_own_is_full_and_has_room_again() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host_on_disk("small", 700).unwrap();
    host.boot(&Boot::isolated()).unwrap();
    host.fill_disk().unwrap();
    let write = ["dd", "if=/dev/zero", "of=/etc/more", "bs=64k", "count=1", "conv=fsync"];
    let full = host.exec(&write).unwrap();
    assert!(full.err().contains("No space left"), "{full}");
    assert!(!host.exec_ok(&["find", "/", "-xdev", "-size", "+50M"]).unwrap().out().contains("filler"));
    host.free_disk().unwrap();
    host.exec_ok(&write).unwrap();
    let shared = lab.host("shared").unwrap();
    assert!(matches!(shared.fill_disk(), Err(LabError::SharedDisk(_))));
    let (image, root) = (host.root().parent().unwrap().with_file_name("disk.img"), host.root().to_owned());
    assert!(image.exists());
    drop(host);
    assert!(!root.exists() && !image.exists());
    let loops = Command::new("losetup").args(["--list", "--noheadings", "--output", "BACK-FILE"]).output().unwrap();
    let loops = String::from_utf8(loops.stdout).unwrap();
    assert!(!loops.contains(image.to_str().unwrap()), "{loops}");
}
