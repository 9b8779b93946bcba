//! The firewall as the host's own files would make it at boot.
//!
//! What boot starts is read for commands that load rules from a file: `nft -f FILE`, `iptables-restore FILE` and its likes, in
//! units, in scripts of the administrator's that units start, and where ifupdown and rc.local have theirs. These files are
//! loaded, by the host's own tools, into a network namespace made for it, and the rules are listed from there. Where anything
//! else makes rules (a firewall manager, a script that calls iptables rule by rule) nothing is run: it is named instead.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd as _;
use std::thread;

use greenroom_core::TreePath;
use greenroom_core::drift::runtime::{ExpectedRules, Facts, Rules, UnitFile, UnitFileState};
use greenroom_core::effect::{Side, Sources};

use super::shown;
use crate::facts::tool::{self, Failed};
use crate::facts::{rules, spaces};
use crate::sys::ns::Network;

/// Where unit files are, by descending rank.
const DIRS: &[&str] =
    &["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// They make rules from a configuration of their own, or for what they run.
const MANAGERS: &[&str] = &[
    "docker.service",
    "ferm.service",
    "firewalld.service",
    "k3s.service",
    "kubelet.service",
    "libvirtd.service",
    "shorewall.service",
    "shorewall6.service",
    "ufw.service",
];

/// What brings up interfaces, and what an old init starts last.
const SCRIPTS: &[&str] = &["/etc/network/interfaces", "/etc/rc.local"];
const SCRIPT_DIRS: &[&str] = &["/etc/network/interfaces.d", "/etc/network/if-pre-up.d", "/etc/network/if-up.d"];

/// Programs here are the administrator's own, and often scripts.
const OWN: &[&str] = &["/usr/local/", "/etc/", "/opt/", "/root/", "/srv/"];

/// No script is larger.
const SCRIPT: usize = 256 << 10;

/// A tool that loads a file of rules, and the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Load {
    tool: String,
    file: String,
}

/// What was found to make rules.
#[derive(Default)]
struct Makers {
    loads: Vec<Load>,
    others: BTreeSet<String>,
}

/// Rules with [`Rules::expected`] and [`Rules::made_by`], and nothing else.
pub(super) fn find(sources: &dyn Sources, facts: &Facts, gaps: &mut Vec<String>) -> Rules {
    let mut makers = Makers::default();
    units(sources, &facts.units, &mut makers);
    let dirs = SCRIPT_DIRS.iter().map(|dir| TreePath::from(*dir));
    let inside = dirs.flat_map(|dir| sources.names(&dir, Side::After).into_iter().map(move |name| dir.join(&name)));
    for path in SCRIPTS.iter().map(|path| TreePath::from(*path)).chain(inside) {
        script(sources, &path, &mut makers);
    }
    let mut out = Rules { made_by: makers.others, ..Rules::default() };
    if makers.loads.is_empty() || !out.made_by.is_empty() {
        return out;
    }
    let mut files: Vec<String> = makers.loads.iter().map(|load| shown(&load.file)).collect();
    files.dedup();
    match loaded(&makers.loads) {
        Ok(rules) if rules.gaps.is_empty() => {
            out.expected = Some(ExpectedRules { nftables: rules.nftables, iptables: rules.iptables, files });
        }
        Ok(rules) => {
            gaps.extend(rules.gaps);
            out.made_by.extend(files);
        }
        Err(why) => {
            gaps.push(format!("what {} makes of the firewall was not found out: {why}", files.join(", ")));
            out.made_by.extend(files);
        }
    }
    out
}

/// Loads the files one after the other where nothing else is, and lists what came of it.
fn loaded(loads: &[Load]) -> Result<rules::Rules, String> {
    let apart = |e: io::Error| format!("no network namespace for it: {e}");
    let namespace = Network::untouched().map_err(apart)?;
    let load = || {
        spaces::enter_net(namespace.as_fd()).map_err(apart)?;
        for Load { tool, file } in loads {
            let argv: &[&str] = if tool == "nft" { &["nft", "-f", file] } else { &[tool, file] };
            match tool::run(argv) {
                Ok(_) => {}
                Err(Failed::Missing) => return Err(format!("there is no {tool}(8)")),
                Err(Failed::Broken(why)) => return Err(why),
            }
        }
        Ok(rules::read(None))
    };
    thread::scope(|threads| threads.spawn(load).join()).unwrap_or_else(|_| Err("the look at it failed".to_owned()))
}

fn units(sources: &dyn Sources, units: &BTreeMap<String, UnitFile>, makers: &mut Makers) {
    let started = |(name, unit): &(&String, &UnitFile)| {
        name.ends_with(".service") && unit.at_boot && unit.state == UnitFileState::Enabled
    };
    for (name, _) in units.iter().filter(started) {
        if name == "netfilter-persistent.service" {
            for (tool, file) in
                [("iptables-restore", "/etc/iptables/rules.v4"), ("ip6tables-restore", "/etc/iptables/rules.v6")]
            {
                if sources.content(&TreePath::from(file), Side::After).is_some() {
                    makers.loads.push(Load { tool: tool.to_owned(), file: file.to_owned() });
                }
            }
        } else if MANAGERS.contains(&name.as_str()) {
            if name != "ufw.service" || ufw_is_on(sources) {
                makers.others.insert(name.clone());
            }
        } else {
            for command in commands(sources, name) {
                take(&command, name, makers);
                let program = command.split_whitespace().next().unwrap_or("");
                if OWN.iter().any(|own| program.starts_with(own)) {
                    script(sources, &TreePath::from(program), makers);
                }
            }
        }
    }
}

