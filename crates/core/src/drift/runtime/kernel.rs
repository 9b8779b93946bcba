//! Kernel parameters, mounts, the kernel itself.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{each, lasting};
use super::facts::{BootFiles, Mount, Running, Setting};
use super::{Against, FactKind, RuntimeDrift};
use crate::effect::sysctl_follows;

/// Parameters that the kernel itself changes while it runs, by what its documentation (admin-guide/sysctl, ip-sysctl) says.
/// `*` at the end stands for any rest.
const BY_ITSELF: &[&str] = &[
    "dev.cdrom.*",
    "dev.raid.*",
    "fs.nfs.*",
    "kernel.hung_task_warnings",
    "kernel.hung_task_detect_count",
    "kernel.kexec_load_limit_*",
    "kernel.max_rcu_stall_to_panic",
    "kernel.numa_balancing*",
    "kernel.osrelease",
    "kernel.perf_cpu_time_max_percent",
    "kernel.perf_event_max_sample_rate",
    "kernel.version",
    "kernel.warn_limit",
    "net.ipv4.tcp_available_congestion_control",
    "net.ipv4.tcp_available_ulp",
    "net.mptcp.available_*",
    "sunrpc.*",
    "vm.numa_stat",
];

/// Parameters that the kernel works out at boot, from memory and processors: only within one boot is another value anybody's.
const AT_BOOT: &[&str] = &[
    "fs.epoll.max_user_watches",
    "fs.file-max",
    "fs.inotify.max_user_watches",
    "kernel.threads-max",
    "net.core.bpf_jit_limit",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.udp_mem",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_expect_max",
    "net.netfilter.nf_conntrack_max",
    "net.nf_conntrack_max",
    "net.sctp.sctp_mem",
    "user.max_*",
    "vm.min_free_kbytes",
    "vm.user_reserve_kbytes",
    "vm.admin_reserve_kbytes",
];

/// Interfaces that come with a container, a virtual machine or a tunnel.
const PASSING_INTERFACES: &[&str] =
    &["veth", "br-", "docker", "cali", "cni", "tap", "vnet", "virbr", "vb-", "ve-", "tunl"];

fn listed(key: &str, list: &[&str]) -> bool {
    list.iter().any(|pattern| pattern.strip_suffix('*').map_or(key == *pattern, |start| key.starts_with(start)))
}

/// Whether a parameter's value says nothing about anybody's intent.
fn passes(key: &str) -> bool {
    let interface = ["net.ipv4.conf.", "net.ipv6.conf.", "net.ipv4.neigh.", "net.ipv6.neigh."];
    let passing = interface
        .iter()
        .find_map(|start| key.strip_prefix(start))
        .is_some_and(|rest| PASSING_INTERFACES.iter().any(|name| rest.starts_with(name)));
    // What a router announces.
    let announced = key.starts_with("net.ipv6.conf.") && (key.ends_with(".mtu") || key.ends_with(".hop_limit"));
    listed(key, BY_ITSELF) || passing || announced
}

/// Keys that are on one side only come and go with an interface or a module: nobody set them.
pub(super) fn sysctl(was: &Running, is: &Running, out: &mut Vec<RuntimeDrift>) {
    let same_boot = was.boot == is.boot;
    let mut differs: Vec<(&String, &String, &String)> = Vec::new();
    for (key, to) in &is.sysctl {
        if let Some(from) = was.sysctl.get(key).filter(|from| *from != to)
            && !passes(key)
            && (same_boot || !listed(key, AT_BOOT))
        {
            differs.push((key, from, to));
        }
    }
    let changed: BTreeMap<&str, &str> = differs.iter().map(|(key, _, to)| (key.as_str(), to.as_str())).collect();
    for (key, from, to) in differs.iter().filter(|(key, _, to)| !sysctl_follows(key, to, &changed)) {
        let (detail, lasting, file) = match is.sysctl_files.get(*key) {
            Some(set) if same_value(&set.value, to) => {
                (format!("{key} is {to}, as {} says; it was {from}", set.file), true, Some(set.file.clone()))
            }
            Some(set) => (
                format!("{key} is {to}, it was {from}; {} says {} and sets that at boot", set.file, set.value),
                false,
                Some(set.file.clone()),
            ),
            None if !same_boot => {
                (format!("{key} is {to} since the last boot, it was {from}; no file sets it"), true, None)
            }
            None => (format!("{key} is {to}, it was {from}; no file sets it: boot takes it back"), false, None),
        };
        out.push(RuntimeDrift {
            kind: FactKind::Sysctl,
            item: (*key).clone(),
            before: Some((*from).clone()),
            after: Some((*to).clone()),
            detail,
            lasting,
            against: Against::Record,
            file,
        });
    }
}

