//! Firewall rules, without what daemons keep in them.
//!
//! Chains and tables that a container engine, fail2ban or a VPN keeps for itself change with what these do; elements of sets
//! with a time limit come and go with the traffic. An empty chain that accepts is what listing rules can leave behind, and has
//! no effect. All that is left out; a rule that a person adds is not, wherever else it stands.

use std::collections::BTreeSet;

use super::facts::{ExpectedRules, Rules};
use super::{Against, FactKind, RuntimeDrift};
use crate::effect::{Direction, RuleChange, ruleset_changes};

/// Names of tables and chains that daemons keep.
const KEPT: &[&str] = &[
    "DOCKER",
    "KUBE-",
    "kube-proxy",
    "cali-",
    "CNI-",
    "NETAVARK",
    "netavark",
    "f2b-",
    "LIBVIRT_",
    "libvirt",
    "ts-",
    "io.systemd.",
];

/// A person's own, although it begins as one of those.
const OWN: &[&str] = &["DOCKER-USER"];

fn kept(name: &str) -> bool {
    KEPT.iter().any(|start| name.starts_with(start)) && !OWN.contains(&name)
}

/// Whether a rule does nothing but hand over to a chain that a daemon keeps.
fn hands_over(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| !matches!(*word, "jump" | "goto" | "-j" | "-g"));
    words.next();
    words.next().is_some_and(|to| kept(to) || OWN.contains(&to))
}

/// A block of `nft list ruleset`: `table inet filter {`, and in it chains and sets.
struct Block {
    head: String,
    lines: Vec<String>,
    inner: Vec<Block>,
}

/// `nft -s list ruleset` without what passes.
fn nftables(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut top = Block { head: String::new(), lines: Vec::new(), inner: Vec::new() };
    fill(&mut top, &mut lines, 0);
    let mut out = String::new();
    for table in &mut top.inner {
        let name = table.head.rsplit(' ').next().unwrap_or("");
        table.inner.retain_mut(has_effect);
        let empty = table.inner.is_empty() && table.lines.is_empty();
        if !kept(name) && !empty {
            write(table, &mut out);
        }
    }
    out
}

fn fill<'a>(block: &mut Block, lines: &mut impl Iterator<Item = &'a str>, depth: usize) {
    while let Some(line) = lines.next() {
        if line == "}" {
            return;
        }
        // A rule can end in a brace only with its set's elements on the same line.
        match line.strip_suffix('{') {
            Some(head) if !line.starts_with("elements") && depth < 8 => {
                let mut inner = Block { head: head.trim().to_owned(), lines: Vec::new(), inner: Vec::new() };
                fill(&mut inner, lines, depth + 1);
                block.inner.push(inner);
            }
            _ if line.starts_with("elements = {") => {
                let mut all = line.to_owned();
                while !all.ends_with('}') {
                    let Some(more) = lines.next() else { break };
                    all.push(' ');
                    all.push_str(more);
                }
                block.lines.push(all);
            }
            _ => block.lines.push(line.to_owned()),
        }
    }
}

/// Takes out of a chain or set what passes; false when nothing is left that matters.
fn has_effect(block: &mut Block) -> bool {
    let (kind, name) = block.head.split_once(' ').unwrap_or((&block.head, ""));
    if kept(name) {
        return false;
    }
    let passing = |line: &String| {
        let flags = line.strip_prefix("flags ").unwrap_or("");
        line.starts_with("timeout ") || flags.split(',').any(|f| matches!(f.trim(), "dynamic" | "timeout"))
    };
    if matches!(kind, "set" | "map" | "meter") && block.lines.iter().any(passing) {
        block.lines.retain(|line| !line.starts_with("elements = {"));
    }
    if kind != "chain" {
        return true;
    }
    block.lines.retain(|line| !hands_over(line));
    let accepts =
        |line: &String| line.starts_with("type ") && (line.ends_with("policy accept;") || !line.contains("policy"));
    !block.lines.iter().all(accepts)
}

fn write(block: &Block, out: &mut String) {
    out.push_str(&block.head);
    out.push_str(" {\n");
    for line in &block.lines {
        out.push_str(line);
        out.push('\n');
    }
    block.inner.iter().for_each(|inner| write(inner, out));
    out.push_str("}\n");
}

