//! Much at once: what shares a line of the log reads as if each name had its own.

use std::collections::HashMap;

use super::*;

/// The log's files, oldest first.
fn files(watched: &Watched) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(watched.path("var/lib/greenroom/baseline/watch"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log."))
        .collect();
    files.sort();
    files
}

/// A Python program with a word on its command line that says which one it is.
fn python(word: &str, program: &str) -> String {
    format!("python3 -c '{program}' {word}")
}

const MAKE: &str = "import sys\nfor n in range(2000):\n  open(sys.argv[1] + str(n), \"w\").write(\"x\")";

/// So many files with this stem were made and written by the program that has the stem on its command line, and by no other.
fn assert_made(log: &Log, stem: &str, count: usize) {
    for number in 0..count {
        let path = format!("/{stem}{number}");
        let found = commands(log, &path);
        let its = |command: &String| command.ends_with(&format!(" {stem}"));
        assert!(!found.is_empty() && found.iter().all(its), "{path}: {found:?}");
        assert!(whats(log, &path).starts_with(&[What::Created, What::Modified]), "{path}");
    }
}

#[test]
fn what_is_unpacked_and_removed_reads_name_by_name_and_is_written_together() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    watched.sh(&python("srv/made-", MAKE));
    std::thread::sleep(Duration::from_millis(300));
    watched.sh("mkdir srv/d; touch srv/d/{1..500}; rm -r srv/d; :");
    let log = watched.log();
    assert_made(&log, "srv/made-", 2000);
    let text: String = files(&watched).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert!(text.lines().filter(|line| line.contains("\"made-")).count() < 500, "{}", text.lines().count());
    let mut numbers = HashMap::new();
    for event in log.paths().flat_map(|path| log.of(path)) {
        assert_eq!(numbers.insert(event.seq, &event.path), None, "{event:?}");
    }
    for number in 1..=500 {
        let event = log.explains(&format!("/srv/d/{number}").as_str().into(), None).unwrap();
        assert!(actor(event).command.as_ref().unwrap().starts_with("rm "), "{event:?}");
        assert_eq!((event.path.name(), event.what.last()), (number.to_string().as_bytes(), Some(&What::Deleted)));
    }
}

#[test]
fn who_looks_through_the_open_files_of_others_has_written_nothing() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    // As lsof does: of so many files it holds some when they are closed, in most runs.
    let look = "import os, sys\nfd = \"/proc/%s/fd/\" % sys.argv[1]\nwhile True:\n  for n in os.listdir(fd):\n    \
        try: os.readlink(fd + n)\n    except OSError: pass";
    let make = MAKE.replace("2000", "10000");
    watched.sh(&format!("{} & {} $! 2> /dev/null; wait $!", python("srv/looked-at-", &make), python("", look)));
    let log = watched.log();
    assert_made(&log, "srv/looked-at-", 10000);
}

#[test]
fn of_two_processes_in_one_directory_each_has_what_it_did() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    let one = "for n in range(1000):\n  open(\"srv/a%d\" % n, \"w\").write(\"x\")\n  print(n, flush=True)";
    let two = "import os, sys\nfor n in sys.stdin:\n  n = int(n)\n  os.chmod(\"srv/a%d\" % n, 0o600)\n  \
        open(\"srv/b%d\" % n, \"w\").write(\"x\")";
    watched.sh(&format!("{} | {}", python("one", one), python("two", two)));
    let log = watched.log();
    for number in 0..1000 {
        let (a, b) = (format!("/srv/a{number}"), format!("/srv/b{number}"));
        for event in log.of(&a.as_str().into()) {
            let word = if event.what.contains(&What::Metadata) { " two" } else { " one" };
            assert!(actor(event).command.as_ref().unwrap().ends_with(word), "{event:?}");
        }
        assert!(commands(&log, &a)[0].ends_with(" one"), "{a}");
        assert!(
            actor(log.explains(&a.as_str().into(), None).unwrap()).command.as_ref().unwrap().ends_with(" two"),
            "{a}"
        );
        let found = commands(&log, &b);
        assert!(!found.is_empty() && found.iter().all(|command| command.ends_with(" two")), "{b}: {found:?}");
    }
}