/// Parameters that are not what a file says.
pub(super) fn sysctl_against_files(is: &Running, out: &mut Vec<RuntimeDrift>) {
    for (key, Setting { value, file }) in &is.sysctl_files {
        let Some(now) = is.sysctl.get(key).filter(|now| !same_value(value, now) && !passes(key)) else { continue };
        out.push(RuntimeDrift {
            kind: FactKind::Sysctl,
            item: key.clone(),
            before: Some(value.clone()),
            after: Some(now.clone()),
            detail: format!("{key} is {now}, but {file} says {value} and sets that at boot"),
            lasting: false,
            against: Against::Files,
            file: Some(file.clone()),
        });
    }
}

/// The kernel shows numbers in its own way: `0x1b6` is read back as `438`.
fn same_value(file: &str, kernel: &str) -> bool {
    let number = |word: &str| {
        let (negative, digits) = word.strip_prefix('-').map_or((false, word), |digits| (true, digits));
        let value = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
            (Some(hex), _) => i128::from_str_radix(hex, 16).ok()?,
            (None, Some(octal)) if !octal.is_empty() => i128::from_str_radix(octal, 8).ok()?,
            _ => digits.parse().ok()?,
        };
        Some(if negative { -value } else { value })
    };
    let word = |(a, b): (&str, &str)| a == b || number(a).is_some_and(|n| number(b) == Some(n));
    let (file, kernel): (Vec<&str>, Vec<&str>) =
        (file.split_whitespace().collect(), kernel.split_whitespace().collect());
    file.len() == kernel.len() && file.into_iter().zip(kernel).all(word)
}

pub(super) fn mounts(was: &Running, is: &Running, out: &mut Vec<RuntimeDrift>) {
    each(&was.mounts, &is.mounts, |at, from, to| {
        let bare = |m: &Mount| Mount { declared: None, ..m.clone() };
        if from.map(bare) == to.map(bare) || listed_filesystem(from.or(to)) {
            return;
        }
        let (detail, lasting, file) = match (from, to) {
            (_, Some(m)) => match &m.declared {
                Some(file) => (format!("{} is on {at}; {file} mounts it at boot", words(m)), true, Some(file.clone())),
                None => (format!("{} is on {at} and no file mounts it: boot takes it back", words(m)), false, None),
            },
            (Some(m), None) => match is.unmounted.get(at) {
                Some(file) => (
                    format!("{} was on {at} and is not; {file} mounts it at boot", words(m)),
                    false,
                    Some(file.clone()),
                ),
                None => (format!("{} was on {at} and is not", words(m)), true, None),
            },
            (None, None) => return,
        };
        let (before, after) = (from.map(words), to.map(words));
        let (item, kind) = (at.to_owned(), FactKind::Mount);
        out.push(RuntimeDrift { kind, item, before, after, detail, lasting, against: Against::Record, file });
    });
}

/// File systems of a desktop session.
fn listed_filesystem(mount: Option<&Mount>) -> bool {
    mount.is_some_and(|m| matches!(m.fstype.as_str(), "fuse.portal" | "fuse.gvfsd-fuse"))
}

fn words(mount: &Mount) -> String {
    let options: Vec<&str> = mount.options.iter().map(String::as_str).collect();
    let options = if options.is_empty() { String::new() } else { format!(", {}", options.join(",")) };
    format!("{} ({}{options})", mount.source, mount.fstype)
}