/// `iptables-save` without what passes.
fn iptables(text: &str) -> String {
    let mut out = String::new();
    for table in text.split_inclusive("COMMIT\n") {
        let mut lines: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).collect();
        lines.retain(|line| {
            let chain = line.strip_prefix("-A ").or_else(|| line.strip_prefix(':'));
            let name = chain.and_then(|rest| rest.split(' ').next()).unwrap_or("");
            !kept(name) && !hands_over(line)
        });
        let effect = |line: &&str| line.starts_with("-A ") || (line.starts_with(':') && line.contains(" DROP "));
        if lines.iter().any(effect) {
            out.push_str(&lines.join("\n"));
            out.push('\n');
        }
    }
    out
}

fn changes(before: (&str, &str), after: (&str, &str)) -> Vec<RuleChange> {
    let mut out = ruleset_changes("nftables", &nftables(before.0), &nftables(after.0));
    out.extend(ruleset_changes("iptables", &iptables(before.1), &iptables(after.1)));
    out
}

/// Which changes there would be at the next boot.
fn at_boot(is: &Rules) -> Option<(&ExpectedRules, Vec<RuleChange>)> {
    let expected = is.expected.as_ref()?;
    let found = changes((&expected.nftables, &expected.iptables), (&is.nftables, &is.iptables));
    Some((expected, found))
}

pub(super) fn compare(was: &Rules, is: &Rules, out: &mut Vec<RuntimeDrift>) {
    let found = changes((&was.nftables, &was.iptables), (&is.nftables, &is.iptables));
    if found.is_empty() {
        return;
    }
    let at_boot = at_boot(is);
    let other: BTreeSet<(&str, &str, Direction)> =
        at_boot.iter().flat_map(|(_, c)| c).map(|c| (c.place.as_str(), c.line.as_str(), c.op)).collect();
    let files = at_boot.as_ref().map(|(expected, _)| expected.files.join(", "));
    for change in &found {
        let lasting = match &files {
            // Boot takes back just what differs from the files in the same way.
            Some(_) => !other.contains(&(change.place.as_str(), change.line.as_str(), change.op)),
            None => change.op == Direction::Removed && is.made_by.is_empty(),
        };
        let what = if change.op == Direction::Added { "is new" } else { "is gone" };
        let place = place(change);
        let detail = match (&files, lasting) {
            (Some(files), true) => format!("`{}` in {place} {what}, as {files} says", change.line),
            (Some(files), false) => {
                format!("`{}` in {place} {what}; {files} says otherwise, and boot loads that", change.line)
            }
            (None, _) if !is.made_by.is_empty() => {
                let made_by: Vec<&str> = is.made_by.iter().map(String::as_str).collect();
                format!(
                    "`{}` in {place} {what}; what boot makes of the rules is up to {}",
                    change.line,
                    made_by.join(", ")
                )
            }
            (None, true) => format!("`{}` in {place} {what}", change.line),
            (None, false) => format!("`{}` in {place} {what} and no file loads it: boot takes it back", change.line),
        };
        out.push(drift(change, detail, lasting, Against::Record, files.clone()));
    }
}

pub(super) fn against_files(is: &Rules, out: &mut Vec<RuntimeDrift>) {
    let Some((expected, found)) = at_boot(is) else { return };
    let files = expected.files.join(", ");
    for change in &found {
        let place = place(change);
        let detail = match change.op {
            Direction::Added => format!("`{}` in {place} is not in {files}: boot takes it back", change.line),
            Direction::Removed => format!("`{}` in {place} is in {files} and not loaded", change.line),
        };
        out.push(drift(change, detail, false, Against::Files, Some(files.clone())));
    }
}

fn place(change: &RuleChange) -> String {
    if change.place.is_empty() { format!("the {} rules", change.backend) } else { change.place.clone() }
}

fn drift(change: &RuleChange, detail: String, lasting: bool, against: Against, file: Option<String>) -> RuntimeDrift {
    let line = Some(change.line.clone());
    let (before, after) = if change.op == Direction::Added { (None, line) } else { (line, None) };
    let item = format!("{}: {}", change.backend, place(change));
    RuntimeDrift { kind: FactKind::Firewall, item, before, after, detail, lasting, against, file }
}