#[test]
fn a_directory_that_is_renamed_while_it_is_filled_explains_all_that_is_in_it() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    let fill = "import os\nos.mkdir(\"srv/d\")\nd = os.open(\"srv/d\", 0)\nos.fchdir(d)\nfor n in range(3000):\n  \
        open(str(n), \"w\").write(\"x\")";
    watched.sh(&format!(
        "{} & until [ -e srv/d/500 ]; do :; done; mv srv/d srv/e; sleep 0.07; mv srv/e etc/f; wait",
        python("fill", fill)
    ));
    let log = watched.log();
    for number in 0..3000 {
        let event = log.explains(&format!("/etc/f/{number}").as_str().into(), None);
        let event = event.unwrap_or_else(|| panic!("{number}"));
        let who = actor(event).command.as_ref().unwrap();
        assert!(who.ends_with(" fill") && event.path.name() != b"f" || who == "mv srv/e etc/f", "{event:?}");
    }
    let strange = log.paths().find(|path| {
        let parent = path.parent().unwrap_or_else(TreePath::root).to_string();
        !["/srv", "/etc", "/srv/d", "/srv/e", "/etc/f"].contains(&parent.as_str())
    });
    assert_eq!(strange, None);
}

#[test]
fn a_file_that_is_linked_and_written_at_once_is_one_under_all_its_names() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    watched.sh("for n in $(seq 200); do echo x > etc/$n; done");
    std::thread::sleep(Duration::from_millis(300));
    let link = "import os\nfor n in range(1, 201):\n  os.link(\"etc/%d\" % n, \"srv/%d\" % n)\n  \
        open(\"srv/%d\" % n, \"w\").write(\"y\")";
    watched.sh(&python("link", link));
    let log = watched.log();
    use std::os::unix::fs::MetadataExt as _;
    for number in 1..=200 {
        let meta = fs::metadata(watched.path(&format!("etc/{number}"))).unwrap();
        let inode = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()), meta.ino());
        let event = log.explains(&format!("/etc/{number}").as_str().into(), Some(inode)).unwrap();
        assert!(actor(event).command.as_ref().unwrap().ends_with(" link"), "{event:?}");
    }
}

#[test]
fn a_log_that_ends_within_a_line_keeps_all_lines_before_and_goes_on() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    watched.sh(&python("srv/", MAKE));
    let whole = watched.log();
    // As a watch leaves it that is killed while it writes.
    let file = files(&watched).pop().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let line = text.rfind("{\"seq\":").and_then(|end| text[..end].rfind("\"within\"")).unwrap();
    let (start, cut) = (text[..line].rfind('\n').unwrap() + 1, line + 40);
    fs::write(&file, &text[..cut]).unwrap();
    let count = |log: &Log| log.paths().count();
    let (before, kept) = (Log::read(watched.tree.path(), None).unwrap(), &text[..start]);
    assert!(count(&before) > 0 && count(&before) < count(&whole));
    for path in whole.paths() {
        let name = String::from_utf8_lossy(path.name());
        let told = kept.contains(&format!("\"{name}\"")) || kept.contains(&format!("\"{path}\""));
        assert_eq!(!before.of(path).is_empty(), told, "{path}");
    }
    watched.start(options(watched.tree.path()));
    watched.sh("echo x > etc/late");
    let after = watched.log();
    let last = before.paths().flat_map(|path| before.of(path)).map(|event| event.seq).max();
    assert!(Some(after.of(&"/etc/late".into())[0].seq) > last);
    assert_eq!(count(&after), count(&before) + 1);
    assert_eq!(after.marks().iter().filter(|mark| mark.mark == MarkKind::Started).count(), 2);
}