pub(super) fn mounts_against_files(is: &Running, out: &mut Vec<RuntimeDrift>) {
    let one = |item: &str, before, after, detail, file| RuntimeDrift {
        kind: FactKind::Mount,
        item: item.to_owned(),
        before,
        after,
        detail,
        lasting: false,
        against: Against::Files,
        file,
    };
    for (at, mount) in is.mounts.iter().filter(|(at, m)| *at != "/" && m.declared.is_none()) {
        if !listed_filesystem(Some(mount)) {
            let detail = format!("{} is on {at} and no file mounts it: boot takes it back", words(mount));
            out.push(one(at, None, Some(words(mount)), detail, None));
        }
    }
    for (at, file) in &is.unmounted {
        let detail = format!("{file} mounts {at} at boot, and it is not mounted");
        out.push(one(at, Some("mounted".to_owned()), None, detail, Some(file.clone())));
    }
}

/// Words of a command line that say which kernel and which image, not how it works.
fn counted(parameters: &[String]) -> BTreeSet<&String> {
    let passing = |word: &&String| word.starts_with("BOOT_IMAGE=") || word.starts_with("initrd=");
    parameters.iter().filter(|word| !passing(word)).collect()
}

pub(super) fn running(was: &Running, is: &Running, out: &mut Vec<RuntimeDrift>) {
    if was.container || is.container {
        return;
    }
    let (old, new) = (&was.kernel, &is.kernel);
    if (&old.release, &old.build) != (&new.release, &new.build) {
        let words = |k: &super::facts::Kernel| Some(format!("{} ({})", k.release, k.build));
        let detail = format!("the kernel {} runs, it was {}", new.release, old.release);
        out.push(lasting(FactKind::Kernel, "release", (words(old), words(new)), detail));
    }
    let (old, new) = (counted(&old.parameters), counted(&new.parameters));
    if old != new {
        let list = |one: &BTreeSet<&String>, other: &BTreeSet<&String>| {
            let words: Vec<&str> = one.difference(other).map(|word| word.as_str()).collect();
            (!words.is_empty()).then(|| words.join(" "))
        };
        let (gone, came) = (list(&old, &new), list(&new, &old));
        let detail = "the kernel was booted with other parameters".to_owned();
        out.push(lasting(FactKind::Kernel, "parameters", (gone, came), detail));
    }
}

pub(super) fn boot_files(was: &BootFiles, is: &BootFiles) -> Option<RuntimeDrift> {
    if was.parameters == is.parameters {
        return None;
    }
    let words = |b: &BootFiles| b.parameters_file.as_ref().map(|_| b.parameters.join(" "));
    let file = is.parameters_file.clone().or_else(|| was.parameters_file.clone());
    let detail = format!("{} gives the kernel other parameters at boot", file.as_deref().unwrap_or("a file"));
    Some(RuntimeDrift { file, ..lasting(FactKind::Kernel, "configured parameters", (words(was), words(is)), detail) })
}

pub(super) fn kernel_against_files(boot: &BootFiles, is: &Running, out: &mut Vec<RuntimeDrift>) {
    if is.container {
        return;
    }
    let release = &is.kernel.release;
    let newest = boot.kernels.first().filter(|_| boot.kernels.contains(release));
    if let Some(newest) = newest.filter(|newest| *newest != release) {
        out.push(RuntimeDrift {
            against: Against::Files,
            lasting: false,
            ..lasting(
                FactKind::Kernel,
                "release",
                (Some(newest.clone()), Some(release.clone())),
                format!("the kernel {newest} is installed and {release} runs: the next boot changes it"),
            )
        });
    }
    let missing: Vec<&str> =
        boot.parameters.iter().filter(|word| !is.kernel.parameters.contains(word)).map(String::as_str).collect();
    if let Some(file) = boot.parameters_file.as_ref().filter(|_| !missing.is_empty()) {
        let missing = missing.join(" ");
        let detail = format!("{file} gives the kernel {missing}, and it was booted without");
        out.push(RuntimeDrift {
            against: Against::Files,
            lasting: false,
            file: Some(file.clone()),
            ..lasting(FactKind::Kernel, "parameters", (Some(missing), None), detail)
        });
    }
}