fn ufw_is_on(sources: &dyn Sources) -> bool {
    let text = sources.content(&"/etc/ufw/ufw.conf".into(), Side::After).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().any(|line| line.trim().eq_ignore_ascii_case("enabled=yes"))
}

/// What a service runs when it is started.
fn commands(sources: &dyn Sources, unit: &str) -> Vec<String> {
    let at = |dir: &&str, name: &str| sources.content(&TreePath::from(*dir).join(name.as_bytes()), Side::After);
    let mut text = DIRS.iter().find_map(|dir| at(dir, unit)).unwrap_or_default();
    for dir in DIRS.iter().rev() {
        let dir = TreePath::from(*dir).join(format!("{unit}.d").as_bytes());
        for name in sources.names(&dir, Side::After).iter().filter(|name| name.ends_with(b".conf")) {
            text.push(b'\n');
            text.extend(sources.content(&dir.join(name), Side::After).unwrap_or_default());
        }
    }
    let text = String::from_utf8_lossy(&text).replace("\\\n", " ");
    let mut out = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once('=') else { continue };
        if matches!(key.trim(), "ExecStart" | "ExecStartPre" | "ExecStartPost") {
            // An empty one takes back those before it.
            match value.trim().trim_start_matches(['-', '@', '+', '!', ':']) {
                "" => out.clear(),
                command => out.push(command.to_owned()),
            }
        }
    }
    out
}

fn script(sources: &dyn Sources, path: &TreePath, makers: &mut Makers) {
    let text = sources.content(path, Side::After).unwrap_or_default();
    if text.len() > SCRIPT || text.starts_with(b"\x7fELF") {
        return;
    }
    for line in String::from_utf8_lossy(&text).lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        take(line, &path.to_string(), makers);
    }
}

/// Takes a command that has to do with rules; `from` is where it stands.
fn take(command: &str, from: &str, makers: &mut Makers) {
    let words: Vec<&str> =
        command.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';' | '(' | ')')).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let name = |word: &&str| word.rsplit('/').next().unwrap_or("").to_owned();
    let of_rules = |name: &str| {
        let rest = name.strip_prefix("iptables").or_else(|| name.strip_prefix("ip6tables"));
        let acts = |rest: &str| {
            rest.is_empty() || ["-restore", "-legacy", "-nft", "-apply"].iter().any(|way| rest.starts_with(way))
        };
        name == "nft" || rest.is_some_and(acts)
    };
    let Some(at) = words.iter().position(|word| of_rules(&name(word)) && !word.ends_with(".service")) else { return };
    let (tool, rest) = (name(&words[at]), &words[at + 1..]);
    let file = |word: Option<&&str>| {
        word.filter(|w| w.starts_with('/') && !w.contains(['$', '*', '%'])).map(|w| (*w).to_owned())
    };
    let load = match rest {
        ["-f" | "--file", rest @ ..] if tool == "nft" && rest.len() == 1 => file(rest.first()),
        // Options that change nothing about an empty firewall.
        [options @ .., "<", last] | [options @ .., last]
            if tool.ends_with("-restore") && options.iter().all(|o| matches!(*o, "-w" | "--wait")) =>
        {
            file(Some(last))
        }
        _ => None,
    };
    match load {
        Some(file) => makers.loads.push(Load { tool, file }),
        None => _ = makers.others.insert(shown(from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_make_rules() {
        let table = [
            ("/usr/sbin/nft -f /etc/nftables.conf", Some(("nft", "/etc/nftables.conf"))),
            ("pre-up iptables-restore < /etc/iptables.rules", Some(("iptables-restore", "/etc/iptables.rules"))),
            ("/bin/sh -c '/sbin/ip6tables-restore -w /etc/r.v6'", Some(("ip6tables-restore", "/etc/r.v6"))),
            ("/usr/sbin/nft -f /etc/a.nft -f /etc/b.nft", None),
            ("nft add rule inet a b drop", None),
            ("iptables-restore --noflush < /etc/x", None),
            ("iptables-restore < $FILE", None),
            ("test -x /sbin/iptables", None),
        ];
        for (command, load) in table {
            let mut makers = Makers::default();
            take(command, "here", &mut makers);
            let load = load.map(|(tool, file)| Load { tool: tool.to_owned(), file: file.to_owned() });
            assert_eq!(
                (makers.loads.first(), makers.others.len()),
                (load.as_ref(), usize::from(load.is_none())),
                "{command}"
            );
        }
        let mut makers = Makers::default();
        for nothing in ["/usr/sbin/cron -f", "", "systemctl start iptables.service", "/usr/bin/nftables-exporter"] {
            take(nothing, "here", &mut makers);
        }
        assert!(makers.loads.is_empty() && makers.others.is_empty(), "{:?}", makers.others);
    }
}
